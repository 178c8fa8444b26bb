"""What the data check says: a code, how many rows, the facts that its sentence needs, and what can be done about it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from core.errors import Fact

Severity = Literal["info", "warning", "error"]
_EXAMPLES = 5
_NAMES = 5
_NAME_CHARACTERS = 40


@dataclass(frozen=True)
class Sample:
    """One of the rows that a finding is about.

    Attributes:
        row: its number as a spreadsheet shows it.
        before: column -> what is there, shortened.
        after: column -> what the fix makes of it; None where the row is taken out or nothing is offered.
    """

    row: int
    before: dict[str, str]
    after: dict[str, str] | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that was seen in the rows.

    Attributes:
        code: key of the sentences `findings.<code>` and `why.<code>` in the locales.
        rows: how many rows it is about.
        severity: `error` stops training, `warning` is worth a look, `info` is mended without loss.
        facts: numbers and names for the sentence.
        examples: a few rows, numbered as a spreadsheet shows them (the header is row 1).
        fix: the fix that is offered first, None where nothing can be done by a button.
        fixes: all fixes to choose from, `fix` first.
        recommended: whether the fix belongs to those applied all at once.
        applied: the fix that was applied; `rows` is then how many rows it changed or took out.
        samples: up to three rows with what the fix makes of them.
    """

    code: str
    rows: int
    severity: Severity = "info"
    facts: dict[str, Fact] = field(default_factory=dict)
    examples: tuple[int, ...] = ()
    fix: str | None = None
    fixes: tuple[str, ...] = ()
    recommended: bool = False
    applied: str | None = None
    samples: tuple[Sample, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The finding, JSON-ready."""
        return asdict(self) | {
            "examples": list(self.examples),
            "fixes": list(self.fixes),
            "samples": [asdict(sample) for sample in self.samples],
        }


_NOTES_WORTH_A_LOOK = frozenset(
    {
        "ragged_rows", "open_quotes", "broken_characters", "header_missing", "mixed_encodings", "columns_left_out",
        "formulas_without_value", "json_lines_skipped",
    }
)  # fmt: skip


def from_note(note: dict[str, Any]) -> Finding:
    """The finding that a note of reading (`Table.notes`) amounts to. It is mended already, without a choice."""
    severity: Severity = "warning" if note["code"] in _NOTES_WORTH_A_LOOK else "info"
    facts = {name: value for name, value in note.items() if name not in ("code", "rows")}
    return Finding(note["code"], note["rows"], severity, facts, fix="mended", applied="mended")


def examples(rows: "list[int] | Any") -> tuple[int, ...]:
    """The first few row numbers."""
    return tuple(int(row) for row in rows[:_EXAMPLES])


def named(names: list[str]) -> str:
    """A few names in one line, long ones cut, with an ellipsis where some are left out."""
    short = [name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…" for name in names[:_NAMES]]
    return ", ".join(short) + (", …" if len(names) > _NAMES else "")
