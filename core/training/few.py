"""Whether the method for few examples is worth offering, and what it may bring. Imports nothing heavy."""

from collections.abc import Mapping

# Training rows of a class: below, chance decides what is learned; above, full fine-tuning does as well.
FEWEST, MOST = 8, 50


def offered(labels_per_class: Mapping[str, int]) -> bool:
    """Whether every class, of two or more, has few training rows and none too few. Label -> rows."""
    counts = labels_per_class.values()
    return len(labels_per_class) > 1 and min(counts) >= FEWEST and max(counts) <= MOST
