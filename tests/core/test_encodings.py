"""One small table in every encoding is the same table, and what was decided has the name that people know."""

import codecs
import random

import pytest

from core.data import decoding
from core.data.formats import parse_any
from core.data.options import ReadOptions
from core.errors import UserError
from core.settings import Limits

CHINESE = [("快递还没有到，请尽快处理", "物流"), ("我要退款，谢谢", "退款"), ("请问这个产品的保修期有多长？", "咨询")]
TRADITIONAL = [
    ("快遞還沒有到，請儘快處理", "物流"),
    ("我要退款，謝謝", "退款"),
    ("請問這個產品的保固期有多長？", "諮詢"),
]
RARE = [("收件人姓𠮷，别写错了", "物流"), ("我要退款，谢谢", "退款"), ("门牌上的字是㐂和𡃁", "咨询")]
JAPANESE = [
    ("荷物がまだ届きません", "配送"),
    ("返金をお願いします", "返金"),
    ("保証期間はどのくらいですか？", "質問"),
]
KOREAN = [("택배가 아직 안 왔어요", "배송"), ("환불해 주세요", "환불"), ("보증 기간은 얼마나 되나요?", "문의")]
GERMAN = [
    ("Das Gerät läuft nicht", "Mängel"),
    ("Wo bleibt die Rückzahlung?", "Geld"),
    ("Größe passt nicht", "Umtausch"),
]
TYPESET = [("L’été, “très” fâché – naïf, 5 €", "café"), ("Où est ma commande ?", "retard"), ("Ça m’a déçue…", "retour")]
SPANISH = [("El niño rompió el botón", "avería"), ("¿Dónde está mi pedido?", "envío"), ("¡Qué mañana!", "otro")]
POLISH = [
    ("Paczka jeszcze nie przyszła, proszę o zwrot", "zwroty"),
    ("Zły kolor", "zdjęcie"),
    ("Gdzie są moje łyżki?", "b"),
]
HUNGARIAN = [("A fedő nem zárható", "hibás"), ("Későn érkezett, gyűlölöm", "késés"), ("Őszintén szólva drága", "ár")]
RUSSIAN = [("посылка ещё не пришла", "доставка"), ("верните деньги", "возврат"), ("Где мой заказ?", "вопрос")]
GREEK = [("Το δέμα δεν έφτασε ακόμα", "αποστολή"), ("Θέλω τα χρήματά μου", "επιστροφή"), ("ακριβό", "τιμή")]
TURKISH = [("Paket hâlâ gelmedi", "kargo"), ("Rengi fotoğraftaki gibi değil", "iade"), ("müşteri hizmetleri kötü", "ş")]
HEBREW = [("החבילה עדיין לא הגיעה", "משלוח"), ("אני רוצה החזר", "החזר"), ("איפה ההזמנה שלי?", "שאלה")]
ARABIC = [("لم تصل الشحنة بعد", "شحن"), ("أريد استرداد المبلغ", "استرداد"), ("أين طلبي؟", "سؤال")]

GOLDEN = [
    ("utf-8", CHINESE, "utf-8", b""),
    ("utf-8", CHINESE, "utf-8", codecs.BOM_UTF8),
    ("utf-8", CHINESE, "utf-8", codecs.BOM_UTF8 * 2),
    ("utf-8", RARE + GREEK + ARABIC, "utf-8", b""),
    ("utf-16-le", CHINESE, "utf-16", codecs.BOM_UTF16_LE),
    ("utf-16-be", CHINESE, "utf-16", codecs.BOM_UTF16_BE),
    ("utf-16-le", CHINESE, "utf-16-le", b""),
    ("utf-16-be", CHINESE, "utf-16-be", b""),
    ("utf-16-le", RARE, "utf-16-le", b""),
    ("utf-16-be", JAPANESE, "utf-16-be", b""),
    ("utf-16-le", KOREAN, "utf-16-le", b""),
    ("utf-16-le", GERMAN, "utf-16-le", b""),
    ("utf-16-be", RUSSIAN, "utf-16-be", b""),
    ("utf-32-le", CHINESE, "utf-32", codecs.BOM_UTF32_LE),
    ("utf-32-be", CHINESE, "utf-32", codecs.BOM_UTF32_BE),
    ("utf-32-le", RARE, "utf-32-le", b""),
    ("utf-32-be", GERMAN, "utf-32-be", b""),
    ("gbk", CHINESE, "gbk", b""),
    ("gb18030", CHINESE, "gbk", b""),
    ("gb18030", RARE, "gb18030", b""),
    ("gbk", TRADITIONAL, "gbk", b""),
    ("big5", TRADITIONAL, "big5", b""),
    ("big5hkscs", [("佢哋啲嘢㗎", "嘅"), *TRADITIONAL], "big5hkscs", b""),
    ("shift_jis", JAPANESE, "shift_jis", b""),
    ("cp932", [("①の品が～届きません", "髙島"), *JAPANESE], "cp932", b""),
    ("euc_kr", KOREAN, "euc_kr", b""),
    ("cp949", [("똠방각하 펲시콜라", "뷁"), *KOREAN], "cp949", b""),
    ("cp1252", TYPESET, "cp1252", b""),
    ("latin-1", GERMAN, "cp1252", b""),
    ("latin-1", SPANISH, "cp1252", b""),
    ("mac_roman", GERMAN, "mac_roman", b""),
    ("mac_roman", SPANISH, "mac_roman", b""),
    ("mac_roman", TYPESET, "mac_roman", b""),
    ("cp1250", POLISH, "cp1250", b""),
    ("cp1250", HUNGARIAN, "cp1250", b""),
    ("cp1251", RUSSIAN, "cp1251", b""),
    ("cp1253", GREEK, "cp1253", b""),
    ("cp1254", TURKISH, "cp1254", b""),
    ("cp1255", HEBREW, "cp1255", b""),
    ("cp1256", ARABIC, "cp1256", b""),
]
PLAIN = [("the parcel is late", "delivery"), ("refund please", "refund")]


