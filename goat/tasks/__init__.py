"""What is asked, and what correct working looks like. Pure Python: never imports torch."""
