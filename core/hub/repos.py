"""Repositories of the Hub: how they are named, what the Hub tells of one, and why it would not."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from core.errors import UserError
from core.hub import answers
from core.settings import Settings

REVISION = re.compile(r"[0-9a-f]{40}")
_SEGMENT = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_LONGEST_PATH = 500
_DEEPEST_PATH = 20


@dataclass(frozen=True)
class Kind:
    """Models or data sets: where the Hub keeps them, and what to call what can go wrong.

    Attributes:
        api: the Hub's word for them in addresses of its API.
        prefix: what stands before the name in all its other addresses.
        malformed: error code where a name is none.
        missing: error code where there is none that the person may see.
        gated: error code where terms must be accepted first.
    """

    api: str
    prefix: str
    malformed: str
    missing: str
    gated: str


MODELS = Kind("models", "", "model_id_malformed", "model_not_found", "model_gated")
DATA_SETS = Kind("datasets", "datasets/", "data_set_id_malformed", "data_set_not_found", "data_set_gated")
KINDS = {kind.api: kind for kind in (MODELS, DATA_SETS)}


class _Stored(BaseModel):
    sha256: str


class Sibling(BaseModel):
    """A file of a repository, as the Hub lists it."""

    rfilename: str
    size: int | None = None
    blobId: str | None = None  # noqa: N815 (the Hub's spelling)
    lfs: _Stored | None = None

    @property
    def digest(self) -> str:
        """`sha256:…` or `git:…` (SHA-1 of a git blob), empty where the Hub does not tell."""
        if self.lfs:
            return f"sha256:{self.lfs.sha256}"
        return f"git:{self.blobId}" if self.blobId else ""


class RepoInfo(BaseModel):
    """What the Hub tells of a repository at its newest commit."""

    id: str
    sha: str
    siblings: list[Sibling] = []
    gated: bool | str = False
    private: bool = False
    safetensors: dict[str, Any] | None = None
    cardData: dict[str, Any] | None = None  # noqa: N815

    @property
    def license(self) -> str | None:
        """As on the card, None where it has none or no plain word."""
        named = (self.cardData or {}).get("license")
        words = [word(value) for value in (named if isinstance(named, list) else [named])]
        return ", ".join(w for w in words if w) or None


def check_id(
    name: str, endpoint: str = "https://huggingface.co", code: str = MODELS.malformed, prefix: str = ""
) -> str:
    """A repository name, `org/name` or `name`, as the Hub spells it; a pasted link to the endpoint is stripped first.

    Paths, other addresses and anything else that is no name are refused before any file or address is opened.

    Args:
        name: what the person typed.
        endpoint: base address of the Hub.
        code: error code to raise.
        prefix: what stands before the name in a link, see `Kind`.

    Raises:
        UserError: `model_id_malformed` (or `code`).
    """
    stripped = name.strip()
    link = f"{endpoint.rstrip('/')}/{prefix}"
    if stripped.startswith(link):
        stripped = stripped.removeprefix(link).removesuffix("/")
    segments = stripped.split("/")
    whole = 1 <= len(segments) <= 2 and all(_SEGMENT.fullmatch(s) and s.isascii() for s in segments)
    # `--` and `..` are refused by the Hub too; so `--` can stand for the slash in a folder's name.
    if not whole or "--" in stripped or ".." in stripped or stripped.endswith(".git"):
        raise UserError(code, name=name[:120])
    return stripped


def is_path(path: str) -> bool:
    """Whether this is a plain path inside a repository: relative, never upwards, no address."""
    segments = path.split("/")
    plain = path.isprintable() and "\\" not in path and len(path) <= _LONGEST_PATH and len(segments) <= _DEEPEST_PATH
    return plain and not any(segment in ("", ".", "..") for segment in segments)


def ask(kind: Kind, name: str, settings: Settings, token: str | None) -> RepoInfo:
    """What the Hub tells; to be called inside `answers.within`.

    Raises:
        UserError: `hub_unreachable`, `token_invalid`, and the kind's `malformed`, `missing` and `gated`.
        httpx2.HTTPError, ValueError: as `answers.get`.
    """
    try:
        info = RepoInfo.model_validate(answers.get_json(settings, f"/api/{kind.api}/{name}?blobs=true", token))
    except answers.RefusedError as refused:
        raise refusal(refused, kind, name) from refused
    except ValidationError as error:
        raise UserError("hub_unreachable") from error
    check_id(info.id, settings.hub_endpoint, kind.malformed)
    if not REVISION.fullmatch(info.sha):
        raise UserError("hub_unreachable")
    return info


def refusal(refused: answers.RefusedError, kind: Kind, name: str, *, gated: bool = False) -> UserError:
    """The error that the Hub's refusal amounts to.

    Args:
        gated: whether it is known that people must accept terms first.
    """
    if refused.bad_token:
        return UserError("token_invalid")
    return UserError(kind.gated if gated or refused.gated else kind.missing, name=name)


def word(value: Any) -> str | None:
    """The value if it is a short plain word, as licences are, else None."""
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9.+-]{1,60}", value) else None
