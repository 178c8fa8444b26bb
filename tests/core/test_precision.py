"""The fast ways to compute a step give what the plain one gives."""

import random

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from core.device import Device
from core.models import attention
from core.models.adapting import adapt
from core.models.attention import attend, short_attention
from core.spec import DataChoice, build
from core.tasks._batches import training_batch
from core.tasks.base import find
from core.training import precision
from core.training.dropout import cheap_dropout
from core.training.logits import Guesses
from core.training.precision import Way, choose, prepared
from tests import tiny

CPU = Device("cpu", "bfloat16", 1, "test")
FAMILIES = [("bert", "encoder"), ("roberta", "encoder"), ("distilbert", "encoder"), ("llama", "decoder"),
            ("qwen2", "decoder"), ("gpt2", "decoder"), ("t5", "seq2seq"), ("bart", "seq2seq")]  # fmt: skip


def opened(tmp_path, family, kind):
    if kind == "encoder":
        return AutoModelForSequenceClassification.from_pretrained(tiny.encoder(tmp_path, family), num_labels=3)
    if kind == "decoder":
        return AutoModelForCausalLM.from_pretrained(tiny.language_model(tmp_path, family))
    return AutoModelForSeq2SeqLM.from_pretrained(tiny.encoder_decoder(tmp_path, family))


def batch(kind, rows=5):
    chance = random.Random(3)
    ids = [[chance.randrange(5, 40) for _ in range(4 + 3 * row)] for row in range(rows)]
    mask = torch.tensor([[1] * len(row) + [0] * (len(ids[-1]) - len(row)) for row in ids])
    given = {"input_ids": torch.tensor([row + [0] * (len(ids[-1]) - len(row)) for row in ids]), "attention_mask": mask}
    if kind == "seq2seq":
        given["decoder_input_ids"] = given["input_ids"][:, :6]
    return given


def logits_and_gradients(model, given):
    model.eval()
    logits = model(**given).logits
    logits.float().pow(2).mean().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return logits.detach(), gradients


@pytest.mark.parametrize(("family", "kind"), FAMILIES, ids=lambda name: name)
def test_short_texts_multiplied_out_give_the_same_logits_and_gradients(family, kind, tmp_path):
    model, given = opened(tmp_path, family, kind), batch(kind)
    wanted, gradients = logits_and_gradients(model, given)
    used = []
    honest = attention.attend
    with short_attention(model), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: pytest.fail("fused"))
        patch.setattr(attention, "attend", lambda *a, **k: used.append(1) or honest(*a, **k))
        attention._register()
        found, others = logits_and_gradients(model, given)
    attention._register()
    assert used
    seen = given["attention_mask"].bool() if kind == "decoder" else slice(None)
    torch.testing.assert_close(found[seen], wanted[seen], rtol=1e-4, atol=1e-5)
    if kind != "decoder":
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-5)
    assert model.config._attn_implementation == "sdpa"


def test_heads_that_share_keys_look_at_those_of_their_group():
    module = torch.nn.Module()
    module.is_causal, module.num_key_value_groups = True, 2
    torch.manual_seed(1)
    query, key, value = torch.randn(2, 4, 5, 6), torch.randn(2, 2, 5, 6), torch.randn(2, 2, 5, 6)
    found, _ = attend(module, query, key, value, None)
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(found, wanted.transpose(1, 2))


def test_longer_texts_go_the_fused_way(monkeypatch):
    module = torch.nn.Module()
    module.is_causal = False
    asked = []
    honest = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *a, **k: asked.append(a[0].shape[2]) or honest(*a, **k),
    )
    for tokens in (attention.LONGEST, attention.LONGEST + 1):
        given = torch.randn(1, 2, tokens, 4)
        attend(module, given, given, given, None)
    assert asked == [attention.LONGEST + 1]


def test_a_family_with_an_attention_of_its_own_says_so():
    model = AutoModelForSequenceClassification.from_config(tiny.config())
    model.set_attn_implementation("eager")
    with pytest.raises(ValueError, match="of its own"), short_attention(model):
        pass


