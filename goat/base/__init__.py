"""The embedded base: its weights and card (README.md), and what it was pretrained on (`rows`)."""
