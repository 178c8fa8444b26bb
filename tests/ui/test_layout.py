"""The page as it is built and served."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.testclient import TestClient

from core.errors import UserError
from core.runs.store import RunRecord
from ui import downloads, guard
from ui.layout import TABS
from ui.page import House, Page, as_sentence, at_the_edge
from ui.readiness import ORDER
from ui.text import Text

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import json, sys, pathlib
from core.settings import Settings
from ui.layout import blocks
from ui.page import open_house
page = blocks(open_house(Settings(home=pathlib.Path(sys.argv[1]), place=sys.argv[2])))
visible = [event.api_visibility for event in page.fns.values()]
print(json.dumps({"config": page.get_config_file(), "visible": visible}, default=str))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page as gradio describes it; built in a process of its own, since gradio leaves event loops open."""
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(tmp_path_factory.mktemp("home")), "local"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(said.stdout.splitlines()[-1])


def test_both_pages_have_the_same_tabs_and_events(built: dict[str, Any]) -> None:
    assert tuple(TABS) == ORDER
    layouts = built["config"]["page"]
    assert set(layouts) == {"", "zh"}
    assert len(layouts[""]["components"]) == len(layouts["zh"]["components"]) > 100
    assert len(layouts[""]["dependencies"]) == len(layouts["zh"]["dependencies"]) > 30


def test_no_event_is_offered_to_programs(built: dict[str, Any]) -> None:
    assert set(built["visible"]) == {"private"}


def test_what_is_said_in_one_language_is_not_in_the_other(built: dict[str, Any]) -> None:
    config = built["config"]
    words = {c["id"]: f"{c['props'].get('label')} {c['props'].get('value')}" for c in config["components"]}
    english = " ".join(words[i] for i in config["page"][""]["components"] if i in words)
    chinese = " ".join(words[i] for i in config["page"]["zh"]["components"] if i in words)
    assert "Try the sample" in english
    assert "Try the sample" not in chinese
    assert "使用示例数据" in chinese
    assert "使用示例数据" not in english


def test_errors_become_sentences_and_surprises_say_nothing(house: House) -> None:
    text = Text("en")
    said = as_sentence(text, UserError("model_not_loadable", name="<img src=x>"))
    assert "&lt;img src=x&gt;" in said.message
    assert as_sentence(text, ValueError("secret path /etc")).message == text("errors.unexpected")


def test_a_handler_is_called_with_its_visitor_and_its_values_are_ordered(house: House) -> None:
    page = Page(house, Text("en"))

    def handler(visit: object, word: str) -> dict[str, str]:
        return {"b": word}

    request = gr.Request(Request({"type": "http", "headers": []}))
    assert at_the_edge(page, handler, ["a", "b"])(request, "x") == (gr.skip(), "x")
    with pytest.raises(gr.Error):
        at_the_edge(page, handler, ["a"])(request, "x")  # a value for a part that there is not


def served(house: House) -> TestClient:
    app = Starlette(routes=downloads.routes(house), middleware=[Middleware(guard.Guard, settings=house.settings)])
    return TestClient(app, base_url="http://127.0.0.1")


def test_the_zip_holds_a_model_that_loads(
    house: House, finished: Callable[..., RunRecord], tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    record = finished()
    folder = house.runs.folder(record.id) / "model"
    shutil.rmtree(folder)
    shutil.copytree(tiny_model, folder)
    answer = served(house).get(f"/download/{record.id}/model.zip")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert "README.md" in archive.namelist()
        archive.extractall(tmp_path / "unpacked")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "unpacked")
    assert model.config.num_labels == 3
    AutoTokenizer.from_pretrained(tmp_path / "unpacked")


@pytest.mark.parametrize("run", ["0" * 32, "..", "%2e%2e%2f%2e%2e%2fetc", "a"])
def test_an_unknown_run_has_no_zip(house: House, run: str) -> None:
    assert served(house).get(f"/download/{run}/model.zip").status_code == 404


def test_anothers_run_has_no_zip(house: House, finished: Callable[..., RunRecord]) -> None:
    theirs = finished("hf:somebody")
    unknown = served(house).get(f"/download/{'0' * 32}/model.zip")
    answer = served(house).get(f"/download/{theirs.id}/model.zip")
    assert (answer.status_code, answer.content) == (unknown.status_code, unknown.content) == (404, b"Not found")
