"""Compiled steps compute what PyTorch computes; where nothing can be compiled, all goes on without them."""

import copy
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch.nn.functional import gelu
from transformers import AutoModelForSequenceClassification
from transformers.activations import GELUActivation

from core.device import Device
from core.models import kernel_building
from core.models.kernels import Kernels
from core.models.rounding import Rounded
from core.models.side_by_side import attended
from core.models.unpadded import Rows
from core.quiet import quiet_libraries
from core.training.activations import quick_gelu
from core.training.dropout import cheap_dropout
from core.training.optimizer import optimizer
from core.training.precision import Way, kernels_of, prepared
from tests.processor import LAYERS_ARE_COMPILED, PAIRS_ARE_MULTIPLIED, PAIRS_OF_INT16_ARE_MULTIPLIED
from tests.ways import MODELS, House
from tests.ways import Way as Work

CPU = Device("cpu", "bfloat16", 1, "test")
DTYPES = (torch.float32, torch.bfloat16)
# What a run uses, and where a processor multiplies pairs of bfloat16.
USED = {"dropped", "attention", "attention_back", "norm", "norm_back", "squares", "adamw"}
BEGIN = kernel_building.begin.__wrapped__
MULTIPLYING = {"linear", "bent_linear", "linear_back", "linear_weights"}


@pytest.fixture(scope="module", params=["all", "no pairs"])
def attending(request, compiled):
    """The same for attention: also those of a processor that does not multiply pairs of bfloat16."""
    if request.param == "all":
        return compiled
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kernel_building, "_FLAGS", (*kernel_building._FLAGS, "-U__AVX512BF16__"))
        return beginning(patched)[0]


def near(found, wanted, dtype):
    """Sums are added up in another order; what comes in bfloat16 is rounded once."""
    found, wanted = found.detach().float(), wanted.detach().float()
    length = float(wanted.norm())
    assert float((found - wanted).norm()) <= (1e-5 if dtype == torch.float32 else 2**-8) * length


# ---- attention ----


def long_rows(lengths, with_kernels=None, shared=0):
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    return Rows(mask, shared, with_kernels)


def parts_of(rows, heads, dim, dtype, key_heads=None):
    torch.manual_seed(1)
    each = (heads, key_heads or heads, key_heads or heads)
    return [torch.randn(1, rows.tokens, n, dim).to(dtype).transpose(1, 2).requires_grad_() for n in each]


def both_ways(rows, parts, dtype=None, *, causal=False):
    """Attention, and the gradients of its parts: of a gradient that is rounded to this format."""
    found = attended(rows, *parts, 0.3, causal=causal)
    torch.manual_seed(2)
    return found, *torch.autograd.grad(found, parts, torch.randn(found.shape).to(dtype or found.dtype).to(found.dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "dim"), [(1, 16), (3, 32), (2, 48), (2, 64)])
@pytest.mark.parametrize(
    "lengths", [(1, 2), (5, 18, 3, 1, 16, 17), (31, 32, 33), (40, 2, 65, 128, 7), (100, 200, 9, 129, 256)]
)
def test_attention_and_its_way_back_are_those_of_products(lengths, heads, dim, dtype, attending, monkeypatch):
    monkeypatch.setattr(attending, "longest", lambda values: 256)
    plain, quick = long_rows(lengths), long_rows(lengths, attending)
    parts = parts_of(plain, heads, dim, dtype)
    exact = [part.detach().float().requires_grad_() for part in parts]
    for found, wanted in zip(both_ways(quick, parts), both_ways(plain, exact, dtype), strict=True):
        assert found.shape == wanted.shape
        assert found.dtype == dtype
        near(found, wanted, dtype)


def test_longer_texts_are_left_to_products_and_shorter_ones_are_not(compiled, monkeypatch):
    asked = []
    real = compiled.attention
    monkeypatch.setattr(compiled, "attention", lambda *given: asked.append(given[2].tolist()) or real(*given))
    monkeypatch.setattr(compiled, "longest", lambda values: 20)
    lengths = (4, 40, 6, 90, 45)
    plain, quick = long_rows(lengths), long_rows(lengths, compiled)
    parts = parts_of(plain, 2, 16, torch.float32)
    for found, wanted in zip(both_ways(quick, parts), both_ways(plain, parts), strict=True):
        near(found, wanted, torch.float32)
    assert asked == [[4, 6]]


