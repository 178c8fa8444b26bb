"""What becomes of runs when workers, the app or both are gone. Workers are real processes, but played: none learns."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core import processes
from core.runs import supervisor as supervising
from core.runs.store import RunStore
from core.runs.supervisor import Supervisor
from core.settings import Limits, Settings
from core.spec import DataChoice, build

SPEC = build(data=DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}))
ROOT = processes.ROOT


@pytest.fixture
def played(monkeypatch):
    """Workers are played; the list of those that were started."""
    started = []

    def spawn(settings, module, arguments, **given):
        assert module == "core.runs.worker"
        assert given["computes"]
        started.append(processes.spawn(settings, "tests.reliability.played", arguments, **given))
        return started[-1]

    monkeypatch.setattr(supervising, "spawn", spawn)
    yield started
    for child in started:
        child.kill()
        child.wait()


@pytest.fixture
def place(tmp_path, played):
    """(settings, runs, function that opens a supervisor); all are closed afterwards."""
    settings, opened = Settings(home=tmp_path / "home"), []
    runs = RunStore(settings.home)

    def supervisor(**limits):
        changed = replace(settings, limits=Limits(**limits))
        opened.append(Supervisor(changed, runs, seconds=0.02))
        return opened[-1]

    yield settings, runs, supervisor
    for one in opened:
        one.close()


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
    return found


def ended(runs, run_id):
    record = runs.get(run_id)
    going_on = record.returning or record.state in ("QUEUED", "STARTING", "RUNNING", "STOPPING")
    return None if going_on else record


def test_a_worker_that_dies_again_and_again_is_started_three_times_in_all(place, played):
    _, runs, supervisor = place
    house = supervisor()
    house.start()
    record = house.submit(SPEC, "local", "die")
    record = until(lambda: ended(runs, record.id))
    assert (record.state, record.attempt, record.crashes, record.returning) == ("INTERRUPTED", 3, 3, False)
    time.sleep(0.2)
    assert len(played) == 3
    house.again(record.id, "local")
    assert until(lambda: ended(runs, record.id)).attempt == 6


def test_a_worker_that_gets_further_each_time_is_started_again_each_time(place, played):
    _, runs, supervisor = place
    house = supervisor()
    house.start()
    record = house.submit(SPEC, "local", "die after saving")
    until(lambda: runs.get(record.id).attempt >= 6)
    runs.annotate(record.id, name="finish")
    assert until(lambda: ended(runs, record.id)).state == "FINISHED"


def test_a_killed_worker_is_noticed_and_goes_on_within_ten_seconds_before_those_that_wait(place, played):
    _, runs, supervisor = place
    house = supervisor()
    house.start()
    first = house.submit(SPEC, "A", "last")
    until(lambda: runs.get(first.id).state == "RUNNING")
    second = house.submit(SPEC, "B", "finish")
    begin = time.monotonic()
    played[0].kill()
    until(lambda: runs.get(first.id).attempt == 2 and runs.get(first.id).state == "RUNNING")
    assert time.monotonic() - begin < 10
    assert runs.get(second.id).state == "QUEUED"
    runs.request_stop(first.id)
    assert until(lambda: ended(runs, first.id)).state == "STOPPED"
    assert until(lambda: ended(runs, second.id)).state == "FINISHED"


def test_a_stop_that_was_asked_for_before_the_worker_died_is_kept(place, played):
    _, runs, supervisor = place
    house = supervisor()
    house.start()
    record = house.submit(SPEC, "local", "last")
    until(lambda: runs.read_events(record.id)[0])
    os.kill(played[0].pid, signal.SIGSTOP)  # it cannot hear
    runs.request_stop(record.id)
    played[0].kill()
    assert until(lambda: ended(runs, record.id)).state == "STOPPED"


def test_an_app_that_ends_in_order_has_its_run_go_on_when_it_comes_back(place, played):
    _, runs, supervisor = place
    house = supervisor()
    house.start()
    record = house.submit(SPEC, "local", "last")
    later = house.submit(SPEC, "local", "finish")
    until(lambda: runs.get(record.id).state == "RUNNING")
    begin = time.monotonic()
    house.close()
    assert time.monotonic() - begin < 8
    assert (runs.get(record.id).state, runs.get(record.id).returning) == ("INTERRUPTED", True)
    assert played[0].poll() is not None
    again = supervisor()
    again.start()
    until(lambda: runs.get(record.id).state == "RUNNING")
    assert (runs.get(record.id).attempt, runs.get(record.id).crashes) == (2, 0)
    assert runs.get(later.id).state == "QUEUED"
    runs.request_stop(record.id)
    assert until(lambda: ended(runs, later.id)).state == "FINISHED"


APP = """
import sys, time
from core import processes, settings
from core.runs import supervisor
from core.runs.store import RunStore
from core.spec import TrainSpec
honest = processes.spawn
def spawn(place, module, arguments, **given):
    child = honest(place, "tests.reliability.played", arguments, **given)
    print(child.pid, flush=True)
    return child
