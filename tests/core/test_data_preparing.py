import random

import pandas as pd
import pytest

from core.data import cleaning
from core.data.augmenting import augment
from core.data.doctor.base import Sheet
from core.data.doctor.examining import examine
from core.data.preparing import TEST_CODES, label_counts, left_out, prepare, prepare_examined
from core.data.shapes import SHAPES
from core.errors import UserError
from core.settings import Limits
from core.spec import AugmentChoice, SplitChoice

COLUMNS = {"text": "text", "label": "label"}


def frame(rows, columns=("text", "label")):
    return pd.DataFrame(rows, columns=list(columns), dtype="str")


def split(table, test=None, seed=1, validation=0.15, part=0.15, limits=None, columns=COLUMNS, **choices):
    return prepare(
        table,
        columns,
        validation_fraction=validation,
        test_fraction=part,
        seed=seed,
        limits=limits or Limits(),
        test_frame=test,
        **choices,
    )


def found(findings):
    return {finding.code: finding for finding in findings}


def parts(result):
    return {"train": result.train, "validation": result.validation, "test": result.test}


def every_row(result):
    return pd.concat(parts(result).values())


def keys(part):
    return {cleaning.text_key(text) for text in part["text"]}


def in_one_part(result):
    each = [keys(part) for part in parts(result).values()]
    return sum(map(len, each)) == len(set().union(*each))


def left_out_of_test(result):
    return sum(finding.rows for finding in result.findings if finding.code in TEST_CODES)


def plain(classes=3, each=10):
    return [(f"text {label} {i}", f"label {label}") for label in range(classes) for i in range(each)]


def messy(seed):
    """Rows with every fault that preparing mends, in random number and order."""
    chance = random.Random(seed)
    texts = [f"words number {i}" for i in range(60)] + ["", " ", "\u00a0\u200b"]
    labels = ["Refund", "refund ", " REFUND", "delivery", "Delivery", "product  question", "product question", "praise",
              "", " ", "nan", "N/A", "-", "NULL", "rare one"]  # fmt: skip
    return frame(
        [
            (
                chance.choice([str, str.upper, lambda t: f"  {t}\t", lambda t: t.replace(" ", "  ")])(
                    chance.choice(texts)
                ),
                chance.choice(labels),
            )
            for _ in range(chance.randrange(150, 300))
        ]
    )


@pytest.mark.parametrize("fixes", ["recommended", "all", {}, {"duplicate_rows": "drop"}, {"rare_labels": "drop"}])
@pytest.mark.parametrize("seed", range(25))
def test_every_row_is_in_one_part_or_counted_once(seed, fixes):
    table = messy(seed)
    result = split(table, seed=seed, fixes=fixes)
    assert sum(result.sizes().values()) + left_out(result.findings) == len(table)
    assert in_one_part(result)
    assert all(finding.applied or finding.fix is None for finding in result.findings)
    for part in parts(result).values():
        for row, text in zip(part["row"], part["text"], strict=True):
            assert cleaning.text_key(table["text"][row - 2].strip("\u00a0\u200b")) == cleaning.text_key(text)
    rows = every_row(result)["row"].tolist()
    assert len(rows) == len(set(rows))
    if fixes in ("recommended", "all"):
        texts = every_row(result)["text"].tolist()
        assert len({cleaning.text_key(text) for text in texts}) == len(texts)
        for part in parts(result).values():
            assert set(part["label"]) == set(result.labels)


@pytest.mark.parametrize("fixes", ["recommended", {}])
@pytest.mark.parametrize("seed", range(10))
def test_with_a_test_file_every_row_is_counted_too(seed, fixes):
    table, given = messy(seed), messy(seed + 1000).head(40)
    result = split(table, given, seed=seed, fixes=fixes)
    assert len(result.train) + len(result.validation) + left_out(result.findings) == len(table)
    assert len(result.test) + left_out_of_test(result) == len(given)
    assert keys(result.test).isdisjoint(keys(result.train) | keys(result.validation))
    assert keys(result.train).isdisjoint(keys(result.validation))
    assert set(result.test["label"]) <= set(result.labels)


