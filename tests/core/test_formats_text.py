"""JSON in its shapes, gettext and TMX: what a small file of each becomes, and what damaged ones say."""

import json
import struct
from dataclasses import replace

import polib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data import reading
from core.data.building import ROW_COLUMN
from core.data.formats import gettext, json_text, parse_any, tmx
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import Limits, Settings

LIMITS = Limits()
SMALL = replace(LIMITS, rows=4, columns=4, cell_characters=20, depth=5)


def read(path, content, limits=LIMITS, **options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse_any(path, limits, ReadOptions(single_column=True, **options))


def cells(result):
    """The names, then the rows."""
    table = result.table.to_pydict()
    names = result.table.column_names[:-1]
    return [names, *[list(row) for row in zip(*(table[name] for name in names), strict=True)]]


def numbers(result):
    return result.table.to_pydict()[ROW_COLUMN]


def notes(result):
    return {note["code"]: note["rows"] for note in result.notes}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.bin"


@pytest.fixture
def refused(file):
    def refuse(content, limits=LIMITS, **options):
        with pytest.raises(UserError) as error:
            read(file, content, limits, **options)
        return error.value.code, error.value.facts

    return refuse


REVIEWS = [{"text": "快递还没有到", "label": "物流"}, {"text": "Wo ist mein Geld?", "label": "refund"}]
REVIEW_CELLS = [["text", "label"], ["快递还没有到", "物流"], ["Wo ist mein Geld?", "refund"]]
SPLITS = {"test": [{"a": "z"}], "train": [{"a": "x"}, {"a": "y"}]}
ANSWERS = [{"text": "1889", "answer_start": 3}, {"text": "in 1889", "answer_start": 0}]
ARTICLE = {
    "title": "Tower",
    "paragraphs": [
        {
            "context": "In 1889 it was done.",
            "qas": [
                {"id": "q1", "question": "When?", "answers": ANSWERS, "is_impossible": False},
                {"id": "q2", "question": "By whom?", "answers": [], "is_impossible": True},
            ],
        }
    ],
}
QUESTION_CELLS = [
    ["context", "question", "answer", "answers", "title", "id", "is_impossible"],
    ["In 1889 it was done.", "When?", "1889", '["1889", "in 1889"]', "Tower", "q1", "false"],
    ["In 1889 it was done.", "By whom?", "", "", "Tower", "q2", "true"],
]
SHAREGPT = [
    {
        "system": "Be kind.",
        "conversations": [{"from": "human", "value": "你好"}, {"from": "gpt", "value": 'Say "hi"'}],
    },
    {"system": "", "conversations": [{"from": "system", "value": "s"}, {"from": "Observation", "value": 7}]},
]
SHAREGPT_CELLS = [
    ["system", "conversations"],
    [
        "Be kind.",
        '[{"role": "user", "content": "你好"}, {"role": "assistant", "content": "Say \\"hi\\""}]',
    ],
    ["", '[{"role": "system", "content": "s"}, {"role": "tool", "content": "7"}]'],
]
PARTS = [
    {"type": "text", "text": "Look:"},
    {"type": "image_url", "image_url": {"url": "x"}},
    {"type": "text", "text": "?"},
]
OPENAI = [{"messages": [{"role": "user", "content": PARTS}, {"role": "assistant", "content": None, "name": "m"}]}]
ALPACA = [{"instruction": "Translate", "input": "猫", "output": "cat"}, {"instruction": "Hi", "output": "Hello"}]


def lines(records, **options):
    return "".join(json.dumps(record, **options) + "\n" for record in records)


# What it is: content, kind, columns and rows, their numbers.
JSON = {
    "array of objects": (json.dumps(REVIEWS), "json", REVIEW_CELLS, [1, 2]),
    "array, letters as they are, spread out": (
        json.dumps(REVIEWS, ensure_ascii=False, indent=2),
        "json",
        REVIEW_CELLS,
        [1, 2],
    ),
    "JSON lines": (lines(REVIEWS, ensure_ascii=False), "jsonl", REVIEW_CELLS, [1, 2]),
    "JSON lines with a gap, and carriage returns": (
        lines(REVIEWS).replace("\n", "\r\n\r\n"),
        "jsonl",
        REVIEW_CELLS,
        [1, 3],
    ),
    "one document after the other": ("\n".join(json.dumps(r, indent=1) for r in REVIEWS), "json", REVIEW_CELLS, [1, 2]),
    "documents with commas between": (",\n".join(map(json.dumps, REVIEWS)), "json", REVIEW_CELLS, [1, 2]),
    "array of arrays": (
        '[["text","label"],["a","b"],["c",1.50]]',
        "json",
        [["text", "label"], ["a", "b"], ["c", "1.50"]],
        [2, 3],
    ),
    "arrays without a header": (
        '[["a",1],["b"],["c",3]]',
        "json",
        [["column 1", "column 2"], ["a", "1"], ["b", ""], ["c", "3"]],
        [1, 2, 3],
    ),
    "lines of arrays": ('["text","label"]\n["a","b"]\n', "jsonl", [["text", "label"], ["a", "b"]], [2]),
    "array of strings": ('["好","x"]', "json", [["text"], ["好"], ["x"]], [1, 2]),
    "wrapped": (json.dumps({"version": 1, "data": REVIEWS}), "json", REVIEW_CELLS, [1, 2]),
    "wrapped twice": (json.dumps({"ok": True, "result": {"n": 2, "rows": REVIEWS}}), "json", REVIEW_CELLS, [1, 2]),
    "columns": (
        json.dumps({"text": ["a", "b"], "tags": [["x"], []]}),
        "json",
        [["text", "tags"], ["a", '["x"]'], ["b", "[]"]],
        [1, 2],
    ),
    "wrapped columns": (
        '{"data": {"t": ["a", "b"], "n": [1, null]}}',
        "json",
        [["t", "n"], ["a", "1"], ["b", ""]],
        [1, 2],
    ),
    "pandas": (
        '{"text":{"0":"a","1":"b"},"n":{"0":1,"1":null}}',
        "json",
        [["text", "n"], ["a", "1"], ["b", ""]],
        [1, 2],
    ),
    "pandas, split": (
        '{"columns":["text","n"],"index":[0,1],"data":[["a",1],["b",2]]}',
        "json",
        [["text", "n"], ["a", "1"], ["b", "2"]],
        [1, 2],
    ),
    "records by name": (
        '{"k1":{"text":"a","n":1},"k2":{"text":"b","n":2}}',
        "json",
        [["key", "text", "n"], ["k1", "a", "1"], ["k2", "b", "2"]],
        [1, 2],
    ),
    "SQuAD": (json.dumps({"version": "v2.0", "data": [ARTICLE]}), "json", QUESTION_CELLS, [1, 2]),
    "SQuAD articles in a list": (json.dumps([ARTICLE]), "json", QUESTION_CELLS, [1, 2]),
    "objects inside": (
        '[{"a":{"b":"x","c":{"d":1}},"e":null},{"a":{"b":"y"},"e":{"f":2}},{"a":null}]',
        "json",
        [["a.b", "a.c.d", "e.f"], ["x", "1", ""], ["y", "", "2"]],
        [1, 2],
    ),
    "a dot in a key": ('[{"a.b":1,"a":{"b":2}},{"a.b":3}]', "json", [["a.b", "a.b 2"], ["1", "2"], ["3", ""]], [1, 2]),
    "lists inside": (
        '[{"tags":["a","好"],"spans":[{"s":1.10,"t":"x\\ny"},null,true]}]',
        "json",
        [["tags", "spans"], ['["a", "好"]', '[{"s": 1.10, "t": "x\\ny"}, null, true]']],
        [1],
    ),
    "numbers and words": (
        '[{"a":1.10,"b":-0,"c":1E5,"d":12345678901234567890,"e":true,"f":null,"g":NaN,"h":""}]',
        "json",
        [["a", "b", "c", "d", "e", "f", "g", "h"], ["1.10", "-0", "1E5", "12345678901234567890", "true", "", "", ""]],
        [1],
    ),
    "keys that come and go": ('{"a":1}\n{"b":2}\n', "jsonl", [["a", "b"], ["1", ""], ["", "2"]], [1, 2]),
    "values among records": (
        '[{"a":1},"x",[2],null]',
        "json",
        [["a", "value"], ["1", ""], ["", "x"], ["", "[2]"]],
        [1, 2, 3],
    ),
    "ShareGPT": (lines(SHAREGPT), "jsonl", SHAREGPT_CELLS, [1, 2]),
    "OpenAI": (
        json.dumps(OPENAI),
        "json",
        [["messages"], ['[{"role": "user", "content": "Look:\\n?"}, {"role": "assistant", "content": ""}]']],
        [1],
    ),
    "one conversation": (
        json.dumps({"id": 3, "messages": [{"role": "human", "content": "a"}]}, indent=1),
        "json",
        [["id", "messages"], ["3", '[{"role": "user", "content": "a"}]']],
        [1],
    ),
    "one conversation and its marks": (
        '{"messages": [{"role": "user", "content": "a"}], "marks": ["x"]}',
        "json",
        [["messages", "marks"], ['[{"role": "user", "content": "a"}]', '["x"]']],
        [1],
    ),
    "one record with lists inside": (
        '{"id": 1, "meta": {"tags": ["a", "b"]}}',
        "json",
        [["id", "meta.tags"], ["1", '["a", "b"]']],
        [1],
    ),
    "alpaca": (
        json.dumps(ALPACA),
        "json",
        [["instruction", "input", "output"], ["Translate", "猫", "cat"], ["Hi", "", "Hello"]],
        [1, 2],
    ),
}


@pytest.mark.parametrize("name", JSON)
def test_json_shapes(name, file):
    content, kind, expected, places = JSON[name]
    result = read(file, content)
    assert cells(result) == expected
    assert numbers(result) == places
    assert result.facts["format"] == kind


def test_what_is_told_about_json(file):
    assert read(file, json.dumps(REVIEWS)).facts == {
        "format": "json",
        "container": "",
        "encoding": "utf-8",
        "delimiter": "",
        "title_rows": 0,
        "header": True,
        "part": "",
        "parts": [],
    }
    assert read(file, "[[1,2],[3,4]]").facts["header"] is False


def test_the_largest_list_is_read_unless_another_is_asked_for(file, refused):
    content = json.dumps({"meta": {"n": 3}, "splits": SPLITS})
    result = read(file, content)
    assert (result.facts["part"], result.facts["parts"]) == ("splits.train", ["splits.test", "splits.train"])
    assert cells(result) == [["a"], ["x"], ["y"]]
    assert cells(read(file, content, part="splits.test")) == [["a"], ["z"]]
    assert refused(content, part="dev") == ("file_part_missing", {"part": "dev", "parts": "splits.test, splits.train"})


def test_columns_in_several_splits(file):
    content = json.dumps({"train": {"t": ["a", "b"]}, "test": {"t": ["c"]}})
    assert read(file, content).facts["parts"] == ["train", "test"]
    assert cells(read(file, content, part="test")) == [["t"], ["c"]]


def test_the_header_of_arrays_can_be_decided(file):
    content = '[["a","b"],["c","d"]]'
    assert cells(read(file, content, header=False)) == [["column 1", "column 2"], ["a", "b"], ["c", "d"]]
    assert cells(read(file, '[[1,2],["c","d"]]', header=True)) == [["1", "2"], ["c", "d"]]


@pytest.mark.parametrize(
    ("codec", "before"),
    [
        ("utf-8", "\ufeff"), ("utf-8", "\ufeff\ufeff"), ("utf-8", " \n"), ("utf-16", ""), ("utf-16-le", ""),
        ("utf-16-be", ""), ("utf-32", ""), ("gb18030", ""), ("big5", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("write", [json.dumps, lines], ids=["array", "lines"])
def test_json_in_any_encoding(codec, before, write, file):
    records = [{"文本": "今天天氣很好，我們去公園。", "n": number} for number in range(3)]
    result = read(file, (before + write(records, ensure_ascii=False) + "\n").encode(codec))
    assert cells(result) == [["文本", "n"], *[["今天天氣很好，我們去公園。", str(n)] for n in range(3)]]


@pytest.mark.parametrize("content", ['[{"a":"x\\ud800y\\u0000z"}]', '{"a":"x\\ud800y\\u0000z"}\n{"a":"x"}\n'])
def test_what_is_no_character_is_replaced(content, file):
    result = read(file, content)
    assert cells(result)[1] == ["x\ufffdy\ufffdz"]
    assert notes(result) == {"broken_characters": 1}


def test_zero_bytes_are_taken_out(file):
    result = read(file, b'[{"a":"x\0y"},\n{"a":"\0"}]')
    assert cells(result) == [["a"], ["xy"]]
    assert notes(result) == {"nul_removed": 2}


def test_a_key_that_is_no_text(file):
    assert cells(read(file, '[{"a\\udfff":1}]')) == [["a\ufffd"], ["1"]]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("[note],text\n1,2\n3,4\n", ["[note]", "text"]),
        ("[1],foo\n2,bar\n", ["[1]", "foo"]),
        ('{"a": 1};b\n1;2\n', ['{"a": 1}', "b"]),
        ("{name},x\n1,2\n", ["{name}", "x"]),
        ("[[wiki]],x\n1,2\n", ["[[wiki]]", "x"]),
    ],
)
def test_a_bracket_alone_is_no_json(content, columns, file):
    assert cells(read(file, content, header=True))[0] == columns


def test_a_long_first_value_is_json(file):
    long = "y" * 20_000
    assert cells(read(file, json.dumps([long, "b"])))[1:] == [[long], ["b"]]
    assert cells(read(file, json.dumps([[long, "b"], ["c", "d"]]), header=False))[1:] == [[long, "b"], ["c", "d"]]


def test_values_that_lie_across_what_is_read_at_once(file):
    for before in ("[ ", "[   "):  # inside of a separator, and of a number
        result = read(file, before + ", ".join(["123456"] * 140_000) + "]")
        assert set(result.table.to_pydict()["text"]) == {"123456"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[{"a":"x"},\n{"a":oops}]', 2),
        ('[{"a":"x"}\n\n{"a":"y"}]', 3),
        ('{"a":"x",\n"b" 1}', 2),
        ('{"data":[{"a":1},\n{"a":2}', 2),
        ('[{"a":1}\n] rest', 2),
        ('["a", "b"', 1),
        ('{"a":"x"}\n{"a":\n{"a":"z"}\n', 2),
        ('[{"a":"' + 'x", "b' * 1000 + '"}]\n', 1),
        ("[" + '{"a":"x"},\n' * 200_000 + '{"a":b}]', 200_001),
    ],
)
def test_damaged_json_names_the_line(content, line, refused):
    assert refused(content) == ("json_damaged", {"line": line})


def test_a_few_damaged_lines_are_passed_over(file, refused):
    whole = ['{"a": %d}' % number for number in range(39)]  # noqa: UP031 (braces)
    result = read(file, "\n".join([*whole[:2], '{"a": 2', *whole[2:], "7"]))
    assert notes(result) == {"json_lines_skipped": 2}
    assert numbers(result) == [1, 2, *range(4, 41)]
    assert refused("\n".join(["{", *whole[:5], "{", "{", *whole])) == ("json_damaged", {"line": 1})


@pytest.mark.parametrize(
    ("content", "limits", "code"),
    [
        ("[" * 300_000, LIMITS, "json_too_deep"),
        ('{"a":' * 50_000, LIMITS, "json_too_deep"),
        ('[{"a":' + "[" * 64 + "]" * 64 + "}]", LIMITS, "json_too_deep"),
        ('{"a":1}\n{"a":' + "[" * 64 + "]" * 64 + "}\n", LIMITS, "json_too_deep"),
        ('{"a":1}\n{"a":2}\n' + "[" * 100_000 + "\n", LIMITS, "json_too_deep"),
        ('[{"a":{"b":{"c":{"d":{"e":1}}}}}]', SMALL, "json_too_deep"),
        ('[{"a":' + "9" * 2_000_000 + "}]", LIMITS, "file_cell_too_long"),
        ('[{"a":"' + "x" * 21 + '"}]', SMALL, "file_cell_too_long"),
        ('[{"a":["' + "x" * 20 + '"]}]', SMALL, "file_cell_too_long"),
        ('[{"a":"x"},{"b":"' + "x, {b: 1} " * 900_000, LIMITS, "file_cell_too_long"),
        ('[{"a":1,"b":1},{"c":1,"d":1,"e":1}]', SMALL, "file_too_many_columns"),
        ("[[1,2,3,4,5]]", SMALL, "file_too_many_columns"),
        ('[{"a":1}' + ',{"a":1}' * 4 + "]", SMALL, "file_too_many_rows"),
        ("[]", LIMITS, "file_header_only"),
        ("{}", LIMITS, "file_header_only"),
    ],
)
def test_json_beyond_the_limits(content, limits, code, refused):
    assert refused(content, limits)[0] == code


def test_json_within_the_limits(file):
    deep = "[" * 62 + "]" * 62
    assert cells(read(file, f'[{{"a":{deep}}}]')) == [["a"], [deep]]
    assert cells(read(file, '[{"a":' + "9" * 5_000 + ',"b":1e999999999999}]'))[1] == ["9" * 5_000, "1e999999999999"]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
records = st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | texts, min_size=1), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=records,
    ascii=st.booleans(),
    write=st.sampled_from([json.dumps, lines]),
    codec=st.sampled_from(["utf-8", "utf-16"]),
)
def test_json_reads_back(records, ascii, write, codec, file):
    """Rows that hold nothing but blanks are left out, and a file of them only is refused."""
    names = list(dict.fromkeys(name for record in records for name in record))
    rows = [[record.get(name) or "" for name in names] for record in records]
    blanks = " \t\r\n\x0b\x0c\u00a0\u200b\ufeff"
    kept = {number: row for number, row in enumerate(rows, start=1) if any(cell.strip(blanks) for cell in row)}
    content = write(records, ensure_ascii=ascii).encode(codec)
    if kept:
        result = read(file, content)
        assert cells(result) == [names, *kept.values()]
        assert numbers(result) == list(kept)
    else:
        with pytest.raises(UserError, match="file_header_only"):
            read(file, content)


