"""Bringing a model from the Hub to our own folder: looked up within seconds, downloaded by a child, whole or absent."""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ValidationError

from core import files, processes
from core.errors import UserError
from core.models import hub_answers, parts
from core.models.architectures import SEQUENCE_CLASSIFICATION
from core.settings import Settings

_REVISION = re.compile(r"[0-9a-f]{40}")
# Config entries that make a library run or fetch what the model's author names.
REFUSED_KEYS = ("auto_map", "attn_implementation", "_attn_implementation", "custom_pipelines", "quantization_config")
_SILENCE = 60.0


@dataclass(frozen=True)
class HubModel:
    """A model on the Hub that can be fetched and fine-tuned here.

    Attributes:
        id: its name as the Hub spells it now.
        revision: commit, 40 hex digits.
        files: (path, bytes) of each file that belongs to the model; nothing else is downloaded.
        digests: path -> `sha256:…` or `git:…` (SHA-1 of a git blob), as far as the Hub tells.
        gated: whether people must accept terms first; the token used here has.
        private: whether only its owners see it.
        parameters: count of numbers, None where the Hub does not tell.
        license: as on its card, None where it has none.
        config: its `config.json`.
    """

    id: str
    revision: str
    files: tuple[tuple[str, int], ...]
    gated: bool
    private: bool
    parameters: int | None = None
    license: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What will be downloaded."""
        return sum(size for _, size in self.files)


class _Stored(BaseModel):
    sha256: str


class _Sibling(BaseModel):
    rfilename: str
    size: int | None = None
    blobId: str | None = None  # noqa: N815 (the Hub's spelling)
    lfs: _Stored | None = None


class _Info(BaseModel):
    id: str
    sha: str
    siblings: list[_Sibling] = []
    gated: bool | str = False
    private: bool = False
    safetensors: dict[str, Any] | None = None
    cardData: dict[str, Any] | None = None  # noqa: N815


def check_id(name: str, endpoint: str = "https://huggingface.co") -> str:
    """See `core.models.parts.check_id`.

    Raises:
        UserError: `model_id_malformed`.
    """
    return parts.check_id(name, endpoint)


def hub_reachable(settings: Settings) -> bool:
    """Whether the Hub answers at all, found out within two seconds."""
    return hub_answers.reachable(settings)


def look_up(name: str, settings: Settings, token: str | None = None) -> HubModel:
    """What the Hub knows of a model, and whether it can be fine-tuned here; answers within five seconds.

    Raises:
        UserError: `model_id_malformed`, `model_not_found`, `hub_unreachable`, `token_invalid`, `model_gated`,
            `model_not_safetensors`, `model_needs_code`, `model_architecture_unsupported`.
    """
    wanted = check_id(name, settings.hub_endpoint)
    if token:
        hub_answers.check_token(token)
    info, config = hub_answers.within(settings.limits.hub_timeout, lambda: _ask(wanted, settings, token))
    mine = [s for s in info.siblings if parts.is_part(s.rfilename)]
    if not any(parts.is_weights(s.rfilename) for s in mine):
        raise UserError("model_not_safetensors", name=wanted)
    if any(key in config for key in REFUSED_KEYS):
        raise UserError("model_needs_code", name=wanted)
    family = str(config.get("model_type") or "?")[:40]
    if family not in SEQUENCE_CLASSIFICATION:
        raise UserError("model_architecture_unsupported", name=wanted, architecture=family)
    return HubModel(
        id=info.id,
        revision=info.sha,
        files=tuple((s.rfilename, s.size or 0) for s in mine),
        gated=bool(info.gated),
        private=info.private,
        parameters=_whole_number((info.safetensors or {}).get("total")),
        license=_word((info.cardData or {}).get("license")),
        config=config,
        digests={s.rfilename: digest for s in mine if (digest := _digest(s))},
    )


def _ask(name: str, settings: Settings, token: str | None) -> tuple[_Info, dict[str, Any]]:
    """Two questions: what is there, and its config, which a gated model shows only to whom it knows."""
    try:
        info = _Info.model_validate(hub_answers.get_json(settings, f"/api/models/{name}?blobs=true", token))
    except hub_answers.RefusedError as refused:
        raise _refusal(refused, name) from refused
    except ValidationError as error:
        raise UserError("hub_unreachable") from error
    check_id(info.id)
    if not _REVISION.fullmatch(info.sha):
        raise UserError("hub_unreachable")
    try:
        config = hub_answers.get_json(settings, f"/{info.id}/resolve/{info.sha}/config.json", token)
    except hub_answers.RefusedError as refused:
        if refused.status == 404 and refused.code == "EntryNotFound":
            return info, {}
        raise _refusal(refused, name, gated=bool(info.gated)) from refused
    return info, config if isinstance(config, dict) else {}


def _refusal(refused: hub_answers.RefusedError, name: str, *, gated: bool = False) -> UserError:
    if refused.bad_token:
        return UserError("token_invalid")
    if gated or refused.gated:
        return UserError("model_gated", name=name)
    return UserError("model_not_found", name=name)


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9.+-]{1,60}", value) else None


def _digest(sibling: _Sibling) -> str | None:
    if sibling.lfs:
        return f"sha256:{sibling.lfs.sha256}"
    return f"git:{sibling.blobId}" if sibling.blobId else None


def fetch(
    model: HubModel,
    settings: Settings,
    token: str | None,
    owner: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The model's folder on this disk, downloaded by a child if it is not there yet.

    The folder is private to the owner, so that what one person may read is not handed to another. Access to a gated
    or private model is checked anew by `look_up`, which is where a `HubModel` comes from.

    Args:
        on_progress: called with (bytes so far, bytes in all). An exception that it raises ends the download.

    Raises:
        UserError: `disk_full`, `quota_full`, `download_failed`, `model_gated`, `token_invalid`.
    """
    place = _folder(model.id, model.revision, settings, owner)
    with files.disk_full_is_a_user_error():
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / ".lock"):
            if not place.is_dir():
                _check_room(model, settings, place.parent.parent)
                _download(model, settings, token, place, on_progress)
    return place


