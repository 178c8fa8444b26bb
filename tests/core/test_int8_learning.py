"""Products that round to int8 while something is learned: what they compute, where they are used, and where not."""

import copy
import random

import pytest
import torch
from torch.nn.functional import gelu
from transformers import BertForSequenceClassification

from core.device import Device
from core.models import kernels
from core.models.compiled_layers import compiled_layers
from core.training import rounding_trial
from core.training.precision import Way
from core.training.rounding_trial import int8_learning
from tests import tiny
from tests.processor import LAYERS_ARE_COMPILED
from tests.ways import House
from tests.ways import Way as Work

CPU = Device("cpu", "bfloat16", 1, "test")
WAY = Way("bfloat16", "plain", kernels=True)
# Tokens, numbers that come and numbers that go: whole blocks and odd rests, wider at either end.
SHAPES = [(8, 64, 96), (9, 128, 32), (47, 64, 160), (70, 192, 64)]
NAMES = ("linear", "bent_linear", "linear_back")


@pytest.fixture
def multiplying(compiled):
    if not compiled.learns_int8:
        pytest.skip("this processor does not multiply int8")
    return compiled


def drawn(*shapes, seed=0):
    """Numbers of these shapes, about 1, of which some are far out and one row is nothing."""
    chance, made = torch.Generator().manual_seed(seed), []
    for shape in shapes:
        numbers = torch.randn(shape, generator=chance)
        if len(shape) > 1:
            numbers = numbers * torch.rand(*shape[:-1], 1, generator=chance).mul(3).exp()
            numbers.flatten(0, -2)[3] = 0
        made.append(numbers.bfloat16())
    return made


def rounded(tokens):
    """Tokens as 255 steps between their lowest and their highest number, as exact numbers again."""
    exact = tokens.double()
    low, high = exact.amin(-1, keepdim=True).clamp(max=0), exact.amax(-1, keepdim=True).clamp(min=0)
    step = ((high - low) / 255).clamp(min=1e-30)
    return (exact / step).round() * step


def stepped(weight, along):
    """Weights as 127 steps to either side, a scale for each row or column."""
    exact = weight.double()
    step = (exact.abs().amax(along, keepdim=True) / 127).clamp(min=1e-30)
    return (exact / step).round() * step


def near(found, wanted):
    """But for what is rounded a step up instead of down, halfway between two."""
    assert float((found.double() - wanted).norm()) <= 4e-3 * float(wanted.norm())


@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_those_of_what_was_rounded(shape, many, multiplying):
    tokens, inner, outer = shape
    (given,), weights = drawn((2, tokens, inner)), drawn(*[(outer, inner)] * many, seed=1)
    biases, wanted = drawn(*[(outer,)] * many, seed=2), drawn(*[(2, tokens, outer)] * many, seed=3)
    biases[0] = None
    found = multiplying.linear(given, weights, biases, whole=True)
    for each, weight, bias in zip(found, weights, biases, strict=True):
        assert (each.shape, each.dtype) == ((2, tokens, outer), torch.bfloat16)
        near(each, rounded(given) @ stepped(weight, 1).T + (0 if bias is None else bias.double()))
    # Gradients of very different size keep their own scales.
    wanted = [each * 100.0**-place for place, each in enumerate(wanted)]
    back = sum(rounded(each) @ stepped(weight, 0) for each, weight in zip(wanted, weights, strict=True))
    near(multiplying.linear_back(wanted, weights, whole=True), back)
    slopes, beside = drawn((2, tokens, inner), (2, tokens, inner), seed=4)
    near(multiplying.linear_back(wanted, weights, slopes, beside, whole=True), back * slopes.double() + beside.double())


def test_a_bent_layer_gives_gelu_and_its_slopes(multiplying):
    (given,), (weight,), (bias,) = drawn((40, 64)), drawn((96, 64), seed=1), drawn((96,), seed=2)
    weight = weight / 16
    exact = (rounded(given) @ stepped(weight, 1).T + bias.double()).requires_grad_()
    (right,) = torch.autograd.grad(gelu(exact).sum(), exact)
    slopes = torch.empty(40, 96, dtype=torch.bfloat16)
    near(multiplying.bent_linear(given, weight, bias, slopes, whole=True), gelu(exact.detach()))
    near(slopes, right)
    near(multiplying.bent_linear(given, weight, bias, None, whole=True), gelu(exact.detach()))


