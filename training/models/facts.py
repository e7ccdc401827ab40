"""What a model must know of a log before it is built: the sizes of its vocabularies, its catalogue, how popular each item is.

The catalogue and the popularities are those of the training window: which items will be sold later is nothing that a model could know.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from training.errors import ConfigError
from training.sequences.history import History, Log, customer_of_event, step_starts
from training.sequences.vocabulary import Vocabulary


@dataclass(frozen=True)
class Facts:
    """sizes: ids of each category field, reserved ones included. events: id of each event name. training: the training window.

    until: µs, int64 [C], at which it ends for each customer.
    said: {attribute: a text an item id}, of those attributes by which the model knows items beside their ids. vocabularies: the log's.
    counted: ids of the kinds of event of which the model is told how many there were; visited: of those by which it is told how many visits
    (training.models.activity).
    knows_times: whether the log tells when things happened, and not only in which order. knows_items: whether the model tells items apart.
    """

    sizes: Mapping[str, int]
    events: Mapping[str, int]
    training: History
    until: np.ndarray
    said: Mapping[str, list[str]] = field(default_factory=dict)
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    counted: Sequence[int] = ()
    visited: Sequence[int] = ()
    knows_times: bool = True
    knows_items: bool = True

    @classmethod
    def of(
        cls,
        log: Log,
        vocabularies: Mapping[str, Vocabulary],
        train_until: np.ndarray,
        *,
        item_tower: bool | list[str] = False,
        counted: Sequence[str] = (),
        visited: Sequence[str] = (),
        knows_times: bool = True,
        knows_items: bool = True,
    ) -> "Facts":
        """item_tower: the attributes by which items are known, or whether all are. counted, visited: names of events.

        Raises ConfigError for an attribute that no item has, and for an event that the log doesn't have.
        """
        sizes = {name: vocabulary.size for name, vocabulary in vocabularies.items()}
        events = {key: index for index, key in enumerate(vocabularies["event"].keys) if index > 1}
        attributes = vocabularies["item"].attributes
        wanted = list(attributes) if item_tower is True else item_tower or []
        if item_tower and not (wanted and set(wanted) <= set(attributes)):
            there, received = ", ".join(attributes) or "none", ", ".join(wanted) or "true"
            raise ConfigError(
                f"expected item_tower to name attributes of this log's items ({there}), received {received}; correct it or set data.items"
            )
        said = {name: attributes[name] for name in wanted}
        training = History.at(log, train_until)
        facts = cls(sizes, events, training, train_until, said, vocabularies, knows_times=knows_times, knows_items=knows_items)
        return replace(facts, counted=facts.event_ids(list(counted)).tolist(), visited=facts.event_ids(list(visited)).tolist())

    def new_items(self) -> np.ndarray:
        """Items that training never saw, but of which something is said: bool [num_items]. None where the model knows items by id alone."""
        seen = np.bincount(self.training.columns["item"], minlength=self.sizes["item"]) > 0
        described = np.array([any(texts) for texts in zip(*self.said.values(), strict=True)] or [False])
        return described & ~seen

    def event_ids(self, names: list[str]) -> np.ndarray:
        """The ids of some event names; a name that the log doesn't have is a mistake in the config."""
        missing = sorted(set(names) - set(self.events))
        if missing:
            raise ConfigError(f"expected event names of this log ({', '.join(self.events)}), received {', '.join(missing)}; see conf/data")
        return np.array(sorted(self.events[name] for name in names))

    def candidates(self, names: list[str]) -> np.ndarray:
        """Whether an item occurs in one of these events in training: bool [num_items]. The catalogue: campaigns are not for sale."""
        known = self.item_counts(names) > 0
        known[:2] = False
        return known

    def share_taken_again(self, names: list[str]) -> float:
        """Of all that was taken in these events within the training window, the share that the customer had had at an earlier step."""
        log = self.training.where(np.isin(self.training.columns["event"], self.event_ids(names)) & (self.training.columns["item"] > 1))
        if not len(log.columns["item"]):
            return 0.0
        owner, step = customer_of_event(log.offsets), np.cumsum(step_starts(log))
        _, first, place = np.unique(owner * self.sizes["item"] + log.columns["item"], return_index=True, return_inverse=True)
        return float((step > step[first][place]).mean())

    def item_counts(self, names: list[str]) -> np.ndarray:
        """How often each item occurs in these events within the training window: int64 [num_items]."""
        chosen = self.training.columns["item"][np.isin(self.training.columns["event"], self.event_ids(names))]
        return np.bincount(chosen, minlength=self.sizes["item"])
