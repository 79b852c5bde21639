"""Benchmarks: one module each, run by `python -m goat.bench NAME`."""