def test_the_split_is_stratified_and_depends_on_the_seed_alone():
    table = frame(plain(2, 100) + [(f"few {i}", "few") for i in range(10)])
    first, again, other = split(table), split(table), split(table, seed=2)
    assert first.sizes() == {"train": 147, "validation": 32, "test": 31}
    assert first.test["label"].value_counts().to_dict() == {"label 0": 15, "label 1": 15, "few": 1}
    assert all(part.equals(parts(again)[name]) for name, part in parts(first).items())
    assert not first.test.equals(other.test)
    assert list(first.train.columns) == ["row", "text", "label"]


@pytest.mark.parametrize("each", range(3, 9))
@pytest.mark.parametrize("fraction", [0.05, 0.15, 0.4])
def test_small_classes_are_in_every_part(each, fraction):
    result = split(frame(plain(3, each)), validation=fraction, part=fraction)
    assert all(set(part["label"]) == set(result.labels) for part in parts(result).values())
    assert sum(result.sizes().values()) == 3 * each


def test_row_numbers_follow_the_spreadsheet():
    table = frame(plain(2, 5))
    assert set(split(table).train["row"]) <= set(range(2, 12))
    table.index = pd.Index([n * 10 for n in range(10)], name="row")
    assert set(split(table).train["row"]) <= {n * 10 for n in range(10)}


def test_labels_take_their_most_frequent_spelling():
    rows = [
        *plain(1, 5),
        *[(f"r {i}", label) for i, label in enumerate(["Refund"] * 3 + ["refund", " REFUND ", "Refund"])],
    ]
    result = split(frame(rows))
    assert result.labels == ("Refund", "label 0")
    variant = found(result.findings)["label_variants"]
    assert (variant.rows, variant.facts["labels"], variant.facts["spellings"]) == (2, "refund, ␣REFUND␣", "Refund")


def test_labels_that_mean_nothing_are_left_out_but_none_and_na_are_labels():
    rows = [*plain(2, 4), *[("x" + label, label) for label in ("nan", "N/A", "-", "null")],
            *[(f"y{i}{label}", label) for label in ("none", "na") for i in range(3)]]  # fmt: skip
    result = split(frame(rows))
    assert result.labels == ("label 0", "label 1", "na", "none")
    assert found(result.findings)["placeholder_label"].facts == {"labels": "-, N/A, nan, null"}


def test_contradictions_go_to_the_majority_and_ties_to_nobody():
    table = frame(
        [
            *plain(2, 4),
            ("same", "label 0"),
            ("SAME ", "label 0"),
            (" same", "label 1"),
            ("tie", "label 0"),
            ("Tie", "label 1"),
        ]
    )
    result = split(table)
    kept = pd.concat(parts(result).values())
    assert kept[kept["text"] == "same"]["label"].tolist() == ["label 0"]
    assert "tie" not in {text.lower() for text in kept["text"]}
    conflict = found(result.findings)["conflicting_labels"]
    assert (conflict.rows, conflict.facts, conflict.examples) == (3, {"texts": 2}, (12, 13, 14))
    assert found(result.findings)["duplicate_rows"].rows == 1


def test_accents_stored_in_two_ways_are_one_text():
    result = split(frame([*plain(2, 4), ("caf\u00e9", "label 0"), ("cafe\u0301", "label 0")]))
    assert found(result.findings)["duplicate_rows"].rows == 1


def test_emoji_and_their_joiners_survive():
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert family in set(
        pd.concat(parts(split(frame([*plain(2, 4), (f"\u200b {family} \u2060", "label 0")]))).values())["text"]
    )


def test_a_class_of_two_rows_is_left_out_and_named():
    result = split(frame([*plain(2, 4), ("a", "tiny"), ("b", "tiny")]))
    assert "tiny" not in result.labels
    rare = found(result.findings)["rare_labels"]
    assert (rare.rows, rare.facts) == (2, {"labels": "tiny", "classes": 1, "needed": 3})


