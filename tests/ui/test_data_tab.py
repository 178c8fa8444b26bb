"""The Data tab: values in, values out, on real files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.data.samples import TASKS
from core.errors import UserError
from ui import choices
from ui.overview import overview
from ui.page import Visit
from ui.tabs import data
from ui.tabs.data import augmenting, doctor, handing_in, meaning, parts, preview, reading
from ui.text import Text

Write = Callable[..., Path]
MESSY = [
    *[(f"where is parcel number {i} which I ordered", "delivery") for i in range(12)],
    *[(f"please refund order number {i} to my card", "refund") for i in range(12)],
    ("where is parcel number 3 which I ordered", "delivery"),
    ("please refund order number 3 to my card", "Refund"),
    ("", "refund"),
    ("the caf\u00c3\u00a9 machine is &lt;broken&gt;", "delivery"),
]


def named(visit: Visit) -> dict[str, dict[str, object]]:
    return {f["code"]: f for f in overview(visit).findings}


def test_an_upload_becomes_a_table_with_guessed_columns(visit: Visit, spreadsheet: Write) -> None:
    path = spreadsheet()
    handing_in.upload(visit, str(path))
    shown = data.view(visit)
    assert visit.draft.columns == {"text": "text", "label": "label"}
    assert visit.draft.task == "classification"
    assert overview(visit).counts == {"delivery": 20, "refund": 20, "defect": 20}
    assert overview(visit).rows == 60
    assert "mine.csv" in shown["summary"]
    assert shown["file"] is None
    assert not path.exists()  # gradio would serve it to whoever knows its address
    assert not path.parent.exists()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"text,label\n"])
def test_a_bad_file_is_explained_and_takes_nothing_away(visit: Visit, spreadsheet: Write, content: bytes) -> None:
    handing_in.upload(visit, str(spreadsheet()))
    before = visit.draft
    bad = spreadsheet(name="bad.csv")
    bad.write_bytes(content)
    shown = handing_in.upload(visit, str(bad))
    assert shown
    assert set(shown) == {"file", "problem"}
    assert "alert" in shown["problem"].value
    assert visit.draft == before
    assert not bad.exists()


@pytest.mark.parametrize("key", TASKS)
def test_each_sample_is_used_with_its_task(visit: Visit, key: str) -> None:
    handing_in.take_sample(visit, key)
    found = overview(visit)
    assert visit.draft.task == TASKS[key]
    assert found.rows > 100
    assert not [f for f in found.findings if f["severity"] == "error"]
    handing_in.take_sample(visit, key)
    assert len(visit.house.tables.list(visit.owner)) == 1


def test_the_sample_for_classification_can_be_trained_on(visit: Visit) -> None:
    handing_in.take_sample(visit)
    assert overview(visit).usable
    assert 7 <= len(overview(visit).counts) <= 9


@pytest.mark.parametrize("key", list(TASKS))
def test_each_sample_can_be_trained_on(visit: Visit, key: str) -> None:
    handing_in.take_sample(visit, key)
    assert overview(visit).usable
    assert choices.train_spec(visit).task == TASKS[key]


def test_what_is_remembered_is_said_in_each_language(visit: Visit) -> None:
    handing_in.take_sample(visit, "appliance_phrases")
    visit.change(columns={"source": visit.draft.columns["source"]})
    chinese = Visit(visit.house, Text("zh-CN"), visit.owner)
    for asked in (visit, chinese):
        error = overview(asked).error
        assert error
        assert error.facts["role"] == asked.text("data.role.target")


def test_choosing_columns_is_remembered_and_judged(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet()))
    names = dict.fromkeys(meaning.ROLES)
    meaning.choose_columns(visit, *(names | {"text": "text"}).values())
    assert overview(visit).error is not None
    assert visit.text("ready.data.problem") in data.view(visit)["ready"]
    meaning.choose_columns(visit, *(names | {"text": "text", "label": "label"}).values())
    assert overview(visit).usable


def test_another_task_brings_its_columns(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet()))
    meaning.choose_task(visit, "multi_label")
    shown = data.view(visit)
    assert shown["column_labels"].visible
    assert not shown["column_label"].visible
    assert visit.draft.columns == {"text": "text", "labels": "label"}
    assert meaning.choose_task(visit, "nonsense") is None


def test_the_doctor_mends_and_takes_it_back(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet(MESSY)))
    before = overview(visit)
    assert {"duplicate_rows", "blank_text", "label_variants", "html", "garbled_text"} <= named(visit).keys()
    assert not before.applied
    doctor.press(visit, {"code": "duplicate_rows", "fix": "drop"})
    assert named(visit)["duplicate_rows"]["applied"] == "drop"
    assert set(overview(visit).applied) == {"duplicate_rows"}
    doctor.press(visit, {"code": "*", "fix": "all"})
    assert {"duplicate_rows", "blank_text", "label_variants", "html", "garbled_text"} <= overview(visit).applied.keys()
    assert "Refund" not in overview(visit).counts
    doctor.press(visit, {"code": "html", "fix": ""})
    assert "html" not in overview(visit).applied
    doctor.press(visit, {"code": "*", "fix": ""})
    assert overview(visit) == before


def test_an_unknown_fix_is_refused(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet(MESSY)))
    for told in ({"code": "nothing", "fix": "drop"}, {"code": "duplicate_rows", "fix": "__import__"}):
        with pytest.raises(UserError, match="fix_unknown"):
            doctor.press(visit, told)
    doctor.press(visit, {"code": ["x"]})
    assert visit.draft.fixes == {}


def test_findings_show_rows_and_reasons(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet(MESSY)))
    cards = data.view(visit)["doctor"]
    assert 'data-code="duplicate_rows"' in cards
    assert visit.text("why.duplicate_rows").split()[0] in cards
    assert visit.text("data.row", n=29) in cards  # the garbled one, as the spreadsheet numbers it
    assert "caf\u00e9" in cards


def test_shares_change_the_parts(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet()))
    parts.choose_shares(visit, 0.2, 0.3)
    sizes = overview(visit).sizes
    assert sizes["test"] > sizes["validation"] > 5


def test_rows_are_divided_by_a_column_and_by_groups(visit: Visit, spreadsheet: Write) -> None:
    path = spreadsheet()
    lines = path.read_text(encoding="utf-8").splitlines()
    marks = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    head = lines[0] + ",part,customer"
    body = [f"{line},{marks[i]},{i % 12}" for i, line in enumerate(lines[1:])]
    path.write_text("\n".join([head, *body]) + "\n", encoding="utf-8")
    handing_in.upload(visit, str(path))
    parts.choose_split(visit, "column", "part")
    assert overview(visit).sizes == {"train": 40, "validation": 10, "test": 10}
    parts.choose_split(visit, "group", "customer")
    assert overview(visit).rows == 60
    assert overview(visit).usable
    shown = parts.choose_split(visit, "column", None)
    assert shown["split_column"]["visible"]  # the box to choose from stays open
    assert visit.draft.split.method == "fraction"


def test_own_test_rows_replace_the_ones_held_out(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet()))
    rows = [(f"an exam text {i}", label) for i in range(5) for label in ("delivery", "refund", "defect")]
    parts.upload_test(visit, str(spreadsheet(rows, "exam.csv")))
    assert overview(visit).sizes["test"] == 15
    parts.remove_test(visit)
    assert overview(visit).sizes["test"] != 15


def test_test_rows_with_other_columns_are_explained(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet()))
    other = spreadsheet(name="other.csv")
    other.write_text("words,topic\nhello,delivery\nbye,refund\n")
    shown = parts.upload_test(visit, str(other))
    assert shown
    assert shown["test_problem"].visible
    assert visit.draft.test_table is None


def test_pasted_rows_are_read_like_a_file(visit: Visit) -> None:
    rows = "\n".join(f"where is parcel {i}\tdelivery\nplease refund {i}\trefund" for i in range(10))
    handing_in.paste(visit, f"text\tlabel\n{rows}")
    assert overview(visit).counts == {"delivery": 10, "refund": 10}
    assert "alert" in handing_in.paste(visit, " ")["problem"].value


def test_the_file_can_be_read_otherwise(visit: Visit, spreadsheet: Write) -> None:
    path = spreadsheet()
    path.write_bytes("text;label\ncaf\u00e9 kaputt;defect\nt\u00fcr klemmt;defect\n".encode("cp1252") * 3)
    handing_in.upload(visit, str(path))
    reading.read_again(visit, "mac_roman", ";", None, "auto", None)
    table = handing_in.table_of(visit, visit.draft.table)
    assert table
    assert table.encoding == "mac_roman"
    assert data.view(visit)["encoding"]["value"] == "mac_roman"
    reading.read_again(visit, "cp1252", "none", None, "no", None)
    table = handing_in.table_of(visit, visit.draft.table)
    assert table
    assert len(table.columns) == 1
    shown = reading.read_again(visit, "zip", ";", None, "auto", None)
    assert "alert" in shown["problem"].value


def test_the_preview_jumps_and_stays_small(visit: Visit, spreadsheet: Write) -> None:
    rows = [(f"text number {i} " + "x" * 1000, "a" if i % 2 else "b") for i in range(1200)]
    handing_in.upload(visit, str(spreadsheet(rows)))
    shown = preview.look(visit, 1101)
    cells = shown["preview"].value["data"]
    assert len(cells) == 100
    assert cells[0][0] == "1102"  # the header is row 1
    assert cells[0][1].startswith("text number 1100")
    assert max(len(cell) for row in cells for cell in row) <= 300
    assert preview.look(visit, None)["preview"].value["data"][0][0] == "2"
    assert len(preview.look(visit, -5)["preview"].value["data"]) == 500


def test_copies_are_planned_and_previewed(visit: Visit, spreadsheet: Write) -> None:
    rows = [(f"the parcel number {i} never arrived at my house in the city", "delivery") for i in range(30)]
    rows += [(f"please send the money for order {i} back to my bank account", "refund") for i in range(10)]
    handing_in.upload(visit, str(spreadsheet(rows)))
    assert augmenting.view(visit)["augment_plan"] == ""
    augmenting.choose(visit, ["delete", "swap", "evil"], 1, 0.2, True)
    assert visit.draft.augment.methods == ("delete", "swap")
    train = overview(visit).train_counts
    assert str(train["refund"]) in augmenting.view(visit)["augment_plan"]
    shown = augmenting.look(visit)["augment_preview"]
    assert visit.text("data.augmentation.delete") in shown or visit.text("data.augmentation.swap") in shown


def test_lengths_are_measured_once_and_remembered(visit: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet()))
    shown = doctor.measure(visit)
    assert "<svg" in shown["lengths"]
    tokens = visit.draft.tokens
    assert tokens
    assert 5 <= tokens["p95"] <= 15
    assert doctor.measure(visit) == shown
    names = dict.fromkeys(meaning.ROLES) | {"text": "label", "label": "text"}
    meaning.choose_columns(visit, *names.values())
    assert visit.draft.tokens is None


def test_a_large_table_is_shown_before_it_is_checked(
    visit: Visit, spreadsheet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "ROWS_AT_ONCE", 10)
    handing_in.upload(visit, str(spreadsheet()))
    shown = data.view(visit)
    assert shown["waiting"] is True
    assert "mine.csv" in shown["summary"]
    assert visit.text("ready.data.busy") in shown["ready"].replace("&#x27;", "'")
    later = data.complete(visit, True)
    assert later["waiting"] is False
    assert "sizes" in later
    assert data.complete(visit, False) == {}


def test_a_stranger_sees_nothing_of_it(visit: Visit, stranger: Visit, spreadsheet: Write) -> None:
    handing_in.upload(visit, str(spreadsheet()))
    assert overview(stranger).table is None
    stranger.change(table=visit.draft.table, columns=visit.draft.columns)
    error = overview(stranger).error
    assert isinstance(error, UserError)
    assert error.code == "table_unknown"
    assert data.view(stranger)["summary"] == ""


def test_a_label_like_code_is_shown_as_text(visit: Visit, spreadsheet: Write) -> None:
    rows = [(f"text {i} of {x}", x) for i in range(10) for x in ("<img src=x onerror=alert(1)>", "b")]
    handing_in.upload(visit, str(spreadsheet(rows)))
    shown = data.view(visit)
    page = "".join(str(value) for value in shown.values() if isinstance(value, str))
    assert "<img" not in page
    assert "&lt;img" in page
