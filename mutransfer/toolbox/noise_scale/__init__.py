"""How large a batch still buys steps, and what to train with at another."""
