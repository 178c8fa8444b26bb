"""What a training would take, said before it starts: measured in a process of its own when a person asks for it.

An answer is kept as long as the page runs and for the very same choices: who comes back to them need not wait again.
"""

import math
from collections.abc import Iterator
from typing import Any

import gradio as gr

from core.errors import UserError
from core.estimating.asking import MOST_SECONDS, Estimate, estimate
from core.spec import TrainSpec
from ui import choices, sentences
from ui.page import Page, Visit
from ui.pictures import esc
from ui.readiness import going_on, shown_run
from ui.text import Text

# Measurements that are made or wait for their turn, of all visitors: each takes a place among the page's threads.
_AT_ONCE = 3


def build(page: Page) -> dict[str, Any]:
    """The button, and where the answer is shown."""
    with gr.Row(elem_classes=["buttons"]):
        button = gr.Button(page.text("estimate.ask"), interactive=False)
    return {"ask": button, "estimate": gr.HTML(elem_classes=["estimate"])}


def wire(page: Page, parts: dict[str, Any]) -> None:
    """Asking takes up to a minute, during which the page does everything else."""
    own = {name: parts[name] for name in ("ask", "estimate")}
    page.listen(parts["ask"].click, ask, None, own, concurrency_limit=_AT_ONCE, concurrency_id="estimate")


def poll(visit: Visit, *, ready: bool) -> dict[str, Any]:
    """The button before a start, and what is known for the choices as they are."""
    active = going_on(shown_run(visit))
    found = _known(visit) if ready and not active else None
    return {
        "ask": gr.Button(interactive=ready, visible=not active),
        "estimate": gr.HTML(said(visit, found) if found else "", visible=not active),
    }


def ask(visit: Visit) -> Iterator[dict[str, Any]]:
    """Measure, unless it is known, and say what was found or why there is nothing to say."""
    waiting = visit.text("estimate.waiting", seconds=round(MOST_SECONDS))
    yield {
        "ask": gr.Button(interactive=False),
        "estimate": gr.HTML(f'<p class="said" aria-live="polite">{esc(waiting)}</p>'),
    }
    try:
        spec = choices.train_spec(visit)
        found = visit.house.memory.once(_key(visit, spec), lambda: _measured(visit, spec))
        words = said(visit, found)
    except UserError as error:
        words = f'<p class="problem" role="alert">{esc(visit.text.error(error))}</p>'
    if going_on(shown_run(visit)):
        words = ""  # it has been started meanwhile, and now says by itself how long it takes
    yield {"ask": gr.Button(interactive=True), "estimate": gr.HTML(words)}


def _measured(visit: Visit, spec: TrainSpec) -> Estimate:
    """What is worth being kept: where not even a step was made, another attempt may do better."""
    found = estimate(spec, visit.owner, visit.house.settings, visit.house.runs)
    if found.seconds is None:
        raise UserError("estimate_out_of_time", seconds=round(MOST_SECONDS))
    return found


def _key(visit: Visit, spec: TrainSpec) -> tuple[str, str, str]:
    return "estimate", visit.owner, spec.model_dump_json()


def _known(visit: Visit) -> Estimate | None:
    try:
        key = _key(visit, choices.train_spec(visit))
        if visit.house.memory.knows(key):
            found: Estimate = visit.house.memory.once(key, _forgotten)
            return found
    except UserError:
        pass  # what is missing is said on the card on top
    return None


def _forgotten() -> Estimate:
    raise UserError("estimate_failed")


def said(visit: Visit, found: Estimate) -> str:
    """The estimate in plain words."""
    text = visit.text
    first = text("estimate.at_least" if found.at_least else "estimate.takes", time=_time(text, found))
    needs = [
        text(f"estimate.{name}", size=sentences.size(text, amount))
        for name, amount in (("memory", found.memory_bytes), ("disk", found.disk_bytes))
        if amount
    ]
    how = " ".join(_how(visit, found))
    return f'<p class="said">{esc(" ".join([first, *needs]))}</p>' + (f'<p class="hint">{esc(how)}</p>' if how else "")


def _time(text: Text, found: Estimate) -> str:
    assert found.seconds is not None
    if found.range is None:
        return sentences.duration(text, found.seconds)
    unit = 1 if found.seconds < 60 else 60
    if found.seconds >= 3600:
        low, high = (sentences.duration(text, seconds) for seconds in found.range)
    else:
        low, high = f"{max(1, int(found.range[0] / unit))}", f"{math.ceil(found.range[1] / unit)}"
    return text("estimate.range", time=sentences.duration(text, found.seconds), low=low, high=high)


def _how(visit: Visit, found: Estimate) -> list[str]:
    """How it was measured, what takes most of the time, and whether that is more than a training may take here."""
    text, told = visit.text, []
    if found.measured:
        told.append(text("estimate.steps" if found.steps else "estimate.texts", n=found.measured))
    whole = sum(found.parts.values())
    if found.seconds and whole and not found.at_least:
        part = max(found.parts, key=lambda name: found.parts[name])
        share = sentences.percent(found.parts[part] / whole)
        told.append(text("estimate.most", share=share, part=text(f"estimate.part.{part}")))
    limit = visit.house.settings.limits.run_seconds
    if limit and found.seconds and found.seconds > limit:
        told.append(text("estimate.over_limit", hours=limit / 3600))
    return told
