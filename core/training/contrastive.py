"""Few examples: texts of one class are drawn together and those of others apart, then a linear head is fitted.

Many pairs can be made of few texts. Source: SetFit (Tunstall et al., "Efficient few-shot learning without prompts",
2022), here with all pairs of a batch compared at once, so that each text is read once a step and not once a pair
(Khosla et al., "Supervised contrastive learning", 2020).
"""

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import events, files
from core.device import Device
from core.errors import UserError
from core.models import heads
from core.spec import TrainSpec
from core.tasks.base import Task
from core.training import checkpoints, features, linear, quick
from core.training.loop import Fitted, InterruptedRunError, Keeping, Report, Signals, memory_is_a_user_error
from core.training.pace import Pace
from core.training.resuming import load_changed, save_changed

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor

    from core.data.preparing import Split

_STATE = "state.pt"
_TEMPERATURE = 0.1
_ROWS_PER_BATCH = 32
# Room for 32 texts of 256 tokens; of longer ones, fewer are compared at once.
_TOKENS_PER_BATCH = 8192
_LEAST_ROWS = 8
# How often a text is read, if that comes to a number of steps between these.
_PASSES = 10
_STEPS = (40, 200)
_WARMUP_STEPS = 10
_WEIGHT_DECAY = 0.01
# Up to so many parameters, such steps: small models bear larger ones.
_RATES = ((50_000_000, 1e-4), (150_000_000, 3e-5), (math.inf, 2e-5))


