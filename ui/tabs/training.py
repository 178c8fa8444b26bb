"""Training: start, watch, stop; every run of the person can be opened again."""

import time
from typing import Any

import gradio as gr

from core.errors import UserError
from core.runs import history
from core.runs.store import ACTIVE, RunRecord
from core.settings import MEBIBYTE
from core.spec import ModelChoice, TrainSpec
from ui import cards, charts, choices, estimating, keeping, progressing, sentences, waiting
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card, going_on, shown_run, steps
from ui.tabs.shared import heading, top

POLL_SECONDS, WAITING_POLL_SECONDS = 2, 10
_SAME_CLICK = 3.0


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text = page.text
    parts = top()
    with gr.Row(elem_classes=["buttons"]):
        parts["start"] = gr.Button(text("training.start"), variant="primary", size="lg", interactive=False)
        parts["again"] = gr.Button(text("training.again"), variant="primary", size="lg", visible=False)
        parts["further"] = gr.Button(text("training.further"), size="lg", visible=False)
        parts["stop"] = gr.Button(text("training.stop"), variant="stop", size="lg", visible=False)
        parts["earlier"] = gr.Button(text("training.earlier"), size="lg", visible=False)
        parts["later"] = gr.Button(text("training.later"), size="lg", visible=False)
    if page.house.settings.limits.run_seconds:
        hours = page.house.settings.limits.run_seconds / 3600
        gr.HTML(f'<p class="hint">{esc(text("training.time_limit", hours=hours))}</p>')
    parts |= keeping.before(page)
    parts |= estimating.build(page)
    parts["status"] = gr.HTML(min_height=110, elem_id="training-status")
    with gr.Row(elem_classes=["halves"]):
        parts["losses"] = _plot(text("charts.loss_title"), charts.losses(text, None), "loss", text("charts.loss"), text)
        parts["scores"] = _plot(
            text("charts.score_title"), charts.scores(text, None), "score", text("charts.score"), text
        )
    parts["chart_help"] = gr.HTML(f'<p class="hint">{esc(text("charts.help"))}</p>')
    with gr.Accordion(text("training.log_title"), open=False) as log:
        shown_log = gr.Textbox(show_label=False, lines=8, max_lines=16, interactive=False, elem_classes=["log"])
    heading(text("training.runs_title"), text("training.runs_help"))
    with gr.Row(equal_height=True, elem_classes=["runs"]):
        parts["runs"] = gr.Dropdown(label=text("training.runs"), filterable=False, scale=4, elem_id="runs")
    parts |= keeping.shelf(page)
    parts["timer"] = gr.Timer(POLL_SECONDS, active=False)
    parts["look"] = gr.Button(visible="hidden", elem_id="look-again")
    _wire(page, parts)
    keeping.wire(page, parts, view)
    estimating.wire(page, parts)
    # Who has the log closed does not pay for it.
    watching = gr.Timer(POLL_SECONDS, active=False)
    log_parts = {"log": shown_log, "watching": watching}
    page.listen(log.expand, open_log, None, log_parts, queue=False)
    page.listen(log.collapse, close_log, None, log_parts, queue=False)
    page.listen(watching.tick, read_log, None, log_parts, queue=False)
    return Tab(parts, view)


def _plot(title: str, seed: Any, y: str, y_title: str, text: Any) -> Any:
    return gr.LinePlot(
        seed, x="step", y=y, color="series", title=title, x_title=text("charts.step"), y_title=y_title, color_title=" ",
        height=260, colors_in_legend=None, min_width=280,
    )  # fmt: skip


