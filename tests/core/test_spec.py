import math

import pytest

from core.errors import UserError
from core.spec import DataChoice, TrainSpec, build, knobs

DATA = DataChoice(table="0" * 64, columns={"text": "t", "label": "l"})


def test_a_knob_knows_its_own_bounds_scale_and_default():
    rate = knobs()["learning_rate"]
    assert (rate.low, rate.high, rate.knob.scale, rate.default) == (1e-6, 1e-2, "log", 5e-5)
    assert knobs("data").keys() == {"validation_fraction", "test_fraction"}


def test_flags_become_numbers():
    spec = build(data=DATA, learning_rate="2e-4", epochs="3")
    assert (spec.learning_rate, spec.epochs) == (2e-4, 3)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("learning_rate", "nan", "knob_not_a_number"),
        ("learning_rate", math.nan, "knob_not_a_number"),
        ("learning_rate", "inf", "knob_not_a_number"),
        ("learning_rate", "fast", "knob_not_a_number"),
        ("learning_rate", 1.0, "knob_out_of_range"),
        ("epochs", 0, "knob_out_of_range"),
        ("epochs", "2.5", "knob_not_whole"),
        ("magic", 1, "knob_unknown"),
    ],
)
def test_a_wrong_knob_is_named(name, value, code):
    with pytest.raises(UserError) as wrong:
        build(data=DATA, **{name: value})
    assert wrong.value.code == code
    assert wrong.value.facts["knob"] == name


def test_a_spec_survives_the_way_through_a_file():
    spec = build(data=DATA, epochs=7)
    assert TrainSpec.model_validate_json(spec.model_dump_json()) == spec
