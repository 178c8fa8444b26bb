"""The body of a model card, section by section. Words of strangers are code spans or escaped, never markup."""

import html
import re
import unicodedata
from typing import Any

from core.evaluation.scales import SCALES
from core.publishing import card_use
from core.runs.store import RunRecord
from core.spec import TrainSpec, knobs, switches
from core.tasks.base import Task, find

_LONGEST_WORD = 80
_LARGEST_MATRIX = 12
_MOST_CONFUSIONS = 10
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
    "beats_both": "It does better than the simple methods below on the same test rows.",
    "not_better": "**It does not do better than a simple method** (see the table).",
    "unclear": "The test rows are too few, or the scores too close, to say that it does better than a simple method.",
}


_PARTS = {"train": "rows to train on", "validation": "to choose the best state", "test": "to test"}
_FOUND = {
    "blank_text": "no text, left out",
    "blank_label": "no label, left out",
    "placeholder_label": "a label that means nothing, left out",
    "label_variants": "a label that differs from another in capitals or blanks only, joined with it",
    "conflicting_labels": "a text that has other labels elsewhere, left out unless most agree",
    "duplicate_rows": "repeats of a text with the same label, left out",
    "rare_labels": "a label with too few texts to learn, left out or joined with others",
    "blank_answer": "no answer, left out",
    "placeholder_text": "a mark for “nothing” instead of a text, left out",
    "garbled_text": "letters garbled by a wrong encoding, repaired",
    "control_characters": "invisible characters, removed",
    "html": "HTML, reduced to its text",
    "numeric_labels": "the same number written in several ways, joined",
    "label_typos": "a label that looked misspelled, joined with the usual one",
    "label_leak": "a word that gave the label away, removed",
    "personal_emails": "e-mail addresses, masked",
    "personal_phones": "phone numbers, masked",
    "personal_cards": "card numbers, masked",
    "personal_urls": "web addresses, masked",
    "near_duplicates": "nearly the same as an earlier row, left out",
    "near_rows_in_test": "nearly the same as a test row, left out of training",
    "texts_in_two_parts": "a text that was in several parts, kept in one",
    "other_language": "another language than the rest, left out",
    "augmented_rows": "changed copies, added to the rows to train on",
    "train_rows_in_test": "a text that is in the test file too, left out of training",
    "test_rows_unusable": "a test row without text or label, left out",
    "test_labels_unknown": "a test row with a label that training does not have, left out",
}


def plain(words: str) -> str:
    """One line of at most 80 characters, without control characters and marks that reverse the direction of text."""
    kept = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs", "Cn") else c for c in words)
    line = re.sub(r"[\u202a-\u202e\u2066-\u2069\u200e\u200f]", "", "".join(kept))
    line = re.sub(r"\s+", " ", line).strip()
    return line if len(line) <= _LONGEST_WORD else line[: _LONGEST_WORD - 1] + "…"


def code(words: str) -> str:
    """A code span that shows these words as they are: its fence is longer than any run of backticks in it.

    Source: CommonMark 0.31, 6.1.
    """
    line = plain(words) or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    padded = f" {line} " if line.startswith("`") or line.endswith("`") or line == " " else line
    return f"{fence}{padded}{fence}"


