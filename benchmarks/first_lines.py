"""Does a small model learn to write? SmolLM2-135M with LoRA: docstring body -> first line, judged by ROUGE-L.

Beside the same model before training and the first sentence of the body. One run in this process, through the same code
as a run of the page, on the docstrings of the installed libraries.

    python -m benchmarks.first_lines [--rows 640] [--judged 120] [--epochs 1] [--set NAME=VALUE …]
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.docstrings import first_lines
from core import events
from core.data.store import TableStore
from core.models import starters
from core.quiet import quiet_libraries
from core.runs.store import RunStore
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, build
from core.training.loop import Signals
from core.training.run import train

_VALIDATION = 60


def main() -> None:
    """Train, judge, print the scores and how they compare."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rows", type=int, default=640, help="training rows")
    flags.add_argument("--judged", type=int, default=120, help="test rows")
    flags.add_argument("--epochs", type=int, default=1)
    flags.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = flags.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), limits=Limits(free_disk=0))
        begin = perf_counter()
        starters.prepare("smollm2", settings)
        print(f"unpacking the starter: {perf_counter() - begin:.0f} s", flush=True)
        learned, held_out = given.rows + _VALIDATION, given.judged
        table = first_lines(learned + held_out)
        paths = [Path(folder) / name for name in ("train.jsonl", "test.jsonl")]
        for path, part in zip(paths, (table[:learned], table[learned:]), strict=True):
            part.to_json(path, orient="records", lines=True)
        tables = TableStore(settings)
        ids = [tables.add(path, "local", path.name).id for path in paths]
        chosen = {
            "method": "lora",
            "learning_rate": 5e-4,
            "batch_size": 8,
            "epochs": given.epochs,
            "max_length": 320,
            "max_target_length": 48,
            "max_new_tokens": 48,
            "validation_fraction": _VALIDATION / learned,
        } | dict(pair.split("=", 1) for pair in given.set)
        spec = build(
            task="summarization",
            data=DataChoice(table=ids[0], test_table=ids[1], columns={"text": "text", "summary": "summary"}),
            model=ModelChoice(source="starter", name="smollm2"),
            **chosen,
        )
        runs = RunStore(settings.home)
        record = runs.create(spec, "local", "first lines")
        spent: dict[str, float] = {}
        watch = _watch(spent)
        signals = Signals(lambda: False, lambda: False)
        report = train(spec, "local", runs.folder(record.id), settings, runs, watch, signals)
    scores = {"trained": report["metrics"], **report["baselines"]}
    for name, score in scores.items():
        print(f"{name:16}", json.dumps({k: v for k, v in score.items() if k != "intervals"}))
    ours, before = report["metrics"]["rougeL"], report["baselines"]["untouched"]["rougeL"]
    first = report["baselines"]["first_sentence"]["rougeL"]
    print(f"rows {report['rows']}, seconds {json.dumps({k: round(v) for k, v in spent.items()})}")
    print(
        f"ROUGE-L {ours:.1f}: {ours / before:.2f} times the untouched model's {before:.1f}; first sentence {first:.1f}"
    )


def _watch(spent: dict[str, float]) -> Callable[[events.Event], None]:
    """Adds up the seconds of each phase."""
    last = ["", perf_counter()]

    def watch(event: events.Event) -> None:
        if isinstance(event, events.Phase | events.Finished):
            now, name = perf_counter(), str(last[0])
            spent[name] = spent.get(name, 0.0) + now - float(last[1])
            last[:] = [event.name if isinstance(event, events.Phase) else "", now]
        elif isinstance(event, events.Step):
            print(f"  step {event.step} loss {event.loss:.3f} {event.seconds_left:.0f} s left", flush=True)

    return watch


if __name__ == "__main__":
    main()