def test_the_test_file_stays_as_given():
    train = frame(plain(2, 5))
    test = frame([("TEXT 0 1 ", "label 0"), ("new", "LABEL 1"), ("new", "label 1"), ("", "label 0"), ("odd", "unseen")])
    result = split(train, test)
    assert result.test.to_dict("list") == {
        "row": [2, 3, 4], "text": ["TEXT 0 1", "new", "new"], "label": ["label 0", "label 1", "label 1"],
    }  # fmt: skip
    seen = found(result.findings)
    assert (seen["train_rows_in_test"].rows, seen["train_rows_in_test"].examples) == (1, (3,))
    assert (seen["test_rows_unusable"].rows, seen["test_labels_unknown"].facts) == (1, {"labels": "unseen"})
    assert result.sizes() == {"train": 7, "validation": 2, "test": 3}


def test_a_test_file_without_use_is_an_error():
    with pytest.raises(UserError, match="test_file_unusable"):
        split(frame(plain(2, 5)), frame([("a", "unseen"), ("", "label 0")]))
    with pytest.raises(UserError, match="column_missing"):
        split(frame(plain(2, 5)), pd.DataFrame({"text": ["a"], "topic": ["b"]}))


UNUSABLE = [
    ("no_usable_rows", [("", "a"), ("b", ""), ("c", "nan")]),
    ("no_usable_rows", []),
    ("one_class", [("a", "x"), ("b", "X "), ("c", "")]),
    ("labels_all_different", [(f"t{i}", f"l{i}") for i in range(30)]),
    ("labels_all_different", [("a", "x"), ("b", "y")]),
    ("too_many_classes", [(f"t {i} {j}", f"l{i}") for i in range(6) for j in range(3)]),
    ("too_few_rows_per_class", [*plain(1, 10), ("b", "lonely")]),
    ("too_few_rows_per_class", [*plain(1, 10), *[("the same", "lonely")] * 5]),
]


@pytest.mark.parametrize("fixes", ["recommended", {}])
@pytest.mark.parametrize(("code", "rows"), UNUSABLE)
def test_what_cannot_be_trained_on_is_an_error(code, rows, fixes):
    if code == "one_class" and fixes == {}:
        rows = [(text, "x") for text, _ in rows]
    with pytest.raises(UserError) as error:
        split(frame(rows), limits=Limits(classes=5), fixes=fixes)
    assert error.value.code == code


def test_columns_that_are_not_there_are_said():
    with pytest.raises(UserError) as error:
        split(frame(plain()), columns={"text": "text", "label": "topic"})
    assert (error.value.code, error.value.facts) == ("column_missing", {"column": "topic", "columns": "text, label"})
    with pytest.raises(UserError, match="text_is_label"):
        split(frame(plain()), columns={"text": "text", "label": "text"})
    with pytest.raises(UserError, match="column_not_chosen"):
        split(frame(plain()), columns={"text": "text"})
    with pytest.raises(UserError, match="column_missing"):
        split(frame(plain()), split=SplitChoice(method="group", column="customer"))


def test_without_fixes_only_rows_that_are_no_examples_are_left_out():
    table = frame([*plain(2, 6), ("same", "label 0"), ("SAME", "label 0"), (" same ", "label 1"), ("x", ""), ("", "y"),
                   ("w", "Label 0"), ("z", "nan")])  # fmt: skip
    result = split(table, fixes={})
    assert sum(result.sizes().values()) == 16
    assert {f.code: f.rows for f in result.findings if f.applied} == {
        "blank_text": 1, "blank_label": 1, "placeholder_label": 1,
    }  # fmt: skip
    assert "Label 0" in result.labels
    assert set(every_row(result)["label"]) == set(result.labels)
    where = [name for name, part in parts(result).items() if "same" in keys(part)]
    assert len(where) == 1
    assert (parts(result)[where[0]]["text"].map(cleaning.text_key) == "same").sum() == 3


def test_blanks_around_labels_go_whatever_is_mended():
    rows = [(f"t {i}", label) for i, label in enumerate(["a", " a", "a\u00a0", "a", "b", "b ", "\tb"])]
    assert split(frame(rows), fixes={}).labels == ("a", "b")


