"""Errors that a user can mend. Each message is one line: what was expected, what came, what to do next.

    RevisitError
    ├── ConfigError     a setting is wrong or misspelt
    ├── DataError       a log can't be read or holds nothing usable
    ├── StoreError      a sequence store is missing, damaged or of another version
    ├── ArtifactError   an exported artifact or a run can't be used
    └── DeviceError     the hardware that was asked for is not there

Programmer errors are `assert`s and ordinary exceptions; they keep their stack trace.
"""


class RevisitError(ValueError):
    """The root: `except RevisitError` catches everything that a user can mend."""


class ConfigError(RevisitError):
    """A setting is wrong or misspelt."""


class DataError(RevisitError):
    """A log can't be read or holds nothing usable."""


class StoreError(RevisitError):
    """A sequence store is missing, damaged or of another version."""


class ArtifactError(RevisitError):
    """An exported artifact or a run can't be used."""


class DeviceError(RevisitError):
    """The hardware that was asked for is not there."""
