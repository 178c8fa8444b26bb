"""What is done, what is missing, and the one next step: the card on top of every tab."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.errors import UserError
from core.runs.store import ACTIVE, RunRecord
from ui import cards, choices
from ui.overview import overview
from ui.page import Visit

ORDER = ("data", "model", "hyperparameters", "training", "results", "tryit", "publish", "history")


@dataclass(frozen=True)
class Ready:
    """One tab's card.

    Attributes:
        state: `done`, `todo`, `busy` or `problem`.
        headline: where it stands.
        detail: what to do.
        target: the tab that the button leads to, None for no button.
    """

    state: str
    headline: str
    detail: str = ""
    target: str | None = None


def shown_run(visit: Visit) -> RunRecord | None:
    """The run that the page is about: the one opened or started last, else one that is going on, else the newest."""
    chosen = visit.draft.run
    if chosen:
        try:
            return visit.house.runs.get(chosen, visit.owner)
        except UserError:
            pass  # deleted since
    mine = visit.house.runs.list(visit.owner)
    return next((r for r in mine if going_on(r)), mine[0] if mine else None)


def going_on(record: RunRecord | None) -> bool:
    """Whether the run waits or works."""
    return record is not None and record.state in (*ACTIVE, "QUEUED")


def steps(visit: Visit) -> dict[str, str]:
    """The way to a trained model: tab -> `done`, `todo`, `busy` or `problem`."""
    data, chosen, run = overview(visit), choices.model(visit), shown_run(visit)
    return {
        "data": "done" if data.usable else "problem" if data.error else "todo",
        "model": "done" if chosen.usable else "problem",
        "hyperparameters": "done",
        "training": _run_state(run),
    }


def _run_state(run: RunRecord | None) -> str:
    if run is None:
        return "todo"
    return "done" if run.has_result else "busy" if going_on(run) else "problem"


def card(visit: Visit, tab: str, known: dict[str, str] | None = None) -> dict[str, Any]:
    """The values of a tab's `ready` and `next` parts; `known` are the steps, where they were worked out already."""
    way = known or steps(visit)
    ready = judge(visit, tab, way)
    label = visit.text(f"next.{ready.target}") if ready.target else ""
    return {
        "ready": cards.ready(visit.text, ready.state, ready.headline, way, ready.detail),
        "next": gr.Button(label, visible=ready.target is not None),
    }


def target(visit: Visit, tab: str) -> str:
    """Where the tab's button leads."""
    return judge(visit, tab, steps(visit)).target or tab


def judge(visit: Visit, tab: str, way: dict[str, str]) -> Ready:
    """How a tab stands."""
    known = {
        "data": _data,
        "model": _model,
        "hyperparameters": _hyperparameters,
        "training": _training,
        "history": _history,
    }
    if tab in known:
        return known[tab](visit, way)
    return _afterwards(visit, tab, way)


def _data(visit: Visit, way: dict[str, str]) -> Ready:
    text, data = visit.text, overview(visit)
    if data.usable:
        if data.counts:
            headline = text("ready.data.done", rows=data.rows, labels=len(data.counts))
        else:
            headline = text("ready.data.done_plain", rows=data.rows)
        flaws = sum(1 for f in data.findings if f["recommended"] and not f["applied"])
        detail = text("ready.data.fix_detail", n=flaws) if flaws else text("ready.data.done_detail")
        return Ready("done", headline, detail, "model")
    if data.error:
        return Ready("problem", text("ready.data.problem"), text.error(data.error))
    return Ready("todo", text("ready.data.todo"), text("ready.data.todo_detail"))


def _model(visit: Visit, way: dict[str, str]) -> Ready:
    text, chosen = visit.text, choices.model(visit)
    if chosen.error or chosen.facts is None:
        detail = text.error(chosen.error) if chosen.error else ""
        return Ready("problem", text("ready.model.problem"), detail)
    if not chosen.facts.downloaded:
        return Ready("todo", text("ready.model.todo"), text("ready.model.todo_detail"))
    if chosen.facts.fits == "no":
        return Ready("problem", text("ready.model.too_large"), text("ready.model.too_large_detail"), "hyperparameters")
    headline = text("ready.model.done", name=chosen.facts.name)
    return Ready("done", headline, text("ready.model.done_detail"), "hyperparameters")


def _hyperparameters(visit: Visit, way: dict[str, str]) -> Ready:
    text = visit.text
    moved = len(visit.draft.knobs.keys() & choices.settled(visit).values.keys())
    headline = text("ready.hyperparameters.moved", n=moved) if moved else text("ready.hyperparameters.done")
    return Ready("done", headline, text("ready.hyperparameters.detail"), "training")


def _training(visit: Visit, way: dict[str, str]) -> Ready:
    text, run = visit.text, shown_run(visit)
    if going_on(run):
        return Ready("busy", text("ready.training.busy"), text("ready.training.busy_detail"))
    if run and run.has_result:
        return Ready("done", text("ready.training.done"), text("ready.training.done_detail"), "results")
    for tab in ("data", "model"):
        if way[tab] != "done":
            return Ready("todo", text(f"ready.training.needs_{tab}"), text("ready.training.needs_detail"), tab)
    if run and way["training"] == "problem":
        return Ready("problem", text("ready.training.problem"), text("ready.training.problem_detail"))
    return Ready("todo", text("ready.training.todo"), text("ready.training.todo_detail"))


def _history(visit: Visit, way: dict[str, str]) -> Ready:
    text, run, count = visit.text, shown_run(visit), len(visit.house.runs.list(visit.owner))
    if run is None:
        target = "training" if way["data"] == "done" else "data"
        return Ready("todo", text("ready.history.todo"), text("ready.history.todo_detail"), target)
    detail = text("ready.history.done_detail", name=run.name or run.id[:8])
    return Ready("done", text("ready.history.done", n=count), detail, "results" if run.has_result else "training")


def _afterwards(visit: Visit, tab: str, way: dict[str, str]) -> Ready:
    text, run = visit.text, shown_run(visit)
    if run is None or not run.has_result:
        busy = going_on(run)
        key = "busy" if busy else "todo"
        target = "training" if busy or way["data"] == "done" else "data"
        return Ready(key, text(f"ready.no_model.{key}"), text(f"ready.no_model.{key}_detail"), target)
    following = {"results": "tryit", "tryit": "publish"}.get(tab)
    return Ready("done", text(f"ready.{tab}.done"), text(f"ready.{tab}.done_detail"), following)
