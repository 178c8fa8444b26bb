import csv
import os

import pandas as pd
import pytest

from core.data.formats import parse_any
from core.data.options import ReadOptions
from core.data.writing import write_table
from core.errors import UserError
from core.settings import Limits


def rows_in(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


NASTY = [
    'a "quote"',
    "a, comma",
    "two\nlines",
    "lone\rreturn",
    "win\r\ndows",
    "",
    " blanks ",
    "快递",
    "tab\tin",
    "\U0001f642",
]


def test_what_is_written_reads_back(tmp_path):
    path = tmp_path / "out.csv"
    frame = pd.DataFrame({"text": NASTY, "n": range(len(NASTY)), "confidence": [0.25] * len(NASTY)})
    write_table(frame, path)
    assert rows_in(path) == [["text", "n", "confidence"], *[[t, str(i), "0.25"] for i, t in enumerate(NASTY)]]
    again = parse_any(path, Limits(), ReadOptions()).table.to_pydict()
    assert again["text"] == NASTY


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", " ="])
def test_formulas_are_inert_in_cells_and_names(tmp_path, start):
    path = tmp_path / "out.csv"
    write_table(pd.DataFrame({start + "A1": [start + 'HYPERLINK("x")', "fine"]}), path)
    (name,), (cell,), _ = rows_in(path)
    assert name.startswith("'")
    assert cell == "'" + start + 'HYPERLINK("x")'


def test_numbers_stay_numbers(tmp_path):
    path = tmp_path / "out.csv"
    cells = ["-5", "+3.2", "-1e-3", "-12 %", "1,5", "-"]
    write_table(pd.DataFrame({"a": cells, "b": [-1.5] * 6}), path)
    assert [row[0] for row in rows_in(path)[1:]] == [*cells[:-1], "'-"]
    assert {row[1] for row in rows_in(path)[1:]} == {"-1.5"}


def test_excel_gets_its_mark_and_others_do_not(tmp_path):
    frame = pd.DataFrame({"a": ["é"]})
    write_table(frame, tmp_path / "plain.csv")
    write_table(frame, tmp_path / "excel.csv", for_excel=True)
    assert (tmp_path / "plain.csv").read_bytes() == "a\r\né\r\n".encode()
    assert (tmp_path / "excel.csv").read_bytes() == "\ufeffa\r\né\r\n".encode()


def test_the_input_is_never_replaced(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("text\nhello\n")
    (tmp_path / "link.csv").symlink_to(source)
    os.link(source, tmp_path / "hard.csv")
    for name in ("in.csv", "link.csv", "hard.csv", "../" + tmp_path.name + "/in.csv"):
        with pytest.raises(UserError, match="output_is_input"):
            write_table(pd.DataFrame({"a": ["b"]}), tmp_path / name, source=source)
    assert source.read_text() == "text\nhello\n"


def test_places_that_cannot_be_written_are_said(tmp_path):
    frame = pd.DataFrame({"a": ["b"]})
    with pytest.raises(UserError, match="output_folder_missing"):
        write_table(frame, tmp_path / "absent" / "out.csv")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="output_not_writable"):
        write_table(frame, tmp_path / "folder")


def test_the_frame_given_is_not_changed(tmp_path):
    frame = pd.DataFrame({"=a": ["=1+1"]})
    write_table(frame, tmp_path / "out.csv")
    assert frame.to_dict("list") == {"=a": ["=1+1"]}
