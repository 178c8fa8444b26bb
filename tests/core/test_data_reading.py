import bz2
import io
import random
import zipfile
import zlib

import pytest

from core.data import reading
from core.data.building import ROW_COLUMN
from core.data.formats import parse_any
from core.data.options import ReadOptions
from core.data.samples import SAMPLES
from core.errors import UserError
from core.settings import Limits, Settings

LIMITS = Limits()
ROWS = [("快递还没有到，请尽快处理", "物流"), ("我要退款，谢谢", "退款"), ("请问这个产品的保修期有多长？", "咨询")]


def parsed(tmp_path, content, limits=LIMITS, **options):
    path = tmp_path / "file.bin"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return parse_any(path, limits, ReadOptions(**options))


def cells(result):
    table = result.table.to_pydict()
    names = result.table.column_names[:-1]
    return [names, *[list(row) for row in zip(*(table[name] for name in names), strict=True)]]


def notes(result):
    return {note["code"]: note["rows"] for note in result.notes}


def refused(tmp_path, content, limits=LIMITS):
    with pytest.raises(UserError) as error:
        parsed(tmp_path, content, limits)
    return error.value


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(tmp_path, delimiter, end):
    lines = ["text,label", '"a, b; c | d\te",x', '"he said ""no""",y', "plain,x"]
    content = end.join([lines[0].replace(",", delimiter), f'"a, b; c | d\te"{delimiter}x',
                        f'"he said ""no"""{delimiter}y', f"plain{delimiter}x"])  # fmt: skip
    result = parsed(tmp_path, content)
    assert cells(result) == [["text", "label"], ["a, b; c | d\te", "x"], ['he said "no"', "y"], ["plain", "x"]]
    assert result.facts["delimiter"] == delimiter
    assert result.facts["format"] == ("tsv" if delimiter == "\t" else "csv")
    assert result.notes == []


def test_excels_own_delimiter_line(tmp_path):
    result = parsed(tmp_path, "sep=;\r\ntext;label\r\na, b;x\r\nc;y\r\n")
    assert cells(result) == [["text", "label"], ["a, b", "x"], ["c", "y"]]


def test_commas_in_texts_do_not_win_over_the_real_delimiter(tmp_path):
    lines = [f"{i};well, yes, but, no;x" for i in range(20)]
    assert parsed(tmp_path, "\n".join(["id;my text, all, of it;label", *lines])).facts["delimiter"] == ";"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gbk", "gb18030"]
)
def test_chinese_is_the_same_table_in_every_encoding(tmp_path, encoding):
    content = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
    if encoding in ("utf-16-le", "utf-16-be"):
        content = "\ufeff" + content
    result = parsed(tmp_path, content.encode(encoding))
    assert cells(result)[1:] == [list(row) for row in ROWS]
    assert result.id == parsed(tmp_path, content.removeprefix("\ufeff")).id


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("big5", "快遞還沒有到，請問什麼時候會來"),
        ("shift_jis", "荷物がまだ届きません。返金をお願いします"),
        ("euc_kr", "택배가 아직 안 왔어요 환불해 주세요"),
        ("cp1252", "It’s “très” fâché – naïve café, 5 €"),
        ("cp1251", "посылка ещё не пришла, верните деньги"),
        ("cp1250", "zażółć gęślą jaźń proszę o zwrot"),
        ("utf-16-le", "plain letters – without any mark"),
    ],
)
def test_other_encodings_are_recognised(tmp_path, encoding, text):
    result = parsed(tmp_path, f'text,label\n"{text}",x\nok,y\n'.encode(encoding))
    assert cells(result)[1] == [text, "x"]


def test_a_line_cut_within_a_character_does_not_make_utf8_something_else(tmp_path):
    good = "".join(f"{text},{label}\n" for text, label in ROWS * 10).encode()
    cut = "这里断了".encode()[:-1]
    result = parsed(tmp_path, b"text,label\n" + good + cut + b",x\n")
    assert cells(result)[1] == list(ROWS[0])
    assert cells(result)[-1] == ["这里断\ufffd", "x"]
    assert notes(result) == {"broken_characters": 1}
    assert result.facts["encoding"] == "utf-8"


