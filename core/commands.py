"""What each command of the command line does: values in, the JSON answer out."""

import argparse
import contextlib
import getpass
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data import checking
from core.data.doctor.examining import Fixes
from core.data.options import ReadOptions
from core.data.profiling import token_lengths
from core.data.store import Table, TableStore
from core.data.survey import Question, survey
from core.data.understanding import SAMPLE_ROWS, understand
from core.errors import Fact, UserError
from core.models import fetching
from core.models.loading import check_folder, resolve
from core.models.sizing import ModelFacts, describe
from core.runs.progress import Progress, fold
from core.runs.store import RunRecord, RunStore
from core.runs.supervisor import Supervisor
from core.settings import Settings
from core.spec import (
    AUGMENTATIONS,
    MOST_COPIES,
    AugmentChoice,
    DataChoice,
    ModelChoice,
    SplitChoice,
    TrainSpec,
    build,
    knobs,
)
from core.tasks.base import Prediction, find
from core.terminal import Terminal
from core.training.recommending import recommend

if TYPE_CHECKING:
    import pandas as pd

OWNER = "local"


class RunFailedError(Exception):
    """A run ended without a result: the error's code and facts, and the JSON answer all the same."""

    def __init__(self, code: str, facts: dict[str, Fact], answer: dict[str, Any]) -> None:
        super().__init__(code)
        self.code, self.facts, self.answer = code, facts, answer


