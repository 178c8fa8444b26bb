"""Texts of different length without padding: the same results, and nothing computed but tokens."""

from contextlib import nullcontext

import pytest
import torch
from datasets import Dataset, List, Value, concatenate_datasets
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
)

from core.device import Device
from core.models.adapting import layer_stacks
from core.models.attention import LONGEST, short_attention
from core.models.rounding import rounded_reading
from core.models.unpadded import Rows, can_go_unpadded, unpadded, which_handed_on
from core.spec import DataChoice, build
from core.tasks._labelling import logits_of
from core.training import ways
from core.training.batching import Batches
from core.training.precision import Way, prepared
from core.training.ways import common_start
from tests import tiny
from tests.ways import MODELS

READERS = ("bert", "distilbert", "roberta", "electra", "qwen2")
WRITERS = ("llama", "qwen2", "gpt2")
CPU = Device("cpu", "float32", 1, "test")
LENGTHS = (7, 12, 1, 30, 12, 26, 3)


def opened(tmp_path, family, kind=AutoModelForSequenceClassification):
    torch.manual_seed(3)
    model = kind.from_pretrained(MODELS[family](tmp_path, family)).eval()
    model.config.pad_token_id = model.config.pad_token_id or 0
    return model


def batch(lengths=LENGTHS, *, left=False, shared=0):
    ids = torch.full((len(lengths), max(lengths)), 0)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        place = slice(-length, None) if left else slice(0, length)
        ids[row, place] = torch.randint(5, 40, (length,), generator=torch.Generator().manual_seed(row))
        mask[row, place] = 1
    ids[:, :shared] = torch.arange(shared) + 5
    return {"input_ids": ids, "attention_mask": mask}


def learned(model, given):
    """The results at tokens, and the gradients of all weights."""
    logits = model(**given).logits
    wanted = logits if logits.dim() == 2 else logits[given["attention_mask"].bool()]
    wanted.float().pow(2).mean().backward()
    gradients = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    model.zero_grad(set_to_none=True)
    return wanted.detach(), gradients


def both(model, given, shared=0, handed_on="all"):
    with short_attention(model):
        usual = learned(model, given)
        with unpadded(model, shared, handed_on=handed_on):
            found = learned(model, given)
    return zip(found, usual, strict=True)


@pytest.mark.parametrize("family", READERS)
def test_what_reads_gives_and_learns_the_same(family, tmp_path):
    for found, usual in both(opened(tmp_path, family), batch()):
        torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize("left", [False, True])
