"""Whether the method for few examples is worth offering, and what it brought where it was measured."""

# Training rows of a class: below, chance decides what is learned; above, full fine-tuning does as well.
FEWEST, MOST = 8, 50
# Macro F1 in points of 100, the mean of three seeds: the bundled customer messages cut to 16 training rows of each of
# their eight labels, MiniLM, by `python -m benchmarks.quick_mode --few --sizes 16` (two cores, bfloat16). `words` is
# TF-IDF with logistic regression, `full` changes all of the model.
MEASURED = {"rows": 16, "few": 71, "full": 65, "words": 44}


def offered(fewest: int, most: int) -> bool:
    """Whether every class has few training rows and none too few. Rows of the smallest and of the largest class."""
    return fewest >= FEWEST and most <= MOST
