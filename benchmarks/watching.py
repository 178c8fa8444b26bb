"""What an open page costs the training that it shows, on the same cores: steps a second with it and without, in turns.

python -m benchmarks.watching [--turns 3] [--seconds 12]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright

from core.runs.progress import fold
from core.runs.store import RunStore
from tests.browser.conftest import ARGUMENTS, TABS, App, chromium, go


def main() -> None:
    """One training of the sample; its page is opened and left in turns while it learns."""
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("--turns", type=int, default=3)
    known.add_argument("--seconds", type=float, default=12)
    flags = known.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        app = App(Path(folder) / "home")
        app.start()
        try:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            with_it, without, share = _measured(page, app, flags.turns, flags.seconds)
        finally:
            app.stop()
            browser.close()
    ratio = statistics.median(a / b for a, b in zip(with_it, without, strict=True))
    print(f"steps a second: page open {statistics.median(with_it):.2f}, left {statistics.median(without):.2f}")
    print(f"with the page open {ratio:.2f} of the speed without it; browser and server take {share:.2f} of a core")


def _measured(page: Page, app: App, turns: int, seconds: float) -> tuple[list[float], list[float], float]:
    """Steps a second with the page open and without, and the cores that browser and server took with it."""
    page.goto(app.url)
    page.locator(".ready:visible").wait_for()
    page.locator(".sample button").click()
    page.locator(".bars .bar").first.wait_for()
    for tab in TABS:  # as somebody who looks around first
        go(page, tab)
    go(page, "hyperparameters")
    page.locator("#knob-epochs input[type=number]").fill("50")
    page.locator("#knob-epochs input[type=number]").press("Enter")
    go(page, "training")
    page.get_by_role("button", name="Start training", exact=True).click()
    runs = RunStore(app.home)
    while _step(runs) < 3:
        page.wait_for_timeout(500)
    speeds: dict[bool, list[float]] = {True: [], False: []}
    shares = []
    for _ in range(turns):
        for opened in (True, False):
            page.goto(app.url if opened else "about:blank")
            if opened:
                page.locator("#training-status .status").wait_for()
            page.wait_for_timeout(3000)
            step, begin, used = _step(runs), time.perf_counter(), _used(app)
            page.wait_for_timeout(1000 * seconds)
            taken = time.perf_counter() - begin
            speeds[opened].append((_step(runs) - step) / taken)
            if opened:
                shares.append((_used(app) - used) / taken)
    return speeds[True], speeds[False], statistics.median(shares)


def _step(runs: RunStore) -> int:
    """The last step of the only training, 0 before its first.

    Raises:
        RuntimeError: it has ended.
    """
    for record in runs.list():
        if record.state not in ("QUEUED", "STARTING", "RUNNING"):
            raise RuntimeError(f"the training is {record.state}: {runs.log(record.id)}")
        return fold(runs.read_events(record.id)[0]).step
    return 0


def _used(app: App) -> float:
    """Seconds of a core that browser and server have taken so far."""
    found = [psutil.Process(app.process.pid)]
    found += [child for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]
    return sum(sum(process.cpu_times()[:2]) for process in found)


if __name__ == "__main__":
    main()
