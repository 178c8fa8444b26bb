"""Runs that are kept in a private repository while they train, over real HTTP, and brought back to an empty home."""

import json
import logging
import os
import subprocess
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import Request
from fastapi.responses import Response

from core import events, files, processes
from core.data.options import ReadOptions
from core.data.store import TableStore
from core.errors import UserError
from core.keeping import layout, returning, sending
from core.keeping.keeper import Keeper, Status
from core.runs.progress import fold
from core.runs.store import EventWriter, RunRecord, RunStore
from core.runs.supervisor import Supervisor
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, build
from core.training import checkpoints
from tests.fakehub import Account, FakeHub

TOKEN, OWNER, REPO = "hf_writer", "hf:1", "tester/tuning-fork-kept"


class Home:
    """A home with stores, at a Hub."""

    def __init__(self, home: Path, hub: FakeHub, **limits: float) -> None:
        self.settings = Settings(
            home=home,
            place="space",
            lasting=False,
            hub_endpoint=hub.url,
            limits=Limits(**({"free_disk": 0, "hub_timeout": 3.0} | limits)),
        )
        self.runs, self.tables = RunStore(home), TableStore(self.settings)

    def run(self, model: ModelChoice | None = None) -> RunRecord:
        """A run of a small table, with a state of two steps, a best model, and what it told."""
        spec = build(data=self.data(), model=model or ModelChoice(), epochs=3)
        record = self.runs.create(spec, OWNER, "mine · 退款")
        for state, expected in (("STARTING", 0), ("RUNNING", 1)):
            record = self.runs.transition(record.id, (record.state,), state, expected)
        EventWriter(self.runs.folder(record.id), 1).write(events.Started(device={"kind": "cpu"}))
        self.state(record, 2)
        return record

    def data(self) -> DataChoice:
        path = self.settings.home / "rows.csv"
        path.write_text("text,label\nwhere is it,delivery\n\nI paid twice,refund\nsame,refund\n", encoding="utf-8")
        table = self.tables.add(path, OWNER, options=ReadOptions(), keep_file=True)
        return DataChoice(table=table.id, columns={"text": "text", "label": "label"}, name="rows.csv")

    def state(self, record: RunRecord, step: int, optimizer: bytes | None = None) -> None:
        """Keep a state and a best model as training does, with small files."""
        folder = self.runs.folder(record.id)

        def write(staged: Path) -> None:
            staged.mkdir()
            (staged / "changed.safetensors").write_bytes(b"weights %d" % step)
            (staged / "facts.json").write_text("{}")
            with zipfile.ZipFile(staged / "optimizer.pt", "w") as archive:
                archive.writestr("data.pkl", optimizer or b"numbers")

        checkpoints.save_state(folder, step, write)

        def best(staged: Path) -> None:
            staged.mkdir(parents=True)
            (staged / "config.json").write_text('{"model_type": "bert"}')
            (staged / "model.safetensors").write_bytes(b"best %d" % step)

        checkpoints.place(folder / "best" / f"step-{step}", best)

    def finish(self, record: RunRecord) -> RunRecord:
        folder = self.runs.folder(record.id)

        def write(staged: Path) -> None:
            staged.mkdir()
            (staged / "config.json").write_text('{"model_type": "bert"}')
            (staged / "model.safetensors").write_bytes(b"result")

        checkpoints.place(folder / "model", write)
        files.write_json(folder / "report.json", {"version": 1})
        checkpoints.forget(folder)
        told = {"has_result": True, "headline": {"accuracy": 0.9}}
        return self.runs.transition(record.id, ("RUNNING",), "FINISHED", 1, **told)

    def keep(self, record: RunRecord) -> sending.Sent | None:
        return sending.keep(self.settings, record.id, OWNER, TOKEN)

    def restore(self, run_id: str, owner: str = OWNER) -> RunRecord:
        return returning.restore(self.settings, self.runs, owner, TOKEN, run_id)


@pytest.fixture
def home(tmp_path: Path, fake_hub: FakeHub) -> Home:
    return Home(tmp_path / "home", fake_hub)


@pytest.fixture
def empty(tmp_path: Path, fake_hub: FakeHub) -> Home:
    """What a restart leaves."""
    return Home(tmp_path / "empty", fake_hub)


def refused(code: str, call: Callable[..., object], *arguments: object) -> UserError:
    with pytest.raises(UserError) as wrong:
        call(*arguments)
    assert wrong.value.code == code
    return wrong.value


def on_hub(hub: FakeHub, record: RunRecord) -> dict[str, bytes]:
    """Path below the run's folder -> content."""
    mine = layout.folder(record.id)
    return {p.removeprefix(mine): c for p, c in hub.repo(REPO).files.items() if p.startswith(mine)}


def below(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def fault(hub: FakeHub, answer: Callable[[Request], Response | None]) -> None:
    async def fail(request: Request) -> Response | None:
        return answer(request)

    hub.fault = fail


# -- what is kept


def test_a_run_is_kept_privately_with_everything_that_it_needs_to_go_on(home: Home, fake_hub: FakeHub) -> None:
    record = home.run()
    assert home.keep(record) == sending.Sent(2, sum(map(len, on_hub(fake_hub, record).values())) - _record_bytes(fake_hub, record))
    repo, kept, folder = fake_hub.repo(REPO), on_hub(fake_hub, record), home.runs.folder(record.id)
    assert repo.private
    assert layout.TAG in repo.card["tags"]
    assert len(fake_hub.asked("POST", "/commit/")) == 1
    assert fake_hub.unhandled == []
    mine = below(folder)
    for part in ("checkpoints/step-2", "best/step-2"):
        for name in ("changed.safetensors", "optimizer.pt", "model.safetensors", "manifest.json"):
            assert kept.get(f"{part}/{name}") == mine.get(f"{part}/{name}")
    assert (kept["spec.json"], kept["events.jsonl"]) == (mine["spec.json"], mine["events.jsonl"])
    (table,) = (path for path in kept if path.endswith(".parquet"))
    assert kept[table] == home.tables.path(Path(table).stem, OWNER).read_bytes()
    assert OWNER.encode() not in b"".join(kept.values())
    assert json.loads(kept["run.json"])["name"] == "mine · 退款"
    assert not list((home.settings.home / "keeping").iterdir())


def _record_bytes(hub: FakeHub, record: RunRecord) -> int:
    return len(on_hub(hub, record)["run.json"])
