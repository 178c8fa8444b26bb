"""Few examples: texts of one class are drawn together and those of others apart, then a linear head is fitted.

From few texts, many pairs can be made. Source: SetFit (Tunstall et al., "Efficient few-shot learning without prompts",
2022). All pairs of a batch are compared there and then, so that each text is read once a step, not once a pair.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import events
from core.device import Device
from core.errors import UserError
from core.models import heads
from core.spec import TrainSpec
from core.tasks.base import Task
from core.training import features, linear, quick
from core.training.loop import Fitted, InterruptedRunError, Report, Signals
from core.training.pace import Pace

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from core.data.preparing import Split

_ROWS_PER_BATCH = 32
# Enough for 32 texts of 256 tokens; of longer texts, fewer are compared at once.
_TOKENS_PER_BATCH = 8192
_LEAST_ROWS = 8
_PASSES = 10
_STEPS = (40, 200)
_WARMUP_STEPS = 10
# Smaller models bear larger steps, as in `core.training.recommending`.
_RATES = ((50_000_000, 1e-4), (150_000_000, 3e-5), (math.inf, 2e-5))


def fit(
    task: Task,
    model: Any,
    tokenizer: Any,
    split: "Split",
    spec: TrainSpec,
    device: Device,
    folder: Path,
    report: Report,
    signals: Signals,
) -> Fitted:
    """Fine-tune the body contrastively, fit a head as `quick.fit` does, and save a checkpoint below `folder`.

    Asked to end early, the head is fitted to what the body has learned by then.

    Raises:
        UserError: `head_unsupported`, `pooling_unsupported`, `loss_not_finite`, `disk_full`.
        InterruptedRunError: the system asked to end.
    """
    found = features.choices(model, spec)
    pooling = "mean" if "mean" in found else found[0]
    rows = task.encode(split.train, split.labels, model, tokenizer, spec)
    sets = label_sets(rows["labels"][:], len(split.labels))
    longest = min(max(rows["length"][:]), spec.max_length)
    size = max(_LEAST_ROWS, min(_ROWS_PER_BATCH, _TOKENS_PER_BATCH // longest))
    steps = max(_STEPS[0], min(_STEPS[1], round(len(rows) * _PASSES / size)))
    model.base_model.requires_grad_(True)
    trained = [*model.base_model.parameters(), *heads.last_layer(model)[1].parameters()]
    report(
        events.Planned(
            steps=steps + len(linear.STRENGTHS),
            epochs=1,
            parameters=sum(p.numel() for p in model.parameters()),
            trainable=sum(p.numel() for p in trained),
        )
    )
    done = _draw_together(model, _batches(rows, sets, size, task.collate(model, tokenizer), spec.seed), pooling, steps, size, device, report, signals)
    ended = quick.fit_head(
        task, model, tokenizer, split, spec, device, folder, report, signals, (pooling,), after=done
    )
    return replace(ended, stopped=ended.stopped or done < steps)


def label_sets(labels: "list[Any]", count: int) -> "np.ndarray[Any, Any]":
    """Label numbers, or rows of 0 and 1, as a table of 0 and 1 of shape (rows, count)."""
    import numpy as np

    given = np.asarray(labels)
    return given.astype(np.float32) if given.ndim == 2 else np.eye(count, dtype=np.float32)[given]