def _wire(page: Page, parts: dict[str, Any]) -> None:
    wish = [parts["keep"]] if "keep" in parts else None
    page.listen(parts["start"].click, start, wish, parts)
    page.listen(parts["again"].click, again, wish, parts)
    page.listen(parts["further"].click, further, wish, parts)
    page.listen(parts["stop"].click, stop, None, parts)
    page.listen(parts["earlier"].click, earlier, None, parts)
    page.listen(parts["later"].click, later, None, parts)
    page.listen(parts["runs"].input, open_run, [parts["runs"]], parts)
    sent = [parts[name] for name in progressing.SENT]
    parts["timer"].tick(None, None, sent, js=progressing.LOOK, show_progress="hidden", api_visibility="private")
    page.listen(parts["look"].click, poll, None, parts, queue=False)


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows, from the run's first event on."""
    return poll(visit) | {"runs": _runs(visit, shown_run(visit))}


def poll(visit: Visit) -> dict[str, Any]:
    """What changes while a run goes on."""
    text, record = visit.text, shown_run(visit)
    active = going_on(record)
    way = steps(visit)
    ready = way["data"] == "done" and way["model"] == "done"
    seen = visit.house.watch.progress(record.id) if record else None
    words = text("training.start_waiting" if active else "training.start_another" if record else "training.start")
    again_words = waiting.again_label(visit, record)
    records = visit.house.runs.list()
    span = charts.span(seen)
    before, after = waiting.own_before_and_after(visit, record, records)
    shown = card(visit, "training", way) | {
        "start": gr.Button(words, interactive=ready, variant="secondary" if record else "primary"),
        "stop": gr.Button(
            _stop_words(visit, record), visible=active, interactive=record is not None and record.state != "STOPPING"
        ),
        "again": gr.Button(again_words or "", visible=again_words is not None),
        "further": gr.Button(visible=waiting.can_be_taught_further(visit, record)),
        "earlier": gr.Button(visible=before),
        "later": gr.Button(visible=after),
        "status": progressing.status(visit, record, seen, records).html if record and seen else _before(visit),
        "losses": gr.LinePlot(charts.losses(text, seen), x_lim=span, visible=record is not None),
        "scores": gr.LinePlot(charts.scores(text, seen), x_lim=span, y_lim=[0, 100], visible=record is not None),
        "chart_help": gr.HTML(visible=record is not None),
        "timer": gr.Timer(
            WAITING_POLL_SECONDS if waiting.behind_another(record, records) else POLL_SECONDS, active=active
        ),
    }
    shown |= keeping.poll(visit, record) | estimating.poll(visit, ready=ready)
    # The list may be open under somebody's mouse: it is sent again only when the run has ended.
    return shown if active else shown | {"runs": _runs(visit, record)}


def _runs(visit: Visit, record: RunRecord | None) -> Any:
    mine = visit.house.runs.list(visit.owner)
    return gr.Dropdown(choices=[(title(visit, r), r.id) for r in mine], value=record.id if record else None)


def open_log(visit: Visit) -> dict[str, Any]:
    """Show the log, and go on showing it."""
    return read_log(visit) | {"watching": gr.Timer(active=True)}


def close_log(visit: Visit) -> dict[str, Any]:
    """Nobody reads it any more."""
    return {"watching": gr.Timer(active=False)}


def read_log(visit: Visit) -> dict[str, Any]:
    """The end of the run's log, for those who want it."""
    record = shown_run(visit)
    words = visit.house.runs.log(record.id).strip() if record else ""
    return {"log": words or visit.text("training.log_empty")}


def start(visit: Visit, keep: bool = False) -> dict[str, Any]:
    """Start a run with everything chosen. A second click within seconds is the same click.

    Args:
        keep: whether the run shall be kept on the Hub while it trains, where the disk does not last.
    """
    house = visit.house
    with house.start_lock:
        _check_quota(visit)
        spec = choices.train_spec(visit)
        record = _just_started(visit, spec) or house.supervisor.submit(spec, visit.owner, _name(visit, spec))
    return _begun(visit, record, keep)


def _begun(visit: Visit, record: RunRecord, keep: bool) -> dict[str, Any]:
    visit.change(run=record.id)
    keeping.begin(visit, record, keep)
    return view(visit)


