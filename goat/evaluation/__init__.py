"""Questions asked and scored, and what is shown of the results."""
