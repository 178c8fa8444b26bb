"""What texts are made of: encodings, invisible characters, markup, blanks, personal data, lengths."""

import json
import random

import pandas as pd
import pytest

from core.data.doctor.base import Sheet
from core.data.doctor.checks import CHECKS
from core.data.doctor.counts import ROW_CHECKS, margin
from core.data.doctor.examining import examine
from core.data.doctor.markup import HINT, strip_html
from core.data.doctor.privacy import PRIVACY_CHECKS, is_luhn, mask_cards, mask_emails, mask_phones, mask_urls
from core.data.doctor.text import BLANK_CHECKS, CHARACTER_CHECKS, PLACEHOLDER_CHECKS
from core.data.shapes import SHAPES

OURS = {
    check.code: check for check in (*CHARACTER_CHECKS, *BLANK_CHECKS, *PLACEHOLDER_CHECKS, *PRIVACY_CHECKS, *ROW_CHECKS)
}
PAIRS = {"source": "source", "target": "target"}
FAMILY, ENGLAND = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f3f4\U000e0067\U000e0062\U000e007f"


def sheet(cells, task="text_generation", columns=None, **more):
    """One column `text`, or the columns of a dict; rows are numbered from 11."""
    told = cells if isinstance(cells, dict) else {"text": cells}
    length = len(next(iter(told.values())))
    frame = pd.DataFrame(told, dtype="str", index=pd.RangeIndex(11, 11 + length, name="row"))
    return Sheet(frame, SHAPES[task], columns or {"text": "text"}, **more)


def look(code, *given, **more):
    return OURS[code].look(sheet(*given, **more))


def mended(seen, fix=None):
    return seen.mends[fix or seen.finding.fix]()


CHANGED = [
    ("garbled_text", "mend", "isnâ€™t cafÃ© here", "isn’t café here"),
    ("garbled_text", "mend", "ÐŸÑ€Ð¸Ð²ÐµÑ‚, Ð´Ñ€ÑƒÐ³", "Привет, друг"),
    ("garbled_text", "mend", "ÃƒÂ©tÃƒÂ©", "été"),
    ("garbled_text", "mend", "鎴戠殑璁㈠崟鍦ㄥ摢閲�", "我的订单在哪"),
    ("garbled_text", "mend", "浣犲ソ锛屼笘鐣屽ソ", "你好，世界好"),
    ("control_characters", "remove", "a\x07b\x1b[0m\x00", "ab[0m"),
    ("control_characters", "remove", "so\u200bme\ufeff wo\xadrds \u202eabc\u202c", "some words abc"),
    ("control_characters", "remove", "one\x0btwo\x0cthree\x1ffour", "one\ntwo\nthree four"),
    ("control_characters", "remove", "in\u200dside\U000e0041\U000e0042", "inside"),
    ("html", "strip", "one<br>two<BR/>three", "one\ntwo\nthree"),
    ("html", "strip", "<p class='x'>A</p><p>B &amp; C</p>", "A\n\nB & C"),
    ("html", "strip", "<b>bold</b> and <a href=\"x\">link</a>", "bold and link"),
    ("html", "strip", "a<script>if (a<b) {}</script>b<STYLE>p{}</STYLE>c", "abc"),
    ("html", "strip", "it&#39;s R&amp;amp;D &#x2013; caf&eacute;&nbsp;au lait", "it's R&D – café au lait"),
    ("html", "strip", "&lt;br&gt;x &#55357;&#56832; y&#8203;z", "x 😀 yz"),
    ("html", "strip", "<!-- note --> text <!-- open", "text <!-- open"),
    ("html", "strip", "<td>a</td><td>b</td>", "a  b"),
    ("personal_emails", "mask", "write to a.b+c@d-e.co.uk.", "write to [EMAIL]."),
    ("personal_emails", "mask", "邮箱abc@qq.com谢谢", "邮箱[EMAIL]谢谢"),
    ("personal_phones", "mask", "call +49 (0) 30 1234567.", "call [PHONE]."),
    ("personal_phones", "mask", "电话13912345678谢谢", "电话[PHONE]谢谢"),
    ("personal_cards", "mask", "my card 4111 1111 1111 1111 12/26", "my card [CARD] 12/26"),
    ("personal_urls", "mask", "see https://a.cn/x?y=1#z, ok", "see [URL], ok"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "fix", "before", "after"), CHANGED)
