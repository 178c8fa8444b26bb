"""The process that measures what a run would take: `python -m core.estimating.measuring FOLDER`.

It does what a run does (`core.training.run`), each part once or on some of its rows, and says line by line what it
knows, so that what is known is not lost where it is ended. See `core.estimating.asking`.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from core import files, settings
from core.device import Device, detect, usable_threads
from core.errors import UserError
from core.estimating.answers import LEAST_READ, answer_some
from core.estimating.asking import ASKED, MOST_SECONDS, TOLD
from core.estimating.fits import compare_some, read_some
from core.estimating.sampling import sample
from core.estimating.steps import Tell, step_some
from core.models import kernel_building
from core.models.adapting import adapt
from core.models.loading import resolve, verify_starter
from core.processes import end_with, limit_self
from core.quiet import quiet_libraries
from core.runs.store import RunStore
from core.settings import MEBIBYTE, Settings
from core.spec import TrainSpec
from core.tasks.base import find, judged_rows
from core.training import checkpoints
from core.training.run import prepared_rows, with_copies, works_in_parts

_TRIALS = {"quick": read_some, "few": compare_some}
_BYTES_WRITTEN = 64 * MEBIBYTE


@dataclass
class Clock:
    """Seconds of the parts of a run.

    Attributes:
        parts: of `core.estimating.asking.PARTS`, so far.
    """

    parts: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, seconds: float) -> None:
        """So much more is known of a part."""
        self.parts[part] = self.parts.get(part, 0.0) + seconds

    @contextmanager
    def on(self, part: str, share: float = 1.0) -> Iterator[None]:
        """What is done here belongs to a part; a run does `share` times as much of it."""
        begin = monotonic()
        yield
        self.add(part, share * (monotonic() - begin))


def measure(spec: TrainSpec, owner: str, folder: Path, place: Settings, tell: Tell) -> None:
    """Tell the fields of an `Estimate`, with `PARTS` beside one another, as they become known.

    Raises:
        UserError: what a run would end with.
    """
    clock, task = Clock(), find(spec.task)
    with clock.on("preparing"):
        device = detect()
        if device.kind == "cpu" and works_in_parts(spec.method):
            kernel_building.begin()
        if spec.method not in task.methods:
            raise UserError("method_unsupported", method=spec.method)
        base = resolve(spec.model, place, RunStore(place.home), owner, prepare=True)
        verify_starter(base)
        given, _ = prepared_rows(task, spec, owner, place)
        split = with_copies(task, given, spec)
        set_seed(spec.seed)
        model, tokenizer = task.load(base, split, spec)
    model = adapt(model, spec)
    whole = spec.method == "few"
    checkpoints.check_disk(folder, model, whole=whole)
    sizes, speed = checkpoints.sizes(model, whole=whole), bytes_a_second(folder)
    tell({"disk_bytes": sizes.used(1), **clock.parts})

    tried = _TRIALS.get(spec.method, step_some)(task, model, tokenizer, split, spec, device, folder, tell)
    clock.add("preparing", tried.preparing)
    clock.add("training", tried.training)
    states = tried.states(place.limits.seconds_between_saves)
    if tried.validations:
        clock.add("training", states * (sizes.state - tried.unread_bytes) / speed)
        clock.add("validating", tried.validations * (tried.validation + sizes.best / speed))
    # While a state is written, a copy of what changes lies in the memory.
    memory = peak_memory(device) + (sizes.state // 3 if tried.validations else 0)
    known = {"steps": tried.steps, "measured": tried.measured, "way": tried.way, "memory_bytes": memory}
    disk = sizes.used(states, tried.unread_bytes) + tried.kept_bytes
    tell(known | {"disk_bytes": disk, **clock.parts})

    judged = judged_rows(task, split.test)
    with clock.on("testing"):
        others = task.simple_answers(given, judged, spec)
    some, more = sample(split.validation, LEAST_READ)
    with clock.on("testing", more):
        task.finish(model, tokenizer, replace(split, validation=some), spec, device)
    answered = answer_some(task, model, tokenizer, judged, spec, device)
    clock.add("testing", answered.trained)
    if "untouched" in task.baselines:
        others["untouched"] = answered.answers
        clock.add("testing", answered.untouched)
    with clock.on("testing"):
        task.judge(judged, split.labels, answered.answers, others)
    clock.add("testing", sizes.result / speed)
    with clock.on("testing"):
        # A run opens its best model while what trained it is still in the memory.
        task.load(base, split, spec)
    tell(clock.parts | {"memory_bytes": max(memory, peak_memory(device))})


def set_seed(seed: int) -> None:
    """As a run sets it: what is drawn anew in a model is then the same."""
    from transformers import set_seed

    set_seed(seed)


def bytes_a_second(folder: Path) -> float:
    """How fast a checkpoint is written here, with its digest, until it is on the disk.

    Raises:
        UserError: `disk_full`.
    """
    content = bytes(_BYTES_WRITTEN)

    def write(staged: Path) -> None:
        staged.mkdir()
        (staged / "model.safetensors").write_bytes(content)

    begin = monotonic()
    checkpoints.place(folder / "written", write)
    seconds = monotonic() - begin
    shutil.rmtree(folder / "written")
    return len(content) / seconds


def peak_memory(device: Device) -> int:
    """Bytes that this process has used at most so far; on a graphics card those of the card."""
    if device.kind == "cuda":
        import torch

        return int(torch.cuda.max_memory_reserved())
    try:
        import resource
    except ImportError:
        told = psutil.Process().memory_info()
        return int(getattr(told, "peak_wset", told.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main(folder: Path) -> int:
    """Measure what `ASKED` asks for, and write `TOLD`; the exit status is 0 also for an error that was told."""
    place, asked = settings.from_environment(), files.read_json(folder / ASKED)
    # Should nobody be there any more to end it.
    limit_self(cpu=int(2 * MOST_SECONDS * usable_threads()))
    quiet_libraries()
    with (folder / TOLD).open("w", encoding="utf-8") as told:

        def tell(facts: dict[str, Any]) -> None:
            told.write(json.dumps(facts) + "\n")
            told.flush()

        try:
            measure(TrainSpec.model_validate(asked["spec"]), asked["owner"], folder, place, tell)
        except UserError as error:
            tell({"error": error.as_dict()})
        except MemoryError:
            size = asked["spec"]["batch_size"]
            tell({"error": UserError("out_of_memory", batch_size=size, smaller=max(1, size // 2)).as_dict()})
    return 0


if __name__ == "__main__":
    end_with(main, Path(sys.argv[1]))
