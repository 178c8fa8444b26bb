"""Hyperparameters: sliders that stand where they should, each with what it does and why it stands there."""

from typing import Any

import gradio as gr

from core.spec import knobs
from ui import choices, widgets
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card
from ui.tabs.shared import heading, top
from ui.text import written

MAIN = ("learning_rate", "epochs", "batch_size", "max_length")


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text, fields = page.text, knobs("training")
    parts = top()
    heading(text("knobs.title"), text("knobs.help"))
    _grid(page, parts, [name for name in fields if name in MAIN])
    with gr.Accordion(text("knobs.more"), open=False):
        _grid(page, parts, [name for name in fields if name not in MAIN])
    parts["reset"] = gr.Button(text("knobs.reset"), variant="secondary", interactive=False)
    for name in fields:
        told = {part: parts[part] for part in (f"{name}_why", "ready", "next", "reset")}
        page.listen(parts[name].input, _moved(name), [parts[name]], told, trigger_mode="always_last")
    page.listen(parts["reset"].click, reset, None, parts)
    return Tab(parts, view)


def _grid(page: Page, parts: dict[str, Any], names: list[str]) -> None:
    with gr.Row(elem_classes=["knobs"], equal_height=False):
        for name in names:
            with gr.Column(min_width=300, elem_classes=["knob"]):
                _knob(page, parts, name)


def _knob(page: Page, parts: dict[str, Any], name: str) -> None:
    knob = knobs()[name]
    parts[name] = widgets.component(page.text, knob)
    if widgets.positions(knob):
        readout = gr.HTML(
            f"<output>{written(knob.default)}</output>", elem_classes=["readout"], elem_id=f"value-{name}"
        )
        parts[name].change(None, [parts[name]], [readout], js=widgets.live_readout(knob), api_visibility="private")
        parts[f"{name}_readout"] = readout
    parts[f"{name}_why"] = gr.HTML(elem_classes=["why"])


def _moved(name: str) -> Any:
    def moved(visit: Visit, shown: float | None) -> dict[str, Any]:
        return move(visit, name, shown)

    return moved


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows."""
    settled, fields = choices.settled(visit), knobs("training")
    shown = card(visit, "hyperparameters")
    for name, knob in fields.items():
        shown[name] = widgets.to_widget(knob, settled.values[name])
        shown[f"{name}_why"] = _why(visit, settled, name)
        if widgets.positions(knob):
            shown[f"{name}_readout"] = f"<output>{esc(written(settled.values[name]))}</output>"
    return shown | {"reset": _reset_button(visit, settled)}


def move(visit: Visit, name: str, shown: float | None) -> dict[str, Any]:
    """A knob was moved by hand: remembered, unless it is back where it was recommended."""
    knob = knobs()[name]
    value = widgets.from_widget(knob, shown)
    others = {k: v for k, v in visit.draft.knobs.items() if k != name}
    advised = choices.settled(visit).advice.get(name)
    if value is None or (advised and widgets.to_widget(knob, advised.value) == shown):
        visit.change(knobs=others)
    else:
        visit.change(knobs={**others, name: value})
    settled = choices.settled(visit)
    return card(visit, "hyperparameters") | {
        f"{name}_why": _why(visit, settled, name),
        "reset": _reset_button(visit, settled),
    }


def reset(visit: Visit) -> dict[str, Any]:
    """Everything back to what is recommended; the shares held out stay."""
    training = knobs("training")
    visit.change(knobs={k: v for k, v in visit.draft.knobs.items() if k not in training})
    return view(visit)


def _reset_button(visit: Visit, settled: choices.Settled) -> Any:
    return gr.Button(interactive=bool(visit.draft.knobs.keys() & settled.values.keys()))


def _why(visit: Visit, settled: choices.Settled, name: str) -> str:
    text, advice = visit.text, settled.advice.get(name)
    if advice is None:
        return ""
    reason = text(f"advice.{advice.reason}", **advice.facts)
    if name in visit.draft.knobs:
        return f'<p class="own">{esc(text("knobs.own", value=written(advice.value)))}</p>'
    return f'<p class="hint">{esc(text("knobs.recommended", reason=reason))}</p>'
