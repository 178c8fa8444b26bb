"""The real page in a real Chromium."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.settings import Settings, child_environment
from tests.forking import LIBRARIES, PAGE, Forking

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
# Other tests work beside these on the same two cores.
expect.set_options(timeout=20_000)
TABS = ("data", "model", "hyperparameters", "training", "results", "tryit", "publish", "history")
# Run in each window before the page's own scripts: how often the browser is asked to draw.
COUNTING = (
    "{ const next = requestAnimationFrame; window.framesAsked = 0;"
    " window.requestAnimationFrame = (work) => { window.framesAsked += 1; return next(work); }; }"
)
LABELS = {"delivery": "where is my parcel", "refund": "please give my money back", "defect": "the screen is broken"}


def chromium() -> str | None:
    """Where the browser lies, None where there is none."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium on this machine, and CI must not pass without it")
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield opened
        opened.close()


class App:
    """`python app.py` on a home of its own, which can be ended and started again.

    Where it may be copied, it and its children are spared their imports.
    """

    def __init__(self, home: Path, copied: Forking | None = None) -> None:
        self.home, self._copied = home, copied
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Any = None

    def start(self) -> None:
        environment = os.environ | {
            "TUNING_FORK_HOME": str(self.home),
            "TUNING_FORK_BROWSER": "0",
            "GRADIO_SERVER_PORT": str(self.port),
            "PYTHONFAULTHANDLER": "1",
        }
        if self._copied:
            told = child_environment(Settings(home=self.home))
            for libraries in set(LIBRARIES.values()):
                self._copied.begin(libraries, environment if libraries == PAGE else told)
            command = [sys.executable, "-m", "tests.page", str(self._copied.folder)]
        else:
            command = [sys.executable, "app.py"]
        self.process = (self._copied or subprocess).Popen(
            command, cwd=ROOT, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=2,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while True:
            assert self.process.poll() is None, "app.py ended"
            try:
                httpx.get(self.url, timeout=5)
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline, "app.py does not answer"
                time.sleep(0.2)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                assert self.process.wait(60) == 0
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGABRT)  # it says what each of its threads does
                self.process.wait(10)
                raise
            finally:
                self.process.kill()  # one that does not end would take the time of all tests after this one


@pytest.fixture
def app(tmp_path: Path, _forking: Forking, request: pytest.FixtureRequest) -> Iterator[App]:
    running = App(tmp_path / "home", None if "started_anew" in request.fixturenames else _forking)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def window(browser: Browser, app: App) -> Iterator[Callable[..., Page]]:
    """Opens the page; every request that leaves the machine, and every error of the page, fails the test."""
    opened: list[Any] = []
    wrong: list[str] = []

    def open_window(path: str = "/", width: int = 1280, language: str = "en-US", **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, locale=language, **options)
        opened.append(context)
        page = context.new_page()
        page.add_init_script(COUNTING)
        page.set_default_timeout(60_000)
        page.on("request", lambda r: None if r.url.startswith((app.url, "data:", "blob:")) else wrong.append(r.url))
        page.on("response", lambda r: wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(app.url + path)
        page.locator(".ready:visible").wait_for()
        return page

    yield open_window
    for context in opened:
        context.close()
    assert wrong == []


def go(page: Page, tab: str) -> None:
    """Open a tab and wait until it shows its card."""
    page.locator(f"[role=tab][data-tab-id={tab}]").click()
    page.locator(f"[role=tab][data-tab-id={tab}][aria-selected=true]").wait_for()
    page.locator(".ready:visible").wait_for()


def rests(page: Page, seconds: float = 20.0) -> bool:
    """Whether there comes a second in which the page wants nothing to be drawn."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = page.evaluate("window.framesAsked")
        page.wait_for_timeout(1000)
        if page.evaluate("window.framesAsked") == before:
            return True
    return False


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


@pytest.fixture
def spreadsheet(tmp_path: Path) -> Path:
    """60 short rows in three labels, one of them with a label that tries to be code."""
    rows = [f'"{words} number {i}","{label}"' for i in range(20) for label, words in LABELS.items()]
    path = tmp_path / "messages.csv"
    path.write_text("message,topic\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path
