"""What is learned is what is answered; labels are those of a loop over the log; quality is that of the plain metrics."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_sequences import (
    FIRST_ADVERT,
    NUM_ITEMS,
    PURCHASE,
    START,
    VIEW,
    facts_of,
    log_of,
    one_each,
    questions_of,
    random_log,
    rows_of,
    small_model,
)
from torch import Tensor

from training.evaluation.outcomes import outcome_metrics
from training.models.items import Items
from training.models.model import SequenceModel
from training.objectives.intent import Intent
from training.objectives.next_item import NextItem, one_in
from training.objectives.objective import Context
from training.sequences.history import History
from training.sequences.split import DAY

NOW, UNTIL = START + 25 * DAY, START + 45 * DAY
WEEK = 7 * DAY


def shop(*, adverts: bool) -> History:
    log = random_log(8)
    kinds = (VIEW, PURCHASE, 4) if adverts else (VIEW, PURCHASE)
    return log.where(np.isin(log.columns["event"], kinds))


def asked(log: History, *, repeat: bool = True) -> tuple[SequenceModel, Context]:
    """A model and what it makes of every customer at NOW."""
    model = small_model(log, repeat=repeat).requires_grad_(False)
    customers, now, ones = one_each(log, NOW)
    batch = questions_of(log, model).ask(customers, now, ones, np.full(log.num_customers, UNTIL))
    return model, model.represent(batch)


def next_item(model: SequenceModel) -> NextItem:
    objective = model.objectives["next_item"]
    assert isinstance(objective, NextItem)
    return objective


def intent(model: SequenceModel) -> Intent:
    objective = model.objectives["intent"]
    assert isinstance(objective, Intent)
    return objective


def one_basket(context: Context, question: int, items: list[int]) -> dict[str, Tensor]:
    """Labels in which one question alone is followed by something."""
    counts = torch.zeros(len(context.batch.now), dtype=torch.int64)
    counts[question] = len(items)
    return {"items": torch.tensor(items, dtype=torch.int64), "offsets": torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])}


@pytest.mark.parametrize("repeat", [True, False], ids=["with repeats", "without"])
def test_what_is_learned_is_what_is_answered(repeat: bool) -> None:
    """The loss never holds all scores, the answer does: two roads to one log P, for every question and every item."""
    model, context = asked(shop(adverts=True), repeat=repeat)
    objective = next_item(model)
    scores = objective.scores(context)
    for question in range(len(scores)):
        for item in np.flatnonzero(scores[question].isfinite()):
            summed, count = objective.loss(context, one_basket(context, question, [int(item)]))
            torch.testing.assert_close(-summed / count, scores[question, item], rtol=1e-4, atol=1e-5)


def test_a_basket_costs_the_mean_of_its_items_and_weighs_the_root_of_their_number() -> None:
    model, context = asked(shop(adverts=False))
    scores = next_item(model).scores(context)
    candidates = torch.isfinite(next_item(model).candidate_bias).nonzero()[:, 0].tolist()
    for basket in (candidates[:1], candidates[1:4], candidates[:6]):
        summed, count = next_item(model).loss(context, one_basket(context, 1, basket))
        torch.testing.assert_close(-summed / count, scores[1, basket].mean(), rtol=1e-4, atol=1e-5)
        assert count.item() == pytest.approx(len(basket) ** 0.5)


def test_no_next_basket_costs_nothing() -> None:
    model, context = asked(shop(adverts=False))
    summed, count = next_item(model).loss(context, one_basket(context, 1, []))
    assert summed == count == 0


@pytest.mark.parametrize("repeat", [True, False], ids=["with repeats", "without"])
def test_probabilities_of_the_catalogue_add_up_to_one(repeat: bool) -> None:
    model, context = asked(shop(adverts=False), repeat=repeat)
    torch.testing.assert_close(next_item(model).scores(context).exp().sum(-1), torch.ones(12))


def test_they_do_so_after_adverts_too() -> None:
    model, context = asked(shop(adverts=True))
    torch.testing.assert_close(next_item(model).scores(context).exp().sum(-1), torch.ones(12))


def test_what_is_not_for_sale_has_no_probability() -> None:
    log = shop(adverts=True)
    model, context = asked(log)
    assert (context.batch.fields["item"] >= FIRST_ADVERT).any()
    known = History.at(log, START + 30 * DAY)  # what training sees
    bought = set(known.columns["item"][known.columns["event"] == PURCHASE].tolist())
    for item in range(NUM_ITEMS):
        scores = next_item(model).scores(context)[:, item]
        assert scores.isfinite().all() if item in bought else scores.isneginf().all(), item


@pytest.mark.parametrize("item", [0, 1, FIRST_ADVERT], ids=["missing", "unknown", "advert"])
def test_what_cannot_be_bought_lends_its_weight_to_nothing(item: int) -> None:
    """Asked with the same representation, an event of such an item changes no odds between candidates."""
    log = shop(adverts=False)
    model, context = asked(log)
    items = context.batch.fields["item"].clone()
    items[0] = item
    other = replace(context, batch=replace(context.batch, fields={**context.batch.fields, "item": items}))
    own = {*items[: int(context.batch.offsets[1])].tolist(), *context.batch.fields["item"][:1].tolist()}
    untouched = [candidate for candidate in range(2, FIRST_ADVERT) if candidate not in own]
    ours, theirs = (next_item(model).scores(each)[0, untouched].log_softmax(-1) for each in (context, other))
    torch.testing.assert_close(ours, theirs)


def test_repeating_favours_what_was_bought_and_twice_what_was_bought_twice() -> None:
    log = log_of([[(START, PURCHASE, 2), (START, PURCHASE, 2), (START, PURCHASE, 3)]])
    objective = plain_repeat(log)
    probability = objective.scores(context_of(log, [START + DAY])).exp()[0]
    explored = probability[4]  # nobody ever took it: by popularity as good as none
    assert probability[2] > probability[3] > 3 * explored


def test_an_event_after_the_question_is_not_repeated() -> None:
    before, after = (START, PURCHASE, 2), (START + 10 * DAY, PURCHASE, 3)
    with_future, without = log_of([[before, after]]), log_of([[before]])
    objective = plain_repeat(with_future)
    both = objective.scores(context_of(with_future, [START + DAY, START + 11 * DAY]))
    torch.testing.assert_close(both[:1], objective.scores(context_of(without, [START + DAY])))
    assert both[1, 3] > both[0, 3] + 0.2  # once it has happened, it is


def plain_repeat(log: History) -> NextItem:
    """As built, nothing learned yet."""
    return NextItem(events=["purchase"], dim=4, repeat=True, top_k=3, every=1, weight=1.0, facts=facts_of(log, START + 99 * DAY)).eval()


def context_of(log: History, moments: list[int]) -> Context:
    """One customer's questions, with a representation that says nothing."""
    batch = questions_of(log).ask(np.array([0]), np.array(moments), np.array([len(moments)]))
    questions = torch.zeros(len(moments), 4)
    return Context(batch, None, questions, questions, Items.from_pretrained(torch.zeros(NUM_ITEMS, 4)))  # type: ignore[arg-type]


