"""A field of TrainSpec <-> a component, both ways."""

import math
from typing import Any

import gradio as gr

from core.errors import UserError
from core.spec import KnobField, SwitchField
from ui.text import Text, written

_MANTISSAS = (1, 1.5, 2, 3, 4, 5, 7)


def positions(knob: KnobField) -> tuple[float, ...]:
    """The values that a knob can take where they do not lie evenly, else an empty tuple."""
    if knob.knob.choices:
        return knob.knob.choices
    if knob.knob.scale != "log":
        return ()
    powers = range(math.floor(math.log10(knob.low)), math.ceil(math.log10(knob.high)) + 1)
    values = (float(f"{m}e{power}") for power in powers for m in _MANTISSAS)
    return tuple(v for v in values if knob.low <= v <= knob.high)


def to_widget(knob: KnobField, value: float) -> float:
    """What the component shows for a value: the nearest position, or the value itself."""
    places = positions(knob)
    if not places:
        return value
    if knob.knob.scale == "log":
        return min(range(len(places)), key=lambda i: abs(math.log(places[i] / max(value, 1e-12))))
    return min(range(len(places)), key=lambda i: abs(places[i] - value))


def from_widget(knob: KnobField, shown: float | None) -> float | None:
    """The value for what the component shows; None for an emptied box.

    Raises:
        UserError: `knob_not_a_number`.
    """
    if shown is None:
        return None
    if not math.isfinite(shown):
        raise UserError("knob_not_a_number", knob=knob.name, value=str(shown), low=knob.low, high=knob.high)
    places = positions(knob)
    value = places[max(0, min(int(shown), len(places) - 1))] if places else shown
    return int(value) if knob.whole and float(value).is_integer() else value


def component(text: Text, knob: KnobField, place: str = "knob") -> Any:
    """The slider (or box) of a knob, with its sentence of help.

    Args:
        place: tells it from the same knob at another place of the page.
    """
    words = {"label": text(f"knobs.{knob.name}.label"), "info": text(f"knobs.{knob.name}.help")}
    identity = {"elem_id": f"{place}-{knob.name}", "buttons": []}
    places = positions(knob)
    shown = to_widget(knob, knob.default)
    if places:
        return gr.Slider(0, len(places) - 1, shown, step=1, elem_classes=["positions"], **words, **identity)
    if knob.high > 10_000:
        return gr.Number(
            knob.default, precision=0, minimum=knob.low, maximum=knob.high, elem_id=f"{place}-{knob.name}", **words
        )
    return gr.Slider(knob.low, knob.high, shown, step=knob.knob.step, **words, **identity)


def switch(text: Text, field: SwitchField, place: str = "switch") -> Any:
    """The box, the row of choices or the line of text of a switch, with its sentence of help."""
    words = {"label": text(f"switches.{field.name}.label"), "info": text(f"switches.{field.name}.help")}
    identity = {"elem_id": f"{place}-{field.name}"}
    if field.switch.longest:
        lines = 3 if field.switch.longest > 200 else 1
        longest = field.switch.longest
        return gr.Textbox(str(field.default), lines=lines, max_lines=8, max_length=longest, **words, **identity)
    if field.choices == (False, True):
        return gr.Checkbox(bool(field.default), **words, **identity)
    named = [(text(f"switches.{field.name}.choices.{choice}.label"), choice) for choice in field.choices]
    return gr.Radio(named, value=field.default, **words, **identity)


def live_readout(knob: KnobField) -> str:
    """Browser code that writes the value of a position as the slider moves, with no trip to the server."""
    values = [written(v) for v in positions(knob)]
    return f"(i) => '<output>' + {values!r}[i] + '</output>'"
