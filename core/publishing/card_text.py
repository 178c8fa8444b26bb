"""The body of a model card: what the result is, how to use it, how good it is, and how it came about."""

from typing import Any

from core.publishing import card_data, card_scores, card_use
from core.publishing.card_markup import code, heading, plain, program, table
from core.runs.store import RunRecord
from core.spec import TrainSpec, knobs, switches
from core.tasks.base import Task, find

_READ = {
    "head": "only the beginning is read",
    "tail": "only the end is read",
    "both": "only the beginning and the end are read",
}


def body(spec: TrainSpec, report: dict[str, Any], record: RunRecord, repo_id: str | None, base: str | None) -> str:
    """All sections.

    Args:
        base: Hub id of the model it was fine-tuned from, None where that is not known.
    """
    title = repo_id.split("/")[-1] if repo_id else plain(record.name) or "Fine-tuned language model"
    task, used = find(spec.task), used_of(report)
    sections = [
        f"# {heading(title)}\n\n{_what(task, report, used, base)}",
        f"## How to use it\n\n{_use(task, used, repo_id)}",
        f"## Scores\n\n{card_scores.scores(report)}",
        card_scores.each_label(report),
        card_scores.confusion(report),
        f"## Data\n\n{card_data.data(task, report)}",
        f"## How it was trained\n\n{_training(task, spec, report, used)}",
        f"## Intended use\n\n{card_use.intended(task)}",
        f"## Limits\n\n{_limits(task, spec, report, used)}",
        "---\n\nMade with Tuning Fork.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def used_of(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says about use; nothing in those of early versions."""
    return report.get("use") or {}


def _what(task: Task, report: dict[str, Any], used: dict[str, Any], base: str | None) -> str:
    labels = report["labels"]
    origin = f"[{base}](https://huggingface.co/{base})" if base else "a pretrained language model"
    shown = ", ".join(code(label) for label in labels[:20]) + (" …" if len(labels) > 20 else "")
    if task.writes:
        does = f"{card_use.purpose(task, used)}, of the kind that it was trained on."
    elif task.answers == "labels":
        does = f"Gives a text any of {len(labels)} labels: {shown}."
    else:
        does = f"Puts a text into one of {len(labels)} classes: {shown}."
    return f"{does}\n\nIt was fine-tuned from {origin} on {report['rows']['train']:,} {card_use.examples(task)}."


def _use(task: Task, used: dict[str, Any], repo_id: str | None) -> str:
    where = "" if repo_id else "Run it in the folder that this file is in, or put the folder's path for `.`."
    parts = [program(card_use.snippet(task, used, repo_id)), card_use.differences(task, used), where]
    return "\n\n".join(part for part in parts if part)


def _training(task: Task, spec: TrainSpec, report: dict[str, Any], used: dict[str, Any]) -> str:
    device, model = report.get("device", {}), report.get("model", {})
    machine = code(" ".join(str(device[key]) for key in ("kind", "name") if device.get(key)) or "unknown")
    precision = f" in {device['precision']}" if device.get("precision") else ""
    minutes = f"{report.get('seconds', 0.0) / 60:.1f} minutes in all"
    if "epochs" in task.relevant(spec.method):
        done = (
            f"{report.get('epochs_done', 0):g} passes over the training rows, the best state after"
            f" {report.get('best_epoch', 0):g}, on {machine}{precision}, {minutes}."
        )
    else:
        done = f"On {machine}{precision}, {minutes}."
    learned, whole = model.get("trainable") or 0, model.get("parameters") or 0
    if 0 < learned < whole:
        done += f" Of {whole:,} numbers of the model {learned:,} were open to change."
    if report.get("stopped"):
        done += " It was stopped before the planned end; the best state so far was kept."
    return f"{done}\n\n{table(['Setting', 'Value'], _settings(task, spec, used))}"


def _settings(task: Task, spec: TrainSpec, used: dict[str, Any]) -> list[list[str]]:
    """The settings that mattered, as they were used in the end: languages may have been guessed, lengths bounded."""
    matter = set(task.relevant(spec.method))
    matter -= {"length_penalty"} if spec.beams == 1 else {"temperature", "top_p"}
    matter -= {"top_p"} if spec.temperature == 0 else set()
    named = {name: used.get(name) or getattr(spec, name) for name in [*knobs(), *switches()] if name in matter}
    return [[name.replace("_", " "), _setting(value)] for name, value in named.items()]


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:g}"
    return code(str(value).replace("\n", "\\n")) if value else "-"


def _limits(task: Task, spec: TrainSpec, report: dict[str, Any], used: dict[str, Any]) -> str:
    """What follows from the facts of this run, not from a template."""
    rows, found = report["rows"], []
    if rows["train"] < 500:
        found.append(f"It learned from {rows['train']:,} rows, which is few; wording it has not met may mislead it.")
    judged = rows.get("judged", rows["test"])
    if judged < 200:
        found.append(f"It was tested on {judged:,} rows only, so the scores are rough (see the brackets above).")
    if report.get("verdict", {}).get("code") in ("unclear", "not_better"):
        found.append("It is not shown to do better than what it is compared with (see Scores).")
    found += _limits_of_labels(report)
    found.append(_longest(task, spec, used))
    if task.writes:
        found.append("What it writes may be wrong, and it repeats whatever bias the examples have.")
    else:
        found.append("Its confidence is not a guarantee; it repeats whatever bias the examples and their labels have.")
    return "\n".join(f"- {sentence}" for sentence in found)


def _limits_of_labels(report: dict[str, Any]) -> list[str]:
    found = []
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
        found.append("The labels differ much in how many rows they have; it has seen little of the rare ones.")
    return found


def _longest(task: Task, spec: TrainSpec, used: dict[str, Any]) -> str:
    """How much it reads and writes, in tokens."""
    most = f"{used.get('max_length') or spec.max_length:,} tokens"
    answer = f"{(used.get('writing') or {}).get('max_new_tokens', spec.max_new_tokens):,} tokens"
    if task.answers == "continuation":
        return f"It learned from pieces of {most}, and writes {answer} at a time."
    if task.answers == "chat":
        return f"It learned from conversations of at most {most}, and answers with at most {answer}."
    read = _READ[used.get("truncation") or spec.truncation]
    if not task.writes:
        return f"Of texts longer than {most} {read}."
    if used.get("kind") == "seq2seq":
        return f"Of texts longer than {most} {read}; answers have at most {answer}."
    return f"Text and answer together had at most {most} in training; answers have at most {answer}."
