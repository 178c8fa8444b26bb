"""What leaves the page as a table runs nothing in a spreadsheet, and its name nothing in a browser."""

import csv
import io
import json
import re

import pytest

from tests.security.conftest import Space
from tests.security.visitors import Visitor, file

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
CELLS = [f"{start}HYPERLINK(\"http://198.51.100.1\";\"{start}\")" for start in STARTS] + [
    "  =1+1", "=cmd|' /C calc'!A0", "@SUM(1+1)*cmd", "-2+3+cmd|' /C calc'!A0", "\r\n=1+1", "plain, \"quoted\"",
    "-5", "+1.5",
]  # fmt: skip


@pytest.fixture(scope="module")
def visitor(space: Space) -> Visitor:
    """Somebody who has handed in a table of such cells, under such columns and such a name."""
    somebody = space.visitor()
    rows = [{"=text": f"{cell} of row {i}", "@label": cell} for i in range(3) for cell in CELLS]
    content = "\n".join(map(json.dumps, rows)).encode()
    path = somebody.upload('=evil"; filename=run.exe\r\nX: y.jsonl', content)
    somebody.call(somebody.find("upload", "data-file"), [file(path)])
    return somebody


def test_cells_that_begin_like_a_formula_are_inert_in_the_csv(visitor: Visitor) -> None:
    answer = visitor.http.get("/download/table/mended.csv")
    assert answer.status_code == 200
    assert answer.content.startswith(b"\xef\xbb\xbf")
    heads, *rows = csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    assert heads == ["'=text", "'@label"]
    assert len(rows) >= len(CELLS)
    for cell in (cell for row in rows for cell in row):
        harmless = re.fullmatch(r"[+-]?[\d.]+", cell)
        assert harmless or not cell.lstrip(" ").startswith(STARTS), cell


def test_the_same_cells_are_kept_to_the_letter_where_nothing_runs_them(visitor: Visitor) -> None:
    lines = visitor.http.get("/download/table/mended.jsonl").content.decode().splitlines()
    kept = {json.loads(line)["@label"] for line in lines}
    assert {"=cmd|' /C calc'!A0", "@SUM(1+1)*cmd", "-5"} <= kept


def test_a_hostile_name_stays_within_its_header(visitor: Visitor) -> None:
    answer = visitor.http.get("/download/table/mended.csv")
    told = answer.headers["content-disposition"]
    assert re.fullmatch(r"attachment; filename=\"[\w.-]+-mended\.csv\"", told)
    assert "x" not in answer.headers
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["cache-control"] == "no-store"
