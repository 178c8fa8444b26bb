"""What the chosen table amounts to: usable rows, labels, parts, findings, or the reason why it cannot be used."""

from dataclasses import dataclass, field
from typing import Any

from core.data.findings import from_note
from core.data.store import Table
from core.data.survey import Question, survey
from core.errors import UserError
from core.spec import knobs
from ui.page import Visit


@dataclass(frozen=True)
class Overview:
    """The data as the page shows it.

    Attributes:
        table: the chosen table, None before there is one.
        columns: role -> column name.
        counts: label -> usable rows, the most frequent first.
        sizes: part -> rows.
        findings: what was seen and mended, as `{"code", "rows", "severity", …}`.
        error: why it cannot be trained on.
    """

    table: Table | None = None
    columns: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    findings: tuple[dict[str, Any], ...] = ()
    error: UserError | None = None

    @property
    def usable(self) -> bool:
        """Whether a run can be started with it."""
        return self.table is not None and self.error is None and bool(self.sizes)


def fractions(visit: Visit) -> dict[str, float]:
    """The parts held out, as chosen or by default."""
    chosen = visit.draft.knobs
    return {name: chosen.get(name, knob.default) for name, knob in knobs("data").items()}


def overview(visit: Visit) -> Overview:
    """The chosen table as it is now. What was worked out before is remembered."""
    draft = visit.draft
    if draft.table is None:
        return Overview()
    try:
        table = visit.house.tables.get(draft.table, visit.owner)
    except UserError as error:
        return Overview(error=error)
    parts = fractions(visit)
    key = ("overview", visit.owner, table.id, tuple(sorted(draft.columns.items())), draft.test_table, *parts.values())
    return visit.house.memory.once(key, lambda: _work_out(visit, table))


def _work_out(visit: Visit, table: Table) -> Overview:
    draft, house = visit.draft, visit.house
    columns = {role: name for role, name in draft.columns.items() if name in table.columns}
    notes = tuple(from_note(dict(note)).as_dict() for note in table.notes)
    if missing := next((role for role in ("text", "label") if role not in columns), None):
        return Overview(table, columns, findings=notes, error=UserError("column_not_chosen", role=missing))
    test = str(house.tables.path(draft.test_table, visit.owner)) if draft.test_table else None
    path = str(house.tables.path(table.id, visit.owner))
    question = Question(path, columns, test, **fractions(visit), seed=int(knobs()["seed"].default))
    try:
        found = survey(house.settings, table.rows, question)
    except UserError as error:
        return Overview(table, columns, findings=notes, error=error)
    error = UserError(found.error[0], **found.error[1]) if found.error else None
    return Overview(table, columns, found.counts, found.sizes, (*notes, *found.findings), error)
