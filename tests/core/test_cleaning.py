import pandas as pd
import pytest

from core.data import checking, cleaning
from core.data.label_cells import are_flags, is_yes, join_labels
from core.data.shapes import SHAPES
from core.errors import UserError
from core.settings import Limits

COLUMNS = {"text": "text", "label": "label"}
SEVERAL = SHAPES["multi_label"]


def frame(rows, columns=("text", "label")):
    return pd.DataFrame(rows, columns=list(columns), dtype="str")


def usable(table, columns=COLUMNS, shape=SHAPES["classification"]):
    return cleaning.usable(cleaning.rows_of(table, columns, shape), shape)


def plain(classes=3, each=10):
    return [(f"text {label} {i}", f"label {label}") for label in range(classes) for i in range(each)]


def test_rows_are_trimmed_and_numbered_as_in_the_spreadsheet():
    table = frame([(" \u00a0a\u200b ", "\ufeffx\t"), ("b", "y")])
    assert cleaning.rows_of(table, COLUMNS).to_dict("list") == {"row": [2, 3], "text": ["a", "b"], "label": ["x", "y"]}
    table.index = pd.Index([7, 30], name="row")
    assert cleaning.rows_of(table, COLUMNS)["row"].tolist() == [7, 30]


def test_rows_of_other_shapes():
    chat = frame([("Say", "it", " yes ", ""), ("Say", "", "no", "be kind")], ["ask", "input", "reply", "system"])
    columns = {"prompt": ("ask", "input"), "answer": "reply", "system": "system"}
    assert cleaning.rows_of(chat, columns, SHAPES["chat"]).to_dict("list") == {
        "row": [2, 3], "prompt": ["Say\nit", "Say"], "answer": ["yes", "no"], "system": ["", "be kind"],
    }  # fmt: skip
    tagged = frame([("a", "x; y"), ("b", ""), ("c", "y;x;y")])
    rows = cleaning.rows_of(tagged, {"text": "text", "labels": "label"}, SEVERAL)
    assert rows["labels"].tolist() == [("x", "y"), (), ("y", "x")]


def test_emoji_and_their_joiners_survive():
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert cleaning.rows_of(frame([(f"\u200b {family} \u2060", "x")]), COLUMNS)["text"].tolist() == [family]


def test_each_row_without_what_it_needs_is_counted_once():
    table = frame([("", ""), ("a", " "), ("b", "NaN"), ("c", "-"), ("d", "none"), ("\u200b", "x"), ("e", "na")])
    rows, found = usable(table)
    assert rows.to_dict("list") == {"row": [6, 8], "text": ["d", "e"], "label": ["none", "na"]}
    said = [(f.code, f.rows, f.examples, f.applied, f.facts) for f in found]
    assert said == [
        ("blank_text", 2, (2, 7), "drop", {}),
        ("blank_label", 1, (3,), "drop", {}),
        ("placeholder_label", 2, (4, 5), "drop", {"labels": "-, NaN"}),
    ]


@pytest.mark.parametrize(
    ("task", "columns", "rows", "left", "said"),
    [
        ("translation", {"source": "a", "target": "b"}, [("x", "y"), ("", "y"), ("x", "")], [2],
         [("blank_text", (3,)), ("blank_answer", (4,))]),
        ("multi_label", {"text": "a", "labels": "b"}, [("x", ""), ("", "y"), ("z", "null")], [2, 4],
         [("blank_text", (3,))]),
        ("chat", {"system": "a", "prompt": "b"}, [("", "y"), ("x", "")], [2], [("blank_text", (3,))]),
        ("chat", {"messages": "a"}, [("[]", ""), ("", "")], [2], [("blank_text", (3,))]),
        ("text_generation", {"text": "a"}, [("nan", ""), ("", "")], [2], [("blank_text", (3,))]),
    ],
)  # fmt: skip
def test_what_a_row_needs_depends_on_the_task(task, columns, rows, left, said):
    kept, found = usable(frame(rows, ["a", "b"]), columns, SHAPES[task])
    assert kept["row"].tolist() == left
    assert [(f.code, f.examples) for f in found] == said


