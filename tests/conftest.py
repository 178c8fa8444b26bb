"""What several parts of the tests need."""

import csv
import gc
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

# Threads that wait by spinning make a tiny model many times slower where other work goes on beside it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tests import fakehub, forking


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[fakehub.FakeHub]:
    """A Hub of our own that answers over HTTP at `fake_hub.url`."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with fakehub.running() as hub:
        yield hub


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real, very small classifier."""
    from tests import tiny  # imports transformers, which the tests of the page do without

    return tiny.classifier(tmp_path_factory.mktemp("tiny"), ("delivery", "refund", "account"))


@pytest.fixture(scope="session")
def _forking() -> Iterator[forking.Forking]:
    copied = forking.Forking()
    yield copied
    copied.close()


@pytest.fixture(autouse=True, scope="module")
def _forked(_forking: forking.Forking) -> Iterator[None]:
    """Children that read tables, train and answer are spared their imports, see `tests.forking` and `started_anew`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.processes.subprocess", _forking)
        yield


@pytest.fixture
def started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every child begins as it does for people."""
    monkeypatch.setattr("core.processes.subprocess", subprocess)


@pytest.fixture(autouse=True, scope="module")
def _frozen() -> None:
    """Looking for garbage takes long beside large libraries: what is there before a file's tests is set aside."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _garbage_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings, of which there are hundreds in a process here, leave it to Python when it looks for garbage."""
    if "accelerate.utils.memory" in sys.modules:
        monkeypatch.setattr("accelerate.utils.memory.gc", SimpleNamespace(collect=lambda: 0))


@pytest.fixture(autouse=True)
def _csv_limit() -> None:
    """Reading in this process, which otherwise a child does, leaves a limit behind that is the process's own."""
    csv.field_size_limit(131_072)


@pytest.fixture(autouse=True)
def _equal_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which way to compute is the fastest here and now must not decide whether two trainings are alike."""
    monkeypatch.setattr("core.training.precision._seconds", lambda *given: 0.0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed may be no text that can travel between processes."""
    report = yield
    report.sections = [(name, told.encode("utf-8", "backslashreplace").decode()) for name, told in report.sections]
    return report
