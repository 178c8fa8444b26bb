"""Ours and what it is compared with in turn, each time in a fresh process; medians, and the ratio within each turn."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter

from core.settings import Settings, child_environment

Result = dict[str, float]
# Names that a result may have, and how they are printed.
_COLUMNS = ("seconds", "per_second", "share", "memory_gib", "score")


def alternate(module: str, kinds: Sequence[str], turns: int, settings: Settings) -> dict[str, list[Result]]:
    """Kind -> the result of each turn: what `python -m module --one KIND --home HOME` and this process's flags print.

    A child's last line is JSON with `seconds`, `per_second` (rows or tokens) and what else is known of `share`,
    `memory_gib` and `score`. The order changes from turn to turn, as machines grow warm.
    """
    found: dict[str, list[Result]] = {kind: [] for kind in kinds}
    for turn in range(turns):
        for kind in kinds if turn % 2 == 0 else kinds[::-1]:
            command = [sys.executable, "-m", module, "--one", kind, "--home", str(settings.home), *sys.argv[1:]]
            done = subprocess.run(command, env=child_environment(settings), capture_output=True, check=False)
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


def product_rate() -> float:
    """Operations per second of bfloat16 matrix products of MiniLM's shape, the best of many."""
    import torch

    left, right = torch.randn(2048, 384).bfloat16(), torch.randn(384, 1536).bfloat16()
    best = float("inf")
    for _ in range(60):
        begin = perf_counter()
        left @ right
        best = min(best, perf_counter() - begin)
    return 2 * 2048 * 384 * 1536 / best
