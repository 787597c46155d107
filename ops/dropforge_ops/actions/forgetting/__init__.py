"""Takes one subject's rows out of what a stack keeps, and names what only its owner can change."""
