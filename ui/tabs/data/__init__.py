"""Data: hand in a file, see what was understood and what is wrong with it, mend it, say how it is divided."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.data.survey import ROWS_AT_ONCE
from ui import cards
from ui.overview import overview, surveyed
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import ORDER, card
from ui.tabs.data import augmenting, doctor, handing_in, hub, meaning, parts, preview, reading
from ui.tabs.shared import heading, top

__all__ = ["build", "complete", "finish", "view"]

SECTIONS = (meaning, preview, doctor, parts, augmenting)


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    shown = top()
    shown |= handing_in.build(page)
    shown |= hub.build(page)
    shown |= {"problem": gr.HTML(visible=False), "summary": gr.HTML()}
    with gr.Column(visible=False) as details:
        shown |= reading.build(page)
        for section in SECTIONS:
            heading(page.text(f"data.{section.NAME}_title"), page.text(f"data.{section.NAME}_help"))
            shown |= section.build(page)
    shown["details"] = details
    waiting = gr.Checkbox(visible=False)
    shown["waiting"] = waiting

    def listen(trigger: Any, handler: Callable[..., Any], inputs: Any = None, **options: Any) -> None:
        event = page.listen(trigger, then_view(handler), inputs, shown, **options)
        finish(page, event, shown)

    for module in (handing_in, hub, reading, *SECTIONS):
        module.wire(page, shown, listen)
    return Tab({name: part for name, part in shown.items() if not name.startswith("_")}, view)


def finish(page: Page, event: Any, shown: dict[str, Any]) -> None:
    """What comes after the tab was shown: the findings where these take a while, then the lengths in tokens."""
    done = page.listen(event.then, complete, [shown["waiting"]], shown)
    page.listen(done.then, doctor.measure, None, {name: shown[name] for name in ("lengths", "doctor")})


def then_view(handler: Callable[..., dict[str, Any] | None]) -> Callable[..., dict[str, Any]]:
    """A handler that changes a choice and then shows everything; what it returns goes on top of that."""

    def run(visit: Visit, *values: Any) -> dict[str, Any]:
        more = handler(visit, *values)
        return {} if more is None else view(visit) | more

    return run


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows; of a large table that was not checked yet only what is known at once."""
    table = handing_in.table_of(visit, visit.draft.table)
    if table is not None and table.rows > ROWS_AT_ONCE and not surveyed(visit):
        return _at_once(visit) | {"waiting": True}
    return _everything(visit) | {"waiting": False}


def complete(visit: Visit, waiting: bool) -> dict[str, Any]:
    """The rest of what `view` left open."""
    return _everything(visit) | {"waiting": False} if waiting else {}


def _at_once(visit: Visit) -> dict[str, Any]:
    """The table itself, without what the doctor says of it."""
    text = visit.text
    steps = dict.fromkeys(ORDER[:1], "busy")
    busy = cards.ready(text, "busy", text("ready.data.busy"), steps, text("ready.data.busy_detail"))
    shown = {"ready": busy, "next": gr.Button(visible=False), "problem": gr.HTML(visible=False)}
    shown |= {"details": gr.Column(visible=True), "doctor": f'<p class="hint">{esc(text("data.checking"))}</p>'}
    shown |= handing_in.view(visit) | reading.view(visit) | meaning.view(visit) | preview.view(visit)
    return shown


def _everything(visit: Visit) -> dict[str, Any]:
    data = overview(visit)
    shown = card(visit, "data") | {"problem": gr.HTML(visible=False)}
    shown |= {"details": gr.Column(visible=data.table is not None)}
    shown |= handing_in.view(visit) | hub.view(visit)
    if data.table is None:
        return shown
    shown |= reading.view(visit)
    for section in SECTIONS:
        shown |= section.view(visit)
    return shown
