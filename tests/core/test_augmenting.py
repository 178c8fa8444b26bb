from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.augmenting import augment, delete, lexicon, noise, planned, preview, swap, synonyms, typos
from core.data.augmenting.guard import Guard
from core.data.augmenting.words import features, joined, pieces
from core.spec import AUGMENTATIONS, AugmentChoice

METHODS = {"delete": delete, "swap": swap, "synonyms": synonyms, "typos": typos, "noise": noise}
QUICK = settings(max_examples=80, deadline=None)


def changed(method, text, words=None, seed=0):
    """The text with the named words changed, or every place that the method finds."""
    parts = pieces(text)
    places = [n for n in METHODS[method].places(parts) if words is None or parts[n].text in words]
    return joined(METHODS[method].change(parts, places, Random(seed)))


def table(rows, label="label"):
    """Training rows; the first column is text, the second the label or labels."""
    texts, labels = zip(*rows, strict=True)
    made = {"row": range(2, len(rows) + 2), "text": pd.Series(texts, dtype="str")}
    return pd.DataFrame(made | {label: pd.Series(labels, dtype="str" if label == "label" else "object")})


def reviews(good=30, bad=30):
    things = ["kettle", "lamp", "radio", "toaster", "heater", "blanket"]
    rows = [
        (f"The {things[i % 6]} number {i} works and quickly I was happy with all of it", "good") for i in range(good)
    ]
    return table(
        rows
        + [(f"My {things[i % 6]} number {i} quickly broke and they never answered me again", "bad") for i in range(bad)]
    )


@QUICK
@given(
    text=st.text(alphabet=st.sampled_from(" aB'’-9.,\n@#[]<>不好的其实啊ไทยкéहि\u0301😀"), max_size=60)
    | st.text(max_size=60)
)
def test_pieces_make_up_the_text(text):
    assert "".join(piece.text for piece in pieces(text)) == text
    for method in METHODS.values():
        for place in method.places(pieces(text)):
            method.change(pieces(text), [place], Random(1))


def test_words_addresses_and_numbers_are_told_apart():
    text = "Don't mail me@example.org or see https://x.org/a?b=1, order #4471 of 10:30 [EMAIL] well-known naïve हिन्दी"
    kinds = {piece.text: piece.kind for piece in pieces(text) if piece.kind != "gap"}
    kept = {"me@example.org", "https://x.org/a?b=1,", "#4471", "10:30", "[EMAIL]"}
    assert {text for text, kind in kinds.items() if kind == "kept"} == kept
    assert {"Don't", "well-known", "naïve", "हिन्दी"} <= {text for text, kind in kinds.items() if kind == "word"}


def test_chinese_is_cut_only_at_words_that_are_known():
    found = [(piece.text, piece.kind) for piece in pieces("其实质量非常好啊！")]
    assert found == [
        ("其实", "term"),
        ("质量", "term"),
        ("非常", "term"),
        ("好", "kept"),
        ("啊", "term"),
        ("！", "gap"),
    ]
    assert features("质量好 Very") == ["质量", "量好", "very"]
    assert features("好") == ["好"]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("A very good phone", {"very"}, "A good phone"),
        ("A very good phone", {"A", "very"}, "good phone"),
        ("It works very well.", {"well"}, "It works very."),
        ("one, two, three", {"two"}, "one, three"),
        ("first line\nsecond line", {"line"}, "first\nsecond"),
        ("其实我很喜欢啊", None, "我很喜欢"),
        ("屏幕裂了", None, "屏幕裂了"),
        ("Too short", None, "Too short"),
    ],
)
def test_deletion(text, words, expected):
    assert changed("delete", text, words) == expected


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("one two three four", {"one"}, "two one three four"),
        ("one two three four", None, "two one four three"),
        ("one, two three", None, "one, three two"),
        ("one, two. three", None, "one, two. three"),
        ("我非常喜欢 这个", None, "我非常喜欢 这个"),
    ],
)
def test_swap(text, words, expected):
    assert changed("swap", text, words) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a big dog", "a large dog"),
        ("BIG. Big", "LARGE. Large"),
        ("an apparent fault", {"an obvious fault", "an evident fault"}),
        ("a wide road", "a broad road"),
        ("The difficulties, sadly", {"The problems, unfortunately", "The problems, regrettably"}),
        ("Mr. Big met Wide", "Mr. Large met Wide"),
        ("a sad story", "an unhappy story"),
        ("an unhappy story", {"a dissatisfied story", "a displeased story"}),
        ("修理很便宜", "维修很实惠"),
        ("nothing known", "nothing known"),
    ],
)
def test_synonyms(text, expected):
    assert changed("synonyms", text) in ({expected} if isinstance(expected, str) else expected)


