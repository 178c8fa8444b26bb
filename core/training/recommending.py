"""Settings to begin with, from the data, the task and the model, each with its reason."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import Fact
from core.models.architectures import Kind
from core.spec import knobs
from core.tasks.base import Task
from core.training import few

if TYPE_CHECKING:
    from core.models.sizing import ModelFacts

# From this size on, all weights of a model that writes take more memory and time than what they add is worth.
_LORA_FROM = 100_000_000
# Families that were pretrained with Adafactor, and want larger steps of Adam: transformers' documentation of T5.
_T5_LIKE = frozenset({"t5", "mt5", "umt5", "longt5"})
_MINILM = 22_713_216
# Tokens that SmolLM2's chat template puts around a question and its answer, with its own system prompt.
_AROUND_A_TURN = 32
# Methods without steps to choose, and why: what is fitted at once has none, what compares texts has its own.
_WITHOUT_STEPS = {"quick": "unused_by_quick", "few": "unused_by_few"}
_STEPS = ("learning_rate", "batch_size", "epochs", "weight_decay", "warmup_ratio", "dropout")


@dataclass(frozen=True)
class Advice:
    """A value chosen for the person. `reason` is the key of a sentence, `facts` go into it."""

    value: float | str | bool
    reason: str
    facts: dict[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class _Case:
    """What the advice is drawn from; see `recommend`."""

    rows: int
    tokens_p95: int
    answer_tokens_p95: int
    parameters: int
    positions: int
    kind: Kind
    family: str
    method: str
    writes: bool

    @property
    def millions(self) -> int:
        return round(self.parameters / 1e6)


def recommend(
    *,
    rows: int,
    classes: int,
    tokens_p95: int,
    facts: "ModelFacts | None",
    task: Task | None = None,
    method: str = "",
    answer_tokens_p95: int = 0,
    rows_per_class: tuple[int, int] | None = None,
) -> dict[str, Advice]:
    """A value for every training knob; with a task, also for the method and its knobs and for how answers are written.

    Args:
        rows: training rows.
        classes: distinct labels.
        tokens_p95: length in tokens that 95 of 100 texts stay below, without the answers.
        facts: the model; None for a small encoder.
        task: what is trained.
        method: how, where the person has chosen; else the recommended way.
        answer_tokens_p95: the same length of the answers, 0 where there are none or they were not measured.
        rows_per_class: (fewest, most) training rows of a class.
    """
    advised = recommend_method(task, facts, rows_per_class)
    case = _Case(
        rows=rows,
        tokens_p95=tokens_p95,
        answer_tokens_p95=answer_tokens_p95,
        parameters=facts.parameters if facts else _MINILM,
        positions=facts.max_positions if facts else 512,
        kind=(facts.kind if facts else None) or "encoder",
        family=facts.family if facts else "bert",
        method=method or str(advised.value),
        writes=bool(task and task.writes),
    )
    batch = _batch_size(case)
    advice = {name: Advice(knob.default, "usual_value") for name, knob in knobs("training").items()}
    advice |= {
        "learning_rate": _learning_rate(case),
        "batch_size": batch,
        "epochs": _epochs(case, int(batch.value)),
        "max_length": _max_length(case),
    }
    if case.method in _WITHOUT_STEPS:
        advice |= {name: Advice(knobs()[name].default, _WITHOUT_STEPS[case.method]) for name in _STEPS}
    if not task:
        return advice
    advice |= {name: Advice(knob.default, "usual_value") for name, knob in knobs("adapting").items()}
    advice |= {"method": advised, "larger_batches": Advice(True, "batch_by_trial", {"rows": rows})}
    return advice | (_answer_lengths(case) if case.writes else {})


def recommend_method(task: Task | None, facts: "ModelFacts | None", rows_per_class: tuple[int, int] | None) -> Advice:
    """How much of the model to change, among the methods that the task knows; its first one without a better reason.

    Args:
        rows_per_class: (fewest, most) training rows of a class.
    """
    if task is None:
        return Advice("full", "method_usual")
    known, millions = task.methods, round(facts.parameters / 1e6) if facts else round(_MINILM / 1e6)
    fewest, most = rows_per_class or (0, 0)
    body = facts.kind if facts else "encoder"
    if "few" in known and body == "encoder" and few.offered(fewest, most):
        return Advice("few", "method_few_rows", {"fewest": fewest, "most": most, **few.MEASURED})
    if facts and "lora" in known:
        if body == "decoder" and facts.parameters >= _LORA_FROM:
            return Advice("lora", "method_large_writer", {"millions": millions})
        if facts.fits == "no" or facts.parameters >= 10 * _LORA_FROM:
            return Advice("lora", "method_saves_memory", {"millions": millions})
    if "full" in known:
        return Advice("full", "method_small_model", {"millions": millions})
    return Advice(known[0], "method_of_task")


def _learning_rate(case: _Case) -> Advice:
    """The size of the steps, by how much of which kind of model is changed."""
    facts: dict[str, Fact] = {"millions": case.millions}
    if case.method == "head":
        return Advice(3e-3, "rate_head")
    if case.method == "lora":
        return Advice(_lora_rate(case), "rate_lora", facts)
    if case.kind == "decoder":
        return Advice(2e-5, "rate_decoder", facts)
    if case.kind == "seq2seq":
        return Advice(1e-4, "rate_t5") if case.family in _T5_LIKE else Advice(5e-5, "rate_seq2seq")
    # Between 2e-5 for 110 million parameters and more (Devlin et al., 2019, appendix A.3) and 2e-4 for about 20
    # million, measured on the bundled sample.
    if case.parameters < 50_000_000:
        return Advice(2e-4, "rate_small_model", facts)
    if case.parameters < 90_000_000:
        return Advice(5e-5, "rate_medium_model", facts)
    return Advice(2e-5, "rate_large_model", facts)


def _lora_rate(case: _Case) -> float:
    """Matrices bear larger steps than weights.

    2e-4 for billions of parameters (Dettmers et al., 2023), 5e-4 for RoBERTa base (Hu et al., 2021, appendix D), 1e-3
    for about 20 million, measured on the bundled sample.
    """
    return 1e-3 if case.parameters < 50_000_000 else 5e-4 if case.parameters < 500_000_000 else 2e-4


def _batch_size(case: _Case) -> Advice:
    if case.writes and case.parameters >= _LORA_FROM:
        return Advice(4, "batch_for_memory", {"millions": case.millions})
    rows = case.rows
    return Advice(8 if rows < 300 else 16 if rows < 5_000 else 32, "batch_for_rows", {"rows": rows})


def _epochs(case: _Case, batch: int) -> Advice:
    """Models that write are taught in few passes; others about 200 steps at least, 3 passes at least, 12 at most.

    On docstrings of eight libraries (4,000 rows), 2 passes of MiniLM came to a macro F1 of .870, 3 to .887; TF-IDF with
    logistic regression has .877 there.
    """
    facts: dict[str, Fact] = {"rows": case.rows}
    if case.writes and case.kind == "decoder":
        return Advice(3 if case.rows < 500 else 2 if case.rows < 2_000 else 1, "epochs_for_writing", facts)
    per_epoch = max(1, -(-case.rows // batch))
    if case.writes:
        return Advice(max(1, min(6, -(-600 // per_epoch))), "epochs_for_rows", facts)
    return Advice(max(3, min(12, -(-200 // per_epoch))), "epochs_for_rows", facts)


def _max_length(case: _Case) -> Advice:
    """Room for 95 of 100 texts; a decoder reads the answer, and the words around a turn, in the same row."""
    whole = case.writes and case.kind == "decoder" and case.answer_tokens_p95 > 0
    tokens = case.tokens_p95 + (case.answer_tokens_p95 + _AROUND_A_TURN if whole else 0)
    value = min(_choice("max_length", tokens), case.positions or _choice("max_length", 10**9))
    return Advice(value, "length_with_answers" if whole else "length_for_texts", {"tokens": tokens})


def _answer_lengths(case: _Case) -> dict[str, Advice]:
    tokens = case.answer_tokens_p95
    names = ("max_target_length", "max_new_tokens")
    if not tokens:
        return {name: Advice(knobs()[name].default, "usual_value") for name in names}
    return {name: Advice(_choice(name, tokens), "length_for_answers", {"tokens": tokens}) for name in names}


def _choice(name: str, least: int) -> int:
    """The first position of a knob that is at least so much, or its last."""
    choices = [int(choice) for choice in knobs()[name].knob.choices]
    return next((choice for choice in choices if choice >= least), choices[-1])
