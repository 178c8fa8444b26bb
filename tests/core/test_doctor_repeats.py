"""Copies, near copies, contradictions and test rows among those to learn from."""

import json
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.cleaning import text_key
from core.data.doctor import _minhash, repeats
from core.data.doctor._minhash import near_repeats, signatures, similarities
from core.data.doctor.base import Sheet
from core.data.doctor.repeats import REPEAT_CHECKS
from core.data.shapes import SHAPES

CHECKS = {check.code: check for check in REPEAT_CHECKS}
COLUMNS = {"text": "text", "label": "label"}
LONG = (
    "The parcel with the blue kettle was announced for Tuesday, then for Friday, and now nobody at the depot "
    "can tell me on which van it is."
)
OTHER = (
    "Since the latest update my telephone asks for the password every time that I unlock it, although I have switched "
    "the question off."
)


def sheet(rows, task="classification", columns=None, names=None, **more):
    columns = columns or COLUMNS
    frame = pd.DataFrame(rows, columns=names or list(columns.values()), dtype="str")
    return Sheet(frame.set_axis(pd.RangeIndex(2, len(frame) + 2, name="row")), SHAPES[task], columns, **more)


def table(rows, names=("text", "label")):
    return pd.DataFrame(rows, columns=list(names), dtype="str")


def left(code, given):
    """The finding's facts, the row numbers that the fix leaves, and whether it is recommended."""
    seen = CHECKS[code].look(given)
    if seen is None:
        return None, given.frame.index.tolist(), None
    finding, before = seen.finding, given.frame.copy()
    assert finding.code == code
    assert finding.fixes == (finding.fix,) == tuple(seen.mends)
    mended = seen.mends[finding.fix]()
    pd.testing.assert_frame_equal(given.frame, before)
    pd.testing.assert_frame_equal(mended, before.loc[mended.index])
    assert finding.rows == len(before) - len(mended)
    assert set(finding.examples) <= set(before.index) - set(mended.index)
    assert finding.samples
    return finding.facts, mended.index.tolist(), finding.recommended


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([("Hello", "a"), (" hello ", "a"), ("HELLO\n", "A")], [2]),
        ([("hello", "a"), ("hello", "b"), ("hello", "a")], [2, 3]),
        ([("", "a"), (" ", "a"), ("x", ""), ("x", "")], [2, 3, 4]),
        ([("a b", "c"), ("a", "b c")], [2, 3]),
        ([("x", "a"), ("y", "a"), ("y", "a"), ("x", "a"), ("y", "a")], [2, 3]),
    ],
)
def test_duplicate_rows(rows, kept):
    assert left("duplicate_rows", sheet(rows))[1] == kept


def test_a_duplicate_is_shown_with_the_row_that_it_repeats():
    seen = CHECKS["duplicate_rows"].look(sheet([("x", "a"), ("y", "a"), ("Y", "a"), ("x", "a")]))
    assert seen.finding.facts == {"row": 4, "first": 3}
    assert [(s.row, s.before["text"], s.after is None) for s in seen.finding.samples] == [
        (3, "y", False),
        (4, "Y", True),
        (5, "x", True),
    ]


def test_rows_of_different_parts_are_no_duplicates():
    rows = [("x", "a", "train"), ("x", "a", "test"), ("x", "a", "Training"), ("x", "a", "test")]
    given = sheet(rows, names=["text", "label", "part"], part_column="part")
    assert left("duplicate_rows", given)[1] == [2, 3]
    assert left("train_rows_in_test", given)[1] == [3, 5]


@pytest.mark.parametrize(
    ("task", "columns", "rows", "kept"),
    [
        (
            "translation",
            {"source": "s", "target": "t"},
            [("hi", "hallo"), ("hi", "Hallo"), ("hi", "guten Tag")],
            [2, 4],
        ),
        ("multi_label", {"text": "s", "labels": "t"}, [("hi", "a; b"), ("hi", "b;a"), ("hi", "a")], [2, 4]),
        ("chat", {"prompt": ("p", "q"), "answer": "t"}, [("a", "b", "c"), ("a", "b", "c"), ("a", "x", "c")], [2, 4]),
        ("text_generation", {"text": "s"}, [("hi",), ("Hi",)], [2]),
        ("chat", {"messages": "m"}, [('[{"role": "user"}]',), ('[{"role":  "user"}]',)], [2]),
    ],
)
def test_duplicates_of_other_tasks(task, columns, rows, kept):
    names = [n for given in columns.values() for n in ([given] if isinstance(given, str) else given)]
    assert left("duplicate_rows", sheet(rows, task, columns, names))[1] == kept


