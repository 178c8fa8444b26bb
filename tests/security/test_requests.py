"""Requests as foreign pages, strangers and floods make them, and what every answer carries."""

import html
import json
import re
from pathlib import Path

import pytest

from core.data.store import TableStore
from tests.browser.conftest import App
from tests.security.conftest import ROOT, Space
from tests.security.visitors import Visitor, file, settings_of, signed_in
from ui.draft import DraftStore
from ui.guard import OWNER_COOKIE
from ui.text import Text

POSTS = [f"/gradio_api/{name}" for name in ("queue/join", "run/predict", "upload", "reset", "cancel")]
FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "https://another.hf.space", "sec-fetch-site": "same-site"},
    {"origin": "null"},
    {"origin": ""},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_foreign_page_cannot_use_somebodys_login(space: Space, path: str, headers: dict[str, str]) -> None:
    visitor = space.visitor(signed_in("alice"))
    if "origin" not in headers:
        del visitor.http.headers["origin"]
    assert visitor.http.post(path, json={}, headers=headers).status_code == 403


def test_every_route_that_takes_posts_is_one_of_these(space: Space) -> None:
    posting = {line.split(" ", 1)[1] for line in space.routes if "POST" in line.split(" ", 1)[0]}
    visitor = space.visitor()
    asked = {path: path.replace("{api_name}", "predict").replace("{event_id}", "x") for path in posting}
    closed = {path for path, filled in asked.items() if visitor.http.post(filled, json={}).text == "Not found"}
    assert {asked[path] for path in posting - closed} == {*POSTS}


def test_the_own_page_can_call(space: Space) -> None:
    visitor = space.visitor()
    sample = visitor.find("input", "task")
    for headers in ({}, {"sec-fetch-site": "same-origin"}):
        body = {"data": visitor.values(sample), "fn_index": sample["id"], "session_hash": "mine"}
        assert visitor.http.post("/gradio_api/queue/join", json=body, headers=headers).status_code == 200
    assert visitor.http.post("/gradio_api/upload", files={"files": ("a.csv", b"a,b")}).status_code == 200


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> App:
    """The page as on a person's own computer."""
    running = App(tmp_path_factory.mktemp("local") / "home")
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize("path", ["/", "/zh", "/download/table/mended.csv", "/gradio_api/startup-events", *POSTS])
def test_at_home_a_name_that_was_bent_to_this_computer_is_refused(local: App, path: str) -> None:
    visitor = Visitor(local.url)
    del visitor.http.headers["origin"]
    method = "POST" if path in POSTS else "GET"
    for host in ("evil.example", "127.0.0.1.evil.example:80"):
        assert visitor.http.request(method, path, headers={"host": host}).status_code == 403
    assert visitor.http.request(method, path, headers={"host": local.url.split("//")[1]}).status_code != 403


def test_bodies_without_a_length_and_bodies_too_long_are_refused(space: Space) -> None:
    visitor = space.visitor()
    for path in POSTS:
        assert visitor.http.post(path, content=iter([b"{}"])).status_code == 411
        most = 2**20 + 2**16 if path.endswith("upload") else 4 * 2**20
        assert visitor.http.post(path, content=b" " * (most + 1)).status_code == 413
    assert visitor.http.post("/gradio_api/upload", files={"files": ("a.csv", b"x" * (2**20 + 1))}).status_code == 413


@pytest.mark.parametrize("body", [b"", b"[]", b"not json", b"[" * 100_000, b'{"data": [' * 5000, b"\xff\xfe"])
def test_a_call_that_is_none_is_refused_before_gradio_reads_it(space: Space, body: bytes) -> None:
    told = {"content-type": "application/json"}
    assert space.visitor().http.post("/gradio_api/queue/join", content=body, headers=told).status_code == 400


@pytest.mark.parametrize("path", ["http://198.51.100.1/large", "https://evil.example/", "a.csv", "", 7, None])
def test_the_server_fetches_nothing_that_a_call_names(space: Space, path: object) -> None:
    visitor = space.visitor()
    upload = visitor.find("upload", "data-file")
    for value in (file(path), [file(path)], {"text": "", "files": [file(path)]}):
        body = {"data": [value], "fn_index": upload["id"], "session_hash": "x"}
        assert visitor.http.post("/gradio_api/queue/join", json=body).status_code == 400
        assert visitor.http.post("/gradio_api/run/predict", json=body).status_code == 400


