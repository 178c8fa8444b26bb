"""Any number of labels for each text: none, one or several."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from core.models import notes
from core.spec import TrainSpec
from core.tasks._labelling import Labelling, logits_of
from core.tasks.base import Answering, Answers, Prediction

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from core.data.preparing import Split
    from core.device import Device

# A label may be rarer than the commonest one by this factor before its texts get more weight in the loss.
_BALANCED_UP_TO = 1.5
_HEAVIEST_WEIGHT = 10.0
# Where a model has no threshold of its own for a label.
_THRESHOLD = 0.5


class MultiLabel(Labelling):
    """A sigmoid and binary cross-entropy for each label, with a threshold chosen on the validation rows."""

    id = "multi_label"
    main_metric = "micro_f1"
    training_metric = "micro_f1"
    metrics: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1", "micro_precision", "micro_recall", "exact_match")
    baselines: ClassVar[tuple[str, ...]] = ("frequent_labels", "tfidf_labels")
    answers: ClassVar[Answering] = "labels"
    problem_type = "multi_label_classification"

    def targets(self, rows: "pd.DataFrame", labels: tuple[str, ...]) -> "np.ndarray[Any, Any]":
        """1 for each label of a row, 0 for the others: float32 of shape (rows, labels)."""
        from core.evaluation.label_sets import table

        return table(rows["labels"], labels).astype("float32")

    def loss(self, split: "Split") -> Callable[..., Any]:
        """Binary cross-entropy, the mean over labels; texts of rare labels count more, see `rare_weights`."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        counts = self.targets(split.train, split.labels).sum(axis=0)
        weights = rare_weights([int(count) for count in counts])
        weight = torch.tensor(weights) if weights else None

        def weighted(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
            on_device = weight.to(labels.device) if weight is not None else None
            return binary_cross_entropy_with_logits(outputs["logits"].float(), labels.float(), pos_weight=on_device)

        return weighted

    def evaluation_scores(self, logits: Any, label_ids: Any) -> dict[str, float]:
        """Micro F1 at the one threshold for all labels that is best on these rows: thresholds are chosen at the end."""
        from core.evaluation.label_sets import best_threshold

        return {"micro_f1": best_threshold(logits, label_ids)[1]}

    def finish(self, model: Any, tokenizer: Any, split: "Split", spec: TrainSpec, device: "Device") -> None:
        """Note for each label from which probability on it is given, chosen on the validation rows."""
        from core.evaluation.label_sets import thresholds

        rows = split.validation.iloc[: self.most_validated]
        probabilities = self.probabilities(logits_of(model, tokenizer, rows["text"].tolist(), device))
        chosen = thresholds(probabilities, self.targets(rows, split.labels))
        notes.note(model, thresholds=dict(zip(split.labels, (float(value) for value in chosen), strict=True)))

    def references(self, rows: "pd.DataFrame") -> list[str]:
        """The labels of each row with commas between, in order; empty where there are none."""
        return [_said(labels) for labels in rows["labels"]]

    def probabilities(self, logits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Of each label by itself."""
        from scipy.special import expit

        found: np.ndarray[Any, Any] = expit(logits)
        return found

    def margins(self, model: Any, probabilities: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """How far the label that is nearest to its threshold is from it."""
        margins: np.ndarray[Any, Any] = abs(probabilities - self._least(model)).min(axis=1)
        return margins

    def answers_from(self, model: Any, logits: "np.ndarray[Any, Any]") -> list[Prediction]:
        """All labels whose probability reaches their threshold, in order.

        The confidence is that of the least probable one among them; where there is none, of the most probable label.
        """
        names = [model.config.id2label[i] for i in range(model.config.num_labels)]
        least, found = self._least(model), []
        for row in self.probabilities(logits).tolist():
            given = [i for i, p in enumerate(row) if p >= least[i]]
            ranked = sorted(zip(names, (round(p, 6) for p in row), strict=True), key=lambda pair: -pair[1])
            sure = round(min((row[i] for i in given), default=max(row)), 6)
            labels = tuple(names[i] for i in given)
            found.append(Prediction(_said(labels), sure, tuple(ranked), labels))
        return found

    def _least(self, model: Any) -> list[float]:
        """From which probability on each label is given."""
        known = notes.notes(model).get("thresholds") or {}
        return [known.get(name, _THRESHOLD) for name in self.labels(model)]

    def simple_answers(self, split: "Split", rows: "pd.DataFrame", spec: TrainSpec) -> dict[str, Answers]:
        """The labels that most texts have, and TF-IDF with a logistic regression for each label."""
        from core.evaluation.baselines import frequent_labels, tfidf_labels

        given = {"frequent_labels": frequent_labels(split, rows), "tfidf_labels": tfidf_labels(split, rows)}
        return {name: Answers([Prediction(_said(g), labels=tuple(g)) for g in sets]) for name, sets in given.items()}

    def judge(
        self, rows: "pd.DataFrame", labels: tuple[str, ...], ours: Answers, others: dict[str, Answers]
    ) -> dict[str, Any]:
        """Scores, table of each label and wrong rows."""
        from core.evaluation.label_sets import judge

        return judge(rows, labels, ours, others)


TASK = MultiLabel()


def rare_weights(counts: list[int]) -> list[float]:
    """How much more the texts with a label count than those without it; empty where labels are about equally common.

    The commonest label has 1, others the inverse of their share of its texts, at most 10.
    """
    most = max(counts, default=0)
    if most <= _BALANCED_UP_TO * min(counts, default=0):
        return []
    return [min(_HEAVIEST_WEIGHT, most / max(1, count)) for count in counts]


def _said(labels: Iterable[str]) -> str:
    return ", ".join(sorted(labels))
