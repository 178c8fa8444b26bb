"""A batch that is computed in pieces teaches what it teaches as a whole."""

import pandas as pd
import pytest
import torch
from transformers import set_seed

from core.data.preparing import Split
from core.device import Device
from core.spec import DataChoice, build
from core.tasks.base import find
from core.training import batching, resuming
from core.training.loop import Keeping, Signals, fit
from tests import tiny

CPU = Device("cpu", "float32", 2, "test")
LENGTHS = (2, 3, 5, 9, 14)


def labelled(tmp_path):
    rows = [(i + 2, " ".join(["sun", "snow"][i % 2] for _ in range(LENGTHS[i % 5])), "ab"[i % 2]) for i in range(30)]
    frame = pd.DataFrame(rows, columns=["row", "text", "label"])
    columns = {"text": "text", "label": "label"}
    return "classification", Split(frame, frame.head(6), frame.head(6), ("a", "b"), ()), columns, tiny.body(tmp_path)


def written(tmp_path):
    rows = [(i + 2, "sun " * LENGTHS[i % 5], "wind " * (1 + i % 4)) for i in range(30)]
    frame = pd.DataFrame(rows, columns=["row", "text", "summary"])
    columns = {"text": "text", "summary": "summary"}
    return "summarization", Split(frame, frame.head(6), frame.head(6), (), ()), columns, tiny.language_model(tmp_path)


@pytest.fixture
def trained(request, tmp_path, monkeypatch):
    """A function from the most tokens of a piece to (weights, how many batches were laid out), of the same training."""
    kind, split, columns, folder = request.param(tmp_path / "base")
    task = find(kind)

    def train(tokens, fixed, parts=1, *, padded=True):
        monkeypatch.setattr("core.training.ways.can_go_unpadded", lambda model, **how: not padded)
        monkeypatch.setattr(batching, "_MOST", {"cpu": tokens})
        monkeypatch.setattr(batching, "_FIXED", {"cpu": fixed})
        spec = build(
            task=kind,
            data=DataChoice(table="0" * 64, columns=columns),
            batch_size=10,
            epochs=2,
            learning_rate=1e-3,
            max_length=128,
            dropout=0.0,
        )
        set_seed(3)
        model, tokenizer = task.load(folder, split, spec)
        seen, collate = [], type(task).collate(task, model, tokenizer)
        monkeypatch.setattr(
            task, "collate", lambda *given: lambda rows: seen.append(len(rows)) or collate(rows), raising=True
        )
        place = tmp_path / f"{tokens}-{fixed}-{parts}-{padded}"
        place.mkdir()
        given = (task, model, tokenizer, split, spec, CPU, place, lambda event: None, Signals(bool, bool))
        assert fit(*given, Keeping(parts=parts)).way["unpadded"] is not padded
        return {name: weight.detach().clone() for name, weight in model.named_parameters()}, len(seen)

    return train


@pytest.mark.parametrize("trained", [labelled, written], indirect=True)
def test_the_weights_are_the_same_but_for_rounding(trained):
    whole, as_one = trained(10_000, 10_000)
    for tokens, fixed, parts in ((20, 0, 1), (10_000, 0, 1), (1_000, 10_000, 10)):
        pieces, cut = trained(tokens, fixed, parts)
        assert cut >= as_one + 6
        assert all(torch.allclose(pieces[name], weight, atol=2e-5) for name, weight in whole.items())


@pytest.mark.parametrize("trained", [labelled, written], indirect=True)
def test_the_weights_are_the_same_without_padding(trained):
    whole, as_one = trained(10_000, 10_000)
    for tokens, fixed in ((20, 0), (10_000, 0)):
        pieces, cut = trained(tokens, fixed, padded=False)
        assert (cut == as_one) is (tokens == 10_000)
        assert all(torch.allclose(pieces[name], weight, atol=2e-5) for name, weight in whole.items())


def test_rows_are_handed_to_a_loader_in_pieces():
    batches = batching.Batches([900, 100, 800], 3, 7, "cpu")
    rows = resuming._InPieces(
        type("Rows", (), {"__getitems__": lambda self, places: places, "__len__": lambda s: 3})(), batches
    )
    assert len(rows) == 3
    assert rows.__getitems__([0, 1, 2]) == [[0], [2], [1]]
