"""How reading, checking and mending grow with the rows: 10^3 to 2x10^5 short ones, with every common flaw among them.

python -m benchmarks.data [--rows 1000 10000 100000 200000]
"""

import argparse
import csv
import random
import tempfile
from pathlib import Path
from time import perf_counter

import psutil

from core.data.samples import SAMPLES
from core.data.store import TableStore
from core.data.survey import Question, survey
from core.data.understanding import SAMPLE_ROWS, understand
from core.settings import Settings

_ROWS = (1_000, 10_000, 100_000, 200_000)


def write(path: Path, rows: int) -> None:
    """Rows of the bundled sample's words in new orders: 2 % exact doubles, 2 % near ones, some of each other flaw."""
    chance = random.Random(7)
    with SAMPLES["customer_messages"].open(encoding="utf-8") as file:
        sample = list(csv.DictReader(file))
    words = [word for row in sample for word in row["message"].split()]
    labels = sorted({row["topic"] for row in sample})
    made: list[tuple[str, str]] = []
    while len(made) < rows:
        kind = chance.random()
        text = " ".join(chance.choices(words, k=chance.randrange(8, 26)))
        label = chance.choice(labels)
        if made and kind < 0.02:
            text, label = made[chance.randrange(len(made))]
        elif made and kind < 0.04:
            text = made[chance.randrange(len(made))][0] + "."
        elif kind < 0.05:
            text, label = "", label.upper()
        elif kind < 0.06:
            text = f"<p>{text} &amp; caf\u00c3\u00a9 me@mail.example</p>"
        made.append((text, label))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *made])


def measure(rows: int, folder: Path) -> str:
    """One line of the table."""
    settings = Settings(home=folder / f"home{rows}")
    path, tables, here = folder / f"{rows}.csv", TableStore(settings), psutil.Process()
    write(path, rows)
    before, begin = here.memory_info().rss, perf_counter()
    table = tables.add(path, "local", keep_file=True)
    read = perf_counter() - begin
    begin = perf_counter()
    guess = understand(tables.frame(table.id, "local", rows=SAMPLE_ROWS))
    tables.frame(table.id, "local", rows=500, start=rows - 500)
    opened = perf_counter() - begin
    begin = perf_counter()
    found = survey(settings, rows, Question(str(tables.path(table.id, "local")), guess.columns, fixes={}))
    checked = perf_counter() - begin
    begin = perf_counter()
    survey(settings, rows, Question(str(tables.path(table.id, "local")), guess.columns, fixes="all"))
    mended = perf_counter() - begin
    grown = (here.memory_info().rss - before) / 2**20
    return (
        f"{rows:>8,}{read:>10.2f}{opened:>10.2f}{checked:>10.2f}{mended:>10.2f}{len(found.findings):>10}{grown:>12.0f}"
    )


def main() -> None:
    """Print a line for each number of rows, seconds."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--rows", type=int, nargs="*", default=_ROWS)
    print(f"{'rows':>8}{'read':>10}{'open':>10}{'check':>10}{'mend all':>10}{'findings':>10}{'page MiB':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for rows in flags.parse_args().rows:
            print(measure(rows, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
