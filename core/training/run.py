"""A whole run, from a table to a judged model: what the worker does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import events, files
from core.data.preparing import label_counts
from core.data.shapes import column_names
from core.data.store import TableStore
from core.device import Device, detect
from core.errors import UserError
from core.models import kernel_building
from core.models.adapting import adapt, has_adapter, reopen
from core.models.loading import resolve, verify_starter
from core.models.notes import notes
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import TrainSpec
from core.tasks.base import Task, find, judged_rows
from core.training import checkpoints
from core.training.answering import answer
from core.training.loop import Fitted, Keeping, Report, Signals, fit, teller

if TYPE_CHECKING:
    from core.data.preparing import Split


def train(
    spec: TrainSpec,
    owner: str,
    folder: Path,
    settings: Settings,
    runs: RunStore,
    report: Report,
    signals: Signals,
    parts: int = 1,
) -> dict[str, Any]:
    """Prepare, fine-tune, judge and save into `folder/model` and `folder/report.json`.

    What an earlier attempt left in `folder` is gone on with.

    Args:
        parts: see `Keeping`.

    Returns:
        What `report.json` holds.

    Raises:
        UserError: anything that the person can mend.
        InterruptedRunError: the system asked to end.
    """
    state, damaged = checkpoints.state(folder)
    known = checkpoints.facts_of(state) if state else {}
    keeping = Keeping(settings.limits.seconds_between_saves, parts, monotonic() - known.get("seconds", 0.0))
    device = _same_device(detect(), known.get("device"))
    step = checkpoints.step_of(state) if state else 0
    report(events.Started(device=device.as_dict(), step=step, damaged=damaged))
    if device.kind == "cpu" and works_in_parts(spec.method):
        kernel_building.begin()  # it is done before they are needed
    task = find(spec.task)
    if spec.method not in task.methods:
        raise UserError("method_unsupported", method=spec.method)
    base = resolve(spec.model, settings, runs, owner, prepare=True)
    verify_starter(base)

    report(events.Phase(name="data"))
    given, counts = prepared_rows(task, spec, owner, settings)
    split = with_copies(task, given, spec)
    findings = [finding.as_dict() for finding in split.findings]
    report(
        events.Prepared(
            rows=split.sizes(),
            findings=[{name: f[name] for name in ("code", "rows", "facts", "applied")} for f in findings],
        )
    )

    report(events.Phase(name="loading"))
    _set_seed(spec.seed)
    begin = monotonic()
    model, tokenizer = task.load(base, split, spec)
    keeping = replace(keeping, opening=monotonic() - begin)
    # Simple methods learn from the rows as they are: copies that balance the labels would tell them another majority.
    judged = judged_rows(task, split.test)
    before = {}
    if "untouched" in task.baselines:
        tell, begin = teller("untouched", report, signals), monotonic()
        before["untouched"] = answer(
            task, model, tokenizer, judged, spec, device, tell, folder / "answers" / "untouched"
        )
        # Where an earlier attempt has given the answers, it also knows how long they took.
        keeping = replace(keeping, testing=known.get("testing") or monotonic() - begin)
    model = adapt(model, spec)
    checkpoints.check_disk(folder, model, whole=spec.method == "few")
    report(events.Phase(name="training"))
    planned: list[events.Planned] = []
    fitted = fitting(spec.method)(
        task, model, tokenizer, split, spec, device, folder, _keeping(planned, report), signals, keeping
    )
    del model

    report(events.Phase(name="baselines"))
    others = task.simple_answers(given, judged, spec) | before
    tell = teller("testing", report, signals)
    best = _best(task, base, split, spec, folder)
    task.finish(*best, split, spec, device)
    # Another attempt may have trained further than the one that answered before.
    judging = folder / "answers" / checkpoints.name_of_best(folder)
    ours = answer(task, *best, judged, spec, device, tell, judging)

    report(events.Phase(name="saving"))
    result = _facts(spec, split, fitted, device, counts, findings, planned[-1])
    result |= task.judge(judged, split.labels, ours, others)
    result["rows"] = {**split.sizes(), "judged": len(judged)}
    result["headline"] = [name for name in task.metrics[:2] if name in result["metrics"]]
    result["use"] = {**notes(best[0]), "chat_template": bool(getattr(best[1], "chat_template", None))}
    result["seconds"] = round(monotonic() - keeping.begun, 1)
    checkpoints.save(*best, folder / "model")
    if spec.keep_adapter:
        _keep_adapter(folder)
    files.write_json(folder / "report.json", result)
    checkpoints.forget(folder, resumable=fitted.stopped and not fitted.diverged)
    report(events.Finished(stopped=fitted.stopped, seconds=result["seconds"]))
    return result


def _same_device(found: Device, before: dict[str, Any] | None) -> Device:
    """The device as an earlier attempt saw it: a precision that is chosen anew would lead to other weights."""
    return Device(**before) if before and before["kind"] == found.kind else found


def fitting(method: str) -> Callable[..., Fitted]:
    """The function that trains by this method: all take and give the same as `core.training.loop.fit`."""
    if method == "quick":
        from core.training import quick

        return quick.fit
    if method == "few":
        from core.training import contrastive

        return contrastive.fit
    return fit


def works_in_parts(method: str) -> bool:
    """Whether a batch of this method can be cut into parts: the others have batches of their own."""
    return fitting(method) is fit


def _keeping(planned: list[events.Planned], report: Report) -> Report:
    """`report`, which also keeps what is planned: only the way of training itself knows how much it changes."""

    def keep(event: events.Event) -> None:
        if isinstance(event, events.Planned):
            planned.append(event)
        report(event)

    return keep


def prepared_rows(task: Task, spec: TrainSpec, owner: str, settings: Settings) -> tuple["Split", dict[str, int]]:
    """The rows cleaned and divided, and how many have each label.

    Raises:
        UserError: what `core.data.preparing.prepare` and the table store raise.
    """
    tables = TableStore(settings)
    columns = column_names(spec.data.columns)
    if spec.data.split.method != "fraction" and spec.data.split.column:
        columns.append(spec.data.split.column)
    frame = tables.frame(spec.data.table, owner, columns)
    test = tables.frame(spec.data.test_table, owner, column_names(spec.data.columns)) if spec.data.test_table else None
    split = task.prepare(frame, spec, settings.limits, test)
    counts: dict[str, int] = dict.fromkeys(split.labels, 0)
    for part in (split.train, split.validation, split.test):
        for label, rows in label_counts(part).items():
            counts[label] = counts.get(label, 0) + rows
    return split, counts


def with_copies(task: Task, split: "Split", spec: TrainSpec) -> "Split":
    """The training rows with the changed copies that were asked for; the rows held out stay as they are.

    Only labels survive small changes of a text: an answer to be written belongs to the words as they were.
    """
    from core.data.augmenting import augment
    from core.data.findings import Finding

    choice = spec.data.augment
    if not choice.methods or task.writes:
        return split
    held_out = {*split.validation["text"].tolist(), *split.test["text"].tolist()}
    train, done = augment(split.train, choice, spec.seed, held_out=held_out)
    finding = Finding("augmented_rows", done.made, "info", {"backed_off": done.backed_off})
    return replace(split, train=train, findings=(*split.findings, finding))


def _best(task: Task, base: Path, split: "Split", spec: TrainSpec, folder: Path) -> tuple[Any, Any]:
    """The best model of the run, with an adapter merged into its base."""
    checkpoint = checkpoints.best(folder)
    if checkpoint is None:
        raise UserError("nothing_learned")
    if has_adapter(checkpoint):
        # Unquantised: merging into rounded weights would round again.
        plain = spec.model_copy(update={"quantization": "none"})
        return reopen(lambda: task.load(base, split, plain), checkpoint)
    return task.reload(checkpoint)


def _keep_adapter(folder: Path) -> None:
    checkpoint = checkpoints.best(folder)
    if checkpoint is not None and has_adapter(checkpoint):
        checkpoints.save_adapter(checkpoint, folder / "adapter")


def _facts(
    spec: TrainSpec,
    split: "Split",
    fitted: Fitted,
    device: Device,
    label_counts: dict[str, int],
    findings: list[dict[str, Any]],
    planned: events.Planned,
) -> dict[str, Any]:
    return {
        "version": 1,
        "task": spec.task,
        "data": {"name": spec.data.name, "label_counts": label_counts, "findings": findings},
        "model": {**spec.model.model_dump(), "trainable": planned.trainable, "parameters": planned.parameters},
        "device": device.as_dict(),
        "epochs_done": round(fitted.epochs_done, 3),
        "best_epoch": round(fitted.best_epoch, 3),
        "validation": {"metric": find(spec.task).training_metric, "value": round(fitted.best_value, 4)},
        "stopped": fitted.stopped,
        "diverged": fitted.diverged,
        "training_way": fitted.way,
        "spec": spec.model_dump(),
    }


def _set_seed(seed: int) -> None:
    from transformers import set_seed

    set_seed(seed)
