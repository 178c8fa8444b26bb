"""People who visit a page that is shared with strangers, and what its answers hold."""

import hashlib
import json
import secrets
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from itsdangerous import TimestampSigner

from core.settings import Settings
from ui.guard import OWNER_COOKIE

# What a Space is told of its sign-in; whoever knows the secret can sign anybody in, which the tests do.
SECRET = "the secret of the sign-in"
SIGN_IN = {
    "OAUTH_CLIENT_ID": "client",
    "OAUTH_CLIENT_SECRET": SECRET,
    "OAUTH_SCOPES": "openid profile",
    "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
}
_SIGNED = hashlib.sha256(f"{SECRET}-v4".encode()).hexdigest()
_MARK = "window.gradio_config = "
# Connections that are not kept need not be closed.
UNKEPT = httpx2.Limits(max_keepalive_connections=0)
Function = dict[str, Any]


def anonymous() -> dict[str, str]:
    """The cookies of somebody new without an account."""
    return {OWNER_COOKIE: secrets.token_hex(32)}


def signed_in(person: str, token: str = "") -> dict[str, str]:
    """The cookies of somebody who signed in with an account."""
    info = {"userinfo": {"sub": person, "preferred_username": person}, "access_token": token}
    info["expires_at"] = int(time.time()) + 3600
    content = b64encode(json.dumps({"oauth_info": info}).encode())
    return anonymous() | {"session": TimestampSigner(_SIGNED).sign(content).decode()}


class Visitor:
    """Somebody with cookies, at a page; without cookies it is nobody."""

    def __init__(self, url: str, cookies: dict[str, str] | None = None) -> None:
        self.cookies = cookies or {}
        told = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if cookies else {}
        self.http = httpx2.Client(
            base_url=url, headers={"origin": url} | told, timeout=60, trust_env=False, limits=UNKEPT
        )
        self._config: dict[str, Any] | None = None

    def owner(self) -> str:
        """The key of an anonymous visitor, as the stores know it."""
        return f"anon:{hashlib.sha256(self.cookies[OWNER_COOKIE].encode()).hexdigest()[:16]}"

    @property
    def config(self) -> dict[str, Any]:
        """What the English page tells a browser of its parts and functions."""
        if self._config is None:
            page = self.http.get("/").text
            self._config = json.JSONDecoder().raw_decode(page[page.index(_MARK) + len(_MARK) :])[0]
        return self._config

    def functions(self) -> list[Function]:
        """Every function of the page that runs on the server."""
        return [function for function in self.config["dependencies"] if function["backend_fn"]]

    def find(self, event: str, elem_id: str) -> Function:
        """The function behind an event of the part with an id."""
        known = {part["id"]: part["props"].get("elem_id") for part in self.config["components"]}
        aims = ((f, [(known.get(part), name) for part, name in f["targets"]]) for f in self.functions())
        return next(function for function, targets in aims if (elem_id, event) in targets)

    def button(self, words: str) -> Function:
        """The function behind the button with these words on it."""
        numbers = {part["id"] for part in self.config["components"] if part["props"].get("value") == words}
        return next(f for f in self.functions() if any(part in numbers for part, _ in f["targets"]))

    def values(self, function: Function) -> list[Any]:
        """What the page would send before anything was touched."""
        parts = {part["id"]: part["props"] for part in self.config["components"]}
        return [parts[number].get("value") for number in function["inputs"]]

    def call(
        self, function: Function, values: list[Any] | None = None, session: str | None = None, told: Any = None
    ) -> str:
        """Everything that a function answers, as text, whether it is called by the queue or straight."""
        session = session or secrets.token_hex(6)
        body = {
            "data": self.values(function) if values is None else values,
            "fn_index": function["id"],
            "session_hash": session,
            "event_data": told,
        }
        path = "/gradio_api/queue/join" if function["queue"] else "/gradio_api/run/predict"
        while (asked := self.http.post(path, json=body)).status_code == 429:
            time.sleep(0.2)  # the tests are faster than people are allowed to be
        if not function["queue"] or asked.status_code != 200:
            return asked.text
        return "\n".join(self.heard(session))

    def heard(self, session: str) -> Iterator[str]:
        """What the queue says in a session until one of its calls is done."""
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line[5:])
                    yield json.dumps(message.get("output") or message, ensure_ascii=False)
                    if message["msg"] in ("process_completed", "unexpected_error"):
                        return

    def upload(self, name: str, content: bytes) -> str:
        """Hand a file to gradio; where it put it."""
        return str(self.http.post("/gradio_api/upload", files={"files": (name, content)}).json()[0])


def file(path: object) -> dict[str, Any]:
    """A file as a browser names it in a call."""
    return {"path": path, "orig_name": "mine.csv", "meta": {"_type": "gradio.FileData"}}


def digest(*roots: Path, leaving: tuple[str, ...] = ()) -> dict[str, str]:
    """Path -> sha256 of every file below some folders, but for folders with certain names."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and not set(path.relative_to(root).parts) & {*leaving}
    }


def settings_of(home: Path) -> Settings:
    """How the tests open the stores of a served home."""
    return Settings(home=home, place="space")
