"""Points in time as callers write them."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from serving.errors import RequestError
from serving.moments import microseconds

MOMENT = 1_512_000_000_123_456


@pytest.mark.parametrize(
    "written",
    [
        MOMENT,
        np.int64(MOMENT),
        datetime(2017, 11, 30, 0, 0, 0, 123456),
        datetime(2017, 11, 30, 0, 0, 0, 123456, tzinfo=UTC),
        datetime(2017, 11, 30, 5, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        np.datetime64(MOMENT, "us"),
        np.datetime64(MOMENT * 1000, "ns"),
        "2017-11-30T00:00:00.123456",
        "2017-11-30T00:00:00.123456Z",
        "2017-11-29T19:00:00.123456-05:00",
    ],
    ids=repr,
)
def test_every_form_of_a_moment_is_the_same_number(written) -> None:
    assert microseconds(written) == MOMENT


def test_a_day_begins_at_midnight_utc_also_before_1970() -> None:
    assert microseconds("1970-01-02") == 86_400_000_000
    assert microseconds("1969-12-31T23:59:59.999999") == -1


@pytest.mark.parametrize("written", ["yesterday", None, 1.5, True, np.datetime64("NaT")], ids=repr)
def test_what_is_no_moment_is_refused(written) -> None:
    with pytest.raises(RequestError, match="expected"):
        microseconds(written)
