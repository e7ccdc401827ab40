"""What can be said of customers in words: measures of how they buy, with what a high and a low one is called."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from training.audience.scene import Scene

LEAST_DIFFERENCE = 0.35  # standard deviations of ranks; what differs less is not worth a word
MOST_WORDS = 3


@dataclass(frozen=True)
class Trait:
    """values: of each customer [n], NaN where there is nothing to measure. high, low: words with the place of a typical value.

    family: of the traits that say much the same, one is named.
    """

    name: str
    family: str
    high: str
    low: str
    values: np.ndarray


_WORDS: Mapping[str, tuple[str, str, str]] = {
    "purchases_365d": ("pace", "buys often ({:.0f} times in a year)", "buys rarely ({:.0f} in a year)"),
    "recency_days": ("silence", "quiet for {:.0f} days", "bought {:.0f} days ago"),
    "recency_in_gaps": ("silence", "quiet for {:.1f} times the usual pause", "within the usual pause"),
    "tenure_days": ("tenure", "long with us ({:.0f} days)", "new ({:.0f} days)"),
    "spend_per_purchase": ("basket", "large baskets ({:,.4g} each)", "small baskets ({:,.3g} each)"),
    "variety": ("variety", "tries ever new items", "keeps to the same items"),
    "on_discount": ("discount", "much on discount ({:.0%} of purchases)", "seldom on discount ({:.0%} of purchases)"),
    "trend": ("trend", "buys more than a quarter ago", "buys less than a quarter ago"),
    "weekend_share": ("weekend", "on weekends ({:.0%} of purchases)", "on working days"),
    "unevenness": ("rhythm", "at uneven times", "at even times"),
    "view_28d": ("looking", "looks around a lot ({:.0f} views in four weeks)", "looks around little"),
    "cart_28d": ("carts", "fills carts ({:.0f} times in four weeks)", "fills few carts"),
    "return_28d": ("returns", "sends much back", "sends nothing back"),
}


def traits_at(scene: Scene, now: int) -> list[Trait]:
    """The traits of all drawn customers at a moment, of those that the log can tell."""
    names, values = scene.activity.features(now)
    known = dict(zip(names, values.astype(np.float64).T, strict=True))
    measured = {**known, **_made_of(known)}
    on_discount = scene.discount_share(now)
    if on_discount is not None:
        measured["on_discount"] = on_discount
    return [Trait(name, *words, measured[name]) for name, words in _WORDS.items() if name in measured and _varies(measured[name])]


def distinguishing(traits: list[Trait], members: np.ndarray) -> list[tuple[Trait, float]]:
    """Traits by how far members (bool [n]) differ from all others, the farthest first, with the difference; one a family.

    A difference is that of the mean ranks, in standard deviations of ranks: no customer of an uncommon size decides it.
    """
    differences = sorted(((trait, _difference(trait.values, members)) for trait in traits), key=lambda pair: -abs(pair[1]))
    families: dict[str, tuple[Trait, float]] = {}
    for trait, difference in differences:
        families.setdefault(trait.family, (trait, difference))
    return list(families.values())


def in_words(distinct: list[tuple[Trait, float]], members: np.ndarray) -> str:
    """The first few of what distinguishes some customers, typical values with them."""
    telling = [pair for pair in distinct if abs(pair[1]) >= LEAST_DIFFERENCE][:MOST_WORDS]
    phrases = [(trait.high if by > 0 else trait.low).format(float(np.nanmedian(trait.values[members]))) for trait, by in telling]
    return ", ".join(phrases) or "like everybody else"


def _made_of(known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with np.errstate(divide="ignore", invalid="ignore"):
        before = known["purchases_182d"] - known["purchases_91d"]
        often = known["purchases"] > 2  # one pause is always even, and first items are always new
        of_items = known["distinct_items"] / (known["items_per_purchase"] * known["purchases"])
        varied = _varies(known["distinct_items"])  # not in a log that tells no items apart
        return {
            "variety": np.where(often & varied, of_items, np.nan),
            "trend": np.where(known["purchases_182d"] > 0, known["purchases_91d"] - before, np.nan),
            "weekend_share": known["share_weekday_5"] + known["share_weekday_6"],
            "unevenness": np.where(often, known["std_gap_days"] / known["mean_gap_days"], np.nan),
        }


def _varies(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return len(known) > 1 and bool(np.ptp(known) > 0)


def _difference(values: np.ndarray, members: np.ndarray) -> float:
    known = np.isfinite(values)
    inside, outside = known & members, known & ~members
    if inside.sum() * 2 < members.sum() or not outside.any():  # of a group most of whom can't be measured nothing is said
        return 0.0
    ranks = np.full(len(values), np.nan)
    ranks[known] = rankdata(values[known])
    return float((ranks[inside].mean() - ranks[outside].mean()) / max(np.nanstd(ranks), 1e-12))
