"""A run's events folded into what a person wants to know."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from core import events


@dataclass
class Progress:
    """How a run stands.

    Attributes:
        phase: name of the part it is in; empty before the first.
        done, total: rows of that part, where it counts them.
        step, steps: optimizer steps done and planned.
        epoch, epochs: passes over the data, done (with fraction) and planned.
        seconds_left: measured estimate, None while there is none.
        fraction: 0 to 1 of the whole run.
        losses: (step, training loss).
        evaluations: (step, validation loss, metric value, whether it was kept).
        metric: name of the metric in `evaluations`.
        resumed: step from which the newest attempt went on, 0 for the beginning.
        rows_at_once: rows of a batch that are worked through together after memory ran out, 0 where all are.
        damaged: saved states that it could not use.
        started, changed: time of the first and of the newest event, seconds since the epoch.
    """

    phase: str = ""
    done: int = 0
    total: int = 0
    step: int = 0
    steps: int = 0
    epoch: float = 0.0
    epochs: int = 0
    seconds_left: float | None = None
    rows_per_second: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)
    evaluations: list[tuple[int, float, float, bool]] = field(default_factory=list)
    metric: str = ""
    device: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    parameters: int = 0
    trainable: int = 0
    error: dict[str, Any] | None = None
    finished: bool = False
    stopped: bool = False
    seconds: float = 0.0
    resumed: int = 0
    damaged: int = 0
    rows_at_once: int = 0
    attempt: int = 0
    started: float = 0.0
    changed: float = 0.0

    @property
    def fraction(self) -> float:
        """Share of the run that is done; training takes nearly all of it."""
        if self.finished:
            return 1.0
        if self.phase in ("baselines", "testing", "saving"):
            return 0.97
        return 0.02 + 0.94 * self.step / self.steps if self.steps else 0.0


def fold(stream: Iterable[events.Event], onto: Progress | None = None) -> Progress:
    """The progress after these events; `onto` is gone on with and changed.

    A new attempt keeps what was done before the step that it goes on from. Events of an older attempt that come after
    it are dropped.
    """
    progress = onto or Progress()
    for event in stream:
        if event.attempt < progress.attempt:
            continue
        if isinstance(event, events.Started):
            progress = _begun(event, progress)
        progress.attempt = event.attempt
        _apply(event, progress)
        progress.changed = event.time
    return progress


def _begun(event: events.Started, before: Progress) -> Progress:
    return Progress(
        device=event.device,
        started=event.time,
        resumed=event.step,
        damaged=event.damaged,
        rows_at_once=before.rows_at_once,
        step=event.step,
        metric=before.metric,
        losses=[loss for loss in before.losses if loss[0] <= event.step],
        evaluations=[judged for judged in before.evaluations if judged[0] <= event.step],
    )


def _apply(event: events.Event, progress: Progress) -> None:
    match event:
        case events.Phase():
            progress.phase, progress.done, progress.total = event.name, event.done, event.total
            if event.name in ("baselines", "testing", "saving"):
                progress.seconds_left = None
        case events.Prepared():
            progress.rows, progress.findings = event.rows, event.findings
        case events.Planned():
            progress.steps, progress.epochs = event.steps, event.epochs
            progress.parameters, progress.trainable = event.parameters, event.trainable
        case events.Step():
            progress.step, progress.epoch = event.step, event.epoch
            progress.seconds_left, progress.rows_per_second = event.seconds_left, event.rows_per_second
            progress.losses.append((event.step, event.loss))
        case events.Evaluated():
            progress.metric = event.metric
            progress.evaluations.append((event.step, event.loss, event.value, event.best))
        case events.Retrying():
            progress.rows_at_once = event.rows
        case events.Finished():
            progress.finished, progress.stopped, progress.seconds = True, event.stopped, event.seconds
            progress.seconds_left = None
        case events.Failed():
            progress.error = {"code": event.code, "facts": event.facts}
            progress.seconds_left = None
        case _:
            pass
