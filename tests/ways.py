"""Each task with a tiny model of a family, and a home in which it goes the whole way in this process."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from core import events
from core.__main__ import main
from core.data.options import ReadOptions
from core.data.store import Table, TableStore
from core.device import Device, detect
from core.runs.store import RunStore
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, TrainSpec, build
from core.training.loop import Signals
from core.training.run import train
from tests import tiny

WORDS = [word.lower() for word in tiny.WORDS if len(word) > 2]
SIGNS = {"wet": "rain", "cold": "snow", "bright": "sun"}
GERMAN = {"red": "rot", "green": "gruen", "blue": "blau", "warm": "heiss", "cold": "kalt", "box": "kiste"}


def labelled(i: int) -> dict[str, str]:
    text, label = tiny.rows(i + 1)[i]
    return {"text": text, "label": label}


def several(i: int) -> dict[str, str]:
    """Each label has a word of its own; some rows have two labels, some one."""
    given = [label for place, label in enumerate(SIGNS) if i % 3 == place or i % 5 == place]
    return {"text": f"{' '.join(SIGNS[label] for label in given)} {phrase(i)}", "labels": ";".join(given)}


def pair(i: int) -> dict[str, str]:
    words = [list(GERMAN)[(i * step + i // 6) % 6] for step in (1, 5, 7)]
    return {"source": f"{' '.join(words)} {i}", "target": " ".join(GERMAN[word] for word in words)}


def document(i: int) -> dict[str, str]:
    return {
        "text": f"the {phrase(i)} {i} was late. it came again and {phrase(3 * i)}",
        "summary": f"{phrase(i)} was late and {phrase(i + 3)}",
    }


def exchange(i: int) -> dict[str, str]:
    return {"prompt": f"where is my {phrase(i)} {i}", "answer": f"my {WORDS[i % 5]} is here"}


def prose(i: int) -> dict[str, str]:
    return {"text": f"the {phrase(i)} was {phrase(i + 5)} {i} and it never came again"}


def phrase(i: int) -> str:
    return f"{WORDS[(i * 7) % len(WORDS)]} {WORDS[(i * 5 + i // 7) % len(WORDS)]}"


ROWS: dict[str, Callable[[int], dict[str, str]]] = {
    "classification": labelled,
    "multi_label": several,
    "translation": pair,
    "summarization": document,
    "chat": exchange,
    "text_generation": prose,
}
MODELS = {
    **dict.fromkeys(tiny.ENCODERS, tiny.encoder),
    **dict.fromkeys(tiny.LANGUAGE_MODELS, tiny.language_model),
    **dict.fromkeys(tiny.ENCODER_DECODERS, tiny.encoder_decoder),
}
# The same tests can be run on a machine's CUDA card: TESTS_DEVICE=cuda python -m pytest tests/core/test_whole_way.py
DEVICE = detect() if os.environ.get("TESTS_DEVICE") == "cuda" else Device("cpu", "float32", 1, "cpu_float32_faster")
LANGUAGES = {"source_language": "en", "target_language": "de"}


@dataclass(frozen=True)
class Way:
    """A task with a model of a family, adapted in some way."""

    task: str
    family: str
    method: str
    choices: dict[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "-".join([self.task, self.family, self.method, *self.choices])


class Models:
    """Called with a family: the folder of its tiny model, made in one of `make_folder` when it is first asked for."""

    def __init__(self, make_folder: Callable[[str], Path]) -> None:
        self._make_folder = make_folder
        self._made: dict[str, Path] = {}

    def __call__(self, family: str) -> Path:
        if family not in self._made:
            self._made[family] = MODELS[family](self._make_folder(family), family)
        return self._made[family]


class House:
    """A fresh home, and what one run in it has told."""

    def __init__(self, home: Path, seconds_between_saves: float = 60.0) -> None:
        self.settings = Settings(home=home, limits=Limits(free_disk=0, seconds_between_saves=seconds_between_saves))
        self.runs = RunStore(home)
        self.events: list[events.Event] = []
        self.stop = self.interrupted = lambda: False

    def spec(self, way: Way, folder: Path, rows: int = 60, **choices: object) -> TrainSpec:
        table = add(self.settings, way.task, rows)
        data = DataChoice(table=table.id, columns={name: name for name in ROWS[way.task](0)}, name="rows.csv")
        usual = {"learning_rate": 3e-3, "epochs": 2, "batch_size": 8, "max_length": 128, "max_target_length": 16}
        usual |= {"max_new_tokens": 6, "method": way.method, "lora_rank": 4}
        model = ModelChoice(source="directory", name=str(folder))
        return build(task=way.task, data=data, model=model, **(usual | way.choices | choices))

    def train(self, spec: TrainSpec) -> tuple[dict[str, object], Path]:
        """The report and the run's folder."""
        folder = self.folder(spec)
        return self.go_on(spec, folder), folder

    def folder(self, spec: TrainSpec) -> Path:
        """Of a new run."""
        return self.runs.folder(self.runs.create(spec, "local", "rows").id)

    def go_on(self, spec: TrainSpec, folder: Path, parts: int = 1) -> dict[str, object]:
        """The report of an attempt of a run, the first one or another."""
        signals = Signals(stop=lambda: self.stop(), interrupted=lambda: self.interrupted())
        return train(spec, "local", folder, self.settings, self.runs, self.events.append, signals, parts)

    def phases(self) -> list[str]:
        told = [event.name for event in self.events if isinstance(event, events.Phase)]
        return [name for place, name in enumerate(told) if told[place - 1 : place] != [name]]

    def in_phase(self, name: str) -> bool:
        return self.phases()[-1:] == [name]


def command(home: Path, *arguments: object) -> tuple[int, Any, str]:
    """(exit status, JSON answer, what was said) of a command in this process; its children are others."""
    torch.set_num_threads(1)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.device.detect", lambda: DEVICE)
        status = main([*map(str, arguments), "--home", str(home)])
    lines = out.getvalue().splitlines()
    return status, json.loads(lines[-1]) if lines else None, err.getvalue()


def written(folder: Path, task: str, count: int) -> Path:
    """The rows of a task as a file."""
    path = folder / f"{task}-{count}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ROWS[task](0)))
        writer.writeheader()
        writer.writerows(ROWS[task](i) for i in range(count))
    return path


def add(settings: Settings, task: str, count: int) -> Table:
    path = written(settings.home, task, count)
    return TableStore(settings).add(path, "local", "rows.csv", ReadOptions(single_column=True))
