"""AdamW for rounded weights: steps on the exact ones, gradients clipped on the way, embeddings where they were read."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from core.models.kernel_arguments import Change, Step
from core.models.kernels import Kernels

if TYPE_CHECKING:
    from torch import Tensor

    from core.models.rounding import Rounded, Unrounded

# Numbers that are updated at once: their gradients are there in 32 bits, too, for that moment.
_AT_ONCE = 2**20
# Below this, updating a whole table takes no time.
_LARGE_TABLE = 1_000_000


def large_tables(model: Any) -> list[Any]:
    """Embedding modules whose table is large, is trained, and is nothing but a table: not the output layer too."""
    from torch.nn import Embedding

    users: dict[int, list[Any]] = {}
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            users.setdefault(id(weight), []).append(module)
    return [
        module
        for module in model.modules()
        if isinstance(module, Embedding)
        and module.weight.requires_grad
        and module.weight.numel() >= _LARGE_TABLE
        and module.max_norm is None
        and all(isinstance(user, Embedding) for user in users[id(module.weight)])
    ]


def optimizer(
    groups: Iterable[dict[str, Any]],
    rounded: "Rounded | Unrounded",
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    kernels: Kernels | None = None,
) -> Any:
    """A torch optimizer over parameter groups (`params`, `weight_decay`).

    Weights are changed as `torch.optim.AdamW` changes them. Of an embedding table whose gradient is sparse, those rows
    are gone through that were read so far: the others had no gradient yet. They would only decay, and don't.

    Args:
        kernels: for rounded weights; without, and for other weights, PyTorch takes the same step.

    Source: AdamW (Loshchilov & Hutter, 2019).
    """
    import torch
    from torch.optim.adamw import adamw

    class AdamW(torch.optim.Optimizer):
        def __init__(self) -> None:
            super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
            self._scale: Tensor | None = None

        def clip(self, most: float) -> "Tensor":
            """The length of the gradient over all weights; the next step goes as if it were `most` at most."""
            found = [weight.grad for group in self.param_groups for weight in group["params"] if _has(weight)]
            dense = [gradient for gradient in found if not gradient.is_sparse]
            norms = []
            if kernels:
                quick = [gradient for gradient in dense if kernels.can_square(gradient)]
                dense = [gradient for gradient in dense if not kernels.can_square(gradient)]
                norms.append(torch.tensor(kernels.squares(quick) ** 0.5))
            norms += torch._foreach_norm(dense, 2, torch.float32) if dense else []
            norms += [_norm(gradient) for gradient in found if gradient.is_sparse]
            length = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())
            # A tensor: to ask for the number would have the processor wait for a card in each step.
            self._scale = (most / (length + 1e-6)).clamp(max=1.0) if most > 0 else None
            return length

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                dense = [weight for weight in group["params"] if _has(weight) and not weight.grad.is_sparse]
                for weights in _portions(self._left_after_kernels(dense, group)):
                    self._dense(weights, group)
                for weight in group["params"]:
                    if _has(weight) and weight.grad.is_sparse:
                        self._rows(weight, group)
            self._scale = None

        def _state(self, weight: Any) -> dict[str, Any]:
            state: dict[str, Any] = self.state[weight]
            exact = rounded.exact(weight)
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=exact.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(exact), torch.zeros_like(exact)
            elif "places" in state:  # a table, in a run that began where it was changed by rows
                places = state.pop("places").long()
                there = places >= 0
                for name in ("exp_avg", "exp_avg_sq"):
                    whole = torch.zeros_like(exact)
                    whole[there] = state[name][places[there]]
                    state[name] = whole
            if state["step"].device != exact.device:  # taken up from a file
                state["step"] = state["step"].to(exact.device)
            return state

        def _left_after_kernels(self, weights: list[Any], group: dict[str, Any]) -> list[Any]:
            """Take the step by kernels where they can; gives the other weights."""
            if not kernels:
                return weights
            changes, left = [], []
            steps: dict[int, Step] = {}
            for weight in weights:
                state, exact = self._state(weight), rounded.exact(weight)
                means = (state["exp_avg"], state["exp_avg_sq"])
                if kernels.can_step(weight, exact, means):
                    state["step"] += 1
                    number = int(state["step"])
                    if number not in steps:
                        steps[number] = self._step(number, group)
                    changes.append(Change(weight, exact, means, steps[number]))
                else:
                    left.append(weight)
            kernels.adamw(changes)
            return left

        def _step(self, number: int, group: dict[str, Any]) -> Step:
            given = (float(group["lr"]), group["betas"], group["eps"], group["weight_decay"])
            return Step(number, *given, 1.0 if self._scale is None else float(self._scale))

        def _dense(self, weights: list[Any], group: dict[str, Any]) -> None:
            states = [self._state(weight) for weight in weights]
            exact = [rounded.exact(weight) for weight in weights]
            self._steps(
                exact,
                [weight.grad.to(numbers.dtype) for weight, numbers in zip(weights, exact, strict=True)],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [state["step"] for state in states],
                group,
            )
            _copy(weights, exact)

        def _places(self, weight: Any, rows: "Tensor") -> "Tensor":
            """For each row of a table where its running means are, or -1: only rows that were read have any.

            Args:
                rows: those that were read now; they get a place.
            """
            state, exact = self.state[weight], rounded.exact(weight)
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["places"] = torch.full((len(exact),), -1)
                state["exp_avg"], state["exp_avg_sq"] = (exact.new_zeros(0, exact.shape[1]) for _ in range(2))
            elif "places" not in state:
                state["places"] = torch.arange(len(exact))
            # From a file they come in the format of the weights.
            places: Tensor = state["places"].long()
            state["places"] = places
            new = rows[places[rows] < 0]
            if len(new):
                held, room = int(places.max()) + 1, len(state["exp_avg"])
                places[new] = torch.arange(held, held + len(new))
                if held + len(new) > room:
                    more = min(len(exact), max(held + len(new), room + room // 2)) - room
                    for name in ("exp_avg", "exp_avg_sq"):
                        state[name] = torch.cat([state[name], exact.new_zeros(more, exact.shape[1])])
            return places

        def _rows(self, weight: Any, group: dict[str, Any]) -> None:
            exact, read = rounded.exact(weight), weight.grad._indices()[0]
            once, number = torch.unique(read, return_inverse=True)
            places = self._places(weight, once)
            state, seen = self.state[weight], (places >= 0).nonzero()[:, 0]
            rows = torch.empty_like(seen)
            rows[places[seen]] = seen
            means = (state["exp_avg"][: len(rows)], state["exp_avg_sq"][: len(rows)])
            if kernels and kernels.can_step_rows(weight, exact, means):
                own = torch.zeros(len(once), exact.shape[1])
                own.index_add_(0, number, weight.grad._values().float())
                slopes = torch.full((len(rows),), -1)
                slopes[places[once]] = torch.arange(len(once))
                state["step"] += 1
                kernels.adamw_rows(weight, exact, means, rows, own, slopes, self._step(int(state["step"]), group))
                return
            gradient = torch.zeros(len(rows), exact.shape[1], dtype=exact.dtype)
            gradient.index_add_(0, places[read], weight.grad._values().to(exact.dtype))
            changed = exact.index_select(0, rows)
            self._steps(
                [changed],
                [gradient],
                [means[0]],
                [means[1]],
                [state["step"]],
                group,
            )
            exact.index_copy_(0, rows, changed)
            if weight.data is not exact:
                weight.data.index_copy_(0, rows, changed.to(weight.dtype))

        def _steps(
            self,
            exact: "list[Tensor]",
            gradients: "list[Tensor]",
            means: "list[Tensor]",
            squares: "list[Tensor]",
            counts: "list[Tensor]",
            group: dict[str, Any],
        ) -> None:
            beta1, beta2 = group["betas"]
            adamw(
                exact,
                gradients,
                means,
                squares,
                [],
                counts,
                fused=True,
                grad_scale=None if self._scale is None else 1 / self._scale,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )

    return AdamW()


def _has(weight: Any) -> bool:
    return weight.grad is not None


def _norm(gradient: Any) -> "Tensor":
    """Of a sparse gradient."""
    import torch

    # The same row may have been read several times: what counts is the sum.
    rows, places = torch.unique(gradient._indices()[0], return_inverse=True)
    whole = torch.zeros(len(rows), gradient.shape[1], device=gradient.device)
    length: Tensor = torch.linalg.vector_norm(whole.index_add_(0, places, gradient._values().float()))
    return length


def _portions(weights: list[Any]) -> Iterable[list[Any]]:
    portion: list[Any] = []
    held = 0
    for weight in weights:
        if portion and held + weight.numel() > _AT_ONCE:
            yield portion
            portion, held = [], 0
        portion.append(weight)
        held += weight.numel()
    if portion:
        yield portion


def _copy(weights: list[Any], exact: list[Any]) -> None:
    import torch

    rounded = [(w.data, e) for w, e in zip(weights, exact, strict=True) if w.data is not e and w.dtype != e.dtype]
    if rounded:
        torch._foreach_copy_([data for data, _ in rounded], [numbers for _, numbers in rounded])
