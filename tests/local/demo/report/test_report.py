"""The report is one page that needs nothing else, says what it shows, and survives whatever a demo did not reach."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from demo.report.record import DemoRecord
from demo.report.report import html
from tests.local.demo.records import DIGEST

PARTS = ("features", "training", "gate", "registry", "experiment", "approval", "production")


class Ids(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.ids += [value for name, value in attrs if name == "id"]


@pytest.fixture(scope="module")
def page(record: DemoRecord) -> str:
    return html(record)


def test_holds_all_plots_and_each_says_how_to_read_it(page: str) -> None:
    assert page.count("<svg") == 5
    assert page.count("How to read it:") == 5


def test_needs_no_other_file(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*"', page)
    assert "@import" not in page
    assert "<script" not in page


def test_plots_take_the_colour_of_the_page(page: str) -> None:
    assert "currentColor" in page
    assert "#010203" not in page


def test_plots_do_not_share_ids_that_they_refer_to(page: str) -> None:
    parser = Ids()
    parser.feed(page)
    referred = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", page))
    names = {name for pair in referred for name in pair if name}
    assert names
    assert all(parser.ids.count(name) == 1 for name in names)


def test_shows_the_key_numbers(page: str) -> None:
    for text in (
        DIGEST,
        "product_manager",
        "0.5000",
        "1500 users in control",
        "ranking-model",
        "821 requests",
        "held for 17.3 s",
        "41.3",
        "train.train_model: queued 1.5, deferred 8.5",
    ):
        assert text in page


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "[&lt;0.05, 0.15]" in page
    assert "[<0.05" not in page


def test_reactions_to_own_logs_are_called_simulated(record: DemoRecord, page: str) -> None:
    sentence = "drawn from rates estimated on that log"
    own = record.source.model_copy(update={"own_logs": True})
    assert sentence in html(record.model_copy(update={"source": own}))
    assert sentence not in page


@pytest.mark.parametrize("missing", [PARTS[i:] for i in (1, 3, 5)], ids=[PARTS[i] for i in (1, 3, 5)])
def test_tells_about_a_demo_that_came_only_so_far(record: DemoRecord, missing: tuple[str, ...]) -> None:
    short = record.model_copy(update={**dict.fromkeys(missing), "failure": "RunFailedError: step died"})
    page = html(short)
    assert "step died" in page
    assert "as it was" in page


def test_a_demo_without_tasks_and_traffic_has_a_report(record: DemoRecord) -> None:
    bare = record.model_copy(update={**dict.fromkeys(PARTS), "tasks": (), "stages": (), "traffic": ()})
    assert "Ranking lifecycle" in html(bare)


def test_an_experiment_without_an_interval_has_no_plot(record: DemoRecord) -> None:
    assert record.experiment is not None
    unbounded = {"contacts": {"lift": None, "lower": None, "upper": None}}
    look = record.experiment.looks[0].model_validate({**record.experiment.looks[0].model_dump(), "lifts": unbounded})
    experiment = record.experiment.model_copy(update={"looks": (look,)})
    assert html(record.model_copy(update={"experiment": experiment})).count("<svg") == 4
