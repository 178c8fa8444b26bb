"""Products that round to int8 or int16 while something is learned: what they compute, where they are used."""

import copy
import math
import random
from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn.functional import gelu
from transformers import BertForSequenceClassification

from core.device import Device
from core.models import kernel_building
from core.models.compiled_layers import compiled_layers
from core.models.kernels import Kernels
from core.training import rounding_trial
from core.training.precision import Way
from core.training.rounding_trial import rounded_learning
from tests import tiny
from tests.processor import LAYERS_ARE_COMPILED, PAIRS_OF_INT16_ARE_MULTIPLIED
from tests.ways import House
from tests.ways import Way as Work

# Tokens, numbers that come and numbers that go: whole blocks and odd rests, wider at either end.
SHAPES = [(8, 64, 96), (9, 128, 32), (47, 64, 160), (70, 192, 64)]
NAMES = ("linear", "bent_linear", "linear_back", "linear_weights")


@dataclass(frozen=True)
class Kind:
    """In which numbers a model computes, and what their products round to.

    Attributes:
        most: how far found may be from what is computed of the same rounded numbers: some are halfway between two.
    """

    dtype: torch.dtype
    weights: str
    most: float

    @property
    def way(self):
        return Way(self.weights, "plain", kernels=True)

    @property
    def device(self):
        return Device("cpu", self.weights, 1, "test")

    def rounded(self, tokens):
        """Tokens as so many steps, as exact numbers again: of int8 255 between the lowest number and the highest."""
        exact = tokens.double()
        if self.dtype == torch.float32:
            return self.stepped(tokens, -1)
        low, high = exact.amin(-1, keepdim=True).clamp(max=0), exact.amax(-1, keepdim=True).clamp(min=0)
        step = ((high - low) / 255).clamp(min=1e-30)
        return (exact / step).round() * step

    def stepped(self, numbers, along):
        """Numbers as so many steps to either side, a scale for each row or column.

        Of int16 there are as many as leave a sum of products below 2^31.
        """
        exact = numbers.double()
        steps = 127 if self.dtype == torch.bfloat16 else min(8191, math.isqrt((2**31 - 1) // numbers.shape[along]))
        step = (exact.abs().amax(along, keepdim=True) / steps).clamp(min=1e-30)
        return (exact / step).round() * step

    def near(self, found, wanted):
        assert found.dtype == self.dtype
        assert float((found.double() - wanted).norm()) <= self.most * float(wanted.norm())


INT8, INT16 = Kind(torch.bfloat16, "bfloat16", 4e-3), Kind(torch.float32, "float32", 1e-4)


def multiplied(compiled, kind):
    """The kernels, where they multiply such numbers."""
    if not (compiled.learns_int8 if kind is INT8 else compiled.learns_int16):
        pytest.skip("this processor does not multiply these")
    return compiled


@pytest.fixture(params=[INT8, INT16], ids=["int8", "int16"])
def kind(request, compiled):
    multiplied(compiled, request.param)
    return request.param


def drawn(*shapes, dtype, seed=0):
    """Numbers of these shapes, about 1, of which some are far out and one row is nothing."""
    chance, made = torch.Generator().manual_seed(seed), []
    for shape in shapes:
        numbers = torch.randn(shape, generator=chance)
        if len(shape) > 1:
            numbers = numbers * torch.rand(*shape[:-1], 1, generator=chance).mul(3).exp()
            numbers.flatten(0, -2)[3] = 0
        made.append(numbers.to(dtype))
    return made


@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_those_of_what_was_rounded(shape, many, kind, compiled):
    tokens, inner, outer = shape
    (given,), weights = drawn((2, tokens, inner), dtype=kind.dtype), drawn(*[(outer, inner)] * many, dtype=kind.dtype)
    biases = drawn(*[(outer,)] * many, dtype=kind.dtype, seed=2)
    wanted = drawn(*[(2, tokens, outer)] * many, dtype=kind.dtype, seed=3)
    biases[0] = None
    found = compiled.linear(given, weights, biases, whole=True)
    for each, weight, bias in zip(found, weights, biases, strict=True):
        assert each.shape == (2, tokens, outer)
        kind.near(each, kind.rounded(given) @ kind.stepped(weight, 1).T + (0 if bias is None else bias.double()))
    # Gradients of very different size keep their own scales.
    wanted = [each * 100.0**-place for place, each in enumerate(wanted)]
    back = sum(kind.rounded(each) @ kind.stepped(weight, 0) for each, weight in zip(wanted, weights, strict=True))
    kind.near(compiled.linear_back(wanted, weights, whole=True), back)
    slopes, beside = drawn((2, tokens, inner), (2, tokens, inner), dtype=kind.dtype, seed=4)
    found = compiled.linear_back(wanted, weights, slopes, beside, whole=True)
    kind.near(found, back * slopes.double() + beside.double())


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_weights_are_those_of_what_was_rounded_to_int16(shape, compiled):
    multiplied(compiled, INT16)
    tokens, inner, outer = shape
    (given,), wanted = drawn((tokens, inner), dtype=torch.float32), drawn(*[(tokens, outer)] * 3, dtype=torch.float32)
    for (weight, bias), each in zip(compiled.linear_weights(wanted, given, whole=True), wanted, strict=True):
        INT16.near(weight, INT16.stepped(each, 0).T @ INT16.stepped(given, 0))
        torch.testing.assert_close(bias.double(), each.double().sum(0), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_registers_of_other_processors_lead_to_the_same(lanes, compiled, monkeypatch):
    monkeypatch.setattr(kernel_building, "_FLAGS", (*kernel_building._FLAGS, "-O1", f"-DLANES={lanes}"))
    begun = kernel_building.begin.__wrapped__()
    monkeypatch.setattr(kernel_building, "begin", lambda: begun)
    found = kernel_building.compiled.__wrapped__()
    assert found is not None  # they agree with PyTorch
    given, *weights = drawn((47, 64), *[(160, 64)] * 2, dtype=torch.float32)
    (wanted,) = drawn((47, 160), dtype=torch.float32, seed=3)
    for own, weight in zip(found.linear(given, weights, [None] * 2, whole=True), weights, strict=True):
        INT16.near(own, INT16.rounded(given) @ INT16.stepped(weight, 1).T)
    INT16.near(
        found.linear_back([wanted], weights[:1], whole=True), INT16.rounded(wanted) @ INT16.stepped(weights[0], 0)
    )
    ((to_weight, _),) = found.linear_weights([wanted], given, whole=True)
    INT16.near(to_weight, INT16.stepped(wanted, 0).T @ INT16.stepped(given, 0))


@pytest.mark.parametrize("tokens", [1, 7, 30])
@pytest.mark.parametrize("bend", [False, True])
def test_tokens_in_int16_are_multiplied_however_few_they_are(tokens, bend, compiled):
    multiplied(compiled, INT16)
    (given, weight, bias) = drawn((1, tokens + 4, 64), (96, 64), (96,), dtype=torch.float32)
    given = given[:, 4:]
    wanted = INT16.rounded(given) @ INT16.stepped(weight, 1).T
    for added in (bias, None):
        found = compiled.int16_linear(compiled.int16_rows(given), weight, added, bend=bend)
        assert found.shape == (1, tokens, 96)
        usual = wanted if added is None else wanted + added.double()
        INT16.near(found, gelu(usual) if bend else usual)


def test_a_bent_layer_gives_gelu_and_its_slopes(kind, compiled):
    given, weight, bias = drawn((40, 64), (96, 64), (96,), dtype=kind.dtype)
    weight = weight / 16
    exact = (kind.rounded(given) @ kind.stepped(weight, 1).T + bias.double()).requires_grad_()
    (right,) = torch.autograd.grad(gelu(exact).sum(), exact)
    slopes = torch.empty(40, 96, dtype=kind.dtype)
    kind.near(compiled.bent_linear(given, weight, bias, slopes, whole=True), gelu(exact.detach()))
    kind.near(slopes, right)
    kind.near(compiled.bent_linear(given, weight, bias, None, whole=True), gelu(exact.detach()))


def test_results_do_not_depend_on_threads(kind, compiled, threads):
    given, wanted, weight, bias = drawn((203, 192), (203, 96), (96, 192), (96,), dtype=kind.dtype)
    found = []
    for many in (1, 2, 3):
        threads(many)
        found.append((
            *compiled.linear(given, [weight] * 2, [bias, None], whole=True),
            compiled.linear_back([wanted] * 2, [weight] * 2, whole=True),
            *compiled.linear_weights([wanted], given, whole=kind is INT16)[0],
        ))  # fmt: skip
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_what_is_no_number_stays_none(kind, compiled):
    given, weight = drawn((16, 64), (64, 64), dtype=kind.dtype)
    for broken in (torch.nan, torch.inf):
        odd = weight.clone()
        odd[5, 7] = broken
        (found,), back = (
            compiled.linear(given, [odd], [None], whole=True),
            compiled.linear_back([given], [odd], whole=True),
        )
        assert found[:, 5].isnan().all()
        assert found[:, :5].isfinite().all()
        assert back[:, 7].isnan().all()
        assert back[:, :7].isfinite().all()
        tokens = given.clone()
        tokens[4, 7] = broken
        (found,) = compiled.linear(tokens, [weight], [None], whole=True)
        assert not found[4, :3].isfinite().any()
        assert found[5:].isfinite().all()
        if kind is INT16:
            ((to_weight, _),) = compiled.linear_weights([given], tokens, whole=True)
            assert to_weight[:, 7].isnan().all()
            assert to_weight[:, :7].isfinite().all()


def test_a_processor_that_multiplies_pairs_and_fours_is_used(compiled):
    assert compiled.learns_int8 == LAYERS_ARE_COMPILED
    assert compiled.learns_int16 == PAIRS_OF_INT16_ARE_MULTIPLIED


def test_narrow_layers_and_odd_ones_are_not_rounded(kind, compiled):
    def can_round(*shape):
        return compiled.can_round(torch.zeros(shape, dtype=kind.dtype))

    assert can_round(128, 128)
    assert can_round(128, 160) is (kind is INT16)
    assert not can_round(96, 128)
    assert not can_round(128, 64)
    assert can_round(128, 8192)
    assert can_round(128, 8320) is (kind is INT8)  # sums of so many products of int16 would have few bits each


# ---- a model's layers ----


# For a layer: queries with keys and values, what attention gives, and the two linear layers behind it.
PRODUCTS = {"linear": 6, "bent_linear": 2, "linear_back": 8, "linear_weights": 8}


def bert(**more):
    torch.manual_seed(3)
    shape = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "hidden_dropout_prob": 0.0}
    shape |= {"attention_probs_dropout_prob": 0.0, "initializer_range": 0.1} | more
    return BertForSequenceClassification(tiny.config(**shape))


def tokens(rows=6):
    return torch.randint(5, 40, (rows, 14), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def asked(monkeypatch):
    """Of each product whether it rounds."""
    found = {name: [] for name in NAMES}
    for name, told in found.items():
        real = getattr(Kernels, name)

        def spying(self, *given, told=told, real=real, **more):
            told.append(more.get("whole", False))
            return real(self, *given, **more)

        monkeypatch.setattr(Kernels, name, spying)
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
def test_a_model_learns_nearly_the_same_by_int8(int8, compiled, asked):
    multiplied(compiled, INT8)
    model = bert()
    logits, gradients = learned(copy.deepcopy(model), tokens())
    model.to(torch.bfloat16)
    with compiled_layers(model, compiled, int8=int8, int16=True):
        forget(asked)  # a trial of each kind of block
        found, slopes = learned(model, tokens())
    assert {name: set(told) for name, told in asked.items()} == {
        "linear": {int8 == "both"}, "bent_linear": {int8 == "both"}, "linear_back": {int8 != "none"},
        "linear_weights": {False},
    }  # fmt: skip
    assert {name: len(told) for name, told in asked.items()} == PRODUCTS
    assert apart([found], [logits]) < (0.05 if int8 == "both" else 0.01)
    low, high = {"none": (0, 0.013), "back": (0.013, 0.02), "both": (0.02, 0.06)}[int8]
    assert low < apart(slopes, gradients) < high


@pytest.mark.parametrize("int16", [False, True])
def test_a_model_learns_nearly_the_same_by_int16(int16, compiled, asked):
    multiplied(compiled, INT16)
    model = bert()
    logits, gradients = learned(copy.deepcopy(model), tokens())
    with compiled_layers(model, compiled, int8="both", int16=int16):
        forget(asked)
        found, slopes = learned(model, tokens())
    assert {name: set(told) for name, told in asked.items()} == {name: {int16} for name in NAMES}
    assert {name: len(told) for name, told in asked.items()} == PRODUCTS
    assert (1e-5 if int16 else 0) < apart([found], [logits]) < (1e-3 if int16 else 1e-6)
    assert (1e-4 if int16 else 0) < apart(slopes, gradients) < (3e-3 if int16 else 1e-5)


def rounding(kind):
    return {"int8": "both"} if kind is INT8 else {"int16": True}


def test_what_is_only_read_and_what_is_short_is_not_rounded(kind, compiled, asked):
    model = bert().to(kind.dtype)
    with compiled_layers(model, compiled, **rounding(kind)):
        forget(asked)
        with torch.no_grad():
            model(input_ids=tokens())
        learned(model, tokens(4))  # 56 tokens
        assert all(told and not any(told) for told in asked.values())
        learned(model, tokens(5))
    assert all(any(told) for name, told in asked.items() if kind is INT16 or name != "linear_weights")


def test_a_layer_that_bends_by_itself_is_rounded_too(kind, compiled, asked):
    model = bert().to(kind.dtype)
    with compiled_layers(model, compiled, **rounding(kind)):
        forget(asked)
        block = model.bert.encoder.layer[0].intermediate
        (given,) = drawn((80, 128), dtype=kind.dtype)
        block(given.requires_grad_()).sum().backward()
    assert asked["bent_linear"] == [True]
    assert asked["linear_back"] == [True]
    assert asked["linear_weights"] == [kind is INT16]


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
def trial(compiled, monkeypatch):
    """What of a model's products rounds, as a trial on some rows says, by the machine's kernels."""
    monkeypatch.setattr("core.training.precision.compiled", lambda: compiled)

    def tried(model, kind=INT8, given=None, way=None, tokens=10**6):
        way = rounded_learning(model, collate, given or rows(), loss, way or kind.way, kind.device, tokens)
        return way.int8 if kind is INT8 else way.int16

    return tried


def all_of(kind):
    return "both" if kind is INT8 else True


def none_of(kind):
    return "none" if kind is INT8 else False


def test_a_model_that_learns_alike_does_and_stays_as_it_was(trial, kind, asked):
    model = bert(hidden_dropout_prob=0.2)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.get_rng_state()
    assert trial(model, kind) == all_of(kind)
    assert set(asked["linear_back"]) == {True, False}
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert all(torch.equal(after[n], weight) and after[n].dtype == weight.dtype for n, weight in before.items())
    assert all(weight.grad is None for weight in model.parameters())
    assert type(model.bert.encoder.layer[0].output.dense) is torch.nn.Linear


@pytest.mark.parametrize(
    ("name", "left"), [("linear", "back"), ("bent_linear", "back"), ("linear_back", "none"), ("linear_weights", "both")]
)
def test_what_moves_the_gradient_far_is_not_rounded(name, left, trial, kind, monkeypatch):
    real, by = getattr(Kernels, name), 1.3 if kind is INT8 else 1.1

    def moved(self, *given, whole=False, **more):
        found = real(self, *given, whole=whole, **more)
        if name == "linear_weights":
            return [(weight * by, bias) if whole else (weight, bias) for weight, bias in found]
        return [each * by for each in found] if whole and name == "linear" else found * by if whole else found

    monkeypatch.setattr(Kernels, name, moved)
    assert trial(bert(), kind) == (left if kind is INT8 else False)


def test_too_few_tokens_and_other_ways_say_nothing(trial, kind, compiled, monkeypatch):
    model = bert()
    assert trial(model, kind, rows(9)) == none_of(kind)  # 126 tokens
    assert trial(model, kind, rows(10)) == all_of(kind)
    other = INT16 if kind is INT8 else INT8
    assert trial(model, kind, way=other.way) == none_of(kind)
    assert trial(model, kind, way=Way(kind.weights, "plain")) == none_of(kind)
    assert trial(model, kind, way=Way("autocast", "plain", kernels=True)) == none_of(kind)
    monkeypatch.setattr(compiled, "fours" if kind is INT8 else "int16", False)
    assert trial(model, kind) == none_of(kind)


def test_no_more_rows_are_tried_than_needed(trial, kind, monkeypatch):
    seen, each = [], 3 if kind is INT8 else 2  # one as usual, the others rounded
    monkeypatch.setattr(rounding_trial, "_gradient", lambda model, batch, *more: seen.append(batch["labels"]) or [])
    trial(bert(), kind, rows(200))
    assert {len(labels) for labels in seen} == {37}  # 518 tokens
    seen.clear()
    trial(bert(), kind, rows(200), tokens=10_000 * each)  # a fiftieth for all of them
    assert {len(labels) for labels in seen} == {15}
    seen.clear()
    trial(bert(), kind, rows(200), tokens=6_400 * each - 1)
    assert not seen


def test_a_family_that_fails_is_not_rounded(trial, kind, monkeypatch):
    def fails(*given):
        raise RuntimeError("expected m1 and m2 to have the same dtype")

    monkeypatch.setattr(rounding_trial, "computed", fails)
    model = bert()
    assert trial(model, kind) == none_of(kind)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


# ---- a run ----


@pytest.mark.parametrize(
    ("kind", "alike"), [(INT8, each) for each in ("both", "back", "none")] + [(INT16, True), (INT16, False)]
)
def test_a_run_rounds_where_the_trial_says_so(kind, alike, tmp_path, monkeypatch, compiled, asked):
    multiplied(compiled, kind)
    monkeypatch.setattr("core.training.run.detect", lambda: kind.device)
    monkeypatch.setattr(kernel_building, "begin", lambda: None)
    monkeypatch.setattr("core.training.precision.compiled", lambda: compiled)
    monkeypatch.setattr(rounding_trial, "_SHARE", 1.0)  # so short a training would not pay for it
    name = "int8" if kind is INT8 else "int16"
    if alike != all_of(kind):
        monkeypatch.setattr("core.training.ways.rounded_learning", lambda *given: replace(given[4], **{name: alike}))
    bert(num_hidden_layers=1).bert.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    house = House(tmp_path / "home")
    report, _ = house.train(house.spec(Work("classification", "bert", "full"), tmp_path / "model", rows=200))
    assert report["training_way"][name] == alike
    assert {each: any(told) for each, told in asked.items()} == {
        "linear": alike in ("both", True), "bent_linear": alike in ("both", True),
        "linear_back": alike not in ("none", False), "linear_weights": alike is True,
    }  # fmt: skip
    assert not all(asked["linear"])  # what is judged
