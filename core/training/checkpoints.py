"""Models that are whole on disk: staged, synced, a manifest with digests last, then renamed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import files
from core.errors import UserError
from core.models.adapting import is_adapted
from core.models.parts import adapter_files

MANIFEST = "manifest.json"


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer to `folder` in one step; what stood there before is replaced.

    Of a model with an adapter, the adapter alone is written: `core.models.adapting.reopen` puts it on its base again.

    Raises:
        UserError: `disk_full`; what stood there before is then still whole.
    """

    def write(staged: Path) -> None:
        if is_adapted(model):
            # No question to the Hub of whether the base's embeddings were changed: matrices never lie beside them.
            model.save_pretrained(staged, save_embedding_layers=False)
            (staged / "README.md").unlink(missing_ok=True)
        else:
            model.save_pretrained(staged)
            tokenizer.save_pretrained(staged)

    _place(folder, write)


def save_adapter(checkpoint: Path, folder: Path) -> None:
    """Copy the adapter of a checkpoint to `folder` in one step; what stood there before is replaced.

    Raises:
        UserError: `disk_full`; what stood there before is then still whole.
    """

    def write(staged: Path) -> None:
        staged.mkdir(parents=True)
        for file in adapter_files(checkpoint):
            shutil.copyfile(file, staged / file.name)

    _place(folder, write)


def _place(folder: Path, write: Callable[[Path], None]) -> None:
    """What `write` puts into an empty place beside `folder`, synced and with its manifest, becomes `folder`."""
    staged = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        with files.disk_full_is_a_user_error():
            try:
                write(staged)
            except Exception as error:
                raise _as_disk_full(error) from error
            _sync(staged)
            manifest = {file.name: files.sha256(file) for file in sorted(staged.iterdir()) if file.is_file()}
            files.write_json(staged / MANIFEST, manifest)
            _replace(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def verify(folder: Path) -> bool:
    """Whether every file of the manifest is there and unchanged."""
    try:
        manifest = files.read_json(folder / MANIFEST)
        return bool(manifest) and all(files.sha256(folder / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError):
        return False


def newest(root: Path) -> Path | None:
    """The newest checkpoint below `root` that verifies, or None."""
    whole = (folder for folder in sorted(root.glob("step-*"), key=_step, reverse=True) if verify(folder))
    return next(whole, None)


def keep_newest(root: Path, count: int = 2) -> None:
    """Remove all but the `count` newest checkpoints."""
    for folder in sorted(root.glob("step-*"), key=_step, reverse=True)[count:]:
        shutil.rmtree(folder)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _as_disk_full(error: Exception) -> Exception:
    """The safetensors writer reports a full disk in words of its own, not as an OSError with a number."""
    text = str(error)
    if isinstance(error, OSError) or not ("No space left" in text or "os error 28" in text or "os error 122" in text):
        return error
    return UserError("disk_full")


def _sync(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _replace(staged: Path, folder: Path) -> None:
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        staged.rename(folder)
        shutil.rmtree(old)
    else:
        staged.rename(folder)