def test_some_moments_are_learned_from_in_training_alone() -> None:
    log = shop(adverts=False)
    model = small_model(log).requires_grad_(False)
    objective = next_item(model)
    now = START + np.tile([5, 10, 20, 30], 2) * DAY + np.arange(8)
    batch = questions_of(log, model).ask(np.array([0, 1]), now, np.array([4, 4]), np.full(2, UNTIL))
    labels, context = batch.labels["next_item"], model.represent(batch)
    chosen = torch.nonzero(one_in(2, batch.now))[:, 0].tolist()
    assert 0 < len(chosen) < 8
    whole = objective.loss(context, labels)
    parts = [objective.loss(context, only(labels, question)) for question in chosen]
    objective.every = 2
    assert objective.loss(context, labels) == whole  # validation looks at all of them
    thinned = objective.train().loss(context, labels)
    torch.testing.assert_close(thinned, (sum(part[0] for part in parts), sum(part[1] for part in parts)))


@pytest.mark.parametrize("unit", [1, 1_000_000, DAY], ids=["microseconds", "seconds", "days"])
def test_thinning_leaves_out_no_stretch_of_time(unit: int) -> None:
    now = START // unit * unit + torch.arange(8000) * unit
    kept = one_in(8, now).view(8, 1000).sum(1)
    assert ((kept > 80) & (kept < 170)).all()