def test_keys_join_what_differs_in_case_blanks_and_the_way_accents_are_stored():
    assert cleaning.text_key("Caf\u00e9  au\nLAIT") == cleaning.text_key("cafe\u0301 AU lait ")
    assert cleaning.text_key("ＡＢ") != cleaning.text_key("ab")
    assert cleaning.label_key("ＡＢ１") == cleaning.label_key("ab1")


def test_labels_take_their_most_frequent_spelling():
    labels = pd.Series(["Refund", "refund", "Refund", "REFUND", "new  one", "x"], dtype="str")
    usual = cleaning.spellings(labels)
    assert usual == {"refund": "Refund", "new one": "new one", "x": "x"}
    assert cleaning.unify(pd.Series(["REFUND", "y"], dtype="str"), usual).tolist() == ["Refund", "y"]


@pytest.mark.parametrize(
    ("cells", "separator", "labels"),
    [
        (["a|b", "b", ""], "|", [("a", "b"), ("b",), ()]),
        (["a; b,c", "d;"], ";", [("a", "b,c"), ("d",)]),
        (["a, b", "b,a, a"], ",", [("a", "b"), ("b", "a")]),
        (["物流、退款", "物流"], "、", [("物流", "退款"), ("物流",)]),
        (["物流，退款", "物流,好评"], "，", [("物流", "退款"), ("物流", "好评")]),
        (["a\nb"], "\n", [("a", "b")]),
        (['["a", "b;c"]', "[]", "[1, null]"], "json", [("a", "b;c"), (), ("1",)]),
        (["['a', \"it's\"]", "['b']"], "json", [("a", "it's"), ("b",)]),
        (["one", "two words", "null"], "", [("one",), ("two words",), ()]),
        ([], "", []),
    ],
)  # fmt: skip
def test_labels_of_a_cell(cells, separator, labels):
    assert cleaning.label_separator(cells) == separator
    assert [cleaning.split_labels(cell, separator) for cell in cells] == labels
    for row in labels:
        assert cleaning.split_labels(join_labels(row, separator), separator) == row


def test_a_cell_by_itself_says_what_separates_its_labels():
    assert cleaning.split_labels("a; b") == ("a", "b")
    assert cleaning.split_labels('["a, b"]') == ("a, b",)


@pytest.mark.parametrize(
    "cell", ["[" * 15_000 + "]" * 15_000, "['a'," * 5000 + "]", "[" + "1" * 19_000 + "]", "[[1], 2]", "[a]"]
)
def test_hostile_lists_are_one_label_or_several_but_no_error(cell):
    assert all(isinstance(label, str) for label in cleaning.split_labels(cell))


@pytest.mark.parametrize(
    ("cells", "yes"),
    [
        (("1", "0"), (True, False)), (("1.0", "0.0"), (True, False)), (("TRUE", "false"), (True, False)),
        (("x", " "), (True, False)), (("yes", "no"), (True, False)), (("是", "否"), (True, False)),
        (("0.7", "0,2"), (True, False)), (("✓", "nan"), (True, False)), (("hot", "-"), (True, False)),
    ],
)  # fmt: skip
def test_a_column_for_each_label(cells, yes):
    assert tuple(is_yes(cell) for cell in cells) == yes
    table = frame([(cells[0], cells[1]), (cells[1], cells[0])], [" hot", "cold"])
    expected = [("hot",) if yes[0] else (), ("cold",) if yes[0] else ()]
    if cells[0] == "hot":
        assert cleaning.one_hot_labels(table[[" hot"]], [" hot"]).tolist() == [("hot",), ()]
    else:
        assert are_flags(table, [" hot", "cold"])
        assert cleaning.label_sets(table, (" hot", "cold")).tolist() == expected


def test_columns_that_name_labels_are_joined():
    table = frame([("a", "b"), ("b", ""), ("b;c", "b")], ["first", "second"])
    assert cleaning.label_sets(table, ("first", "second")).tolist() == [("a", "b"), ("b",), ("b", "c")]


