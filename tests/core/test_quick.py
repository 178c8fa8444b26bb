from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from core.data.preparing import Split
from core.device import Device
from core.errors import UserError
from core.models import heads, notes
from core.models.adapting import adapt
from core.spec import DataChoice, TrainSpec
from core.tasks.base import find
from core.training import checkpoints, features, linear, quick
from core.training.loop import InterruptedRunError, Signals
from tests import tiny

CPU = Device("cpu", "float32", 1, "test")
CLASSIFICATION, MULTI_LABEL = find("classification"), find("multi_label")
QUIET = Signals(stop=lambda: False, interrupted=lambda: False)


def spec(**choices):
    return TrainSpec(data=DataChoice(table="0" * 64, columns={}), method="quick", max_length=32, **choices)


def frame(rows=96):
    """In random order, so that every part has every word."""
    made = pd.DataFrame(tiny.rows(rows), columns=["text", "label"])
    return made.sample(frac=1, random_state=0).reset_index(drop=True)


def split(rows=96):
    all_rows = frame(rows)
    parts = [all_rows.iloc[i::3].reset_index(drop=True) for i in range(3)]
    return Split(*parts, ("cold", "warm"), ())


def sets(rows=96):
    """Each text with the label of its weather, and `late` for some."""
    all_rows = frame(rows)
    labels = [(label, "late") if i % 4 < 2 else (label,) if i % 7 else () for i, label in enumerate(all_rows["label"])]
    texts = [
        text + (" late late late" if "late" in row else "") for text, row in zip(all_rows["text"], labels, strict=True)
    ]
    made = pd.DataFrame({"text": texts, "labels": labels})
    return Split(*(made.iloc[i::3].reset_index(drop=True) for i in range(3)), ("cold", "late", "warm"), ())


def folder_of(path, family):
    if family in tiny.ENCODERS:
        return tiny.encoder(path, family)
    return (tiny.language_model if family in tiny.LANGUAGE_MODELS else tiny.encoder_decoder)(path, family)


def fitted(task, given, base, folder, signals=QUIET, device=CPU, **choices):
    """(result, events, model, tokenizer) of quick mode from a model folder."""
    seen = []
    model, tokenizer = task.load(base, given, spec(**choices))
    model = adapt(model, spec(**choices))
    result = quick.fit(task, model, tokenizer, given, spec(**choices), device, folder, seen.append, signals)
    return result, seen, model, tokenizer


def logits_of(model, tokenizer, texts):
    model.eval()
    with torch.inference_mode():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "modernbert", "llama", "gpt2", "bart"])
def test_what_was_chosen_on_the_validation_rows_is_what_the_saved_model_does(family, tmp_path):
    given = split()
    result, seen, *_ = fitted(CLASSIFICATION, given, folder_of(tmp_path / "m", family), tmp_path)
    saved = checkpoints.best(tmp_path)
    model, tokenizer = CLASSIFICATION.reload(saved)
    answers = CLASSIFICATION.predict(model, tokenizer, list(given.validation["text"]), CPU)
    logits = np.array([[dict(answer.probabilities)[name] for name in given.labels] for answer in answers])
    scores = CLASSIFICATION.evaluation_scores(logits, CLASSIFICATION.targets(given.validation, given.labels))
    assert scores["macro_f1"] == pytest.approx(result.best_value, abs=1e-6)
    assert result.best_value == pytest.approx(max(e.value for e in seen if e.kind == "evaluated"), abs=1e-5)
    assert result.best_value > 0.7
    assert seen[-1].kind == "saved"
    assert saved.name == f"step-{seen[-1].step}"


