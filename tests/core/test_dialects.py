"""Whatever dialect a table is written in, the same cells are read back."""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.data.formats import parse_any
from core.data.options import DECIDE_YOURSELF, ReadOptions
from core.settings import Limits

BOUNDED = settings(max_examples=60, deadline=None, derandomize=True, database=None)
DELIMITERS = st.sampled_from([",", ";", "\t", "|"])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
QUOTING = st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
# What to write in, and what a person calls it.
ENCODINGS = st.sampled_from([("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("gb18030", "gb18030")])
PIECES = st.sampled_from(
    ["a", "Zoë", "é", "好", "退款", "，", "🙂", "👩‍🚀", " ", "  ", "\t", ",", ";", "|", '"', '""', "'", "\\", '\\"',
     ', "', "0", "1.5", "-", "=", "#", "sep=", "\u00a0", "\u3000", "\u2028", "\x0b", "\x85", "NULL", "<br>"]
)  # fmt: skip
BREAKS = st.sampled_from(["\n", "\r", "\r\n"])
# Names are trimmed, and runs of blanks in them become one.
NAMES = st.lists(
    st.lists(
        st.sampled_from(["text", "label", "标签", "ü", ",", ";", "|", '"', "'", "7", "🙂"]), min_size=1, max_size=3
    ).map("".join),
    min_size=2,
    max_size=4,
    unique=True,
)


@st.composite
def _row(draw, width):
    """Cells of any kind, one of them not blank, with two line breaks at most.

    More of them, with as many delimiters between them as a row has, are what an open quote looks like.
    """
    cells = [draw(st.lists(PIECES, max_size=6)) for _ in range(width)]
    for _ in range(draw(st.integers(0, 2))):
        cell = draw(st.sampled_from(cells))
        cell.insert(draw(st.integers(0, len(cell))), draw(BREAKS))
    filled = draw(st.sampled_from(cells))
    filled.insert(draw(st.integers(0, len(filled))), "x")
    return ["".join(cell) for cell in cells]


@st.composite
def tables(draw):
    names = draw(NAMES)
    return [names, *draw(st.lists(_row(len(names)), min_size=2, max_size=6))]


def written(table, delimiter, quoting, end, encoding, marked):
    """The bytes of a table. The csv module puts every cell with a carriage return or line feed in quotes if both end
    its rows, and only then."""
    text = f"sep={delimiter}{end}" if marked else ""
    for row in table:
        line = io.StringIO(newline="")
        csv.writer(line, delimiter=delimiter, quoting=quoting, lineterminator="\r\n").writerow(row)
        text += line.getvalue().removesuffix("\r\n") + end
    return text.encode(encoding)


def read(data, options=DECIDE_YOURSELF):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.bin"
        path.write_bytes(data)
        return parse_any(path, Limits(), options)


def cells(result):
    columns = result.table.to_pydict()
    names = list(columns)[:-1]
    return [names, *map(list, zip(*(columns[name] for name in names), strict=True))]


@BOUNDED
@given(tables(), DELIMITERS, QUOTING, ENDS, ENCODINGS, st.booleans())
def test_every_cell_comes_back_where_the_dialect_is_given(table, delimiter, quoting, end, encoding, marked):
    data = written(table, delimiter, quoting, end, encoding[0], marked)
    result = read(data, ReadOptions(encoding=encoding[1], delimiter=delimiter, title_rows=0, header=True))
    assert cells(result) == table
    assert result.notes == []


@BOUNDED
@given(tables(), DELIMITERS, QUOTING, ENDS)
def test_without_a_header_no_row_is_lost(table, delimiter, quoting, end):
    data = written(table, delimiter, quoting, end, "utf-8", marked=False)
    result = read(data, ReadOptions(encoding="utf-8", delimiter=delimiter, title_rows=0, header=False))
    # A column without a name goes where all its cells are blank, which the names here never are.
    assert cells(result) == [[f"column {n}" for n in range(1, len(table[0]) + 1)], *table]


@BOUNDED
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.text('ab,"好 ', min_size=1)), min_size=2, max_size=8))
def test_carriage_returns_without_quotes_come_back(rows):
    """pandas leaves them so; each row still ends with a line feed."""
    import pandas as pd

    table = [["text", "label", "more"]]
    for place, broken, text in rows:
        row = ["one", "two", "three"]
        row[place] = f"x{text}\ry" if broken else f"x{text}y"
        table.append(row)
    data = pd.DataFrame(table[1:], columns=table[0]).to_csv(index=False, lineterminator="\n")
    result = read(data.encode(), ReadOptions(delimiter=",", title_rows=0, header=True))
    assert cells(result) == table


