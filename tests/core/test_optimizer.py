"""Steps on exact weights behind rounded ones: what an optimizer of exact numbers would do, but for rounding."""

import copy

import pytest
import torch

from core.models.rounding import Rounded, Unrounded
from core.training.optimizer import large_tables, optimizer

ROWS, WIDTH = 40, 6


def model(seed=1, *, sparse=False):
    torch.manual_seed(seed)
    table = torch.nn.Embedding(ROWS, WIDTH, sparse=sparse)
    return torch.nn.Sequential(table, torch.nn.Flatten(), torch.nn.Linear(2 * WIDTH, 3))


def groups(of, decay=0.1):
    return [{"params": list(of.parameters()), "weight_decay": decay}]


def learn(given, stepper, seed, *, length=None):
    torch.manual_seed(seed)
    ids = torch.randint(0, ROWS, (5, 2))
    given(ids).float().pow(2).sum().backward()
    if length is not None:
        stepper.clip(length)
    stepper.step()
    given.zero_grad()


def numbers(of):
    return [weight.detach().clone() for weight in of.parameters()]


def test_unrounded_steps_are_those_of_torch():
    ours, theirs = model(), model()
    own = optimizer(groups(ours), Unrounded(), lr=0.01)
    other = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    for seed in range(5):
        learn(ours, own, seed)
        learn(theirs, other, seed)
    for a, b in zip(numbers(ours), numbers(theirs), strict=True):
        torch.testing.assert_close(a, b)


def test_steps_too_small_for_rounded_weights_are_not_lost():
    ours = model()
    before = numbers(ours)
    rounded = Rounded(ours)
    stepper = optimizer(groups(ours, decay=0.0), rounded, lr=1e-5)
    for _ in range(50):
        learn(ours, stepper, 3)
    assert all(torch.equal(weight.data, rounded.exact(weight).to(torch.bfloat16)) for weight in ours.parameters())
    with rounded.made_exact():
        after = numbers(ours)
    moved = (after[1] - before[1]).abs()
    assert after[1].dtype == torch.float32
    # Each step is about 1e-5, and bfloat16 tells numbers of this size apart from 5e-4 on.
    assert 3e-4 < float(moved.median()) < 6e-4
    assert torch.equal(ours[2].weight.data, after[1].to(torch.bfloat16))


def test_exact_weights_that_are_changed_are_what_is_computed_with_afterwards():
    ours = model()
    rounded = Rounded(ours)
    with rounded.made_exact(), torch.no_grad():
        ours[2].weight.fill_(0.3)
    assert torch.equal(ours[2].weight.data, torch.full_like(ours[2].weight.data, 0.3))
    assert float(rounded.exact(ours[2].weight)[0, 0]) == pytest.approx(0.3, abs=1e-7)
    rounded.end()
    assert ours[2].weight.dtype == torch.float32


@pytest.mark.parametrize("longest", [1e-3, 1e3])
def test_a_gradient_is_cut_to_a_length_as_torch_cuts_it(longest):
    ours, theirs = model(), model()
    own, other = (
        optimizer(groups(ours), Unrounded(), lr=0.1),
        torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.1, eps=1e-8),
    )
    for seed in range(3):
        learn(ours, own, seed, length=longest)
        torch.manual_seed(seed)
        theirs(torch.randint(0, ROWS, (5, 2))).pow(2).sum().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), longest)
        other.step()
        theirs.zero_grad()
    for a, b in zip(numbers(ours), numbers(theirs), strict=True):
        torch.testing.assert_close(a, b)


def test_the_length_of_a_gradient_counts_a_row_that_was_read_twice_as_its_sum():
    dense, sparse = model(), model(sparse=True)
    ids = torch.tensor([[3, 3], [3, 7]])
    lengths = []
    for given in (dense, sparse):
        given(ids).pow(2).sum().backward()
        lengths.append(float(optimizer(groups(given), Unrounded(), lr=0.1).clip(1.0)))
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-6)


@pytest.mark.parametrize("rounded", [False, True])
def test_a_row_that_was_read_goes_on_moving_as_in_torch(rounded):
    """Adam moves a weight long after its gradient: with rows that rest until they are read again, less is learned."""
    ours, theirs = model(sparse=True), model()
    exact = Rounded(ours) if rounded else Unrounded()
    own = optimizer(groups(ours, decay=0.0), exact, lr=0.01)
    other = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.0)
    for ids in ([[3, 7]], [[8, 3]], [[1, 2]], [[8, 8]]):
        for given, stepper in ((ours, own), (theirs, other)):
            before = numbers(theirs)[0]
            given(torch.tensor(ids)).float().pow(2).sum().backward()
            stepper.step()
            given.zero_grad()
    with exact.made_exact():
        found, wanted = numbers(ours)[0], numbers(theirs)[0]
    assert (wanted != before)[7].all()
    torch.testing.assert_close(found, wanted, **({"rtol": 0.05, "atol": 2e-3} if rounded else {}))


