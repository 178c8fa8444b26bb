"""A home in which runs are interrupted. What is imported late is not in the process that only hands out the tests."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.ways import House


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "House":
    """Everything in this process, on one thread, and a state is saved after each step."""
    import torch

    from core.quiet import quiet_libraries
    from tests.ways import DEVICE, House

    quiet_libraries()
    torch.set_num_threads(1)
    monkeypatch.setattr("core.training.run.detect", lambda: DEVICE)
    return House(tmp_path / "home", seconds_between_saves=0.0)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a family to the folder of its tiny model."""
    from tests.ways import Models

    return Models(tmp_path_factory.mktemp)
