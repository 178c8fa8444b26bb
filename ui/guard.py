"""Who may call what: checks of Host and Origin, closed routes, the owner cookie, the page's language."""

import hashlib
import ipaddress
import re
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from gradio.utils import get_upload_folder
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import UserError
from core.settings import Settings
from ui import calls
from ui.text import PATHS

OWNER_COOKIE = "tuning_fork_owner"
LANGUAGE_COOKIE = "tuning_fork_language"
_SECRET = re.compile(r"[0-9a-f]{64}")
_YEAR = 365 * 24 * 3600

# gradio serves far more than this page needs (an API browser, monitoring, a run history, a proxy, whatever lies in its
# cache); what is not named here does not exist.
OPEN_PATHS = frozenset(
    {
        "/", "/zh", "/health", "/progress", "/theme.css", "/robots.txt", "/favicon.ico", "/manifest.json",
        "/login/huggingface", "/login/callback", "/logout",
        "/gradio_api/startup-events", "/gradio_api/theme.css", "/gradio_api/upload", "/gradio_api/upload_progress",
        "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/run/predict", "/gradio_api/reset",
        "/gradio_api/cancel",
    }
)  # fmt: skip
OPEN_FOLDERS = ("/assets/", "/static/", "/svelte/", "/download/", "/gradio_api/heartbeat/")
# The same for everybody, and so the only things that a browser or a proxy may keep.
_SAME_FOR_ALL = ("/assets/", "/static/", "/svelte/", "/theme.css", "/robots.txt", "/favicon.ico", "/manifest.json")
# gradio lives on scripts and styles inside its page; from anywhere else nothing is fetched, and nothing sent there. On
# a Space it would ask Google for fonts, and the Hub for a banner.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; img-src 'self' data: blob:; form-action 'self'; "
    "object-src 'none'; base-uri 'self'"
)
_UPLOAD, _PROGRESS = "/gradio_api/upload", "/progress"
_MOST_JSON = 4 * 2**20


def owner(request: Any, settings: Settings) -> str:
    """The key of whom a request belongs to: `local`, `hf:<id>` or `anon:<hash>`.

    Args:
        request: a starlette request, or gradio's wrapper around one.
        settings: says whether strangers share this page.

    Raises:
        UserError: `cookies_blocked`, for a visitor of a Space without the cookie.
    """
    if not settings.on_space:
        return "local"
    connection: HTTPConnection = getattr(request, "request", request)
    signed_in = (connection.scope.get("session") or {}).get("oauth_info") or {}
    person = (signed_in.get("userinfo") or {}).get("sub")
    if person:
        return f"hf:{person}"
    secret = connection.cookies.get(OWNER_COOKIE, "")
    if not _SECRET.fullmatch(secret):
        raise UserError("cookies_blocked")
    return f"anon:{hashlib.sha256(secret.encode()).hexdigest()[:16]}"


def signed_in(owner_key: str) -> bool:
    """Whether the owner may publish: everybody but an anonymous visitor of a Space."""
    return not owner_key.startswith("anon:")


