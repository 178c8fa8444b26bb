import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

from core.data.preparing import Split
from core.device import Device
from core.errors import UserError
from core.models.loading import check_folder, dropout_settings, parameter_count
from core.spec import DataChoice, build
from core.tasks._labelling import tokens_of
from core.tasks.base import find
from core.training import checkpoints
from core.training.loop import Signals, fit
from tests import tiny

CPU = Device("cpu", "float32", 2, "test")
TASK = find("classification")
SPEC = build(data=DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}), max_length=16, dropout=0.3)


def split(labels=("cold", "warm"), rows=40):
    frame = pd.DataFrame(
        [(i + 2, text, label) for i, (text, label) in enumerate(tiny.rows(rows))], columns=["row", "text", "label"]
    )
    return Split(frame, frame.head(10), frame.head(10), labels, ())


def test_a_new_head_knows_the_labels_and_dropout_spares_attention(tmp_path):
    model, tokenizer = TASK.load(tiny.body(tmp_path), split(), SPEC)
    assert model.config.id2label == {0: "cold", 1: "warm"}
    assert model.config.hidden_dropout_prob == 0.3
    assert model.config.attention_probs_dropout_prob == 0.0
    assert model.config._attn_implementation == "sdpa"
    assert tokenizer.model_max_length == 16


def test_an_earlier_result_with_the_same_labels_keeps_its_head_and_with_others_gets_a_new_one(tmp_path):
    tiny.classifier(tmp_path)
    before = load_file(tmp_path / "model.safetensors")["classifier.weight"]
    same, _ = TASK.load(tmp_path, split(), SPEC)
    other, _ = TASK.load(tmp_path, split(("icy", "warm")), SPEC)
    more, _ = TASK.load(tmp_path, split(("a", "b", "c")), SPEC)
    assert torch.equal(same.classifier.weight, before)
    assert not torch.equal(other.classifier.weight, before)
    assert more.classifier.weight.shape == (3, 32)


def test_rows_are_cut_at_the_models_length_and_not_padded(tmp_path):
    model, tokenizer = TASK.load(tiny.body(tmp_path), split(), SPEC)
    rows = pd.DataFrame({"row": [2, 3], "text": ["sun", "rain " * 50], "label": ["warm", "cold"]})
    encoded = TASK.encode(rows, ("cold", "warm"), model, tokenizer, SPEC)
    assert encoded["length"][:] == [3, 16]
    assert encoded["labels"][:] == [1, 0]
    batch = TASK.collate(model, tokenizer)([{k: encoded[0][k] for k in ("input_ids", "attention_mask", "labels")}])
    assert batch["input_ids"].shape == (1, 3)