UNUSABLE = [
    ("no_usable_rows", [("", "a"), ("b", ""), ("c", "nan")]),
    ("no_usable_rows", []),
    ("one_class", [("a", "x"), ("b", "x"), ("c", "")]),
    ("labels_all_different", [(f"t{i}", f"l{i}") for i in range(30)]),
    ("labels_all_different", [("a", "x"), ("b", "y")]),
    ("too_many_classes", [(f"t {i} {j}", f"l{i}") for i in range(6) for j in range(3)]),
    ("too_few_rows_per_class", [*plain(1, 10), ("b", "lonely")]),
    ("too_few_rows_per_class", [*plain(1, 10), ("b", "same"), ("B", "same"), ("b ", "same")]),
    (None, plain(2, 3)),
]


@pytest.mark.parametrize(("code", "rows"), UNUSABLE)
def test_what_cannot_be_trained_on(code, rows):
    kept, _ = usable(frame(rows))
    if code is None:
        checking.require_cleaned(kept, Limits(classes=5))
        return
    with pytest.raises(UserError) as error:
        checking.require_cleaned(kept, Limits(classes=5))
    assert error.value.code == code


def test_the_facts_of_what_cannot_be_trained_on():
    wrong = checking.unusable(usable(frame([*plain(1, 10), ("b", "lonely")]))[0], Limits())
    assert wrong.facts == {"needed": 3, "classes": 2, "labels": "lonely"}
    with_test = checking.unusable(usable(frame(plain(2, 2)))[0], Limits(), rows_per_class=2)
    assert with_test is None


@pytest.mark.parametrize(
    ("code", "rows"),
    [
        (None, [(f"t {i}", ["x;y", "x", ""][i % 3]) for i in range(9)]),
        (None, [(f"t {i}", ["x", ""][i % 2]) for i in range(9)]),
        ("one_class", [(f"t {i}", "x") for i in range(9)]),
        ("no_usable_rows", [(f"t {i}", "") for i in range(9)]),
        ("labels_all_different", [(f"t {i}", f"a{i};b{i}") for i in range(9)]),
        ("too_few_rows_per_class", [(f"t {i}", ["x;y", "x", "y", ""][i]) for i in range(4)]),
        ("too_many_classes", [(f"t {i}", ";".join("abcdef")) for i in range(9)]),
    ],
)
def test_several_labels_need_less(code, rows):
    columns = {"text": "text", "labels": "label"}
    wrong = checking.unusable(usable(frame(rows), columns, SEVERAL)[0], Limits(classes=5), SEVERAL)
    assert (wrong.code if wrong else None) == code


def test_tasks_without_labels_need_only_a_row():
    shape, columns = SHAPES["translation"], {"source": "text", "target": "label"}
    assert checking.unusable(usable(frame([("a", "b")]), columns, shape)[0], Limits(), shape) is None
    assert checking.unusable(usable(frame([("a", "")]), columns, shape)[0], Limits(), shape).code == "no_usable_rows"


def test_wrong_columns_are_said():
    table = frame(plain())
    with pytest.raises(UserError) as error:
        checking.require_columns(table, {"text": "text", "label": "topic"})
    assert error.value.as_dict() == {"code": "column_missing", "facts": {"column": "topic", "columns": "text, label"}}
    with pytest.raises(UserError, match="text_is_label"):
        checking.require_columns(table, {"text": "text", "label": "text"})
    with pytest.raises(UserError) as error:
        checking.require_columns(table, {"source": "text", "target": "text"})
    assert error.value.facts == {"column": "text", "first": "source", "second": "target"}
    with pytest.raises(UserError, match="column_missing"):
        checking.require_columns(table, {"text": "text", "labels": ("label", "other")})
    with pytest.raises(UserError, match="column_missing"):
        checking.require_columns(table, {"text": ""})
    checking.require_columns(table, {"text": "text"})
    checking.require_columns(table, {"text": "text", "labels": ("label",)})
