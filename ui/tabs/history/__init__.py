"""History: all runs of a person with name, note, scores and size; to compare, copy, save, take in, delete."""

from pathlib import Path
from typing import Any

import gradio as gr

from core.errors import UserError
from core.runs import history
from core.runs.store import RunRecord
from ui import keeping, sentences
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card, going_on, shown_run
from ui.tabs.data.handing_in import problem
from ui.tabs.history import comparing, copying, listing, moving
from ui.tabs.history.moving import routes
from ui.tabs.shared import heading, top

__all__ = ["build", "routes", "view"]

# A click on a name chooses; a box that was ticked tells all that are. No more can be ticked than are compared.
# What is ticked is remembered here: what the tab shows when it is opened may come after a tick.
_ON_LOAD = f"""
const boxes = () => [...element.querySelectorAll('input[data-tick]')];
const ticked = () => boxes().filter((box) => box.checked).map((box) => box.dataset.tick);
const most = () => {{
  const full = ticked().length >= {listing.MOST_COMPARED};
  boxes().forEach((box) => {{ box.disabled = full && !box.checked; }});
}};
let kept = ticked();
element.addEventListener('click', (event) => {{
  const button = event.target.closest('button[data-run]');
  if (button) trigger('click', {{ run: button.dataset.run, ticked: ticked() }});
}});
element.addEventListener('change', () => {{
  kept = ticked();
  most();
  trigger('click', {{ run: '', ticked: kept }});
}});
watch('value', () => {{
  boxes().forEach((box) => {{ box.checked = kept.includes(box.dataset.tick); }});
  kept = ticked();
  most();
}});
"""

# Answers can overtake each other: where what is compared is not what is ticked, the comparison is asked for anew.
_ON_COMPARED = """
let later;
watch('value', () => {
  clearTimeout(later);
  later = setTimeout(() => {
    const ticked = [...document.querySelectorAll('#history-runs input[data-tick]:checked')].map((b) => b.dataset.tick);
    const compared = element.querySelector('[data-ticked]')?.dataset.ticked ?? '';
    if (compared !== ticked.join()) trigger('click', { run: '', ticked });
  }, 200);
});
"""


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text = page.text
    parts = top()
    heading(text("history.runs_title"), text("history.runs_help"))
    parts["runs"] = gr.HTML(js_on_load=_ON_LOAD, elem_id="history-runs")
    # What is chosen and ticked lives in the page, so that it outlasts a restart of the server.
    parts["chosen"], parts["ticked"] = gr.Textbox(visible=False), gr.Textbox(visible=False)
    with gr.Column(visible=False, elem_classes=["chosen-run"]) as parts["details"]:
        _details(page, parts)
    heading(text("history.compare_title"), text("history.compare_help"))
    parts["compare"] = gr.HTML(js_on_load=_ON_COMPARED, elem_id="history-compare")
    most = sentences.size(text, page.house.settings.limits.file_bytes)
    heading(text("history.file_title"), text("history.file_help", limit=most))
    parts["file"] = gr.File(label=text("history.file"), height=130, elem_id="run-file", buttons=[])
    parts["file_said"] = gr.HTML(elem_id="run-file-said")
    _wire(page, parts)
    return Tab(parts, view)


def _details(page: Page, parts: dict[str, Any]) -> None:
    text = page.text
    parts["about"] = gr.HTML()
    with gr.Row(equal_height=True):
        parts["name"] = gr.Textbox(
            label=text("history.name"), max_length=history.LONGEST_NAME, scale=2, min_width=240, elem_id="run-name"
        )
        parts["note"] = gr.Textbox(
            label=text("history.note"), placeholder=text("history.note_help"), max_length=history.LONGEST_NOTE,
            lines=2, max_lines=8, scale=3, min_width=240, elem_id="run-note",
        )  # fmt: skip
    with gr.Row(elem_classes=["run-buttons"]):
        parts["save"] = gr.Button(text("history.save"), size="sm", min_width=150)
        parts["open"] = gr.Button(text("history.open"), size="sm", min_width=150)
        parts["copy"] = gr.Button(text("history.copy"), size="sm", min_width=150)
        parts["delete"] = gr.Button(text("history.delete"), size="sm", min_width=110)
    with gr.Column(visible=False, elem_classes=["asked"]) as parts["asked"]:
        parts["question"] = gr.HTML()
        with gr.Row(elem_classes=["run-buttons"]):
            parts["yes"] = gr.Button(text("history.delete"), variant="stop", size="sm")
            parts["keep"] = gr.Button(text("history.keep"), size="sm")
    parts["said"] = gr.HTML(elem_id="run-said")
    parts["export"] = gr.HTML()