def test_undecodable_bytes_are_said(tmp_path):
    noise = random.Random(1).randbytes(4000).translate(None, bytes(range(32)) + b"\x7f")
    assert refused(tmp_path, b"text,label\n" + noise).code == "file_encoding_unknown"


def test_nul_characters_go_and_are_said(tmp_path):
    result = parsed(tmp_path, "text,label\nhel\0lo there,x\nyes,y\n")
    assert cells(result)[1] == ["hello there", "x"]
    assert notes(result) == {"nul_removed": 1}


def test_rows_of_the_wrong_width_are_mended_and_said(tmp_path):
    result = parsed(tmp_path, "id,message,topic\n1,the longest one,a\n2,no, thank, you,b\n3,short\n4,fine,a,,\n")
    assert cells(result)[1:] == [
        ["1", "the longest one", "a"],
        ["2", "no, thank, you", "b"],
        ["3", "short", ""],
        ["4", "fine", "a"],
    ]
    assert result.notes == [{"code": "ragged_rows", "rows": 2, "longer": 1, "shorter": 1}]


def test_row_numbers_are_the_spreadsheets(tmp_path):
    result = parsed(tmp_path, 'text,label\na,x\n\n,\n"two\nlines",y\nb,x\n\n\n')
    assert result.table.to_pydict()[ROW_COLUMN] == [2, 5, 6]
    assert notes(result) == {"blank_lines": 2}


@pytest.mark.parametrize("opened", ['5,"never closed,a', '5,"He said "hi" to me,a', '"5,odd,a'])
def test_an_open_quote_costs_its_line_only(tmp_path, opened):
    before = [f"{i},plain text {i},a" for i in range(4)]
    after = [f'{i},"quoted, with ""comma"" {i}",b' for i in range(6, 200)]
    result = parsed(tmp_path, "\n".join(["id,text,label", *before, opened, *after]))
    rows = cells(result)[1:]
    assert len(rows) == 4 + 1 + 194
    assert rows[-1] == ["199", 'quoted, with "comma" 199', "b"]
    assert rows[5] == ["6", 'quoted, with "comma" 6', "b"]
    assert notes(result)["open_quotes"] == 1


def test_an_open_quote_without_any_other_does_not_reach_the_end(tmp_path):
    lines = ["id,text,label", '0,"open,a', *[f"{i},plain {i},b" for i in range(1, 5000)]]
    result = parsed(tmp_path, "\n".join(lines))
    assert len(cells(result)) == 5001
    assert notes(result) == {"open_quotes": 1}


def test_an_open_quote_closed_far_below_is_not_one_huge_cell(tmp_path):
    lines = ["id,text,label", '0,"open,a', *[f"{i},plain {i},b" for i in range(1, 50)], '50,closes",a', "51,end,b"]
    rows = cells(parsed(tmp_path, "\n".join(lines)))
    assert len(rows) == 53
    assert rows[2] == ["1", "plain 1", "b"]


def test_texts_of_several_lines_stay_whole(tmp_path):
    text = "Dear team,\nthe box, it was fine\r\nbut, well\n\nThanks, Bob"
    result = parsed(tmp_path, f'text,label\n"{text}",x\nshort,y\n')
    assert cells(result)[1:] == [[text, "x"], ["short", "y"]]
    assert result.notes == []


def test_backslashed_quotes_and_blanks_after_commas(tmp_path):
    assert cells(parsed(tmp_path, 'text,label\n"say \\"hi\\", now",x\nno,y\n'))[1] == ['say "hi", now', "x"]
    assert cells(parsed(tmp_path, 'text, label\n"a, b", "x"\n"c", "y"\n'))[1:] == [["a, b", "x"], ["c", "y"]]


def test_a_blank_before_a_quote_within_a_text_is_no_habit_of_the_file(tmp_path):
    result = parsed(tmp_path, 'text,label\n"one, ""two""", x\n"three, ""four""", y\n')
    assert cells(result)[1:] == [['one, "two"', " x"], ['three, "four"', " y"]]


