"""Rows are divided into training, validation and test: class by class, what belongs together in one part."""

import re
import unicodedata
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from core.data.findings import Finding, examples, named
from core.data.stratifying import stratify
from core.errors import Fact, UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PARTS = ("train", "validation", "test")
_TRAIN, _VALIDATION, _TEST = range(3)

# A part may be so many percentage points larger or smaller than what was asked before it is worth a word.
_UNEVEN_POINTS = 5.0

_NAMES = {
    _TRAIN: "train training trn tr learn learning fit 训练 訓練 学习 學習 学習",
    _VALIDATION: "validation validate valid val vld dev devel development tune tuning 验证 驗證 検証 开发 開發 開発",
    _TEST: "test testing tst eval evaluation evaluate exam holdout heldout 测试 測試 评估 評估 考试 考試 テスト",
}
_PART_OF = {name: part for part, names in _NAMES.items() for name in names.split()}
# Where a column has test rows as well, these are the rows to choose the best checkpoint by.
_EITHER = frozenset({"eval", "evaluation", "evaluate", "评估", "評估"})
_ADDED = re.compile(r"(?:sets?|data|split|part|rows|集|数据|數據|用)$")


def divide(
    rows: "pd.DataFrame",
    *,
    labels: Sequence[tuple[str, ...]],
    groups: Sequence[Hashable] | None,
    fractions: tuple[float, ...],
    seed: int,
) -> "np.ndarray":
    """Draw the part of each row: 0 for training, then one for each fraction.

    See `core.data.stratifying` for the method. A label has a row in every part wherever it has as many groups as there
    are parts, unless large groups with several labels forbid it; one with fewer groups is for training.

    Args:
        rows: `key` says which rows have the same text; these are never parted.
        labels: of each row: one, several, or none.
        groups: for each row what it shares with those that must be in the same part; None, or a blank one, for nothing.
        fractions: share of all rows in each held-out part.
        seed: decides which rows go where; the same rows and seed give the same parts.

    Returns:
        int8 of shape (rows,).
    """
    group = joined(rows["key"].tolist(), groups)
    return stratify(group, labels, (1.0 - sum(fractions), *fractions), seed, keep_rare=groups is None)


def joined(keys: Sequence[Hashable], groups: Sequence[Hashable] | None) -> "np.ndarray":
    """Number of the group of each row, where rows with the same key or the same group belong together.

    Numbers follow the order in which groups are first seen.
    """
    import numpy as np

    parent: list[int] = []
    seen: dict[Hashable, int] = {}

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def node_of(name: Hashable) -> int:
        if name not in seen:
            seen[name] = len(parent)
            parent.append(len(parent))
        return seen[name]

    nodes = [node_of(("key", key)) for key in keys]
    for node, group in zip(nodes, groups or (), strict=bool(groups)):
        if group not in ("", None):
            parent[root(node)] = root(node_of(("group", group)))
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(node), len(numbers)) for node in nodes], dtype=np.int64)


def by_column(values: "pd.Series[str]", *, test_needed: bool = True) -> "np.ndarray":
    """The part of each row from a column that names it. A blank cell means training: no row is judged by mistake.

    Args:
        values: the column; its name is used in errors.
        test_needed: whether there must be rows for the test.

    Returns:
        int8 of shape (rows,): 0 training, 1 validation, 2 test.

    Raises:
        UserError: `part_names_unknown`, and `part_missing` where nothing is for training or for the test.
    """
    import numpy as np

    spelled = values.fillna("").astype("str")
    read = {value: _part_name(value) for value in spelled.unique().tolist()}
    column = str(values.name)
    unknown = sorted(value.strip() for value, name in read.items() if name and name not in _PART_OF)
    if unknown:
        raise UserError("part_names_unknown", column=column, names=named(unknown))
    judged = any(_PART_OF.get(name) == _TEST and name not in _EITHER for name in read.values())
    part = {
        value: _VALIDATION if judged and name in _EITHER else _PART_OF.get(name, _TRAIN) for value, name in read.items()
    }
    parts = np.array([part[value] for value in spelled.tolist()], dtype=np.int8)
    for needed in (_TRAIN, _TEST) if test_needed else (_TRAIN,):
        if not (parts == needed).any():
            raise UserError("part_missing", column=column, part=PARTS[needed])
    return parts


def _part_name(value: str) -> str:
    """The bare name in a cell: `Train_Set` becomes `train`."""
    letters = "".join(c for c in unicodedata.normalize("NFKC", value).casefold() if c.isalpha())
    name = letters if letters in _PART_OF else _ADDED.sub("", letters)
    return name or value.strip()


def shortcomings(
    part: "np.ndarray",
    rows: "pd.DataFrame",
    labels: Sequence[tuple[str, ...]],
    fractions: tuple[float, ...] | None,
) -> list[Finding]:
    """What a division could not do.

    Args:
        part: of each row.
        rows: with `row`, their numbers.
        labels: of each row.
        fractions: share asked for each held-out part, None where the shares were not a choice.
    """
    found = _missing_labels(part, rows, labels)
    if fractions is not None:
        found += _uneven(part, (1.0 - sum(fractions), *fractions))
    return found


def _missing_labels(part: "np.ndarray", rows: "pd.DataFrame", labels: Sequence[tuple[str, ...]]) -> list[Finding]:
    """A class that cannot be learned, and one that is learned but not judged."""
    parts = sorted(set(part.tolist()))
    where: dict[str, set[int]] = {}
    for number, row in zip(part.tolist(), labels, strict=True):
        for label in row:
            where.setdefault(label, set()).add(number)
    lacks = {label: [number for number in parts if number not in seen] for label, seen in where.items()}
    unlearned = sorted(label for label, missing in lacks.items() if _TRAIN in missing)
    unjudged = sorted(label for label, missing in lacks.items() if missing and _TRAIN not in missing)
    found = []
    for code, names in (("class_not_learned", unlearned), ("class_missing_in_part", unjudged)):
        if not names:
            continue
        chosen = frozenset(names)
        numbers = [int(row) for row, held in zip(rows["row"], labels, strict=True) if not chosen.isdisjoint(held)]
        missing = sorted({number for name in names for number in lacks[name]})
        facts: dict[str, Fact] = {
            "labels": named(names),
            "classes": len(names),
            "part": ", ".join(PARTS[number] for number in missing),
        }
        found.append(Finding(code, len(numbers), "warning", facts, examples(numbers)))
    return found


def _uneven(part: "np.ndarray", shares: tuple[float, ...]) -> list[Finding]:
    """The part that is furthest from its share, where that is more than rounding."""
    import numpy as np

    rows = np.bincount(part, minlength=len(shares))
    points = [100 * (float(count) / len(part) - share) for count, share in zip(rows, shares, strict=True)]
    worst = max(range(len(shares)), key=lambda number: round(abs(points[number]), 6))
    # Small tables cannot be divided more finely than by rows.
    if abs(points[worst]) <= max(_UNEVEN_POINTS, 100 / len(part)):
        return []
    asked, got = round(100 * shares[worst]), round(100 * float(rows[worst]) / len(part))
    facts: dict[str, Fact] = {"part": PARTS[worst], "asked": asked, "got": got}
    return [Finding("groups_uneven", int(rows[worst]), "warning", facts)]
