"""Publishing a result on the Hub: the only importer of the Hub's write API.

The upload is done by a child (`python -m core.publishing.hub`), so that it can be ended when the Hub does not answer.
The token travels to it by pipe.
"""

import base64
from collections.abc import Callable
from typing import Any

from core import processes
from core.errors import UserError
from core.hub import answers, repos
from core.models import parts
from core.publishing import archive, card
from core.runs.store import RunStore
from core.settings import Settings

_SECONDS_BESIDES = 120.0
_SLOWEST_BYTES_PER_SECOND = 2**17
_READ_SECONDS = 60.0


def push(
    store: RunStore, run_id: str, owner: str, *, repo: str, token: str | None, settings: Settings, private: bool = True
) -> str:
    """Publish a finished run's model with its card, in one commit, and answer the address of its page.

    The same result can be pushed again: what is there already is not sent twice. A repository that something else
    made is never written to.

    Args:
        repo: `name` (under the token's own account) or `org/name`; a link to it will do.
        token: the person's own; it is handed to the child by pipe and kept nowhere.
        private: whether only its owners shall see the repository.

    Raises:
        UserError: `run_unknown`, `run_has_no_model`, `token_missing`, `token_invalid`, `repo_name_malformed`,
            `repo_exists`, `repo_is_public`, `repo_is_private`, `repo_forbidden`, `hub_unreachable`, `push_failed`.
    """
    store.get(run_id, owner)
    folder = store.model_folder(run_id)
    if not token or not token.strip():
        raise UserError("token_missing")
    named = repos.check_id(repo, settings.hub_endpoint, "repo_name_malformed")
    account = answers.whoami(settings, token.strip())
    repo_id = named if "/" in named else f"{account.name}/{named}"
    entries = archive.entries(folder, card.for_run(store, run_id, owner, settings, repo_id))
    request = {
        "token": token.strip(),
        "endpoint": settings.hub_endpoint,
        "repo": repo_id,
        "private": private,
        "connect": settings.limits.hub_timeout,
        "entries": [_described(entry) for entry in entries],
    }
    return _upload(settings, request, sum(entry.size for entry in entries))


def _described(entry: archive.Entry) -> dict[str, str]:
    if entry.content is not None:
        return {"name": entry.name, "content": base64.b64encode(entry.content).decode()}
    return {"name": entry.name, "file": str(entry.file)}


def _upload(settings: Settings, request: dict[str, Any], size: int) -> str:
    """Let the child do it, within a time that a slow line needs for this size."""
    heard: dict[str, Any] = {}
    try:
        seconds = _SECONDS_BESIDES + size / _SLOWEST_BYTES_PER_SECOND
        processes.converse(settings, "core.publishing.hub", request, heard.update, silence=seconds)
    except TimeoutError as error:
        raise UserError("hub_unreachable") from error
    except ChildProcessError as error:
        raise UserError("push_failed", reason="crash") from error
    if "error" in heard:
        raise UserError(heard["error"], **heard["facts"])
    return str(heard["url"])


def upload(request: dict[str, Any]) -> str:
    """The child's work: make the repository, look at what is in it, commit.

    Raises:
        UserError: as `push`.
    """
    import httpx2
    from huggingface_hub import HfApi, set_client_factory
    from huggingface_hub.errors import HfHubHTTPError

    set_client_factory(_client_factory(request["connect"]))
    api = HfApi(endpoint=request["endpoint"], token=request["token"])
    repo = request["repo"]
    try:
        api.create_repo(repo, private=request["private"], exist_ok=True)
        info = api.model_info(repo)
        _check_ours(api, repo, info, private=request["private"])
        api.create_commit(
            repo,
            _operations(request["entries"], [s.rfilename for s in info.siblings or []]),
            commit_message="Publish the fine-tuned model",
            parent_commit=info.sha,
        )
    except HfHubHTTPError as error:
        raise _refusal(error.response.status_code, type(error).__name__, repo) from error
    except httpx2.HTTPError as error:
        raise UserError("hub_unreachable") from error
    except (RuntimeError, ValueError) as error:  # how the library reports a failed part of an upload, or a refused card
        raise _cause(error, repo) from error
    return f"{request['endpoint']}/{repo}"


def _client_factory(connect: float) -> Callable[[], Any]:
    """The client that the library is to use: with time limits, which its own does not have."""
    import httpx2

    return lambda: httpx2.Client(follow_redirects=True, timeout=httpx2.Timeout(_READ_SECONDS, connect=connect))


def _check_ours(api: Any, repo: str, info: Any, *, private: bool) -> None:
    """Only an empty repository, or one whose card carries our tag, is written to; and nobody is exposed by surprise.

    Raises:
        UserError: `repo_exists`, `repo_is_public`, `repo_is_private`.
    """
    present = {s.rfilename for s in info.siblings or []} - {".gitattributes"}
    if present and card.TAG not in (info.tags or []):
        raise UserError("repo_exists", repo=repo)
    if private and not info.private:
        raise UserError("repo_is_public", repo=repo)
    if info.private and not private:
        raise UserError("repo_is_private", repo=repo)


def _operations(entries: list[dict[str, str]], present: list[str]) -> list[Any]:
    """Add every file; delete parts of an earlier result that this one does not have, or the two would mix."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    names = {entry["name"] for entry in entries}
    gone = [CommitOperationDelete(name) for name in present if parts.is_part(name) and name not in names]
    added = [
        CommitOperationAdd(e["name"], base64.b64decode(e["content"]) if "content" in e else e["file"]) for e in entries
    ]
    return added + gone


def _refusal(status: int, reason: str, repo: str) -> UserError:
    if status == 401:
        return UserError("token_invalid")
    if status in (402, 403, 404):
        return UserError("repo_forbidden", repo=repo)
    if status == 429 or status >= 500:
        return UserError("hub_unreachable")
    return UserError("push_failed", reason=reason)


def _cause(error: BaseException, repo: str) -> UserError:
    """What lies under an error that the library wrapped."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    inner = error.__cause__
    if isinstance(inner, HfHubHTTPError):
        return _refusal(inner.response.status_code, type(inner).__name__, repo)
    if isinstance(inner, httpx2.HTTPError):
        return UserError("hub_unreachable")
    return UserError("push_failed", reason=type(inner or error).__name__)


def main() -> int:
    """Answer one request; the exit status is 0 also for an error that was said."""
    request, say = processes.requested()
    try:
        say({"url": upload(request)})
    except UserError as error:
        say({"error": error.code, "facts": error.facts})
    return 0


if __name__ == "__main__":
    processes.end_with(main)
