import random

import pandas as pd
import pytest

from core.data import checking, cleaning
from core.data.checking import check, guess_columns, require_usable
from core.data.preparing import REMOVING, TEST_REMOVING, prepare
from core.errors import UserError
from core.settings import Limits

COLUMNS = {"text": "text", "label": "label"}


def frame(rows):
    return pd.DataFrame(rows, columns=["text", "label"], dtype="str")


def split(table, test=None, seed=1, validation=0.15, part=0.15, limits=None):
    return prepare(
        table,
        COLUMNS,
        validation_fraction=validation,
        test_fraction=part,
        seed=seed,
        limits=limits or Limits(),
        test_frame=test,
    )


def found(findings):
    return {finding.code: finding for finding in findings}


def parts(result):
    return {"train": result.train, "validation": result.validation, "test": result.test}


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


@pytest.mark.parametrize("seed", range(25))
def test_every_row_is_in_one_part_or_counted_once(seed):
    table = messy(seed)
    result = split(table, seed=seed)
    removed = sum(f.rows for f in result.findings if f.code in REMOVING)
    assert sum(result.sizes().values()) + removed == len(table)
    keys = [cleaning.text_key(text) for part in parts(result).values() for text in part["text"]]
    assert len(keys) == len(set(keys))
    for part in parts(result).values():
        assert set(part["label"]) == set(result.labels)
        for row, text in zip(part["row"], part["text"], strict=True):
            assert cleaning.text_key(table["text"][row - 2].strip("\u00a0\u200b")) == cleaning.text_key(text)


@pytest.mark.parametrize("seed", range(10))
def test_with_a_test_file_every_row_is_counted_too(seed):
    table, given = messy(seed), messy(seed + 1000).head(40)
    result = split(table, given, seed=seed)
    assert len(result.train) + len(result.validation) + sum(
        f.rows for f in result.findings if f.code in REMOVING
    ) == len(table)
    assert len(result.test) + sum(f.rows for f in result.findings if f.code in TEST_REMOVING) == len(given)
    tested = {cleaning.text_key(text) for text in result.test["text"]}
    learned = [cleaning.text_key(text) for part in (result.train, result.validation) for text in part["text"]]
    assert tested.isdisjoint(learned)
    assert set(result.test["label"]) <= set(result.labels)


def test_the_split_is_stratified_and_depends_on_the_seed_alone():
    table = frame(plain(2, 100) + [(f"few {i}", "few") for i in range(10)])
    first, again, other = split(table), split(table), split(table, seed=2)
    assert first.sizes() == {"train": 146, "validation": 32, "test": 32}
    assert first.test["label"].value_counts().to_dict() == {"label 0": 15, "label 1": 15, "few": 2}
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
    assert (variant.rows, variant.facts["labels"], variant.facts["spellings"]) == (2, "REFUND, refund", "Refund")


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
    rare = found(result.findings)["rare_labels_dropped"]
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
]


@pytest.mark.parametrize(("code", "rows"), UNUSABLE)
def test_what_cannot_be_trained_on_is_said_everywhere(code, rows):
    table, limits = frame(rows), Limits(classes=5)
    with pytest.raises(UserError) as raised:
        require_usable(table, COLUMNS, limits)
    with pytest.raises(UserError) as prepared:
        split(table, limits=limits)
    first = check(table, COLUMNS, limits)[0]
    assert raised.value.code == prepared.value.code == first.code == code
    assert first.severity == "error"
    assert raised.value.facts == first.facts


def test_wrong_columns_are_said():
    table = frame(plain())
    with pytest.raises(UserError) as error:
        require_usable(table, {"text": "text", "label": "topic"}, Limits())
    assert error.value.facts == {"column": "topic", "columns": "text, label"}
    with pytest.raises(UserError, match="text_is_label"):
        require_usable(table, {"text": "text", "label": "text"}, Limits())
    assert check(table, {"text": "text"}, Limits())[0].code == "column_missing"
    checking.require_columns(table, {"text": "text"})
    with pytest.raises(UserError, match="column_missing"):
        checking.require_columns(table, {"text": "texts"})


def test_check_says_what_preparing_will_do():
    for seed in range(5):
        table = messy(seed)
        said = {f.code: f for f in check(table, COLUMNS, Limits())}
        assert [said.get(f.code) for f in split(table).findings] == list(split(table).findings)


def test_check_names_proportions_and_garbled_texts():
    rows = [*plain(1, 40), *[(f"isnâ€™t {i}", "b") for i in range(4)]]
    seen = found(check(frame(rows), COLUMNS, Limits()))
    assert seen["unbalanced"].facts["largest"] == 40
    assert seen["unbalanced"].facts["smallest_label"] == "b"
    assert seen["too_few_rows"].rows == 44
    assert (seen["garbled_text"].rows, seen["garbled_text"].examples) == (4, (42, 43, 44, 45))
    assert check(frame(plain(3, 30)), COLUMNS, Limits()) == []


def test_findings_are_json_ready_and_name_only_a_few_labels():
    import json

    rows = [*plain(2, 4), *[(f"x{i}", f"rare {i:02} {'y' * 60}") for i in range(5)], ("z", "rare z")]
    finding = found(check(frame(rows), COLUMNS, Limits()))["rare_labels_dropped"].as_dict()
    assert json.loads(json.dumps(finding)) == finding
    assert finding["facts"]["labels"].endswith("…, …")
    assert len(finding["facts"]["labels"]) < 250


TALK = [f"this is a rather long message about thing number {i} and more" for i in range(40)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": range(40), "message": TALK, "topic": ["a", "b"] * 20}, ("message", "topic")),
        ({"文本": TALK, "类别": ["物流", "退款"] * 20, "编号": range(40)}, ("文本", "类别")),
        ({"channel": ["web", "app"] * 20, "body": TALK, "my label": ["x", "y", "z", "x"] * 10}, ("body", "my label")),
        ({"a": ["p", "n"] * 20, "b": TALK}, ("b", "a")),
        ({"url": [f"h://{'x' * 50}/{i}" for i in range(40)], "text": TALK, "label": [0, 1] * 20}, ("text", "label")),
        ({"a": TALK, "b": range(40)}, ("a", None)),
        ({"text": TALK, "topic": [f"{'a long remark ' * 5}{i % 4}" for i in range(40)]}, ("text", None)),
        ({"n": range(40), "m": range(40)}, (None, None)),
    ],
)  # fmt: skip
def test_columns_are_guessed(columns, expected):
    table = pd.DataFrame({name: [str(cell) for cell in cells] for name, cells in columns.items()})
    guessed = guess_columns(table)
    assert (guessed.get("text"), guessed.get("label")) == expected


def test_guessing_survives_an_empty_table():
    assert guess_columns(frame([])) == {}
    assert guess_columns(pd.DataFrame()) == {}
