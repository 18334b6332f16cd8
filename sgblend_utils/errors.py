"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right; the message is one sentence that says how."""
