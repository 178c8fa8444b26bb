"""Read the settings, build the page, launch."""

import os
import signal
from types import FrameType

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read by gradio when it is imported

from core import logs
from core.settings import from_environment
from ui.layout import blocks, launch
from ui.page import open_house

_SECRETS = ("OAUTH_CLIENT_SECRET", "HF_TOKEN")  # what a Space is told, and what no log may tell


def main() -> None:
    """Serve until ended, then let running work save itself."""
    settings = from_environment()
    logs.start(settings, "app", known=[os.environ[name] for name in _SECRETS if name in os.environ])
    house = open_house(settings)
    signal.signal(signal.SIGTERM, _end)
    page = blocks(house)
    try:
        house.supervisor.start()
        if not settings.lasting:
            house.keeper.start()
        _, address, _ = launch(page, house, prevent_thread_lock=True)
        logs.gather()  # the server has set up lines of its own
        print(f"Tuning Fork: {address}", flush=True)  # noqa: T201 (what the person who started it waits for)
        page.block_thread()
    finally:
        house.supervisor.close()
        house.keeper.close()
        house.predictors.close()


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
