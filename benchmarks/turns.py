"""Ours and what it is compared with in turn, each time in a fresh process; medians, and the ratio within each turn."""

import argparse
import json
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from core.settings import Limits, Settings, child_environment

Result = dict[str, float]
_PREPARED = "prepared.pickle"
# Names that a result may have, and how they are printed.
_COLUMNS = ("seconds", "epoch_seconds", "per_second", "share", "memory_gib", "score")


def flags(told: str | None, kinds: Sequence[str]) -> argparse.ArgumentParser:
    """The flags that all such benchmarks have; `one` and `home` are for their children."""
    known = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--turns", type=int, default=3)
    known.add_argument("--one", choices=kinds, help=argparse.SUPPRESS)
    known.add_argument("--home", help=argparse.SUPPRESS)
    return known


def take_turns(
    given: argparse.Namespace,
    module: str,
    work: str,
    kinds: Sequence[str],
    prepare: Callable[[Settings], Any],
    one: Callable[[argparse.Namespace], Result],
    own: Sequence[str] = (),
) -> None:
    """Print the table of a work; in a child, the result of `given.one` as JSON on the last line.

    A result has `seconds`, `per_second` (rows or tokens), and what else is known of `epoch_seconds`, `share`,
    `memory_gib` and `score`.

    Args:
        module: which is run again for each child.
        kinds: what is compared, ours last.
        prepare: gives what `prepared` gives to each child.
        own: which kinds run as our workers do, beside the last one.
    """
    if given.one:
        print(json.dumps(one(given)))
        return
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), limits=Limits(free_disk=0))
        (settings.home / _PREPARED).write_bytes(pickle.dumps(prepare(settings)))
        found = _alternate(module, kinds, given.turns, settings, {kinds[-1], *own})
    compare(work, kinds[-1], found)


def prepared(given: argparse.Namespace) -> Any:
    """What was prepared once for all children."""
    return pickle.loads((Path(given.home) / _PREPARED).read_bytes())


def _alternate(
    module: str, kinds: Sequence[str], turns: int, settings: Settings, own: Collection[str]
) -> dict[str, list[Result]]:
    """Kind -> the result of each turn. The order changes from turn to turn, as machines grow warm."""
    found: dict[str, list[Result]] = {kind: [] for kind in kinds}
    for turn in range(turns):
        for kind in kinds if turn % 2 == 0 else kinds[::-1]:
            command = [sys.executable, "-m", module, "--one", kind, "--home", str(settings.home), *sys.argv[1:]]
            environment = child_environment(settings, computes=kind in own)
            done = subprocess.run(command, env=environment, capture_output=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr.decode()[-2000:])
            found[kind].append(json.loads(done.stdout.decode().splitlines()[-1]))
            print(f"  {kind:9} {json.dumps(found[kind][-1])}", file=sys.stderr, flush=True)
    return found


def compare(work: str, ours: str, found: dict[str, list[Result]]) -> None:
    """Print a table: a line for each peer, with the median ratio of the seconds of a turn, theirs by ours."""
    columns = [name for name in _COLUMNS if name in found[ours][0]]
    heads = [f"{name} ({who})" for name in columns for who in ("ours", "peer")]
    print("| work | against | times as fast |", " | ".join(heads), "|")
    print("|---" * (3 + len(heads)) + "|")
    for peer in found:
        if peer == ours:
            continue
        ratios = [p["seconds"] / o["seconds"] for p, o in zip(found[peer], found[ours], strict=True)]
        told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        cells = [f"{_median(found[who], name):g}" for name in columns for who in (ours, peer)]
        print(f"| {work} | {peer} | {told} |", " | ".join(cells), "|", flush=True)


def _median(results: list[Result], name: str) -> float:
    return round(statistics.median(result[name] for result in results), 4)


def product_rate(kind: str, seconds: float = 2.0) -> float:
    """Operations per second of matrix products, the mean of some seconds: on a processor of MiniLM's shape.

    In bfloat16 where the device computes in it, else in 32 bits.
    The mean, as a training has the mean of what the machine gives, too; the best moment was up to a tenth faster.
    """
    import torch

    from core.device import detect

    dtype = getattr(torch, detect().precision)
    rows, inner, columns = (8192, 8192, 8192) if kind == "cuda" else (2048, 384, 1536)
    left = torch.randn(rows, inner, device=kind).to(dtype)
    right = torch.randn(inner, columns, device=kind).to(dtype)
    for _ in range(3):
        left @ right
    finished(kind)
    begin, count = perf_counter(), 0
    while perf_counter() - begin < seconds:
        for _ in range(10):
            left @ right
        finished(kind)
        count += 10
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats()  # what was needed here is not the training's
    return count * 2 * rows * inner * columns / (perf_counter() - begin)


def finished(kind: str) -> None:
    """Wait until a card has done what it was given."""
    import torch

    if kind == "cuda":
        torch.cuda.synchronize()


def peak_memory(kind: str) -> float:
    """GiB that this process has needed at most so far: of the card where it computes on one."""
    import torch

    if kind == "cuda":
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