# --- everything guessed ---

WORDS = {
    "English": "the parcel came late again and nobody answered my question about refunds so please call",
    "German": "das Gerät läuft nicht mehr ich möchte mein Geld zurück bitte prüfen für größere Töpfe",
    "Chinese": "快递 还没 有到 我要 退款 客服 态度 很差 请问 保修期 多长 颜色 不一样 谢谢 尽快 处理",
}
HEADERS = st.sampled_from(
    [["text", "label"], ["id", "message", "topic"], ["文本", "标签"], ["Wunsch", "Anlass", "Filiale"], ["q", "a", "n"]]
)
LABELS = st.sampled_from(["refund", "delivery", "Mängel", "退款", "other thing"])


@st.composite
def sentences(draw, language):
    words = draw(st.lists(st.sampled_from(WORDS[language].split()), min_size=3, max_size=12))
    if draw(st.booleans()):
        place = draw(st.integers(0, len(words) - 1))
        words[place] = draw(st.sampled_from(['"{}"', "{},", "{};", "{}\n", "({})", "{}!", "{} |", "{}, 5 %"])).format(
            words[place]
        )
    return ("" if language == "Chinese" else " ").join(words)


@st.composite
def realistic_tables(draw):
    """Numbered rows of sentences with a label; the numbers keep rows apart, which a real table's texts do."""
    header = draw(HEADERS)
    language = draw(st.sampled_from(sorted(WORDS)))
    texts = draw(st.lists(sentences(language), min_size=8, max_size=14, unique=True))
    labels = [draw(LABELS) for _ in texts]
    rows = list(zip(texts, labels, strict=True))
    if len(header) == 3:
        return [header, *([str(n), *row] for n, row in enumerate(rows, start=1))]
    return [header, *map(list, rows)]


@BOUNDED
@given(realistic_tables(), DELIMITERS, QUOTING, ENDS, ENCODINGS, st.booleans())
def test_realistic_tables_come_back_with_everything_guessed(table, delimiter, quoting, end, encoding, marked):
    assume(encoding[0] != "gb18030" or _has_chinese(table))
    data = written(table, delimiter, quoting, end, encoding[0], marked)
    result = read(data)
    assert cells(result) == table
    assert (result.facts["delimiter"], result.facts["header"], result.facts["title_rows"]) == (delimiter, True, 0)


def _has_chinese(table):
    """Two accented letters of a German text are two bytes each in GB 18030, as in GBK, and tell little."""
    return sum("\u4e00" <= c <= "\u9fff" for row in table for c in "".join(row)) > 20


@BOUNDED
@given(realistic_tables(), DELIMITERS, ENDS, st.integers(1, 3))
def test_rows_above_a_realistic_table_are_passed_over(table, delimiter, end, titles):
    above = [["Report of May"], ["for all branches"], [""]][:titles]
    padded = [[*row, *[""] * (len(table[0]) - 1)] for row in above]
    for top in (above, padded):
        data = written([*top, *table], delimiter, csv.QUOTE_MINIMAL, end, "utf-8", marked=False)
        result = read(data)
        assert cells(result) == table
        assert result.facts["title_rows"] == titles


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_written_form_is_what_it_should_be(delimiter):
    table = [["a", "b"], ["one\rtwo", " x"], [f"p{delimiter}q", 'say "hi"']]
    text = written(table, delimiter, csv.QUOTE_MINIMAL, "\r", "utf-8", marked=True).decode()
    d = delimiter
    assert text == f'sep={d}\ra{d}b\r"one\rtwo"{d} x\r"p{d}q"{d}"say ""hi"""\r'
