"""Whether the method for few examples is worth offering, and what it may bring. Imports nothing heavy."""

from collections.abc import Mapping

# Training rows of a class: below, chance decides what is learned; above, full fine-tuning does as well.
FEWEST, MOST = 8, 50
# Macro F1 in points of 100, the mean of three seeds: the bundled customer messages cut to 16 training rows of each of
# their eight labels, MiniLM, by `python -m benchmarks.quick_mode --few --sizes 16` (2026-11-26, two cores, bfloat16).
# `words` is TF-IDF with logistic regression, `full` changes all of the model.
MEASURED = {"rows": 16, "few": 71, "full": 65, "words": 44}


def offered(labels_per_class: Mapping[str, int]) -> bool:
    """Whether every class, of two or more, has few training rows and none too few. Label -> rows."""
    counts = labels_per_class.values()
    return len(labels_per_class) > 1 and min(counts) >= FEWEST and max(counts) <= MOST
