"""Layers of compiled steps learn what PyTorch's learn; a block that is put together otherwise stays as it is."""

import copy
from itertools import chain, count, cycle

import pytest
import torch
from torch.nn.functional import gelu, layer_norm
from transformers import AutoModel, AutoModelForSequenceClassification

from core.models.compiled_layers import compiled_layers, is_linear
from core.models.kernel_arguments import Norm
from core.models.kernel_checks import products_pay
from core.models.kernels import Kernels
from core.models.rounding import rounded_reading
from core.models.whole_products import whole_products
from tests.processor import LAYERS_ARE_COMPILED
from tests.ways import MODELS

FORMATS = (torch.float32, torch.bfloat16)
# Tokens, numbers that come and numbers that go: whole blocks and odd rests, wider at either end, and as wide.
SHAPES = [(8, 32, 96), (9, 64, 32), (33, 64, 64), (47, 96, 160), (70, 160, 32)]
NEAR = {torch.float32: {"rtol": 1e-5, "atol": 1e-4}, torch.bfloat16: {"rtol": 2**-8, "atol": 2e-5}}


def multiplied(compiled, dtype):
    """The kernels, where linear layers in this format are among them."""
    if dtype == torch.bfloat16 and not compiled.multiplies:
        pytest.skip("this processor does not multiply pairs of bfloat16")
    return compiled


@pytest.fixture
def multiplying(compiled):
    return multiplied(compiled, torch.bfloat16)


@pytest.fixture(params=FORMATS, ids=["32", "16"])
def dtype(request, compiled):
    """A format in which linear layers are compiled."""
    multiplied(compiled, request.param)
    return request.param


def drawn(*shapes, dtype=torch.bfloat16, seed=0):
    """Numbers of these shapes, about 1."""
    chance = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=chance).to(dtype) for shape in shapes]


def bert(tmp_path, **more):
    torch.manual_seed(3)
    folder = MODELS["bert"](tmp_path, "bert")
    return AutoModelForSequenceClassification.from_pretrained(folder, attention_probs_dropout_prob=0.0, **more)


def test_a_processor_that_multiplies_pairs_is_used(compiled):
    assert compiled.multiplies == LAYERS_ARE_COMPILED
    assert compiled.can_multiply(*drawn((8, 64), (32, 64))) == LAYERS_ARE_COMPILED
    assert compiled.can_multiply(*drawn((8, 64), (32, 64), dtype=torch.float32))


# ---- products ----


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_layers_compute_and_learn_what_exact_ones_do(shape, count, dtype, compiled):
    tokens, inner, outer = shape
    (given,), weights = drawn((2, tokens, inner), dtype=dtype), drawn(*[(outer, inner)] * count, dtype=dtype, seed=1)
    biases = drawn(*[(outer,)] * count, dtype=dtype, seed=2)
    wanted = drawn(*[(2, tokens, outer)] * count, dtype=dtype, seed=3)
    biases[0] = None
    exact = given.double()
    for found, weight, bias in zip(compiled.linear(given, weights, biases), weights, biases, strict=True):
        usual = exact @ weight.double().T + (0 if bias is None else bias.double())
        torch.testing.assert_close(found.double(), usual, **NEAR[dtype])
    back = sum(each.double() @ weight.double() for each, weight in zip(wanted, weights, strict=True))
    torch.testing.assert_close(compiled.linear_back(wanted, weights).double(), back, **NEAR[dtype])
    slopes, beside = drawn((2, tokens, inner), (2, tokens, inner), dtype=dtype, seed=4)
    found = compiled.linear_back(wanted, weights, slopes, beside).double()
    torch.testing.assert_close(found, back * slopes.double() + beside.double(), **NEAR[dtype])
    for (weight, bias), each in zip(compiled.linear_weights(wanted, given), wanted, strict=True):
        usual = each.double().flatten(0, 1).T @ exact.flatten(0, 1)
        torch.testing.assert_close(weight.double(), usual, **NEAR[dtype])
        torch.testing.assert_close(bias.double(), each.double().sum((0, 1)), **NEAR[dtype])


def test_a_bent_layer_gives_gelu_and_its_slopes(dtype, compiled):
    given, weight, bias = drawn((40, 64), (96, 64), (96,), dtype=dtype)
    exact = (given.double() @ weight.double().T + bias.double()).requires_grad_()
    assert float(exact.detach().min()) < -10 < 10 < float(exact.detach().max())
    (right,) = torch.autograd.grad(gelu(exact).sum(), exact)
    slopes = torch.empty(40, 96, dtype=dtype)
    for into in (slopes, None):
        found = compiled.bent_linear(given, weight, bias, into)
        torch.testing.assert_close(found.double(), gelu(exact.detach()), **NEAR[dtype])
    torch.testing.assert_close(slopes.double(), right, **NEAR[dtype])


