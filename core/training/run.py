"""A whole run, from a table to a judged model: what the worker does."""

import shutil
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import events, files
from core.data.shapes import column_names
from core.data.store import TableStore
from core.device import Device, detect
from core.errors import UserError
from core.evaluation import report as reports
from core.models.loading import resolve, verify_starter
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import TrainSpec
from core.tasks.base import Task, find
from core.training import checkpoints
from core.training.loop import Fitted, Report, Signals, fit

if TYPE_CHECKING:
    from core.data.preparing import Split


def train(
    spec: TrainSpec, owner: str, folder: Path, settings: Settings, runs: RunStore, report: Report, signals: Signals
) -> dict[str, Any]:
    """Prepare, fine-tune, judge and save into `folder/model` and `folder/report.json`.

    Returns:
        What `report.json` holds.

    Raises:
        UserError: anything that the person can mend.
        InterruptedRunError: the system asked to end.
    """
    begin = monotonic()
    device = detect()
    report(events.Started(device=device.as_dict()))
    task = find(spec.task)
    base = resolve(spec.model, settings, runs, owner)
    verify_starter(base)

    report(events.Phase(name="data"))
    given, label_counts = _rows(task, spec, owner, settings)
    split = _with_copies(given, spec)
    findings = [finding.as_dict() for finding in split.findings]
    report(
        events.Prepared(
            rows=split.sizes(),
            findings=[{name: f[name] for name in ("code", "rows", "facts", "applied")} for f in findings],
        )
    )

    report(events.Phase(name="loading"))
    _set_seed(spec.seed)
    model, tokenizer = task.load(base, split, spec)
    parameters = sum(p.numel() for p in model.parameters())
    report(events.Phase(name="training"))
    fitted = fit(task, model, tokenizer, split, spec, device, folder, report, signals)

    report(events.Phase(name="baselines"))
    # Simple methods learn from the rows as they are: copies that balance the labels would tell them another majority.
    baselines = task.baseline_predictions(given)
    report(events.Phase(name="testing"))
    best = _best(task, folder)
    judged = reports.judge(task, split, task.predict(*best, split.test["text"].tolist(), device), baselines)

    report(events.Phase(name="saving"))
    result = _facts(spec, split, fitted, device, label_counts, findings, parameters) | judged
    result["seconds"] = round(monotonic() - begin, 1)
    checkpoints.save(*best, folder / "model")
    files.write_json(folder / "report.json", result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    report(events.Finished(stopped=fitted.stopped, seconds=result["seconds"]))
    return result


def _rows(task: Task, spec: TrainSpec, owner: str, settings: Settings) -> tuple["Split", dict[str, int]]:
    tables = TableStore(settings)
    columns = column_names(spec.data.columns)
    if spec.data.split.method != "fraction" and spec.data.split.column:
        columns.append(spec.data.split.column)
    frame = tables.frame(spec.data.table, owner, columns)
    test = tables.frame(spec.data.test_table, owner, column_names(spec.data.columns)) if spec.data.test_table else None
    split = task.prepare(frame, spec, settings.limits, test)
    counts: dict[str, int] = dict.fromkeys(split.labels, 0)
    for part in (split.train, split.validation, split.test):
        for label, rows in part["label"].value_counts().items():
            counts[str(label)] += int(rows)
    return split, counts


def _with_copies(split: "Split", spec: TrainSpec) -> "Split":
    """The training rows with the changed copies that were asked for; the rows held out stay as they are."""
    from core.data.augmenting import augment
    from core.data.findings import Finding

    choice = spec.data.augment
    if not choice.methods:
        return split
    held_out = {*split.validation["text"].tolist(), *split.test["text"].tolist()}
    train, done = augment(split.train, choice, spec.seed, held_out=held_out)
    finding = Finding("augmented_rows", done.made, "info", {"backed_off": done.backed_off})
    return replace(split, train=train, findings=(*split.findings, finding))


def _best(task: Task, folder: Path) -> tuple[Any, Any]:
    checkpoint = checkpoints.newest(folder / "checkpoints")
    if checkpoint is None:
        raise UserError("nothing_learned")
    return task.reload(checkpoint)


def _facts(
    spec: TrainSpec,
    split: "Split",
    fitted: Fitted,
    device: Device,
    label_counts: dict[str, int],
    findings: list[dict[str, Any]],
    parameters: int,
) -> dict[str, Any]:
    return {
        "version": 1,
        "task": spec.task,
        "rows": split.sizes(),
        "data": {"name": spec.data.name, "label_counts": label_counts, "findings": findings},
        "model": {**spec.model.model_dump(), "parameters": parameters},
        "device": device.as_dict(),
        "epochs_done": round(fitted.epochs_done, 3),
        "best_epoch": round(fitted.best_epoch, 3),
        "validation": {"metric": find(spec.task).main_metric, "value": round(fitted.best_value, 4)},
        "stopped": fitted.stopped,
        "spec": spec.model_dump(),
    }


def _set_seed(seed: int) -> None:
    from transformers import set_seed

    set_seed(seed)
