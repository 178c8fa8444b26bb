"""Larger batches: only where they are faster, and where enough steps are left."""

import pytest
import torch
from datasets import Dataset

from core.device import Device
from core.spec import DataChoice, build
from core.training import batch_size, checkpoints
from core.training.batch_size import Asked, beside_tokens, rate_factor, rows_together
from core.training.loop import arguments
from core.training.precision import Way
from core.training.ways import way_of
from tests import tiny

CPU = Device("cpu", "float32", 1, "test")
FAST = {8: 0.8, 16: 1.2, 32: 2.0, 64: 3.9, 128: 7.9}  # .1, .075, .0625, .061 and .0617 for a row


@pytest.fixture
def model(tmp_path):
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(tiny.encoder(tmp_path, "bert"), num_labels=3)


def rows(count, tokens=4):
    ids = [[5] * (tokens + place % 3) for place in range(count)]
    return Dataset.from_dict({"input_ids": ids, "labels": [0] * count, "length": list(map(len, ids))})


def collate(some):
    assert "length" not in some[0]
    width = max(len(row["input_ids"]) for row in some)
    return {
        "input_ids": torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in some]),
        "labels": torch.tensor([row["labels"] for row in some]),
    }


def loss(outputs, labels):
    return torch.nn.functional.cross_entropy(outputs["logits"], labels)


def chosen(model, train, asked, device=CPU):
    return rows_together(model, collate, train, loss, Way(), device, asked)


def test_the_smallest_batch_is_taken_that_is_about_as_fast_as_any(model, monkeypatch):
    tried = []
    monkeypatch.setattr(
        batch_size, "step_seconds", lambda m, b, *given, timed: tried.append(len(b["labels"])) or FAST[tried[-1]]
    )
    assert chosen(model, rows(4000), Asked(8, 10)) == 32
    assert tried == [8, 16, 32, 64, 128] * 3


