"""Gradient-boosted trees on recency, frequency, monetary and time features (LightGBM): what most teams run for "will they come back"."""

from dataclasses import dataclass

import lightgbm
import numpy as np

from training.baselines.snapshots import Snapshots

NUM_LEAVES = (7, 15, 31)
MIN_IN_LEAF = 200
MAX_TREES = 1000
PATIENCE = 50


@dataclass(frozen=True)
class BoostedTrees:
    """The best of a small grid, stopped where validation stopped improving."""

    booster: lightgbm.Booster
    num_leaves: int

    @classmethod
    def fit(cls, train: Snapshots, validation: Snapshots, *, seed: int) -> "BoostedTrees":
        """Fitted on past snapshots; leaves a tree and number of trees by AUROC on validation."""
        booster, leaves = tuned(
            (train.values, train.labels.astype(np.float64)),
            (validation.values, validation.labels.astype(np.float64)),
            names=train.names,
            parameters={"objective": "binary", "metric": "auc"},
            seed=seed,
        )
        return cls(booster, leaves)

    @property
    def settings(self) -> str:
        return f"{self.booster.best_iteration} trees of {self.num_leaves} leaves"

    def probabilities(self, snapshots: Snapshots) -> np.ndarray:
        """float64 [rows]."""
        return np.asarray(self.booster.predict(snapshots.values))


def tuned(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    *,
    names: list[str],
    parameters: dict[str, float | str],
    seed: int,
) -> tuple[lightgbm.Booster, int]:
    """The best booster and its leaves a tree. train, validation: features [rows, F] and what happened [rows].

    parameters: LightGBM's `objective`, and the `metric` by which leaves and number of trees are chosen.
    """
    data = lightgbm.Dataset(*train, feature_name=names, free_raw_data=False)
    held = lightgbm.Dataset(*validation, reference=data)
    fitted = [(_booster(data, held, parameters | {"num_leaves": leaves}, seed), leaves) for leaves in NUM_LEAVES]
    metric = str(parameters["metric"])
    return max(fitted, key=lambda one: (1 if metric == "auc" else -1) * one[0].best_score["validation"][metric])


def _booster(data: lightgbm.Dataset, held: lightgbm.Dataset, chosen: dict[str, float | str], seed: int) -> lightgbm.Booster:
    parameters = {
        "min_data_in_leaf": MIN_IN_LEAF,
        "learning_rate": 0.05,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        "feature_pre_filter": False,
        **chosen,
    }
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    return lightgbm.train(parameters, data, MAX_TREES, valid_sets=[held], valid_names=["validation"], callbacks=[stop])
