"""Parquet, workbooks, gzip and ZIP: what a small file of each becomes."""

import datetime
import gzip
import io
import json
import zipfile
from decimal import Decimal

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data.building import ROW_COLUMN
from core.data.formats import parse_any
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import Limits

LIMITS = Limits()
CSV = "text,label\n快递还没有到,物流\n我要退款,退款\n"
TABLE = [["text", "label"], ["快递还没有到", "物流"], ["我要退款", "退款"]]


@pytest.fixture
def parsed(tmp_path):
    def parse(content, limits=LIMITS, **options):
        path = tmp_path / "file.bin"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return parse_any(path, limits, ReadOptions(**options))

    return parse


@pytest.fixture
def refused(parsed):
    def refuse(content, limits=LIMITS, **options):
        with pytest.raises(UserError) as error:
            parsed(content, limits, **options)
        return error.value

    return refuse


def cells(result):
    table = result.table.to_pydict()
    names = result.table.column_names[:-1]
    return [names, *[list(row) for row in zip(*(table[name] for name in names), strict=True)]]


def numbers(result):
    return result.table.to_pydict()[ROW_COLUMN]


def notes(result):
    return {note["code"]: note["rows"] for note in result.notes}


def parquet(columns, metadata=None, **options):
    table = pa.table(columns).replace_schema_metadata(metadata)
    target = io.BytesIO()
    pq.write_table(table, target, **options)
    return target.getvalue()