def inspect(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """What a file is and what is wrong with it."""
    from core.data.inspecting import Request
    from core.data.inspecting import inspect as look

    columns = dict(pair.partition("=")[::2] for pair in given.column)
    # A file to write without a word on fixes is wanted mended.
    fixes = fixes_named(given.fix if given.fix is not None else "recommended" if given.out else "none")
    first = knobs()
    length, batch = int(first["max_length"].default), int(first["batch_size"].default)
    runs = RunStore(settings.home)
    starter = describe(ModelChoice(), settings, runs, OWNER, max_length=length, batch_size=batch)
    asked = Request(given.file, given.task, columns, _options(given), fixes, given.out)
    return look(replace(asked, tokenizer=starter.tokenizer, reads=starter.max_positions or None), settings)


def train(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Fine-tune and judge a model, with progress on stderr."""
    task = find(given.task)
    chosen = _assignments(given.set)
    runs, tables = RunStore(settings.home), TableStore(settings)
    table = tables.add(given.data, OWNER, given.data.name, _options(given))
    test = tables.add(given.test, OWNER, given.test.name) if given.test else None
    data = _data_choice(given, settings, tables, table, test)
    model = _model_choice(given.model, settings, runs)
    spec = _spec(task.id, data, model, chosen, settings, runs, tables)

    supervisor = Supervisor(settings, runs, own_only=True)
    supervisor.start()
    try:
        record = supervisor.submit(spec, OWNER, given.name or given.data.stem)
        record = _watch(runs, supervisor, record, terminal)
    finally:
        supervisor.close()
    return _train_answer(runs, record, terminal)


def evaluate(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Judge a model on every row of a file."""
    from core.evaluation.metrics import confusion, intervals

    columns = {"text": given.text, "label": given.label}
    frame = _read_file(given.data, settings)
    checking.require_columns(frame, columns)
    folder, task_id = _finished(given.model, settings)
    task = find(task_id)
    predictions, labels = _answers(task_id, folder, frame[given.text].tolist())
    spelled = {label.casefold().strip(): label for label in labels}
    rows = [
        (spelled[label.casefold().strip()], answer)
        for text, label, answer in zip(frame[given.text], frame[given.label], predictions, strict=True)
        if text.strip() and label.casefold().strip() in spelled
    ]
    if not rows:
        raise UserError("labels_unknown_to_model", known=", ".join(labels[:20]))
    references, given_answers = [r for r, _ in rows], [p.label for _, p in rows]
    number = {label: i for i, label in enumerate(labels)}
    table = confusion([number[r] for r in references], [number[a] for a in given_answers], len(labels))
    metrics = {k: round(v, 4) for k, v in task.score(references, given_answers, tuple(labels)).items()}
    return {
        "metrics": {**metrics, "intervals": intervals(table)},
        "rows": len(rows),
        "rows_left_out": len(frame) - len(rows),
        "labels": labels,
        "confusion": table,
    }


def predict(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Answer one text, or every row of a file into a new file."""
    if (given.sentence is None) == (given.data is None):
        raise UserError("predict_text_or_file")
    if given.data is not None:
        return _predict_file(given, settings)
    if not given.sentence.strip():
        raise UserError("text_empty")
    folder, task_id = _finished(given.model, settings)
    (answer,), _ = _answers(task_id, folder, [given.sentence])
    return {"label": answer.label, "confidence": answer.confidence, "probabilities": dict(answer.probabilities)}


def publish(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Push a run's model to the Hub, private unless asked otherwise."""
    from huggingface_hub import get_token

    from core.publishing import hub

    runs = RunStore(settings.home)
    record = runs.find(given.model, OWNER)
    token = get_token()
    if not token and sys.stdin.isatty():
        terminal.say("token")
        token = getpass.getpass("")
    url = hub.push(runs, record.id, OWNER, repo=given.repo, token=token, settings=settings, private=not given.public)
    return {"run": record.id, "url": url, "private": not given.public}


COMMANDS: dict[str, Callable[[argparse.Namespace, Settings, Terminal], dict[str, Any]]] = {
    "inspect": inspect,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "publish": publish,
}


def _assignments(pairs: list[str]) -> dict[str, str]:
    chosen = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in knobs():
            raise UserError("knob_unknown", knob=name[:40], known=", ".join(knobs()))
        chosen[name] = value
    return chosen


def fixes_named(words: str) -> Fixes:
    """The fixes that a flag names: `recommended`, `all`, `none`, or `code` and `code:fix` with commas between.

    Raises:
        UserError: `fix_unknown`.
    """
    from core.data.doctor.checks import CHECKS

    if words == "recommended":
        return "recommended"
    if words == "all":
        return "all"
    known = {check.code for check in CHECKS}
    chosen: dict[str, str] = {}
    for word in [] if words in ("none", "") else words.split(","):
        code, _, fix = word.strip().partition(":")
        if code not in known:
            raise UserError("fix_unknown", fix=code[:40], known=", ".join(sorted(known)))
        chosen[code] = fix
    return chosen


def _options(given: argparse.Namespace) -> ReadOptions:
    delimiter = {"tab": "\t", "none": ""}.get(given.delimiter or "-", given.delimiter)
    header = None if given.header is None else given.header == "yes"
    return ReadOptions(given.encoding, delimiter, given.title_rows, header, given.part)


def _data_choice(
    given: argparse.Namespace, settings: Settings, tables: TableStore, table: Table, test: Table | None
) -> DataChoice:
    """Everything about the data, checked: columns, fixes as they will be applied, split, augmentation.

    Raises:
        UserError: `column_not_guessed`, and whatever keeps the table from being trained on.
    """
    columns = _columns(given, tables, table)
    if given.split_column:
        split = SplitChoice(method="column", column=given.split_column)
    elif given.group_column:
        split = SplitChoice(method="group", column=given.group_column)
    else:
        split = SplitChoice()
    chosen = build(data=DataChoice(table=table.id, columns={}), **_assignments(given.set))
    question = Question(
        str(tables.path(table.id, OWNER)),
        dict(columns),
        given.task,
        fixes_named(given.fix),
        str(tables.path(test.id, OWNER)) if test else None,
        validation_fraction=chosen.validation_fraction,
        test_fraction=chosen.test_fraction,
        seed=chosen.seed,
        split=split,
    )
    found = survey(settings, table.rows, question)
    if found.error:
        raise UserError(found.error[0], **found.error[1])
    return DataChoice(
        table=table.id,
        columns=dict(columns),
        test_table=test.id if test else None,
        name=table.name,
        fixes=found.applied,
        split=split,
        augment=_augment(given),
    )


def _augment(given: argparse.Namespace) -> AugmentChoice:
    methods = [word.strip() for word in (given.augment or "").split(",") if word.strip()]
    for method in methods:
        if method not in AUGMENTATIONS:
            raise UserError("augmentation_unknown", method=method[:40], known=", ".join(AUGMENTATIONS))
    if not 0 <= given.copies <= MOST_COPIES:
        raise UserError("copies_out_of_range", value=given.copies, high=MOST_COPIES)
    return AugmentChoice.model_validate({"methods": methods, "copies": given.copies, "balance": given.balance})


def _columns(given: argparse.Namespace, tables: TableStore, table: Table) -> dict[str, str]:
    asked = {role: column for role in ("text", "label") if (column := getattr(given, role))}
    guessed = understand(tables.frame(table.id, OWNER, rows=SAMPLE_ROWS), given.task).columns
    columns = {role: name for role, name in guessed.items() if isinstance(name, str)} | asked
    for role in ("text", "label"):
        if role not in columns:
            raise UserError("column_not_guessed", role=role, columns=", ".join(table.columns[:20]))
    checking.require_columns(tables.frame(table.id, OWNER, rows=1), columns)
    return columns


def _model_choice(name: str, settings: Settings, runs: RunStore) -> ModelChoice:
    if name == "starter":
        return ModelChoice()
    if re.fullmatch(r"[0-9a-f]{6,32}", name):
        with contextlib.suppress(UserError):
            return ModelChoice(source="run", name=runs.find(name, OWNER).id)
    if name.startswith(("/", ".", "~")) or Path(name).is_dir():
        return ModelChoice(source="directory", name=str(Path(name).expanduser().resolve()))
    from huggingface_hub import get_token

    token, model_id = get_token(), fetching.check_id(name)
    try:
        found = fetching.look_up(model_id, settings, token)
    except UserError as error:
        here = fetching.installed(model_id, settings, OWNER)
        if error.code != "hub_unreachable" or not here:
            raise
        return ModelChoice(source="hub", name=model_id, revision=here[0])
    fetching.fetch(found, settings, token, OWNER)
    return ModelChoice(source="hub", name=found.id, revision=found.revision)


def _spec(
    task: str,
    data: DataChoice,
    model: ModelChoice,
    chosen: dict[str, str],
    settings: Settings,
    runs: RunStore,
    tables: TableStore,
) -> TrainSpec:
    """The spec with recommended values where nothing was chosen by hand."""
    table, text, label = tables.get(data.table, OWNER), str(data.columns["text"]), str(data.columns["label"])
    first = build(task=task, data=data, model=model, **chosen)
    facts = describe(model, settings, runs, OWNER, max_length=first.max_length, batch_size=first.batch_size)
    frame = tables.frame(table.id, OWNER, [label])
    advice = recommend(
        rows=round(table.rows * (1 - first.validation_fraction - (0 if data.test_table else first.test_fraction))),
        classes=frame[label].nunique(),
        tokens_p95=_tokens_p95(settings, tables.path(table.id, OWNER), text, facts),
        facts=facts,
    )
    return build(task=task, data=data, model=model, **({name: a.value for name, a in advice.items()} | chosen))


def _tokens_p95(settings: Settings, table: Path, column: str, facts: ModelFacts) -> int:
    if facts.tokenizer is None:
        return int(knobs()["max_length"].default)
    return int(token_lengths(settings, table, column, facts.tokenizer)["p95"])


def _watch(runs: RunStore, supervisor: Supervisor, record: RunRecord, terminal: Terminal) -> RunRecord:
    """Follow a run to its end. The first Ctrl-C asks it to stop and keep its best, the second leaves."""
    progress, offset, said = Progress(), 0, False

    def on_interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        terminal.say("stopping")
        runs.request_stop(record.id)

    def look() -> None:
        nonlocal progress, offset, said
        fresh, offset = runs.read_events(record.id, offset)
        if not fresh:
            return
        progress = fold(fresh, progress)
        if progress.rows and not said:
            said = True
            terminal.say("rows", **progress.rows)
            for finding in progress.findings:
                terminal.finding(finding)
        terminal.progress(progress)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        ended = supervisor.wait(record.id, look)
        look()
    finally:
        signal.signal(signal.SIGINT, before)
    return ended


def _train_answer(runs: RunStore, record: RunRecord, terminal: Terminal) -> dict[str, Any]:
    folder = runs.folder(record.id)
    answer: dict[str, Any] = {"run": record.id, "state": record.state, "folder": str(folder)}
    report = runs.report(record.id)
    if record.state not in ("FINISHED", "STOPPED") or report is None:
        error = record.error or {"code": "run_ended_early", "facts": {}}
        raise RunFailedError(error["code"], error["facts"], answer | {"error": error})
    terminal.scores(report)
    terminal.say("where", folder=str(folder / "model"))
    terminal.say("next", run=record.id[:8])
    kept = ("metrics", "baselines", "verdict", "rows", "validation", "seconds", "device", "spec")
    known = {name: report[name] for name in kept}
    return answer | {"model": str(folder / "model"), "findings": report["data"]["findings"]} | known


def _finished(name: str, settings: Settings) -> tuple[Path, str]:
    """The model folder and task of a run's id or of a folder."""
    runs = RunStore(settings.home)
    if re.fullmatch(r"[0-9a-f]{6,32}", name) and not Path(name).is_dir():
        record = runs.find(name, OWNER)
        return runs.model_folder(record.id), record.task
    folder = resolve(ModelChoice(source="directory", name=name), settings, runs, OWNER)
    if not any("SequenceClassification" in part for part in check_folder(folder).get("architectures") or []):
        raise UserError("model_not_fine_tuned", name=name[:200])
    return folder, "classification"


def _read_file(path: Path, settings: Settings) -> "pd.DataFrame":
    tables = TableStore(settings)
    return tables.frame(tables.add(path, OWNER, path.name, ReadOptions(single_column=True)).id, OWNER)


def _answers(task_id: str, folder: Path, texts: list[str]) -> tuple[list[Prediction], list[str]]:
    from core.device import detect
    from core.quiet import quiet_libraries

    quiet_libraries()
    task = find(task_id)
    model, tokenizer = task.reload(folder)
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    return task.predict(model, tokenizer, texts, detect()), labels


def _predict_file(given: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from core.data.writing import write_table

    if given.text is None or given.out is None:
        raise UserError("predict_needs_text_and_out")
    frame = _read_file(given.data, settings)
    checking.require_columns(frame, {"text": given.text})
    folder, task_id = _finished(given.model, settings)
    filled = frame[given.text].str.strip() != ""
    answers, _ = _answers(task_id, folder, frame.loc[filled, given.text].tolist())
    frame["prediction"], frame["confidence"] = "", ""
    frame.loc[filled, "prediction"] = [a.label for a in answers]
    frame.loc[filled, "confidence"] = [f"{a.confidence:.4f}" for a in answers]
    write_table(frame, given.out, source=given.data)
    return {"rows": len(frame), "answered": len(answers), "out": str(given.out)}