def test_the_result_is_an_ordinary_model_and_its_poolings_were_compared(tmp_path):
    given = split()
    _, seen, model, tokenizer = fitted(CLASSIFICATION, given, tiny.encoder(tmp_path / "m"), tmp_path)
    saved = checkpoints.best(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(saved)
    texts = list(given.test["text"])
    np.testing.assert_allclose(
        logits_of(plain, AutoTokenizer.from_pretrained(saved), texts), logits_of(model, tokenizer, texts), atol=1e-4
    )
    assert plain.config.id2label == {0: "cold", 1: "warm"}
    best = max((e for e in seen if e.kind == "evaluated"), key=lambda e: (e.value, -e.loss))
    first = [e for e in seen if e.kind == "evaluated"]
    assert [e.step for e in first] == list(range(1, len(first) + 1))
    assert len(first) > len(linear.STRENGTHS) // 2
    assert notes.notes(plain)["pooling"] in ("cls", "mean")
    assert best.best
    planned = seen[0]
    assert (planned.kind, planned.trainable) == ("planned", 2 * 33)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_pooling_that_is_asked_for_is_taken(pooling, tmp_path):
    *_, model, _ = fitted(CLASSIFICATION, split(), tiny.encoder(tmp_path / "m"), tmp_path, pooling=pooling)
    assert heads.pooling_of(model) == pooling
    assert model.config.num_hidden_layers == (3 if pooling == "mean" else 2)


def test_two_layers_are_left_as_the_model_brings_them(tmp_path):
    base = tiny.encoder(tmp_path / "m")
    before, _ = CLASSIFICATION.load(base, split(), spec())
    *_, model, _ = fitted(CLASSIFICATION, split(), base, tmp_path, head_layers="two")
    torch.testing.assert_close(model.bert.pooler.dense.weight, before.bert.pooler.dense.weight)


def test_it_goes_on_from_its_own_result(tmp_path):
    given = split()
    first, *_ = fitted(CLASSIFICATION, given, tiny.encoder(tmp_path / "m"), tmp_path / "one", pooling="mean")
    saved = checkpoints.best(tmp_path / "one")
    again, _, model, _ = fitted(CLASSIFICATION, given, saved, tmp_path / "two")
    assert model.config.num_hidden_layers == 3
    assert again.best_value == pytest.approx(first.best_value, abs=0.05)


def test_several_labels_are_fitted_one_against_the_rest(tmp_path):
    given = sets()
    result, *_ = fitted(MULTI_LABEL, given, tiny.encoder(tmp_path / "m"), tmp_path)
    model, tokenizer = MULTI_LABEL.reload(checkpoints.best(tmp_path))
    assert result.best_value > 0.75
    assert model.config.problem_type == "multi_label_classification"
    truth = MULTI_LABEL.targets(given.test, given.labels).astype(bool)
    found = logits_of(model, tokenizer, list(given.test["text"])) > 0
    assert (found == truth).mean() > 0.7


def test_asked_to_end_it_fits_what_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_ROWS_PER_BATCH", 8)
    read = []
    signals = Signals(stop=lambda: len(read) >= 6 or read.append(1) is not None, interrupted=lambda: False)
    result, *_ = fitted(CLASSIFICATION, split(), tiny.encoder(tmp_path / "m"), tmp_path, signals)
    assert result.stopped
    assert len(read) == 6
    assert checkpoints.best(tmp_path) is not None


def test_told_to_end_by_the_system_it_ends_at_once(tmp_path):
    signals = Signals(stop=lambda: False, interrupted=lambda: True)
    with pytest.raises(InterruptedRunError):
        fitted(CLASSIFICATION, split(), tiny.encoder(tmp_path / "m"), tmp_path, signals)
    assert checkpoints.best(tmp_path) is None


def test_half_precision_gives_almost_the_same(tmp_path):
    base = tiny.encoder(tmp_path / "m")
    whole, *_ = fitted(CLASSIFICATION, split(), base, tmp_path / "a")
    half, *_ = fitted(CLASSIFICATION, split(), base, tmp_path / "b", device=replace(CPU, precision="bfloat16"))
    assert half.best_value == pytest.approx(whole.best_value, abs=0.15)


@pytest.mark.parametrize("poolings", [("mean",), (features.AS_IT_IS,)])
@pytest.mark.parametrize("mixes", [False, True])
def test_texts_are_read_with_rounded_weights_where_the_family_can(poolings, mixes, tmp_path, monkeypatch):
    task, given, seen = CLASSIFICATION, split(60), []
    model, tokenizer = task.load(tiny.encoder(tmp_path / "m"), given, spec())
    rows, collate = task.encode(given.train, given.labels, model, tokenizer, spec()), task.collate(model, tokenizer)
    exact = features.read(model, rows, poolings, collate, CPU, 1, lambda n: False)
    layer = model.bert.encoder.layer[0]

    def look(module, inputs):
        seen.append(module.intermediate.dense.weight.dtype)
        if mixes and seen[-1] == torch.bfloat16:
            raise RuntimeError("expected m1 and m2 to have the same dtype")

    hook = layer.register_forward_pre_hook(look)
    read = features.read(model, rows, poolings, collate, replace(CPU, precision="bfloat16"), 1, lambda n: False)
    hook.remove()
    assert seen[0] == torch.bfloat16
    assert seen[1:] == [torch.float32 if mixes else torch.bfloat16] * (len(seen) - 1)
    assert layer.intermediate.dense.weight.dtype == torch.float32
    assert read.targets.tolist() == exact.targets.tolist()
    torch.testing.assert_close(read.features[poolings[0]], exact.features[poolings[0]], atol=0.1, rtol=0.1)


def test_features_come_in_the_order_of_their_targets(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_ROWS_PER_BATCH", 4)
    task, given = CLASSIFICATION, split(120)
    model, tokenizer = task.load(tiny.encoder(tmp_path / "m"), given, spec())
    rows = task.encode(given.train, given.labels, model, tokenizer, spec())
    rows = rows.remove_columns("labels").add_column("labels", list(range(len(rows))))
    part = features.read(model, rows, ("mean",), task.collate(model, tokenizer), CPU, 1, lambda n: False)
    assert sorted(part.targets.tolist()) == list(range(40))
    assert part.targets.tolist() != sorted(part.targets.tolist())
    alone = task.collate(model, tokenizer)(
        [{"input_ids": rows[7]["input_ids"], "attention_mask": rows[7]["attention_mask"]}]
    )
    with torch.inference_mode():
        wanted = features.of_batch(model, alone, ("mean",))["mean"][0]
    torch.testing.assert_close(part.features["mean"][part.targets.tolist().index(7)], wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_heads_are_those_of_scikit_learn(bias):
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(300, 6, generator=generator) * torch.tensor([1, 5, 0.1, 1, 1, 2]) + 3 * bias
    targets = (given @ torch.randn(6, 3, generator=generator)).argmax(dim=1)
    standard = (given - (given.mean(0) if bias else 0)) / (
        given.std(0, correction=0) if bias else given.square().mean(0).sqrt()
    )

    def loss(outputs, labels):
        return torch.nn.functional.cross_entropy(outputs["logits"], labels)

    found = list(linear.heads(given, targets, 3, loss, bias=bias))
    assert len(found) == len(linear.STRENGTHS)
    for strength, head in zip(linear.STRENGTHS, found, strict=True):
        theirs = LogisticRegression(C=strength, fit_intercept=bias, max_iter=2000, tol=1e-6).fit(standard, targets)
        np.testing.assert_allclose(
            torch.softmax(head.logits(given), dim=1).numpy(), theirs.predict_proba(standard), atol=5e-3
        )
        assert (head.bias is None) is not bias


def test_each_of_several_labels_is_fitted_as_if_alone():
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(200, 5, generator=generator)
    targets = ((given @ torch.randn(5, 3, generator=generator)) > 0.3).float()

    def loss(outputs, labels):
        return torch.nn.functional.binary_cross_entropy_with_logits(outputs["logits"], labels)

    for strength, head in zip(linear.STRENGTHS, linear.heads(given, targets, 3, loss, bias=True), strict=True):
        standard = (given - given.mean(0)) / given.std(0, correction=0)
        for label in range(3):
            theirs = LogisticRegression(C=strength, max_iter=2000, tol=1e-6).fit(standard, targets[:, label])
            ours = torch.sigmoid(head.logits(given))[:, label].numpy()
            np.testing.assert_allclose(ours, theirs.predict_proba(standard)[:, 1], atol=5e-3)


def test_a_feature_that_never_changes_does_no_harm():
    given = torch.cat([torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), torch.full((50, 1), 7.0)], dim=1)
    targets = (given[:, 0] > 0).long()
    found = list(
        linear.heads(given, targets, 2, lambda o, t: torch.nn.functional.cross_entropy(o["logits"], t), bias=True)
    )
    assert all(torch.isfinite(head.logits(given)).all() for head in found)
    assert (found[-1].logits(given).argmax(dim=1) == targets).all()


def test_a_damaged_model_is_named(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny.classifier(tmp_path), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.fill_(float("nan"))
    rows = Dataset.from_dict({"input_ids": [[2, 7, 3]], "attention_mask": [[1] * 3], "labels": [0], "length": [3]})
    with pytest.raises(UserError, match="features_not_finite"):
        features.read(model, rows, (features.AS_IT_IS,), DataCollatorWithPadding(tokenizer), CPU, 1, lambda rows: False)
