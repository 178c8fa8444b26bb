import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit
from sklearn.metrics import f1_score
from transformers import pipeline

from core.data.preparing import Split
from core.device import Device
from core.errors import UserError
from core.evaluation.answers import Answers
from core.models.notes import note, notes, notes_in
from core.spec import DataChoice, build
from core.tasks.base import find
from core.tasks.multi_label import rare_weights
from core.training import checkpoints
from core.training.loop import Signals, fit
from tests import tiny

CPU = Device("cpu", "float32", 2, "test")
TASK = find("multi_label")
LABELS = ("account", "cold", "warm")
SIGNS = {"account": ("login", "password"), "cold": ("snow", "rain"), "warm": ("sun", "red")}
SPEC = build(
    task="multi_label",
    data=DataChoice(table="0" * 64, columns={"text": "t", "labels": "l"}),
    max_length=24,
    dropout=0.0,
    learning_rate=3e-3,
    epochs=6,
    batch_size=8,
)


def rows(count=96):
    """Texts of one length with words of none, one, two or all of the labels."""
    plain = ("the", "order", "is", "late", "please", "where")
    found = []
    for i in range(count):
        labels = tuple(label for place, label in enumerate(LABELS) if i >> place & 1)
        words = [SIGNS[label][i // 8 % 2] for label in labels] + [plain[(i + n) % 6] for n in range(4 - len(labels))]
        found.append((i + 2, " ".join(words[i % 4 :] + words[: i % 4]), labels))
    return pd.DataFrame(found, columns=["row", "text", "labels"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny decoder trained by the real loop, its split and the folder where it was saved."""
    from transformers import set_seed

    folder = tmp_path_factory.mktemp("multi")
    frame = rows()
    split = Split(frame, frame.head(32), frame.tail(32).reset_index(drop=True), LABELS, ())
    set_seed(3)
    model, tokenizer = TASK.load(tiny.language_model(folder / "body"), split, SPEC)
    fitted = fit(TASK, model, tokenizer, split, SPEC, CPU, folder, lambda event: None, Signals(bool, bool))
    model, tokenizer = TASK.reload(checkpoints.best(folder))
    TASK.finish(model, tokenizer, split, SPEC, CPU)
    checkpoints.save(model, tokenizer, folder / "model")
    return model, tokenizer, split, folder / "model", fitted


def test_it_learns_texts_with_no_one_and_several_labels(trained):
    model, tokenizer, split, _, fitted = trained
    answers = TASK.answer(model, tokenizer, split.test, SPEC, CPU)
    assert [p.labels for p in answers.predictions] == split.test["labels"].tolist()
    assert [p.answer for p in answers.predictions] == TASK.references(split.test)
    assert {len(p.labels) for p in answers.predictions} == {0, 1, 2, 3}
    assert fitted.best_value == pytest.approx(1.0)


def test_thresholds_are_saved_and_a_reloaded_model_answers_the_same(trained):
    model, tokenizer, split, folder, _ = trained
    noted = notes_in(folder)
    assert list(noted["thresholds"]) == list(LABELS)
    assert all(0 < value < 1 for value in noted["thresholds"].values())
    assert (noted["task"], noted["max_length"], noted["truncation"]) == ("multi_label", 24, "head")
    again = TASK.predict(*TASK.reload(folder), TASK.asked(split.test), CPU)
    assert again == TASK.predict(model, tokenizer, TASK.asked(split.test), CPU)


def test_any_program_reads_the_same_probabilities(trained):
    model, tokenizer, _, folder, _ = trained
    texts = ["sun and rain", "the order is late"]
    plain = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    for told, mine in zip(plain(texts), TASK.predict(model, tokenizer, texts, CPU), strict=True):
        assert {one["label"]: one["score"] for one in told} == pytest.approx(dict(mine.probabilities), abs=2e-6)
    assert plain.model.config.problem_type == "multi_label_classification"


def test_a_label_is_given_from_its_own_threshold_on(trained):
    model, _ = TASK.reload(trained[3])
    logits = logit(np.array([[0.2, 0.6, 0.9], [0.2, 0.1, 0.3]]))
    note(model, thresholds={"account": 0.15, "cold": 0.7, "warm": 0.5})
    one, other = TASK.answers_from(model, logits)
    assert one.labels == ("account", "warm")
    assert one.answer == "account, warm"
    assert one.confidence == pytest.approx(0.2)
    assert [label for label, _ in one.probabilities] == ["warm", "cold", "account"]
    note(model, thresholds={})
    assert other.labels == ("account",)
    (unsure,) = TASK.answers_from(model, logits[1:])
    assert unsure.labels == ()
    assert unsure.answer == ""
    assert unsure.confidence == pytest.approx(0.3)


def test_rows_become_a_table_of_ones_and_padded_batches(tmp_path):
    split = Split(rows(8), rows(8), rows(8), LABELS, ())
    model, tokenizer = TASK.load(tiny.encoder(tmp_path), split, SPEC)
    encoded = TASK.encode(split.train, LABELS, model, tokenizer, SPEC)
    assert encoded["labels"][:][:4] == [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    names = ("input_ids", "attention_mask", "labels")
    batch = TASK.collate(model, tokenizer)([{name: encoded[i][name] for name in names} for i in (0, 7)])
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].shape == (2, 3)
    assert batch["input_ids"].shape[1] == max(encoded["length"][0], encoded["length"][7])


def test_texts_of_rare_labels_weigh_more():
    assert rare_weights([10, 12, 9]) == []
    assert rare_weights([100, 50, 1]) == [1.0, 2.0, 10.0]
    frame = pd.DataFrame({"row": range(4), "text": ["x"] * 4, "labels": [("a",), ("a",), ("a", "b"), ()]})
    loss = TASK.loss(Split(frame, frame, frame, ("a", "b"), ()))
    logits, truth = torch.tensor([[0.3, -1.0]]), torch.tensor([[0.0, 1.0]])
    chance = torch.sigmoid(logits)
    by_hand = -(torch.log(1 - chance[0, 0]) + 3 * torch.log(chance[0, 1])) / 2
    assert float(loss({"logits": logits}, truth)) == pytest.approx(float(by_hand))


def test_the_score_during_training_is_the_best_that_one_threshold_reaches():
    random = np.random.default_rng(0)
    truth = (random.random((50, 4)) < 0.3).astype(np.float32)
    logits = random.normal(size=(50, 4)) + truth
    tried = max(f1_score(truth, logits >= edge, average="micro") for edge in np.unique(logits))
    assert TASK.evaluation_scores(logits, truth) == {"micro_f1": pytest.approx(tried)}
    assert TASK.evaluation_scores(np.zeros((3, 2)), np.zeros((3, 2))) == {"micro_f1": 0}


def test_what_an_earlier_result_remembers_is_forgotten_and_its_head_kept_for_equal_labels_alone(trained, tmp_path):
    model, _, split, folder, _ = trained
    same, _ = TASK.load(folder, split, SPEC)
    assert "thresholds" not in notes(same)
    assert torch.equal(same.score.weight, model.score.weight)
    other = Split(split.train, split.validation, split.test, ("account", "cold", "icy"), ())
    assert not torch.equal(TASK.load(folder, other, SPEC)[0].score.weight, model.score.weight)
    single, _ = find("classification").load(folder, split, SPEC)
    assert not torch.equal(single.score.weight, model.score.weight)
    assert single.config.problem_type == "single_label_classification"


def test_simple_methods_and_the_judgement_go_by_sets_of_labels(trained):
    model, tokenizer, split, _, _ = trained
    others = TASK.simple_answers(split, split.test, SPEC)
    assert set(others) == set(TASK.baselines)
    ours = TASK.answer(model, tokenizer, split.test, SPEC, CPU)
    report = TASK.judge(split.test, LABELS, ours, others)
    json.dumps(report)
    assert report["metrics"]["micro_f1"] == 1
    assert set(TASK.metrics) <= set(report["metrics"])
    assert set(report["baselines"]) == set(TASK.baselines)
    nothing = Answers([type(p)("", 0.1) for p in ours.predictions])
    assert TASK.judge(split.test, LABELS, nothing, others)["metrics"]["micro_f1"] == 0


def test_a_model_that_takes_no_classification_head_is_refused(tmp_path):
    split = Split(rows(8), rows(8), rows(8), LABELS, ())
    with pytest.raises(UserError, match="model_wrong_kind"):
        TASK.load(tiny.encoder_decoder(tmp_path, "marian"), split, SPEC)
