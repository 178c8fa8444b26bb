"""Sentences: facts filled in, plural, numbers as people write them, errors."""

import pytest

from core.errors import UserError
from ui.text import Text, written


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5e-05, "0.00005"), (0.0002, "0.0002"), (12345, "12,345"), (0.15, "0.15"), (3.0, "3"), ("a", "a"), (True, "True")],
)
def test_numbers_are_written_as_people_do(value: object, expected: str) -> None:
    assert written(value) == expected


def test_plural_follows_the_count() -> None:
    text = Text("en")
    assert text("data.rows", n=1) == "1 row"
    assert text("data.rows", n=1200) == "1,200 rows"
    assert Text("zh-CN")("data.rows", n=1) == "1 行"


def test_a_missing_key_or_fact_is_an_error() -> None:
    with pytest.raises(KeyError):
        Text("en")("data.no_such_sentence")
    with pytest.raises(KeyError):
        Text("en")("data.rows")


def test_an_error_names_the_setting_in_the_language_of_the_page() -> None:
    error = UserError("knob_out_of_range", knob="learning_rate", value="5", low=1e-6, high=0.01)
    assert Text("en").error(error) == "Learning rate must lie between 0.000001 and 0.01, but it is 5."
    assert Text("zh-CN").error(error).startswith("学习率")


def test_a_code_without_a_sentence_is_still_calm() -> None:
    assert Text("en").error(UserError("never_heard_of")) == Text("en")("errors.unexpected")


def test_braces_in_facts_stay_as_they_are() -> None:
    error = UserError("model_not_loadable", name="{knob} {0} <b>")
    assert "{knob} {0} <b>" in Text("en").error(error)
