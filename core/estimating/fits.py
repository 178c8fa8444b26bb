"""What methods without the usual steps would take: their own fits, on some of the rows or ended early."""

from dataclasses import replace
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from core import events
from core.device import Device
from core.estimating.sampling import sample
from core.estimating.steps import Tell, Trial
from core.spec import TrainSpec
from core.tasks.base import Task
from core.training import contrastive, linear, quick
from core.training.loop import Signals

if TYPE_CHECKING:
    from core.data.preparing import Split

# Rows whose features are read.
_MOST_READ = 400
_STEPS = 6


def read_some(
    task: Task, model: Any, tokenizer: Any, split: "Split", spec: TrainSpec, device: Device, folder: Path, tell: Tell
) -> Trial:
    """Quick mode on some of the rows: reading them takes nearly all of its time."""
    train, more = sample(split.train, _MOST_READ)
    judged, _ = sample(split.validation, max(1, round(len(split.validation) / more)))
    tell({"begun": time()})
    begin, read = monotonic(), 0.0

    def hear(event: events.Event) -> None:
        nonlocal read
        if isinstance(event, events.Step) and not read:
            read = monotonic() - begin

    signals = Signals(stop=lambda: False, interrupted=lambda: False)
    small = replace(split, train=train, validation=judged)
    quick.fit(task, model, tokenizer, small, spec, device, folder, hear, signals)
    fitted = monotonic() - begin - read
    return Trial(more * read + fitted, 0, len(train) + len(judged), {})


def compare_some(
    task: Task, model: Any, tokenizer: Any, split: "Split", spec: TrainSpec, device: Device, folder: Path, tell: Tell
) -> Trial:
    """Few examples: some of the steps that compare them, and then all the rest, as those who ask to end have it."""
    marks: list[float] = []
    steps = 0

    def hear(event: events.Event) -> None:
        nonlocal steps
        if isinstance(event, events.Planned):
            steps = event.steps - len(linear.STRENGTHS)
            tell({"steps": steps, "begun": time()})

    def stop() -> bool:
        marks.append(monotonic())  # it is asked before each step
        return len(marks) > _STEPS

    begin = monotonic()
    signals = Signals(stop=stop, interrupted=lambda: False)
    contrastive.fit(task, model, tokenizer, split, spec, device, folder, hear, signals)
    whole = monotonic() - begin
    # The first step sets things up.
    one = (marks[-1] - marks[1]) / (len(marks) - 2)
    return Trial(whole + (steps - len(marks) + 1) * one, steps, len(marks) - 1, {})
