"""Compiling where it pays, and layers that are computed once more where memory ran out."""

import math

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from core import files
from core.device import Device
from core.spec import DataChoice, build
from core.training import checkpoints, compiling, ways
from core.training.compiling import compiled, pays
from core.training.precision import Way, prepared
from core.training.ways import chosen_way, way_of
from tests import tiny

CPU, CARD = Device("cpu", "float32", 1, "test"), Device("cuda", "bfloat16", 1, "test")
FAMILIES = {"bert": AutoModelForSequenceClassification, "llama": AutoModelForCausalLM, "t5": AutoModelForSeq2SeqLM}


def opened(tmp_path, family="bert"):
    make = {"bert": tiny.encoder, "llama": tiny.language_model, "t5": tiny.encoder_decoder}[family]
    return FAMILIES[family].from_pretrained(make(tmp_path, family))


def batch(rows=4, tokens=9, family="bert"):
    ids = torch.arange(rows * tokens).reshape(rows, tokens) % 30 + 5
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(rows, dtype=torch.long)}
    return given | ({"decoder_input_ids": ids[:, :4]} if family == "t5" else {})


def loss(outputs, labels):
    return outputs["logits"].float().pow(2).mean()


def step(model, given):
    loss(model(**{name: value for name, value in given.items() if name != "labels"}), given["labels"]).backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_that_are_computed_once_more_learn_the_same_and_remember_less(family, tmp_path):
    model, given = opened(tmp_path, family).train(), batch(16, 24, family)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    wanted, remembered = step(model, given), kept_bytes(model, given)
    with prepared(model, Way(recomputed=True), CPU):
        found, fewer = step(model, given), kept_bytes(model, given)
        assert model.is_activation_checkpointing
    assert not model.is_activation_checkpointing
    assert found.keys() == wanted.keys()
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)
    assert fewer < 0.7 * remembered


def kept_bytes(model, given):
    """What is remembered from the way forward for the way back."""
    seen = {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(**{name: value for name, value in given.items() if name != "labels"})
    del outputs
    return sum(size for place, size in seen.items() if place not in weights)


def test_a_family_that_cant_compute_layers_once_more_stays_as_it_is(tmp_path):
    model = opened(tmp_path)
    model.supports_gradient_checkpointing = False
    with prepared(model, Way(recomputed=True), CPU):
        assert not model.is_activation_checkpointing


def test_a_compiled_model_learns_the_same_and_is_itself_afterwards(tmp_path):
    model = opened(tmp_path).eval()
    names, wanted = list(model.state_dict()), step(model, batch())
    with compiled(model, "aot_eager"):
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        for rows, tokens in ((4, 9), (3, 7)):
            found = step(model, batch(rows, tokens))
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > graphs
        assert list(model.state_dict()) == names
        found = step(model, batch())
    assert model._compiled_call_impl is None
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted)


def of_seconds(monkeypatch, usual, faster):
    """The steps of a model take so long as they are, and so long compiled."""
    monkeypatch.setattr(
        compiling, "step_seconds", lambda model, *given: usual if model._compiled_call_impl is None else faster
    )


@pytest.mark.parametrize(
    ("usual", "faster", "steps", "wanted"),
    [(1.0, 0.5, 1000, True), (1.0, 0.5, 200, False), (1.0, 0.9999, 301, False), (1.0, 1.2, 1000, False)],
)
def test_compiling_has_to_save_more_than_it_takes(usual, faster, steps, wanted, tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 60))
    monkeypatch.setattr(compiling, "perf_counter", lambda: next(clock))  # compiling takes a minute
    of_seconds(monkeypatch, usual, faster)
    assert pays(opened(tmp_path), batch(), loss, Way(), CPU, steps, "eager") is wanted


def test_what_cant_be_compiled_is_computed_as_it_is(tmp_path):
    def broken(graph, given):
        raise NotImplementedError("no such instruction")

    model = opened(tmp_path)
    assert pays(model, batch(), loss, Way(), CPU, 10**9, broken, worth=0.0) is False
    assert model._compiled_call_impl is None
    assert step(model, batch())


def test_the_trial_leaves_model_and_chance_as_they_were(tmp_path):
    model = opened(tmp_path)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    drawn = torch.get_rng_state()
    pays(model, batch(), loss, Way(), CPU, 10**9, "eager", worth=0.0)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(weight, before[name]) and weight.grad is None for name, weight in model.named_parameters())


def collate(rows):
    return {"rows": len(rows)}


def asked(monkeypatch, device, parts=1, epochs=3):
    """What is chosen for 100 rows, 16 a batch, and what was asked of the trial of compiling."""
    told = []
    monkeypatch.setattr(ways, "choose", lambda *given: Way("autocast"))
    monkeypatch.setattr(
        ways, "pays", lambda model, batch, loss, way, device, steps: told.append((batch, steps)) or True
    )
    monkeypatch.setattr(ways, "beside_tokens", lambda *given: 700)
    train = Dataset.from_dict({"input_ids": [[5, 6]] * 100, "labels": [0] * 100, "length": [2] * 100})
    spec = build(data=DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}), batch_size=16, epochs=epochs)
    return chosen_way(None, collate, train, loss, device, spec, parts), told


def test_only_a_card_tries_to_compile_and_tells_of_all_steps(monkeypatch):
    way = Way("autocast", compiled=True, beside=700)
    assert asked(monkeypatch, CARD) == (way, [({"rows": 16}, 3 * math.ceil(100 / 16))])
    assert asked(monkeypatch, CPU) == (Way("autocast"), [])


def test_a_card_whose_memory_ran_out_computes_layers_once_more(monkeypatch):
    assert asked(monkeypatch, CARD, parts=2) == (Way("autocast", recomputed=True), [])
    assert asked(monkeypatch, CPU, parts=2) == (Way("autocast"), [])


def test_a_run_that_goes_on_computes_as_it_began_unless_memory_ran_out(tmp_path):
    files.write_json(tmp_path / checkpoints.FACTS, {"way": Way("autocast", compiled=True, beside=700).as_dict()})
    assert way_of(tmp_path, CARD) == Way("autocast", compiled=True, beside=700)
    assert way_of(tmp_path, CARD, 2) == Way("autocast", recomputed=True, beside=700)
    assert way_of(tmp_path, CPU) == Way("autocast")
