"""Keeping a run on the Hub, where this place forgets everything when it restarts: said before, wished, watched, undone.

Where the disk lasts there is nothing of it: no parts, and no values for them.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import gradio as gr

from core.errors import UserError
from core.keeping import returning, sending
from core.keeping.keeper import Status
from core.keeping.layout import Kept
from core.runs.store import RunRecord
from ui.page import Page, Parts, Values, Visit
from ui.pictures import esc
from ui.readiness import going_on, shown_run
from ui.sentences import duration, size
from ui.tabs.model.hub import progress

Shown = Callable[[Visit], Values]


def before(page: Page) -> Parts:
    """What stands beside the button that starts a run: what would be lost, and the wish to have it kept."""
    if page.house.settings.lasting:
        return {}
    said = gr.HTML()
    wish = gr.Checkbox(
        False, label=page.text("keeping.wish"), info=page.text("keeping.wish_help"), visible=False, elem_id="keep"
    )
    return {"keep_said": said, "keep": wish}


def shelf(page: Page) -> Parts:
    """What stands below the list of runs: those that are kept on the Hub."""
    if page.house.settings.lasting:
        return {}
    text = page.text
    with gr.Accordion(text("keeping.title"), open=False, elem_id="kept-runs") as opened:
        gr.Markdown(text("keeping.help"), elem_classes=["hint"])
        with gr.Row(equal_height=True, elem_classes=["runs"]):
            chosen = gr.Dropdown(label=text("keeping.list"), filterable=False, scale=4, elem_id="kept")
            back = gr.Button(text("keeping.bring_back"), variant="primary", scale=1, min_width=130, interactive=False)
            gone = gr.Button(text("keeping.forget"), variant="secondary", scale=1, min_width=130, interactive=False)
        told = gr.HTML()
    return {"kept_opened": opened, "kept": chosen, "kept_back": back, "kept_gone": gone, "kept_told": told}


def wire(page: Page, parts: Parts, shown: Shown) -> None:
    """The events of the parts of `before` and `shelf`.

    Args:
        shown: everything that the tab shows, for when a run came back.
    """
    if "kept" not in parts:
        return

    def back(visit: Visit, run_id: str | None) -> Iterator[Values]:
        yield from bring_back(visit, run_id, shown)

    page.listen(parts["keep"].input, wish, [parts["keep"]], parts)
    page.listen(parts["kept_opened"].expand, look, None, parts, show_progress="minimal", concurrency_limit=4)
    page.listen(parts["kept_back"].click, back, [parts["kept"]], parts, concurrency_limit=4)
    page.listen(parts["kept_gone"].click, forget, [parts["kept"]], parts, show_progress="minimal", concurrency_limit=4)


def poll(visit: Visit, record: RunRecord | None) -> Values:
    """What is said of the shown run, or before the first one."""
    house = visit.house
    if house.settings.lasting:
        return {}
    status = house.keeper.status(record.id) if record else None
    if record and status and visit.token and _needs_token(record, status):
        house.keeper.keep(record.id, visit.owner, visit.token)
        status = house.keeper.status(record.id)
    kept = status is not None and (status.waiting or status.problem in ("", "token_invalid"))
    wished = {"value": kept} if going_on(record) else {}
    return {
        "keep_said": _said(visit, record, status),
        "keep": gr.Checkbox(visible=visit.token is not None, **wished),
    }


def told(visit: Visit, record: RunRecord) -> tuple[str, bool]:
    """What is said of the keeping of a run, and whether `poll` has something to do for it."""
    if visit.house.settings.lasting:
        return "", False
    status = visit.house.keeper.status(record.id)
    needed = status is not None and visit.token is not None and _needs_token(record, status)
    return _said(visit, record, status), needed


def _needs_token(record: RunRecord, status: Status) -> bool:
    """Whether it goes on where there is a newer token: the last one expired, or the run goes on after it had ended."""
    return not status.waiting and (status.problem == "token_invalid" or (not status.problem and going_on(record)))


def _said(visit: Visit, record: RunRecord | None, status: Status | None) -> str:
    """How the keeping of the shown run stands, and what would be lost of one that is not kept or comes next."""
    text, lines = visit.text, []
    if status is not None:
        words = [_problem(visit, status)] if status.problem else []
        words += [_kept(visit, status)] if status.at is not None or not status.problem else []
        kind = "problem" if status.problem and not status.waiting else "hint"
        lines.append(f'<p class="{kind}" aria-live="polite">{esc(" ".join(words))}</p>')
    if status is None or not going_on(record):
        lost = text("keeping.lost") if visit.token else f"{text('keeping.lost')} {text('keeping.sign_in')}"
        lines.append(f'<p class="hint">{esc(lost)}</p>')
    return "".join(lines)


def _problem(visit: Visit, status: Status) -> str:
    text = visit.text
    if status.problem == "token_invalid":
        return text("keeping.sign_in_again")
    if status.problem == "hub_unreachable":
        return text("keeping.trying")
    return text.coded("errors", status.problem, status.facts)


def _kept(visit: Visit, status: Status) -> str:
    text = visit.text
    if status.at is None:
        return text("keeping.first")
    if not status.waiting and not status.problem:
        return text("keeping.done")
    ago = duration(text, time.monotonic() - status.at)
    return text("keeping.kept", time=ago, step=status.step) if status.step else text("keeping.kept_begun", time=ago)


def begin(visit: Visit, record: RunRecord, wanted: bool) -> None:
    """Keep a run that was just started or gone on with, where the person wished so."""
    house = visit.house
    if wanted and visit.token and not house.settings.lasting:
        house.keeper.keep(record.id, visit.owner, visit.token)


def wish(visit: Visit, wanted: bool) -> Values:
    """The wish changed: it holds from now on for a run that is going on, else for the next one."""
    record = shown_run(visit)
    if record and going_on(record):
        if wanted:
            begin(visit, record, wanted)
        else:
            visit.house.keeper.drop(record.id)
        return poll(visit, record)
    return {}


def look(visit: Visit) -> Values:
    """The runs that are kept on the Hub, in the list to choose from."""
    text = visit.text
    if visit.token is None:
        return _listed(visit, []) | {"kept_told": _hint(text("keeping.sign_in"))}
    found = returning.kept(visit.house.settings, visit.token)
    return _listed(visit, found) | {"kept_told": "" if found else _hint(text("keeping.none"))}


def _listed(visit: Visit, found: list[Kept]) -> Values:
    choices = [(_title(visit, one), one.id) for one in found]
    return {
        "kept": gr.Dropdown(choices=choices, value=choices[0][1] if choices else None),
        "kept_back": gr.Button(interactive=bool(choices)),
        "kept_gone": gr.Button(interactive=bool(choices)),
    }


def _title(visit: Visit, one: Kept) -> str:
    text = visit.text
    words = [time.strftime("%Y-%m-%d %H:%M", time.localtime(one.saved)), one.name or one.id[:8]]
    state = one.facts()["state"].lower()
    words.append(text("keeping.at_step", step=one.step) if one.step and not one.has_result else text(f"states.{state}"))
    return " · ".join([*words, size(text, one.bytes)])


def bring_back(visit: Visit, run_id: str | None, shown: Shown) -> Iterator[Values]:
    """Download a kept run with progress, and show it."""
    text, house = visit.text, visit.house
    if not run_id:
        raise UserError("kept_unknown")
    if visit.token is None:
        raise UserError("sign_in_first")
    done = [0, 1]

    def note(so_far: int, whole: int) -> None:
        done[:] = [so_far, max(1, whole)]

    yield {"kept_told": progress(text("keeping.asking"), 0.0), "kept_back": gr.Button(interactive=False)}
    with ThreadPoolExecutor(1) as pool:
        try:
            work = pool.submit(returning.restore, house.settings, house.runs, visit.owner, visit.token, run_id, note)
            while not work.done():
                said = text("keeping.coming", done=size(text, done[0]), all=size(text, done[1]))
                yield {"kept_told": progress(said, done[0] / done[1])}
                time.sleep(0.4)
            record = work.result()
        except UserError as error:
            words = f'<p class="problem" role="alert"><b>!</b> {esc(text.error(error))}</p>'
            yield {"kept_told": words, "kept_back": gr.Button(interactive=True)}
            return
    visit.change(run=record.id)
    if house.runs.can_go_on(record):
        begin(visit, record, True)
    key = "keeping.back_can_go_on" if house.runs.can_go_on(record) else "keeping.back"
    yield {**shown(visit), "kept_told": _hint(text(key)), "kept_back": gr.Button(interactive=True)}


def forget(visit: Visit, run_id: str | None) -> Values:
    """Delete a run on the Hub. What is of it here stays."""
    if not run_id:
        raise UserError("kept_unknown")
    if visit.token is None:
        raise UserError("sign_in_first")
    visit.house.keeper.drop(run_id)
    sending.forget(visit.house.settings, run_id, visit.token)
    return look(visit) | {"kept_told": _hint(visit.text("keeping.forgotten"))}


def deleted(visit: Visit, run_id: str) -> None:
    """A run was deleted here: it is deleted on the Hub too. Where the Hub does not answer, the list still shows it."""
    house = visit.house
    if house.settings.lasting or house.keeper.status(run_id) is None:
        return
    house.keeper.drop(run_id)
    if visit.token:
        with suppress(UserError):
            sending.forget(house.settings, run_id, visit.token)


def _hint(words: str) -> str:
    return f'<p class="hint" role="status">{esc(words)}</p>'