@pytest.mark.usefixtures("started_anew")
def test_a_large_array_in_the_limited_child(tmp_path):
    path = tmp_path / "large.json"
    record = json.dumps({"text": "文本 some words " * 20, "label": "x", "n": 1.5, "tags": ["a"]}, ensure_ascii=False)
    count = 50 * 2**20 // len(record.encode()) + 1
    path.write_text("[" + ", ".join([record] * count) + "]", encoding="utf-8")
    facts = reading.read(path, tmp_path / "table", Settings(home=tmp_path / "home"))
    assert (facts["rows"], facts["columns"]) == (count, ["text", "label", "n", "tags"])


PO = r"""# Our program
msgid ""
msgstr ""
"Language: de_DE\n"
"Content-Type: text/plain; charset=UTF-8\n"

#: main.c:7
msgid "Open"
msgstr "Öffnen"

#, fuzzy, c-format
msgid "Close %s"
msgstr "Zu %s"

msgctxt "menu"
msgid "one file"
msgid_plural "%d files"
msgstr[0] "eine Datei"
msgstr[1] "%d Dateien"

msgid ""
"Two \"lines\"\n"
"of 文字"
msgstr ""

#~ msgid "old"
#~ msgstr "alt"
"""
PO_CELLS = [
    ["source", "target", "context"],
    ["Open", "Öffnen", ""],
    ["one file", "eine Datei", "menu"],
    ["%d files", "%d Dateien", "menu"],
    ['Two "lines"\nof 文字', "", ""],
]


