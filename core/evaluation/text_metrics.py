"""Scores of written answers in points from 0 to 100, as `evaluate.Metric` objects over sacrebleu and rouge_score.

Each is a function of sums over rows (matching pieces, all pieces), so that rows can be drawn again cheaply.
"""

from abc import abstractmethod
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

from core.evaluation.resampling import Array, Measured
from core.evaluation.words import is_chinese, unspaced_share, words

# Characters of a text that are compared; a whole book in a cell would take minutes.
_LONGEST = 20_000
_TEXTS = datasets.Features({"predictions": datasets.Value("string"), "references": datasets.Value("string")})
_CHINESE = frozenset({"zh", "zho", "chi", "cmn", "yue", "wuu", "lzh"})
_UNSPACED = frozenset({"ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod", "dz", "dzo"})


class TextMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric over pairs of texts.

    Attributes:
        names: the scores that it gives.
    """

    names: ClassVar[tuple[str, ...]]

    @abstractmethod
    def statistics(self, references: Sequence[str], answers: Sequence[str]) -> Array:
        """What each row adds to the sums, of shape (rows, sums)."""

    @abstractmethod
    def scores(self, sums: Array) -> dict[str, Array]:
        """Sums of shape (n, sums) -> name -> points of shape (n,)."""

    @abstractmethod
    def signature(self, name: str) -> str:
        """How a score was computed, so that others can compute the same."""

    def measured(self, references: Sequence[str], answers: Sequence[str]) -> Measured:
        """The scores of these answers, ready to be drawn again."""
        return Measured(
            self.statistics([r[:_LONGEST] for r in references], [a[:_LONGEST] for a in answers]), self.scores
        )

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="", inputs_description="", features=_TEXTS)

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return self.measured(references, predictions).values()


class _SacreMetric(TextMetric):
    """A metric of sacrebleu, computed from its own statistics of each row."""

    _scorer: Any

    def statistics(self, references: Sequence[str], answers: Sequence[str]) -> Array:
        return np.asarray(self._scorer._extract_corpus_statistics(answers, [references]), dtype=np.int64)

    def scores(self, sums: Array) -> dict[str, Array]:
        compute = self._scorer._compute_score_from_stats
        return {self.names[0]: np.array([compute([int(n) for n in np.rint(row)]).score for row in sums])}

    def signature(self, name: str) -> str:
        self._scorer.num_refs = 1
        return str(self._scorer.get_signature().format())


class Bleu(_SacreMetric):
    """Corpus BLEU with sacrebleu's defaults; `config_name` is its tokenizer.

    Source: Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002; Post, "A call for
    clarity in reporting BLEU scores", 2018.
    """

    names: ClassVar[tuple[str, ...]] = ("bleu",)

    def __init__(self, tokenizer: str) -> None:
        from sacrebleu.metrics.bleu import BLEU

        super().__init__(config_name=tokenizer, keep_in_memory=True)
        self._scorer = BLEU(tokenize=tokenizer, force=True)


class Chrf(_SacreMetric):
    """Corpus chrF2 with sacrebleu's defaults.

    Source: Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015.
    """

    names: ClassVar[tuple[str, ...]] = ("chrf",)

    def __init__(self) -> None:
        from sacrebleu.metrics.chrf import CHRF

        super().__init__(keep_in_memory=True)
        self._scorer = CHRF()


class Rouge(TextMetric):
    """Means over rows of the F-measures of ROUGE-1, -2 and -L, over words of any script, without stemming.

    Source: Lin, "ROUGE: a package for automatic evaluation of summaries", 2004, as in the package rouge_score.
    """

    names: ClassVar[tuple[str, ...]] = ("rouge1", "rouge2", "rougeL")

    def __init__(self) -> None:
        from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

        super().__init__(keep_in_memory=True)
        self._scorer = RougeScorer(["rouge1", "rouge2"], tokenizer=_Words())

    def statistics(self, references: Sequence[str], answers: Sequence[str]) -> Array:
        return np.array([self._row(r, a) for r, a in zip(references, answers, strict=True)])

    def scores(self, sums: Array) -> dict[str, Array]:
        return {name: 100 * sums[:, i] / np.maximum(sums[:, 3], 1) for i, name in enumerate(self.names)}

    def signature(self, name: str) -> str:
        kind = name.removeprefix("rouge")
        settings = "measure:f1|average:rows|stem:no|case:folded|tok:unicode-words"
        return f"rouge:{kind}|{settings}|version:{version('rouge_score')}"

    def _row(self, reference: str, answer: str) -> tuple[float, float, float, float]:
        found = self._scorer.score(reference, answer)
        return found["rouge1"].fmeasure, found["rouge2"].fmeasure, _rouge_l(words(reference), words(answer)), 1.0


class _Words:
    """The tokenizer that rouge_score asks for."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def _rouge_l(reference: list[str], answer: list[str]) -> float:
    # 2 PR / (P + R) with P = common / answer and R = common / reference.
    return 2 * longest_common(reference, answer) / max(1, len(reference) + len(answer))


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bits of one large number stand for the places of `first`, so that long texts take milliseconds instead of seconds.
    Source: Hyyrö, "Bit-parallel LCS-length computation revisited", 2004.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(first)) - 1
    open_places = everywhere
    for word in second:
        matching = open_places & places.get(word, 0)
        open_places = ((open_places + matching) | (open_places - matching)) & everywhere
    return len(first) - open_places.bit_count()


def tokenizer_for(language: str, references: Sequence[str]) -> str:
    """sacrebleu's tokenizer for a target language: `zh`, `char` for other scripts without blanks, else `13a`.

    Args:
        language: ISO 639 code, with or without a script; where empty, the references tell.
        references: wanted texts in that language.
    """
    code = language.replace("_", "-").split("-")[0].casefold()
    if code in _CHINESE:
        return "zh"
    if code:
        return "char" if code in _UNSPACED else "13a"
    texts = list(references[:500])
    if unspaced_share(texts) <= 0.2:
        return "13a"
    return "zh" if is_chinese(texts) else "char"


def text_metrics(names: Sequence[str], language: str, references: Sequence[str]) -> list[TextMetric]:
    """The metric objects that give these scores; names of other scores are passed over."""
    found: list[TextMetric] = []
    if "bleu" in names:
        found.append(Bleu(tokenizer_for(language, references)))
    if "chrf" in names:
        found.append(Chrf())
    if any(name in Rouge.names for name in names):
        found.append(Rouge())
    return found


def bleu(references: Sequence[str], answers: Sequence[str], language: str = "") -> float:
    """Corpus BLEU in points."""
    return _computed(Bleu(tokenizer_for(language, references)), references, answers)["bleu"]


def chrf(references: Sequence[str], answers: Sequence[str]) -> float:
    """Corpus chrF2 in points."""
    return _computed(Chrf(), references, answers)["chrf"]


def rouge(references: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """`rouge1`, `rouge2` and `rougeL` in points."""
    return _computed(Rouge(), references, answers)


def _computed(metric: TextMetric, references: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = metric.compute(predictions=list(answers), references=list(references))
    return found
