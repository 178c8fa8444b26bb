"""What a page without lasting disk says and does about keeping runs; where the disk lasts, there is nothing of it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.data.store import TableStore
from core.keeping import layout, sending
from core.keeping.keeper import Keeper, Status
from core.runs.store import RunRecord
from core.settings import Limits, Settings
from core.spec import DataChoice, TrainSpec
from tests.fakehub import FakeHub
from ui import keeping
from ui.page import House, Page, Visit, open_house
from ui.text import Text

OWNER, TOKEN, REPO = "hf:1", "hf_writer", "tester/tuning-fork-kept"


ROOT = Path(__file__).resolve().parents[2]
# In a process of its own, since gradio leaves event loops open.
BUILD = """
import json, pathlib, sys
import gradio as gr
from core.settings import Settings
from ui import keeping
from ui.page import Page, open_house
from ui.text import Text
page = Page(open_house(Settings(home=pathlib.Path(sys.argv[1]), place="space", lasting=False)), Text("en"))
with gr.Blocks() as blocks:
    parts = {**keeping.before(page), **keeping.shelf(page), "status": gr.HTML()}
    keeping.wire(page, parts, lambda visit: {})
print(json.dumps([[event.api_visibility for event in blocks.fns.values()], parts["keep"].value]))
"""


@pytest.fixture
def forgetful(tmp_path: Path, fake_hub: FakeHub) -> Iterator[House]:
    """The house of a Space without lasting disk."""
    made = _house(tmp_path / "home", fake_hub)
    yield made
    made.keeper.close()
    made.predictors.close()


def _house(home: Path, hub: FakeHub) -> House:
    limits = Limits(free_disk=0, hub_timeout=3.0)
    settings = Settings(home=home, place="space", lasting=False, hub_endpoint=hub.url, limits=limits)
    house = open_house(settings)
    object.__setattr__(house, "keeper", Keeper(settings, house.runs, seconds=0.2))
    return house


@pytest.fixture
def person(forgetful: House) -> Visit:
    return Visit(forgetful, Text("en"), OWNER, TOKEN)


def run(visit: Visit, state: str = "QUEUED") -> RunRecord:
    """A run of a small table, shown on the page."""
    path = visit.house.settings.home / "rows.csv"
    path.write_text("text,label\nwhere is it,delivery\nI paid twice,refund\n", encoding="utf-8")
    table = TableStore(visit.house.settings).add(path, visit.owner)
    data = DataChoice(table=table.id, columns={"text": "text", "label": "label"}, name="rows.csv")
    record = visit.house.runs.create(TrainSpec(data=data), visit.owner, "rows · MiniLM")
    visit.change(run=record.id)
    if state == "INTERRUPTED":
        record = visit.house.runs.transition(record.id, ("QUEUED",), "STARTING", 0)
        record = visit.house.runs.transition(record.id, ("STARTING",), "INTERRUPTED", 1)
    return record


def until(fits: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not fits():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def at(visit: Visit, record: RunRecord, status: Status) -> str:
    """What is said where the keeping stands so."""
    visit.house.keeper.keep(record.id, visit.owner, TOKEN)
    visit.house.keeper._kept[record.id].status = status
    return keeping.poll(replace(visit, token=None), record)["keep_said"]


@pytest.mark.parametrize("settings", [{}, {"place": "space"}])
def test_where_the_disk_lasts_there_is_nothing_of_it(settings: dict[str, str], tmp_path: Path) -> None:
    house = open_house(Settings(home=tmp_path, **settings))
    page, visit = Page(house, Text("en")), Visit(house, Text("en"), "local")
    assert (keeping.before(page), keeping.shelf(page), keeping.poll(visit, None)) == ({}, {}, {})
    keeping.wire(page, {}, lambda visit: {})
    keeping.deleted(visit, "0" * 32)
    house.predictors.close()


def test_before_a_run_it_is_said_what_would_be_lost(person: Visit) -> None:
    shown = keeping.poll(person, None)
    assert "forgets everything" in shown["keep_said"]
    assert "sign in" not in shown["keep_said"].lower()
    assert shown["keep"].visible
    for stranger in (replace(person, token=None), replace(person, token=None, owner="anon:0123")):
        shown = keeping.poll(stranger, None)
        assert "sign in with Hugging Face" in shown["keep_said"]
        assert not shown["keep"].visible


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status(), "for the first time"),
        (Status(step=120, at=0.0), "up to step 120"),
        (Status(at=0.0), "the table and the settings"),
        (Status(step=9, at=0.0, problem="hub_unreachable"), "does not answer at the moment"),
        (Status(step=9, at=0.0, problem="token_invalid", waiting=False), "Sign in again"),
        (Status(problem="kept_repo_public", facts={"repo": "a/<b>"}, waiting=False), "a/&lt;b&gt;"),
        (Status(step=9, at=0.0, problem="disk_full"), "The disk is full"),
    ],
)
def test_how_it_stands_is_one_line(status: Status, said: str, person: Visit) -> None:
    now = time.monotonic() - 390 if status.at is not None else None
    shown = at(person, run(person), replace(status, at=now))
    assert said in shown
    assert ("Kept 7 minutes ago" in shown) == (now is not None)
    assert "forgets everything" not in shown
    assert ('class="problem"' in shown) == (not status.waiting)


def test_beside_a_run_that_ended_it_is_said_again_what_would_be_lost(person: Visit) -> None:
    shown = at(person, run(person, "INTERRUPTED"), Status(step=3, at=time.monotonic(), waiting=False))
    assert "All of this run is kept" in shown
    assert "forgets everything" in shown


def test_a_wish_holds_for_the_run_that_is_started_and_for_one_that_goes_on(person: Visit) -> None:
    keeper, record = person.house.keeper, run(person)
    keeping.begin(person, record, False)
    keeping.begin(replace(person, token=None), record, True)
    assert keeper.status(record.id) is None
    assert not keeping.poll(person, record)["keep"].value
    keeping.begin(person, record, True)
    assert keeping.poll(person, record)["keep"].value
    keeping.wish(person, False)
    assert keeper.status(record.id) is None
    shown = keeping.wish(person, True)
    assert "first time" in shown["keep_said"]
    stranger = replace(person, owner="hf:2")
    stranger.change(run=record.id)
    assert keeping.wish(stranger, False) == {}
    assert keeper.status(record.id) is not None


def test_who_signs_in_again_is_kept_on(person: Visit) -> None:
    keeper, record = person.house.keeper, run(person)
    at(person, record, Status(step=2, at=0.0, problem="token_invalid", waiting=False))
    keeping.poll(replace(person, token=None), record)
    assert keeper.status(record.id).problem == "token_invalid"
    keeping.poll(replace(person, token="hf_newer"), record)
    assert (keeper.status(record.id).problem, keeper.status(record.id).step) == ("", 2)
    assert keeper._kept[record.id].token == "hf_newer"


def test_a_run_is_kept_listed_brought_back_elsewhere_and_deleted_there(
    person: Visit, fake_hub: FakeHub, tmp_path: Path
) -> None:
    record = run(person, "INTERRUPTED")
    person.house.keeper.start()
    keeping.begin(person, record, True)
    until(lambda: not person.house.keeper.status(record.id).waiting)
    house = _house(tmp_path / "after", fake_hub)
    visit = Visit(house, Text("zh-CN"), OWNER, TOKEN)
    assert "登录" in keeping.look(replace(visit, token=None))["kept_told"]
    listed = keeping.look(visit)
    ((title, chosen),) = listed["kept"].choices
    assert chosen == record.id
    assert "rows · MiniLM" in title
    assert listed["kept_back"].interactive
    *_, last = keeping.bring_back(visit, record.id, lambda visit: {"status": visit.draft.run})
    assert last["status"] == record.id
    assert house.runs.get(record.id, OWNER).state == "INTERRUPTED"
    assert house.keeper.status(record.id) is not None
    shown = keeping.forget(visit, record.id)
    assert shown["kept"].choices == []
    assert "删除" in shown["kept_told"]
    assert not any(path.startswith(layout.folder(record.id)) for path in fake_hub.repo(REPO).files)
    assert house.runs.get(record.id, OWNER)
    house.predictors.close()


def test_what_cannot_be_brought_back_is_said_and_can_be_tried_again(person: Visit) -> None:
    *_, last = keeping.bring_back(person, "0" * 32, lambda visit: {})
    assert "no such run" in last["kept_told"]
    assert last["kept_back"].interactive


def test_a_run_that_is_deleted_here_goes_there_too(person: Visit, fake_hub: FakeHub) -> None:
    record = run(person, "INTERRUPTED")
    sending.keep(person.house.settings, record.id, OWNER, TOKEN)
    keeping.deleted(person, record.id)  # it was never wished that it be kept from here
    assert any(path.startswith(layout.folder(record.id)) for path in fake_hub.repo(REPO).files)
    keeping.begin(person, record, True)
    person.house.runs.delete(record.id)
    keeping.deleted(person, record.id)
    assert not any(path.startswith(layout.folder(record.id)) for path in fake_hub.repo(REPO).files)


def test_its_parts_are_built_and_wired(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout.splitlines()[-1]) == [["private"] * 4, False]