def test_a_gradient_may_lie_in_any_way(compiled):
    rows = long_rows((4, 9), compiled)
    parts = parts_of(rows, 1, 16, torch.float32)
    slope = torch.randn(rows.tokens, 48)[:, 16:32].view(1, rows.tokens, 1, 16)
    found = [
        torch.autograd.grad(attended(rows, *parts, 0.3, causal=False), parts, each) for each in (slope, slope.clone())
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


class Unasked:
    """Kernels that nobody may ask to attend."""

    def can_attend(self, query, key, value):
        return query.shape == key.shape and query.shape[-1] % 16 == 0


@pytest.mark.parametrize(
    ("shared", "key_heads", "dim", "causal"), [(0, 4, 16, True), (2, 4, 16, False), (0, 2, 16, False), (0, 4, 8, False)]
)
def test_what_kernels_do_not_know_is_left_to_products(shared, key_heads, dim, causal):
    rows = long_rows((5, 9, 7), Unasked(), shared)
    assert all(
        each.isfinite().all() for each in both_ways(rows, parts_of(rows, 4, dim, DTYPES[0], key_heads), causal=causal)
    )


@pytest.mark.parametrize("given", [{"dtype": torch.float64}, {"dim": 24}, {"key_heads": 1}])
def test_they_say_what_they_do_not_know(given, compiled):
    usual = {"heads": 2, "dim": 32, "dtype": torch.float32}
    rows = long_rows((3, 4))
    assert compiled.can_attend(*parts_of(rows, **usual))
    assert not compiled.can_attend(*parts_of(rows, **(usual | given)))
    assert not compiled.can_attend(*(part[..., ::2] for part in parts_of(rows, **(usual | {"dim": 64}))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("asking", [1, 6])
@pytest.mark.parametrize("dim", [16, 32])
def test_tokens_that_do_not_ask_find_nothing_and_change_nothing(dim, asking, dtype, attending, monkeypatch):
    monkeypatch.setattr(attending, "longest", lambda values: 256)
    rows = long_rows((3, 18, 33, 100, 6), attending)
    parts, begins = parts_of(rows, 2, dim, dtype), rows.short(256).begins
    asks = torch.zeros(rows.tokens, dtype=torch.bool)
    for begin, length in zip(begins.tolist(), rows.short(256).lengths.tolist(), strict=True):
        asks[begin : begin + min(asking, length)] = True
    slope = torch.randn(1, rows.tokens, 2, dim).to(dtype) * asks.view(1, -1, 1, 1)
    found = []
    for rows.asking in (0, asking):
        attended_to = attended(rows, *parts, 0.3, causal=False)
        found.append((attended_to * asks.view(1, -1, 1, 1), *torch.autograd.grad(attended_to, parts, slope)))
    assert not attended_to[0, : rows.used][~asks[: rows.used]].any()
    for one, other in zip(*found, strict=True):
        assert one.isfinite().all()
        near(other, one, dtype)


def test_what_they_can_depends_on_the_processor(attending, compiled):
    half, whole = torch.ones(1).bfloat16(), torch.ones(1)
    assert attending.longest(whole) > 1024
    able = attending is compiled and PAIRS_ARE_MULTIPLIED
    assert attending.longest(half) == (1024 if able else 128)
    assert attending.can_multiply_int8(torch.zeros(32, 16)) == able


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_number_stays_in_its_text(place, dtype, attending):
    rows = long_rows((6, 11), attending)
    parts = [part.detach() for part in parts_of(rows, 2, 16, dtype)]
    parts[place][0, 1, 3] = torch.nan  # a token of the first text
    found = attended(rows, *parts, 0.3, causal=False)[0]
    assert found[:6, 1].isnan().any()
    assert found[6:].isfinite().all()
    assert found[:, 0].isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_very_different_scores_end_in_one_share(dtype, attending):
    rows = long_rows((4, 3), attending)
    query, key, value = (torch.zeros(1, 1, rows.tokens, 16, dtype=dtype) for _ in range(3))
    query[..., 0], key[0, 0, 2, 0] = 1e4, 1e4
    value[0, 0, :, 0] = torch.arange(rows.tokens)
    # The shorter text comes first: in the longer one, tokens 3 to 6, none stands out.
    found = attended(rows, query, key, value, 1.0, causal=False)[0, :7, 0, 0]
    torch.testing.assert_close(found, torch.tensor([2.0, 2.0, 2.0, 4.5, 4.5, 4.5, 4.5], dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_result_depends_on_the_number_of_threads(dtype, attending, threads):
    lengths = tuple(range(3, 40))
    rows = long_rows(lengths, attending)
    parts, values = parts_of(rows, 4, 32, dtype), torch.randn(70_001).to(dtype)
    found = []
    for many in (1, 2, 3):
        threads(many)
        steps = (*both_ways(rows, parts), *attending.gelu(values), attending.dropped(values, 7, 0.3))
        found.append((*steps, torch.tensor(attending.squares([values.bfloat16()]))))
    for one, two, three in zip(*found, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


# ---- products of int8 ----

CURVES = {
    "even": lambda values: values,
    "bent": gelu,
    "below 0": lambda values: -values.abs() - 1,
    "above 0": lambda values: values.abs() + 3,
    "one far out": lambda values: values.index_fill(1, torch.tensor([0]), 20.0),
    "nothing": torch.zeros_like,
}


@pytest.fixture
def multiplying(compiled):
    if not compiled.can_multiply_int8(torch.zeros(32, 16)):
        pytest.skip("this processor does not multiply int8")
    return compiled


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [None, torch.arange(64.0)])
def test_weights_are_laid_out_as_int8_on_any_processor(dtype, bias, compiled):
    torch.manual_seed(6)
    weight = (torch.randn(64, 48) * torch.rand(64, 1)).to(dtype)
    weight[3] = 0
    before = weight.clone()
    found = compiled.int8_weights(weight, bias)
    assert torch.equal(weight, before)
    assert (found.laid.dtype, found.laid.shape, found.laid.is_contiguous()) == (torch.uint8, (2, 12, 32, 4), True)
    steps = weight.float().abs().amax(1) / 127
    torch.testing.assert_close(found.widths, steps)
    for row in range(64):
        whole = found.laid[row // 32, :, row % 32].reshape(-1).int() - 128
        assert int(whole.abs().max()) == (0 if row == 3 else 127)
        assert float((whole * found.widths[row] - weight[row].float()).abs().max()) <= 0.501 * float(steps[row])
        torch.testing.assert_close(found.zeros[row], whole.sum() * found.widths[row])
    assert torch.equal(found.added, torch.zeros(64) if bias is None else bias)


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
@pytest.mark.parametrize(("tokens", "inner", "outer"), [(1, 16, 32), (13, 48, 64), (8, 1536, 32), (200, 128, 96)])
def test_a_product_of_int8_is_that_of_what_was_rounded(tokens, inner, outer, curve, multiplying):
    torch.manual_seed(5)
    given = curve(torch.randn(tokens, inner)).bfloat16()
    weight, bias = torch.randn(outer, inner) * torch.rand(outer, 1), torch.randn(outer)
    weight[3] = 0
    found = multiplying.int8_linear(
        multiplying.int8_rows(given.view(1, tokens, inner)), multiplying.int8_weights(weight, bias)
    )
    assert (found.shape, found.dtype) == ((1, tokens, outer), torch.bfloat16)
    steps = weight.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    low, high = given.float().amin(1, keepdim=True).clamp(max=0), given.float().amax(1, keepdim=True).clamp(min=0)
    each = ((high - low) / 255).clamp(min=1e-30)
    wanted = ((given.float() / each).round() * each).double() @ ((weight / steps).round() * steps).double().T + bias
    # But for what is rounded to one step more or less, at the ends and halfway.
    step = each.double() * weight.abs().double().amax(1)
    assert ((found[0].double() - wanted).abs() <= 2**-8 * wanted.abs() + 8 * step + 1e-6).all()


def test_layers_without_a_bias_and_other_shapes(multiplying):
    weight, given = torch.randn(32, 16), torch.randn(4, 16).bfloat16()
    found = multiplying.int8_linear(multiplying.int8_rows(given[::2]), multiplying.int8_weights(weight, None))
    torch.testing.assert_close(found.float(), given[::2].float() @ weight.T, rtol=0.02, atol=0.1)
    assert not multiplying.can_multiply_int8(torch.zeros(33, 16))
    assert not multiplying.can_multiply_int8(torch.zeros(32, 20))


def test_no_product_of_int8_depends_on_the_number_of_threads(multiplying, threads):
    given, weights = torch.randn(301, 64).bfloat16(), multiplying.int8_weights(torch.randn(96, 64), torch.randn(96))
    found = []
    for many in (1, 2, 3):
        threads(many)
        found.append(multiplying.int8_linear(multiplying.int8_rows(given), weights))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


# ---- dropout ----


def dropping(given, share, with_kernels):
    module = torch.nn.Dropout(share)
    with cheap_dropout(module, with_kernels):
        return module(given)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_the_share_that_is_wanted_is_dropped_and_the_rest_scaled(share, dtype, compiled):
    torch.manual_seed(3)
    given = torch.ones(300, 1001, dtype=dtype)
    found = dropping(given, share, compiled)
    gone = (found == 0).double()
    # Five standard deviations, over all and in each part: one place says nothing about another.
    assert abs(gone.mean() - share) < 5 * (share * (1 - share) / gone.numel()) ** 0.5
    assert (gone.mean(0) - share).abs().max() < 6 * (share * (1 - share) / 300) ** 0.5
    assert torch.equal(found[found != 0].unique(), torch.tensor([1 / (1 - share)]).to(dtype))


def test_neighbours_and_later_draws_drop_independently(compiled):
    torch.manual_seed(4)
    given = torch.ones(1_000_000)
    first, second = (dropping(given, 0.5, compiled) == 0 for _ in range(2))
    for one, other in ((first, second), (first[1:], first[:-1]), (first[384:], first[:-384]), (first[1:], second[:-1])):
        assert abs((one == other).double().mean() - 0.5) < 0.003


def test_going_back_drops_the_same_places(compiled):
    given = torch.ones(50, 64, requires_grad=True)
    found = dropping(given, 0.25, compiled)
    (back,) = torch.autograd.grad(found, given, torch.full_like(found, 3.0))
    torch.testing.assert_close(back, 3 * found.detach())
    # Also where the gradient lies otherwise in memory.
    (back,) = torch.autograd.grad(dropping(given, 0.25, compiled).t(), given, torch.ones(64, 50))
    assert back.unique().tolist() == pytest.approx([0, 4 / 3])


def test_a_seed_decides_what_is_dropped(compiled):
    given, found = torch.ones(4000), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        found.append([dropping(given, 0.5, compiled) for _ in range(2)])
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not torch.equal(found[0][0], found[0][1])
    assert not torch.equal(found[0][0], found[2][0])


def test_other_formats_are_dropped_as_before(compiled):
    found = dropping(torch.ones(4000, dtype=torch.float64), 0.25, compiled)
    assert found.dtype == torch.float64
    assert 0.2 < (found == 0).double().mean() < 0.3


# ---- GELU ----


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_and_its_slope_are_those_of_torch(dtype, compiled):
    given = torch.cat([torch.linspace(-12, 12, 40_001), torch.tensor([0.0, -100.0, 100.0, 1e-6])])
    given = given.to(dtype).requires_grad_()
    module = torch.nn.Sequential(GELUActivation())
    with quick_gelu(module, compiled):
        found = module(given)
        (slopes,) = torch.autograd.grad(found, given, torch.full_like(found, 2.0))
    exact = given.detach().double().requires_grad_()
    wanted = gelu(exact)
    (right,) = torch.autograd.grad(wanted, exact, torch.full_like(wanted, 2.0))
    close = {"rtol": 1e-5, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 2**-8, "atol": 1e-5}
    torch.testing.assert_close(found.double(), wanted, **close)
    torch.testing.assert_close(slopes.double(), right, **close)
    assert type(module[0]) is GELUActivation


def test_gelu_of_no_number_is_none(compiled):
    found, slopes = compiled.gelu(torch.tensor([torch.nan, 1.0]))
    assert found.isnan().tolist() == slopes.isnan().tolist() == [True, False]


# ---- the optimizer ----


def linear(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(40, 300), torch.nn.Linear(300, 7))


def stepped(with_kernels, clip, steps=6):
    module = linear()
    rounded = Rounded(module)
    own = optimizer(
        [{"params": list(module.parameters()), "weight_decay": 0.2}], rounded, lr=0.02, kernels=with_kernels
    )
    lengths = []
    for step in range(steps):
        torch.manual_seed(step)
        for weight in module.parameters():
            weight.grad = torch.randn(weight.shape).bfloat16()
        lengths.append(float(own.clip(clip)))
        own.step()
    assert all(torch.equal(weight.data, rounded.exact(weight).bfloat16()) for weight in module.parameters())
    return [rounded.exact(weight) for weight in module.parameters()], lengths, own.state_dict()["state"]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_steps_are_those_of_torch(clip, compiled):
    (found, lengths, state), (wanted, right, other) = stepped(compiled, clip), stepped(None, clip)
    assert lengths == pytest.approx(right, rel=1e-5)
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two)
    for number, known in other.items():
        for name, value in known.items():
            torch.testing.assert_close(state[number][name], value)


def table_stepped(with_kernels, clip):
    torch.manual_seed(0)
    table = torch.nn.Embedding(60, 24, sparse=True)
    rounded = Rounded(table)
    own = optimizer([{"params": [table.weight], "weight_decay": 0.2}], rounded, lr=0.02, kernels=with_kernels)
    for ids in ([3, 7, 3], [59, 7], [1, 3, 2, 58, 3, 3], [7], list(range(30))):
        table(torch.tensor(ids)).float().pow(2).sum().backward()
        own.clip(clip)
        own.step()
        table.zero_grad()
    assert torch.equal(table.weight.data, rounded.exact(table.weight).bfloat16())
    return rounded.exact(table.weight), own.state_dict()["state"][0]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_steps_on_rows_of_a_table_are_those_of_torch(clip, compiled, monkeypatch):
    wanted, other = table_stepped(None, clip)
    real, asked = compiled.adamw_rows, []
    monkeypatch.setattr(compiled, "adamw_rows", lambda *given: asked.append(len(given[3])) or real(*given))
    found, state = table_stepped(compiled, clip)
    assert asked == [2, 3, 6, 6, 32]  # all that were read so far
    torch.testing.assert_close(found, wanted)
    for name, value in other.items():
        torch.testing.assert_close(state[name], value)


def test_the_length_of_many_large_numbers_is_exact(compiled):
    torch.manual_seed(1)
    given = [(1e4 * torch.randn(many)).bfloat16() for many in (1, 4095, 4096, 4097, 300_001)]
    wanted = sum(float(each.double().square().sum()) for each in given)
    assert compiled.squares(given) == pytest.approx(wanted, rel=1e-6)
    assert compiled.squares([]) == 0


def test_a_gradient_that_is_no_number_is_not_hidden(compiled):
    module = linear()
    rounded = Rounded(module)
    own = optimizer([{"params": list(module.parameters()), "weight_decay": 0.0}], rounded, lr=0.02, kernels=compiled)
    for weight in module.parameters():
        weight.grad = torch.full(weight.shape, torch.nan).bfloat16()
    assert own.clip(1.0).isnan()
    own.step()
    assert all(weight.isnan().all() and rounded.exact(weight).isnan().all() for weight in module.parameters())


# ---- as a whole ----


@pytest.mark.parametrize("handed_on", ["all", "first"])
@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_a_model_learns_the_same_with_them(weights, handed_on, tmp_path, compiled):
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(
        MODELS["bert"](tmp_path, "bert"), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    ids = torch.randint(5, 40, (6, 14), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(14) < torch.tensor([14, 3, 9, 1, 12, 5])[:, None]).long()
    found = []
    for use in (True, False):
        own, way = copy.deepcopy(model), Way(weights, "plain", unpadded=True, kernels=use, handed_on=handed_on)
        with prepared(own, way, CPU) as rounded:
            groups = [{"params": list(own.parameters()), "weight_decay": 0.1}]
            steps = optimizer(groups, rounded, lr=1e-3, kernels=kernels_of(way, CPU))
            for _ in range(3):
                own(input_ids=ids, attention_mask=mask).logits.float().pow(2).mean().backward()
                steps.clip(1.0)
                steps.step()
                own.zero_grad()
        found.append(torch.cat([weight.detach().flatten() for weight in own.parameters()]))
    start = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    moved = (found[1] - start).norm()
    # In bfloat16 some gradients are hardly more than rounding, and Adam goes as far by them as by others.
    assert (found[0] - found[1]).norm() < (0.02 if weights == "float32" else 0.35) * moved


def test_a_way_without_them_or_on_a_card_has_none(compiled):
    card = Device("cuda", "bfloat16", 1, "test")
    assert kernels_of(Way(kernels=True), CPU) is compiled
    assert kernels_of(Way(), CPU) is None
    assert kernels_of(Way(kernels=True), card) is None


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Everything in this process; tells which kernels were used and when compiling began."""
    quiet_libraries()
    monkeypatch.setattr("core.training.run.detect", lambda: CPU)
    told = House(tmp_path / "home")
    told.begun, told.used = [], set()
    monkeypatch.setattr(kernel_building, "begin", lambda: told.begun.append(told.phases()))
    for name in (*USED, *MULTIPLYING, "gelu"):
        real = getattr(Kernels, name)

        def spying(self, *given, name=name, real=real, **more):
            told.used.add(name)
            return real(self, *given, **more)

        monkeypatch.setattr(Kernels, name, spying)
    return told


def test_a_run_compiles_while_it_opens_its_model_and_uses_all_of_them(house, tmp_path, compiled):
    spec = house.spec(Work("classification", "bert", "full"), MODELS["bert"](tmp_path / "model", "bert"))
    report, _ = house.train(spec)
    assert house.begun == [[]]
    # Where PyTorch multiplies, a block that bends is still tried in 32 bits.
    assert house.used == USED | (MULTIPLYING if compiled.multiplies else {"gelu", "linear", "bent_linear"})
    assert report["training_way"]["kernels"]
    assert report["training_way"]["handed_on"] == "first"


def test_a_run_in_32_bits_multiplies_too(house, tmp_path, monkeypatch, compiled):
    monkeypatch.setattr("core.training.run.detect", lambda: Device("cpu", "float32", 1, "test"))
    monkeypatch.setattr("core.training.precision.compiled", lambda: compiled)
    spec = house.spec(Work("classification", "bert", "full"), MODELS["bert"](tmp_path / "model", "bert"))
    report, _ = house.train(spec)
    assert house.used == USED | MULTIPLYING
    assert report["training_way"]["weights"] == "float32"


def test_a_run_that_trains_otherwise_does_not_compile(house, tmp_path, compiled):
    spec = house.spec(Work("classification", "bert", "quick"), MODELS["bert"](tmp_path / "model", "bert"))
    house.train(spec)
    assert not house.begun
    assert not house.used


# ---- compiling ----


def beginning(monkeypatch, source=None, compiler=None):
    """What `compiled` gives in a process of its own, so to speak."""
    if source is not None:
        monkeypatch.setattr(kernel_building, "_SOURCE", source)
    begun = BEGIN()
    monkeypatch.setattr(kernel_building, "begin", lambda: begun and (begun[0], compiler or begun[1], begun[2]))
    return kernel_building.compiled.__wrapped__(), begun


@pytest.mark.parametrize("pays", [True, False])
def test_linear_layers_are_among_them_where_they_pay(pays, monkeypatch, compiled):
    monkeypatch.setattr("core.models.kernel_checks.products_pay", lambda kernels, dtype: pays)
    found, _ = beginning(monkeypatch)
    assert found.multiplies is (pays and LAYERS_ARE_COMPILED)
    assert found.multiplies_exactly is pays


def test_nothing_is_left_of_compiling(monkeypatch, compiled):
    found, (_, _, folder) = beginning(monkeypatch)
    assert isinstance(found, Kernels)
    assert not Path(folder.name).exists()


def kept_in(monkeypatch, folder):
    """Where what is compiled is kept, which is nothing yet."""
    compiling_quickly(monkeypatch)
    monkeypatch.setattr(kernel_building, "gettempdir", lambda: str(folder))
    return folder / f"tuning-fork-{os.geteuid()}"


def test_what_was_compiled_once_is_kept_for_later_processes(monkeypatch, tmp_path, compiled):
    folder = kept_in(monkeypatch, tmp_path)
    for times in range(2):
        found, (process, _, _) = beginning(monkeypatch)
        assert found is not None
        assert (str(kernel_building._SOURCE) in process.args) is (times == 0)
    (kept,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(kernel_building, "_FLAGS", (*kernel_building._FLAGS, "-DANOTHER"))
    assert kernel_building._kept(shutil.which("cc")) not in (None, kept)
    monkeypatch.undo()
    kept_in(monkeypatch, tmp_path)
    other = tmp_path / "kernels.c"
    other.write_text(kernel_building._SOURCE.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    monkeypatch.setattr(kernel_building, "_SOURCE", other)
    assert kernel_building._kept(shutil.which("cc")) not in (None, kept)


def test_another_processor_has_its_own(monkeypatch, tmp_path, compiled):
    kept_in(monkeypatch, tmp_path)
    known = kernel_building._kept(shutil.which("cc"))
    told = kernel_building._PROCESSOR.read_text(encoding="utf-8")
    other = tmp_path / "cpuinfo"
    other.write_text(re.sub(r"(?m)^cpu MHz.*$", "cpu MHz : 1", told), encoding="utf-8")
    monkeypatch.setattr(kernel_building, "_PROCESSOR", other)
    assert kernel_building._kept(shutil.which("cc")) == known
    other.write_text(re.sub(r"(?m)^(flags|Features).*$", r"\1 : none", told), encoding="utf-8")
    assert kernel_building._kept(shutil.which("cc")) not in (None, known)
    other.unlink()
    assert kernel_building._kept(shutil.which("cc")) is None


@pytest.mark.parametrize("how", ["open", "link", "file"])
def test_a_folder_that_others_may_have_made_is_not_trusted(how, monkeypatch, tmp_path, compiled):
    folder = kept_in(monkeypatch, tmp_path)
    if how == "open":
        folder.mkdir()
        folder.chmod(0o750)
    elif how == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.write_text("", encoding="utf-8")
    assert kernel_building._kept(shutil.which("cc")) is None
    found, (process, _, _) = beginning(monkeypatch)
    assert found is not None
    assert str(kernel_building._SOURCE) in process.args
    assert how == "file" or not list(folder.iterdir())


def test_what_is_kept_and_damaged_is_compiled_anew(monkeypatch, tmp_path, compiled):
    kept_in(monkeypatch, tmp_path)
    kept = kernel_building._kept(shutil.which("cc"))
    kept.write_bytes(b"no object")
    assert beginning(monkeypatch)[0] is None
    assert not kept.exists()
    assert beginning(monkeypatch)[0] is not None
    assert kept.exists()


def test_what_computes_something_else_is_not_kept(monkeypatch, tmp_path, compiled):
    folder = kept_in(monkeypatch, tmp_path)
    monkeypatch.setattr("core.models.kernel_checks.agree", lambda kernels: False)
    assert beginning(monkeypatch)[0] is None
    assert not list(folder.iterdir())


def test_a_machine_without_a_compiler_has_none(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert beginning(monkeypatch)[0] is None


def test_a_compiler_that_can_not_be_run_is_none(monkeypatch, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("not a program", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(broken))
    assert beginning(monkeypatch)[0] is None


@pytest.mark.parametrize("source", ["int broken(", "int another_thing(void) { return 1; }"])
def test_what_does_not_compile_or_lacks_a_function_is_not_used(source, monkeypatch, tmp_path, compiled):
    path = tmp_path / "kernels.c"
    path.write_text(source, encoding="utf-8")
    found, (_, _, folder) = beginning(monkeypatch, path)
    assert found is None
    assert not Path(folder.name).exists()


def compiling_quickly(monkeypatch):
    """Compile as little as may be, in a third of the time."""
    monkeypatch.setattr(
        kernel_building, "_FLAGS", tuple("-Og" if flag == "-O3" else flag for flag in kernel_building._FLAGS)
    )


def test_what_is_compiled_quickly_computes_the_same(monkeypatch, compiled):
    compiling_quickly(monkeypatch)
    assert beginning(monkeypatch)[0] is not None


OF_THIS_PROCESSOR = [
    ("_mm512_maskz_mov_ps(kept, ", "_mm512_maskz_mov_ps(0xffff, "),
    ("_mm512_shuffle_f32x4(half, half, 0xb1)", "half"),
    ("i < there ? ", "1 ? "),
    ("9.999991909e-1f", "9.0e-1f"),
    ("_mm512_set1_ps(wholes[i]);\n            for", "_mm512_set1_ps(1);\n            for"),
    ("(tokens + 1) / 2, changed", "tokens / 2, changed"),
    ("128 * rows->sums", "127 * rows->sums"),
    ("* rows->zeros[row]", "* 0"),
]
OF_ITS_LAYERS = [
    ("0x3f803f80", "0x3f800000"),  # half of what biases learn
    ("if (all.beside) all_added", "if (0) all_added"),
    ("sums[row][0] = _mm512_mul_ps", "sums[row][0] = _mm512_add_ps"),
    ("rows[i + 2] = _mm512_unpacklo", "rows[i + 2] = _mm512_unpackhi"),
    ("_mm512_fmadd_ps(near, share, half)", "share"),
    ("place = row * all.outer + column", "place = row * all.outer"),
    ("found + i / 4 * COLUMNS + half, COLUMNS", "found + i / 4 * COLUMNS, COLUMNS"),
    ("zeros[half + row] = widths", "zeros[row] = widths"),
    ("_mm512_slli_epi32(whole, 8 * n)", "_mm512_slli_epi32(whole, 8 * (3 - n))"),
    ("own + layer * panel, widths[layer],", "own + layer * panel, widths[0],"),
    ("int8_added(wanted + layer", "int8_added(wanted"),
]


OF_INT16 = [
    ("if (whole) widths[begin + lane] = wide[lane]", "if (whole) widths[begin] = wide[lane]"),
    ("whole_of(next[lane], by[lane]) << 16", "whole_of(given[lane], by[lane]) << 16"),
    ("if (whole && next)", "if (0)"),
    ("wanted[layer].scales + row", "wanted[0].scales + row"),
    ("given->scales + row", "given->scales"),
    ("most_of(width), (int16_t *)room", "127.0f, (int16_t *)room"),
]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("0x85ebca6bu ^ between", "0u ^ between"),  # drops all or nothing
        ("* scale;\n        put", "* 2.0f * scale;\n        put"),
        ("share + x * bell * 0.39894228f", "share"),
        ("1.0f - step->beta1", "step->beta1"),
        ("means = place * width", "means = 0"),
        ("sum += widened(numbers[i]) * widened(numbers[i])", "sum += widened(numbers[i])"),
        ("share[j + lane] * (to[j + lane] - usual)", "share[j + lane] * to[j + lane]"),
        ("scores[j] = -3e38f", "scores[j] = 0"),
        ("(numbers[i] - mean) * by * got(weight", "numbers[i] * by * got(weight"),
        ("slope - usual - along * got(even", "slope - usual - got(even"),
        ("sums[width + i] += slope", "sums[width + i] = slope"),
        ("sums[row][1] += far * same", "sums[row][1] += near * same"),
        ("sums[row][part] += left[row * left_row] * numbers[part]", "sums[row][part] += left[0] * numbers[part]"),
        ("row += 6;", "row += 8;"),
        ("SHUFFLED(high, last, 2, 3, 6, 7)", "SHUFFLED(high, last, 0, 1, 4, 5)"),
        ("= bent(numbers[lane], bending + lane)", "= bent(numbers[lane], bending)"),
        ("lane++) from[lane] *= all->slopes[to + lane]", "lane++) from[lane] *= 1.0f"),
        ("lane++) from[lane] += all->beside[to + lane]", "lane++) from[lane] += 0.0f"),
        ("whole_sums[lane] += given[lane]", "whole_sums[lane] = given[lane]"),
        (
            "numbers[i * BROAD + lane] += added[column + part + lane]",
            "numbers[i * BROAD + lane] += added[column + lane]",
        ),
        *(OF_INT16 if PAIRS_OF_INT16_ARE_MULTIPLIED else ()),
        *(OF_THIS_PROCESSOR if PAIRS_ARE_MULTIPLIED else ()),
        *(OF_ITS_LAYERS if LAYERS_ARE_COMPILED else ()),
    ],
)
def test_what_computes_something_else_is_not_used(right, wrong, monkeypatch, tmp_path, compiled):
    compiling_quickly(monkeypatch)
    path, source = tmp_path / "kernels.c", kernel_building._SOURCE.read_text(encoding="utf-8")
    assert right in source
    path.write_text(source.replace(right, wrong), encoding="utf-8")
    assert beginning(monkeypatch, path)[0] is None


def test_a_link_that_fails_is_no_harm(monkeypatch, compiled):
    assert beginning(monkeypatch, compiler=shutil.which("false"))[0] is None


def test_a_compiler_that_never_ends_is_ended(monkeypatch, compiled):
    slow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with kernel_building.TemporaryDirectory() as folder:
        monkeypatch.setattr(kernel_building, "_LONGEST_WAIT", 0.05)
        monkeypatch.setattr(kernel_building, "begin", lambda: (slow, "cc", nullcontext(folder)))
        assert kernel_building.compiled.__wrapped__() is None
    assert slow.wait(10) != 0
