"""Batches drawn at random, in pieces of equal length, the same whenever they are asked for."""

import random
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.training import batching
from core.training.batching import Batches

KINDS = ("cpu", "cuda", "mps")


def padded(piece, lengths):
    return len(piece) * max(lengths[row] for row in piece)


def some_lengths(rows, seed=1):
    chance = random.Random(seed)
    return [min(256, 4 + int(chance.expovariate(1 / 60))) for _ in range(rows)]


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(0, 3),
    st.sampled_from(KINDS),
)
def test_each_row_comes_once_and_no_batch_is_larger_than_asked_for(lengths, together, parts, epoch, kind):
    batches = Batches(lengths, together, 7, kind, parts)
    batches.set_epoch(epoch)
    found = list(batches)
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    assert len(found) == len(batches)
    assert all(found)
    assert max(map(len, found)) <= together
    assert max(map(len, found)) - min(map(len, found)) <= 1


@given(st.lists(st.integers(1, 600), min_size=1, max_size=60), st.integers(1, 5), st.sampled_from(KINDS))
def test_the_pieces_of_a_batch_are_its_rows_and_small_enough(lengths, parts, kind):
    batches, rows = Batches(lengths, 64, 7, kind, parts), list(range(len(lengths)))
    pieces = batches.pieces(rows)
    assert sorted(row for piece in pieces for row in piece) == rows
    assert all(pieces)
    most = 1024 if kind == "cpu" else 10**9
    if parts > 1:
        most = max(1, min(most, sum(lengths)) // parts)
    assert all(len(piece) == 1 or padded(piece, lengths) <= most for piece in pieces)
    longest = [max(lengths[row] for row in piece) for piece in pieces]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=9), st.sampled_from([5, 30, 96]))
def test_no_other_way_to_cut_a_batch_costs_less(lengths, fixed):
    order = sorted(lengths)

    def cost(cuts):
        return sum(fixed + (end - begin) * order[end - 1] for begin, end in pairwise((0, *cuts, len(order))))

    least = min(cost(cuts) for n in range(len(order)) for cuts in combinations(range(1, len(order)), n))
    batches = Batches(lengths, 64, 7, "cpu")
    batches._fixed = fixed
    assert batches.cost(range(len(lengths))) == least


def test_little_is_padded_where_that_pays():
    lengths = some_lengths(4_000)
    batches = Batches(lengths, 16, 7, "cpu")
    pieces = [piece for batch in batches for piece in batches.pieces(batch)]
    assert sum(padded(piece, lengths) for piece in pieces) < 1.3 * sum(lengths)
    whole = Batches(lengths, 16, 7, "cuda")
    assert all(whole.pieces(batch) == [sorted(batch, key=lengths.__getitem__)] for batch in whole)
    assert sum(padded(batch, lengths) for batch in whole) > 2 * sum(lengths)


def test_lengths_have_no_part_in_what_is_together():
    lengths = some_lengths(4_000)
    means = [sum(lengths[row] for row in batch) / 16 for batch in Batches(lengths, 16, 7, "cpu")]
    all_means = sum(lengths) / 4_000
    # The mean of 16 of these lengths has a deviation of a quarter of the mean of all.
    assert all(0.3 * all_means < mean < 2.5 * all_means for mean in means)


def test_the_batch_with_the_longest_text_comes_first():
    lengths = some_lengths(2_000)
    lengths[1234] = 400
    for epoch in range(3):
        batches = Batches(lengths, 16, 7, "cpu")
        batches.set_epoch(epoch)
        first = next(iter(batches))
        assert 1234 in first
        assert 1234 in batches.pieces(first)[0]


def test_an_epoch_is_the_same_again_and_another_one_is_not():
    lengths = some_lengths(300)

    def epoch(number, seed=7):
        batches = Batches(lengths, 8, seed, "cpu")
        batches.set_epoch(number)
        return list(batches)

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)
    assert epoch(1) != epoch(1, seed=8)


@pytest.mark.parametrize("kind", KINDS)
def test_where_memory_ran_out_pieces_are_smaller(kind):
    lengths = [100] * 64

    def rows(parts):
        batches = Batches(lengths, 16, 7, kind, parts)
        return max(len(piece) for batch in batches for piece in batches.pieces(batch))

    assert rows(1) == (10 if kind == "cpu" else 16)
    assert rows(2) == (5 if kind == "cpu" else 8)
    assert rows(64) == 1


def test_every_device_has_its_costs():
    assert set(batching._FIXED) == set(KINDS)


def test_what_was_measured_decides_where_it_pays_to_cut():
    lengths = [10] * 8 + [100] * 8
    assert len(Batches(lengths, 16, 7, "cuda").pieces(range(16))) == 1
    assert len(Batches(lengths, 16, 7, "cuda", beside=700).pieces(range(16))) == 2
    assert len(Batches(lengths, 16, 7, "cuda", beside=800).pieces(range(16))) == 1
