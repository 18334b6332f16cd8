"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right; the message is one sentence that says how.

    The command line prints the message alone and exits with code 2; in a notebook it is an ordinary
    exception.
    """
