"""How each score is read: its unit and whether more is better. Page, terminal and model card draw from this."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scale:
    """A score's scale.

    Attributes:
        unit: `share` is 0 to 1 and shown in percent; `points` is 0 to 100 and shown as it is; `number` has no upper
            end.
        better: which way is better.
        card_type: the Hub's name of the metric.
        card_name: what a model card calls it.
        card_arguments: of the Hub's metric.
    """

    unit: Literal["share", "points", "number"]
    better: Literal["higher", "lower"]
    card_type: str
    card_name: str
    card_arguments: tuple[tuple[str, str], ...] = ()


SCALES = {
    "accuracy": Scale("share", "higher", "accuracy", "Accuracy"),
    "macro_f1": Scale("share", "higher", "f1", "Macro F1", (("average", "macro"),)),
    "macro_precision": Scale("share", "higher", "precision", "Macro precision", (("average", "macro"),)),
    "macro_recall": Scale("share", "higher", "recall", "Macro recall", (("average", "macro"),)),
    "micro_f1": Scale("share", "higher", "f1", "Micro F1", (("average", "micro"),)),
    "micro_precision": Scale("share", "higher", "precision", "Micro precision", (("average", "micro"),)),
    "micro_recall": Scale("share", "higher", "recall", "Micro recall", (("average", "micro"),)),
    "exact_match": Scale("share", "higher", "exact_match", "Exact match"),
    "bleu": Scale("points", "higher", "bleu", "BLEU"),
    "chrf": Scale("points", "higher", "chrf", "chrF"),
    "rouge1": Scale("points", "higher", "rouge", "ROUGE-1"),
    "rouge2": Scale("points", "higher", "rouge", "ROUGE-2"),
    "rougeL": Scale("points", "higher", "rouge", "ROUGE-L"),
    "token_accuracy": Scale("share", "higher", "accuracy", "Token accuracy"),
    "loss": Scale("number", "lower", "loss", "Loss (nats per token)"),
    "perplexity": Scale("number", "lower", "perplexity", "Perplexity"),
}


def share(metric: str, value: float) -> float | None:
    """A score as 0 to 1 for a bar; None for one without an upper end."""
    scale = SCALES[metric]
    return None if scale.unit == "number" else value / (100 if scale.unit == "points" else 1)
