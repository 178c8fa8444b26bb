"""What only a CUDA card can show; elsewhere this is skipped. With TESTS_DEVICE=cuda, whole runs go there, too."""

import importlib.util
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from core.device import detect
from core.errors import UserError
from core.models.rounding import Rounded
from core.runs.progress import fold
from core.training import checkpoints
from core.training.compiling import compiled
from core.training.loop import InterruptedRunError
from core.training.optimizer import optimizer
from core.training.precision import Way as Computing
from core.training.precision import choose, prepared, step_seconds
from tests import tiny
from tests.ways import House, Models, Way

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card here"),
]
FULL, LORA = Way("classification", "bert", "full"), Way("chat", "llama", "lora")


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "home")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Models(tmp_path_factory.mktemp)


def classifier(tmp_path):
    return AutoModelForSequenceClassification.from_pretrained(tiny.encoder(tmp_path, "bert"))


def batch():
    ids = torch.arange(64).reshape(4, 16) % 30 + 5
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(4, dtype=torch.long)}


def loss(outputs, labels):
    return torch.nn.functional.cross_entropy(outputs["logits"].float(), labels)


def test_attention_is_not_built_anew_for_each_shape():
    assert detect().kind == "cuda"
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@pytest.mark.parametrize("way", [FULL, LORA], ids=lambda way: way.name)
def test_a_run_computes_with_rounded_weights_and_keeps_exact_ones(way, house, model):
    report, folder = house.train(house.spec(way, model(way.family)))
    assert report["device"]["kind"] == "cuda"
    assert report["training_way"]["weights"] == "bfloat16"
    kept = load_file(folder / "model" / "model.safetensors")
    assert {weight.dtype for weight in kept.values()} == {torch.float32}
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in kept.values())


def test_the_trial_leaves_the_model_on_the_processor_with_the_weights_that_it_had(tmp_path):
    known, card = classifier(tmp_path), detect()
    before = {name: weight.clone() for name, weight in known.state_dict().items()}
    state = torch.cuda.get_rng_state()
    rows = [{"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1]}]
    assert choose(known, lambda rows: batch(), rows, loss, card) == Computing("bfloat16", tried=1)
    assert all(torch.equal(weight, before[name]) for name, weight in known.state_dict().items())
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_a_step_never_waits_for_the_card(tmp_path):
    known, card = classifier(tmp_path), detect()
    with prepared(known, Computing("bfloat16"), card, forget=True) as rounded:
        step_seconds(known, batch(), loss, Computing("bfloat16"), card, 1)
        own = optimizer([{"params": list(known.parameters()), "weight_decay": 0.1}], rounded, lr=0.1)
        for weight in known.parameters():
            weight.grad = torch.ones_like(weight)
        own.clip(1.0)
        own.step()
        with warnings.catch_warnings(action="ignore"):  # torch says that it does not see everything
            torch.cuda.set_sync_debug_mode("error")
        try:
            own.clip(1.0)
            own.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_steps_on_the_card_are_those_of_torch():
    torch.manual_seed(1)
    ours = torch.nn.Linear(8, 8).cuda()
    theirs = torch.nn.Linear(8, 8).cuda()
    theirs.load_state_dict(ours.state_dict())
    rounded = Rounded(ours)
    own = optimizer([{"params": list(ours.parameters()), "weight_decay": 0.1}], rounded, lr=0.01)
    other = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(4):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = torch.randn_like(b).bfloat16()
            b.grad = a.grad.float()
        own.clip(1.0)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        own.step()
        other.step()
    with rounded.made_exact():
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_a_run_that_was_interrupted_goes_on_and_ends(house, model):
    spec = house.spec(FULL, model("bert"), epochs=3)
    folder = house.folder(spec)
    house.interrupted = lambda: fold(house.events).step >= 5
    with pytest.raises(InterruptedRunError):
        house.go_on(spec, folder)
    state, _ = checkpoints.state(folder)
    began = checkpoints.facts_of(state)["way"]
    house.interrupted = lambda: False
    house.events.clear()
    report = house.go_on(spec, folder)
    assert began["weights"] == report["training_way"]["weights"] == "bfloat16"
    assert report["epochs_done"] == 3


def test_where_the_card_has_no_room_it_is_said_and_smaller_parts_go_through(house, model):
    spec = house.spec(FULL, model("bert"))
    folder = house.folder(spec)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.0)
    try:
        with pytest.raises(UserError, match="out_of_memory"):
            house.go_on(spec, folder)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    report = house.go_on(spec, folder, parts=2)
    assert report["training_way"]["recomputed"]


@pytest.mark.parametrize("weights", ["autocast", "bfloat16"])
def test_compiled_steps_learn_the_same(weights, tmp_path):
    known, card, found = classifier(tmp_path).eval(), detect(), []
    way = Computing(weights)
    with prepared(known, way, card), warnings.catch_warnings(action="ignore"):  # of torch's own parts
        for compiling in (False, True):
            given = {name: value.to("cuda") for name, value in batch().items()}
            labels = given.pop("labels")
            with torch.autocast("cuda", torch.bfloat16, enabled=weights == "autocast"):
                if compiling:
                    with compiled(known):
                        loss(known(**given), labels).backward()
                else:
                    loss(known(**given), labels).backward()
            found.append(torch.cat([weight.grad.float().flatten() for weight in known.parameters()]))
            known.zero_grad(set_to_none=True)
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.99


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.filterwarnings("ignore:inner dimension")  # a tiny model's rows are no blocks
@pytest.mark.parametrize("bits", ["4", "8"])
def test_a_base_held_in_few_bits_learns(bits, house, model):
    way = replace(LORA, choices={"quantization": bits})
    report, folder = house.train(house.spec(way, model("llama")))
    assert report["metrics"]["loss"] < report["baselines"]["untouched"]["loss"]
    assert (folder / "model" / "model.safetensors").is_file()
