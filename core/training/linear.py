"""Linear heads on features that do not change: multinomial or one-vs-rest logistic regression, as the loss says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Inverse strengths of the regularisation, as scikit-learn's C for standardised features. Strong ones come first: each
# fit begins at the one before.
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_MOST_ITERATIONS = 100
# A feature that varies less than this, as a share of its size, is the same everywhere but for rounding.
_SMALLEST_SPREAD = 1e-5


@dataclass(frozen=True)
class Head:
    """A linear layer for features as they are: `weight` (labels, width), `bias` (labels) or None."""

    weight: "Tensor"
    bias: "Tensor | None"

    def logits(self, features: "Tensor") -> "Tensor":
        """Of shape (rows, labels)."""
        import torch

        return torch.nn.functional.linear(features, self.weight, self.bias)


def heads(
    features: "Tensor", targets: "Tensor", labels: int, loss: Callable[..., Any], *, bias: bool
) -> Iterator[Head]:
    """A head for each of `STRENGTHS`, in order.

    The features are standardised for fitting, and the weights take that back. The penalty is half the sum of squared
    weights / (C x rows), of several independent labels their mean, so that C means what it does in scikit-learn.
    Source: L-BFGS with a strong Wolfe line search, as `torch.optim.LBFGS` has it.

    Args:
        features: (rows, width).
        targets: (rows) or (rows, labels).
        labels: outputs.
        loss: of ({"logits": (rows, labels)}, targets), a mean over rows.
        bias: whether the layer has one; without it the features are scaled and not shifted.
    """
    import torch

    rows, width = features.shape
    size = features.square().mean(dim=0).sqrt()
    spread, middle = (
        (features.std(dim=0, correction=0), features.mean(dim=0)) if bias else (size, torch.zeros_like(size))
    )
    spread = torch.where(spread > _SMALLEST_SPREAD * size, spread, size + 1.0)
    standard = (features - middle) / spread
    weight = torch.zeros(labels, width, device=features.device, requires_grad=True)
    offset = torch.zeros(labels, device=features.device, requires_grad=bias)
    share = labels if targets.ndim > 1 else 1
    for strength in STRENGTHS:
        _minimise(standard, targets, loss, (weight, offset), 0.5 / (strength * rows * share))
        scaled = (weight / spread).detach()
        yield Head(scaled, (offset.detach() - scaled @ middle) if bias else None)


def _minimise(
    features: "Tensor", targets: "Tensor", loss: Callable[..., Any], parts: "tuple[Tensor, Tensor]", penalty: float
) -> None:
    import torch

    weight, offset = parts
    optimizer = torch.optim.LBFGS(
        [part for part in parts if part.requires_grad],
        max_iter=_MOST_ITERATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-6,
        line_search_fn="strong_wolfe",
    )

    def value() -> float:
        optimizer.zero_grad()
        total = loss({"logits": features @ weight.T + offset}, targets) + penalty * weight.square().sum()
        total.backward()
        return total  # type: ignore[no-any-return]

    step: Callable[..., Any] = optimizer.step
    step(value)
