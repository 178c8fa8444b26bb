from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.splitting import by_column, divide, joined, shortcomings
from core.errors import UserError

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HELD_OUT = (0.15, 0.15)


def rows(keys):
    return pd.DataFrame({"row": range(2, len(keys) + 2), "key": pd.Series(list(keys), dtype="str")})


def drawn(labels, groups=None, keys=None, fractions=HELD_OUT, seed=1):
    table = rows(keys if keys is not None else [f"text {i}" for i in range(len(labels))])
    return divide(table, labels=labels, groups=groups, fractions=fractions, seed=seed)


def one_each(sizes):
    return [(f"label {number}",) for number, size in enumerate(sizes) for _ in range(size)]


def counted(part, labels):
    return Counter((label, int(number)) for number, held in zip(part, labels, strict=True) for label in held)


def deviation(part, table, shares):
    """Mean over labels and parts of how far a part is from its share of a label."""
    total = table.sum(axis=0)
    return float(np.mean([np.abs(table[part == n].sum(axis=0) - s * total) / total for n, s in enumerate(shares)]))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([100], (70, 15, 15)),
        ([3], (1, 1, 1)),
        ([3, 3, 3], (3, 3, 3)),
        ([10] * 10, (70, 15, 15)),
        ([9] * 100, (630, 135, 135)),
        ([7] * 20 + [60], (140, 30, 30)),
        ([1, 2, 97], (70, 15, 15)),
        ([2, 2], (4, 0, 0)),
    ],
)
def test_totals_come_out_right(sizes, expected):
    """The last row: two classes of two rows, which are all for training but that no part may be empty."""
    part = drawn(one_each(sizes))
    if expected[1] == 0:
        assert sorted(np.bincount(part, minlength=3).tolist()) == [1, 1, 2]
    else:
        assert np.bincount(part, minlength=3).tolist() == list(expected)


@QUICK
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    fractions=st.sampled_from([(0.05, 0.05), (0.15, 0.15), (0.4, 0.4), (0.2,), (0.4,), (0.05, 0.4)]),
    seed=st.integers(0, 1000),
)
def test_each_class_has_its_share_and_a_row_in_every_part(sizes, fractions, seed):
    labels = one_each(sizes)
    part = drawn(labels, fractions=fractions, seed=seed)
    found, parts = counted(part, labels), len(fractions) + 1
    assert len(part) == len(labels)
    assert set(part.tolist()) <= set(range(parts))
    enough = any(size >= parts for size in sizes)
    for number, size in enumerate(sizes):
        label = f"label {number}"
        if size < parts:
            if enough:
                assert [found[label, n] for n in range(parts)] == [size] + [0] * (parts - 1)
            continue
        assert all(found[label, n] >= 1 for n in range(parts))
        for n, fraction in enumerate(fractions, start=1):
            assert abs(found[label, n] - max(1, fraction * size)) < 2


@QUICK
@given(data=st.data(), seed=st.integers(0, 1000))
def test_a_group_is_never_divided_and_no_text_is_in_two_parts(data, seed):
    size = data.draw(st.integers(1, 60))
    keys = data.draw(st.lists(st.integers(0, 20).map("text {}".format), min_size=size, max_size=size))
    groups = data.draw(st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]), min_size=size, max_size=size))
    labels = data.draw(st.lists(st.sets(st.sampled_from("xyz"), max_size=3).map(tuple), min_size=size, max_size=size))
    part = drawn(labels, groups, keys, seed=seed)
    for names in (keys, groups):
        for name in set(names) - {""}:
            assert len({int(n) for n, other in zip(part, names, strict=True) if other == name}) == 1
    together = joined(keys, groups)
    assert len(set(part.tolist())) == min(3, len(set(together.tolist())))
    assert (drawn(labels, groups, keys, seed=seed) == part).all()


@QUICK
@given(
    sizes=st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=9), min_size=2, max_size=5), seed=st.integers(0, 99)
)
def test_a_class_with_three_groups_is_in_every_part(sizes, seed):
    labels, groups = [], []
    for number, members in enumerate(sizes):
        for member, size in enumerate(members):
            labels += [(f"label {number}",)] * size
            groups += [f"{number}-{member}"] * size
    found = counted(drawn(labels, groups, seed=seed), labels)
    assert all(found[f"label {number}", n] for number in range(len(sizes)) for n in range(3))


def test_the_same_seed_gives_the_same_parts_and_another_one_others():
    labels = one_each([30, 40])
    assert (drawn(labels) == drawn(labels)).all()
    assert (drawn(labels) != drawn(labels, seed=2)).any()


@pytest.mark.parametrize(("size", "kinds", "share"), [(400, 6, 0.25), (2000, 12, 0.08), (2000, 20, 0.2)])
def test_several_labels_are_shared_out_much_better_than_by_chance(size, kinds, share):
    chance = np.random.default_rng(5)
    table = chance.random((size, kinds)) < share * chance.uniform(0.3, 1.7, kinds)
    labels = [tuple(f"label {n}" for n in np.flatnonzero(row)) for row in table]
    shares = (0.7, 0.15, 0.15)
    by_chance = np.mean([deviation(chance.choice(3, size, p=shares), table, shares) for _ in range(10)])
    part = drawn(labels)
    assert deviation(part, table, shares) < by_chance / 3
    assert np.abs(np.bincount(part) / size - shares).max() < 0.02
    assert all(counted(part, labels)[f"label {n}", p] for n in range(kinds) for p in range(3))


