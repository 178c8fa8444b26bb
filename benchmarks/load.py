"""How the page bears many visitors while a run trains: 50 that watch and click, 50 that only have it open.

The real app as a Space on this machine, a real run of the starter. Quiet periods and periods with visitors take turns,
so that the speed of training can be compared. Visitors are played by this process, which takes processor time too:
the app's share is told apart.

    python -m benchmarks.load [--active 50] [--idle 50] [--seconds 25] [--turns 2]
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.docstrings import table
from core.data.store import TableStore
from core.runs.store import RunStore
from core.settings import Limits, Settings
from core.spec import DataChoice, build
from ui.guard import OWNER_COOKIE
from ui.tabs.training import POLL_SECONDS, WAITING_POLL_SECONDS

_CLICK_SECONDS = 15.0
_MARK = "window.gradio_config = "
_AS_A_SPACE = {
    "SYSTEM": "spaces",
    "SPACE_ID": "somebody/tuning-fork",
    "GRADIO_SERVER_NAME": "127.0.0.1",
    "OAUTH_CLIENT_ID": "client",
    "OAUTH_CLIENT_SECRET": "not a secret",
    "OAUTH_SCOPES": "openid profile",
    "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
}


@dataclass
class Seen:
    """What visitors met: seconds of each look at the progress and of each click, and what went wrong."""

    polls: list[float] = field(default_factory=list)
    clicks: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Visitor:
    """Somebody with the page open in a browser."""

    def __init__(self, url: str, secret: str, seen: Seen) -> None:
        self._seen, self._session = seen, secrets.token_hex(6)
        told = {"origin": url, "cookie": f"{OWNER_COOKIE}={secret}"}
        self._http = httpx2.AsyncClient(base_url=url, headers=told, timeout=30, trust_env=False)
        self._mark, self._whole, self._waits = "", -1, False
        self._tabs: list[int] = []

    async def open(self) -> None:
        """Load the page and find what a browser would call."""
        page = (await self._http.get("/")).text
        config = json.JSONDecoder().raw_decode(page[page.index(_MARK) + len(_MARK) :])[0]
        kinds = {part["id"]: part["type"] for part in config["components"]}
        names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
        for function in config["dependencies"]:
            aims = {(kinds.get(part), event) for part, event in function["targets"]}
            if ("tabitem", "select") in aims:
                self._tabs.append(function["id"])
            if any(names.get(part) == "look-again" for part, _ in function["targets"]):
                self._whole = function["id"]
        assert self._tabs, "no tabs found"
        assert self._whole >= 0, "nothing shows the whole tab"

    async def stay(self) -> None:
        """Hold the connection by which gradio knows that a tab is open."""
        with suppress(httpx2.HTTPError):
            async with self._http.stream("GET", f"/gradio_api/heartbeat/{self._session}", timeout=None) as stream:
                async for _ in stream.aiter_raw():
                    pass

    async def watch(self, offset: float) -> None:
        """Look at the progress as often as the page does, and open another tab now and then."""
        await asyncio.sleep(offset)
        clicked = time.perf_counter() - _CLICK_SECONDS * offset / WAITING_POLL_SECONDS
        while True:
            begin = time.perf_counter()
            await self._timed(self._seen.polls, self._look())
            if time.perf_counter() - clicked > _CLICK_SECONDS:
                clicked = time.perf_counter()
                await self._timed(self._seen.clicks, self._click())
            pause = WAITING_POLL_SECONDS if self._waits else POLL_SECONDS
            await asyncio.sleep(max(0.0, pause - (time.perf_counter() - begin)))

    async def _timed(self, into: list[float], what: Any) -> None:
        begin = time.perf_counter()
        try:
            await what
            into.append(time.perf_counter() - begin)
        except (httpx2.HTTPError, ValueError) as error:
            self._seen.errors.append(repr(error)[:120])

    async def _look(self) -> None:
        answer = await self._http.get("/progress", params={"language": "en", "seen": self._mark})
        if answer.status_code == 204:
            return
        if answer.status_code != 200:
            raise ValueError(f"{answer.status_code} {answer.text[:80]}")
        told = answer.json()
        if told.get("again"):
            asked = {"data": [], "fn_index": self._whole, "session_hash": self._session}
            answer = await self._http.post("/gradio_api/run/predict", json=asked)
        found = re.search(r'data-seen=\\?"([^"\\]+)', answer.text)
        if answer.status_code != 200 or found is None:
            raise ValueError(f"{answer.status_code} {answer.text[:80]}")
        self._mark = found[1]
        self._waits = "status queued" in answer.text

    async def _click(self) -> None:
        asked = {"data": [False], "fn_index": secrets.choice(self._tabs), "session_hash": self._session}
        answer = await self._http.post("/gradio_api/queue/join", json=asked)
        if answer.status_code != 200:
            raise ValueError(f"{answer.status_code} {answer.text[:80]}")
        async with self._http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self._session}) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    message = json.loads(line[5:])
                    if message["msg"] == "process_completed":
                        if not message["success"]:
                            raise ValueError(str(message["output"])[:100])
                        return
        raise ValueError("no answer")

    async def leave(self) -> None:
        """Close the tab."""
        await self._http.aclose()


def owner_of(secret: str) -> str:
    """The key of a visitor with this secret in the cookie."""
    return f"anon:{hashlib.sha256(secret.encode()).hexdigest()[:16]}"


def furnish(settings: Settings, people: list[str]) -> str:
    """Give the first one a run that takes long, each other one a run that waits; the id of the first."""
    runs, tables = RunStore(settings.home), TableStore(settings)
    rows = settings.home / "rows.csv"
    table(300).to_csv(rows, index=False)
    ids = []
    for secret in people:
        kept = tables.add(rows, owner_of(secret), "docstrings.csv")
        data = DataChoice(table=kept.id, columns={"text": "text", "label": "label"}, name="docstrings.csv")
        spec = build(data=data, max_length=128, epochs=50, batch_size=16)
        ids.append(runs.create(spec, owner_of(secret), "docstrings").id)
    return ids[0]


@contextmanager
def served(home: str) -> Iterator[tuple[str, psutil.Process]]:
    """The app as a Space: (its address, its process)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {"TUNING_FORK_HOME": home, "GRADIO_SERVER_PORT": str(port), "TUNING_FORK_BROWSER": "0"}
    app = subprocess.Popen(
        [sys.executable, "app.py"], env=os.environ | _AS_A_SPACE | places, stdout=subprocess.DEVNULL, stderr=None
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with suppress(httpx2.HTTPError):
                httpx2.get(url, timeout=5, trust_env=False)
                break
            time.sleep(0.1)
        yield url, psutil.Process(app.pid)
    finally:
        app.terminate()
        app.wait(30)


def speed(runs: RunStore, run_id: str, begin: float, end: float) -> float:
    """Steps per second of the training between two times of the clock, judging left out; 0 where none were told."""
    told = [e for e in runs.read_events(run_id)[0] if e.kind in ("step", "evaluated") and begin <= e.time <= end]
    spans = [
        (b.step - a.step, b.time - a.time)
        for a, b in itertools.pairwise(told)
        if a.kind == b.kind == "step" and b.time > a.time
    ]
    return sum(steps for steps, _ in spans) / max(1e-9, sum(seconds for _, seconds in spans)) if spans else 0.0


async def visited(
    url: str, app: psutil.Process, people: list[str], idle: int, seconds: float, seen: Seen
) -> tuple[float, float, float]:
    """So many seconds with visitors, who have opened the page before.

    Returns:
        When these seconds began, and the seconds of processor time that the app and this process used in them.
    """
    active = [Visitor(url, secret, seen) for secret in people]
    others = [Visitor(url, secrets.token_hex(32), seen) for _ in range(idle)]
    for one in (*active, *others):
        await one.open()
    begun, used, played = time.time(), sum(app.cpu_times()[:2]), time.process_time()
    tasks = [asyncio.create_task(one.stay()) for one in (*active, *others)]
    tasks += [
        asyncio.create_task(one.watch(WAITING_POLL_SECONDS * place / len(active))) for place, one in enumerate(active)
    ]
    await asyncio.sleep(seconds)
    used, played = sum(app.cpu_times()[:2]) - used, time.process_time() - played
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended
    for one in (*active, *others):
        await one.leave()
    return begun, used, played


def measure(
    given: argparse.Namespace, url: str, app: psutil.Process, runs: RunStore, run_id: str, people: list[str]
) -> None:
    """Quiet and busy periods in turn, then the figures."""
    seen, quiet, busy, shares, others = Seen(), [], [], [], []
    memory, begun = [app.memory_info().rss], time.perf_counter()
    for _ in range(given.turns):
        begin = time.time()
        time.sleep(given.seconds)
        quiet.append(speed(runs, run_id, begin, time.time()))
        opened, used, played = asyncio.run(visited(url, app, people, given.idle, given.seconds, seen))
        busy.append(speed(runs, run_id, opened, opened + given.seconds))
        shares.append(used / given.seconds)
        others.append(played / given.seconds)
        memory.append(app.memory_info().rss)
    for name, times in (("progress", seen.polls), ("clicks", seen.clicks)):
        if len(times) < 2:
            print(f"{name}: too few")
            continue
        p95 = statistics.quantiles(times, n=20)[-1]
        print(f"{name}: {len(times)}, median {1000 * statistics.median(times):.0f} ms, p95 {1000 * p95:.0f} ms")
    print(f"errors: {len(seen.errors)} {seen.errors[:3]}")
    slower = 1 - statistics.median(busy) / max(1e-9, statistics.median(quiet))
    print(
        f"training: {statistics.median(quiet):.2f} steps/s alone, {statistics.median(busy):.2f} with visitors, "
        f"{slower:.0%} slower"
    )
    print(
        f"the app used {statistics.median(shares):.2f} of a core, the played visitors {statistics.median(others):.2f}"
    )
    megabytes = ", ".join(f"{rss / 2**20:.0f}" for rss in memory)
    print(f"the app's memory before and after each turn: {megabytes} MiB, {time.perf_counter() - begun:.0f} s in all")


def main() -> None:
    """Serve, visit, print."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--active", type=int, default=50, help="visitors that watch and click")
    flags.add_argument("--idle", type=int, default=50, help="visitors that only have the page open")
    flags.add_argument("--seconds", type=float, default=25, help="of each period")
    flags.add_argument("--turns", type=int, default=2)
    given = flags.parse_args()
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), limits=Limits(free_disk=0))
        people = [secrets.token_hex(32) for _ in range(given.active)]
        run_id = furnish(settings, people)
        runs = RunStore(settings.home)
        with served(home) as (url, app):
            while not any(event.kind == "step" for event in runs.read_events(run_id)[0]):
                time.sleep(0.5)
            time.sleep(5)
            measure(given, url, app, runs, run_id, people)


if __name__ == "__main__":
    main()
