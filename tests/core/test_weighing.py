"""What is learned and what is judged counts alike, whatever batch it is in."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from core.device import Device
from core.tasks.base import find
from core.training.loop import Learned
from core.training.precision import Way
from core.training.validation import judge_of


def loss(outputs, labels):
    return torch.nn.functional.cross_entropy(outputs["logits"], labels)


def test_batches_of_different_size_add_up_to_the_mean_over_all_rows():
    torch.manual_seed(1)
    logits, labels = torch.randn(12, 3), torch.randint(0, 3, (12,))
    learned = Learned(loss, 4.0)
    parts = [learned({"logits": logits[a:b]}, labels[a:b]) for a, b in ((0, 1), (1, 3), (3, 12))]
    whole = float(loss({"logits": logits}, labels))
    assert float(sum(parts)) / 3 == pytest.approx(whole, rel=1e-5)
    assert learned.take() == pytest.approx(whole, rel=1e-5)
    assert learned.take() == 0.0


class Model:
    def __init__(self):
        self.seen = []

    def eval(self):
        pass

    def __call__(self, input_ids):
        # The long text, which is alone in its batch, is guessed right; the three short ones are not.
        self.seen.append(tuple(input_ids.shape))
        return {"logits": torch.tensor([[4.0, 0.0]]).repeat(len(input_ids), 1)}


def judged(lengths, labels):
    """The scores on such rows, and the shapes of the batches in which they were read."""
    rows = Dataset.from_dict({"input_ids": [[7] * n for n in lengths], "labels": labels, "length": lengths})

    def collate(given):
        ids = [torch.tensor(row["input_ids"]) for row in given]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        return {"input_ids": padded, "labels": torch.tensor([row["labels"] for row in given])}

    trainer = SimpleNamespace(
        model=Model(), args=None, state=None, control=None,
        _remove_unused_columns=lambda given, description: given.remove_columns("length"),
        _prepare_inputs=lambda batch: batch,
        callback_handler=SimpleNamespace(on_prediction_step=lambda *given: None),
    )  # fmt: skip
    judge = judge_of(find("classification"), rows, collate, loss, Device("cpu", "float32", 1, "test"), Way(), 1)
    return judge(trainer), trainer.model.seen


def test_validation_rows_weigh_the_same_in_batches_of_different_size():
    found, _ = judged([2_000, 3, 3, 3], [0, 1, 1, 1])
    each = torch.nn.functional.cross_entropy(
        torch.tensor([[4.0, 0.0]] * 4), torch.tensor([0, 1, 1, 1]), reduction="none"
    )
    assert found["eval_loss"] == pytest.approx(float(each.mean()), rel=1e-5)
    assert found["eval_accuracy"] == 0.25


def test_validation_reads_no_more_at_once_than_is_learned_from_at_once():
    _, seen = judged([200] * 11, [0] * 11)
    assert seen == [(5, 200), (5, 200), (1, 200)]
