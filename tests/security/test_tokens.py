"""A person's token goes to the Hub and nowhere else: marked ones go every way that there is, then are sought."""

import base64
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from core.data.store import TableStore
from core.runs.progress import fold
from core.runs.store import RunRecord, RunStore
from core.runs.supervisor import Supervisor
from core.spec import DataChoice, ModelChoice, build
from tests import tiny
from tests.fakehub import Account
from tests.security.conftest import SPACES_OWN, Space
from tests.security.visitors import settings_of, signed_in
from ui.draft import DraftStore
from ui.text import Text

# In no form that a log would know for a secret and hide.
SIGNED_IN, TYPED = "canary-of-the-sign-in-4711", "canary-in-the-box-0815"
TOKENS = (SIGNED_IN, TYPED, SPACES_OWN)
CHILDREN = ("core.hub.fetcher", "core.publishing.hub", "core.runs.worker")
pytestmark = [pytest.mark.real, pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")]


def forms(token: str) -> list[bytes]:
    """A token as it may be written: plainly, or in base64 at each of the three places that it can begin at."""
    encoded = (base64.b64encode(b"x" * n + token.encode())[4:-4] for n in range(3))
    return [token.encode(), *encoded]


def found_in(content: bytes) -> bool:
    return any(form in content for token in TOKENS for form in forms(token))


@dataclass
class Watcher:
    """Looks at the arguments and the environment of every child of some processes while these live."""

    pids: tuple[int, ...]
    seen: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._ending.wait(0.02):
            for child in (child for pid in self.pids for child in psutil.Process(pid).children(recursive=True)):
                try:
                    arguments = Path(f"/proc/{child.pid}/cmdline").read_bytes()
                    environment = Path(f"/proc/{child.pid}/environ").read_bytes()
                except OSError:
                    continue  # gone meanwhile
                # Between fork and exec a child still has its parent's.
                named = [name for name in CHILDREN if name.encode() in arguments]
                self.seen |= {*named}
                if named and found_in(arguments + environment):
                    self.told.append(named[0])


@dataclass(frozen=True)
class Ways:
    """What came of the tokens' ways."""

    record: RunRecord
    attempts: int
    answers: list[str]
    watcher: Watcher


@pytest.fixture(scope="module")
def ways(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """A gated model is fetched, learned from by a worker that is killed once, and its result published."""
    folder = tmp_path_factory.mktemp("tokens")
    space.hub.accounts[SIGNED_IN] = Account("alice", accepted={"team/gated"})
    space.hub.accounts[TYPED] = Account("andrew", accepted={"team/gated"})
    model = tiny.body(folder / "model")
    space.hub.add("team/gated", {f.name: f.read_bytes() for f in model.iterdir()}, gated=True)
    watcher = Watcher((space.pid, os.getpid()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", SPACES_OWN)
        try:
            yield Ways(*_walk(space, folder), watcher)
        finally:
            watcher.end()


def _walk(space: Space, folder: Path) -> tuple[RunRecord, int, list[str]]:
    text, place = Text("en"), settings_of(space.home)
    alice, andrew = space.visitor(signed_in("alice-with-token", SIGNED_IN)), space.visitor()
    use = alice.button(text("models.use"))
    answers = [alice.call(use, ["team/gated", ""]), andrew.call(use, ["team/gated", TYPED])]
    chosen = DraftStore(space.home).read("hf:alice-with-token").model
    assert chosen == DraftStore(space.home).read(andrew.owner()).model
    assert chosen == ModelChoice(source="hub", name="team/gated", revision=space.hub.repo("team/gated").sha)
    answers.append(alice.call(alice.button(text("models.search_go")), ["gated", TYPED]))

    path = folder / "weather.csv"
    path.write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in tiny.rows(120)), encoding="utf-8")
    table = TableStore(place).add(path, "hf:alice-with-token")
    data = DataChoice(table=table.id, columns={"text": "text", "label": "label"}, name=table.name)
    spec = build(data=data, model=chosen, learning_rate=3e-3, epochs=3, batch_size=8, max_length=32)
    record, attempts = _trained(RunStore(space.home), Supervisor(place, RunStore(space.home), 0.05, True), spec)
    DraftStore(space.home).change("hf:alice-with-token", run=record.id)
    answers.append(alice.call(alice.button(text("publish.push")), ["weather", True]))
    return record, attempts, answers


def _trained(runs: RunStore, supervisor: Supervisor, spec: object) -> tuple[RunRecord, int]:
    """A run whose first worker is killed in the middle, taken to its end; and how many workers it took."""
    supervisor.start()
    try:
        record = supervisor.submit(spec, "hf:alice-with-token", "weather")
        while not fold(runs.read_events(record.id)[0]).losses:
            assert runs.get(record.id).state in ("QUEUED", "STARTING", "RUNNING"), runs.log(record.id)
            time.sleep(0.02)
        for child in psutil.Process().children():
            if record.id in child.cmdline():
                child.send_signal(signal.SIGKILL)
        while runs.get(record.id).state != "FINISHED":
            assert runs.get(record.id).state != "FAILED", runs.log(record.id)
            time.sleep(0.05)
        return runs.get(record.id), runs.get(record.id).attempt
    finally:
        supervisor.close()


def test_the_ways_were_gone(space: Space, ways: Ways) -> None:
    assert ways.record.has_result
    assert ways.attempts >= 2
    assert ways.watcher.seen == {*CHILDREN}
    assert "alice/weather" in ways.answers[-1]
    assert "model.safetensors" in space.hub.repo("alice/weather").files
    carried = {asked.headers.get("authorization") for asked in space.hub.requests}
    assert {f"Bearer {SIGNED_IN}", f"Bearer {TYPED}"} <= carried
    assert all(found_in(str(heads).encode()) for heads in carried - {None})


def test_no_child_is_told_a_token_where_others_can_read_it(ways: Ways) -> None:
    assert ways.watcher.told == []


def test_no_file_of_the_place_holds_a_token(space: Space, ways: Ways) -> None:
    read = [path for path in space.home.parent.rglob("*") if path.is_file()]
    assert {"worker.log", "run.json", "log", "config.json"} <= {path.name for path in read}
    assert [str(path) for path in read if found_in(path.read_bytes())] == []


def test_no_file_that_was_published_holds_a_token(space: Space, ways: Ways) -> None:
    pushed = [content for files in space.hub.repo("alice/weather").commits.values() for content in files.values()]
    assert len(pushed) > 4
    assert [content for content in pushed if found_in(content)] == []


def test_no_answer_of_the_page_holds_a_token(ways: Ways) -> None:
    assert [answer for answer in ways.answers if found_in(answer.encode())] == []


def test_the_spaces_own_token_is_used_for_nobody(space: Space, ways: Ways) -> None:
    assert ways.record.has_result
    before = len(space.hub.requests)
    alice = space.visitor(signed_in("alice-with-token", ""))  # her own ran out
    assert "sign in" in alice.call(alice.button(Text("en")("publish.push")), ["weather", True]).lower()
    assert space.hub.requests[before:] == []
    assert not [asked for asked in space.hub.requests if SPACES_OWN in str(asked.headers)]
