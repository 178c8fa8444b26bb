"""What a model needs, from its files alone, and whether that fits on this machine. Imports no torch."""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil

from core import files
from core.errors import UserError
from core.models import fetching
from core.models.architectures import Kind, kind_of
from core.models.catalogue import STARTERS, Starter
from core.models.loading import check_folder, disk_bytes, resolve, tensor_shapes
from core.models.shares import Adapting, Shapes, Share, layer_count, share, sketch, whole, width
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import ModelChoice

# In float32: the weight, and where it is changed its gradient and the optimizer's two averages, 4 bytes each.
_HELD, _CHANGED = 4, 16
_PROCESS_BYTES = 700 * 2**20
# Share of a weight's bytes that is left of it when it is rounded, with its scales (QLoRA: 4.127 bits).
_ROUNDED = {"8": 0.27, "4": 0.14}
# Numbers kept for the way back, per token, layer and hidden unit. Matrices keep a second, thinned copy of what each
# linear layer is given; of a frozen body one layer is held in passing; few examples are read in pairs.
_KEPT = {"full": 30, "lora": 62, "head": 12, "quick": 12, "few": 60}
# Tokens that are computed at once on a processor, where a batch has more (`core.training.batching`). Few examples are
# read by the batch.
PIECE_TOKENS = 1024
# Copies of the guesses for each token: the scores, their logarithms, and the way back of both.
_GUESSES = 4
# Words of a vocabulary that is not known yet.
_USUAL_VOCABULARY = 50_000


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before it is loaded. Sizes in bytes.

    Attributes:
        name: what people call it.
        parameters: numbers in its files.
        memory_bytes: estimate of what training takes.
        available_bytes: what this machine has free.
        fits: `yes` below 70 % of that, `no` above all of it.
        layers: of an encoder-decoder those of one half.
        max_positions: longest input in tokens, 0 where unknown.
        tokenizer: its `tokenizer.json`, None where it has none here.
        downloaded: whether training could start without the network.
        kind: what it can do, None for a family that is not known here.
        family: the `model_type` of its config, empty where unknown.
        config: its `config.json`, as far as it is known.
        trainable: numbers that are changed in training, of `total` that there are then; 0 where the method does not
            suit it.
        chat_template: whether its tokenizer knows how a conversation is written.
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
    kind: Kind | None = None
    family: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    trainable: int = 0
    total: int = 0
    chat_template: bool = False


@dataclass(frozen=True)
class _Found:
    config: dict[str, Any]
    shapes: Shapes
    parameters: int
    disk_bytes: int
    tokenizer: Path | None = None
    downloaded: bool = False
    chat_template: bool = False
    kind: Kind | None = None