def test_what_is_seen_is_mended(code, fix, before, after):
    given = sheet(["plain text", before, "more text"])
    seen = OURS[code].look(given)
    finding = seen.finding
    assert (finding.code, finding.rows, finding.examples, finding.fixes) == (code, 1, (12,), (fix,))
    assert finding.recommended == (fix != "mask")
    sample = finding.samples[0]
    assert (sample.row, sample.before, sample.after) == (12, {"text": before}, {"text": after})
    frame = mended(seen)
    assert frame["text"].tolist() == ["plain text", after, "more text"]
    assert frame.index.equals(given.frame.index)
    assert given.frame["text"].tolist()[1] == before
    assert OURS[code].look(given.with_frame(frame)) is None


LEFT = [
    ("garbled_text", ["voilà, ça va “été”", "Straße „x“ größer", "Ђорђе, «срочно»", "一条涓涓细流", "日本語です",
                      "Ångström"]),
    ("control_characters", [FAMILY, ENGLAND, "می\u200cخواهم", "ไทย\u200bไทย", "क\u094d\u200dष", "tab\tline\nend\r\n"]),
    ("html", ["a < b", "I <3 you", "List<int>", "Map<a, b>", "x<b>y", "if a <b and c> d", "<i am here>", "R&D; AT&T;",
              "&notanentity;", "<address> please", "a && b", "<user@example.org>", "5 > 3 &c."]),
    ("personal_emails", ["a@b", "@name", "me@x.y1", "price @ 5.00"]),
    ("personal_phones", ["2024-01-15 10:30", "order 123456789012", "A13912345678", "$1,234,567.89", "192.168.100.200",
                         "20240115123456", "3.14159265358979", "0001-1234567", "12:30:45", "+12345678", "#13912345678",
                         "12.05.2024", "id 2024-1234-5678", "/orders/13912345678"]),
    ("personal_cards", ["4111111111111112", "1700000000000", "x4111111111111111", "0000 0000 0000 0000",
                        "1234 5678 9012 3456", "9781234567897"]),
    ("personal_urls", ["and/or", "a://", "example.com", "://x"]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in LEFT for text in texts])
def test_what_only_looks_like_it_is_left(code, text):
    assert look(code, [text]) is None


@pytest.mark.parametrize(
    ("mask", "before", "after"),
    [
        (mask_phones, "(555) 010-9999 or 555-010-9999", "[PHONE] or [PHONE]"),
        (mask_phones, "tel:13912345678, 138 1234 5678, 010-12345678", "tel:[PHONE], [PHONE], [PHONE]"),
        (mask_phones, "06 12 34 56 78; 0221/123456; 020 7946 0958", "[PHONE]; [PHONE]; [PHONE]"),
        (mask_cards, "3782-822463-10005, 6222021234567890128, 4111 1111 1111 1111 123", "[CARD], [CARD], [CARD] 123"),
        (mask_urls, "[a](https://x.y) 看https://a.cn/路 (WWW.B.ORG)", "[a]([URL]) 看[URL]路 ([URL])"),
        (mask_urls, "http://пример.рф/да!", "[URL]!"),
        (mask_phones, "+12345678 points", "+12345678 points"),
        (mask_emails, "x@y.de,z@y.de", "[EMAIL],[EMAIL]"),
    ],
)
def test_more_ways_to_write_them(mask, before, after):
    assert mask(before) == after


def test_check_digits():
    assert [is_luhn(number) for number in ("4111111111111111", "4111111111111112", "79927398713")] == [
        True,
        False,
        True,
    ]


