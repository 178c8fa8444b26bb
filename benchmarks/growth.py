"""How a training grows with its rows: a whole run on 1,000 to 64,000 short texts, but for a fixed number of steps.

Each size runs in a fresh process: reading and checking the table, loading, encoding, some steps, a validation, the
simple methods that the model is compared with, and the judgement of the test rows. Memory is the process's own: what it
has mapped of files is the system's to take back.

    python -m benchmarks.growth [--rows 1000 4000 16000 64000] [--steps 20]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.docstrings import LIBRARIES, docstrings
from core.data.store import TableStore
from core.events import Event, Phase, Step
from core.quiet import quiet_libraries
from core.runs.store import RunStore
from core.settings import Settings, child_environment
from core.spec import DataChoice, build
from core.tasks.base import find

if TYPE_CHECKING:
    import pandas as pd

_SIZES = (1_000, 4_000, 16_000, 64_000)
_PARTS = ("data", "loading", "encoding", "trial", "steps", "baselines", "testing", "saving")
# What these have to do does not depend on the rows.
_ONCE = ("loading", "trial", "steps", "saving")
_SECONDS_BETWEEN_LOOKS = 0.02


def texts(rows: int) -> "pd.DataFrame":
    """Columns `text` and `label`: 6 to 18 words in a row of a docstring, no word in two rows, in random order."""
    import pandas as pd

    chance, found = random.Random(7), []
    for library in LIBRARIES:
        words, begin = " ".join(docstrings(library)).split(), 0
        pieces: dict[str, None] = {}
        while begin < len(words) and len(pieces) < -(-rows // len(LIBRARIES)):
            end = begin + chance.randint(6, 18)
            pieces[" ".join(words[begin:end])] = None
            begin = end
        found += [(text, library) for text in pieces]
    chance.shuffle(found)
    return pd.DataFrame(found[:rows], columns=["text", "label"])


class Watch:
    """Seconds of each part of a run, and the most memory meanwhile."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.most: dict[str, float] = {}
        self._part, self._since = "", perf_counter()
        threading.Thread(target=self._look, daemon=True).start()

    def enter(self, part: str) -> None:
        """The part that was on is over; this one begins, or goes on."""
        now = perf_counter()
        if self._part:
            self.seconds[self._part] = self.seconds.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, now

    def inside(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, as a part of its own."""

        def watched(*given: Any, **more: Any) -> Any:
            before = self._part
            self.enter(part)
            try:
                return work(*given, **more)
            finally:
                self.enter(before)

        return watched

    def _look(self) -> None:
        process = psutil.Process()
        pause = threading.Event()
        while not pause.wait(_SECONDS_BETWEEN_LOOKS):
            told = process.memory_info()
            own = (told.rss - getattr(told, "shared", 0)) / 2**20
            self.most[self._part] = max(self.most.get(self._part, 0.0), own)


def one(table: str, rows: int, steps: int) -> None:
    """A single run, in a process of its own; JSON on the last line."""
    quiet_libraries()
    import pandas as pd

    from core.training.loop import Signals
    from core.training.run import train

    task, done = find("classification"), 0
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        pd.read_csv(table, nrows=rows).to_csv(settings.home / "rows.csv", index=False)
        kept = TableStore(settings).add(settings.home / "rows.csv", "local", "rows.csv")
        columns = {"text": "text", "label": "label"}
        spec = build(data=DataChoice(table=kept.id, columns=columns), test_fraction=0.2, epochs=5)
        watch = Watch()
        task.encode = watch.inside("encoding", task.encode)  # type: ignore[method-assign]

        def report(event: Event) -> None:
            nonlocal done
            if isinstance(event, Phase):
                watch.enter("trial" if event.name == "training" else event.name)
            elif isinstance(event, Step):
                done = event.step
                watch.enter("steps")

        run = RunStore(settings.home).create(spec, "local")
        place, signals = RunStore(settings.home).folder(run.id), Signals(lambda: done >= steps, lambda: False)
        watch.enter("data")
        train(spec, "local", place, settings, RunStore(settings.home), report, signals)
        watch.enter("")
    print(json.dumps({"seconds": watch.seconds, "memory": watch.most}))


def main() -> None:
    """Print seconds for each 1,000 rows and the most memory, by part."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rows", type=int, nargs="*", default=_SIZES)
    flags.add_argument("--steps", type=int, default=20)
    flags.add_argument("--one", help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.one:
        one(given.one, *given.rows, given.steps)
        return
    print(
        "Seconds: of loading, trial and steps in all, of the other parts for each 1,000 rows. MiB: the most meanwhile."
    )
    print(f"{'rows':>8}{'':10}" + "".join(f"{part:>11}" for part in (*_PARTS, "all")))
    with tempfile.TemporaryDirectory() as home:
        table = Path(home) / "rows.csv"
        texts(max(given.rows)).to_csv(table, index=False)
        for rows in given.rows:
            told = _child(table, rows, given.steps)
            each = {part: s / (1 if part in _ONCE else rows / 1000) for part, s in told["seconds"].items()}
            _line(rows, "seconds", each, sum(told["seconds"].values()), 2)
            _line(rows, "MiB", told["memory"], max(told["memory"].values()), 0)


def _line(rows: int, name: str, values: dict[str, float], whole: float, digits: int) -> None:
    told = (f"{value:>11.{digits}f}" for value in (*(values.get(part, 0.0) for part in _PARTS), whole))
    print(f"{rows:>8,} {name:9}" + "".join(told), flush=True)


def _child(table: Path, rows: int, steps: int) -> dict[str, dict[str, float]]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.growth",
        "--one",
        str(table),
        "--rows",
        str(rows),
        "--steps",
        str(steps),
    ]
    environment = child_environment(Settings(home=table.parent), computes=True)
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode()[-2000:])
    answer: dict[str, dict[str, float]] = json.loads(done.stdout.decode().splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
