"""Runs that are kept in a private repository while they train, over real HTTP, and brought back to an empty home."""

import errno
import io
import json
import logging
import os
import shutil
import struct
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import Request
from fastapi.responses import Response

from core import events, files, processes
from core.data.options import ReadOptions
from core.data.store import TableStore
from core.errors import UserError
from core.keeping import arriving, layout, returning, sending, snapshot
from core.keeping.keeper import Keeper, Status
from core.runs.progress import fold
from core.runs.store import EventWriter, RunRecord, RunStore
from core.runs.supervisor import Supervisor
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, build
from core.training import checkpoints
from tests import fakehub
from tests.fakehub import Account, FakeHub

TOKEN, OWNER, REPO = "hf_writer", "hf:1", "tester/tuning-fork-kept"
DEVICE = {"kind": "cpu", "precision": "float32", "threads": 1, "reason": "cpu_float32_faster", "name": ""}
HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + b"\0\0\0\0"
SCORES = {"accuracy": 0.9, "macro_f1": 0.9}
REPORT = {
    "version": 1, "task": "classification", "labels": ["delivery", "refund"], "main_metric": "macro_f1",
    "rows": {"train": 2, "validation": 1, "test": 1, "judged": 1}, "data": {}, "model": {}, "device": DEVICE,
    "metrics": {**SCORES, "intervals": {name: [0.8, 1.0] for name in SCORES}}, "baselines": {"majority": SCORES},
    "verdict": {
        "code": "unclear", "rows": 1, "strongest": "majority", "chance": 0.5, "right": 1, "baseline_right": 1,
    },
    "examples": ["where is it"], "more": "that nobody reads",
}  # fmt: skip


class Home:
    """A home with stores, at a Hub."""

    def __init__(self, home: Path, hub: FakeHub, **limits: float) -> None:
        self.settings = Settings(
            home=home,
            place="space",
            lasting=False,
            hub_endpoint=hub.url,
            limits=Limits(**({"free_disk": 0, "hub_timeout": 3.0} | limits)),
        )
        self.runs, self.tables = RunStore(home), TableStore(self.settings)

    def run(self, model: ModelChoice | None = None) -> RunRecord:
        """A run of a small table, with a state of two steps, a best model, and what it told."""
        spec = build(data=self.data(), model=model or ModelChoice(), epochs=3)
        record = self.runs.create(spec, OWNER, "mine · 退款")
        for state, expected in (("STARTING", 0), ("RUNNING", 1)):
            record = self.runs.transition(record.id, (record.state,), state, expected)
        EventWriter(self.runs.folder(record.id), 1).write(events.Started(device=DEVICE))
        self.state(record, 2)
        return record

    def data(self) -> DataChoice:
        path = self.settings.home / "rows.csv"
        path.write_text("text,label\nwhere is it,delivery\n\nI paid twice,refund\nsame,refund\n", encoding="utf-8")
        known = self.tables.list(OWNER)
        table = known[0] if known else self.tables.add(path, OWNER, options=ReadOptions(), keep_file=True)
        return DataChoice(table=table.id, columns={"text": "text", "label": "label"}, name="rows.csv")

    def state(self, record: RunRecord, step: int, optimizer: bytes | None = None) -> None:
        """Keep a state and a best model as training does, with small files."""
        folder = self.runs.folder(record.id)

        def write(staged: Path) -> None:
            staged.mkdir()
            (staged / "changed.safetensors").write_bytes(b"weights %d" % step)
            (staged / "facts.json").write_text("{}")
            with zipfile.ZipFile(staged / "optimizer.pt", "w") as archive:
                archive.writestr("data.pkl", optimizer or b"numbers")

        def best(staged: Path) -> None:
            staged.mkdir(parents=True)
            (staged / "config.json").write_text('{"model_type": "bert"}')
            (staged / "model.safetensors").write_bytes(b"best %d" % step)

        checkpoints.place(folder / "best" / f"step-{step}", best)
        for earlier in (folder / "best").glob("step-*"):
            if earlier.name != f"step-{step}":
                shutil.rmtree(earlier)
        checkpoints.save_state(folder, step, write)

    def finish(self, record: RunRecord) -> RunRecord:
        folder = self.runs.folder(record.id)

        def write(staged: Path) -> None:
            staged.mkdir()
            (staged / "config.json").write_text('{"model_type": "bert"}')
            (staged / "model.safetensors").write_bytes(WEIGHTS)

        checkpoints.place(folder / "model", write)
        files.write_json(folder / "report.json", REPORT)
        checkpoints.forget(folder)
        told = {"has_result": True, "headline": {"accuracy": 0.9}}
        return self.runs.transition(record.id, ("RUNNING",), "FINISHED", 1, **told)

    def keep(self, record: RunRecord) -> sending.Sent | None:
        return sending.keep(self.settings, record.id, OWNER, TOKEN)

    def restore(self, run_id: str, owner: str = OWNER) -> RunRecord:
        return returning.restore(self.settings, self.runs, owner, TOKEN, run_id)