def test_bytes_drop_the_share_that_is_wanted_and_leave_the_mean():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Dropout(0.25))
    values = torch.ones(400, 1000, requires_grad=True)
    with cheap_dropout(model):
        found = model(values)
    dropped = (found == 0).float()
    assert float(dropped.mean()) == pytest.approx(0.25, abs=0.0025)  # one byte more would be 0.254
    # Of every eight bytes that are drawn at once, the last one has its highest bit, too.
    each = dropped.view(-1, 8).mean(0)
    assert float(each.max() - each.min()) < 0.01
    assert float(found.detach().mean()) == pytest.approx(1.0, abs=0.01)
    found.sum().backward()
    assert torch.equal(values.grad, found.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_stays_is_scaled_and_the_rest_is_nothing(dtype):
    torch.manual_seed(1)
    model, values = torch.nn.Sequential(torch.nn.Dropout(0.3)), torch.randn(50, 3, 7, dtype=dtype).transpose(0, 1)
    values.requires_grad_()
    with cheap_dropout(model):
        found = model(values)
    share, scale = float((found == 0).float().mean()), 1 / 0.7 if dtype == torch.float64 else 256 / (256 - 77)
    assert 0.25 < share < 0.35
    assert torch.equal(found, torch.where(found == 0, 0, values * scale))
    # What comes back may be one number that stands for many.
    found.sum().backward()
    assert torch.equal(values.grad, torch.where(found == 0, 0, torch.full_like(values, scale)))


def test_bytes_drop_nothing_where_nothing_is_trained_and_are_gone_afterwards():
    model = torch.nn.Sequential(torch.nn.Dropout(0.5)).eval()
    values = torch.ones(4, 8)
    with cheap_dropout(model):
        assert torch.equal(model(values), values)
    assert type(model[0]) is torch.nn.Dropout


def test_the_same_seed_drops_the_same():
    model = torch.nn.Sequential(torch.nn.Dropout(0.5))
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        with cheap_dropout(model):
            found.append(model(torch.ones(33, 7)))
    assert torch.equal(*found)


def rows_of(kind):
    given = batch(kind)
    return [
        {"input_ids": ids[: int(mask.sum())].tolist(), "labels": 1}
        for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True)
    ]


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.tensor([row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": torch.tensor([r["labels"] for r in rows])}


def label_loss(outputs, labels):
    return torch.nn.functional.cross_entropy(outputs["logits"].float(), labels)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        # Rounding for every product is never timed where rounding once a step works.
        ({("bfloat16", "plain"): 0.2, ("bfloat16", "fused"): 0.5}, ("bfloat16", "plain")),
        ({("bfloat16", "plain"): 0.7, ("bfloat16", "fused"): 0.5}, ("bfloat16", "fused")),
        # Nearly the same, as far as times can tell: the usual choice, whatever the moment says.
        ({("bfloat16", "plain"): 0.52, ("bfloat16", "fused"): 0.5}, ("bfloat16", "plain")),
    ],
)
def test_the_fastest_way_is_chosen(seconds, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_seconds", lambda m, b, lo, way, on, most: seconds[way.weights, way.attention])
    model = opened(tmp_path, "bert", "encoder")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.get_rng_state()
    way = choose(model, collate, rows_of("encoder"), label_loss, CPU)
    assert (way.weights, way.attention) == chosen
    assert way.seconds == seconds[chosen]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(model.state_dict()[name], weight) for name, weight in before.items())
    assert all(weight.dtype == before[name].dtype for name, weight in model.state_dict().items())


@pytest.mark.parametrize(("again", "chosen"), [(0.3, "plain"), (0.7, "fused")])
def test_a_way_that_looked_slow_is_timed_once_more(again, chosen, tmp_path, monkeypatch):
    took = {"plain": iter([0.9, again]), "fused": iter([0.4])}
    monkeypatch.setattr(precision, "_seconds", lambda m, b, lo, way, on, most: next(took[way.attention]))
    way = choose(opened(tmp_path, "bert", "encoder"), collate, rows_of("encoder"), label_loss, CPU)
    assert (way.weights, way.attention) == ("bfloat16", chosen)
    assert way.seconds == {"plain": 0.3, "fused": 0.4}[chosen]
    assert not any(list(left) for left in took.values())


def test_a_way_that_computes_another_loss_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(
        precision, "_seconds", lambda m, b, lo, way, on, most: {"bfloat16": 0.1, "autocast": 0.5}[way.weights]
    )
    honest = precision._loss
    monkeypatch.setattr(
        precision,
        "_loss",
        lambda m, b, lo, way, on: honest(m, b, lo, way, on) * (1.5 if way.attention == "plain" else 1),
    )
    model = opened(tmp_path, "bert", "encoder")
    way = choose(model, collate, rows_of("encoder"), label_loss, CPU)
    assert (way.weights, way.attention) == ("bfloat16", "fused")


def test_a_family_that_can_do_nothing_else_goes_the_way_that_works_for_all(tmp_path, monkeypatch):
    def refuses(model, **more):
        raise RuntimeError("expected m1 and m2 to have the same dtype")

    monkeypatch.setattr(precision, "Rounded", refuses)
    monkeypatch.setattr(precision, "_seconds", lambda *given: 0.2)
    model = opened(tmp_path, "bert", "encoder")
    assert choose(model, collate, rows_of("encoder"), label_loss, CPU).weights == "autocast"


def test_exact_numbers_stay_exact_where_they_are_as_fast(tmp_path):
    model = opened(tmp_path, "bert", "encoder")
    way = choose(model, collate, rows_of("encoder"), label_loss, Device("cpu", "float32", 1, "test"))
    assert (way.weights, way.attention) == ("float32", "plain")


