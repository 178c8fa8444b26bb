"""One plain sentence on how a training goes."""

from typing import Any

import pytest

from core.runs.progress import Progress
from core.runs.store import RunRecord
from ui import sentences
from ui.text import Text


def record(state: Any = "RUNNING", **more: Any) -> RunRecord:
    return RunRecord("0" * 32, "local", state, 1, 0.0, 0.0, **more)


def training(values: list[float], held_out: list[float], trained: list[float]) -> Progress:
    seen = [(i, loss, value, False) for i, (loss, value) in enumerate(zip(held_out, values, strict=True))]
    return Progress(phase="training", evaluations=seen, losses=list(enumerate(trained)))


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (Progress(), "starting"),
        (Progress(phase="loading"), "preparing"),
        (training([], [], [2.0]), "first_look"),
        (training([0.4], [1.5], [2.0]), "early"),
        (training([0.4, 0.6], [1.5, 1.2], [2.0, 1.0]), "learning"),
        (training([0.6, 0.55], [1.5, 1.2], [2.0, 1.0]), "levelling"),
        (training([0.3, 0.3], [2.0, 2.01], [2.0, 2.0]), "not_learning"),
        (training([0.5, 0.6, 0.6], [1.0, 1.2, 1.5], [2.0, 0.1]), "memorising"),
        (Progress(phase="testing"), "testing"),
    ],
)
def test_judgement_of_a_running_run(progress: Progress, expected: str) -> None:
    assert sentences.judgement(record(), progress) == expected


@pytest.mark.parametrize(
    ("state", "has_result", "expected"),
    [
        ("QUEUED", False, "queued"),
        ("STOPPING", False, "stopping"),
        ("FINISHED", True, "finished"),
        ("STOPPED", True, "stopped"),
        ("STOPPED", False, "stopped_early"),
        ("FAILED", False, "failed"),
        ("INTERRUPTED", False, "interrupted"),
    ],
)
def test_judgement_of_other_states(state: str, has_result: bool, expected: str) -> None:
    code = sentences.judgement(record(state, has_result=has_result), Progress(phase="training"))
    assert code == expected
    assert Text("en").has(f"going.{code}")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.2, "1 second"), (59, "59 seconds"), (61, "2 minutes"), (3700, "1 h 1 min")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert sentences.duration(Text("en"), seconds) == expected


def test_amounts_are_grouped_as_the_language_does() -> None:
    assert sentences.count(Text("en"), 22_713_216) == "22.7 million"
    assert sentences.count(Text("zh-CN"), 22_713_216) == "2,271 万"
    assert sentences.size(Text("en"), 90 * 2**20) == "90 MB"