def test_a_quote_after_a_backslash_in_a_text_is_no_escape(tmp_path):
    assert cells(parsed(tmp_path, 'text,label\n"C:\\""temp, see",x\nno,y\n'))[1] == ['C:\\"temp, see', "x"]


def test_a_carriage_return_without_quotes_stays_in_its_cell(tmp_path):
    """pandas writes it so: a row that has too few cells goes on after it."""
    result = parsed(tmp_path, 'text,label\nup\rdown,x\nfoo,y\na\r"b, c"\rd,x\nbar,one\rtwo\n')
    assert cells(result)[1:] == [["up\rdown", "x"], ["foo", "y"], ["a\rb, c\rd", "x"], ["bar", "one\rtwo"]]
    assert result.notes == []


def test_a_blank_line_that_a_carriage_return_ends_is_no_cell(tmp_path):
    result = parsed(tmp_path, "text,label\na,x\n\r,y\nb,x\n")
    assert cells(result)[1:] == [["a", "x"], ["", "y"], ["b", "x"]]
    assert notes(result) == {"blank_lines": 1}


def test_mixed_line_ends_all_end_rows(tmp_path):
    result = parsed(tmp_path, "text,label\na,x\rb,y\r\nc,x\nd,y\re,x\n")
    assert cells(result)[1:] == [["a", "x"], ["b", "y"], ["c", "x"], ["d", "y"], ["e", "x"]]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("Report of May;;\n;;\n text;label\na;x\nb;y\nc;x\n", 2),
        ("Report of May\n\nid;text;label\n1;a;x\n2;b;y\n3;c;x\n", 2),
        ("sep=;\nReport;;\nof May;;\nid;text;label\n1;a;x\n2;b;y\n3;c;x\n", 2),
        ("Umsatz,\nName,Wert\nhallo,x\ndu,y\nich,x\n", 1),
        ("\n\ntext,label\na,x\nb,y\nc,x\n", 0),
        (",text,label\n0,a,x\n1,b,y\n2,c,x\n", 0),
        ("text,\na,x\nb,y\nc,x\n", 0),
        ("late\nlate,x\nlate,y\nlate,z\nbad,y\nbad,x\n", 0),
    ],
)
def test_rows_above_the_header(tmp_path, content, rows):
    result = parsed(tmp_path, content, single_column=True)
    assert result.facts["title_rows"] == rows
    assert notes(result).get("title_rows", 0) == rows
    if rows:
        assert cells(result)[1][-1] == "x"
        assert result.table.to_pydict()[ROW_COLUMN][0] == rows + 2
        chosen = parsed(tmp_path, content, title_rows=rows)
        assert (chosen.id, chosen.notes) == (result.id, [])


def test_a_person_decides_about_the_header(tmp_path):
    content = "late,x,\nlate,y,\nlate,x,\nlate,y,\nbad,y,\nbad,x,\n"
    told = parsed(tmp_path, content, header=True)
    rows = [["late", "y"], ["late", "x"], ["late", "y"], ["bad", "y"], ["bad", "x"]]
    assert cells(told) == [["late", "x"], *rows]
    assert cells(parsed(tmp_path, content))[0] == ["column 1", "column 2"]
    numbered = parsed(tmp_path, "text,label,\na,x,\nb,y,\n", header=False)
    assert cells(numbered) == [["column 1", "column 2"], ["text", "label"], ["a", "x"], ["b", "y"]]
    assert [(r.facts["header"], r.notes) for r in (told, numbered)] == [(True, []), (False, [])]
    assert numbered.table.to_pydict()[ROW_COLUMN] == [1, 2, 3]