def test_steps_that_cost_too_much_are_not_timed_but_the_loss_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_TOO_COSTLY", 1.0)
    monkeypatch.setattr(precision, "_seconds", lambda *given: pytest.fail("timed"))
    model = opened(tmp_path, "bert", "encoder")
    way = choose(model, collate, rows_of("encoder"), label_loss, CPU)
    assert (way.weights, way.attention, way.seconds) == ("bfloat16", "plain", 0.0)


def test_a_way_that_is_far_too_slow_is_timed_once(tmp_path, monkeypatch):
    monkeypatch.undo()
    clock = iter(range(100))
    monkeypatch.setattr(precision, "perf_counter", lambda: next(clock))
    steps = []
    honest = precision.computed
    monkeypatch.setattr(precision, "computed", lambda *given: steps.append(1) or honest(*given))
    model, given = opened(tmp_path, "bert", "encoder"), collate(rows_of("encoder"))
    for wanted, made in ((0.5, 2), (0.95, 3), (float("inf"), 3)):
        steps.clear()
        assert precision._seconds(model, given, label_loss, Way(), CPU, wanted) == 1
        assert len(steps) == made


def test_a_real_trial_times_real_steps(tmp_path, monkeypatch):
    monkeypatch.undo()
    model = opened(tmp_path, "bert", "encoder")
    state = torch.get_rng_state()
    way = choose(model, collate, rows_of("encoder"), label_loss, CPU)
    assert 0 < way.seconds < 5
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(("family", "kind"), [("llama", "decoder"), ("gpt2", "decoder"), ("t5", "seq2seq")])
def test_guesses_are_made_where_a_token_is_wanted_and_teach_the_same(family, kind, tmp_path):
    task = find("chat" if kind == "decoder" else "translation")
    model = opened(tmp_path, family, kind).eval()

    class Words:
        pad_token_id = 0

    rows = [
        {"input_ids": [5, 6, 7, 8, 9][: 3 + n], "labels": [-100, -100, 7, 8, 9][: 3 + n]} for n in range(3)
    ]  # fmt: skip
    given = training_batch(model, Words(), rows)
    labels = given.pop("labels")
    loss = task.loss(None)
    found = []
    guesses = Guesses(model)
    for only in (False, True):
        if only:
            with guesses.where(labels):
                outputs = model(**given)
        else:
            outputs = model(**given)
        found.append(loss(outputs, labels))
        found[-1].backward()
        found.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
        shape = tuple(outputs["logits"].shape)
        model.zero_grad()
    guesses.close()
    assert shape[:-1] == (int((labels != -100).sum()),)
    assert model(**given).logits.dim() == 3
    torch.testing.assert_close(found[0], found[2])
    for a, b in zip(found[1], found[3], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("way", [Way("float32"), Way("autocast"), Way("bfloat16", "plain")], ids=str)
def test_a_model_is_afterwards_as_it_was(way, tmp_path):
    model = opened(tmp_path, "bert", "encoder")
    before = {name: (weight.dtype, weight.clone()) for name, weight in model.named_parameters()}
    with prepared(model, way, CPU):
        pass
    assert all(w.dtype == before[n][0] and torch.equal(w, before[n][1]) for n, w in model.named_parameters())
    assert not any(getattr(module, "sparse", False) for module in model.modules())


def test_a_large_table_is_updated_by_rows_while_it_is_trained(tmp_path):
    model = opened(tmp_path, "bert", "encoder")
    model.resize_token_embeddings(40_000, mean_resizing=False)
    given = batch("encoder")
    with prepared(model, Way("bfloat16", "plain"), CPU):
        label_loss(model(**given), torch.tensor([0, 1, 2, 0, 1])).backward()
        words = model.get_input_embeddings().weight.grad
        assert words.is_sparse
        assert set(words._indices()[0].tolist()) == set(given["input_ids"].flatten().tolist()) - {0}
        model.zero_grad()
    label_loss(model(**given), torch.tensor([0, 1, 2, 0, 1])).backward()
    assert not model.get_input_embeddings().weight.grad.is_sparse


@pytest.mark.parametrize("forget", [False, True])
def test_frozen_weights_of_an_adapted_model_stay_exact_unless_they_may_be_forgotten(forget, tmp_path):
    data = DataChoice(table="0" * 64, columns={"prompt": "prompt", "answer": "answer"})
    model = adapt(opened(tmp_path, "llama", "decoder"), build(task="chat", data=data, method="lora"))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with prepared(model, Way("bfloat16", "plain"), CPU, forget=forget):
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    for name, weight in model.named_parameters():
        exact = weight.dtype == torch.float32 and torch.equal(weight, before[name])
        assert exact == (weight.requires_grad or not forget)