def compiled(text):
    return polib.pofile(text).to_binary()


def test_po(file):
    result = read(file, PO)
    assert cells(result) == PO_CELLS
    assert numbers(result) == [1, 2, 3, 4]
    assert notes(result) == {"fuzzy_left_out": 1}
    assert (result.facts["format"], result.facts["languages"]) == ("po", {"target": "de"})


def test_mo(file):
    result = read(file, compiled(PO))
    assert sorted(cells(result)[1:]) == sorted(PO_CELLS[1:4])
    assert (result.facts["format"], result.facts["languages"]) == ("mo", {"target": "de"})


@pytest.mark.parametrize(
    ("codec", "declared", "text"),
    [
        ("utf-8-sig", "UTF-8", "一只小猫坐在门口"), ("utf-8", "CHARSET", "一只小猫坐在门口"),
        ("gbk", "GB2312", "一只小猫坐在门口"), ("gbk", "UTF-8", "一只小猫坐在门口"),
        ("iso-8859-2", "ISO-8859-2", "Ślimak"), ("utf-8", "rot13", "Ślimak"),
    ],
)  # fmt: skip
def test_po_in_another_encoding(codec, declared, text, file):
    content = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=%s\\n"\n\nmsgid "cat"\nmsgstr "%s"\n'
    assert cells(read(file, (content % (declared, text)).encode(codec)))[1] == ["cat", text, ""]


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        (["文件"], [["file", "文件"], ["files", "文件"]]),
        (["fajl", "fajla", "fajlova"], [["file", "fajl"], ["files", "fajla"], ["files", "fajlova"]]),
    ],
)
def test_as_many_plural_forms_as_the_language_has(forms, expected, file):
    said = "".join(f'msgstr[{number}] "{form}"\n' for number, form in enumerate(forms))
    result = read(file, f'msgid "file"\nmsgid_plural "files"\n{said}')
    assert [row[:2] for row in cells(result)[1:]] == expected


