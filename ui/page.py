"""What every tab is given: the house's stores, the words, and the one edge where errors become sentences."""

import html
import inspect
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Any

import gradio as gr

from core.data.store import TableStore
from core.errors import UserError
from core.inference.client import Predictors
from core.keeping.keeper import Keeper
from core.runs.store import RunStore
from core.runs.supervisor import Supervisor
from core.settings import Settings
from ui import guard
from ui.draft import Draft, DraftStore
from ui.memory import Memory
from ui.text import Text
from ui.watching import Watch

log = logging.getLogger(__name__)

Values = Mapping[str, Any]
Parts = dict[str, Any]

# A view asks the same several times over; a handler that waits for something asks anew.
_SECONDS_KNOWN = 0.25


@dataclass(frozen=True)
class House:
    """The stores and processes behind the page, one of each for all visitors."""

    settings: Settings
    tables: TableStore
    runs: RunStore
    supervisor: Supervisor
    predictors: Predictors
    drafts: DraftStore
    watch: Watch
    keeper: Keeper
    memory: Memory = field(default_factory=Memory)
    start_lock: Lock = field(default_factory=Lock)


def open_house(settings: Settings) -> House:
    """All stores below `settings.home`. The supervisor is not started yet."""
    runs = RunStore(settings.home)
    return House(
        settings=settings,
        tables=TableStore(settings),
        runs=runs,
        supervisor=Supervisor(settings, runs),
        predictors=Predictors(settings),
        drafts=DraftStore(settings.home),
        watch=Watch(runs),
        keeper=Keeper(settings, runs),
    )


@dataclass(frozen=True)
class Visit:
    """One call of one person: what a handler gets before its values.

    Attributes:
        house: the stores.
        text: the words of the page that called.
        owner: key of the person; every store call passes it.
        token: the person's own Hub token on a Space, where signed in.
    """

    house: House
    text: Text
    owner: str
    token: str | None = field(default=None, repr=False)
    _known: dict[Any, tuple[float, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def draft(self) -> Draft:
        """The person's choices as they are now."""
        draft: Draft = self.once("draft", lambda: self.house.drafts.read(self.owner))
        return draft

    def change(self, **changes: Any) -> Draft:
        """Write some of the choices."""
        self._known.clear()
        return self.house.drafts.change(self.owner, **changes)

    def once(self, what: Hashable, find: Callable[[], Any]) -> Any:
        """What `find` gives, worked out once for a view: known for a moment, and until a choice changes."""
        known = self._known.get(what)
        if known is None or monotonic() - known[0] > _SECONDS_KNOWN:
            found = find()
            known = self._known[what] = (monotonic(), found)
        return known[1]


@dataclass(frozen=True)
class Page:
    """The page of one language while it is being built."""

    house: House
    text: Text

    def listen(
        self,
        trigger: Callable[..., Any] | list[Any],
        handler: Callable[..., Any],
        inputs: Any = None,
        parts: Parts | None = None,
        *,
        told: bool = False,
        **options: Any,
    ) -> Any:
        """Wire `handler(visit, *values) -> {part name: new value}` to an event; parts not named stay as they are.

        With `told`, the handler's first value is what the browser told with the event, a dictionary.
        """
        parts = parts or {}
        answer = at_the_edge(self, handler, list(parts))
        if told:
            answer = with_event(answer)
        wired = {"api_visibility": "private", "show_progress": "hidden"} | options
        if isinstance(trigger, list):
            return gr.on(trigger, answer, inputs, list(parts.values()), **wired)
        return trigger(answer, inputs, list(parts.values()), **wired)


def at_the_edge(page: Page, handler: Callable[..., Any], names: list[str]) -> Callable[..., Any]:
    """A gradio handler around a plain one: finds out who calls, orders the values, turns errors into sentences."""

    def visit(request: gr.Request) -> Visit:
        return Visit(page.house, page.text, guard.owner(request, page.house.settings), guard.token(request))

    def ordered(values: Values | None) -> Any:
        given = values or {}
        if given.keys() - set(names):
            raise KeyError(f"no such part: {given.keys() - set(names)}")
        return (
            tuple(given.get(name, gr.skip()) for name in names) if len(names) != 1 else given.get(names[0], gr.skip())
        )

    if inspect.isgeneratorfunction(handler):

        def answer_in_parts(request: gr.Request, *values: Any) -> Iterator[Any]:
            try:
                for step in handler(visit(request), *values):
                    yield ordered(step)
            except Exception as error:  # noqa: BLE001 (the page's edge: the one place that catches everything)
                raise as_sentence(page.text, error) from None

        return answer_in_parts

    def answer(request: gr.Request, *values: Any) -> Any:
        try:
            given = handler(visit(request), *values)
            return ordered(given) if names else None
        except Exception as error:  # noqa: BLE001 (the page's edge: the one place that catches everything)
            raise as_sentence(page.text, error) from None

    return answer


def with_event(answer: Callable[..., Any]) -> Callable[..., Any]:
    """A gradio handler that passes on what the browser told with its event."""

    def answer_event(request: gr.Request, event: gr.EventData, *values: Any) -> Any:
        data = event._data if isinstance(event._data, dict) else {}
        return answer(request, data, *values)

    return answer_event


def as_sentence(text: Text, error: Exception) -> gr.Error:
    """The error as a person sees it. What the person cannot mend is logged and not shown."""
    if not isinstance(error, UserError):
        log.error("unexpected error in a handler", exc_info=error)
        error = UserError("unexpected")
    # gradio renders a toast as HTML, and the facts hold names that strangers chose.
    sentence = html.escape(text.error(error))
    return gr.Error(sentence, duration=15, print_exception=False)


@dataclass(frozen=True)
class Tab:
    """A tab once it is built.

    Attributes:
        parts: its components by name.
        view: `view(visit) -> {part name: value}`: everything the tab shows, from the stores alone.
    """

    parts: Parts
    view: Callable[[Visit], Values]
