"""Data sets of the Hub: which names are taken, what there is to choose from, what arrives, and what no card can do."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import processes
from core.data import hub_sets
from core.data.hub_sets import HubSet
from core.data.store import TableStore
from core.errors import UserError
from core.hub import layout, patterns
from core.settings import Limits, Settings
from tests.fakehub import Account, FakeHub, watched_port

TOKEN = "hf_writer"
ROWS = b"text,label\nwhere is my parcel,delivery\ngive me my money,refund\n"


def settings(home: Path, hub: FakeHub | str, **limits: float) -> Settings:
    return Settings(
        home=home,
        hub_endpoint=hub if isinstance(hub, str) else hub.url,
        limits=Limits(**({"free_disk": 0, "hub_timeout": 3.0} | limits)),
    )


def add(hub: FakeHub, name: str, files: dict[str, bytes], card: dict[str, Any] | None = None, **facts: Any) -> None:
    front = f"---\n{yaml.safe_dump(card)}---\n# Rows\n".encode() if card else b"# Rows\n"
    hub.add(name, {"README.md": front} | files, "dataset", **facts)


def refused(work: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as wrong:
        work()
    return wrong.value


def shown(configs: layout.Configs) -> dict[str, dict[str, list[str]]]:
    return {
        config: {split: [p for p, _ in files] for split, files in splits.items()} for config, splits in configs.items()
    }


@pytest.fixture
def stocked(fake_hub: FakeHub) -> FakeHub:
    """A Hub with an ordinary data set, and things beside its tables."""
    files = {"train.csv": ROWS, "test.csv": ROWS[:40], "evil.py": b"1/0", "picture.png": b"x", "rows.pkl": b"x"}
    add(fake_hub, "team/rows", files, {"license": "cc-by-4.0"})
    return fake_hub


# -- names


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("team/rows", "team/rows"),
        (" team/rows\n", "team/rows"),
        ("{hub}/datasets/team/rows", "team/rows"),
        ("{hub}/datasets/team/rows/", "team/rows"),
        ("rows", "team/rows"),
        ("{hub}/datasets/rows", "team/rows"),
    ],
)
def test_names_and_links_are_taken(name: str, asked: str, stocked: FakeHub, tmp_path: Path) -> None:
    stocked.aliases["datasets/rows"] = "team/rows"
    assert hub_sets.look_up(name.format(hub=stocked.url), settings(tmp_path, stocked)).id == asked


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "/etc", "/etc/passwd", "./x", "../../etc", "..", "a/..", "a/b/c", "a//b", "a/", "a\0b", "a/b\0", "~/x",
        "a\\b", "C:\\x", "http://huggingface.co/datasets/a/b", "https://evil.example/datasets/a/b",
        "https://huggingface.co.evil.example/datasets/a/b", "https://huggingface.co/a/b", "file:///etc/passwd", "a b",
        "https://huggingface.co/datasets/../etc", "https://huggingface.co/datasets//etc", "datasets/a/b", "a--b/c",
        "hf://datasets/a/b", "s3://a/b", "-a/b", "a/b?x=1", "a/b#x", "a/b@main", "a%2fb", "é/b", "a" * 97, "csv:a/b",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_before_anything_is_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object, **__: object) -> None:
        raise AssertionError("opened something")

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "connect", no)
        patched.setattr(subprocess, "Popen", no)
        patched.setattr(Path, "open", no)
        patched.setattr(os, "open", no)
        wrong = refused(lambda: hub_sets.look_up(name, settings(tmp_path, "https://huggingface.co")))
    assert (wrong.code, wrong.facts) == ("data_set_id_malformed", {"name": name})


# -- what there is to choose from


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["rows.csv"], {"default": {"train": ["rows.csv"]}}),
        (["b.csv", "a.csv"], {"default": {"train": ["a.csv", "b.csv"]}}),
        (
            ["test.csv", "dev.csv", "training.csv"],
            {"default": {"train": ["training.csv"], "validation": ["dev.csv"], "test": ["test.csv"]}},
        ),
        (["valid.tsv", "eval.tsv"], {"default": {"validation": ["valid.tsv"], "test": ["eval.tsv"]}}),
        (["my-val_2.csv", "attest.csv"], {"default": {"train": ["attest.csv"], "validation": ["my-val_2.csv"]}}),
        (
            ["data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet", "test-00000-of-00001.parquet"],
            {
                "default": {
                    "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
                    "test": ["test-00000-of-00001.parquet"],
                }
            },
        ),
        (
            ["data/train_gen-00000-of-00001-0a1b2c.parquet", "data/train_sft-00000-of-00001.parquet"],
            {
                "default": {
                    "train_gen": ["data/train_gen-00000-of-00001-0a1b2c.parquet"],
                    "train_sft": ["data/train_sft-00000-of-00001.parquet"],
                }
            },
        ),
        (
            ["zh/train.jsonl", "en/test.jsonl", "en/train.jsonl", "all.csv"],
            {
                "default": {"train": ["all.csv"]},
                "en": {"train": ["en/train.jsonl"], "test": ["en/test.jsonl"]},
                "zh": {"train": ["zh/train.jsonl"]},
            },
        ),
        (
            ["train/2020/a.csv", "train/2021/a.csv", "test/train.csv"],
            {"default": {"train": ["train/2020/a.csv", "train/2021/a.csv"], "test": ["test/train.csv"]}},
        ),
        (["data/en/train/x.json.gz"], {"en": {"train": ["data/en/train/x.json.gz"]}}),
        (["Train.CSV", "TEST.csv.gz"], {"default": {"train": ["Train.CSV"], "test": ["TEST.csv.gz"]}}),
        # The same rows as another kind of file are not read twice.
        (["train.csv", "train.parquet"], {"default": {"train": ["train.parquet"]}}),
        (["train-1.csv", "train-2.csv", "train.json"], {"default": {"train": ["train-1.csv", "train-2.csv"]}}),
        # Neither tables nor anybody's business.
        (
            ["config.json", "dataset_infos.json", ".hidden.csv", "__x/a.csv", ".git/a.csv", "a.csv"],
            {"default": {"train": ["a.csv"]}},
        ),
        (["a.txt", "a.zip", "a.parquet.gz", "a.csv.exe", "csv", ".csv", "a.pkl", "a.py", "a.xlsx"], {}),
        (["/etc/a.csv", "../a.csv", "x/../a.csv", "a//b.csv", "a\\b.csv", "a\n.csv", "http://x/a.csv", "./a.csv"], {}),
        ([], {}),
    ],
)  # fmt: skip
def test_names_tell_configs_and_splits(paths: list[str], expected: dict[str, dict[str, list[str]]]) -> None:
    configs = layout.configs([(path, 5) for path in paths], {})
    assert shown(configs) == expected
    assert list(configs) == list(expected)
    assert [list(splits) for splits in configs.values()] == [list(splits) for splits in expected.values()]


LISTED = [
    "all.csv", "data/de.csv", "data/en/a.jsonl", "data/en/b.jsonl", "data/en/deep/er/c.jsonl", "data/fr/train.csv",
    "data/fr/test.csv", "x1.csv", "x2.csv", "x[1].csv",
]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"data_files": "data/de.csv"}, {"default": {"train": ["data/de.csv"]}}),
        ({"config_name": "de", "data_files": "./data/*.csv"}, {"de": {"train": ["data/de.csv"]}}),
        ({"config_name": 2024, "data_files": ["all.csv", "x2.csv"]}, {"2024": {"train": ["all.csv", "x2.csv"]}}),
        (
            {"config_name": "fr", "data_files": {"train": "data/fr/train.csv", "test": ["data/fr/te*"]}},
            {"fr": {"train": ["data/fr/train.csv"], "test": ["data/fr/test.csv"]}},
        ),
        (
            {
                "config_name": "two",
                "data_files": [{"split": "dev", "path": "x?.csv"}, {"split": "own words", "path": ["all.csv"]}],
            },
            {"two": {"dev": ["x1.csv", "x2.csv"], "own words": ["all.csv"]}},
        ),
        ({"data_files": "data/en/*"}, {"default": {"train": ["data/en/a.jsonl", "data/en/b.jsonl"]}}),
        (
            {"data_files": "data/en/**"},
            {"default": {"train": ["data/en/a.jsonl", "data/en/b.jsonl", "data/en/deep/er/c.jsonl"]}},
        ),
        ({"data_files": "**/er/*.jsonl"}, {"default": {"train": ["data/en/deep/er/c.jsonl"]}}),
        ({"data_files": "**/all.csv"}, {"default": {"train": ["all.csv"]}}),
        ({"data_files": "x[12].csv"}, {"default": {"train": ["x1.csv", "x2.csv"]}}),
        ({"data_dir": "data/fr"}, {"default": {"train": ["data/fr/train.csv"], "test": ["data/fr/test.csv"]}}),
        ({"data_dir": "./data/fr/", "data_files": "te*"}, {"default": {"train": ["data/fr/test.csv"]}}),
        # Of several kinds of files the most frequent.
        ({"data_files": ["data/en/*", "all.csv"]}, {"default": {"train": ["data/en/a.jsonl", "data/en/b.jsonl"]}}),
    ],
)
def test_cards_tell_configs_and_splits(entry: dict[str, Any], expected: dict[str, dict[str, list[str]]]) -> None:
    listed = [(path, 5) for path in LISTED]
    assert shown(layout.configs(listed, {"configs": [entry]})) == expected


def test_a_card_tells_several_configs_in_its_own_order() -> None:
    entries = [{"config_name": name, "data_files": f"data/{name}.csv"} for name in ("z", "de", "a")]
    listed = [("data/z.csv", 1), ("data/a.csv", 2), ("data/de.csv", 3), ("empty.csv", 0)]
    assert list(layout.configs(listed, {"configs": entries})) == ["z", "de", "a"]
    assert layout.configs(listed, {"configs": entries})["de"] == {"train": (("data/de.csv", 3),)}


@pytest.mark.parametrize(
    "card",
    [
        {"configs": None},
        {"configs": "x"},
        {"configs": [None, 5, []]},
        {"configs": [{"data_files": 5}]},
        {"configs": [{"data_files": [{"split": ["a"], "path": {"a": 1}}]}]},
        {"configs": [{"data_files": {"train": None}}]},
        {"configs": [{"data_files": "no such file"}]},
    ],
)
def test_a_card_that_says_nothing_leaves_it_to_the_names(card: dict[str, Any]) -> None:
    assert shown(layout.configs([("rows.csv", 5)], card)) == {"default": {"train": ["rows.csv"]}}


def test_names_from_cards_are_short_and_plain() -> None:
    entry = {"config_name": "a\n\x1b[31mb" + "c" * 500, "data_files": {"\0": "rows.csv"}}
    ((config, splits),) = layout.configs([("rows.csv", 5)], {"configs": [entry]}).items()
    assert config.startswith("a[31mbccc")
    assert (len(config), list(splits)) == (100, ["train"])


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 6 + "*b", "**/*/" * 5 + "b", "**/a/" * 6 + "b", "*" * 12, "[" * 50 + "*", "*[!b-z]" * 5, "?" * 290 + "*"],
)
def test_patterns_cannot_keep_the_page_busy(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fits, asked = patterns._fits, []

    def counted(*facts: Any) -> bool:
        asked.append(1)
        assert len(asked) < 700_000
        return fits(*facts)

    monkeypatch.setattr(patterns, "_fits", counted)
    listed = [("/".join(["a" * 20] * 9) + f"/{number:05}.csv", 5) for number in range(5000)]
    layout.configs(listed, {"configs": [{"config_name": str(n), "data_files": [pattern] * 9} for n in range(900)]})


@pytest.mark.parametrize(
    "path", ["http://x/a.csv", "x:://a.csv", "/etc/a.csv", "../a.csv", "b/../a.csv", "b\\a.csv", "b/./a.csv"]
)
def test_patterns_that_lead_away_match_nothing_whatever_is_listed(path: str) -> None:
    assert patterns.Listing([path]).matching(path) == []


def test_too_long_patterns_match_nothing() -> None:
    listing = patterns.Listing(["a.csv"])
    assert listing.matching("*.csv") == ["a.csv"]
    for absurd in ("*" * 13 + ".csv", "[a]" * 120, "*/" * 20 + "a.csv"):
        assert listing.matching(absurd) == []


# -- looking up


def test_look_up_tells_what_is_there(stocked: FakeHub, tmp_path: Path) -> None:
    found = hub_sets.look_up("team/rows", settings(tmp_path, stocked))
    assert found.revision == stocked.repo("team/rows", "dataset").sha
    assert found.configs == {"default": {"train": (("train.csv", len(ROWS)),), "test": (("test.csv", 40),)}}
    assert (found.license, found.gated, found.private) == ("cc-by-4.0", False, False)
    assert stocked.unhandled == []


def test_several_licences_are_named(stocked: FakeHub, tmp_path: Path) -> None:
    add(stocked, "team/two", {"a.csv": ROWS}, {"license": ["mit", "cc0-1.0"]})
    add(stocked, "team/odd", {"a.csv": ROWS}, {"license": {"x": "<b>"}})
    here = settings(tmp_path, stocked)
    assert [hub_sets.look_up(name, here).license for name in ("team/two", "team/odd")] == ["mit, cc0-1.0", None]


def test_a_set_without_tables_is_named(stocked: FakeHub, tmp_path: Path) -> None:
    add(stocked, "team/pictures", {"a.png": b"x", "a.pkl": b"x", "empty.csv": b""})
    wrong = refused(lambda: hub_sets.look_up("team/pictures", settings(tmp_path, stocked)))
    assert wrong.code == "data_set_no_files"
    assert wrong.facts == {"name": "team/pictures", "kinds": "csv, json, jsonl, parquet, tsv"}


def test_who_may_see_what(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    stocked.accounts["hf_other"] = Account("other")
    stocked.accounts["hf_let_in"] = Account("guest", accepted={"team/gated"})
    add(stocked, "team/gated", {"a.csv": ROWS}, gated=True)
    add(stocked, "team/private", {"a.csv": ROWS}, private=True)
    expected = {
        ("team/none", None): "data_set_not_found",
        ("team/none", "hf_other"): "data_set_not_found",
        ("team/private", None): "data_set_not_found",
        ("team/private", "hf_other"): "data_set_not_found",
        ("team/private", TOKEN): "private",
        ("team/gated", None): "data_set_gated",
        ("team/gated", "hf_other"): "data_set_gated",
        ("team/gated", "hf_let_in"): "gated",
        ("team/rows", None): "open",
        ("team/rows", "hf_expired"): "token_invalid",
        ("team/rows", "hf_\nX-Evil: 1"): "token_invalid",
    }
    seen = {}
    for name, token in expected:
        try:
            found = hub_sets.look_up(name, here, token)
            seen[name, token] = "gated" if found.gated else "private" if found.private else "open"
        except UserError as error:
            seen[name, token] = error.code
    assert seen == expected


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_hub_in_trouble_is_one_error(status: int, stocked: FakeHub, tmp_path: Path) -> None:
    from fastapi.responses import Response

    async def fault(_: object) -> Response:
        return Response(status_code=status)

    stocked.fault = fault
    here = settings(tmp_path, stocked)
    assert refused(lambda: hub_sets.look_up("team/rows", here, TOKEN)).code == "hub_unreachable"
    assert len(stocked.requests) == 1


# -- fetching


def test_what_arrives_is_the_split_at_its_commit(stocked: FakeHub, tmp_path: Path) -> None:
    here, news = settings(tmp_path, stocked), []
    shards = {f"data/train-{n:05}-of-00003.csv": b"text,label\nno %d,a\n" % n for n in range(3)}
    add(stocked, "team/shards", shards | {"data/odd name #1?.csv": ROWS})
    found = hub_sets.look_up("team/shards", here)
    stocked.repo("team/shards", "dataset").commit(dict.fromkeys(shards, b"text,label\nnewer,b\n"))
    paths = hub_sets.fetch(found, "default", "train", here, None, "local", lambda done, all_: news.append((done, all_)))
    assert [path.read_bytes() for path in paths] == list(shards.values())
    assert all(path.is_relative_to(tmp_path / "hub_sets") for path in paths)
    assert news[-1] == (sum(map(len, shards.values())),) * 2
    assert not list(tmp_path.rglob(".part-*"))
    hub_sets.remove(paths)
    assert [path.name for path in (tmp_path / "hub_sets").rglob("*") if path.name != ".lock" and path.is_file()] == []
    assert not paths[0].parent.exists()
    assert stocked.unhandled == []


def test_odd_names_are_fetched_and_never_become_paths_here(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    odd = "data/ümlaut 100% #1? é&=+ 中.csv"
    add(stocked, "team/odd", {odd: ROWS})
    (path,) = hub_sets.fetch(hub_sets.look_up("team/odd", here), "default", "train", here, None, "local")
    assert (path.name, path.read_bytes()) == ("00000.csv", ROWS)


def test_a_broken_connection_is_taken_up_again(stocked: FakeHub, tmp_path: Path) -> None:
    here, content = settings(tmp_path, stocked), bytes(range(256)) * 40
    add(stocked, "team/large", {"train.parquet": content})
    found = hub_sets.look_up("team/large", here)
    stocked.cut = 2
    (path,) = hub_sets.fetch(found, "default", "train", here, None, "local")
    assert [bool(r.headers.get("range")) for r in stocked.asked("GET", "/lfs/")] == [False, True, True]
    assert (stocked.cut, path.read_bytes()) == (0, content)


@pytest.mark.parametrize("how", ["cut", "changed", "gone", "other_file", "upwards"])
def test_a_failed_download_leaves_nothing(how: str, stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    add(stocked, "team/large", {"train.parquet": b"x" * 999, "evil.py": b"1/0"})
    found = hub_sets.look_up("team/large", here)
    asked = len(stocked.requests)
    if how == "cut":
        stocked.cut = 99
    elif how == "changed":  # another content of the same size
        found = replace(found, digests={"train.parquet": "sha256:" + "0" * 64})
    elif how == "gone":
        del stocked.repos["dataset", "team/large"]
    elif how == "other_file":
        found = replace(found, configs={"default": {"train": (("evil.py", 3),)}})
    else:
        found = replace(found, configs={"default": {"train": (("../../../team/large/x.csv", 3),)}})
    assert refused(lambda: hub_sets.fetch(found, "default", "train", here, None, "local")).code == "download_failed"
    assert [f for f in (tmp_path / "hub_sets").rglob("*") if f.is_file() and f.name != ".lock"] == []
    assert how not in ("other_file", "upwards") or len(stocked.requests) == asked


def test_gated_files_need_the_own_token(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    stocked.accounts |= {"hf_let_in": Account("guest", accepted={"team/gated"}), "hf_other": Account("other")}
    add(stocked, "team/gated", {"a.csv": ROWS}, gated=True)
    found = hub_sets.look_up("team/gated", here, "hf_let_in")
    (path,) = hub_sets.fetch(found, "default", "train", here, "hf_let_in", "hf:1")
    assert path.read_bytes() == ROWS
    for token in ("hf_other", None):
        assert (
            refused(lambda t=token: hub_sets.fetch(found, "default", "train", here, t, "hf:2")).code == "data_set_gated"
        )
    assert refused(lambda: hub_sets.fetch(found, "default", "train", here, "hf_x", "hf:2")).code == "token_invalid"


def pretended(sizes: list[int]) -> HubSet:
    files = tuple((f"{place:03}.csv", size) for place, size in enumerate(sizes))
    return HubSet("team/x", "a" * 40, False, False, None, {"default": {"train": files}})


@pytest.mark.parametrize(
    ("sizes", "kept", "left_out"),
    [([60, 40, 1], 2, 1), ([60, 41, 1], 1, 2), ([100], 1, 0), ([1] * 90, 90, 0), ([1] * 101, 100, 1)],
)
def test_as_much_as_the_limit_allows(sizes: list[int], kept: int, left_out: int) -> None:
    selected = hub_sets.select(pretended(sizes), "default", "train", Limits(file_bytes=100))
    assert (len(selected.files), selected.left_out, selected.bytes) == (kept, left_out, sum(sizes[:kept]))
    assert [path for path, _ in selected.files] == [f"{place:03}.csv" for place in range(kept)]


def test_not_even_one_file_fits() -> None:
    wrong = refused(lambda: hub_sets.select(pretended([3 * 2**20 + 1]), "default", "train", Limits(file_bytes=2**21)))
    assert (wrong.code, wrong.facts) == ("data_set_too_large", {"name": "team/x", "mb": 3, "limit_mb": 2})


def test_not_too_many_files() -> None:
    assert hub_sets.select(pretended([1] * 600), "default", "train", Limits()).left_out == 100


def test_files_beyond_the_limit_are_not_asked_for(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked, file_bytes=len(ROWS) + 1)
    add(stocked, "team/big", {"train-1.csv": ROWS, "train-2.csv": ROWS})
    paths = hub_sets.fetch(hub_sets.look_up("team/big", here), "default", "train", here, None, "local")
    assert [path.read_bytes() for path in paths] == [ROWS]
    assert [r.path.rsplit("/", 1)[-1] for r in stocked.asked("GET", "/resolve/")] == ["train-1.csv"]


def test_more_than_was_announced_is_cut_off(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    found = hub_sets.look_up("team/rows", here)
    smaller = replace(found, configs={"default": {"train": (("train.csv", 10),)}}, digests={})
    assert refused(lambda: hub_sets.fetch(smaller, "default", "train", here, None, "local")).code == "download_failed"
    assert [f.name for f in (tmp_path / "hub_sets").rglob("*") if f.is_file()] == [".lock"]


@pytest.mark.parametrize(("config", "split"), [("none", "train"), ("default", "none"), ("", ""), ("../x", "/etc")])
def test_a_split_that_is_not_there(config: str, split: str, stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    found = hub_sets.look_up("team/rows", here)
    wrong = refused(lambda: hub_sets.fetch(found, config, split, here, None, "local"))
    assert wrong.code == "data_set_split_unknown"
    assert wrong.facts == {"name": "team/rows", "config": config, "split": split}


def test_a_full_disk_is_said_before_the_first_byte(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked, free_disk=2**62)
    found = hub_sets.look_up("team/rows", here)
    assert refused(lambda: hub_sets.fetch(found, "default", "train", here, None, "local")).code == "disk_full"
    assert stocked.asked("GET", "/resolve/") == []


def test_strangers_share_the_disk_of_a_space(stocked: FakeHub, tmp_path: Path) -> None:
    here = replace(settings(tmp_path, stocked, owner_bytes=2 * len(ROWS) - 1), place="space")
    found = hub_sets.look_up("team/rows", here)
    paths = hub_sets.fetch(found, "default", "train", here, None, "hf:1")
    assert refused(lambda: hub_sets.fetch(found, "default", "train", here, None, "hf:1")).code == "quota_full"
    assert hub_sets.fetch(found, "default", "train", here, None, "hf:2")[0].read_bytes() == ROWS
    hub_sets.remove(paths)
    assert hub_sets.fetch(found, "default", "train", here, None, "hf:1")[0].read_bytes() == ROWS


def test_what_a_killed_process_left_is_cleared(stocked: FakeHub, tmp_path: Path) -> None:
    here = settings(tmp_path, stocked)
    found = hub_sets.look_up("team/rows", here)
    (old,) = hub_sets.fetch(found, "default", "train", here, None, "local")
    (recent,) = hub_sets.fetch(found, "default", "train", here, None, "local")
    long_ago = old.stat().st_mtime - 25 * 3600
    os.utime(old.parent, (long_ago, long_ago))
    hub_sets.fetch(found, "default", "train", here, None, "local")
    assert (old.exists(), recent.exists()) == (False, True)


def test_removing_takes_only_what_was_fetched(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    mine, other = tmp_path / "a" / "00000.csv", tmp_path / "a" / "diary.txt"
    mine.write_bytes(ROWS)
    other.write_bytes(b"dear")
    hub_sets.remove([mine, tmp_path / "gone" / "00001.csv"])
    assert (mine.exists(), other.read_bytes()) == (False, b"dear")


# -- hostile cards


def test_no_card_opens_an_address_or_a_file(stocked: FakeHub, tmp_path: Path) -> None:
    """Whatever a card points at, only files that the Hub lists are asked for, from the Hub."""
    here = settings(tmp_path / "home", stocked)
    canary = b"text,label\nsecret words,canary\n"
    secret = tmp_path / "secret.csv"
    secret.write_bytes(canary)
    opened = opened_files()
    with watched_port() as (port, callers):
        bait = [
            f"http://127.0.0.1:{port}/a.csv", f"https://localhost:{port}/a.csv", f"HTTP://127.0.0.1:{port}/**",
            f"//127.0.0.1:{port}/a.csv", f"http:/127.0.0.1:{port}/a.csv", f"ftp://127.0.0.1:{port}/a.csv",
            f"zip://a.csv::http://127.0.0.1:{port}/a.zip", f"hf://datasets/a/b@http://127.0.0.1:{port}/a.csv",
            "file:///etc/passwd", f"file://{secret}", str(secret), "/etc/passwd", "/**", "../../secret.csv",
            "x/../../../secret.csv", f"./{secret}", f"..\\..\\{secret.name}", "~/secret.csv", "$HOME/secret.csv",
            "/proc/self/environ",
        ]  # fmt: skip
        entries: list[dict[str, Any]] = [{"config_name": f"c{n}", "data_files": one} for n, one in enumerate(bait)]
        entries += [
            {"config_name": "list", "data_files": bait},
            {"config_name": "map", "data_files": {"train": bait, "test": bait[0]}},
            {"config_name": "pairs", "data_files": [{"split": "train", "path": bait}]},
            {"config_name": "here", "data_files": [*bait, "train.csv"]},
            *({"config_name": f"d{n}", "data_dir": one} for n, one in enumerate(bait)),
            *({"config_name": f"f{n}", "data_dir": one, "data_files": "secret.csv"} for n, one in enumerate(bait)),
        ]
        for name, chosen in (
            ("team/bait", entries),
            ("team/mere-bait", [e for e in entries if e["config_name"] != "here"]),
        ):
            add(stocked, name, {"train.csv": ROWS}, {"configs": chosen, "data_files": bait, "url": bait[0]})
            found = hub_sets.look_up(name, here)
            config = "here" if name == "team/bait" else "default"
            assert shown(found.configs) == {config: {"train": ["train.csv"]}}
            (path,) = hub_sets.fetch(found, config, "train", here, None, "local")
            assert path.read_bytes() == ROWS
    assert callers == []
    assert {str(secret), "/etc/passwd", "/proc/self/environ"} & set(opened) == set()
    assert str(secret.parent / "home") in str(opened)  # the watch does watch
    asked = {r.path.rsplit("/", 1)[-1] for r in stocked.asked("GET", "/resolve/")}
    assert asked == {"train.csv"}
    assert not any(canary in f.read_bytes() for f in (tmp_path / "home").rglob("*") if f.is_file())


def opened_files() -> list[str]:
    """Every path that this process opens from here on."""
    seen: list[str] = []
    sys.addaudithook(lambda event, facts: seen.append(str(facts[0])) if event == "open" else None)
    return seen


def test_the_bait_would_be_noticed() -> None:
    with watched_port() as (port, callers):
        with socket.create_connection(("127.0.0.1", port), 5) as caller:
            assert caller.recv(1) == b""
        assert len(callers) == 1


@pytest.mark.parametrize("path", ["../x.csv", "/etc/x.csv", "a/../../x.csv", "a\0.csv", "http://127.0.0.1/x.csv", ""])
def test_the_child_takes_no_path_that_leads_away(path: str, stocked: FakeHub, tmp_path: Path) -> None:
    """The second lock: also where the parent were fooled."""
    here = settings(tmp_path, stocked)
    said: list[dict[str, Any]] = []
    request = {
        "token": None, "endpoint": stocked.url, "kind": "datasets", "id": "team/rows", "revision": "a" * 40,
        "folder": str(tmp_path / "x"), "timeout": 3.0,
    }  # fmt: skip
    for files in ([(path, 3, "00000.csv")], [("train.csv", 3, path or ".")], [("train.csv", 3, "a/b.csv")]):
        processes.converse(here, "core.hub.fetcher", request | {"files": files}, said.append, silence=30)
    assert [message.get("error") for message in said] == ["download_failed"] * 3
    assert stocked.requests == []


# -- the token


def test_the_token_goes_to_the_hub_alone(stocked: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not into arguments, environment or files; nor to the other host that large files lie on."""
    canary = "hf_canary0123456789"
    stocked.accounts[canary] = Account("tester", ("team",))
    add(stocked, "team/private", {"train.parquet": b"x" * 999, "test.csv": ROWS}, private=True)
    seen: list[bytes] = []
    start = subprocess.Popen

    def watched(arguments: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        seen.append(repr((arguments, options["env"])).encode())
        child = start(arguments, **options)
        if sys.platform == "linux":
            seen.extend(Path(f"/proc/{child.pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
        return child

    monkeypatch.setattr(processes.subprocess, "Popen", watched)
    here = settings(tmp_path, stocked)
    found = hub_sets.look_up("team/private", here, canary)
    for split in ("train", "test"):
        hub_sets.fetch(found, "default", split, here, canary, "local")
    assert seen
    assert not any(canary.encode() in said for said in seen)
    assert not any(canary.encode() in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    assert canary not in repr(found)
    elsewhere = stocked.asked("GET", "/lfs/")
    assert elsewhere
    assert not any(canary in str(r) for r in elsewhere)
    assert all(r.headers["authorization"] == f"Bearer {canary}" for r in stocked.asked("GET", "/resolve/"))


def test_no_heavy_library_and_no_reader_of_data_sets() -> None:
    program = (
        "import sys, core.data.hub_sets, core.hub.fetcher;"
        "print({'torch', 'transformers', 'datasets', 'sklearn', 'huggingface_hub', 'pandas'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=processes.ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "set()"


# -- all the way


def test_shards_become_one_table(stocked: FakeHub, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    here, shards = settings(tmp_path, stocked), {}
    for number, texts in enumerate((["a", "b"], ["c"])):
        parquet.write_table(pa.table({"text": texts, "label": list(range(len(texts)))}), tmp_path / "shard")
        shards[f"data/train-{number:05}-of-00002.parquet"] = (tmp_path / "shard").read_bytes()
    add(stocked, "team/shards", shards)
    paths = hub_sets.fetch(hub_sets.look_up("team/shards", here), "default", "train", here, None, "local")
    store = TableStore(here)
    table = store.add_joined(paths, "local", "team/shards")
    hub_sets.remove(paths)
    frame = store.frame(table.id, "local")
    assert (table.rows, table.columns, table.format) == (3, ("text", "label"), "parquet")
    assert frame.to_numpy().tolist() == [["a", "0"], ["b", "1"], ["c", "0"]]
