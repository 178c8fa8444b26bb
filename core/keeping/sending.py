"""Putting a run into the private repository of a person, and taking it out again, each in one commit.

A child does it (`python -m core.keeping.sending`), behind everything else that the machine has to do. The token travels
to it by pipe. It says once a second that it lives; where nobody hears that any more, it ends.
"""

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from core import processes
from core.data.store import TableStore
from core.errors import UserError
from core.hub import answers
from core.keeping import layout, snapshot
from core.runs.store import ACTIVE, RunStore
from core.settings import MEBIBYTE, Settings, from_environment

_SECONDS_BESIDES = 120.0
_SLOWEST_BYTES_PER_SECOND = 2**17
_READ_SECONDS = 60.0
_SECONDS_BETWEEN_BEATS = 1.0
_SILENCE = 30.0
_NICE = 19


class Sent(NamedTuple):
    """What is on the Hub now: the step of the newest state (0 for none), and the bytes of all files of the run."""

    step: int
    bytes: int


def keep(
    settings: Settings, run_id: str, owner: str, token: str, gone_on: Callable[[], bool] = lambda: True
) -> Sent | None:
    """Bring what is kept of a run up to date; None where there was nothing newer to keep.

    Args:
        gone_on: asked about once a second; where it says no, it is given up.

    Raises:
        UserError: `token_invalid`, `kept_repo_foreign`, `kept_repo_public`, `kept_repo_forbidden`, `kept_too_large`,
            `hub_unreachable`, `keeping_failed`, `run_unknown`, `table_unknown`, `keeping_needs_base`, `disk_full`.
    """
    most = settings.limits.owner_bytes if settings.on_space else None
    folder = str(settings.home / "keeping" / secrets.token_hex(8))
    asked = {"run": run_id, "owner": owner, "folder": folder, "most": most}
    try:
        heard = _converse(settings, token, asked, gone_on)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Sent(heard["step"], heard["bytes"]) if "step" in heard else None


def forget(settings: Settings, run_id: str, token: str) -> None:
    """Remove a run from the repository, and from its history.

    Raises:
        UserError: `token_invalid`, `kept_repo_foreign`, `kept_repo_public`, `kept_repo_forbidden`, `hub_unreachable`,
            `keeping_failed`.
    """
    _converse(settings, token, {"forget": run_id}, lambda: True)


def _converse(settings: Settings, token: str, asked: dict[str, Any], gone_on: Callable[[], bool]) -> dict[str, Any]:
    """What the child says, within a time that a slow line needs for what it has to send."""
    repo = f"{answers.whoami(settings, token).name}/{layout.NAME}"
    request = asked | {
        "token": token,
        "endpoint": settings.hub_endpoint,
        "repo": repo,
        "connect": settings.limits.hub_timeout,
    }
    heard: dict[str, Any] = {}
    begun = time.monotonic()

    def hear(message: dict[str, Any]) -> None:
        heard.update(message)
        seconds = _SECONDS_BESIDES + heard.get("sending", 0) / _SLOWEST_BYTES_PER_SECOND
        if time.monotonic() - begun > seconds or not gone_on():
            raise TimeoutError

    try:
        processes.converse(settings, "core.keeping.sending", request, hear, silence=_SILENCE)
    except TimeoutError as error:
        raise UserError("hub_unreachable") from error
    except ChildProcessError as error:
        raise UserError("keeping_failed", reason="crash") from error
    if "error" in heard:
        raise UserError(heard["error"], **heard["facts"])
    return heard


# -- the child


