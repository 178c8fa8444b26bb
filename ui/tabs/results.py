"""Results: was it worth it, how good is it, where does it go wrong."""

from typing import Any

import gradio as gr

from ui import cards, pictures
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card, shown_run
from ui.sentences import percent
from ui.tabs.shared import heading, top

# Sections that a report has or has not, as its task gives them a meaning.
SECTIONS = ("confusion", "per_class", "errors", "samples")


def build(page: Page) -> Tab:
    """The components of the tab; nothing in it can be changed."""
    text = page.text
    parts = top()
    with gr.Column(visible=False) as details:
        parts["verdict"] = gr.HTML()
        heading(text("results.scores_title"), text("results.scores_help"))
        parts["scores"] = gr.HTML()
        for name in SECTIONS:
            with gr.Column() as section:
                heading(text(f"results.{name}_title"), text(f"results.{name}_help"))
                parts[name] = gr.HTML()
            parts[f"section_{name}"] = section
        parts["signatures"] = gr.HTML()
    parts["details"] = details
    return Tab(parts, view)


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows."""
    text, run = visit.text, shown_run(visit)
    report = visit.house.runs.report(run.id) if run and run.has_result else None
    shown = card(visit, "results") | {"details": gr.Column(visible=report is not None)}
    if report is None or run is None:
        return shown
    drawn = {
        "confusion": lambda: pictures.confusion(text, report["labels"], report["confusion"]),
        "per_class": lambda: cards.per_class(text, report),
        "errors": lambda: cards.wrong_rows(text, report),
        "samples": lambda: cards.samples(text, report),
    }
    for name in SECTIONS:
        present = report.get(name) is not None
        shown[f"section_{name}"] = gr.Column(visible=present)
        shown[name] = drawn[name]() if present else ""
    return shown | {
        "verdict": verdict(visit, run.name, report),
        "scores": cards.scores(text, report),
        "signatures": signatures(visit, report),
    }


def verdict(visit: Visit, name: str, report: dict[str, Any]) -> str:
    """The main score in human units, and whether it was worth it."""
    text, said, metrics = visit.text, report["verdict"], report["metrics"]
    if "right" in said:
        accuracy = metrics["accuracy"]
        low, high = metrics["intervals"]["accuracy"]
        figure = f"{percent(accuracy)} %"
        human = text("results.human", n=percent(accuracy), low=percent(low), high=percent(high))
        theirs = percent(said["baseline_right"] / max(1, said["rows"]))
        baseline = text(f"results.baseline.{said['strongest']}")
        sentence = text(f"verdict.{said['code']}", baseline=baseline, theirs=theirs, n=percent(accuracy))
    else:
        figure, human, sentence = _main_score(visit, report)
    rows = report["rows"].get("judged", report["rows"]["test"])
    note = text("results.small_test", rows=rows) if rows < 100 else text("results.test_rows", rows=rows)
    return (
        f'<section class="verdict {esc(said["code"])}"><p class="figure">{esc(figure)}</p>'
        f"<div><h3>{esc(human)}</h3>"
        f'<p>{esc(sentence)}</p><p class="hint">{esc(name)} · {esc(note)}</p></div></section>'
    )


def _main_score(visit: Visit, report: dict[str, Any]) -> tuple[str, str, str]:
    text, said, metric = visit.text, report["verdict"], report["main_metric"]
    value = report["metrics"][metric]
    low, high = report["metrics"]["intervals"][metric]
    named = text(f"results.{metric}.name")
    shown, low, high = (cards.figure(metric, v) for v in (value, low, high))
    human = text("results.human_score", metric=named, value=shown, low=low, high=high)
    sentence = text(
        f"verdict_text.{said['code']}",
        metric=named,
        baseline=text(f"results.baseline.{said['strongest']}"),
        ours=cards.figure(metric, said["ours"]),
        theirs=cards.figure(metric, said["theirs"]),
    )
    return shown, human, sentence


def signatures(visit: Visit, report: dict[str, Any]) -> str:
    """How the scores were computed, for who wants to compare them with others'."""
    told = report.get("signatures") or {}
    if not told:
        return ""
    lines = "".join(f"<li>{esc(name)}: <code>{esc(how)}</code></li>" for name, how in told.items())
    return f'<details class="hint"><summary>{esc(visit.text("results.signatures"))}</summary><ul>{lines}</ul></details>'
