"""A public data set of the Hugging Face Hub: looked up by name, its part chosen from lists, read like an upload."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.data import hub_sets
from core.data.hub_sets import HubSet
from core.errors import UserError
from ui.page import Page, Visit
from ui.pictures import esc
from ui.sentences import size
from ui.tabs.data.handing_in import chosen, problem


def build(page: Page) -> dict[str, Any]:
    """The components."""
    text, parts = page.text, {}
    with gr.Accordion(text("data.hub_title"), open=False, elem_id="hub-set"):
        gr.Markdown(text("data.hub_help"))
        parts["set_name"] = gr.Textbox(
            label=text("data.hub_name"), info=text("data.hub_name_help"), max_length=300, elem_id="set-name"
        )
        parts["_look_up"] = gr.Button(text("data.hub_look_up"), size="sm", elem_id="set-look-up")
        parts["set_facts"] = gr.HTML()
        with gr.Row(visible=False) as choice:
            parts["set_config"] = gr.Dropdown(label=text("data.hub_config"), filterable=False, elem_id="set-config")
            parts["set_split"] = gr.Dropdown(label=text("data.hub_split"), filterable=False, elem_id="set-split")
        parts["set_choice"] = choice
        parts["set_use"] = gr.Button(
            text("data.hub_use"), variant="primary", size="sm", visible=False, elem_id="set-use"
        )
    return parts


def wire(page: Page, parts: dict[str, Any], listen: Callable[..., None]) -> None:
    """The events."""
    told = {name: part for name, part in parts.items() if name.startswith("set_")}
    asked = [parts["_look_up"].click, parts["set_name"].submit]
    page.listen(asked, look_up, [parts["set_name"]], told, show_progress="minimal", concurrency_limit=4)
    page.listen(parts["set_config"].input, choose_config, [parts["set_name"], parts["set_config"]], told)
    names = [parts[name] for name in ("set_name", "set_config", "set_split")]
    listen(parts["set_use"].click, use, names, show_progress="minimal", concurrency_limit=4)


def view(visit: Visit) -> dict[str, Any]:
    """Nothing is kept of an earlier search."""
    return {}


def look_up(visit: Visit, name: str | None) -> dict[str, Any]:
    """Ask the Hub what there is to choose from."""
    try:
        found = hub_sets.look_up(name or "", visit.house.settings, visit.token)
    except UserError as error:
        return _hidden() | {"set_facts": problem(visit, error)}
    return _choice(visit, found, next(iter(found.configs)))


def _hidden() -> dict[str, Any]:
    return {"set_choice": gr.Row(visible=False), "set_use": gr.Button(visible=False)}


def _choice(visit: Visit, found: HubSet, config: str) -> dict[str, Any]:
    text, splits = visit.text, found.configs[config]
    split = "train" if "train" in splits else next(iter(splits))
    offered = [(f"{name} · {size(text, sum(b for _, b in files))}", name) for name, files in splits.items()]
    said = text("data.hub_found", name=found.id, license=found.license or text("data.hub_no_license"))
    return {
        "set_name": found.id,
        "set_facts": f'<p class="said">{esc(said)}</p>',
        "set_choice": gr.Row(visible=True),
        "set_config": gr.Dropdown(choices=list(found.configs), value=config),
        "set_split": gr.Dropdown(choices=offered, value=split),
        "set_use": gr.Button(visible=True),
    }


def choose_config(visit: Visit, name: str, config: str) -> dict[str, Any]:
    """Show the splits of another config."""
    found = hub_sets.look_up(name, visit.house.settings, visit.token)
    return _choice(visit, found, config if config in found.configs else next(iter(found.configs)))


def use(visit: Visit, name: str, config: str, split: str) -> dict[str, Any]:
    """Bring the chosen files and read them as one table."""
    house = visit.house
    try:
        found = hub_sets.look_up(name, house.settings, visit.token)
        left_out = hub_sets.select(found, config, split, house.settings.limits).left_out
        paths = hub_sets.fetch(found, config, split, house.settings, visit.token, visit.owner)
        try:
            chosen(visit, house.tables.add_joined(paths, visit.owner, f"{found.id} {split}"))
        finally:
            hub_sets.remove(paths)
    except UserError as error:
        return {"problem": problem(visit, error)}
    if not left_out:
        return {"set_facts": ""}
    return {"set_facts": f'<p class="said">{esc(visit.text("data.hub_left_out", n=left_out))}</p>'}
