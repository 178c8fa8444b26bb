"""How much of the model is changed: the method with its share of the model, and the finer settings of it."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.device import has_cuda_driver
from core.models import heads
from core.spec import knobs as all_knobs
from core.spec import switches
from ui import choices, knobs
from ui.page import Page, Visit
from ui.tabs.shared import heading

FINER = tuple(name for name in (*switches("adapting"), *all_knobs("adapting")) if name != "method")


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text = page.text
    parts: dict[str, Any] = {}
    heading(text("models.method_title"), text("models.method_help"))
    parts["method"] = gr.Radio([], show_label=False, container=False, elem_id="method")
    parts["method_why"] = gr.HTML(elem_classes=["why"])
    parts["method_facts"] = gr.HTML()
    with gr.Accordion(text("models.finer"), open=False) as parts["group_finer"]:
        knobs.grid(page, parts, FINER)
    return parts


def wire(page: Page, parts: dict[str, Any], shown: Callable[[Visit], dict[str, Any]]) -> None:
    """The events."""

    def choose(visit: Visit, method: str) -> dict[str, Any]:
        knobs.remember(visit, "method", method)
        return shown(visit)

    page.listen(parts["method"].input, choose, [parts["method"]], parts)
    knobs.wire(page, parts, FINER, ("method_facts", "facts", "ready", "next"), _after(shown))


def _after(shown: Callable[[Visit], dict[str, Any]]) -> Callable[[Visit], dict[str, Any]]:
    def after(visit: Visit) -> dict[str, Any]:
        seen = shown(visit)
        return {name: seen[name] for name in ("method_facts", "facts", "ready", "next")}

    return after


def view(visit: Visit) -> dict[str, Any]:
    """The method that holds, what it changes, and the settings that belong to it."""
    text, settled, task = visit.text, choices.settled(visit), choices.task_of(visit)
    method = str(settled.values["method"])
    named = [(text(f"switches.method.choices.{m}.label"), m) for m in task.methods]
    shown = knobs.view(visit, FINER)
    matter = choices.relevant(visit, settled)
    facts = choices.model(visit).facts
    offered = heads.offers(facts.config) if facts else {}
    for name in ("head_layers", "pooling"):
        possible = tuple(offered.get(name, ()))
        shown[f"{name}_box"] = gr.Column(visible=name in matter and len(possible) > 1)
        places = [(text(f"switches.{name}.choices.{p}.label"), p) for p in possible]
        shown[name] = gr.Radio(places, value=settled.values[name] if settled.values[name] in possible else "own")
    shown["quantization_box"] = gr.Column(visible="quantization" in matter and has_cuda_driver())
    return shown | {
        "method": gr.Radio(named, value=method),
        "method_why": knobs.why(text, visit, settled, "method"),
        "method_facts": choices.method_card(visit, settled),
        "group_finer": gr.Accordion(visible=bool(matter & {*FINER})),
    }
