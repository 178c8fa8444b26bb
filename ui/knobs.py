"""The settings on the page: each knob or switch with what it does, where it stands and why it stands there."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from core.spec import knobs, switches
from ui import choices, widgets
from ui.page import Page, Visit
from ui.pictures import esc
from ui.text import Text, written

Value = float | str | bool


def grid(page: Page, parts: dict[str, Any], names: Sequence[str]) -> None:
    """The components of some settings, side by side: the parts `name`, `name_why` and `name_box`."""
    with gr.Row(elem_classes=["knobs"], equal_height=False):
        for name in names:
            with gr.Column(min_width=300, elem_classes=["knob"]) as box:
                _component(page, parts, name)
            parts[f"{name}_box"] = box


def _component(page: Page, parts: dict[str, Any], name: str) -> None:
    if name in switches():
        parts[name] = widgets.switch(page.text, switches()[name])
    else:
        knob = knobs()[name]
        parts[name] = widgets.component(page.text, knob)
        if widgets.positions(knob):
            readout = gr.HTML(
                f"<output>{written(knob.default)}</output>", elem_classes=["readout"], elem_id=f"value-{name}"
            )
            parts[name].change(None, [parts[name]], [readout], js=widgets.live_readout(knob), api_visibility="private")
            parts[f"{name}_readout"] = readout
    parts[f"{name}_why"] = gr.HTML(elem_classes=["why"])


def wire(page: Page, parts: dict[str, Any], names: Sequence[str], told: Sequence[str], after: Any) -> None:
    """Remember what is moved.

    Args:
        names: the settings.
        told: parts that show something else then.
        after: `after(visit) -> {part: value}` for those.
    """
    for name in names:
        shown = {part: parts[part] for part in (f"{name}_why", *told)}
        component = parts[name]
        event = component.blur if isinstance(component, gr.Textbox) else component.input
        page.listen(event, _moved(name, after), [component], shown, trigger_mode="always_last")


def _moved(name: str, after: Any) -> Any:
    def moved(visit: Visit, shown: Value | None) -> dict[str, Any]:
        remember(visit, name, shown)
        return {f"{name}_why": why(visit.text, visit, choices.settled(visit), name), **after(visit)}

    return moved


def remember(visit: Visit, name: str, shown: Value | None) -> None:
    """A setting was moved by hand: remembered, unless it is back where it was recommended.

    Raises:
        UserError: `knob_not_a_number`.
    """
    others = {k: v for k, v in visit.draft.knobs.items() if k != name}
    advised = choices.settled(visit).advice.get(name)
    if name in switches():
        switch = switches()[name]
        value: Value | None = str(shown or "")[: switch.switch.longest] if switch.switch.longest else shown
        same = value == (advised.value if advised else switch.default)
    else:
        knob = knobs()[name]
        value = widgets.from_widget(knob, None if shown is None else float(shown))
        same = advised is not None and widgets.to_widget(knob, float(advised.value)) == shown
    visit.change(knobs=others if value is None or same else {**others, name: value})


def view(visit: Visit, names: Sequence[str]) -> dict[str, Any]:
    """Where some settings stand; what does not matter to the task and the method is hidden."""
    settled = choices.settled(visit)
    matter = choices.relevant(visit, settled)
    shown: dict[str, Any] = {}
    for name in names:
        shown[f"{name}_box"] = gr.Column(visible=name in matter)
        shown[f"{name}_why"] = why(visit.text, visit, settled, name)
        value = settled.values[name]
        if name in switches():
            shown[name] = value
            continue
        knob = knobs()[name]
        shown[name] = widgets.to_widget(knob, float(value))
        if widgets.positions(knob):
            shown[f"{name}_readout"] = f"<output>{esc(written(value))}</output>"
    return shown


def why(text: Text, visit: Visit, settled: choices.Settled, name: str) -> str:
    """Why a setting stands where it stands, or what is recommended instead."""
    advice = settled.advice.get(name)
    if advice is None:
        return ""
    if name in visit.draft.knobs:
        return f'<p class="own">{esc(text("knobs.own", value=_named(text, name, advice.value)))}</p>'
    reason = text(f"advice.{advice.reason}", **advice.facts)
    return f'<p class="hint">{esc(text("knobs.recommended", reason=reason))}</p>'


def _named(text: Text, name: str, value: Value) -> str:
    if name not in switches() or switches()[name].switch.longest:
        return written(value)
    if isinstance(value, bool):
        return text("knobs.on" if value else "knobs.off")
    return text(f"switches.{name}.choices.{value}.label")
