"""What somebody does to a stack, and what follows: drop, decide, predict, replay, roll back, tear down."""
