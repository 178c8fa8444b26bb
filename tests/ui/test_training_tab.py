"""The Training tab: one click is one run, everything is shown from the first event, and only to its owner."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from core import events
from core.errors import UserError
from core.runs.store import EventWriter, RunRecord, State
from core.spec import ModelChoice
from tests.ui.conftest import going_on
from ui import choices, readiness
from ui.page import House, Visit
from ui.tabs import training
from ui.text import Text

Write = Callable[..., Path]


def test_start_makes_a_run_of_what_was_chosen(ready: Visit) -> None:
    ready.change(knobs={"epochs": 2, "learning_rate": 5e-5, "test_fraction": 0.2})
    shown = training.start(ready)
    record = ready.house.runs.list("local")[0]
    spec = ready.house.runs.spec(record.id)
    assert (spec.epochs, spec.learning_rate, spec.test_fraction) == (2, 5e-5, 0.2)
    assert spec.data.columns == {"text": "text", "label": "label"}
    assert ready.draft.run == record.id
    assert shown["start"].value == ready.text("training.start_waiting")
    assert shown["stop"].visible
    assert shown["timer"].active


def test_a_double_click_is_one_run_and_other_settings_are_another(ready: Visit) -> None:
    clicks = [Thread(target=training.start, args=(ready,)) for _ in range(4)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert len(ready.house.runs.list("local")) == 1
    ready.change(knobs={"epochs": 2})
    training.start(ready)
    assert len(ready.house.runs.list("local")) == 2


def test_without_data_nothing_starts(visit: Visit) -> None:
    with pytest.raises(UserError, match="nothing_to_train_on"):
        training.start(visit)
    assert not training.view(visit)["start"].interactive
    assert readiness.target(visit, "training") == "data"


def test_a_model_that_is_too_large_is_refused_with_the_figures(ready: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.models.sizing.available_memory", lambda: 2**20)
    with pytest.raises(UserError, match="too_large_for_memory"):
        training.start(ready)
    assert choices.model(ready).usable is False


def test_a_knob_out_of_range_is_refused(ready: Visit) -> None:
    ready.change(knobs={"epochs": 500})
    with pytest.raises(UserError, match="knob_out_of_range"):
        training.start(ready)


def test_progress_is_shown_from_the_first_event_and_goes_on(ready: Visit) -> None:
    record = going_on(ready)
    shown = training.poll(ready)
    assert "about 2 minutes left" in shown["status"]
    assert "2 / 10" in shown["status"]
    assert len(shown["losses"].value["data"]) == 4  # two steps, and one empty row for each series
    EventWriter(ready.house.runs.folder(record.id), 1).write(
        events.Evaluated(step=2, epoch=0.2, loss=1.5, metric="macro_f1", value=0.4, best=True)
    )
    later = training.poll(ready)
    assert "a score of 40 out of 100" in later["status"]
    assert later["timer"].active


def test_a_new_attempt_begins_anew(ready: Visit) -> None:
    record = going_on(ready)
    training.poll(ready)
    EventWriter(ready.house.runs.folder(record.id), 2).write(events.Started(device={"kind": "cpu"}))
    assert ready.house.watch.progress(record.id).losses == []


def test_a_failure_is_told_in_the_page_language(ready: Visit) -> None:
    record = going_on(ready)
    error = {"code": "out_of_memory", "facts": {"batch_size": 64, "smaller": 32}}
    ready.house.runs.transition(record.id, ("RUNNING",), "FAILED", 1, error=error)
    shown = training.poll(ready)
    assert "batches of 64" in shown["status"]
    assert not shown["timer"].active
    assert shown["start"].visible


def test_stop_asks_the_worker_and_says_so(ready: Visit) -> None:
    record = going_on(ready)
    shown = training.stop(ready)
    assert ready.house.runs.stop_requested(record.id)
    assert ready.house.runs.get(record.id).state == "STOPPING"
    assert not shown["stop"].interactive


def test_an_interrupted_run_can_go_on(ready: Visit) -> None:
    record = going_on(ready)
    assert not training.poll(ready)["again"].visible
    ready.house.runs.transition(record.id, ("RUNNING",), "INTERRUPTED", 1)
    assert training.poll(ready)["again"].value == ready.text("training.again")
    (ready.house.runs.folder(record.id) / "checkpoints" / "step-1200").mkdir(parents=True)
    assert training.poll(ready)["again"].value == "Go on from step 1,200"
    training.again(ready)
    assert ready.house.runs.get(record.id).state == "QUEUED"


@pytest.mark.parametrize("state", ["STOPPED", "FAILED"])
def test_what_was_stopped_or_failed_goes_on_only_from_a_saved_state(ready: Visit, state: State) -> None:
    record = going_on(ready)
    ready.house.runs.transition(record.id, ("RUNNING",), state, 1)
    assert not training.poll(ready)["again"].visible
    with pytest.raises(UserError, match="run_not_resumable"):
        training.again(ready)
    (ready.house.runs.folder(record.id) / "checkpoints" / "step-3").mkdir(parents=True)
    training.again(ready)
    assert ready.house.runs.get(record.id).state == "QUEUED"


def test_runs_in_the_line_say_their_place_and_can_change_it(ready: Visit) -> None:
    first = going_on(ready)
    waiting = []
    for epochs in (6, 7, 8):
        ready.change(knobs={"epochs": epochs})
        training.start(ready)
        waiting.append(ready.draft.run)
    shown = training.poll(ready)
    assert "number 3 in the line" in shown["status"]
    assert (shown["timer"].active, shown["timer"].value) == (True, training.WAITING_POLL_SECONDS)
    assert shown["stop"].value == ready.text("training.cancel")
    assert (shown["earlier"].visible, shown["later"].visible) == (True, False)
    shown = training.earlier(ready)
    assert "number 2 in the line" in shown["status"]
    assert (shown["earlier"].visible, shown["later"].visible) == (True, True)
    training.stop(ready)
    assert ready.house.runs.get(waiting[2]).state == "STOPPED"
    assert ready.house.runs.get(first.id).state == "RUNNING"
    training.open_run(ready, waiting[1])
    assert "number 2 in the line" in training.later(ready)["status"]


def test_a_line_tells_when_it_is_ones_turn(ready: Visit) -> None:
    running = going_on(ready)
    writer = EventWriter(ready.house.runs.folder(running.id), 1)
    writer.write(events.Step(step=1, epoch=0, loss=1, learning_rate=0.1, rows_per_second=9, seconds_left=600))
    ready.change(knobs={"epochs": 7})
    assert "probably in 10 minutes" in training.start(ready)["status"]


def test_a_result_is_taught_further_with_the_same_settings(visit: Visit, finished: Callable[..., RunRecord]) -> None:
    before = finished()
    assert training.open_run(visit, before.id)["further"].visible
    training.further(visit)
    training.further(visit)
    after = visit.house.runs.list("local")
    assert len(after) == 2
    spec = visit.house.runs.spec(after[0].id)
    assert (spec.model.source, spec.model.name) == ("run", before.id)
    assert spec.model_copy(update={"model": ModelChoice()}) == visit.house.runs.spec(before.id)


def test_who_was_stopped_by_the_clock_is_told(ready: Visit) -> None:
    record = going_on(ready)
    ready.house.runs.request_stop(record.id, "time")
    ready.house.runs.transition(record.id, ("STOPPING",), "STOPPED", 1, has_result=True)
    assert "time for a training on this page was over" in training.poll(ready)["status"]


def test_runs_are_listed_and_opened(visit: Visit, finished: Callable[..., RunRecord]) -> None:
    first, second = finished(), finished()
    listed = training.view(visit)["runs"]
    assert {value for _, value in listed.choices} == {first.id, second.id}
    assert "87 % right" in listed.choices[0][0]
    training.open_run(visit, first.id)
    assert visit.draft.run == first.id


def test_a_stranger_gets_what_an_unknown_run_gets(
    visit: Visit, stranger: Visit, finished: Callable[..., RunRecord]
) -> None:
    mine = finished()
    with pytest.raises(UserError, match="run_unknown"):
        training.open_run(stranger, mine.id)
    stranger.change(run=mine.id)
    assert readiness.shown_run(stranger) is None
    assert training.view(stranger)["runs"].choices == []
    assert visit.house.runs.get(mine.id)


def test_the_log_is_the_workers(ready: Visit) -> None:
    record = going_on(ready)
    assert training.read_log(ready)["log"] == ready.text("training.log_empty")
    (ready.house.runs.folder(record.id) / "worker.log").write_text("hello\n")
    assert training.read_log(ready)["log"] == "hello"


def test_who_shares_the_disk_with_strangers_has_a_part_of_it(house: House, tmp_path: Path) -> None:
    limits = replace(house.settings.limits, owner_bytes=10)
    shared = replace(house, settings=replace(house.settings, place="space", limits=limits))
    visit = Visit(shared, Text("en"), "hf:somebody")
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"some words {i},{'ab'[i % 2]}\n" for i in range(40)))
    house.tables.add(tmp_path / "rows.csv", visit.owner, "rows.csv")
    with pytest.raises(UserError, match="quota_full"):
        training.start(visit)
