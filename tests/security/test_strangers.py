"""What somebody learns and changes who knows the ids of another person's runs, tables and sessions: nothing."""

import dataclasses
import gc
import inspect
import re
import secrets
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest

from core.errors import UserError
from core.models import loading
from core.publishing import adapter, card
from core.runs import history
from core.runs.store import RunRecord
from core.spec import ModelChoice
from core.training.loop import Signals
from core.training.run import train
from tests.security import alice
from tests.security.alice import SECRET
from tests.security.visitors import digest, settings_of
from ui.layout import blocks
from ui.page import House, Page, Visit, open_house
from ui.tabs import model, training
from ui.text import Text

OWNERS = ("hf:alice", "hf:bob", "hf:carol")


@dataclasses.dataclass(frozen=True)
class Handler:
    """A function of the page with the parts that it takes values of."""

    work: Callable[..., Any]
    inputs: list[Any]
    told: bool

    def values(self, wanted: str) -> list[Any]:
        """What the parts hold, but an id wherever a person could write or choose one."""
        told = [{"code": wanted, "fix": wanted, "run": wanted, "ticked": [wanted]}] if self.told else []
        return [*told, *(_value(part, wanted) for part in self.inputs)]


def _value(part: Any, wanted: str) -> Any:
    if isinstance(part, gr.Dropdown):
        return [wanted] if part.multiselect else wanted
    if isinstance(part, gr.Dataset):
        return [wanted]
    return wanted if isinstance(part, gr.Textbox | gr.Radio) else None if isinstance(part, gr.File) else part.value


@dataclasses.dataclass(frozen=True)
class Town:
    """A house with what is Alice's, and every handler of its page."""

    house: House
    handlers: list[Handler]
    table: str
    runs: dict[Any, RunRecord]

    def visit(self, owner: str) -> Visit:
        return Visit(self.house, Text("en"), owner, "hf_a_token")

    def hers(self) -> dict[str, str]:
        """What is on the disk of hers."""
        home = self.house.settings.home
        kept = {str(self.house.runs.folder(record.id)) for record in self.runs.values()}
        found = digest(home, leaving=("cache", "turns"))
        return {path: said for path, said in found.items() if SECRET in path or path.startswith(tuple(kept))} | {
            path: said for path, said in found.items() if path.startswith(str(home / "tables"))
        }


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    house = open_house(dataclasses.replace(settings_of(folder / "home"), place="local"))
    handlers: list[Handler] = []
    listen = Page.listen

    def note(page: Page, trigger: Any, handler: Any, inputs: Any = None, *rest: Any, **options: Any) -> Any:
        known = {part.elem_id for part in inputs or []}
        if page.text.language == "en" and not known & {"pasted", "sample"}:  # these two take words, and a while
            handlers.append(Handler(handler, inputs or [], bool(options.get("told"))))
        return listen(page, trigger, handler, inputs, *rest, **options)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the event loops that gradio leaves open
        patch.setattr(Page, "listen", note)
        blocks(house)
        gc.collect()
    house = dataclasses.replace(house, settings=dataclasses.replace(house.settings, place="space"))
    table = alice.table(house.settings, OWNERS[0], folder)
    yield Town(house, handlers, table, alice.runs(house.settings.home, OWNERS[0], table))
    house.predictors.close()


def answer(visit: Visit, handler: Handler, wanted: str) -> str:
    """What a handler answers, ids and moments left out."""
    try:
        found = handler.work(visit, *handler.values(wanted))
        told = list(found) if inspect.isgenerator(found) else found
    except UserError as error:
        told = visit.text.error(error)
    return re.sub(r"[0-9a-f]{8,64}|\d{4}-\d\d-\d\d \d\d:\d\d", "#", plain(told))


def plain(value: Any) -> str:
    """A handler's answer as text, its components by what they were made with."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {plain(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(inner) for inner in value) + "]"
    if isinstance(value, gr.blocks.Block):
        return f"{type(value).__name__} {plain(value.constructor_args)}"
    return value.to_json() if hasattr(value, "to_json") else str(value)


@pytest.mark.filterwarnings("ignore:The value passed into gr.Dropdown")
def test_every_handler_answers_a_foreign_id_as_an_unknown_one(town: Town) -> None:
    home, before = town.house.settings.home, town.hers()
    told: list[tuple[str, str, str]] = []
    for record in (town.runs[state] for state in ("FINISHED", "QUEUED", "RUNNING", "INTERRUPTED")):
        unknown, no_table = secrets.token_hex(16), secrets.token_hex(32)
        for handler in town.handlers:
            alice.forge(home, "hf:bob", town.table, record.id)
            theirs = answer(town.visit("hf:bob"), handler, record.id)
            alice.forge(home, "hf:carol", no_table, unknown)
            nothing = answer(town.visit("hf:carol"), handler, unknown)
            if theirs != nothing or SECRET in theirs:
                told.append((handler.work.__name__, theirs, nothing))
    assert told == []
    assert town.hers() == before
    assert len(town.handlers) > 50


def test_the_same_handlers_do_tell_their_owner(town: Town) -> None:
    alice.forge(town.house.settings.home, OWNERS[0], town.table, town.runs["FINISHED"].id)
    reading = [handler for handler in town.handlers if handler.work.__name__ in ("opened", "poll", "read_log", "view")]
    told = [SECRET in answer(town.visit(OWNERS[0]), handler, "") for handler in reading]
    assert sum(told) >= 6


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "FINISHED", "STOPPED", "FAILED", "INTERRUPTED"])
def test_a_stranger_starts_moves_and_stops_no_run_of_hers(town: Town, state: str) -> None:
    record, before, supervisor = town.runs[state], town.hers(), town.house.supervisor
    house, visit = town.house, town.visit("hf:bob")
    start = ModelChoice(source="run", name=record.id)
    for act in (
        lambda: house.runs.get(record.id, "hf:bob"),
        lambda: supervisor.again(record.id, "hf:bob"),
        lambda: supervisor.move(record.id, "hf:bob", earlier=True),
        lambda: history.delete(house.runs, record.id, "hf:bob"),
        lambda: history.describe(house.runs, record.id, "hf:bob", "mine", "mine"),
        lambda: training.open_run(visit, record.id),
        lambda: model.choose_run(visit, record.id),
        lambda: card.for_run(house.runs, record.id, "hf:bob", house.settings),
        lambda: adapter.entries(house.runs, record.id, "hf:bob"),
        lambda: loading.resolve(start, house.settings, house.runs, "hf:bob"),
    ):
        with pytest.raises(UserError) as refused:
            act()
        assert (refused.value.code, refused.value.facts) == ("run_unknown", {"run": record.id})
    assert town.hers() == before


def test_a_run_that_a_stranger_starts_cannot_learn_from_her_table_or_her_model(town: Town) -> None:
    house, hers = town.house, town.runs["FINISHED"]
    signals = Signals(stop=lambda: False, interrupted=lambda: False)
    spec = house.runs.spec(hers.id)
    own = spec.model_copy(update={"model": ModelChoice(source="run", name=hers.id)})
    for asked, code in ((spec, "table_unknown"), (own, "run_unknown")):
        record = house.runs.create(asked, "hf:bob")
        folder = house.runs.folder(record.id)
        with pytest.raises(UserError, match=code):
            train(asked, "hf:bob", folder, house.settings, house.runs, lambda event: None, signals)
        assert not (folder / "model").exists()