def test_a_rare_class_that_is_kept_is_for_training_only():
    result = split(frame([*plain(2, 8), ("a", "tiny"), ("b", "tiny"), ("c", "single")]), fixes={})
    assert label_counts(result.train)["tiny"] == 2
    assert label_counts(result.train)["single"] == 1
    assert {"tiny", "single"}.isdisjoint([*result.validation["label"], *result.test["label"]])
    missing = found(result.findings)["class_missing_in_part"]
    assert (missing.rows, missing.severity, missing.applied) == (3, "warning", None)
    assert missing.facts == {"labels": "single, tiny", "classes": 2, "part": "validation, test"}
    assert sum(result.sizes().values()) == 19


def by_part(names, rows=None):
    rows = rows or [(f"text {i}", "ab"[i % 2]) for i in range(len(names))]
    return frame([(*row, name) for row, name in zip(rows, names, strict=True)], ("text", "label", "fold"))


FOLD = SplitChoice(method="column", column="fold")


def test_a_column_says_the_part_of_each_row():
    names = ["train"] * 8 + ["dev"] * 4 + ["测试"] * 6
    result = split(by_part(names), split=FOLD)
    assert result.sizes() == {"train": 8, "validation": 4, "test": 6}
    assert result.test["row"].tolist() == list(range(14, 20))
    assert list(result.test.columns) == ["row", "text", "label"]
    assert split(by_part(names), split=FOLD, seed=2).train.equals(result.train)


def test_validation_rows_are_drawn_where_the_column_names_none():
    result = split(by_part(["train"] * 40 + ["test"] * 10), split=FOLD)
    assert result.sizes() == {"train": 34, "validation": 6, "test": 10}
    assert label_counts(result.validation) == {"a": 3, "b": 3}


@pytest.mark.parametrize("fixes", ["recommended", {}])
def test_a_text_in_two_parts_of_a_column_stays_where_it_is_judged(fixes):
    rows = [(f"text {i}", "ab"[i % 2]) for i in range(18)]
    rows[0], rows[1] = rows[15], (rows[11][0].upper(), rows[11][1])
    result = split(by_part(["train"] * 8 + ["val"] * 5 + ["test"] * 5, rows), split=FOLD, fixes=fixes)
    assert result.sizes() == {"train": 6, "validation": 5, "test": 5}
    assert in_one_part(result)
    assert left_out(result.findings) == 2
    if fixes == {}:
        assert found(result.findings)["texts_in_two_parts"].examples == (2, 3)


def test_a_class_that_the_column_leaves_out_is_named():
    rows = [*[(f"text {i}", "ab"[i % 2]) for i in range(14)], ("x", "new"), ("y", "new"), ("z", "new")]
    result = split(by_part(["train"] * 6 + ["val"] * 4 + ["test"] * 7, rows), split=FOLD)
    assert found(result.findings)["class_not_learned"].facts["labels"] == "new"
    assert "new" in result.labels


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["train"] * 9 + ["odd"], "part_names_unknown"),
        (["train"] * 8 + ["val"] * 2, "part_missing"),
        (["test"] * 10, "part_missing"),
    ],
)
def test_a_column_that_cannot_divide_is_an_error(names, code):
    with pytest.raises(UserError, match=code):
        split(by_part(names), split=FOLD)


def test_a_column_and_a_test_file():
    test = frame([("new 1", "a"), ("new 2", "b")])
    result = split(by_part(["train"] * 8 + ["val"] * 4), test, split=FOLD)
    assert result.sizes() == {"train": 8, "validation": 4, "test": 2}
    with pytest.raises(UserError, match="test_given_twice"):
        split(by_part(["train"] * 8 + ["test"] * 4), test, split=FOLD)


def of_customers(customers, each, blank=0):
    rows = [(f"text {c} {i}", "ab"[i % 2], f"customer {c}") for c in range(customers) for i in range(each)]
    return frame([*rows, *[(f"alone {i}", "ab"[i % 2], " ") for i in range(blank)]], ("text", "label", "who"))


BY_CUSTOMER = SplitChoice(method="group", column="who")


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_a_group_stay_together(seed):
    table = of_customers(20, 5, blank=20)
    result = split(table, split=BY_CUSTOMER, seed=seed)
    assert sum(result.sizes().values()) == 120
    who = {name: set(table["who"].iloc[part["row"] - 2]) - {" "} for name, part in parts(result).items()}
    assert sum(map(len, who.values())) == len(set().union(*who.values())) == 20
    assert abs(len(result.test) - 18) <= 3
    assert all(set(part["label"]) == {"a", "b"} for part in parts(result).values())
    alone = [int(part["text"].str.startswith("alone").sum()) for part in parts(result).values()]
    assert max(alone) < 20


