"""From a spreadsheet to an answer, as a person does it."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import LABELS, TABS, App, go, overflow, rests

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
WORDS = {
    "en": {
        "next": "Next: choose a model", "start": "Start training", "stop": "Stop and keep the best so far",
        "results": "See the results", "ask": "What does the model say?", "text": "Your text",
        "zip": "Download the model (zip)",
        "right": r"About \d+ of 100 right", "wrong_file": "no table can be read", "sample": "Try the sample",
    },
    "zh-CN": {
        "next": "下一步：选择模型", "start": "开始训练", "stop": "停止并保留目前最好的", "results": "查看结果",
        "ask": "看看模型怎么说", "text": "你的文本", "zip": "下载模型（zip）", "right": r"100 条中大约答对 \d+ 条",
        "wrong_file": "表格", "sample": "使用示例数据",
    },
}  # fmt: skip
MINUTES = 60_000


def hand_in(page: Page, path: Path) -> None:
    page.locator("#data-file input[type=file]").set_input_files(path)


def passes(page: Page, count: int) -> None:
    """So many over the rows, on the tab of the hyperparameters."""
    epochs = page.locator("#knob-epochs input[type=number]")
    epochs.fill(str(count))
    epochs.blur()
    expect(page.locator(".why .own:visible")).to_have_count(1)


def smallest_settings(page: Page) -> None:
    """All of the model, one pass, short texts: a training of seconds."""
    go(page, "model")
    page.locator("#method input[value=full]").check()
    expect(page.locator(".why .own:visible")).to_have_count(1)
    go(page, "hyperparameters")
    passes(page, 1)
    length = page.locator("#knob-max_length input[type=range]")
    length.focus()
    length.press("Home")
    expect(page.locator("#value-max_length output")).to_have_text("32")


@pytest.mark.real
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("started_anew")
@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_from_upload_to_prediction_and_download(
    app: App, window: Open, spreadsheet: Path, tmp_path: Path, language: str
) -> None:
    words = WORDS[language]
    page = window("/", language=language)
    assert page.evaluate("document.documentElement.lang") == language

    hand_in(page, spreadsheet)
    expect(page.get_by_role("button", name=words["next"])).to_be_visible()
    expect(page.locator(".bars .bar").first).to_be_visible()
    expect(page.locator("svg.histogram")).to_be_visible()
    page.get_by_role("button", name=words["next"]).click()
    expect(page.locator(".model .fits.yes")).to_be_visible()
    smallest_settings(page)

    go(page, "training")
    page.get_by_role("button", name=words["start"], exact=True).dblclick()
    expect(page.get_by_role("button", name=words["stop"])).to_be_visible()
    expect(page.get_by_role("button", name=words["results"])).to_be_visible(timeout=8 * MINUTES)
    assert len(list((app.home / "runs").glob("*/run.json"))) == 1

    page.get_by_role("button", name=words["results"]).click()
    expect(page.locator(".verdict")).to_contain_text(re.compile(words["right"]))
    expect(page.locator(".confusion svg rect.right")).to_have_count(3)

    go(page, "tryit")
    page.get_by_label(words["text"]).fill("where is my parcel")
    page.get_by_role("button", name=words["ask"]).click()
    expect(page.locator(".answer-label")).to_have_text(re.compile("|".join(LABELS)), timeout=2 * MINUTES)
    expect(page.locator(".bars .bar:visible")).to_have_count(3)
    page.locator("#examples button").first.click()
    expect(page.get_by_label(words["text"])).not_to_have_value("where is my parcel")

    go(page, "publish")
    with page.expect_download() as saved:
        page.get_by_role("link", name=words["zip"]).click()
    saved.value.save_as(tmp_path / "model.zip")
    _loads(tmp_path / "model.zip", tmp_path / "unpacked")


def _loads(path: Path, folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    answer = model(**AutoTokenizer.from_pretrained(folder)("where is my parcel", return_tensors="pt"))
    assert answer.logits.shape == (1, 3)
    assert set(model.config.id2label.values()) == set(LABELS)


@pytest.mark.real
@pytest.mark.timeout(900)
def test_reload_second_window_stop_and_restart(app: App, window: Open) -> None:
    page = window()
    page.get_by_role("button", name="Try the sample").click()
    expect(page.get_by_role("button", name="Next: choose a model")).to_be_visible()
    go(page, "hyperparameters")
    passes(page, 30)  # it shall last until it is stopped
    go(page, "training")
    page.get_by_role("button", name="Start training", exact=True).click()
    expect(page.locator(".status")).to_contain_text("Step", timeout=4 * MINUTES)

    page.reload()  # the same tab, the same run, with what it has said so far
    expect(page.locator(".status:visible")).to_contain_text("Step")
    second = window("/zh")
    expect(second.locator(".status:visible")).to_contain_text("步数")
    expect(second.get_by_role("button", name="停止并保留目前最好的")).to_be_visible()

    page.get_by_role("button", name="Stop and keep the best so far").click()
    expect(page.get_by_role("button", name="Start a new training")).to_be_visible(timeout=8 * MINUTES)
    expect(second.get_by_role("button", name="重新开始训练")).to_be_visible()

    app.stop()
    app.start()
    third = window()
    expect(third.locator(".status:visible")).to_contain_text(re.compile("Stopped early|Ended before"))
    assert len(list((app.home / "runs").glob("*/run.json"))) == 1


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_a_wrong_file_is_explained_and_nothing_is_lost(
    window: Open, spreadsheet: Path, tmp_path: Path, language: str
) -> None:
    page = window("/", language=language)
    hand_in(page, spreadsheet)
    expect(page.locator(".bars .bar").first).to_be_visible()
    picture = tmp_path / "photo.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 200)
    hand_in(page, picture)
    expect(page.locator("p.problem")).to_contain_text(WORDS[language]["wrong_file"])
    expect(page.locator(".facts").first).to_contain_text("messages.csv")
    expect(page.get_by_role("button", name=WORDS[language]["next"])).to_be_visible()


@pytest.mark.parametrize(("path", "scheme"), [("/", "light"), ("/zh?lang=zh-CN", "dark")])
def test_no_tab_scrolls_sideways_on_a_phone_and_none_keeps_it_busy(window: Open, path: str, scheme: str) -> None:
    page = window(path, width=390, color_scheme=scheme)
    page.locator(".sample button").click()
    expect(page.locator(".bars .bar").first).to_be_visible()
    for tab in TABS:
        go(page, tab)
        assert overflow(page) <= 0, tab
    assert rests(page)


def test_the_language_switch_stays_and_keeps_the_choices(window: Open, spreadsheet: Path) -> None:
    page = window("/", language="zh-CN")  # a Chinese browser is led to the Chinese page
    expect(page.get_by_role("button", name="使用示例数据")).to_be_visible()
    expect(page.get_by_text("将文件拖放到此处")).to_be_visible()  # gradio's own words follow too
    hand_in(page, spreadsheet)
    expect(page.locator(".facts").first).to_contain_text("messages.csv")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("button", name="Next: choose a model")).to_be_visible()
    expect(page.locator(".facts").first).to_contain_text("messages.csv")
    page.goto(page.url.split("?")[0])
    expect(page.get_by_role("button", name="Try the sample")).to_be_visible()


def test_hostile_labels_stay_words(window: Open, tmp_path: Path) -> None:
    mark = "<img src=x onerror=window.marked=1>"
    hostile = [mark, "</svg><form action=//evil.example><input>", "<script>window.marked=1</script>"]
    path = tmp_path / "<b>messages<b>.csv"
    rows = [f'"{label} text number {i}","{label}"' for i in range(8) for label in hostile]
    path.write_text("message,<i>topic</i>\n" + "\n".join(rows) + "\n", encoding="utf-8")
    page = window()
    hand_in(page, path)
    expect(page.locator(".bars .bar")).to_have_count(3)
    expect(page.locator(".bar-name").filter(has_text="<img src=x")).to_have_count(1)
    page.locator("#column-label input").click()
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("Escape")
    for tab in TABS:
        go(page, tab)
    assert page.evaluate("window.marked") is None
    assert page.locator(".tab-body form, .tab-body img").count() == 0


def test_a_setting_survives_a_reload_and_can_be_reset(window: Open) -> None:
    page = window()
    go(page, "hyperparameters")
    rate = page.locator("#knob-learning_rate input[type=range]")
    before = page.locator("#value-learning_rate output").inner_text()
    rate.focus()
    rate.press("ArrowRight")
    expect(page.locator("#value-learning_rate output")).not_to_have_text(before)
    changed = page.locator("#value-learning_rate output").inner_text()
    expect(page.locator(".why .own")).to_have_count(1)
    page.reload()
    expect(page.locator("#value-learning_rate output")).to_have_text(changed)
    page.get_by_role("button", name="Back to the recommended settings").click()
    expect(page.locator("#value-learning_rate output")).to_have_text(before)
