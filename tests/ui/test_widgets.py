"""A knob and its slider, both ways."""

import pytest

from core.errors import UserError
from core.spec import build, knobs
from ui import widgets


@pytest.mark.parametrize("name", list(knobs()))
def test_every_position_gives_a_value_that_the_spec_takes(name: str) -> None:
    knob = knobs()[name]
    places = widgets.positions(knob)
    shown = range(len(places)) if places else (knob.low, knob.default, knob.high)
    for position in shown:
        value = widgets.from_widget(knob, position)
        assert value is not None
        spec = build(data={"table": "0" * 64, "columns": {}}, **{name: value})
        assert getattr(spec, name) == value
        assert widgets.to_widget(knob, value) == position


def test_a_value_between_positions_shows_the_nearest() -> None:
    knob = knobs()["learning_rate"]
    places = widgets.positions(knob)
    assert places[int(widgets.to_widget(knob, 4.1e-5))] == 4e-5
    assert (places[0], places[-1]) == (1e-6, 1e-2)


def test_beyond_the_slider_is_its_end_and_empty_is_nothing() -> None:
    knob = knobs()["batch_size"]
    assert widgets.from_widget(knob, 99) == 128
    assert widgets.from_widget(knob, None) is None


@pytest.mark.parametrize("shown", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(shown: float) -> None:
    for knob in knobs().values():
        with pytest.raises(UserError, match="knob_not_a_number"):
            widgets.from_widget(knob, shown)


def test_the_live_value_is_written_by_the_browser() -> None:
    assert "'0.0002'" in widgets.live_readout(knobs()["learning_rate"])