def send(request: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    """The child's work for `keep`.

    Raises:
        UserError: as `keep`.
    """
    settings = from_environment()
    runs, tables = RunStore(settings.home), TableStore(settings)
    run_id, folder, most = request["run"], Path(request["folder"]), request["most"]
    try:
        taken = snapshot.take(runs, tables, run_id, request["owner"], folder)
    except FileNotFoundError as error:  # replaced in that very moment
        raise UserError("hub_unreachable") from error
    if most is not None and taken.bytes > most:
        raise UserError("kept_too_large", mb=taken.bytes // MEBIBYTE, limit_mb=most // MEBIBYTE)
    say({"sending": taken.bytes})
    with _repository(request) as (api, info):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        present = {s.rfilename for s in info.siblings or []}
        mine = layout.folder(run_id)
        ended = taken.record.state not in (*ACTIVE, "QUEUED")
        if not taken.step and not ended and any(path.startswith(f"{mine}checkpoints/") for path in present):
            return  # between the last state and the result there is a moment without either
        files = {mine + path: file for path, file in taken.files().items()}
        operations: list[Any] = [CommitOperationAdd(path, str(file)) for path, file in files.items()]
        if "README.md" not in present:
            operations.append(CommitOperationAdd("README.md", layout.CARD.encode()))
        gone = sorted(path for path in present if path.startswith(mine) and path not in files)
        operations += [CommitOperationDelete(path) for path in gone]
        _commit(api, info, operations, "Keep a run")
        if ended:
            _squash(api, info.id)
    say({"step": taken.step, "bytes": taken.bytes})


def remove(request: dict[str, Any]) -> None:
    """The child's work for `forget`.

    Raises:
        UserError: as `forget`.
    """
    with _repository(request) as (api, info):
        from huggingface_hub import CommitOperationDelete

        mine = layout.folder(request["forget"])
        gone = [s.rfilename for s in info.siblings or [] if s.rfilename.startswith(mine)]
        if gone:
            _commit(api, info, [CommitOperationDelete(path) for path in gone], "Forget a run")
            _squash(api, info.id)


def _commit(api: Any, info: Any, operations: list[Any], message: str) -> None:
    """One commit on top of what was looked at, so that two at the same time do not undo one another."""
    api.create_commit(info.id, operations, commit_message=message, parent_commit=info.sha)


def _squash(api: Any, repo: str) -> None:
    """Let go of what earlier commits hold: it takes room of the person's, and is to be gone where it was deleted."""
    from huggingface_hub.errors import HfHubHTTPError

    with contextlib.suppress(HfHubHTTPError):  # what was to be kept is kept
        api.super_squash_history(repo)


@contextlib.contextmanager
def _repository(request: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The Hub's API and what it tells of the repository, which is made where it is not there.

    Raises:
        UserError: what keeps it from being used, and what goes wrong inside the block.
    """
    import httpx2
    from huggingface_hub import HfApi, set_client_factory
    from huggingface_hub.errors import HfHubHTTPError

    timeout = httpx2.Timeout(_READ_SECONDS, connect=request["connect"])
    set_client_factory(lambda: httpx2.Client(follow_redirects=True, timeout=timeout))
    api, repo = HfApi(endpoint=request["endpoint"], token=request["token"]), request["repo"]
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        info = api.model_info(repo)
        present = {s.rfilename for s in info.siblings or []} - {".gitattributes"}
        if present and layout.TAG not in (info.tags or []):
            raise UserError("kept_repo_foreign", repo=repo)
        if not info.private:
            raise UserError("kept_repo_public", repo=repo)
        yield api, info
    except (HfHubHTTPError, httpx2.HTTPError, RuntimeError, ValueError) as error:
        raise _cause(error, repo) from error


def _cause(error: BaseException, repo: str) -> UserError:
    """The error that a failed call amounts to. What fails while a file is sent, the library wraps."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    inner = error if isinstance(error, httpx2.HTTPError) else error.__cause__ or error
    if isinstance(inner, HfHubHTTPError):
        status = inner.response.status_code
        if status == 401:
            return UserError("token_invalid")
        if status in (402, 403, 404):
            return UserError("kept_repo_forbidden", repo=repo)
        # 409 and 412: another commit came first.
        if status in (408, 409, 412, 429) or status >= 500:
            return UserError("hub_unreachable")
    elif isinstance(inner, httpx2.HTTPError):
        return UserError("hub_unreachable")
    return UserError("keeping_failed", reason=type(inner).__name__)


@contextlib.contextmanager
def _beating(say: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Say once a second that this process lives, and end it where nobody hears that."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_SECONDS_BETWEEN_BEATS):
            try:
                say({"alive": True})
            except OSError:
                os._exit(1)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main() -> int:
    """Answer one request; the exit status is 0 also for an error that was said."""
    if hasattr(os, "nice"):
        os.nice(_NICE)
    request, say = processes.requested()
    told = threading.Lock()

    def tell(message: dict[str, Any]) -> None:
        with told:
            say(message)

    with _beating(tell):
        try:
            if "forget" in request:
                remove(request)
            else:
                send(request, tell)
        except UserError as error:
            tell({"error": error.code, "facts": error.facts})
    return 0


if __name__ == "__main__":
    processes.end_with(main)
