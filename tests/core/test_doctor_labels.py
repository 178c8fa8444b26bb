"""How labels are written, how many rows they have, and texts that give them away."""

import random

import pandas as pd
import pytest

from core.data.doctor.base import Sheet
from core.data.doctor.classes import CLASS_CHECKS, ERROR_CHECKS
from core.data.doctor.examining import examine
from core.data.doctor.labels import BLANK_LABEL_CHECKS, PLACEHOLDER_LABEL_CHECKS, SPELLING_CHECKS
from core.data.doctor.leaking import LEAK_CHECKS
from core.data.doctor.misspelling import is_typo, misspelled
from core.data.shapes import SHAPES
from core.settings import Limits

CHECKS = (
    *BLANK_LABEL_CHECKS, *PLACEHOLDER_LABEL_CHECKS, *SPELLING_CHECKS, *LEAK_CHECKS, *CLASS_CHECKS, *ERROR_CHECKS,
)  # fmt: skip
OURS = {check.code: check for check in CHECKS}
FLAGS = ("Refund", "delivery", "Other")


def sheet(labels, texts=None, *, several=False, **more):
    """Rows numbered from 11, each with a text of its own where none are given."""
    told = {"text": texts or [f"words {i}" for i in range(len(labels))], "label": labels}
    frame = pd.DataFrame(told, dtype="str", index=pd.RangeIndex(11, 11 + len(labels), name="row"))
    if several:
        return Sheet(frame, SHAPES["multi_label"], {"text": "text", "labels": "label"}, **more)
    return Sheet(frame, SHAPES["classification"], {"text": "text", "label": "label"}, **more)


def flags(rows):
    """A column for each label of FLAGS."""
    frame = pd.DataFrame(rows, columns=list(FLAGS), dtype="str", index=pd.RangeIndex(11, 11 + len(rows), name="row"))
    frame.insert(0, "text", [f"words {i}" for i in range(len(rows))])
    return Sheet(frame, SHAPES["multi_label"], {"text": "text", "labels": FLAGS})


def mended(seen, fix=None):
    return seen.mends[fix or seen.finding.fix]()


def labels_after(seen, fix=None):
    return mended(seen, fix)["label"].tolist()


def test_rows_without_a_label_are_taken_out():
    given = sheet(["a", "", " \u200b", "b", "NULL", "-"])
    blank = OURS["blank_label"].look(given)
    assert (blank.finding.rows, blank.finding.examples, blank.finding.recommended) == (2, (12, 13), True)
    assert labels_after(blank) == ["a", "b", "NULL", "-"]
    placeholder = OURS["placeholder_label"].look(given)
    assert (placeholder.finding.rows, placeholder.finding.examples) == (2, (15, 16))
    assert placeholder.finding.facts == {"labels": "-, NULL"}
    assert mended(placeholder).index.tolist() == [11, 12, 13, 14]
    assert OURS["placeholder_label"].look(sheet(["none", "na", "x"])) is None


def test_no_label_of_several_may_be_meant():
    seen = OURS["without_labels"].look(sheet(["a;b", "", "null", "b"], several=True))
    assert (seen.finding.rows, seen.finding.examples, seen.finding.severity) == (2, (12, 13), "info")
    assert (seen.finding.fix, dict(seen.mends)) == (None, {})
    assert OURS["without_labels"].look(sheet(["a;b", "b"], several=True)) is None
    assert OURS["without_labels"].look(flags([("1", "0", "0"), ("0", "0", "0")])).finding.examples == (12,)