def test_results_do_not_depend_on_threads(multiplying, threads):
    (given, wanted), (weight, bias) = drawn((203, 192), (203, 96)), drawn((96, 192), (96,), seed=1)
    found = []
    for many in (1, 2, 3):
        threads(many)
        found.append((
            *multiplying.linear(given, [weight] * 2, [bias, None], whole=True),
            multiplying.linear_back([wanted] * 2, [weight] * 2, whole=True),
        ))  # fmt: skip
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_what_is_no_number_stays_none(multiplying):
    (given,), (weight,) = drawn((16, 64)), drawn((64, 64), seed=1)
    for broken in (torch.nan, torch.inf):
        odd = weight.clone()
        odd[5, 7] = broken
        (found,), back = (
            multiplying.linear(given, [odd], [None], whole=True),
            multiplying.linear_back([given], [odd], whole=True),
        )
        assert found[:, 5].isnan().all()
        assert found[:, :5].isfinite().all()
        assert back[:, 7].isnan().all()
        assert back[:, :7].isfinite().all()
        tokens = given.clone()
        tokens[4, 7] = broken
        (found,) = multiplying.linear(tokens, [weight], [None], whole=True)
        assert not found[4, :3].isfinite().any()
        assert found[5:].isfinite().all()


def test_a_processor_that_multiplies_pairs_and_fours_is_used(compiled):
    assert compiled.learns_int8 == LAYERS_ARE_COMPILED


def test_narrow_layers_and_odd_ones_are_not_rounded(multiplying):
    assert multiplying.can_round(torch.zeros(128, 128))
    assert not multiplying.can_round(torch.zeros(128, 160))
    assert not multiplying.can_round(torch.zeros(96, 128))
    assert not multiplying.can_round(torch.zeros(128, 64))


# ---- a model's layers ----


def bert(**more):
    torch.manual_seed(3)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "hidden_dropout_prob": 0.0}
    shape |= {"attention_probs_dropout_prob": 0.0, "initializer_range": 0.1} | more
    return BertForSequenceClassification(tiny.config(**shape))


def tokens(rows=6):
    return torch.randint(5, 40, (rows, 14), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def asked(monkeypatch):
    """Of each product whether it rounds to int8."""
    found = {name: [] for name in NAMES}
    for name, told in found.items():
        real = getattr(kernels.Kernels, name)

        def spying(self, *given, told=told, real=real, **more):
            told.append(more.get("whole", False))
            return real(self, *given, **more)

        monkeypatch.setattr(kernels.Kernels, name, spying)
    return found


def forget(asked):
    for told in asked.values():
        told.clear()


def learned(model, ids):
    logits = model(input_ids=ids).logits.float()
    logits.square().sum().backward()
    return logits.detach(), [weight.grad.float() for weight in model.parameters() if weight.grad is not None]


def apart(found, wanted):
    between = torch.stack([(one - two).norm() for one, two in zip(found, wanted, strict=True)]).norm()
    return float(between / torch.stack([two.norm() for two in wanted]).norm())


@pytest.mark.parametrize("int8", ["none", "back", "both"])
def test_a_model_learns_nearly_the_same(int8, multiplying, asked):
    model = bert()
    logits, gradients = learned(copy.deepcopy(model), tokens())
    model.to(torch.bfloat16)
    with compiled_layers(model, multiplying, int8=int8):
        forget(asked)  # a trial of each kind of block
        found, slopes = learned(model, tokens())
    assert {name: set(told) for name, told in asked.items()} == {
        "linear": {int8 == "both"}, "bent_linear": {int8 == "both"}, "linear_back": {int8 != "none"},
    }  # fmt: skip
    # For a layer: queries with keys and values, what attention gives, and the two linear layers behind it.
    assert {name: len(told) for name, told in asked.items()} == {"linear": 6, "bent_linear": 2, "linear_back": 8}
    assert apart([found], [logits]) < (0.05 if int8 == "both" else 0.01)
    low, high = {"none": (0, 0.013), "back": (0.013, 0.02), "both": (0.02, 0.06)}[int8]
    assert low < apart(slopes, gradients) < high


def test_what_is_only_read_and_what_is_short_is_not_rounded(multiplying, asked):
    model = bert().to(torch.bfloat16)
    with compiled_layers(model, multiplying, int8="both"):
        forget(asked)
        with torch.no_grad():
            model(input_ids=tokens())
        learned(model, tokens(4))  # 56 tokens
        assert all(told and not any(told) for told in asked.values())
        learned(model, tokens(5))
    assert all(any(told) for told in asked.values())


def test_a_layer_that_bends_by_itself_is_rounded_too(multiplying, asked):
    model = bert().to(torch.bfloat16)
    with compiled_layers(model, multiplying, int8="both"):
        forget(asked)
        block = model.bert.encoder.layer[0].intermediate
        (given,) = drawn((80, 128))
        block(given.requires_grad_()).sum().backward()
    assert asked["bent_linear"] == [True]
    assert asked["linear_back"] == [True]


# ---- the trial ----


def rows(many=12, length=14):
    chance = random.Random(2)
    return [
        {"input_ids": [chance.randrange(5, 40) for _ in range(length)], "labels": place % 2} for place in range(many)
    ]


def collate(given):
    ids = torch.tensor([row["input_ids"] for row in given])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.tensor([r["labels"] for r in given]),
    }


