"""Heavy children take turns."""

import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import UserError
from core.processes import ROOT, spawn, turn
from core.settings import Settings, child_environment


def test_no_more_at_once_than_there_are_places(tmp_path):
    settings, inside, most = Settings(home=tmp_path), [], []

    def work():
        with turn(settings, most=2, seconds=30):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 8
    assert max(most) == 2


def test_who_waits_too_long_is_told(tmp_path):
    settings = Settings(home=tmp_path)
    with (
        turn(settings, most=1, seconds=0),
        pytest.raises(UserError, match="too_busy"),
        turn(settings, most=1, seconds=0.1),
    ):
        pass
    with turn(settings, most=1, seconds=0):
        pass  # free again


def test_a_place_of_a_killed_process_is_free(tmp_path):
    code = (
        "import time; from pathlib import Path; from core.processes import turn; from core.settings import Settings\n"
        f"with turn(Settings(home=Path({str(tmp_path)!r})), most=1, seconds=0): print('in', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"in\n"
    with pytest.raises(UserError, match="too_busy"), turn(Settings(home=tmp_path), most=1, seconds=0):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with turn(Settings(home=tmp_path), most=1, seconds=0):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="what a process was started with is told on Linux alone")
@pytest.mark.parametrize("computes", [True, False])
def test_only_who_computes_keeps_its_memory_in_large_pieces(computes, tmp_path):
    child = spawn(Settings(home=tmp_path), "http.server", ["--bind", "127.0.0.1", "0"], computes=computes)
    try:
        place = Path(f"/proc/{child.pid}")
        while b"http.server" not in (place / "cmdline").read_bytes():
            time.sleep(0.01)
        assert (b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1" in (place / "environ").read_bytes()) is computes
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(("allowed", "reads", "computes"), [("64", "4", "16"), ("", "4", "16"), ("1", "1", "1")])
def test_who_reads_has_few_threads_on_a_machine_of_many_cores(allowed, reads, computes, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    monkeypatch.setattr("core.settings.usable_cores", lambda asked: min(asked or 16, 16))
    for working, threads in ((False, reads), (True, computes)):
        environment = child_environment(Settings(home=tmp_path), computes=working)
        assert environment["OMP_NUM_THREADS"] == environment["RAYON_NUM_THREADS"] == threads
        assert (environment["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=4") is not working


@pytest.mark.parametrize(
    ("load", "given", "looks"),
    [
        (5.1, {}, "10000"),
        (4.9, {}, None),
        (5.1, {"OMP_WAIT_POLICY": "PASSIVE"}, None),
        (5.1, {"GOMP_SPINCOUNT": "7"}, "7"),
        (0.0, {"GOMP_SPINCOUNT": "7"}, "7"),
        (None, {}, None),
    ],
)
def test_a_thread_that_waits_leaves_its_core_to_others_where_they_want_it(load, given, looks, tmp_path, monkeypatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    if load is None:
        monkeypatch.delattr("os.getloadavg")
    else:
        monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 9.0))
    environment = child_environment(Settings(home=tmp_path), computes=True)
    assert environment.get("GOMP_SPINCOUNT") == looks
    assert environment.get("OMP_WAIT_POLICY") == given.get("OMP_WAIT_POLICY")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries read no such settings")
def test_memory_that_is_taken_again_and_again_is_not_asked_of_the_system_each_time(tmp_path):
    script = (
        "import resource; faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for n in range(60):\n"
        "    if n == 5: before = faults()\n"
        "    some = [bytearray(4 << 20) for _ in range(16)]; del some\n"
        "print(faults() - before)"
    )
    counts = [
        int(subprocess.run(
            [sys.executable, "-c", script], env=child_environment(Settings(home=tmp_path), computes=computes),
            capture_output=True, check=True,
        ).stdout)
        for computes in (False, True)
    ]  # fmt: skip
    assert counts[1] * 10 < counts[0]


def _ended(words: str) -> "subprocess.CompletedProcess[str]":
    """What became of a process that ends with `words`, while a thread of it would go on."""
    lines = (
        "import atexit, sys, threading, time",
        "from core.processes import end_with",
        "threading.Thread(target=time.sleep, args=(600,)).start()",
        "atexit.register(lambda: sys.stdout.write('tidied'))",
        "def main(given=None):",
        f"    {words}",
        "end_with(main, 'given')",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("return None", 0, ""),
        ("return 5", 5, ""),
        ("sys.exit(given and 7)", 7, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('no such thing')", 1, "no such thing\n"),
    ],
)
def test_a_process_ends_at_once_with_its_status(words, status, said):
    ended = _ended(words)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "tidied", said)


def test_a_process_that_fails_says_why():
    ended = _ended("raise ValueError('what was wrong')")
    assert ended.returncode == 1
    assert ended.stdout == "tidied"
    assert ended.stderr.startswith("Traceback")
    assert ended.stderr.endswith("ValueError: what was wrong\n")


def test_every_process_of_its_own_ends_so():
    texts = {path: path.read_text(encoding="utf-8") for path in [*(ROOT / "core").rglob("*.py"), ROOT / "app.py"]}
    ends = {path: text.rpartition('__name__ == "__main__"')[2] for path, text in texts.items() if '"__main__"' in text}
    assert len(ends) > 10
    assert [path for path, end in ends.items() if "end_with(" not in end] == []