def test_what_polib_takes_for_line_ends_stays_in_the_text(file):
    assert cells(read(file, 'msgid "a\u2028b"\nmsgstr "c\x0bd"\n'))[1] == ["a\u2028b", "c\x0bd", ""]


def moved(place, value):
    """The compiled file with another number at this byte."""
    content = bytearray(compiled(PO))
    struct.pack_into("<I", content, place, value)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        compiled(PO)[:10],
        compiled(PO)[:60],
        moved(4, 7 << 16),
        moved(8, 2**31),
        moved(12, 2**32 - 4),
        moved(16, 2**20),
        moved(28 + 8, 2**30),
        moved(28 + 12, 2**31),
        compiled(PO).replace("Öffnen".encode(), b"\xff\xff\xffnen"),
        PO + 'msgid "a" b"\nmsgstr ""\n',
        PO + 'msgstr[x] "b"\n',
        PO + "gibberish\n",
    ],
)
def test_damaged_gettext(content, refused):
    assert refused(content) == ("file_damaged", {})


def test_strings_that_share_their_place_do_not_multiply(refused):
    count, text = 1_000, b"x" * 100_000
    start = 28 + 16 * count
    table = struct.pack("<2I", len(text), start) * (2 * count)
    content = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, start) + table + text
    assert refused(content) == ("file_damaged", {})


