"""The survey of a table: at once or in a child, it says the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.data import survey as surveying
from core.data.samples import SAMPLES
from core.data.store import TableStore
from core.data.survey import Question, survey
from core.errors import UserError
from core.settings import Limits, Settings

MESSY = SAMPLES["customer_messages"].with_name("customer_messages_messy.csv")


def question(settings: Settings, path: Path, columns: dict[str, str], test: Path | None = None) -> tuple[int, Question]:
    tables = TableStore(settings)
    table = tables.add(path, "local", path.name)
    other = str(tables.path(tables.add(test, "local", test.name).id, "local")) if test else None
    return table.rows, Question(str(tables.path(table.id, "local")), columns, test_table=other)


@pytest.mark.parametrize(
    "columns",
    [{"text": "message", "label": "topic"}, {"text": "message", "label": "id"}, {"text": "message", "label": "no"}],
)
def test_a_child_says_what_this_process_says(tmp_path, monkeypatch, columns):
    settings = Settings(home=tmp_path)
    rows, asked = question(settings, MESSY, columns)
    at_once = survey(settings, rows, asked)
    monkeypatch.setattr(surveying, "ROWS_AT_ONCE", 0)
    assert survey(settings, rows, asked) == at_once
    assert bool(at_once.sizes) == (columns["label"] == "topic")
    assert (at_once.error is None) == (columns["label"] == "topic")


def test_a_large_table_is_left_to_a_child(tmp_path, monkeypatch):
    settings = Settings(home=tmp_path)
    rows, asked = question(settings, SAMPLES["customer_messages"], {"text": "message", "label": "topic"})
    monkeypatch.setattr(surveying, "look", lambda *arguments: pytest.fail("in this process"))
    found = survey(settings, surveying.ROWS_AT_ONCE + 1, asked)
    assert sum(found.sizes.values()) == sum(found.counts.values()) == rows == 936
    assert found.error is None


def test_an_own_test_file_counts_as_the_test_part(tmp_path):
    settings = Settings(home=tmp_path)
    test = tmp_path / "test.csv"
    test.write_text("message,topic\nwhere is my parcel today,delivery\nI was charged twice,billing\n", encoding="utf-8")
    rows, asked = question(settings, SAMPLES["customer_messages"], {"text": "message", "label": "topic"}, test)
    assert survey(settings, rows, asked).sizes["test"] == 2


def test_fixes_are_applied_and_told(tmp_path):
    settings = Settings(home=tmp_path)
    rows, asked = question(settings, MESSY, {"text": "message", "label": "topic"})
    untouched = survey(settings, rows, replace(asked, fixes={}))
    assert untouched.applied == {}
    assert untouched.rows == 60
    assert "Refund" in untouched.counts
    one = survey(settings, rows, replace(asked, fixes={"label_variants": "merge"}))
    assert one.applied == {"label_variants": "merge"}
    assert one.rows == 60
    assert "Refund" not in one.counts
    some = survey(settings, rows, asked)
    assert {f["code"] for f in some.findings if f["applied"]} >= some.applied.keys() > one.applied.keys()
    assert some.rows < 60
    again = survey(settings, rows, replace(asked, fixes=some.applied))
    assert again == some


def test_a_question_survives_the_way_to_the_child():
    asked = Question("t", {"text": "a", "labels": ("b", "c")}, "multi_label", {"html": "strip"}, out="o")
    assert surveying.question(asked.as_dict()) == asked


@pytest.mark.usefixtures("started_anew")
def test_a_child_that_meets_its_limits_is_a_plain_error(tmp_path):
    settings = Settings(home=tmp_path)
    _, asked = question(settings, SAMPLES["customer_messages"], {"text": "message", "label": "topic"})
    tight = replace(settings, limits=replace(Limits(), doctor_memory=2**26))
    with pytest.raises(UserError, match="check_too_heavy"):
        survey(tight, surveying.ROWS_AT_ONCE + 1, asked)