@pytest.mark.parametrize(
    ("rows", "kept", "texts"),
    [
        ([("x", "a"), ("X", "b"), ("x ", "a")], [2, 4], 1),
        ([("x", "a"), ("x", "b"), ("y", "a")], [4], 1),
        ([("x", "a"), ("x", "b"), ("y", "a"), ("y", "a"), ("y", "c")], [4, 5], 2),
        ([("x", "a"), ("x", "A"), ("x", "ａ")], [2, 3, 4], None),
        ([("x", "a"), ("x", ""), ("", "a"), ("", "b")], [2, 3, 4, 5], None),
    ],
)
def test_conflicting_labels(rows, kept, texts):
    facts, rows_left, _ = left("conflicting_labels", sheet(rows))
    assert rows_left == kept
    assert facts == (texts and {"texts": texts})


def test_several_labels_conflict_as_sets_and_answers_never():
    rows = [("x", "a, b"), ("x", "b,a"), ("x", "a")]
    assert left("conflicting_labels", sheet(rows, "multi_label", {"text": "text", "labels": "labels"}))[1] == [2, 3]
    assert not CHECKS["conflicting_labels"].concerns(sheet(rows, "translation", {"source": "s", "target": "t"}))


@pytest.mark.parametrize(
    ("rows", "kept", "recommended"),
    [
        ([(LONG, "a"), (LONG.replace("blue", "grey"), "a"), (OTHER, "a")], [2, 4], False),
        ([(LONG, "a"), (LONG.replace(",", " -").upper(), "a")], [2], True),
        ([(LONG, "a"), (LONG.replace("blue", "grey"), "b")], [2, 3], None),
        ([(LONG, "a"), (LONG, "a"), (LONG, "b")], [2, 3, 4], None),
        ([("Where is my order 4711?", "a"), ("Where is my order 4712?", "a")], [2, 3], None),
        ([(LONG, "a"), (LONG[:60] + OTHER[:60], "a")], [2, 3], None),
        ([("", "a"), ("", "a"), ("!", "a")], [2, 3, 4], None),
    ],
)
def test_near_duplicates(rows, kept, recommended):
    assert left("near_duplicates", sheet(rows))[1:] == (kept, recommended)


def test_near_duplicates_say_how_many_differ_in_the_label():
    rows = [(LONG, "a"), (LONG + " Help", "a"), (LONG + " Now", "b"), (OTHER, "c"), (OTHER + " Help", "d")]
    facts, kept, _ = left("near_duplicates", sheet(rows))
    assert kept == [2, 4, 5, 6]
    assert facts == {"looked_at": 5, "other_label": 2, "row": 3, "first": 2}


def test_near_pairs_are_near_on_both_sides():
    columns = {"source": "s", "target": "t"}
    rows = [(LONG, OTHER), (LONG + " Help", OTHER + " Help"), (LONG + "!", OTHER[:30]), (OTHER, LONG)]
    assert left("near_duplicates", sheet(rows, "translation", columns))[1] == [2, 4, 5]


def test_conversations_are_near_by_what_is_said_not_by_their_notation():
    cells = [json.dumps([{"role": "user", "content": c}, {"role": "assistant", "content": c}]) for c in "abcdefgh"]
    cells += [json.dumps([{"role": "user", "content": c}]) for c in (LONG, LONG + " Help")]
    given = sheet([[cell] for cell in cells], "chat", {"messages": "m"})
    assert left("near_duplicates", given)[1] == list(range(2, 11))


def test_only_the_first_rows_are_looked_at(monkeypatch):
    monkeypatch.setattr(repeats, "LOOKED_AT", 2)
    facts, kept, _ = left("near_duplicates", sheet([(LONG + end, "a") for end in (".", "!", "?", "…")]))
    assert kept == [2, 4, 5]
    assert facts["looked_at"] == 2


def test_train_rows_in_a_test_file():
    given = sheet([("x", "a"), ("y", "a"), ("", "a"), ("X ", "b")], test=table([(" x", "c"), ("", "a"), ("z", "a")]))
    assert left("train_rows_in_test", given)[1:] == ([3, 4], True)
    assert left("train_rows_in_test", sheet([("x", "a")], test=table([("x",)], ["other"])))[0] is None
    assert left("train_rows_in_test", sheet([("x", "a")]))[0] is None


