"""Children of the product that begin as copies of a process which has imported their libraries already.

Such a child is a process of its own all the same, with the arguments, environment, pipes and signals that it is given;
it is spared the seconds that imports take. `python -m tests.forking SOCKET LIBRARY…` is the process that is copied: it
listens in a folder, so that pages of the tests ask for copies of the same processes as the tests themselves, and ends
with whoever started it.
"""

import contextlib
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
PAGE = ("app",)
TABLES = ("pandas", "pyarrow.compute", "pyarrow.parquet")
HUB = ("httpx2", "huggingface_hub.hf_api", "pydantic")
MODELS = (
    "transformers.trainer", "datasets", "peft", "accelerate", "sklearn.linear_model", "sklearn.feature_extraction.text",
    *(f"transformers.models.{name}.modeling_{name}" for name in ("bert", "llama", "t5", "gpt2", "qwen2")),
)  # fmt: skip
_OF_TABLES = (
    "core.data.reader", "core.data.survey", "core.data.profiler", "core.data.trying", "core.data.joining",
    "core.keeping.tables",
)  # fmt: skip
# Readers have little room for addresses, of which the libraries of models take much.
LIBRARIES = {
    "tests.page": PAGE,
    **dict.fromkeys(_OF_TABLES, TABLES),
    **dict.fromkeys(("core.hub.fetcher", "core.keeping.sending", "core.publishing.hub"), HUB),
    **dict.fromkeys(("core.runs.worker", "core.inference.server", "core.estimating.measuring"), MODELS),
}
_NUMBER = 8


class Forking:
    """Stands in for `subprocess` in `core.processes`."""

    def __init__(self, folder: Path | None = None) -> None:
        """Args: folder: where somebody else's processes that are copied listen; without it they are our own."""
        self._theirs = folder
        self.folder = folder or Path(tempfile.mkdtemp(prefix="copies-"))
        self._begun: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        self._turn = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: Sequence[str], **given: Any) -> Any:  # noqa: N802 (its name there)
        """A copy where its libraries are known, else a real start."""
        libraries = LIBRARIES.get(command[2])
        if libraries is None:
            return subprocess.Popen(command, **given)
        self.begin(libraries, given["env"])
        return Copy(self._address(libraries), command, **given)

    def begin(self, libraries: tuple[str, ...], environment: dict[str, str]) -> None:
        """Have a process import these; it answers as soon as it has. Nothing if there is one."""
        with self._turn:
            if self._theirs or libraries in self._begun:
                return
            address = self._address(libraries)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(address))
            listening.listen()
            with listening:
                self._begun[libraries] = subprocess.Popen(
                    [sys.executable, "-m", "tests.forking", str(listening.fileno()), *libraries],
                    cwd=ROOT, env=environment, pass_fds=[listening.fileno()], stdin=subprocess.PIPE,
                )  # fmt: skip

    def _address(self, libraries: tuple[str, ...]) -> Path:
        return self.folder / libraries[0]

    def close(self) -> None:
        """What is copied ends; copies of it live on."""
        for process in self._begun.values():
            process.communicate(timeout=60)
        if not self._theirs:
            shutil.rmtree(self.folder)


class Copy:
    """As much of `subprocess.Popen` as the product uses."""

    def __init__(
        self, address: Path, command: Sequence[str], *, env: dict[str, str], cwd: Path, start_new_session: bool,
        stdin: int | IO[bytes], stdout: int | IO[bytes], stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> None:  # fmt: skip
        assert start_new_session
        self.args, self.returncode = command, None
        asked = json.dumps({"command": list(command[2:]), "env": env, "cwd": str(cwd)}).encode()
        with contextlib.ExitStack() as opened:
            ends = [_end(opened, *pair) for pair in ((stdin, "wb"), (stdout, "rb"), (stderr, "rb"))]
            self.stdin, self.stdout, self.stderr = (pipe for _, pipe in ends)
            self._told, told = os.pipe()
            opened.callback(os.close, told)
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(str(address))
                socket.send_fds(server, [len(asked).to_bytes(_NUMBER, "big")], [*(number for number, _ in ends), told])
                server.sendall(asked)
        self.pid = _number(self._told)

    def poll(self) -> int | None:
        """Its exit status, None as long as it lives."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status once it is gone; negative after a signal."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(_number(self._told))
                os.close(self._told)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[bytes, None]:
        """All that it says."""
        assert self.stdin is None
        said: list[bytes] = []
        reading = threading.Thread(target=lambda: said.append(self.stdout.read()), daemon=True)
        reading.start()
        reading.join(timeout)
        if reading.is_alive():
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.stdout.close()
        self.wait()
        return said[0], None

    def send_signal(self, number: int) -> None:
        """Nothing once it is gone."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def _end(opened: contextlib.ExitStack, given: int | IO[bytes], mode: str) -> tuple[int, IO[bytes] | None]:
    """The child's end of one of its three files, and ours where it is a pipe."""
    if given == subprocess.PIPE:
        read, write = os.pipe()
        ours, theirs = (write, read) if mode == "wb" else (read, write)
        opened.callback(os.close, theirs)
        return theirs, os.fdopen(ours, mode)
    if given == subprocess.DEVNULL:
        given = os.open(os.devnull, os.O_RDWR)
        opened.callback(os.close, given)
    return (given if isinstance(given, int) else given.fileno()), None


def _number(source: int) -> int:
    content = os.read(source, _NUMBER)
    if len(content) != _NUMBER:
        raise ChildProcessError("nothing can be copied any more")
    return int.from_bytes(content, "big")


# -- the process that is copied


def main() -> NoReturn:
    """Import, then make a copy for whoever asks, as long as whoever started it is there."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    for library in sys.argv[2:]:
        importlib.import_module(library)
    while True:
        if sys.stdin in select.select([listening, sys.stdin], [], [])[0]:
            os._exit(0)  # whoever started it is gone; to clear up after so many imports takes seconds
        server, _ = listening.accept()
        size, ends, _, _ = socket.recv_fds(server, _NUMBER, 4)
        asked = json.loads(server.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        if os.fork() == 0:
            server.close()
            listening.close()
            _watch(asked, ends)
        server.close()
        for end in ends:
            os.close(end)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue


def _watch(asked: dict[str, Any], ends: list[int]) -> NoReturn:
    """Start the copy, and tell its number and how it ended."""
    *files, told = ends
    copy = os.fork()
    if copy == 0:
        os.close(told)
        _become(asked, files)
    for end in files:
        os.close(end)
    for _ in range(2000):  # until it leads a group, by which it may be ended, as a new process does when it is known
        if os.getpgid(copy) == copy:
            break
        time.sleep(0.001)
    os.write(told, copy.to_bytes(_NUMBER, "big"))
    os.write(told, os.waitpid(copy, 0)[1].to_bytes(_NUMBER, "big"))
    os._exit(0)


def _become(asked: dict[str, Any], files: list[int]) -> NoReturn:
    """As `python -m MODULE ARGUMENTS…` in an environment."""
    code = 1
    try:
        os.setsid()
        for number, end in enumerate(files):
            os.dup2(end, number)
            os.close(end)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, "r" if number == 0 else "w") for number in range(3))
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        sys.argv = asked["command"]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:  # noqa: BLE001 (what Python itself does with it)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
