"""Texts or code in the manner of the rows: any text is gone on with."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from core.errors import UserError
from core.spec import TrainSpec, Writing
from core.tasks._batches import IGNORED
from core.tasks._language_model import LanguageModel
from core.tasks._packing import Row
from core.tasks.base import Answering, Answers, Asked, Prediction

if TYPE_CHECKING:
    import pandas as pd

    from core.data.preparing import Split
    from core.device import Device

# A beginning, as an example of what to go on with, in characters; and the share of a text that it has at most.
_LONGEST_BEGINNING = 200
_MOST_OF_A_TEXT = 0.5
_LONGEST_REFERENCE = 2_000
# Tokens that are judged in all, so that long documents do not take hours.
_MOST_SCORED = 40_000
# Where the blanks before a continuation are kept, while it is taken for an answer: planes for private use.
_ASIDE = 0xF0000


class TextGeneration(LanguageModel):
    """Every token is learned. Documents never see one another: each ends with the end token."""

    id = "text_generation"
    main_metric = "perplexity"
    metrics: ClassVar[tuple[str, ...]] = ("perplexity", "loss", "token_accuracy")
    baselines: ClassVar[tuple[str, ...]] = ("untouched",)
    answers: ClassVar[Answering] = "continuation"

    def examples(self, rows: "pd.DataFrame", model: Any, tokenizer: Any) -> Iterator[Row]:
        """The texts, long ones in pieces that overlap by one token, so that each token is learned once.

        Raises:
            UserError: `texts_too_short` where no text has two tokens.
        """
        size, found = tokenizer.model_max_length, False
        for ids in documents(tokenizer, rows["text"].tolist()):
            for piece in pieces(ids, size, size - 1):
                found = True
                yield piece
        if not found:
            raise UserError("texts_too_short")

    def asked(self, rows: "pd.DataFrame") -> list[Asked]:
        """The beginnings of the texts."""
        return [beginning(text) for text in rows["text"]]

    def references(self, rows: "pd.DataFrame") -> list[str]:
        """How the texts go on."""
        return [text[len(beginning(text)) :][:_LONGEST_REFERENCE] for text in rows["text"]]

    def prompts(self, model: Any, tokenizer: Any, asked: Sequence[Asked], limit: int) -> list[tuple[list[int], bool]]:
        """The texts; of one that is too long its end, from which it is gone on.

        Raises:
            UserError: `text_empty`.
        """
        # A blank belongs to the token of the word behind it: after one by itself no word is expected.
        texts = [one.removesuffix(" ") for one in asked if isinstance(one, str) and one.strip()]
        if len(texts) < len(asked):
            raise UserError("text_empty")
        return [(ids[-limit:], False) for ids in documents(tokenizer, texts, ended=False)]

    def written(
        self,
        model: Any,
        tokenizer: Any,
        asked: Sequence[Asked],
        device: "Device",
        writing: Writing | None,
        tell: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        """What comes next, with the blanks before it."""
        found = super().written(model, _Aside(tokenizer), asked, device, writing, tell)
        answers = [_back(prediction.answer) for prediction in found]
        return [Prediction(_joining(one, answer)) for one, answer in zip(asked, answers, strict=True)]

    def stream(
        self, model: Any, tokenizer: Any, asked: Asked, device: "Device", writing: Writing | None = None
    ) -> Iterator[str]:
        """The same in pieces."""
        first = True
        for piece in map(_back, super().stream(model, _Aside(tokenizer), asked, device, writing)):
            yield _joining(asked, piece) if first else piece
            first = False

    def answer(
        self,
        model: Any,
        tokenizer: Any,
        rows: "pd.DataFrame",
        spec: TrainSpec,
        device: "Device",
        tell: Callable[[int, int], None] | None = None,
    ) -> Answers:
        """How likely the model finds the texts, each token by at least half as many before it as it can read.

        Of long texts the beginnings are judged, so that all have their share of 40,000 tokens.
        """
        from core.tasks._generation import token_losses

        size, texts = tokenizer.model_max_length, rows["text"].tolist()
        share = max(size, _MOST_SCORED // len(texts))
        cut = [list(pieces(ids[:share], size, max(1, size // 2))) for ids in documents(tokenizer, texts)]
        losses = iter(token_losses(model, tokenizer, [piece for document in cut for piece in document], device))
        found: list[tuple[float, int, int]] = []
        for document in cut:
            parts = [next(losses) for _ in document]
            found.append((sum(p[0] for p in parts), sum(p[1] for p in parts), sum(p[2] for p in parts)))
        return Answers(token_losses=found)

    def simple_answers(self, split: "Split", rows: "pd.DataFrame", spec: TrainSpec) -> dict[str, Answers]:
        """None: no simple method says how likely a text is to the same tokens."""
        return {}

    def shown(self, rows: "pd.DataFrame") -> list[str]:
        """The beginnings."""
        return [str(text) for text in self.asked(rows)]


TASK = TextGeneration()


def documents(tokenizer: Any, texts: Sequence[str], *, ended: bool = True) -> Iterator[list[int]]:
    """The tokens of each text, with what the tokenizer puts before them, and with or without the end token."""
    end = tokenizer.eos_token_id
    for text in texts:
        ids: list[int] = list(tokenizer(text, verbose=False)["input_ids"])
        while len(ids) > 1 and ids[-1] == end:
            ids.pop()
        yield [*ids, end] if ended and end is not None else ids


def pieces(ids: Sequence[int], size: int, step: int) -> Iterator[Row]:
    """A document in pieces of at most `size` tokens that begin every `step`; each token is a label in one of them.

    The first token of all follows nothing, so it is none.
    """
    done = 1
    for start in range(0, len(ids), step):
        if done >= len(ids):
            return
        piece = list(ids[start : start + size])
        yield {"input_ids": piece, "labels": [IGNORED] * (done - start) + piece[done - start :]}
        done = start + len(piece)


def beginning(text: str) -> str:
    """The first words of a text, half of it at most; of a script without blanks the first characters."""
    most = max(1, min(_LONGEST_BEGINNING, int(_MOST_OF_A_TEXT * len(text))))
    if text[most : most + 1].isspace():
        return text[:most].rstrip() or text[:most]
    words = text[:most].rsplit(maxsplit=1)
    return words[0] if len(words) == 2 else text[:most]


def _joining(asked: Asked, answer: str) -> str:
    """A continuation without the blank that the text ends with."""
    return answer.removeprefix(" ") if isinstance(asked, str) and asked.endswith(" ") else answer


class _Aside:
    """A tokenizer whose texts begin with signs for blanks, which are otherwise taken off an answer.

    An anchor goes before the tokens, since some tokenizers take the first blank off as well.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *texts: Any, **options: Any) -> Any:
        return self._tokenizer(*texts, **options)

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        before = str(self._tokenizer.decode([self._anchor], **options))
        text = str(self._tokenizer.decode([self._anchor, *ids], **options)).removeprefix(before)
        words = text.lstrip()
        return "".join(chr(_ASIDE + ord(blank)) for blank in text[: len(text) - len(words)]) + words


def _back(text: str) -> str:
    return "".join(chr(ord(c) - _ASIDE) if _ASIDE <= ord(c) < _ASIDE + 0x10000 else c for c in text)
