"""What the served page answers to somebody without a cookie, and which doors it has at all."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.security.conftest import Space
from tests.security.visitors import Visitor, digest
from ui.text import Text

# Written by hand after a look at each: `open` ones are used by the page, the rest does not exist for anybody.
KNOWN = dict(
    reversed(line.split("  ")) for line in (Path(__file__).parent / "routes.txt").read_text().splitlines() if line
)
FILLED = {
    "{api_name}": "predict", "{run_id}": "0" * 32, "{kind}": "csv", "{session_hash}": "x", "{event_id}": "x",
    "{path_or_url:path}": "/etc/passwd", "{url_path:path}": "http://127.0.0.1:1/", "{path:path}": "index.js",
}  # fmt: skip


def filled(route: str) -> str:
    """A route's path with something in its places."""
    for place, value in FILLED.items():
        route = route.replace(place, value)
    return route.replace("{", "").replace("}", "")


def test_the_doors_are_those_that_were_looked_at(space: Space) -> None:
    assert {*space.routes} == {*KNOWN}


@pytest.mark.parametrize("route", [route for route, how in KNOWN.items() if how == "closed"])
def test_a_closed_door_is_none_for_anybody(space: Space, route: str) -> None:
    methods, path = route.split(" ", 1)
    for visitor in (space.visitor(), Visitor(space.url)):
        for method in methods.split(","):
            answer = visitor.http.request(method, filled(path), content=b"{}" if method == "POST" else None)
            assert answer.status_code == 404
            assert answer.text == ("" if method == "HEAD" else "Not found")


def refusals(language: str) -> str:
    """The sentence for somebody without the cookie, as it looks inside an answer."""
    return Text(language)("errors.cookies_blocked").replace("'", "&#x27;")


def test_every_function_refuses_nobody_and_nothing_changes(space: Space) -> None:
    nobody, before = Visitor(space.url), digest(space.home, leaving=("cache",))
    told = {"code": "*", "fix": "all"}
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda function: (function["id"], nobody.call(function, told=told)), nobody.functions())
        answers = dict(found)
    spared = [f["id"] for f in nobody.functions() if f["api_name"] == "_check_login_status"]
    assert len(spared) == 1
    assert json.loads(answers.pop(spared[0]).splitlines()[-1])["data"][0]["value"] == "Sign in with Hugging Face"
    known = (refusals("en"), refusals("zh-CN"))
    assert [(number, answer) for number, answer in answers.items() if not any(said in answer for said in known)] == []
    assert digest(space.home, leaving=("cache",)) == before


def test_a_made_up_name_of_a_function_reaches_none(space: Space) -> None:
    visitor = space.visitor()
    for number in (-1, 10**6):
        body = {"data": [], "fn_index": number, "session_hash": "x"}
        for path in ("/gradio_api/queue/join", "/gradio_api/run/predict"):
            assert visitor.http.post(path, json=body).status_code in (400, 404, 422, 500)
    queued = next(f for f in visitor.functions() if f["queue"])
    body = {"data": visitor.values(queued), "fn_index": queued["id"], "session_hash": "x"}
    assert visitor.http.post("/gradio_api/run/predict", json=body).status_code == 404
    assert visitor.http.post("/gradio_api/run/answer", json=body).text == "Not found"


def test_nobody_has_no_file(space: Space) -> None:
    nobody = Visitor(space.url)
    for path in ("table/mended.csv", "table/mended.jsonl", f"{'0' * 32}/model.zip", f"{'0' * 32}/adapter.zip"):
        answer = nobody.http.get(f"/download/{path}")
        assert (answer.status_code, answer.text) == (404, "Not found")
