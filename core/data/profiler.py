"""The counting child: `python -m core.data.profiler TABLE TOKENIZER OPTIONS`, bounded before it opens a file."""

import json
import sys
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.processes import end_with, limit_self
from core.settings import Limits

_BARS = 20
# A longer text is counted up to here: it is far beyond what any model reads, and some tokenizers slow down on it.
_TEXT_CHARACTERS = 50_000
_BATCH = 250


def lengths(texts: list[str], tokenizer_file: Path) -> list[int]:
    """Tokens of each text, special ones included, nothing cut or padded."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counted: list[int] = []
    for begin in range(0, len(texts), _BATCH):
        batch = [text[:_TEXT_CHARACTERS] for text in texts[begin : begin + _BATCH]]
        counted += [len(encoding.ids) for encoding in tokenizer.encode_batch(batch)]
    return counted


def summary(counted: list[int], rows: int) -> dict[str, Any]:
    """Percentiles (nearest rank) and a histogram of at most 20 bars of equal width but for the last."""
    ordered = sorted(counted)
    if not ordered:
        return {"sampled": 0, "rows": rows, "p50": 0, "p95": 0, "max": 0, "histogram": []}
    return {
        "sampled": len(ordered),
        "rows": rows,
        "p50": _percentile(ordered, 50),
        "p95": _percentile(ordered, 95),
        "max": ordered[-1],
        "histogram": _histogram(ordered),
    }


def _percentile(ordered: list[int], percent: int) -> int:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _histogram(ordered: list[int]) -> list[list[int]]:
    # A single giant text must not squeeze all others into one bar: the scale ends soon after the 99th percentile.
    low, top = ordered[0], min(ordered[-1], _percentile(ordered, 99) * 5 // 4)
    width = max(1, -(-(top - low + 1) // _BARS))
    bars = (top - low) // width + 1
    counts = [0] * bars
    for length in ordered:
        counts[min((length - low) // width, bars - 1)] += 1
    histogram = [[low + i * width, low + (i + 1) * width - 1, count] for i, count in enumerate(counts)]
    histogram[-1][1] = max(histogram[-1][0], ordered[-1])
    return histogram


def main(arguments: list[str]) -> int:
    """Count and print `{"facts"}` or `{"error"}` as one JSON line."""
    options = json.loads(arguments[2])
    limits = Limits(**options["limits"])
    limit_self(limits.reader_memory, limits.reader_cpu)
    from core.data.cleaning import joined_cells
    from core.data.reading import load

    names, answer = tuple(options["columns"]), options["answer"]
    try:
        table = load(Path(arguments[0]), [*names, *([answer] if answer and answer not in names else [])])
    except UserError as error:
        sys.stdout.write(json.dumps({"error": error.as_dict()}) + "\n")
        return 0
    rows, sample = len(table), max(1, int(options["sample"]))
    spread = [place * rows // sample for place in range(sample)] if rows > sample else range(rows)
    some = table.iloc[list(spread)]
    facts = summary(lengths(joined_cells(some, names).tolist(), Path(arguments[1])), rows)
    if answer:
        facts["answer_p95"] = summary(lengths(some[answer].fillna("").tolist(), Path(arguments[1])), rows)["p95"]
    sys.stdout.write(json.dumps({"facts": facts}) + "\n")
    return 0


if __name__ == "__main__":
    end_with(main, sys.argv[1:])
