"""Classification heads of one or two layers, on the first token or on the mean: all in the model's own format.

A family's classifier reads the first token, through a layer with an activation and a linear one, and its format holds
nothing else. So what is asked for is put into weights that it does hold, and any program loads the result as it is:

- one layer: the first one becomes a multiple of the identity, small enough for its activation to be almost linear;
- mean: one more layer of the family's own kind, whose attention is the same for all tokens, adds the mean of all
  tokens to each of them. Nothing in it can be learned that would end this: where queries and keys are zero, so are
  their gradients, and the same goes for its feed-forward part.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# Times the mean, which varies less than the first token and is to outweigh it.
_MEAN_WEIGHT = 32.0
# What is put into an activation has about this spread around this centre: (spread, centre).
_ALMOST_LINEAR = {"tanh": (0.5, 0.0), "relu": (1.0, 2.0), "gelu": (1.0, 2.0)}


@dataclass(frozen=True)
class _Layer:
    """Names inside a layer: what is zero in a pooling layer, what is a multiple of the identity, its norms."""

    zero: tuple[str, ...]
    identity: tuple[str, ...]
    norms: tuple[str, ...]


@dataclass(frozen=True)
class _Family:
    """Where a family keeps its layers and its head.

    Attributes:
        layers: name of the list of layers.
        first: name of the head's first layer.
        activation: what comes after it.
        norm: name of a layer's last norm.
        inside: what is in a layer; None where attention cannot be made even.
    """

    layers: str
    first: str
    activation: str = "tanh"
    norm: str = "output.LayerNorm"
    inside: _Layer | None = None


_LIKE_BERT = _Layer(
    zero=("attention.self.query", "attention.self.key", "intermediate.dense", "output.dense"),
    identity=("attention.self.value", "attention.output.dense"),
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
)
_LIKE_DISTILBERT = _Layer(
    zero=("attention.q_lin", "attention.k_lin", "ffn.lin1", "ffn.lin2"),
    identity=("attention.v_lin", "attention.out_lin"),
    norms=("sa_layer_norm", "output_layer_norm"),
)
_ROBERTA = _Family("roberta.encoder.layer", "classifier.dense", inside=_LIKE_BERT)
_DEBERTA = _Family("deberta.encoder.layer", "pooler.dense", activation="gelu")
_FAMILIES = {
    "bert": _Family("bert.encoder.layer", "bert.pooler.dense", inside=_LIKE_BERT),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": _Family("electra.encoder.layer", "classifier.dense", activation="gelu", inside=_LIKE_BERT),
    "distilbert": _Family(
        "distilbert.transformer.layer", "pre_classifier", "relu", "output_layer_norm", inside=_LIKE_DISTILBERT
    ),
    "mpnet": _Family("mpnet.encoder.layer", "classifier.dense"),
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
}
# Their config has an entry for the pooling; a normalising layer inside the head keeps it from becoming linear.
_CONFIGURED = frozenset({"modernbert"})
_HEAD_DROPOUT = ("classifier_dropout", "seq_classif_dropout", "cls_dropout")


def offers(config: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The values of `TrainSpec.head_layers` and `TrainSpec.pooling` that a model can take, from its `config.json`."""
    kind = str(config.get("model_type"))
    family = _FAMILIES.get(kind)
    if kind in _CONFIGURED:
        return {"head_layers": ("own", "two"), "pooling": ("own", "cls", "mean")}
    if family is None or _unusual(family, config):
        return {"head_layers": ("own",), "pooling": ("own",)}
    return {
        "head_layers": ("own", "one", "two"),
        "pooling": ("own", "cls", "mean") if family.inside else ("own", "cls"),
    }


def reshape(model: Any, head_layers: str, pooling: str, dropout: float | None = None) -> Any:
    """The same model with another head; what is saved loads with `AutoModelForSequenceClassification` alone.

    A first layer that only hands on what it gets (`one`) is closed to change, unless somebody opens it. Where the mean
    replaces the first token, the first layer starts by handing on, for what it had learned was about the first token.

    Args:
        model: a `…ForSequenceClassification`, changed in place.
        head_layers: `own`, `one` or `two`.
        pooling: `own`, `cls` or `mean`.
        dropout: of the head's input; None for what it has.

    Raises:
        UserError: `head_unsupported`, `pooling_unsupported`, see `offers`.
    """
    raw = model.config.to_dict()
    offered, kind = offers(raw), str(raw.get("model_type"))
    if head_layers not in offered["head_layers"]:
        raise UserError("head_unsupported", family=kind, offered=", ".join(offered["head_layers"]))
    if pooling not in offered["pooling"]:
        raise UserError("pooling_unsupported", family=kind, offered=", ".join(offered["pooling"]))
    if dropout is not None:
        _set_dropout(model, dropout)
    if kind in _CONFIGURED and pooling != "own":
        model.config.classifier_pooling = pooling
    if kind in _FAMILIES:
        _reshape(model, _FAMILIES[kind], head_layers, pooling)
    return model


