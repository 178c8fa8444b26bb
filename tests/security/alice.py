"""Somebody with a table and runs of every kind, each of which holds words that nobody else may ever be told."""

import json
from pathlib import Path

from core.data.store import TableStore
from core.runs.store import NEXT, RunRecord, RunStore, State
from core.settings import Settings
from core.spec import DataChoice, ModelChoice, TrainSpec
from tests.ui.conftest import report
from ui.draft import DraftStore

SECRET = "opal-kestrel"  # in each of her words, and in nothing else
# The shortest way to each state from the beginning.
_WAYS: dict[State, tuple[State, ...]] = {
    "QUEUED": (),
    "STARTING": ("STARTING",),
    "RUNNING": ("STARTING", "RUNNING"),
    "STOPPING": ("STARTING", "RUNNING", "STOPPING"),
    "FINISHED": ("STARTING", "RUNNING", "FINISHED"),
    "STOPPED": ("STARTING", "RUNNING", "STOPPED"),
    "FAILED": ("STARTING", "RUNNING", "FAILED"),
    "INTERRUPTED": ("STARTING", "RUNNING", "INTERRUPTED"),
}


def table(settings: Settings, owner: str, folder: Path) -> str:
    """The id of her table."""
    path = folder / f"{SECRET}.csv"
    rows = "".join(f"{SECRET} wrote this {i},{SECRET}-{i % 2}\n" for i in range(20))
    path.write_text(f"text,label\n{rows}", encoding="utf-8")
    return TableStore(settings).add(path, owner).id


def runs(home: Path, owner: str, table: str) -> dict[State, RunRecord]:
    """A run of hers in every state."""
    assert {*_WAYS} == {*NEXT}
    return {state: _run(RunStore(home), owner, table, state) for state in _WAYS}


def _run(store: RunStore, owner: str, table: str, state: State) -> RunRecord:
    columns = {"text": "text", "label": "label"}
    spec = TrainSpec(data=DataChoice(table=table, columns=columns, name=f"{SECRET}.csv"))
    record = store.create(spec, owner, f"{SECRET} · MiniLM")
    store.annotate(record.id, note=f"{SECRET} in {state}")
    folder = store.folder(record.id)
    (folder / "worker.log").write_text(f"{SECRET}\n")
    (folder / "checkpoints" / "step-3").mkdir(parents=True)
    for _, (before, after) in enumerate(zip(("QUEUED", *_WAYS[state]), _WAYS[state], strict=False)):
        told = {}
        if after in ("FINISHED", "STOPPED"):
            _result(folder)
            told = {"has_result": True, "headline": {"accuracy": 0.87}}
        if after == "FAILED":
            told = {"error": {"code": "label_unknown", "facts": {"label": SECRET}}}
        record = store.transition(record.id, (before,), after, store.get(record.id).attempt, **told)
    return record


def _result(folder: Path) -> None:
    made = report([f"{SECRET}-0", f"{SECRET}-1"])
    made["examples"] = [f"{SECRET} is an example"]
    (folder / "report.json").write_text(json.dumps(made))
    (folder / "model" / "adapter").mkdir(parents=True)
    (folder / "model" / "config.json").write_text(json.dumps({"model_type": "bert", "told": SECRET}))
    (folder / "model" / "model.safetensors").write_bytes(SECRET.encode())


def forge(home: Path, owner: str, table: str, run: str) -> None:
    """A draft as if its owner had chosen a table and a run, whosever these are."""
    drafts = DraftStore(home)
    drafts.change(owner, table=table, test_table=table, run=run, model=ModelChoice(source="run", name=run))