def test_two_groups_with_one_text_are_one():
    table = of_customers(9, 4)
    table.loc[0, "text"] = table.loc[35, "text"]
    result = split(table, split=BY_CUSTOMER, fixes={})
    first, last = (set(range(c * 4 + 2, c * 4 + 6)) for c in (0, 8))
    together = [name for name, part in parts(result).items() if (first | last) & set(part["row"])]
    assert len(together) == 1


def test_too_few_groups_are_an_error_and_uneven_ones_a_finding():
    with pytest.raises(UserError) as error:
        split(of_customers(2, 10), split=BY_CUSTOMER)
    assert (error.value.code, error.value.facts) == ("groups_too_few", {"column": "who", "groups": 2, "needed": 3})
    uneven = found(split(of_customers(3, 10), split=BY_CUSTOMER).findings)["groups_uneven"]
    assert uneven.facts == {"part": "train", "asked": 70, "got": 33}
    assert "groups_uneven" not in found(split(of_customers(40, 5), split=BY_CUSTOMER).findings)


def test_too_few_texts_are_an_error():
    with pytest.raises(UserError) as error:
        split(frame([("a", "b"), ("c", "d")], ("source", "target")), columns={"source": "source", "target": "target"},
              shape=SHAPES["translation"])  # fmt: skip
    assert (error.value.code, error.value.facts) == ("texts_too_few", {"texts": 2, "needed": 3})


def several(size):
    """Rows with several labels in one cell, and without any."""
    chance = random.Random(4)
    names = ["late", "broken", "praise"]
    cells = ["; ".join(name for name in names if chance.random() < 0.4) for _ in range(size)]
    return frame([(f"words number {i}", cell) for i, cell in enumerate(cells)], ("text", "topics"))


def test_several_labels_are_tuples_and_in_every_part():
    table = several(200)
    result = split(table, columns={"text": "text", "labels": "topics"}, shape=SHAPES["multi_label"], fixes={})
    assert result.labels == ("broken", "late", "praise")
    assert result.sizes() == {"train": 140, "validation": 30, "test": 30}
    for part in parts(result).values():
        assert list(part.columns) == ["row", "text", "labels"]
        assert set().union(*part["labels"]) == set(result.labels)
        for row, held in zip(part["row"], part["labels"], strict=True):
            assert "; ".join(held) == table["topics"][row - 2]
    total = table["topics"].str.count("late").sum()
    assert abs(label_counts(result.test)["late"] - 0.15 * total) < 2


def test_a_column_for_each_label():
    rows = [(f"text {i}", "1" if i % 2 else "0", "x" if i % 3 else "") for i in range(30)]
    columns = {"text": "text", "labels": ("late", "broken")}
    result = split(frame(rows, ("text", "late", "broken")), columns=columns, shape=SHAPES["multi_label"])
    assert result.labels == ("broken", "late")
    assert sum(result.sizes().values()) == 30
    first = every_row(result).set_index("row")["labels"]
    assert (first[2], first[3], first[7]) == ((), ("late", "broken"), ("late", "broken"))


def test_test_rows_with_an_unknown_label_among_several_are_left_out():
    test = frame([("a", "LATE; praise"), ("b", "late; odd"), ("c", "")], ("text", "topics"))
    columns = {"text": "text", "labels": "topics"}
    result = split(several(60), test, columns=columns, shape=SHAPES["multi_label"])
    assert result.test["labels"].tolist() == [("late", "praise"), ()]
    assert found(result.findings)["test_labels_unknown"].facts == {"labels": "odd"}


PAIRS = {"source": "en", "target": "fr"}


