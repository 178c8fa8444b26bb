"""The judgement of a model that writes, or that foresees texts, on rows it never saw."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.evaluation import language_modelling
from core.evaluation.answers import Answers, Asked
from core.evaluation.resampling import Measured
from core.evaluation.text_metrics import TextMetric, text_metrics
from core.evaluation.verdicts import compared

# The model before it was trained, among the methods that it is compared with.
UNTOUCHED = "untouched"
_MOST_SAMPLES = 200
_LONGEST_SAMPLE = 4000
_EXAMPLES = 8
_SHORT_EXAMPLE = 220
_LONGEST_EXAMPLE = 2000
# What a single row is ranked by, where it is among the metrics: BLEU says little about one sentence.
_ROW_METRICS = ("chrf", "rougeL", "bleu")


def judge_texts(
    asked: Sequence[Asked],
    references: Sequence[str],
    ours: Answers,
    others: dict[str, Answers],
    *,
    metrics: tuple[str, ...],
    main_metric: str,
    rows_numbers: Sequence[int],
    shown_texts: Sequence[str],
    language: str = "",
) -> dict[str, Any]:
    """Scores with intervals, baselines, verdict, samples and examples: see `core.tasks.base.Task.judge`.

    Scores of probabilities are left out for methods that have none, scores of texts where nothing was written. Samples
    are the rows with the lowest score first, for there it shows what goes wrong, in the model or in the file.

    Args:
        asked: what the model was asked for each row.
        references: the wanted answers.
        ours: what the model made of the rows.
        others: the same of each method it is compared with.
        metrics: names of scores, in the order of the report.
        main_metric: what the verdict is about.
        rows_numbers: of each row in the file.
        shown_texts: what a person is shown of each row.
        language: ISO 639 code of the answers, which decides about BLEU's words; empty where it is not told.
    """
    written = text_metrics(metrics, language, references) if ours.predictions else []
    own = _measured(written, references, ours)
    theirs = {name: _measured(written, references, other) for name, other in others.items()}
    rivals = {name: rival for name, found in theirs.items() if (rival := _giving(main_metric, found))}
    judged = _giving(main_metric, own)
    assert judged is not None
    return {
        "labels": [],
        "main_metric": main_metric,
        "metrics": {**_values(own, metrics), "intervals": _intervals(own, metrics)},
        "baselines": {name: _values(found, metrics) for name, found in theirs.items()},
        "verdict": compared(judged, rivals, main_metric),
        "samples": _samples(references, ours, others.get(UNTOUCHED), own, rows_numbers, shown_texts),
        "examples": _examples(asked),
        "signatures": {name: metric.signature(name) for metric in written for name in metric.names if name in metrics},
    }


def _measured(written: list[TextMetric], references: Sequence[str], answers: Answers) -> list[Measured]:
    texts = [prediction.answer for prediction in answers.predictions]
    found = [metric.measured(references, texts) for metric in written] if texts else []
    return [*found, language_modelling.measured(answers.token_losses)] if answers.token_losses else found


def _giving(metric: str, found: list[Measured]) -> Measured | None:
    return next((measured for measured in found if metric in measured.values()), None)


def _values(found: list[Measured], names: tuple[str, ...]) -> dict[str, float]:
    values = {name: value for measured in found for name, value in measured.values().items()}
    return {name: round(values[name], 4) for name in names if name in values}


def _intervals(found: list[Measured], names: tuple[str, ...]) -> dict[str, list[float]]:
    edges = {name: between for measured in found for name, between in measured.intervals().items()}
    return {name: edges[name] for name in names if name in edges}


def _samples(
    references: Sequence[str],
    ours: Answers,
    before: Answers | None,
    own: list[Measured],
    rows: Sequence[int],
    texts: Sequence[str],
) -> list[dict[str, Any]]:
    if not ours.predictions:
        return []
    samples = []
    for i in _worst_first(own, len(references))[:_MOST_SAMPLES]:
        sample = {"text": texts[i], "reference": references[i], "answer": ours.predictions[i].answer}
        if before is not None and before.predictions:
            sample["before"] = before.predictions[i].answer
        samples.append({"row": int(rows[i]), **{name: _cut(text, _LONGEST_SAMPLE) for name, text in sample.items()}})
    return samples


def _worst_first(own: list[Measured], rows: int) -> list[int]:
    """Places of rows, the lowest score first, equal ones in the order of the file."""
    for name in _ROW_METRICS:
        measured = _giving(name, own)
        if measured:
            return [int(place) for place in np.argsort(measured.scores(measured.rows)[name], kind="stable")]
    return list(range(rows))


def _examples(asked: Sequence[Asked]) -> list[Asked]:
    """Some of what was asked, to try: different ones, the first that are short, else the shortest."""
    different = list({str(one): one for one in asked}.values())
    short = [one for one in different if _length(one) <= _SHORT_EXAMPLE]
    more = sorted((one for one in different if _length(one) > _SHORT_EXAMPLE), key=_length)
    return [_bounded(one) for one in (short + more)[:_EXAMPLES]]


def _bounded(asked: Asked) -> Asked:
    """A text cut at the end; of a conversation that is too long its last turn alone."""
    if isinstance(asked, str):
        return _cut(asked, _LONGEST_EXAMPLE)
    if _length(asked) <= _LONGEST_EXAMPLE:
        return asked
    return [asked[-1] | {"content": _cut(asked[-1]["content"], _LONGEST_EXAMPLE)}]


def _length(asked: Asked) -> int:
    return len(asked) if isinstance(asked, str) else sum(len(turn["content"]) for turn in asked)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
