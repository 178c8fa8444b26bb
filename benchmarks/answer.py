"""How long an answer takes, from the page's process to the model's and back: the first one, and warm ones.

python -m benchmarks.answer [--runs 30]
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

from core.data.samples import SAMPLES
from core.data.store import TableStore
from core.inference.client import Predictors
from core.quiet import quiet_libraries
from core.settings import Settings
from core.spec import DataChoice, build
from core.tasks.base import find


def main() -> None:
    """Ask a starter model with a fresh head texts of the sample, one at a time."""
    from core.models.catalogue import STARTERS

    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--runs", type=int, default=30)
    runs = flags.parse_args().runs
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home")
        tables, task = TableStore(settings), find("classification")
        table = tables.add(SAMPLES["customer_messages"], "local", "sample")
        spec = build(data=DataChoice(table=table.id, columns={"text": "message", "label": "topic"}))
        split = task.prepare(tables.frame(table.id, "local"), spec, settings.limits, None)
        for part in task.load(STARTERS["minilm"].folder(), split, spec):
            part.save_pretrained(Path(folder) / "model")
        predictors = Predictors(settings)
        times = []
        for text in split.test["text"].tolist()[: runs + 1]:
            begin = perf_counter()
            predictors.predict(Path(folder) / "model", [text])
            times.append(perf_counter() - begin)
        predictors.close()
    first, *warm = times
    print(f"first answer, with loading: {first:.2f} s")
    print(f"warm answers: median {1000 * statistics.median(warm):.0f} ms, most {1000 * max(warm):.0f} ms")


if __name__ == "__main__":
    main()
