"""What the tasks share that teach a decoder-only model to go on with a text: conversations, and texts as they are."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from core.errors import UserError
from core.models import notes
from core.spec import TrainSpec, Writing, writing_of
from core.tasks import _batches, _encoded, _packing
from core.tasks._written import Written
from core.tasks.base import Asked, ModelKind, Prediction

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from core.data.preparing import Split
    from core.device import Device

_AUTO_CLASS = "AutoModelForCausalLM"
# A person waits for one answer so long, in seconds; what is written by then is shown.
_PATIENCE = 30.0
# Tokens that are read before writing, at most: models made for far more would take minutes to read them here.
_LONGEST_PROMPT = 8192


class LanguageModel(Written):
    """Continued training of a decoder-only model; what is read and what is learned of it is the task's."""

    kinds: ClassVar[tuple[ModelKind, ...]] = ("decoder",)
    methods: ClassVar[tuple[str, ...]] = ("lora", "full")
    uses: ClassVar[frozenset[str]] = frozenset({"packing", "dropout", "max_new_tokens", "temperature", "top_p", "stop"})
    starters: ClassVar[tuple[str, ...]] = ("smollm2",)
    most_judged: ClassVar[int] = 100
    pipeline_tag = "text-generation"

    def load(self, folder: Path, split: "Split", spec: TrainSpec) -> tuple[Any, Any]:
        """A pretrained decoder-only model, which is saved with the way of writing.

        Raises:
            UserError: `model_wrong_kind`, and what `core.models.opening.open_model` raises.
        """
        from core.models.adapting import rounding
        from core.models.architectures import examples, kind_of
        from core.models.loading import check_folder, dropout_settings
        from core.models.opening import limit_length, open_model
        from core.tasks._generation import settings

        raw = check_folder(folder)
        if kind_of(raw) != "decoder":
            family = str(raw.get("model_type") or "?")[:40]
            raise UserError("model_wrong_kind", name=folder.name, kind=family, wanted=examples(self.kinds))
        model, tokenizer = open_model(
            folder,
            _AUTO_CLASS,
            overrides={notes.KEY: {}, **dropout_settings(raw, spec.dropout)},
            quantization=rounding(spec),
        )
        limit_length(tokenizer, model, spec.max_length)
        writing = writing_of(spec)
        model.generation_config = settings(model, tokenizer, writing, stop_ids=self.ends(tokenizer))
        notes.note(model, task=self.id, writing=writing.model_dump())
        return model, tokenizer

    def reload(self, folder: Path) -> tuple[Any, Any]:
        """A result as it was saved."""
        from core.models.opening import open_model

        return open_model(folder, _AUTO_CLASS)

    def ends(self, tokenizer: Any) -> list[int]:
        """Tokens at which writing ends, beside the end token."""
        return []

    @abstractmethod
    def examples(self, rows: "pd.DataFrame", model: Any, tokenizer: Any) -> Iterator[_packing.Row]:
        """The `input_ids` of all rows, and their `labels`: the same where they are learned.

        Raises:
            UserError: where there is nothing to learn.
        """

    def encode(
        self,
        rows: "pd.DataFrame",
        labels: tuple[str, ...],
        model: Any,
        tokenizer: Any,
        spec: TrainSpec,
        folder: Path | None = None,
    ) -> "Dataset":
        """Examples by themselves, or several in a row with `position_ids` where that is wanted and the model allows it.

        Raises:
            UserError: as `examples`; `disk_full`.
        """
        found = super().encode(rows, labels, model, tokenizer, spec, folder)
        if not (spec.packing and _packing.packable(model)):
            return found
        packed = _columns(_packing.packed(found, tokenizer.model_max_length))
        if folder is None:
            return _encoded.in_memory(packed)
        origin = _encoded.origin_of(self.id, rows, labels, model, tokenizer, spec)
        return _encoded.on_disk(folder, f"{origin}-packed", packed)

    def pieces(
        self, rows: "pd.DataFrame", labels: tuple[str, ...], model: Any, tokenizer: Any, spec: TrainSpec
    ) -> Iterator[dict[str, Any]]:
        """Examples by themselves.

        Raises:
            UserError: as `examples`.
        """
        examples = self.examples(rows, model, tokenizer)
        return _columns(row | {"attention_mask": [1] * len(row["input_ids"])} for row in examples)

    def collate(self, model: Any, tokenizer: Any) -> Callable[[list[dict[str, Any]]], Any]:
        """Padding, with labels where the model predicts them."""
        return partial(_batch, model, tokenizer)

    def loss(self, split: "Split") -> Callable[..., Any]:
        """Mean cross-entropy of the tokens that are learned."""

        def mean(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
            # The Trainer's number leaves out the first place of each row, where labels that line up with the logits
            # may have a token.
            return _batches.token_loss(outputs, labels)

        return mean

    @abstractmethod
    def prompts(self, model: Any, tokenizer: Any, asked: Sequence[Asked], limit: int) -> list[tuple[list[int], bool]]:
        """For each that is asked the tokens that are gone on from, at most `limit`, and whether a question was cut."""

    def predict(
        self, model: Any, tokenizer: Any, asked: Sequence[Asked], device: "Device", writing: Writing | None = None
    ) -> list[Prediction]:
        """What the model writes next. Of prompts that are too long the end is read."""
        return self.written(model, tokenizer, asked, device, writing)

    def written(
        self,
        model: Any,
        tokenizer: Any,
        asked: Sequence[Asked],
        device: "Device",
        writing: Writing | None,
        tell: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        """As `predict`; `tell` as in `answer`."""
        from core.tasks._generation import write

        chosen = writing or noted_writing(model)
        prompts = [ids for ids, _ in self.prompts(model, tokenizer, asked, longest_prompt(model, chosen))]
        seconds = _PATIENCE if len(prompts) == 1 else None
        ends = self.ends(tokenizer)
        texts = write(model, tokenizer, prompts, device, chosen, stop_ids=ends, seconds=seconds, tell=tell)
        return [Prediction(text) for text in texts]

    def stream(
        self, model: Any, tokenizer: Any, asked: Asked, device: "Device", writing: Writing | None = None
    ) -> Iterator[str]:
        """The same in pieces.

        Raises:
            UserError: `question_too_long` where the model cannot read all of the last question.
        """
        from core.tasks._generation import write_streaming

        chosen = writing or noted_writing(model)
        limit = longest_prompt(model, chosen)
        ((prompt, cut),) = self.prompts(model, tokenizer, [asked], limit)
        if cut:
            raise UserError("question_too_long", most=limit)
        ends = self.ends(tokenizer)
        yield from write_streaming(model, tokenizer, prompt, device, chosen, stop_ids=ends, seconds=_PATIENCE)


def noted_writing(model: Any) -> Writing:
    """How the model was judged."""
    return Writing(**notes.notes(model).get("writing", {}))


def longest_prompt(model: Any, writing: Writing) -> int:
    """Tokens of a prompt that leaves room for an answer; an answer has half of the room at most."""
    from core.models.opening import positions

    most = min(positions(model.config) or _LONGEST_PROMPT, _LONGEST_PROMPT)
    return max(most - writing.max_new_tokens, most // 2)


def _columns(examples: Iterable[_packing.Row]) -> Iterator[dict[str, Any]]:
    examples = iter(examples)
    while some := list(islice(examples, _encoded.ROWS)):
        columns: dict[str, list[Any]] = {name: [row[name] for row in some] for name in some[0]}
        yield columns | {"length": [len(ids) for ids in columns["input_ids"]]}


def _batch(model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if "position_ids" in rows[0]:
        return _packing.padded(rows, tokenizer.pad_token_id)
    return _batches.training_batch(model, tokenizer, rows)
