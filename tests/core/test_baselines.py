import pandas as pd

from core.data.preparing import Split
from core.evaluation import baselines


def frame(pairs, column="label"):
    return pd.DataFrame(
        [(i + 2, text, label) for i, (text, label) in enumerate(pairs)], columns=["row", "text", column]
    )


def split(train, validation, column="label"):
    flat = [label for _, given in train for label in (given if column == "labels" else (given,))]
    parts = [frame(part, column) for part in (train, validation, validation)]
    return Split(*parts, tuple(sorted(set(flat))), ())


def test_baselines_learn_from_training_rows_alone():
    train = [("red sun warm", "warm"), ("snow ice cold", "cold"), ("warm sun", "warm"), ("hot sun", "warm")] * 5
    data, rows = split(train, train[:4]), frame([("the sun", "?"), ("ice", "?")])
    assert baselines.majority(data, rows) == ["warm", "warm"]
    assert baselines.tfidf(data, rows) == ["warm", "cold"]


def test_the_word_baseline_reads_chinese():
    warm, cold = ["今天阳光很好", "阳光温暖明亮", "温暖的阳光"], ["外面下雪很冷", "寒冷的下雪天", "冷风和下雪"]
    train = [(t, "暖") for t in warm] * 4 + [(t, "冷") for t in cold] * 4
    rows = frame([("阳光明媚", "暖"), ("下雪了", "冷")])
    assert baselines.tfidf(split(train, train[:1] + train[-1:]), rows) == ["暖", "冷"]


def test_texts_without_a_word_are_told_by_their_characters():
    train = [("😀 😀", "glad"), ("😢", "sad"), ("😀!", "glad"), ("😢 :", "sad")] * 4
    assert baselines.tfidf(split(train, train[:2]), frame([("😢 😢", "?"), ("😀", "?")])) == ["sad", "glad"]


def test_the_frequent_labels_are_as_many_as_pay():
    rows = frame([("x", ()), ("y", ())], "labels")
    often = [("t", ("a", "b")), ("t", ("b", "a")), ("t", ("a", "b", "c"))]
    assert baselines.frequent_labels(split(often, often, "labels"), rows) == [("a", "b")] * 2
    seldom = [("t", ("b",)), ("t", ("b",)), ("t", ("a",)), ("t", ())]
    assert baselines.frequent_labels(split(seldom, seldom, "labels"), rows) == [("b",)] * 2


def test_several_labels_are_found_by_their_words():
    train = [
        ("cheap and fast", ("price", "speed")),
        ("cheap thing", ("price",)),
        ("fast thing", ("speed",)),
        ("blue thing", ()),
    ] * 6
    rows = frame([("fast", ()), ("cheap", ()), ("so cheap and so fast", ()), ("blue", ())], "labels")
    found = baselines.tfidf_labels(split(train, train[:8], "labels"), rows)
    assert found == [("speed",), ("price",), ("price", "speed"), ()]


def test_a_label_that_every_training_row_has_is_given_to_all():
    train = [("red", ("all", "r")), ("green", ("all",))] * 6
    found = baselines.tfidf_labels(split(train, train[:4], "labels"), frame([("red", ()), ("green", ())], "labels"))
    assert found == [("all", "r"), ("all",)]


def test_the_nearest_training_text_lends_its_answer():
    texts = ["how do I reset my password", "where is my parcel", "can I pay by card"]
    found = baselines.nearest_answers(
        texts, ["reset", "parcel", "pay"], ["parcel is late", "PASSWORD lost?", "card"] * 50
    )
    assert found == ["parcel", "reset", "pay"] * 50


def test_the_nearest_text_is_found_in_chinese_and_for_unknown_words():
    assert baselines.nearest_answers(["今天天气很好", "包裹在哪里"], ["天气", "包裹"], ["我的包裹呢"]) == ["包裹"]
    assert baselines.nearest_answers(["abc", "def"], ["first", "second"], ["xyz"]) == ["first"]


def test_first_sentences_of_many_texts():
    assert baselines.first_sentences(["One. Two.", "一。二。"]) == ["One.", "一。"]
