"""One visitor who asks without end does not stop another one's page."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx2

from tests.security.conftest import Space
from tests.security.visitors import Function, Visitor
from ui.calls import Line, Pace, Uploads, own

ASKED, AT_ONCE = 1000, 8
# Looks at the page, of half a megabyte, each with a call, that another visitor gets meanwhile: a dozen on a free
# machine, four on one that does much besides. Who waited for the thousand to end would get one.
LOOKS = 2
# Seconds for any of these looks, which may fall into a moment in which the machine does other things.
PATIENCE = 30.0


def test_a_thousand_calls_of_one_leave_the_page_to_another(space: Space) -> None:
    greedy, patient = space.visitor(), space.visitor()
    queued = next(function for function in patient.functions() if function["queue"] and not function["inputs"])
    ended, began = threading.Event(), time.monotonic()
    line = httpx2.Client(base_url=space.url, headers=greedy.http.headers, trust_env=False, timeout=60)

    def flood(n: int) -> int:
        body = {"data": [], "fn_index": queued["id"], "session_hash": f"window {n % 50}"}
        return line.post("/gradio_api/queue/join", json=body).status_code

    with line, ThreadPoolExecutor(AT_ONCE + 1) as pool:
        other = pool.submit(looking, patient, queued, ended)
        answers = list(pool.map(flood, range(ASKED)))
        seconds = time.monotonic() - began
        ended.set()
        times = other.result()
    assert {*answers} == {200, 429}
    assert answers.count(200) <= 102 + 20 * seconds
    assert len(times) >= LOOKS
    assert max(times) < PATIENCE


def looking(visitor: Visitor, queued: Function, ended: threading.Event) -> list[float]:
    """Seconds that each look at the page took, one after the other until `ended`."""
    times, answers = list[float](), list[int]()
    visitor.http.event_hooks = {"response": [lambda response: answers.append(response.status_code)]}
    while not ended.is_set():
        began = time.monotonic()
        assert visitor.http.get("/").status_code == 200
        assert '"data"' in visitor.call(queued)
        times.append(time.monotonic() - began)
    assert {*answers} == {200}  # where the page is too busy for one, it is not for the other
    return times


def test_who_looks_without_end_waits_alone(space: Space) -> None:
    greedy, patient = space.visitor(), space.visitor()
    assert 429 in {greedy.http.get("/progress", params={"language": "en"}).status_code for _ in range(300)}
    assert patient.http.get("/progress", params={"language": "en"}).status_code == 204


def test_one_owner_takes_a_part_of_the_line_only() -> None:
    queue = SimpleNamespace(event_queue_per_concurrency_id={"a": waiting("bob", 2), "b": waiting("bob", 1)})
    assert not Line(queue, most=3).has_room("bob")
    assert Line(queue, most=4).has_room("bob")
    assert Line(queue, most=3).has_room("alice")


def test_uploads_that_become_nothing_do_not_fill_the_disk(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "not there yet", a_day=100, stay_free=0, most=2)
    assert [uploads.allows("bob", 40) for _ in range(3)] == [True, True, False]
    assert uploads.allows("bob", 20)
    assert uploads.allows("alice", 100)
    assert not Uploads(tmp_path, a_day=100, stay_free=2**60).allows("bob", 1)


def test_a_thousand_files_in_one_request_are_one_upload(space: Space) -> None:
    visitor = space.visitor()
    small = [("files", (f"{n}.csv", b"a,b\n1,2\n")) for n in range(999)]
    assert visitor.http.post("/gradio_api/upload", files=small).status_code == 200
    large = [("files", (f"{n}.csv", b"x" * 2000)) for n in range(999)]
    assert visitor.http.post("/gradio_api/upload", files=large).status_code == 413
    assert visitor.http.get("/").status_code == 200


def waiting(owner: str, count: int) -> SimpleNamespace:
    """One of gradio's lines with calls of one owner in it."""
    return SimpleNamespace(queue=[SimpleNamespace(session_hash=own(f"window {n}", owner)) for n in range(count)])


def test_the_pace_is_each_persons_own_and_comes_back() -> None:
    pace = Pace(at_once=3, a_second=1000.0, most=2)
    assert [pace.allows("bob") for _ in range(3)] == [True] * 3
    slow = Pace(at_once=3, a_second=0.001, most=2)
    assert [slow.allows("bob") for _ in range(5)] == [True, True, True, False, False]
    assert slow.allows("alice")
    assert not slow.allows("bob")
    time.sleep(0.02)
    assert pace.allows("bob")
    slow.allows("carol"), slow.allows("dave")
    assert slow.allows("bob")  # forgotten meanwhile: only so many are remembered
