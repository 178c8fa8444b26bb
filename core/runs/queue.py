"""Whose turn it is: runs that wait, in the order in which they will start, and when that will be."""

from collections import defaultdict
from statistics import median

from core.runs.store import ACTIVE, RunRecord

_KNOWN_RUNS = 20


def order(records: list[RunRecord]) -> list[RunRecord]:
    """The queued runs as they will start: owners take turns, each with the runs in the order that the owner likes.

    What was interrupted and goes on by itself comes first: it had its turn already.

    Args:
        records: all runs of the place; those that do not wait tell who had a turn when.
    """
    waiting: dict[str, list[RunRecord]] = defaultdict(list)
    last: dict[str, int] = defaultdict(int)
    for record in sorted(records, key=_place):
        last[record.owner] = max(last[record.owner], record.turn)
        if record.state == "QUEUED":
            waiting[record.owner].append(record)
    found = [record for record in sorted(records, key=_place) if record.state == "QUEUED" and record.returning]
    for record in found:
        waiting[record.owner].remove(record)
    turn = max(last.values(), default=0)
    while any(waiting.values()):
        owner = min((o for o in waiting if waiting[o]), key=lambda o: (last[o], _place(waiting[o][0])))
        found.append(waiting[owner].pop(0))
        turn += 1
        last[owner] = turn
    return found


def position(records: list[RunRecord], run_id: str) -> int | None:
    """1 for the run that starts next; None for one that does not wait."""
    ids = [record.id for record in order(records)]
    return ids.index(run_id) + 1 if run_id in ids else None


def seconds_until_start(records: list[RunRecord], run_id: str, left: float | None) -> float | None:
    """Expected seconds until a queued run starts; None where nothing is known that it could be told from.

    Args:
        records: all runs of the place.
        run_id: the run that waits.
        left: measured seconds that the running one still needs; None where it does not know yet.
    """
    place = position(records, run_id)
    if place is None:
        return None
    running = any(record.state in ACTIVE for record in records)
    took = [r.seconds for r in sorted(records, key=lambda r: r.turn, reverse=True) if r.has_result and r.seconds]
    usual = median(took[:_KNOWN_RUNS]) if took else None
    if (place > 1 or (running and left is None)) and usual is None:
        return None
    first = 0.0 if not running else usual if left is None else left
    return (first or 0.0) + (place - 1) * (usual or 0.0)


def _place(record: RunRecord) -> tuple[int, float, str]:
    return record.place, record.created, record.id