def test_a_conversation_in_other_notation_is_near():
    talk = [{"role": "user", "content": LONG}, {"role": "assistant", "content": OTHER}]
    noted = json.dumps([{"id": 7, **turn} for turn in talk])
    given = sheet([[json.dumps(talk)], ["[]"]], "chat", {"messages": "m"}, test=table([[noted]], ["m"]))
    assert left("train_rows_in_test", given)[1] == [2, 3]
    assert left("near_rows_in_test", given)[1] == [3]


def test_near_rows_in_a_test_file():
    rows = [(LONG, "a"), (OTHER, "a"), (LONG.replace("blue", "grey"), "a"), (LONG, "b"), ("short", "a")]
    given = sheet(rows, test=table([(LONG.replace("blue", "pink"), "z"), (OTHER, "z"), ("shorts", "a")]))
    facts, kept, recommended = left("near_rows_in_test", given)
    assert kept == [3, 6]
    assert recommended
    assert facts == {"looked_at": 5}


def test_rows_are_held_out_by_a_column():
    rows = [
        (LONG, "a", "train"),
        (LONG + "!", "a", "dev"),
        (OTHER, "a", "test"),
        (OTHER + "!", "b", "train"),
        (OTHER, "a", ""),
    ]
    given = sheet(rows, names=["text", "label", "part"], part_column="part")
    assert left("near_rows_in_test", given)[1] == [3, 4, 6]
    assert left("train_rows_in_test", given)[1] == [2, 3, 4, 5]
    # A column with other names says nothing; dividing the rows complains about it.
    strange = sheet([(*row[:2], "x") for row in rows], names=["text", "label", "part"], part_column="part")
    assert left("near_rows_in_test", strange)[0] is None


CELLS = st.sampled_from(["", " ", "a", "A", "a ", "a b", "b", "b c", "é", "e\u0301", LONG, LONG.upper(), LONG + "!"])
PARTS = st.sampled_from(["train", "test", "validation"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, PARTS), min_size=1, max_size=12), st.booleans())
def test_no_two_rows_of_a_part_are_equal_after_the_fix(rows, with_parts):
    rows = [("to learn", "t", "train"), *rows]
    given = sheet(rows, names=["text", "label", "part"], part_column="part" if with_parts else None)
    seen = CHECKS["duplicate_rows"].look(given)
    mended = seen.mends["drop"]() if seen else given.frame
    keys = [
        (text_key(row.text), text_key(row.label), row.part if with_parts else "")
        for row in mended.itertuples()
        if text_key(row.text)
    ]
    assert len(keys) == len(set(keys))
    everything = {
        (text_key(row[0]), text_key(row[1]), row[2] if with_parts else "") for row in rows if text_key(row[0])
    }
    assert set(keys) == everything
    for code in CHECKS:  # whatever is in the rows, a second look after the fix finds nothing
        seen = CHECKS[code].look(given)
        if seen:
            assert CHECKS[code].look(given.with_frame(seen.mends[seen.finding.fix]())) is None


WORDS = ["".join(random.Random(i).choices("etaoinshrdlucmfwypvbgkjqxz", k=3 + i % 6)) for i in range(3_000)]


