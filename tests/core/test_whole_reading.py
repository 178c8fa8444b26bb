"""Many texts are read by products of int8 or int16 where that agrees on some of them; what is judged never is."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from core.device import Device
from core.models import rounding
from core.models.compiled_layers import compiled_layers
from core.models.kernels import Kernels
from core.models.whole_products import whole_products
from core.tasks import _labelling, _whole_reading
from core.tasks._whole_reading import whole_reading
from core.tasks.base import find
from tests import tiny

TEXTS = [" ".join([tiny.WORDS[n % 30], tiny.WORDS[(3 * n) % 30]] * (1 + n % 20)) for n in range(96)]
DEVICES = {"int8_linear": Device("cpu", "bfloat16", 1, "test"), "int16_linear": Device("cpu", "float32", 1, "test")}
PRESENT = object()
CLASSES, SETS = find("classification"), find("multi_label")


@pytest.fixture(params=DEVICES)
def kind(request, compiled):
    """The product that a processor has: of a device that computes in bfloat16, and of one that does in 32 bits."""
    # Whether that is right: test_kernels.py, test_rounded_learning.py.
    if not (compiled.fours if request.param == "int8_linear" else compiled.learns_int16):
        pytest.skip("this processor does not multiply these")
    return request.param


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(3)
    folder = tiny.encoder(tmp_path, hidden_size=128, intermediate_size=256)
    found = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    logits = torch.tensor(_labelling.logits_of(found, tiny.tokenizer(), TEXTS, Device("cpu", "float32", 1, "test")))
    with torch.no_grad():  # answers that differ
        found.classifier.weight.div_(logits.std(0)[:, None])
        found.classifier.bias.copy_((found.classifier.bias - logits.mean(0)) / logits.std(0))
    return found.eval()


class Reader:
    """Reads texts as (logits as usual, logits by int8) of a table, and remembers which."""

    def __init__(self, usual, quick):
        self.usual, self.quick, self.by_int8, self.asked = usual, quick, False, []

    def __call__(self, places):
        self.asked.append((self.by_int8, list(places)))
        return (self.quick if self.by_int8 else self.usual)[list(places)].copy()


@pytest.fixture
def reading(monkeypatch):
    """From logits as usual and by int8 to what is found, and what was asked for."""

    def read(usual, quick, task=CLASSES, some=True, kernels=PRESENT, lengths=None):
        usual, quick = (np.array(each, dtype=np.float32) for each in (usual, quick))
        reader = Reader(usual, quick)

        class Products:
            def __init__(self, model, given):
                assert given is kernels

            def __enter__(self):
                reader.by_int8 = some
                return some

            def __exit__(self, *raised):
                reader.by_int8 = False

        monkeypatch.setattr(_whole_reading, "whole_products", Products)
        monkeypatch.setattr(_whole_reading, "ready", lambda: kernels)
        lengths = lengths or [_whole_reading._WORTH // len(usual) + 1] * len(usual)
        return whole_reading(task, None, lengths, reader), reader.asked

    return read


def clear(many, lead=4.0):
    """Logits of two labels, whose answers are clear."""
    return np.array([[lead, -lead] if n % 2 else [-lead, lead] for n in range(many)])


def test_all_are_read_by_int8_and_what_was_tried_as_usual(reading):
    usual, quick = clear(64), clear(64) + 0.01 * np.arange(2)
    found, asked = reading(usual, quick)
    assert [(by_int8, len(places)) for by_int8, places in asked] == [(False, 4), (True, 4), (True, 60)]
    tried = [0, 21, 42, 63]  # the shortest, the longest and some between
    assert asked[0][1] == asked[1][1] == tried
    np.testing.assert_array_equal(found[tried], usual.astype(np.float32)[tried])
    rest = np.setdiff1d(np.arange(64), tried)
    np.testing.assert_array_equal(found[rest], quick.astype(np.float32)[rest])


def test_of_few_long_texts_all_are_tried(reading):
    found, asked = reading(clear(3), clear(3) + 0.01 * np.arange(2))
    assert asked == [(False, [0, 1, 2]), (True, [0, 1, 2])]
    np.testing.assert_array_equal(found, clear(3).astype(np.float32))


def test_texts_are_tried_from_short_to_long(reading):
    lengths = [5000 - place for place in range(400)]
    _, asked = reading(clear(400), clear(400) + 0.01 * np.arange(2), lengths=lengths)
    assert [399 - place for place in asked[0][1]] == [0, 80, 160, 239, 319, 399]


def test_what_is_not_clear_is_read_again(reading):
    usual = clear(64)
    usual[10], usual[20], usual[30] = [0.001, 0], [0, 0.001], [1.0, 0]
    quick = usual + 0.01 * np.arange(2)
    quick[[0, 63]] = usual[[0, 63]] + np.array([[0.0, 4.0]])  # moves probabilities by .002 on average
    found, asked = reading(usual, quick)
    assert asked[3:] == [(False, [10, 20])]
    np.testing.assert_array_equal(found[[10, 20]], usual.astype(np.float32)[[10, 20]])
    assert found[30, 1] == np.float32(0.01)


def test_what_was_tried_is_not_read_a_third_time(reading):
    usual = clear(64)
    usual[0] = [0, 0]
    _, asked = reading(usual, usual + 0.002 * np.arange(2))
    assert len(asked) == 3


def test_labels_by_themselves_are_clear_by_their_thresholds(reading, monkeypatch):
    monkeypatch.setattr(type(SETS), "_least", lambda self, model: [0.5, 0.9])
    usual = np.full((64, 2), 5.0)
    usual[7, 1], usual[8, 0], usual[9, 1] = np.log(9), 0.0, 0.0  # at a threshold, at the other, and at none
    quick = usual.copy()
    quick[[0, 63]] -= 0.2
    _, asked = reading(usual, quick, SETS)
    assert asked[3:] == [(False, [7, 8])]


@pytest.mark.parametrize(
    "quick", [clear(64)[:, ::-1], clear(64) * 0.3, np.full((64, 2), np.nan)], ids=["turned", "weak", "no number"]
)
def test_what_does_not_agree_is_read_as_usual(quick, reading):
    usual = clear(64)
    found, asked = reading(usual, quick)
    np.testing.assert_array_equal(found, usual.astype(np.float32))
    assert [(by_int8, len(places)) for by_int8, places in asked] == [(False, 4), (True, 4), (False, 60)]


def test_without_layers_or_kernels_or_with_few_tokens_all_is_as_usual(reading):
    usual, quick = clear(64), clear(64) + 1
    few = [(_whole_reading._WORTH - 64) // 64] * 64
    for how in ({"some": False}, {"kernels": None}, {"lengths": few}):
        found, asked = reading(usual, quick, **how)
        np.testing.assert_array_equal(found, usual.astype(np.float32))
        assert not any(by_int8 for by_int8, _ in asked)


# ---- with a model ----


def multiplied(monkeypatch, kind):
    """How often a linear layer multiplied whole numbers."""
    counted, real = [], getattr(Kernels, kind)
    monkeypatch.setattr(Kernels, kind, lambda *given, **more: counted.append(1) or real(*given, **more))
    return counted


@pytest.fixture
def worth(monkeypatch, compiled):
    """A process that compiled, and texts that are enough."""
    monkeypatch.setattr(_whole_reading, "_WORTH", 100)
    for module in (_whole_reading, rounding):
        monkeypatch.setattr(module, "ready", lambda: compiled)
    for module, name in ((_labelling, "_WORTH_ROUNDING"), (_labelling, "WORTH_A_TRIAL"), (rounding, "WORTH_A_TRIAL")):
        monkeypatch.setattr(module, name, 100)


@pytest.mark.parametrize("layers", [True, False], ids=["compiled", "as they are"])
def test_layers_are_as_before_afterwards(layers, model, kind, compiled):
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    ids, exact = torch.randint(5, 40, (3, 9)), kind == "int16_linear"
    with torch.no_grad():
        usual = model(input_ids=ids).logits
        with (
            rounding.rounded_reading(model, rounded=not exact),
            compiled_layers(model, compiled if layers else None),
            whole_products(model, compiled) as some,
        ):
            found = model(input_ids=ids).logits.float()
        again = model(input_ids=ids).logits
    assert some
    assert torch.equal(usual, again)
    assert 0 < float((found - usual).norm()) < (0.002 if exact else 0.05) * float(usual.norm())
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_model_without_such_layers_has_none(kind, compiled):
    odd = AutoModelForSequenceClassification.from_config(tiny.config(hidden_size=24, intermediate_size=20))
    with whole_products(odd.to(torch.float32 if kind == "int16_linear" else torch.bfloat16), compiled) as some:
        assert not some


def test_answers_are_those_of_usual_products(model, kind, worth, monkeypatch):
    counted, tokenizer = multiplied(monkeypatch, kind), tiny.tokenizer()
    found = CLASSES.predict(model, tokenizer, TEXTS, DEVICES[kind])
    assert counted
    counted.clear()
    monkeypatch.setattr(_whole_reading, "ready", lambda: None)
    wanted = CLASSES.predict(model, tokenizer, TEXTS, DEVICES[kind])
    assert not counted
    assert len({each.answer for each in wanted}) > 1
    assert [each.answer for each in found] == [each.answer for each in wanted]
    most = 0.1 if kind == "int8_linear" else 0.002
    assert max(abs(a.confidence - b.confidence) for a, b in zip(found, wanted, strict=True)) < most


@pytest.mark.parametrize("task", [CLASSES, SETS], ids=["classes", "sets"])
def test_what_is_judged_is_read_as_usual(task, model, kind, worth, monkeypatch):
    import pandas as pd

    counted = multiplied(monkeypatch, kind)
    rows = pd.DataFrame({"text": TEXTS})
    answers = task.answer(model, tiny.tokenizer(), rows, None, DEVICES[kind])
    assert len(answers.predictions) == len(TEXTS)
    assert not counted
    task.predict(model, tiny.tokenizer(), TEXTS, DEVICES[kind])
    assert counted


def test_few_texts_in_32_bits_are_read_as_one_is(model, monkeypatch):
    asked = []
    monkeypatch.setattr(_labelling, "rounded_reading", lambda *given, **more: asked.append(given) or nullcontext(False))
    monkeypatch.setattr(_labelling, "WORTH_A_TRIAL", 10_000)
    _labelling.logits_of(model, tiny.tokenizer(), TEXTS, DEVICES["int16_linear"])
    assert not asked
    monkeypatch.setattr(_labelling, "WORTH_A_TRIAL", 100)
    _labelling.logits_of(model, tiny.tokenizer(), TEXTS, DEVICES["int16_linear"])
    assert asked
