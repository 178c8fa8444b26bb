"""Hyperparameters: sliders that stand where they should, each with what it does and why it stands there."""

from typing import Any

import gradio as gr

from core.spec import knobs as all_knobs
from core.spec import switches
from ui import choices, knobs
from ui.page import Page, Tab, Visit
from ui.readiness import card
from ui.tabs.shared import heading, top

MAIN = ("learning_rate", "epochs", "batch_size", "larger_batches", "max_length", "max_target_length")
READING = ("source_language", "target_language", "instruction", "truncation", "packing")
MORE = tuple(name for name in all_knobs("training") if name not in MAIN)
WRITING = (*all_knobs("writing"), *switches("writing"))
NAMES = (*MAIN, *READING, *MORE, *WRITING)


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text = page.text
    parts = top()
    parts["method"] = gr.HTML()
    heading(text("knobs.title"), text("knobs.help"))
    knobs.grid(page, parts, MAIN)
    with gr.Accordion(text("knobs.reading"), open=False) as reading:
        knobs.grid(page, parts, READING)
    with gr.Accordion(text("knobs.writing"), open=False) as writing:
        knobs.grid(page, parts, WRITING)
    with gr.Accordion(text("knobs.more"), open=False):
        knobs.grid(page, parts, MORE)
    parts |= {"group_reading": reading, "group_writing": writing}
    parts["reset"] = gr.Button(text("knobs.reset"), variant="secondary", interactive=False)
    knobs.wire(page, parts, NAMES, ("ready", "next", "reset"), _after)
    page.listen(parts["reset"].click, reset, None, parts)
    return Tab(parts, view)


def _after(visit: Visit) -> dict[str, Any]:
    return card(visit, "hyperparameters") | {"reset": _reset_button(visit)}


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows."""
    settled = choices.settled(visit)
    matter = choices.relevant(visit, settled)
    return (
        card(visit, "hyperparameters")
        | knobs.view(visit, NAMES)
        | {
            "method": choices.method_card(visit, settled),
            "group_reading": gr.Accordion(visible=bool(matter & {*READING})),
            "group_writing": gr.Accordion(visible=bool(matter & {*WRITING})),
            "reset": _reset_button(visit),
        }
    )


def reset(visit: Visit) -> dict[str, Any]:
    """Everything back to what is recommended; the shares held out and what is changed of the model stay."""
    visit.change(knobs={k: v for k, v in visit.draft.knobs.items() if k not in NAMES})
    return view(visit)


def _reset_button(visit: Visit) -> Any:
    return gr.Button(interactive=bool(visit.draft.knobs.keys() & {*NAMES}))
