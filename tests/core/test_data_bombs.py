"""Small files that unfold to huge ones: each ends in a plain sentence, and the process that asked does not notice."""

import copy
import gzip
import io
import os
import zipfile

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data import reading
from core.errors import UserError
from core.settings import MEBIBYTE, Limits, Settings

GROWTH = 200 * MEBIBYTE
NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LAUGHS = '<!DOCTYPE x [<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)
) + "]>"  # fmt: skip


def parquet(table, **options):
    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd", **options)
    return target.getvalue()


def repeated(value, rows, **options):
    """A column of one long text, stored once."""
    column = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [value])
    return parquet(pa.table({"text": column, "label": column}), **options)


def archive(files, level=9):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as file:
        for name, content in files.items():
            if isinstance(content, int):  # so many mebibytes of blanks
                with file.open(name, "w") as entry:
                    for _ in range(content):
                        entry.write(b" " * MEBIBYTE)
            else:
                file.writestr(name, content)
    return target.getvalue()


def workbook(strings=None, sheet="", head=""):
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    overrides = [("workbook", "sheet.main"), ("sharedStrings", "sharedStrings"), ("sheet1", "worksheet")]
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        + "".join(f'<Override PartName="/xl/{n}.xml" ContentType="{kind}.{k}+xml"/>' for n, k in overrides)
        + "</Types>",
        "xl/workbook.xml": f'<workbook xmlns="{NAMESPACE}" xmlns:r="{relations}"><sheets>'
        '<sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        f'relationships"><Relationship Id="r1" Type="{relations}/worksheet" Target="sheet1.xml"/></Relationships>',
        "xl/sharedStrings.xml": strings or f'<sst xmlns="{NAMESPACE}"/>',
        "xl/sheet1.xml": sheet
        if isinstance(sheet, int)
        else f'{head}<worksheet xmlns="{NAMESPACE}"><dimension ref="A1:XFD1048576"/><sheetData>{sheet}'
        "</sheetData></worksheet>",
    }
    return archive(files)


def row(number, *texts):
    cells = "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in texts)
    return f'<row r="{number}">{cells}</row>'


