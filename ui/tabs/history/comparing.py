"""Runs side by side: whether one is better, its scores with their ranges, what was set differently, and the curves."""

from typing import Any

from core.evaluation.scales import SCALES
from core.runs import history
from core.runs.store import RunRecord
from core.spec import TrainSpec, knobs, switches
from core.tasks.base import find
from ui import cards, charts
from ui.page import Visit
from ui.pictures import esc, shortened
from ui.tabs.history.listing import interval, model_name, named, when
from ui.text import written

_LETTERS = "ABCDE"
_LONGEST_VALUE = 200


def comparison(visit: Visit, ids: list[str]) -> str:
    """Two or more runs of the person, with their ids for the script of the page; a hint where there are fewer.

    Raises:
        UserError: `run_unknown`.
    """
    records = [visit.house.runs.get(run_id, visit.owner) for run_id in ids]
    hint = f'<p class="hint">{esc(visit.text("history.compare_hint"))}</p>'
    shown = hint if len(records) < 2 else _compared(visit, records)
    return f'<div data-ticked="{esc(",".join(ids))}">{shown}</div>'


def _compared(visit: Visit, records: list[RunRecord]) -> str:
    lettered = dict(zip(_LETTERS, records, strict=False))
    specs = {letter: visit.house.runs.spec(record.id) for letter, record in lettered.items()}
    reports = {letter: visit.house.runs.report(record.id) for letter, record in lettered.items() if record.has_result}
    judged = {letter: report for letter, report in reports.items() if report is not None}
    return "".join(
        (
            _legend(lettered),
            _sentences(visit, specs, judged),
            _scores(visit, lettered, judged),
            _curves(visit, lettered, specs),
            _settings(visit, specs),
        )
    )


def _legend(lettered: dict[str, RunRecord]) -> str:
    lines = "".join(
        f'<li><b class="letter line-{i}">{letter}</b><span>{esc(named(run))} <small>{esc(when(run))}</small></span>'
        "</li>"
        for i, (letter, run) in enumerate(lettered.items())
    )
    return f'<ul class="lettered">{lines}</ul>'


def _sentences(visit: Visit, specs: dict[str, TrainSpec], judged: dict[str, dict[str, Any]]) -> str:
    """How the best of each exam stands to the others that took it, and which took another one, in plain words."""
    said = [visit.text("history.unjudged", name=letter) for letter in specs if letter not in judged]
    exams: list[list[str]] = []
    for letter in judged:
        taken = next((exam for exam in exams if _same_exam(exam[0], letter, specs, judged)), None)
        if taken is None:
            exams.append([letter])
        else:
            taken.append(letter)
    for exam in exams:
        best = max(exam, key=lambda letter: _goodness(judged[letter]))
        said += [_against(visit, best, other, judged) for other in exam if other != best]
    for exam in exams[1:]:
        first = exams[0][0]
        key = "other_exam" if specs[first].task == specs[exam[0]].task else "other_task"
        said.append(visit.text(f"history.{key}", best=_joined(exams[0]), other=_joined(exam)))
    return f'<ul class="findings">{"".join(f"<li><span>{esc(words)}</span></li>" for words in said)}</ul>'


def _same_exam(one: str, other: str, specs: dict[str, TrainSpec], judged: dict[str, dict[str, Any]]) -> bool:
    same_rows = history.same_test_rows(specs[one], specs[other])
    return same_rows and _examined(judged[one]) == _examined(judged[other])


def _joined(letters: list[str]) -> str:
    return ", ".join(letters)


def _goodness(report: dict[str, Any]) -> float:
    metric = report["main_metric"]
    value: float = report["metrics"][metric]
    return value if SCALES[metric].better == "higher" else -value


def _against(visit: Visit, best: str, other: str, judged: dict[str, dict[str, Any]]) -> str:
    ours, theirs = judged[best], judged[other]
    metric = ours["main_metric"]
    facts = {"best": best, "other": other, "metric": visit.text(f"results.{metric}.name")}
    if ours["metrics"][metric] == theirs["metrics"][metric]:
        return visit.text("history.equal", **facts)
    apart = not history.overlap(*(report["metrics"]["intervals"][metric] for report in (ours, theirs)))
    return visit.text("history.better" if apart else "history.chance", **facts)


def _examined(report: dict[str, Any]) -> int:
    rows: int = report["rows"].get("judged", report["rows"]["test"])
    return rows


def _scores(visit: Visit, lettered: dict[str, RunRecord], judged: dict[str, dict[str, Any]]) -> str:
    text = visit.text
    title = f"<h4>{esc(text('history.scores_title'))}</h4>"
    if not judged:
        return f'{title}<p class="hint">{esc(text("history.scores_none"))}</p>'
    names = [name for name in SCALES if any(name in report["metrics"] for report in judged.values())]
    lines = "".join(
        f"<tr><td>{esc(text(f'results.{name}.name'))}</td>"
        + "".join(f"<td>{_score(visit, judged.get(letter), name)}</td>" for letter in lettered)
        + "</tr>"
        for name in names
    )
    return title + _sheet([text("history.score"), *lettered], lines, text("history.scores_title"), "figures")


