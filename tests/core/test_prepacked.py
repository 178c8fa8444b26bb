"""Weights that are laid out before they are multiplied with."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.models.prepacked import prepacked
from tests import tiny
from tests.processor import WEIGHTS_ARE_LAID_OUT


def opened(tmp_path, family="llama"):
    return AutoModelForCausalLM.from_pretrained(tiny.language_model(tmp_path, family), dtype=torch.float32).eval()


def logits(model, ids):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return model(input_ids=ids).logits.float()


@pytest.mark.skipif(not WEIGHTS_ARE_LAID_OUT, reason="for this processor PyTorch lays out no weights in bfloat16")
@pytest.mark.parametrize("family", ["llama", "qwen2"])  # the second one has biases
@pytest.mark.parametrize("rows", [1, 3, 16, 40])
def test_products_are_those_of_autocast(family, rows, tmp_path):
    model, ids = opened(tmp_path, family), torch.arange(rows * 7).reshape(rows, 7) % 30 + 5
    wanted = logits(model, ids)
    with prepacked(model) as stood_in:
        assert len(stood_in) > 4
        assert all(weight.dtype == torch.float32 for weight in stood_in)
        for weight in stood_in - {model.get_input_embeddings().weight}:
            kept, weight.data = weight.data, torch.full_like(weight.data, float("nan"))  # nobody reads it now
            found = logits(model, ids)
            weight.data = kept
            assert torch.isfinite(found).all()
    torch.testing.assert_close(found, wanted, atol=0.02 * float(wanted.abs().max()), rtol=0.05)
    assert torch.equal(logits(model, ids), wanted)
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("name", ["_reorder_linear_weight", "_linear_pointwise"])
def test_where_there_is_no_such_product_the_model_stays_as_it_is(name, tmp_path, monkeypatch):
    def missing(*given):
        raise NotImplementedError("could not run on this backend")

    model, ids = opened(tmp_path), torch.arange(12).reshape(2, 6)
    wanted = logits(model, ids)
    monkeypatch.setattr(torch.ops.mkldnn, name, missing)
    with prepacked(model) as stood_in:
        assert not stood_in
        assert torch.equal(logits(model, ids), wanted)


def test_an_error_while_it_lasts_leaves_the_model_as_it_was(tmp_path):
    model = opened(tmp_path)
    with pytest.raises(ZeroDivisionError), prepacked(model):
        raise ZeroDivisionError
    assert not any("forward" in vars(module) for module in model.modules())
