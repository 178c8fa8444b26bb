"""What a run keeps while it trains, whole or absent: staged, synced, a manifest with digests last, then renamed.

Below a run's folder lie `best/step-N`, the best model so far, and `checkpoints/step-N`, the newest two states from
which training can go on: weights, optimizer, schedule, random numbers.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import files
from core.errors import UserError
from core.models.adapting import is_adapted
from core.models.parts import adapter_files
from core.settings import MEBIBYTE

MANIFEST = "manifest.json"
FACTS = "facts.json"
JUDGED = "judged.json"
ENCODED = "encoded"
KEPT = 2
# What the rest of the house needs to go on writing its small files.
_LEAST_FREE = 64 * MEBIBYTE
# From what PyTorch 2.13 says when it cannot write an archive: on a full disk 46 times of 47 the one, once the other.
_PYTORCHS = ("inline_container", "iostream error")
# Bytes that are tried after it.
_ROOM = MEBIBYTE


def save(model: Any, tokenizer: Any, folder: Path, facts: dict[str, Any] | None = None) -> None:
    """Write model and tokenizer to `folder` in one step; what stood there before is replaced.

    Of a model with an adapter, the adapter alone is written: `core.models.adapting.reopen` puts it on its base again.

    Args:
        facts: what `facts_of` shall give for the folder.

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
        if facts is not None:
            files.write_json(staged / FACTS, facts)

    place(folder, write)


def save_best(model: Any, tokenizer: Any, folder: Path, step: int, facts: dict[str, Any] | None = None) -> None:
    """Keep the model as the best one of the run in `folder`; the one before goes once this one is whole. See `save`."""
    save(model, tokenizer, folder / "best" / f"step-{step}", facts)
    _keep(folder / "best", (step,))


def best(folder: Path) -> Path | None:
    """The best model of the run in `folder`, or None."""
    return newest(folder / "best")


def name_of_best(folder: Path) -> str:
    """A name for what the best model of the run in `folder` is now: another model has another one."""
    found = best(folder)
    return files.sha256(found / MANIFEST)[:16] if found else "none"


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """What was noted with it; empty where nothing was."""
    path = checkpoint / FACTS
    found: dict[str, Any] = files.read_json(path) if path.is_file() else {}
    return found


def save_state(folder: Path, step: int, write: Callable[[Path], None]) -> None:
    """Keep what `write` puts into an empty place as the state of the run in `folder` after so many steps.

    At most two are there at any time, and one that is whole always is.

    Raises:
        UserError: `disk_full`, also where it would leave too little for others; an older state is then still whole.
    """
    root = folder / "checkpoints"
    root.mkdir(exist_ok=True)
    before = newest(root)
    if before and _step(before) == step:
        return  # the same steps lead to the same state
    _keep(root, (_step(before),) if before else ())
    if before:
        room(root, files.folder_bytes(before))
    place(root / f"step-{step}", write)


def room(folder: Path, needed: int) -> None:
    """Whether so many bytes can be written.

    Raises:
        UserError: `disk_full`.
    """
    if shutil.disk_usage(folder).free < needed + _LEAST_FREE:
        raise UserError("disk_full")


def check_disk(folder: Path, model: Any, *, whole: bool = False) -> None:
    """Whether there is room for what training this model keeps and for its result.

    Args:
        whole: see `sizes`.

    Raises:
        UserError: `disk_too_small`.
    """
    needed, free = sizes(model, whole=whole).needed, _free(folder)
    if free < needed:
        raise UserError("disk_too_small", needed=needed // MEBIBYTE, free=free // MEBIBYTE)


def spare(folder: Path, model: Any) -> int:
    """Bytes that are free beside what training this model keeps and its result; below 0 where that lacks room."""
    return _free(folder) - sizes(model).needed


@dataclass(frozen=True)
class Sizes:
    """Bytes of what training a model writes.

    Attributes:
        state: weights that change, and the optimizer's two numbers for each.
        best: the best model so far; of one with an adapter that alone.
        result: the trained model.
    """

    state: int
    best: int
    result: int

    @property
    def needed(self) -> int:
        """At most at once: two states, the best so far while it is replaced, the result, and room for small files."""
        return 2 * self.state + 3 * self.result + _LEAST_FREE

    def used(self, states: int, unread: int = 0) -> int:
        """At most at once, as a rule: so many states, and the best beside what replaces it or beside the result.

        Args:
            unread: bytes that a state does not have, as the optimizer has no numbers for rows of embedding tables that
                are never read (`core.training.optimizer`).
        """
        return min(states, KEPT) * (self.state - unread) + self.best + max(self.best, self.result)


def sizes(model: Any, *, whole: bool = False) -> Sizes:
    """What training this model writes.

    Args:
        whole: whether all of it changes although it is frozen now: a method may choose by itself what it trains.
    """
    changed = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad or whole)
    # Rounded weights are written as they were before.
    result = sum(p.numel() * (4 if p.is_floating_point() else p.element_size()) for p in model.parameters())
    return Sizes(3 * changed, changed if is_adapted(model) else result, result)


