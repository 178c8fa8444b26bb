"""Adapters with fewer passes: what they give and learn is what peft computes."""

import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from core.device import Device
from core.training.lean_adapters import lean_adapters
from core.training.precision import Way, prepared
from tests.ways import MODELS


def adapted(tmp_path, family, **choices):
    torch.manual_seed(3)
    kind = AutoModelForSequenceClassification if family == "bert" else AutoModelForCausalLM
    usual = {"r": 3, "lora_alpha": 5, "target_modules": "all-linear", "lora_dropout": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks in a way that transformers calls outdated
        model = get_peft_model(kind.from_pretrained(MODELS[family](tmp_path, family)), LoraConfig(**usual | choices))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model.eval()


def learned(model):
    ids = torch.randint(5, 30, (3, 9), generator=torch.Generator().manual_seed(1))
    logits = model(input_ids=ids).logits
    logits.float().pow(2).mean().backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return logits.detach(), gradients


def lean_layers(model):
    return [module for module in model.modules() if type(module).__name__ == "Lean"]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "bert"])
def test_they_give_and_learn_the_same(family, tmp_path):
    model = adapted(tmp_path, family)
    usual, wanted = learned(model)
    with lean_adapters(model):
        assert lean_layers(model)
        found, gradients = learned(model)
    assert not lean_layers(model)
    torch.testing.assert_close(found, usual)
    assert gradients.keys() == wanted.keys()
    assert all("lora" in name or "classifier" in name for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("choices", [{"use_dora": True}, {"lora_bias": True}])
def test_layers_that_compute_more_stay_as_they_are(choices, tmp_path):
    model = adapted(tmp_path, "llama", **choices)
    with lean_adapters(model):
        assert not lean_layers(model)


@torch.no_grad()
def test_an_adapter_that_is_put_aside_or_merged_meanwhile_counts_no_more(tmp_path):
    model, ids = adapted(tmp_path, "llama"), torch.arange(5, 25).view(2, 10)
    with_it = model(input_ids=ids).logits
    with model.disable_adapter():
        without = model(input_ids=ids).logits
        with lean_adapters(model):
            assert not lean_layers(model)
    assert not torch.allclose(with_it, without, atol=1e-3)
    with lean_adapters(model):
        with model.disable_adapter():
            torch.testing.assert_close(model(input_ids=ids).logits, without)
        model.merge_adapter()
        torch.testing.assert_close(model(input_ids=ids).logits, with_it, rtol=1e-4, atol=1e-5)
        model.unmerge_adapter()


def test_layers_that_read_the_same_drop_the_same_and_others_their_own(tmp_path):
    model = adapted(tmp_path, "llama", lora_dropout=0.5).train()
    seen = {}

    def look(module, given, output):
        seen[module] = given[0] == 0

    names = {module: name for name, module in model.named_modules() if name.endswith("lora_A.default")}
    for module in names:
        module.register_forward_hook(look)
    with lean_adapters(model):
        model(input_ids=torch.full((2, 9), 7))
    assert all(0.3 < float(zeros.float().mean()) < 0.7 for zeros in seen.values())
    lowest = {names[module]: zeros for module, zeros in seen.items() if "layers.0.self_attn" in names[module]}
    first = [zeros for name, zeros in lowest.items() if "o_proj" not in name]
    assert len(first) == 3
    assert all(torch.equal(zeros, first[0]) for zeros in first)
    (other,) = (zeros for name, zeros in lowest.items() if "o_proj" in name)
    assert not torch.equal(other.view(-1)[:100], first[0].view(-1)[:100])
    again = dict(seen)
    seen.clear()
    with lean_adapters(model):
        model(input_ids=torch.full((2, 9), 7))
    assert not torch.equal(*(next(iter(each.values())) for each in (seen, again)))


def test_a_processor_trains_with_them(tmp_path):
    model = adapted(tmp_path, "llama")
    with prepared(model, Way("float32", "plain"), Device("cpu", "float32", 1, "test")):
        assert len(lean_layers(model)) == 7 * model.config.num_hidden_layers
    assert any(type(module) is Linear for module in model.modules())
