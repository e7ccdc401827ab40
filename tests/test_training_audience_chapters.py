"""The report's chapters about customers as a whole: what they say where the truth was planted, and why where they say nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers_audience import bargain_store, scene_of, told

from training.audience import subgroups
from training.audience.chapters import audience_chapters, in_summary
from training.audience.loyalty_trap import loyalty_trap_chapter
from training.audience.migration import migration_chapter
from training.audience.scene import Scene
from training.audience.stability import stability_chapter
from training.audience.subgroups import bands, groups_of, subgroups_chapter
from training.build import build
from training.evaluation.panels import Chapter, between, number, percent
from training.sequences.split import DAY
from training.sequences.store import SequenceStore

SECTIONS = ["segments", "migration", "refreshes", "subgroups", "loyalty_trap", "stability"]


@pytest.fixture(scope="module")
def scene(small_store: Path) -> Scene:
    return scene_of(small_store, "data.split.horizon_days=14")


@pytest.fixture(scope="module")
def bargains(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    scene = scene_of(bargain_store(tmp_path_factory.mktemp("bargains")), "objectives.loyalty.discount_events=[coupon]")
    assert scene.discount_share(scene.now).round(6).tolist() == [1.0] * 24 + [0.0] * 24  # type: ignore[union-attr]
    return scene


def test_a_run_tells_of_its_customers_in_summary_and_report(outcomes_run: Path) -> None:
    audience = json.loads((outcomes_run / "summary.json").read_text())["audience"]
    assert list(audience) == SECTIONS
    assert not [section for section, figures in audience.items() if "why_not" in figures]
    assert sum(segment["customers"] for segment in audience["segments"]["learned"]) == pytest.approx(1, abs=1e-3)
    assert np.sum(audience["migration"]["moves"]) + audience["migration"]["new"] <= 48
    assert 0 < audience["refreshes"]["RFM"]["every 14 days"]["wrong"]["value"] < 1
    assert set(audience["loyalty_trap"]["spearman"]["everybody"]) == {"frequency", "RFM score", "model's loyalty", "model's value"}
    page = (outcomes_run / "report.html").read_text()
    for words in ("Who your customers are", "How long each segment stays away", "What a stale refresh costs", "The loyalty trap"):
        assert f"{words}</h" in page
    assert "Where customers went between" in page


def test_what_a_run_lacks_is_said(small_run: Path) -> None:
    audience = json.loads((small_run / "summary.json").read_text())["audience"]
    assert audience["loyalty_trap"]["why_not"].endswith("add objective=[...,loyalty,value].")
    assert "it has no objective dormancy. Add it, objective=[...,dormancy]." in (small_run / "report.html").read_text()


def test_without_a_shared_moment_nothing_is_told(small_store: Path) -> None:
    from helpers_training import train_config

    config = train_config(small_store, small_store / "unused", "objective=[next_item]", "data.split.kind=leave_one_out")
    chapters = audience_chapters(build(config, SequenceStore.open(small_store)), {}, seed=0, customers_per_batch=16)
    assert [chapter.panels for chapter in chapters] == [()]
    assert "it asks each customer at a moment of their own (split leave_one_out)" in chapters[0].opening


def test_bargain_hunters_are_where_frequency_fails(bargains: Scene) -> None:
    _, spend = bargains.followed(bargains.now, bargains.until)
    chapter = loyalty_trap_chapter(replace(bargains, compared={"value": told(bargains.drawn, spend=spend, value_model=spend)}))
    spearman = chapter.figures["spearman"]
    assert list(spearman) == ["everybody", "on discount: none", "on discount: over half"]
    assert spearman["on discount: none"]["frequency"]["value"] > 0.9
    assert spearman["on discount: over half"]["frequency"]["value"] < -0.9
    assert all(of["model's value"]["value"] == pytest.approx(1) for of in spearman.values())
    assert "model's value from 1.00 to 1.00" in chapter.opening


def test_the_group_that_is_served_worst_is_named(bargains: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    hunters, came = np.arange(48) < 24, np.arange(48) % 2 == 0
    assert groups_of(bargains)["bought on discount"]["over half"].tolist() == hunters.tolist()
    said = np.where(came != hunters, 0.6, 0.4)  # the wrong way round for hunters
    judged = replace(bargains, compared={"returns": told(bargains.drawn, came_back=came, return_probability_model=said)})
    assert "No group holds enough customers" in subgroups_chapter(judged).opening
    monkeypatch.setattr(subgroups, "FEWEST", 3)
    chapter = subgroups_chapter(judged)
    assert chapter.opening.startswith(
        "Who buys is told worst among “bought on discount: over half” (AUROC 0.000, against 0.500 among all)."
    )
    of_regulars = chapter.figures["returns"]["bought on discount"]["none"]
    assert (of_regulars["customers"], of_regulars["came"], of_regulars["auroc"]["model"].value) == (24, 0.5, 1.0)


def test_bands_hold_everybody_once() -> None:
    values = np.array([0, 0.1, 0.25, 0.4, 1.0, np.nan])
    found = bands(values, {"none": 0, "quarter": 0.25, "more": 1})
    assert {name: np.flatnonzero(members).tolist() for name, members in found.items()} == {"none": [0], "quarter": [1, 2], "more": [3, 4]}


def test_moves_are_of_those_who_had_a_class_both_times(scene: Scene) -> None:
    chapter = migration_chapter(scene, None)
    moves = np.array(chapter.figures["moves"])
    steps = scene.activity.steps
    before = np.unique(steps.customer[steps.timestamp <= scene.earlier])
    assert moves.sum() == chapter.figures["customers"] == len(before)
    assert chapter.figures["moved"]["RFM class"]["value"] == pytest.approx(1 - np.trace(moves) / moves.sum())
    nobody = migration_chapter(replace(scene, earlier=int(steps.timestamp.min()) - DAY), None)
    assert nobody.panels == ()
    assert nobody.opening.startswith("Nobody can be followed")


def test_nothing_moved_where_no_time_passed(scene: Scene) -> None:
    still = {name: np.repeat(values[:, 2:], 3, axis=1) for name, values in scene.told.values.items()}
    same = replace(
        scene, taught=scene.now, told=replace(scene.told, values=still, embedding=np.repeat(scene.told.embedding[:, 2:], 3, axis=1))
    )
    figures = stability_chapter(same).figures
    assert set(figures["features"].values()) == set(figures["scores"].values()) == {0.0}
    assert max(stability_chapter(scene).figures["features"].values()) > 0


def test_the_summary_holds_what_json_can() -> None:
    chapter = Chapter("one", "", "", (), {"a": np.float64(0.123456), "b": [float("nan"), 2], "c": {"d": "e"}})
    silent = Chapter("two", "", "This run can not say.")
    assert in_summary([chapter, silent]) == {
        "one": {"a": 0.1235, "b": [None, 2], "c": {"d": "e"}},
        "two": {"why_not": "This run can not say."},
    }


def test_numbers_for_people() -> None:
    assert (percent(0.1234), percent(float("nan"))) == ("12.3 %", "–")
    assert (number(1234.5678, 2), number(-0.0001)) == ("1,234.57", "0.000")
    assert (between((0.5, 0.4, 0.6), 1), between((float("nan"),) * 3)) == ("0.5 (0.4 to 0.6)", "–")