def test_what_writes_gives_and_learns_the_same(family, left, tmp_path):
    for found, usual in both(opened(tmp_path, family, AutoModelForCausalLM), batch(left=left)):
        torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("family", "kind"), [
    ("roberta", AutoModelForSequenceClassification), ("llama", AutoModelForCausalLM),
])  # fmt: skip
def test_texts_too_long_for_plain_products_too(family, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("core.models.attention.LONGEST", 16)
    assert max(LENGTHS) < LONGEST
    for found, usual in both(opened(tmp_path, family, kind), batch()):
        torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize("longest", [16, 256])
@pytest.mark.parametrize("lengths", [(9, 30, 12, 12, 17), (11, 11, 11)])
def test_what_all_texts_begin_with_is_computed_once(family, longest, lengths, tmp_path, monkeypatch):
    monkeypatch.setattr("core.models.attention.LONGEST", longest)
    model, seen = opened(tmp_path, family, AutoModelForCausalLM), []
    layer = model.get_submodule(layer_stacks(model)[0])[0]
    layer.register_forward_hook(lambda module, given, output: seen.append(given[0].shape[1]))
    given = batch(lengths, shared=8)
    for found, usual in both(model, given, 8):
        torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-6)
    alone = 8 + sum(lengths) - 8 * len(lengths)
    assert seen == [max(lengths), -(-alone // 32) * 32]


@pytest.mark.parametrize("given", [batch((9, 30, 12)), batch((9, 8, 12), shared=8), batch((9, 30, 12), left=True)])
def test_texts_that_do_not_begin_alike_are_computed_each(given, tmp_path):
    for found, usual in both(opened(tmp_path, "llama", AutoModelForCausalLM), given, 8):
        torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-6)


def test_a_beginning_is_shared_by_models_that_look_back_alone(tmp_path):
    writes = opened(tmp_path / "a", "llama", AutoModelForCausalLM)
    assert can_go_unpadded(writes, sharing=True)
    assert not can_go_unpadded(opened(tmp_path / "b", "bert"), sharing=True)


def test_an_empty_text_disturbs_nobody(tmp_path):
    model = opened(tmp_path, "bert")
    given = batch((5, 1, 9))
    given["attention_mask"][1] = 0
    assert [(group.rows, group.longest) for group in Rows(given["attention_mask"]).groups] == [(2, 9)]
    with short_attention(model), torch.no_grad():
        usual = model(**given).logits
        with unpadded(model):
            found = model(**given).logits
    torch.testing.assert_close(found[[0, 2]], usual[[0, 2]], rtol=1e-4, atol=1e-6)
    assert found.isfinite().all()


def test_layers_compute_tokens_alone(tmp_path):
    model, seen = opened(tmp_path, "bert"), []
    for layer in model.bert.encoder.layer:
        layer.output.dense.register_forward_hook(lambda module, given, output: seen.append(tuple(output.shape[:2])))
    given = batch()
    with short_attention(model), unpadded(model):
        model(**given)
        assert sum(LENGTHS) == 91
        assert set(seen) == {(1, 96)}
        seen.clear()
        model(**batch((5, 5, 5)))
        model(**batch((5,)))
    assert seen[0] == (3, 5)
    assert seen[-1] == (1, 5)
    seen.clear()
    model(**given)
    assert set(seen) == {(7, 30)}


HANDED_ON = [("bert", "first"), ("distilbert", "first"), ("roberta", "first"), ("electra", "first"),
             ("qwen2", "last"), ("llama", "last"), ("gpt2", "last")]  # fmt: skip


@pytest.mark.parametrize(("family", "which"), HANDED_ON)
@pytest.mark.parametrize("lengths", [LENGTHS, (6, 6, 6), (3, 40)])
def test_what_a_head_does_not_read_is_not_computed_in_the_last_layer(family, which, lengths, tmp_path):
    model = opened(tmp_path, family)
    assert which_handed_on(model) == which
    for found, usual in both(model, batch(lengths), handed_on=which):
        torch.testing.assert_close(found, usual, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
def test_the_last_layer_is_spared_most_tokens_and_no_other(family, tmp_path):
    model, which = opened(tmp_path, family), dict(HANDED_ON)[family]
    part = {"bert": "intermediate.dense", "distilbert": "ffn.lin1", "llama": "mlp.up_proj"}[family]
    layers = model.get_submodule(layer_stacks(model)[0])
    seen = {}
    for number, layer in enumerate(layers):
        layer.get_submodule(part).register_forward_hook(
            lambda module, given, output, number=number: seen.setdefault(number, []).append(tuple(output.shape[:2]))
        )
    with short_attention(model), unpadded(model, handed_on=which):
        for lengths in (LENGTHS, (5,) * 9, (5,)):
            model(**batch(lengths))
    # Seven texts are filled up to eight, nine to sixteen; a single text is computed as usual.
    assert seen[len(layers) - 1] == [(1, 8), (1, 16), (1, 5)]
    assert all(seen[number] == [(1, 96), (1, 64), (1, 5)] for number in range(len(layers) - 1))


def test_an_empty_text_hands_nothing_on(tmp_path):
    model, given = opened(tmp_path, "bert"), batch((5, 1, 9))
    given["attention_mask"][1] = 0
    with short_attention(model), torch.no_grad():
        usual = model(**given).logits
        with unpadded(model, handed_on="first"):
            found = model(**given).logits
    torch.testing.assert_close(found[[0, 2]], usual[[0, 2]], rtol=1e-4, atol=1e-6)
    assert found.isfinite().all()


class Mean(torch.nn.Module):
    """A head that reads all tokens: BERT's pooler takes the first one."""

    def __init__(self, own):
        super().__init__()
        self.own = own

    def forward(self, hidden):
        return self.own(hidden.mean(1, keepdim=True))


def test_a_head_that_reads_all_tokens_is_handed_all(tmp_path):
    model = opened(tmp_path / "a", "bert")
    model.bert.pooler = Mean(model.bert.pooler)
    assert which_handed_on(model) == "all"
    assert which_handed_on(opened(tmp_path / "b", "llama", AutoModelForCausalLM)) == "all"


def test_a_layer_of_an_unknown_kind_computes_all(tmp_path):
    model = opened(tmp_path, "distilbert")
    layer = model.distilbert.transformer.layer[-1]
    layer.__class__ = type("Other", (type(layer),), {"ffn": property(lambda self: self.lin)})
    layer.lin = layer._modules.pop("ffn")
    assert can_go_unpadded(model)
    assert which_handed_on(model) == "all"


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_it_is_part_of_the_way_and_of_reading_many(family, tmp_path, monkeypatch):
    model, which = opened(tmp_path, family), dict(HANDED_ON)[family]
    asked = []

    def told(*given, **more):
        asked.append(more.get("handed_on", given[3] if len(given) > 3 else None))
        return unpadded(*given, **more)

    monkeypatch.setattr("core.training.precision.unpadded", told)
    monkeypatch.setattr("core.models.rounding.unpadded", told)
    with prepared(model, Way("float32", "plain", unpadded=True, handed_on=which), CPU), torch.no_grad():
        usual = model(**batch()).logits
    with rounded_reading(model, 8192):
        torch.testing.assert_close(model(**batch()).logits.float(), usual, rtol=0.05, atol=0.02)
    assert asked == [which, which]


@pytest.mark.parametrize(("padded", "lean", "fails", "most"), [
    (False, True, False, 8192), (True, True, False, 2048), (False, False, False, 2048), (False, True, True, 2048),
])  # fmt: skip
def test_large_batches_are_read_only_without_padding_by_compiled_steps(
    padded, lean, fails, most, tmp_path, monkeypatch
):
    model, sizes = opened(tmp_path, "bert"), []
    texts = [" ".join(tiny.WORDS[:30])] * 400
    monkeypatch.setattr("core.models.rounding.can_go_unpadded", lambda model: not padded)
    monkeypatch.setattr("core.models.rounding.compiled_layers", lambda model, kernels: nullcontext())
    monkeypatch.setattr("core.models.rounding.unpadded", lambda model, **told: nullcontext())
    monkeypatch.setattr("core.models.rounding.ready", lambda: object() if lean else None)

    def told(module, given, named):
        if fails and named["input_ids"].numel() > 2048:
            raise RuntimeError
        sizes.append(named["input_ids"].numel())

    model.register_forward_pre_hook(told, with_kwargs=True)
    logits_of(model, tiny.tokenizer(), texts, Device("cpu", "bfloat16", 1, "test"))
    assert most - 33 < max(sizes) <= most


def test_a_text_sees_its_own_words_alone(tmp_path):
    model, given = opened(tmp_path, "bert"), batch()
    other = {name: value.clone() for name, value in given.items()}
    other["input_ids"][3] = torch.where(given["attention_mask"][3].bool(), 41, 0)
    with short_attention(model), unpadded(model), torch.no_grad():
        before, after = model(**given).logits, model(**other).logits
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [True, True, True, False, True, True, True]


def test_rows_come_back_as_they_were_with_zeros_for_padding():
    mask = batch()["attention_mask"]
    rows, values = Rows(mask), torch.randn(*mask.shape, 3)
    long = rows.together(values)
    assert long.shape == (1, 96, 3)
    assert torch.equal(rows.apart(long), values * mask[..., None])
    assert sorted(length for group in rows.groups for length in [group.longest] * group.rows) != sorted(LENGTHS)
    assert sum(group.end - group.begin for group in rows.groups) == sum(LENGTHS)


def test_rows_are_laid_side_by_side_that_are_filled_up_to_about_the_same():
    mask = (torch.arange(100) < torch.tensor([33, 100, 20, 60, 1, 31])[:, None]).long()
    assert [group.lengths for group in Rows(mask).groups] == [[1, 20, 31], [33, 60], [100]]


@pytest.mark.parametrize("family", READERS)
def test_the_trial_says_so(family, tmp_path):
    model = opened(tmp_path, family).train()
    model.config.pad_token_id = 0
    assert can_go_unpadded(model)
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_not_where_layers_see_a_part_of_the_text(tmp_path):
    assert not can_go_unpadded(opened(tmp_path, "modernbert"))
    small = MistralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=0, sliding_window=8,
    )  # fmt: skip
    assert not can_go_unpadded(MistralForSequenceClassification(small))
    small.sliding_window = None
    small.layer_types = None
    assert can_go_unpadded(MistralForSequenceClassification(small))


def test_not_where_a_decoder_asks_an_encoder(tmp_path):
    assert not can_go_unpadded(opened(tmp_path, "t5"))


def test_not_where_tokens_are_mixed_beside_attention(tmp_path):
    model = opened(tmp_path, "bert")
    mixing = model.bert.encoder.layer[0].output.dense
    mixing.register_forward_hook(lambda module, given, output: output + output.mean(dim=1, keepdim=True))
    assert not can_go_unpadded(model)


@pytest.mark.parametrize("broken", ["get_input_embeddings", "forward", "_can_set_attn_implementation"])
def test_a_family_that_takes_no_part_of_it_keeps_its_padding(broken, tmp_path, monkeypatch):
    model = opened(tmp_path, "bert").train()

    def refuses(*given, **more):
        raise NotImplementedError

    monkeypatch.setattr(model, broken, refuses)
    assert not can_go_unpadded(model)
    assert model.training


def test_nobody_else_s_attention_is_taken_apart(tmp_path):
    model, other = opened(tmp_path / "a", "bert"), opened(tmp_path / "b", "bert")
    alone = batch((64,))
    with short_attention(other), torch.no_grad():
        usual = other(**alone).logits
        with short_attention(model), unpadded(model):
            model(**batch((20, 30, 3)))
            assert torch.equal(other(**alone).logits, usual)


def test_a_way_without_padding_is_prepared_and_left(tmp_path):
    model, given = opened(tmp_path, "bert"), batch()
    seen = []
    model.bert.encoder.layer[0].output.dense.register_forward_hook(lambda *told: seen.append(told[2].shape[0]))
    with prepared(model, Way("float32", "plain", unpadded=True), CPU):
        model(**given)
    model(**given)
    assert seen == [1, 7]


@pytest.mark.parametrize("family", ["bert", "llama", "modernbert"])
def test_many_texts_are_read_without_padding_where_that_works(family, tmp_path):
    model, given, seen = opened(tmp_path, family), batch(), []
    layer = model.get_submodule(layer_stacks(model)[0])[0]
    layer.register_forward_hook(lambda module, told, output: seen.append(told[0].shape[0]))
    with torch.no_grad():
        exact = model(**given).logits
    for tokens in (0, 8192):
        with rounded_reading(model, tokens):
            found = model(**given).logits
        torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=0.02)
    # A trial reads two texts in both ways; a model that cannot go without is read as before.
    assert (seen[-1], seen[1]) == ((7, 7) if family == "modernbert" else (1, 7))


