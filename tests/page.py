"""The page with children that are copies (see `tests.forking`): `python -m tests.page FOLDER` in place of `app.py`."""

import sys
from pathlib import Path

from app import main
from core import processes
from tests.forking import Forking

if __name__ == "__main__":
    processes.subprocess = Forking(Path(sys.argv[1]))
    processes.end_with(main)
