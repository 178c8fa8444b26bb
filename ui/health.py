"""How the place does, for whoever watches over it: `GET /health`. It names nobody and nothing of anybody."""

import shutil
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core import __version__, logs
from core.errors import UserError
from core.runs.store import ACTIVE, NEXT, RunStore, State
from core.settings import MEBIBYTE
from ui.page import House

_SECONDS_KEPT = 2.0
_LONGEST_SILENCE = 60.0
_LEAST_DISK = 64 * MEBIBYTE
_DISK_STEP = 16 * MEBIBYTE


def routes(house: House) -> list[Route]:
    """The one route; 200 where all is well, else 503."""
    health = Health(house)

    def answer(request: Request) -> Response:
        told = health.told()
        return JSONResponse(told, 200 if told["status"] == "ok" else 503, {"Cache-Control": "no-store"})

    return [Route("/health", answer, methods=["GET"])]


class Health:
    """What `/health` tells, worked out at most every two seconds."""

    def __init__(self, house: House) -> None:
        self._house, self._since = house, time.monotonic()
        self._line = Line(house.runs)
        self._kept: tuple[float, dict[str, Any]] | None = None

    def told(self) -> dict[str, Any]:
        """The answer, JSON-ready."""
        now = time.monotonic()
        if self._kept is None or now - self._kept[0] > _SECONDS_KEPT:
            self._kept = now, self._find(now)
        return self._kept[1]

    def _find(self, now: float) -> dict[str, Any]:
        supervisor, error = self._house.supervisor, logs.last_error()
        silent = now - supervisor.last_look
        free, counts = self._disk()
        wrong = {
            "supervisor_ended": not supervisor.alive,
            "supervisor_silent": silent > _LONGEST_SILENCE,
            "disk_low": free is not None and free < _LEAST_DISK,
            "disk_gone": free is None,
        }
        problems = [code for code, holds in wrong.items() if holds]
        return {
            "status": "problem" if problems else "ok",
            "problems": problems,
            "version": __version__,
            "seconds_up": round(now - self._since),
            "queue": counts,
            "disk_free_bytes": None if free is None else free // _DISK_STEP * _DISK_STEP,
            "supervisor": {"alive": supervisor.alive, "seconds_since_look": round(silent, 1)},
            "last_error": asdict(error) if error else None,
        }

    def _disk(self) -> tuple[int | None, dict[str, int] | None]:
        try:
            return shutil.disk_usage(self._house.settings.home).free, self._line.counts()
        except OSError:
            return None, None


class Line:
    """How many runs wait and work. A run's file is read again only where it was replaced."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs
        self._known: dict[str, tuple[tuple[int, int], State]] = {}

    def counts(self) -> dict[str, int]:
        """Runs that are queued and running."""
        self._known = {p.name: seen for p in self._runs.root.iterdir() if (seen := self._look(p))}
        states = Counter(state for _, state in self._known.values())
        return {"queued": states["QUEUED"], "running": sum(states[state] for state in ACTIVE)}

    def _look(self, folder: Path) -> tuple[tuple[int, int], State] | None:
        known = self._known.get(folder.name)
        if known and not NEXT[known[1]]:
            return known
        try:
            file = (folder / "run.json").stat()
            which = file.st_ino, file.st_mtime_ns
            return known if known and known[0] == which else (which, self._runs.get(folder.name).state)
        except (OSError, UserError, ValueError, TypeError):
            return None  # being made or deleted, or damaged
