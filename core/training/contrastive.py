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
    poolings = ("mean",) if "mean" in found else found[:1]
    rows = task.encode(split.train, split.labels, model, tokenizer, spec)
    texts = {"input_ids": rows["input_ids"][:], "labels": _label_sets(rows["labels"][:], len(split.labels))}
    size = max(_LEAST_ROWS, min(_ROWS_PER_BATCH, _TOKENS_PER_BATCH // max(map(len, texts["input_ids"]))))
    steps = max(_STEPS[0], min(_STEPS[1], round(len(rows) * _PASSES / size)))
    model.base_model.requires_grad_(True)
    report(
        events.Planned(
            steps=steps + len(linear.STRENGTHS),
            epochs=1,
            parameters=sum(p.numel() for p in model.parameters()),
            trainable=sum(p.numel() for part in (model.base_model, heads.last_layer(model)[1]) for p in part.parameters()),
        )
    )
