import copy
import json

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification

from core.errors import UserError
from core.models import heads
from core.models.opening import open_model
from tests import tiny

MEANS = ["bert", "roberta", "distilbert", "electra", "modernbert"]
ONES = ["bert", "roberta", "distilbert", "electra"]


def classifier(folder, family="bert", labels=3):
    tiny.encoder(folder, family)
    overrides = {"num_labels": labels}
    model, _ = open_model(folder, "AutoModelForSequenceClassification", overrides=overrides, new_head=True)
    torch.manual_seed(2)
    with torch.no_grad():
        for part in model.parameters():  # a new model has biases of 0 and norms of 1, which hides what is not reset
            part.add_(0.1 * torch.randn_like(part))
    return model


def built(family, **shape):
    """A classifier of a family that has no body among the tiny ones."""
    small = {
        "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 64, "num_labels": 3,
    }  # fmt: skip
    config = transformers.AutoConfig.for_model(family, **(small | shape))
    return transformers.AutoModelForSequenceClassification.from_config(config)


def batch(model, rows=4, tokens=9):
    """Rows of different lengths."""
    ids = torch.randint(5, 40, (rows, tokens), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * (tokens - i) + [0] * i for i in range(rows)])
    return {"input_ids": ids.masked_fill(mask == 0, model.config.pad_token_id or 0), "attention_mask": mask}


def logits(model, **changes):
    model.eval()
    with torch.inference_mode():
        return model(**(batch(model) | changes)).logits


def loaded_again(model, folder):
    model.save_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder)


@pytest.mark.parametrize("family", MEANS)
@pytest.mark.parametrize("layers", ["own", "one", "two"])
@pytest.mark.parametrize("pooling", ["own", "cls", "mean"])
def test_any_head_loads_again_without_code_of_ours(family, layers, pooling, tmp_path):
    model = classifier(tmp_path / "m", family)
    if layers not in heads.offers(model.config.to_dict())["head_layers"]:
        with pytest.raises(UserError, match="head_unsupported"):
            heads.reshape(model, layers, pooling)
        return
    assert heads.reshape(model, layers, pooling, dropout=0.3) is model
    if pooling != "own":
        assert heads.pooling_of(model) == pooling
    again = loaded_again(model, tmp_path / "again")
    torch.testing.assert_close(logits(again), logits(model), atol=1e-6, rtol=1e-5)
    head = set(again.modules()) - set(again.base_model.modules())
    assert {p.p for p in head if isinstance(p, torch.nn.Dropout)} == {0.3}


@pytest.mark.parametrize("family", MEANS)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_one_layer_gets_what_quick_mode_computes_from_the_bodys_output(family, pooling, tmp_path):
    model = classifier(tmp_path / "m", family)
    with torch.no_grad():
        given = batch(model)
        hidden = model.eval().base_model(**given).last_hidden_state
        assert heads.poolings(model) == ("cls", "mean")
        features = heads.features(model, hidden, given["attention_mask"], pooling)
    heads.reshape(model, "own" if family == "modernbert" else "one", pooling)
    _, last = heads.last_layer(model)
    torch.testing.assert_close(logits(model), last(features), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", MEANS)
def test_the_mean_depends_on_every_token_and_on_no_padding(family, tmp_path):
    model = heads.reshape(classifier(tmp_path / "m", family), "own", "mean")
    with torch.inference_mode():
        body = model.eval().base_model(**batch(model)).last_hidden_state[:, 0]
    assert torch.isfinite(body).all()
    other = batch(model)["input_ids"]
    other[:, -1] = torch.where(batch(model)["attention_mask"][:, -1] == 0, 7, other[:, -1])
    torch.testing.assert_close(logits(model, input_ids=other), logits(model), atol=1e-5, rtol=1e-4)
    other[:, 3] = 6
    assert (logits(model, input_ids=other) - logits(model)).abs().max() > 1e-5


@pytest.mark.parametrize("family", ONES)
def test_one_layer_is_almost_linear_in_what_it_gets(family, tmp_path):
    model = classifier(tmp_path / "m", family)
    torch.manual_seed(0)
    hidden = torch.randn(400, 1, 32)
    given = torch.nn.functional.layer_norm(hidden[:, 0], (32,))
    got = heads.features(model, hidden, torch.ones(400, 1), "mean").detach()
    slope = (given * (got - got.mean())).sum() / given.square().sum()
    left = got - got.mean() - slope * given
    assert left.square().mean() < 0.02 * got.var()


@pytest.mark.parametrize("layers", ["own", "one", "two"])
def test_a_mean_can_be_asked_for_twice_and_taken_back(layers, tmp_path):
    model = classifier(tmp_path / "m")
    before = logits(model)
    heads.reshape(model, layers, "mean")
    once = logits(model)
    assert model.config.num_hidden_layers == 3
    heads.reshape(loaded_again(model, tmp_path / "x"), layers, "mean")
    assert heads.reshape(model, layers, "mean").config.num_hidden_layers == 3
    torch.testing.assert_close(logits(model), once)
    heads.reshape(model, "own", "cls")
    assert model.config.num_hidden_layers == 2
    assert (logits(model) - before).abs().max() > 0
    torch.testing.assert_close(
        logits(heads.reshape(classifier(tmp_path / "n"), "one", "cls")),
        logits(heads.reshape(classifier(tmp_path / "o"), "one", "cls")),
    )


@pytest.mark.parametrize("family", MEANS)
def test_a_model_with_another_head_learns_and_goes_on_pooling(family, tmp_path):
    torch.manual_seed(0)
    model = heads.reshape(classifier(tmp_path / "m", family), "two", "mean")
    labels, losses = torch.tensor([0, 1, 2, 0]), []
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.1)
    model.train()
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(**batch(model)).logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]
    assert heads.pooling_of(loaded_again(model, tmp_path / "again")) == "mean"


