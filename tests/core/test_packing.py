"""Short examples in one row of tokens: they are learned as if each were alone."""

import random

import pytest
import torch
import transformers
from datasets import Dataset

from core.models.opening import open_model
from core.tasks._batches import training_batch
from core.tasks._packing import bins, joined, packable, packed, padded
from tests import tiny

FAMILIES = tiny.LANGUAGE_MODELS


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packing")
    return {
        family: open_model(tiny.language_model(folder / family, family), "AutoModelForCausalLM") for family in FAMILIES
    }


def rows(lengths):
    """Encoded examples whose first third is a prompt."""
    draw = random.Random(3)
    found = []
    for length in lengths:
        ids = [draw.randrange(5, 250) for _ in range(length)]
        found.append({"input_ids": ids, "labels": [-100] * (length // 3) + ids[length // 3 :]})
    return found


def loss_of(model, batch):
    labels = batch.pop("labels")
    logits = model(**batch).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


def gradients(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_and_unpacked_losses_and_gradients_agree(models, family):
    model, tokenizer = models[family]
    model.eval()
    examples = rows([9, 4, 17, 2, 12, 5, 30, 1])

    model.zero_grad()
    alone = loss_of(model, training_batch(model, tokenizer, examples))
    alone.backward()
    wanted = gradients(model)

    model.zero_grad()
    known = Dataset.from_list([row | {"length": len(row["input_ids"])} for row in examples])
    together = list(packed(known, 32))
    assert len(together) == 3
    batch = padded(together, tokenizer.pad_token_id)
    assert "attention_mask" not in batch
    shared = loss_of(model, batch)
    shared.backward()

    assert shared.item() == pytest.approx(alone.item(), rel=1e-5)
    assert torch.allclose(gradients(model), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_leak_would_show(models, family):
    # The same rows with positions that run on: the second example sees the first.
    model, tokenizer = models[family]
    model.eval()
    examples = rows([12, 9])
    row = joined(examples)
    row["position_ids"] = list(range(21))
    with torch.no_grad():
        leaking = loss_of(model, padded([row], tokenizer.pad_token_id))
        alone = loss_of(model, training_batch(model, tokenizer, examples))
    assert abs(float(leaking) - float(alone)) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_usual_families_can_be_packed(models, family):
    model, _ = models[family]
    model.train()
    assert packable(model)
    assert model.training


def test_a_model_that_counts_positions_by_the_mask_cannot():
    shape = transformers.OPTConfig(
        vocab_size=100,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    transformers.set_seed(1)
    assert not packable(transformers.AutoModelForCausalLM.from_config(shape))


def test_rows_are_joined_whole_and_nothing_is_guessed_across_a_border():
    first = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}
    second = {"input_ids": [8, 9], "labels": [8, 9]}
    assert joined([first, second]) == {
        "input_ids": [5, 6, 7, 8, 9],
        "labels": [-100, 6, 7, -100, 9],
        "position_ids": [0, 1, 2, 0, 1],
    }
    batch = padded([joined([first, second]), joined([second])], pad=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [8, 9, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
    # A label stands where the model says it: one place before its token.
    assert batch["labels"].tolist() == [[6, 7, -100, 9, -100], [9, -100, -100, -100, -100]]
    assert batch["use_cache"] is False


def test_bins_are_full_and_hold_every_row_once():
    draw = random.Random(7)
    lengths = [draw.randrange(1, 120) for _ in range(2_000)]
    found = bins(lengths, 128)
    assert sorted(place for places in found for place in places) == list(range(2_000))
    assert max(sum(lengths[place] for place in places) for places in found) <= 128
    assert len(found) <= 1.03 * sum(lengths) / 128
    assert bins([200, 3], 128) == [[0], [1]]
