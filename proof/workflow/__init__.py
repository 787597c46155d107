"""Checks of the state machines and of the template around them; each takes a Product and yields Findings."""