def test_a_person_decides_about_the_delimiter(tmp_path):
    content = "a;b,c\n1;2,3\n4;5,6\n"
    assert cells(parsed(tmp_path, content, delimiter=";"))[0] == ["a", "b,c"]
    assert cells(parsed(tmp_path, content, delimiter=","))[0] == ["a;b", "c"]
    assert cells(parsed(tmp_path, content, delimiter="", single_column=True))[1] == ["a;b,c"]
    for wrong in (";;", '"', "\n"):
        with pytest.raises(UserError, match="delimiter_unknown"):
            parsed(tmp_path, content, delimiter=wrong)


@pytest.mark.parametrize(
    ("content", "expected", "format_name"),
    [
        ('I like it, really\nNo\nyes, well, then\n"a" b, c, "d\n', ["text", "I like it, really", "No",
            "yes, well, then", '"a" b, c, "d'], "text"),
        ("text\nhello there\n\nwell, then\n", ["text", "hello there", "well, then"], "text"),
        ("notes\nthe first of the lines\nand, well, the second\n", ["notes", "the first of the lines",
            "and, well, the second"], "text"),
        ("good\nbad\nugly thing\n", ["text", "good", "bad", "ugly thing"], "text"),
        ('remark here\n"Hello, there"\nok\n"say ""hi"""\n', ["remark here", "Hello, there", "ok", 'say "hi"'],
            "csv"),
        ('Hello\n"Stop!"\nBye\n', ["text", "Hello", '"Stop!"', "Bye"], "text"),
    ],
)  # fmt: skip
def test_one_example_a_line(tmp_path, content, expected, format_name):
    result = parsed(tmp_path, content, single_column=True)
    assert [row[0] for row in cells(result)] == expected
    assert result.facts["format"] == format_name
    assert {note for note in notes(result) if note != "blank_lines"} == set()


def test_names_become_unique(tmp_path):
    result = parsed(tmp_path, " text ,,text,\nhello,b,c,\nyou,e,f,\n")
    assert result.table.column_names[:-1] == ["text", "column 2", "text 2"]
    assert notes(result) == {"columns_renamed": 0}


def test_a_table_without_header_loses_no_row(tmp_path):
    result = parsed(tmp_path, "late again,delivery\nhi there,praise\nnot here,delivery\nlost,delivery\nyo,praise\n")
    assert cells(result)[:2] == [["column 1", "column 2"], ["late again", "delivery"]]
    assert notes(result) == {"header_missing": 1}


def test_a_header_that_comes_again_is_no_row(tmp_path):
    result = parsed(tmp_path, "text,label\na,x\ntext,label\nb,y\ntext,label\n")
    assert len(cells(result)) == 3
    assert notes(result) == {"repeated_header": 2}


def test_the_id_knows_cells_from_their_neighbours(tmp_path):
    ids = {parsed(tmp_path, f"text,label\n{row}\nz,z\n").id for row in ("ab,c", "a,bc", "abc,", "ac,b")}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file_empty"),
        (b" \n\r\n  \n", "file_empty"),
        (b"\xef\xbb\xbf", "file_empty"),
        (b"text,label\n", "file_header_only"),
        (b"text,label\n\n,\n", "file_header_only"),
        (b"text\nhello there\nwell, then\n", "file_one_column"),
        (b"text,\nhello,\nyou,\n", "file_one_column"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "file_is_excel"),
        (bytes(range(1, 9)) * 200, "file_is_binary"),
    ],
)
def test_what_is_no_table(tmp_path, content, code):
    assert refused(tmp_path, content).code == code


def archive(name):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        file.writestr(name, "x")
    return target.getvalue()


def test_other_kinds_are_named(tmp_path):
    kinds = {
        "PNG": b"\x89PNG\r\n\x1a\n" + zlib.compress(b"x" * 500),
        "JPEG": b"\xff\xd8\xff\xe0" + bytes(100),
        "PDF": b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\n",
        "BZIP2": bz2.compress(b"text,label\na,b\n"),
        "Word": archive("word/document.xml"),
        "HTML": b"<!DOCTYPE html><html><body>text,label</body></html>",
    }
    assert {kind: refused(tmp_path, content).facts.get("kind") for kind, content in kinds.items()} == {
        k: k for k in kinds
    }