def body(spec: TrainSpec, report: dict[str, Any], record: RunRecord, repo_id: str | None, base: str | None) -> str:
    """All sections.

    Args:
        base: Hub id of the model it was fine-tuned from, None where that is not known.
    """
    title = repo_id.split("/")[-1] if repo_id else plain(record.name) or "Fine-tuned language model"
    task = find(spec.task)
    sections = [
        f"# {heading(title)}\n\n{_what(task, report, base)}",
        f"## How to use it\n\n{_use(task, report, repo_id)}",
        f"## Scores\n\n{_scores(report)}",
        _per_class(report),
        _confusion(report),
        f"## Data\n\n{_data(task, report)}",
        f"## How it was trained\n\n{_training(spec, report)}",
        f"## Intended use\n\n{card_use.intended(task)}",
        f"## Limits\n\n{_limits(task, spec, report)}",
        "---\n\nMade with Tuning Fork.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def heading(words: str) -> str:
    """Words in running text: markup characters as entities or escaped."""
    return re.sub(r"([\\`*_{}\[\]#.!|~$@:])", r"\\\1", html.escape(plain(words), quote=False))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers.

    Pipes in cells are escaped here, which GFM asks for even in code; all else must be escaped already.
    """
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _what(task: Task, report: dict[str, Any], base: str | None) -> str:
    labels = report["labels"]
    origin = f"[{base}](https://huggingface.co/{base})" if base else "a pretrained language model"
    shown = ", ".join(code(label) for label in labels[:20]) + (" …" if len(labels) > 20 else "")
    if task.writes:
        does = f"{card_use.purpose(task)} of the kind that it was trained on."
    elif task.answers == "labels":
        does = f"Gives a text any of {len(labels)} labels: {shown}."
    else:
        does = f"Puts a text into one of {len(labels)} classes: {shown}."
    return f"{does}\n\nIt was fine-tuned from {origin} on {report['rows']['train']:,} {card_use.examples(task)}."


def _use(task: Task, report: dict[str, Any], repo_id: str | None) -> str:
    where = "" if repo_id else "\n\nRun it in the folder that this file is in, or put the folder's path for `.`."
    # What a person told the model stands in the code: a longer fence than any run of backticks keeps it there.
    lines = card_use.snippet(task, report, repo_id)
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", lines)), default=0) + 1)
    return f"{fence}python\n{lines}{fence}{where}"


def _scores(report: dict[str, Any]) -> str:
    metrics, baselines = report["metrics"], report.get("baselines", {})
    names = [name for name in metrics if name in SCALES]
    rows = [["**This model**", *(_with_interval(metrics, name) for name in names)]]
    rows += [
        [_BASELINE_NAMES.get(key, code(key)), *(_figure(n, scores[n]) if n in scores else "" for n in names)]
        for key, scores in baselines.items()
    ]
    verdict = _VERDICTS.get(report.get("verdict", {}).get("code", ""), "")
    rows_judged = report["rows"].get("judged", report["rows"]["test"])
    how = [
        f"{SCALES[n].card_name}: {code(said)}" for n, said in (report.get("signatures") or {}).items() if n in SCALES
    ]
    return (
        f"Measured on {rows_judged:,} test rows that it never saw in training."
        " In brackets: where the score lies with 95 % confidence, given so many rows."
        + (f" {verdict}" if verdict else "")
        + "\n\n"
        + table(["", *(SCALES[name].card_name for name in names)], rows)
        + (f"\n\n{'; '.join(how)}." if how else "")
    )


def _figure(metric: str, value: float) -> str:
    if SCALES[metric].unit == "share":
        return _percent(value)
    return f"{value:.1f}" if SCALES[metric].unit == "points" else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _with_interval(metrics: dict[str, Any], name: str) -> str:
    interval = metrics.get("intervals", {}).get(name)
    between = ""
    if interval:
        low, high = (_figure(name, edge).removesuffix(" %") for edge in interval)
        between = f" ({low} to {high})"
    return f"**{_figure(name, metrics[name])}**{between}"


def _per_class(report: dict[str, Any]) -> str:
    rows = [
        [code(c["label"]), _percent(c["precision"]), _percent(c["recall"]), _percent(c["f1"]), f"{c['rows']:,}"]
        for c in report.get("per_class", [])
    ]
    return "### Each class\n\n" + table(["Label", "Precision", "Recall", "F1", "Test rows"], rows) if rows else ""


def _confusion(report: dict[str, Any]) -> str:
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


def _data(task: Task, report: dict[str, Any]) -> str:
    data, rows = report["data"], report["rows"]
    name = f" {code(data['name'])}" if data.get("name") else ""
    parts = ", ".join(f"{rows[part]:,} {words}" for part, words in _PARTS.items() if part in rows)
    known = [[code(label), f"{n:,}"] for label, n in data.get("label_counts", {}).items()]
    counts = f"\n\n{table(['Label', 'Rows'], known)}" if known else ""
    changed = [f for f in data.get("findings", []) if f.get("rows")]
    cleaned = "\n".join(f"- {f['rows']:,} {_rows(f['rows'])}: {_found(f['code'])}" for f in changed)
    return (
        f"A table{name} of {card_use.examples(task)}: {parts}."
        f" The table itself is not part of this repository.{counts}"
        + (f"\n\nWhat the data check found or changed before training:\n\n{cleaned}" if cleaned else "")
    )


def _found(finding: str) -> str:
    return _FOUND.get(finding) or code(finding.replace("_", " "))


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _training(spec: TrainSpec, report: dict[str, Any]) -> str:
    matter = find(spec.task).relevant(spec.method)
    settings = [[name.replace("_", " "), f"{getattr(spec, name):g}"] for name in knobs() if name in matter]
    settings += [[name.replace("_", " "), _setting(getattr(spec, name))] for name in switches() if name in matter]
    device = report.get("device", {})
    machine = " ".join(str(device[key]) for key in ("kind", "name") if device.get(key))
    precision = f" in {device['precision']}" if device.get("precision") else ""
    seconds = report.get("seconds", 0.0)
    stopped = " It was stopped before the planned end; the best state so far was kept." if report.get("stopped") else ""
    return (
        f"{report.get('epochs_done', 0):g} passes over the training rows, the best state after"
        f" {report.get('best_epoch', 0):g}, on {code(machine or 'unknown')}{precision},"
        f" {seconds / 60:.1f} minutes in all.{stopped}\n\n" + table(["Setting", "Value"], settings)
    )


def _setting(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else code(str(value)) if value else "-"


def _limits(task: Task, spec: TrainSpec, report: dict[str, Any]) -> str:
    """What follows from the facts of this run, not from a template."""
    rows, found = report["rows"], []
    if rows["train"] < 500:
        found.append(f"It learned from {rows['train']:,} rows, which is few; wording it has not met may mislead it.")
    judged = rows.get("judged", rows["test"])
    if judged < 200:
        found.append(f"It was tested on {judged:,} rows only, so the scores are rough (see the brackets above).")
    if report.get("verdict", {}).get("code") in ("unclear", "not_better"):
        found.append("It is not shown to do better than a simple method (see Scores).")
    weak = [c for c in report.get("per_class", []) if c["rows"] and c["recall"] < 0.5]
    if weak:
        names = ", ".join(code(c["label"]) for c in weak[:10])
        found.append(f"It misses more than half of the texts of: {names}.")
    thin = [c for c in report.get("per_class", []) if c["rows"] < 10]
    if thin:
        names = ", ".join(code(c["label"]) for c in thin[:10])
        found.append(f"Fewer than 10 test rows stand behind the scores of: {names}.")
    counts = report["data"].get("label_counts", {})
    if counts and max(counts.values()) > 5 * min(counts.values()):
        found.append("The classes differ much in size; it has seen little of the small ones.")
    found.append(f"Texts longer than {spec.max_length:,} tokens are cut there.")
    if task.writes:
        found.append("What it writes may be wrong, and it repeats whatever bias the examples and their answers have.")
    else:
        found.append("Its confidence is not a guarantee; it repeats whatever bias the examples and their labels have.")
    return "\n".join(f"- {sentence}" for sentence in found)
