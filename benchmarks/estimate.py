"""What is said before a training against what it then takes: time and memory, and how long it took to say.

Each work is estimated and then done, some times over, each time in processes of their own. Let nothing else compute
beside them.

    python -m benchmarks.estimate [--work short long summaries quick few] [--turns 3] [--rows 400]
"""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

from benchmarks.docstrings import LIBRARIES, first_lines, table
from core import files
from core.data.store import TableStore
from core.estimating.asking import PARTS, estimate
from core.models import starters
from core.processes import spawn
from core.runs.store import RunStore
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, TrainSpec, build

_OWNER = "local"
_MINILM, _SMOLLM = ModelChoice(source="starter", name="minilm"), ModelChoice(source="starter", name="smollm2")
_WORDS = 12


@dataclass(frozen=True)
class Work:
    """What is trained: the model, its settings, and what is done to the texts."""

    model: ModelChoice
    chosen: dict[str, Any]
    words: int = 10**6


WORKS = {
    "short": Work(_MINILM, {"epochs": 3, "batch_size": 16, "max_length": 32}, words=_WORDS),
    "long": Work(_MINILM, {"epochs": 2, "batch_size": 16, "max_length": 256}),
    "quick": Work(_MINILM, {"method": "quick", "max_length": 128}),
    "few": Work(_MINILM, {"method": "few", "max_length": 64}),
    "summaries": Work(
        _SMOLLM, {"task": "summarization", "method": "lora", "epochs": 1, "batch_size": 4, "max_length": 256}
    ),
}


def spec_of(name: str, rows: int, settings: Settings) -> TrainSpec:
    """The spec of a work on so many rows, whose table is stored."""
    work = WORKS[name]
    summaries = work.chosen.get("task") == "summarization"
    frame = first_lines(rows) if summaries else table(-(-rows // len(LIBRARIES)))
    frame["text"] = [" ".join(text.split()[: work.words]) for text in frame["text"]]
    path = settings.home / f"{name}.csv"
    frame.to_csv(path, index=False)
    kept = TableStore(settings).add(path, _OWNER, path.name)
    starters.prepare(work.model.name, settings)
    columns = {"text": "text", "summary": "summary"} if summaries else {"text": "text", "label": "label"}
    return build(data=DataChoice(table=kept.id, columns=columns, name=path.name), model=work.model, **work.chosen)


def done(spec: TrainSpec, settings: Settings) -> tuple[float, int, int]:
    """Seconds from the start of a run's process to its end, the most bytes of memory that it had, and of disk."""
    runs = RunStore(settings.home)
    record = runs.create(spec, _OWNER, "")
    record = runs.transition(record.id, ("QUEUED",), "STARTING", record.attempt)
    ended, most = Event(), [0]

    def watch() -> None:
        while not ended.wait(0.2):
            most.append(_bytes(runs.folder(record.id)))

    watching = Thread(target=watch)
    watching.start()
    begin = monotonic()
    child = spawn(settings, "core.runs.worker", [record.id, str(record.attempt)])
    _, _, used = os.wait4(child.pid, 0)
    seconds = monotonic() - begin
    ended.set()
    watching.join()
    if runs.report(record.id) is None:
        raise SystemExit(runs.log(record.id) or str(runs.get(record.id).error))
    return seconds, 1024 * used.ru_maxrss, max(most)


def _bytes(folder: Path) -> int:
    try:
        return files.folder_bytes(folder)
    except OSError:
        return 0  # something went while it was counted


def main() -> None:
    """Estimate, run, compare."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--work", nargs="+", choices=list(WORKS), default=["short", "long"])
    flags.add_argument("--rows", type=int, default=400)
    flags.add_argument("--turns", type=int, default=1)
    given = flags.parse_args()
    amounts = [f"{said}, {unit}" for unit in ("s", "GiB", "GiB of disk") for said in ("said", "took")]
    heads = [head for place in range(0, 6, 2) for head in (*amounts[place : place + 2], "off")] + ["asked for, s"]
    print("| " + " | ".join(["work", *heads, "parts said"]) + " |")
    print("|---" * 12 + "|")
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), limits=Limits(free_disk=0))
        for name in [name for _ in range(given.turns) for name in given.work]:
            spec = spec_of(name, given.rows, settings)
            begin = monotonic()
            said = estimate(spec, _OWNER, settings, RunStore(settings.home))
            saying = monotonic() - begin
            took, memory, disk = done(spec, settings)
            print(f"| {name} | " + " | ".join(_cells(said, took, memory, disk, saying)) + " |", flush=True)


def _cells(said: Any, took: float, memory: int, disk: int, saying: float) -> list[str]:
    gib = [amount / 2**30 for amount in (said.memory_bytes or 0, memory, said.disk_bytes or 0, disk)]
    return [
        f"{'> ' if said.at_least else ''}{said.seconds}",
        f"{took:.1f}",
        f"{(said.seconds or 0) / took - 1:+.0%}",
        f"{gib[0]:.2f}",
        f"{gib[1]:.2f}",
        f"{gib[0] / gib[1] - 1:+.0%}",
        f"{gib[2]:.2f}",
        f"{gib[3]:.2f}",
        f"{gib[2] / gib[3] - 1:+.0%}",
        f"{saying:.1f}",
        ", ".join(f"{part} {said.parts.get(part)}" for part in PARTS),
    ]


if __name__ == "__main__":
    main()