def test_nobody_can_leave_files_here(space: Space) -> None:
    answer = Visitor(space.url).http.post("/gradio_api/upload", files={"files": ("a.csv", b"a,b")})
    assert answer.status_code == 403
    forged = Visitor(space.url, {OWNER_COOKIE: "short", "session": "e30=.forged.signature"})
    assert forged.http.post("/gradio_api/upload", files={"files": ("a.csv", b"a,b")}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/zh"])
def test_the_cookie_is_out_of_reach_of_scripts_and_of_foreign_pages(space: Space, path: str) -> None:
    nobody = Visitor(space.url)
    first, second = (nobody.http.get(path).headers["set-cookie"] for _ in range(2))
    assert first != second
    name, *rest = re.split(r"; ", first)
    assert re.fullmatch(rf"{OWNER_COOKIE}=[0-9a-f]{{64}}", name)
    assert {"HttpOnly", "Secure", "Partitioned", "SameSite=None", "Path=/"} <= {*rest}
    assert "set-cookie" not in space.visitor().http.get(path).headers


def test_the_cookie_of_the_sign_in_is_out_of_reach_too(space: Space) -> None:
    answer = space.visitor(signed_in("alice")).http.get("/logout")
    assert answer.status_code == 307
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("session=")
    assert all(word in cookie for word in ("httponly", "secure", "samesite=none"))
    assert answer.headers["location"] == "/"
    away = space.visitor().http.get("/logout", params={"_target_url": "https://evil.example/x"})
    assert away.headers["location"] == "/x"


PRIVATE = ["/", "/zh", "/gradio_api/queue/data?session_hash=x", "/download/table/mended.csv", "/logout", "/config"]


@pytest.mark.parametrize("path", PRIVATE)
def test_what_is_private_is_kept_by_nobody_on_the_way(space: Space, path: str) -> None:
    with space.visitor().http.stream("GET", path) as answer:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "form-action 'self'" in answer.headers["content-security-policy"]


def test_a_calls_answer_is_kept_by_nobody_either(space: Space) -> None:
    visitor = space.visitor()
    straight = next(function for function in visitor.functions() if not function["queue"])
    body = {"data": visitor.values(straight), "fn_index": straight["id"], "session_hash": "x"}
    answer = visitor.http.post("/gradio_api/run/predict", json=body)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


def test_no_answer_tells_where_the_server_keeps_things(space: Space) -> None:
    visitor = space.visitor()
    pages = ("/", "/zh", "/manifest.json", "/assets/x", "/static/%00", "/%ff")
    answers = [visitor.http.get(path).text for path in pages]
    bodies = ({}, {"data": []}, {"data": [], "fn_index": 10**9, "session_hash": "x"}, {"data": {}, "fn_index": "x"})
    calls = [path for path in POSTS if not path.endswith("upload")]
    answers += [visitor.http.post(path, json=body).text for path in calls for body in bodies]
    with_values = [function for function in visitor.functions() if function["inputs"]]
    answers += [visitor.call(function, []) for function in with_values[:30]]
    upload = visitor.find("upload", "data-file")
    answers += [visitor.call(upload, [value]) for value in ({"a": 1}, [{}], 7, file("/nowhere/x.csv"), {"path": "/x"})]
    telling = (str(ROOT), str(space.home), "site-packages", "Traceback", 'File "', f"{Path.home()}/")
    assert [(word, text[:300]) for text in answers for word in telling if word in text] == []


def test_what_nobody_expected_is_told_in_a_sentence_without_its_reason(space: Space) -> None:
    visitor = space.visitor()
    path = visitor.upload("mine.csv", b"text,label\n" + b"some words,a\nother words,b\n" * 8)
    visitor.call(visitor.find("upload", "data-file"), [file(path)])
    table = DraftStore(space.home).read(visitor.owner()).table
    TableStore(settings_of(space.home)).path(str(table), visitor.owner()).write_bytes(b"damaged")
    told = visitor.call(visitor.find("submit", "first-row"), [1])
    assert json.dumps(html.escape(Text("en")("errors.unexpected")), ensure_ascii=False) in told
    assert not [word for word in (str(ROOT), str(space.home), "arrow", "Parquet", "Error:") if word in told]
