"""How a training goes on, for windows that look every two seconds: `GET /progress`.

gradio would take its locks, build every part anew and keep it in its session for each look; most looks find nothing
new. What a window shows is written into it as a mark: the part of the mark before the dot stands for everything that
only the tab as a whole can show, the part after it for status and curves, which are sent here.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.errors import UserError
from core.runs.progress import Progress
from core.runs.store import RunRecord
from ui import cards, charts, guard, keeping, sentences, waiting
from ui.page import House, Visit
from ui.pictures import esc
from ui.readiness import going_on, shown_run
from ui.tabs.model.hub import progress as progress_bar
from ui.text import LANGUAGES, Text

SENT = ("status", "losses", "scores")  # the parts of the tab that are sent here, in this order
# What a window does at each tick: nothing while nobody looks, and never two looks at once.
LOOK = """async () => {
  const shown = document.querySelector("#training-status .status");
  if (document.hidden || window.looking || !shown || !shown.offsetParent) return;
  window.looking = true;
  try {
    const asked = new URLSearchParams({ language: document.documentElement.lang, seen: shown.dataset.seen });
    const answer = await fetch("progress?" + asked);
    if (answer.status !== 200) return;
    const told = await answer.json();
    if (!told.again) return told.parts;
    document.querySelector("#look-again").click();
  } catch {
    return;  // the next look comes soon
  } finally {
    window.looking = false;
  }
}"""


def routes(house: House) -> list[Route]:
    """The one route: 204 where the window shows everything, else what it shall do, for the run's owner alone."""
    texts = {language: Text(language) for language in LANGUAGES}
    losses, scores = (gr.LinePlot(render=False) for _ in range(2))

    def answer(request: Request) -> Response:
        text = texts.get(request.query_params.get("language", ""))
        try:
            owner = guard.owner(request, house.settings)
        except UserError:
            text = None
        if text is None:
            return Response(status_code=404)
        visit = Visit(house, text, owner, guard.token(request))
        told = news(visit, request.query_params.get("seen", ""))
        if "status" in told:
            seen = told.pop("progress")
            span = charts.span(seen)
            told["parts"] = [
                {"__type__": "update", "value": told.pop("status")},
                {"__type__": "update", "value": _points(losses, charts.losses(text, seen)), "x_lim": span},
                {"__type__": "update", "value": _points(scores, charts.scores(text, seen)), "x_lim": span},
            ]
        return JSONResponse(told) if told else Response(status_code=204)

    return [Route("/progress", answer, methods=["GET"])]


def news(visit: Visit, seen: str) -> dict[str, Any]:
    """What a window with the mark `seen` lacks: nothing, `again` (the whole tab), or `status` and `progress`."""
    record = shown_run(visit)
    if record is None:
        return {"again": True} if seen else {}
    progress = visit.house.watch.progress(record.id)
    found = status(visit, record, progress, visit.house.watch.records())
    if found.mark == seen:
        return {}
    if found.mark.split(".")[0] != seen.split(".")[0]:
        return {"again": True}
    return {"status": found.html, "progress": progress}


@dataclass(frozen=True)
class Status:
    """What is said of a run, and the mark by which a window knows whether it shows it."""

    html: str
    mark: str


def status(visit: Visit, record: RunRecord, seen: Progress, records: list[RunRecord]) -> Status:
    """Bar, phase, time left, figures, and one plain sentence on how it goes; `records` are all runs of the place."""
    text, code = visit.text, sentences.judgement(record, seen)
    error = record.error or seen.error
    if code == "failed" and error:
        sentence = text.coded("errors", error["code"], error.get("facts", {}))
    elif code == "queued":
        sentence = waiting.sentence(visit, record, records)
    elif code == "stopped" and record.ended_by:
        sentence = text(f"going.stopped_by_{record.ended_by}")
    else:
        sentence = text(f"going.{code}", n=sentences.percent(seen.evaluations[-1][2]) if seen.evaluations else 0)
    fraction = 1.0 if record.has_result and not going_on(record) else seen.fraction
    bar = progress_bar(_where(visit, record, seen), fraction)
    kind = "problem" if code in ("failed", "interrupted") else "said"
    figures = cards.facts(_figures(visit, seen)) if seen.steps else ""
    inner = f'<p class="{kind}">{esc(sentence)}</p>{bar}{figures}'
    curves = len(seen.losses), len(seen.evaluations), seen.steps
    whole = record.id, record.state, waiting.own_before_and_after(visit, record, records), keeping.told(visit, record)
    mark = f"{_digest(whole)}.{_digest((inner, curves))}"
    html = f'<div class="status {esc(code)}" data-seen="{mark}" aria-live="polite">{inner}</div>'
    return Status(html, mark)


def _digest(told: Any) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def _points(plot: gr.LinePlot, frame: Any) -> Any:
    points = plot.postprocess(frame)
    assert points is not None
    return points.model_dump()


def _where(visit: Visit, record: RunRecord, seen: Progress) -> str:
    text = visit.text
    if not going_on(record):
        taken = text("training.took", time=sentences.duration(text, seen.seconds)) if seen.seconds else ""
        return " · ".join(part for part in (text(f"states.{record.state.lower()}"), taken) if part)
    words = [text(f"phase.{seen.phase}") if seen.phase else text(f"states.{record.state.lower()}")]
    if record.state == "STOPPING":
        words = [text("states.stopping")]
    elif seen.seconds_left is not None:
        words.append(text("training.left", time=sentences.duration(text, seen.seconds_left)))
    elif seen.total:
        words.append(f"{seen.done:,} / {seen.total:,}")
    return " · ".join(words)


def _figures(visit: Visit, seen: Progress) -> list[tuple[str, str]]:
    text = visit.text
    found = [
        (text("training.step"), f"{seen.step:,} / {seen.steps:,}"),
        (text("training.epoch"), f"{seen.epoch:.1f} / {seen.epochs}"),
    ]
    if seen.rows_per_second:
        found.append((text("training.speed"), text("training.rows_per_second", speed=f"{seen.rows_per_second:.1f}")))
    if seen.device:
        kind = text(f"device.{seen.device.get('kind', 'cpu')}")
        found.append((text("training.device"), f"{kind} · {seen.device.get('precision', '')}"))
    return found + waiting.told_figures(visit, seen)
