"""Which models suit a task, the data and this machine, best first, and why. Imports no torch."""

from dataclasses import dataclass
from math import log2
from typing import Literal, Protocol

from core.models.architectures import Kind
from core.models.catalogue import MULTILINGUAL, STARTERS, SUGGESTIONS, Starter, Suggestion
from core.models.sizing import training_memory

# Fewer rows than the first number: about so many parameters at best. Models that write need several times as many.
_BEST_SIZES = ((300, 40_000_000), (2_000, 110_000_000), (20_000, 150_000_000))
_BEST_SIZE = 400_000_000
_WRITERS_ARE_LARGER = 4
_LARGE_FOR_FULL = 300_000_000
# Numbers in the small matrices of LoRA (rank 16 beside every linear layer), per layer and unit of its width.
_MATRICES = 16 * 20
_TIGHT = 0.7
_QUICK_MINUTES, _SLOW_MINUTES = 5.0, 30.0
# What counts how much against a model, in doublings of its size.
_TIGHT_FIT, _TOO_LARGE, _OUT_OF_REACH = 3.0, 100.0, 100_000.0
_TERMS, _OTHER_DOMAIN, _OWN_DOMAIN, _LATER_KIND, _NOT_HERE = 0.5, 1.5, -1.0, 0.5, 0.3
_OTHER_LANGUAGE, _SMALLER, _LARGER = 2.0, 0.35, 0.7


class Wants(Protocol):
    """What is asked of a task: see `core.tasks.base.Task`."""

    @property
    def id(self) -> str: ...
    @property
    def kinds(self) -> tuple[Kind, ...]: ...
    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def starters(self) -> tuple[str, ...]: ...
    @property
    def writes(self) -> bool: ...


@dataclass(frozen=True)
class Ranked:
    """A model worth a try.

    Attributes:
        source, name: as in `core.spec.ModelChoice`.
        model: what is known of it.
        method: how it would be changed, a value of `TrainSpec.method`.
        memory: estimated bytes of training.
        fits: as `core.models.sizing.ModelFacts.fits`.
        minutes: of one pass over the rows on this machine, None where its speed was not measured.
        reasons: codes, `models.reason.<code>` in the locales, in the order in which they matter.
    """

    source: Literal["starter", "hub"]
    name: str
    model: Starter | Suggestion
    method: str
    memory: int
    fits: Literal["yes", "tight", "no"]
    minutes: float | None
    reasons: tuple[str, ...]

    @property
    def why(self) -> str:
        """Key of the sentence that says what it is good for."""
        return self.model.why


def suggest(
    task: Wants,
    *,
    languages: tuple[str, ...],
    rows: int,
    memory: int,
    rows_per_second: float | None = None,
    reachable: bool = True,
    domain: str = "",
    max_length: int = 128,
    max_target_length: int = 64,
    batch_size: int = 8,
) -> list[Ranked]:
    """The starters and catalogue models for a task that know its languages, best first.

    Small data gets small models, since large ones take long and are easily led astray by few rows; among those of a
    fitting size, one made for the language comes before one for many, and one that fits before one that does not.

    Args:
        languages: ISO 639-1 codes of the texts, where they are known; of a translation, from and to.
        rows: training rows.
        memory: bytes that training may take.
        rows_per_second: training rows per second of the MiniLM starter, measured on this machine.
        reachable: whether the Hub answers; where it does not, what is here already comes first.
        domain: a kind of texts, as in `Suggestion.domain`.
        max_length, max_target_length, batch_size: tokens of an example and of what is written, examples of a step.
    """
    step = _Step(max_length, max_target_length, batch_size)
    offered: list[Starter | Suggestion] = [STARTERS[key] for key in task.starters if key in STARTERS]
    offered += [model for model in SUGGESTIONS if task.id in model.tasks and model.kind in task.kinds]
    scored: list[tuple[float, int, Ranked]] = []
    for place, model in enumerate(offered):
        here = isinstance(model, Starter)
        known = _language(model, languages)
        if known is None and (reachable or not here):
            continue  # without the Hub, a starter for another language is better than none
        language, unlike = known or ("other_language", _OTHER_LANGUAGE)
        method, needed, fits = _plan(task, model, memory, step)
        minutes = _minutes(model, rows, rows_per_second)
        cost = unlike + _size_cost(model, rows) + _LATER_KIND * task.kinds.index(model.kind)
        cost += _machine_cost(needed, memory, minutes) + _purpose_cost(model, domain)
        cost += 0.0 if here else _NOT_HERE if reachable else _OUT_OF_REACH
        reasons = [] if reachable and not here else ["comes_along" if here else "needs_network"]
        reasons += [language, *_reasons(model, rows, domain, fits, minutes)]
        name = model.key if isinstance(model, Starter) else model.hub_id
        found = Ranked("starter" if here else "hub", name, model, method, needed, fits, minutes, tuple(reasons))
        scored.append((cost, place, found))
    return [found for _, _, found in sorted(scored, key=lambda entry: entry[:2])]


