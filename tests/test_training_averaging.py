"""The average is of the latest weights, at first of fewer of them."""

import torch
from pytorch_lightning import LightningModule

from training.averaging import WARM_UP, AverageOfParameters


def averages(weights: list[float], *, decay: float) -> list[float]:
    module = LightningModule()
    module.weight = torch.nn.Parameter(torch.zeros(()))
    average = AverageOfParameters(module, decay)
    said = []
    for weight in weights:
        with torch.no_grad():
            module.weight.fill_(weight)
        average.update_parameters(module)
        said.append(float(average.module.weight.detach()))
    return said


def test_first_weights_are_the_first_average() -> None:
    assert averages([5.0], decay=0.999) == [5.0]


def test_early_weights_are_soon_forgotten() -> None:
    """After a hundred steps the first weights are nothing of an average that in the end holds a thousand."""
    (*_, last) = averages([100.0] + [1.0] * 100, decay=0.999)
    assert abs(last - 1.0) < 1e-3


def test_an_average_comes_to_hold_as_much_as_it_is_told_to() -> None:
    steps = 20 * WARM_UP
    told = averages([0.0] * steps + [1.0], decay=0.9)[-1]
    assert abs(told - 0.1) < 1e-6
