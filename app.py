"""Read the settings, build the page, launch."""

import logging
import os
import signal
from types import FrameType

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read by gradio when it is imported

from core.settings import from_environment
from ui.layout import blocks, launch
from ui.page import open_house


def main() -> None:
    """Serve until ended, then let running work save itself."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = from_environment()
    house = open_house(settings)
    house.supervisor.start()
    signal.signal(signal.SIGTERM, _end)
    page = blocks(house)
    try:
        _, address, _ = launch(page, house, prevent_thread_lock=True)
        print(f"Tuning Fork: {address}", flush=True)  # noqa: T201 (what the person who started it waits for)
        page.block_thread()
    finally:
        house.supervisor.close()
        house.predictors.close()


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
