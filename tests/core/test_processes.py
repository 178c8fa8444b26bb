"""Heavy children take turns."""

import subprocess
import sys
import threading
import time

import pytest

from core.errors import UserError
from core.processes import ROOT, turn
from core.settings import Settings


def test_no_more_at_once_than_there_are_places(tmp_path):
    settings, inside, most = Settings(home=tmp_path), [], []

    def work():
        with turn(settings, most=2, seconds=30):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 8
    assert max(most) == 2


def test_who_waits_too_long_is_told(tmp_path):
    settings = Settings(home=tmp_path)
    with (
        turn(settings, most=1, seconds=0),
        pytest.raises(UserError, match="too_busy"),
        turn(settings, most=1, seconds=0.1),
    ):
        pass
    with turn(settings, most=1, seconds=0):
        pass  # free again


def test_a_place_of_a_killed_process_is_free(tmp_path):
    code = (
        "import time; from pathlib import Path; from core.processes import turn; from core.settings import Settings\n"
        f"with turn(Settings(home=Path({str(tmp_path)!r})), most=1, seconds=0): print('in', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"in\n"
    with pytest.raises(UserError, match="too_busy"), turn(Settings(home=tmp_path), most=1, seconds=0):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with turn(Settings(home=tmp_path), most=1, seconds=0):
        pass
