"""What a model has to beat to be worth its time."""

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.data.preparing import Split

_STRENGTHS = (1.0, 10.0, 100.0)
_MOST_ROWS = 50_000
_MOST_FEATURES = 200_000
# One-letter words count too: "I" and "a" tell something.
_WORD_PATTERN = r"(?u)\b\w+\b"


def majority(split: "Split") -> list[str]:
    """Always the most frequent class of the training rows; of equals, the first in order."""
    counts = Counter(split.train["label"])
    most = max(split.labels, key=lambda label: (counts[label], -split.labels.index(label)))
    return [most] * len(split.test)


def tfidf(split: "Split") -> list[str]:
    """TF-IDF of words and pairs of words (characters where words are not spaced), then logistic regression.

    The strength of the regularisation is the best of three on the validation rows, so that the model has an honest
    opponent. Classes are weighted as in the model's loss.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    train = split.train.iloc[:_MOST_ROWS]
    unspaced = _unspaced_share(train["text"].head(500).tolist()) > 0.2
    if unspaced:
        vectors = TfidfVectorizer(sublinear_tf=True, max_features=_MOST_FEATURES, analyzer="char", ngram_range=(1, 3))
    else:
        vectors = TfidfVectorizer(sublinear_tf=True, max_features=_MOST_FEATURES, ngram_range=(1, 2))
        vectors.token_pattern = _WORD_PATTERN
    features = vectors.fit_transform(train["text"])
    validation = vectors.transform(split.validation["text"])
    best_score, best = -1.0, None
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300).fit(features, train["label"])
        score = f1_score(split.validation["label"], model.predict(validation), average="macro", zero_division=0)
        if score > best_score:
            best_score, best = score, model
    assert best is not None
    return [str(label) for label in best.predict(vectors.transform(split.test["text"]))]


def _unspaced_share(texts: list[str]) -> float:
    """Share of characters from scripts written without blanks between words (Han, kana, Thai, Lao, Khmer)."""
    text = "".join(texts)
    ranges = ((0x0E00, 0x0EFF), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0x20000, 0x2FA1F))
    unspaced = sum(any(low <= ord(c) <= high for low, high in ranges) for c in text)
    return unspaced / max(1, len(text))
