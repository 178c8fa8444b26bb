"""Try it: ask the model, in the way that suits what it learned, and see its answer."""

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from core.errors import UserError
from core.runs.store import RunRecord
from core.spec import Writing, knobs, switches, writing_of
from core.tasks.base import Task, find
from ui import pictures, widgets
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card, shown_run
from ui.tabs.shared import heading, top

_LONGEST = 20_000
_MOST_TURNS = 40
WRITING = (*knobs("writing"), *switches("writing"))


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text = page.text
    parts = top()
    with gr.Column(visible=False) as details:
        with gr.Column() as parts["asking"]:
            _asking(page, parts)
        with gr.Column(visible=False) as parts["talking"]:
            _talking(page, parts)
        with gr.Accordion(text("tryit.writing"), open=False, visible=False) as parts["writing"]:
            _writing(page, parts)
        with gr.Column() as parts["showing"]:
            heading(text("tryit.examples_title"), text("tryit.examples_help"))
            parts["examples"] = gr.Dataset(
                components=[gr.Textbox(visible=False)],
                samples=[],
                show_label=False,
                elem_id="examples",
                samples_per_page=8,
            )
    parts["details"] = details
    _wire(page, parts)
    return Tab(parts, view)


def _asking(page: Page, parts: dict[str, Any]) -> None:
    text = page.text
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


def _talking(page: Page, parts: dict[str, Any]) -> None:
    text = page.text
    parts["system"] = gr.Textbox(
        label=text("tryit.chat.system"), info=text("tryit.chat.system_help"), lines=2, max_lines=6, max_length=2000
    )
    # What people and models write is shown as it is (see `turn`): it could bring forms and images from elsewhere along.
    parts["chat"] = gr.Chatbot(
        label=text("tryit.chat.title"),
        show_label=False,
        height=420,
        render_markdown=False,
        buttons=["copy"],
        elem_id="chat",
    )
    parts["said"] = gr.Textbox(
        label=text("tryit.chat.said"), placeholder=text("tryit.chat.placeholder"), lines=2, max_length=_LONGEST
    )
    with gr.Row():
        parts["clear"] = gr.Button(text("tryit.chat.clear"), variant="secondary")
        parts["halt"] = gr.Button(text("tryit.chat.stop"), variant="secondary")
        parts["send"] = gr.Button(text("tryit.chat.send"), variant="primary")


def _writing(page: Page, parts: dict[str, Any]) -> None:
    with gr.Row(elem_classes=["knobs"], equal_height=False):
        for name in WRITING:
            with gr.Column(min_width=260, elem_classes=["knob"]) as parts[f"{name}_box"]:
                if name in switches():
                    parts[name] = widgets.switch(page.text, switches()[name], "tryit")
                    continue
                knob = knobs()[name]
                parts[name] = widgets.component(page.text, knob, "tryit")
                if widgets.positions(knob):
                    readout = gr.HTML(elem_classes=["readout"], elem_id=f"tryit-value-{name}")
                    script = widgets.live_readout(knob)
                    parts[name].change(None, [parts[name]], [readout], js=script, api_visibility="private")
                    parts[f"{name}_readout"] = readout


