"""What the tasks share that write a text for a text: how it is read, learned, written and judged."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from core.errors import UserError
from core.models import notes
from core.spec import TrainSpec, Writing, writing_of
from core.tasks import _batches, _prompts
from core.tasks._encoded import blocks
from core.tasks._language_codes import tell_languages
from core.tasks._reading import Reading, examples, prompt, reading_of
from core.tasks._written import Written
from core.tasks.base import Answering, Answers, Asked, ModelKind, Prediction

if TYPE_CHECKING:
    import pandas as pd

    from core.data.preparing import Split
    from core.device import Device

_AUTO_CLASSES = {"seq2seq": "AutoModelForSeq2SeqLM", "decoder": "AutoModelForCausalLM"}
# A person waits for one answer so long, in seconds; what is written by then is shown.
_PATIENCE = 30.0
# Of fewer rows it is chance whether all answers are too long.
_ENOUGH_ROWS = 8
_LANGUAGE_ROWS = 500


class TextToText(Written):
    """A text for a text, by an encoder-decoder or by a decoder-only model that is told what to do.

    Attributes:
        text_column, answer_column: roles of what is read and what is written.
    """

    kinds: ClassVar[tuple[ModelKind, ...]] = ("seq2seq", "decoder")
    methods: ClassVar[tuple[str, ...]] = ("full", "lora")
    uses: ClassVar[frozenset[str]] = frozenset(
        {"instruction", "source_language", "target_language", "max_target_length", "truncation", "dropout"}
        | Writing.model_fields.keys()
    )
    starters: ClassVar[tuple[str, ...]] = ("smollm2",)
    answers: ClassVar[Answering] = "text"
    most_judged: ClassVar[int] = 200
    text_column: ClassVar[str]
    answer_column: ClassVar[str]

    def instruction(self, source: str, target: str) -> str:
        """What a decoder-only model is told, where the person says nothing. Languages are codes or empty."""
        raise NotImplementedError

    def prefix(self, source: str, target: str) -> str:
        """What stands before a text that T5 reads, which was pretrained with such words."""
        raise NotImplementedError

    def load(self, folder: Path, split: "Split", spec: TrainSpec) -> tuple[Any, Any]:
        """A pretrained model that writes, set to the languages, the instruction and the way of writing.

        Raises:
            UserError: `model_wrong_kind`, `languages_not_told`, `language_pair_unknown`, and what
                `core.models.opening.open_model` raises.
        """
        from core.models import architectures
        from core.models.adapting import rounding
        from core.models.loading import check_folder, dropout_settings
        from core.models.opening import open_model
        from core.tasks._generation import settings

        raw = check_folder(folder)
        kind = architectures.kind_of(raw)
        if kind not in self.kinds or kind == "encoder":
            family = str(raw.get("model_type") or "?")[:40]
            raise UserError(
                "model_wrong_kind", name=folder.name, kind=family, wanted=architectures.examples(self.kinds)
            )
        model, tokenizer = open_model(
            folder,
            _AUTO_CLASSES[kind],
            overrides={notes.KEY: {}, **dropout_settings(raw, spec.dropout)},
            quantization=rounding(spec),
        )
        writing = writing_of(spec)
        ends = [_prompts.end_token(tokenizer)] if kind == "decoder" else []
        model.generation_config = settings(model, tokenizer, writing, stop_ids=ends)
        reading = self._reading(kind, model, tokenizer, split, spec)
        notes.note(model, task=self.id, writing=writing.model_dump(), **asdict(reading))
        return model, tokenizer

    def reload(self, folder: Path) -> tuple[Any, Any]:
        """A result as it was saved.

        Raises:
            UserError: `model_not_loadable` also for a model that was not made here.
        """
        from core.models.opening import open_model

        known = notes.notes_in(folder)
        if not {"writing", *Reading.__dataclass_fields__} <= known.keys():
            raise UserError("model_not_loadable", name=folder.name)
        loaded: tuple[Any, Any] = open_model(folder, _AUTO_CLASSES[known["kind"]])
        return loaded

    def _reading(
        self, kind: Literal["decoder", "seq2seq"], model: Any, tokenizer: Any, split: "Split", spec: TrainSpec
    ) -> Reading:
        from core.models.opening import positions

        source = spec.source_language.strip() or _language(split.train[self.text_column])
        target = spec.target_language.strip() or _language(split.train[self.answer_column])
        most = positions(model.config) or spec.max_length
        longest = min(spec.max_length, most)
        if kind == "decoder":
            told = spec.instruction.strip() or self.instruction(source, target)
            # At least half of the room is for the prompt, however long answers may be.
            return Reading(
                kind, source, target, told, longest, min(spec.max_target_length, longest // 2), spec.truncation
            )
        told = tell_languages(model, tokenizer, source, target)
        if _batches.reads_prefixes(model, tokenizer):
            told = f"{spec.instruction.strip()} " if spec.instruction.strip() else self.prefix(source, target)
        return Reading(kind, source, target, told, longest, min(spec.max_target_length, most), spec.truncation)

    def pieces(
        self, rows: "pd.DataFrame", labels: tuple[str, ...], model: Any, tokenizer: Any, spec: TrainSpec
    ) -> Iterator[dict[str, Any]]:
        """Prompts with their answers, of which the answers alone are learned; or sources, with answers as labels.

        Raises:
            UserError: `target_longer_than_limit` where no answer fits, so that no end could be learned;
                `instruction_too_long`.
        """
        reading, cut = reading_of(model), list[int]()
        for some in blocks(rows):
            encoded, too_long = examples(tokenizer, reading, self._texts(some), self.references(some))
            cut += too_long
            yield {name: [row[name] for row in encoded] for name in encoded[0]}
        if cut and len(cut) == len(rows) >= _ENOUGH_ROWS:
            raise UserError("target_longer_than_limit", most=reading.max_target_length, usual=int(median(cut)))

    def collate(self, model: Any, tokenizer: Any) -> Callable[[list[dict[str, Any]]], Any]:
        """Padding, with labels where the model predicts them: see `core.tasks._batches.training_batch`."""
        return partial(_batches.training_batch, model, tokenizer)

    def loss(self, split: "Split") -> Callable[..., Any]:
        """Cross-entropy of the answers' tokens."""
        return _batches.token_loss

    def asked(self, rows: "pd.DataFrame") -> list[Asked]:
        """The texts."""
        return [*self._texts(rows)]

    def _texts(self, rows: "pd.DataFrame") -> list[str]:
        return [str(text) for text in rows[self.text_column]]

    def references(self, rows: "pd.DataFrame") -> list[str]:
        """The answers."""
        return [str(answer) for answer in rows[self.answer_column]]

    def predict(
        self, model: Any, tokenizer: Any, asked: Sequence[Asked], device: "Device", writing: Writing | None = None
    ) -> list[Prediction]:
        """What the model writes for each text. One by itself is written for 30 seconds at most."""
        return self._written(model, tokenizer, asked, device, writing)

    def _written(
        self,
        model: Any,
        tokenizer: Any,
        asked: Sequence[Asked],
        device: "Device",
        writing: Writing | None,
        tell: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        from core.tasks._generation import write

        reading = reading_of(model)
        prompts = [prompt(tokenizer, reading, str(text)) for text in asked]
        seconds = _PATIENCE if len(prompts) == 1 else None
        chosen = writing or Writing(**notes.notes(model)["writing"])
        return [
            Prediction(text) for text in write(model, tokenizer, prompts, device, chosen, seconds=seconds, tell=tell)
        ]

    def stream(
        self, model: Any, tokenizer: Any, asked: Asked, device: "Device", writing: Writing | None = None
    ) -> Iterator[str]:
        """The same in pieces."""
        from core.tasks._generation import write_streaming

        ids = prompt(tokenizer, reading_of(model), str(asked))
        chosen = writing or Writing(**notes.notes(model)["writing"])
        yield from write_streaming(model, tokenizer, ids, device, chosen, seconds=_PATIENCE)

    def answer(
        self,
        model: Any,
        tokenizer: Any,
        rows: "pd.DataFrame",
        spec: TrainSpec,
        device: "Device",
        tell: Callable[[int, int], None] | None = None,
    ) -> Answers:
        """What the model writes for judged rows, and how likely it finds the wanted answers."""
        from core.tasks._generation import token_losses

        written = self._written(model, tokenizer, self.asked(rows), device, None, tell)
        encoded, _ = examples(tokenizer, reading_of(model), self._texts(rows), self.references(rows))
        return Answers(written, token_losses(model, tokenizer, encoded, device))

    def shown(self, rows: "pd.DataFrame") -> list[str]:
        """The texts."""
        return [str(text) for text in self.asked(rows)]

    def answer_language(self, rows: "pd.DataFrame") -> str:
        """As far as it can be told from the answers."""
        return _language(rows[self.answer_column])


def _language(texts: "pd.Series[str]") -> str:
    """The language that most texts of a column are in; empty where it cannot be told."""
    from core.data.languages import shares

    found = shares([str(text) for text in texts], _LANGUAGE_ROWS)
    return found[0][0] if found else ""
