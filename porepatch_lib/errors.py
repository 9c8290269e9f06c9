"""The one exception a user is meant to read."""


class PorePatchError(Exception):
    """Something the user can mend: one sentence saying what, which file, and how to mend it."""
