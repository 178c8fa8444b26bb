"""Reading from the Hub within seconds: bounded requests, no retries, no library that waits."""

import json
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from core.errors import UserError
from core.settings import Settings

_MOST_BYTES = 16 * 2**20
_T = TypeVar("_T")


class RefusedError(Exception):
    """The Hub answered, and said no.

    Args:
        status: HTTP status, 400 to 499.
        code: the Hub's own word for it (`X-Error-Code`), empty where it gave none.
        message: `X-Error-Message`, empty where it gave none.
    """

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message

    @property
    def bad_token(self) -> bool:
        """Whether it was the token itself that the Hub does not know."""
        return self.status == 401 and self.message == "Invalid credentials in Authorization header"

    @property
    def gated(self) -> bool:
        """Whether the repository asks people to accept its terms first."""
        return self.code == "GatedRepo" or self.status == 403


@dataclass(frozen=True)
class Account:
    """Whose token it is. `organizations` are the groups that they belong to."""

    name: str
    organizations: tuple[str, ...]


def reachable(settings: Settings) -> bool:
    """Whether the Hub answers at all, found out within two seconds."""
    seconds = min(2.0, settings.limits.hub_timeout)
    try:
        within(seconds, lambda: httpx2.head(settings.hub_endpoint, timeout=seconds))
    except UserError:
        return False
    return True


def whoami(settings: Settings, token: str) -> Account:
    """The account that a token belongs to.

    Raises:
        UserError: `token_invalid`, `hub_unreachable`.
    """
    check_token(token)
    try:
        answer = within(settings.limits.hub_timeout, lambda: get_json(settings, "/api/whoami-v2", token))
    except RefusedError as refused:
        raise UserError("token_invalid") from refused
    try:
        return Account(str(answer["name"]), tuple(str(o["name"]) for o in answer.get("orgs", ())))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError("hub_unreachable") from error


def check_token(token: str) -> str:
    """The token, once it is known to fit into a header.

    Raises:
        UserError: `token_invalid`.
    """
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError("token_invalid")
    return token


def headers(token: str | None) -> dict[str, str]:
    """What a request carries: the token, where there is one."""
    return {"Authorization": f"Bearer {check_token(token)}"} if token else {}


def get_json(settings: Settings, path: str, token: str | None) -> Any:
    """One JSON answer of the Hub. See `get`.

    Raises:
        RefusedError, httpx2.HTTPError, ValueError: as `get`; also ValueError where it is not JSON, or nested too deep.
    """
    try:
        return json.loads(get(settings, path, token))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def get(settings: Settings, path: str, token: str | None) -> bytes:
    """One answer of the Hub; to be called inside `within`, which bounds it as a whole.

    Raises:
        RefusedError: the Hub said no.
        httpx2.HTTPError: no answer, or the Hub is in trouble.
        ValueError: larger than any sensible answer.
    """
    with (
        httpx2.Client(timeout=settings.limits.hub_timeout, follow_redirects=True, max_redirects=5) as client,
        client.stream("GET", settings.hub_endpoint + path, headers=headers(token)) as response,
    ):
        raise_for(response)
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > _MOST_BYTES:
                raise ValueError("the answer does not end")
    return bytes(content)


def raise_for(response: httpx2.Response) -> None:
    """Tell a refusal (`RefusedError`) from trouble (`httpx2.HTTPStatusError`); "busy" counts as trouble."""
    if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
        said = response.headers
        raise RefusedError(response.status_code, said.get("x-error-code", ""), said.get("x-error-message", ""))
    response.raise_for_status()


def within(seconds: float, work: Callable[[], _T]) -> _T:
    """The result of `work`, or an error once the time is up, whatever holds it: name lookup, headers, a dripping body.

    The thread of an overdue request is left to end by itself; the process does not wait for it.

    Raises:
        UserError: `hub_unreachable` where the time is up, or there was no sensible answer.
        RefusedError: the Hub said no.
    """
    done: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((True, work()))
        except Exception as error:  # noqa: BLE001 (handed to the waiting caller)
            done.put((False, error))

    threading.Thread(target=run, daemon=True, name="hub").start()
    try:
        worked, result = done.get(timeout=seconds)
    except queue.Empty:
        raise UserError("hub_unreachable") from None
    if worked:
        return result  # type: ignore[no-any-return]
    if isinstance(result, httpx2.HTTPError | httpx2.InvalidURL | ValueError | OSError):
        raise UserError("hub_unreachable") from result
    raise result
