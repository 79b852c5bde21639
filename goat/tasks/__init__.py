"""What is asked, and what correct working looks like. Never imports torch."""