supervisor.spawn = spawn
place = settings.from_environment()
house = supervisor.Supervisor(place, RunStore(place.home), seconds=0.02)
house.start()
time.sleep(600)
"""


def app(settings):
    """A process with a supervisor of its own, and the process id of the worker that it starts."""
    environment = os.environ | {"TUNING_FORK_HOME": str(settings.home), "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", APP], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return child, int(child.stdout.readline())


@pytest.mark.parametrize("worker_too", [False, True], ids=["app", "app and worker"])
def test_after_a_kill_the_run_is_taken_up_and_no_process_is_left_or_doubled(place, worker_too):
    settings, runs, supervisor = place
    record = runs.create(SPEC, "local", "last")
    queued = runs.create(SPEC, "local", "finish")
    child, worker = app(settings)
    try:
        until(lambda: runs.get(record.id).state == "RUNNING")
        child.kill()
        child.wait()
        if worker_too:
            os.kill(worker, signal.SIGKILL)
            until(lambda: not runs.alive(record.id))
        else:
            assert runs.alive(record.id)
        house = supervisor()
        house.start()
        until(lambda: runs.get(record.id).attempt == 1 + worker_too and runs.get(record.id).state == "RUNNING")
        time.sleep(0.3)
        assert runs.get(record.id).attempt == 1 + worker_too
        assert runs.get(queued.id).state == "QUEUED"
        runs.request_stop(record.id)
        assert until(lambda: ended(runs, record.id)).state == "STOPPED"
        assert until(lambda: ended(runs, queued.id)).state == "FINISHED"
        until(lambda: not Path(f"/proc/{worker}").exists() or _is_zombie(worker))
    finally:
        child.stdout.close()
        child.kill()
        child.wait()


def _is_zombie(process_id):
    """Ended, but nobody has asked how: its parent is gone and the container's first process does not ask."""
    return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_after_its_time_a_run_is_stopped_and_says_so(place, played):
    _, runs, supervisor = place
    house = supervisor(run_seconds=0.5)
    house.start()
    record = house.submit(SPEC, "local", "last")
    record = until(lambda: ended(runs, record.id))
    assert (record.state, record.ended_by) == ("STOPPED", "time")


def test_a_run_that_was_taken_up_again_has_no_more_time_than_others(place, played):
    _, runs, supervisor = place
    first = supervisor()
    first.start()
    record = first.submit(SPEC, "local", "last")
    until(lambda: runs.get(record.id).state == "RUNNING")
    first._children.clear()  # as if that process were gone
    first.close()
    supervisor(run_seconds=0.5).start()
    record = until(lambda: ended(runs, record.id))
    assert (record.state, record.ended_by, len(played)) == ("STOPPED", "time", 1)


def test_a_worker_that_the_system_killed_for_memory_is_started_with_smaller_parts(place, played, monkeypatch):
    _, runs, supervisor = place
    kills = iter([0, *[1] * 10_000])
    monkeypatch.setattr(supervising, "memory_kills", lambda: next(kills))
    house = supervisor()
    house.start()
    record = house.submit(SPEC, "local", "die")
    record = until(lambda: ended(runs, record.id))
    assert (record.state, record.parts) == ("INTERRUPTED", 2)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_changes_nothing(place, played, monkeypatch, jump):
    _, runs, supervisor = place
    house = supervisor(run_seconds=3600)
    house.start()
    record = house.submit(SPEC, "local", "last")
    until(lambda: runs.get(record.id).state == "RUNNING")
    before, honest = runs.get(record.id), time.time
    monkeypatch.setattr(time, "time", lambda: honest() + jump)
    other = house.submit(SPEC, "local", "finish")
    time.sleep(0.3)
    assert runs.get(record.id) == before
    assert runs.get(other.id).state == "QUEUED"
    runs.request_stop(record.id)
    assert until(lambda: ended(runs, other.id)).state == "FINISHED"


def test_a_damaged_run_does_not_stop_the_others(place, played):
    _, runs, supervisor = place
    broken = runs.create(SPEC, "local", "finish")
    (runs.folder(broken.id) / "run.json").write_text("{")
    house = supervisor()
    house.start()
    record = house.submit(SPEC, "local", "finish")
    assert until(lambda: ended(runs, record.id)).state == "FINISHED"
