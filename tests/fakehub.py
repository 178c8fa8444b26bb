"""A small Hub for tests: real HTTP on this machine, what reading, uploading and committing need, and faults."""

import asyncio
import base64
import hashlib
import json
import re
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import yaml
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Account:
    """Somebody with a token. `can_write` is the token's right, `accepted` the gated repositories opened to them."""

    name: str
    organizations: tuple[str, ...] = ()
    can_write: bool = True
    accepted: set[str] = field(default_factory=set)


@dataclass
class Repo:
    """A repository: every commit's files stay readable by its hash. `downloads` are those of the last 30 days."""

    id: str
    kind: str = "model"
    private: bool = False
    gated: bool = False
    hardware: str = ""
    downloads: int = 0
    made_with: dict[str, Any] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commit({".gitattributes": b"*.safetensors filter=lfs\n"})

    @property
    def sha(self) -> str:
        return next(reversed(self.commits))

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.sha]

    @property
    def card(self) -> dict[str, Any]:
        found = re.match(r"^---\n(.*?)\n---\n", self.files.get("README.md", b"").decode(), re.DOTALL)
        return (yaml.safe_load(found[1]) or {}) if found else {}

    def commit(self, files: dict[str, bytes]) -> str:
        self.commits[secrets.token_hex(20)] = files
        return self.sha

    def at(self, revision: str) -> dict[str, bytes] | None:
        return self.files if revision == "main" else self.commits.get(revision)