def gzipped(megabytes):
    return gzip.compress(b"text,label\n" + b"a,b\n" * (10 * MEBIBYTE // 4)) * (megabytes // 10)


def overlapping():
    """Many entries that share the bytes of one."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("0.csv", "text,label\n" + "a,b\n" * 9000)
        for number in range(1, 1000):
            info = copy.copy(file.filelist[0])
            info.filename = f"{number}.csv"
            file.filelist.append(info)
    return target.getvalue()


def understated():
    """An entry of 150 MB that says it has 1,000 bytes."""
    content = archive({"data.csv": 150}, level=1)
    real = (150 * MEBIBYTE).to_bytes(4, "little")
    assert real in content
    return content.replace(real, (1000).to_bytes(4, "little"))


def matryoshka():
    content = b"text,label\na,b\nc,d\n"
    for depth in range(6):
        content = archive({f"{depth}.zip": content})
    return content


BOMBS = {
    "parquet, cells beyond the limit": (lambda: repeated("x" * 3_000_000, 1000), {"file_cell_too_long"}),
    "parquet, plain text of such": (
        lambda: repeated("x" * 3_000_000, 1000, store_schema=False),
        {"file_cell_too_long", "file_too_heavy", "file_damaged"},
    ),
    "parquet, cells within it": (lambda: repeated("x" * MEBIBYTE, 3000), {"file_unpacks_too_large"}),
    "parquet, plain text within it": (
        lambda: repeated("x" * MEBIBYTE, 3000, store_schema=False),
        {"file_unpacks_too_large", "file_too_heavy"},
    ),
    "parquet, rows": (lambda: parquet(pa.table({"a": pa.nulls(20_000_000)})), {"file_too_many_rows"}),
    "parquet, columns": (
        lambda: parquet(pa.table({f"c{n}": ["a"] for n in range(2000)})),
        {"file_too_many_columns"},
    ),
    "parquet, one list": (
        lambda: parquet(pa.table({"a": pa.array([np.zeros(3_000_000, np.int8)]), "b": ["x"]})),
        {"file_cell_too_long"},
    ),
    "xlsx, sheet": (lambda: workbook(sheet=250), {"file_unpacks_too_large"}),
    "xlsx, texts": (lambda: workbook(strings=150), {"file_unpacks_too_large"}),
    "xlsx, one text in many cells": (
        lambda: workbook(
            strings=f'<sst xmlns="{NAMESPACE}"><si><t>{"x" * MEBIBYTE}</t></si></sst>',
            sheet='<row><c t="s"><v>0</v></c><c t="s"><v>0</v></c></row>' * 2500,
        ),
        {"file_unpacks_too_large"},
    ),
    "xlsx, empty rows": (lambda: workbook(sheet="<row/>" * 20_000_000), {"file_unpacks_too_large"}),
    "xlsx, extent": (lambda: workbook(sheet=row(1, "text", "label") + row(10**9, "a", "b")), {"file_damaged"}),
    "xlsx, columns": (
        lambda: workbook(sheet=row(1, *["n"] * 9000) + row(2, *["a"] * 9000)),
        {"file_too_many_columns"},
    ),
    "xlsx, entities in texts": (
        lambda: workbook(strings=f'{LAUGHS}<sst xmlns="{NAMESPACE}"><si><t>&a9;</t></si></sst>'),
        {"file_damaged"},
    ),
    "xlsx, entities in the sheet": (
        lambda: workbook(sheet=row(1, "&a9;", "b") + row(2, "a", "b"), head=LAUGHS),
        {"file_damaged"},
    ),
    "gzip": (lambda: gzipped(3000), {"file_unpacks_too_large"}),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(gzipped(250))), {"file_not_a_table"}),
    "zip": (lambda: archive({"data.csv": 250}, level=1), {"file_unpacks_too_large"}),
    "zip, in sum": (lambda: archive({f"{n}.csv": 60 for n in range(4)}, level=1), {"file_unpacks_too_large"}),
    "zip, overlapping": (overlapping, {"file_damaged"}),
    "zip, understated": (understated, {"file_damaged"}),
    "zip in zip": (matryoshka, {"file_not_a_table"}),
    "zip, entries": (
        lambda: archive({f"{n}.bin": b"\1\2\3\4\5\6\7" for n in range(100_000)}, level=1),
        {"file_not_a_table", "file_too_heavy"},
    ),
    "csv, columns": (lambda: b"a," * 10**6 + b"\n" + b"1," * 10**6, {"file_too_many_columns", "file_cell_too_long"}),
    "json, nested": (lambda: b"[" * 150_000 + b"]" * 150_000, None),
    "jsonl, nested": (lambda: (b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n") * 2, None),
    "xml, entities": (lambda: f'<?xml version="1.0"?>{LAUGHS}<x>&a9;</x>'.encode(), None),
    "tmx, entities": (
        lambda: (
            f'<?xml version="1.0"?>{LAUGHS}<tmx version="1.4"><body><tu><tuv xml:lang="en"><seg>&a9;</seg></tuv>'
            '<tuv xml:lang="de"><seg>b</seg></tuv></tu></body></tmx>'.encode()
        ),
        None,
    ),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for temporary files of the child, to see that it leaves none."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    return tmp_path


def refused(place, content, limits=None):
    path = place / "file.csv"
    path.write_bytes(content)
    del content
    process, before = os.getpid(), psutil.Process().memory_info().rss
    with pytest.raises(UserError) as error:
        reading.read(path, place / "table", Settings(home=place / "home", limits=limits or Limits()))
    assert psutil.Process().memory_info().rss - before < GROWTH
    assert os.getpid() == process
    assert not (place / "table").exists()
    assert list((place / "temporary").iterdir()) == []
    return error.value.code


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_in_a_sentence(place, name):
    build, codes = BOMBS[name]
    code = refused(place, build())
    assert code in codes if codes else code != "file_unreadable"


@pytest.mark.parametrize("name", ["/tmp/evil.csv", "../evil.csv", "a/../../evil.csv", "C:\\evil.csv", "..\\evil.csv"])
def test_names_in_an_archive_lead_nowhere(place, name):
    before = {path.name for path in place.iterdir()}
    assert refused(place, archive({name: "text,label\na,b\n", "a.csv": "text,label\na,b\nc,d\n"})) == "file_damaged"
    assert {path.name for path in place.iterdir()} - before <= {"file.csv", "home"}


def test_a_child_that_is_killed_leaves_no_unpacked_file(place):
    lines = b"".join(f'{n},"some words of text {n}",{n % 7}\n'.encode() for n in range(40_000))
    content = gzip.compress(b"id,text,label\n") + gzip.compress(lines, 1) * 24
    assert refused(place, content, Limits(reader_wall=2)) == "file_too_heavy"