def test_parts_of_a_larger_tensor_are_read_as_they_lie(dtype, compiled):
    large, weight = drawn((9, 16, 64), (32, 64), dtype=dtype)
    given = large.transpose(0, 1)
    (found,) = compiled.linear(given, [weight], [None])
    torch.testing.assert_close(found, compiled.linear(given.contiguous(), [weight], [None])[0], rtol=0, atol=0)
    (wide,) = drawn((16, 9, 64), dtype=dtype, seed=2)
    half = wide[..., :32]
    same = compiled.linear_back([half.contiguous()], [weight])
    torch.testing.assert_close(compiled.linear_back([half], [weight]), same, rtol=0, atol=0)


def test_results_do_not_depend_on_threads(dtype, compiled, threads):
    given, wanted, weight, bias = drawn((203, 160), (203, 96), (96, 160), (96,), dtype=dtype)
    norm = Norm(bias, bias, 1e-5, 7, 0.1)
    even, scales, found = torch.empty_like(wanted), torch.empty(203), []
    for many in (1, 2, 3):
        threads(many)
        found.append([
            *compiled.linear(given, [weight], [bias]), compiled.linear_back([wanted], [weight]),
            *compiled.linear_weights([wanted], given)[0], compiled.norm(wanted, wanted, norm, even, scales),
            *compiled.norm_back(wanted, norm, even, scales, learned=True),
        ])  # fmt: skip
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize(("tokens", "weight"), [(7, (32, 64)), (8, (32, 48)), (8, (48, 32))])
def test_other_shapes_and_formats_are_left_to_pytorch(tokens, weight, dtype, compiled, monkeypatch):
    given, weights, some, right = drawn((tokens, weight[1]), weight, (8, 64), (32, 64), dtype=dtype)
    assert not compiled.can_multiply(given, weights)
    assert compiled.can_multiply(some, right)
    assert not compiled.can_multiply(some[:, :32], right.T[:32, :32])
    assert not compiled.can_multiply(some.double(), right.double())
    assert not compiled.can_multiply(some, right.double())
    monkeypatch.setattr(compiled, "multiplies_exactly" if dtype == torch.float32 else "multiplies", False)
    assert not compiled.can_multiply(some, right)


@pytest.mark.parametrize(("own", "pays"), [(0.9, True), (1.2, True), (1.3, False)])
def test_where_pytorch_multiplies_far_faster_it_does(own, pays, dtype, compiled, monkeypatch, threads):
    # What each product takes by this clock: PyTorch's 1 at best, ours so much, and now and then both far longer.
    took = chain([5.0, 9.0 * own], cycle([1.0, 4.0 * own, 3.0, own]))
    read, now = count(), [0.0]

    def clock():
        if next(read) % 3:  # the first of three is the beginning
            now[0] += next(took)
        return now[0]

    monkeypatch.setattr("core.models.kernel_checks.perf_counter", clock)
    torch.manual_seed(1)
    threads(2)
    assert products_pay(compiled, dtype) is pays
    assert torch.get_num_threads() == 2
    drawn_then = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn_then)  # no random number of a run is drawn


# ---- norms ----


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("width", [1, 50, 96])
@pytest.mark.parametrize("dtype", FORMATS)
def test_a_norm_of_what_is_left_and_beside_and_its_way_back(dtype, width, share, compiled):
    rows = 130  # three groups
    given, beside, wanted = drawn((rows, width), (rows, width), (rows, width), dtype=dtype)
    weight, bias = drawn((width,), (width,), dtype=dtype, seed=1)
    norm, even, scales = Norm(weight, bias, 1e-3, 2**63 + 1, share), torch.empty_like(given), torch.empty(rows)
    found = compiled.norm(given, beside, norm, even, scales)
    assert torch.equal(found, compiled.norm(given, beside, norm))
    left = compiled.dropped(torch.ones(rows, width), 2**63 + 1, share).double()
    assert (left == 0).any() == (share > 0)
    exact = [each.double().requires_grad_() for each in (given, beside, weight, bias)]
    usual = layer_norm(exact[0] * left + exact[1], (width,), exact[2], exact[3], 1e-3)
    right = torch.autograd.grad(usual, exact, wanted.double())
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 2**-6, "atol": 0.02}
    torch.testing.assert_close(found.double(), usual.detach(), **close)
    to_given, to_beside, both = compiled.norm_back(wanted, norm, even, scales, learned=True)
    for one, other in zip((to_given, to_beside), right[:2], strict=True):
        torch.testing.assert_close(one.double(), other, **close)
    wide = close if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.2}  # sums of 130 rounded numbers
    for one, other in zip(both, right[2:], strict=True):
        torch.testing.assert_close(one.double(), other, **wide)
    assert compiled.norm_back(wanted, norm, even, scales, learned=False)[2] is None


