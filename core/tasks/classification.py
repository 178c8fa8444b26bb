"""One label for each text."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from core.spec import TrainSpec
from core.tasks._labelling import Labelling
from core.tasks.base import Answering, Answers, Prediction

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from core.data.preparing import Split

# Classes may differ in size by this factor before the smaller ones get more weight in the loss.
_BALANCED_UP_TO = 1.5
_HEAVIEST_WEIGHT = 10.0


class Classification(Labelling):
    """Softmax and cross-entropy over one output per label."""

    id = "classification"
    main_metric = "macro_f1"
    training_metric = "macro_f1"
    metrics: ClassVar[tuple[str, ...]] = ("macro_f1", "accuracy", "macro_precision", "macro_recall")
    baselines: ClassVar[tuple[str, ...]] = ("majority", "tfidf")
    answers: ClassVar[Answering] = "label"
    problem_type = "single_label_classification"

    def targets(self, rows: "pd.DataFrame", labels: tuple[str, ...]) -> "np.ndarray[Any, Any]":
        """The number of each row's label."""
        import numpy as np

        number = {label: i for i, label in enumerate(labels)}
        return np.array([number[label] for label in rows["label"]], dtype=np.int64)

    def loss(self, split: "Split") -> Callable[..., Any]:
        """Cross-entropy; where classes differ much in size, weighted by the inverse of their size."""
        import torch
        from torch.nn.functional import cross_entropy

        weights = class_weights([int((split.train["label"] == label).sum()) for label in split.labels])
        weight = torch.tensor(weights) if weights else None

        def weighted(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
            on_device = weight.to(labels.device) if weight is not None else None
            return cross_entropy(outputs["logits"].float(), labels, weight=on_device)

        return weighted

    def evaluation_scores(self, logits: Any, label_ids: Any) -> dict[str, float]:
        """Accuracy and the unweighted means over classes of precision, recall and F1."""
        from core.evaluation.metrics import classification_scores

        return classification_scores(list(label_ids), list(logits.argmax(axis=-1)))

    def references(self, rows: "pd.DataFrame") -> list[str]:
        """The labels."""
        return list(rows["label"])

    def probabilities(self, logits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """A softmax."""
        from scipy.special import softmax

        found: np.ndarray[Any, Any] = softmax(logits, axis=-1)
        return found

    def margins(self, model: Any, probabilities: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """How far the most probable label is before the next."""
        import numpy as np

        if probabilities.shape[1] < 2:
            return np.ones(len(probabilities))
        ranked = np.sort(probabilities, axis=1)
        margins: np.ndarray[Any, Any] = ranked[:, -1] - ranked[:, -2]
        return margins

    def answers_from(self, model: Any, logits: "np.ndarray[Any, Any]") -> list[Prediction]:
        """The most probable label."""
        names = [model.config.id2label[i] for i in range(model.config.num_labels)]
        found = []
        for row in self.probabilities(logits).tolist():
            ranked = sorted(zip(names, (round(p, 6) for p in row), strict=True), key=lambda pair: -pair[1])
            found.append(Prediction(ranked[0][0], ranked[0][1], tuple(ranked), (ranked[0][0],)))
        return found

    def simple_answers(self, split: "Split", rows: "pd.DataFrame", spec: TrainSpec) -> dict[str, Answers]:
        """The most frequent class, and TF-IDF with logistic regression."""
        from core.evaluation.baselines import majority, tfidf

        given = {"majority": majority(split, rows), "tfidf": tfidf(split, rows)}
        return {name: Answers([Prediction(g, labels=(g,)) for g in labels]) for name, labels in given.items()}

    def judge(
        self, rows: "pd.DataFrame", labels: tuple[str, ...], ours: Answers, others: dict[str, Answers]
    ) -> dict[str, Any]:
        """Scores, table of each class, confusion and wrong rows."""
        from core.evaluation.report import judge

        return judge(rows, labels, ours, others)


TASK = Classification()


def class_weights(counts: list[int]) -> list[float]:
    """Weight of each class, mean 1 over rows; empty where the classes are about equal in size.

    Source: the "balanced" heuristic, rows / (classes x rows of the class), bounded at 10.
    """
    if max(counts) <= _BALANCED_UP_TO * min(counts):
        return []
    bounded = [min(_HEAVIEST_WEIGHT, sum(counts) / (len(counts) * count)) for count in counts]
    mean = sum(w * c for w, c in zip(bounded, counts, strict=True)) / sum(counts)
    return [w / mean for w in bounded]
