"""Looking for models on the Hub by words: one bounded question, and an answer of which nothing is believed unseen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from core.errors import UserError
from core.hub import answers, repos
from core.settings import Settings

_LONGEST_WORDS = 100
_MOST = 100
_MOST_TAGS = 5
_LIBRARY = "transformers"
# The Hub tags a repository so where it holds such files.
_SAFE_WEIGHTS = "safetensors"
_NEEDS_CODE = "custom_code"
_EXPANDED = (
    "downloads", "likes", "pipeline_tag", "tags", "gated", "private", "library_name", "safetensors", "cardData"
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A model that the Hub knows. What it tells is not checked: `core.models.fetching.look_up` does that.

    Attributes:
        downloads: in the last 30 days.
        pipeline_tag: the Hub's name of what it is for, None where it has none.
        license: as on its card, None where it has none.
        gated: whether people must accept terms first.
        parameters: count of numbers, None where the Hub does not tell.
        library: what loads it.
    """

    id: str
    downloads: int
    likes: int
    pipeline_tag: str | None
    license: str | None
    gated: bool
    parameters: int | None
    library: str


def search(
    words: str,
    settings: Settings,
    token: str | None = None,
    *,
    task_tags: Iterable[str] = (),
    limit: int = 20,
) -> list[Found]:
    """Models whose names contain the words, most downloaded first; answers within seconds.

    Only those that transformers loads from safetensors without code of their own.

    Args:
        words: part of a name; empty for any.
        task_tags: the Hub's names of kinds of jobs (`text-classification`); a model has to have one of them. Empty for
            any.
        limit: models at most, up to 100.

    Raises:
        UserError: `hub_unreachable`, `token_invalid`.

    Source: https://huggingface.co/docs/hub/api (GET /api/models).
    """
    if token:
        answers.check_token(token)
    wanted, most = tuple(dict.fromkeys(task_tags))[:_MOST_TAGS], max(1, min(limit, _MOST))
    paths = [_path(words, tag, most) for tag in wanted or (None,)]
    try:
        listed = answers.within(settings.limits.hub_timeout, lambda: [_ask(path, settings, token) for path in paths])
    except answers.RefusedError as refused:
        raise UserError("token_invalid" if refused.bad_token else "hub_unreachable") from refused
    found: dict[str, Found] = {}
    for entry in (entry for some in listed for entry in some[:_MOST]):
        model = _read(entry, settings, wanted)
        if model is not None:
            found.setdefault(model.id, model)
    return sorted(found.values(), key=lambda model: (-model.downloads, model.id))[:most]


def _path(words: str, tag: str | None, most: int) -> str:
    """One question. The Hub would want several tags to hold at once, so that each has a question of its own.

    More is asked for than is shown, since what is of no use here is left out.
    """
    asked = [
        ("sort", "downloads"),
        ("limit", str(min(2 * most + 20, _MOST))),
        ("filter", _LIBRARY),
        ("filter", _SAFE_WEIGHTS),
    ]
    if tag:
        asked.append(("pipeline_tag", tag))
    plain = " ".join("".join(c if c.isprintable() else " " for c in words).split())[:_LONGEST_WORDS]
    if plain:
        asked.append(("search", plain))
    return "/api/models?" + urlencode(asked + [("expand", name) for name in _EXPANDED])


def _ask(path: str, settings: Settings, token: str | None) -> list[Any]:
    try:
        listed = answers.get_json(settings, path, token)
    except RecursionError as error:  # lists within lists, thousands deep
        raise ValueError("no sensible answer") from error
    if not isinstance(listed, list):
        raise ValueError("no list")
    return listed


def _read(entry: Any, settings: Settings, wanted: tuple[str, ...]) -> Found | None:
    """An entry of the answer, or None where it is none, or is of no use here."""
    if not isinstance(entry, dict):
        return None
    name, library = _name(entry.get("id"), settings), entry.get("library_name")
    job = repos.word(entry.get("pipeline_tag"))
    tags = {tag for tag in _items(entry.get("tags")) if isinstance(tag, str)}
    loads = _LIBRARY in (library, *tags) and _SAFE_WEIGHTS in tags and _NEEDS_CODE not in tags
    if name is None or not loads or (wanted and job not in wanted):
        return None
    return Found(
        id=name,
        downloads=_count(entry.get("downloads")),
        likes=_count(entry.get("likes")),
        pipeline_tag=job,
        license=_license(entry.get("cardData"), tags),
        gated=bool(entry.get("gated")),
        parameters=_parameters(entry.get("safetensors")),
        library=repos.word(library) or _LIBRARY,
    )


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(value: Any, settings: Settings) -> str | None:
    """The id if it is exactly a name, as the Hub spells names."""
    try:
        return value if isinstance(value, str) and repos.check_id(value, settings.hub_endpoint) == value else None
    except UserError:
        return None


def _license(card: Any, tags: set[str]) -> str | None:
    named = card.get("license") if isinstance(card, dict) else None
    named = next(iter(named), None) if isinstance(named, list) else named
    tagged = next((tag.removeprefix("license:") for tag in sorted(tags) if tag.startswith("license:")), None)
    return repos.word(named) or repos.word(tagged)


def _parameters(value: Any) -> int | None:
    return (_count(value.get("total")) or None) if isinstance(value, dict) else None


def _count(value: Any) -> int:
    """A whole number that is one, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
