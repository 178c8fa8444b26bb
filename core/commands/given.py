"""From flags to values: who owns what is made, knobs and switches, fixes, columns, ways of reading."""

import argparse
from typing import TYPE_CHECKING

from core.data.doctor.chat import turns
from core.data.doctor.examining import Fixes
from core.data.options import ReadOptions
from core.data.shapes import Shape
from core.errors import UserError
from core.spec import knobs, switches

if TYPE_CHECKING:
    import pandas as pd

OWNER = "local"
# Cells of a column in which a conversation is looked for: the first ones may be empty.
_LOOKED_AT = 100
Columns = dict[str, str | tuple[str, ...]]


def assignments(pairs: list[str]) -> dict[str, str]:
    """Knobs and switches by name, as they were written: `learning_rate=2e-4`.

    Raises:
        UserError: `knob_unknown`.
    """
    known = [*knobs(), *switches()]
    chosen = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise UserError("knob_unknown", knob=name[:40], known=", ".join(known))
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


def options(given: argparse.Namespace) -> ReadOptions:
    """What was decided about the reading of a file."""
    delimiter = {"tab": "\t", "none": ""}.get(given.delimiter or "-", given.delimiter)
    header = None if given.header is None else given.header == "yes"
    return ReadOptions(given.encoding, delimiter, given.title_rows, header, given.part)


def columns_named(given: argparse.Namespace, shape: Shape, frame: "pd.DataFrame") -> Columns:
    """Role -> column as told by `--text`, `--label` and `--column ROLE=COLUMN`, several with commas between.

    `--text` is the first column that a model of the task reads, or the conversations where its cells hold some;
    `--label` is what it shall learn to say.

    Raises:
        UserError: `role_unknown`, `column_missing`.
    """
    told: dict[str, str] = dict(pair.partition("=")[::2] for pair in given.column)
    read = getattr(given, "text", None)
    spoken = read in frame.columns and any(turns(str(cell)) for cell in frame[read].head(_LOOKED_AT))
    first = {"text": ("messages", "text") if spoken else ("text",), "label": ("label", "labels", "answer")}
    for flag, kinds in first.items():
        value = getattr(given, flag, None)
        role = next((role.name for kind in kinds for role in shape.roles if role.kind == kind), None)
        if value and role and role not in told:
            told[role] = value
    found: Columns = {}
    for name, value in told.items():
        role_of = next((role for role in shape.roles if role.name == name), None)
        if role_of is None:
            known = ", ".join(role.name for role in shape.roles)
            raise UserError("role_unknown", role=name[:40], known=known)
        several = role_of.many and value not in frame.columns and "," in value
        found[name] = tuple(part.strip() for part in value.split(",")) if several else value
    return found
