"""Whom the model is compared with: the log, the split, and baselines that are fitted once, however many questions they answer."""

from collections.abc import Mapping

import numpy as np

from training.baselines.member_value import MemberValue
from training.baselines.outcomes import OutcomeAnswers, outcome_baselines
from training.sequences.split import DAY, Split
from training.sequences.store import SequenceStore


class Rivals:
    """All that a comparison in the test window needs beside the model's own answers."""

    def __init__(self, store: SequenceStore, split: Split, *, seed: int, member_value: MemberValue | None = None) -> None:
        self.store = store
        self.split = split
        self.seed = seed
        self.member_value = member_value
        self._outcomes: dict[tuple[object, ...], Mapping[str, OutcomeAnswers]] = {}

    def outcomes(self, kinds: np.ndarray, horizon_days: float) -> Mapping[str, OutcomeAnswers]:
        """What each baseline says of every customer at the test moment. kinds: ids of the events that count as a purchase."""
        asked = (*kinds.tolist(), horizon_days)
        if asked not in self._outcomes:
            self._outcomes[asked] = outcome_baselines(
                self.store, self.split, kinds=kinds, horizon_days=horizon_days, seed=self.seed, member_value=self.member_value
            )
        return self._outcomes[asked]

    def known_days(self, horizon_days: float) -> float:
        """How much of a horizon the test window of a split by time holds."""
        test = self.split.test
        return min(horizon_days, int(test.until[0] - test.now[0]) / DAY)
