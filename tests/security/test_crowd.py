"""One visitor who asks without end does not stop another one's page."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx2

from tests.security.conftest import Space
from tests.security.visitors import Function, Visitor
from ui.calls import Line, Pace, own

ASKED, AT_ONCE = 1000, 8
PATIENCE = 10.0  # for a page of nearly half a megabyte and a call, on a core that serves a thousand calls besides


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
    assert max(times) < PATIENCE


def looking(visitor: Visitor, queued: Function, ended: threading.Event) -> list[float]:
    """Seconds that each look at the page took, one after the other until `ended`."""
    times: list[float] = []
    while not ended.is_set() or not times:
        began = time.monotonic()
        assert visitor.http.get("/").status_code == 200
        assert '"data"' in visitor.call(queued)
        times.append(time.monotonic() - began)
    return times


def test_one_owner_takes_a_part_of_the_line_only() -> None:
    queue = SimpleNamespace(event_queue_per_concurrency_id={"a": waiting("bob", 2), "b": waiting("bob", 1)})
    assert not Line(queue, most=3).has_room("bob")
    assert Line(queue, most=4).has_room("bob")
    assert Line(queue, most=3).has_room("alice")


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
