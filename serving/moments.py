"""Points in time, as callers write them, to int64 microseconds since 1970 (UTC)."""

from datetime import UTC, datetime, timedelta

import numpy as np

from serving.errors import RequestError

Moment = datetime | np.datetime64 | str | int | np.integer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: Moment) -> int:
    """`moment` in microseconds since 1970. Integers are microseconds already; text is ISO 8601; a time without a zone is taken as UTC.

    Raises RequestError for anything else.
    """
    if isinstance(moment, int | np.integer) and not isinstance(moment, bool):
        return int(moment)
    if isinstance(moment, np.datetime64) and not np.isnat(moment):
        return int(moment.astype("datetime64[us]").astype(np.int64))
    if isinstance(moment, str):
        moment = _parsed(moment)
    if not isinstance(moment, datetime):
        raise RequestError(
            f"expected a datetime, ISO 8601 text or integer microseconds since 1970 (UTC), received {moment!r}; send one of them"
        )
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise RequestError(f"expected a time such as 2017-12-01 or 2017-12-01T09:30:00Z, received {text!r}; write it so") from error