@pytest.mark.parametrize("content", ["msgid,msgstr\na,b\n", 'text\nmsgid "a"\nmsgstr "b"\n', "# only\n# remarks\n"])
def test_what_only_mentions_gettext(content, file):
    file.write_text(content, encoding="utf-8")
    assert not gettext.sniff(file)


def units(*given, head='<!DOCTYPE tmx SYSTEM "tmx14.dtd">', attribute="xml:lang", encoding="UTF-8"):
    """A memory: each unit is a list of languages and segments."""
    body = "".join(
        "<tu>" + "".join(f'<tuv {attribute}="{code}"><seg>{text}</seg></tuv>' for code, text in unit) + "</tu>"
        for unit in given
    )
    return f'<?xml version="1.0" encoding="{encoding}"?>\n{head}<tmx version="1.4"><header/><body>{body}</body></tmx>'


PAIR = [("en-US", "A cat sits here"), ("zh-CN", "一只猫坐在这里")]
PAIR_CELLS = [["en", "zh"], ["A cat sits here", "一只猫坐在这里"]]
TMX = {
    "a pair": (units(PAIR), PAIR_CELLS),
    "no document type": (units(PAIR, head=""), PAIR_CELLS),
    "version 1.1": (units(PAIR, attribute="lang"), PAIR_CELLS),
    "UTF-16": (units(PAIR, encoding="UTF-16").encode("utf-16"), PAIR_CELLS),
    "GB 2312": (units(PAIR, encoding="gb2312").encode("gb2312"), PAIR_CELLS),
    "said to be Latin-1": (units(PAIR, encoding="iso-8859-1"), PAIR_CELLS),
    "most frequent first": (
        units([("DE_at", "a"), ("fr", "b")], [("fr-CA", "c")], [("fr", "d"), ("fr", "e"), ("de", "f")]),
        [["fr", "de"], ["b", "a"], ["c", ""], ["d", "f"]],
    ),
    "regions side by side": (units([("pt-BR", "a"), ("pt-PT", "b")]), [["pt-br", "pt-pt"], ["a", "b"]]),
    "other letters": (units([("zh-CN", "a")], [("zh-TW", "b")]), [["zh", "zh-hant"], ["a", ""], ["", "b"]]),
    "formatting": (
        units(
            [("en", 'Press <bpt i="1">&lt;b&gt;</bpt><hi>OK</hi><ept i="1"/> &amp; <ph>x<sub>y</sub></ph>go&nbsp;on')]
        ),
        [["en"], ["Press OK & ygo\u00a0on"]],
    ),
}


