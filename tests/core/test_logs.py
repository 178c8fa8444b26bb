"""What is written down: whole lines, few, without secrets, and never at the price of the work."""

import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import logs
from core.errors import UserError
from core.logs import LogFile, bound
from core.redacting import CleanStream, cleaning, told
from core.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
HEX = "0123456789abcdef" * 4
JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl-Y2FuYXJ5"
SECRETS = [
    ("hf_canaryABCDEFGHIJKLMNOPQRSTUVWXYZ01", "hf_canaryABC"),
    ("hf_oauth_canary-0123.4567_89", "canary"),
    ("api_org_canary0123456789abcdefghijklmn", "canary"),
    (JWT, "eyJ"),
    (f"hf_oauth_{JWT}", "eyJ"),
    ("{'Authorization': 'Bearer canary.0123-456'}", "canary"),
    ("(b'authorization', b'Basic Y2FuYXJ5OmNhbmFyeQ==')", "Y2FuYXJ5"),
    ("GET https://x.example/a?token=canary&b=canary HTTP/1.1", "canary"),
    ("/login/callback?code=canary&state=canary", "canary"),
    ("failed with token=canary", "canary"),
    ("https://anna:canary@x.example/repo.git", "canary"),
    ("https://canary0123@x.example/repo.git", "canary"),
    ("OAUTH_CLIENT_SECRET=canary", "canary"),
    ("""{"client_secret": "canary", "a": 1}""", "canary"),
    ("password: canary", "canary"),
    ("HF_TOKEN = 'canary'", "canary"),
    (f"tuning_fork_owner={HEX}", HEX),
    (HEX.upper(), HEX.upper()),
    ("Cookie: session=canary; other=canary", "canary"),
    ("a secret that looks like a word: unmistakable", "unmistakable"),
]
HARMLESS = [
    "hf_hub_download() got an unexpected keyword argument",
    "eos_token='</s>', max_new_tokens=64, pad_token_id: 0, tokenizer=BertTokenizer",
    "Unexpected end of 3 rows, revision 0123456789abcdef0123456789abcdef01234567",
    "is it so? yes: a=b; http://127.0.0.1:7860/zh",
    '  File "core/hub/layout.py", line 3, in session',
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def printed() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def started(settings: Settings, printed: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Logging as the app has it, for the length of a test; the file that it writes."""
    root = logging.root
    before, level = root.handlers[:], root.level
    root.handlers = []
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(sys, "stderr", printed)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    logs.start(settings, "app", known=["unmistakable"])
    try:
        yield settings.home / "logs" / "app.jsonl"
    finally:
        logging.captureWarnings(False)
        for handler in root.handlers:
            handler.close()
        root.handlers, root.level = before, level


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file; each must be a line of its own."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_no_secret_is_written_wherever_it_stands(
    started: Path, printed: io.StringIO, monkeypatch: pytest.MonkeyPatch, text: str, secret: str
) -> None:
    log = logging.getLogger("anything")
    log.error("before %s", "x " + text)
    log.error(f"({text})", extra={"told": text})
    try:
        raise ValueError(f"the cause {text}")
    except ValueError:
        log.exception("it failed", extra={"code": text})
    log.error("also %(a)s", {"a": {"deep": [text]}})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"careful: {text}", UserWarning, stacklevel=1)
    monkeypatch.setattr(sys, "stderr", logging.root.handlers[1].stream)  # pytest had put its own back
    print("printed by", "somebody", text, file=sys.stderr)
    written = started.read_text() + printed.getvalue()
    assert secret not in written
    assert len(lines(started)) == 6
    assert written.count("[hidden]") >= 8


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str, tmp_path: Path) -> None:
    assert cleaning(tmp_path)(text) == text


def test_personal_folders_are_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    clean = cleaning(Path("/home/anna/data/fork"))
    assert clean("open /home/anna/data/fork/runs/x and /home/anna/.cache") == "open <home>/runs/x and ~/.cache"
    assert clean("/home/annabel /home/anna-2 /srv") == "/home/annabel /home/anna-2 /srv"


def test_a_secret_at_a_cut_is_not_left_by_half(tmp_path: Path) -> None:
    clean = cleaning(tmp_path)
    token = "hf_" + "Canary" * 6
    for before in range(60, 105):
        cut = told(clean, "." * before + f" {token} " + "." * 5000, 200)
        assert "Canary" not in cut
        assert len(cut) < 220


@pytest.mark.parametrize(
    "text", ["\nERROR forged", "\r\nERROR", "a\u2028b\u2029c", "\ud800", "\x1b[2J\0\x7f\x85", "中"], ids=ascii
)
def test_a_line_cannot_be_forged(started: Path, printed: io.StringIO, text: str) -> None:
    logging.getLogger("a").error("label %s", text)
    content = started.read_bytes()
    assert lines(started)[-1]["message"] == f"label {text}"
    assert len(content.decode("ascii").splitlines()) == 2  # with the line of the start
    assert all(32 <= byte < 127 or byte == 10 for byte in content)
    assert len(printed.getvalue().splitlines()) == 1


def test_a_record_says_when_where_and_why(started: Path, printed: io.StringIO) -> None:
    try:
        raise UserError("disk_full")
    except UserError:
        logging.getLogger("core.x").exception("saving")
    first, last = lines(started)
    assert (first["level"], first["logger"]) == ("INFO", "core.logs")
    assert last["time"].endswith("+00:00")
    assert abs(logs.datetime.fromisoformat(last["time"]).timestamp() - time.time()) < 60
    assert (last["level"], last["logger"], last["message"]) == ("ERROR", "core.x", "saving")
    assert last["exception"]["type"] == "UserError"
    assert "test_logs.py" in last["exception"]["traceback"]
    assert printed.getvalue().endswith("ERROR core.x: saving (UserError)\n")
    error = logs.last_error()
    assert error
    assert (error.code, error.time) == ("disk_full", last["time"])


def test_the_last_error_is_the_newest_and_no_warning(started: Path) -> None:
    assert logs.last_error() is None
    logging.getLogger("a").warning("only so")
    assert logs.last_error() is None
    logging.getLogger("a").error("one", exc_info=KeyError("private"))
    assert logs.last_error().code == "KeyError"
    logging.getLogger("b.c").error("two")
    assert logs.last_error().code == "b.c"


def test_what_cannot_be_put_into_words_is_still_a_line(started: Path, printed: io.StringIO) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    logging.getLogger("a").error("%d rows", "many")
    logging.getLogger("a").error(Mute())
    assert [line["message"] for line in lines(started)[1:]] == ["%d rows", "Mute"]
    assert "Traceback" not in printed.getvalue()


def test_a_thread_that_ends_with_an_error_is_noted(started: Path) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    thread = threading.Thread(target=fail, name="supervisor")
    thread.start()
    thread.join()
    assert lines(started)[-1]["message"] == "the thread supervisor ended"
    assert logs.last_error().code == "ZeroDivisionError"


def test_libraries_with_lines_of_their_own_write_here_after_all(started: Path, printed: io.StringIO) -> None:
    theirs = logging.getLogger("a_library")
    theirs.addHandler(logging.StreamHandler(printed))
    theirs.propagate = False
    logs.gather()
    theirs.warning("of theirs")
    assert lines(started)[-1]["logger"] == "a_library"
    assert printed.getvalue().count("of theirs") == 1


def test_files_are_few_and_small_and_two_threads_tear_no_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_FILE_BYTES", 20_000)
    path = settings.home / "logs" / "app.jsonl"
    handler = LogFile(path, cleaning(settings.home))
    log = logging.Logger("a")
    log.addHandler(handler)

    def write(name: str) -> None:
        for number in range(600):
            log.error("%s %d %s", name, number, "字" * 20)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()
    files = sorted(path.parent.iterdir())
    assert [f.name for f in files] == ["app.jsonl", *(f"app.jsonl.{n}" for n in range(1, 5))]
    assert all(0 < f.stat().st_size <= 20_000 for f in files)
    oldest_first = [files[0], *files[1:]][::-1]
    found = [line["message"].split()[:2] for file in oldest_first for line in lines(file)]
    for name in "ab":
        numbers = [int(number) for who, number in found if who == name]
        assert numbers == list(range(600 - len(numbers), 600))


def test_a_message_as_long_as_a_book_is_shortened(started: Path) -> None:
    logging.getLogger("a").error("begin %s end", "字" * 3_000_000, exc_info=ValueError("x" * 3_000_000))
    assert started.stat().st_size < 300_000
    message = lines(started)[-1]["message"]
    assert message.startswith("begin 字")
    assert message.endswith("字 end")


FULL = """
    import logging, resource, sys
    from pathlib import Path
    from core import logs
    from core.settings import Settings

    home = Path(sys.argv[1])
    logs.start(Settings(home=home), "app")
    log = logging.getLogger("a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
    for number in range(100):
        log.error("number %d %s", number, "x" * 150)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.error("there is room again")
    print("alive")
"""


def test_a_file_that_cannot_grow_ends_nothing_and_is_said_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "alive\n"
    said = done.stderr.splitlines()
    assert len(said) == 102  # the errors themselves, and one line about the file
    assert sum("File too large" in line for line in said) == 1
    path = tmp_path / "logs" / "app.jsonl"
    content = path.read_bytes()
    assert content.count(b"\n") > 10
    assert json.loads(content.splitlines()[-1])["message"] == "there is room again"
    torn = [line for line in content.splitlines() if not line.endswith(b"}")]
    assert len(torn) <= 1


def test_a_full_disk_ends_nothing(started: Path, printed: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", printed)
        patch.setattr(logging.FileHandler, "emit", full)
        for _ in range(3):
            logging.getLogger("a").error("lost")
    assert printed.getvalue().count("No space left") == 1
    assert printed.getvalue().count("ERROR a: lost") == 3
    assert "Traceback" not in printed.getvalue()
    assert logs.last_error().code == "a"
    logging.getLogger("a").error("kept")
    assert lines(started)[-1]["message"] == "kept"


def test_a_folder_that_cannot_be_made_ends_nothing(tmp_path: Path, printed: io.StringIO) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    code = "import sys, pathlib; from core import logs, settings; import logging\n"
    code += "logs.start(settings.Settings(home=pathlib.Path(sys.argv[1])), 'app')\n"
    code += "[logging.error('so') for _ in range(5)]; print('alive')"
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "alive\n"
    assert done.stderr.count("FileExistsError") == 1
    assert done.stderr.count("ERROR root: so") == 5
    assert "Traceback" not in done.stderr


def test_a_torn_line_is_ended_before_the_next(settings: Settings) -> None:
    path = settings.home / "logs" / "app.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"time": "20')
    handler = LogFile(path, cleaning(settings.home))
    handler.handle(logging.makeLogRecord({"msg": "whole", "levelno": logging.INFO}))
    handler.close()
    torn, whole, rest = path.read_bytes().split(b"\n")
    assert (torn, json.loads(whole)["message"], rest) == (b'{"time": "20', "whole", b"")


def test_a_stream_is_clean_whatever_the_pieces(tmp_path: Path) -> None:
    out = io.StringIO()
    stream = CleanStream(out, cleaning(tmp_path))
    print("Bearer", "canary0123456789", file=stream)
    for letter in "token=canary ok":
        stream.write(letter)
    assert out.getvalue() == "Bearer [hidden]\n"
    stream.flush()
    assert out.getvalue() == "Bearer [hidden]\ntoken=[hidden] ok"
    stream.write("x" * 100_000)
    assert out.getvalue().endswith("x" * 100_000)
    out.close()
    print("nobody hears this", file=stream)
    stream.flush()


WORKER = """
    import logging, os, sys, time, traceback, warnings
    from pathlib import Path
    from core import logs
    from core.settings import Settings

    logs.start_plain(Settings(home=Path(sys.argv[1])))
    warnings.simplefilter("default")
    print("begins", file=sys.stderr)
    warnings.warn("token=canary")
    logging.getLogger("a").warning("hf_canary0123456789")
    try:
        raise ValueError("https://a:canary@x.example")
    except ValueError:
        traceback.print_exc()
    for number in range(50_000):
        os.write(2, b"%06d %s\\n" % (number, b"x" * 93))  # as a library in C does
        if number % 1_000 == 0:
            time.sleep(0.01)
    print("written", flush=True)
    sys.stdin.readline()
    print("ends", file=sys.stderr)
"""


def test_a_worker_that_prints_and_prints_is_bounded_and_read_by_people(tmp_path: Path) -> None:
    path, most, written = tmp_path / "worker.log", 200_000, threading.Event()
    cuts = 0

    def watch() -> None:
        nonlocal cuts
        while not written.is_set():
            before = path.stat().st_size
            bound(path, most)
            cuts += path.stat().st_size < before
            time.sleep(0.005)

    watching = threading.Thread(target=watch)
    command = [sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path)]
    with path.open("ab") as file:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        child = subprocess.Popen(command, cwd=ROOT, stderr=file, **pipes)
    with child:
        watching.start()
        assert child.stdout.readline() == b"written\n"
        written.set()
        watching.join()
        child.stdin.write(b"\n")
    assert child.returncode == 0
    bound(path, most)
    content = path.read_text()
    assert cuts > 3
    assert path.stat().st_size <= most
    assert content.startswith("begins\n")
    assert content.endswith("ends\n")
    assert content.count("[...]\n") == 1
    assert "canary" not in content
    assert "ValueError: https://[hidden]@x.example" in content
    lines_in_c = [line for line in content.splitlines() if line.endswith("xxx")]
    assert {len(line) for line in lines_in_c} == {100}
    assert lines_in_c == sorted(lines_in_c)


def test_a_log_is_cut_again_and_again_and_keeps_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    with path.open("ab") as file:
        for number in range(2_000):
            os.write(file.fileno(), b"line %d %s\n" % (number, b"x" * 60))
            bound(path, 1_000)
            assert path.stat().st_size <= 1_000
    found = [line.rstrip(" x") for line in path.read_text().splitlines()]
    assert found[:4] == ["line 0", "line 1", "line 2", "[...]"]
    assert found[-1] == "line 1999"
    assert found.count("[...]") == 1
    assert path.stat().st_size > 250


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 1_000])
def test_a_short_log_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "worker.log"
    path.write_bytes(content)
    bound(path, 1_000)
    assert path.read_bytes() == content
    bound(tmp_path / "none")


def test_one_endless_line_is_cut_too(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    path.write_bytes(b"a" * 5_000 + b"\xe4\xb8\xad" * 500)
    bound(path, 1_000)
    assert path.read_bytes() == b"a" * 250 + b"[...]\n" + (b"\xe4\xb8\xad" * 500)[-250:]