def test_a_text_may_begin_like_something_else(tmp_path):
    for header in ("[text],{label}", "MZ,label", "BM,label", "ID,label"):
        assert cells(parsed(tmp_path, f"{header}\nhello,x\nyou,y\n"))[0] == header.split(",")


def test_bounds(tmp_path):
    small = Limits(rows=3, columns=4, cell_characters=1000)
    assert refused(tmp_path, "text,label\n" + "a,b\n" * 4, small).code == "file_too_many_rows"
    assert refused(tmp_path, "a,b,c,d,e\n1,2,3,4,5\n", small).facts == {"columns": 5, "limit": 4}
    assert refused(tmp_path, "text,label\n" + "a" * 1001 + ",b\n", small).code == "file_cell_too_long"
    long = '"' + "line of words\n" * 100 + '"'
    assert refused(tmp_path, f"text,label\nok,a\n{long},b\n", small).code == "file_cell_too_long"
    assert len(cells(parsed(tmp_path, "text,label\n" + "a,b\n" * 3, small))) == 4


# --- through the child ---


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


def test_the_child_reads_the_messy_sample(settings, tmp_path):
    target = tmp_path / "table"
    facts = reading.read(SAMPLES["customer_messages"].with_name("customer_messages_messy.csv"), target, settings)
    assert facts["columns"] == ["id", "channel", "message", "topic"]
    frame = reading.load(target)
    assert len(frame) == facts["rows"] == 60
    assert frame["message"].tolist().count("") == 1
    assert not frame.isna().any().any()
    row = frame[frame["id"] == "1021"].iloc[0]
    assert (row["message"], row["topic"]) == ("I paid by card, got a reminder, paid again, now what", "billing")


def test_the_child_passes_errors_on_and_leaves_nothing(settings, tmp_path):
    picture = tmp_path / "picture.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(UserError) as error:
        reading.read(picture, tmp_path / "table", settings)
    assert error.value.as_dict() == {"code": "file_not_a_table", "facts": {"kind": "PNG"}}
    assert not (tmp_path / "table").exists()


@pytest.mark.usefixtures("started_anew")
@pytest.mark.parametrize("limits", [Limits(reader_memory=420 * 2**20), Limits(reader_cpu=1), Limits(reader_wall=1)])
def test_a_heavy_file_ends_the_child_and_not_us(tmp_path, limits):
    heavy = tmp_path / "heavy.csv"
    line = ",".join(f"c{i} {'x' * 20}" for i in range(100)) + "\n"
    with heavy.open("w") as file:
        file.writelines([line.replace("x", "n"), *[line.replace("c", f"{i}") for i in range(25_000)]])
    with pytest.raises(UserError, match="file_too_heavy"):
        reading.read(heavy, tmp_path / "table", Settings(home=tmp_path / "home", limits=limits))
    assert not (tmp_path / "table").exists()


def test_size_and_place_are_checked_before(settings, tmp_path):
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(201 * 2**20)
    with pytest.raises(UserError) as error:
        reading.read(large, tmp_path / "table", settings)
    assert error.value.as_dict() == {"code": "file_too_large", "facts": {"mb": 201, "limit_mb": 200}}
    for missing in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(UserError, match="file_missing"):
            reading.read(missing, tmp_path / "table", settings)


def test_a_name_like_an_option_is_only_a_name(settings, tmp_path):
    path = tmp_path / "--help; echo.csv"
    path.write_text("text,label\na,b\nc,d\n")
    assert reading.read(path, tmp_path / "table", settings)["rows"] == 2


def test_of_a_reader_that_fails_the_log_knows_where_and_nothing_that_was_read(tmp_path, caplog):
    settings = Settings(home=tmp_path)
    assert reading.run(settings, "timeit", ["-n1", "-r1", "open('/nowhere/secret')"]) == (1, b"")
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("timeit ended with 1: FileNotFoundError ")
    assert "timeit.py:" in line
    assert "secret" not in line
    assert "nowhere" not in line
    caplog.clear()
    assert reading.run(settings, "platform", [])[0] == 0
    assert caplog.records == []