class Guard:
    """ASGI middleware in front of everything that gradio serves; `line` is gradio's, where it is behind."""

    def __init__(self, app: ASGIApp, settings: Settings, line: calls.Line | None = None) -> None:
        self._app = app
        self._settings = settings
        self._pace = calls.Pace()
        limits = settings.limits
        self._uploads = calls.Uploads(Path(get_upload_folder()), limits.owner_bytes, limits.free_disk)
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, redirect, or pass on with headers and cookies added to the answer."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        early = refusal(scope, self._settings) or to_other_language(scope)
        if early is not None:
            await early(scope, receive, _adding(send, self._always(scope)))
            return
        who = _who(scope, self._settings)
        scope, added = calls.own_address(scope, who), [*self._always(scope), *self._cookies(scope)]
        if scope["method"] == "POST" and scope["path"] == _UPLOAD and not self._may_upload(scope, who):
            await PlainTextResponse("No room for this upload.", 413)(scope, receive, _adding(send, added))
        elif scope["path"] == _PROGRESS and self._settings.on_space and not self._pace.allows(who):
            await _too_many(scope, receive, _adding(send, added))
        elif scope["method"] == "POST" and scope["path"] in calls.CALLS:
            await self._call(scope, receive, _adding(send, added), who)
        else:
            await self._app(scope, receive, _adding(send, added))

    async def _call(self, scope: Scope, receive: Receive, send: Send, who: str) -> None:
        # At home there is one owner with as many windows as that person likes.
        if self._settings.on_space and not self._may_call(who):
            await _too_many(scope, receive, send)
            return
        try:
            scope, receive = await calls.own_call(scope, receive, who)
        except (ValueError, RecursionError):
            await PlainTextResponse("Refused: this page makes no such call.", 400)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may_upload(self, scope: Scope, who: str) -> bool:
        # At home the table's own check says in a sentence what is too much.
        size = int(Headers(scope=scope).get("content-length", "0"))
        return not self._settings.on_space or self._uploads.allows(who, size)

    def _may_call(self, who: str) -> bool:
        return self._pace.allows(who) and (self._line is None or self._line.has_room(who))

    def _always(self, scope: Scope) -> list[tuple[str, str]]:
        above = "https://huggingface.co https://*.hf.space" if self._settings.on_space else "'self'"
        found = [
            ("Content-Security-Policy", f"{_POLICY}; frame-ancestors {above}"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
        ]
        return found if scope["path"].startswith(_SAME_FOR_ALL) else [*found, ("Cache-Control", "no-store")]

    def _cookies(self, scope: Scope) -> list[tuple[str, str]]:
        if scope["path"] not in PATHS.values():
            return []
        found = []
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("lang")
        if asked in PATHS:
            found.append(("Set-Cookie", self._cookie(LANGUAGE_COOKIE, asked)))
        if self._settings.on_space and not _SECRET.fullmatch(_cookies(scope).get(OWNER_COOKIE, "")):
            found.append(("Set-Cookie", self._cookie(OWNER_COOKIE, secrets.token_hex(32))))
        return found

    def _cookie(self, name: str, value: str) -> str:
        # A Space is shown inside a frame of huggingface.co: there only SameSite=None cookies travel, and only
        # partitioned ones where the browser blocks third parties. Foreign pages are kept out by the Origin check.
        where = "SameSite=None; Secure; Partitioned" if self._settings.on_space else "SameSite=Lax"
        return f"{name}={value}; Path=/; Max-Age={_YEAR}; HttpOnly; {where}"


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("Too many calls.", 429, {"Retry-After": "1"})(scope, receive, send)


def _adding(send: Send, added: list[tuple[str, str]]) -> Send:
    """`send` with headers added to the answer; of those that may stand once, ours holds."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in added:
                if name == "Set-Cookie":
                    headers.append(name, value)
                else:
                    headers[name] = value
        await send(message)

    return send_with_headers


def _who(scope: Scope, settings: Settings) -> str:
    """The owner's key, empty for somebody without the cookie."""
    try:
        return owner(HTTPConnection(scope), settings)
    except UserError:
        return ""


def refusal(scope: Scope, settings: Settings) -> Response | None:
    """The answer to a request that must not pass, else None."""
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if not settings.on_space and not _local_host(host, settings):
        return PlainTextResponse("This page answers only on this computer's own address.", 403)
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return PlainTextResponse("Refused: the request comes from another page.", 403)
    reads = scope["method"] in ("GET", "HEAD")
    if not reads and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return PlainTextResponse("Refused: the request comes from another page.", 403)
    path = scope["path"]
    if path not in OPEN_PATHS and not path.startswith(OPEN_FOLDERS):
        return PlainTextResponse("Not found", 404)
    if path == _UPLOAD and not _who(scope, settings):
        return PlainTextResponse("Refused: the upload would belong to nobody.", 403)
    return None if reads else _too_large(headers, path, settings)


def _too_large(headers: Headers, path: str, settings: Settings) -> Response | None:
    length = headers.get("content-length", "")
    most = settings.limits.file_bytes + 2**16 if path == _UPLOAD else _MOST_JSON
    if not length.isdigit():
        return PlainTextResponse("Length required", 411)
    return PlainTextResponse("Too large", 413) if int(length) > most else None


def _local_host(host: str, settings: Settings) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name in ("127.0.0.1", "localhost", "::1"):
        return True
    if settings.host in ("127.0.0.1", "localhost", "::1"):
        return False
    # Somebody chose to listen to the network. A bare address is safe: only a name can be rebound by a foreign page.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == settings.host
    return True


def _cookies(scope: Scope) -> dict[str, str]:
    return HTTPConnection(scope).cookies


def to_other_language(scope: Scope) -> Response | None:
    """A redirect from the English page where the person chose Chinese before, or else the browser prefers it."""
    query = parse_qsl(scope["query_string"].decode("latin-1"))
    if scope["path"] != "/" or scope["method"] != "GET" or "lang" in dict(query):
        return None
    chosen = _cookies(scope).get(LANGUAGE_COOKIE)
    if chosen == "en" or (chosen is None and not _prefers_chinese(Headers(scope=scope).get("accept-language", ""))):
        return None
    return RedirectResponse(PATHS["zh-CN"] + (f"?{urlencode(query)}" if query else ""), 307)


def _prefers_chinese(accepted: str) -> bool:
    """Whether Chinese comes before English in an Accept-Language header."""
    weighted: list[tuple[float, str]] = []
    for part in accepted.split(","):
        name, _, weight = part.strip().partition(";q=")
        try:
            weighted.append((float(weight) if weight else 1.0, name.lower()[:2]))
        except ValueError:
            continue
    ours = [(weight, name) for weight, name in weighted if name in ("zh", "en")]
    return bool(ours) and max(ours, key=lambda entry: entry[0])[1] == "zh"


def token(request: Any) -> str | None:
    """The Hub token of a person who signed in on a Space, None for anybody else."""
    connection: HTTPConnection = getattr(request, "request", request)
    info = (connection.scope.get("session") or {}).get("oauth_info") or {}
    return info.get("access_token") if info.get("expires_at", 0) > time.time() else None
