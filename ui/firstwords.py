"""What a page is told before its first word.

Its language, as gradio's own words ("Drop File Here") follow the browser otherwise; and how fast gradio's clocks tick.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.text import PATHS, Language, Text

# gradio's clocks of what is under way count at every frame, and go on for ever in parts that were hidden meanwhile: the
# browser is kept busy though nothing changes, on cores that a training may need. They show tenths of a second.
_CLOCKS = (
    "{ const next = requestAnimationFrame; window.requestAnimationFrame = (work) =>"
    " /performance\\.now\\(\\).*1e3/.test(work) ? setTimeout(() => work(performance.now()), 100) : next(work); }"
)


class FirstWords:
    """ASGI middleware that writes title, language and one small script into the two pages.

    gradio's `head` option comes too late for this: it is put in by the code that has read the language by then.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change the two pages, pass everything else on."""
        language = next((name for name, path in PATHS.items() if path == scope.get("path")), None)
        if scope["type"] != "http" or language is None or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            content = speaking(body, language)
            MutableHeaders(scope=start)["content-length"] = str(len(content))
            await send(start)
            await send({"type": "http.response.body", "body": content})

        await self._app(scope, receive, collect)


def speaking(page: bytes, language: Language) -> bytes:
    """The page with its language set and the browser's overridden, the last touch noted, and clocks slowed down."""
    script = (
        f'<script>Object.defineProperty(navigator, "language", {{ get: () => "{language}" }});'
        f'Object.defineProperty(navigator, "languages", {{ get: () => ["{language}"] }});'
        'for (const touch of ["pointerdown", "keydown"])'
        " addEventListener(touch, () => { window.lastTouch = Date.now(); }, true);"
        f"{_CLOCKS}</script>"
    )
    title = Text(language)("page.title")
    page = page.replace(b'lang="en"', f'lang="{language}"'.encode(), 1)
    page = page.replace(b"<head>", f'<head>{script}<meta name="color-scheme" content="light dark" />'.encode(), 1)
    return page.replace(b"</head>", f"<script>document.title = {title!r};</script></head>".encode(), 1)
