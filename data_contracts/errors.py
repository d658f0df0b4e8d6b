"""Errors made for people: what was expected, what was found, where, and what to do next."""


class PolymineError(Exception):
    """Base of every error that is the user's to act on; shown without a traceback."""


class InputError(PolymineError):
    """A file, table or row breaks a contract."""


class SettingsError(PolymineError):
    """A setting is unknown, missing or out of range."""


class ModelError(PolymineError):
    """A model cannot be found, loaded or used."""


class StoreError(PolymineError):
    """A stored dataset is missing, damaged, in the way, or cannot be written."""


class ClusterError(PolymineError):
    """A machine of the cluster is missing, differs, or cannot see what its work needs."""
