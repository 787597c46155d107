"""Keeps checked rows, with their hashes and outline, until every row of the drop is known."""
