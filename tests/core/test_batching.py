"""Batches of about equal work, the same whenever they are asked for."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.training.batching import Batches


def padded(batch, lengths):
    return len(batch) * max(lengths[row] for row in batch)


def some_lengths(rows, seed=1):
    chance = random.Random(seed)
    return [min(256, 4 + int(chance.expovariate(1 / 60))) for _ in range(rows)]


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_each_row_comes_once_and_there_are_as_many_pieces_as_promised(lengths, together, parts, epoch):
    batches = Batches(lengths, together, 7, parts)
    batches.set_epoch(epoch)
    pieces = list(batches)
    assert sorted(row for piece in pieces for row in piece) == list(range(len(lengths)))
    assert len(pieces) == len(batches)
    assert all(pieces)


def test_batches_cost_about_the_same_and_little_is_padded():
    lengths = some_lengths(4_000)
    found = list(Batches(lengths, 16, 7))
    usual = sum(lengths) / len(found)
    costs = [padded(batch, lengths) for batch in found]
    assert sum(costs) < 1.12 * sum(lengths)
    assert max(costs) < 2 * usual
    assert len(found) == 250
    rows = [len(batch) for batch in found]
    assert min(rows) < 16 < max(rows) <= 66


def test_the_batch_with_the_longest_text_comes_first_and_the_others_in_no_order_of_length():
    lengths = some_lengths(2_000)
    found = list(Batches(lengths, 16, 7))
    longest = [max(lengths[row] for row in batch) for batch in found]
    assert longest[0] == max(lengths)
    rest = longest[1:]
    falls = sum(a > b for a, b in pairwise(rest))
    assert 0.35 < falls / len(rest) < 0.65


def test_an_epoch_is_the_same_again_and_another_one_is_not():
    lengths = some_lengths(300)

    def epoch(number, seed=7):
        batches = Batches(lengths, 8, seed)
        batches.set_epoch(number)
        return list(batches)

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)
    assert epoch(1) != epoch(1, seed=8)


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_of_a_batch_are_its_rows(parts):
    lengths = [1 + i % 9 for i in range(96)]
    whole, pieces = list(Batches(lengths, 16, 7)), list(Batches(lengths, 16, 7, parts))
    together = [[row for piece in pieces[n : n + parts] for row in piece] for n in range(0, len(pieces), parts)]
    assert together == whole


def test_a_batch_of_long_texts_still_has_a_row_for_each_part():
    lengths = [500] * 4 + [1] * 60
    pieces = list(Batches(lengths, 16, 7, 8))
    assert len(pieces) == 32
    assert all(pieces)