def describe(
    choice: ModelChoice,
    settings: Settings,
    runs: RunStore,
    owner: str,
    *,
    max_length: int,
    batch_size: int,
    token: str | None = None,
    max_target_length: int = 64,
    labels: int | None = None,
    **adapting: Any,
) -> ModelFacts:
    """The facts of a chosen model; one on the Hub that is not here yet is asked about, not downloaded.

    Args:
        labels: outputs of the classification head that it will get; 0 for a model that shall write; None to go by its
            kind: encoders get two, others write.
        adapting: fields of `core.models.shares.Adapting`, how much of the model will be changed.

    Raises:
        UserError: what `core.models.loading.resolve` raises, but for a starter that is still packed, and what
            `core.models.fetching.look_up` raises.
    """
    found = _find(choice, settings, runs, owner, token)
    kind, config = found.kind or kind_of(found.config), found.config
    if labels is None:
        labels = 2 if kind == "encoder" else 0
    how = Adapting(**adapting)
    changed, free = _share(found, how, labels), available_memory()
    memory = training_memory(
        changed.total,
        layer_count(config),
        width(config),
        max_length,
        batch_size,
        trainable=changed.trainable,
        method=how.method,
        quantization=how.quantization,
        target_length=max_target_length if config.get("is_encoder_decoder") else 0,
        vocabulary=0 if labels else whole(config, "vocab_size") or _USUAL_VOCABULARY,
    )
    return ModelFacts(
        name=_name(choice, runs, owner),
        parameters=found.parameters,
        disk_bytes=found.disk_bytes,
        memory_bytes=memory,
        available_bytes=free,
        fits="yes" if memory < 0.7 * free else "tight" if memory < free else "no",
        layers=layer_count(config),
        architecture=str((config.get("architectures") or [config.get("model_type", "")])[0]),
        max_positions=whole(config, "max_position_embeddings", "n_positions"),
        tokenizer=found.tokenizer,
        downloaded=found.downloaded,
        kind=kind,
        family=str(config.get("model_type") or ""),
        config=config,
        trainable=changed.trainable,
        total=changed.total,
        chat_template=found.chat_template,
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


def training_memory(
    parameters: int,
    layers: int,
    hidden: int,
    max_length: int,
    batch_size: int,
    *,
    trainable: int | None = None,
    method: str = "full",
    quantization: str = "none",
    target_length: int = 0,
    vocabulary: int = 0,
) -> int:
    """Estimated bytes that training on a processor takes with weights in float32 and batches of the longest texts.

    The weights; what is kept of each layer for the way back; and of a model that writes, the guesses for each token.

    Args:
        layers: of an encoder-decoder those of one half.
        hidden: how many numbers stand for a token between the layers.
        trainable: how many of the parameters are changed; None for all.
        target_length: tokens that an encoder-decoder writes; 0 for other models.
        vocabulary: words among which a model that writes chooses at each token; 0 for one that labels.
    """
    changed = parameters if trainable is None else trainable
    held = int((parameters - changed) * _HELD * _ROUNDED.get(quantization, 1.0)) + changed * _CHANGED
    rows = batch_size if method == "few" else max(1, min(batch_size, PIECE_TOKENS // max_length))
    # A decoder beside an encoder looks at it in each layer, so that its tokens count about twice.
    units = rows * (max_length + 2 * target_length) * hidden
    kept = _HELD * _KEPT.get(method, _KEPT["full"]) * units * (1 if method in ("head", "quick") else layers)
    guesses = _HELD * _GUESSES * rows * (target_length or max_length) * vocabulary
    return _PROCESS_BYTES + held + kept + guesses


def _find(choice: ModelChoice, settings: Settings, runs: RunStore, owner: str, token: str | None) -> _Found:
    try:
        return _here(resolve(choice, settings, runs, owner))
    except UserError as error:
        if choice.source == "hub" and error.code == "model_not_downloaded":
            return _on_the_hub(fetching.look_up(choice.name, settings, token))
        if error.code == "starter_not_prepared":
            return _packed(STARTERS[choice.name])
        raise


def _share(found: _Found, how: Adapting, labels: int) -> Share:
    try:
        return share(found.shapes, found.config, how, labels)
    except UserError as error:
        if error.code not in ("method_unsupported", "layers_all_frozen"):
            raise
        return Share(0, found.parameters)


def _name(choice: ModelChoice, runs: RunStore, owner: str) -> str:
    if choice.source == "starter" and choice.name in STARTERS:
        return STARTERS[choice.name].hub_id
    if choice.source == "run":
        return runs.get(choice.name, owner).name or choice.name[:8]
    return choice.name


def _here(folder: Path) -> _Found:
    known = (file.stat() for file in sorted(folder.glob("*")) if file.suffix in (".json", ".safetensors", ".jinja"))
    return _read(folder, tuple((stat.st_mtime_ns, stat.st_size) for stat in known))


@lru_cache(maxsize=32)
def _read(folder: Path, state: tuple[tuple[int, int], ...]) -> _Found:
    """What the files say. A page asks many times a second, and the answer changes only with their state."""
    tokenizer, shapes = folder / "tokenizer.json", tensor_shapes(folder)
    return _Found(
        config=check_folder(folder),
        shapes=shapes,
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        disk_bytes=disk_bytes(folder),
        tokenizer=tokenizer if tokenizer.is_file() else None,
        downloaded=True,
        chat_template=_knows_conversations(folder),
    )


def _on_the_hub(model: fetching.HubModel) -> _Found:
    weights = sum(size for path, size in model.files if path.endswith(".safetensors"))
    parameters = model.parameters or weights // 4
    template = any(path == "chat_template.jinja" for path, _ in model.files)
    return _Found(model.config, sketch(model.config, parameters), parameters, weights, chat_template=template)


def _packed(starter: Starter) -> _Found:
    """A starter that is still to be unpacked: it is here, and the catalogue says what it is."""
    config: dict[str, Any] = {"hidden_size": starter.hidden, "num_hidden_layers": starter.layers}
    return _Found(
        config=config,
        shapes=sketch(config, starter.parameters),
        parameters=starter.parameters,
        disk_bytes=_HELD * starter.parameters,
        downloaded=True,
        chat_template="Instruct" in starter.hub_id,  # such models are told what to do in conversations
        kind=starter.kind,
    )


def _knows_conversations(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        return bool(files.read_json(folder / "tokenizer_config.json").get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False