def _wire(page: Page, parts: dict[str, Any]) -> None:
    place = [parts["chosen"], parts["ticked"]]
    # A box ticked before another one is answered counts too: gradio drops it otherwise ("always_last": what it told).
    for part in (parts["runs"], parts["compare"]):
        page.listen(part.click, press, [parts["chosen"]], parts, told=True, trigger_mode="multiple")
    page.listen(parts["save"].click, save, [*place, parts["name"], parts["note"]], parts)
    page.listen(parts["open"].click, open_run, place, parts)
    page.listen(parts["copy"].click, copy, place, parts, show_progress="minimal")
    page.listen(parts["delete"].click, ask, [parts["chosen"]], parts)
    page.listen(parts["keep"].click, keep, None, parts)
    page.listen(parts["yes"].click, delete, place, parts)
    page.listen(parts["file"].upload, take_in, [parts["file"]], parts, show_progress="minimal", concurrency_limit=4)


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows: the run that the other tabs are about is chosen, none is ticked."""
    run = shown_run(visit)
    return _shown(visit, run.id if run else "", [])


def _shown(visit: Visit, chosen: str, ticked: list[str], said: str = "") -> dict[str, Any]:
    mine = {run.id: run for run in visit.house.runs.list(visit.owner)}
    chosen, ticked = chosen if chosen in mine else "", [run_id for run_id in ticked if run_id in mine]
    shown = card(visit, "history") | {
        "runs": listing.table(visit, chosen, ticked),
        "chosen": chosen,
        "ticked": ",".join(ticked),
        "details": gr.Column(visible=bool(chosen)),
        "compare": comparing.comparison(visit, ticked),
        "file": None,
        "file_said": "",
    }
    return shown | (_about(visit, mine[chosen]) if chosen else {}) | {"said": said}


def _about(visit: Visit, run: RunRecord) -> dict[str, Any]:
    text, active = visit.text, going_on(run)
    shown = shown_run(visit)
    mark = f" <small>{esc(text('history.shown'))}</small>" if shown and shown.id == run.id else ""
    link = f'<a class="download quiet" href="download/{run.id}/run.zip" download>{esc(text("history.export"))}</a>'
    hint = f'<p class="hint">{esc(text("history.export_help"))}</p>'
    return {
        "about": f"<h3>{esc(listing.named(run))}{mark}</h3>",
        "name": run.name,
        "note": run.note,
        "open": gr.Button(interactive=shown is None or shown.id != run.id),
        "delete": gr.Button(interactive=not active),
        "asked": gr.Column(visible=False),
        "export": f'<div class="mended">{link}{hint}</div>' if run.has_result else "",
    }


def _ids(ticked: Any) -> list[str]:
    """The ids that the page tells, each once, no more than are compared."""
    told = ticked.split(",") if isinstance(ticked, str) else ticked if isinstance(ticked, list) else []
    return [run_id for run_id in dict.fromkeys(map(str, told)) if run_id][: listing.MOST_COMPARED]


def _done(words: str) -> str:
    return f'<p class="done" role="status"><b>✓</b> {esc(words)}</p>'


def press(visit: Visit, told: dict[str, Any], chosen: str) -> dict[str, Any]:
    """A name was clicked, or a box ticked or unticked."""
    ticked, run_id = _ids(told.get("ticked")), str(told.get("run") or "")
    if not run_id:
        return {"ticked": ",".join(ticked), "compare": comparing.comparison(visit, ticked)}
    return _shown(visit, visit.house.runs.get(run_id, visit.owner).id, ticked)


def save(visit: Visit, chosen: str, ticked: str, name: str, note: str) -> dict[str, Any]:
    """Give the chosen run its name and note."""
    history.describe(visit.house.runs, chosen, visit.owner, name or "", note or "")
    return _shown(visit, chosen, _ids(ticked), _done(visit.text("history.saved")))


def open_run(visit: Visit, chosen: str, ticked: str) -> dict[str, Any]:
    """Let the other tabs be about the chosen run."""
    visit.change(run=visit.house.runs.get(chosen, visit.owner).id)
    return _shown(visit, chosen, _ids(ticked), _done(visit.text("history.opened")))


def copy(visit: Visit, chosen: str, ticked: str) -> dict[str, Any]:
    """Take the settings of the chosen run for a new one, and say what could not be taken."""
    text = visit.text
    missing = copying.copy_settings(visit, visit.house.runs.get(chosen, visit.owner))
    said = _done(text("history.copied"))
    if missing:
        lines = "".join(f"<li><b>!</b><span>{esc(text(f'history.not_copied.{name}'))}</span></li>" for name in missing)
        said = f'<p class="said">{esc(text("history.copied_but"))}</p><ul class="findings">{lines}</ul>'
    return _shown(visit, chosen, _ids(ticked), said)


def ask(visit: Visit, chosen: str) -> dict[str, Any]:
    """Ask before the chosen run is deleted, and say what that frees."""
    text, run = visit.text, visit.house.runs.get(chosen, visit.owner)
    if going_on(run):
        raise UserError("run_still_active", run=run.id[:8])
    freed = sentences.size(text, listing.summary(visit, run).size)
    return {
        "asked": gr.Column(visible=True),
        "question": f'<p class="problem">{esc(text("history.ask_delete", name=listing.named(run)))}</p>',
        "yes": text("history.yes_delete", size=freed),
        "said": "",
    }


def keep(visit: Visit) -> dict[str, Any]:
    """Delete nothing."""
    return {"asked": gr.Column(visible=False)}


def delete(visit: Visit, chosen: str, ticked: str) -> dict[str, Any]:
    """Delete the chosen run and free its disk."""
    run = visit.house.runs.get(chosen, visit.owner)
    freed = sentences.size(visit.text, listing.summary(visit, run).size)
    history.delete(visit.house.runs, run.id, visit.owner)
    visit.house.predictors.forget(visit.house.runs.root / run.id / "model")
    keeping.deleted(visit, run.id)
    if visit.draft.run == run.id:
        visit.change(run=None)
    following = shown_run(visit)
    words = _done(visit.text("history.deleted", size=freed))
    shown = _shown(visit, following.id if following else "", _ids(ticked), words)
    return shown if following else shown | {"file_said": words}


def take_in(visit: Visit, path: str | None) -> dict[str, Any]:
    """Take in a run from a file. One that is none changes nothing but the message."""
    if path is None:
        return {}
    try:
        run = moving.take_in(visit, Path(path))
    except UserError as error:
        return {"file": None, "file_said": problem(visit, error)}
    visit.change(run=run.id)
    words = _done(visit.text("history.taken_in", name=listing.named(run)))
    return _shown(visit, run.id, []) | {"file_said": words}
