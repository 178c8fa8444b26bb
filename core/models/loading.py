"""Opening a model folder safely: no code from it, no pickles, no kernels, no links that lead elsewhere."""

import json
import math
import struct
from pathlib import Path
from typing import Any

from core import files
from core.errors import UserError
from core.models.catalogue import STARTERS
from core.models.fetching import REFUSED_KEYS, installed_folder
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import ModelChoice

_MAX_HEADER = 100 * 2**20
# The names that model families give to dropout on hidden states and on attention probabilities.
HIDDEN_DROPOUT = (
    "hidden_dropout_prob", "dropout", "classifier_dropout", "seq_classif_dropout", "resid_pdrop", "embd_pdrop",
    "mlp_dropout", "embedding_dropout", "pooler_dropout", "hidden_dropout", "classifier_dropout_prob",
)  # fmt: skip
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


def resolve(choice: ModelChoice, settings: Settings, runs: RunStore, owner: str) -> Path:
    """The local folder of a chosen model. A Hub model must have been fetched before.

    Raises:
        UserError: `starter_unknown`, `starter_missing`, `run_unknown`, `run_has_no_model`, `model_not_downloaded`,
            `model_directory_missing`, or what `check_folder` raises.
    """
    if choice.source == "starter":
        if choice.name not in STARTERS:
            raise UserError("starter_unknown", name=choice.name[:80], known=", ".join(STARTERS))
        folder = STARTERS[choice.name].folder()
    elif choice.source == "run":
        folder = runs.model_folder(runs.get(choice.name, owner).id)
    elif choice.source == "hub":
        folder = installed_folder(choice.name, choice.revision, settings, owner)
    else:
        folder = Path(choice.name).expanduser()
        if not (folder / "config.json").is_file():
            raise UserError("model_directory_missing", name=choice.name[:200])
    check_folder(folder, choice.name if choice.source == "hub" else "")
    return folder


def check_folder(folder: Path, name: str = "") -> dict[str, Any]:
    """The config of a model folder, once it is known to be harmless. `name` is what people call the model.

    Raises:
        UserError: `model_needs_code`, `model_not_safetensors` or `model_not_loadable`.
    """
    name = name or folder.name
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise UserError("model_not_loadable", name=name) from error
    if not isinstance(config, dict):
        raise UserError("model_not_loadable", name=name)
    tokenizer = folder / "tokenizer_config.json"
    asked = [config]
    if tokenizer.is_file():
        try:
            asked.append(json.loads(tokenizer.read_bytes()))
        except ValueError as error:
            raise UserError("model_not_loadable", name=name) from error
    if any(key in part for part in asked for key in REFUSED_KEYS):
        raise UserError("model_needs_code", name=name)
    if not list(folder.glob("*.safetensors")):
        raise UserError("model_not_safetensors", name=name)
    return config


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every floating-point tensor, from the safetensors headers alone.

    Source: the safetensors format (8 bytes little-endian header length, then JSON).

    Raises:
        UserError: `model_not_loadable` for a damaged file.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                if length > _MAX_HEADER:
                    raise ValueError("header too long")
                header = json.loads(stream.read(length))
            for name, tensor in header.items():
                if name != "__metadata__" and tensor["dtype"] in ("F64", "F32", "F16", "BF16"):
                    shapes[name] = tuple(int(n) for n in tensor["shape"])
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise UserError("model_not_loadable", name=folder.name) from error
    return shapes


def parameter_count(folder: Path) -> int:
    """How many numbers the model has."""
    return sum(math.prod(shape) for shape in tensor_shapes(folder).values())


def disk_bytes(folder: Path) -> int:
    """Size of the weights on disk."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def verify_starter(folder: Path) -> None:
    """Refuse a packaged model whose weights are not the ones the catalogue names.

    Raises:
        UserError: `starter_changed`.
    """
    for starter in STARTERS.values():
        try:
            is_this = folder == starter.folder()
        except UserError:
            continue
        if is_this and files.sha256(folder / "model.safetensors") != starter.sha256:
            raise UserError("starter_changed", package=starter.package)


def dropout_settings(config: dict[str, Any], dropout: float) -> dict[str, float]:
    """What to override in a config so that its layers drop `dropout` of their hidden values.

    Attention probabilities are never dropped: that would force the slow attention path, for no gain in accuracy.
    """
    hidden = {name: dropout for name in HIDDEN_DROPOUT if name in config and not isinstance(config[name], bool)}
    return hidden | {name: 0.0 for name in ATTENTION_DROPOUT if name in config}