def loss(outputs, labels):
    return torch.nn.functional.cross_entropy(outputs["logits"].float(), labels)


@pytest.fixture
def trial(multiplying, monkeypatch):
    """Whether a model learns alike on some rows, by the machine's kernels."""
    monkeypatch.setattr("core.training.precision.compiled", lambda: multiplying)
    return lambda model, given=None, way=WAY, tokens=10**6: int8_learning(
        model, collate, given or rows(), loss, way, CPU, tokens
    )


def test_a_model_that_learns_alike_does_and_stays_as_it_was(trial, asked):
    model = bert(hidden_dropout_prob=0.2)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.get_rng_state()
    assert trial(model) == "both"
    assert set(asked["linear_back"]) == {True, False}
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert all(torch.equal(after[n], weight) and after[n].dtype == weight.dtype for n, weight in before.items())
    assert all(weight.grad is None for weight in model.parameters())
    assert type(model.bert.encoder.layer[0].output.dense) is torch.nn.Linear


@pytest.mark.parametrize(("name", "left"), [("linear", "back"), ("bent_linear", "back"), ("linear_back", "none")])
def test_what_moves_the_gradient_far_is_not_rounded(name, left, trial, monkeypatch):
    real = getattr(kernels.Kernels, name)

    def moved(self, *given, whole=False, **more):
        found = real(self, *given, whole=whole, **more)
        return [each * 1.3 for each in found] if whole and name == "linear" else found * 1.3 if whole else found

    monkeypatch.setattr(kernels.Kernels, name, moved)
    assert trial(bert()) == left


def test_too_few_tokens_and_other_ways_say_nothing(trial, multiplying, monkeypatch):
    model = bert()
    assert trial(model, rows(9)) == "none"  # 126 tokens
    assert trial(model, rows(10)) == "both"
    assert trial(model, way=Way("float32", "plain", kernels=True)) == "none"
    assert trial(model, way=Way("bfloat16", "plain")) == "none"
    monkeypatch.setattr(multiplying, "fours", False)
    assert trial(model) == "none"


def test_no_more_rows_are_tried_than_needed(trial, monkeypatch):
    seen = []
    monkeypatch.setattr(rounding_trial, "_gradient", lambda model, batch, *more: seen.append(batch["labels"]) or [])
    trial(bert(), rows(200))
    assert {len(labels) for labels in seen} == {37}  # 518 tokens
    seen.clear()
    trial(bert(), rows(200), tokens=30_000)  # a fiftieth for the three of them
    assert {len(labels) for labels in seen} == {15}
    seen.clear()
    trial(bert(), rows(200), tokens=19_199)
    assert not seen


def test_a_family_that_fails_is_not_rounded(trial, monkeypatch):
    def fails(*given):
        raise RuntimeError("expected m1 and m2 to have the same dtype")

    monkeypatch.setattr(rounding_trial, "computed", fails)
    model = bert()
    assert trial(model) == "none"
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


# ---- a run ----


@pytest.mark.parametrize("alike", ["both", "back", "none"])
def test_a_run_rounds_where_the_trial_says_so(alike, tmp_path, monkeypatch, multiplying, asked):
    monkeypatch.setattr("core.training.run.detect", lambda: CPU)
    monkeypatch.setattr(kernels, "begin", lambda: None)
    monkeypatch.setattr("core.training.precision.compiled", lambda: multiplying)
    monkeypatch.setattr(rounding_trial, "_SHARE", 1.0)  # so short a training would not pay for it
    if alike != "both":
        monkeypatch.setattr("core.training.ways.int8_learning", lambda *given: alike)
    bert(num_hidden_layers=1).bert.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    house = House(tmp_path / "home")
    report, _ = house.train(house.spec(Work("classification", "bert", "full"), tmp_path / "model", rows=200))
    assert report["training_way"]["int8"] == alike
    assert {name: any(told) for name, told in asked.items()} == {
        "linear": alike == "both", "bent_linear": alike == "both", "linear_back": alike != "none",
    }  # fmt: skip
    assert not all(asked["linear"])  # what is judged