def test_lost_characters_are_told_but_cannot_be_mended():
    seen = look("garbled_text", ["fine", "lost \ufffd", "锟斤拷"])
    assert (seen.finding.rows, seen.finding.examples, seen.finding.fix, dict(seen.mends)) == (2, (12, 13), None, {})
    assert [sample.after for sample in seen.finding.samples] == [None, None]
    both = look("garbled_text", ["cafÃ©", "lost \ufffd"])
    assert (both.finding.rows, both.finding.facts, both.finding.severity) == (1, {"lost": 1}, "warning")


def test_answers_and_conversations_are_looked_at_too():
    pair = sheet({"source": ["a &amp; b"], "target": ["c &amp; d"]}, "translation", PAIRS)
    frame = mended(OURS["html"].look(pair))
    assert frame.to_dict("list") == {"source": ["a & b"], "target": ["c & d"]}
    talk = [{"role": "user", "content": "say &quot;hi&quot; to a@b.de"}, {"role": "assistant", "content": "hi"}]
    cells = [json.dumps(talk), "not json &quot; a@b.de", "[" * 100_000 + "&amp;"]
    chat = sheet({"m": cells}, "chat", {"messages": "m"})
    seen = OURS["html"].look(chat)
    assert seen.finding.examples == (11,)
    assert json.loads(mended(seen)["m"].iloc[0])[0] == {"role": "user", "content": 'say "hi" to a@b.de'}
    odd = sheet({"m": ['[{"role": "a&amp;b", "content": "c&amp;d"}]']}, "chat", {"messages": "m"})
    assert json.loads(mended(OURS["html"].look(odd))["m"].iloc[0]) == [{"role": "a&amp;b", "content": "c&d"}]
    masked = json.loads(mended(OURS["personal_emails"].look(chat))["m"].iloc[0])
    assert masked[0]["content"] == "say &quot;hi&quot; to [EMAIL]"


def test_letters_escaped_in_a_conversation_are_seen_and_halves_of_emoji_survive():
    cells = ['[{"role": "user", "content": "caf\\u00c3\\u00a9 \\ud800"}]']
    seen = OURS["garbled_text"].look(sheet({"m": cells}, "chat", {"messages": "m"}))
    assert json.loads(mended(seen)["m"].iloc[0])[0]["content"] == "café \ud800"


def test_columns_without_a_role_are_left_alone():
    given = sheet({"text": ["a &amp; b"], "notes": ["c &amp; d"]})
    assert mended(OURS["html"].look(given))["notes"].tolist() == ["c &amp; d"]


@pytest.mark.parametrize(
    ("code", "task", "columns", "rows", "gone", "facts"),
    [
        ("blank_text", "classification", {"text": "a", "label": "b"},
         [("x", ""), (" \u200b", "y"), ("", "")], (12, 13), {}),
        ("blank_text", "translation", {"source": "a", "target": "b"}, [("", "y"), ("x", "")], (11,), {}),
        ("blank_text", "chat", {"system": "a", "prompt": "b"}, [("", "y"), ("x", "")], (12,), {}),
        ("blank_text", "chat", {"prompt": ("a", "b")}, [("x", ""), ("", "y"), ("", " ")], (13,), {}),
        ("blank_answer", "translation", {"source": "a", "target": "b"},
         [("", "y"), ("x", "\xa0")], (12,), {"role": "target"}),
        ("placeholder_text", "translation", {"source": "a", "target": "b"},
         [("x", "N/A"), ("-", "y"), ("none", "na"), ("null!", "#REF!")], (11, 12, 14), {"texts": "#REF!, -, N/A"}),
    ],
)  # fmt: skip
def test_rows_without_anything_are_taken_out(code, task, columns, rows, gone, facts):
    frame = pd.DataFrame(rows, columns=["a", "b"], dtype="str", index=pd.RangeIndex(11, 11 + len(rows), name="row"))
    seen = OURS[code].look(Sheet(frame, SHAPES[task], columns))
    finding = seen.finding
    assert (finding.rows, finding.examples, finding.facts) == (len(gone), gone, facts)
    assert (finding.severity, finding.fixes, finding.recommended) == ("warning", ("drop",), True)
    assert [(s.row, s.before["a"], s.after) for s in finding.samples] == [(r, frame.at[r, "a"], None) for r in gone[:3]]
    assert mended(seen).index.tolist() == [row for row in frame.index if row not in gone]
    assert OURS[code].look(Sheet(mended(seen), SHAPES[task], columns)) is None


