"""Results: was it worth it, how good is it, where does it go wrong."""

from typing import Any

import gradio as gr

from ui import cards, pictures
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card, shown_run
from ui.sentences import percent
from ui.tabs.shared import heading, top


def build(page: Page) -> Tab:
    """The components of the tab; nothing in it can be changed."""
    text = page.text
    parts = top()
    with gr.Column(visible=False) as details:
        parts["verdict"] = gr.HTML()
        heading(text("results.scores_title"), text("results.scores_help"))
        parts["scores"] = gr.HTML()
        heading(text("results.confusion_title"), text("results.confusion_help"))
        parts["confusion"] = gr.HTML()
        heading(text("results.per_class_title"), text("results.per_class_help"))
        parts["per_class"] = gr.HTML()
        heading(text("results.errors_title"), text("results.errors_help"))
        parts["errors"] = gr.HTML()
    parts["details"] = details
    return Tab(parts, view)


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows."""
    text, run = visit.text, shown_run(visit)
    report = visit.house.runs.report(run.id) if run and run.has_result else None
    shown = card(visit, "results") | {"details": gr.Column(visible=report is not None)}
    if report is None or run is None:
        return shown
    return shown | {
        "verdict": verdict(visit, run.name, report),
        "scores": cards.scores(text, report),
        "confusion": pictures.confusion(text, report["labels"], report["confusion"]),
        "per_class": cards.per_class(text, report),
        "errors": cards.wrong_rows(text, report),
    }


def verdict(visit: Visit, name: str, report: dict[str, Any]) -> str:
    """Accuracy in human units, and whether it was worth it."""
    text, said = visit.text, report["verdict"]
    accuracy = report["metrics"]["accuracy"]
    low, high = report["metrics"]["intervals"]["accuracy"]
    human = text("results.human", n=percent(accuracy), low=percent(low), high=percent(high))
    strongest = said.get("strongest", "majority")
    rows = max(1, said.get("rows", 1))
    theirs = percent(said.get("baseline_right", 0) / rows)
    sentence = text(
        f"verdict.{said['code']}", baseline=text(f"results.baseline.{strongest}"), theirs=theirs, n=percent(accuracy)
    )
    small = report["rows"]["test"]
    note = text("results.small_test", rows=small) if small < 100 else text("results.test_rows", rows=small)
    return (
        f'<section class="verdict {esc(said["code"])}"><p class="figure">{percent(accuracy)} %</p>'
        f"<div><h3>{esc(human)}</h3>"
        f'<p>{esc(sentence)}</p><p class="hint">{esc(name)} · {esc(note)}</p></div></section>'
    )
