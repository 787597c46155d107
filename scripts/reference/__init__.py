"""Writes ``docs/reference/*.md`` from the code, the template and the example events."""