def test_a_norm_knows_its_formats(compiled):
    (one,), (other,), (weight,) = drawn((3, 5)), drawn((3, 5), dtype=torch.float32), drawn((5,))
    assert compiled.can_norm(one, one, weight)
    assert not compiled.can_norm(one, other, weight)
    assert not compiled.can_norm(one, one, weight.float())
    assert not compiled.can_norm(one, one[:1], weight)
    (wide,), (wider,) = drawn((1, 8193)), drawn((8193,))
    assert not compiled.can_norm(wide, wide, wider)


# ---- a model's layers ----


def learned(model, ids, mask=None):
    """What a model gives and the gradients of what it learns, in 32 bits."""
    logits = model(input_ids=ids, attention_mask=mask).logits.float()
    logits.square().sum().backward()
    return logits.detach(), {n: w.grad.float() for n, w in model.named_parameters() if w.grad is not None}


def apart(found, wanted):
    """How far some tensors are from others, as a share of these."""
    between = torch.stack([(one - two).norm() for one, two in zip(found, wanted, strict=True)]).norm()
    return float(between / torch.stack([two.norm() for two in wanted]).norm())


def test_a_model_learns_as_exactly_as_with_pytorch(tmp_path, multiplying):
    model = bert(tmp_path, hidden_dropout_prob=0.0)
    ids = torch.randint(5, 40, (6, 14), generator=torch.Generator().manual_seed(0))
    logits, gradients = learned(copy.deepcopy(model), ids)
    far = []
    for use in (multiplying, None):
        own = copy.deepcopy(model).to(torch.bfloat16)
        with compiled_layers(own, use):
            found, slopes = learned(own, ids)
        assert slopes.keys() == gradients.keys()
        far.append((apart([found], [logits]), apart(slopes.values(), gradients.values())))
    assert far[0][0] < 0.03
    assert far[0][1] < 1.1 * far[1][1] < 0.1


@pytest.mark.parametrize("multiplies", [True, False])
def test_in_32_bits_a_model_learns_the_same(multiplies, tmp_path, compiled, monkeypatch):
    monkeypatch.setattr(compiled, "multiplies_exactly", multiplies)
    model = bert(tmp_path, hidden_dropout_prob=0.0)
    ids = torch.randint(5, 40, (6, 14), generator=torch.Generator().manual_seed(0))
    usual, used = learned(copy.deepcopy(model), ids), []
    for name in ("norm_back", "linear_weights"):
        real = getattr(Kernels, name)
        monkeypatch.setattr(Kernels, name, lambda *a, real=real, name=name, **k: (used.append(name), real(*a, **k))[1])
    with compiled_layers(model, compiled):
        found = learned(model, ids)
    layers = model.config.num_hidden_layers
    assert (used.count("norm_back"), used.count("linear_weights")) == (2 * layers, 4 * layers if multiplies else 0)
    torch.testing.assert_close(found[0], usual[0], rtol=1e-4, atol=1e-5)
    assert apart(found[1].values(), usual[1].values()) < 1e-4


def test_autocast_rounds_what_it_always_did(tmp_path, compiled, monkeypatch):
    layer = bert(tmp_path).bert.encoder.layer[0].output.dense
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([layer, layer])})
    monkeypatch.setattr("core.models.adapting.layer_stacks", lambda _: ["layers"])
    (given,) = drawn((9, layer.in_features), dtype=torch.float32)
    with compiled_layers(model, compiled):
        assert layer.is_now_compiled(given)
        assert layer(given).dtype == torch.float32
        with torch.autocast("cpu", torch.bfloat16):
            assert not layer.is_now_compiled(given)
            assert layer(given).dtype == torch.bfloat16