def _score(visit: Visit, report: dict[str, Any] | None, metric: str) -> str:
    if report is None or metric not in report["metrics"]:
        return "–"
    between = interval(visit, metric, report["metrics"]["intervals"].get(metric))
    return f"{esc(cards.figure(metric, report['metrics'][metric]))}<small>{esc(between)}</small>"


def _sheet(heads: list[str], lines: str, label: str, kind: str) -> str:
    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in heads)
    return (
        f'<div class="sheet compared {kind}" tabindex="0" role="region" aria-label="{esc(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _curves(visit: Visit, lettered: dict[str, RunRecord], specs: dict[str, TrainSpec]) -> str:
    """Score and loss on the validation rows by share of the training, where all learned the same kind of thing."""
    if len({spec.task for spec in specs.values()}) > 1:
        return ""
    seen = {letter: visit.house.watch.progress(run.id) for letter, run in lettered.items()}
    scores, losses = (
        {
            letter: [(100 * point[0] / one.steps, scale * point[place]) for point in one.evaluations if one.steps]
            for letter, one in seen.items()
        }
        for place, scale in ((2, 100.0), (1, 1.0))
    )
    drawn = [
        charts.curves(visit.text, visit.text("history.curve_score"), scores),
        charts.curves(visit.text, visit.text("history.curve_loss"), losses),
    ]
    return f'<div class="curves-pair">{"".join(drawn)}</div>'


def _settings(visit: Visit, specs: dict[str, TrainSpec]) -> str:
    text = visit.text
    title = f"<h4>{esc(text('history.settings_title'))}</h4>"
    rows = []
    for name in history.differing(list(specs.values())):
        values = [shortened(setting(visit, spec, name), _LONGEST_VALUE) for spec in specs.values()]
        if len({*values}) > 1 or name not in (*knobs(), *switches()):
            rows.append([_label(visit, name), *values])
    if not rows:
        return f'{title}<p class="hint">{esc(text("history.same"))}</p>'
    lines = "".join("<tr>" + "".join(f"<td>{esc(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return title + _sheet([text("history.setting"), *specs], lines, text("history.settings_title"), "")


def _label(visit: Visit, name: str) -> str:
    if name in knobs():
        return visit.text(f"knobs.{name}.label")
    return visit.text(f"switches.{name}.label" if name in switches() else f"history.setting_of.{name}")


def setting(visit: Visit, spec: TrainSpec, name: str) -> str:
    """The value of a setting as people read it."""
    text = visit.text
    if name in knobs() or name in switches():
        if name not in find(spec.task).relevant(spec.method):
            return text("history.not_used")
        return _knob(visit, name, getattr(spec, name))
    data = spec.data
    if name == "columns":
        return "; ".join(
            f"{text(f'data.role.{role}')}: {column if isinstance(column, str) else ', '.join(column)}"
            for role, column in data.columns.items()
        )
    told = {
        "task": lambda: text(f"data.task.{spec.task}"),
        "model": lambda: model_name(visit, spec),
        "table": lambda: data.name or data.table[:8],
        "fixes": lambda: "; ".join(dict.fromkeys(_fix(visit, code, fix) for code, fix in data.fixes.items())),
        "split": lambda: " · ".join(filter(None, (text(f"data.split.{data.split.method}"), data.split.column))),
        "augment": lambda: _copies(visit, spec),
        "test_table": lambda: text("knobs.on") if data.test_table else "",
    }[name]()
    return told or text("history.empty")


def _knob(visit: Visit, name: str, value: float | str | bool) -> str:
    text = visit.text
    if isinstance(value, bool):
        return text("knobs.on" if value else "knobs.off")
    if name in knobs():
        return written(value)
    if name in ("source_language", "target_language") and text.has(f"languages.{value}"):
        return text(f"languages.{value}")
    if switches()[name].switch.longest:
        return str(value) or text("history.empty")
    return text(f"switches.{name}.choices.{value}.label")


def _fix(visit: Visit, code: str, fix: str) -> str:
    keys = (f"fixes.{code}.{fix}", f"fixes.any.{fix}")
    return next((visit.text(key) for key in keys if visit.text.has(key)), code)


def _copies(visit: Visit, spec: TrainSpec) -> str:
    choice = spec.data.augment
    if not choice.methods:
        return ""
    named_methods = ", ".join(visit.text(f"data.augmentation.{method}") for method in choice.methods)
    return visit.text("history.copies", copies=choice.copies, methods=named_methods)
