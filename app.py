"""Read the settings, build the page, launch."""

import faulthandler
import os
import signal
from queue import Empty, SimpleQueue

# Read by gradio when it is imported. It would count and time each call for a page of its own, which is closed here: the
# more calls there were, the longer that takes.
os.environ |= {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**9),
}

from core import logs
from core.processes import end_with
from core.settings import from_environment
from ui.layout import blocks, launch
from ui.page import open_house

_SECRETS = ("OAUTH_CLIENT_SECRET", "HF_TOKEN")  # what a Space is told, and what no log may tell
_LONGEST_END = 25.0  # seconds; a Space is killed after 30


def main() -> None:
    """Serve until ended, then let running work save itself."""
    settings = from_environment()
    logs.start(settings, "app", known=[os.environ[name] for name in _SECRETS if name in os.environ])
    house = open_house(settings)
    # An exception that a handler raises can be lost in whatever runs just then; what lies in a queue cannot.
    ended: SimpleQueue[int] = SimpleQueue()

    def told_to_end(number: int, frame: object) -> None:
        faulthandler.dump_traceback_later(_LONGEST_END, exit=True)  # says what it waits for, and waits no longer
        ended.put(number)

    signal.signal(signal.SIGTERM, told_to_end)
    page = blocks(house)
    try:
        house.supervisor.start()
        if not settings.lasting:
            house.keeper.start()
        _, address, _ = launch(page, house)
        logs.gather()  # the server has set up lines of its own
        print(f"Tuning Fork: {address}", flush=True)  # noqa: T201 (what the person who started it waits for)
        _wait(ended)
    except KeyboardInterrupt:
        pass
    finally:
        faulthandler.dump_traceback_later(_LONGEST_END, exit=True)  # says what it waits for, and waits no longer
        house.supervisor.close()
        house.keeper.close()
        house.predictors.close()


def _wait(ended: "SimpleQueue[int]") -> None:
    while True:
        try:
            ended.get(timeout=1.0)  # with an end, because Windows hears Ctrl+C only between waits
            return
        except Empty:
            continue


if __name__ == "__main__":
    end_with(main)
