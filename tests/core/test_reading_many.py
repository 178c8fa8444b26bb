"""Many texts are read with rounded weights: about the same outputs, and the model is afterwards as it was."""

import os

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from core.device import Device
from core.models import kernel_building, rounding
from core.models.kernels import Kernels
from core.tasks import _labelling
from core.tasks._labelling import logits_of
from tests import tiny

TEXTS = [" ".join([tiny.WORDS[n % 30], tiny.WORDS[(3 * n) % 30]] * (1 + n % 20)) for n in range(80)]
EXACT, ROUNDED = Device("cpu", "float32", 1, "test"), Device("cpu", "bfloat16", 1, "test")


@pytest.fixture
def model(tmp_path):
    return AutoModelForSequenceClassification.from_pretrained(tiny.encoder(tmp_path), num_labels=3)


def dtypes_read(model):
    """The formats of the weights whenever the model reads a batch."""
    seen = []
    model.register_forward_pre_hook(lambda module, given: seen.append(next(module.parameters()).dtype))
    return seen


def test_outputs_are_those_of_exact_weights_but_for_rounding(model):
    exact, before = logits_of(model, tiny.tokenizer(), TEXTS, EXACT), [w.clone() for w in model.parameters()]
    seen = dtypes_read(model)
    rounded = logits_of(model, tiny.tokenizer(), TEXTS, ROUNDED)
    assert set(seen) == {torch.bfloat16}
    assert 0 < abs(rounded - exact).max() < 0.02
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert model.config._attn_implementation == "sdpa"


def test_of_few_texts_no_weights_are_rounded_at_once(model):
    seen = dtypes_read(model)
    logits_of(model, tiny.tokenizer(), TEXTS[:2], ROUNDED)
    assert set(seen) == {torch.float32}


def test_a_model_that_refuses_rounded_weights_is_read_as_few_texts_are(model, monkeypatch):
    wanted = logits_of(model, tiny.tokenizer(), TEXTS, Device("cpu", "float32", 1, "test"))

    def refuses(module, given):
        if next(module.parameters()).dtype == torch.bfloat16:
            raise RuntimeError("expected m1 and m2 to have the same dtype")

    model.register_forward_pre_hook(refuses)
    found = logits_of(model, tiny.tokenizer(), TEXTS, ROUNDED)
    assert abs(found - wanted).max() < 0.02
    assert next(model.parameters()).dtype == torch.float32


def test_what_is_wrong_in_every_format_is_said(model, monkeypatch):
    monkeypatch.setattr(_labelling, "_read", lambda *given: (_ for _ in ()).throw(RuntimeError("not enough memory")))
    with pytest.raises(RuntimeError, match="memory"):
        logits_of(model, tiny.tokenizer(), TEXTS, ROUNDED)


@pytest.mark.parametrize("compiled", [True, False])
def test_compiled_steps_attend_and_in_the_last_layer_for_one_token_of_a_text(compiled, model, monkeypatch):
    found = kernel_building.compiled() if compiled else None
    if compiled and found is None and not os.environ.get("CI"):
        pytest.skip("no C compiler")
    assert (found is not None) == compiled
    wanted, asked = logits_of(model, tiny.tokenizer(), TEXTS, EXACT), []
    real = Kernels.attention
    monkeypatch.setattr(Kernels, "attention", lambda *given: asked.append(given[-1]) or real(*given))
    monkeypatch.setattr(rounding, "ready", lambda: found)
    monkeypatch.setattr(rounding, "WORTH_A_TRIAL", 100)
    assert abs(logits_of(model, tiny.tokenizer(), TEXTS, ROUNDED) - wanted).max() < 0.02
    assert asked[:2] == ([0, 1] if compiled else [])
    assert asked.count(0) == asked.count(1)