def _wire(page: Page, parts: dict[str, Any]) -> None:
    sliders = [parts[name] for name in WRITING]
    answered = {"answer": parts["answer"]}
    asked = [parts["words"], *sliders]
    events = [parts["ask"].click, parts["words"].submit]
    page.listen(events, answer, asked, answered, show_progress="minimal", concurrency_limit=4)
    picked = page.listen(
        parts["examples"].click, pick, [parts["examples"]], {"words": parts["words"], "said": parts["said"]}
    )
    page.listen(picked.then, answer_picked, asked, answered, show_progress="minimal", concurrency_limit=4)
    told = {name: parts[name] for name in ("chat", "said")}
    talked = page.listen(
        [parts["send"].click, parts["said"].submit],
        talk,
        [parts["said"], parts["chat"], parts["system"], *sliders],
        told,
        concurrency_limit=4,
    )
    parts["halt"].click(None, cancels=[talked], api_visibility="private")
    page.listen(parts["clear"].click, clear, None, told)


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows."""
    run = shown_run(visit)
    report = visit.house.runs.report(run.id) if run and run.has_result else None
    shown = card(visit, "tryit") | {"details": gr.Column(visible=report is not None)}
    if report is None or run is None:
        return shown
    task, spec = find(run.task), visit.house.runs.spec(run.id)
    kind = task.answers
    suffix = f"_{kind}" if kind in ("text", "continuation") else ""
    examples = [[_words(example)] for example in report["examples"]]
    return (
        shown
        | _sliders(task, writing_of(spec))
        | {
            "asking": gr.Column(visible=kind != "chat"),
            "talking": gr.Column(visible=kind == "chat"),
            "writing": gr.Accordion(visible=task.writes),
            "words": gr.Textbox(label=visit.text(f"tryit.words{suffix}")),
            "ask": visit.text(f"tryit.ask{suffix}"),
            "system": spec.instruction,
            "answer": f'<p class="hint">{esc(visit.text("tryit.waiting"))}</p>',
            "showing": gr.Column(visible=bool(examples)),
            "examples": gr.Dataset(samples=examples),
        }
    )


def _sliders(task: Task, writing: Writing) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in WRITING:
        value = getattr(writing, name)
        shown[f"{name}_box"] = gr.Column(visible=name in task.uses)
        shown[name] = value if name in switches() else widgets.to_widget(knobs()[name], value)
        if name in knobs() and widgets.positions(knobs()[name]):
            shown[f"{name}_readout"] = f"<output>{value}</output>"
    return shown


def _words(example: Any) -> str:
    """An example as one text: of a conversation, its last turn."""
    return example if isinstance(example, str) else str(example[-1]["content"])


def chosen_writing(values: tuple[Any, ...]) -> Writing:
    """How the sliders say that answers are to be written.

    Raises:
        UserError: `knob_not_a_number`.
    """
    chosen: dict[str, Any] = {}
    for name, shown in zip(WRITING, values, strict=True):
        value = str(shown or "")[:100] if name in switches() else widgets.from_widget(knobs()[name], shown)
        if value is not None:
            chosen[name] = value
    return Writing(**chosen)


def warm(visit: Visit) -> dict[str, Any]:
    """Load the model while the person reads, so that the first answer is quick. Trouble is told when they ask."""
    run = shown_run(visit)
    if run and run.has_result:
        try:
            visit.house.predictors.warm(visit.house.runs.model_folder(run.id), run.task)
        except UserError:
            return {}
    return {}


def pick(visit: Visit, example: list[str]) -> dict[str, Any]:
    """An example was clicked."""
    return {"words": example[0], "said": example[0]}


def _tried(visit: Visit) -> tuple[RunRecord, Task]:
    run = shown_run(visit)
    if run is None:
        raise UserError("nothing_to_try")
    record = visit.house.runs.get(run.id, visit.owner)
    return record, find(record.task)


def answer_picked(visit: Visit, words: str, *values: Any) -> Iterator[dict[str, Any]]:
    """The answer to an example; in a conversation the person sends it."""
    if _tried(visit)[1].answers != "chat":
        yield from answer(visit, words, *values)


def answer(visit: Visit, words: str, *values: Any) -> Iterator[dict[str, Any]]:
    """The model's answer: bars of probabilities, or words as they are written."""
    record, task = _tried(visit)
    folder, predictors = visit.house.runs.model_folder(record.id), visit.house.predictors
    asked = task.question(words[:_LONGEST])
    if not task.writes:
        found = predictors.predict(folder, [asked], record.task)[0]
        bars = list(found.probabilities)
        if task.answers == "labels":
            yield {"answer": pictures.several(visit.text, found.labels, bars)}
        else:
            yield {"answer": pictures.probabilities(visit.text, bars)}
        return
    begun = words if task.answers == "continuation" else ""
    written = ""
    for piece in predictors.stream(folder, asked, record.task, chosen_writing(values)):
        written += piece
        yield {"answer": pictures.written(begun, written)}
    if not written.strip():
        yield {"answer": f'<p class="hint">{esc(visit.text("tryit.nothing_written"))}</p>'}


def talk(visit: Visit, said: str, history: list[Any], system: str, *values: Any) -> Iterator[dict[str, Any]]:
    """The next turn of a conversation, as it is written."""
    record, task = _tried(visit)
    if not (said or "").strip():
        raise UserError("text_empty")
    before = [{"role": str(turn["role"]), "content": flat(turn["content"])} for turn in (history or [])][-_MOST_TURNS:]
    asked = task.question(said[:_LONGEST], system=(system or "").strip(), before=before)
    shown = [turn(one["role"], one["content"]) for one in [*before, {"role": "user", "content": said[:_LONGEST]}]]
    yield {"chat": shown, "said": ""}
    written = ""
    folder = visit.house.runs.model_folder(record.id)
    for piece in visit.house.predictors.stream(folder, asked, record.task, chosen_writing(values)):
        written += piece
        yield {"chat": [*shown, turn("assistant", written)]}
    if not written.strip():
        yield {"chat": [*shown, turn("assistant", visit.text("tryit.nothing_written"))]}


def turn(role: str, words: str) -> dict[str, str]:
    """A turn as gradio shows it: its chat renders what looks like HTML, also with Markdown off."""
    return {"role": role, "content": html.escape(words, quote=False)}


def flat(content: Any) -> str:
    """The words of a turn that was shown: gradio hands its content back as a list of parts."""
    parts = [content] if isinstance(content, str) else content or []
    words = "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
    return html.unescape(words)


def clear(visit: Visit) -> dict[str, Any]:
    """Begin a new conversation."""
    return {"chat": [], "said": ""}