def test_dropout_is_drawn_anew_and_followed_back(tmp_path, multiplying):
    model = bert(tmp_path, hidden_dropout_prob=0.2).to(torch.bfloat16).train()
    ids = torch.randint(5, 40, (6, 14), generator=torch.Generator().manual_seed(0))
    with compiled_layers(model, multiplying):
        torch.manual_seed(1)
        first, again = (model(input_ids=ids).logits for _ in range(2))
        torch.manual_seed(1)
        assert torch.equal(model(input_ids=ids).logits, first)
        assert not torch.equal(again, first)
        quiet = model.eval()
        assert torch.equal(quiet(input_ids=ids).logits, quiet(input_ids=ids).logits)
        layer = model.bert.encoder.layer[0].train()
        given = drawn((1, 16, layer.output.dense.weight.shape[0]))[0].requires_grad_()
        assert not torch.equal(layer.feed_forward_chunk(given), layer.feed_forward_chunk(given))
        layer.output.dropout.p = 1.0  # all of it: what is beside is normed alone
        alone = layer.output.LayerNorm(given)
        torch.testing.assert_close(layer.feed_forward_chunk(given), alone, rtol=0.02, atol=0.02)


def test_what_is_frozen_learns_nothing_and_keeps_nothing(tmp_path, multiplying):
    model = bert(tmp_path, hidden_dropout_prob=0.0).to(torch.bfloat16)
    layers = model.bert.encoder.layer
    for weight in layers.parameters():
        weight.requires_grad = False
    ids = torch.randint(5, 40, (6, 14), generator=torch.Generator().manual_seed(0))
    whole, kept = [], []
    for use in (None, multiplying):
        own = copy.deepcopy(model)
        with (
            compiled_layers(own, use),
            torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
        ):
            learned(own, ids)
        assert all(weight.grad is None for weight in own.bert.encoder.layer.parameters())
        whole.append(own.bert.embeddings.word_embeddings.weight.grad.float())
    assert apart(whole[1:], whole[:1]) < 0.05
    hidden, wide = (6, 14, model.config.hidden_size), (6, 14, model.config.intermediate_size)
    with compiled_layers(model, multiplying):
        kept.clear()
        given = drawn(hidden)[0].requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
            layers[0].feed_forward_chunk(given)
            layers[0].attention.self.query(given)
    assert kept.count(torch.Size(wide)) == 1  # slopes alone
    assert kept.count(torch.Size(hidden)) == 1  # what the norm needs


def test_queries_keys_and_values_are_computed_together_or_apart(tmp_path, multiplying, monkeypatch):
    attention = bert(tmp_path).to(torch.bfloat16).bert.encoder.layer[0].attention.self
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([attention, attention])})
    monkeypatch.setattr("core.models.adapting.layer_stacks", lambda _: ["layers"])
    one, other = drawn(*[(2, 9, attention.query.in_features)] * 2)
    parts, counts = (attention.query, attention.key, attention.value), []
    usual = [[part(given) for part in parts] for given in (one, other)]
    real = Kernels.linear
    monkeypatch.setattr(
        Kernels, "linear", lambda self, x, w, b, **more: (counts.append(len(w)), real(self, x, w, b, **more))[1]
    )
    with compiled_layers(model, multiplying):
        for given, wanted in zip((one, other), usual, strict=True):
            for part, right in zip(parts, wanted, strict=True):
                torch.testing.assert_close(part(given), right, rtol=0.02, atol=1e-3)
        assert counts == [3, 3]
        # Attention to something else: queries are of one text, keys and values of another.
        for _ in range(2):
            for part, given, right in zip(parts, (one, other, other), (usual[0][0], *usual[1][1:]), strict=True):
                torch.testing.assert_close(part(given), right, rtol=0.02, atol=1e-3)
        assert counts[2:] == [3, 1, 1, 1, 1, 1]
    assert "together" not in vars(attention.query)


class NormedFirst(torch.nn.Module):
    """Parts of the same names in another order."""

    def __init__(self, like):
        super().__init__()
        self.dense, self.dropout, self.LayerNorm = like.dense, like.dropout, like.LayerNorm

    def forward(self, hidden_states, input_tensor):
        return self.dropout(self.dense(self.LayerNorm(hidden_states))) + input_tensor


