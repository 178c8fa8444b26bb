import numpy as np
import pandas as pd
import pytest
import torch

from core.data.preparing import Split
from core.device import Device
from core.errors import UserError
from core.models import heads
from core.models.adapting import adapt
from core.models.opening import open_model
from core.spec import DataChoice, TrainSpec
from core.tasks.base import find
from core.training import checkpoints, contrastive, few
from core.training.loop import InterruptedRunError, Signals
from tests import tiny

CPU = Device("cpu", "float32", 1, "test")
CLASSIFICATION, MULTI_LABEL = find("classification"), find("multi_label")
QUIET = Signals(stop=lambda: False, interrupted=lambda: False)


def spec(**choices):
    return TrainSpec(data=DataChoice(table="0" * 64, columns={}), method="few", max_length=32, **choices)


def frame(rows):
    """In random order, so that every part has every word."""
    made = pd.DataFrame(tiny.rows(rows), columns=["text", "label"])
    return made.sample(frac=1, random_state=0).reset_index(drop=True)


def split(rows=240):
    every = frame(rows)
    return Split(*(every.iloc[i::3].reset_index(drop=True) for i in range(3)), ("cold", "warm"), ())


def sets(rows=240):
    """The same with `late` for each second text, and texts without a label."""
    every = frame(rows)
    late = [i % 4 < 2 for i in range(rows)]
    every["text"] = [
        f"{text} late late late" if is_late else text for text, is_late in zip(every["text"], late, strict=True)
    ]
    every["labels"] = [
        () if i % 9 == 0 else (label, "late") if is_late else (label,)
        for i, (label, is_late) in enumerate(zip(every["label"], late, strict=True))
    ]
    every = every.drop(columns="label")
    return Split(*(every.iloc[i::3].reset_index(drop=True) for i in range(3)), ("cold", "late", "warm"), ())


def fitted(task, given, base, folder, signals=QUIET, **choices):
    """(result, events, model, tokenizer) of the method `few` from a model folder."""
    seen = []
    model, tokenizer = task.load(base, given, spec(**choices))
    model = adapt(model, spec(**choices))
    result = contrastive.fit(task, model, tokenizer, given, spec(**choices), CPU, folder, seen.append, signals)
    return result, seen, model, tokenizer


@pytest.mark.parametrize("family", ["bert", "distilbert", "gpt2"])
def test_texts_of_a_class_are_drawn_together_and_the_result_is_an_ordinary_model(family, tmp_path, monkeypatch):
    monkeypatch.setattr(contrastive, "_RATES", ((1e9, 1e-2),))
    monkeypatch.setattr(contrastive, "_STEPS", (80, 80))
    given = split()
    base = (
        tiny.encoder(tmp_path / "m", family) if family in tiny.ENCODERS else tiny.language_model(tmp_path / "m", family)
    )
    result, seen, *_ = fitted(CLASSIFICATION, given, base, tmp_path)
    model, tokenizer = open_model(checkpoints.best(tmp_path), "AutoModelForSequenceClassification")
    answers = CLASSIFICATION.predict(model, tokenizer, list(given.test["text"]), CPU)
    assert np.mean([a.answer == b for a, b in zip(answers, given.test["label"], strict=True)]) > 0.85
    losses = [e.loss for e in seen if e.kind == "step" and e.learning_rate]
    planned = seen[0]
    assert (planned.kind, result.stopped) == ("planned", False)
    assert planned.trainable > 0.8 * planned.parameters
    first_head = next(e for e in seen if e.kind == "evaluated")
    assert first_head.step == 81
    assert losses[-1] < losses[0]


def test_a_model_that_can_pool_the_mean_does(tmp_path):
    *_, model, _ = fitted(CLASSIFICATION, split(), tiny.encoder(tmp_path / "m"), tmp_path)
    assert heads.pooling_of(model) == "mean"
    *_, model, _ = fitted(CLASSIFICATION, split(), tiny.encoder(tmp_path / "n"), tmp_path, pooling="cls")
    assert heads.pooling_of(model) == "cls"


def test_several_labels_are_learned_from_what_texts_share(tmp_path, monkeypatch):
    monkeypatch.setattr(contrastive, "_RATES", ((1e9, 1e-2),))
    monkeypatch.setattr(contrastive, "_STEPS", (80, 80))
    given = sets()
    result, *_ = fitted(MULTI_LABEL, given, tiny.encoder(tmp_path / "m"), tmp_path)
    assert result.best_value > 0.85


def test_asked_to_end_the_head_is_fitted_to_what_was_learned_by_then(tmp_path):
    asked = []
    signals = Signals(stop=lambda: len(asked) >= 5 or asked.append(1) is not None, interrupted=lambda: False)
    result, seen, *_ = fitted(CLASSIFICATION, split(), tiny.encoder(tmp_path / "m"), tmp_path, signals)
    assert result.stopped
    assert next(e for e in seen if e.kind == "evaluated").step == 6
    assert checkpoints.best(tmp_path) is not None


def test_told_to_end_by_the_system_it_ends_at_once(tmp_path):
    signals = Signals(stop=lambda: False, interrupted=lambda: True)
    with pytest.raises(InterruptedRunError):
        fitted(CLASSIFICATION, split(), tiny.encoder(tmp_path / "m"), tmp_path, signals)
    state, _ = checkpoints.state(tmp_path)
    assert checkpoints.step_of(state) == 0
    assert checkpoints.best(tmp_path) is None


def test_a_loss_that_is_no_number_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(contrastive, "_TEMPERATURE", float("nan"))
    with pytest.raises(UserError, match="loss_not_finite"):
        fitted(CLASSIFICATION, split(), tiny.encoder(tmp_path / "m"), tmp_path)


def test_the_loss_is_small_where_fellows_are_near_and_counts_shared_labels():
    near = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
    two = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    mixed = two[[0, 2, 0, 2]]
    assert contrastive.compare(near, two) < 0.1 < 2 < contrastive.compare(near, mixed)
    # A row that shares half of its labels with one and all with another is to be nearer to the latter.
    partly = torch.tensor([[1.0, 1], [1, 1], [1, 0]])
    fellow, half = torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    assert contrastive.compare(fellow, partly) < contrastive.compare(half, partly)
    vectors = torch.randn(3, 2, requires_grad=True)
    alone = contrastive.compare(vectors, torch.eye(3))
    alone.backward()
    assert float(alone.detach()) == 0
    assert torch.isfinite(vectors.grad).all()


def test_the_loss_of_one_pair_among_others_is_as_in_the_paper():
    vectors = torch.nn.functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    sets = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    near = (vectors @ vectors.T / 0.1).exp()
    wanted = 0.0
    for anchor, fellow in [(0, 1), (1, 0)]:
        others = sum(near[anchor, i] for i in range(4) if i != anchor)
        wanted -= float(torch.log(near[anchor, fellow] / others)) / 2
    assert float(contrastive.compare(vectors, sets)) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("fewest", "most", "wanted"), [(8, 50, True), (7, 30, False), (20, 51, False), (20, 20, True), (0, 0, False)]
)
def test_it_is_offered_where_every_class_has_few_examples(fewest, most, wanted):
    assert few.offered(fewest, most) is wanted
