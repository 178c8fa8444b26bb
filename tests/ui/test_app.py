"""The real process: `python app.py`."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from gradio.utils import get_upload_folder

from ui.uploads import remove

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "peft", "datasets", "sklearn", "evaluate")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the process notes every module that it imports."""
    return tmp_path_factory.mktemp("log") / "imports"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, imported: Path) -> Iterator[tuple[str, int]]:
    port = free_port()
    environment = os.environ | {
        "TUNING_FORK_HOME": str(tmp_path_factory.mktemp("home")),
        "TUNING_FORK_BROWSER": "0",
        "GRADIO_SERVER_PORT": str(port),
    }
    with imported.open("wb") as noted:
        command = [sys.executable, "-X", "importtime", "app.py"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=noted)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, "app.py ended"
        try:
            httpx.get(url, timeout=5)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline, "app.py does not answer"
            time.sleep(0.2)
    yield url, process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_the_real_process_imports_nothing_heavy(app: tuple[str, int], imported: Path) -> None:
    assert httpx.get(app[0] + "/").status_code == 200
    lines = [line for line in imported.read_text().splitlines() if line.startswith("import time:")]
    names = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}
    assert {"gradio", "core", "ui"} <= names
    assert names & set(HEAVY) == set()


def test_gradio_writes_no_stubs_for_editors_on_start() -> None:
    code = (
        "import sys, ui, gradio, gradio.component_meta as meta; "
        "assert 'stubs' in meta.create_or_modify_pyi.__qualname__ + meta.create_or_modify_pyi.__module__; "
        "assert not [f for f in sys.meta_path if type(f).__module__ == 'ui.stubs']"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_process_that_serves_has_loaded_no_model_library(app: tuple[str, int]) -> None:
    url, pid = app
    assert httpx.get(url + "/").status_code == 200
    mapped = Path(f"/proc/{pid}/maps")
    if not mapped.exists():
        pytest.skip("this system does not show what a process has loaded")
    names = mapped.read_text()
    assert "pydantic_core" in names  # what is loaded does show
    assert not [name for name in ("libtorch", "/torch/", "/sklearn/", "/tokenizers/") if name in names]


def test_it_stays_below_300_megabytes(app: tuple[str, int]) -> None:
    url, pid = app
    httpx.get(url + "/")
    assert psutil.Process(pid).memory_info().rss < 300e6


@pytest.mark.parametrize(("path", "language"), [("/", "en"), ("/zh", "zh-CN")])
def test_both_pages_are_served_closed(app: tuple[str, int], path: str, language: str) -> None:
    answer = httpx.get(app[0] + path)
    assert f'<html\n\tlang="{language}"' in answer.text
    assert "img-src 'self' data: blob:" in answer.headers["content-security-policy"]
    config = answer.text
    for closed in ('"run_history":false', '"analytics_enabled":false', '"footer_links":[]'):
        assert closed in config


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring", "/monitoring/summary", "/gradio_api/info", "/gradio_api/openapi.json", "/docs", "/openapi.json",
        "/gradio_api/runs", "/gradio_api/run-history/records", "/gradio_api/file=app.py",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/", "/config", "/gradio_api/call/start", "/gradio_api/mcp/",
        "/static/..%2f..%2f..%2fetc/passwd", "/gradio_api/startup-events/../info",
    ],
)  # fmt: skip
def test_what_gradio_serves_besides_is_closed(app: tuple[str, int], path: str) -> None:
    answer = httpx.get(app[0] + path)
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text


def test_functions_are_not_callable_by_name(app: tuple[str, int]) -> None:
    for path in ("/gradio_api/call/start", "/gradio_api/api/predict", "/gradio_api/call/v2/start"):
        assert httpx.post(app[0] + path, json={"data": []}).status_code == 404


def test_a_foreign_page_is_refused(app: tuple[str, int]) -> None:
    body = {"data": [], "fn_index": 0, "session_hash": "x"}
    for origin, expected in (("http://evil.example", 403), (app[0], 200)):
        answer = httpx.post(app[0] + "/gradio_api/queue/join", json=body, headers={"origin": origin})
        assert (answer.status_code == 403) is (expected == 403)
    assert httpx.get(app[0], headers={"host": "evil.example"}).status_code == 403


def test_an_upload_cannot_be_fetched_back(app: tuple[str, int]) -> None:
    answer = httpx.post(app[0] + "/gradio_api/upload", files={"files": ("a.csv", b"a,b\n1,2\n")})
    assert answer.status_code == 200
    path = answer.json()[0]
    assert httpx.get(f"{app[0]}/gradio_api/file={path}").status_code == 404
    assert re.search(r"a\.csv$", path)


def test_two_who_hand_in_the_same_file_share_no_copy(app: tuple[str, int]) -> None:
    def hand_in() -> Path:
        return Path(httpx.post(app[0] + "/gradio_api/upload", files={"files": ("same.csv", b"a,b\n1,2\n")}).json()[0])

    first, second = hand_in(), hand_in()
    remove(first)
    assert not first.parent.parent.exists()
    assert second.read_bytes() == b"a,b\n1,2\n"
    remove(second)
    assert get_upload_folder() in map(str, second.parents)  # gradio serves no upload to its handlers from elsewhere
    assert Path(get_upload_folder()).is_dir()
