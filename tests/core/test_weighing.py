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


def test_validation_rows_weigh_the_same_in_batches_of_different_size():
    rows = Dataset.from_dict(
        {"input_ids": [[7] * n for n in (2_000, 3, 3, 3)], "labels": [0, 1, 1, 1], "length": [2_000, 3, 3, 3]}
    )

    class Model:
        def eval(self):
            pass

        def __call__(self, input_ids):
            # The long text, which is alone in its batch, is guessed right; the three short ones are not.
            return {"logits": torch.tensor([[4.0, 0.0]]).repeat(len(input_ids), 1)}

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
    device = Device("cpu", "float32", 1, "test")
    judged = judge_of(find("classification"), rows, collate, loss, device, Way(), 1)(trainer)
    each = torch.nn.functional.cross_entropy(
        torch.tensor([[4.0, 0.0]] * 4), torch.tensor([0, 1, 1, 1]), reduction="none"
    )
    assert judged["eval_loss"] == pytest.approx(float(each.mean()), rel=1e-5)
    assert judged["eval_accuracy"] == 0.25
