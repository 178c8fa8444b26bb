"""Serves the real page with no supervisor behind it: `python -m tests.security.served ROUTES`.

What is queued in its home stays queued, so that a test can look at it. The routes that it serves are written to ROUTES.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from core.settings import MEBIBYTE, from_environment
from ui.layout import blocks, launch
from ui.page import open_house


def routes(routed: Any) -> set[str]:
    """Every route of an app or router as `METHODS path`."""
    found: set[str] = set()
    for route in routed.routes:
        inner = getattr(route, "original_router", None)  # FastAPI keeps an included router whole
        if inner is not None:
            found |= routes(inner)
        else:
            found.add(f"{','.join(sorted(getattr(route, 'methods', None) or ()))} {route.path}")
    return found


def main() -> None:
    """Serve until ended."""
    settings = from_environment()
    limits = dataclasses.replace(settings.limits, file_bytes=MEBIBYTE, free_disk=0, predict_timeout=10.0)
    house = open_house(dataclasses.replace(settings, limits=limits))
    page = blocks(house)
    app, _, _ = launch(page, house)
    told = Path(sys.argv[1])
    told.with_suffix(".part").write_text(json.dumps(sorted(routes(app))), encoding="utf-8")
    told.with_suffix(".part").rename(told)
    try:
        page.block_thread()
    finally:
        house.predictors.close()


if __name__ == "__main__":
    main()
