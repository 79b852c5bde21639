"""The one kind of error that is the user's: bad input."""


class UserError(ValueError):
    """Bad input. The message names the file, line, key or flag, and the way out."""
