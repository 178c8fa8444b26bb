"""The part of a model card that says how good the result is: scores, what they are compared with, and each label."""

from typing import Any

from core.evaluation.scales import SCALES
from core.publishing.card_markup import code, percent, table

_LARGEST_MATRIX = 12
_MOST_CONFUSIONS = 10
_LONGEST_SIGNATURE = 200
_BASELINE_NAMES = {
    "majority": "Always the most frequent label",
    "tfidf": "Word counts (TF-IDF, logistic regression)",
    "frequent_labels": "Always the most frequent labels",
    "tfidf_labels": "Word counts (TF-IDF, logistic regression for each label)",
    "untouched": "The same model before it was trained",
    "first_sentence": "The first sentence of the text",
    "copied": "The text itself, untranslated",
    "nearest": "The answer to the most similar training example",
}
_VERDICTS = {
    "beats_both": "It does better than everything below that it is compared with, on the same test rows{by}.",
    "not_better": "**It does worse than something simpler** on the same test rows{by}: see the table.",
    "unclear": (
        "The test rows are too few, or the scores too close, to say whether it does better than what it is compared"
        " with below{by}."
    ),
    "uncompared": "It was compared with nothing else.",
}


def scores(report: dict[str, Any]) -> str:
    """The scores with their intervals, those of the methods that it is compared with, and how they were computed.

    A method has no score where none can be computed for it, as simple ones know no probabilities of tokens.
    """
    metrics, baselines = report["metrics"], report.get("baselines", {})
    names = [name for name in metrics if name in SCALES]
    rows = [["**This model**", *(_with_interval(metrics, name) for name in names)]]
    rows += [
        [_BASELINE_NAMES.get(key, code(key)), *(_figure(n, found[n]) if n in found else "-" for n in names)]
        for key, found in baselines.items()
    ]
    return f"{_judged(report, names)}\n\n{table(['', *map(_named, names)], rows)}{_computed(report)}"


def _judged(report: dict[str, Any], names: list[str]) -> str:
    every, verdict = report["rows"]["test"], report.get("verdict", {})
    judged = report["rows"].get("judged", every)
    chosen = f"{judged:,} of {every:,} test rows, evenly chosen," if judged < every else f"{judged:,} test rows"
    metric = verdict.get("metric")
    by = f" (by {SCALES[metric].card_name})" if metric in SCALES else ""
    said = [f"Measured on {chosen} that it never saw in training."]
    if report["metrics"].get("intervals"):
        said.append("In brackets: where the score lies with 95 % confidence, given so many rows.")
    if any(SCALES[name].better == "lower" for name in names):
        said.append("↓: the lower, the better.")
    said.append(_VERDICTS.get(verdict.get("code", ""), "").format(by=by))
    return " ".join(filter(None, said))


def _named(metric: str) -> str:
    scale = SCALES[metric]
    return scale.card_name + (" ↓" if scale.better == "lower" else "")


def _computed(report: dict[str, Any]) -> str:
    how = [
        f"- {SCALES[name].card_name}: {code(said, _LONGEST_SIGNATURE)}"
        for name, said in (report.get("signatures") or {}).items()
        if name in SCALES
    ]
    return "\n\nHow these were computed:\n\n" + "\n".join(how) if how else ""


def _figure(metric: str, value: float) -> str:
    if SCALES[metric].unit == "share":
        return percent(value)
    return f"{value:.1f}" if SCALES[metric].unit == "points" else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _with_interval(metrics: dict[str, Any], name: str) -> str:
    interval = metrics.get("intervals", {}).get(name)
    between = ""
    if interval:
        low, high = (_figure(name, edge).removesuffix(" %") for edge in interval)
        between = f" ({low} to {high})"
    return f"**{_figure(name, metrics[name])}**{between}"


def each_label(report: dict[str, Any]) -> str:
    """Precision, recall and F1 of each label; empty where there are none."""
    rows = [
        [code(c["label"]), percent(c["precision"]), percent(c["recall"]), percent(c["f1"]), f"{c['rows']:,}"]
        for c in report.get("per_class", [])
    ]
    return "### Each label\n\n" + table(["Label", "Precision", "Recall", "F1", "Test rows"], rows) if rows else ""


def confusion(report: dict[str, Any]) -> str:
    """What was taken for what, or the most frequent mistakes of many labels; empty where texts have not one label."""
    labels, counts = report["labels"], report.get("confusion")
    if not counts:
        return ""
    if len(labels) <= _LARGEST_MATRIX:
        rows = [[code(label), *(f"{number:,}" for number in line)] for label, line in zip(labels, counts, strict=True)]
        return "### What was taken for what\n\nRows: the true label. Columns: the answer.\n\n" + table(
            ["", *(code(label) for label in labels)], rows
        )
    pairs = [(counts[i][j], i, j) for i in range(len(labels)) for j in range(len(labels)) if i != j and counts[i][j]]
    most = sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:_MOST_CONFUSIONS]
    rows = [[code(labels[i]), code(labels[j]), f"{number:,}"] for number, i, j in most]
    return "### Most frequent mistakes\n\n" + table(["True label", "Answer", "Rows"], rows) if rows else ""
