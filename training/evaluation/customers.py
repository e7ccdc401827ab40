"""What was said of customers (whether and when they buy again, what they spend, who stays) beside what every baseline says of them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from training.baselines.outcomes import OutcomeAnswers
from training.evaluation import outcome_plots as plots
from training.evaluation.compared import Comparison, of_loyalty, of_presence, of_returns, of_times, of_values
from training.evaluation.comparison import cutoff
from training.evaluation.panels import Panel
from training.evaluation.rivals import Rivals
from training.evaluation.verdict import MODEL
from training.sequences.history import History, customer_of_event, step_starts

Evidence = Mapping[str, np.ndarray]
SEGMENTS = {"never bought": (0, 0), "one purchase": (1, 1), "2 or 3": (2, 3), "4 to 7": (4, 7), "8 or more": (8, np.inf)}


def compare_return(
    rivals: Rivals, customers: np.ndarray, told: Evidence, *, kinds: np.ndarray, edges: np.ndarray, horizon_days: float
) -> list[Comparison]:
    """Whether they buy within what is known of the test window, and who does so first. told: what Dormancy.judge says of each [n].

    Where the hazard reaches further, the model's chance over all of it stands among the columns: see `chance_by`.
    """
    span = rivals.known_days(horizon_days)
    came, answers = told["came"] > 0, rivals.outcomes(kinds, span)
    returns = {MODEL: told["probability"], **_given(answers, "returns", customers)}
    days = {MODEL: told["expected_days"], **_given(answers, "days", customers)}
    asked = f"Asked on {cutoff(rivals.split)}: will the customer buy within {span:g} days? {100 * came.mean():.1f} % of {len(came):,} did."
    segments, without = _segments(rivals, customers, kinds), _left_out(answers)
    panels = [
        Panel(
            "How many are reached by writing to the most promising",
            "Customers in the order of the chance they were given. The dotted line is no order at all. Beside it, how many times as "
            "often as all customers each tenth of them bought.",
            [plots.gains(came, returns), plots.lift(came, told["probability"])],
        ),
        Panel(
            "How long they stay away",
            "Share of customers who have not bought since the cutoff, by the number of baskets they had bought before it: what the model "
            "expected (line) and what happened (steps, Kaplan-Meier).",
            [plots.survival(told["survival"], edges, told["days"], came, segments)],
        ),
    ]
    first = f"Asked on {cutoff(rivals.split)}: after how many days will the customer buy? Known for {span:g} days."
    returned = of_returns(asked + without, customers, came, returns, _settings(answers), panels, seed=rivals.seed)
    beyond = {chance_by("return_probability", horizon_days): 1 - told["survival"][:, -1]} if horizon_days > span else {}
    return [
        replace(returned, columns={**returned.columns, **beyond}),
        of_times(first + without, customers, told["days"], came, days, _settings(answers), seed=rivals.seed),
    ]


def compare_presence(rivals: Rivals, customers: np.ndarray, told: Evidence, *, kinds: np.ndarray, horizon_days: float) -> Comparison:
    """Whether they are seen within what is known of the test window. told: what Presence.judge says of each [n]."""
    span = rivals.known_days(horizon_days)
    seen, answers = told["came"] > 0, rivals.presence(kinds, span)
    chances = {MODEL: told["probability"], **_given(answers, "returns", customers)}
    asked = (
        f"Asked on {cutoff(rivals.split)}: will the customer be seen within {span:g} days? {100 * seen.mean():.1f} % of {len(seen):,} were."
    )
    compared = of_presence(asked + _left_out(answers), customers, seen, chances, _settings(answers), seed=rivals.seed)
    beyond = {chance_by("visit_probability", horizon_days): 1 - told["survival"][:, -1]} if horizon_days > span else {}
    return replace(compared, columns={**compared.columns, **beyond})


def compare_value(
    rivals: Rivals, customers: np.ndarray, told: Evidence, *, kinds: np.ndarray, horizon_days: float, interval: float
) -> list[Comparison]:
    """What they spend within what is known of the test window. told: what Value.judge says of each [n]."""
    span = rivals.known_days(horizon_days)
    spend, answers = told["spend"], rivals.outcomes(kinds, span)
    expected = {MODEL: told["expected"], **_given(answers, "value", customers)}
    inside = ((told["low"] <= spend) & (spend <= told["high"])).mean()
    panels = [
        Panel(
            "Expected and spent, by tenths of customers",
            "Customers in ten equal groups by what they were expected to spend, the most promising on the right.",
            [plots.deciles(spend, told["expected"]), plots.gains(spend, expected)],
        ),
        Panel(
            "Of how much, by how many",
            f"{100 * (spend > 0).mean():.1f} % spent anything; {100 * (1 - told['zero']).mean():.1f} % were expected to. Of all customers "
            f"{100 * inside:.1f} % spent what lies in the interval that should hold {100 * interval:g} %, who spend nothing among them.",
            [plots.amounts(spend, told["expected"])],
        ),
    ]
    asked = f"Asked on {cutoff(rivals.split)}: how much will the customer spend within {span:g} days?" + _left_out(answers)
    return [of_values(asked, customers, spend, expected, _settings(answers), panels, seed=rivals.seed)]


def compare_loyalty(
    rivals: Rivals, customers: np.ndarray, told: Evidence, *, kinds: np.ndarray, periods: int, within_days: float
) -> list[Comparison]:
    """Who qualifies in each of the periods, `within_days` long together. told: what Loyalty.judge says of each [n]."""
    stayed, answers = told["stayed"] > 0, rivals.outcomes(kinds, within_days)
    chances = {MODEL: told["probability"], **_given(answers, "returns", customers)}
    asked = (
        f"Asked on {cutoff(rivals.split)}: will the customer be loyal in each of the next {periods} periods of "
        f"{within_days / periods:.3g} days? {100 * stayed.mean():.1f} % of {len(stayed):,} were."
    )
    return [of_loyalty(asked + _left_out(answers), customers, stayed, chances, _settings(answers), seed=rivals.seed)]


def chance_by(output: str, days: float) -> str:
    """The column of predictions.parquet that holds this chance, by the model, within more days than the test window has."""
    return f"{output}_{MODEL}_{days:g}_days"


def _segments(rivals: Rivals, customers: np.ndarray, kinds: np.ndarray) -> dict[str, np.ndarray]:
    """Customers by how many baskets they had bought at the test moment: {segment: bool [n]}, those that hold anybody."""
    history = History.at(rivals.store, rivals.split.test.now)
    bought = history.where(np.isin(history.columns["event"], kinds))
    baskets = np.bincount(customer_of_event(bought.offsets)[step_starts(bought)], minlength=bought.num_customers)[customers]
    members = {name: (baskets >= low) & (baskets <= high) for name, (low, high) in SEGMENTS.items()}
    return {name: chosen for name, chosen in members.items() if chosen.any()}


def _given(answers: Mapping[str, OutcomeAnswers], what: str, customers: np.ndarray) -> dict[str, np.ndarray]:
    """One kind of answer of those baselines that have it: {baseline: [n]}."""
    every = {name: getattr(of, what) for name, of in answers.items()}
    return {name: values[customers] for name, values in every.items() if values is not None}


def _left_out(answers: Mapping[str, OutcomeAnswers]) -> str:
    """A sentence about the baselines that can't be asked; empty where there are none."""
    names = [name for name, of in answers.items() if of.why_not]
    return f" Left out: {', '.join(names)}; {answers[names[0]].why_not}." if names else ""


def _settings(answers: Mapping[str, OutcomeAnswers]) -> dict[str, str]:
    return {name: of.settings for name, of in answers.items()}
