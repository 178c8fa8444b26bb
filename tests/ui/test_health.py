"""What `/health` tells, and what it does not."""

import dataclasses
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from core import __version__, logs
from core.runs.store import RunRecord
from core.settings import GIBIBYTE, MEBIBYTE
from core.spec import DataChoice, TrainSpec
from ui import guard, health
from ui.health import Health, Line
from ui.page import House

ROOT = Path(__file__).resolve().parents[2]
OWNER, NAME = "hf:somebody-private", "a name that is private"
Usage = namedtuple("Usage", "total used free")
SPEC = TrainSpec(data=DataChoice(table="0" * 64, columns={"text": "text", "label": "label"}, name="private.csv"))


@pytest.fixture
def watched(house: House) -> House:
    """A house whose supervisor looked a moment ago."""
    supervisor: Any = SimpleNamespace(alive=True, last_look=time.monotonic())
    return dataclasses.replace(house, supervisor=supervisor)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes of the disk are free."""

    def free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100 * GIBIBYTE, 0, size))

    free(10 * GIBIBYTE + 1)
    return free


@pytest.fixture
def no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])


def client(house: House) -> TestClient:
    app = Starlette(routes=health.routes(house), middleware=[Middleware(guard.Guard, settings=house.settings)])
    return TestClient(app, base_url="http://127.0.0.1")


def test_where_all_is_well(watched: House, disk: Callable[[int], None], no_errors: None) -> None:
    answer = client(watched).get("/health")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told.pop("supervisor") == {"alive": True, "seconds_since_look": pytest.approx(0, abs=5)}
    assert told == {
        "status": "ok",
        "problems": [],
        "version": __version__,
        "seconds_up": 0,
        "queue": {"queued": 0, "running": 0},
        "disk_free_bytes": 10 * GIBIBYTE,
        "last_error": None,
    }
    assert client(watched).head("/health").status_code == 200
    assert client(watched).post("/health", content=b"").status_code == 405


@pytest.mark.parametrize(
    ("change", "free", "problems"),
    [
        ({"alive": False}, GIBIBYTE, ["supervisor_ended"]),
        ({"silent": 61}, GIBIBYTE, ["supervisor_silent"]),
        ({"silent": 50}, GIBIBYTE, []),
        ({}, 64 * MEBIBYTE - 1, ["disk_low"]),
        ({}, 64 * MEBIBYTE, []),
        ({"alive": False, "silent": 99}, 0, ["supervisor_ended", "supervisor_silent", "disk_low"]),
    ],
)
def test_problems_are_named(
    watched: House, disk: Callable[[int], None], change: dict[str, Any], free: int, problems: list[str]
) -> None:
    disk(free)
    watched.supervisor.alive = change.get("alive", True)
    watched.supervisor.last_look -= change.get("silent", 0)
    answer = client(watched).get("/health")
    assert answer.json()["problems"] == problems
    assert answer.json()["status"] == ("problem" if problems else "ok")
    assert answer.status_code == (503 if problems else 200)


def test_a_home_that_is_gone_is_a_problem_and_no_crash(watched: House) -> None:
    shutil.rmtree(watched.settings.home)
    answer = client(watched).get("/health")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["disk_gone"]


def test_the_line_is_counted(watched: House) -> None:
    runs, line = watched.runs, Line(watched.runs)
    assert line.counts() == {"queued": 0, "running": 0}
    first, second = (runs.create(SPEC, OWNER, NAME) for _ in range(2))
    assert line.counts() == {"queued": 2, "running": 0}
    runs.transition(first.id, ("QUEUED",), "STARTING", 0)
    assert line.counts() == {"queued": 1, "running": 1}
    runs.transition(first.id, ("STARTING",), "RUNNING", 1)
    runs.transition(second.id, ("QUEUED",), "STOPPED", 0)
    assert line.counts() == {"queued": 0, "running": 1}
    runs.transition(second.id, ("STOPPED",), "QUEUED", 0)
    runs.transition(first.id, ("RUNNING",), "FINISHED", 1)
    assert line.counts() == {"queued": 1, "running": 0}
    shutil.rmtree(runs.folder(second.id))
    (runs.root / "0123").mkdir()
    (runs.root / ("0" * 32)).mkdir()
    (runs.root / ("0" * 32) / "run.json").write_text("{")
    assert line.counts() == {"queued": 0, "running": 0}


def test_nothing_is_read_again_that_did_not_change(watched: House, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, line = watched.runs, Line(watched.runs)
    read: list[str] = []
    get = type(runs).get
    monkeypatch.setattr(type(runs), "get", lambda store, name, *rest: read.append(name) or get(store, name, *rest))
    made = [runs.create(SPEC, OWNER) for _ in range(5)]
    line.counts()
    line.counts()
    assert sorted(read) == sorted(record.id for record in made)


def test_the_answer_is_kept_for_two_seconds(watched: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    there = Health(watched)
    assert there.told()["queue"]["queued"] == 0
    watched.runs.create(SPEC, OWNER)
    now += 1.9
    assert there.told()["queue"]["queued"] == 0
    now += 0.2
    assert there.told()["queue"]["queued"] == 1


def test_nothing_private_is_told(
    watched: House, finished: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [logs.LogFile(tmp_path / "app.jsonl", str)])
    waiting, done = watched.runs.create(SPEC, OWNER, NAME), finished(OWNER)
    try:
        raise ValueError(f"{NAME} of {OWNER} in {tmp_path}: hf_canary0123456789")
    except ValueError:
        logging.getLogger("ui.page").exception("not for everybody: %s", NAME)
    logging.root.handlers[0].close()
    told = client(watched).get("/health").text
    assert json.loads(told)["last_error"]["code"] == "ValueError"
    assert json.loads(told)["queue"] == {"queued": 1, "running": 0}
    for private in (OWNER, "somebody", NAME, "private", waiting.id, done.id, str(tmp_path), "hf_", "MiniLM", "not for"):
        assert private not in told
    assert "/" not in told


@pytest.fixture
def app(tmp_path: Path) -> Iterator[tuple[int, Path, int]]:
    """The real app's port, folder and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = os.environ | {
        "TUNING_FORK_HOME": str(tmp_path / "home"),
        "TUNING_FORK_BROWSER": "0",
        "GRADIO_SERVER_PORT": str(port),
    }
    with (tmp_path / "stderr").open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=told
        )
    with process:
        assert process.stdout
        said = process.stdout.readline()  # its address, once everything is set up; nothing where it ended
        assert said.startswith(b"Tuning Fork"), (tmp_path / "stderr").read_text()
        yield port, tmp_path, process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def sleeps(pid: int) -> int:
    """How often a process's threads have gone to sleep so far; 0 where that is not told."""
    told = "".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(line.split()[1]) for line in told.splitlines() if line.startswith("voluntary_ctxt_switches"))


def test_the_real_app_is_well_writes_lines_and_rests(app: tuple[int, Path, int]) -> None:
    port, folder, pid = app
    answer = httpx.get(f"http://127.0.0.1:{port}/health?token=hf_canary0123456789")
    assert answer.status_code == 200, answer.text
    assert answer.json()["supervisor"]["alive"] is True
    with socket.create_connection(("127.0.0.1", port)) as broken:
        broken.sendall(b"no such thing\r\n\r\n")
        assert broken.recv(100).startswith(b"HTTP/1.1 400")
    file = folder / "home" / "logs" / "app.jsonl"
    written = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["logger"] for line in written] == ["core.logs", "uvicorn.error"]
    said = (folder / "stderr").read_text().splitlines()
    assert len(said) == 1
    assert "WARNING uvicorn.error: Invalid HTTP request" in said[0]
    assert "canary" not in file.read_text()
    before = sleeps(pid)
    assert before or not Path("/proc/self/task").exists()
    time.sleep(1)
    assert sleeps(pid) - before < 200  # measured: 60; with gradio's own pauses 870
