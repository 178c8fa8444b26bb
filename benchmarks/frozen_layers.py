"""What it saves to compute frozen lower layers once: docstrings by library, MiniLM with a fixed word table.

Each training runs in a fresh process, in turn with one that computes the frozen layers in every step; the score is the
accuracy on the test rows.

    python -m benchmarks.frozen_layers [--work long|short] [--layers 4] [--turns 3] [--rows 1600] [--epochs 4]
"""

import argparse
import resource
import tempfile
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.training_speed import rows
from benchmarks.turns import Result, flags, prepared, take_turns
from core.data.preparing import Split
from core.quiet import quiet_libraries
from core.spec import DataChoice, TrainSpec, build
from core.tasks.base import find

_KINDS = ("usual", "kept")


def trained(split: Split, spec: TrainSpec, home: Path, *, kept: bool) -> tuple[float, Any, Any]:
    """Seconds of our loop, and its best (model, tokenizer)."""
    from transformers import set_seed

    from core.device import detect
    from core.models import kernel_building
    from core.models.adapting import adapt
    from core.models.catalogue import STARTERS
    from core.training import checkpoints, frozen
    from core.training.loop import Signals, fit

    if not kept:
        frozen.replayed = lambda *given, **more: nullcontext(0)  # type: ignore[assignment]
    task, device = find("classification"), detect()
    kernel_building.begin()  # as a run does before it opens its model
    set_seed(spec.seed)
    model, tokenizer = task.load(STARTERS["minilm"].folder(), split, spec)
    model = adapt(model, spec)
    begin = perf_counter()
    done = fit(task, model, tokenizer, split, spec, device, home, lambda e: None, Signals(lambda: False, lambda: False))
    seconds = perf_counter() - begin
    assert done.way["kept_layers"] == (spec.freeze_layers if kept else 0)
    best = checkpoints.best(home)
    assert best is not None
    return seconds, *task.reload(best)


def one(given: argparse.Namespace) -> Result:
    """A single timed run, in a process of its own."""
    quiet_libraries()
    from core.device import Device

    split: Split = prepared(given)
    task = find("classification")
    spec = build(
        data=DataChoice(table="0" * 64, columns={"text": "text", "label": "label"}),
        learning_rate=given.rate,
        epochs=given.epochs,
        max_length=256,
        freeze_embeddings=True,
        freeze_layers=given.layers,
    )
    with tempfile.TemporaryDirectory(dir=given.home) as folder:
        seconds, model, tokenizer = trained(split, spec, Path(folder), kept=given.one == "kept")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    answers = task.predict(model, tokenizer, split.test["text"].tolist(), Device("cpu", "float32", 2, "same"))
    right = sum(a.answer == label for a, label in zip(answers, split.test["label"], strict=True))
    return {
        "seconds": round(seconds, 1),
        "per_second": round(len(split.train) * given.epochs / seconds, 1),
        "memory_gib": round(memory, 2),
        "score": round(right / len(answers), 4),
    }


def main() -> None:
    """Run both in turn and print the median ratio."""
    known = flags(__doc__, _KINDS)
    known.add_argument("--work", choices=["long", "short"], default="long")
    known.add_argument("--layers", type=int, default=4, help="first layers that are frozen, of 6")
    known.add_argument("--rows", type=int, default=1600)
    known.add_argument("--epochs", type=int, default=4)
    known.add_argument("--rate", type=float, default=2e-4)
    given = known.parse_args()
    work = f"MiniLM, {given.work} texts, {given.layers} of 6 layers frozen"
    take_turns(given, "benchmarks.frozen_layers", work, _KINDS, lambda settings: rows(given, settings), one, _KINDS)


if __name__ == "__main__":
    main()