@pytest.mark.parametrize(
    ("code", "before", "after", "facts"),
    [
        ("numeric_labels", ["1", "1.0", "2.0", "x"], ["1", "1", "2", "x"], {"labels": "1.0, 2.0", "spellings": "1, 2"}),
        ("numeric_labels", ["+1", "1", "-0", "0.0", "2.50", "2.5"], ["1", "1", "0", "0", "2.5", "2.5"], None),
        ("label_variants", ["Refund", "refund", "Refund", " REFUND "], ["Refund", "Refund", "Refund", "Refund"],
         {"labels": "refund, ␣REFUND␣", "spellings": "Refund"}),
        ("label_variants", ["ＡＢＣ", "abc", "abc", "１"], ["abc", "abc", "abc", "１"],
         {"labels": "ＡＢＣ", "spellings": "abc"}),
        ("label_variants", ["new  one", "new one", "x"], ["new one", "new one", "x"], None),
        ("label_variants", ["Caf\u00e9", "Cafe\u0301", "Caf\u00e9"], ["Caf\u00e9"] * 3, None),
        ("label_typos", ["delivery"] * 10 + ["delivry", "refund"], ["delivery"] * 11 + ["refund"],
         {"pairs": "delivry → delivery"}),
        ("label_typos", ["product question"] * 5 + ["prodcut qestion"], ["product question"] * 6, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("several", [False, True])
def test_one_label_in_several_spellings_becomes_one(code, before, after, facts, several):
    if several:
        before, after = [f"{label}|other" for label in before], [f"{label}|other" for label in after]
    given = sheet(before, several=several)
    seen = OURS[code].look(given)
    changed = [i for i, label in enumerate(before) if label.replace(" |", "|").strip() != after[i]]
    assert (seen.finding.rows, seen.finding.fixes) == (len(changed), ("merge",))
    assert seen.finding.examples == tuple(11 + i for i in changed)[:5]
    assert seen.finding.recommended == (code != "label_typos")
    assert facts is None or several or seen.finding.facts == facts
    left = [label.strip() for label in labels_after(seen)]
    assert left == after
    assert given.frame["label"].tolist() == before
    assert OURS[code].look(given.with_frame(mended(seen))) is None


def test_a_comma_may_be_the_point_of_a_number_but_not_before_thousands():
    assert labels_after(OURS["numeric_labels"].look(sheet(["3,0", "3", "1,000"]))) == ["3", "3", "1,000"]


@pytest.mark.parametrize(
    ("code", "labels"),
    [
        ("numeric_labels", ["1", "01", "2"]), ("numeric_labels", ["1.0", "2.0"]), ("numeric_labels", ["v1.0", "v1"]),
        ("label_variants", ["a", "b", "a"]), ("label_variants", ["two  blanks", "x"]),
        ("label_typos", ["happy"] * 9 + ["unhappy"]), ("label_typos", ["class 1"] * 9 + ["class 2"]),
        ("label_typos", ["退货申请表"] * 9 + ["退款申请表"]), ("label_typos", ["delivery"] * 9 + ["delivry"] * 2),
        ("label_typos", ["delivery"] * 60 + ["delivry"] * 6),
    ],
)  # fmt: skip
def test_labels_that_are_not_the_same_stay(code, labels):
    assert OURS[code].look(sheet(labels)) is None


@pytest.mark.parametrize(
    ("written", "meant", "expected"),
    [
        ("refnud", "refund", True), ("refunds", "refund", True), ("qestion", "question", True),
        ("cancelation", "cancellation", True), ("is invalid", "is valid", False), ("not happy", "happy", False),
        ("non urgent", "urgent", False), ("increase", "decrease", False), ("internal", "external", False),
        ("atypical", "typical", False), ("room 12", "room 13", False), ("refund", "refund", False),
        ("delivered", "delivery", True), ("delayed", "relayed", False), ("shipment", "shipping", False),
    ],
)  # fmt: skip
def test_what_a_slip_of_the_keyboard_is(written, meant, expected):
    assert is_typo(written, meant) is expected


def test_a_typo_goes_to_the_most_frequent_neighbour_and_short_labels_have_none():
    assert misspelled({"walked": 50, "talked": 60, "walkes": 1}) == {"walkes": "walked"}
    assert misspelled({"cat": 50, "car": 1}) == {}
    many = {f"label number {i:05d}": 1 + 99 * (i % 2) for i in range(3000)}
    assert misspelled(many) == {}


def test_each_cell_of_several_labels_keeps_its_way_of_writing():
    cells = ['["Refund", "a;b"]', '["refund"]', '["Refund"]']
    assert labels_after(OURS["label_variants"].look(sheet(cells, several=True)))[1] == '["Refund"]'
    cells = ["x, Refund", "refund,y", "Refund, refund"]
    assert labels_after(OURS["label_variants"].look(sheet(cells, several=True))) == ["x, Refund", "Refund, y", "Refund"]


IDS = [f"A-{i:04}" for i in range(40)]


def test_a_label_that_is_an_id_and_what_fits_better():
    given = sheet(IDS)
    frame = given.frame.assign(
        topic=["delivery", "refund"] * 20, remark=[f"long remark {i} {'x' * 60}" for i in range(40)]
    )
    seen = OURS["label_is_id"].look(given.with_frame(frame))
    assert (seen.finding.severity, seen.finding.fix, seen.finding.rows) == ("error", None, 40)
    assert seen.finding.facts == {"column": "label", "classes": 40, "rows": 40, "suggested": "topic"}
    assert OURS["label_is_id"].look(given).finding.facts["suggested"] == "–"
    assert OURS["labels_all_different"].look(given) is None
    sentences = sheet([f"a sentence with words number {i}, written out for people to read" for i in range(40)])
    assert OURS["label_is_id"].look(sentences) is None
    assert OURS["labels_all_different"].look(sentences).finding.facts == {"classes": 40, "rows": 40}
    assert OURS["label_is_id"].look(sheet(["a", "b"] * 20)) is None


def test_rare_labels_go_or_become_other():
    labels = ["a"] * 5 + ["b"] * 5 + ["c", "d", "d", "e"]
    seen = OURS["rare_labels"].look(sheet(labels))
    finding = seen.finding
    assert (finding.rows, finding.examples, finding.fixes) == (4, (21, 22, 23, 24), ("drop", "other"))
    assert (finding.facts, finding.recommended) == ({"labels": "c, d, e", "classes": 3, "needed": 3}, True)
    assert labels_after(seen) == ["a"] * 5 + ["b"] * 5
    assert labels_after(seen, "other") == ["a"] * 5 + ["b"] * 5 + ["other"] * 4
    for fix in finding.fixes:
        assert OURS["rare_labels"].look(sheet(labels_after(seen, fix))) is None


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (["a"] * 5 + ["b"] * 5 + ["c", "d", "e"], "other"),
        (["物流"] * 5 + ["退款"] * 5 + ["好评", "差评", "发票"], "其他"),
        (["a"] * 5 + ["Sonstiges"] * 5 + ["c", "d"], "Sonstiges"),
        (["a"] * 5 + ["b"] * 5 + ["Others", "d", "d"], "Others"),
        (["a"] * 5 + ["b"] * 5 + ["c", "d"], None),
    ],
)
def test_the_name_of_what_fits_nowhere(labels, name):
    seen = OURS["rare_labels"].look(sheet(labels))
    if name is None:
        assert seen.finding.fixes == ("drop",)
        return
    assert labels_after(seen, "other")[10:] == [name] * (len(labels) - 10)


def test_different_texts_count_and_a_given_test_needs_fewer():
    labels = ["a"] * 5 + ["b"] * 5 + ["c"] * 3
    texts = [f"t {i}" for i in range(10)] + ["same", "Same ", " SAME"]
    assert OURS["rare_labels"].look(sheet(labels, texts)).finding.facts["labels"] == "c"
    assert OURS["rare_labels"].look(sheet(labels)) is None
    two = ["a"] * 5 + ["b"] * 5 + ["c"] * 2
    assert OURS["rare_labels"].look(sheet(two)).finding.facts["needed"] == 3
    assert OURS["rare_labels"].look(sheet(two, test=pd.DataFrame({"text": [], "label": []}, dtype="str"))) is None


def test_rare_ones_of_several_labels_are_taken_out_of_their_cells():
    cells = ["a;b"] * 4 + ["a;rare"] + ["rare"] + ["c;a"] * 3
    seen = OURS["rare_labels"].look(sheet(cells, several=True))
    assert (seen.finding.rows, seen.finding.fixes) == (2, ("remove",))
    assert labels_after(seen) == ["a;b"] * 4 + ["a"] + [""] + ["c;a"] * 3
    more = sheet([*cells, "odd;b", "odd"], several=True)
    assert OURS["rare_labels"].look(more).finding.fixes == ("remove", "other")
    assert labels_after(OURS["rare_labels"].look(more), "other")[-2:] == ["other; b", "other"]


def test_rare_ones_in_columns_of_their_own_are_unmarked_or_move_to_the_column_for_the_rest():
    rows = [("1", "0", "0")] * 5 + [("0", "1", "0")] * 2 + [("0", "0", "1")] * 3
    seen = OURS["rare_labels"].look(flags(rows))
    assert (seen.finding.facts["labels"], seen.finding.fixes) == ("delivery", ("remove", "other"))
    assert mended(seen)["delivery"].tolist() == ["0"] * 10
    other = mended(seen, "other")
    assert (other["delivery"].tolist(), other["Other"].tolist()) == (["0"] * 10, ["0"] * 5 + ["1"] * 5)
    for code in ("numeric_labels", "label_variants", "label_typos"):
        assert OURS[code].look(flags(rows)) is None


@pytest.mark.parametrize("several", [False, True])
def test_proportions(several):
    labels = ["big"] * 40 + ["small"] * 4 + ["tiny"] * 2
    seen = OURS["unbalanced"].look(sheet(labels, several=several))
    facts = {"largest": 40, "smallest": 4, "largest_label": "big", "smallest_label": "small"}
    assert (seen.finding.facts, seen.finding.rows, seen.finding.fix) == (facts, 44, None)
    assert OURS["unbalanced"].look(sheet(["big"] * 39 + ["small"] * 4, several=several)) is None
    many = [f"l{i}" for i in range(101) for _ in range(3)]
    assert OURS["many_classes"].look(sheet(many, several=several)).finding.facts == {"classes": 101}
    assert OURS["many_classes"].look(sheet(many[3:], several=several)) is None


@pytest.mark.parametrize(
    ("code", "labels"),
    [
        ("no_usable_rows", ["", "nan"]),
        ("one_class", ["x"] * 9),
        ("labels_all_different", ["x", "y"]),
        ("too_many_classes", [f"l{i}" for i in range(6) for _ in range(3)]),
        ("too_few_rows_per_class", ["x"] * 9 + ["y"]),
    ],
)
def test_what_stops_training_is_an_error_and_the_only_one(code, labels):
    given = sheet(labels, limits=Limits(classes=5))
    found = {f.code: f for f in examine(given, {}, (*CLASS_CHECKS, *ERROR_CHECKS)).findings}
    assert list(found) == [code]
    assert (found[code].severity, found[code].fix) == ("error", None)


def talk(label, extra, rows=40, seed=0, share=1.0):
    """Rows with random words, a share of them with something extra."""
    chance = random.Random(f"{label}{seed}")
    words = "where is my order please help me now the kettle box again today never one two"
    return [
        (" ".join([*chance.choices(words.split(), k=8), *([extra] if i < share * rows else [])]), label)
        for i in range(rows)
    ]


LEAKS = [
    ("a mark with the name", [*talk("refund", "[Refund]", share=0.3), *talk("spam", "")], "[refund]"),
    ("a mark that says label", [*talk("refund", "label: refund", share=0.3), *talk("spam", "")], "label: refund"),
    ("a hashtag", [*talk("refund", ""), *talk("spam", "#spam")], "#spam"),
    ("fastText's mark", [*talk("refund", "__label__refund"), *talk("spam", "")], "__label__refund"),
    ("a mark with another name", [*talk("refund", "#r2d2", share=0.7), *talk("spam", "")], "#r2d2"),
    ("the name itself", [*talk("refund", "Refund!", share=0.5), *talk("spam", "")], "refund"),
    ("the name in two words", [*talk("card_lost", "card lost", share=0.5), *talk("spam", "")], "card lost"),
    ("a word of nearly all", [*talk("refund", "sincerely", share=0.95), *talk("spam", "")], "sincerely"),
    ("a name in Chinese", [*talk("退款", "我要退款了"), *talk("物流", "")], "退款"),
    ("a bracket in Chinese", [*talk("退款", "【退款】"), *talk("物流", "")], "【退款】"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "word"), [leak[1:] for leak in LEAKS], ids=[leak[0] for leak in LEAKS])
def test_words_that_give_the_label_away(rows, word):
    texts, labels = map(list, zip(*rows, strict=True))
    given = sheet(labels, texts)
    seen = OURS["label_leak"].look(given)
    assert word in seen.finding.facts["words"].split(", ")
    assert (seen.finding.recommended, seen.finding.fixes, seen.finding.severity) == (False, ("mask",), "warning")
    frame = mended(seen)
    assert not frame["text"].str.contains(word, case=False, regex=False).any()
    assert OURS["label_leak"].look(given.with_frame(frame)) is None
    assert frame["label"].tolist() == labels


NO_LEAKS = [
    ("a word of the topic", [*talk("delivery", "parcel", share=0.8), *talk("spam", "")]),
    ("a hashtag in some texts", [*talk("delivery", "#late", share=0.4), *talk("spam", "")]),
    ("the name in all labels", [*talk("refund", "refund", share=0.5), *talk("spam", "refund", share=0.3)]),
    ("the name in few rows", [*talk("refund", "refund", share=0.05), *talk("spam", "")]),
    ("hardly any other rows", [*talk("refund", "refund", rows=400, share=0.1), *talk("spam", "", rows=4)]),
    ("a part of a word", [*talk("ham", "champion", share=0.5), *talk("spam", "")]),
    ("numbers", [*talk("1", "1"), *talk("2", "2", share=0.5)][:40] + talk("2", "1", share=0.5)),
    ("one label", talk("refund", "refund")),
]


@pytest.mark.parametrize("rows", [rows[1] for rows in NO_LEAKS], ids=[rows[0] for rows in NO_LEAKS])
def test_words_that_belong_to_the_topic_stay(rows):
    texts, labels = map(list, zip(*rows, strict=True))
    assert OURS["label_leak"].look(sheet(labels, texts)) is None


def test_other_words_that_hold_a_leaked_one_stay():
    rows = [*talk("ham", "Ham champion", share=0.6), *talk("spam", "")]
    texts, labels = map(list, zip(*rows, strict=True))
    frame = mended(OURS["label_leak"].look(sheet(labels, texts)))
    assert frame["text"].str.contains("champion").sum() == 24
    assert not frame["text"].str.contains("Ham").any()


HOSTILE = [
    "x" * 2**20,
    "(" * 50_000,
    "[" * 50_000,
    "a|b;c,d" * 20_000,
    "#" * 50_000,
    "label:" * 20_000,
    "\n" * 50_000,
    "{}",
]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("cell", HOSTILE, ids=lambda cell: ascii(cell[:4]))
def test_hostile_cells_raise_nothing(cell, several):
    given = sheet([cell, "a", "a", "b", "b", "a", "b"], [cell, "a", *"cdefg"], several=several)
    for check in CHECKS:
        seen = check.look(given) if check.concerns(given) else None
        for mend in seen.mends.values() if seen else ():
            assert list(mend().columns) == ["text", "label"]


def test_nothing_is_found_in_no_rows():
    for several in (False, True):
        given = sheet([], several=several)
        found = [check.code for check in CHECKS if check.concerns(given) and check.look(given)]
        assert found == ["no_usable_rows"]
