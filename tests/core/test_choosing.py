"""Which state of a model is kept: scores go in, what is kept comes out."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import pytest
from transformers import set_seed

from core.training import checkpoints, loop
from core.training.choosing import Choice
from core.training.loop import InterruptedRunError, Signals, fit
from tests import tiny
from tests.core.test_classification import CPU, SPEC, TASK, split


def kept(choice: Choice, scores: list[float]) -> list[bool]:
    return [choice.keeps(score, 1.0) for score in scores]


def test_a_score_that_is_lower_by_chance_alone_does_not_hold_the_run_back():
    # Of 100 rows, a share of .8 has a standard error of .04.
    assert kept(Choice("metric", 100), [0.6, 0.8, 0.77, 0.75]) == [True, True, True, False]


def test_many_rows_tell_small_differences_apart():
    assert kept(Choice("metric", 10_000), [0.8, 0.797, 0.79]) == [True, True, False]


def test_small_steps_down_do_not_add_up():
    assert kept(Choice("metric", 100), [0.9, 0.88, 0.86, 0.9]) == [True, True, False, True]


def test_all_rows_right_may_be_chance_as_well():
    assert kept(Choice("metric", 100), [1.0, 1.0, 0.99, 0.9]) == [True, True, True, False]


def test_a_loss_has_to_become_lower():
    choice = Choice("loss", 100)
    assert [choice.keeps(0.5, loss) for loss in (2.0, 1.0, 1.001, 1.0, 0.9)] == [True, True, False, False, True]


@pytest.mark.parametrize("by", ["metric", "loss"])
def test_what_is_no_number_is_not_kept_and_does_not_count(by):
    choice = Choice(by, 100)
    assert not choice.keeps(math.nan, math.nan)
    assert choice.keeps(0.5, 2.0)
    assert not choice.keeps(math.nan, math.nan)
    assert choice.keeps(0.6, 1.0)


def test_what_is_taught_further_does_not_become_worse_also_where_the_run_goes_on_later():
    choice = Choice("metric", 100)
    assert choice.keeps(0.8, 1.0, untrained=True)
    assert kept(choice, [0.79, 0.82, 0.8]) == [False, True, True]
    later = Choice("metric", 100)
    later.go_on(choice.facts())
    assert kept(later, [0.79, 0.81, 0.77]) == [False, True, False]


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, scores: Iterable[float], interrupted_after: int = 99):
    """A run of 6 steps that is judged after each second one and has these scores, on 10 rows."""
    told = iter(scores)
    monkeypatch.setattr(
        loop,
        "judge_of",
        lambda *given: lambda trainer: {"eval_macro_f1": next(told), "eval_loss": 1.0, "eval_runtime": 0.01},
    )
    steps = itertools.count(1)
    spec = SPEC.model_copy(update={"epochs": 3, "batch_size": 20})
    set_seed(1)
    model, tokenizer = TASK.load(tiny.classifier(folder / "base"), split(), spec)
    signals = Signals(stop=lambda: False, interrupted=lambda: next(steps) > interrupted_after)
    return fit(TASK, model, tokenizer, split(), spec, CPU, folder, lambda event: None, signals)


# At .9, ten rows have a standard error of .13.
@pytest.mark.parametrize(("scores", "step"), [((0.5, 0.9, 0.7), 4), ((0.5, 0.9, 0.8), 6)])
def test_a_run_keeps_the_latest_that_is_as_good_as_the_best(scores, step, tmp_path, monkeypatch):
    fitted = trained(tmp_path, monkeypatch, scores)
    best = checkpoints.best(tmp_path)
    assert checkpoints.step_of(best) == step
    assert (fitted.best_epoch, fitted.best_value) == (step / 2, scores[step // 2 - 1])
    assert checkpoints.facts_of(best)["order"] == 0.9


@pytest.mark.parametrize(("later", "step"), [((0.7, 0.7), 2), ((0.7, 0.85), 6)])
def test_a_run_that_goes_on_knows_what_was_best(later, step, tmp_path, monkeypatch):
    with pytest.raises(InterruptedRunError):
        trained(tmp_path, monkeypatch, (0.9, 0.9, 0.9), interrupted_after=2)
    assert checkpoints.step_of(checkpoints.best(tmp_path)) == 2
    trained(tmp_path, monkeypatch, later)
    assert checkpoints.step_of(checkpoints.best(tmp_path)) == step
