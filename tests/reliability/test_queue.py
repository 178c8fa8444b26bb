"""Whose turn it is, and that the machine of states and turns never loses or doubles a run."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.errors import UserError
from core.runs import queue
from core.runs.store import ACTIVE, NEXT, RunRecord, RunStore, StaleTransitionError
from core.runs.supervisor import Supervisor
from core.settings import Limits, Settings
from core.spec import DataChoice, build

SPEC = build(data=DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}))


def record(name, owner, place, **more):
    usual = {"state": "QUEUED", "attempt": 0, "created": float(place), "changed": 0.0}
    return RunRecord(id=name, owner=owner, place=place, **(usual | more))


def names(records):
    return [r.id for r in queue.order(records)]


def test_owners_take_turns():
    waiting = [record("a1", "A", 1), record("a2", "A", 2), record("a3", "A", 3), record("b1", "B", 4)]
    assert names(waiting) == ["a1", "b1", "a2", "a3"]


def test_who_had_a_turn_waits_for_who_had_none():
    ran = record("a0", "A", 1, state="FINISHED", turn=1)
    assert names([ran, record("a1", "A", 2), record("b1", "B", 3), record("b2", "B", 4)]) == ["b1", "a1", "b2"]
    again = record("b0", "B", 5, state="RUNNING", turn=2)
    assert names([ran, again, record("a1", "A", 2), record("b1", "B", 3)]) == ["a1", "b1"]


def test_what_was_interrupted_goes_on_before_those_that_wait():
    back = record("b1", "B", 9, returning=True, turn=5)
    assert names([record("a1", "A", 1), back, record("b2", "B", 10)]) == ["b1", "a1", "b2"]


def test_the_expected_start_counts_what_is_running_and_what_waits_before():
    done = [
        record(f"d{i}", "C", i, state="FINISHED", has_result=True, seconds=s, turn=i)
        for i, s in enumerate((60.0, 100.0, 900.0), 1)
    ]
    waiting = [record("a1", "A", 8), record("b1", "B", 9)]
    running = record("r", "C", 7, state="RUNNING", turn=4)
    assert queue.seconds_until_start([*done, running, *waiting], "a1", 30.0) == 30.0
    assert queue.seconds_until_start([*done, running, *waiting], "b1", 30.0) == 130.0
    assert queue.seconds_until_start([*done, running, *waiting], "a1", None) == 100.0
    assert queue.seconds_until_start([*done, *waiting], "a1", None) == 0.0
    assert queue.seconds_until_start([running, *waiting], "b1", 30.0) is None
    assert queue.seconds_until_start([running, *waiting], "a1", None) is None
    assert queue.seconds_until_start([running], "r", 30.0) is None


@pytest.fixture
def place(tmp_path):
    """(runs, supervisor that is not started) where an owner may have three runs and all together five."""
    runs = RunStore(tmp_path)
    return runs, Supervisor(Settings(home=tmp_path, limits=Limits(owner_runs=3, queued_runs=5)), runs)


def test_an_owner_and_the_place_have_their_limits(place):
    runs, supervisor = place
    mine = [supervisor.submit(SPEC, "A") for _ in range(3)]
    with pytest.raises(UserError, match="queue_owner_full"):
        supervisor.submit(SPEC, "A")
    for _ in range(2):
        supervisor.submit(SPEC, "B")
    with pytest.raises(UserError, match="queue_full"):
        supervisor.submit(SPEC, "C")
    runs.request_stop(mine[0].id)
    supervisor.submit(SPEC, "C")
    (runs.folder(mine[0].id) / "checkpoints" / "step-1").mkdir(parents=True)
    with pytest.raises(UserError, match="queue_full"):
        supervisor.again(mine[0].id, "A")


def test_a_place_is_changed_with_the_owners_own_run_alone(place):
    runs, supervisor = place
    a1, a2, b1 = (supervisor.submit(SPEC, owner) for owner in ("A", "A", "B"))
    supervisor.move(a2.id, "A", earlier=True)
    assert names(runs.list()) == [a2.id, b1.id, a1.id]
    supervisor.move(b1.id, "B", earlier=True)
    supervisor.move(a2.id, "A", earlier=True)
    assert names(runs.list()) == [a2.id, b1.id, a1.id]
    with pytest.raises(UserError, match="run_unknown"):
        supervisor.move(a1.id, "B", earlier=True)


def test_the_line_is_the_same_after_a_restart(place):
    runs, supervisor = place
    for owner in ("A", "A", "B"):
        supervisor.submit(SPEC, owner)
    before = names(runs.list())
    assert names(RunStore(runs.root.parent).list()) == before


OWNERS = ("A", "B", "C")


class House(RuleBasedStateMachine):
    """People submit, stop, go on and move; workers begin, end, crash; the app restarts: in any order.

    Workers are played: a state is changed as a worker changes it, through the one function that changes states.
    """

    @initialize()
    def open(self):
        self.home = Path(tempfile.mkdtemp(prefix="house-"))
        self.made: list[str] = []
        self.restart()

    def restart(self):
        self.runs = RunStore(self.home)
        self.supervisor = Supervisor(Settings(home=self.home, limits=Limits(owner_runs=3, queued_runs=6)), self.runs)

    def one(self, data, *states):
        """One of those, told by its place in the order of creation: ids are drawn anew each time."""
        found = sorted((r for r in self.runs.list() if r.state in states), key=lambda r: self.made.index(r.id))
        return found[data.draw(st.integers(0, len(found) - 1))] if found else None

    @rule(owner=st.sampled_from(OWNERS))
    def submit(self, owner):
        going_on = [r for r in self.runs.list() if r.state in (*ACTIVE, "QUEUED")]
        if len(going_on) >= 6 or sum(r.owner == owner for r in going_on) >= 3:
            with pytest.raises(UserError, match="queue_"):
                self.supervisor.submit(SPEC, owner)
        else:
            made = self.supervisor.submit(SPEC, owner)
            assert made.state == "QUEUED"
            self.made.append(made.id)

    @rule()
    def begin(self):
        """What the supervisor's look does when nothing works, but for the process."""
        waiting = queue.order(self.runs.list())
        if waiting and not any(r.state in ACTIVE for r in self.runs.list()):
            turn = 1 + max(r.turn for r in self.runs.list())
            self.runs.transition(waiting[0].id, ("QUEUED",), "STARTING", waiting[0].attempt, turn=turn, returning=False)

    @rule(data=st.data())
    def work(self, data):
        if record := self.one(data, "STARTING"):
            self.runs.transition(record.id, ("STARTING",), "RUNNING", record.attempt)

    @rule(data=st.data(), step=st.integers(1, 9))
    def save(self, data, step):
        if record := self.one(data, "RUNNING"):
            (self.runs.folder(record.id) / "checkpoints" / f"step-{step}").mkdir(parents=True, exist_ok=True)

    @rule(data=st.data(), end=st.sampled_from(("FINISHED", "FAILED")))
    def end(self, data, end):
        if record := self.one(data, "RUNNING", "STOPPING"):
            stopping = record.state == "STOPPING" and end == "FINISHED"
            self.runs.transition(record.id, ACTIVE, "STOPPED" if stopping else end, record.attempt)

    @rule(data=st.data())
    def crash(self, data):
        if record := self.one(data, *ACTIVE):
            self.supervisor._settle(record.id, record.attempt)
            after = self.runs.get(record.id)
            assert after.state == ("QUEUED" if after.returning else "INTERRUPTED")
            assert after.returning == (after.crashes <= 2)

    @rule(data=st.data())
    def ask_to_stop(self, data):
        if record := self.one(data, *NEXT):
            self.runs.request_stop(record.id)
            assert self.runs.get(record.id).state not in ("QUEUED", "STARTING", "RUNNING")

    @rule(data=st.data())
    def go_on(self, data):
        if record := self.one(data, "INTERRUPTED", "STOPPED", "FAILED"):
            if self.runs.can_go_on(record):
                with contextlib.suppress(UserError):  # the line may be full
                    assert self.supervisor.again(record.id, record.owner).state == "QUEUED"
            else:
                with pytest.raises(UserError, match="run_not_resumable"):
                    self.supervisor.again(record.id, record.owner)

    @rule(data=st.data(), earlier=st.booleans())
    def move(self, data, earlier):
        if record := self.one(data, "QUEUED"):
            before = {r.id for r in queue.order(self.runs.list())}
            self.supervisor.move(record.id, record.owner, earlier=earlier)
            assert {r.id for r in queue.order(self.runs.list())} == before

    @rule()
    def restart_the_app(self):
        before = self.runs.list()
        self.restart()
        assert self.runs.list() == before

    @precondition(lambda self: self.runs.list())
    @rule(data=st.data())
    def an_older_worker_changes_nothing(self, data):
        record = self.one(data, *NEXT)
        for state in NEXT:
            with pytest.raises(StaleTransitionError):
                self.runs.transition(record.id, tuple(NEXT), state, record.attempt - 1)

    @invariant()
    def nothing_is_lost_or_doubled(self):
        if not hasattr(self, "runs"):
            return
        records = self.runs.list()
        assert sum(r.state in ACTIVE for r in records) <= 1
        waiting = queue.order(records)
        assert {r.id for r in waiting} == {r.id for r in records if r.state == "QUEUED"}
        assert len({r.id for r in waiting}) == len(waiting)
        turns = [r.turn for r in records if r.turn]
        assert len(turns) == len(set(turns))

    @invariant()
    def nobody_new_waits_for_two_runs_of_another(self):
        if not hasattr(self, "runs"):
            return
        records = self.runs.list()
        owners = [r.owner for r in queue.order(records) if not r.returning]
        served = {r.owner for r in records if r.turn}
        for owner in set(owners) - served:
            before = owners[: owners.index(owner)]
            assert len(before) == len(set(before))

    def teardown(self):
        if hasattr(self, "home"):
            shutil.rmtree(self.home)


TestHouse = House.TestCase
TestHouse.settings = settings(
    max_examples=int(os.environ.get("SOAK_EXAMPLES", 25)),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
