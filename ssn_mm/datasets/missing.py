"""The error of a dataset that is not on disk."""


class DatasetMissingError(FileNotFoundError):
    """A dataset that a config needs is not on disk."""
