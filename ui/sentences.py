"""Plain sentences about a run: a judgement in a code first, then words."""

from core.runs.progress import Progress
from core.runs.store import RunRecord
from ui.text import Text

PREPARING = ("data", "loading")


def judgement(record: RunRecord, progress: Progress) -> str:
    """How it goes, as a code: a key below `going`.

    Memorising: the loss on validation rows rose twice in a row while it fell on training rows, which is what
    overfitting looks like (Goodfellow et al., Deep Learning, 5.2 and 7.8).
    """
    if record.state in ("QUEUED", "FAILED", "INTERRUPTED", "STOPPING"):
        return record.state.lower()
    if record.state in ("FINISHED", "STOPPED"):
        return record.state.lower() if record.has_result else "stopped_early"
    if not progress.phase:
        return "starting"
    if progress.phase != "training":
        return "preparing" if progress.phase in PREPARING else progress.phase
    return _learning(progress)


def _learning(progress: Progress) -> str:
    seen = progress.evaluations
    if len(seen) < 2:
        return "first_look" if not seen else "early"
    held_out = [loss for _, loss, _, _ in seen]
    values = [value for _, _, value, _ in seen]
    trained = [loss for _, loss in progress.losses]
    falls = len(trained) > 1 and trained[-1] < trained[0]
    if len(held_out) > 2 and held_out[-1] > held_out[-2] > held_out[-3] and falls:
        return "memorising"
    if max(values[1:]) <= values[0] and held_out[-1] > 0.98 * held_out[0]:
        return "not_learning"
    return "learning" if values[-1] >= max(values[:-1]) else "levelling"


def duration(text: Text, seconds: float) -> str:
    """A time span as people say it, rounded up so that it is seldom too short."""
    if seconds < 60:
        return text("time.seconds", n=max(1, round(seconds)))
    if seconds < 3600:
        return text("time.minutes", n=-(-int(seconds) // 60))
    return text("time.hours", hours=int(seconds) // 3600, minutes=int(seconds) % 3600 // 60)


def percent(value: float) -> int:
    """A share as a whole number of 100."""
    return round(100 * value)


def count(text: Text, number: float) -> str:
    """A large count in short: 22.7 million."""
    for size, key in ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands")):
        if number >= size:
            return text(
                f"amount.{key}",
                number=f"{number / size:.1f}",
                ten_thousands=f"{number / 1e4:,.0f}",
                hundred_millions=f"{number / 1e8:.1f}",
            )
    return f"{number:.0f}"


def size(text: Text, amount: float) -> str:
    """Bytes as MB or GB."""
    return f"{amount / 2**30:.1f} GB" if amount >= 2**30 else f"{max(1, round(amount / 2**20))} MB"
