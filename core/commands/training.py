"""`train`: from a file to a judged model, with progress on stderr; `estimate`: what that would take."""

import argparse
import contextlib
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.commands.given import OWNER, Columns, assignments, columns_named, fixes_named, options
from core.data import checking
from core.data.options import ReadOptions
from core.data.profiling import measured_columns, token_lengths
from core.data.shapes import Shape
from core.data.store import Table, TableStore
from core.data.survey import Question, survey
from core.data.understanding import SAMPLE_ROWS, understand
from core.errors import Fact, UserError
from core.estimating import asking
from core.models import fetching, starters
from core.models.architectures import examples
from core.models.catalogue import STARTERS
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
from core.tasks.base import Task, find
from core.terminal import Terminal
from core.training.recommending import recommend


class RunFailedError(Exception):
    """A run ended without a result: the error's code and facts, and the JSON answer all the same."""

    def __init__(self, code: str, facts: dict[str, Fact], answer: dict[str, Any]) -> None:
        super().__init__(code)
        self.code, self.facts, self.answer = code, facts, answer


def train(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Fine-tune and judge a model, with progress on stderr."""
    runs = RunStore(settings.home)
    spec = _asked_for(given, settings, runs)
    supervisor = Supervisor(settings, runs, own_only=True)
    supervisor.start()
    try:
        record = supervisor.submit(spec, OWNER, given.name or given.data.stem)
        record = _watch(runs, supervisor, record, terminal)
    finally:
        supervisor.close()
    return _train_answer(runs, record, terminal)


def estimate(given: argparse.Namespace, settings: Settings, terminal: Terminal) -> dict[str, Any]:
    """Measure what `train` would take with the same flags: seconds, memory, disk."""
    runs = RunStore(settings.home)
    spec = _asked_for(given, settings, runs)
    found = asking.estimate(spec, OWNER, settings, runs)
    return found.as_dict() | {"spec": spec.model_dump(mode="json")}


def _asked_for(given: argparse.Namespace, settings: Settings, runs: RunStore) -> TrainSpec:
    """What the flags ask for, with the data in the store and the model on the disk."""
    task = find(given.task)
    chosen = assignments(given.set)
    tables = TableStore(settings)
    # Where a model reads and learns the same, or a conversation holds both, one column is a table.
    alone = ReadOptions(single_column=task.shape.missing({task.shape.roles[0].name: "any"}) is None)
    table = tables.add(given.data, OWNER, given.data.name, replace(options(given), single_column=alone.single_column))
    test = tables.add(given.test, OWNER, given.test.name, alone) if given.test else None
    data, counts = _data_choice(given, task, settings, tables, table, test)
    model = _model_choice(given.model, task, settings, runs)
    return _spec(task, data, model, chosen, settings, runs, tables, counts)


def _data_choice(
    given: argparse.Namespace, task: Task, settings: Settings, tables: TableStore, table: Table, test: Table | None
) -> tuple[DataChoice, dict[str, int]]:
    """Everything about the data, checked: columns, fixes as they will be applied, split, augmentation; and how many
    rows to train on each label has.

    Raises:
        UserError: `column_not_guessed`, and whatever keeps the table from being trained on.
    """
    columns = _columns(given, task.shape, tables, table)
    if given.split_column:
        split = SplitChoice(method="column", column=given.split_column)
    elif given.group_column:
        split = SplitChoice(method="group", column=given.group_column)
    else:
        split = SplitChoice()
    chosen = build(data=DataChoice(table=table.id, columns={}), **assignments(given.set))
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
    choice = DataChoice(
        table=table.id,
        columns=dict(columns),
        test_table=test.id if test else None,
        name=table.name,
        fixes=found.applied,
        split=split,
        augment=_augment(given, task),
    )
    return choice, found.train_counts


def _augment(given: argparse.Namespace, task: Task) -> AugmentChoice:
    methods = [word.strip() for word in (given.augment or "").split(",") if word.strip()]
    if methods and task.writes:
        raise UserError("augmentation_not_for_task")
    for method in methods:
        if method not in AUGMENTATIONS:
            raise UserError("augmentation_unknown", method=method[:40], known=", ".join(AUGMENTATIONS))
    if not 0 <= given.copies <= MOST_COPIES:
        raise UserError("copies_out_of_range", value=given.copies, high=MOST_COPIES)
    return AugmentChoice.model_validate({"methods": methods, "copies": given.copies, "balance": given.balance})


def _columns(given: argparse.Namespace, shape: Shape, tables: TableStore, table: Table) -> Columns:
    asked = columns_named(given, shape, tables.frame(table.id, OWNER, rows=1))
    columns: Columns = {**understand(tables.frame(table.id, OWNER, rows=SAMPLE_ROWS), shape.task).columns, **asked}
    # Who names other columns does not mean the conversations that were guessed.
    if asked and "messages" not in asked:
        columns.pop("messages", None)
    if missing := shape.missing(columns):
        raise UserError("column_not_guessed", role=missing, columns=", ".join(table.columns[:20]))
    checking.require_columns(tables.frame(table.id, OWNER, rows=1), columns)
    return columns


def _model_choice(name: str, task: Task, settings: Settings, runs: RunStore) -> ModelChoice:
    if name == "starter":
        return ModelChoice(source="starter", name=task.starters[0])
    if name in STARTERS:
        return ModelChoice(source="starter", name=name)
    if re.fullmatch(r"[0-9a-f]{6,32}", name):
        with contextlib.suppress(UserError):
            return ModelChoice(source="run", name=runs.find(name, OWNER).id)
    if name.startswith(("/", ".", "~")) or Path(name).is_dir():
        return ModelChoice(source="directory", name=str(Path(name).expanduser().resolve()))
    from huggingface_hub import get_token

    token, model_id = get_token(), fetching.check_id(name)
    try:
        found = fetching.look_up(model_id, settings, token, kinds=task.kinds, labels=not task.writes)
    except UserError as error:
        here = fetching.installed(model_id, settings, OWNER)
        if error.code != "hub_unreachable" or not here:
            raise
        return ModelChoice(source="hub", name=model_id, revision=here[0])
    fetching.fetch(found, settings, token, OWNER)
    return ModelChoice(source="hub", name=found.id, revision=found.revision)


def _spec(
    task: Task,
    data: DataChoice,
    model: ModelChoice,
    chosen: dict[str, str],
    settings: Settings,
    runs: RunStore,
    tables: TableStore,
    counts: dict[str, int],
) -> TrainSpec:
    """The spec with recommended values where nothing was chosen by hand."""
    table = tables.get(data.table, OWNER)
    first = build(task=task.id, data=data, model=model, **chosen)
    if first.method not in task.methods:
        raise UserError("method_unsupported", method=first.method)
    if model.source == "starter":
        starters.prepare(model.name, settings)
    facts = describe(
        model,
        settings,
        runs,
        OWNER,
        max_length=first.max_length,
        batch_size=first.batch_size,
        max_target_length=first.max_target_length,
        labels=0 if task.writes else max(2, len(counts)),
        method=first.method,
    )
    if facts.kind and facts.kind not in task.kinds:
        raise UserError("model_wrong_kind", name=facts.name, kind=facts.family, wanted=examples(task.kinds))
    tokens = _tokens(settings, tables.path(table.id, OWNER), measured_columns(task.shape, data.columns), facts)
    advice = recommend(
        rows=round(table.rows * (1 - first.validation_fraction - (0 if data.test_table else first.test_fraction))),
        classes=len(counts),
        tokens_p95=tokens.get("p95", int(knobs()["max_length"].default)),
        answer_tokens_p95=tokens.get("answer_p95", 0),
        facts=facts,
        task=task,
        method=chosen.get("method", ""),
        rows_per_class=(min(counts.values()), max(counts.values())) if counts else None,
    )
    return build(task=task.id, data=data, model=model, **({name: a.value for name, a in advice.items()} | chosen))


def _tokens(
    settings: Settings, table: Path, columns: tuple[tuple[str, ...], str | None], facts: ModelFacts
) -> dict[str, int]:
    if facts.tokenizer is None:
        return {}
    return token_lengths(settings, table, columns[0], facts.tokenizer, answer=columns[1])


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