@pytest.mark.parametrize("rows", [
    [[1, 2, 3, 4], [1, 2, 3], [1, 2, 5, 6]], [[1, 2, 3]] * 3, [[1, 2]], [[7, 1], [8, 1]],
])  # fmt: skip
def test_what_all_rows_begin_with_is_found(rows):
    train = Dataset.from_dict({"input_ids": rows}).cast_column("input_ids", List(Value("int32")))
    assert common_start(train) == {3: 2, 1: 1, 2: 0}[len(rows)]
    parted = concatenate_datasets([train.select([place]).flatten_indices() for place in range(len(rows))])
    assert common_start(parted) == common_start(train)


def test_what_is_shared_counts_once_for_a_piece():
    lengths = [40 + place for place in range(50)]
    usual = Batches(lengths, 50, 1, "cpu", padded=False)
    sharing = Batches(lengths, 50, 1, "cpu", padded=False, shared=30)
    (one,) = sharing
    pieces = [[lengths[row] - 30 for row in piece] for piece in sharing.pieces(one)]
    assert max(30 + sum(piece) for piece in pieces) <= 1024
    assert sharing.cost(one) == sum(30 + 96 + sum(piece) for piece in pieces)
    assert len(pieces) < len(usual.pieces(one))


@pytest.mark.parametrize("padded", [True, False])
def test_pieces_hold_as_many_tokens_as_they_may(padded):
    lengths = [8 + place % 53 for place in range(200)]
    batches = Batches(lengths, 100, 1, "cpu", padded=padded)
    for one in batches:
        pieces = [[lengths[row] for row in piece] for piece in batches.pieces(one)]
        tokens = [len(piece) * max(piece) if padded else sum(piece) for piece in pieces]
        assert max(tokens) <= 1024
        assert batches.cost(one) == sum(tokens) + 96 * len(pieces)
        assert padded or len(pieces) == -(-sum(map(sum, pieces)) // 1024)
        assert sorted(row for piece in batches.pieces(one) for row in piece) == sorted(one)


def way_to_learn(model, monkeypatch, rows, attention="plain"):
    """In which way such rows are learned from."""
    monkeypatch.setattr(ways, "choose", lambda *given: Way("float32", attention))
    train = Dataset.from_dict(
        {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows], "labels": rows,
         "length": list(map(len, rows))}
    ).cast_column("input_ids", List(Value("int32")))  # fmt: skip
    spec = build(data=DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}), larger_batches=False)
    found = [
        ways.chosen_way(model, None, some, None, CPU, spec) for some in (train, train.remove_columns("attention_mask"))
    ]
    assert not found[1].unpadded
    assert not (found[0].shared and found[0].handed_on != "all")
    return found[0]


