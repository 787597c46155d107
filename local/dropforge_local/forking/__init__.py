"""Processes that are forked from one that has loaded what they need, instead of loading it again each."""
