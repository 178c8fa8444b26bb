"""Hyperparameters to begin with, from the data and the model, each with its reason."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import Fact
from core.spec import knobs

if TYPE_CHECKING:
    from core.models.sizing import ModelFacts


@dataclass(frozen=True)
class Advice:
    """A value chosen for the person. `reason` is the key of a sentence, `facts` go into it."""

    value: float
    reason: str
    facts: dict[str, Fact] = field(default_factory=dict)


def recommend(*, rows: int, classes: int, tokens_p95: int, facts: "ModelFacts | None") -> dict[str, Advice]:
    """A value for every training knob.

    Args:
        rows: training rows.
        classes: distinct labels.
        tokens_p95: length in tokens that 95 of 100 texts stay below.
        facts: the model; None for a small one.

    Small models bear larger learning rates: between 2e-5 for 110 million parameters and more (Devlin et al., 2019,
    appendix A.3) and 2e-4 for about 20 million, measured on the bundled sample.
    """
    parameters = facts.parameters if facts else 22_000_000
    positions = facts.max_positions if facts and facts.max_positions else 512
    batch = _batch_size(rows)
    epochs = _epochs(rows, batch)
    length = _max_length(tokens_p95, positions)
    rate, rate_reason = _learning_rate(parameters)
    advice = {
        "learning_rate": Advice(rate, rate_reason, {"millions": round(parameters / 1e6)}),
        "batch_size": Advice(batch, "batch_for_rows", {"rows": rows}),
        "epochs": Advice(epochs, "epochs_for_rows", {"rows": rows}),
        "max_length": Advice(length, "length_for_texts", {"tokens": tokens_p95}),
    }
    fixed = {name: Advice(knob.default, "usual_value") for name, knob in knobs("training").items()}
    return fixed | advice


def _learning_rate(parameters: int) -> tuple[float, str]:
    if parameters < 50_000_000:
        return 2e-4, "rate_small_model"
    if parameters < 90_000_000:
        return 5e-5, "rate_medium_model"
    return 2e-5, "rate_large_model"


def _batch_size(rows: int) -> int:
    return 8 if rows < 300 else 16 if rows < 5_000 else 32


def _epochs(rows: int, batch: int) -> int:
    """About 200 steps at least, 2 passes at least, 12 at most."""
    per_epoch = max(1, -(-rows // batch))
    wanted = -(-200 // per_epoch)
    return max(2, min(12, wanted))


def _max_length(tokens_p95: int, positions: int) -> int:
    choices = [int(c) for c in knobs()["max_length"].knob.choices]
    fitting = [c for c in choices if c >= tokens_p95] or [choices[-1]]
    return min(fitting[0], positions)