def test_the_lists_of_synonyms_are_in_order():
    """No word stands for itself, none is empty, and no negation is among them."""
    words = lexicon.words()
    assert len(words) > 900
    for word in words:
        others = lexicon.synonyms(word)
        assert others
        assert word not in others
        assert len(others) == len(set(others))
        assert all(other == other.strip() == other.casefold() for other in (word, *others))
        assert word.isascii() or len(word) > 1


def test_a_typo_is_one_slip_inside_a_word():
    for seed in range(200):
        slip = changed("typos", "keyboard", seed=seed)
        assert (slip[0], slip[-1], slip != "keyboard") == ("k", "d", True)
        assert abs(len(slip) - 8) <= 1
        if len(slip) == 8:
            different = [n for n in range(8) if slip[n] != "keyboard"[n]]
            assert len(different) in (1, 2)
            if len(different) == 1:
                assert slip[different[0]] in typos.BESIDE["keyboard"[different[0]]]
    assert changed("typos", "the cat 不好 2024 हिन्दी well-made") == "the cat 不好 2024 हिन्दी well-made"
    assert changed("typos", "KEYBOARD").isupper()


@pytest.mark.parametrize(("letter", "beside"), [("q", "wa"), ("g", "fhtyvb"), ("p", "ol"), ("m", "njk")])
def test_the_keyboard_is_qwerty(letter, beside):
    assert set(typos.BESIDE[letter]) == set(beside)


def test_noise_changes_case_and_punctuation_and_nothing_else():
    text = "Why is it late? The parcel, they said, left on Monday! 价格，质量。"
    seen = {changed("noise", text, seed=seed) for seed in range(40)}
    assert len(seen) > 30
    for after in seen:
        letters = "".join(filter(str.isalnum, after)).casefold()
        assert letters == "".join(filter(str.isalnum, text)).casefold()
        assert (after.count("?"), after.count("!")) == (1, 1)
    assert {changed("noise", "Hello", seed=n) for n in range(9)} == {"hello", "HELLO"}


@pytest.mark.parametrize("method", AUGMENTATIONS)
@pytest.mark.parametrize(
    "text",
    [
        "I was not happy and it isn't good",
        "Nobody ever helped me",
        "It never works without it",
        "他们的态度不友好",
    ],
)
def test_negations_are_protected(method, text):
    guard = Guard([text, "another"], [("a",), ("b",)], several=False)
    parts = pieces(text)
    kept = {parts[n].text for n in guard.protected(parts, ("a",))}
    assert kept & {"not", "isn't", "Nobody", "never", "without", "友好"}
    choice = AugmentChoice(methods=(method,), copies=5, strength=0.5)
    out, _ = augment(table([(text, "a"), ("another text of the other label", "b")]), choice, 1)
    for copy in out["text"][out["label"] == "a"]:
        for word in kept & {"not", "isn't", "Nobody", "never", "without", "友好"}:
            assert word in copy


def test_no_word_is_swapped_with_a_negation():
    rows = [("I was not happy and it was not any good", "a"), ("another text of the other label", "b")]
    out, _ = augment(table(rows), AugmentChoice(methods=("swap",), copies=8, strength=0.5), 1)
    copies = out["text"][out["label"] == "a"].tolist()
    assert len(copies) > 4
    assert all([n for n, word in enumerate(copy.split()) if word == "not"] == [2, 7] for copy in copies)


