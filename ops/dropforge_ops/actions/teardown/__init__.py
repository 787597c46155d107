"""Takes a stack away with everything that it made while it ran, and looks for what is left."""
