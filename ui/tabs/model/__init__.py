"""Model: what to start from, whether it fits here, and how much of it is changed."""

import time
from typing import Any

import gradio as gr

from core.errors import UserError
from core.models import fetching
from core.spec import ModelChoice
from ui import cards, choices
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card
from ui.tabs.model import adapting, hub
from ui.tabs.shared import heading, top

SOURCES = ("starter", "hub", "run")


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text = page.text
    parts = top()
    heading(text("models.source_title"), text("models.source_help"))
    parts["offline"] = gr.HTML()
    parts["source"] = gr.Radio(
        [(text(f"models.source.{s}"), s) for s in SOURCES],
        value="starter",
        show_label=False,
        elem_id="model-source",
        container=False,
    )
    with gr.Column(elem_classes=["choice"]) as starter:
        parts["starter"] = gr.HTML()
    with gr.Column(visible=False, elem_classes=["choice"]) as from_hub:
        parts |= hub.build(page)
    with gr.Column(visible=False, elem_classes=["choice"]) as earlier:
        parts["earlier"] = gr.Dropdown(label=text("models.earlier"), info=text("models.earlier_help"), filterable=False)
    parts |= {"group_starter": starter, "group_hub": from_hub, "group_run": earlier}
    heading(text("models.chosen_title"), text("models.chosen_help"))
    parts["facts"] = gr.HTML()
    parts |= adapting.build(page)
    page.listen(parts["source"].input, choose_source, [parts["source"]], parts)
    page.listen(parts["earlier"].input, choose_run, [parts["earlier"]], parts)
    hub.wire(page, parts, view)
    adapting.wire(page, parts, view)
    return Tab(parts, view)


def view(visit: Visit, source: str | None = None) -> dict[str, Any]:
    """Everything the tab shows; `source` is what is looked at without being chosen yet."""
    text, choice = visit.text, choices.chosen_model(visit)
    looked_at = source or (choice.source if choice.source in SOURCES else "starter")
    chosen = choices.model(visit)
    if chosen.facts:
        known = cards.model_facts(text, chosen.facts)
    else:
        known = f'<p class="problem"><b>!</b> {esc(text.error(chosen.error or UserError("unexpected")))}</p>'
    starter = choices.task_of(visit).starters[0]
    shown = card(visit, "model") | {f"group_{s}": gr.Column(visible=s == looked_at) for s in SOURCES}
    return (
        shown
        | hub.view(visit)
        | adapting.view(visit)
        | {
            "source": looked_at,
            "starter": f"<p>{esc(text(f'models.starter.{starter}'))}</p>",
            "facts": known,
            "earlier": gr.Dropdown(choices=results(visit), value=choice.name if choice.source == "run" else None),
        }
    )


def finish(visit: Visit) -> dict[str, Any]:
    """Whether the Hub answers: asked after the tab was shown, since a silent one takes two seconds."""
    if fetching.hub_reachable(visit.house.settings):
        return {"offline": ""}
    return {"offline": f'<p class="hint offline" role="status"><b>!</b> {esc(visit.text("models.offline"))}</p>'}


def results(visit: Visit) -> list[tuple[str, str]]:
    """The person's runs that have a model, as (what people see, id)."""
    return [(_named(visit, r), r.id) for r in visit.house.runs.list(visit.owner) if r.has_result]


def _named(visit: Visit, record: Any) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
    return f"{when} · {record.name or record.id[:8]}"


def choose_source(visit: Visit, source: str) -> dict[str, Any]:
    """Look at another kind of model; the starter needs nothing more and is chosen at once."""
    if source == "starter":
        visit.change(model=ModelChoice(source="starter", name=choices.task_of(visit).starters[0]))
    return view(visit, source)


def choose_run(visit: Visit, run_id: str) -> dict[str, Any]:
    """Go on from an earlier result."""
    visit.house.runs.model_folder(visit.house.runs.get(run_id, visit.owner).id)
    visit.change(model=ModelChoice(source="run", name=run_id))
    return view(visit)
