"""What a model needs, from its files alone, and whether that fits on this machine. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from core.errors import UserError
from core.models import fetching
from core.models.catalogue import STARTERS
from core.models.loading import check_folder, disk_bytes, parameter_count, resolve
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import ModelChoice

# Training in float32: the weight, its gradient and the optimizer's two averages, 4 bytes each.
_BYTES_PER_PARAMETER = 16
# Values kept for the backward pass, per token, layer and hidden unit (BERT: feed-forward, attention, norms).
_KEPT_PER_HIDDEN = 34
_PROCESS_BYTES = 700 * 2**20


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before it is loaded. Sizes in bytes.

    Attributes:
        name: what people call it.
        memory_bytes: estimate of what training takes.
        available_bytes: what this machine has free.
        fits: `yes` below 70 % of that, `no` above all of it.
        max_positions: longest input in tokens, 0 where unknown.
        tokenizer: its `tokenizer.json`, None where it has none here.
        downloaded: whether training could start without the network.
    """

    name: str
    parameters: int
    disk_bytes: int
    memory_bytes: int
    available_bytes: int
    fits: Literal["yes", "tight", "no"]
    layers: int
    architecture: str
    max_positions: int
    tokenizer: Path | None
    downloaded: bool


def describe(
    choice: ModelChoice,
    settings: Settings,
    runs: RunStore,
    owner: str,
    *,
    max_length: int,
    batch_size: int,
    token: str | None = None,
) -> ModelFacts:
    """The facts of a chosen model; one on the Hub that is not here yet is asked about, not downloaded.

    Raises:
        UserError: whatever `core.models.loading.resolve` or `core.models.fetching.look_up` raise.
    """
    name = _name(choice, runs, owner)
    try:
        folder = resolve(choice, settings, runs, owner)
    except UserError as error:
        if choice.source != "hub" or error.code != "model_not_downloaded":
            raise
        found = fetching.look_up(choice.name, settings, token)
        weights = sum(size for path, size in found.files if path.endswith(".safetensors"))
        return _facts(name, found.config, found.parameters or weights // 4, weights, None, max_length, batch_size)
    tokenizer = folder / "tokenizer.json"
    return _facts(
        name,
        check_folder(folder),
        parameter_count(folder),
        disk_bytes(folder),
        tokenizer if tokenizer.is_file() else None,
        max_length,
        batch_size,
        downloaded=True,
    )


def available_memory() -> int:
    """Bytes that a new process could use: what the system has free, bounded by the container's limit."""
    free = int(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        most = limit.read_text().strip()
        return free if most == "max" else max(0, min(free, int(most) - int(used.read_text())))
    except (OSError, ValueError):
        return free


def training_memory(parameters: int, layers: int, hidden: int, max_length: int, batch_size: int) -> int:
    """Estimated bytes of full fine-tuning in float32 with batches of the longest texts."""
    activations = 4 * _KEPT_PER_HIDDEN * batch_size * max_length * layers * hidden
    return parameters * _BYTES_PER_PARAMETER + activations + _PROCESS_BYTES


def _name(choice: ModelChoice, runs: RunStore, owner: str) -> str:
    if choice.source == "starter" and choice.name in STARTERS:
        return STARTERS[choice.name].hub_id
    if choice.source == "run":
        return runs.get(choice.name, owner).name or choice.name[:8]
    return choice.name


def _facts(
    name: str,
    config: dict[str, Any],
    parameters: int,
    disk: int,
    tokenizer: Path | None,
    max_length: int,
    batch_size: int,
    *,
    downloaded: bool = False,
) -> ModelFacts:
    layers = _whole(config, "num_hidden_layers", "n_layers", "n_layer", "num_layers")
    hidden = _whole(config, "hidden_size", "dim", "n_embd", "d_model")
    positions = _whole(config, "max_position_embeddings", "n_positions")
    memory = training_memory(parameters, layers, hidden, max_length, batch_size)
    free = available_memory()
    fits: Literal["yes", "tight", "no"] = "yes" if memory < 0.7 * free else "tight" if memory < free else "no"
    architecture = str((config.get("architectures") or [config.get("model_type", "")])[0])
    return ModelFacts(
        name, parameters, disk, memory, free, fits, layers, architecture, positions, tokenizer, downloaded
    )


def _whole(config: dict[str, Any], *names: str) -> int:
    return next((int(config[n]) for n in names if isinstance(config.get(n), int)), 0)