def _check_quota(visit: Visit) -> None:
    """Where strangers share the disk, each has a part of it."""
    limits, house = visit.house.settings.limits, visit.house
    if not house.settings.on_space:
        return
    used = history.used_bytes(house.runs, visit.owner) + house.tables.used_bytes(visit.owner)
    if used > limits.owner_bytes:
        raise UserError("quota_full", used_mb=used // MEBIBYTE, limit_mb=limits.owner_bytes // MEBIBYTE)


def _just_started(visit: Visit, spec: TrainSpec) -> RunRecord | None:
    runs = visit.house.runs
    recent = (r for r in runs.list(visit.owner) if going_on(r) and time.time() - r.created < _SAME_CLICK)
    return next((r for r in recent if runs.spec(r.id) == spec), None)


def _name(visit: Visit, spec: TrainSpec) -> str:
    facts = choices.model(visit).facts
    start_from = (facts.name if facts else spec.model.name).split("/")[-1].split(" · ")[-1]
    return f"{spec.data.name.rsplit('.', 1)[0][:40]} · {start_from[:40]}"


def _stop_words(visit: Visit, record: RunRecord | None) -> str:
    state = record.state if record else ""
    return visit.text({"STOPPING": "training.stopping", "QUEUED": "training.cancel"}.get(state, "training.stop"))


def again(visit: Visit, keep: bool = False) -> dict[str, Any]:
    """Go on with a run that was interrupted, stopped or failed, from where it was."""
    record = shown_run(visit)
    if record is None:
        return view(visit)
    return _begun(visit, visit.house.supervisor.again(record.id, visit.owner), keep)


def further(visit: Visit, keep: bool = False) -> dict[str, Any]:
    """Teach the result of a run further: a new run with the same settings that begins with it."""
    house, record = visit.house, shown_run(visit)
    if not waiting.can_be_taught_further(visit, record):
        return view(visit)
    assert record
    before = house.runs.spec(record.id)
    spec = before.model_copy(update={"model": ModelChoice(source="run", name=record.id)})
    with house.start_lock:
        _check_quota(visit)
        name = visit.text("training.further_name", name=record.name or record.id[:8])
        made = _just_started(visit, spec) or house.supervisor.submit(spec, visit.owner, name)
    return _begun(visit, made, keep)


def earlier(visit: Visit) -> dict[str, Any]:
    """Let the shown run change places with the person's run that waits before it."""
    return _moved(visit, earlier=True)


def later(visit: Visit) -> dict[str, Any]:
    """Let the shown run change places with the person's run that waits after it."""
    return _moved(visit, earlier=False)


def _moved(visit: Visit, *, earlier: bool) -> dict[str, Any]:
    record = shown_run(visit)
    if record:
        visit.house.supervisor.move(record.id, visit.owner, earlier=earlier)
    return view(visit)


def stop(visit: Visit) -> dict[str, Any]:
    """End the run early and keep the best so far; one that waits is taken out of the line."""
    record = shown_run(visit)
    if record:
        visit.house.runs.request_stop(visit.house.runs.get(record.id, visit.owner).id)
    return view(visit)


def open_run(visit: Visit, run_id: str | None) -> dict[str, Any]:
    """Show another run, here and in the tabs after this one."""
    if run_id:
        visit.change(run=visit.house.runs.get(run_id, visit.owner).id)
    return view(visit)


def title(visit: Visit, record: RunRecord) -> str:
    """A run in a list: when, what, how it ended."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
    state = "running" if record.state in ACTIVE else record.state.lower()
    words = [when, record.name or record.id[:8], visit.text(f"states.{state}")]
    if "accuracy" in record.headline:
        words.append(visit.text("training.right", n=sentences.percent(record.headline["accuracy"])))
    elif record.headline:
        metric, value = next(iter(record.headline.items()))
        words.append(f"{visit.text(f'results.{metric}.name')} {cards.figure(metric, value)}")
    return " · ".join(words)


def _before(visit: Visit) -> str:
    return f'<p class="hint">{esc(visit.text("training.before"))}</p>'
