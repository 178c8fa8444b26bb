"""A model from the Hub: suggested for the data, searched for, or named by hand; then downloaded with progress."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr

from core.errors import UserError
from core.hub import searching
from core.models import fetching, sizing, suggesting
from core.spec import ModelChoice
from ui import choices
from ui.overview import overview
from ui.page import Page, Visit
from ui.pictures import esc
from ui.sentences import count, duration, size

_MOST_FOUND = 20
# What is said of a suggestion beside what it is good for.
_WARNINGS = ("other_language", "language_unknown", "tight_here", "too_large_here", "terms")


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text = page.text
    gr.Markdown(text("models.hub_help"))
    parts: dict[str, Any] = {
        "name": gr.Dropdown(
            [],
            value=None,
            label=text("models.hub_name"),
            info=text("models.hub_name_help"),
            allow_custom_value=True,
            elem_id="hub-name",
        )
    }
    with gr.Row(equal_height=True):
        parts["words"] = gr.Textbox(
            label=text("models.search"), info=text("models.search_help"), max_length=100, scale=4, elem_id="hub-words"
        )
        parts["search"] = gr.Button(text("models.search_go"), scale=1, min_width=130)
    parts["found"] = gr.HTML()
    with gr.Accordion(text("models.token_title"), open=False):
        parts["token"] = gr.Textbox(
            label=text("publish.token"), info=text("models.token_help"), type="password", max_length=200
        )
    parts["use"] = gr.Button(text("models.use"), variant="primary")
    parts["progress"] = gr.HTML()
    return parts


def wire(page: Page, parts: dict[str, Any], shown: Callable[[Visit], dict[str, Any]]) -> None:
    """The events."""

    def chosen(visit: Visit, name: str | None, token: str) -> Iterator[dict[str, Any]]:
        yield from use(visit, name, token, shown)

    page.listen(parts["use"].click, chosen, [parts["name"], parts["token"]], parts, concurrency_limit=4)
    told = {name: parts[name] for name in ("name", "found")}
    events = [parts["search"].click, parts["words"].submit]
    page.listen(events, search, [parts["words"], parts["token"]], told, concurrency_limit=4, show_progress="minimal")


def view(visit: Visit) -> dict[str, Any]:
    """What is suggested for this data on this machine."""
    return {"name": gr.Dropdown(choices=suggestions(visit)), "found": "", "token": "", "progress": ""}


def suggestions(visit: Visit) -> list[tuple[str, str]]:
    """Models of the catalogue for the task, the best first, as (what people see, Hub id)."""
    data, settled = overview(visit), choices.settled(visit)
    ranked = suggesting.suggest(
        choices.task_of(visit),
        languages=tuple(dict.fromkeys(choices.languages_of(visit))),
        rows=data.sizes.get("train", 0),
        memory=sizing.available_memory(),
        rows_per_second=measured_speed(visit),
        max_length=settled.whole("max_length"),
        max_target_length=settled.whole("max_target_length"),
    )
    return [(_suggestion(visit, one), one.name) for one in ranked if one.source == "hub"]


def measured_speed(visit: Visit) -> float | None:
    """Rows a second of the newest run that began with the starter MiniLM; None where there was none."""
    runs = visit.house.runs
    for record in runs.list(visit.owner):
        if record.has_result:
            spec = runs.spec(record.id)
            if (spec.model.source, spec.model.name, spec.method) == ("starter", "minilm", "full"):
                return visit.house.watch.progress(record.id).rows_per_second or None
    return None


def _suggestion(visit: Visit, one: Any) -> str:
    text, model = visit.text, one.model
    words = [one.name, count(text, model.parameters), text(f"models.why.{one.why}")]
    words += [text(f"models.reason.{reason}") for reason in one.reasons if reason in _WARNINGS]
    if one.minutes is not None:
        words.append(text("models.takes", time=duration(text, 60 * one.minutes)))
    return " · ".join(words)


def search(visit: Visit, words: str, token: str) -> dict[str, Any]:
    """Models on the Hub with these words in their names, in the list to choose from."""
    text = visit.text
    if not (words or "").strip():
        return {"name": gr.Dropdown(choices=suggestions(visit)), "found": ""}
    task, known = choices.task_of(visit), (token or "").strip() or visit.token
    found = searching.search(
        words, visit.house.settings, known, task_tags=suggesting.search_tags(task), limit=_MOST_FOUND
    )
    named = [(_found(visit, one), one.id) for one in found]
    said = text("models.found", n=len(named)) if named else text("models.found_none")
    return {
        "name": gr.Dropdown(choices=named or suggestions(visit), value=named[0][1] if named else None),
        "found": f'<p class="hint" role="status">{esc(said)}</p>',
    }


def _found(visit: Visit, one: Any) -> str:
    text = visit.text
    words = [one.id]
    if one.parameters:
        words.append(count(text, one.parameters))
    words.append(text("models.downloads", n=count(text, one.downloads)))
    if one.gated:
        words.append(text("models.reason.terms"))
    return " · ".join(words)


def use(
    visit: Visit, name: str | None, token: str, shown: Callable[[Visit], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Ask the Hub about a model, refuse what cannot do the task, download it with progress, choose it."""
    text, house = visit.text, visit.house
    if not (name or "").strip():
        raise UserError("model_id_malformed", name="")
    yield {"progress": progress(text("models.asking"), 0.0), "use": gr.Button(interactive=False)}
    known, task = token.strip() or visit.token, choices.task_of(visit)
    with ThreadPoolExecutor(1) as pool:
        try:
            found = fetching.look_up(str(name), house.settings, known, kinds=task.kinds, labels=not task.writes)
            done = [0, max(1, found.bytes)]
            work = pool.submit(fetching.fetch, found, house.settings, known, visit.owner, _note(done))
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
    yield shown(visit) | {"use": gr.Button(interactive=True)}


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
