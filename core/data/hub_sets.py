"""Public data sets of the Hub: what there is to choose from, and the chosen files on this disk.

Nothing of a data set is run, and no address or path that its card names is followed: files are listed at one commit,
those that hold tables are downloaded from there by a child, and read like any upload.
"""

import hashlib
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from core import files, room
from core.errors import UserError
from core.hub import answers, downloading, layout, repos
from core.hub.repos import DATA_SETS
from core.settings import MEBIBYTE, Limits, Settings

# More requests than this for one table would take minutes whatever the size.
_MOST_FILES = 500
_LEFT_OVER_SECONDS = 24 * 3600


@dataclass(frozen=True)
class HubSet:
    """A data set on the Hub that can be read here.

    Attributes:
        id: its name as the Hub spells it now.
        revision: commit, 40 hex digits.
        gated: whether people must accept terms first; the token used to look it up has.
        private: whether only its owners see it.
        license: as on its card, None where it has none.
        configs: config -> split -> (path, bytes) of each file, in order.
        digests: path -> `sha256:…` or `git:…` (SHA-1 of a git blob), as far as the Hub tells.
    """

    id: str
    revision: str
    gated: bool
    private: bool
    license: str | None
    configs: layout.Configs
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """The files of a split that will be downloaded: as many as the limits allow, in order.

    Attributes:
        files: (path, bytes).
        left_out: how many files of the split are not among them.
    """

    files: layout.Files
    left_out: int

    @property
    def bytes(self) -> int:
        """What will be downloaded."""
        return sum(size for _, size in self.files)


def look_up(name: str, settings: Settings, token: str | None = None) -> HubSet:
    """What the Hub knows of a data set, and its configs and splits; answers within a few seconds.

    Args:
        name: `owner/name`, the short name of an old set, or a link to its page.
        token: the person's own. Access to a gated set is checked with it each time.

    Raises:
        UserError: `data_set_id_malformed`, `data_set_not_found`, `data_set_gated`, `data_set_no_files`,
            `hub_unreachable`, `token_invalid`.
    """
    wanted = repos.check_id(name, settings.hub_endpoint, DATA_SETS.malformed, DATA_SETS.prefix)
    if token:
        answers.check_token(token)
    info = answers.within(settings.limits.hub_timeout, lambda: _ask(wanted, settings, token))
    digests = {s.rfilename: s.digest for s in info.siblings if s.digest}
    configs = layout.configs(((s.rfilename, s.size or 0) for s in info.siblings), info.cardData or {})
    if not configs:
        raise UserError("data_set_no_files", name=wanted, kinds=", ".join(sorted(layout.KINDS)))
    return HubSet(info.id, info.sha, bool(info.gated), info.private, info.license, configs, digests)


def _ask(name: str, settings: Settings, token: str | None) -> repos.RepoInfo:
    """What is there. Everybody may list the files of a gated set; whether they may read them is one question more."""
    info = repos.ask(DATA_SETS, name, settings, token)
    if info.gated:
        try:
            answers.get(settings, f"/api/{DATA_SETS.api}/{info.id}/auth-check", token)
        except answers.RefusedError as refused:
            raise repos.refusal(refused, DATA_SETS, name, gated=True) from refused
    return info


def select(chosen: HubSet, config: str, split: str, limits: Limits) -> Selection:
    """The files that `fetch` will bring, known before it does.

    Raises:
        UserError: `data_set_split_unknown`; `data_set_too_large` where not even the first file fits.
    """
    everything = chosen.configs.get(config, {}).get(split, ())
    if not everything:
        raise UserError("data_set_split_unknown", name=chosen.id, config=config[:100], split=split[:100])
    total, count = 0, 0
    for _, size in everything[:_MOST_FILES]:
        total += size
        if total > limits.file_bytes:
            break
        count += 1
    if not count:
        limit_mb = limits.file_bytes // MEBIBYTE
        mb = max(limit_mb + 1, round(everything[0][1] / MEBIBYTE))
        raise UserError("data_set_too_large", name=chosen.id, mb=mb, limit_mb=limit_mb)
    return Selection(everything[:count], len(everything) - count)


def fetch(
    chosen: HubSet,
    config: str,
    split: str,
    settings: Settings,
    token: str | None,
    owner: str,
    on_progress: downloading.Progress | None = None,
) -> list[Path]:
    """The split's files on this disk, in order, as many as `select` tells; to be handed to `remove` once they are read.

    They lie in a folder of the owner's, so that what one person may read is not handed to another.

    Args:
        on_progress: called with (bytes so far, bytes in all). An exception that it raises ends the download.

    Raises:
        UserError: `data_set_split_unknown`, `data_set_too_large`, `disk_full`, `quota_full`, `download_failed`,
            `data_set_gated`, `token_invalid`.
    """
    selected = select(chosen, config, split, settings.limits)
    if not all(layout.is_table(path) for path, _ in selected.files):
        raise UserError("download_failed", name=chosen.id)
    # On disk they are numbered: no name from elsewhere becomes a path here.
    described = tuple(
        downloading.File(path, size, chosen.digests.get(path, ""), f"{place:05}.{path.rsplit('.', 1)[-1].lower()}")
        for place, (path, size) in enumerate(selected.files)
    )
    wanted = downloading.Wanted(DATA_SETS, chosen.id, chosen.revision, described)
    owned = settings.home / "hub_sets" / hashlib.sha256(owner.encode()).hexdigest()[:16]
    place = owned / f"{chosen.revision}-{secrets.token_hex(8)}"
    with files.disk_full_is_a_user_error():
        owned.mkdir(parents=True, exist_ok=True)
        with FileLock(owned / ".lock"):
            _clear_left_overs(owned)
            room.check(settings, owned, wanted.bytes, files.folder_bytes(owned))
            downloading.bring(wanted, place, settings, token, on_progress)
    return [place / file.name for file in described]


def remove(paths: Sequence[Path]) -> None:
    """Delete what `fetch` brought."""
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _clear_left_overs(owned: Path) -> None:
    """Delete what a process that was killed before `remove` left behind."""
    for folder in owned.iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _LEFT_OVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