def test_a_moment_in_which_the_machine_is_slow_decides_nothing(model, monkeypatch):
    slow = iter([1.0, 9.0, 1.0, 1.0, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(batch_size, "step_seconds", lambda m, b, *given, timed: FAST[len(b["labels"])] * next(slow))
    monkeypatch.setitem(FAST, 128, 15.0)
    monkeypatch.setitem(FAST, 64, 7.0)
    monkeypatch.setitem(FAST, 32, 3.5)
    assert chosen(model, rows(4000), Asked(8, 10)) == 16


def test_the_optimizer_counts_as_it_takes_the_same_for_any_batch(model, monkeypatch):
    monkeypatch.setattr(batch_size, "step_seconds", lambda m, b, *given, timed: 0.1 * len(b["labels"]))
    assert chosen(model, rows(4000), Asked(8, 10)) == 8
    monkeypatch.setattr(batch_size, "_updating_seconds", lambda m, device: 0.4)
    assert chosen(model, rows(4000), Asked(8, 10)) == 32


def test_what_the_optimizer_takes_grows_with_what_is_changed(model, monkeypatch):
    monkeypatch.setattr(batch_size, "_UPDATED", 1_000)
    whole = batch_size._updating_seconds(model, CPU)
    for name, weight in model.named_parameters():
        weight.requires_grad = name == "classifier.bias"
    assert 0 < batch_size._updating_seconds(model, CPU) < whole
    model.requires_grad_(False)
    assert batch_size._updating_seconds(model, CPU) == 0
    assert batch_size._updating_seconds(model, Device("cuda", "bfloat16", 1, "test")) == 0


def test_enough_steps_are_left(model, monkeypatch):
    monkeypatch.setattr(batch_size, "step_seconds", lambda m, b, *given, timed: 1.0)
    assert chosen(model, rows(1000), Asked(16, 10)) == 32  # 1000 * 10 / 64 is below 200
    monkeypatch.setattr(batch_size, "step_seconds", lambda *given, **more: pytest.fail("nothing to try"))
    assert chosen(model, rows(300), Asked(16, 10)) == 16


def test_long_texts_are_not_read_by_the_hundred(model, monkeypatch):
    monkeypatch.setattr(batch_size, "step_seconds", lambda m, b, *given, timed: 0.0)
    monkeypatch.setattr(batch_size, "_updating_seconds", lambda m, device: 1.0)
    assert chosen(model, rows(1200, tokens=39), Asked(8, 30)) == 32  # 64 x 40 tokens are more than 1,536


def test_the_trial_is_of_rows_of_all_lengths(model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        batch_size, "step_seconds", lambda m, b, *given, timed: seen.append(b["input_ids"].shape) or 1.0
    )
    ids = [[5] * (1 if place % 2 else 40) for place in range(900)]
    train = Dataset.from_dict({"input_ids": ids, "labels": [0] * 900, "length": list(map(len, ids))})
    assert chosen(model, train, Asked(16, 8)) == 32
    assert seen == [(8, 40), (8, 1), (16, 40), (16, 1)] * 3
    seen.clear()
    card = Device("cuda", "bfloat16", 1, "test")
    monkeypatch.setattr(model, "to", lambda kind: model)
    monkeypatch.setattr(batch_size, "cards", lambda device: [])
    assert chosen(model, train, Asked(16, 8), card) == 32
    assert seen == [(16, 40), (32, 40)] * 3


@pytest.mark.parametrize(
    ("one", "many", "wanted"),
    [(25e-6, 100e-6, 20), (0.002 + 5e-6, 0.002 + 80e-6, 80), (0.004, 0.004, 80), (1e-9, 1.0, 1)],
)
def test_what_a_piece_takes_beside_its_tokens_is_measured(one, many, wanted, model, monkeypatch):
    monkeypatch.setattr(batch_size, "step_seconds", lambda m, b, *given: {1: one, 16: many}[len(b["labels"])])
    train = rows(400, tokens=5).map(lambda row: {"input_ids": [5] * 5, "length": 5})
    assert beside_tokens(model, collate, train, loss, Way(), CPU, 16) == wanted


def test_of_a_batch_that_is_cut_the_piece_alone_counts(model, monkeypatch):
    monkeypatch.setattr(batch_size, "step_seconds", lambda m, b, *given: {1: 300e-6, 5: 1100e-6}[len(b["labels"])])
    ids = [[5] * (5 if place % 2 else 200) for place in range(400)]
    train = Dataset.from_dict({"input_ids": ids, "labels": [0] * 400, "length": list(map(len, ids))})
    assert beside_tokens(model, collate, train, loss, Way(), CPU, 16) == 100


def test_measuring_a_piece_leaves_model_and_chance_as_they_were(model):
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    drawn = torch.get_rng_state()
    assert 1 <= beside_tokens(model, collate, rows(100), loss, Way(), CPU, 16) <= 16 * 6
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(weight, before[name]) and weight.grad is None for name, weight in model.named_parameters())


def test_the_trial_leaves_model_and_chance_as_they_were(model):
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    torch.manual_seed(5)
    drawn = torch.get_rng_state()
    assert chosen(model, rows(800), Asked(4, 2)) in (4, 8)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(weight, before[name]) and weight.grad is None for name, weight in model.named_parameters())


def test_steps_grow_with_the_root_of_the_batch(tmp_path):
    assert rate_factor(64, 16) == 2
    assert rate_factor(16, 16) == 1
    spec = build(data=DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}), learning_rate=1e-4)
    told = arguments(spec, CPU, Way(rows=64), tmp_path, 5, begin_judged=False)
    assert told.learning_rate == pytest.approx(2e-4)
    assert told.per_device_train_batch_size == 64
    told = arguments(spec, CPU, Way(), tmp_path, 5, begin_judged=False)
    assert (told.learning_rate, told.per_device_train_batch_size) == (1e-4, 16)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_run_that_goes_on_has_the_batches_that_it_had(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "facts_of", lambda state: {"way": Way(rows=64, weights="bfloat16").as_dict()})
    assert way_of(tmp_path, Device(kind, "bfloat16", 1, "test")).rows == 64


def test_a_state_that_does_not_tell_goes_on_in_the_way_for_all(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "facts_of", lambda state: {})
    assert way_of(tmp_path, Device("cpu", "bfloat16", 1, "test")) == Way("autocast")
    assert way_of(tmp_path, Device("cpu", "float32", 1, "test")) == Way()
