"""Raw int64 microseconds to what a network can read, inside the graph: training and serving can't disagree about a calendar."""

import torch
from torch import Tensor

MICROSECONDS_PER_DAY = 86_400_000_000
CALENDAR_SIZE = 11


def days(microseconds: Tensor) -> Tensor:
    """A span of time in days, float32; negative spans count as zero."""
    # clamped as a float: ONNX Runtime's Clip of int64 was seen to turn 2^31 to 2^32 µs into zero
    return (microseconds.to(torch.float32) / MICROSECONDS_PER_DAY).clamp(min=0)


def log_days(microseconds: Tensor) -> Tensor:
    """log(1 + hours) / log(25): 0 now, 1 after a day, about 2.8 after a year."""
    return torch.log1p(days(microseconds) * 24) / 3.2188758


def calendar(moment: Tensor) -> Tensor:
    """Day of the week (one of seven, Monday first) and nearness to midnight, six, noon and eighteen o'clock, in UTC: [..., 11].

    Only remainders of integers and comparisons: a division goes through floating point in the exported graph, and a moment just before
    midnight falls on another day.
    """
    in_week = torch.remainder(moment + 3 * MICROSECONDS_PER_DAY, 7 * MICROSECONDS_PER_DAY)  # 1970-01-01 was a Thursday
    midnights = torch.arange(7, device=moment.device) * MICROSECONDS_PER_DAY
    weekday = (in_week[..., None] >= midnights) & (in_week[..., None] < midnights + MICROSECONDS_PER_DAY)
    quarters = torch.arange(4, device=moment.device) * (MICROSECONDS_PER_DAY // 4)
    half = MICROSECONDS_PER_DAY // 2
    from_quarter = (torch.remainder(moment[..., None] - quarters + half, MICROSECONDS_PER_DAY) - half).abs()
    return torch.cat([weekday.to(torch.float32), (1 - 4 * days(from_quarter)).clamp(min=0)], -1)
