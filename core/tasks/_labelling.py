"""What the tasks share that put labels on texts: opening a classifier, reading texts, and its logits for them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from core.errors import UserError
from core.models import notes
from core.models.rounding import WORTH_A_TRIAL, autocast_reading, rounded_reading
from core.spec import TrainSpec, Writing
from core.tasks._batches import READ_LEANLY, READ_TOGETHER, batches, padded
from core.tasks._encoded import blocks
from core.tasks._truncation import read
from core.tasks._whole_reading import whole_reading
from core.tasks.base import Answers, Asked, ModelKind, Prediction, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from core.data.preparing import Split
    from core.device import Device

_TAKE_LABELS = "BERT, RoBERTa, DeBERTa, ModernBERT, Qwen, Llama, BART, T5"
# Tokens from which on it pays to round the weights once, rather than whenever a product needs them.
_WORTH_ROUNDING = 1024
# Models that read from left to right answer at the last token of a text: the padding has to come after it.
_PADDING = "right"


class Labelling(Task):
    """Sequence classification. A subclass says what the labels of a row are as numbers, the loss, and the answer.

    Attributes:
        problem_type: the library's name of what the outputs mean; any program that loads the result goes by it.
    """

    kinds: ClassVar[tuple[ModelKind, ...]] = ("encoder", "decoder", "seq2seq")
    methods: ClassVar[tuple[str, ...]] = ("full", "lora", "head", "quick", "few")
    uses: ClassVar[frozenset[str]] = frozenset({"truncation", "dropout", "head_layers", "pooling"})
    starters: ClassVar[tuple[str, ...]] = ("minilm",)
    pipeline_tag = "text-classification"
    problem_type: ClassVar[str]

    @abstractmethod
    def targets(self, rows: "pd.DataFrame", labels: tuple[str, ...]) -> "np.ndarray[Any, Any]":
        """What the loss compares the logits with, a number or a row of numbers for each row."""

    @abstractmethod
    def probabilities(self, logits: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Of each label, from logits of shape (rows, labels)."""

    @abstractmethod
    def margins(self, model: Any, probabilities: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """For each row how far its probabilities are from those of another answer."""

    @abstractmethod
    def answers_from(self, model: Any, logits: "np.ndarray[Any, Any]") -> list[Prediction]:
        """The answers that logits of shape (rows, labels) mean."""

    def load(self, folder: Path, split: "Split", spec: TrainSpec) -> tuple[Any, Any]:
        """A pretrained body with a new head of one output per label; the head of an equal task is kept.

        Raises:
            UserError: `model_wrong_kind`, and what `open_model` and `core.models.heads.reshape` raise.
        """
        from core.models.adapting import rounding
        from core.models.architectures import suits
        from core.models.heads import reshape
        from core.models.loading import check_folder, dropout_settings
        from core.models.opening import limit_length, open_model

        labels = split.labels
        raw = check_folder(folder)
        if not suits(raw, self.kinds, labels=True):
            kind = str(raw.get("model_type") or "?")[:40]
            raise UserError("model_wrong_kind", name=folder.name, kind=kind, wanted=_TAKE_LABELS)
        overrides = {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
            "problem_type": self.problem_type,
            notes.KEY: {},  # what an earlier result remembers is about its own task
            **dropout_settings(raw, spec.dropout),
        }
        model, tokenizer = open_model(
            folder,
            "AutoModelForSequenceClassification",
            overrides=overrides,
            new_head=not self._fits(raw, labels),
            quantization=rounding(spec),
        )
        model = reshape(model, spec.head_layers, spec.pooling)
        tokenizer.padding_side = _PADDING
        length = limit_length(tokenizer, model, spec.max_length)
        notes.note(model, task=self.id, max_length=length, truncation=spec.truncation)
        return model, tokenizer

    def reload(self, folder: Path) -> tuple[Any, Any]:
        """A fine-tuned classifier as it was saved.

        Raises:
            UserError: what `open_model` raises.
        """
        from core.models.opening import open_model

        model, tokenizer = open_model(folder, "AutoModelForSequenceClassification")
        tokenizer.padding_side = _PADDING
        return model, tokenizer

    def pieces(
        self, rows: "pd.DataFrame", labels: tuple[str, ...], model: Any, tokenizer: Any, spec: TrainSpec
    ) -> Iterator[dict[str, Any]]:
        """Token numbers, cut at the model's length, with the labels as numbers and the length for grouping."""
        for some in blocks(rows):
            ids = tokens_of(model, tokenizer, some["text"].tolist())
            yield {
                "input_ids": ids,
                "attention_mask": [[1] * len(row) for row in ids],
                "labels": self.targets(some, labels),
                "length": [len(row) for row in ids],
            }

    def collate(self, model: Any, tokenizer: Any) -> Callable[[list[dict[str, Any]]], Any]:
        """Padding to the longest text of the batch."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(tokenizer)

    def reduce_logits(self, logits: Any, labels: Any) -> Any:
        """The logits alone: an encoder-decoder hands over its hidden states as well."""
        return logits[0] if isinstance(logits, tuple) else logits

    def labels(self, model: Any) -> tuple[str, ...]:
        """Those of the model's outputs."""
        return tuple(str(model.config.id2label[number]) for number in range(model.config.num_labels))

    def asked(self, rows: "pd.DataFrame") -> list[Asked]:
        """The texts."""
        return list(rows["text"])

    def _fits(self, config: dict[str, Any], labels: tuple[str, ...]) -> bool:
        """Whether a model's head is one for this task and these labels."""
        made_for = " ".join(config.get("architectures") or [])
        means = config.get("problem_type") or self.problem_type
        return "SequenceClassification" in made_for and means == self.problem_type and _labels_of(config) == [*labels]

    def predict(
        self, model: Any, tokenizer: Any, asked: Sequence[Asked], device: "Device", writing: Writing | None = None
    ) -> list[Prediction]:
        """The answer to each text. Probabilities are rounded to 1e-6.

        Many texts are read by products of whole numbers where answers stay the same, see `whole_reading`.
        """
        return self.answers_from(model, logits_of(model, tokenizer, [str(text) for text in asked], device, quick=self))

    def answer(
        self,
        model: Any,
        tokenizer: Any,
        rows: "pd.DataFrame",
        spec: TrainSpec,
        device: "Device",
        tell: Callable[[int, int], None] | None = None,
    ) -> Answers:
        """The same of rows that are judged, which are never read by products of whole numbers."""
        logits = logits_of(model, tokenizer, [str(text) for text in self.asked(rows)], device)
        return Answers(self.answers_from(model, logits))


def tokens_of(model: Any, tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token numbers of each text, cut as the model has noted that it was trained."""
    from core.models.opening import positions

    known, most = notes.notes(model), positions(model.config)
    asked = known.get("max_length") or tokenizer.model_max_length
    ids = read(tokenizer, texts, min(asked, most) if most else asked, known.get("truncation", "head"))
    return [_one_end(row, model.config.eos_token_id) for row in ids] if model.config.is_encoder_decoder else ids


def logits_of(
    model: Any, tokenizer: Any, texts: list[str], device: "Device", quick: Labelling | None = None
) -> "np.ndarray[Any, Any]":
    """The model's outputs in float32, of shape (texts, labels); computed in order of length, longest first.

    Args:
        quick: the task, where outputs may be those of `whole_reading`.
    """
    ids = tokens_of(model, tokenizer, texts)
    model.eval()
    model.to(device.kind)
    tokens, all_texts = sum(map(len, ids)), range(len(ids))

    def read(places: Sequence[int], together: int = READ_TOGETHER[device.kind]) -> "np.ndarray[Any, Any]":
        return _read(model, tokenizer, [ids[place] for place in places], device, together)

    rounded = device.precision == "bfloat16"
    if device.kind == "cpu" and tokens >= (_WORTH_ROUNDING if rounded else WORTH_A_TRIAL):
        # A family that mixes formats says so by an error, and is read as one text is.
        with suppress(RuntimeError, TypeError, ValueError), rounded_reading(model, tokens, rounded=rounded) as lean:
            fast = partial(read, together=READ_LEANLY) if lean else read
            return whole_reading(quick, model, [*map(len, ids)], fast) if quick else fast(all_texts)
    with autocast_reading(device):
        return read(all_texts)


def _read(model: Any, tokenizer: Any, ids: list[list[int]], device: "Device", together: int) -> "np.ndarray[Any, Any]":
    import numpy as np

    found = np.zeros((len(ids), model.config.num_labels), dtype=np.float32)
    for rows in batches([len(row) for row in ids], together, len(ids)):
        given, mask = padded([ids[i] for i in rows], tokenizer.pad_token_id or 0)
        outputs = model(input_ids=given.to(device.kind), attention_mask=mask.to(device.kind))
        found[rows] = outputs.logits.float().cpu().numpy()
    return found


def _one_end(ids: list[int], end: int | None) -> list[int]:
    """Without ends inside the text: an encoder-decoder classifies at the end, and refuses batches of several."""
    last = max((place for place, number in enumerate(ids) if number == end), default=-1)
    return [number for place, number in enumerate(ids) if number != end or place == last]


def _labels_of(config: dict[str, Any]) -> list[str]:
    names = config.get("id2label") or {}
    return [str(names[key]) for key in sorted(names, key=int)] if isinstance(names, dict) else []
