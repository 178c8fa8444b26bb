"""Quick mode: the body reads every text once, a linear head is fitted to what comes out, and nothing else is changed.

The result is an ordinary classifier of the model's family: see `core.models.heads` for how its head is put together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import events
from core.device import Device
from core.models import heads, notes
from core.spec import TrainSpec
from core.tasks.base import Task
from core.training import checkpoints, features, linear
from core.training.loop import Fitted, InterruptedRunError, Keeping, Report, Signals, memory_is_a_user_error

if TYPE_CHECKING:
    from core.data.preparing import Split

_SECONDS_BETWEEN_REPORTS = 0.5
# After so many heads in a row that do no better, weaker regularisation is not tried any more.
_PATIENCE = 2


@dataclass(frozen=True)
class _Tried:
    """A fitted head, its loss on the training rows, and its loss and score on the validation rows."""

    pooling: str
    head: linear.Head
    training_loss: float
    loss: float
    value: float

    def order(self, chooses_by: str) -> tuple[float, float]:
        """Higher is better; equal scores, of which few validation rows give many, are told apart by the loss."""
        return (self.value, -self.loss) if chooses_by == "metric" else (-self.loss, self.value)


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
    """Fit a linear head to frozen features, and keep the model as the best one of the run in `folder`.

    Of the poolings that the model can take, where none is asked for, and of several strengths of the regularisation,
    those are taken that do best on the validation rows. Asked to end early, the head is fitted to the rows that were
    read by then, which are a random part of all.

    Raises:
        UserError: `head_unsupported`, `pooling_unsupported`, `disk_full`.
        InterruptedRunError: the system asked to end.
    """
    poolings = features.choices(model, spec)
    _, last = heads.last_layer(model)
    report(
        events.Planned(
            steps=len(linear.STRENGTHS) * len(poolings),
            epochs=1,
            parameters=sum(p.numel() for p in model.parameters()),
            trainable=sum(p.numel() for p in last.parameters()),
        )
    )
    return fit_head(task, model, tokenizer, split, spec, device, folder, report, signals, poolings, keeping=keeping)


def fit_head(
    task: Task,
    model: Any,
    tokenizer: Any,
    split: "Split",
    spec: TrainSpec,
    device: Device,
    folder: Path,
    report: Report,
    signals: Signals,
    poolings: tuple[str, ...],
    after: int = 0,
    keeping: Keeping | None = None,
) -> Fitted:
    """The same for given poolings, `after` so many steps of something else. What is planned has been told."""
    rows = {
        name: task.encode(part, split.labels, model, tokenizer, spec, folder / checkpoints.ENCODED)
        for name, part in (("validation", split.validation.iloc[: task.most_validated]), ("train", split.train))
    }
    teller = _Teller(report, signals, sum(map(len, rows.values())))
    collate, every = task.collate(model, tokenizer), (keeping or Keeping()).seconds
    with memory_is_a_user_error(spec.batch_size):
        validation, train = (
            features.read(
                model,
                part,
                poolings,
                collate,
                device,
                spec.seed,
                teller.read,
                features.Kept(folder / "features" / name, every),
            )
            for name, part in rows.items()
        )
    best, done = None, after
    for tried in _tries(task, split, train, validation, model):
        done += 1
        better = best is None or tried.order(task.chooses_by) > best.order(task.chooses_by)
        best = tried if better or best is None else best
        teller.tried(tried, done, task.training_metric, best=better)
    assert best is not None
    _put_on(model, best)
    checkpoints.save_best(model, tokenizer, folder, done)
    report(events.Saved(step=done))
    return Fitted(1.0, best.value, 1.0, teller.stopped)


class _Teller:
    """Reports how far it is, and hears what is asked for.

    Attributes:
        stopped: whether the person asked to end.
    """

    def __init__(self, report: Report, signals: Signals, total: int) -> None:
        self._report, self._signals, self._total = report, signals, total
        self._begin = self._told = monotonic()
        self._done = 0
        self._seconds = 0.0
        self.stopped = False

    def read(self, rows: int) -> bool:
        """So many more rows are read; whether to end."""
        self._check()
        self._done += rows
        now = monotonic()
        self._seconds = now - self._begin
        if now - self._told >= _SECONDS_BETWEEN_REPORTS:
            self._told = now
            self._report(events.Phase(name="training", done=self._done, total=self._total))
        self.stopped = self.stopped or self._signals.stop()
        return self.stopped

    def tried(self, tried: _Tried, step: int, metric: str, *, best: bool) -> None:
        """One more head is fitted."""
        self._check()
        speed = self._done / max(self._seconds, 1e-6)
        self._report(
            events.Step(
                step=step,
                epoch=1.0,
                loss=round(tried.training_loss, 5),
                learning_rate=0.0,
                rows_per_second=round(speed, 2),
                seconds_left=0.0,
            )
        )
        loss, value = round(tried.loss, 5), round(tried.value, 5)
        self._report(events.Evaluated(step=step, epoch=1.0, loss=loss, metric=metric, value=value, best=best))

    def _check(self) -> None:
        if self._signals.interrupted():
            raise InterruptedRunError


def _tries(task: Task, split: "Split", train: features.Part, validation: features.Part, model: Any) -> Iterator[_Tried]:
    """Heads for each pooling, from strong regularisation to weak, as long as that does better."""
    loss: Callable[..., Any] = task.loss(split)
    has_bias = heads.last_layer(model)[1].bias is not None
    for pooling, given in train.features.items():
        best, since = None, 0
        for head in linear.heads(given, train.targets, len(split.labels), loss, bias=has_bias):
            logits = head.logits(validation.features[pooling])
            scores = task.evaluation_scores(logits.cpu().numpy(), validation.targets.cpu().numpy())
            tried = _Tried(
                pooling,
                head,
                float(loss({"logits": head.logits(given)}, train.targets)),
                float(loss({"logits": logits}, validation.targets)),
                scores[task.training_metric],
            )
            yield tried
            order = tried.order(task.chooses_by)
            best, since = (order, 0) if best is None or order > best else (best, since + 1)
            if since >= _PATIENCE:
                break


def _put_on(model: Any, chosen: _Tried) -> None:
    """Give the model the head, and the shape that the head was fitted for."""
    import torch

    if chosen.pooling != features.AS_IT_IS:
        heads.reshape(model, features.one_layer(model), chosen.pooling)
    _, last = heads.last_layer(model)
    with torch.no_grad():
        last.weight.copy_(chosen.head.weight)
        if chosen.head.bias is not None:
            last.bias.copy_(chosen.head.bias)
    notes.note(model, pooling=heads.pooling_of(model))
