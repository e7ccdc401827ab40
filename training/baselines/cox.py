"""Cox's proportional hazards (Cox 1972, Breslow's baseline), by lifelines: the hazard of the next purchase from what was bought so far."""

import warnings

import numpy as np

from training.baselines.outcome_question import Lessons, OutcomeAnswers, OutcomeQuestion
from training.baselines.snapshots import Snapshots

LOGARITHMS = ("recency_days", "tenure_days", "purchases", "spend", "distinct_items", "mean_gap_days", "recency_in_gaps", "purchases_91d")
PENALTY = 0.001  # against covariates that say the same
MAX_ROWS = 50_000
NUM_TIMES = 64  # at which the survival curve is read


def cox_outcomes(question: OutcomeQuestion) -> OutcomeAnswers:
    """Fitted on past moments, also those whose horizon is not over: what isn't known yet is censored. Says nothing of value."""
    import pandas as pd  # with lifelines it takes seconds to import, which no other command should wait for
    from lifelines import CoxPHFitter

    covariates, days, observed = _table(question.lessons, question.later, question.horizon_days)
    centre, spread = covariates.mean(axis=0), covariates.std(axis=0)
    varied = spread > 1e-6 * (1 + np.abs(centre))

    def standard(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(((values - centre) / np.where(varied, spread, 1.0))[:, varied], columns=np.array(LOGARITHMS)[varied])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.Pandas4Warning)  # lifelines calls pandas as before its version 4
        table = standard(covariates).assign(days=days, observed=observed)
        model = CoxPHFitter(penalizer=PENALTY).fit(table, "days", "observed")
        times = np.linspace(0.0, question.horizon_days, NUM_TIMES)
        survival = model.predict_survival_function(standard(_covariates(question.asked)), times=times).to_numpy()
    waiting = np.trapezoid(survival, times, axis=0)
    return OutcomeAnswers(
        question.spread(1 - survival[-1]), None, question.spread(waiting), f"{varied.sum()} covariates, penalty {PENALTY:g}"
    )


def _table(lessons: Lessons, later: Lessons, horizon_days: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariates [rows, F], days to the next purchase or to the end of what is known, whether it came: a part of the rows, evenly."""
    values = np.concatenate([_covariates(part.snapshots) for part in (lessons, later)])
    days, came = np.concatenate([lessons.days, later.days]), np.concatenate([lessons.returned, later.returned])
    rows = np.linspace(0, len(days) - 1, min(len(days), MAX_ROWS)).astype(np.int64)
    return values[rows], np.maximum(days[rows], 1e-3), came[rows]


def _covariates(snapshots: Snapshots) -> np.ndarray:
    """float64 [rows, F]. Who never bought has been away and a customer for no time; who bought once has no rhythm."""
    return np.log1p(np.nan_to_num(np.maximum(snapshots.columns(LOGARITHMS).astype(np.float64), 0.0), posinf=0.0))
