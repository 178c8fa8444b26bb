"""A house on a temporary folder with real stores; nothing is started."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import events
from core.runs.store import EventWriter, RunRecord
from core.settings import Settings
from core.spec import DataChoice, TrainSpec
from ui.page import House, Visit, open_house
from ui.tabs import training
from ui.tabs.data import handing_in
from ui.text import Text

ROWS = [("where is my parcel", "delivery"), ("please refund me", "refund"), ("the app crashes", "defect")]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = open_house(Settings(home=tmp_path / "home"))
    yield opened
    opened.predictors.close()


@pytest.fixture
def visit(house: House) -> Visit:
    return Visit(house, Text("en"), "local")


@pytest.fixture
def stranger(house: House) -> Visit:
    return Visit(house, Text("en"), "hf:stranger")


@pytest.fixture
def spreadsheet(tmp_path: Path) -> Callable[..., Path]:
    """Writes a CSV of 60 rows in three labels, or of the rows given."""

    def write(rows: list[tuple[str, str]] | None = None, name: str = "mine.csv") -> Path:
        rows = rows or [(f"{text} number {i} thanks", label) for i in range(20) for text, label in ROWS]
        path = tmp_path / "upload" / name
        path.parent.mkdir(exist_ok=True)
        quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
        path.write_text("text,label\n" + "\n".join(quoted) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def ready(visit: Visit, spreadsheet: Callable[..., Path]) -> Visit:
    handing_in.upload(visit, str(spreadsheet()))
    return visit


def going_on(visit: Visit) -> RunRecord:
    """A run that has begun, with two steps done."""
    training.start(visit)
    runs = visit.house.runs
    record = runs.transition(runs.list("local")[0].id, ("QUEUED",), "STARTING", 0)
    record = runs.transition(record.id, ("STARTING",), "RUNNING", 1)
    writer = EventWriter(runs.folder(record.id), 1)
    writer.write(events.Started(device={"kind": "cpu", "precision": "float32"}))
    writer.write(events.Phase(name="training"))
    writer.write(events.Planned(steps=10, epochs=2, parameters=5, trainable=5))
    for step in (1, 2):
        writer.write(
            events.Step(step=step, epoch=0.2, loss=2.0 - step / 10, learning_rate=1, rows_per_second=9, seconds_left=90)
        )
    return record


def report(labels: list[str]) -> dict[str, Any]:
    """A report.json as the worker writes it."""
    scores = {"accuracy": 0.87, "macro_precision": 0.8, "macro_recall": 0.82, "macro_f1": 0.81}
    n = len(labels)
    return {
        "version": 1,
        "task": "classification",
        "labels": labels,
        "rows": {"train": 70, "validation": 15, "test": 15},
        "data": {"name": "mine.csv", "label_counts": dict.fromkeys(labels, 5), "findings": []},
        "model": {"source": "starter", "name": "minilm", "revision": None, "parameters": 22_713_216},
        "metrics": {**scores, "intervals": {name: [0.84, 0.9] for name in scores}},
        "baselines": {"majority": dict.fromkeys(scores, 0.2), "tfidf": dict.fromkeys(scores, 0.7)},
        "verdict": {
            "code": "beats_both", "strongest": "tfidf", "right": 13, "baseline_right": 10, "rows": 15, "chance": 0.01,
        },
        "per_class": [{"label": label, "precision": 0.8, "recall": 0.9, "f1": 0.85, "rows": 5} for label in labels],
        "confusion": [[5 if i == j else 0 for j in range(n)] for i in range(n)],
        "errors": [{"row": 7, "text": "where is it", "label": labels[0], "prediction": labels[1], "confidence": 0.9}],
        "examples": ["where is my parcel"],
        "device": {"kind": "cpu", "precision": "float32", "threads": 2, "reason": "cpu_float32_faster"},
        "seconds": 60.0, "epochs_done": 3.0, "best_epoch": 2.0, "stopped": False, "spec": {},
    }  # fmt: skip


@pytest.fixture
def finished(house: House) -> Callable[..., RunRecord]:
    """Puts a finished run of an owner into the store."""

    def finish(owner: str = "local", labels: list[str] | None = None) -> RunRecord:
        spec = TrainSpec(data=DataChoice(table="0" * 64, columns={"text": "text", "label": "label"}, name="mine.csv"))
        made = report(labels or ["delivery", "refund", "defect"])
        made["spec"] = spec.model_dump(mode="json")
        record = house.runs.create(spec, owner, "mine · MiniLM")
        folder = house.runs.folder(record.id)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text('{"model_type": "bert"}')
        (folder / "model" / "model.safetensors").write_bytes(b"weights")
        (folder / "report.json").write_text(json.dumps(made))
        record = house.runs.transition(record.id, ("QUEUED",), "STARTING", 0)
        record = house.runs.transition(record.id, ("STARTING",), "RUNNING", 1)
        return house.runs.transition(
            record.id, ("RUNNING",), "FINISHED", 1, has_result=True, headline={"accuracy": 0.87}
        )

    return finish