def test_pairs_are_divided_without_labels():
    rows = [(f"the house number {i} is here", f"la maison numéro {i} est ici") for i in range(40)]
    table = frame([*rows, ("no target", " "), ("", "pas de source"), rows[3]], ("en", "fr"))
    result = split(table, columns=PAIRS, shape=SHAPES["translation"])
    assert result.labels == ()
    assert list(result.train.columns) == ["row", "source", "target"]
    assert result.sizes() == {"train": 28, "validation": 6, "test": 6}
    assert sum(result.sizes().values()) + left_out(result.findings) == len(table)
    assert label_counts(result.train) == {}
    sources = [set(part["source"]) for part in parts(split(table, columns=PAIRS, shape=SHAPES["translation"],
                                                           fixes={})).values()]  # fmt: skip
    assert sum(map(len, sources)) == len(set().union(*sources)) == 40


@pytest.mark.parametrize(
    ("task", "columns", "names"),
    [
        ("summarization", {"text": "a", "summary": "b"}, ["row", "text", "summary"]),
        ("chat", {"prompt": "a", "answer": "b"}, ["row", "prompt", "answer"]),
        ("chat", {"prompt": ("a", "b"), "answer": "c"}, ["row", "prompt", "answer"]),
        ("text_generation", {"text": "a"}, ["row", "text"]),
    ],
)
def test_every_task_is_divided(task, columns, names):
    rows = [(f"a long text about the number {i} " * 9, f"number {i}", f"an answer {i}") for i in range(20)]
    result = split(frame(rows, "abc"), columns=columns, shape=SHAPES[task])
    assert list(result.train.columns) == names
    assert result.sizes() == {"train": 14, "validation": 3, "test": 3}


def test_a_conversation_is_an_example():
    said = '[{{"role": "user", "content": "question {0}"}}, {{"role": "assistant", "content": "answer {0}"}}]'
    table = frame([(said.format(i), "x") for i in range(20)], ("messages", "other"))
    result = split(table, columns={"messages": "messages"}, shape=SHAPES["chat"])
    assert list(result.test.columns) == ["row", "messages"]
    assert sum(result.sizes().values()) == 20


def test_texts_that_a_fix_makes_blank_are_counted_with_the_blank_ones():
    table = frame([*plain(2, 6), ("", "label 0"), ("<p> </p>", "label 1"), ("<br>", "label 0")])
    result = split(table, fixes="all")
    blank = [finding for finding in result.findings if finding.code == "blank_text"]
    assert [(finding.rows, finding.examples) for finding in blank] == [(3, (14, 15, 16))]
    assert sum(result.sizes().values()) == 12


def test_what_the_doctor_and_the_division_leave_out_for_one_reason_is_one_finding():
    """The doctor compares cells as they are, with a mark for the direction of writing at the end."""
    table = frame([*plain(2, 6), ("seen", "label 0"), ("seen too\u200e", "label 1")])
    result = split(table, frame([("Seen", "label 0"), ("seen too", "label 1")]), fixes={"train_rows_in_test": "drop"})
    known = [finding for finding in result.findings if finding.code == "train_rows_in_test"]
    assert [(finding.rows, finding.examples) for finding in known] == [(2, (14, 15))]
    assert left_out(result.findings) == 2


def test_an_examination_can_be_divided_as_it_is():
    table = messy(3)
    table.index = pd.RangeIndex(2, len(table) + 2, name="row")
    sheet = Sheet(table, SHAPES["classification"], COLUMNS)
    result = prepare_examined(
        sheet, examine(sheet), validation_fraction=0.15, test_fraction=0.15, seed=3, split=SplitChoice()
    )
    again = split(messy(3), seed=3)
    assert all(part.equals(parts(again)[name]) for name, part in parts(result).items())
    assert result.findings == again.findings


def test_augmenting_changes_training_rows_alone():
    result = split(messy(5))
    before = {name: part.copy() for name, part in parts(result).items()}
    held_out = [*result.validation["text"], *result.test["text"]]
    choice = AugmentChoice(methods=("delete", "swap", "typos", "noise"), copies=3, strength=0.5)
    train, facts = augment(result.train, choice, 1, held_out=held_out)
    assert facts.made > 0
    assert all(part.equals(before[name]) for name, part in parts(result).items())
    assert train.head(len(result.train)).equals(result.train)
    assert keys(train).isdisjoint(keys(result.validation) | keys(result.test))
    assert set(train["row"]) == set(result.train["row"])
