"""What stands around a study: tools for one run, one model or one log. The core imports none of it."""
