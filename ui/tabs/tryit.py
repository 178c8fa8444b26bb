"""Try it: write a text, see the answer and how sure the model is."""

from typing import Any

import gradio as gr

from core.errors import UserError
from ui import pictures
from ui.page import Page, Tab, Visit
from ui.readiness import card, shown_run
from ui.tabs.shared import heading, top

_LONGEST = 20_000


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text = page.text
    parts = top()
    with gr.Column(visible=False) as details:
        with gr.Row(equal_height=False, elem_classes=["halves"]):
            with gr.Column(min_width=300):
                parts["words"] = gr.Textbox(
                    label=text("tryit.words"),
                    placeholder=text("tryit.placeholder"),
                    lines=5,
                    max_lines=12,
                    max_length=_LONGEST,
                )
                parts["ask"] = gr.Button(text("tryit.ask"), variant="primary")
            with gr.Column(min_width=300):
                parts["answer"] = gr.HTML(min_height=180)
        heading(text("tryit.examples_title"), text("tryit.examples_help"))
        parts["examples"] = gr.Dataset(
            components=[gr.Textbox(visible=False)], samples=[], show_label=False, elem_id="examples", samples_per_page=8
        )
    parts["details"] = details
    answered = {"answer": parts["answer"]}
    page.listen(
        [parts["ask"].click, parts["words"].submit], answer, [parts["words"]], answered, show_progress="minimal"
    )
    picked = page.listen(parts["examples"].click, pick, [parts["examples"]], {"words": parts["words"]})
    page.listen(picked.then, answer, [parts["words"]], answered, show_progress="minimal")
    return Tab(parts, view)


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows."""
    run = shown_run(visit)
    report = visit.house.runs.report(run.id) if run and run.has_result else None
    shown = card(visit, "tryit") | {"details": gr.Column(visible=report is not None)}
    if report is None:
        return shown
    waiting = f'<p class="hint">{pictures.esc(visit.text("tryit.waiting"))}</p>'
    return shown | {"answer": waiting, "examples": gr.Dataset(samples=[[example] for example in report["examples"]])}


def warm(visit: Visit) -> dict[str, Any]:
    """Load the model while the person reads, so that the first answer is quick. Trouble is told when they ask."""
    run = shown_run(visit)
    if run and run.has_result:
        try:
            visit.house.predictors.warm(visit.house.runs.model_folder(run.id))
        except UserError:
            return {}
    return {}


def pick(visit: Visit, example: list[str]) -> dict[str, Any]:
    """An example was clicked."""
    return {"words": example[0]}


def answer(visit: Visit, words: str) -> dict[str, Any]:
    """The model's answer with its probabilities."""
    run = shown_run(visit)
    if run is None:
        raise UserError("nothing_to_try")
    folder = visit.house.runs.model_folder(visit.house.runs.get(run.id, visit.owner).id)
    found = visit.house.predictors.predict(folder, [words[:_LONGEST]])[0]
    return {"answer": pictures.probabilities(visit.text, [(label, p) for label, p in found.probabilities])}
