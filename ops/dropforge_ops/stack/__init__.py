"""Which stack is meant, on AWS or on this machine, and what can be read of it."""
