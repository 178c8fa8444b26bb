"""Whether bfloat16 is faster here: what disturbs the machine for a moment does not decide it."""

import pytest
import torch

from core import device


def found(monkeypatch, rates):
    """The precision that is chosen where bfloat16 has these rates, float32 has 1, and how often bfloat16 was asked."""
    told = []

    def rate(dtype):
        if dtype == torch.float32:
            return 1.0
        told.append(rates[min(len(told), len(rates) - 1)])
        return told[-1]

    monkeypatch.setattr(device, "_product_rate", rate)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return device.detect().precision, len(told)


@pytest.mark.parametrize(
    ("rates", "precision", "asked"),
    [
        ([2.0], "bfloat16", 5),
        ([0.7, 0.8, 2.0, 0.9], "bfloat16", 5),
        ([0.7] * 20 + [2.0, 0.7], "bfloat16", 30),
        ([1.1], "float32", 30),
        ([0.2], "float32", 5),
        ([0.05], "float32", 2),
        ([0.05, 0.2], "float32", 5),
        ([0.05, 2.0], "bfloat16", 5),
    ],
)
def test_the_best_of_many_turns_counts(rates, precision, asked, monkeypatch):
    assert found(monkeypatch, rates) == (precision, asked)
