"""Who may call what: Host, Origin, closed routes, sizes, cookies, language."""

import dataclasses
import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from core.errors import UserError
from core.settings import Settings
from ui import guard
from ui.firstwords import FirstWords, speaking

LOCAL = Settings(home=Path("unused"))
SPACE = dataclasses.replace(LOCAL, place="space", host="0.0.0.0")
SPACE_HOST = "someone-fork.hf.space"


def client(settings: Settings = LOCAL, base: str = "http://127.0.0.1:7860") -> TestClient:
    async def page(request: Request) -> Response:
        return HTMLResponse('<html lang="en"><head></head></html>')

    async def who(request: Request) -> Response:
        try:
            return JSONResponse(guard.owner(request, settings))
        except UserError as error:
            return JSONResponse(error.code, 400)

    paths = ["/", "/zh", "/gradio_api/queue/join", "/gradio_api/info", "/monitoring", "/docs", "/gradio_api/upload"]
    routes = [Route(p, page, methods=["GET", "POST"]) for p in paths] + [Route("/download/who", who)]
    app = Starlette(routes=routes)
    app.add_middleware(FirstWords)
    app.add_middleware(guard.Guard, settings=settings)
    return TestClient(app, base_url=base, follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:1234", "[::1]:7860", "localhost"])
def test_own_names_answer(host: str) -> None:
    assert client().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", "", "192.168.0.7"]
)
def test_a_foreign_host_is_refused_locally(host: str) -> None:
    assert client().get("/", headers={"host": host}).status_code == 403


def test_on_the_network_a_bare_address_answers_and_a_name_does_not() -> None:
    opened = dataclasses.replace(LOCAL, host="0.0.0.0")
    assert client(opened).get("/", headers={"host": "192.168.0.7:7860"}).status_code == 200
    assert client(opened).get("/", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:7860"}, 200),
        ({"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}, 200),
        ({}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://evil.example", "x-forwarded-host": "evil.example"}, 403),
    ],
)
def test_a_foreign_page_cannot_post(headers: dict[str, str], status: int) -> None:
    assert client().post("/gradio_api/queue/join", headers=headers, json={}).status_code == status


def test_a_foreign_page_cannot_read_but_a_link_may_lead_here() -> None:
    assert client().get("/", headers={"origin": "http://evil.example"}).status_code == 403
    assert client().get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200


def test_a_sibling_space_is_foreign_and_the_own_host_is_not() -> None:
    there = client(SPACE, f"https://{SPACE_HOST}")
    post = "/gradio_api/queue/join"
    assert there.post(post, headers={"origin": f"https://{SPACE_HOST}"}, json={}).status_code == 200
    assert there.post(post, headers={"origin": "https://other.hf.space"}, json={}).status_code == 403
    framed = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"}
    assert there.get("/", headers=framed).status_code == 200


@pytest.mark.parametrize(
    "path", ["/monitoring", "/docs", "/gradio_api/info", "/gradio_api/file=/etc/passwd", "/config"]
)
def test_what_the_page_does_not_need_does_not_exist(path: str) -> None:
    assert client().get(path).status_code == 404


def test_requests_have_a_largest_size() -> None:
    small = dataclasses.replace(LOCAL, limits=dataclasses.replace(LOCAL.limits, file_bytes=1000))
    there = client(small)
    assert there.post("/gradio_api/upload", content=b"x" * 1000).status_code == 200
    assert there.post("/gradio_api/upload", content=b"x" * 70_000).status_code == 413
    assert there.post("/gradio_api/queue/join", content=b"x" * (5 * 2**20)).status_code == 413
    assert there.post("/gradio_api/upload", content=iter([b"x"])).status_code == 411


def test_pages_forbid_foreign_pictures_forms_and_frames() -> None:
    policy = client().get("/").headers["content-security-policy"]
    assert "img-src 'self' data: blob:" in policy
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert (
        "https://huggingface.co" in client(SPACE, f"https://{SPACE_HOST}").get("/").headers["content-security-policy"]
    )


def test_everybody_is_one_owner_locally() -> None:
    there = client()
    assert "tuning_fork_owner" not in there.get("/").cookies
    assert there.get("/download/who").json() == "local"


def test_a_visitor_of_a_space_gets_a_secret_that_scripts_cannot_read() -> None:
    there = client(SPACE, f"https://{SPACE_HOST}")
    assert there.get("/download/who").json() == "cookies_blocked"
    cookie = there.get("/").headers["set-cookie"]
    secret = re.match(r"tuning_fork_owner=([0-9a-f]{64});", cookie)
    assert secret
    assert all(word in cookie for word in ("HttpOnly", "SameSite=None", "Secure", "Partitioned"))
    owner = there.get("/download/who", headers={"cookie": f"tuning_fork_owner={secret[1]}"}).json()
    assert re.fullmatch(r"anon:[0-9a-f]{16}", owner)
    assert secret[1] not in owner
    assert "set-cookie" not in there.get("/", headers={"cookie": f"tuning_fork_owner={secret[1]}"}).headers


@pytest.mark.parametrize("cookie", ["", "short", "z" * 64, "a" * 65, "../" * 20])
def test_a_made_up_cookie_is_no_owner(cookie: str) -> None:
    request = Request({"type": "http", "headers": [(b"cookie", f"{guard.OWNER_COOKIE}={cookie}".encode())]})
    with pytest.raises(UserError, match="cookies_blocked"):
        guard.owner(request, SPACE)


def test_who_is_signed_in_owns_by_account_and_an_old_token_is_not_used() -> None:
    info = {"userinfo": {"sub": "123"}, "access_token": "hf_x", "expires_at": 4_000_000_000}
    scope = {"type": "http", "headers": [], "session": {"oauth_info": info}}
    assert guard.owner(Request(scope), SPACE) == "hf:123"
    assert guard.token(Request(scope)) == "hf_x"
    assert guard.owner(Request(scope), LOCAL) == "local"  # gradio's local imitation of a login counts for nothing
    info["expires_at"] = 1
    assert guard.token(Request(scope)) is None
    assert guard.signed_in("hf:123")
    assert not guard.signed_in("anon:0123456789abcdef")


@pytest.mark.parametrize(
    ("accepted", "target"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "/zh"),
        ("zh-TW", "/zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", None),
        ("de,fr;q=0.5", None),
        ("", None),
        ("zh;q=broken", None),
    ],
)
def test_the_browser_chooses_the_language(accepted: str, target: str | None) -> None:
    answer = client().get("/", headers={"accept-language": accepted})
    assert answer.headers.get("location") == target


def test_the_choice_of_a_person_counts_more_and_the_query_is_kept() -> None:
    chinese = {"accept-language": "zh-CN"}
    there = client()
    assert there.get("/?lang=en", headers=chinese).status_code == 200
    assert there.get("/", headers=chinese).status_code == 200  # the cookie of the line above
    assert client().get("/?__theme=dark", headers=chinese).headers["location"] == "/zh?__theme=dark"
    back = client()
    back.get("/zh?lang=zh-CN")
    assert back.get("/", headers={"accept-language": "en"}).headers["location"] == "/zh"


def test_a_made_up_language_sets_no_cookie() -> None:
    assert "set-cookie" not in client().get("/?lang=%0d%0aSet-Cookie:x").headers


def test_a_page_says_its_language_before_gradio_reads_it() -> None:
    page = client().get("/zh")
    assert '<html lang="zh-CN">' in page.text
    assert page.text.index("navigator") < page.text.index("</head>")
    assert int(page.headers["content-length"]) == len(page.content)
    assert b"zh-CN" not in speaking(b'<html lang="en"><head></head>', "en")
