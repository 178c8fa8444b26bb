"""Answers to many rows: kept part by part, each as large as is worth losing."""

import pandas as pd
import pytest

from core import files
from core.evaluation.answers import Answers, Prediction
from core.training import answering
from core.training.answering import answer

ROWS = pd.DataFrame({"text": [f"text {number}" for number in range(200)]})


class Slow:
    """A task that takes some seconds for a row, and knows answers, or only how likely texts are."""

    def __init__(self, seconds, *, writes=True, likelihoods=False):
        self.writes, self._seconds, self._likelihoods = writes, seconds, likelihoods
        self.now, self.sizes = 0.0, []

    def answer(self, model, tokenizer, rows, spec, device, tell):
        assert list(rows.index) == list(range(len(rows)))
        self.now += self._seconds * len(rows)
        self.sizes.append(len(rows))
        if self._likelihoods:
            return Answers(token_losses=[(1.0, 2, 1)] * (2 * len(rows)))
        return Answers([Prediction(text) for text in rows["text"]])


def asked(task, folder, monkeypatch):
    monkeypatch.setattr(answering, "monotonic", lambda: task.now)
    told = []
    found = answer(task, None, None, ROWS, None, None, lambda *where: told.append(where), folder)
    return found, told


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        (0.5, [32, 120, 48]),  # what is answered in a minute
        (10.0, [32] * 6 + [8]),  # never fewer than at first
        (0.0, [32, 168]),
    ],
)
def test_later_parts_take_about_a_minute(seconds, sizes, tmp_path, monkeypatch):
    task = Slow(seconds)
    found, told = asked(task, tmp_path, monkeypatch)
    assert task.sizes == sizes
    assert [one.answer for one in found.predictions] == ROWS["text"].tolist()
    assert told[-1] == (200, 200)


def test_labels_are_given_at_once(tmp_path, monkeypatch):
    task = Slow(0.01, writes=False)
    asked(task, tmp_path, monkeypatch)
    assert task.sizes == [200]


def test_what_is_kept_is_not_answered_again_whatever_its_size(tmp_path, monkeypatch):
    before, _ = asked(Slow(0.5), tmp_path, monkeypatch)
    task = Slow(10.0)
    assert asked(task, tmp_path, monkeypatch)[0] == before
    assert task.sizes == []
    (tmp_path / "32.json").write_text("torn", encoding="utf-8")
    assert asked(task, tmp_path, monkeypatch)[0] == before
    assert task.sizes == [*[32] * 5, 8]


def test_a_task_that_only_tells_how_likely_texts_are_comes_to_an_end(tmp_path, monkeypatch):
    task = Slow(0.5, likelihoods=True)
    found, _ = asked(task, tmp_path, monkeypatch)
    assert task.sizes == [32, 120, 48]
    assert found.predictions == []
    assert len(found.token_losses) == 400
    assert len(asked(task, tmp_path, monkeypatch)[0].token_losses) == 400
    assert len(task.sizes) == 3


def test_a_part_without_rows_is_no_part(tmp_path, monkeypatch):
    files.write_json(tmp_path / "0.json", {"rows": 0, "predictions": [], "token_losses": []})
    task = Slow(0.0)
    assert len(asked(task, tmp_path, monkeypatch)[0].predictions) == 200
