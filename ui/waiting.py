"""What is said of a run that waits for its turn, that goes on from where it was, or that is gone on with."""

from core.runs import queue
from core.runs.progress import Progress
from core.runs.store import ACTIVE, RunRecord
from ui import sentences
from ui.page import Visit

# What has steps can be taught further; what is fitted at once would only be fitted again.
_TAUGHT_FURTHER = ("full", "lora", "head")


def sentence(visit: Visit, record: RunRecord, records: list[RunRecord]) -> str:
    """Which place a queued run has among all `records`, and when it is likely to start."""
    if record.returning and record.parts > 1:
        return visit.text("going.retrying")
    place = queue.position(records, record.id)
    if place is None:
        return visit.text("going.queued_next")
    running = next((r for r in records if r.state in ACTIVE), None)
    left = visit.house.watch.progress(running.id).seconds_left if running else None
    seconds = queue.seconds_until_start(records, record.id, left)
    if place == 1 and running is None:
        return visit.text("going.queued_next")
    if seconds is None:
        return visit.text("going.queued", place=place)
    return visit.text("going.queued_until", place=place, time=sentences.duration(visit.text, seconds))


def behind_another(record: RunRecord | None, records: list[RunRecord]) -> bool:
    """Whether a run waits for another of all `records` to end, so that nothing happens to it in the next seconds."""
    return record is not None and record.state == "QUEUED" and any(r.state in ACTIVE for r in records)


def own_before_and_after(visit: Visit, record: RunRecord | None, records: list[RunRecord]) -> tuple[bool, bool]:
    """Whether the person has another run that waits before this one, and one that waits after it."""
    if record is None or record.state != "QUEUED":
        return False, False
    ids = [r.id for r in queue.order(records) if r.owner == visit.owner and not r.returning]
    if record.id not in ids:
        return False, False
    return ids[0] != record.id, ids[-1] != record.id


def again_label(visit: Visit, record: RunRecord | None) -> str | None:
    """The words of the button that goes on with an ended run; None where there is nothing to go on with."""
    if record is None or not visit.house.runs.can_go_on(record):
        return None
    step = visit.house.runs.kept_step(record.id)
    return visit.text("training.go_on", step=step) if step else visit.text("training.again")


def can_be_taught_further(visit: Visit, record: RunRecord | None) -> bool:
    """Whether another run can begin with this one's result."""
    return (
        record is not None
        and record.has_result
        and record.state in ("FINISHED", "STOPPED")
        and visit.house.runs.spec(record.id).method in _TAUGHT_FURTHER
    )


def told_figures(visit: Visit, seen: Progress) -> list[tuple[str, str]]:
    """What a person should know of how the run came here, as names and values."""
    text, found = visit.text, []
    if seen.resumed:
        found.append((text("training.resumed"), text("training.resumed_step", step=seen.resumed)))
    if seen.damaged:
        found.append((text("training.damaged"), f"{seen.damaged:,}"))
    if seen.rows_at_once:
        found.append((text("training.rows_at_once"), f"{seen.rows_at_once:,}"))
    return found
