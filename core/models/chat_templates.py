"""A conversation as one text, by the model's own template: a small program of a stranger, so its time is bounded."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.settings import GIBIBYTE

# Processor time for one conversation; an ordinary template takes less than a thousandth of it.
_SECONDS = 2.0
_MEMORY = GIBIBYTE
# Characters that a template may write beside twice what it was given.
_SPARE = 2**18


class _OverdueError(BaseException):
    """Not an `Exception`, so that nothing in a template's library takes it for a fault of its own."""


def render(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> str:
    """What the model reads for a conversation, as its chat template writes it.

    In the main thread the template has 2 seconds of processor time and 1 GB of memory where the system can bound
    them. Elsewhere nothing bounds it but the end of the process, so strangers' templates belong into a child.

    Args:
        messages: `{"role", "content"}` each.
        options: as `apply_chat_template` takes them: `add_generation_prompt`, `enable_thinking`.

    Raises:
        UserError: `chat_template_refuses` where the template itself says no to such a conversation (as some do to
            instructions before the first turn), `chat_template_broken` for any other failure.
    """
    from jinja2 import TemplateError

    name = Path(str(tokenizer.name_or_path or "")).name
    try:
        with _bounded_time(), _bounded_memory():
            _refuse_powers(tokenizer.chat_template)
            text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except (Exception, _OverdueError) as error:
        refused = type(error) is TemplateError  # what `raise_exception` in a template raises; the rest are kinds of it
        raise UserError("chat_template_refuses" if refused else "chat_template_broken", name=name) from error
    given = sum(len(str(value)) for message in messages for value in message.values())
    if not isinstance(text, str) or len(text) > 2 * given + _SPARE:
        raise UserError("chat_template_broken", name=name)
    return text


@lru_cache(maxsize=8)
def _refuse_powers(template: object) -> None:
    """Raise for a template that computes powers: no text needs them, and no signal ends `9 ** (9 ** 9)`."""
    from jinja2 import Environment

    if isinstance(template, str) and ("operator", "**") in {token[1:] for token in Environment().lex(template)}:  # noqa: S701 (nothing is rendered)
        raise ValueError("a chat template with powers")


@contextmanager
def _bounded_time() -> Iterator[None]:
    """Raise `_OverdueError` in the body once it took too long; nothing outside the main thread or off Unix."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def overdue(number: int, frame: object) -> None:
        raise _OverdueError

    before = signal.signal(signal.SIGVTALRM, overdue)
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let the process grow by 1 GB of address space at most in the body; nothing where the system does not tell."""
    try:
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = used + _MEMORY
    if soft != resource.RLIM_INFINITY:
        most = min(most, soft)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