def workbook(sheets, change=None):
    """An xlsx file: name of a sheet -> its rows; `change` may do more to the book before it is saved."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    if change:
        change(book)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def archive(files):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return target.getvalue()


def edited(book, more=None, **parts):
    """A workbook with other XML in some of its parts, named without folder and ending, and with more parts."""
    with zipfile.ZipFile(io.BytesIO(book)) as source:
        files = {name: source.read(name) for name in source.namelist()} | (more or {})
    for name in files:
        stem = name.rpartition("/")[2].removesuffix(".xml")
        if stem in parts:
            files[name] = parts[stem](files[name].decode())
    return archive(files)


# --- Parquet ---


def test_parquet_values_become_the_text_that_stands_for_them(parsed):
    noon = datetime.datetime(2024, 1, 5, 12, 30, 0, 500_000)
    content = parquet(
        {
            "text": ["快递还没有到", None],
            "whole": pa.array([7, None]),
            "float": pa.array([1.0, 0.1]),
            "single": pa.array([0.1, float("nan")], pa.float32()),
            "yes": [True, False],
            "day": pa.array([noon.date(), None]),
            "moment": pa.array([noon, None], pa.timestamp("ns")),
            "zone": pa.array([noon, None], pa.timestamp("s", "Asia/Shanghai")),
            "clock": pa.array([datetime.time(20, 10), None]),
            "price": pa.array([Decimal("1.50"), None]),
            "class": pa.array(["a", None]).dictionary_encode(),
            "bytes": pa.array(["é".encode(), None]),
            "nothing": pa.nulls(2),
        }
    )
    result = parsed(content)
    assert cells(result)[1:] == [
        ["快递还没有到", "7", "1", "0.1", "true", "2024-01-05", "2024-01-05 12:30:00.5", "2024-01-05 12:30:00Z",
         "20:10:00", "1.50", "a", "é", ""],
        ["", "", "0.1", "", "false", "", "", "", "", "", "", "", ""],
    ]  # fmt: skip
    assert numbers(result) == [1, 2]
    assert result.notes == []
    assert result.facts == {
        "format": "parquet", "container": "", "encoding": "", "delimiter": "", "title_rows": 0, "header": True,
        "part": "", "parts": [],
    }  # fmt: skip


def test_parquet_structs_are_columns_and_lists_are_json(parsed):
    messages = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "hi"}]
    content = parquet(
        {
            "translation": [{"de": "Hallo", "zh": "你好", "more": {"n": 1}}, None],
            "messages": [messages, []],
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        }
    )
    result = cells(parsed(content))
    assert result[0] == ["translation.de", "translation.zh", "translation.more.n", "messages", "map"]
    assert result[1][:3] == ["Hallo", "你好", "1"]
    assert json.loads(result[1][3]) == messages
    assert "你好" in result[1][3]
    assert result[1][4] == '{"a": 1}'
    assert result[2] == ["", "", "", "[]", ""]


def test_parquet_numbers_of_classes_become_their_names(parsed):
    label = {"names": ["坏", "好"], "_type": "ClassLabel"}
    features = {"label": label, "tags": {"feature": label, "_type": "List"}, "n": {"dtype": "int64", "_type": "Value"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    columns = {"label": [1, -1, 5], "tags": [[0, 1], [], None], "n": [1, 0, 1]}
    assert cells(parsed(parquet(columns, metadata)))[1:] == [
        ["好", '["坏", "好"]', "1"],
        ["", "[]", "0"],
        ["5", "", "1"],
    ]
    assert cells(parsed(parquet(columns, {"huggingface": "{"})))[1][0] == "1"


def test_parquet_columns_of_pictures_are_left_out_and_said(parsed):
    content = parquet({"image": pa.array([b"\x89PNG\xff", b""]), "text": ["a", "b"], "label": ["x", "y"]})
    result = parsed(content)
    assert cells(result) == [["text", "label"], ["a", "x"], ["b", "y"]]
    assert result.notes == [{"code": "columns_left_out", "rows": 0, "columns": "image"}]


def test_parquet_in_many_batches_keeps_order_and_numbers(parsed):
    rows = 5000
    content = parquet({"text": [f"t{i}" for i in range(rows)], "n": list(range(rows))}, row_group_size=700)
    result = parsed(content)
    assert numbers(result) == list(range(1, rows + 1))
    assert cells(result)[-1] == [f"t{rows - 1}", str(rows - 1)]


def test_parquet_bounds(refused):
    content = parquet({"text": ["a" * 50] * 9, "label": ["x"] * 9})
    assert refused(content, Limits(rows=8)).code == "file_too_many_rows"
    assert refused(content, Limits(columns=1)).code == "file_too_many_columns"
    assert refused(content, Limits(cell_characters=49)).code == "file_cell_too_long"
    assert refused(content, Limits(file_bytes=9 * 50)).code == "file_unpacks_too_large"
    assert refused(content[:-6]).code == "file_damaged"
    assert refused(b"PAR1" + content).code == "file_damaged"
    assert refused(parquet({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})).code == (
        "file_header_only"
    )


# --- Excel ---


def test_excel_cells_become_text(parsed):
    noon = datetime.datetime(2024, 1, 5, 12, 30)
    midnight = datetime.datetime(2024, 1, 5)
    rows = [
        ["text", "n", "x", "yes", "day", "moment", "clock", "share", "error", "code"],
        ["快递还没有到", 1.0, 0.1, True, midnight, noon, datetime.time(20, 10), 0.25, "#N/A", "007"],
        ["a_x000D_\nb", -3, 1e20, False, midnight, noon, datetime.time(1), 1.5, "#DIV/0!", " b "],
    ]
    result = parsed(workbook({"data": rows}))
    assert cells(result) == [
        rows[0],
        ["快递还没有到", "1", "0.1", "TRUE", "2024-01-05", "2024-01-05 12:30:00", "20:10:00", "0.25", "#N/A", "007"],
        ["a\r\nb", "-3", "1e+20", "FALSE", "2024-01-05", "2024-01-05 12:30:00", "01:00:00", "1.5",
         "#DIV/0!", " b "],
    ]  # fmt: skip
    assert numbers(result) == [2, 3]
    assert result.notes == []
    assert result.facts == {
        "format": "xlsx", "container": "", "encoding": "", "delimiter": "", "title_rows": 0, "header": True,
        "part": "", "parts": [],
    }  # fmt: skip


def test_excel_takes_the_sheet_with_the_most_rows_or_the_one_asked_for(parsed, refused):
    def hide(book):
        book["lists"].sheet_state = "hidden"

    sheets = {
        "说明": [["About this file", "and more", "and more"], ["Made by", "us", "in May"]],
        "反馈": [["text", "label"], ["好", "praise"], ["坏", "complaint"], ["慢", "complaint"]],
        "lists": [["label", "n"], *[[f"l{i}", i] for i in range(20)]],
    }
    content = workbook(sheets, hide)
    result = parsed(content)
    assert cells(result) == sheets["反馈"]
    assert (result.facts["part"], result.facts["parts"]) == ("反馈", ["说明", "反馈", "lists"])
    assert len(cells(parsed(content, part="lists"))) == 21
    assert refused(content, part="none").as_dict() == {
        "code": "file_part_missing",
        "facts": {"part": "none", "parts": "说明, 反馈, lists"},
    }


@pytest.mark.parametrize(
    ("above", "title_rows"),
    [
        ([], 0),
        ([[]], 0),
        ([["Feedback 2024"]], 1),
        ([["Feedback 2024"], [], ["Exported", "5 May"], []], 4),
        ([["客户反馈"], ["内部资料"], ["第一页"]], 3),
    ],
)
@pytest.mark.parametrize("header", [["id", "text", "label"], [None, "text", "label"], ["id", "text", "label", "notes"]])
def test_excel_passes_over_titles_above_the_header(parsed, above, title_rows, header):
    rows = [[f"n{i}", f"text {i}", "ab"[i % 2]] for i in range(6)]
    result = parsed(workbook({"data": [*above, header, *rows]}))
    expected = [[*row, *[""] * (len(header) - 3)] for row in rows]
    assert cells(result) == [[name or "column 1" for name in header], *expected]
    assert result.facts["title_rows"] == title_rows
    assert numbers(result)[0] == len(above) + 2
    assert "ragged_rows" not in notes(result)


def test_excel_title_rows_and_header_can_be_decided(parsed):
    content = workbook({"data": [["a", "b"], ["text", "label"], ["hi", "x"], ["yo", "y"]]})
    assert cells(parsed(content, title_rows=1)) == [["text", "label"], ["hi", "x"], ["yo", "y"]]
    assert parsed(content, title_rows=1).facts["title_rows"] == 1
    result = parsed(content, header=False)
    assert cells(result)[:2] == [["column 1", "column 2"], ["a", "b"]]
    assert result.facts["header"] is False
    assert numbers(result) == [1, 2, 3, 4]


def test_excel_merged_cells_stand_for_each_of_their_rows(parsed):
    rows = [
        ["Report", None, None],
        ["topic", "scores", None],
        [None, "text", "n"],
        ["物流", "late", 1],
        [None, "lost", 2],
        [None, None, None],
        ["退款", "where", 3],
        [None, "when", 4],
    ]

    def merge(book):
        for cell_range in ("A1:C1", "A2:A3", "B2:C2", "A4:A6", "A7:A8"):
            book["data"].merge_cells(cell_range)

    result = parsed(workbook({"data": rows}, merge))
    assert cells(result) == [
        ["topic", "text", "n"],
        ["物流", "late", "1"],
        ["物流", "lost", "2"],
        ["退款", "where", "3"],
        ["退款", "when", "4"],
    ]
    assert numbers(result) == [4, 5, 7, 8]
    assert notes(result) == {"merged_cells": 2}
    assert result.facts["title_rows"] == 2


def test_excel_formulas_count_by_their_saved_value(parsed):
    content = workbook({"data": [["text", "n"], ["one", "=1+1"], ["two", "=A2"], ["three", 5]]})
    assert notes(parsed(content)) == {"formulas_without_value": 2}
    assert cells(parsed(content))[1:] == [["one", ""], ["two", ""], ["three", "5"]]
    saved = edited(content, sheet1=lambda xml: xml.replace("<f>1+1</f><v/>", "<f>1+1</f><v>2</v>").replace(
        "<f>1+1</f><v />", "<f>1+1</f><v>2</v>").replace("<f>1+1</f><v></v>", "<f>1+1</f><v>2</v>"))  # fmt: skip
    assert cells(parsed(saved))[1] == ["one", "2"]
    assert notes(parsed(saved)) == {"formulas_without_value": 1}


def test_excel_cells_beyond_the_header_are_kept(parsed):
    rows = [["text", "label"], *[[f"t{i}", "ab"[i % 2]] for i in range(80)], ["end", "a", "more", None, "words"]]
    result = parsed(workbook({"data": rows}))
    assert result.table.column_names[:-1] == ["text", "label", "column 3"]
    assert cells(result)[-1] == ["end", "a", "more words"]
    assert cells(result)[1] == ["t0", "a", ""]


def test_excel_that_lies_about_its_extent_or_has_odd_styles_is_read(parsed):
    content = workbook({"data": [["text", "label"], ["好", "x"], ["坏", "y"]]})
    odd = edited(
        content,
        sheet1=lambda xml: xml.replace('ref="A1:B3"', 'ref="A1:XFD1048576"').replace('r="3"', 'r="900000"')
        .replace('r="A3"', 'r="A900000"').replace('r="B3"', 'r="B900000"'),
        styles=lambda xml: xml.replace("<fills", '<fills odd="yes"').replace("<fill>", "<fill><odd/>"),
    )  # fmt: skip
    result = parsed(odd)
    assert cells(result) == [["text", "label"], ["好", "x"], ["坏", "y"]]
    assert numbers(result) == [2, 900000]


def test_excel_as_other_programs_write_it(parsed):
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    texts = f"""<?xml version="1.0"?><x:sst xmlns:x="{main}"><x:si><x:t>text</x:t></x:si><x:si><x:t>label</x:t></x:si>
        <x:si><x:r><x:t>快</x:t></x:r><x:r><x:rPr/><x:t xml:space="preserve"> 递</x:t></x:r><x:rPh>
        <x:t>kuai</x:t></x:rPh>
        </x:si></x:sst>"""
    rows = [
        '<x:c t="s"><x:v>0</x:v></x:c><x:c t="s"><x:v>1</x:v></x:c><x:c t="inlineStr"><x:is><x:t>n</x:t></x:is></x:c>',
        '<x:c t="s"><x:v>2</x:v></x:c><x:c t="str"><x:f>A1&amp;"_x0041_"</x:f><x:v>a_x005F_x000D_</x:v></x:c>',
        '<x:c r="A4" t="str"><x:f>B9</x:f><x:v></x:v></x:c><x:c r="C4"><x:v>12345678901234567890</x:v></x:c>',
    ]
    sheet = f"""<x:worksheet xmlns:x="{main}"><x:sheetData><x:row r="1">{rows[0]}</x:row><x:row>{rows[1]}</x:row>
        <x:row><x:c r="B3" s="1"/></x:row><x:row r="4">{rows[2]}</x:row></x:sheetData>
        <x:mergeCells><x:mergeCell ref="B2:B4"/></x:mergeCells></x:worksheet>"""
    book = workbook({"data": [["text", "label"]]})
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = f'<Override PartName="/xl/texts.xml" ContentType="{kind}"/></Types>'
    changes = {"sheet1": lambda _: sheet, "[Content_Types]": lambda xml: xml.replace("</Types>", override)}
    result = parsed(edited(book, {"xl/texts.xml": texts}, **changes))
    assert cells(result) == [
        ["text", "label", "n"],
        ["快 递", "a_x000D_", ""],
        ["", "a_x000D_", "12345678901234567890"],
    ]
    assert numbers(result) == [2, 4]
    assert notes(result) == {"merged_cells": 1}


def test_excel_that_cannot_be_read_is_said(refused):
    content = workbook({"data": [["text", "label"], ["a", "x"]]})
    entity = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
    cases = {
        "entities": edited(content, sheet1=lambda xml: entity + xml.replace(">a<", ">&e;<")),
        "broken": edited(content, sheet1=lambda xml: xml[: xml.index("</row>")]),
        "far": edited(content, sheet1=lambda xml: xml.replace('r="2"', 'r="99999999"').replace("A2", "A99999999")),
        "cut": content[: len(content) // 2],
    }
    assert {name: refused(case).code for name, case in cases.items()} == dict.fromkeys(cases, "file_damaged")
    assert refused(workbook({"data": []})).code == "file_empty"
    assert refused(workbook({"data": [["text", "label"]]})).code == "file_header_only"
    assert refused(content, Limits(file_bytes=2000)).code == "file_unpacks_too_large"
    assert refused(workbook({"d": [["text", "label"], ["a" * 40, "x"]]}), Limits(cell_characters=39)).code == (
        "file_cell_too_long"
    )
    assert refused(workbook({"d": [[f"c{i}" for i in range(9)], list(range(9))]}), Limits(columns=8)).code == (
        "file_too_many_columns"
    )


@pytest.mark.parametrize(
    ("content", "code", "kind"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "file_is_excel", None),
        (archive({"[Content_Types].xml": "<x/>", "xl/workbook.bin": "x"}), "file_is_excel", None),
        (archive({"word/document.xml": "<x/>"}), "file_not_a_table", "Word"),
        (archive({"ppt/presentation.xml": "<x/>"}), "file_not_a_table", "PowerPoint"),
        (archive({"mimetype": "application/vnd.oasis", "content.xml": "<x/>"}), "file_not_a_table", "OpenDocument"),
    ],
)
def test_other_documents_of_office_programs_are_named(refused, content, code, kind):
    error = refused(content)
    assert (error.code, error.facts.get("kind")) == (code, kind)


# --- gzip ---


def test_gzip_holds_a_file_of_any_kind(parsed, refused):
    result = parsed(gzip.compress(CSV.encode("gbk")))
    assert cells(result) == TABLE
    assert (result.facts["format"], result.facts["container"]) == ("csv", "gzip")
    assert result.id == parsed(CSV).id
    assert cells(parsed(gzip.compress(workbook({"data": TABLE})))) == TABLE
    twice = gzip.compress(gzip.compress(CSV.encode()))
    assert cells(parsed(twice)) == TABLE
    assert refused(gzip.compress(twice)).as_dict() == {"code": "file_not_a_table", "facts": {"kind": "GZIP"}}


def test_gzip_that_cannot_be_read_is_said(refused):
    content = gzip.compress(CSV.encode() * 50)
    assert refused(content[:-20]).code == "file_damaged"
    assert refused(content[:60] + b"\0" * 9 + content[69:]).code == "file_damaged"
    small = Limits(file_bytes=2**20)
    assert refused(gzip.compress(b"a,b\n" * 2**19), small).as_dict() == {
        "code": "file_unpacks_too_large",
        "facts": {"limit_mb": 1},
    }
    assert refused(gzip.compress(b"")).code == "file_empty"


def test_a_tar_is_named(refused):
    import tarfile

    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as file:
        info = tarfile.TarInfo("data.csv")
        info.size = len(CSV.encode())
        file.addfile(info, io.BytesIO(CSV.encode()))
    assert refused(target.getvalue()).facts == {"kind": "TAR"}


# --- ZIP ---


def test_zip_of_one_file(parsed):
    result = parsed(archive({"__MACOSX/._data.csv": b"\0\5\7", "my data/data.csv": CSV, "README.txt": "hi " * 200}))
    assert cells(result) == TABLE
    assert {name: result.facts[name] for name in ("format", "container", "part", "parts")} == {
        "format": "csv", "container": "zip", "part": "", "parts": [],
    }  # fmt: skip
    assert cells(parsed(archive({"data.txt": CSV}))) == TABLE


def test_zip_of_several_files_reads_the_largest_or_the_one_asked_for(parsed, refused):
    files = {"test.csv": "text,label\na,x\nb,y\n", "数据/train.csv": CSV, ".hidden.csv": CSV * 9}
    result = parsed(archive(files))
    assert cells(result) == TABLE
    assert (result.facts["part"], result.facts["parts"]) == ("数据/train.csv", ["test.csv", "数据/train.csv"])
    assert cells(parsed(archive(files), part="test.csv"))[1] == ["a", "x"]
    assert refused(archive(files), part="../test.csv").code == "file_part_missing"


def test_zip_of_a_workbook_passes_the_sheet_on(parsed):
    book = workbook({"one": TABLE, "two": [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]]})
    result = parsed(archive({"book.xlsx": book}), part="one")
    assert cells(result) == TABLE
    assert (result.facts["part"], result.facts["parts"], result.facts["container"]) == ("one", ["one", "two"], "zip")


def test_containers_nest_twice(parsed, refused):
    once = archive({"data.csv.gz": gzip.compress(CSV.encode())})
    assert cells(parsed(once)) == TABLE
    assert cells(parsed(gzip.compress(archive({"data.csv": CSV})))) == TABLE
    assert refused(archive({"a.gz": gzip.compress(archive({"data.csv": CSV}))})).facts == {"kind": "ZIP"}


@pytest.mark.parametrize("around", ["", "reviews/"])
def test_class_folders(parsed, around):
    files = {
        f"{around}物流/1.txt": "快递还没有到\n第二行\n",
        f"{around}退款/2.txt": "我要退款".encode("gbk"),
        f"{around}退款/more/3": "\ufeff请退款".encode("utf-16"),
        f"{around}退款/.DS_Store": b"\0\1\2",
        f"{around}退款/photo.jpg": b"\xff\xd8\xff" + bytes(40),
        f"{around}README.txt": "about",
    }
    result = parsed(archive(files))
    assert cells(result) == [
        ["text", "label", "file"],
        ["快递还没有到\n第二行", "物流", f"{around}物流/1.txt"],
        ["我要退款", "退款", f"{around}退款/2.txt"],
        ["请退款", "退款", f"{around}退款/more/3"],
    ]
    assert numbers(result) == [2, 3, 4]
    assert "gb" in result.facts["encoding"]
    assert cells(parsed(archive(files), encoding="big5"))[2][0] != "我要退款"
    assert (result.facts["format"], result.facts["container"]) == ("folders", "zip")
    assert notes(result) == {"files_left_out": 1}


def test_class_folders_may_be_called_like_parts_of_documents(parsed):
    result = parsed(archive({"word/mimetype.txt": "a", "xl/2.txt": "b", "ppt/3.txt": "c"}))
    assert sorted(row[1] for row in cells(result)[1:]) == ["ppt", "word", "xl"]


def test_class_folders_in_splits(parsed):
    files = {f"data/{part}/{label}/{n}.txt": f"{part} {label} {n}" for part in ("train", "test") for label in "ab"
             for n in range(2)}  # fmt: skip
    result = cells(parsed(archive(files)))
    assert result[0] == ["text", "label", "part", "file"]
    assert result[1] == ["test a 0", "a", "test", "data/test/a/0.txt"]
    assert len(result) == 9


def test_folder_names_of_chinese_windows(parsed):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for label in ("好评", "差评"):
            file.writestr(label.encode("gbk").decode("cp437") + "/1.txt", "x " + label)
    # Python marks names beyond ASCII as UTF-8: undo that, as Windows writes them in GBK without a mark.
    content = bytearray(target.getvalue())
    for label in ("好评", "差评"):
        marked = label.encode("gbk").decode("cp437").encode() + b"/1.txt"
        plain = label.encode("gbk") + b"/1.txt"
        assert content.count(marked) == 2
        content = content.replace(marked, plain + b"_" * (len(marked) - len(plain)))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := content.find(signature, start)) >= 0:
            content[start + place + 1] &= ~0x08 & 0xFF
            start += 4
    result = parsed(bytes(content))
    assert sorted(row[1] for row in cells(result)[1:]) == ["好评", "差评"]


def test_zip_bounds(refused):
    files = {f"{label}/{n}.txt": "word " * 20 for label in "ab" for n in range(4)}
    assert refused(archive(files), Limits(rows=7)).code == "file_too_many_rows"
    assert refused(archive(files), Limits(cell_characters=20)).code == "file_cell_too_long"
    assert refused(archive(files), Limits(file_bytes=700)).code == "file_unpacks_too_large"
    assert refused(archive(files)[:-30]).code == "file_damaged"
    assert refused(archive({})).as_dict() == {"code": "file_not_a_table", "facts": {"kind": "ZIP"}}
    assert refused(archive({"a/1.bin": bytes(range(1, 9)) * 20, "b/2.bin": bytes(range(1, 9)) * 20})).facts == {
        "kind": "ZIP"
    }


def test_encrypted_zip_is_said(refused):
    content = bytearray(archive({"data.csv": CSV}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(signature) + place] |= 1
    assert refused(bytes(content)).code == "file_zip_encrypted"
