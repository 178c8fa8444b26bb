"""Models that write, on the page: their settings, their results, and asking them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.data.options import ReadOptions
from core.data.store import TableStore
from core.runs.store import EventWriter, RunStore
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, build
from tests import tiny
from tests.browser.conftest import App, go, overflow

pytestmark = [pytest.mark.browser, pytest.mark.real]
Open = Callable[..., Page]
WORDS = {
    "en": {"said": "You say", "send": "Send", "clear": "New conversation", "go_on": "Go on writing"},
    "zh-CN": {"said": "你说", "send": "发送", "clear": "新对话", "go_on": "接着写"},
}


def trained(home: Path, task: str) -> None:
    """A finished run of a tiny model, put into the page's home."""
    from core.training.loop import Signals
    from core.training.run import train

    settings, runs = Settings(home=home, limits=Limits(free_disk=0)), RunStore(home)
    path = home / "rows.jsonl"
    texts = [text for text, _ in tiny.rows(60)]
    if task == "chat":
        rows = [{"prompt": text, "answer": "sun is warm"} for text in texts]
        columns = {"prompt": "prompt", "answer": "answer"}
    else:
        rows, columns = [{"text": f"{text} the sun is warm"} for text in texts], {"text": "text"}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    table = TableStore(settings).add(path, "local", "rows.jsonl", ReadOptions(single_column=True))
    model = tiny.language_model(home / "tiny")
    chosen = {"epochs": 8, "learning_rate": 5e-3, "batch_size": 8, "max_new_tokens": 16, "max_length": 64}
    spec = build(
        task=task,
        data=DataChoice(table=table.id, columns=columns, name="rows.jsonl"),
        model=ModelChoice(source="directory", name=str(model)),
        **chosen,
    )
    record = runs.create(spec, "local", f"{task} · tiny")
    runs.transition(record.id, ("QUEUED",), "STARTING", 0)
    runs.transition(record.id, ("STARTING",), "RUNNING", 1)
    writer = EventWriter(runs.folder(record.id), 1)
    signals = Signals(stop=lambda: False, interrupted=lambda: False)
    report = train(spec, "local", runs.folder(record.id), settings, runs, writer.write, signals)
    headline = {name: float(report["metrics"][name]) for name in report["headline"]}
    runs.transition(record.id, ("RUNNING",), "FINISHED", 1, has_result=True, headline=headline)


@pytest.mark.parametrize(("language", "width"), [("en", 1280), ("zh-CN", 390)])
def test_a_conversation_is_held_and_hostile_words_stay_words(app: App, window: Open, language: str, width: int) -> None:
    trained(app.home, "chat")
    words = WORDS[language]
    page = window("/", width=width, language=language)
    go(page, "results")
    expect(page.locator(".verdict .figure")).to_be_visible()
    expect(page.locator(".sheet.stacked tbody tr").first).to_be_visible()
    expect(page.locator(".confusion:visible")).to_have_count(0)

    go(page, "tryit")
    asked = "sun <img src=x onerror=alert(1)> warm"
    page.get_by_label(words["said"], exact=True).fill(asked)
    page.get_by_role("button", name=words["send"], exact=True).click()
    expect(page.locator("#chat .user .message-content, #chat .user").first).to_contain_text(asked)
    answer = page.locator("#chat .bot").first
    expect(answer).to_contain_text(re.compile("sun|warm|is"), timeout=120_000)
    page.get_by_label(words["said"], exact=True).fill("again")
    page.get_by_role("button", name=words["send"], exact=True).click()
    expect(page.locator("#chat .bot .message-content, #chat .bot.message")).not_to_have_count(0)
    assert page.locator("#chat img[src=x]").count() == 0
    assert overflow(page) <= 0
    page.get_by_role("button", name=words["clear"], exact=True).click()
    expect(page.locator("#chat")).not_to_contain_text("again")


def test_a_text_is_gone_on_with(app: App, window: Open) -> None:
    trained(app.home, "text_generation")
    page = window("/")
    go(page, "tryit")
    page.locator("textarea:visible").first.fill("rain the sun")
    page.get_by_role("button", name=WORDS["en"]["go_on"]).click()
    expect(page.locator(".written .begun")).to_have_text("rain the sun", timeout=120_000)
    expect(page.locator(".written")).to_contain_text("is warm")


def test_how_much_is_changed_is_told_before_the_start(app: App, window: Open) -> None:
    page = window("/")
    page.locator("#sample input").click()
    page.get_by_role("option").nth(1).click()  # several labels
    page.get_by_role("button", name="Try the sample").click()
    page.locator(".ready.done:visible").wait_for()
    go(page, "model")
    page.locator("#method input[value=full]").check()
    page.get_by_role("button", name="Finer settings of this way").click()
    shares = []
    for method in ("full", "lora", "head"):
        page.locator(f"#method input[value={method}]").check()
        box = page.locator(".method:visible").first
        expect(box).to_contain_text("Changes")
        expect(page.locator("#knob-lora_rank:visible")).to_have_count(1 if method == "lora" else 0)
        page.wait_for_timeout(1500)
        shares.append(box.inner_text())
    assert len(set(shares)) == 3
    go(page, "hyperparameters")
    expect(page.locator("#knob-epochs")).to_be_visible()
    expect(page.locator("#knob-max_target_length")).to_have_count(0)


# The second box is ticked while the answer to the first one is still on its way.
ONE_AFTER_THE_OTHER = """async (boxes) => {
    for (const box of boxes) { box.click(); await new Promise((go) => setTimeout(go, 10)); }
}"""

BACK_AND_TICK = """() => {
    document.querySelector('[role=tab][data-tab-id=history]').click();
    for (const i of [0, 0]) document.querySelectorAll('#history-runs input[type=checkbox]')[i].click();
}"""


@pytest.mark.parametrize(("language", "width"), [("en", 1280), ("zh-CN", 390)])
def test_runs_are_compared_named_saved_and_deleted(app: App, window: Open, language: str, width: int) -> None:
    english = language == "en"
    save, delete, yes = (
        ("Save name and note", "Delete it", "Yes, delete") if english else ("保存名称和备注", "删除", "是的，删除")
    )
    for _ in range(2):
        trained(app.home, "text_generation")
    page = window("/", width=width, language=language)
    go(page, "history")
    boxes = page.locator("#history-runs input[type=checkbox]")
    expect(boxes).to_have_count(2)
    boxes.evaluate_all(ONE_AFTER_THE_OTHER)
    expect(page.locator("figure.curves svg").first).to_be_visible()
    # What the tab shows when it is opened again comes after a box is unticked and ticked: what is ticked is compared.
    go(page, "model")
    page.evaluate(BACK_AND_TICK)
    page.wait_for_timeout(2000)
    expect(boxes.and_(page.locator(":checked"))).to_have_count(2)
    expect(page.locator("figure.curves svg").first).to_be_visible()
    assert overflow(page) <= 0
    page.locator("#run-name input, #run-name textarea").fill("<b>mine</b>")
    page.get_by_role("button", name=save, exact=True).click()
    expect(page.locator("#history-runs")).to_contain_text("<b>mine</b>")
    with page.expect_download() as saved:
        page.locator("a.download.quiet").click()
    assert saved.value.path().stat().st_size > 10_000
    page.get_by_role("button", name=delete, exact=True).click()
    page.get_by_role("button", name=re.compile(yes)).click()
    expect(boxes).to_have_count(1)
    assert len(list((app.home / "runs").glob("*/run.json"))) == 1