def _language(model: Starter | Suggestion, wanted: tuple[str, ...]) -> tuple[str, float] | None:
    """Reason and cost; None where it does not know the languages."""
    pair = model.pair if isinstance(model, Suggestion) else None
    if pair:
        return ("pair_fits", 0.0) if wanted == pair else None
    many = MULTILINGUAL in model.languages
    if not wanted:
        return ("many_languages", 0.0) if many else ("language_unknown", 0.5)
    if many:
        return "many_languages", 1.0
    if not set(wanted) <= set(model.languages):
        return None
    return "language_fits", 0.0 if set(wanted) == set(model.languages) else 0.5


def _plan(
    task: Wants, model: Starter | Suggestion, memory: int, step: "_Step"
) -> tuple[str, int, Literal["yes", "tight", "no"]]:
    """Method, bytes that it takes, and whether there are as many. Matrices where the whole would not fit."""
    vocabulary = model.vocabulary if task.writes else 0
    method, needed = task.methods[0], step.memory(model, vocabulary)
    if "lora" in task.methods:
        small = step.memory(model, vocabulary, _MATRICES * _layers(model) * model.hidden)
        large = model.kind == "decoder" or model.parameters > _LARGE_FOR_FULL
        if large or method == "lora" or (needed > _TIGHT * memory and small < needed):
            method, needed = "lora", small
    return method, needed, "yes" if needed < _TIGHT * memory else "tight" if needed < memory else "no"


@dataclass(frozen=True)
class _Step:
    """How much is looked at between two changes of the weights."""

    max_length: int
    max_target_length: int
    batch_size: int

    def memory(self, model: Starter | Suggestion, vocabulary: int, matrices: int | None = None) -> int:
        """Bytes that training takes: of all weights, or of so many numbers in small matrices."""
        return training_memory(
            model.parameters + (matrices or 0),
            model.layers,
            model.hidden,
            self.max_length,
            self.batch_size,
            trainable=matrices,
            method="full" if matrices is None else "lora",
            target_length=self.max_target_length if model.kind == "seq2seq" else 0,
            vocabulary=vocabulary,
        )


def _layers(model: Starter | Suggestion) -> int:
    """Of both halves, where there are two."""
    return model.layers * (2 if model.kind == "seq2seq" else 1)


def _minutes(model: Starter | Suggestion, rows: int, rows_per_second: float | None) -> float | None:
    """Of one pass: as much longer than MiniLM as there are more weights between its layers, which do the work."""
    if not rows_per_second:
        return None
    measured = STARTERS["minilm"]
    work = _layers(model) * model.hidden**2 / (measured.layers * measured.hidden**2)
    return rows / rows_per_second * work / 60


def _best_size(model: Starter | Suggestion, rows: int) -> float:
    best = next((size for most, size in _BEST_SIZES if rows < most), _BEST_SIZE)
    return best if model.kind == "encoder" else best * _WRITERS_ARE_LARGER


def _size_cost(model: Starter | Suggestion, rows: int) -> float:
    doublings = log2(model.parameters / _best_size(model, rows))
    return _LARGER * doublings if doublings > 0 else -_SMALLER * doublings


def _machine_cost(needed: int, memory: int, minutes: float | None) -> float:
    """Nothing while memory is ample; of those that do not fit, the one that comes nearest is the best."""
    slow = log2(minutes / _SLOW_MINUTES) if minutes and minutes > _SLOW_MINUTES else 0.0
    crowded = max(0.0, log2(needed / max(1.0, _TIGHT * memory)))
    return slow + _TIGHT_FIT * crowded + (_TOO_LARGE * crowded if needed > memory else 0.0)


def _purpose_cost(model: Starter | Suggestion, domain: str) -> float:
    made_for = model.domain if isinstance(model, Suggestion) else ""
    own = _OWN_DOMAIN if made_for and made_for == domain else 0.0
    terms = _TERMS if isinstance(model, Suggestion) and model.gated else 0.0
    return own + terms + (_OTHER_DOMAIN if made_for not in ("", domain) else 0.0)


def _reasons(
    model: Starter | Suggestion, rows: int, domain: str, fits: Literal["yes", "tight", "no"], minutes: float | None
) -> list[str]:
    reasons = []
    if isinstance(model, Suggestion) and model.domain:
        reasons.append("domain_fits" if model.domain == domain else "other_domain")
    if rows < _BEST_SIZES[0][0] and model.parameters <= 1.5 * _best_size(model, rows):
        reasons.append("small_for_few_rows")
    if minutes is not None and (minutes <= _QUICK_MINUTES or minutes > _SLOW_MINUTES):
        reasons.append("quick_here" if minutes <= _QUICK_MINUTES else "slow_here")
    if fits != "yes":
        reasons.append("tight_here" if fits == "tight" else "too_large_here")
    if isinstance(model, Suggestion) and model.gated:
        reasons.append("terms")
    return reasons


def search_tags(task: Wants) -> tuple[str, ...]:
    """The Hub's own words for models that can become one for the task: what they were made for so far."""
    tags = {
        "encoder": ("fill-mask", "text-classification", "sentence-similarity", "feature-extraction"),
        "seq2seq": ("translation", "summarization", "text2text-generation"),
        "decoder": ("text-generation",),
    }
    # Labels can be learned by any kind, but encoders are what people look for.
    kinds = task.kinds if task.writes else task.kinds[:1]
    return tuple(tag for kind in kinds for tag in tags[kind])
