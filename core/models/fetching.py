"""Bringing a model from the Hub to our own folder: looked up within seconds, downloaded by a child, whole or absent."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from core import files, room
from core.errors import UserError
from core.hub import answers, downloading, repos
from core.hub.repos import MODELS, REVISION, RepoInfo, Sibling
from core.models import parts
from core.models.architectures import Kind, examples, kind_of, suits
from core.settings import Settings

# Config entries that make a library run or fetch what the model's author names.
REFUSED_KEYS = ("auto_map", "attn_implementation", "_attn_implementation", "custom_pipelines", "quantization_config")


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
        kind: what it can do, see `core.models.architectures`.
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
    kind: Kind = "encoder"

    @property
    def bytes(self) -> int:
        """What will be downloaded."""
        return sum(size for _, size in self.files)


def check_id(name: str, endpoint: str = "https://huggingface.co") -> str:
    """See `core.hub.repos.check_id`.

    Raises:
        UserError: `model_id_malformed`.
    """
    return repos.check_id(name, endpoint)


def hub_reachable(settings: Settings) -> bool:
    """Whether the Hub answers at all, found out within two seconds."""
    return answers.reachable(settings)


def look_up(
    name: str,
    settings: Settings,
    token: str | None = None,
    kinds: tuple[str, ...] | None = None,
    *,
    labels: bool = False,
) -> HubModel:
    """What the Hub knows of a model, and whether it can be fine-tuned here; answers within five seconds.

    Args:
        kinds: kinds of models that the task can use, None for all.
        labels: whether it must take a classification head.

    Raises:
        UserError: `model_id_malformed`, `model_not_found`, `hub_unreachable`, `token_invalid`, `model_gated`,
            `model_is_adapter`, `model_is_gguf`, `model_not_safetensors`, `model_needs_code`,
            `model_architecture_unsupported`, `model_wrong_kind`.
    """
    wanted = check_id(name, settings.hub_endpoint)
    if token:
        answers.check_token(token)
    info, config = answers.within(settings.limits.hub_timeout, lambda: _ask(wanted, settings, token))
    mine = _parts(info.siblings)
    if not any(parts.is_weights(s.rfilename) for s in mine):
        raise UserError(_without_weights({s.rfilename for s in info.siblings}), name=wanted)
    if any(key in config for key in REFUSED_KEYS):
        raise UserError("model_needs_code", name=wanted)
    kind = _check_kind(config, wanted, kinds, labels)
    return HubModel(
        id=info.id,
        revision=info.sha,
        files=tuple((s.rfilename, s.size or 0) for s in mine),
        gated=bool(info.gated),
        private=info.private,
        parameters=_whole_number((info.safetensors or {}).get("total")),
        license=info.license,
        config=config,
        digests={s.rfilename: s.digest for s in mine if s.digest},
        kind=kind,
    )


def _parts(siblings: list[Sibling]) -> list[Sibling]:
    """The files that belong to the model. Shards beside whole weights hold the same again."""
    mine = [s for s in siblings if parts.is_part(s.rfilename)]
    if not any(s.rfilename == "model.safetensors" for s in mine):
        return mine
    return [s for s in mine if s.rfilename == "model.safetensors" or not _is_sharded(s.rfilename)]


def _is_sharded(name: str) -> bool:
    return parts.is_weights(name) or name == "model.safetensors.index.json"


def _without_weights(names: set[str]) -> str:
    """What a repository without a model's safetensors is, as an error code."""
    if "adapter_config.json" in names:
        return "model_is_adapter"
    return "model_is_gguf" if any(name.endswith(".gguf") for name in names) else "model_not_safetensors"


def _check_kind(config: dict[str, Any], name: str, kinds: tuple[str, ...] | None, labels: bool) -> Kind:
    kind, family = kind_of(config), str(config.get("model_type") or "?")[:40]
    if kind is None:
        raise UserError("model_architecture_unsupported", name=name, architecture=family)
    if not suits(config, kinds or (kind,), labels=labels):
        raise UserError("model_wrong_kind", name=name, kind=family, wanted=examples(kinds or (kind,)))
    return kind


def _ask(name: str, settings: Settings, token: str | None) -> tuple[RepoInfo, dict[str, Any]]:
    """Two questions: what is there, and its config, which a gated model shows only to whom it knows."""
    info = repos.ask(MODELS, name, settings, token)
    try:
        config = answers.get_json(settings, f"/{info.id}/resolve/{info.sha}/config.json", token)
    except answers.RefusedError as refused:
        if refused.status == 404 and refused.code == "EntryNotFound":
            return info, {}
        raise repos.refusal(refused, MODELS, name, gated=bool(info.gated)) from refused
    return info, config if isinstance(config, dict) else {}


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def fetch(
    model: HubModel,
    settings: Settings,
    token: str | None,
    owner: str,
    on_progress: downloading.Progress | None = None,
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
                owned = place.parent.parent
                room.check(settings, owned, model.bytes, files.folder_bytes(owned))
                _download(model, settings, token, place, on_progress)
    return place


def _download(
    model: HubModel, settings: Settings, token: str | None, place: Path, on_progress: downloading.Progress | None
) -> None:
    if not all(parts.is_part(path) for path, _ in model.files):
        raise UserError("download_failed", name=model.id)
    described = tuple(downloading.File(path, size, model.digests.get(path, ""), path) for path, size in model.files)
    wanted = downloading.Wanted(MODELS, model.id, model.revision, described)
    record = {"id": model.id, "license": model.license, "gated": model.gated}
    downloading.bring(wanted, place, settings, token, on_progress, record)


def _folder(model_id: str, revision: str, settings: Settings, owner: str) -> Path:
    key = hashlib.sha256(owner.encode()).hexdigest()[:16]
    return settings.home / "models" / key / check_id(model_id).replace("/", "--") / revision


def installed(model_id: str, settings: Settings, owner: str) -> list[str]:
    """The revisions of a model that this owner has on disk, newest first.

    Raises:
        UserError: `model_id_malformed`.
    """
    folder = _folder(model_id, "0" * 40, settings, owner).parent
    present = [f for f in folder.glob("*") if f.is_dir() and REVISION.fullmatch(f.name)]
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
        return repos.word(files.read_json(folder.with_suffix(".json")).get("license"))
    except (UserError, OSError, ValueError):
        return None