def test_answers_come_in_the_order_asked_whatever_the_length(tmp_path):
    model, tokenizer = TASK.reload(tiny.classifier(tmp_path))
    texts = ["sun", "rain " * 40, "snow wind", "a"]
    together = TASK.predict(model, tokenizer, texts, CPU)
    alone = [TASK.predict(model, tokenizer, [text], CPU)[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert one.answer == other.answer
        assert one.labels == (one.answer,)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
        assert sum(p for _, p in one.probabilities) == pytest.approx(1, abs=1e-4)
    logits = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)(
        **AutoTokenizer.from_pretrained(tmp_path)(texts[2], return_tensors="pt")
    ).logits
    assert dict(together[2].probabilities)["warm"] == pytest.approx(float(logits.softmax(-1)[0, 1].detach()), abs=1e-5)


FAMILIES = {
    "llama": tiny.language_model,
    "gpt2": tiny.language_model,
    "bart": tiny.encoder_decoder,
    "t5": tiny.encoder_decoder,
    "modernbert": tiny.encoder,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_kinds_of_models_train_and_answer_alike_alone_in_a_batch_and_reloaded(family, tmp_path):
    set_seed(4)
    spec = SPEC.model_copy(update={"epochs": 3, "learning_rate": 3e-3, "batch_size": 8, "max_length": 24})
    model, tokenizer = TASK.load(FAMILIES[family](tmp_path / "base", family), split(), spec)
    fitted = fit(TASK, model, tokenizer, split(), spec, CPU, tmp_path, lambda event: None, Signals(bool, bool))
    assert fitted.best_value > 0.3
    texts = ["sun", "rain " * 40, "snow </s> wind <|endoftext|> a", "a", "", "red sun"]
    told = TASK.predict(model, tokenizer, texts, CPU)
    again = TASK.predict(*TASK.reload(checkpoints.best(tmp_path)), texts, CPU)
    for text, one, other in zip(texts, told, again, strict=True):
        (alone,) = TASK.predict(model, tokenizer, [text], CPU)
        assert dict(one.probabilities) == pytest.approx(dict(alone.probabilities), abs=1e-5)
        if fitted.best_epoch == 3:
            assert dict(one.probabilities) == pytest.approx(dict(other.probabilities), abs=1e-5)


def test_a_model_is_asked_about_the_part_of_a_text_that_it_was_trained_on(tmp_path):
    spec = SPEC.model_copy(update={"truncation": "tail"})
    model, tokenizer = TASK.load(tiny.classifier(tmp_path / "base"), split(), spec)
    rows = pd.DataFrame({"text": ["sun " * 30 + "snow wind rain " * 10], "label": ["cold"]})
    (trained_on,) = TASK.encode(rows, ("cold", "warm"), model, tokenizer, spec)["input_ids"][:]
    assert tokenizer.decode(trained_on) == "[CLS] wind rain " + "snow wind rain " * 4 + "[SEP]"
    checkpoints.save(model, tokenizer, tmp_path / "out")
    model, tokenizer = TASK.reload(tmp_path / "out")
    assert tokens_of(model, tokenizer, rows["text"].tolist()) == [trained_on]


def test_a_text_is_never_longer_than_the_models_positions(tmp_path):
    spec = SPEC.model_copy(update={"max_length": 512})
    model, tokenizer = TASK.load(tiny.encoder(tmp_path, "roberta"), split(), spec)
    assert tokenizer.model_max_length == 62
    assert len(TASK.predict(model, tokenizer, ["rain snow " * 300], CPU)) == 1


def test_a_head_of_another_form_is_saved_with_the_model(tmp_path):
    plain, _ = TASK.load(tiny.encoder(tmp_path / "base"), split(), SPEC)
    model, tokenizer = TASK.load(
        tmp_path / "base", split(), SPEC.model_copy(update={"head_layers": "one", "pooling": "mean"})
    )
    assert model.config.num_hidden_layers == plain.config.num_hidden_layers + 1
    checkpoints.save(model, tokenizer, tmp_path / "out")
    told = TASK.predict(model, tokenizer, ["sun and rain"], CPU)
    assert TASK.predict(*TASK.reload(tmp_path / "out"), ["sun and rain"], CPU) == told
    with pytest.raises(UserError, match="pooling_unsupported"):
        TASK.load(tiny.language_model(tmp_path / "other"), split(), SPEC.model_copy(update={"pooling": "mean"}))


def test_models_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(UserError, match="model_wrong_kind") as refused:
        TASK.load(tiny.encoder_decoder(tmp_path, "pegasus"), split(), SPEC)
    assert refused.value.facts["kind"] == "pegasus"


def test_the_loss_weighs_small_classes():
    frame = pd.DataFrame({"row": range(10), "text": ["x"] * 10, "label": ["cold"] * 9 + ["warm"]})
    loss = TASK.loss(Split(frame, frame, frame, ("cold", "warm"), ()))
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    by_hand = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]), weight=torch.tensor([5 / 9, 5.0]))
    assert loss({"logits": logits}, torch.tensor([0, 1])) == pytest.approx(float(by_hand))


def test_scores_during_training_are_those_of_the_largest_logits():
    logits = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    scores = TASK.evaluation_scores(logits, np.array([0, 1, 1]))
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert TASK.training_metric in scores


def test_models_that_bring_code_pickles_or_nothing_are_refused(tmp_path):
    tiny.classifier(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("auto_map", "attn_implementation", "quantization_config"):
        (tmp_path / "config.json").write_text(json.dumps(config | {key: {"AutoModel": "x.Y"}}))
        with pytest.raises(UserError, match="model_needs_code"):
            check_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="model_not_safetensors"):
        check_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="model_not_loadable"):
        parameter_count(tmp_path)
    (tmp_path / "config.json").write_text("not json")
    with pytest.raises(UserError, match="model_not_loadable"):
        check_folder(tmp_path)


def test_damaged_weights_are_a_user_error(tmp_path):
    tiny.classifier(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="model_not_loadable"):
        TASK.reload(tmp_path)


def test_parameters_are_counted_from_the_header(tmp_path):
    save_file(
        {"a": torch.zeros(3, 4), "b": torch.zeros(5), "n": torch.zeros(9, dtype=torch.int64)},
        tmp_path / "model.safetensors",
    )
    assert parameter_count(tmp_path) == 17


def test_dropout_has_a_name_in_each_family():
    assert dropout_settings({"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}, 0.2) == {
        "hidden_dropout_prob": 0.2,
        "attention_probs_dropout_prob": 0.0,
    }
    assert dropout_settings({"dropout": 0.1, "attention_dropout": 0.1, "seq_classif_dropout": 0.2}, 0.0) == {
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "seq_classif_dropout": 0.0,
    }


def test_an_unknown_task_is_named():
    with pytest.raises(UserError, match="task_unknown"):
        find("juggling")
