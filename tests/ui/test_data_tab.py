"""The Data tab: values in, values out, on real files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UserError
from ui.overview import overview
from ui.page import Visit
from ui.tabs import data

Write = Callable[..., Path]


def test_an_upload_becomes_a_table_with_guessed_columns(visit: Visit, spreadsheet: Write) -> None:
    path = spreadsheet()
    shown = data.upload(visit, str(path))
    assert visit.draft.columns == {"text": "text", "label": "label"}
    assert overview(visit).counts == {"delivery": 20, "refund": 20, "defect": 20}
    assert sum(overview(visit).sizes.values()) == 60
    assert "mine.csv" in shown["summary"]
    assert shown["file"] is None
    assert not path.exists()  # gradio would serve it to whoever knows its address
    assert not path.parent.exists()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"text,label\n", b"only\none\ncolumn\n"])
def test_a_bad_file_is_explained_and_takes_nothing_away(visit: Visit, spreadsheet: Write, content: bytes) -> None:
    data.upload(visit, str(spreadsheet()))
    before = visit.draft
    bad = spreadsheet(name="bad.csv")
    bad.write_bytes(content)
    shown = data.upload(visit, str(bad))
    assert set(shown) == {"file", "problem"}
    assert "role" in shown["problem"].value or "alert" in shown["problem"].value
    assert visit.draft == before
    assert not bad.exists()


def test_the_sample_is_used_and_stays(visit: Visit) -> None:
    data.take_sample(visit)
    found = overview(visit)
    assert found.usable
    assert 7 <= len(found.counts) <= 9
    data.take_sample(visit)
    assert len(visit.house.tables.list(visit.owner)) == 1


def test_choosing_columns_is_remembered_and_judged(visit: Visit, spreadsheet: Write) -> None:
    data.upload(visit, str(spreadsheet()))
    shown = data.choose_columns(visit, "text", None)
    assert overview(visit).error is not None
    assert visit.text("ready.data.problem") in shown["ready"]
    data.choose_columns(visit, "text", "label")
    assert overview(visit).usable


def test_shares_change_the_parts(visit: Visit, spreadsheet: Write) -> None:
    data.upload(visit, str(spreadsheet()))
    data.choose_shares(visit, 0.2, 0.3)
    sizes = overview(visit).sizes
    assert sizes["test"] > sizes["validation"] > 5


def test_own_test_rows_replace_the_ones_held_out(visit: Visit, spreadsheet: Write) -> None:
    data.upload(visit, str(spreadsheet()))
    rows = [(f"an exam text {i}", label) for i in range(5) for label in ("delivery", "refund", "defect")]
    data.upload_test(visit, str(spreadsheet(rows, "exam.csv")))
    assert overview(visit).sizes["test"] == 15
    data.remove_test(visit)
    assert overview(visit).sizes["test"] != 15


def test_test_rows_with_other_columns_are_explained(visit: Visit, spreadsheet: Write) -> None:
    data.upload(visit, str(spreadsheet()))
    other = spreadsheet(name="other.csv")
    other.write_text("words,topic\nhello,delivery\nbye,refund\n")
    shown = data.upload_test(visit, str(other))
    assert shown["test_problem"].visible
    assert visit.draft.test_table is None


def test_lengths_are_measured_once_and_remembered(visit: Visit, spreadsheet: Write) -> None:
    data.upload(visit, str(spreadsheet()))
    shown = data.measure(visit)
    assert "<svg" in shown["lengths"]
    tokens = visit.draft.tokens
    assert tokens
    assert 5 <= tokens["p95"] <= 15
    assert data.measure(visit) == shown
    data.choose_columns(visit, "label", "text")
    assert visit.draft.tokens is None


def test_a_stranger_sees_nothing_of_it(visit: Visit, stranger: Visit, spreadsheet: Write) -> None:
    data.upload(visit, str(spreadsheet()))
    assert overview(stranger).table is None
    stranger.change(table=visit.draft.table, columns=visit.draft.columns)
    error = overview(stranger).error
    assert isinstance(error, UserError)
    assert error.code == "table_unknown"


def test_a_label_like_code_is_shown_as_text(visit: Visit, spreadsheet: Write) -> None:
    rows = [(f"text {i} of {x}", x) for i in range(10) for x in ("<img src=x onerror=alert(1)>", "b")]
    shown = data.upload(visit, str(spreadsheet(rows)))
    page = "".join(str(value) for value in shown.values() if isinstance(value, str))
    assert "<img" not in page
    assert "&lt;img" in page
