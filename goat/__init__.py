"""Goat: a LLaMA learns arithmetic on one 24 GB GPU, with nothing hidden."""

__version__ = "0.1.0"
