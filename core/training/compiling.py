"""Compiled steps on a CUDA card, where the training is long enough to pay for the compiling."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from core.device import Device
from core.training.precision import Way, cards, prepared, step_seconds

# Compiling takes half a minute or more: of a training that takes less than this, no trial could save as much.
_WORTH_A_TRIAL = 300.0


@contextmanager
def compiled(model: Any, backend: str = "inductor") -> Iterator[None]:
    """While this lasts, `torch.compile` computes the model, once for all shapes. Its weights and names stay.

    Args:
        backend: which compiles what was traced, as `torch.compile` calls it.
    """
    import torch

    model.compile(dynamic=True, backend=backend)
    try:
        yield
    finally:
        model._compiled_call_impl = None  # torch has no way to take it back
        torch.compiler.reset()


def pays(
    model: Any,
    batch: dict[str, Any],
    loss: Callable[..., Any],
    way: Way,
    device: Device,
    steps: int,
    backend: str = "inductor",
    worth: float = _WORTH_A_TRIAL,
) -> bool:
    """Whether so many steps would save more seconds than compiling took here.

    Nothing is compiled where the steps take less than five minutes as they are. What can't be compiled doesn't pay. The
    model is left as it was, and no random number is drawn from those of the run.

    Args:
        batch: of usual rows, as they are trained, with `labels`.
        steps: of the training.
        worth: seconds that all steps have to take for compiling to be tried.
    """
    import torch

    with torch.random.fork_rng(devices=cards(device)), prepared(model, way, device):
        usual = step_seconds(model, batch, loss, way, device)
        if usual * steps < worth:
            return False
        begin = perf_counter()
        try:
            with compiled(model, backend):
                faster = step_seconds(model, batch, loss, way, device)
        except Exception:  # noqa: BLE001 (compilers fail in as many ways as there are models)
            model.zero_grad(set_to_none=True)
            return False
        return (usual - faster) * steps > perf_counter() - begin
