"""Starting and bounding child processes: each is `python -m core…` with a closed stdin and a bare environment."""

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from filelock import BaseFileLock, FileLock, Timeout

from core.errors import UserError
from core.settings import Settings, child_environment

_SECONDS_BETWEEN_LOOKS = 0.05
ROOT = Path(__file__).resolve().parent.parent


def spawn(
    settings: Settings,
    module: str,
    arguments: list[str],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    online: bool = False,
    computes: bool = False,
) -> "subprocess.Popen[bytes]":
    """Start `python -m module arguments…` in its own process group, with no secret in its environment.

    Args:
        online: whether it may reach the Hub.
        computes: whether it trains or answers.
    """
    environment = child_environment(settings, online=online, computes=computes)
    for folder in (environment["HOME"], environment["HF_HOME"]):
        Path(folder).mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        cwd=ROOT,
        start_new_session=True,
    )


@contextlib.contextmanager
def turn(settings: Settings, *, most: int, seconds: float) -> Iterator[None]:
    """One of `most` places for heavy children of this home, so that many visitors at once cannot use up the machine.

    A place is a lock of the system: it is free again when its holder is gone, however that ended.

    Args:
        most: children at the same time.
        seconds: how long to wait for a place.

    Raises:
        UserError: `too_busy`.
    """
    folder = settings.home / "turns"
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / f"{number}.lock", thread_local=False) for number in range(most)]
    deadline = time.monotonic() + seconds
    while (mine := next(filter(_taken, locks), None)) is None:
        if time.monotonic() >= deadline:
            raise UserError("too_busy")
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        mine.release()


def _taken(lock: BaseFileLock) -> bool:
    """Take the lock if it is free."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def limit_self(memory: int | None = None, cpu: int | None = None) -> None:
    """Bound the calling process: address space in bytes, processor time in seconds. Does nothing off Unix."""
    try:
        import resource
    except ImportError:
        return
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if cpu:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_with(main: Callable[..., int | None], *arguments: Any) -> NoReturn:
    """Do the work of this process, then end it at once, with the status that `main` returns or raises.

    An interpreter that ends by itself leaves to the libraries the ending of their threads. Arrow waits for its own
    without a limit (https://github.com/apache/arrow/issues/50482), when nothing of Python can notice any more.
    """
    status: Any = 1
    try:
        status = main(*arguments) or 0
    except SystemExit as leaving:
        status = leaving.code or 0
        if not isinstance(status, int):
            sys.stderr.write(f"{status}\n")
            status = 1
    except BaseException:  # noqa: BLE001 (as the interpreter itself does at its end)
        sys.excepthook(*sys.exc_info())
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more; it is closed
            stream.flush()
    os._exit(status)


def memory_kills() -> int:
    """How many processes the system has ended in this container for lack of memory; 0 where it does not tell."""
    try:
        told = Path("/sys/fs/cgroup/memory.events").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in told.splitlines() if line.startswith("oom_kill ")))
    except (OSError, ValueError, StopIteration, IndexError):
        return 0


def converse(
    settings: Settings, module: str, request: dict[str, Any], hear: Callable[[dict[str, Any]], None], *, silence: float
) -> None:
    """Start an online child, hand it a request by pipe (the only way a token travels) and hear its JSON lines.

    Args:
        request: written to its stdin as JSON.
        hear: called with every line.
        silence: seconds without a line after which it is given up and killed.

    Raises:
        TimeoutError: it fell silent.
        ChildProcessError: it ended with another status than 0.
    """
    child = spawn(settings, module, [], stdin=subprocess.PIPE, stdout=subprocess.PIPE, online=True)
    assert child.stdin
    assert child.stdout
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def listen(stream: IO[bytes]) -> None:
        for line in stream:
            said.put(line)
        said.put(None)

    listener = threading.Thread(target=listen, args=(child.stdout,), daemon=True)
    listener.start()
    try:
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps(request).encode())
        while (line := said.get(timeout=silence)) is not None:
            hear(json.loads(line))
        if status := child.wait(timeout=silence):
            raise ChildProcessError(f"{module} ended with {status}")
    except (queue.Empty, subprocess.TimeoutExpired) as error:
        raise TimeoutError(f"{module} fell silent") from error
    finally:
        child.kill()
        child.wait()
        listener.join()
        child.stdout.close()


def requested() -> tuple[dict[str, Any], Callable[[dict[str, Any]], None]]:
    """The child's end of `converse`: the request, and a function that says a line.

    What libraries print goes to stderr from here on, so that it cannot be taken for a line.
    """
    request = json.loads(sys.stdin.buffer.read())
    channel, sys.stdout = sys.stdout, sys.stderr

    def say(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return request, say