def test_of_a_table_the_rows_that_were_read_are_changed_and_no_others():
    ours = model(sparse=True)
    before = numbers(ours)[0]
    stepper = optimizer(groups(ours), Unrounded(), lr=0.01)
    for _ in range(3):
        ours(torch.tensor([[3, 7], [7, 3]])).pow(2).sum().backward()
        stepper.step()
        ours.zero_grad()
    changed = (numbers(ours)[0] != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [3, 7]


def test_a_table_whose_rows_are_all_read_is_changed_as_a_dense_one():
    ours, theirs = model(sparse=True), model()
    every = torch.arange(ROWS).view(-1, 2)
    own, other = optimizer(groups(ours), Unrounded(), lr=0.01), optimizer(groups(theirs), Unrounded(), lr=0.01)
    for _ in range(4):
        for given, stepper in ((ours, own), (theirs, other)):
            given(every).pow(2).sum().backward()
            stepper.clip(1.0)
            stepper.step()
            given.zero_grad()
    for a, b in zip(numbers(ours), numbers(theirs), strict=True):
        torch.testing.assert_close(a, b)


def test_only_rows_that_were_read_have_running_means():
    ours = model(sparse=True)
    stepper = optimizer(groups(ours), Unrounded(), lr=0.01)
    for ids in ([[3, 7]], [[7, 9], [8, 3]], [[1, 3]]):
        ours(torch.tensor(ids)).pow(2).sum().backward()
        stepper.step()
        ours.zero_grad()
    state = stepper.state[ours[0].weight]
    read = state["places"] >= 0
    assert read.nonzero().flatten().tolist() == [1, 3, 7, 8, 9]
    assert sorted(state["places"][read].tolist()) == [0, 1, 2, 3, 4]
    assert 5 <= len(state["exp_avg"]) == len(state["exp_avg_sq"]) < ROWS
    assert (state["exp_avg"][state["places"][read]] != 0).any(dim=1).all()


@pytest.mark.parametrize("by_rows_first", [False, True])
def test_a_run_goes_on_where_tables_are_changed_otherwise(by_rows_first):
    """On a card, tables are changed as a whole; and states of earlier versions have running means of all rows."""
    ours = model(sparse=by_rows_first)
    stepper = optimizer(groups(ours, decay=0.0), Unrounded(), lr=0.01)
    for ids in ([[3, 7]], [[8, 3]]):
        ours(torch.tensor(ids)).pow(2).sum().backward()
        stepper.step()
        ours.zero_grad()
    again = model(sparse=not by_rows_first)
    again.load_state_dict(ours.state_dict())
    following = optimizer(groups(again, decay=0.0), Unrounded(), lr=0.01)
    following.load_state_dict(copy.deepcopy(stepper.state_dict()))
    for given, steps in ((ours, stepper), (again, following)):
        given(torch.tensor([[8, 3], [5, 30]])).pow(2).sum().backward()
        steps.step()
    for a, b in zip(numbers(ours), numbers(again), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("sparse", [False, True])
def test_it_goes_on_from_its_state_with_the_very_same_steps(sparse):
    ours = model(sparse=sparse)
    rounded = Rounded(ours)
    stepper = optimizer(groups(ours), rounded, lr=0.01)
    for seed in range(3):
        learn(ours, stepper, seed)
    with rounded.made_exact():
        kept, state = copy.deepcopy(ours.state_dict()), copy.deepcopy(stepper.state_dict())
    again = model(seed=2, sparse=sparse)
    other = Rounded(again)
    following = optimizer(groups(again), other, lr=0.01)
    with other.made_exact():
        again.load_state_dict(kept)
        following.load_state_dict(state)
    for seed in range(3, 6):
        learn(ours, stepper, seed)
        learn(again, following, seed)
    with rounded.made_exact(), other.made_exact():
        assert all(torch.equal(a, b) for a, b in zip(numbers(ours), numbers(again), strict=True))


def test_tables_that_also_guess_words_are_not_updated_by_rows():
    torch.manual_seed(0)
    table, head = torch.nn.Embedding(2_000, 600), torch.nn.Linear(600, 2_000, bias=False)
    both = torch.nn.ModuleList([table, head])
    assert large_tables(both) == [table]
    head.weight = table.weight
    assert large_tables(both) == []
    small = torch.nn.Embedding(20, 6)
    assert large_tables(torch.nn.ModuleList([small])) == []
    frozen = torch.nn.Embedding(2_000, 600).requires_grad_(False)
    assert large_tables(torch.nn.ModuleList([frozen])) == []