def _check_room(model: HubModel, settings: Settings, owned: Path) -> None:
    """Refuse before the first byte what would fill the disk, or on a shared page the person's part of it."""
    limits = settings.limits
    if shutil.disk_usage(owned).free - model.bytes < limits.free_disk:
        raise UserError("disk_full")
    used = files.folder_bytes(owned)
    if settings.on_space and used + model.bytes > limits.owner_bytes:
        raise UserError("quota_full", used_mb=used // 2**20, limit_mb=limits.owner_bytes // 2**20)


def _download(
    model: HubModel, settings: Settings, token: str | None, place: Path, on_progress: Callable[[int, int], None] | None
) -> None:
    for left_over in place.parent.glob(".part-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    staged = place.parent / f".part-{secrets.token_hex(8)}"
    staged.mkdir()
    request = {
        "token": token,
        "endpoint": settings.hub_endpoint,
        "id": model.id,
        "revision": model.revision,
        "files": model.files,
        "folder": str(staged),
        "timeout": settings.limits.hub_timeout,
    }

    def hear(message: dict[str, Any]) -> None:
        if "error" in message:
            raise UserError(message["error"], **message.get("facts", {}))
        if on_progress:
            on_progress(min(message["bytes"], model.bytes), model.bytes)

    try:
        processes.converse(settings, "core.models.fetcher", request, hear, silence=_SILENCE)
        for path, size in model.files:
            _check_file(staged / path, size, model.digests.get(path, ""), model.id)
        files.write_json(place.with_suffix(".json"), {"id": model.id, "license": model.license, "gated": model.gated})
        os.replace(staged, place)  # noqa: PTH105 (a folder, in one step)
    except (TimeoutError, ChildProcessError) as error:
        raise UserError("download_failed", name=model.id) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _check_file(file: Path, size: int, digest: str, name: str) -> None:
    """Refuse a file that is not the one that the Hub described."""
    kind, _, expected = digest.partition(":")
    if not file.is_file() or file.stat().st_size != size or (expected and _sum(file, kind) != expected):
        raise UserError("download_failed", name=name)


def _sum(file: Path, kind: str) -> str:
    if kind == "sha256":
        return files.sha256(file)
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _folder(model_id: str, revision: str, settings: Settings, owner: str) -> Path:
    key = hashlib.sha256(owner.encode()).hexdigest()[:16]
    return settings.home / "models" / key / check_id(model_id).replace("/", "--") / revision


def installed(model_id: str, settings: Settings, owner: str) -> list[str]:
    """The revisions of a model that this owner has on disk, newest first.

    Raises:
        UserError: `model_id_malformed`.
    """
    folder = _folder(model_id, "0" * 40, settings, owner).parent
    present = [f for f in folder.glob("*") if f.is_dir() and _REVISION.fullmatch(f.name)]
    return [f.name for f in sorted(present, key=lambda f: f.stat().st_mtime, reverse=True)]


def installed_folder(model_id: str, revision: str | None, settings: Settings, owner: str) -> Path:
    """Where a fetched model lies: the revision asked for, or the newest.

    Raises:
        UserError: `model_not_downloaded`, `model_id_malformed`.
    """
    present = installed(model_id, settings, owner)
    chosen = revision or (present[0] if present else "")
    if chosen not in present:
        raise UserError("model_not_downloaded", name=model_id)
    return _folder(model_id, chosen, settings, owner)


def license_of(model_id: str, revision: str | None, settings: Settings, owner: str) -> str | None:
    """The licence of a fetched model as its card named it, None where that is not known."""
    try:
        folder = installed_folder(model_id, revision, settings, owner)
        return _word(files.read_json(folder.with_suffix(".json")).get("license"))
    except (UserError, OSError, ValueError):
        return None
