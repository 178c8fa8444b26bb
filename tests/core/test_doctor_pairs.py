"""What the doctor sees in pairs, conversations and languages, and what its fixes leave."""

import json

import pandas as pd
import pytest

from core.data.doctor.base import Sheet
from core.data.doctor.chat import CHAT_CHECKS, spoken, turns, without_marks
from core.data.doctor.language import LANGUAGE_CHECKS
from core.data.doctor.pairs import PAIR_CHECKS
from core.data.shapes import SHAPES

CHECKS = {check.code: check for check in (*PAIR_CHECKS, *LANGUAGE_CHECKS, *CHAT_CHECKS)}
ENGLISH = [
    "Where is my parcel? It should have arrived yesterday.",
    "I was charged twice for the same order.",
    "How do I return these shoes and get my money back?",
    "The screen stays black since the last update.",
    "Please cancel my order before it is sent out.",
    "My password does not work on the new page.",
    "Can you send the invoice to my new address?",
    "The coffee machine leaks water when it is switched on.",
    "I would like to speak to somebody about my contract.",
    "Do you deliver to the islands as well?",
    "The discount was not taken off the price.",
]
GERMAN = [
    "Wo ist mein Paket? Es hätte gestern ankommen sollen.",
    "Mir wurde dieselbe Bestellung zweimal berechnet.",
    "Wie schicke ich diese Schuhe zurück und bekomme mein Geld wieder?",
    "Der Bildschirm bleibt seit dem letzten Update schwarz.",
    "Bitte stornieren Sie meine Bestellung, bevor sie verschickt wird.",
    "Mein Passwort funktioniert auf der neuen Seite nicht.",
    "Können Sie die Rechnung an meine neue Adresse schicken?",
    "Die Kaffeemaschine verliert Wasser, wenn sie eingeschaltet ist.",
    "Ich möchte mit jemandem über meinen Vertrag sprechen.",
    "Liefern Sie auch auf die Inseln?",
    "Der Rabatt wurde nicht vom Preis abgezogen.",
]
CHINESE = "我的包裹在哪里？它昨天就应该送到了，请帮我查一下。"


def sheet(task, columns, rows):
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys(columns.values())), dtype="str")
    return Sheet(frame.set_axis(pd.RangeIndex(2, len(frame) + 2, name="row")), SHAPES[task], columns)


def translation(*pairs):
    return sheet("translation", {"source": "en", "target": "de"}, list(pairs))


def chats(*conversations):
    cells = [talk if isinstance(talk, str) else conversation(*talk) for talk in conversations]
    return sheet("chat", {"messages": "talk"}, [[cell] for cell in cells])


ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def conversation(*said):
    """A cell from turns like `u:hello`."""
    parts = [turn.partition(":") for turn in said]
    return json.dumps([{"role": ROLES[role], "content": content} for role, _, content in parts])


def rows_of(code, given):
    """Rows of the finding, and the mended frame by its first fix."""
    seen = CHECKS[code].look(given) if CHECKS[code].concerns(given) else None
    if seen is None:
        return [], given.frame
    finding = seen.finding
    assert finding.code == code
    assert finding.fixes == tuple(seen.mends)
    assert finding.fix == next(iter(seen.mends), None)
    assert 0 < len(finding.samples) <= 3
    before = given.frame.copy()
    mended = seen.mends[finding.fix]() if finding.fix else given.frame
    pd.testing.assert_frame_equal(given.frame, before)
    assert list(mended.columns) == list(before.columns)
    assert set(mended.index) <= set(before.index)
    assert len(finding.examples) == min(5, finding.rows)
    if finding.fix == "drop":
        assert finding.rows == len(before) - len(mended)
    return list(finding.examples), mended


@pytest.mark.parametrize(
    ("source", "target", "copied"),
    [
        ("Please cancel my order.", "please  cancel my order.", True),
        ("Open file", "Open file", True),
        ("我想取消这个订单", "我想取消这个订单", True),
        ("Please cancel my order.", "Bitte stornieren Sie meine Bestellung.", False),
        ("Paris", "Paris", False),
        ("New York", "New York", False),
        ("Tuning Fork 2.0", "Tuning Fork 2.0", False),
        ("12.50 / 13", "12.50 / 13", False),
        ("", "", False),
    ],
)
def test_copied_pairs(source, target, copied):
    rows, mended = rows_of("copied_pairs", translation(("One house.", "Ein Haus."), (source, target)))
    assert rows == ([3] if copied else [])
    assert mended.index.tolist() == ([2] if copied else [2, 3])


