"""One walk over all checks, in an order in which an earlier fix makes sense of a later check."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from core.data.doctor.base import Check, Seen, Sheet
from core.data.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

# Finding's code -> name of the fix to apply (empty: the one offered first); or every recommended one, or simply every
# one.
Fixes = Mapping[str, str] | Literal["recommended", "all"]


@dataclass(frozen=True)
class Examination:
    """What the doctor saw and did.

    Attributes:
        findings: in the order of the walk; those with `applied` are mended.
        frame: the table after the fixes, the original columns, rows keep their numbers.
        applied: code -> fix, what was really done; the same walk with these gives the same frame.
    """

    findings: tuple[Finding, ...]
    frame: "pd.DataFrame"
    applied: dict[str, str]


def examine(sheet: Sheet, fixes: Fixes = "recommended", checks: tuple[Check, ...] | None = None) -> Examination:
    """Look at everything, applying the fixes asked for on the way.

    A check sees the rows as the fixes before it left them, so a finding's rows are those that are left for it.
    """
    if checks is None:
        from core.data.doctor.checks import CHECKS

        checks = CHECKS
    found: list[Finding] = []
    applied: dict[str, str] = {}
    for check in checks:
        if len(sheet.frame) == 0 or not check.concerns(sheet):
            continue
        seen = check.look(sheet)
        if seen is None:
            continue
        chosen = _chosen(seen, fixes)
        if chosen is None:
            found.append(seen.finding)
            continue
        sheet = sheet.with_frame(seen.mends[chosen]())
        applied[check.code] = chosen
        found.append(replace(seen.finding, applied=chosen))
    return Examination(tuple(found), sheet.frame, applied)


def _chosen(seen: Seen, fixes: Fixes) -> str | None:
    if fixes == "all" or (fixes == "recommended" and seen.finding.recommended):
        return seen.finding.fix if seen.finding.fix in seen.mends else None
    if isinstance(fixes, str):
        return None
    wanted = fixes.get(seen.finding.code)
    if wanted == "":
        return seen.finding.fix if seen.finding.fix in seen.mends else None
    return wanted if wanted in seen.mends else None