def test_large_groups_of_several_classes_are_shared_out_better_than_by_chance():
    chance = np.random.default_rng(3)
    weights = chance.pareto(1.5, 200) + 0.1
    groups = chance.choice(200, 4000, p=weights / weights.sum())
    table = np.eye(8)[chance.integers(0, 8, 4000)]
    labels = [(f"label {n}",) for n in table.argmax(axis=1)]
    shares = (0.7, 0.15, 0.15)
    by_chance = np.mean([deviation(chance.choice(3, 200, p=shares)[groups], table, shares) for _ in range(10)])
    part = drawn(labels, groups.tolist())
    assert deviation(part, table, shares) < by_chance / 2
    assert np.abs(np.bincount(part) / 4000 - shares).max() < 0.02


def few_rows_of_several_labels(seed):
    chance = np.random.default_rng(seed)
    size, kinds = int(chance.integers(12, 60)), int(chance.integers(3, 9))
    table = chance.random((size, kinds)) < chance.uniform(0.02, 0.4, kinds)
    return [tuple(f"label {n}" for n in np.flatnonzero(row)) for row in table]


def test_small_tables_of_several_labels_have_nearly_every_label_in_every_part_and_rare_ones_in_training():
    missing = wanted = 0
    for seed in range(350):
        labels = few_rows_of_several_labels(seed)
        part = drawn(labels, seed=seed)
        sizes, found = Counter(label for held in labels for label in held), counted(part, labels)
        for label, size in sizes.items():
            if size < 3:
                assert found[label, 0] == size
            else:
                wanted += 3
                missing += sum(found[label, n] == 0 for n in range(3))
    assert missing < wanted / 1000


@pytest.mark.parametrize("seed", range(5))
def test_large_groups_go_first_so_that_small_ones_even_them_out(seed):
    groups = [f"large {n}" for n in range(4) for _ in range(12)] + [f"small {n}" for n in range(30)]
    assert np.bincount(drawn([("a",)] * 78, groups, seed=seed)).tolist() == [54, 12, 12]


def test_rows_without_labels_are_divided_at_random():
    part = drawn([()] * 200)
    assert np.bincount(part).tolist() == [140, 30, 30]
    assert (np.diff(np.flatnonzero(part == 2)) > 1).any()
    assert drawn([]).shape == (0,)


def test_groups_are_joined_by_texts():
    assert joined(["a", "b", "a", "c", "d"], ["x", "y", "y", "", None]).tolist() == [0, 0, 0, 1, 2]
    assert joined(["a", "b", "a"], None).tolist() == [0, 1, 0]
    # A group called like a text is no text.
    assert joined(["a", "b"], ["b", "c"]).tolist() == [0, 1]


NAMES = [
    (["train", "validation", "test"], [0, 1, 2]),
    (["Training", " VALID ", "Testing"], [0, 1, 2]),
    (["训练集", "验证集", "测试集"], [0, 1, 2]),
    (["训练", "验证", "考试"], [0, 1, 2]),
    (["learn", "dev", "exam"], [0, 1, 2]),
    (["train_set", "dev-set", "test data"], [0, 1, 2]),
    (["TRAIN", "val", "eval"], [0, 1, 2]),
    (["train", "test", "eval"], [0, 2, 1]),
    (["train", "", "test"], [0, 0, 2]),
    (["ｔｒａｉｎ", "test", "train"], [0, 2, 0]),
]


@pytest.mark.parametrize(("names", "expected"), NAMES)
def test_parts_are_read_in_any_common_spelling(names, expected):
    assert by_column(pd.Series(names, dtype="str", name="fold")).tolist() == expected


@pytest.mark.parametrize(
    ("names", "code", "facts"),
    [
        (["train", "test", "fold 3", "x"], "part_names_unknown", {"column": "fold", "names": "fold 3, x"}),
        (["train", "test", "1"], "part_names_unknown", {"column": "fold", "names": "1"}),
        (["train", "val"], "part_missing", {"column": "fold", "part": "test"}),
        (["test", "val"], "part_missing", {"column": "fold", "part": "train"}),
    ],
)
def test_a_column_that_names_no_parts_is_said(names, code, facts):
    with pytest.raises(UserError) as error:
        by_column(pd.Series(names, dtype="str", name="fold"))
    assert (error.value.code, error.value.facts) == (code, facts)


def test_a_column_without_test_rows_will_do_where_they_come_from_a_file():
    assert by_column(pd.Series(["train", "val"], name="fold"), test_needed=False).tolist() == [0, 1]


def test_classes_that_are_not_in_every_part_are_named():
    labels = [("a",), ("a",), ("a",), ("b",), ("b",), ("c",)]
    found = shortcomings(np.array([0, 1, 2, 0, 2, 2]), rows("uvwxyz"), labels, None)
    assert [(f.code, f.rows, f.facts, f.examples, f.severity, f.fix) for f in found] == [
        ("class_not_learned", 1, {"labels": "c", "classes": 1, "part": "train, validation"}, (7,), "warning", None),
        ("class_missing_in_part", 2, {"labels": "b", "classes": 1, "part": "validation"}, (5, 6), "warning", None),
    ]
    assert shortcomings(np.array([0, 1, 2]), rows("uvw"), labels[:3], None) == []


def test_parts_that_large_groups_make_uneven_are_named():
    labels = [("a",)] * 100
    part = drawn(labels, ["big"] * 60 + ["small"] * 25 + ["tiny"] * 15)
    (found,) = shortcomings(part, rows([str(n) for n in range(100)]), labels, HELD_OUT)
    assert (found.code, found.rows, found.facts) == ("groups_uneven", 60, {"part": "train", "asked": 70, "got": 60})
    even = drawn(labels, [n // 5 for n in range(100)])
    assert shortcomings(even, rows([str(n) for n in range(100)]), labels, HELD_OUT) == []