@pytest.mark.parametrize(
    ("source", "target", "far"),
    [
        (ENGLISH[0], "Wo?", True),
        ("Hi", GERMAN[0], True),
        (ENGLISH[0], GERMAN[0], False),
        ("OK", "In Ordnung", False),
        (ENGLISH[0], "", False),
    ],
)
def test_length_mismatch(source, target, far):
    usual = [*zip(ENGLISH, GERMAN, strict=True)] * 2
    assert rows_of("length_mismatch", translation(*usual, (source, target)))[0] == ([24] if far else [])
    # Of a few pairs nobody knows what is usual.
    assert rows_of("length_mismatch", translation(*usual[:5], (source, target)))[0] == []


def test_length_mismatch_knows_that_chinese_is_shorter():
    pairs = [(text, "字" * (len(text) // 4)) for text in ENGLISH] * 2
    given = translation(*pairs, (ENGLISH[0], "字" * len(ENGLISH[0])))
    assert rows_of("length_mismatch", given)[0] == [24]


@pytest.mark.parametrize(
    ("source", "target", "wrong"),
    [
        (ENGLISH[0], ENGLISH[1], True),
        (GERMAN[0], ENGLISH[0], True),
        (ENGLISH[0], CHINESE, True),
        (ENGLISH[0], "Où est mon colis ? Il aurait dû arriver hier.", True),
        (ENGLISH[0], "iPhone 13 Pro Max", False),
        ("OK", "OK", False),
        ("", "", False),
    ],
)
def test_wrong_language_pairs(source, target, wrong):
    usual = zip(ENGLISH, GERMAN, strict=True)
    assert rows_of("wrong_language_pairs", translation(*usual, (source, target)))[0] == ([13] if wrong else [])


def test_pairs_without_two_clear_languages_are_left_alone():
    pairs = [*zip(ENGLISH, GERMAN, strict=True), *zip(GERMAN, ENGLISH, strict=True)]
    assert rows_of("wrong_language_pairs", translation(*pairs))[0] == []
    assert rows_of("wrong_language_pairs", translation(*zip(ENGLISH, ENGLISH, strict=True)))[0] == []


@pytest.mark.parametrize(
    ("text", "summary", "long", "copied"),
    [
        ("A short text.", "A summary that is longer than its text.", True, False),
        ("The same.", "The same.", True, False),
        (" ".join(ENGLISH), " ".join(ENGLISH[:2]).upper(), False, True),
        (" ".join(ENGLISH), "A parcel is late and other complaints of customers.", False, False),
        (" ".join(ENGLISH), "Where is my parcel?", False, False),
        ("", "Something", False, False),
    ],
)
def test_summaries(text, summary, long, copied):
    given = sheet("summarization", {"text": "article", "summary": "gist"}, [(text, summary)])
    assert rows_of("summary_too_long", given)[0] == ([2] if long else [])
    assert rows_of("summary_copied", given)[0] == ([2] if copied else [])


def test_checks_of_pairs_leave_other_examples_alone():
    same = sheet("classification", {"text": "text", "label": "label"}, [("please cancel it", "please cancel it")] * 3)
    chat = sheet("chat", {"prompt": "text", "answer": "label"}, [("please cancel it", "please cancel it")] * 3)
    for check in PAIR_CHECKS:
        assert not check.concerns(same)
        assert check.look(chat) is None


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([*ENGLISH, GERMAN[0]], [13]),
        ([*ENGLISH, CHINESE, GERMAN[0]], [13, 14]),
        ([*ENGLISH, "Wo bleibt es?", "谢谢", "42"], []),
        ([*ENGLISH[:8], GERMAN[0]], []),
        ([*ENGLISH, *GERMAN[:6]], []),
        ([CHINESE] * 11 + ["请帮我取消", ENGLISH[0]], [14]),
    ],
)
def test_other_language(texts, found):
    given = sheet("text_generation", {"text": "text"}, [[text] for text in texts])
    assert rows_of("other_language", given)[0] == found


def test_other_language_names_the_languages_and_leaves_the_choice():
    seen = CHECKS["other_language"].look(
        sheet("text_generation", {"text": "text"}, [[text] for text in [*ENGLISH * 2, *GERMAN[:2], CHINESE]])
    )
    assert seen.finding.facts == {"language": "en", "other": "de, zh"}
    assert not seen.finding.recommended


def test_other_language_is_not_asked_of_pairs_of_languages():
    given = translation(*zip(ENGLISH, GERMAN, strict=True), (GERMAN[0], ENGLISH[0]))
    assert rows_of("other_language", given)[0] == []


GOOD = conversation("s:be kind", "u:hello", "a:hello, how can I help?")


@pytest.mark.parametrize(
    "cell",
    [
        "hello", "[1, 2]", "{}", "[]", "[{}]", '{"role": "user", "content": "x"}', '[{"role": "user", "content": "x"',
        '[{"role": "customer", "content": "x"}]', "[" * 100_000, '[{"role": "user", "content": ' + "[" * 100_000,
    ],
)  # fmt: skip
def test_chat_unreadable(cell):
    rows, mended = rows_of("chat_unreadable", chats(GOOD, cell, ""))
    assert rows == [3]
    assert mended.index.tolist() == [2, 4]
    # What cannot be read is nothing for the other checks.
    assert [code for code in CHECKS if code.startswith("chat") and rows_of(code, chats(cell))[0]] == ["chat_unreadable"]


def test_both_notations_are_read():
    openai = '[{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", "content": null}]'
    sharegpt = '[{"from": "human", "value": "hi"}, {"from": "gpt", "value": ""}]'
    expected = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""}]
    assert turns(openai) == turns(sharegpt) == expected
    assert spoken(GOOD) == "be kind\nhello\nhello, how can I help?"
    assert spoken("[x") == "[x"


