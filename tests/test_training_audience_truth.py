"""The chapter about the truth: who says the truth stands at the top of it, and a log without a known truth has none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_audience import scene_of, told
from helpers_simulator import simulated
from helpers_training import composed

from training.audience import tellings, truth
from training.audience.chapters import in_summary
from training.audience.refreshes import refreshes_chapter
from training.audience.scene import Scene
from training.audience.tellings import Tellings
from training.audience.truth import truth_chapter
from training.preprocess import preprocess

SIZE = ("num_customers=300", "num_events=20000", "num_items=200", "days=150", "layout=events")


def store_of(log: Path, folder: Path, *overrides: str) -> Path:
    return preprocess(composed("preprocess", [*overrides, f"data.path={log}", f"out={folder / 'store'}"]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    return store_of(simulated(folder / "log", *SIZE) / "events.parquet", folder, "data=events")


@pytest.fixture(scope="module")
def scene(store: Path) -> Scene:
    return scene_of(store, "objectives.loyalty.discount_events=[coupon]", "data.split.horizon_days=28")


@pytest.fixture(scope="module")
def few(scene: Scene) -> Tellings:
    found = Tellings.beside_the_log(scene)
    assert found is not None
    assert found.known.all()
    return found


def test_who_says_the_truth_comes_nearest(scene: Scene, few: Tellings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tellings, "NUM_TELLINGS", 20)
    monkeypatch.setattr(truth, "TELLINGS_A_DAY", 5)
    truths = few.truths()
    noise = np.random.default_rng(0).random(len(scene.drawn))
    answers = {f"{name}_{who}": values for name, values in truths.items() for who, values in (("model", truths[name]), ("rfm", noise))}
    returns = told(
        scene.drawn, return_probability_model=answers["returns_model"], return_probability_rfm=noise, came_back=truths["returns"] > 0.5
    )
    value = told(scene.drawn, value_model=noise, value_rfm=answers["value_model"])
    loyalty = told(scene.drawn, loyalty_model=answers["loyalty_model"])
    named = {name: replace(one, figures={"model": {}, "rfm": {}}) for name, one in (("returns", returns), ("value", value))}
    judged = replace(scene, compared={**named, "loyalty": loyalty})
    chapter = truth_chapter(judged, refreshes_chapter(judged).figures)
    assert chapter is not None
    spearman = chapter.figures["spearman"]
    assert list(spearman) == ["alive", "returns", "value", "loyalty", "kind"]
    assert [spearman[name]["model"].value for name in ("returns", "loyalty")] == pytest.approx([1, 1])
    assert (spearman["value"]["rfm"].value, abs(spearman["value"]["model"].value) < 0.3) == (pytest.approx(1), True)
    assert list(spearman["loyalty"]) == ["model", "rfm", "frequency"]
    assert chapter.opening.startswith("The model loses on Spearman of the true expected spend to RFM by ")
    assert "estimates of what a stale refresh costs" in chapter.opening
    costs = in_summary([chapter])["truth"]["refreshes"]["RFM"]["every 28 days"]
    assert costs["wrong"]["within"] is True, "RFM's classes are those of everybody, whoever is followed"
    assert costs["wrong"]["truth"] == pytest.approx(costs["wrong"]["told"]["value"], abs=1e-3), "all are followed in a log of so few"


VISITS = ["objective=[dormancy,presence,value,loyalty]", "visit_events=[view,purchase]", "objectives.presence.horizon_days=56"]


@pytest.mark.parametrize(
    ("section", "column", "overrides", "words"),
    [
        ("returns", "return_probability", ["objectives.dormancy.horizon_days=56"], "a purchase within 56 days"),
        ("presence", "visit_probability", VISITS, "being seen within 56 days"),
    ],
)
def test_of_who_is_still_there_all_speak_by_the_days_that_the_hazard_reaches(
    store: Path, monkeypatch: pytest.MonkeyPatch, section: str, column: str, overrides: list[str], words: str
) -> None:
    monkeypatch.setattr(tellings, "NUM_TELLINGS", 5)
    monkeypatch.setattr(truth, "TELLINGS_A_DAY", 2)
    scene = scene_of(store, "data.split.horizon_days=28", *overrides)
    found = Tellings.beside_the_log(scene)
    assert found is not None
    alive, noise = found.truths()["alive"], np.random.default_rng(0).random(len(scene.drawn))
    columns = {f"{column}_model": noise, f"{column}_rfm": alive, f"{column}_model_56_days": alive}
    judged = replace(scene, compared={section: replace(told(scene.drawn, **columns), figures={"model": {}, "rfm": {}})})
    chapter = truth_chapter(judged, refreshes_chapter(judged).figures)
    assert chapter is not None
    spearman = chapter.figures["spearman"]
    assert spearman["alive"]["model"].value == pytest.approx(1)
    assert {"rfm", "pareto_nbd", "boosted_trees"} < set(spearman["alive"])
    assert 0.1 < spearman["alive"]["rfm"].value < 1, "asked anew, for 56 days"
    assert set(spearman[section]) == {"model", "rfm"}, "as judged in the test window"
    assert words in chapter.panels[0].meaning


def test_chances_and_amounts_are_those_of_the_log(scene: Scene, few: Tellings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tellings, "NUM_TELLINGS", 40)
    truths = few.truths()
    bought, spend = scene.followed(scene.now, scene.until)
    chance = truths["returns"]
    assert abs((bought > 0).sum() - chance.sum()) < 4 * np.sqrt((chance * (1 - chance)).sum())
    assert not truths["value"][truths["alive"] == 0].any()
    assert (truths["loyalty"] <= chance + 1e-9).all()
    assert np.corrcoef(truths["value"], spend)[0, 1] > 0.5
    seven = few.chances(scene.now, scene.until, times=40)
    np.testing.assert_allclose(seven, chance, err_msg="the same dice")


def test_a_log_without_truth_has_no_such_chapter(small_store: Path) -> None:
    assert truth_chapter(scene_of(small_store), {}) is None


def test_keys_that_are_no_customers_are_said_to_be_strangers(tmp_path: Path) -> None:
    log = simulated(tmp_path / "log", *SIZE[:-1])
    chapter = truth_chapter(scene_of(store_of(log, tmp_path, "data=simulated"), "data=simulated"), {})
    assert chapter is not None
    assert "write it with layout=events" in chapter.opening
