"""Small logs and report contents for the tests of baselines and evaluation."""

import numpy as np

from training.evaluation.compared import of_probabilities, of_rankings
from training.evaluation.plots import TimeSpan
from training.evaluation.report import ReportContents, Story
from training.sequences.history import History, offsets_of
from training.sequences.split import DAY

VIEW, PURCHASE = 2, 3
EVENT_NAMES = ["", "", "view", "purchase"]
START = 20_000 * DAY  # a Friday


def log_of(customers: list[list[tuple[float, int]]], *, event: int = PURCHASE, **columns: list[float]) -> History:
    """Customers as lists of (day, item id), all of one kind of event; further columns event by event."""
    rows = [row for customer in customers for row in customer]
    return History(
        offsets_of(np.array([len(customer) for customer in customers])),
        {
            "item": np.array([item for _, item in rows], dtype=np.int32),
            "event": np.full(len(rows), event, dtype=np.int32),
            "timestamp": np.array([START + round(day * DAY) for day, _ in rows], dtype=np.int64),
            **{name: np.array(values, dtype=np.float32) for name, values in columns.items()},
        },
    )


def random_log(*, seed: int, num_customers: int = 60, num_items: int = 30, days: int = 200) -> History:
    """Customers with a rhythm and favourites of their own, baskets, views and prices; the last one never comes."""
    random = np.random.default_rng(seed)
    gap, favourite = np.exp(random.uniform(0.5, 4.5, num_customers)), random.integers(2, num_items, num_customers)
    num_steps = np.minimum((days / gap).astype(int), 60)
    num_steps[-1] = 0
    step_customer = np.repeat(np.arange(num_customers), num_steps)
    day = np.concatenate([np.sort(random.uniform(0, days, number)) for number in num_steps])
    sizes = random.integers(1, 5, len(day))
    customer = np.repeat(step_customer, sizes)
    usual = random.random(len(customer)) < 0.5
    return History(
        offsets_of(np.bincount(customer, minlength=num_customers)),
        {
            "item": np.where(usual, favourite[customer], random.integers(2, num_items, len(customer))).astype(np.int32),
            "event": np.where(random.random(len(customer)) < 0.8, PURCHASE, VIEW).astype(np.int32),
            "timestamp": START + np.repeat((day * DAY).astype(np.int64), sizes),
            "price": random.uniform(1, 9, len(customer)).astype(np.float32),
            "quantity": np.where(random.random(len(customer)) < 0.1, np.nan, 1.0).astype(np.float32),
        },
    )


def report_contents(*, model_ndcg: float = 0.26, model_skill: float = 4.0, num_customers: int = 400, seed: int = 0) -> ReportContents:
    """A made-up run: the baselines' NDCG@10 lies around 0.2, their skill at intent around 1.5."""
    random = np.random.default_rng(seed)
    luck = random.beta(1.2, 4, num_customers)
    quality = {"model": model_ndcg, "popularity": 0.09, "buy_again": 0.21, "item_to_item": 0.165}
    ranking = {
        name: {
            "ndcg@10": np.clip(luck * mean / 0.23 + random.normal(0, 0.02, num_customers), 0, 1),
            "hr@10": (random.random(num_customers) < 2.3 * mean).astype(np.float64),
            "mrr": np.clip(luck * mean / 0.15, 0, 1),
            "recall@20": np.clip(luck * mean / 0.21, 0, 1),
        }
        for name, mean in quality.items()
    }
    taste = random.normal(0, 1, num_customers)
    labels = random.random(num_customers) < 1 / (1 + np.exp(-1.5 * taste))
    skill = {"model": model_skill, "rfm": 0.8, "boosted_trees": 1.5}
    probabilities = {name: 1 / (1 + np.exp(-1.3 * taste - random.normal(0, 2 / value, num_customers))) for name, value in skill.items()}
    timestamps = START + np.sort((365 * DAY * random.beta(2, 1.6, 20_000)).astype(np.int64))
    return ReportContents(
        name="demo",
        created="2026-01-05 14:12 UTC",
        store={
            "counts": {"read": 1_477_998, "kept": 1_477_944, "quarantined": 54, "customers": 2469, "items": 69024},
            "reasons": {"unreadable price": 49, "exact repeat": 5},
            "sources": [{"path": "transactions.parquet", "bytes": 13_192_645, "sha256": "76623b3d04ca2dcac426759f5b8955c3"}],
            "data": {"caveat": "These data are said to be simulated."},
        },
        timestamps=timestamps,
        spans=[
            TimeSpan("training", START, START + 309 * DAY),
            TimeSpan("validation", START + 309 * DAY, START + 337 * DAY),
            TimeSpan("test", START + 337 * DAY, START + 365 * DAY),
        ],
        metrics=[
            {
                "epoch": epoch,
                "train/loss": 5 + 3 / (1 + epoch),
                "validation/loss": 5.4 + 2 / (1 + epoch),
                "validation/next_item_ndcg@10": 0.22 - 0.1 / (1 + epoch),
                "validation/intent_auroc": 0.83 - 0.06 / (1 + epoch),
                "validation/next_item_recall@5": 0.1,
            }
            for epoch in range(8)
        ],
        comparisons=[
            of_rankings(
                "What is in the next basket within 28 days?",
                np.arange(num_customers),
                ranking,
                {"buy_again": "count with half-life 120 days"},
                seed=seed,
            ),
            of_probabilities(
                "Who buys within 7 days?",
                np.arange(num_customers),
                labels,
                probabilities,
                {"boosted_trees": "130 trees of 15 leaves"},
                seed=seed,
            ),
        ],
        stories=[
            Story(
                customer="1228",
                history=[("28 Nov", ["MILK 2% 1 GAL", "BANANAS"]), ("1 Dec", ["CHEESE & CRACKERS", "WHEAT BREAD 20 OZ"])],
                predicted=["BANANAS", "MILK 2% 1 GAL", "EGGS DOZEN", "SOFT DRINKS 12 PK"],
                came=["MILK 2% 1 GAL", "POTATO CHIPS", "EGGS DOZEN"],
                chances={"model": 0.71, "rfm": 0.58, "boosted_trees": 0.69},
                came_back=True,
            ),
            Story(customer="<script>", history=[], predicted=["BANANAS"], came=[], chances={"model": 0.07}, came_back=False),
        ],
        environment={"seed": str(seed), "torch": "2.13.0", "hardware": "2 cores, x86_64, Linux", "training": "212 seconds"},
    )
