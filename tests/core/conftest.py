"""What tests of compiled steps share."""

import os

import pytest
import torch

from core.models import kernel_building


@pytest.fixture(scope="session")
def compiled():
    """The kernels of this machine; a machine that checks changes has a compiler.

    Linear layers are among them wherever the processor can: what a busy machine times says nothing here.
    """
    kernel_building.compiled.cache_clear()
    kernel_building.begin.cache_clear()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("core.models.kernel_checks.products_pay", lambda kernels, dtype: True)
        found = kernel_building.compiled()
    if found is None and not os.environ.get("CI"):
        pytest.skip("no C compiler")
    assert found is not None
    return found


@pytest.fixture
def threads():
    """Sets how many threads PyTorch has, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
