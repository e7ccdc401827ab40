"""What the retailer sells: items in categories, some more popular than others, at prices that change by the week."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.simulator.draws import draws, mixed
from training.simulator.keys import hexadecimal
from training.simulator.settings import DAY, Settings

ITEMS_A_CATEGORY = 60
ITEMS_A_BRAND = 40
CONSUMABLE = 0.4  # of the categories
WEEK = 7 * DAY
# The discount of an item in a week: one of these 64, equally likely.
DISCOUNTS = np.repeat(np.array([0.0, 0.1, 0.2, 0.4], dtype=np.float32), [51, 5, 4, 4])
GOODS = ["tea", "coffee", "bread", "cheese", "fruit", "juice", "soap", "paper", "lamps", "shoes", "shirts", "books", "games", "toys"]
TREES = ["Alder", "Birch", "Cedar", "Elm", "Fir", "Hazel", "Juniper", "Larch", "Maple", "Oak", "Pine", "Rowan", "Spruce", "Willow", "Yew"]


@dataclass(frozen=True)
class Catalogue:
    """Items lie by category, within a category by falling popularity.

    starts         int32 [K + 1]: category k has the items starts[k]:starts[k + 1]
    category       int32 [N]; brand int32 [N]; price float32 [N]: the list price
    companion      int32 [N]: the item that goes with it
    num_consumable   the categories before this one hold what is used up; period float32 [N]: days that one lasts
    """

    starts: np.ndarray
    category: np.ndarray
    brand: np.ndarray
    price: np.ndarray
    companion: np.ndarray
    period: np.ndarray
    num_consumable: int

    @property
    def num_items(self) -> int:
        """How many items there are."""
        return len(self.category)

    @property
    def num_categories(self) -> int:
        """How many categories there are."""
        return len(self.starts) - 1

    def popular_categories(self, uniform: np.ndarray, *, consumable: bool = False) -> np.ndarray:
        """int32 [n]: categories by popularity (Zipf's law with exponent 1), for uniform numbers below 1."""
        return zipf(np.float32(self.num_consumable if consumable else self.num_categories), uniform)

    def popular_items(self, category: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """int32 [n]: an item of each category by popularity, for uniform numbers below 1."""
        start = self.starts.take(category)
        size = self.starts.take(category + 1) - start
        return start + np.minimum(zipf(size.astype(np.float32), uniform), size - 1)

    def discount(self, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        """float32 [n]: how much less than its list price an item costs at a time (µs); the same all week."""
        week = (time // WEEK).astype(np.uint32)
        return DISCOUNTS.take(mixed(item.astype(np.uint32) * np.uint32(2654435761) + week) >> np.uint32(26))

    def names(self) -> dict[str, pa.Array]:
        """The columns of the table of items: item, name, category, brand, price."""
        category = pa.array(self.category_names()).take(pa.array(self.category))
        brand = pa.array(self._brand_names()).take(pa.array(self.brand))
        number = pa.array(np.arange(self.num_items) - self.starts[self.category] + 1).cast(pa.string())
        return {
            "item": self.item_keys(),
            "name": pc.binary_join_element_wise(brand, category, "no.", number, " "),
            "category": category,
            "brand": brand,
            "price": pa.array(self.price),
        }

    def item_keys(self) -> pa.StringArray:
        """The key of each item."""
        return hexadecimal("i", mixed(np.arange(1, self.num_items + 1)))

    def category_names(self) -> list[str]:
        """A word for each category: of a small catalogue each has one of its own."""
        return _counted(GOODS, self.num_categories)

    def _brand_names(self) -> list[str]:
        return _counted(TREES, int(self.brand.max()) + 1)


def _counted(words: list[str], size: int) -> list[str]:
    """`size` names: the words, then the words with a number."""
    return [words[k % len(words)] + (f" {k // len(words) + 1}" if k >= len(words) else "") for k in range(size)]


def make_catalogue(settings: Settings) -> Catalogue:
    """The catalogue that the settings describe."""
    rng, num_items = draws(settings.seed, "catalogue"), settings.num_items
    num_categories = max(5, num_items // ITEMS_A_CATEGORY)
    sizes = 5 + rng.multinomial(num_items - 5 * num_categories, np.full(num_categories, 1 / num_categories))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    category = np.repeat(np.arange(num_categories, dtype=np.int32), sizes)
    within = np.arange(num_items) - starts[category]
    pair = within ^ 1
    level = rng.lognormal(2.3, 0.8, num_categories)
    price = np.maximum(np.round(level[category] * rng.lognormal(0, 0.35, num_items)) - 0.01, 0.49)
    return Catalogue(
        starts=starts,
        category=category,
        brand=zipf(np.float32(max(2, num_items // ITEMS_A_BRAND)), rng.random(num_items)),
        price=price.astype(np.float32),
        companion=(starts[category] + np.where(pair < sizes[category], pair, 0)).astype(np.int32),
        period=rng.choice(np.array([10, 14, 21, 28, 42], dtype=np.float32), num_items),
        num_consumable=max(1, round(CONSUMABLE * num_categories)),
    )


def mean_effect_of_discounts(elasticity: np.ndarray) -> np.ndarray:
    """float64 [n]: the mean of (1 - discount) ** -elasticity over items and weeks: orders beside those at list price."""
    values, counts = np.unique(DISCOUNTS, return_counts=True)
    shares, prices = counts / counts.sum(), 1 - values.astype(float)
    return np.sum([share * price ** -elasticity.astype(float) for share, price in zip(shares, prices, strict=True)], axis=0)


def zipf(size: np.ndarray | np.float32, uniform: np.ndarray) -> np.ndarray:
    """int32 [n] below `size`: rank r with a chance that falls as 1 / (r + 1), from uniform numbers below 1."""
    rank = np.exp(np.log(size + np.float32(1)) * uniform.astype(np.float32)) - np.float32(1)
    return np.minimum(rank, size - 1).astype(np.int32)
