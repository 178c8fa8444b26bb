"""What a training would take, before it starts: in words, kept for the same choices, and calm about what is missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from core.estimating.asking import Estimate
from core.settings import Limits
from core.spec import TrainSpec
from tests.ui.conftest import going_on
from ui import choices, estimating
from ui.page import Visit
from ui.tabs import training
from ui.tabs.data import handing_in
from ui.text import Text

FOUND = Estimate(
    seconds=170.0,
    memory_bytes=int(1.6 * 2**30),
    disk_bytes=2**29,
    parts={"preparing": 10.0, "training": 120.0, "validating": 20.0, "testing": 20.0},
    steps=60,
    measured=6,
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[TrainSpec]:
    """What was measured; each measurement finds the same."""
    asked: list[TrainSpec] = []

    def measure(spec: TrainSpec, *given: Any) -> Estimate:
        asked.append(spec)
        return FOUND

    monkeypatch.setattr(estimating, "estimate", measure)
    return asked


def asked(visit: Visit) -> list[dict[str, Any]]:
    return list(estimating.ask(visit))


def shown(visit: Visit) -> str:
    return str(training.view(visit)["estimate"].value)


def test_it_is_said_in_plain_words_and_kept_for_the_same_choices(ready: Visit, measured: list[TrainSpec]) -> None:
    assert training.view(ready)["ask"].interactive
    assert shown(ready) == ""
    waiting, said = asked(ready)
    assert not waiting["ask"].interactive
    assert "90 seconds" in waiting["estimate"].value
    assert said["ask"].interactive
    assert (
        "About 3 minutes (2 to 4). It needs 1.6 GB of memory. It takes about 512 MB on the disk while it trains."
        in said["estimate"].value
    )
    assert "Measured here with 6 real steps. 71 % of the time goes into learning." in said["estimate"].value
    assert shown(ready) == said["estimate"].value
    assert asked(ready)[1]["estimate"].value == said["estimate"].value
    assert len(measured) == 1
    ready.change(knobs={"epochs": 7})
    assert shown(ready) == ""
    asked(ready)
    assert [spec.epochs for spec in measured][1:] == [7]
    ready.change(knobs={})
    assert shown(ready) == said["estimate"].value


def test_it_is_for_its_owner_alone(ready: Visit, measured: list[TrainSpec], spreadsheet: Callable[..., Path]) -> None:
    stranger = replace(ready, owner="hf:stranger")
    handing_in.upload(stranger, str(spreadsheet()))
    assert choices.train_spec(stranger) == choices.train_spec(ready)
    asked(ready)
    assert shown(ready) != ""
    assert shown(stranger) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(FOUND, seconds=20.0), "20 seconds (15 to 25)"),
        (replace(FOUND, seconds=7200.0), "2 h 0 min (1 h 30 min to 2 h 30 min)"),
        (replace(FOUND, at_least=True, memory_bytes=None), "More than 3 minutes: not everything"),
        (replace(FOUND, steps=0, measured=400), "Measured here on 400 of your texts."),
    ],
)
def test_each_outcome_has_its_words(ready: Visit, found: Estimate, words: str) -> None:
    assert words in estimating.said(ready, found)
    chinese = estimating.said(replace(ready, text=Text("zh-CN")), found)
    assert words not in chinese
    assert "{" not in chinese
    if found.memory_bytes is None:
        assert "memory" not in estimating.said(ready, found)


def test_a_training_that_may_not_take_that_long_is_told_so(ready: Visit) -> None:
    limits = replace(Limits(), run_seconds=3600.0)
    shared = replace(ready, house=replace(ready.house, settings=replace(ready.house.settings, limits=limits)))
    assert "longer than the 1 hours" in estimating.said(shared, replace(FOUND, seconds=4000.0))
    assert "longer than" not in estimating.said(shared, FOUND)


def test_what_is_missing_is_said_and_may_be_tried_again(
    visit: Visit, spreadsheet: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not training.view(visit)["ask"].interactive
    said = asked(visit)[1]
    assert "There is no data yet" in said["estimate"].value
    assert said["ask"].interactive


def test_no_answer_is_not_kept(ready: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*given: Any) -> Estimate:
        raise UserError("estimate_busy")

    monkeypatch.setattr(estimating, "estimate", busy)
    assert "estimated right now" in asked(ready)[1]["estimate"].value
    monkeypatch.setattr(estimating, "estimate", lambda *given: Estimate(at_least=True, disk_bytes=2**29))
    assert "could not be found out within 90 seconds" in asked(ready)[1]["estimate"].value
    assert shown(ready) == ""
    monkeypatch.setattr(estimating, "estimate", lambda *given: FOUND)
    assert "About 3 minutes" in asked(ready)[1]["estimate"].value


def test_a_run_says_by_itself_how_long_it_takes(ready: Visit, measured: list[TrainSpec]) -> None:
    asked(ready)
    going_on(ready)
    view = training.view(ready)
    assert not view["ask"].visible
    assert view["estimate"].value == ""
    assert asked(ready)[1]["estimate"].value == ""