def _free(folder: Path) -> int:
    """What is free, with what an earlier attempt left, which is written anew."""
    kept = sum(files.folder_bytes(folder / name) for name in ("checkpoints", "best", "frozen"))
    return shutil.disk_usage(folder).free + kept


def state(folder: Path) -> tuple[Path | None, int]:
    """The newest whole state of the run in `folder`, and how many newer ones are damaged."""
    found = newest(folder / "checkpoints")
    later = [p for p in (folder / "checkpoints").glob("step-*") if found is None or _step(p) > _step(found)]
    return found, len(later)


def note_judged(folder: Path, step: int) -> None:
    """The model of the run in `folder` was judged on the validation rows after so many steps."""
    files.write_json(folder / JUDGED, {"step": step})


def to_be_judged(folder: Path, state: Path) -> bool:
    """Whether a state of the run in `folder` was saved before its model was judged, and nothing judged it since."""
    path = folder / JUDGED
    last = files.read_json(path)["step"] if path.is_file() else -1
    return bool(facts_of(state).get("to_be_judged")) and last < _step(state)


def step_of(checkpoint: Path) -> int:
    """After how many steps it was kept."""
    return _step(checkpoint)


def save_adapter(checkpoint: Path, folder: Path) -> None:
    """Copy the adapter of a checkpoint to `folder` in one step; what stood there before is replaced.

    Raises:
        UserError: `disk_full`; what stood there before is then still whole.
    """

    def write(staged: Path) -> None:
        staged.mkdir(parents=True)
        for file in adapter_files(checkpoint):
            shutil.copyfile(file, staged / file.name)

    place(folder, write)


def place(folder: Path, write: Callable[[Path], None]) -> None:
    """What `write` puts into an empty place beside `folder`, synced and with its manifest, becomes `folder`.

    Raises:
        UserError: `disk_full`; what stood there before is then still whole.
    """
    staged = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        with files.disk_full_is_a_user_error():
            try:
                write(staged)
            except Exception as error:
                raise _as_disk_full(error, staged) from error
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


def forget(folder: Path, *, resumable: bool = False) -> None:
    """Remove what an ended run kept while it trained. Of one that may go on, the best and the newest state stay."""
    if resumable:
        newest_state, _ = state(folder)
        _keep(folder / "checkpoints", (_step(newest_state),) if newest_state else ())
    else:
        for name in ("checkpoints", "best", "features"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / JUDGED).unlink(missing_ok=True)
    for name in ("answers", "frozen", ENCODED):
        shutil.rmtree(folder / name, ignore_errors=True)


def _keep(root: Path, steps: tuple[int, ...]) -> None:
    """Remove all checkpoints but those, and what a broken writing left."""
    for found in root.glob("*"):
        if not (found.name.startswith("step-") and _step(found) in steps):
            shutil.rmtree(found)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _as_disk_full(error: Exception, staged: Path) -> Exception:
    """What could not be written to `staged`, as a full disk if it was one.

    The safetensors writer reports that in words of its own, not as an OSError with a number; PyTorch's says only that
    it could not write, so whether there is room left is tried.

    Raises:
        UserError: `disk_full`, where that trial meets it.
    """
    text = str(error)
    if isinstance(error, OSError):
        return error
    if any(words in text for words in _PYTORCHS):
        files.write_bytes(staged / "room", bytes(_ROOM))
    full = "No space left" in text or "os error 28" in text or "os error 122" in text
    return UserError("disk_full") if full else error


def _sync(folder: Path) -> None:
    for file in (*folder.iterdir(), folder):
        files.sync(file)


def _replace(staged: Path, folder: Path) -> None:
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        staged.rename(folder)
        shutil.rmtree(old)
    else:
        staged.rename(folder)
    files.sync(folder.parent)
