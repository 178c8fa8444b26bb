"""What windows are told that look how a training goes on."""

import re
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from core import events
from core.runs.store import EventWriter
from tests.ui.conftest import going_on
from ui import guard, progressing
from ui.page import House, Visit
from ui.tabs import training


def shown_mark(shown: dict[str, Any]) -> str:
    found = re.search('data-seen="([^"]+)"', shown["status"])
    assert found
    return found[1]


def another_step(visit: Visit, run_id: str, loss: float = 1.0) -> None:
    EventWriter(visit.house.runs.folder(run_id), 1).write(
        events.Step(step=3, epoch=0.3, loss=loss, learning_rate=1, rows_per_second=9, seconds_left=80)
    )


def test_who_has_seen_everything_is_told_nothing(ready: Visit) -> None:
    going_on(ready)
    assert progressing.news(ready, shown_mark(training.poll(ready))) == {}


def test_a_step_is_told_with_its_mark(ready: Visit) -> None:
    record = going_on(ready)
    before = shown_mark(training.poll(ready))
    another_step(ready, record.id)
    told = progressing.news(ready, before)
    assert "3 / 10" in told["status"]
    assert told["progress"].losses[-1] == (3, 1.0)
    assert shown_mark(told) == shown_mark(training.poll(ready)) != before
    assert progressing.news(ready, shown_mark(told)) == {}


def test_what_only_the_whole_tab_can_show_is_asked_for(ready: Visit) -> None:
    record = going_on(ready)
    before = shown_mark(training.poll(ready))
    ready.house.runs.transition(record.id, ("RUNNING",), "STOPPED", 1)
    assert progressing.news(ready, before) == {"again": True}
    assert progressing.news(ready, "") == {"again": True}
    assert progressing.news(ready, shown_mark(training.poll(ready))) == {}


def test_another_own_run_in_the_line_changes_the_buttons(ready: Visit) -> None:
    training.start(ready)
    before = shown_mark(training.poll(ready))
    ready.change(knobs={"epochs": 2})
    first = ready.draft.run
    training.start(ready)
    ready.change(run=first)
    assert progressing.news(ready, before) == {"again": True}


def test_without_a_run_there_is_nothing(ready: Visit) -> None:
    assert progressing.news(ready, "") == {}
    assert progressing.news(ready, "gone.gone") == {"again": True}


def test_the_route_answers_in_the_parts_own_form(ready: Visit) -> None:
    record = going_on(ready)
    asked = {"language": "en", "seen": shown_mark(training.poll(ready))}
    with client(ready.house) as http:
        assert http.get("/progress", params=asked).status_code == 204
        another_step(ready, record.id, float("inf"))
        answer = http.get("/progress", params=asked)
        assert answer.headers["cache-control"] == "no-store"
        parts = answer.json()["parts"]
        assert http.get("/progress", params=asked | {"language": "xx"}).status_code == 404
        chinese = http.get("/progress", params=asked | {"language": "zh-CN"}).json()
    assert [part["__type__"] for part in parts] == ["update"] * len(progressing.SENT)
    shown = training.poll(ready)
    assert parts[0]["value"] == shown["status"]
    assert parts[1]["value"]["data"] == shown["losses"].value["data"]
    assert parts[1]["x_lim"] == parts[2]["x_lim"] == [0, 10]
    assert "正在学习" in chinese["parts"][0]["value"]


def test_on_a_space_it_is_for_the_owner_alone(ready: Visit) -> None:
    going_on(ready)
    mark = shown_mark(training.poll(ready))
    space = replace(ready.house, settings=replace(ready.house.settings, place="space"))
    with client(space) as http:
        assert http.get("/progress", params={"language": "en", "seen": ""}).status_code == 404
        stranger = {"cookie": f"{guard.OWNER_COOKIE}={'0' * 64}"}
        assert http.get("/progress", params={"language": "en", "seen": ""}, headers=stranger).status_code == 204
        seen = http.get("/progress", params={"language": "en", "seen": mark}, headers=stranger)
        assert seen.json() == {"again": True}


def client(house: House) -> TestClient:
    app = Starlette(routes=progressing.routes(house), middleware=[Middleware(guard.Guard, settings=house.settings)])
    return TestClient(app, base_url="http://127.0.0.1")