def pooling_of(model: Any) -> str:
    """`mean` or `cls` where that is known, else `own`."""
    kind = model.config.model_type
    if kind in _CONFIGURED:
        return str(model.config.classifier_pooling)
    return "own" if kind not in _FAMILIES else "mean" if _pools(model, _FAMILIES[kind]) else "cls"


def last_layer(model: Any) -> tuple[str, Any]:
    """(name, module) of the linear layer whose outputs are the logits."""
    from torch.nn import Linear

    labels = model.config.num_labels
    found = [(n, m) for n, m in model.named_modules() if isinstance(m, Linear) and m.out_features == labels]
    return found[-1]


def poolings(model: Any) -> tuple[str, ...]:
    """The poolings whose `features` follow from the output of a model's body as it is; none for most families."""
    kind = model.config.model_type
    found = offers(model.config.to_dict())["pooling"][1:]
    return () if kind in _FAMILIES and _pools(model, _FAMILIES[kind]) else found


def features(model: Any, hidden: "Tensor", mask: "Tensor", pooling: str) -> "Tensor":
    """What the last layer would get after `reshape` to this pooling, and to one layer where the family offers it.

    Args:
        model: with `pooling` among its `poolings`.
        hidden: the body's output, (rows, tokens, width).
        mask: 1 for tokens, 0 for padding, (rows, tokens).

    Returns:
        (rows, width).
    """
    import torch
    from torch.nn.functional import gelu, layer_norm

    given, weight = hidden[:, 0].float(), mask.unsqueeze(-1).float()
    mean = (hidden.float() * weight).sum(dim=1) / weight.sum(dim=1)
    if model.config.model_type in _CONFIGURED:
        return model.head(mean if pooling == "mean" else given).float()  # type: ignore[no-any-return]
    if pooling == "mean":
        given = layer_norm(given + _MEAN_WEIGHT * mean, given.shape[-1:])
    family = _FAMILIES[model.config.model_type]
    factor, centre = _first_layer(model, family, pooling)
    functions = {"tanh": torch.tanh, "relu": torch.relu, "gelu": gelu}
    return functions[family.activation](factor * given + centre)


def _unusual(family: _Family, config: dict[str, Any]) -> bool:
    """Whether a config differs from its family's in what the head is made of."""
    width = config.get("hidden_size", config.get("dim"))
    return family is _DEBERTA and (
        config.get("pooler_hidden_act", "gelu") != "gelu" or config.get("pooler_hidden_size", width) != width
    )


def _reshape(model: Any, family: _Family, head_layers: str, pooling: str) -> None:
    pools = _pools(model, family)
    if pooling == "cls" and pools:
        _drop_last_layer(model, family)
    added = pooling == "mean" and not pools
    if added:
        _add_pooling_layer(model, family)
    if head_layers == "one" or added:
        import torch

        factor, centre = _first_layer(model, family, "mean" if pools or added else "cls")
        first = model.get_submodule(family.first)
        with torch.no_grad():
            first.weight.copy_(factor * torch.eye(first.in_features))
            first.bias.fill_(centre)
        first.requires_grad_(head_layers != "one")


def _first_layer(model: Any, family: _Family, pooling: str) -> tuple[float, float]:
    """(factor, bias) of a first layer that hands on: what comes out of a norm spreads as the norm's weights say."""
    spread, centre = _ALMOST_LINEAR[family.activation]
    if pooling == "mean":
        return spread, centre
    norm = model.get_submodule(family.layers)[-1].get_submodule(family.norm)
    size = float(norm.weight.detach().float().square().mean().sqrt())
    return spread / (size or 1.0), centre


def _pools(model: Any, family: _Family) -> bool:
    """Whether the last layer is a pooling one: nothing else has even attention."""
    if family.inside is None:
        return False
    last = model.get_submodule(family.layers)[-1]
    return not any(last.get_submodule(name).weight.detach().any() for name in family.inside.zero[:2])


def _add_pooling_layer(model: Any, family: _Family) -> None:
    from copy import deepcopy

    import torch

    assert family.inside is not None
    layers = model.get_submodule(family.layers)
    layer = deepcopy(layers[-1])
    with torch.no_grad():
        for name in (*family.inside.zero, *family.inside.identity):
            part = layer.get_submodule(name)
            part.bias.zero_()
            part.weight.zero_()
            if name in family.inside.identity:
                part.weight.fill_diagonal_(_MEAN_WEIGHT**0.5)
        for name in family.inside.norms:
            norm = layer.get_submodule(name)
            norm.weight.fill_(1.0)
            norm.bias.zero_()
    for part in layer.modules():
        if getattr(part, "layer_idx", None) is not None:
            part.layer_idx = len(layers)
    layers.append(layer)
    model.config.num_hidden_layers = len(layers)


def _drop_last_layer(model: Any, family: _Family) -> None:
    layers = model.get_submodule(family.layers)
    del layers[-1]
    model.config.num_hidden_layers = len(layers)


def _set_dropout(model: Any, dropout: float) -> None:
    from torch.nn import Dropout

    for name in _HEAD_DROPOUT:
        if hasattr(model.config, name):
            setattr(model.config, name, dropout)
    inside = set(model.base_model.modules())
    for part in model.modules():
        if isinstance(part, Dropout) and part not in inside:
            part.p = dropout
