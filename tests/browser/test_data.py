"""The Data tab as a person uses it: any file, the doctor and its undo, other ways to bring data."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import App, overflow

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
TOPICS = {"delivery": "where is the parcel that I ordered", "refund": "please send the money back for order"}


def messy(path: Path) -> Path:
    """A table with doubles, a blank text, labels in two spellings, HTML and garbled letters."""
    rows = [(f"{words} number {i}", label) for i in range(15) for label, words in TOPICS.items()]
    rows += [rows[0], rows[1], ("", "refund"), (f"{TOPICS['refund']} &lt;b&gt;", "Refund")]
    rows += [("the caf\u00c3\u00a9 machine is late again", "delivery")]
    lines = "\n".join(f'"{text}","{label}"' for text, label in rows)
    path.write_text(f"message,topic\n{lines}\n", encoding="utf-8")
    return path


def hand_in(page: Page, path: Path) -> None:
    page.locator("#data-file input[type=file]").set_input_files(path)


def card(page: Page, code: str):
    return page.locator(f"[data-finding={code}]")


@pytest.mark.parametrize(("language", "width"), [("en", 1280), ("zh-CN", 390)])
def test_the_doctor_mends_and_undoes(window: Open, tmp_path: Path, language: str, width: int) -> None:
    page = window("/", language=language, width=width)
    hand_in(page, messy(tmp_path / "messy.csv"))
    expect(card(page, "duplicate_rows")).to_be_visible()
    expect(card(page, "garbled_text").locator("ins")).to_contain_text("café")
    open_at_first = page.locator(".findings button.primary").count()
    assert open_at_first >= 4

    card(page, "duplicate_rows").locator("button.primary").click()
    expect(card(page, "duplicate_rows")).to_have_class(re.compile("fine"))
    expect(card(page, "html")).not_to_have_class(re.compile("fine"))

    page.locator(".doctor-bar button.primary").click()
    expect(card(page, "garbled_text")).to_have_class(re.compile("fine"))
    expect(card(page, "label_variants")).to_have_class(re.compile("fine"))
    with page.expect_download() as saved:
        page.locator("#mended a").last.click()
    rows = [json.loads(line) for line in saved.value.path().read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 32
    assert {row["topic"] for row in rows} == {"delivery", "refund"}
    assert any("café" in row["message"] for row in rows)

    card(page, "garbled_text").locator("button").click()
    expect(card(page, "garbled_text")).not_to_have_class(re.compile("fine"))
    expect(card(page, "label_variants")).to_have_class(re.compile("fine"))
    page.reload()  # what was mended stays mended
    expect(card(page, "label_variants")).to_have_class(re.compile("fine"))
    page.locator(".doctor-bar button").last.click()
    expect(page.locator(".findings li.fine")).to_have_count(0)
    expect(page.locator(".findings button.primary")).to_have_count(open_at_first)
    assert overflow(page) <= 0


def test_a_workbook_shows_its_sheets_and_another_one_can_be_read(window: Open, tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    first, second = book.active, book.create_sheet("Mai")
    first.title = "April"
    for sheet, n in ((first, 20), (second, 12)):
        sheet.append(["Report"])
        sheet.append(["message", "topic"])
        for i in range(n):
            sheet.append([f"{list(TOPICS.values())[i % 2]} {sheet.title} {i}", list(TOPICS)[i % 2]])
    book.save(tmp_path / "book.xlsx")
    page = window()
    hand_in(page, tmp_path / "book.xlsx")
    expect(page.locator(".facts").first).to_contain_text("April")
    expect(page.locator(".facts").first).to_contain_text("20")
    page.locator("#reading button").first.click()
    page.locator("#part input").click()
    page.get_by_role("option", name="Mai").click()
    page.locator("#read-again").click()
    expect(page.locator(".facts").first).to_contain_text("Mai")
    expect(page.locator(".facts").first).to_contain_text("12")


def test_text_is_pasted_and_columns_are_changed(window: Open, tmp_path: Path) -> None:
    page = window()
    page.get_by_role("button", name="Paste text instead").click()
    rows = "\n".join(f"{words} {i}\t{label}\tnote {i}" for i in range(12) for label, words in TOPICS.items())
    page.locator("#pasted textarea").fill(f"message\ttopic\tremark\n{rows}")
    page.get_by_role("button", name="Use this text").click()
    expect(page.locator(".bars .bar")).to_have_count(2)
    expect(page.locator("#preview")).to_contain_text("where is the parcel")
    page.locator("#column-label input").click()
    page.get_by_role("option", name="remark").click()
    expect(page.locator(".ready.problem:visible")).to_be_visible()
    page.locator("#task input").click()
    page.get_by_role("option", name="Continue texts or code").click()
    expect(page.locator("#column-label")).not_to_be_visible()


def test_a_folder_of_texts_and_each_sample_open(window: Open, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mail.zip", "w") as archive:
        for i in range(10):
            archive.writestr(f"mail/spam/{i}.txt", f"win a prize today, offer {i} ends soon")
            archive.writestr(f"mail/ham/{i}.txt", f"shall we meet on day {i} for lunch")
    page = window()
    hand_in(page, tmp_path / "mail.zip")
    expect(page.locator(".bars .bar")).to_have_count(2)
    for name, task in (("Appliance manuals", "Translate"), ("Conversations", "Chat"), ("Kitchen reviews", "several")):
        page.locator("#sample input").click()
        page.get_by_role("option", name=name).click()
        page.get_by_role("button", name="Try the sample").click()
        expect(page.locator("#task input")).to_have_value(re.compile(task))
        expect(page.locator(".ready:visible")).to_contain_text("Your data is ready", timeout=30_000)


@pytest.mark.timeout(240)
def test_a_large_table_opens_and_its_preview_scrolls(app: App, window: Open, tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("message,topic\n")
        file.writelines(
            f"{list(TOPICS.values())[i % 2]} number {i * 7919},{list(TOPICS)[i % 2]}\n" for i in range(60_000)
        )
    page = window()
    hand_in(page, path)
    expect(page.locator("#preview")).to_contain_text("where is the parcel", timeout=60_000)
    page.locator("#first-row input").fill("59990")
    page.locator("#first-row input").press("Enter")
    expect(page.locator("#preview")).to_contain_text(f"number {59_989 * 7919}")
    expect(page.locator(".bars .bar")).to_have_count(2, timeout=150_000)
    expect(page.locator(".facts").first).to_contain_text("60,000")


def test_hostile_cells_stay_words(window: Open, tmp_path: Path) -> None:
    mark = "<img src=x onerror=window.marked=1><form action=//evil.example></form>"
    rows = [f'"{mark} &lt;script&gt; {i}","<b>a</b>","=HYPERLINK(1)"' for i in range(12)]
    rows += [f'"text {i} of {mark}","c","d"' for i in range(12)]
    path = tmp_path / "hostile.csv"
    path.write_text("<i>message</i>,label,<svg onload=window.marked=1>\n" + "\n".join(rows) + "\n", encoding="utf-8")
    page = window()
    hand_in(page, path)
    expect(card(page, "html")).to_be_visible()
    card(page, "html").locator("button").first.click()
    expect(card(page, "html")).to_have_class(re.compile("fine"))
    expect(page.locator("#preview")).to_contain_text("<img src=x")
    assert page.evaluate("window.marked") is None
    assert page.locator(".tab-body form, .tab-body img").count() == 0
