"""What the data check says: a code, how many rows, and the facts that its sentence needs."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from core.errors import Fact

Severity = Literal["info", "warning", "error"]
_EXAMPLES = 5
_NAMES = 5
_NAME_CHARACTERS = 40


@dataclass(frozen=True)
class Finding:
    """One thing that was seen in the rows.

    Attributes:
        code: key of the sentence, `findings.<code>` in the locales.
        rows: how many rows it is about.
        severity: `error` stops training, `warning` is worth a look, `info` is mended without loss.
        facts: numbers and names for the sentence.
        examples: a few rows, numbered as a spreadsheet shows them (the header is row 1).
        fix: what preparing does about it by itself, None where it leaves the rows as they are.
    """

    code: str
    rows: int
    severity: Severity = "info"
    facts: dict[str, Fact] = field(default_factory=dict)
    examples: tuple[int, ...] = ()
    fix: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The finding, JSON-ready."""
        return asdict(self) | {"examples": list(self.examples)}


_NOTES_WORTH_A_LOOK = frozenset({"ragged_rows", "open_quotes", "broken_characters", "header_missing"})


def from_note(note: dict[str, Any]) -> Finding:
    """The finding that a note of reading (`Table.notes`) amounts to."""
    severity: Severity = "warning" if note["code"] in _NOTES_WORTH_A_LOOK else "info"
    facts = {name: value for name, value in note.items() if name not in ("code", "rows")}
    return Finding(note["code"], note["rows"], severity, facts, fix="mended")


def examples(rows: "list[int] | Any") -> tuple[int, ...]:
    """The first few row numbers."""
    return tuple(int(row) for row in rows[:_EXAMPLES])


def named(names: list[str]) -> str:
    """A few names in one line, long ones cut, with an ellipsis where some are left out."""
    short = [name if len(name) <= _NAME_CHARACTERS else name[: _NAME_CHARACTERS - 1] + "…" for name in names[:_NAMES]]
    return ", ".join(short) + (", …" if len(names) > _NAMES else "")
