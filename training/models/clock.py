"""Raw int64 microseconds to what a network can read, inside the graph: training and serving can't disagree about a calendar."""

import torch
from torch import Tensor

MICROSECONDS_PER_DAY = 86_400_000_000
CALENDAR_SIZE = 9


def days(microseconds: Tensor) -> Tensor:
    """A span of time in days, float32; negative spans count as zero."""
    return microseconds.clamp(min=0).to(torch.float32) / MICROSECONDS_PER_DAY


def log_days(microseconds: Tensor) -> Tensor:
    """log(1 + hours) / log(25): 0 now, 1 after a day, about 2.8 after a year."""
    return torch.log1p(days(microseconds) * 24) / 3.2188758


def calendar(moment: Tensor) -> Tensor:
    """Day of the week (one of seven, Monday first) and the time of day on a circle, in UTC: [..., 9]."""
    day = torch.div(moment, MICROSECONDS_PER_DAY, rounding_mode="floor")
    weekday = torch.remainder(day + 3, 7)  # 1970-01-01 was a Thursday
    angle = days(moment - day * MICROSECONDS_PER_DAY) * (2 * torch.pi)
    circle = torch.stack([angle.sin(), angle.cos()], -1)
    return torch.cat([(weekday[..., None] == torch.arange(7, device=moment.device)).to(torch.float32), circle], -1)
