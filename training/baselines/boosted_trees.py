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
        data = lightgbm.Dataset(train.values, train.labels.astype(np.float64), feature_name=train.names, free_raw_data=False)
        held = lightgbm.Dataset(validation.values, validation.labels.astype(np.float64), reference=data)
        fitted = [cls(_booster(data, held, leaves, seed), leaves) for leaves in NUM_LEAVES]
        return max(fitted, key=lambda one: one.booster.best_score["validation"]["auc"])

    @property
    def settings(self) -> str:
        return f"{self.booster.best_iteration} trees of {self.num_leaves} leaves"

    def probabilities(self, snapshots: Snapshots) -> np.ndarray:
        """float64 [rows]."""
        return np.asarray(self.booster.predict(snapshots.values))


def _booster(data: lightgbm.Dataset, held: lightgbm.Dataset, num_leaves: int, seed: int) -> lightgbm.Booster:
    parameters = {
        "objective": "binary",
        "metric": "auc",
        "num_leaves": num_leaves,
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
    }
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    return lightgbm.train(parameters, data, MAX_TREES, valid_sets=[held], valid_names=["validation"], callbacks=[stop])