@pytest.fixture(scope="module")
def read_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the table of all runs, which a child has read."""
    folder = tmp_path_factory.mktemp("read") / "home"
    Home(folder, fakehub.FakeHub()).data()
    return folder


@pytest.fixture
def home(tmp_path: Path, fake_hub: FakeHub, read_once: Path) -> Home:
    shutil.copytree(read_once, tmp_path / "home")
    return Home(tmp_path / "home", fake_hub)


@pytest.fixture
def empty(tmp_path: Path, fake_hub: FakeHub) -> Home:
    """What a restart leaves."""
    return Home(tmp_path / "empty", fake_hub)


def refused(code: str, call: Callable[..., object], *arguments: object) -> UserError:
    with pytest.raises(UserError) as wrong:
        call(*arguments)
    assert wrong.value.code == code
    return wrong.value


def on_hub(hub: FakeHub, record: RunRecord) -> dict[str, bytes]:
    """Path below the run's folder -> content."""
    mine = layout.folder(record.id)
    return {p.removeprefix(mine): c for p, c in hub.repo(REPO).files.items() if p.startswith(mine)}


def below(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def fault(hub: FakeHub, answer: Callable[[Request], Response | None]) -> None:
    async def fail(request: Request) -> Response | None:
        return answer(request)

    hub.fault = fail


# -- what is kept


def test_a_run_is_kept_privately_with_everything_that_it_needs_to_go_on(home: Home, fake_hub: FakeHub) -> None:
    record = home.run()
    sent = home.keep(record)
    repo, kept, folder = fake_hub.repo(REPO), on_hub(fake_hub, record), home.runs.folder(record.id)
    assert sent == (2, sum(len(content) for path, content in kept.items() if path != "run.json"))
    assert repo.private
    assert layout.TAG in repo.card["tags"]
    assert len(fake_hub.asked("POST", "/commit/")) == 1
    assert fake_hub.unhandled == []
    mine = below(folder)
    for part in ("checkpoints/step-2", "best/step-2"):
        for name in ("changed.safetensors", "optimizer.pt", "model.safetensors", "manifest.json"):
            assert kept.get(f"{part}/{name}") == mine.get(f"{part}/{name}")
    assert (kept["spec.json"], kept["events.jsonl"]) == (mine["spec.json"], mine["events.jsonl"])
    (table,) = (path for path in kept if path.endswith(".parquet"))
    assert kept[table] == home.tables.path(Path(table).stem, OWNER).read_bytes()
    assert OWNER.encode() not in b"".join(kept.values())
    assert json.loads(kept["run.json"])["name"] == "mine · 退款"
    assert not list((home.settings.home / "keeping").iterdir())


def test_the_next_state_replaces_the_one_before_in_one_commit(home: Home, fake_hub: FakeHub) -> None:
    record = home.run()
    home.keep(record)
    repo = fake_hub.repo(REPO)
    repo.commit(repo.files | {"runs/notes.txt": b"the person's own"})
    home.state(record, 3)
    home.state(record, 4)
    before = len(repo.commits)
    assert home.keep(record).step == 4
    assert len(repo.commits) == before + 1
    steps = {path.split("/")[1] for path in on_hub(fake_hub, record) if path.startswith(("checkpoints/", "best/"))}
    assert steps == {"step-4"}
    assert repo.files["runs/notes.txt"] == b"the person's own"
    assert len(fake_hub.asked("PUT", "/lfs/")) == 5  # weights and best of both states, and the table once


def test_of_a_damaged_state_the_one_before_is_kept(home: Home, fake_hub: FakeHub) -> None:
    record = home.run()
    home.state(record, 3)
    (home.runs.folder(record.id) / "checkpoints/step-3/optimizer.pt").write_bytes(b"x")
    assert home.keep(record).step == 2


def test_while_states_come_and_go_what_is_taken_is_whole(home: Home, tmp_path: Path) -> None:
    record, done = home.run(), threading.Event()

    def train() -> None:
        step = 2
        while not done.is_set():
            home.state(record, step := step + 1)

    training = threading.Thread(target=train)
    training.start()
    try:
        for number in range(60):
            taken = snapshot.take(home.runs, home.tables, record.id, OWNER, tmp_path / f"{number}")
            (state,), (best,) = ((taken.folder / name).iterdir() for name in ("checkpoints", "best"))
            assert checkpoints.step_of(state) == taken.step
            assert checkpoints.step_of(best) >= taken.step
            assert all(map(checkpoints.verify, (state, best)))
    finally:
        done.set()
        training.join()
    assert taken.step > 3


def test_the_best_model_that_is_taken_is_never_older_than_the_state(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, honest, step = home.run(), snapshot._newest, iter(range(3, 9))

    def slow(root: Path, place: Path) -> Path | None:
        found = honest(root, place)
        home.state(record, next(step))
        return found

    monkeypatch.setattr(snapshot, "_newest", slow)
    taken = snapshot.take(home.runs, home.tables, record.id, OWNER, tmp_path / "taken")
    assert taken.step == 2
    assert [best.name for best in (taken.folder / "best").iterdir()] == ["step-3"]


def test_a_result_takes_the_place_of_the_states_and_the_history_goes(home: Home, fake_hub: FakeHub) -> None:
    record = home.run()
    home.keep(record)
    home.finish(record)
    assert home.keep(record).step == 0
    kept = on_hub(fake_hub, record)
    assert kept["model/model.safetensors"] == WEIGHTS
    assert "report.json" in kept
    assert not [path for path in kept if path.startswith(("checkpoints/", "best/"))]
    assert len(fake_hub.repo(REPO).commits) == 1


def test_between_the_last_state_and_the_result_the_state_stays(home: Home, fake_hub: FakeHub) -> None:
    record = home.run()
    home.keep(record)
    checkpoints.forget(home.runs.folder(record.id))
    assert home.keep(record) is None
    assert "checkpoints/step-2/optimizer.pt" in on_hub(fake_hub, record)


def test_what_goes_on_from_another_run_is_refused(home: Home, fake_hub: FakeHub) -> None:
    refused("keeping_needs_base", home.keep, home.run(ModelChoice(source="run", name="0" * 32)))
    assert fake_hub.repos == {}


def test_another_owners_run_is_unknown(home: Home) -> None:
    record, keeper = home.run(), Keeper(home.settings, home.runs)
    refused("run_unknown", keeper.keep, record.id, "hf:2", TOKEN)
    assert keeper.status(record.id) is None


def test_what_could_not_be_brought_back_is_not_kept(home: Home, fake_hub: FakeHub) -> None:
    small = Home(home.settings.home, fake_hub, owner_bytes=100)
    assert refused("kept_too_large", small.keep, home.run()).facts["limit_mb"] == 0
    assert fake_hub.repos == {}


@pytest.mark.parametrize(
    ("there", "facts", "code"),
    [
        ({"README.md": b"# Mine"}, {"private": True}, "kept_repo_foreign"),
        ({"model.safetensors": b"x"}, {"private": True}, "kept_repo_foreign"),
        ({"README.md": layout.CARD.encode()}, {}, "kept_repo_public"),
        ({}, {}, "kept_repo_public"),
    ],
)
def test_a_repository_that_is_public_or_not_ours_is_not_written_to(
    there: dict[str, bytes], facts: dict[str, bool], code: str, home: Home, fake_hub: FakeHub
) -> None:
    before = dict(fake_hub.add(REPO, there, **facts).files)
    record = home.run()
    assert refused(code, home.keep, record).facts == {"repo": REPO}
    refused(code, sending.forget, home.settings, record.id, TOKEN)
    assert fake_hub.repo(REPO).files == before


def test_a_token_that_may_not_write_is_said(home: Home, fake_hub: FakeHub) -> None:
    fake_hub.accounts[TOKEN].can_write = False
    refused("kept_repo_forbidden", home.keep, home.run())


def test_what_is_deleted_is_gone_from_the_history_too(home: Home, fake_hub: FakeHub) -> None:
    first, second = home.run(), home.run()
    home.keep(first)
    home.keep(second)
    sending.forget(home.settings, first.id, TOKEN)
    repo = fake_hub.repo(REPO)
    assert on_hub(fake_hub, first) == {}
    assert on_hub(fake_hub, second)
    assert not any(path.startswith(layout.folder(first.id)) for tree in repo.commits.values() for path in tree)
    sending.forget(home.settings, first.id, TOKEN)


# -- the thread that keeps


@pytest.fixture
def keeper(home: Home) -> Keeper:
    made = Keeper(home.settings, home.runs, seconds=0.2)
    made.start()
    yield made
    made.close()


def until(keeper: Keeper, run_id: str, fits: Callable[[Status], bool], seconds: float = 30.0) -> Status:
    deadline = time.monotonic() + seconds
    while not fits(status := keeper.status(run_id)):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def test_it_keeps_state_after_state_and_then_the_result(home: Home, keeper: Keeper, fake_hub: FakeHub) -> None:
    record = home.run()
    keeper.keep(record.id, OWNER, TOKEN)
    first = until(keeper, record.id, lambda status: status.step == 2)
    assert (first.problem, first.waiting) == ("", True)
    assert time.monotonic() - first.at < 5
    home.state(record, 5)
    until(keeper, record.id, lambda status: status.step == 5)
    home.finish(record)
    until(keeper, record.id, lambda status: not status.waiting)
    assert "model/model.safetensors" in on_hub(fake_hub, record)
    assert TOKEN not in repr(keeper.__dict__)
    assert not keeper._kept[record.id].token
    asked = len(fake_hub.requests)
    time.sleep(1.5)
    assert len(fake_hub.requests) == asked


def test_while_the_hub_is_in_trouble_it_tries_again(home: Home, keeper: Keeper, fake_hub: FakeHub) -> None:
    fault(fake_hub, lambda request: Response(status_code=429) if "/commit/" in request.url.path else None)
    record = home.run()
    keeper.keep(record.id, OWNER, TOKEN)
    seen = until(keeper, record.id, lambda status: status.problem == "hub_unreachable")
    assert seen.waiting
    fake_hub.fault = None
    after = until(keeper, record.id, lambda status: status.step == 2)
    assert after.problem == ""


def test_an_expired_token_is_forgotten_and_a_new_one_goes_on(home: Home, keeper: Keeper, fake_hub: FakeHub) -> None:
    record = home.run()
    keeper.keep(record.id, OWNER, TOKEN)
    until(keeper, record.id, lambda status: status.step == 2)
    fake_hub.accounts["hf_newer"] = fake_hub.accounts.pop(TOKEN)
    home.state(record, 3)
    seen = until(keeper, record.id, lambda status: status.problem == "token_invalid")
    assert (seen.step, seen.waiting) == (2, False)
    assert not keeper._kept[record.id].token
    keeper.keep(record.id, OWNER, TOKEN)  # as a page that is still open does
    assert keeper.status(record.id) == seen
    keeper.keep(record.id, OWNER, "hf_newer")
    until(keeper, record.id, lambda status: status.step == 3)


def test_a_token_that_expires_while_it_sends_is_said(home: Home, fake_hub: FakeHub) -> None:
    told = {"X-Error-Message": "Invalid credentials in Authorization header"}
    fault(fake_hub, lambda r: Response(status_code=401, headers=told) if "/preupload/" in r.url.path else None)
    refused("token_invalid", home.keep, home.run())


def test_closing_ends_what_is_being_sent(home: Home, fake_hub: FakeHub) -> None:
    import asyncio

    reached: list[float] = []

    async def hang(request: Request) -> Response | None:
        if "/commit/" in request.url.path:
            reached.append(time.monotonic())
            await asyncio.sleep(30)
        return None

    fake_hub.fault = hang
    keeper, record = Keeper(home.settings, home.runs, seconds=0.2), home.run()
    keeper.start()
    keeper.keep(record.id, OWNER, TOKEN)
    while not reached:
        time.sleep(0.05)
    begun = time.monotonic()
    keeper.close()
    assert time.monotonic() - begun < 4
    assert not keeper._thread.is_alive()
    assert not list((home.settings.home / "keeping").iterdir())


def test_a_run_that_is_deleted_is_kept_no_longer(home: Home, keeper: Keeper) -> None:
    record = home.run()
    keeper.keep(record.id, OWNER, TOKEN)
    until(keeper, record.id, lambda status: status.step == 2)
    keeper.drop(record.id)
    assert keeper.status(record.id) is None


def test_the_token_is_kept_nowhere_and_what_sends_it_stands_back(
    home: Home, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    canary = "hf_canary0123456789"
    fake_hub.accounts[canary] = Account("tester")
    seen, nice, start = [], [], subprocess.Popen

    def watched(arguments: list[str], **options: object) -> "subprocess.Popen[bytes]":
        child = start(arguments, **options)
        seen.append(repr((arguments, options["env"])).encode())
        seen.extend(Path(f"/proc/{child.pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
        return child

    def watch(request: Request) -> Response | None:
        if "/commit/" in request.url.path:
            children = " ".join(f.read_text() for f in Path("/proc/self/task").glob("*/children")).split()
            keeping = [child for child in children if b"core.keeping" in Path(f"/proc/{child}/cmdline").read_bytes()]
            nice.extend(os.getpriority(os.PRIO_PROCESS, int(child)) for child in keeping)
        return Response(status_code=500) if "/commit/" in request.url.path and len(nice) == 1 else None

    monkeypatch.setattr(processes.subprocess, "Popen", watched)
    caplog.set_level(logging.DEBUG)
    fault(fake_hub, watch)
    keeper, record = Keeper(home.settings, home.runs, seconds=0.2), home.run()
    keeper.start()
    keeper.keep(record.id, OWNER, canary)
    until(keeper, record.id, lambda status: status.step == 2)
    keeper.close()
    kept = [*below(home.settings.home).values(), *on_hub(fake_hub, record).values()]
    assert len(seen) >= 6
    assert set(nice) == {19}
    assert not any(canary.encode() in content for content in [*seen, *kept])
    assert canary not in caplog.text
    assert canary not in repr(keeper._kept)


# -- what comes back


def test_a_run_comes_back_to_an_empty_home_and_can_go_on(home: Home, empty: Home) -> None:
    record = home.run()
    home.keep(record)
    (kept,) = returning.kept(empty.settings, TOKEN)
    assert (kept.id, kept.name, kept.step, kept.state) == (record.id, "mine · 退款", 2, "RUNNING")
    back = empty.restore(record.id)
    assert back == empty.runs.get(record.id, OWNER)
    assert (back.id, back.state, back.attempt, back.place) == (record.id, "INTERRUPTED", 1, 1)
    assert empty.runs.spec(back.id) == home.runs.spec(record.id)
    state, damaged = checkpoints.state(empty.runs.folder(back.id))
    assert (checkpoints.step_of(state), damaged) == (2, 0)
    assert (fold(empty.runs.read_events(back.id)[0]).attempt, empty.runs.log(back.id)) == (1, "")
    table = home.runs.spec(record.id).data.table
    frame = empty.tables.frame(table, OWNER)
    assert frame.equals(home.tables.frame(table, OWNER))
    assert list(frame.index) == [2, 4, 5]
    ours, theirs = home.tables.get(table, OWNER), empty.tables.get(table, OWNER)
    assert theirs == replace(ours, origin="")
    assert Supervisor(empty.settings, empty.runs).again(back.id, OWNER).state == "QUEUED"


def test_a_finished_run_comes_back_finished(home: Home, empty: Home) -> None:
    record = home.run()
    home.finish(record)
    home.keep(record)
    back = empty.restore(record.id)
    assert (back.state, back.has_result, back.headline) == ("FINISHED", True, {"accuracy": 0.9})
    report = empty.runs.report(back.id)
    assert (report["metrics"], report["verdict"]["code"]) == (REPORT["metrics"], "unclear")
    assert "more" not in report
    assert (empty.runs.model_folder(back.id) / "model.safetensors").read_bytes() == WEIGHTS


def test_an_id_that_is_taken_is_left_alone(home: Home) -> None:
    record = home.run()
    home.keep(record)
    before = below(home.runs.folder(record.id))
    back = home.restore(record.id)
    assert back.id != record.id
    assert below(home.runs.folder(record.id)) == before
    assert home.runs.spec(back.id) == home.runs.spec(record.id)


def test_nothing_is_kept_where_there_is_no_repository_of_ours(empty: Home, fake_hub: FakeHub) -> None:
    assert returning.kept(empty.settings, TOKEN) == []
    fake_hub.add(REPO, {"README.md": b"# Mine", f"{layout.folder('0' * 32)}run.json": b"{}"}, private=True)
    assert returning.kept(empty.settings, TOKEN) == []
    refused("kept_unknown", empty.restore, "0" * 32)
    refused("token_invalid", returning.kept, empty.settings, "hf_unknown")


def test_what_does_not_fit_is_refused_before_the_first_byte(home: Home, fake_hub: FakeHub, tmp_path: Path) -> None:
    record = home.run()
    home.keep(record)
    small = Home(tmp_path / "small", fake_hub, owner_bytes=1000)
    full = Home(tmp_path / "full", fake_hub, free_disk=2**60)
    fake_hub.requests.clear()
    refused("quota_full", small.restore, record.id)
    refused("disk_full", full.restore, record.id)
    assert fake_hub.asked("GET", "/resolve/") == []


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def compressed(size: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(size))
    return out.getvalue()


def with_spec(spec: dict[str, object], **changes: object) -> bytes:
    return json.dumps(spec | changes).encode()


def parquet_of(text: list[object], row: list[object]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    numbers = pyarrow.array(row, pyarrow.int32()) if isinstance(row[0], int) else pyarrow.array(row)
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": text, " row": numbers}), out)
    return out.getvalue()


HOSTILE: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "a name that leads upwards": lambda kept: {"../../../evil": b"x"},
    "a name with a backslash": lambda kept: {"best\\x": b"x"},
    "a pickle among the best": lambda kept: {"best/step-2/pytorch_model.bin": b"x"},
    "code among the best": lambda kept: {"best/step-2/evil.py": b"x"},
    "a second pickle in the state": lambda kept: {"checkpoints/step-2/evil.pt": b"x"},
    "a file that the manifest lacks": lambda kept: {"best/step-2/vocab.txt": b"x"},
    "a manifest that leads elsewhere": lambda kept: {"best/step-2/manifest.json": b'{"../../run.json": "0"}'},
    "a manifest that is a list": lambda kept: {"best/step-2/manifest.json": b"[1]"},
    "another optimizer": lambda kept: {
        "checkpoints/step-2/optimizer.pt": flipped(kept["checkpoints/step-2/optimizer.pt"])
    },
    "two states": lambda kept: {
        path.replace("step-2", "step-9"): content for path, content in kept.items() if "checkpoints" in path
    },
    "a large record": lambda kept: {"run.json": kept["run.json"] + b" " * 70_000},
    "a record of another run": lambda kept: {
        "run.json": json.dumps(json.loads(kept["run.json"]) | {"id": "0" * 32}).encode()
    },
    "a record with an owner": lambda kept: {
        "run.json": json.dumps(json.loads(kept["run.json"]) | {"owner": "hf:2"}).encode()
    },
    "a result that is not there": lambda kept: {
        "run.json": json.dumps(json.loads(kept["run.json"]) | {"has_result": True}).encode()
    },
    "a record that is no JSON": lambda kept: {"run.json": b"[" * 50_000},
    "a result of a run without one": lambda kept: {"report.json": json.dumps(REPORT).encode()},
    "a task that is none": lambda kept: {"spec.json": with_spec(json.loads(kept["spec.json"]), task="evil")},
    "a starter that is none": lambda kept: {
        "spec.json": with_spec(json.loads(kept["spec.json"]), model={"source": "starter", "name": "../x"})
    },
    "a model in a folder": lambda kept: {
        "spec.json": with_spec(json.loads(kept["spec.json"]), model={"source": "directory", "name": "/etc"})
    },
    "a revision that is a path": lambda kept: {
        "spec.json": with_spec(
            json.loads(kept["spec.json"]), model={"source": "hub", "name": "a/b", "revision": "../../x"}
        )
    },
    "a learning rate out of range": lambda kept: {
        "spec.json": with_spec(json.loads(kept["spec.json"]), learning_rate=1e9)
    },
    "a table that is none": lambda kept: {path: b"PAR1" for path in kept if path.endswith(".parquet")},
    "a table of numbers": lambda kept: {
        path: parquet_of(text=[1, 2], row=[2, 3]) for path in kept if "parquet" in path
    },
    "a table with holes": lambda kept: {
        path: parquet_of(text=["a", None], row=[2, 3]) for path in kept if "parquet" in path
    },
    "a table without the rows' numbers": lambda kept: {
        path: parquet_of(text=["a", "b"], row=["c", "d"]) for path in kept if "parquet" in path
    },
    "facts of a table that are none": lambda kept: {path: b"[]" for path in kept if path.startswith("tables/")},
    "too large a table": lambda kept: {path: bytes(300_000) for path in kept if path.endswith(".parquet")},
}


@pytest.fixture(scope="module")
def kept_once(tmp_path_factory: pytest.TempPathFactory, read_once: Path) -> tuple[RunRecord, dict[str, bytes]]:
    """A run, and the repository in which it is kept."""
    with pytest.MonkeyPatch.context() as patched, fakehub.running() as hub:
        patched.setenv("NO_PROXY", "127.0.0.1,localhost")
        home = Home(shutil.copytree(read_once, tmp_path_factory.mktemp("kept") / "home"), hub)
        record = home.run()
        home.keep(record)
        return record, hub.repo(REPO).files


@pytest.mark.parametrize("hostile", HOSTILE)
def test_of_a_hostile_repository_nothing_stays(
    hostile: str, kept_once: tuple[RunRecord, dict[str, bytes]], tmp_path: Path, fake_hub: FakeHub
) -> None:
    record, there = kept_once
    mine = layout.folder(record.id)
    changed = HOSTILE[hostile]({path.removeprefix(mine): content for path, content in there.items()})
    assert changed
    fake_hub.add(REPO, there | {mine + path: content for path, content in changed.items()}, private=True)
    empty = Home(tmp_path / "empty", fake_hub, file_bytes=250_000)
    refused("kept_damaged", empty.restore, record.id)
    left = {path for path in below(empty.settings.home) if not path.endswith(".lock")}
    assert left == set()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("report.json", b'{"version": 1}'),
        ("report.json", json.dumps(REPORT | {"task": "translation"}).encode()),
        ("report.json", json.dumps(REPORT | {"confusion": [[1] * 9] * 9}).encode()),
        ("model/config.json", b'{"auto_map": {"AutoModel": "evil.py"}}'),
        ("model/config.json", b"[" * 10_000),
        ("model/model.safetensors", struct.pack("<Q", 2**60)),
        ("model/model.safetensors", b""),
    ],
)
def test_a_hostile_result_is_refused(path: str, content: bytes, home: Home, empty: Home, fake_hub: FakeHub) -> None:
    record = home.run()
    home.finish(record)
    target = home.runs.folder(record.id) / path
    if path.startswith("model/"):
        others = {f.name: f.read_bytes() for f in target.parent.iterdir() if f.name != "manifest.json"}

        def write(staged: Path) -> None:
            staged.mkdir()
            for name, usual in (others | {target.name: content}).items():
                (staged / name).write_bytes(usual)

        checkpoints.place(target.parent, write)
    else:
        target.write_bytes(content)
    home.keep(record)
    refused("kept_damaged", empty.restore, record.id)
    assert {file for file in below(empty.settings.home) if not file.endswith(".lock")} == set()


def test_torch_files_that_unfold_are_refused(home: Home, empty: Home) -> None:
    record = home.run()
    folder = home.runs.folder(record.id)

    def write(staged: Path) -> None:
        staged.mkdir()
        (staged / "optimizer.pt").write_bytes(compressed(10**6))

    checkpoints.save_state(folder, 9, write)
    home.keep(record)
    refused("kept_damaged", empty.restore, record.id)


def test_a_table_that_unfolds_is_refused(home: Home, empty: Home, fake_hub: FakeHub) -> None:
    import pyarrow
    from pyarrow import parquet

    record = home.run()
    home.keep(record)
    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 5000, pyarrow.int32()), ["x" * 2**20])
    rows = pyarrow.table({"text": text, " row": pyarrow.array(range(5000), pyarrow.int32())})
    bomb = home.settings.home / "bomb.parquet"
    parquet.write_table(rows, bomb, store_schema=False, dictionary_pagesize_limit=2**22)
    assert bomb.stat().st_size < 2**21
    repo = fake_hub.repo(REPO)
    table = next(path for path in repo.files if path.endswith(".parquet"))
    repo.commit(repo.files | {table: bomb.read_bytes()})
    refused("kept_damaged", empty.restore, record.id)
    assert not list((empty.settings.home / "tables").rglob("*.parquet"))


def test_a_disk_that_fills_up_at_the_end_leaves_nothing(
    home: Home, empty: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    record = home.run()
    home.keep(record)
    monkeypatch.setattr(arriving, "_add", full)
    refused("disk_full", empty.restore, record.id)
    assert {path for path in below(empty.settings.home) if not path.endswith(".lock")} == set()


def test_a_broken_download_leaves_nothing(home: Home, empty: Home, fake_hub: FakeHub) -> None:
    record = home.run()
    home.keep(record)
    fault(fake_hub, lambda request: Response(b"x") if "/lfs/" in request.url.path else None)
    refused("download_failed", empty.restore, record.id)
    assert {path for path in below(empty.settings.home) if not path.endswith(".lock")} == set()


# -- the one that counts


@pytest.mark.real
@pytest.mark.parametrize("method", ["full", "lora", "few"])
def test_brought_back_elsewhere_it_ends_with_the_very_weights(
    method: str, tmp_path: Path, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the middle, kept, forgotten by the machine, brought back with its table and its base model."""
    from core.models import fetching
    from core.quiet import quiet_libraries
    from core.training.loop import InterruptedRunError
    from tests.ways import DEVICE, LANGUAGES, MODELS, House, Way

    quiet_libraries()
    monkeypatch.setattr("core.training.run.detect", lambda: DEVICE)
    family, task = ("t5", "translation") if method == "lora" else ("bert", "classification")
    fake_hub.add("team/base", below(MODELS[family](tmp_path / "base", family)))

    def house(name: str) -> House:
        made = House(tmp_path / name, seconds_between_saves=0.0)
        limits = replace(made.settings.limits, free_disk=0)
        made.settings = replace(made.settings, hub_endpoint=fake_hub.url, limits=limits)
        return made

    first, second = house("first"), house("second")
    model = fetching.look_up("team/base", first.settings)
    fetching.fetch(model, first.settings, None, "local")
    choice = ModelChoice(source="hub", name="team/base", revision=model.revision)
    way = Way(task, family, method, LANGUAGES if task == "translation" else {})
    spec = first.spec(way, tmp_path, rows=60, learning_rate=1e-2).model_copy(update={"model": choice})
    undisturbed, folder = first.train(spec)

    first.events.clear()
    record = first.runs.create(spec, "local", "rows")
    writer = EventWriter(first.runs.folder(record.id), 1)
    asked = [0]

    def third_time() -> bool:
        asked[0] += first.in_phase("training")
        return asked[0] > 5

    first.interrupted = third_time
    with pytest.raises(InterruptedRunError):
        first.go_on(spec, first.runs.folder(record.id))
    for event in first.events:
        writer.write(event)
    step = first.runs.kept_step(record.id)
    assert step > 0
    assert sending.keep(first.settings, record.id, "local", TOKEN).step == step
    fake_hub.repo("team/base").commit(fake_hub.repo("team/base").files | {"README.md": b"# Changed since"})

    back = returning.restore(second.settings, second.runs, "local", TOKEN, record.id)
    assert (back.id, back.state) == (record.id, "INTERRUPTED")
    other = second.runs.folder(back.id)
    report = second.go_on(second.runs.spec(back.id), other)
    assert (fold(second.events).resumed, fold(second.events).steps > step) == (step, True)
    assert files.sha256(other / "model" / "model.safetensors") == files.sha256(folder / "model" / "model.safetensors")
    assert (report["metrics"], report["best_epoch"]) == (undisturbed["metrics"], undisturbed["best_epoch"])
