"""Why a subject could not be reconstructed."""


class ReconstructionError(Exception):
    """A subject cannot be reconstructed; the message, a clause without capital or full stop, becomes its row's reason."""