@dataclass(frozen=True)
class _Plan:
    """How the body is trained.

    Attributes:
        pooling: of `core.training.features`, what is compared.
        rows: texts of a step.
        steps: in all.
        rate: highest learning rate.
    """

    pooling: str
    rows: int
    steps: int
    rate: float

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0: up, then down to nothing."""
        return self.rate * min(1.0, (step + 1) / _WARMUP_STEPS) * (1 - step / self.steps)


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
    keeping: Keeping | None = None,
) -> Fitted:
    """Fine-tune the body by comparing texts, fit a head as quick mode does, and keep the model of the run in `folder`.

    The number of steps and their size follow from the rows and the model. Asked to end early, the head is fitted to
    what the body has learned by then.

    Raises:
        UserError: `head_unsupported`, `pooling_unsupported`, `loss_not_finite`, `disk_full`.
        InterruptedRunError: the system asked to end.
    """
    found = features.choices(model, spec)
    rows = task.encode(split.train, split.labels, model, tokenizer, spec)
    total = sum(p.numel() for p in model.parameters())
    plan = _plan("mean" if "mean" in found else found[0], rows["length"][:], total)
    model.base_model.requires_grad_(True)
    changed = {*model.base_model.parameters(), *heads.last_layer(model)[1].parameters()}
    report(
        events.Planned(
            steps=plan.steps + len(linear.STRENGTHS),
            epochs=1,
            parameters=total,
            trainable=sum(p.numel() for p in changed),
        )
    )
    batches = _batches(rows, len(split.labels), plan.rows, task.collate(model, tokenizer), spec.seed)
    with memory_is_a_user_error(plan.rows):
        keeping = keeping or Keeping()
        read_after = sum(split.sizes().values())
        done = _draw_together(model, batches, plan, device, folder, report, signals, keeping, read_after)
    model.requires_grad_(False)
    if done < plan.steps:
        # Who asked to end is heard: the few rows are still read whole, or the head would miss classes.
        signals = replace(signals, stop=lambda: False)
    ended = quick.fit_head(
        task,
        model,
        tokenizer,
        split,
        spec,
        device,
        folder,
        report,
        signals,
        (plan.pooling,),
        after=done,
        keeping=keeping,
    )
    return replace(ended, stopped=ended.stopped or done < plan.steps)


def compare(vectors: "Tensor", sets: "Tensor") -> "Tensor":
    """Supervised contrastive loss: how unlikely each row's fellows are among all rows that it could be taken for.

    Fellows count by the share of labels that they have in common (intersection over union); rows without any are left
    out.

    Args:
        vectors: (rows, width).
        sets: 1 for each label of a row, else 0, (rows, labels).
    """
    import torch
    from torch.nn.functional import normalize

    both = sets @ sets.T
    sizes = sets.sum(dim=1)
    shared = (both / (sizes[:, None] + sizes[None, :] - both).clamp(min=1)).fill_diagonal_(0)
    unit = normalize(vectors.float(), dim=1)
    near = (unit @ unit.T / _TEMPERATURE).masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), -1e9)
    likely = near.log_softmax(dim=1)
    weight = shared.sum(dim=1)
    known = weight > 0
    return -((shared * likely).sum(dim=1)[known] / weight[known]).sum() / known.sum().clamp(min=1)


def _plan(pooling: str, lengths: list[int], parameters: int) -> _Plan:
    rows = max(_LEAST_ROWS, min(_ROWS_PER_BATCH, _TOKENS_PER_BATCH // max(lengths)))
    steps = max(_STEPS[0], min(_STEPS[1], round(len(lengths) * _PASSES / rows)))
    return _Plan(pooling, rows, steps, next(rate for most, rate in _RATES if parameters <= most))


def _batches(
    rows: "Dataset", labels: int, size: int, collate: Callable[[list[dict[str, Any]]], Any], seed: int
) -> "Iterator[tuple[Any, Tensor]]":
    """(Padded batch, table of its labels) without end: pairs of texts with a label in common, the labels in turn."""
    import numpy as np
    import torch

    random = np.random.default_rng(seed)
    ids, sets = rows["input_ids"][:], _table(rows["labels"][:], labels)
    having = [np.flatnonzero(sets[:, label]) for label in range(labels)]
    turns = _in_turn([label for label in range(labels) if len(having[label])], random)
    while True:
        chosen: dict[int, None] = {}
        for _ in range(size // 2):
            of_label = having[next(turns)]
            chosen |= dict.fromkeys(random.choice(of_label, min(2, len(of_label)), replace=False).tolist())
        places = list(chosen)
        batch = collate([{"input_ids": ids[place], "attention_mask": [1] * len(ids[place])} for place in places])
        yield batch, torch.from_numpy(sets[places])


def _in_turn(values: list[int], random: "np.random.Generator") -> Iterator[int]:
    while True:
        random.shuffle(values)
        yield from values


def _table(labels: list[Any], count: int) -> "np.ndarray[Any, Any]":
    """Label numbers, or rows of 0 and 1, as 0 and 1 of shape (rows, count)."""
    import numpy as np

    given = np.asarray(labels)
    return given.astype(np.float32) if given.ndim == 2 else np.eye(count, dtype=np.float32)[given]


def _draw_together(
    model: Any,
    batches: "Iterator[tuple[Any, Tensor]]",
    plan: _Plan,
    device: Device,
    folder: Path,
    report: Report,
    signals: Signals,
    keeping: Keeping,
    read_after: int,
) -> int:
    """Train the body, from the state in `folder` on where there is one; the number of steps that were done.

    Args:
        read_after: rows that are read once when that is done.
    """
    import torch

    model.to(device.kind)
    model.train()
    body = list(model.base_model.parameters())
    optimizer = torch.optim.AdamW(body, lr=plan.rate, weight_decay=_WEIGHT_DECAY)
    state, _ = checkpoints.state(folder)
    first = _go_on(state, model, optimizer, batches) if state else 0
    pace = Pace(plan.steps, 0, plan.rows, read_after=read_after, opening=keeping.opening)
    pace.start(first)
    losses: list[float] = []
    saved_at = monotonic()

    def save(done: int) -> None:
        checkpoints.save_state(
            folder, done, lambda staged: _write_state(staged, model, optimizer, keeping.facts(device))
        )
        report(events.Saved(step=done))

    for step in range(first, plan.steps):
        if signals.interrupted():
            save(step)
            raise InterruptedRunError
        if signals.stop():
            save(step)
            return step
        if monotonic() - saved_at >= keeping.seconds:
            save(step)
            saved_at = monotonic()
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(step)
        batch, sets = next(batches)
        with torch.autocast(device.kind, torch.bfloat16, enabled=device.precision == "bfloat16"):
            vectors = features.of_batch(model, batch.to(device.kind), (plan.pooling,))[plan.pooling]
        loss = compare(vectors, sets.to(device.kind))
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise UserError("loss_not_finite", step=step + 1, learning_rate=plan.rate)
        backward: Callable[[], None] = loss.backward
        backward()
        torch.nn.utils.clip_grad_norm_(body, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        pace.step()
        if pace.due() or step + 1 == plan.steps:
            report(_told(step + 1, losses, plan, pace))
            losses = []
    if first < plan.steps:
        # Features of a body that was less trained are of no use any more.
        shutil.rmtree(folder / "features", ignore_errors=True)
        save(plan.steps)
    return plan.steps


def _write_state(staged: Path, model: Any, optimizer: Any, facts: dict[str, Any]) -> None:
    import torch

    staged.mkdir()
    save_changed(model, staged)
    torch.save({"optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}, staged / _STATE)
    files.write_json(staged / checkpoints.FACTS, facts)


def _go_on(state: Path, model: Any, optimizer: Any, batches: Iterator[Any]) -> int:
    """Bring everything to where it was when the state was saved; the number of steps that were done."""
    import torch

    done = checkpoints.step_of(state)
    for _ in range(done):
        next(batches)
    load_changed(model, state)
    kept = torch.load(state / _STATE, weights_only=True)
    optimizer.load_state_dict(kept["optimizer"])
    torch.set_rng_state(kept["random"])
    return done


def _told(step: int, losses: list[float], plan: _Plan, pace: Pace) -> events.Step:
    return events.Step(
        step=step,
        epoch=round(step / plan.steps, 3),
        loss=round(sum(losses) / len(losses), 5),
        learning_rate=plan.rate_at(step - 1),
        rows_per_second=round(pace.rows_per_second(), 2),
        seconds_left=round(pace.seconds_left(), 1),
    )