@pytest.mark.parametrize("name", TMX)
def test_tmx(name, file):
    content, expected = TMX[name]
    result = read(file, content)
    assert cells(result) == expected
    assert numbers(result) == list(range(1, len(expected)))
    assert result.facts["format"] == "tmx"


def test_at_most_twenty_languages(file):
    result = read(file, units([(f"l{chr(97 + n)}", "x") for n in range(26)], [("la", "x"), ("lz", "y")]))
    assert len(cells(result)[0]) == 20
    assert cells(result)[0][:3] == ["la", "lz", "lb"]


def test_a_document_type_is_not_fetched(file, tmp_path):
    (tmp_path / "own.dtd").write_text('<!ENTITY secret "leaked">')
    head = f'<!DOCTYPE tmx SYSTEM "{(tmp_path / "own.dtd").as_uri()}">'
    assert cells(read(file, units([("en", "a &secret; b")], head=head)))[1] == ["a &secret; b"]


@pytest.mark.parametrize(
    "content",
    [
        units(PAIR, head='<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'),
        units([("en", "&a;")], head='<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/hostname">]>'),
        units(PAIR, head='<!DOCTYPE tmx [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]>'),
        units(PAIR)[:-20],
        units([("en", "a < b")]),
        units([("en", "&#x1F;")]),
        "<tmx>" * 100 + "</tmx>" * 100,
    ],
)
def test_damaged_or_hostile_tmx(content, refused):
    assert refused(content) == ("file_damaged", {})


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (units([("en", "x" * 21)]), "file_cell_too_long"),
        (units(*[[("en", "x")]] * 5), "file_too_many_rows"),
        (units(), "file_header_only"),
    ],
)
def test_tmx_beyond_the_limits(content, code, refused):
    assert refused(content, SMALL)[0] == code


@pytest.mark.parametrize("content", ["<html><body>&lt;tmx&gt; <tmx></body></html>", "a <tmx> tag,b\n", "<tmxx/>"])
def test_what_only_mentions_tmx(content, file):
    file.write_text(content, encoding="utf-8")
    assert not tmx.sniff(file)
    assert not json_text.sniff(file)
