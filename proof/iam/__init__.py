"""What every role may do, what it needs, and the difference."""