def test_a_block_that_is_put_together_otherwise_stays(tmp_path, multiplying):
    model = bert(tmp_path, hidden_dropout_prob=0.0)
    odd = model.bert.encoder.layer[0]
    odd.attention.output = NormedFirst(odd.attention.output)
    forwards = [layer.attention.output.forward.__func__ for layer in model.bert.encoder.layer]
    with compiled_layers(model, multiplying):
        blocks = [layer.attention.output for layer in model.bert.encoder.layer]
        assert "forward" not in vars(blocks[0])
        assert all("forward" in vars(block) for block in blocks[1:])
        assert all("feed_forward_chunk" in vars(layer) for layer in model.bert.encoder.layer)
        assert not any(type(module) is torch.nn.Linear for module in model.bert.encoder.modules())
        assert is_linear(blocks[0].dense)
        assert type(model.classifier) is torch.nn.Linear
    assert all(type(m) is torch.nn.Linear for m in model.bert.encoder.modules() if is_linear(m))
    assert [layer.attention.output.forward.__func__ for layer in model.bert.encoder.layer] == forwards
    assert not any("feed_forward_chunk" in vars(layer) for layer in model.bert.encoder.layer)


def test_all_is_as_before_also_after_an_error(tmp_path, compiled):
    model = bert(tmp_path)
    before = {name: (type(module), *sorted(vars(module))) for name, module in model.named_modules()}
    with pytest.raises(ZeroDivisionError), compiled_layers(model, compiled):
        raise ZeroDivisionError
    assert {name: (type(module), *sorted(vars(module))) for name, module in model.named_modules()} == before


@pytest.mark.parametrize("family", sorted(MODELS))
@pytest.mark.parametrize("dtype", FORMATS)
def test_each_family_computes_the_same(dtype, family, tmp_path, compiled):
    torch.manual_seed(3)
    model = AutoModel.from_pretrained(MODELS[family](tmp_path, family)).to(dtype).eval()
    ids = torch.randint(5, 40, (3, 14), generator=torch.Generator().manual_seed(0))
    given = {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})
    with torch.inference_mode():
        exact = copy.deepcopy(model).float()(**given).last_hidden_state
        usual = model(**given).last_hidden_state.float()
        with compiled_layers(model, compiled):
            found = model(**given).last_hidden_state.float()
    assert apart([found], [exact]) < 1.2 * apart([usual], [exact]) + (1e-3 if dtype == torch.bfloat16 else 1e-5)


def test_many_texts_are_read_with_them(tmp_path, dtype, compiled, monkeypatch):
    model, used = bert(tmp_path).eval(), []
    ids = torch.randint(5, 40, (6, 14), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("core.models.rounding.ready", lambda: compiled)
    real = Kernels.linear
    monkeypatch.setattr(Kernels, "linear", lambda *given, **more: (used.append(1), real(*given, **more))[1])
    with torch.inference_mode():
        usual = model(input_ids=ids).logits
    rounded = dtype == torch.bfloat16
    with rounded_reading(model, 10_000, rounded=rounded) as lean:
        assert model.classifier.weight.dtype == dtype
        found = model(input_ids=ids).logits.float()
    assert used
    assert lean
    monkeypatch.setattr("core.models.rounding.ready", lambda: None)
    for tokens in (0, 10_000):
        with rounded_reading(model, tokens, rounded=rounded) as lean:
            assert not lean
    near = 0.05 if rounded else 1e-4
    torch.testing.assert_close(found, usual, rtol=near, atol=near)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_int8_goes_before_them_and_bends_too(tmp_path, multiplying, monkeypatch):
    if not multiplying.can_multiply_int8(torch.zeros(32, 32)):
        pytest.skip("this processor does not multiply int8")
    model, bent = bert(tmp_path).to(torch.bfloat16).eval(), []
    ids = torch.randint(5, 40, (6, 14), generator=torch.Generator().manual_seed(0))
    real = Kernels.int8_linear

    def spying(*given, bend=False, **more):
        bent.append(bend)
        return real(*given, bend=bend, **more)

    monkeypatch.setattr(Kernels, "int8_linear", spying)
    with torch.inference_mode():
        usual = model(input_ids=ids).logits.float()
        with compiled_layers(model, multiplying), whole_products(model, multiplying) as some:
            assert some
            found = model(input_ids=ids).logits.float()
            layers = model.config.num_hidden_layers
            assert (len(bent), sum(bent)) == (6 * layers, layers)
            model.bert.encoder.layer[0].intermediate(drawn((1, 9, model.config.hidden_size))[0])
            assert sum(bent) == layers + 1
        assert "bent" not in vars(model.bert.encoder.layer[0].intermediate.dense)
    torch.testing.assert_close(found, usual, rtol=0.05, atol=0.05)
