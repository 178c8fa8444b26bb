"""Model: what to start from, and whether it fits here."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr

from core.errors import UserError
from core.models import fetching
from core.models.catalogue import STARTERS, SUGGESTIONS
from core.spec import ModelChoice
from ui import cards, choices
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card
from ui.sentences import count, size
from ui.tabs.shared import heading, top

SOURCES = ("starter", "hub", "run")


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text = page.text
    parts = top()
    heading(text("models.source_title"), text("models.source_help"))
    parts["source"] = gr.Radio(
        [(text(f"models.source.{s}"), s) for s in SOURCES],
        value="starter",
        show_label=False,
        elem_id="model-source",
        container=False,
    )
    with gr.Column(elem_classes=["choice"]) as starter:
        gr.Markdown(text("models.starter_help"))
    with gr.Column(visible=False, elem_classes=["choice"]) as hub:
        parts |= _hub(page)
    with gr.Column(visible=False, elem_classes=["choice"]) as earlier:
        parts["earlier"] = gr.Dropdown(label=text("models.earlier"), info=text("models.earlier_help"), filterable=False)
    parts |= {"group_starter": starter, "group_hub": hub, "group_run": earlier}
    heading(text("models.chosen_title"), text("models.chosen_help"))
    parts["facts"] = gr.HTML()
    _wire(page, parts)
    return Tab(parts, view)


def _hub(page: Page) -> dict[str, Any]:
    text = page.text
    names = [(_suggestion(page, s), s.hub_id) for s in SUGGESTIONS]
    gr.Markdown(text("models.hub_help"))
    parts: dict[str, Any] = {
        "name": gr.Dropdown(
            names,
            value=None,
            label=text("models.hub_name"),
            info=text("models.hub_name_help"),
            allow_custom_value=True,
            elem_id="hub-name",
        )
    }
    with gr.Accordion(text("models.token_title"), open=False):
        parts["token"] = gr.Textbox(
            label=text("publish.token"), info=text("models.token_help"), type="password", max_length=200
        )
    parts["use"] = gr.Button(text("models.use"), variant="primary")
    parts["progress"] = gr.HTML()
    return parts


def _suggestion(page: Page, suggestion: Any) -> str:
    why = page.text(f"models.why.{suggestion.why}")
    return f"{suggestion.hub_id} · {count(page.text, suggestion.parameters)} · {why}"


def _wire(page: Page, parts: dict[str, Any]) -> None:
    page.listen(parts["source"].input, choose_source, [parts["source"]], parts)
    page.listen(parts["earlier"].input, choose_run, [parts["earlier"]], parts)
    page.listen(parts["use"].click, use, [parts["name"], parts["token"]], parts, concurrency_limit=4)


def view(visit: Visit, source: str | None = None) -> dict[str, Any]:
    """Everything the tab shows; `source` is what is looked at without being chosen yet."""
    text, choice = visit.text, visit.draft.model
    looked_at = source or (choice.source if choice.source in SOURCES else "starter")
    chosen = choices.model(visit)
    if chosen.facts:
        known = cards.model_facts(text, chosen.facts)
    else:
        known = f'<p class="problem"><b>!</b> {esc(text.error(chosen.error or UserError("unexpected")))}</p>'
    shown = card(visit, "model") | {f"group_{s}": gr.Column(visible=s == looked_at) for s in SOURCES}
    return shown | {
        "source": looked_at,
        "facts": known,
        "token": "",
        "progress": "",
        "earlier": gr.Dropdown(choices=results(visit), value=choice.name if choice.source == "run" else None),
    }


def results(visit: Visit) -> list[tuple[str, str]]:
    """The person's runs that have a model, as (what people see, id)."""
    return [(_named(visit, r), r.id) for r in visit.house.runs.list(visit.owner) if r.has_result]


def _named(visit: Visit, record: Any) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
    return f"{when} · {record.name or record.id[:8]}"


def choose_source(visit: Visit, source: str) -> dict[str, Any]:
    """Look at another kind of model; the starter needs nothing more and is chosen at once."""
    if source == "starter":
        visit.change(model=ModelChoice(source="starter", name=next(iter(STARTERS))))
    return view(visit, source)


def choose_run(visit: Visit, run_id: str) -> dict[str, Any]:
    """Go on from an earlier result."""
    visit.house.runs.model_folder(visit.house.runs.get(run_id, visit.owner).id)
    visit.change(model=ModelChoice(source="run", name=run_id))
    return view(visit)


def use(visit: Visit, name: str | None, token: str) -> Iterator[dict[str, Any]]:
    """Ask the Hub about a model, refuse what cannot fit, download it with progress, choose it."""
    text, house = visit.text, visit.house
    if not (name or "").strip():
        raise UserError("model_id_malformed", name="")
    yield {"progress": progress(text("models.asking"), 0.0), "use": gr.Button(interactive=False)}
    with ThreadPoolExecutor(1) as pool:
        try:
            found = fetching.look_up(str(name), house.settings, token.strip() or visit.token)
            done = [0, max(1, found.bytes)]
            work = pool.submit(
                fetching.fetch, found, house.settings, token.strip() or visit.token, visit.owner, _note(done)
            )
            while not work.done():
                said = text("models.downloading", done=size(text, done[0]), all=size(text, done[1]))
                yield {"progress": progress(said, done[0] / done[1])}
                time.sleep(0.4)
            work.result()
        except UserError as error:
            words = f'<p class="problem" role="alert"><b>!</b> {esc(text.error(error))}</p>'
            yield {"progress": words, "use": gr.Button(interactive=True)}
            return
    visit.change(model=ModelChoice(source="hub", name=found.id, revision=found.revision))
    yield view(visit) | {"use": gr.Button(interactive=True)}


def _note(done: list[int]) -> Any:
    def note(so_far: int, whole: int) -> None:
        done[:] = [so_far, max(1, whole)]

    return note


def progress(words: str, share: float) -> str:
    """A bar with a sentence."""
    return (
        f'<div class="progress" role="progressbar" aria-valuenow="{round(100 * share)}" '
        f'aria-label="{esc(words)}"><i style="width:{100 * share:.1f}%"></i></div><p class="hint">{esc(words)}</p>'
    )
