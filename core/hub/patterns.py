"""Patterns of file names, matched against a list that the Hub gave: they open nothing and lead nowhere."""

import re
from bisect import bisect_left
from collections.abc import Iterable
from fnmatch import translate

_LONGEST = 300
_MOST_SEGMENTS = 20
_MOST_STARS = 12
# Work for one list of files, in characters looked at: far above what real cards need, about two seconds of a processor.
_MOST_WORK = 200_000_000
_WORK_PER_PATH = 300


class Listing:
    """Paths to be matched by patterns of strangers, within a bounded amount of work.

    Args:
        paths: what there is.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(set(paths))
        self._known = frozenset(self._paths)
        self._work_left = _MOST_WORK

    def matching(self, pattern: str) -> list[str]:
        """The paths that a pattern names, sorted: `*`, `?` and `[…]` inside a segment, `**` for any number of segments.

        Addresses, absolute paths and patterns that lead upwards match nothing, and neither does one that is absurdly
        long, or anything once the work is used up.
        """
        pattern = pattern.strip().removeprefix("./")
        if not _is_inside(pattern):
            return []
        head = re.split(r"[*?[]", pattern, maxsplit=1)[0]
        if head == pattern:
            return [pattern] if pattern in self._known else []
        segments = pattern.split("/")
        steps = [None if segment == "**" else re.compile(translate(segment)) for segment in segments]
        cost = 1 + pattern.count("*") + 2 * len(steps) * segments.count("**")
        found = []
        for place in range(bisect_left(self._paths, head), len(self._paths)):
            path = self._paths[place]
            if not path.startswith(head):
                break
            self._work_left -= _WORK_PER_PATH + cost * len(path)
            if self._work_left < 0:
                return []
            if _fits(path.split("/"), steps):
                found.append(path)
        return found


def _is_inside(pattern: str) -> bool:
    segments = pattern.split("/")
    short = len(pattern) <= _LONGEST and len(segments) <= _MOST_SEGMENTS and pattern.count("*") <= _MOST_STARS
    plain = pattern.isprintable() and "\\" not in pattern
    # An address has an empty segment, between its two slashes.
    return short and plain and not any(segment in ("", ".", "..") for segment in segments)


def _fits(path: list[str], steps: list[re.Pattern[str] | None]) -> bool:
    """Whether segments match, step by step; all places in `steps` that could be reached are followed at once."""
    reached = _with_skips({0}, steps)
    for segment in path:
        onwards = set()
        for place in reached:
            if place < len(steps):
                step = steps[place]
                if step is None:
                    onwards.add(place)
                elif step.match(segment):
                    onwards.add(place + 1)
        reached = _with_skips(onwards, steps)
    return len(steps) in reached


def _with_skips(reached: set[int], steps: list[re.Pattern[str] | None]) -> set[int]:
    """`**` also stands for no segment at all."""
    for place in sorted(reached):
        while place < len(steps) and steps[place] is None:
            place += 1
            reached.add(place)
    return reached