def content(rows, end="\n"):
    return end.join(["text,label", *(f'"{text}",{label}' for text, label in rows)]) + end


def written(tmp_path, data):
    path = tmp_path / "file.bin"
    path.write_bytes(data)
    return path


def read(tmp_path, data, **options):
    return parse_any(written(tmp_path, data), Limits(), ReadOptions(**options))


def cells(result):
    table = result.table.to_pydict()
    assert list(table)[:-1] == ["text", "label"]
    return list(zip(table["text"], table["label"], strict=True))


@pytest.mark.parametrize(("encoding", "rows", "shown", "mark"), GOLDEN)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("times", [1, 40])
def test_one_table_in_every_encoding(tmp_path, encoding, rows, shown, mark, end, times):
    rows = [*rows, *PLAIN] * times
    result = read(tmp_path, mark + content(rows, end).encode(encoding))
    assert cells(result) == rows
    assert (result.facts["encoding"], result.notes) == (shown, [])
    assert result.id == read(tmp_path, content(rows).encode()).id


@pytest.mark.parametrize(("encoding", "rows"), [(e, r) for e, r, _, mark in GOLDEN if not mark and "16" in e])
def test_a_single_row_tells_utf16(tmp_path, encoding, rows):
    for row in rows:
        assert cells(read(tmp_path, content([row]).encode(encoding))) == [row]


def test_a_lone_carriage_return_in_a_cell_is_kept_in_every_encoding(tmp_path):
    rows = [("上一行\r下一行", "物流"), *CHINESE]
    for encoding in ("utf-8", "utf-16-le", "gbk", "gb18030", "utf-32"):
        assert cells(read(tmp_path, content(rows, "\r\n").encode(encoding))) == rows


@pytest.mark.parametrize(
    ("encoding", "rows", "shown"),
    [
        ("cp1252", TYPESET, "cp1252"),
        ("cp1252", GERMAN, "cp1252"),
        ("gbk", CHINESE, "gbk"),
        ("big5", TRADITIONAL, "big5"),
        ("cp1251", RUSSIAN, "cp1251"),
        ("mac_roman", TYPESET, "mac_roman"),
    ],
)
@pytest.mark.parametrize("times", [1, 30])
def test_two_encodings_in_one_file(tmp_path, encoding, rows, shown, times):
    """As when two exports are pasted together, in either order; where the other one's rows are few or many."""
    older = "".join(f"{text.replace(',', ' ')},{label}\n" for text, label in rows)
    newer = content(CHINESE + GERMAN)
    result = read(tmp_path, newer.encode() + older.encode(encoding) * times)
    assert cells(result) == [*CHINESE, *GERMAN, *[(text.replace(",", " "), label) for text, label in rows] * times]
    assert result.facts["encoding"] == f"utf-8 + {shown}"
    wide = sum(not line.isascii() for line in older.splitlines()) * times
    assert result.notes == [{"code": "mixed_encodings", "rows": wide, "encoding": shown}]
    again = read(tmp_path, newer.encode() + older.encode(encoding) * times, encoding=result.facts["encoding"])
    assert (again.id, again.facts) == (result.id, result.facts)


@pytest.mark.parametrize("rows", [CHINESE, GERMAN, RUSSIAN, JAPANESE])
def test_damaged_utf8_is_not_taken_for_two_encodings(tmp_path, rows):
    """A text cut in the middle of a character, as data bases do it."""
    cut = next(line[:-1] for text, _ in rows if (line := text[: _last_wide(text) + 1].encode()))
    data = content(rows).encode() + cut + b",x\n"
    result = read(tmp_path, data)
    assert cells(result) == [*rows, (cut.decode("utf-8", "replace"), "x")]
    assert result.notes == [{"code": "broken_characters", "rows": 1}]
    assert result.facts["encoding"] == "utf-8"