BOMBS = [
    "<script>" * 100_000, "<!--" * 100_000, "<b " * 100_000, "&" * 500_000, "&amp;" * 100_000, "</p" * 100_000,
    "a@" * 200_000, "a." * 200_000, "a@" + "b." * 200_000, "http://" * 50_000, "www." * 50_000, "+1 " * 100_000,
    "1" * 500_000, "1 " * 200_000, "1-" * 200_000, "(1" * 200_000, "\u200b" * 100_000, "Ã©" * 100_000, "锛" * 100_000,
    "<a " + "=" * 500_000, " " * 500_000 + "<b>", "\n" * 300_000 + "<p>", "x" * 2**20,
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: ascii(bomb[:8]))
def test_hostile_cells_end_soon(bomb):
    given = sheet([bomb, "fine"])
    for check in OURS.values():
        seen = check.look(given)
        for mend in seen.mends.values() if seen else ():
            assert set(mend().columns) == {"text"}


def test_what_lies_far_back_in_a_giant_cell_is_left_as_it_is():
    cell = "x " * 30_000 + "a@b.de"
    assert look("personal_emails", [cell]) is None
    both = "a@b.de " + cell
    assert mended(look("personal_emails", [both]))["text"].iloc[0] == "[EMAIL] " + cell


def test_texts_that_are_no_unicode_raise_nothing():
    frame = pd.DataFrame({"text": ["half \ud800 a@b.de &amp;", "cafÃ© \udfff", ""]}, dtype="object")
    frame.index = pd.RangeIndex(2, 5, name="row")
    given = Sheet(frame, SHAPES["text_generation"], {"text": "text"})
    assert mended(OURS["html"].look(given))["text"].iloc[0] == "half \ud800 a@b.de &"
    assert mended(OURS["garbled_text"].look(given))["text"].iloc[1] == "café \udfff"
    for check in (*CHARACTER_CHECKS, *PRIVACY_CHECKS):
        check.look(given)


def test_the_hint_of_html_is_in_every_text_that_has_some():
    import re

    for code, _, before, _ in CHANGED:
        if code == "html":
            assert re.search(HINT, before)
    assert strip_html("no markup at all") == "no markup at all"


def test_nothing_is_found_in_no_rows():
    for check in OURS.values():
        assert check.look(sheet([])) is None


@pytest.mark.parametrize(("rows", "points"), [(1, 43), (7, 26), (15, 19), (100, 8), (1000, 2)])
def test_how_far_off_an_accuracy_may_be(rows, points):
    # Half of Wilson's interval for 80 %, by hand: 1.96 / (1 + 3.84/n) * sqrt(0.16/n + 0.96/n²).
    assert margin(rows) == points


@pytest.mark.parametrize(
    ("task", "rows", "facts"),
    [
        ("classification", 49, {"rows": 49, "wanted": 50, "margin": 26}),
        ("classification", 50, None),
        ("text_generation", 50, {"rows": 50, "wanted": 100, "margin": 25}),
        ("text_generation", 100, None),
        ("text_generation", 0, None),
    ],
)
def test_too_few_rows(task, rows, facts):
    columns = {"text": "text", "label": "label"} if task == "classification" else {"text": "text"}
    cells = {"text": ["", *(f"t {i}" for i in range(rows))], "label": ["x"] * (rows + 1)}
    seen = OURS["too_few_rows"].look(sheet(cells, task, columns))
    assert (seen.finding.facts if seen else None) == facts