def chosen(*given):
    way = way_to_learn(*given)
    return way.unpadded, way.shared


def test_padding_and_what_is_shared_are_left_out_where_that_works(tmp_path, monkeypatch):
    alike = [[*range(5, 15), 20 + place, 30] for place in range(6)]
    writes, reads = opened(tmp_path / "a", "llama", AutoModelForCausalLM), opened(tmp_path / "b", "bert")
    assert chosen(writes, monkeypatch, alike) == (True, 10)
    assert chosen(writes, monkeypatch, [row[3:] for row in alike]) == (True, 0)
    assert chosen(reads, monkeypatch, alike) == (True, 0)
    assert chosen(reads, monkeypatch, alike, "fused") == (False, 0)
    assert chosen(opened(tmp_path / "c", "modernbert"), monkeypatch, alike) == (False, 0)
    assert way_to_learn(reads, monkeypatch, alike).handed_on == "first"
    reads.bert.encoder.layer[0].requires_grad_(False)
    assert chosen(reads, monkeypatch, alike) == (False, 0)


def test_what_is_shared_is_computed_for_all_tokens(tmp_path, monkeypatch):
    reads, alike = opened(tmp_path, "llama"), [[*range(5, 15), 20 + place, 30] for place in range(6)]
    way = way_to_learn(reads, monkeypatch, alike)
    assert (way.shared, way.handed_on) == (10, "all")
    way = way_to_learn(reads, monkeypatch, [row[5:] for row in alike])
    assert (way.shared, way.handed_on) == (0, "last")


def test_not_where_a_head_scores_every_place(tmp_path, monkeypatch):
    writes = opened(tmp_path, "llama", AutoModelForCausalLM)
    writes.lm_head.__class__ = type("Own", (torch.nn.Linear,), {})
    assert chosen(writes, monkeypatch, [[5, 6, 7], [8, 9]]) == (False, 0)
