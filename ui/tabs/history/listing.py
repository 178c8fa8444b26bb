"""All runs of a person as a table. Files are read once: those of ended runs stay as they are."""

import time
from dataclasses import dataclass
from typing import Any

from core.models.catalogue import STARTERS
from core.runs import history
from core.runs.store import RunRecord
from core.spec import ModelChoice, TrainSpec
from ui import cards, sentences
from ui.memory import Memory
from ui.page import Visit
from ui.pictures import esc, shortened
from ui.readiness import going_on

MOST_COMPARED = 5
_REMEMBERED = 2_000
_COLUMNS = ("compare", "name", "when", "state", "score", "took", "size")


@dataclass(frozen=True)
class Summary:
    """What a run's files say of it in short.

    Attributes:
        size: bytes on disk.
        spec: what it was told, None where that cannot be read any more.
        metric: its main score, empty where it has no result.
        value: of that score.
        between: the score's interval at 95 %, [low, high].
        seconds: how long it took, 0 where that is not known.
    """

    size: int
    spec: TrainSpec | None
    metric: str = ""
    value: float = 0.0
    between: tuple[float, float] | None = None
    seconds: float = 0.0


def summary(visit: Visit, run: RunRecord) -> Summary:
    """The summary of a run; remembered once it has ended."""
    if going_on(run):
        return _summary(visit, run)
    known: Memory = visit.house.memory.once("history", lambda: Memory(_REMEMBERED))
    found: Summary = known.once((run.id, run.attempt, run.state, run.changed), lambda: _summary(visit, run))
    return found


def _summary(visit: Visit, run: RunRecord) -> Summary:
    runs = visit.house.runs
    size = history.run_bytes(runs, run.id)
    try:
        spec = runs.spec(run.id)
        report = runs.report(run.id) if run.has_result else None
        if report is None:
            return Summary(size, spec)
        metric, scores = report["main_metric"], report["metrics"]
        between = scores["intervals"].get(metric)
        seconds = run.seconds or float(report["seconds"])
        return Summary(size, spec, metric, scores[metric], tuple(between) if between else None, seconds)
    except (OSError, ValueError, KeyError):  # of another version, or damaged: it can still be looked at and deleted
        return Summary(size, None)


def table(visit: Visit, chosen: str, ticked: list[str]) -> str:
    """The runs, newest first: a name is a button that chooses, a box ticks for the comparison."""
    text, mine = visit.text, visit.house.runs.list(visit.owner)
    if not mine:
        return f'<p class="hint">{esc(text("history.none"))}</p>'
    known = {run.id: summary(visit, run) for run in mine}
    heads = "".join(f'<th scope="col">{esc(text(f"history.column.{name}"))}</th>' for name in _COLUMNS)
    lines = "".join(_line(visit, run, known[run.id], chosen, ticked) for run in mine)
    total = text("history.sum", n=sentences.size(text, sum(one.size for one in known.values())))
    return (
        f'<div class="sheet runs-list" tabindex="0" role="region" aria-label="{esc(text("history.runs_title"))}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
        f'<p class="hint">{esc(total)}</p>'
    )


def _line(visit: Visit, run: RunRecord, known: Summary, chosen: str, ticked: list[str]) -> str:
    text, name = visit.text, named(run)
    cells = {
        "when": esc(when(run)),
        "state": esc(text(f"states.{run.state.lower()}")),
        "score": _score(visit, known),
        "took": esc(sentences.duration(text, known.seconds) if known.seconds else "–"),
        "size": esc(sentences.size(text, known.size)),
    }
    rest = "".join(
        f'<td class="run-{key}" data-name="{esc(text(f"history.column.{key}"))}">{cell}</td>'
        for key, cell in cells.items()
    )
    full = len(ticked) >= MOST_COMPARED and run.id not in ticked
    state = f"{' checked' if run.id in ticked else ''}{' disabled' if full else ''}"
    box = f'<input type="checkbox" data-tick="{run.id}" aria-label="{esc(text("history.tick", name=name))}"{state}>'
    pressed = "true" if run.id == chosen else "false"
    about = " · ".join(part for part in (_task(visit, run), model_name(visit, known.spec)) if part)
    note = f'<p class="note">{esc(shortened(run.note, 160))}</p>' if run.note else ""
    return (
        f'<tr{" class=chosen" if run.id == chosen else ""}><td class="tick">{box}</td><td class="named">'
        f'<button type="button" data-run="{run.id}" aria-pressed="{pressed}">{esc(name)}</button>'
        f"<small>{esc(about)}</small>{note}</td>{rest}</tr>"
    )


def _score(visit: Visit, known: Summary) -> str:
    text = visit.text
    if not known.metric:
        return esc(text("history.no_score"))
    figure = cards.figure(known.metric, known.value)
    shown = f"<strong>{esc(text(f'results.{known.metric}.name'))} {esc(figure)}</strong>"
    return f"{shown}<small>{esc(interval(visit, known.metric, known.between))}</small>"


def interval(visit: Visit, metric: str, between: Any) -> str:
    """Where a score lies with 95 % certainty; empty where that is not known."""
    if not between:
        return ""
    low, high = (cards.figure(metric, edge) for edge in between)
    return visit.text("results.interval", low=low.removesuffix(" %"), high=high)


def named(run: RunRecord) -> str:
    """What people call a run."""
    return run.name or run.id[:8]


def when(run: RunRecord) -> str:
    """When a run was begun."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))


def _task(visit: Visit, run: RunRecord) -> str:
    key = f"data.task.{run.task}"
    return visit.text(key) if visit.text.has(key) else ""


def model_name(visit: Visit, spec: TrainSpec | None) -> str:
    """What people call the model that a run began from."""
    start = spec.model if spec else ModelChoice(source="hub", name="")
    if start.source == "starter" and start.name in STARTERS:
        return STARTERS[start.name].hub_id.split("/")[-1]
    if start.source == "run":
        mine = {run.id: run for run in visit.house.runs.list(visit.owner)}
        return named(mine[start.name]) if start.name in mine else visit.text("history.earlier_run")
    if start.source == "directory":
        return visit.text("history.folder", name=start.name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1][:60])
    return start.name
