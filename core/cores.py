"""How many threads can compute at the same time here."""

import os
from pathlib import Path

import psutil


def usable_cores(system: Path = Path("/"), asked: int = 0) -> int:
    """Processor cores that this process may use, at least one.

    A container may see all cores of its host and be stopped each time it has used up its share of them: threads that
    wait for one another then wait for the stopped ones, too. Two threads of one core share its arithmetic units.

    Args:
        system: where `proc` and `sys` are.
        asked: as many at most, where whoever started us says so.

    Source: `cpu.max` in the kernel's "Control Group v2", `cpu.cfs_quota_us` in its "CFS Bandwidth Control".
    """
    logical = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    if allowed == logical:
        allowed = min(allowed, psutil.cpu_count(logical=False) or allowed)
    share = _share(system)
    return max(1, min(allowed, asked or allowed, int(share) if share else allowed))


def _share(system: Path) -> float:
    """How many cores' time the control groups of this process may use; 0 where nothing bounds it."""
    groups = system / "sys" / "fs" / "cgroup"
    found = [_ratio(_told(place / "cpu.max").split()) for place in _own(system, groups)]
    for controller in ("cpu", "cpu,cpuacct"):
        found.append(_ratio([_told(groups / controller / f"cpu.cfs_{name}_us") for name in ("quota", "period")]))
    return min((each for each in found if each), default=0.0)


def _own(system: Path, groups: Path) -> list[Path]:
    """The groups that this process is in, from its own up to the one of the whole container."""
    lines = _told(system / "proc" / "self" / "cgroup").splitlines()
    named = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    own = groups / named
    return [own, *(place for place in own.parents if place.is_relative_to(groups))]


def _told(path: Path) -> str:
    """What a file of the system says; nothing where there is none, or none that may be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _ratio(told: list[str]) -> float:
    try:
        quota, period = (int(number) for number in told)
    except ValueError:  # `max`: as much as it likes
        return 0.0
    return quota / period if quota > 0 and period > 0 else 0.0
