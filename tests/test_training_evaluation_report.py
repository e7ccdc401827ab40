"""The report: the verdict first, everything inside one file, nothing of a log taken for markup."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_evaluation import report_contents

from training.evaluation.report import render, write_report


@pytest.fixture(scope="module")
def page() -> str:
    return render(report_contents())


def first_line(page: str) -> str:
    return re.search(r"<h1>(.*?)</h1>", page).group(1)  # type: ignore[union-attr]


def test_a_losing_model_is_told_in_the_first_line() -> None:
    page = render(report_contents(model_ndcg=0.15))
    assert re.fullmatch(
        r"The model loses on NDCG@10 to buy again by 0\.\d{4} \(95% interval 0\.\d{4} to 0\.\d{4}\) and item to item by .*",
        first_line(page),
    )
    assert 'class="verdict loses"' in page
    assert "The model beats every baseline on AUROC" in page
    assert "▼ worse" in page


def test_a_winning_model_is_told_too(page: str) -> None:
    assert first_line(page).startswith("The model beats every baseline")
    assert "▼ worse" not in page


def test_a_draw_is_called_not_distinguishable() -> None:
    assert re.match(
        r"The model is not distinguishable on AUROC of intent from .*boosted trees \(difference ",
        first_line(render(report_contents(model_skill=1.5))),
    )


def test_nothing_is_fetched(page: str) -> None:
    assert not re.findall(r"(?:https?:)?//[\w.]+", page)
    assert not re.findall(r"<(?:script|link|img|iframe|object)\b", page)
    assert all(target.startswith("#") for target in re.findall(r'(?:href|src)="([^"]*)"', page))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_every_picture_takes_its_colours_from_the_page(page: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(pictures) == 1 + 3 + 2 + 3  # time line, curves, forests, calibrations
    assert all('role="img"' in picture and "aria-label=" in picture for picture in pictures)
    assert {colour for picture in pictures for colour in re.findall(r"#[0-9a-f]{6}\b", picture)} <= {"#000000"}


def test_it_tells_what_was_read_and_what_was_not(page: str) -> None:
    for words in (
        "1,477,998",
        "unreadable price",
        "transactions.parquet",
        "These data are said to be simulated.",
        "2 cores, x86_64, Linux",
    ):
        assert words in page


def test_hits_are_marked_where_predicted_and_where_they_came(page: str) -> None:
    assert page.count("MILK 2% 1 GAL ✓") == 2
    assert "BANANAS ✓" not in page
    assert "Came back." in page
    assert "Did not come back." in page


def test_a_log_can_not_write_markup(page: str) -> None:
    assert "Customer &lt;script&gt;" in page


def test_a_log_without_intent_has_no_such_section() -> None:
    page = render(replace(report_contents(), comparisons=report_contents().comparisons[:1], stories=(), metrics=()))
    assert "AUROC" not in page
    assert first_line(page).startswith("The model beats every baseline on NDCG@10")


def test_it_is_written_whole_even_with_nothing_to_compare(tmp_path: Path) -> None:
    write_report(tmp_path / "run" / "report.html", replace(report_contents(), comparisons=()))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["report.html"]
    written = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert first_line(written).startswith("This run has nothing to compare")
    assert written.rstrip().endswith("</html>")
