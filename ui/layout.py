"""The page: eight tabs in order, once in each language, and how it is served."""

from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ui import calls, downloads, guard, health, progressing, readiness, sessions, uploads
from ui.firstwords import FirstWords
from ui.page import House, Page, Tab, Visit
from ui.pictures import esc
from ui.tabs import data, history, hyperparameters, model, publish, results, training, tryit
from ui.text import LANGUAGES, PATHS, Text

TABS = {
    "data": data,
    "model": model,
    "hyperparameters": hyperparameters,
    "training": training,
    "results": results,
    "tryit": tryit,
    "publish": publish,
    "history": history,
}
_FOLDER = Path(__file__).parent
_FONTS = [
    "ui-sans-serif",
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "PingFang SC",
    "Noto Sans SC",
    "Microsoft YaHei",
    "sans-serif",
]

# Seconds between two looks for a call that waits, and for progress to be told. gradio's own, but on Windows, are a
# thousandth and a hundredth: that took a fourteenth of a core for as long as the page was served.
_BETWEEN_LOOKS, _BETWEEN_TELLINGS = 0.02, 0.1

# gradio says that the first tab was selected also when a page was just loaded or found its server again: only what
# follows a touch of the person (noted by the script of `firstwords`) is remembered.
_TOUCHED = "() => [Date.now() - (window.lastTouch || 0) < 5000]"


def blocks(house: House) -> gr.Blocks:
    """The whole page: English at `/`, Chinese at `/zh`."""
    # Whatever gradio keeps of an upload that never became a table is removed within a day.
    with gr.Blocks(title="Tuning Fork", delete_cache=(3600, 86400), analytics_enabled=False) as page:
        build(page, Page(house, Text("en")))
    with page.route(LANGUAGES["zh-CN"], PATHS["zh-CN"], show_in_navbar=False):
        build(page, Page(house, Text("zh-CN")))
    page.queue(max_size=200, default_concurrency_limit=8, api_open=False)
    return page


def build(root: gr.Blocks, page: Page) -> None:
    """The page in one language."""
    text = page.text
    gr.Navbar(visible=False)
    with gr.Row(elem_classes=["masthead"], equal_height=True):
        gr.HTML(masthead(text), scale=5)
        if page.house.settings.on_space:
            gr.LoginButton(
                text("page.sign_in"), logout_value=text("page.sign_out"), icon=None, size="sm", scale=0, min_width=220
            )
    built: dict[str, Tab] = {}
    items: dict[str, Any] = {}
    touched = gr.Checkbox(visible=False)
    with gr.Tabs(selected="data", overflow_behavior="wrap", elem_classes=["tabs-main"]) as tabs:
        for name, module in TABS.items():
            with gr.Tab(text(f"tabs.{name}"), id=name, elem_classes=["tab-body"]) as items[name]:
                built[name] = module.build(page)
    for name, tab in built.items():
        opened = page.listen(items[name].select, _opened(name, tab), [touched], tab.parts, js=_TOUCHED)
        page.listen(tab.parts["next"].click, _leads(name), None, {"tabs": tabs})
        if name == "data":
            data.finish(page, opened, tab.parts)
        if name == "model":
            page.listen(opened.then, model.finish, None, {"offline": tab.parts["offline"]})
        if name == "tryit":
            page.listen(opened.then, tryit.warm, None, {}, concurrency_limit=4)
    page.listen(root.load, built["training"].view, None, built["training"].parts)
    loaded = page.listen(
        root.load, _restored, None, {"tabs": tabs, **{f"data {k}": v for k, v in built["data"].parts.items()}}
    )
    data.finish(page, loaded, built["data"].parts)


def _opened(name: str, tab: Tab) -> Any:
    def opened(visit: Visit, touched: bool) -> Any:
        if touched:
            visit.change(tab=name)
        return tab.view(visit)

    return opened


def _leads(name: str) -> Any:
    def leads(visit: Visit) -> dict[str, Any]:
        return {"tabs": gr.Tabs(selected=readiness.target(visit, name))}

    return leads


def _restored(visit: Visit) -> dict[str, Any]:
    """The tab that was open last, and the data with which the page begins."""
    chosen = visit.draft.tab
    shown = {f"data {name}": value for name, value in data.view(visit).items()}
    if chosen not in TABS or chosen == "data":
        return shown  # already open; and who has clicked another tab meanwhile is not thrown back
    return {"tabs": gr.Tabs(selected=chosen), **shown}


def masthead(text: Text) -> str:
    """Name, purpose, and the switch to the other language."""
    links = "".join(
        f'<a href="{PATHS[language]}?lang={language}" lang="{language}" target="_self"'
        f"{' aria-current=true' if language == text.language else ''}>{esc(name)}</a>"
        for language, name in LANGUAGES.items()
    )
    fork = (
        '<svg viewBox="0 0 24 24" width="34" height="34" aria-hidden="true" fill="none" stroke="currentColor" '
        'stroke-width="2.2" stroke-linecap="round"><path d="M8 2.5v8a4 4 0 0 0 8 0v-8M12 14.5v7"/></svg>'
    )
    return (
        f'<header class="brand">{fork}<div><h1>Tuning Fork</h1><p>{esc(text("page.purpose"))}</p></div>'
        f'<nav class="languages" aria-label="{esc(text("page.language"))}">{links}</nav></header>'
    )


def theme() -> gr.themes.Base:
    """Calm colours, the system's own fonts: nothing is fetched from anywhere."""
    return gr.themes.Soft(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="md", font=_FONTS,
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        slider_color="*primary_600",
        link_text_color="*primary_700",
    )  # fmt: skip


def launch(page: gr.Blocks, house: House) -> Any:
    """Serve the page, with everything closed that it does not need: (app, address here, shared address)."""
    settings = house.settings
    routes = [*downloads.routes(house), *history.routes(house), *health.routes(house), *progressing.routes(house)]
    page._queue.sleep_when_free, page._queue.progress_update_sleep_when_free = _BETWEEN_LOOKS, _BETWEEN_TELLINGS
    guarded = Middleware(guard.Guard, settings=settings, line=calls.Line(page._queue))
    uploads.keep_apart()
    served = page.launch(
        server_name=settings.host,
        server_port=settings.port,
        inbrowser=settings.open_browser,
        theme=theme(),
        css=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        app_kwargs={
            "middleware": [guarded, Middleware(FirstWords)],
            "routes": routes,
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
        max_file_size=settings.limits.file_bytes,
        allowed_paths=[],
        blocked_paths=[str(settings.home)],
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        show_error=False,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    sessions.lighten(served[0], page)
    return served