@pytest.mark.parametrize(
    ("said", "joined"),
    [
        (("u:a", "u:b", "a:c"), ("u:a\n\nb", "a:c")),
        (("s:x", "s:y", "u:a", "a:b", "a:"), ("s:x\n\ny", "u:a", "a:b")),
        (("a:welcome", "u:a", "a:b"), ("u:a", "a:b")),
        (("s:x", "a:welcome", "a:again", "u:a", "a:b"), ("s:x", "u:a", "a:b")),
        (("s:x", "u:a", "a:b", "u:c", "a:d"), None),
        (("u:a", "a:", "t:1", "t:2", "a:b"), None),
        (("u:a", "u:b"), None),  # nothing to learn from either way
        (("a:welcome",), None),
    ],
)
def test_chat_roles(said, joined):
    rows, mended = rows_of("chat_roles", chats(GOOD, said))
    assert rows == ([3] if joined else [])
    assert mended["talk"].tolist() == [GOOD, conversation(*(joined or said))]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (("u:a", "a:b", "u:c"), ("u:a", "a:b")),
        (("u:a", "a:b", "u:c", "t:d"), ("u:a", "a:b")),
        (("u:a", "a:b"), None),
        (("u:a",), None),
    ],
)
def test_chat_unanswered_end(said, kept):
    rows, mended = rows_of("chat_unanswered_end", chats(said))
    assert rows == ([2] if kept else [])
    assert mended["talk"].tolist() == [conversation(*(kept or said))]


@pytest.mark.parametrize(
    ("said", "dropped"),
    [
        (("u:a",), True),
        (("u:a", "a: "), True),
        (("a:welcome",), True),
        (("s:x",), True),
        (("u:a", "a:b", "u:c", "a:"), True),
        (("u:a", "a:b"), False),
        (("u:a", "a:", "t:1", "a:b"), False),
    ],
)
def test_chat_no_answer(said, dropped):
    assert rows_of("chat_no_answer", chats(GOOD, said, ""))[0] == ([3] if dropped else [])


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<|im_start|>user\nhello<|im_end|>", "hello"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nhello<|eot_id|>", "hello"),
        ("<s>[INST] <<SYS>>\nbe kind\n<</SYS>>\n\nhello [/INST]", "be kind\n\n\nhello"),
        ("<start_of_turn>model\nhello<end_of_turn>", "hello"),
        ("hello</s>", "hello"),
        ("### Instruction:\nsay hello\n### Response:\nhello", "say hello\n\nhello"),
        ("<｜User｜>hello<｜end▁of▁sentence｜>", "hello"),
        ("<bos>hello<eos>", "hello"),
        ("a <| b |> c, 1 <|> 2", None),
        ("now <s>50</s> 40 euros", None),
        ("# Instruction:\n[INSTALL] [a] see the section ## Response", None),
        ("  plain  ", None),
    ],
)
def test_special_tokens(text, clean):
    assert without_marks(text) == (text if clean is None else clean)
    expected = [text if clean is None else clean]
    prompts = sheet("chat", {"prompt": "q", "answer": "a"}, [("hi", text)])
    assert rows_of("chat_special_tokens", prompts)[1]["a"].tolist() == expected
    rows, mended = rows_of("chat_special_tokens", chats(("u:hi", f"a:{text}")))
    assert [turns(cell)[1]["content"] for cell in mended["talk"]] == expected
    assert rows == ([] if clean is None else [2])


def test_special_tokens_are_looked_for_in_chats_only():
    given = sheet("classification", {"text": "text", "label": "label"}, [("hello<|im_end|>", "greeting")])
    assert rows_of("chat_special_tokens", given)[0] == []


def test_marks_take_time_in_proportion():
    text = "<|im_start|>" * 4_000 + "<s>" * 4_000 + "<|" + "a" * 40_000
    assert without_marks(text) == "<s>" * 4_000 + "<|" + "a" * 40_000
