"""What a model answers to the judged rows, kept part by part, so that an interruption costs one part and not all."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import files
from core.device import Device
from core.evaluation.answers import Answers, Prediction
from core.spec import TrainSpec
from core.tasks.base import Task

if TYPE_CHECKING:
    import pandas as pd

# Rows of the first part: written answers take seconds each, labels milliseconds.
_WRITTEN_ROWS, _OTHER_ROWS = 32, 2048
# Later parts have as many rows as are answered in so many seconds: more at once are faster, fewer lose less.
_SECONDS = 60.0


def answer(
    task: Task,
    model: Any,
    tokenizer: Any,
    rows: "pd.DataFrame",
    spec: TrainSpec,
    device: Device,
    tell: Callable[[int, int], None],
    folder: Path,
) -> Answers:
    """The task's answers to all rows, those of an earlier attempt read from `folder`.

    Args:
        tell: called with (rows done, rows in all) now and then; an exception that it raises ends the work.
        folder: of these answers alone: same model, same rows.

    Raises:
        UserError: `disk_full`.
    """
    size, found, begin = _WRITTEN_ROWS if task.writes else _OTHER_ROWS, Answers(), 0
    folder.mkdir(parents=True, exist_ok=True)
    while begin < len(rows):
        path = folder / f"{begin}.json"
        part, count = _read(path)
        if part is None:
            started, some = monotonic(), rows.iloc[begin : begin + size]
            told, count = _shifted(tell, begin, len(rows)), len(some)
            part = task.answer(model, tokenizer, some.reset_index(drop=True), spec, device, told)
            with suppress(ValueError):  # a loss that is no number cannot be written: the part is worked out again
                files.write_json(path, {"rows": count, **asdict(part)})
            size = max(size, int(_SECONDS * count / max(monotonic() - started, 1e-3)))
        found.predictions.extend(part.predictions)
        found.token_losses.extend(part.token_losses)
        begin += count
        tell(begin, len(rows))
    return found


def _shifted(tell: Callable[[int, int], None], begin: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: tell(begin + done, total)


def _read(path: Path) -> tuple[Answers | None, int]:
    """The part that was kept, and its rows; None where there is none, or where it is damaged."""
    try:
        kept = files.read_json(path)
        predictions = [_prediction(told) for told in kept["predictions"]]
        losses = [(float(a), b, c) for a, b, c in kept["token_losses"]]
        return (Answers(predictions, losses), int(kept["rows"])) if int(kept["rows"]) > 0 else (None, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0


def _prediction(told: dict[str, Any]) -> Prediction:
    pairs = tuple((str(label), float(share)) for label, share in told["probabilities"])
    return Prediction(told["answer"], told["confidence"], pairs, tuple(told["labels"]))
