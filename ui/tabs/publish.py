"""Publish: take the model home as a zip, or put it on the Hub under one's own name."""

import re
from typing import Any

import gradio as gr

from core.errors import UserError
from core.publishing import adapter, card_text, card_use, hub
from core.runs.store import RunRecord
from core.tasks.base import Task, find
from ui import guard
from ui.page import Page, Tab, Visit
from ui.pictures import esc
from ui.readiness import card, shown_run
from ui.tabs.shared import heading, top


def build(page: Page) -> Tab:
    """The components of the tab and their wiring."""
    text, on_space = page.text, page.house.settings.on_space
    parts = top()
    with gr.Column(visible=False) as details:
        heading(text("publish.zip_title"))
        parts["zip_help"] = gr.Markdown(elem_classes=["hint"])
        parts["zip"] = gr.HTML()
        parts["adapter"] = gr.HTML()
        heading(text("publish.hub_title"), text("publish.hub_help"))
        parts["account"] = gr.HTML()
        with gr.Row(equal_height=False):
            parts["repo"] = gr.Textbox(
                label=text("publish.repo"), info=text("publish.repo_help"), max_length=200, min_width=280
            )
            if not on_space:
                parts["token"] = gr.Textbox(
                    label=text("publish.token"),
                    info=text("publish.token_help"),
                    type="password",
                    max_length=200,
                    min_width=280,
                )
        parts["private"] = gr.Checkbox(True, label=text("publish.private"), info=text("publish.private_help"))
        parts["push"] = gr.Button(text("publish.push"), variant="primary")
        parts["link"] = gr.HTML()
    parts["details"] = details
    given = [parts["repo"], parts["private"], *([parts["token"]] if "token" in parts else [])]
    page.listen(parts["push"].click, push, given, {"link": parts["link"]}, show_progress="minimal", concurrency_limit=4)
    return Tab(parts, view)


def view(visit: Visit) -> dict[str, Any]:
    """Everything the tab shows."""
    text, run = visit.text, shown_run(visit)
    has_model = run is not None and run.has_result
    shown = card(visit, "publish") | {"details": gr.Column(visible=has_model)}
    if not has_model or run is None:
        return shown
    allowed = guard.signed_in(visit.owner)
    used = card_text.used_of(visit.house.runs.report(run.id) or {})
    return shown | {
        "zip_help": text("publish.zip_help", name=card_use.auto_class(find(run.task), used)),
        "zip": _link(f"download/{run.id}/model.zip", text("publish.zip")),
        "adapter": _adapter(visit, run),
        "account": _account(visit),
        "repo": suggested_name(run.name, find(run.task)),
        "push": gr.Button(interactive=allowed),
        "link": "",
    }


def _link(address: str, words: str) -> str:
    return f'<a class="download" href="{esc(address)}" download>{esc(words)}</a>'


def _adapter(visit: Visit, run: RunRecord) -> str:
    """The adapter alone where one was kept: what it is for, and where it is."""
    text, runs = visit.text, visit.house.runs
    if adapter.folder_of(runs, run.id) is None:
        return ""
    if not adapter.fits_base(runs.spec(run.id)):
        return f'<p class="hint">{esc(text("publish.adapter_tied"))}</p>'
    link = _link(f"download/{run.id}/adapter.zip", text("publish.adapter"))
    return f'<p class="hint">{esc(text("publish.adapter_help"))}</p>{link}'


def suggested_name(name: str, task: Task) -> str:
    """A repository name from a run's name: the table's, with letters that the Hub takes, and what the model is."""
    words = re.sub(r"[^a-z0-9]+", "-", name.split(" · ")[0].lower()).strip("-")
    kind = task.id.replace("_", "-") if task.writes else "classifier"
    return f"{words[:60].strip('-') or 'my'}-{kind}"


def push(visit: Visit, repo: str, private: bool, token: str = "") -> dict[str, Any]:
    """Put the model on the Hub and say where it is. The token lives as long as this call."""
    run, house = shown_run(visit), visit.house
    if run is None:
        raise UserError("nothing_to_try")
    if not guard.signed_in(visit.owner):
        raise UserError("sign_in_first")
    found = token.strip() or (visit.token if house.settings.on_space else own_token())
    if not found:
        raise UserError("sign_in_first" if house.settings.on_space else "token_missing")
    record = house.runs.get(run.id, visit.owner)
    address = hub.push(
        house.runs, record.id, visit.owner, repo=repo, token=found, settings=house.settings, private=private
    )
    words = visit.text("publish.done_private" if private else "publish.done_public")
    link = f'<a href="{esc(address)}" target="_blank" rel="noopener">{esc(address)}</a>'
    return {"link": f'<p class="done"><b>✓</b> {esc(words)} {link}</p>'}


def own_token() -> str | None:
    """The token of the Hub login on this computer. Never asked for on a Space, where it would be the Space's own."""
    from huggingface_hub import get_token

    return get_token()


def _account(visit: Visit) -> str:
    text = visit.text
    if visit.house.settings.on_space:
        key = "publish.signed_in" if guard.signed_in(visit.owner) else "publish.sign_in"
    else:
        key = "publish.login_found" if own_token() else "publish.login_missing"
    return f'<p class="hint">{esc(text(key))}</p>'
