"""A result folder as a whole: its records analyzed and written, what to train another size with, what was confirmed."""