def planted(rows, pairs, seed):
    """Random texts, the last of them changed copies of earlier ones, and which copies which."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(WORDS, k=22)) for _ in range(rows)]
    origins = draw.sample(range(rows - pairs), pairs)
    for origin, copy in zip(origins, range(rows - pairs, rows), strict=True):
        letters = list(texts[origin])
        for _ in range(draw.randint(1, 3)):
            letters[draw.randrange(len(letters))] = draw.choice("éüñß")
        texts[copy] = "".join(letters)
    return texts, np.array(origins), np.arange(rows - pairs, rows)


def jaccard(one, other):
    a, b = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (one, other))
    return len(a & b) / len(a | b)


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_pairs_are_found_and_nothing_else(seed):
    texts, origins, copies = planted(4_000, 600, seed)
    truth = [jaccard(texts[a], texts[b]) >= 0.85 for a, b in zip(origins, copies, strict=True)]
    assert 200 < sum(truth) < 600
    found = near_repeats(texts).repeats
    assert (found[copies][truth] == origins[truth]).mean() > 0.99
    assert (found >= 0).sum() == (found[copies][truth] == origins[truth]).sum()


def test_similarities_are_exact():
    draw = random.Random(4)
    texts = ["".join(draw.choices("abé", k=draw.randint(5, 40))) for _ in range(300)]
    left, right = np.arange(150), np.arange(150, 300)
    expected = [jaccard(texts[i], texts[j]) for i, j in zip(left, right, strict=True)]
    np.testing.assert_allclose(similarities(texts, left, right), expected)


def test_equal_minima_estimate_the_similarity():
    signed = signatures([LONG, LONG.replace("blue", "grey"), OTHER])
    assert abs((signed[0] == signed[1]).mean() - jaccard(LONG, LONG.replace("blue", "grey"))) < 0.15
    assert (signed[0] == signed[2]).mean() < 0.15


def test_pieces_do_not_change_what_is_found(monkeypatch):
    texts, *_ = planted(300, 60, 3)
    texts.append("x" * 3_000)
    whole = signatures(texts)
    monkeypatch.setattr(_minhash, "_PIECE", 1_000)
    np.testing.assert_array_equal(signatures(texts), whole)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_repeated_stays(seed):
    """A chain, in which each is near to the next but the last is not near to the first."""
    draw = random.Random(seed)
    words = [f"{word}{i}" for i, word in enumerate(draw.sample(WORDS, 60))]
    chain = [" ".join(words[i : i + 36]) for i in range(20)]
    draw.shuffle(chain)
    found = near_repeats(chain).repeats
    kept = [i for i in range(20) if found[i] < 0]
    assert 0 in kept
    assert 3 < len(kept) < 15
    assert all(found[i] in kept and jaccard(chain[i], chain[found[i]]) >= 0.85 for i in range(20) if i not in kept)
    assert all(jaccard(chain[i], chain[j]) < 0.85 for i in kept for j in kept if i < j)


def test_a_bucket_of_near_rows_takes_one_comparison_each(monkeypatch):
    compared = counted(monkeypatch)
    texts = [f"{LONG} {i:05}" for i in range(20_000)]
    assert (near_repeats(texts).repeats == [-1, *[0] * 19_999]).all()
    assert sum(map(len, compared)) < 3 * len(texts)
    groups = [i % 7 for i in range(20_000)]
    assert (near_repeats(texts, groups).repeats >= 0).sum() == 20_000 - 7


def test_a_bucket_of_rows_that_are_almost_near_enough_is_not_compared_each_with_each(monkeypatch):
    compared, looked_at = counted(monkeypatch), []
    estimated = _minhash._Search._estimated
    monkeypatch.setattr(
        _minhash._Search, "_estimated", lambda self, a, b: looked_at.append(len(a)) or estimated(self, a, b)
    )
    half = len(LONG) // 3
    texts = [LONG[:half] + chr(0x4E00 + i) * 3 + chr(0x6E00 + i) * 3 + LONG[-half:] for i in range(3_000)]
    assert 0.7 < jaccard(*texts[:2]) < 0.85
    assert (near_repeats(texts).repeats < 0).all()
    assert sum(looked_at) <= 12 * 12 * len(texts)  # bands, rounds
    pairs = [pair for part in compared for pair in part]
    assert len(pairs) > 1.5 * len(texts)
    assert len(set(pairs)) > 0.95 * len(pairs)
    compared.clear()
    monkeypatch.setattr(_minhash, "_COMPARISONS", 500)
    monkeypatch.setattr(_minhash, "_COMPARISONS_EACH", 0)
    near_repeats(texts)
    assert sum(map(len, compared)) == 500


def counted(monkeypatch):
    """The pairs that are compared exactly from now on."""
    compared = []

    def counting(texts, left, right):
        compared.append(list(zip(left.tolist(), right.tolist(), strict=True)))
        return similarities(texts, left, right)

    monkeypatch.setattr(_minhash, "similarities", counting)
    return compared


def test_references_are_held_against_the_others_only():
    texts = [LONG, LONG + "!", OTHER, OTHER + "!", OTHER + "?", LONG + " Help"]
    assert near_repeats(texts, references=2).repeats.tolist() == [-1, -1, -1, -1, -1, 0]
    assert near_repeats(texts, references=3).repeats.tolist() == [-1, -1, -1, 2, 2, 0]
    assert near_repeats([LONG]).repeats.tolist() == [-1]
    assert near_repeats([]).repeats.tolist() == []