def test_one_layer_means_one_layer_that_changes(tmp_path):
    model = heads.reshape(classifier(tmp_path / "m"), "one", "mean")
    assert not model.bert.pooler.dense.weight.requires_grad
    assert model.classifier.weight.requires_grad
    assert heads.reshape(classifier(tmp_path / "n"), "two", "mean").bert.pooler.dense.weight.requires_grad


@pytest.mark.parametrize("family", ["mpnet", "deberta-v2", "deberta"])
def test_families_with_attention_of_their_own_take_one_layer_and_no_mean(family, tmp_path):
    model = built(family)
    assert heads.offers(model.config.to_dict()) == {"head_layers": ("own", "one", "two"), "pooling": ("own", "cls")}
    heads.reshape(model, "one", "own")
    torch.testing.assert_close(logits(loaded_again(model, tmp_path / "m")), logits(model), atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        hidden = model.base_model(**batch(model)).last_hidden_state
        features = heads.features(model, hidden, batch(model)["attention_mask"], "cls")
    torch.testing.assert_close(logits(model), heads.last_layer(model)[1](features), atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError) as told:
        heads.reshape(model, "own", "mean")
    assert (told.value.code, told.value.facts) == ("pooling_unsupported", {"family": family, "offered": "own, cls"})


def test_a_deberta_whose_pooler_is_another_keeps_its_head():
    raw = built("deberta-v2", pooler_hidden_act="tanh").config.to_dict()
    assert heads.offers(raw) == {"head_layers": ("own",), "pooling": ("own",)}


@pytest.mark.parametrize("family", ["xlm-roberta", "camembert"])
def test_relatives_of_roberta_pool_like_it(family, tmp_path):
    model = heads.reshape(built(family), "one", "mean")
    torch.testing.assert_close(logits(loaded_again(model, tmp_path / "m")), logits(model), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("raw", [{"model_type": "llama"}, {"model_type": "t5"}, {"model_type": ["bert"]}, {}])
def test_others_keep_what_they_bring(raw):
    assert heads.offers(raw) == {"head_layers": ("own",), "pooling": ("own",)}


def test_what_is_offered_is_known_from_the_file_without_torch(tmp_path):
    import subprocess
    import sys

    config = json.loads((tiny.encoder(tmp_path / "m") / "config.json").read_text())
    code = (
        f"import sys; from core.models.heads import offers; o = offers({config!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", f"{code}; assert o['pooling'] == ('own', 'cls', 'mean')"], check=True)


def test_the_last_layer_is_the_one_whose_outputs_are_the_logits(tmp_path):
    for family, name in [("bert", "classifier"), ("roberta", "classifier.out_proj"), ("distilbert", "classifier")]:
        assert heads.last_layer(classifier(tmp_path / family, family))[0] == name
    wide = classifier(tmp_path / "wide", "bert", labels=32)
    assert heads.last_layer(wide)[0] == "classifier"
    assert heads.last_layer(copy.deepcopy(wide))[1].out_features == 32
