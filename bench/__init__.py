"""Benchmarks: `python -m bench <name>`. Each prints a table and keeps ratios in `.dropforge/bench.json`."""