def test_rows_of_a_test_file_are_what_is_measured_on():
    test = pd.DataFrame({"text": ["x"] * 400}, dtype="str")
    assert look("too_few_rows", ["a", "b"], test=test).finding.facts["margin"] == 4


@pytest.mark.parametrize(
    ("histogram", "limit", "rows", "percent", "tokens", "severity"),
    [
        ([[1, 10, 90], [11, 20, 10]], 10, 20, 10, 9, "warning"),
        ([[1, 10, 98], [11, 20, 2]], 10, 4, 2, 3, "info"),
        ([[1, 10, 100]], 5, 101, 50, 28, "warning"),
        ([[1, 10, 99], [11, 2000, 1]], 100, 2, 1, 75, "info"),
        ([[1, 10, 99], [11, 2000, 1]], 2000, 0, None, None, None),
        ([], 10, 0, None, None, None),
    ],
)
def test_texts_that_are_cut(histogram, limit, rows, percent, tokens, severity):
    longest = histogram[-1][1] if histogram else 0
    counted = {"sampled": 100, "rows": 200, "p50": 1, "p95": 1, "max": longest, "histogram": histogram}
    seen = look("texts_cut", ["x"] * 200, tokens=counted, max_length=limit)
    if percent is None:
        assert seen is None
        return
    facts = {"percent": percent, "tokens": tokens, "limit": limit, "longest": longest}
    assert (seen.finding.facts, seen.finding.severity) == (facts, severity)
    assert (seen.finding.rows, seen.finding.fix) == (rows, None)


def test_texts_are_not_cut_where_nothing_was_counted():
    assert look("texts_cut", ["x"], max_length=1) is None
    assert look("texts_cut", ["x"], tokens={"max": 9, "histogram": [[1, 9, 1]]}) is None


WORDS = "kettle arrived broken lid refused box green handle again never twice warm slow"
CHANCE = random.Random(3)
MESSY = [
    ("cafÃ© <b>x</b> one", "a"), ("mail a@b.de or +49 30 1234567 two", "A"), ("&lt;p&gt;three\u200b", "b"), ("", "b"),
    ("nan", "b"), ("four", ""), ("five", "null"), ("card 4111 1111 1111 1111 six", "b"), ("www.x.org seven", "b "),
    *((" ".join(CHANCE.sample(WORDS.split(), 6)), "ab"[i % 2]) for i in range(60)), ("rare", "c"),
]  # fmt: skip


def messy():
    frame = pd.DataFrame(MESSY, columns=["text", "label"], dtype="str")
    frame.index = pd.RangeIndex(2, len(MESSY) + 2, name="row")
    return Sheet(frame, SHAPES["classification"], {"text": "text", "label": "label"})


def test_all_fixes_at_once_leave_nothing_to_fix():
    given = messy()
    first = examine(given, "all")
    expected = {
        "garbled_text", "control_characters", "html", "blank_text", "placeholder_text", "blank_label",
        "placeholder_label", "label_variants", "personal_emails", "personal_phones", "personal_cards", "personal_urls",
        "rare_labels",
    }  # fmt: skip
    assert expected <= first.applied.keys()
    second = examine(given.with_frame(first.frame), "all")
    assert second.applied == {}
    assert second.frame.equals(first.frame)


def test_without_fixes_the_table_stays_and_a_fix_can_be_left_out():
    given, before = messy(), messy().frame
    assert examine(given, {}).frame.equals(before)
    everything = examine(given, "recommended")
    assert "personal_emails" not in everything.applied
    assert given.frame.equals(before)
    without = {code: fix for code, fix in everything.applied.items() if code != "html"}
    assert examine(given, without).frame["text"].iloc[0] == "café <b>x</b> one"


def test_each_code_is_checked_once():
    codes = [check.code for check in CHECKS]
    assert len(codes) == len(set(codes))