def test_the_labels_own_name_is_protected():
    text = "Please start my refund today since refund was promised and not delivered"
    guard = Guard([text, "x"], [("Refund request",), ("b",)], several=False)
    parts = pieces(text)
    kept = {parts[n].text for n in guard.protected(parts, ("Refund request",))}
    assert "refund" in kept
    assert "delivered" not in kept


def test_words_that_speak_for_the_label_are_protected_but_not_all_words():
    rows = reviews()
    guard = Guard(rows["text"].tolist(), [(label,) for label in rows["label"]], several=False)
    parts = pieces(rows["text"][0])
    kept = {parts[n].text for n in guard.protected(parts, ("good",))}
    assert kept
    assert kept <= {"The", "works", "I", "was", "happy", "with", "all", "of", "it"}
    assert len(kept) <= -(-14 // 3)
    assert "kettle" not in kept


def test_the_guard_reads_what_a_text_speaks_for():
    guard = Guard(["good fine"] * 5 + ["bad poor"] * 5, [("+",)] * 5 + [("-",)] * 5, several=False)
    assert guard.decide("a good day") == guard.decide("fine fine bad") != guard.decide("poor")
    both = Guard(
        ["late broken"] * 4 + ["late"] * 4 + ["broken"] * 4 + ["thanks"] * 6,
        [("l", "b")] * 4 + [("l",)] * 4 + [("b",)] * 4 + [()] * 6, several=True,
    )  # fmt: skip
    texts = ["late broken", "late", "broken", "thanks"]
    assert len({both.decide(text) for text in texts}) == 4
    assert Guard(["a"], [()], several=False).decide("a") is None


def test_a_copy_that_would_speak_for_another_label_is_not_made():
    """The text's only word is seen with its own label, and the words that may stand for it with the other."""
    rows = [("cheap", "a")] * 1 + [(f"inexpensive affordable thing {i}", "b") for i in range(6)]
    rows += [(f"other matter {i}", "a") for i in range(6)]
    out, facts = augment(table(rows), AugmentChoice(methods=("synonyms",), copies=1), 1)
    assert facts.backed_off >= 1
    assert set(out["text"][out["label"] == "a"]).isdisjoint({"inexpensive", "affordable"})
    guard = Guard([text for text, _ in rows], [(label,) for _, label in rows], several=False)
    for row, label, text in zip(out["row"], out["label"], out["text"], strict=True):
        assert rows[row - 2][1] == label
        assert guard.decide(text) == guard.decide(rows[row - 2][0])


def test_fewer_changes_are_tried_before_a_copy_is_given_up():
    rows = [(f"alpha beta gamma delta w{i}x", "a") for i in range(8)]
    rows += [(f"alhpa other words here w{i}y", "b") for i in range(8)]
    choice = AugmentChoice(methods=("delete",), copies=3, strength=0.5)
    rows.append(("one two alpha beta other words here three four", "a"))
    found = [augment(table(rows), choice, seed)[1] for seed in range(20)]
    assert any(facts.softened for facts in found)
    assert all(facts.softened <= facts.made for facts in found)


def test_nothing_is_done_without_a_method():
    train = reviews()
    out, facts = augment(train, AugmentChoice(), 1)
    assert out is train
    assert (facts.made, facts.before) == (0, facts.after)
    assert preview(train, AugmentChoice(), 1) == []
    empty = train.iloc[:0]
    assert augment(empty, AugmentChoice(methods=("swap",)), 1)[0].empty
    assert preview(empty, AugmentChoice(methods=("swap",)), 1) == []
    out, facts = augment(train, AugmentChoice(methods=("swap",), copies=0), 1)
    assert (len(out), facts.made) == (len(train), 0)


@pytest.mark.parametrize("method", AUGMENTATIONS)
def test_copies_follow_the_rows_and_are_new_texts(method):
    train = reviews()
    out, facts = augment(train, AugmentChoice(methods=(method,), copies=1.5), 1)
    assert out.head(60).equals(train)
    assert list(out.columns) == ["row", "text", "label"]
    assert out["text"].dtype == train["text"].dtype
    assert out["text"].is_unique
    assert len(out) == 60 + facts.made
    assert facts.made + facts.backed_off + facts.skipped == 90
    assert facts.made > 40
    assert facts.before == {"good": 30, "bad": 30}
    assert sum(facts.after.values()) == len(out)
    label_of = dict(zip(train["row"], train["label"], strict=True))
    assert all(label_of[row] == label for row, label in zip(out["row"], out["label"], strict=True))


def test_the_seed_alone_decides():
    train, choice = reviews(), AugmentChoice(methods=AUGMENTATIONS, copies=2)
    first, again, other = (augment(train, choice, seed)[0] for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)
    assert preview(train, choice, 1) == preview(train, choice, 1)


def test_no_copy_is_a_text_that_is_held_out():
    train = table([("one two three", "a"), ("red green blue", "b")])
    choice = AugmentChoice(methods=("delete",), copies=10)
    free = set(augment(train, choice, 1)[0]["text"])
    assert free == {"one two three", "red green blue", "one two", "one three", "two three", "red green", "red blue",
                    "green blue"}  # fmt: skip
    kept = augment(train, choice, 1, held_out=["ONE  two", "green blue"])[0]
    assert set(kept["text"]) == free - {"one two", "green blue"}


PLANS = [
    ({"a": 10, "b": 4}, {"copies": 1}, {"a": 20, "b": 8}),
    ({"a": 10, "b": 4}, {"copies": 0.5}, {"a": 15, "b": 6}),
    ({"a": 10, "b": 4}, {"copies": 0, "balance": True}, {"a": 10, "b": 10}),
    ({"a": 10, "b": 4}, {"copies": 1, "balance": True}, {"a": 20, "b": 20}),
    ({"a": 100, "b": 2}, {"copies": 0, "balance": True}, {"a": 100, "b": 22}),
    ({"a": 100, "b": 2}, {"copies": 1, "methods": ()}, {"a": 100, "b": 2}),
    ({}, {"copies": 1}, {}),
]


@pytest.mark.parametrize(("counts", "choice", "expected"), PLANS)
def test_plans(counts, choice, expected):
    assert planned(counts, AugmentChoice(**{"methods": ("swap",)} | choice)) == expected


def test_smaller_classes_are_brought_up_as_planned():
    train = reviews(good=40, bad=10)
    choice = AugmentChoice(methods=("typos",), copies=0.5, balance=True)
    _, facts = augment(train, choice, 1)
    assert facts.after == planned({"good": 40, "bad": 10}, choice) == {"good": 60, "bad": 60}


def test_rows_with_several_labels_get_what_their_rarest_needs():
    rows = [
        (f"words about thing number {i} in the house", ("often", "rare") if i < 5 else ("often",)) for i in range(20)
    ]
    rows.append(("words without anything in the house", ()))
    out, facts = augment(table(rows, "labels"), AugmentChoice(methods=("typos",), copies=0, balance=True), 1)
    assert facts.before == {"often": 20, "rare": 5}
    assert facts.after == {"often": 35, "rare": 20}
    assert out["labels"].iloc[-1] == ("often", "rare")


@pytest.mark.parametrize("method", AUGMENTATIONS)
def test_a_preview_shows_what_each_method_does(method):
    train = reviews()
    shown = preview(train, AugmentChoice(methods=(method,)), 3)
    assert len(shown) == 6
    for copy in shown:
        assert list(copy) == ["row", "label", "method", "before", "after"]
        assert copy["method"] == method
        assert copy["before"] == train["text"][copy["row"] - 2] != copy["after"]
        assert copy["label"] == train["label"][copy["row"] - 2]
    both = preview(train, AugmentChoice(methods=("swap", "noise")), 3, most=4)
    assert [copy["method"] for copy in both] == ["swap", "noise"] * 2


def test_a_preview_of_texts_that_no_method_can_change_is_empty():
    assert preview(table([("裂了", "a"), ("坏了", "b")]), AugmentChoice(methods=("typos", "swap")), 1) == []
