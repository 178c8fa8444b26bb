"""The model's scores on the validation rows while it is trained: rows in order of length, every row counted once."""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from core.device import Device
from core.models.sizing import PIECE_TOKENS
from core.tasks._batches import IGNORED, READ_TOGETHER, batches
from core.tasks.base import Task
from core.training.precision import Way

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

Judge = Callable[[Any], dict[str, float]]
# Tokens of a batch; of a model that writes, as many as have this many numbers of guesses.
_GUESSES = {"cpu": 2**26, "mps": 2**26, "cuda": 2**29}
_MOST_ROWS = 256


def judge_of(
    task: Task,
    rows: "Dataset",
    collate: Callable[..., Any],
    loss: Callable[..., Any],
    device: Device,
    way: Way,
    parts: int,
) -> Judge:
    """A function from a Trainer to `eval_loss`, `eval_runtime` and the task's scores on these encoded rows.

    Args:
        loss: mean over what is wanted in a batch, as `Task.loss` gives it.
        parts: a batch has so many times fewer tokens, where memory ran out before.
    """
    lengths: list[int] = rows["length"][:]

    def judged(trainer: Any) -> dict[str, float]:
        import torch

        begin, model = monotonic(), trainer.model
        kept: list[Any] = []
        wanted: list[Any] = []
        total = counted = 0.0
        model.eval()
        read: Any = trainer._remove_unused_columns(rows, description="evaluation")
        most = max(1, _tokens(task, model, device) // parts)
        for places in batches(lengths, most, _MOST_ROWS):
            batch = trainer._prepare_inputs(collate(read.__getitems__(places)))
            labels = batch.pop("labels")
            with torch.inference_mode(), torch.autocast(device.kind, torch.bfloat16, enabled=way.weights == "autocast"):
                outputs = model(**batch)
                share = float(labels.ne(IGNORED).sum())
                total += float(loss(outputs, labels)) * share
            counted += share
            kept.append(task.reduce_logits(outputs["logits"], labels).float().cpu().numpy())
            wanted.append(labels.cpu().numpy())
            trainer.control = trainer.callback_handler.on_prediction_step(trainer.args, trainer.state, trainer.control)
        scores = task.evaluation_scores(_together(kept), _together(wanted))
        known = {"eval_loss": total / max(1.0, counted), "eval_runtime": monotonic() - begin}
        return known | {f"eval_{name}": float(value) for name, value in scores.items()}

    return judged


def _tokens(task: Task, model: Any, device: Device) -> int:
    # No more at once than is learned from at once: reading shall not be what needs the most memory.
    most = PIECE_TOKENS if device.kind == "cpu" else READ_TOGETHER[device.kind]
    if not task.writes:
        return most
    vocabulary = int(model.config.get_text_config(decoder=True).vocab_size)
    return min(most, max(1, _GUESSES[device.kind] // vocabulary))


def _together(found: "list[np.ndarray[Any, Any]]") -> "np.ndarray[Any, Any]":
    """Batches one after another; where rows differ in length, the shorter ones end in what is left out."""
    import numpy as np

    if found[0].ndim < 2:
        return np.concatenate(found)
    width = max(part.shape[1] for part in found)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=IGNORED) for part in found]
    )