class FakeHub:
    """State and faults of the Hub.

    Attributes:
        accounts: token -> account.
        repos: (kind, id) -> repository.
        aliases: old id of a model, or `datasets/` and that of a data set -> the id it has now.
        requests: everything that was asked.
        fault: called first with each request; what it returns is the answer, None lets the request through.
        cut: downloads of large files that break off half way, as often as this number says.
        unhandled: calls that this Hub does not know; a test looks that there are none.
    """

    def __init__(self) -> None:
        self.accounts = {"hf_writer": Account("tester", ("team",))}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.aliases: dict[str, str] = {}
        self.requests: list[Asked] = []
        self.unhandled: list[str] = []
        self.fault: Callable[[Request], Awaitable[Response | None]] | None = None
        self.cut = 0
        self.url = ""
        self._large: dict[str, bytes] = {}
        self.app = self._build()

    # -- what tests call

    def add(self, repo_id: str, files: dict[str, bytes], kind: str = "model", **facts: Any) -> Repo:
        """A repository with these files."""
        repo = Repo(repo_id, kind, **facts)
        repo.commit(repo.files | files)
        self.repos[kind, repo_id] = repo
        return repo

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        return self.repos[kind, repo_id]

    def asked(self, method: str, part: str) -> list[Asked]:
        """The requests of this method whose path contains `part`."""
        return [r for r in self.requests if r.method == method and part in r.path]

    # -- who may do what

    def _account(self, request: Request) -> Account | None:
        return self.accounts.get(request.headers.get("authorization", "").removeprefix("Bearer "))

    def _refuse_account(self, request: Request) -> Response | None:
        if "authorization" in request.headers and self._account(request) is None:
            return _no(401, "", "Invalid credentials in Authorization header")
        return None

    def _visible(self, request: Request, kind: str, repo_id: str) -> Repo | Response:
        account = self._account(request)
        repo = self.repos.get((KINDS[kind], repo_id))
        if repo and (not repo.private or (account and _owns(account, repo_id))):
            return repo
        return _no(404 if account else 401, "RepoNotFound", "Repository not found")

    def _refuse_gated(self, request: Request, repo: Repo) -> Response | None:
        account = self._account(request)
        if not repo.gated or (account and (repo.id in account.accepted or _owns(account, repo.id))):
            return None
        return _no(403 if account else 401, "GatedRepo", f"Access to {repo.kind} {repo.id} is restricted")

    def _writable(self, request: Request, kind: str, repo_id: str) -> Repo | Response:
        repo, account = self._visible(request, kind, repo_id), self._account(request)
        if isinstance(repo, Response):
            return repo
        if account is None or not account.can_write or not _owns(account, repo_id):
            return _no(403, "", "You don't have the rights to write here")
        return repo

    # -- the calls

    def _build(self) -> FastAPI:
        app = FastAPI(openapi_url=None)
        app.middleware("http")(self._watch)
        app.add_api_route("/", lambda: {}, methods=["GET", "HEAD"])
        app.add_api_route("/api/whoami-v2", self._whoami)
        app.add_api_route("/api/repos/create", self._create, methods=["POST"])
        app.add_api_route("/api/validate-yaml", self._validate, methods=["POST"])
        app.add_api_route("/api/models", self._search)
        app.add_api_route("/api/{word}", lambda: {})  # what the library asks on its own behalf
        app.add_api_route("/api/{kind}/{name}", self._alias)
        one = "/api/{kind}/{org}/{name}"
        app.add_api_route(one, self._info)
        app.add_api_route(one + "/revision/{revision}", self._info)
        app.add_api_route(one + "/auth-check", self._auth_check)
        app.add_api_route(one + "/tree/{revision}", self._tree)
        app.add_api_route(one + "/tree/{revision}/{path:path}", lambda: _no(404, "EntryNotFound"))
        app.add_api_route(one + "/preupload/{revision}", self._preupload, methods=["POST"])
        app.add_api_route(one + "/commit/{revision}", self._commit, methods=["POST"])
        app.add_api_route(one + "/super-squash/{revision}", self._squash, methods=["POST"])
        app.add_api_route(one + "/hardware", self._hardware, methods=["POST"])
        for prefix in ("", "/spaces", "/datasets"):
            batch = f"{prefix}/{{org}}/{{name}}.git/info/lfs/objects/batch"
            app.add_api_route(batch, self._batch, methods=["POST"])
        app.add_api_route("/lfs/{oid}", self._take, methods=["PUT"])
        app.add_api_route("/lfs/{oid}", self._give, methods=["GET", "HEAD"])
        resolve = "/{org}/{name}/resolve/{revision}/{path:path}"
        for prefix in ("/datasets", ""):
            app.add_api_route(prefix + resolve, self._resolve, methods=["GET", "HEAD"])
        app.add_api_route("/{rest:path}", self._unknown, methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
        return app

    async def _watch(self, request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        self.requests.append(Asked(request.method, request.url.path, dict(request.headers)))
        if self.fault and (answer := await self.fault(request)):
            return answer
        if not request.url.path.startswith("/lfs/") and (refusal := self._refuse_account(request)):
            return refusal
        return await go_on(request)

    async def _unknown(self, request: Request) -> Response:
        self.unhandled.append(f"{request.method} {request.url.path}")
        return _no(404, "", "no such call")

    async def _whoami(self, request: Request) -> Any:
        account = self._account(request)
        if account is None:
            return _no(401, "", "Invalid credentials in Authorization header")
        return {"type": "user", "id": account.name, "name": account.name, "fullname": account.name} | {
            "orgs": [{"type": "org", "id": name, "name": name} for name in account.organizations],
            "auth": {"accessToken": {"role": "write" if account.can_write else "read"}},
        }

    async def _create(self, request: Request) -> Any:
        asked, account = await request.json(), self._account(request)
        if account is None:
            return _no(401, "", "Invalid username or password.")
        repo_id, kind = f"{asked.get('organization') or account.name}/{asked['name']}", asked.get("type", "model")
        if not account.can_write or not _owns(account, repo_id):
            return _no(403, "", "You don't have the rights to create a model under this namespace")
        url = f"{self.url}/{'spaces/' if kind == 'space' else ''}{repo_id}"
        if (kind, repo_id) in self.repos:
            return JSONResponse({"error": "You already created this repo", "url": url}, 409)
        private = asked.get("visibility") == "private"
        self.repos[kind, repo_id] = Repo(repo_id, kind, private=private, made_with=asked)
        return {"url": url, "name": repo_id, "id": secrets.token_hex(12)}

    async def _validate(self, request: Request) -> Any:
        content = (await request.json())["content"]
        found = re.match(r"^---\n(.*?)\n---", content, re.DOTALL)
        try:
            card = yaml.safe_load(found[1]) if found else None
        except yaml.YAMLError as error:
            return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
        errors = [] if isinstance(card, dict) else [{"message": "there is no metadata"}]
        return JSONResponse({"errors": errors, "warnings": []}, 400 if errors else 200)

    async def _alias(self, kind: str, name: str, request: Request) -> Any:
        now = self.aliases.get(name if kind == "models" else f"{kind}/{name}")
        if now is None:
            return _no(404 if self._account(request) else 401, "RepoNotFound", "Repository not found")
        return RedirectResponse(f"/api/{kind}/{now}?{request.url.query}", 307)

    async def _search(self, request: Request) -> Any:
        asked = request.query_params
        words, filters = asked.get("search", "").lower(), set(asked.getlist("filter"))
        found = [
            _listed(repo)
            for (kind, repo_id), repo in self.repos.items()
            if kind == "model"
            and words in repo_id.lower()
            and not isinstance(self._visible(request, "models", repo_id), Response)
            and filters <= _tags(repo)
            and asked.get("pipeline_tag") in (None, repo.card.get("pipeline_tag"))
        ]
        found.sort(key=lambda entry: -entry[asked.get("sort", "downloads")])
        shown = {"_id", "id", *asked.getlist("expand")}
        return [{k: v for k, v in entry.items() if k in shown} for entry in found[: int(asked.get("limit", 1000))]]

    async def _info(self, kind: str, org: str, name: str, request: Request, revision: str = "main") -> Any:
        repo = self._visible(request, kind, f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        files = repo.at(revision)
        if files is None:
            return _no(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        blobs = request.query_params.get("blobs", "").lower() in ("true", "1")
        return {
            "_id": "1",
            "id": repo.id,
            "modelId": repo.id,
            "sha": repo.sha if revision == "main" else revision,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "tags": repo.card.get("tags", []),
            "cardData": repo.card,
            "siblings": [_sibling(path, content, blobs) for path, content in files.items()],
        } | _parameters(files)

    async def _auth_check(self, kind: str, org: str, name: str, request: Request) -> Response:
        repo = self._visible(request, kind, f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        return self._refuse_gated(request, repo) or Response("OK")

    async def _tree(self, kind: str, org: str, name: str, revision: str, request: Request) -> Any:
        repo = self._visible(request, kind, f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        files = repo.at(revision)
        if files is None:
            return _no(404, "RevisionNotFound")
        return [{"type": "file", "path": p, "size": len(c), "oid": _git_sum(c)} | _lfs(p, c) for p, c in files.items()]

    async def _preupload(self, kind: str, org: str, name: str, revision: str, request: Request) -> Any:
        repo = self._writable(request, kind, f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        answers = []
        for asked in (await request.json())["files"]:
            path, present = asked["path"], repo.files.get(asked["path"])
            mode = "lfs" if _is_large(path) else "regular"
            answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            if present is not None:
                answer["oid"] = _sha256(present) if mode == "lfs" else _git_sum(present)
            answers.append(answer)
        return {"files": answers}

    async def _batch(self, org: str, name: str, request: Request) -> Any:
        repo = self._writable(request, self._kind_of(request), f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        objects = []
        for asked in (await request.json())["objects"]:
            upload = {"actions": {"upload": {"href": f"{self.url}/lfs/{asked['oid']}", "header": {}}}}
            objects.append({**asked, **({} if asked["oid"] in self._large else upload)})
        return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")

    def _kind_of(self, request: Request) -> str:
        first = request.url.path.split("/")[1]
        return first if first in KINDS else "models"

    async def _take(self, oid: str, request: Request) -> Response:
        content = await request.body()
        if _sha256(content) != oid:
            return _no(400, "", "checksum differs")
        self._large[oid] = content
        return Response()

    async def _commit(self, kind: str, org: str, name: str, revision: str, request: Request) -> Any:
        repo = self._writable(request, kind, f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        files = dict(repo.files)
        for line in (await request.body()).splitlines():
            said = json.loads(line)
            key, value = said["key"], said["value"]
            if key == "header" and value.get("parentCommit", repo.sha) != repo.sha:
                return _no(412, "", "The repository has changed since")
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self._large[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files)
        url = f"{self.url}/{repo.id}/commit/{sha}"
        return {"success": True, "commitUrl": url, "commitOid": sha, "hookOutput": ""}

    async def _squash(self, kind: str, org: str, name: str, revision: str, request: Request) -> Any:
        repo = self._writable(request, kind, f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        files = repo.files
        repo.commits.clear()
        repo.commit(files)
        return {}

    async def _hardware(self, kind: str, org: str, name: str, request: Request) -> Any:
        repo = self._writable(request, kind, f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        repo.hardware = (await request.json())["flavor"]
        return {"stage": "BUILDING", "hardware": {"current": None, "requested": repo.hardware}}

    async def _resolve(self, org: str, name: str, revision: str, path: str, request: Request) -> Response:
        repo = self._visible(request, self._kind_of(request), f"{org}/{name}")
        if isinstance(repo, Response):
            return repo
        if refusal := self._refuse_gated(request, repo):
            return refusal
        files = repo.at(revision)
        if files is None:
            return _no(404, "RevisionNotFound")
        if path not in files:
            return _no(404, "EntryNotFound", "Entry not found")
        content = files[path]
        said = {"X-Repo-Commit": repo.sha if revision == "main" else revision, "Accept-Ranges": "bytes"}
        if not _is_large(path):
            return _part(content, request, said | {"ETag": f'"{_git_sum(content)}"'})
        # As on the real Hub, large files lie on another host, and the answer here tells what they are.
        oid = _sha256(content)
        self._large[oid] = content
        elsewhere = self.url.replace("127.0.0.1", "localhost")
        linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{oid}"'}
        return RedirectResponse(f"{elsewhere}/lfs/{oid}", 302, headers=said | linked)

    async def _give(self, oid: str, request: Request) -> Response:
        content = self._large[oid]
        if self.cut and request.method == "GET":
            self.cut -= 1
            return _broken(content, request)
        return _part(content, request, {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


def _no(status: int, code: str = "", message: str = "") -> JSONResponse:
    said = {"X-Error-Code": code, "X-Error-Message": message}
    return JSONResponse({"error": message or code}, status, headers={k: v for k, v in said.items() if v})


def _owns(account: Account, repo_id: str) -> bool:
    return repo_id.split("/")[0] in (account.name, *account.organizations)


def _is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".parquet"))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_sum(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _lfs(path: str, content: bytes) -> dict[str, Any]:
    large = {"sha256": _sha256(content), "oid": _sha256(content), "size": len(content), "pointerSize": 134}
    return {"lfs": large} if _is_large(path) else {}


def _sibling(path: str, content: bytes, blobs: bool) -> dict[str, Any]:
    told = {"size": len(content), "blobId": _git_sum(content)} | _lfs(path, content)
    return {"rfilename": path} | (told if blobs else {})


def _tags(repo: Repo) -> set[str]:
    """The tags of a model: those of its card, its library, and what the Hub sees in its files."""
    tags = {*repo.card.get("tags", []), str(repo.card.get("library_name", "transformers"))}
    return tags | ({"safetensors"} if any(path.endswith(".safetensors") for path in repo.files) else set())


def _listed(repo: Repo) -> dict[str, Any]:
    """A model as an answer to a search shows it."""
    return {
        "_id": "1",
        "id": repo.id,
        "downloads": repo.downloads,
        "likes": 0,
        "pipeline_tag": repo.card.get("pipeline_tag"),
        "tags": sorted(_tags(repo)),
        "gated": "manual" if repo.gated else False,
        "private": repo.private,
        "library_name": repo.card.get("library_name", "transformers"),
        "cardData": repo.card,
    } | _parameters(repo.files)


def _parameters(files: dict[str, bytes]) -> dict[str, Any]:
    if "model.safetensors" not in files or len(files["model.safetensors"]) < 8:
        return {}
    content = files["model.safetensors"]
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return {}
    total = 0
    for name, tensor in header.items():
        size = 1
        for n in tensor.get("shape", ()):
            size *= n
        total += size if name != "__metadata__" else 0
    return {"safetensors": {"parameters": {"F32": total}, "total": total}}


def _range(content: bytes, request: Request) -> tuple[int, int] | None:
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not asked:
        return None
    return int(asked[1]), min(int(asked[2]), len(content) - 1) if asked[2] else len(content) - 1


def _part(content: bytes, request: Request, headers: dict[str, str]) -> Response:
    asked = _range(content, request)
    if asked and asked[0] >= len(content):
        return Response(status_code=416, headers=headers)
    if asked:
        first, last = asked
        headers = headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return Response(content[first : last + 1], 206, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(len(content))})
    return Response(content, headers=headers)


def _broken(content: bytes, request: Request) -> Response:
    """Promises all and sends the first half of what is left, then hangs up."""
    asked = _range(content, request)
    rest = content[asked[0] :] if asked else content

    async def half() -> AsyncIterator[bytes]:
        yield rest[: len(rest) // 2]
        await asyncio.sleep(0.05)

    told = {"Content-Length": str(len(rest))}
    if asked:
        told["Content-Range"] = f"bytes {asked[0]}-{len(content) - 1}/{len(content)}"
    return StreamingResponse(half(), 206 if asked else 200, headers=told)


@contextmanager
def watched_port() -> Iterator[tuple[int, list[str]]]:
    """A port of this machine, and who connected to it while the block lasts: the bait of a hostile card."""
    seen: list[str] = []
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def watch() -> None:
        while True:
            try:
                caller, address = listener.accept()
            except OSError:
                return
            seen.append(str(address))
            caller.close()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], seen
    finally:
        # On Linux a close alone does not wake the thread that waits in accept.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=10)


@contextmanager
def running() -> Iterator[FakeHub]:
    """A Hub that answers at `hub.url` while the block lasts."""
    hub = FakeHub()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    hub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(hub.app, log_level="critical", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(timeout=10)
        listener.close()
