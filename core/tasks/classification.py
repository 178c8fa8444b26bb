"""One label for each text."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from core.errors import UserError
from core.settings import Limits
from core.spec import TrainSpec
from core.tasks.base import Prediction, Task

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from core.data.preparing import Split
    from core.device import Device

# Classes may differ in size by this factor before the smaller ones get more weight in the loss.
_BALANCED_UP_TO = 1.5
_HEAVIEST_WEIGHT = 10.0
_TOKENS_PER_BATCH = 4096


class Classification(Task):
    """Sequence classification with softmax and cross-entropy over a linear head."""

    id = "classification"
    roles: ClassVar[tuple[str, ...]] = ("text", "label")
    main_metric = "macro_f1"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "macro_precision", "macro_recall")
    baselines: ClassVar[tuple[str, ...]] = ("majority", "tfidf")
    starters: ClassVar[tuple[str, ...]] = ("minilm",)
    pipeline_tag = "text-classification"
    auto_class = "AutoModelForSequenceClassification"

    def prepare(
        self, frame: "pd.DataFrame", spec: TrainSpec, limits: Limits, test_frame: "pd.DataFrame | None"
    ) -> "Split":
        """See `core.data.preparing.prepare`."""
        from core.data.preparing import prepare

        return prepare(
            frame,
            spec.data.columns,
            validation_fraction=spec.validation_fraction,
            test_fraction=spec.test_fraction,
            seed=spec.seed,
            limits=limits,
            test_frame=test_frame,
            fixes=spec.data.fixes,
            split=spec.data.split,
        )

    def load(self, folder: Path, split: "Split", spec: TrainSpec) -> tuple[Any, Any]:
        """A pretrained body with a new head of one output per label (an equal head is kept).

        Raises:
            UserError: `model_not_loadable` and what `check_folder` raises.
        """
        from core.models.loading import check_folder, dropout_settings

        labels = split.labels
        raw = check_folder(folder)
        overrides = {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
            "problem_type": "single_label_classification",
            **dropout_settings(raw, spec.dropout),
        }
        model, tokenizer = _open(folder, raw, overrides, new_head=list(_labels_of(raw)) != list(labels))
        limit = int(getattr(model.config, "max_position_embeddings", 0) or 0)
        tokenizer.model_max_length = min(spec.max_length, _usable_positions(model.config, limit))
        return model, tokenizer

    def reload(self, folder: Path) -> tuple[Any, Any]:
        """A fine-tuned classifier as it was saved.

        Raises:
            UserError: `model_not_loadable` and what `check_folder` raises.
        """
        from core.models.loading import check_folder

        raw = check_folder(folder)
        return _open(folder, raw, {}, new_head=False)

    def encode(self, rows: "pd.DataFrame", labels: tuple[str, ...], tokenizer: Any, max_length: int) -> "Dataset":
        """Token numbers, cut at the model's length, with the label's number and the length for grouping."""
        from datasets import Dataset

        number = {label: i for i, label in enumerate(labels)}
        tokens = tokenizer(
            rows["text"].tolist(), truncation=True, max_length=min(max_length, tokenizer.model_max_length)
        )
        columns = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        columns["labels"] = [number[label] for label in rows["label"]]
        columns["length"] = [len(ids) for ids in tokens["input_ids"]]
        return Dataset.from_dict(columns)

    def collate(self, tokenizer: Any) -> Any:
        """Padding to the longest text of the batch."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(tokenizer)

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

    def predict(
        self, model: Any, tokenizer: Any, texts: list[str], device: "Device", max_length: int | None = None
    ) -> list[Prediction]:
        """Softmax over the logits of each text. Probabilities are rounded to 1e-6."""
        probabilities = _probabilities(model, tokenizer, texts, device, max_length)
        names = [model.config.id2label[i] for i in range(model.config.num_labels)]
        answers = []
        for row in probabilities:
            ranked = sorted(zip(names, row, strict=True), key=lambda pair: -pair[1])
            answers.append(Prediction(ranked[0][0], ranked[0][1], tuple(ranked)))
        return answers

    def score(self, references: list[str], predictions: list[str], labels: tuple[str, ...]) -> dict[str, float]:
        """Accuracy and the unweighted means over classes of precision, recall and F1."""
        from core.evaluation.metrics import classification_scores

        number = {label: i for i, label in enumerate(labels)}
        return classification_scores([number[r] for r in references], [number.get(p, -1) for p in predictions])

    def evaluation_scores(self, logits: Any, label_ids: Any) -> dict[str, float]:
        """The same from logits of shape (rows, labels)."""
        from core.evaluation.metrics import classification_scores

        return classification_scores(list(label_ids), list(logits.argmax(axis=-1)))

    def baseline_predictions(self, split: "Split") -> dict[str, list[str]]:
        """The most frequent class, and TF-IDF with logistic regression."""
        from core.evaluation.baselines import majority, tfidf

        return {"majority": majority(split), "tfidf": tfidf(split)}


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


def _labels_of(config: dict[str, Any]) -> list[str]:
    names = config.get("id2label") or {}
    return [str(names[key]) for key in sorted(names, key=int)] if isinstance(names, dict) else []


def _usable_positions(config: Any, limit: int) -> int:
    """Longest input in tokens. RoBERTa-like models count positions from after the padding number."""
    offset = (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    return limit - offset if limit else 512


def _open(folder: Path, raw: dict[str, Any], overrides: dict[str, Any], *, new_head: bool) -> tuple[Any, Any]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **safe, **overrides)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="sdpa",
            ignore_mismatched_sizes=new_head,
            **safe,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, ImportError, SafetensorError) as error:
        raise UserError("model_not_loadable", name=folder.name) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    if new_head and "SequenceClassification" in " ".join(raw.get("architectures") or []):
        _reset_head(model)
    return model, tokenizer


def _reset_head(model: Any) -> None:
    """Forget an earlier classifier's head, which may have the same shape for other labels."""
    for name in ("classifier", "score", "classification_head"):
        head = getattr(model, name, None)
        if head is not None:
            for layer in head.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()


def _probabilities(
    model: Any, tokenizer: Any, texts: list[str], device: "Device", max_length: int | None
) -> list[list[float]]:
    import torch

    limit = min(max_length or tokenizer.model_max_length, tokenizer.model_max_length)
    tokens = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
    order = sorted(range(len(texts)), key=lambda i: -len(tokens[i]))
    found: list[list[float]] = [[] for _ in texts]
    model.eval()
    model.to(device.kind)
    start = 0
    while start < len(order):
        count = max(1, _TOKENS_PER_BATCH // max(1, len(tokens[order[start]])))
        rows = order[start : start + count]
        batch = tokenizer.pad({"input_ids": [tokens[i] for i in rows]}, return_tensors="pt").to(device.kind)
        autocast = torch.autocast(device.kind, torch.bfloat16, enabled=device.precision == "bfloat16")
        with torch.inference_mode(), autocast:
            logits = model(**batch).logits.float()
        for i, row in zip(rows, torch.softmax(logits, dim=-1).tolist(), strict=True):
            found[i] = [round(p, 6) for p in row]
        start += count
    return found
