"""A page that is shared with strangers, served for real."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import fakehub
from tests.browser.conftest import browser  # noqa: F401 (a fixture)
from tests.security.visitors import SIGN_IN, Visitor, anonymous

SPACES_OWN = "the-token-of-the-space-itself"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="module")
def _forked() -> None:
    """What children are told is looked at: here each begins as it does for people."""


@dataclass(frozen=True)
class Space:
    """The page as it is served.

    Attributes:
        url: where it answers.
        home: its folder.
        routes: everything that it could answer, as `METHODS path`.
        log: what its process says.
        hub: the Hub that it knows.
        pid: of its process.
    """

    url: str
    home: Path
    routes: list[str]
    log: Path
    hub: fakehub.FakeHub
    pid: int

    @property
    def uploads(self) -> Path:
        """Where gradio keeps what is handed in until it is taken."""
        return self.home.parent / "uploads"

    def visitor(self, cookies: dict[str, str] | None = None) -> Visitor:
        """Somebody with these cookies, or somebody new without an account."""
        return Visitor(self.url, anonymous() if cookies is None else cookies)


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """The page as on a Space, with a Hub of our own behind it; what waits in its home is not started."""
    folder = tmp_path_factory.mktemp("space")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with fakehub.running() as hub, (folder / "log").open("wb") as log:
        told = {
            "SYSTEM": "spaces",
            "SPACE_ID": "somebody/fork",
            "TUNING_FORK_HOME": str(folder / "home"),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_TEMP_DIR": str(folder / "uploads"),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": SPACES_OWN,
            "NO_PROXY": "127.0.0.1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.security.served", str(folder / "routes")],
            cwd=ROOT, env=os.environ | SIGN_IN | told, stdout=log, stderr=log,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (folder / "routes").is_file():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the page does not answer"
            time.sleep(0.1)
        routes = json.loads((folder / "routes").read_text())
        yield Space(f"http://127.0.0.1:{port}", folder / "home", routes, folder / "log", hub, process.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
