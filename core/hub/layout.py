"""Which files of a data set belong together: configs and their splits, from its card, else from the files' names."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from core.hub.patterns import Listing
from core.hub.repos import is_path

Files = tuple[tuple[str, int], ...]
Configs = dict[str, dict[str, Files]]

# Where a split comes in several kinds, the one with more files is taken, then the first of these.
KINDS = ("parquet", "jsonl", "csv", "tsv", "json")
_TABLE = re.compile(r"(.+)\.(?:(parquet)|(csv|tsv|jsonl|json)(?:\.gz)?)", re.IGNORECASE | re.DOTALL)
# Files about the data set, not of it.
_ABOUT = frozenset({"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"})
_SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-\d{5,}(?:-[0-9a-f]+)?")
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
_ORDER = {split: place for place, split in enumerate(_SPLIT_WORDS)}
_DEFAULT = "default"
_MOST_FILES = 20_000
_MOST_CONFIGS = 1_000
_MOST_PATTERNS = 5_000
_NAME_CHARACTERS = 100


def is_table(path: str) -> bool:
    """Whether a file of this path may hold a table that is read here; hidden files and those about the set do not."""
    segments = path.split("/")
    hidden = any(segment.startswith((".", "__")) for segment in segments)
    return is_path(path) and not hidden and segments[-1] not in _ABOUT and bool(_TABLE.fullmatch(segments[-1]))


def configs(listed: Iterable[tuple[str, int]], card: Mapping[str, Any]) -> Configs:
    """Config -> split -> files (path, bytes), sorted by path; empty where no file holds a table.

    What the card says is only ever matched against the listed files. Card that says nothing useful: names decide, much
    as in https://huggingface.co/docs/hub/datasets-file-names-and-splits (but folders are configs).

    Args:
        listed: path and size in bytes of every file.
        card: front matter of the data set's card.
    """
    sizes = {path: size for path, size in sorted(listed) if is_table(path) and size > 0}
    sizes = dict(list(sizes.items())[:_MOST_FILES])
    chosen = _from_card(sizes, card.get("configs")) or _from_names(sizes)
    return {
        config: {split: tuple((path, sizes[path]) for path in paths) for split, paths in splits.items()}
        for config, splits in chosen.items()
    }


def _from_card(sizes: Mapping[str, int], entries: Any) -> dict[str, dict[str, list[str]]]:
    listing, patterns_left = Listing(sizes), _MOST_PATTERNS
    found: dict[str, dict[str, list[str]]] = {}
    for entry in entries[:_MOST_CONFIGS] if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        folder = entry.get("data_dir")
        inside = f"{folder.rstrip('/')}/" if isinstance(folder, str) and folder not in ("", ".", "./") else ""
        splits: dict[str, list[str]] = {}
        if entry.get("data_files"):
            for split, patterns in _patterns(entry["data_files"]).items():
                patterns, patterns_left = patterns[:patterns_left], max(0, patterns_left - len(patterns))
                paths = {path for pattern in patterns for path in listing.matching(inside + pattern)}
                splits[split] = sorted(paths)
        else:
            splits = _splits(listing.matching(f"{inside}**"))
        splits = {split: kept for split, paths in splits.items() if (kept := _of_one_kind(paths))}
        if splits:
            found.setdefault(_name(entry.get("config_name"), _DEFAULT), splits)
    return found


def _patterns(data_files: Any) -> dict[str, list[str]]:
    """Split -> patterns. Cards hold one pattern, a list, splits with patterns, or a list of `{"split", "path"}`."""
    found: dict[str, list[str]] = {}

    def add(split: Any, patterns: Any) -> None:
        wanted = patterns if isinstance(patterns, list) else [patterns]
        found.setdefault(_name(split, "train"), []).extend(p for p in wanted if isinstance(p, str))

    if isinstance(data_files, dict):
        for split, patterns in data_files.items():
            add(split, patterns)
    else:
        for item in data_files if isinstance(data_files, list) else [data_files]:
            if isinstance(item, dict):
                add(item.get("split"), item.get("path"))
            else:
                add("train", item)
    return found


def _name(value: Any, otherwise: str) -> str:
    """A config's or split's name, fit to be shown in a list."""
    shown = "".join(c for c in str(value) if c.isprintable()).strip() if isinstance(value, str | int | float) else ""
    return shown[:_NAME_CHARACTERS] or otherwise


def _from_names(sizes: Mapping[str, int]) -> dict[str, dict[str, list[str]]]:
    by_config: dict[str, list[str]] = {}
    for path in sizes:
        by_config.setdefault(_config_of(path), []).append(path)
    named = sorted(by_config, key=lambda config: (config != _DEFAULT, config))
    return {config: _splits(by_config[config]) for config in named[:_MOST_CONFIGS]}


def _splits(paths: Iterable[str]) -> dict[str, list[str]]:
    """Split -> paths. Files without a word for a split are the training split, where no file is named so."""
    by_split: dict[str | None, list[str]] = {}
    for path in sorted(paths):
        by_split.setdefault(_split_of(path), []).append(path)
    nameless = by_split.pop(None, [])
    found = {split: same for split, same in by_split.items() if split}
    if nameless and "train" not in found and not any(split.startswith("train") for split in found):
        found["train"] = nameless
    ordered = sorted(found, key=lambda split: (_ORDER.get(split, len(_ORDER)), split))
    return {split: _of_one_kind(found[split]) for split in ordered}


def _of_one_kind(paths: list[str]) -> list[str]:
    """The same rows are often there as CSV and as Parquet: keep the kind with most files."""
    counted = Counter(map(_kind_of, paths))
    kept = min(counted, key=lambda kind: (-counted[kind], KINDS.index(kind)), default="")
    return [path for path in paths if _kind_of(path) == kept]


def _kind_of(path: str) -> str:
    found = _TABLE.fullmatch(path)
    return (found[2] or found[3]).lower() if found else ""


def _split_of(path: str) -> str | None:
    """The split that a path tells: `NAME-00000-of-00002` is NAME, else a word in a folder's or the file's name."""
    *folders, last = path.split("/")
    found = _TABLE.fullmatch(last)
    stem = found[1] if found else last
    shard = _SHARD.fullmatch(stem)
    if shard:
        return _SPLIT_OF_WORD.get(shard[1].lower(), shard[1])
    return next((split for name in [*folders, stem] if (split := _word_in(name))), None)


def _word_in(name: str) -> str | None:
    return next((_SPLIT_OF_WORD[w] for w in re.split(r"[-._ 0-9]+", name.lower()) if w in _SPLIT_OF_WORD), None)


def _config_of(path: str) -> str:
    """The folders above the one that names a split; `data` is no name."""
    above: list[str] = []
    for folder in path.split("/")[:-1]:
        if _word_in(folder):
            break
        if folder != "data":
            above.append(folder)
    return _name("/".join(above), _DEFAULT)
