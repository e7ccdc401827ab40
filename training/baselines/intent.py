"""The intent baselines: taught on past moments, tuned on the validation moment, ready for any later one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from rich.progress import track

from training.baselines.boosted_trees import BoostedTrees
from training.baselines.features import Activity
from training.baselines.rfm import Rfm
from training.baselines.snapshots import Snapshots
from training.errors import ConfigError
from training.sequences.history import History
from training.sequences.split import DAY

STEP_DAYS = 7
MAX_SNAPSHOTS = 26  # half a year of weekly moments: more changed no AUROC on a year of groceries and took twice as long
WARM_UP_DAYS = 28  # before that, nobody has a past to speak of
BASELINES: dict[str, type[Rfm] | type[BoostedTrees]] = {"rfm": Rfm, "boosted_trees": BoostedTrees}


class _Fitted(Protocol):
    @property
    def settings(self) -> str: ...

    def probabilities(self, snapshots: Snapshots) -> np.ndarray: ...


@dataclass(frozen=True)
class IntentBaseline:
    """A fitted baseline that answers from a history at a moment."""

    fitted: _Fitted
    intent_events: np.ndarray
    event_names: Sequence[str]

    @property
    def settings(self) -> str:
        """What was chosen for it, in words."""
        return self.fitted.settings

    def probabilities(self, history: History, now: int) -> np.ndarray:
        """The probability that each customer comes back within the horizon after `now` (µs): float64 [C], NaN for who has no event yet."""
        activity = Activity.of(history, intent_events=self.intent_events, event_names=self.event_names)
        snapshots = Snapshots.take(activity, [now])
        answer = np.full(history.num_customers, np.nan)
        answer[snapshots.customer] = self.fitted.probabilities(snapshots)
        return answer


def intent_baselines(
    history: History,
    *,
    validation_now: int,
    horizon: int,
    intent_events: np.ndarray,
    event_names: Sequence[str],
    seed: int,
) -> dict[str, IntentBaseline]:
    """RFM and boosted trees for "an intent event in (now, now + horizon]": {name: baseline}.

    Tuned at `validation_now`, taught on weekly moments before it whose horizon is over by then; times in µs. `history` must reach the end
    of the validation horizon; what it holds beyond isn't looked at.
    """
    activity = Activity.of(history, intent_events=intent_events, event_names=event_names)
    moments = past_moments(int(activity.steps.timestamp.min(initial=validation_now)), validation_now, horizon)
    train = Snapshots.take(activity, track(moments, description="Features of past moments"), horizon=horizon)
    validation = Snapshots.take(activity, [validation_now], horizon=horizon)
    for name, snapshots in (("training", train), ("validation", validation)):
        if snapshots.labels.all() or not snapshots.labels.any():
            raise ConfigError(
                f"expected some customers to come back after the {name} moments and some not, found only one kind; "
                "change the horizon or the cutoffs"
            )
    return {
        name: IntentBaseline(baseline.fit(train, validation, seed=seed), intent_events, event_names) for name, baseline in BASELINES.items()
    }


def past_moments(first: int, end: int, horizon: int) -> list[int]:
    """Weekly moments (µs), latest first, whose horizon is inside the training window; closer together where the horizon is shorter."""
    latest, step = end - horizon, min(STEP_DAYS * DAY, horizon)
    if latest <= first:
        raise ConfigError(
            f"expected a training window longer than the horizon of {horizon / DAY:g} days, received {(end - first) / DAY:.3g} days; "
            "choose a later validation cutoff or a shorter horizon"
        )
    earliest = first + min(WARM_UP_DAYS * DAY, (latest - first) // 2)  # a log of a few days must do with less
    return [moment for moment in (latest - step * index for index in range(MAX_SNAPSHOTS)) if moment >= earliest]