def only(labels: dict[str, Tensor], question: int) -> dict[str, Tensor]:
    counts = labels["offsets"].diff()
    mine = torch.arange(len(counts)) == question
    return {
        "items": labels["items"][mine.repeat_interleave(counts)],
        "offsets": torch.cat([torch.zeros(1, dtype=torch.int64), (counts * mine).cumsum(0)]),
    }


def test_answers_are_the_best_of_all_scores() -> None:
    model, context = asked(shop(adverts=True))
    answers, scores = next_item(model).predict(context), next_item(model).scores(context)
    assert answers["item_id"].shape == (12, 5)
    torch.testing.assert_close(answers["item_score"], scores.gather(1, answers["item_id"]))
    torch.testing.assert_close(answers["item_score"], scores.sort(descending=True).values[:, :5])


def test_labels_of_next_item_are_the_next_basket() -> None:
    log = shop(adverts=True)
    now, owner, until = moments_of(log)
    labels = next_item(small_model(log)).labels(log, now, owner, until)
    found = np.split(labels["items"], labels["offsets"][1:-1])
    for question, moment in enumerate(now):
        rows = [row for row in rows_of(log, int(owner[question])) if row[1] == PURCHASE and moment < row[0] <= until[question]]
        assert found[question].tolist() == sorted({item for time, _, item in rows if time == rows[0][0]})
    assert 0 < sum(len(items) > 0 for items in found) < len(now)


def moments_of(log: History) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """now, owner, until: three moments of each customer, one of them at a step of theirs."""
    random = np.random.default_rng(0)
    owner = np.repeat(np.arange(log.num_customers), 3)
    now = START + random.integers(-5 * DAY, 60 * DAY, len(owner))
    first = np.append(log.columns["timestamp"], START)[log.offsets[:-1]]
    now[::3] = first
    return now, owner, now + random.integers(0, 20 * DAY, len(owner))


def test_labels_of_intent_are_censored_not_zero() -> None:
    log = shop(adverts=True)
    now, owner, until = moments_of(log)
    until[1] = now[1] + WEEK  # known to the very end
    labels = intent(small_model(log)).labels(log, now, owner, until)
    for question in range(len(now)):
        rows = list(rows_of(log, int(owner[question])))
        known = now[question] + WEEK <= until[question]
        met = any(time <= now[question] for time, *_ in rows)
        assert labels["observed"][question] == (known and met), question
        if known:
            bought = any(event == PURCHASE and now[question] < time <= now[question] + WEEK for time, event, _ in rows)
            assert labels["bought"][question] == bought, question
    assert 0 < labels["bought"][labels["observed"]].mean() < 1
    assert not labels["observed"].all()


def test_a_purchase_at_the_end_of_the_horizon_counts_the_next_microsecond_does_not() -> None:
    for late, bought in [(0, 1.0), (1, 0.0)]:
        log = log_of([[(START, VIEW, 2), (START + WEEK + late, PURCHASE, 2)]])
        labels = intent(small_model(shop(adverts=False))).labels(log, np.array([START]), np.array([0]), np.array([START + 2 * WEEK]))
        assert labels["bought"].tolist() == [bought]
        assert labels["observed"].tolist() == [True]


def test_who_is_not_known_yet_is_not_judged_by_who_stands_next_in_the_log() -> None:
    """Customers without an event up to `until`: the first event of another is no sign that they had been seen."""
    log = log_of([[], [(START, VIEW, 2)], []])
    now = np.full(3, START + DAY)
    labels = intent(small_model(shop(adverts=False))).labels(log, now, np.arange(3), now + WEEK)
    assert labels["observed"].tolist() == [False, True, False]


