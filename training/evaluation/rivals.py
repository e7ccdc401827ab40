"""Whom the model is compared with: the log, the split, and baselines that are fitted once, however many questions they answer."""

from collections.abc import Mapping

import numpy as np

from training.baselines.member_value import MemberValue
from training.baselines.outcomes import OutcomeAnswers, outcome_baselines
from training.sequences.split import DAY, Split
from training.sequences.store import SequenceStore


class Rivals:
    """All that a comparison in the test window needs beside the model's own answers."""

    def __init__(
        self, store: SequenceStore, split: Split, *, purchases: np.ndarray, seed: int, member_value: MemberValue | None = None
    ) -> None:
        """purchases: ids of the events that count as one, where what is asked does not say."""
        self.store = store
        self.split = split
        self.purchases = purchases
        self.seed = seed
        self.member_value = member_value
        self._outcomes: dict[tuple[object, ...], Mapping[str, OutcomeAnswers]] = {}

    def outcomes(self, kinds: np.ndarray, horizon_days: float) -> Mapping[str, OutcomeAnswers]:
        """What each baseline says of every customer at the test moment. kinds: ids of the events that count as a purchase."""
        return self._answers(kinds, horizon_days, visits=None)

    def presence(self, visits: np.ndarray, horizon_days: float) -> Mapping[str, OutcomeAnswers]:
        """The same where `returns` is the chance of a visit. visits: ids of the events by which customers are seen."""
        return self._answers(self.purchases, horizon_days, visits=visits)

    def _answers(self, kinds: np.ndarray, horizon_days: float, *, visits: np.ndarray | None) -> Mapping[str, OutcomeAnswers]:
        asked = (*kinds.tolist(), horizon_days, *([] if visits is None else visits.tolist()))
        if asked not in self._outcomes:
            self._outcomes[asked] = outcome_baselines(
                self.store,
                self.split,
                kinds=kinds,
                horizon_days=horizon_days,
                seed=self.seed,
                member_value=self.member_value,
                visits=visits,
            )
        return self._outcomes[asked]

    def known_days(self, horizon_days: float) -> float:
        """How much of a horizon the test window of a split by time holds."""
        test = self.split.test
        return min(horizon_days, int(test.until[0] - test.now[0]) / DAY)
