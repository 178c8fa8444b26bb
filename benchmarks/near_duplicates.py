"""How long it takes to find rows that are nearly the same, how much memory, and how many of the planted ones are found.

Texts are random words of about 150 characters; one in twenty is a copy of an earlier one with one to three characters
changed. Counted are the copies whose similarity really is what we look for. Where the package datasketch is installed,
it does the same job, up to 20,000 rows: as many minima and bands, each candidate compared exactly. Each size runs in a
process of its own.

    python -m benchmarks.near_duplicates [--rows 1000 10000 100000 200000] [--without-datasketch]
"""

import argparse
import importlib.util
import multiprocessing
import random
import resource
import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

from core.data.doctor._minhash import BANDS, SIMILARITY, near_repeats, similarities

_MINIMA = BANDS * 5
_PLANTED = 20
_MOST_FOR_DATASKETCH = 20_000


def planted(rows: int, seed: int = 1) -> tuple[list[str], list[int]]:
    """Texts, and for the last twentieth of them which earlier one each is a copy of."""
    draw = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(draw.choices(letters, weights=range(26, 0, -1), k=draw.randint(2, 9))) for _ in range(5_000)]
    frequency = [1 / (5 + i) for i in range(len(words))]
    texts = [" ".join(draw.choices(words, weights=frequency, k=draw.randint(20, 35))) for _ in range(rows)]
    copies = rows // _PLANTED
    origins = draw.sample(range(rows - copies), copies)
    for place, origin in enumerate(origins, rows - copies):
        changed = list(texts[origin])
        for _ in range(draw.randint(1, 3)):
            changed[draw.randrange(len(changed))] = draw.choice(letters)
        texts[place] = "".join(changed)
    return texts, origins


def ours(texts: list[str]) -> list[int]:
    """For each text the earlier one that it repeats, -1 for none."""
    found: list[int] = near_repeats(texts).repeats.tolist()
    return found


def with_datasketch(texts: list[str]) -> list[int]:
    """The same with datasketch: each text is looked up among the earlier ones that repeat nothing."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=_MINIMA, params=(BANDS, _MINIMA // BANDS))
    found = []
    for i, text in enumerate(texts):
        minima = MinHash(num_perm=_MINIMA)
        minima.update_batch([text[k : k + 5].encode() for k in range(len(text) - 4)])
        near = sorted(index.query(minima))
        exact = similarities(texts, np.array(near, dtype=np.int64), np.full(len(near), i)) >= SIMILARITY
        found.append(near[int(exact.argmax())] if exact.any() else -1)
        if found[-1] < 0:
            index.insert(i, minima)
    return found


def measure(method: Callable[[list[str]], list[int]], rows: int) -> tuple[float, float, int, int, int]:
    """Seconds, MiB at the most, pairs planted, those of them found, and rows found in all."""
    texts, origins = planted(rows)
    copies = list(range(rows - len(origins), rows))
    near = similarities(texts, np.array(origins), np.array(copies)) >= SIMILARITY
    begin = perf_counter()
    found = method(texts)
    seconds = perf_counter() - begin
    unit = 2**20 if sys.platform == "darwin" else 2**10
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    hits = sum(n and found[copy] == origin for n, copy, origin in zip(near, copies, origins, strict=True))
    return seconds, memory, int(near.sum()), int(hits), sum(place >= 0 for place in found)


def main() -> None:
    """Print a table."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 200_000])
    flags.add_argument("--without-datasketch", action="store_true")
    given = flags.parse_args()
    compared = importlib.util.find_spec("datasketch") is not None and not given.without_datasketch
    print(f"{'rows':>8} {'method':>10} {'seconds':>8} {'MiB':>6} {'planted':>8} {'found':>8} {'in all':>8}")
    for rows in given.rows:
        for name, method in {"ours": ours, **({"datasketch": with_datasketch} if compared else {})}.items():
            if name == "datasketch" and rows > _MOST_FOR_DATASKETCH:
                continue
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                seconds, memory, near, hits, found = fresh.apply(measure, (method, rows))
            print(f"{rows:>8} {name:>10} {seconds:>8.2f} {memory:>6.0f} {near:>8} {hits:>8} {found:>8}")


if __name__ == "__main__":
    main()