def test_loss_of_intent_is_that_of_the_observed() -> None:
    model, context = asked(shop(adverts=False))
    labels = context.batch.labels["intent"]
    assert 0 < labels["observed"].sum() < len(labels["observed"])
    probability = intent(model).predict(context)["purchase_probability"].tolist()
    naive = [
        -math.log(p if bought else 1 - p)
        for p, bought, observed in zip(probability, labels["bought"].tolist(), labels["observed"].tolist(), strict=True)
        if observed
    ]
    summed, count = intent(model).loss(context, labels)
    assert count == len(naive)
    assert summed.item() == pytest.approx(sum(naive), rel=1e-4)


def test_intent_is_judged_by_the_plain_metrics() -> None:
    model, context = asked(random_log(9, num_customers=60))
    labels = context.batch.labels["intent"]
    evidence = intent(model).judge(context, labels)
    observed = labels["observed"].numpy()
    assert (np.isnan(evidence["probability"]) == ~observed).all()
    assert (np.isnan(evidence["bought"]) == ~observed).all()
    said = intent(model).predict(context)["purchase_probability"].numpy()[observed]
    expected = outcome_metrics(labels["bought"].numpy()[observed] > 0, said)
    assert intent(model).summarise(evidence) == pytest.approx(expected, rel=1e-4)
    assert intent(model).summarise({name: np.full(3, np.nan) for name in evidence}) == {}


def test_next_item_is_judged_by_the_places_of_the_basket() -> None:
    model, context = asked(random_log(9, num_customers=60))
    objective, labels = next_item(model), context.batch.labels["next_item"]
    evidence, scores = objective.judge(context, labels), objective.scores(context).numpy()
    shown = evidence.pop("shown_items")
    baskets = np.split(labels["items"].numpy(), labels["offsets"][1:-1].numpy())
    for question, basket in enumerate(baskets):
        if len(basket):
            assert set(shown[question]) == set(np.argsort(-scores[question], kind="stable")[:10])
        else:
            assert not shown[question].any()
            assert all(np.isnan(values[question]) for values in evidence.values())
            continue
        ranking = sorted(range(NUM_ITEMS), key=lambda item: (-scores[question, item], item))
        places = [ranking.index(item) + 1 for item in basket]
        found = [place for place in places if place <= 5]
        ideal = sum(1 / math.log2(1 + place) for place in range(1, min(len(basket), 5) + 1))
        assert evidence["mrr"][question] == pytest.approx(1 / min(places))
        assert evidence["hr@5"][question] == bool(found)
        assert evidence["recall@5"][question] == pytest.approx(len(found) / len(basket))
        assert evidence["ndcg@5"][question] == pytest.approx(sum(1 / math.log2(1 + place) for place in found) / ideal)
    followed = [len(basket) > 0 for basket in baskets]
    assert 0 < sum(followed) < len(followed)
    assert objective.summarise(evidence)["mrr"] == pytest.approx(evidence["mrr"][followed].mean())


def test_nothing_to_judge_is_nothing_to_summarise() -> None:
    model, context = asked(shop(adverts=False))
    evidence = next_item(model).judge(context, one_basket(context, 0, []))
    assert not evidence.pop("shown_items").any()
    assert all(np.isnan(values).all() for values in evidence.values())
    assert next_item(model).summarise(evidence) == {}


def test_only_keeps_the_chosen_questions_of_their_customers() -> None:
    log = shop(adverts=False)
    model = small_model(log).requires_grad_(False)
    now = START + np.array([5, 30, 10, 20, 40]) * DAY
    batch = questions_of(log).ask(np.array([0, 2, 5]), now, np.array([2, 0, 3]))
    chosen = torch.tensor([False, True, True, False, True])
    context = model.represent(batch)
    some = context.only(chosen)
    assert some.batch.question_offsets.tolist() == [0, 1, 1, 3]
    assert some.batch.now.tolist() == now[chosen.numpy()].tolist()
    torch.testing.assert_close(next_item(model).scores(some), next_item(model).scores(context)[chosen])
    ours, theirs = (intent(model).predict(each)["purchase_probability"] for each in (some, context))
    torch.testing.assert_close(ours, theirs[chosen])
