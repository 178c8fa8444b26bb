"""How long the page takes to answer its first request, and how much memory its process holds.

python -m benchmarks.page [--runs 5]
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import psutil


def start_once() -> tuple[float, float]:
    """(seconds until the first answer, MiB of the process some seconds later)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        places = {"TUNING_FORK_HOME": home, "GRADIO_SERVER_PORT": str(port), "TUNING_FORK_BROWSER": "0"}
        begin = time.perf_counter()
        app = subprocess.Popen(
            [sys.executable, "app.py"], env=os.environ | places, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            seconds = _until_it_answers(f"http://127.0.0.1:{port}/", begin)
            time.sleep(3)
            return seconds, psutil.Process(app.pid).memory_info().rss / 2**20
        finally:
            app.terminate()
            app.wait(20)


def _until_it_answers(address: str, begin: float) -> float:
    while time.perf_counter() - begin < 60:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                answer.read()
                return time.perf_counter() - begin
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise TimeoutError(address)


def main() -> None:
    """Start it several times and print the medians."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--runs", type=int, default=5)
    results = [start_once() for _ in range(flags.parse_args().runs)]
    seconds, memory = zip(*results, strict=True)
    print(f"first answer after {statistics.median(seconds):.2f} s (from {min(seconds):.2f} to {max(seconds):.2f})")
    print(f"memory of the page's process {statistics.median(memory):.0f} MiB (most {max(memory):.0f})")


if __name__ == "__main__":
    main()
