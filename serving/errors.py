"""Errors of serving and of its callers. Each message is one line: what was expected, what came, what to do next.

    ServingError
    ├── ArtifactError       an artifact is missing, incomplete, changed or of another version
    │   └── ParityError     a model does not give the answers that were recorded when it was exported
    ├── RequestError        a request can't be understood; concerns its caller alone
    ├── RepositoryError     a Triton model repository can't be written or holds no model
    ├── InstallationError   there is no tritonserver that could be started here
    ├── ServerError         a server does not start, or does not answer
    └── DemoError           the demo misses what the steps before it write

Programmer errors are `assert`s and ordinary exceptions; they keep their stack trace.
"""


class ServingError(ValueError):
    """The root: `except ServingError` catches everything that a user can mend."""


class ArtifactError(ServingError):
    """An artifact is missing, incomplete, changed or of another version."""


class ParityError(ArtifactError):
    """A model does not give the answers that were recorded when it was exported."""


class RequestError(ServingError):
    """A request can't be understood; concerns its caller alone."""


class RepositoryError(ServingError):
    """A Triton model repository can't be written or holds no model."""


class InstallationError(ServingError):
    """There is no tritonserver that could be started here."""


class ServerError(ServingError):
    """A server does not start, or does not answer."""


class DemoError(ServingError):
    """The demo misses what the steps before it write."""
