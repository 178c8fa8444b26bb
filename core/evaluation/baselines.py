"""What a model has to beat to be worth its time."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.evaluation.words import first_sentence, unspaced_share

if TYPE_CHECKING:
    import pandas as pd

    from core.data.preparing import Split

_STRENGTHS = (1.0, 10.0, 100.0)
_MOST_ROWS = 50_000
_MOST_FEATURES = 200_000
# Rows on which the strength of the regularisation is chosen where there is a classifier for each label.
_MOST_SEARCHED = 3_000
# Rows times labels that are learned from, where there is a classifier for each label: some minutes.
_MOST_CELLS = 500_000
_ROWS_AT_ONCE = 64
# One-letter words count too: "I" and "a" tell something.
_WORD_PATTERN = r"(?u)\b\w+\b"


def majority(split: "Split", rows: "pd.DataFrame") -> list[str]:
    """Always the most frequent class of the training rows; of equals, the first in order."""
    counts = Counter(split.train["label"])
    most = max(split.labels, key=lambda label: (counts[label], -split.labels.index(label)))
    return [most] * len(rows)


def tfidf(split: "Split", rows: "pd.DataFrame") -> list[str]:
    """TF-IDF of words and pairs of words (characters where words are not spaced), then logistic regression.

    The strength of the regularisation is the best of three on the validation rows, so that the model has an honest
    opponent. Classes are weighted as in the model's loss.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    train = split.train.iloc[:_MOST_ROWS]
    vectors, features = _fitted(train["text"].tolist())
    validation, judged = vectors.transform(split.validation["text"]), vectors.transform(rows["text"])
    # Each strength begins where the one before ended, which takes about half of the time.
    model = LogisticRegression(class_weight="balanced", max_iter=300, warm_start=True)
    best_score, best = -1.0, []
    for strength in _STRENGTHS:
        model.set_params(C=strength).fit(features, train["label"])
        score = f1_score(split.validation["label"], model.predict(validation), average="macro", zero_division=0)
        if score > best_score:
            best_score, best = score, model.predict(judged).tolist()
    return [str(label) for label in best]


def frequent_labels(split: "Split", rows: "pd.DataFrame") -> list[tuple[str, ...]]:
    """Always the same labels: as many of the most frequent ones as give the highest micro F1 on the training rows."""
    counts = Counter(label for labels in split.train["labels"] for label in labels)
    ranked = sorted(split.labels, key=lambda label: (-counts[label], label))
    wanted, right = sum(counts.values()), 0
    best_score, best = -1.0, 0
    for given, label in enumerate(ranked, start=1):
        right += counts[label]
        score = 2 * right / (given * len(split.train) + wanted)
        if score > best_score:
            best_score, best = score, given
    return [tuple(sorted(ranked[:best]))] * len(rows)


def tfidf_labels(split: "Split", rows: "pd.DataFrame") -> list[tuple[str, ...]]:
    """The features of `tfidf`, a logistic regression for each label, and thresholds chosen on the validation rows.

    The strength of the regularisation is the best of three on the validation rows, found on a part of the training
    rows and the same for all labels.
    """
    from core.evaluation.label_sets import best_threshold, table, thresholds

    train = split.train.iloc[: min(_MOST_ROWS, max(_MOST_SEARCHED, _MOST_CELLS // max(1, len(split.labels))))]
    vectors, features = _fitted(train["text"].tolist())
    wanted = table(train["labels"], split.labels)
    validation, truth = vectors.transform(split.validation["text"]), table(split.validation["labels"], split.labels)
    searched = slice(0, _MOST_SEARCHED)
    found = {c: _each_label(features[searched], wanted[searched], [validation], c)[0] for c in _STRENGTHS}
    strength = max(found, key=lambda c: best_threshold(found[c], truth)[1])
    known, judged = _each_label(features, wanted, [validation, vectors.transform(rows["text"])], strength)
    chosen = thresholds(known, truth)
    return [tuple(label for label, yes in zip(split.labels, line, strict=True) if yes) for line in judged >= chosen]


def first_sentences(texts: Sequence[str]) -> list[str]:
    """The first sentence of each text."""
    return [first_sentence(text) for text in texts]


def nearest_answers(train_texts: Sequence[str], train_answers: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The answer to the training text that is most alike, by the cosine of TF-IDF vectors; of equals, the first."""
    import numpy as np

    vectors, known = _fitted(train_texts[:_MOST_ROWS], words=1)
    asked = vectors.transform(texts)
    turned = known.T.tocsr()
    found: list[str] = []
    for start in range(0, len(texts), _ROWS_AT_ONCE):
        alike = (asked[start : start + _ROWS_AT_ONCE] @ turned).toarray()
        found += [train_answers[int(place)] for place in np.argmax(alike, axis=1)]
    return found


def _fitted(texts: Sequence[str], words: int = 2) -> tuple[Any, Any]:
    """A TF-IDF vectoriser that knows these texts, with so many words in a row, and their vectors."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    shared: dict[str, Any] = {"sublinear_tf": True, "max_features": _MOST_FEATURES}
    if unspaced_share(list(texts[:500])) <= 0.2:
        vectors = TfidfVectorizer(ngram_range=(1, words), token_pattern=_WORD_PATTERN, **shared)
        try:
            return vectors, vectors.fit_transform(texts)
        except ValueError:  # not one word in all of them, as in texts of emoji
            pass
    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), **shared)
    return vectors, vectors.fit_transform(texts)


def _each_label(features: Any, wanted: Any, others: list[Any], strength: float) -> list[Any]:
    """For each of other features the probabilities of shape (rows, labels), by a regression for each label."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    found = [np.empty((other.shape[0], wanted.shape[1])) for other in others]
    for label in range(wanted.shape[1]):
        share = wanted[:, label].mean()
        if share in (0.0, 1.0):
            for probabilities in found:
                probabilities[:, label] = share
            continue
        # The dual problem has as many unknowns as rows, not as words: three times as fast for the same answer.
        solver = {"solver": "liblinear", "dual": True, "max_iter": 1000, "random_state": 0}
        model = LogisticRegression(C=strength, **solver).fit(features, wanted[:, label])
        for probabilities, other in zip(found, others, strict=True):
            probabilities[:, label] = model.predict_proba(other)[:, 1]
    return found