def _last_wide(text):
    return max(place for place, c in enumerate(text) if not c.isascii())


def test_damaged_lines_beside_those_of_another_encoding(tmp_path):
    older = "".join(f"{text},{label}\n" for text, label in GERMAN).encode("cp1252")
    result = read(tmp_path, content(CHINESE).encode() + "Grö".encode() + "ß".encode()[:1] + b",x\n" + older)
    assert cells(result) == [*CHINESE, ("Grö\ufffd", "x"), *GERMAN]
    assert {note["code"]: note["rows"] for note in result.notes} == {"broken_characters": 1, "mixed_encodings": 3}


def test_byte_order_marks_before_a_quote(tmp_path):
    data = content(CHINESE).replace("text", '"text"').encode()
    for marks in (1, 2):
        assert cells(read(tmp_path, codecs.BOM_UTF8 * marks + data)) == CHINESE


def test_a_damaged_gbk_file_is_still_gbk(tmp_path):
    data = content(CHINESE * 30).encode("gbk") + "断".encode("gbk")[:1] + b",x\n"
    result = read(tmp_path, data)
    assert cells(result)[:90] == CHINESE * 30
    assert result.notes == [{"code": "broken_characters", "rows": 1}]


@pytest.mark.parametrize("times", [1, 20])
def test_short_cells_of_gbk_that_happen_to_be_utf8(tmp_path, times):
    """Two bytes of GBK may be a character of UTF-8, as of these: no second encoding is seen for that."""
    assert "谢谢".encode("gbk").decode() == "лл"
    rows = [*CHINESE[:2], ("ok", "谢谢"), CHINESE[2]] * times
    result = read(tmp_path, content(rows).encode("gbk"))
    assert cells(result) == rows
    assert result.facts["encoding"] == "gbk"


@pytest.mark.parametrize("name", decoding.ENCODINGS)
def test_every_choice_can_be_made(tmp_path, name):
    rows = {"cp1251": RUSSIAN, "cp1253": GREEK, "cp1255": HEBREW, "cp1256": ARABIC, "cp932": JAPANESE}.get(name)
    rows = rows or {"cp949": KOREAN, "gb18030": RARE, "big5hkscs": TRADITIONAL}.get(name) or PLAIN
    result = read(tmp_path, content(rows).encode(name), encoding=name)
    assert (cells(result), result.facts["encoding"]) == (rows, name)


@pytest.mark.parametrize("name", ["GBK", "Shift_JIS", "UTF8", "windows-1252", "big5", "EUC-KR", "iso-8859-1"])
def test_usual_names_are_understood(tmp_path, name):
    data = content(PLAIN).encode()
    assert cells(read(tmp_path, data, encoding=name)) == PLAIN


@pytest.mark.parametrize(
    "name",
    ["zip", "hex", "base64", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "rot13", "undefined", "mbcs",
     "utf-7", "no such", "", " ", "gbk + utf-8", "utf-8 + utf-16", "utf-8 + zip", "utf-8 + "],
)  # fmt: skip
def test_other_codecs_are_refused(tmp_path, name):
    with pytest.raises(UserError) as error:
        decoding.chosen(written(tmp_path, b"text,label\n"), name)
    assert error.value.code == "encoding_unknown"
    assert error.value.facts == {"encoding": name, "known": ", ".join(decoding.ENCODINGS)}


def test_a_choice_that_does_not_fit_is_followed_and_said(tmp_path):
    result = read(tmp_path, content(GERMAN).encode("cp1252"), encoding="utf-8")
    assert cells(result)[0] == ("Das Ger\ufffdt l\ufffduft nicht", "M\ufffdngel")
    assert result.notes == [{"code": "broken_characters", "rows": 3}]


def test_noise_is_refused(tmp_path):
    for seed in range(5):
        noise = random.Random(seed).randbytes(3000).translate(None, bytes(range(32)) + b"\x7f")
        with pytest.raises(UserError, match="file_encoding_unknown"):
            decoding.detect(written(tmp_path, b"text,label\n" + noise))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_zero_bytes_alone_do_not_make_utf16(tmp_path, encoding):
    data = content(GERMAN).encode(encoding).replace(b"\n", b"\n\0")
    assert cells(read(tmp_path, data)) == GERMAN


def test_lines_are_the_same_whichever_way_the_file_is_cut(tmp_path):
    data = b"".join(b"%d\r" % i + b"x" * (i % 700) + b"\r\n\n" for i in range(7000))
    assert len(data) > 2 * 2**20
    path = written(tmp_path, data)
    assert list(decoding.raw_lines(path)) == data.splitlines(keepends=True)
