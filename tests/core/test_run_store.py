import contextlib
import errno
import json
import threading
from pathlib import Path

import pytest

from core import events, files
from core.errors import UserError
from core.runs.progress import fold
from core.runs.store import NEXT, EventWriter, RunStore, StaleTransitionError
from core.spec import DataChoice, build

SPEC = build(data=DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}))


@pytest.fixture
def runs(tmp_path):
    return RunStore(tmp_path)


def test_a_new_run_is_queued_and_found_again(runs):
    record = runs.create(SPEC, "local", "mine")
    assert runs.get(record.id) == record
    assert (record.state, record.attempt, record.name) == ("QUEUED", 0, "mine")
    assert runs.spec(record.id) == SPEC
    assert runs.find(record.id[:8]) == record


@pytest.mark.parametrize("run_id", ["", "..", "../../etc", "0" * 32, "a" * 31, "x\0", "/etc/passwd"])
def test_what_is_no_run_is_unknown(runs, run_id):
    with pytest.raises(UserError, match="run_unknown"):
        runs.get(run_id)


@pytest.mark.parametrize("reason", ["time", ""])
def test_why_a_run_was_stopped_is_known_where_its_worker_was_quicker(reason, runs, monkeypatch):
    record = runs.create(SPEC, "local")
    runs.transition(record.id, ("QUEUED",), "STARTING", 0)
    real = runs.transition

    def quicker(run_id, known, state, attempt, **more):
        if state == "STOPPING":
            real(run_id, ("STARTING",), "STOPPED", attempt)
        return real(run_id, known, state, attempt, **more)

    monkeypatch.setattr(runs, "transition", quicker)
    runs.request_stop(record.id, reason)
    found = runs.get(record.id)
    assert (found.state, found.ended_by) == ("STOPPED", reason)


def test_another_owners_run_answers_as_an_unknown_one(runs):
    record = runs.create(SPEC, "hf:1")
    with pytest.raises(UserError) as foreign:
        runs.get(record.id, "hf:2")
    with pytest.raises(UserError) as unknown:
        runs.get("0" * 32, "hf:2")
    assert foreign.value.code == unknown.value.code == "run_unknown"
    assert runs.list("hf:2") == []


def test_only_the_arrows_of_the_state_machine_can_be_taken(runs):
    for state, allowed in NEXT.items():
        for target in NEXT:
            record = runs.create(SPEC, "local")
            path = runs.folder(record.id) / "run.json"
            files.write_json(path, files.read_json(path) | {"state": state})
            if target in allowed:
                assert runs.transition(record.id, (state,), target, 0).state == target
            else:
                with pytest.raises(StaleTransitionError):
                    runs.transition(record.id, (state,), target, 0)


def test_an_older_attempt_changes_nothing(runs):
    record = runs.create(SPEC, "local")
    assert runs.transition(record.id, ("QUEUED",), "STARTING", 0).attempt == 1
    with pytest.raises(StaleTransitionError):
        runs.transition(record.id, ("STARTING",), "RUNNING", 0)


def test_of_many_that_want_to_start_a_run_one_does(runs):
    record = runs.create(SPEC, "local")
    won = []

    def start():
        with contextlib.suppress(StaleTransitionError):
            won.append(runs.transition(record.id, ("QUEUED",), "STARTING", 0))

    threads = [threading.Thread(target=start) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_stopping_a_queued_run_ends_it_and_a_running_one_is_asked(runs):
    queued, running = runs.create(SPEC, "local"), runs.create(SPEC, "local")
    runs.transition(running.id, ("QUEUED",), "STARTING", 0)
    runs.request_stop(queued.id)
    runs.request_stop(running.id)
    assert runs.get(queued.id).state == "STOPPED"
    assert runs.get(running.id).state == "STOPPING"
    assert runs.stop_requested(running.id)
    assert not runs.stop_requested(queued.id)


def test_a_held_lock_means_alive(runs):
    record = runs.create(SPEC, "local")
    assert not runs.alive(record.id)
    with runs.hold(record.id):
        assert runs.alive(record.id)
    assert not runs.alive(record.id)


def test_events_are_read_from_where_one_left_off_and_a_torn_line_waits(runs):
    record = runs.create(SPEC, "local")
    path = runs.folder(record.id) / "events.jsonl"
    writer = EventWriter(runs.folder(record.id), 1)
    writer.write(events.Phase(name="data"))
    first, offset = runs.read_events(record.id)
    with path.open("ab") as file:
        file.write(b'{"kind":"phase","na')
    torn, same = runs.read_events(record.id, offset)
    assert [e.name for e in first] == ["data"]
    assert (torn, same) == ([], offset)
    EventWriter(runs.folder(record.id), 1).write(events.Phase(name="training"))
    later, _ = runs.read_events(record.id, offset)
    assert [e.name for e in later] == ["training"]


def test_events_of_an_older_attempt_that_come_late_are_dropped(runs):
    record = runs.create(SPEC, "local")
    older, newer = (EventWriter(runs.folder(record.id), attempt) for attempt in (1, 2))
    older.write(events.Phase(name="old"))
    newer.write(events.Started(device={}))
    newer.write(events.Phase(name="new"))
    older.write(events.Phase(name="old"))
    found, _ = runs.read_events(record.id)
    assert fold(found).phase == "new"


def test_an_active_run_cannot_be_deleted_and_an_ended_one_is_gone(runs):
    record = runs.create(SPEC, "local")
    with pytest.raises(UserError, match="run_still_active"):
        runs.delete(record.id)
    runs.request_stop(record.id)
    runs.delete(record.id)
    assert runs.list() == []


def test_a_full_disk_leaves_no_half_run(runs, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="disk_full"):
        runs.create(SPEC, "local")
    monkeypatch.undo()
    assert list(runs.root.iterdir()) == []


def test_a_file_is_whole_or_as_before(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})

    def broken(*args):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="input/output"):
        files.write_json(path, {"a": 2})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(Path(tmp_path).iterdir()) == [path]


def test_on_a_full_disk_a_run_still_says_that_it_ended(runs, monkeypatch):
    record = runs.create(SPEC, "local")
    runs.transition(record.id, ("QUEUED",), "STARTING", 0)
    reserve, honest = runs.folder(record.id) / "reserve", files.write_json
    assert reserve.stat().st_size == 65_536

    def full(path, content):
        if reserve.exists():
            raise UserError("disk_full")
        honest(path, content)

    monkeypatch.setattr(files, "write_json", full)
    runs.transition(record.id, ("STARTING",), "FAILED", 1, error={"code": "disk_full", "facts": {}})
    assert runs.get(record.id).state == "FAILED"
