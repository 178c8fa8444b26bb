"""What the chosen table amounts to: usable rows, labels, parts, findings, or the reason why it cannot be used."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any

from core.data.findings import from_note
from core.data.shapes import SHAPES, column_names
from core.data.store import Table
from core.data.survey import Question, survey
from core.data.understanding import known_columns
from core.errors import UserError
from core.spec import knobs
from ui.page import Visit


@dataclass(frozen=True)
class Overview:
    """The data as the page shows it.

    Attributes:
        table: the chosen table, None before there is one.
        columns: role -> column name or names.
        counts: label -> usable rows, the most frequent first.
        sizes: part -> rows.
        findings: what was seen and mended, as `Finding.as_dict()`.
        applied: finding's code -> fix, as it was really done.
        train_counts: label -> training rows.
        error: why it cannot be trained on.
    """

    table: Table | None = None
    columns: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    findings: tuple[dict[str, Any], ...] = ()
    applied: dict[str, str] = field(default_factory=dict)
    train_counts: dict[str, int] = field(default_factory=dict)
    error: UserError | None = None

    @property
    def usable(self) -> bool:
        """Whether a run can be started with it."""
        return self.table is not None and self.error is None and bool(self.sizes)

    @property
    def rows(self) -> int:
        """Examples in all parts."""
        return sum(self.sizes.values())


def fractions(visit: Visit) -> dict[str, float]:
    """The parts held out, as chosen or by default."""
    chosen = visit.draft.knobs
    return {name: float(chosen.get(name, knob.default)) for name, knob in knobs("data").items()}


def overview(visit: Visit) -> Overview:
    """The chosen table as it is now. What was worked out before is remembered."""
    found: Overview = visit.once("overview", lambda: _overview(visit))
    return found


def _overview(visit: Visit) -> Overview:
    draft = visit.draft
    if draft.table is None:
        return Overview()
    try:
        table = visit.house.tables.get(draft.table, visit.owner)
    except UserError as error:
        return Overview(error=error)
    roles = {role.name for role in SHAPES[draft.task].roles}
    columns = {role: c for role, c in known_columns(draft.columns, list(table.columns)).items() if role in roles}
    found = visit.house.memory.once(_key(visit), lambda: _work_out(visit, table, columns))
    return replace(_with_notes(table, columns, found), error=_error(visit, columns, found))


def surveyed(visit: Visit) -> bool:
    """Whether `overview` answers at once."""
    return visit.draft.table is None or visit.house.memory.knows(_key(visit))


def question(visit: Visit, table: Table, columns: dict[str, str | tuple[str, ...]]) -> Question:
    """What the doctor is asked about the chosen table."""
    draft, tables = visit.draft, visit.house.tables
    return Question(
        table=str(tables.path(table.id, visit.owner)),
        columns=columns,
        task=draft.task,
        fixes=draft.fixes,
        test_table=str(tables.path(draft.test_table, visit.owner)) if draft.test_table else None,
        **fractions(visit),
        seed=int(draft.knobs.get("seed", knobs()["seed"].default)),
        split=draft.split,
    )


def _key(visit: Visit) -> Hashable:
    draft = visit.draft
    chosen = (tuple(sorted(draft.columns.items())), tuple(sorted(draft.fixes.items())), draft.split, draft.task)
    seed = draft.knobs.get("seed")
    return ("overview", visit.owner, draft.table, *chosen, draft.test_table, seed, *fractions(visit).values())


def _with_notes(table: Table, columns: dict[str, str | tuple[str, ...]], found: Overview) -> Overview:
    notes = tuple(from_note(dict(note)).as_dict() for note in table.notes)
    return replace(found, table=table, columns=columns, findings=(*notes, *found.findings))


def _work_out(visit: Visit, table: Table, columns: dict[str, str | tuple[str, ...]]) -> Overview:
    """What the doctor says; remembered, so it holds nothing that is said in one language."""
    if not column_names(columns):
        return Overview()
    try:
        found = survey(visit.house.settings, table.rows, question(visit, table, columns))
    except UserError as error:
        return Overview(error=error)
    return Overview(
        counts=found.counts,
        sizes=found.sizes,
        findings=found.findings,
        applied=found.applied,
        train_counts=found.train_counts,
        error=UserError(found.error[0], **found.error[1]) if found.error else None,
    )


def _error(visit: Visit, columns: dict[str, str | tuple[str, ...]], found: Overview) -> UserError | None:
    if missing := SHAPES[visit.draft.task].missing(columns):
        return UserError("column_not_chosen", role=visit.text(f"data.role.{missing}"))
    return found.error
