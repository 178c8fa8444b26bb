"""`evaluate` and `predict`: what a finished model makes of new rows."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.commands.given import OWNER, assignments, columns_named
from core.commands.questions import questions, with_answers
from core.data import checking, cleaning
from core.data.options import ReadOptions
from core.data.rows import label_sets
from core.data.store import TableStore
from core.errors import UserError
from core.models import kernel_building
from core.models.loading import check_folder, resolve
from core.models.notes import notes_in
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import DataChoice, ModelChoice, TrainSpec, build, knobs, switches, writing_of
from core.tasks.base import Prediction, Task, find
from core.terminal import Terminal

if TYPE_CHECKING:
    import pandas as pd

# Texts to classify from which on compiling steps between products takes no longer than it spares.
_WORTH_COMPILING = 200


def evaluate(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Judge a model on every row of a file."""
    folder, spec = _finished(given.model, settings, assignments(given.set))
    task = find(spec.task)
    frame = _read_file(given.data, settings)
    columns = columns_named(given, task.shape, frame)
    if missing := task.shape.missing(columns):
        raise UserError("column_not_chosen", role=missing)
    checking.require_columns(frame, columns)
    rows, _ = cleaning.usable(cleaning.rows_of(frame, columns, task.shape), task.shape)
    rows = with_answers(rows)
    model, tokenizer, device = _opened(task, folder)
    labels = task.labels(model)
    rows = _known(rows, labels)
    answers = task.answer(model, tokenizer, rows, spec, device)
    judged = task.judge(rows, labels, answers, {})
    kept = {
        name: judged[name] for name in ("metrics", "labels", "confusion", "per_class", "signatures") if name in judged
    }
    return kept | {"task": task.id, "rows": len(rows), "rows_left_out": len(frame) - len(rows)}


def predict(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Answer one text, or every row of a file into a new file."""
    if (given.sentence is None) == (given.data is None):
        raise UserError("predict_text_or_file")
    chosen = assignments(given.set)
    if given.data is not None:
        return _predict_file(given, settings, chosen)
    if not given.sentence.strip():
        raise UserError("text_empty")
    folder, spec = _finished(given.model, settings, chosen)
    task = find(spec.task)
    model, tokenizer, device = _opened(task, folder)
    asked = task.question(given.sentence, system=spec.instruction)
    (answer,) = task.predict(model, tokenizer, [asked], device, writing_of(spec))
    return _as_json(answer)


def _predict_file(given: argparse.Namespace, settings: Settings, chosen: dict[str, str]) -> dict[str, Any]:
    from core.data.writing import write_table

    if given.out is None or not (given.text or given.column):
        raise UserError("predict_needs_text_and_out")
    folder, spec = _finished(given.model, settings, chosen)
    task = find(spec.task)
    frame = _read_file(given.data, settings)
    columns = {name: c for name, c in columns_named(given, task.shape, frame).items() if _read(task, name)}
    if not columns.keys() - {"system"}:
        raise UserError("predict_needs_text_and_out")
    checking.require_columns(frame, columns)
    given_to_it = questions(task, cleaning.rows_of(frame, columns, task.shape))
    filled = [question is not None for question in given_to_it]
    if not task.writes and sum(filled) >= _WORTH_COMPILING:
        kernel_building.begin()  # it is done before they are needed
    model, tokenizer, device = _opened(task, folder)
    asked = [question for question in given_to_it if question is not None]
    answers = task.predict(model, tokenizer, asked, device, writing_of(spec))
    frame["prediction"] = ""
    frame.loc[filled, "prediction"] = [a.answer for a in answers]
    if not task.writes:
        frame["confidence"] = ""
        frame.loc[filled, "confidence"] = [f"{a.confidence or 0:.4f}" for a in answers]
    write_table(frame, given.out, source=given.data)
    return {"rows": len(frame), "answered": len(answers), "out": str(given.out)}


def _read(task: Task, role: str) -> bool:
    return task.shape.role(role).kind in ("text", "messages")


def _as_json(answer: Prediction) -> dict[str, Any]:
    if answer.confidence is None:
        return {"answer": answer.answer}
    known = {"confidence": answer.confidence, "probabilities": dict(answer.probabilities)}
    return {"answer": answer.answer, "labels": list(answer.labels), **known}


def _known(rows: "pd.DataFrame", labels: tuple[str, ...]) -> "pd.DataFrame":
    """The rows whose labels the model knows, spelled as it spells them; all rows where it has no labels.

    Raises:
        UserError: `labels_unknown_to_model`, `nothing_to_judge`.
    """
    if rows.empty:
        raise UserError("nothing_to_judge")
    if not labels:
        return rows
    usual = {cleaning.label_key(label): label for label in labels}
    spelled = [tuple(usual.get(cleaning.label_key(label), "") for label in row) for row in label_sets(rows)]
    known = [all(row) for row in spelled]
    if not any(known):
        raise UserError("labels_unknown_to_model", known=", ".join(labels[:20]))
    changed = {"labels": spelled} if "labels" in rows.columns else {"label": [row[0] for row in spelled]}
    return rows.assign(**changed)[known].reset_index(drop=True)


def _finished(name: str, settings: Settings, chosen: dict[str, str]) -> tuple[Path, TrainSpec]:
    """The model folder of a run's id or of a folder, and how it was made, with what was chosen now on top.

    Raises:
        UserError: `model_not_fine_tuned`, and what the run store and `resolve` raise.
    """
    runs = RunStore(settings.home)
    if re.fullmatch(r"[0-9a-f]{6,32}", name) and not Path(name).is_dir():
        record = runs.find(name, OWNER)
        spec = runs.spec(record.id)
        kept = {key: value for key, value in spec.model_dump(exclude={"data", "model"}).items() if key not in chosen}
        return runs.model_folder(record.id), build(data=spec.data, model=spec.model, **kept, **chosen)
    folder = resolve(ModelChoice(source="directory", name=name), settings, runs, OWNER)
    known = notes_in(folder)
    told = {**known, **known.get("writing", {})}
    task = told.get("task") or _task_of(check_folder(folder))
    if task is None:
        raise UserError("model_not_fine_tuned", name=name[:200])
    fields = {key: told[key] for key in [*knobs(), *switches()] if key in told}
    data = DataChoice(table="0" * 64, columns={})
    return folder, build(task=str(task), data=data, **(fields | chosen))


def _task_of(config: dict[str, Any]) -> str | None:
    """What a model that was made elsewhere can do, by its own word; None where it does not say."""
    if not any("SequenceClassification" in part for part in config.get("architectures") or []):
        return None
    return "multi_label" if config.get("problem_type") == "multi_label_classification" else "classification"


def _opened(task: Task, folder: Path) -> tuple[Any, Any, Any]:
    from core.device import detect
    from core.quiet import quiet_libraries

    quiet_libraries()
    return *task.reload(folder), detect()


def _read_file(path: Path, settings: Settings) -> "pd.DataFrame":
    tables = TableStore(settings)
    return tables.frame(tables.add(path, OWNER, path.name, ReadOptions(single_column=True)).id, OWNER)
