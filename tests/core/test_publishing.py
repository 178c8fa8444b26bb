"""Results that leave the house: the zip, and a push to a Hub over real HTTP, loaded again and asked the same."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fastapi import Request
from fastapi.responses import Response
from markdown_it import MarkdownIt

from core import files, processes
from core.errors import UserError
from core.models import fetching
from core.publishing import archive, card, card_markup, hub
from core.runs.store import RunStore
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, TrainSpec
from tests.answers import logits
from tests.fakehub import Account, FakeHub

TOKEN = "hf_writer"
LABELS = ["delivery", "refund", "account"]
TEXTS = ["where is my order", "paid twice please", "login broken"]


def scores(value: float) -> dict[str, float]:
    return dict.fromkeys(("accuracy", "macro_f1", "macro_precision", "macro_recall"), value)


def report_of(labels: list[str]) -> dict[str, object]:
    """A report as a run writes it, with words in it that must not leave."""
    each = [
        {"label": label, "precision": 0.9, "recall": 0.4 if i == 1 else 0.9, "f1": 0.6, "rows": 20}
        for i, label in enumerate(labels)
    ]
    table = [[16 if i == j else 2 for j in range(len(labels))] for i in range(len(labels))]
    return {
        "version": 1,
        "task": "classification",
        "labels": labels,
        "rows": {"train": 280, "validation": 60, "test": 60},
        "data": {
            "name": "messages.csv",
            "label_counts": {label: 100 + i for i, label in enumerate(labels)},
            "findings": [{"code": "duplicate_rows", "rows": 7}, {"code": "blank_text", "rows": 0}],
        },
        "model": {"source": "starter", "name": "minilm", "revision": None, "parameters": 22_713_216},
        "metrics": {**scores(0.8), "intervals": {name: [0.7, 0.89] for name in scores(0)}},
        "baselines": {"majority": scores(0.34), "tfidf": scores(0.6)},
        "verdict": {"code": "beats_both", "strongest": "tfidf"},
        "per_class": each,
        "confusion": table,
        "errors": [{"row": 5, "text": "SECRET ROW", "label": "refund", "prediction": "account", "confidence": 0.7}],
        "examples": ["SECRET EXAMPLE"],
        "device": {"kind": "cpu", "precision": "bfloat16", "threads": 2, "reason": "x", "name": "AMX"},
        "seconds": 75.0,
        "epochs_done": 3.0,
        "best_epoch": 2.0,
        "stopped": True,
    }


class House:
    """A home with one finished run in it."""

    def __init__(self, home: Path, result: Path, endpoint: str = "http://127.0.0.1:9", **spec: object) -> None:
        self.settings = Settings(home=home, hub_endpoint=endpoint, limits=Limits(free_disk=0, hub_timeout=3.0))
        self.store = RunStore(home)
        data = DataChoice(table="0" * 64, columns={"text": "t", "label": "l"}, name="messages.csv")
        self.run = self.store.create(TrainSpec(data=data, **spec), "local", "My messages").id
        self.folder = self.store.folder(self.run) / "model"
        self.folder.mkdir()
        for file in result.iterdir():
            files.write_bytes(self.folder / file.name, file.read_bytes())
        files.write_json(self.folder.parent / "report.json", report_of(LABELS))
        # What may lie around and must stay.
        for name in ("training_args.bin", "optimizer.pt", ".env", "notes.txt"):
            files.write_bytes(self.folder / name, b"SECRET FILE")
        (self.folder / "special_tokens_map.json").unlink(missing_ok=True)
        (self.folder / "special_tokens_map.json").symlink_to("/etc/hostname")
        config = files.read_json(self.folder / "config.json") | {"_name_or_path": str(home)}
        files.write_json(self.folder / "config.json", config)

    def push(self, repo: str = "my-model", token: str | None = TOKEN, private: bool = True) -> str:
        return hub.push(self.store, self.run, "local", repo=repo, token=token, settings=self.settings, private=private)

    def card(self, repo_id: str | None = None) -> str:
        return card.for_run(self.store, self.run, "local", self.settings, repo_id)


@pytest.fixture
def house(tmp_path: Path, tiny_model: Path, fake_hub: FakeHub) -> House:
    return House(tmp_path / "home", tiny_model, fake_hub.url)


def refused(code: str, call: object, *arguments: object, **options: object) -> UserError:
    with pytest.raises(UserError) as wrong:
        call(*arguments, **options)  # type: ignore[operator]
    assert wrong.value.code == code
    return wrong.value


# -- the zip


def test_the_zip_holds_the_model_and_its_card_and_loads(house: House, tmp_path: Path, tiny_model: Path) -> None:
    out = tmp_path / "model.zip"
    archive.write_zip(house.folder, out, house.card())
    with zipfile.ZipFile(out) as opened:
        assert opened.testzip() is None
        assert sorted(opened.namelist()) == [
            "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        ]  # fmt: skip
        opened.extractall(tmp_path / "unpacked")
    assert logits(tmp_path / "unpacked", TEXTS) == logits(tiny_model, TEXTS)
    kept = b"".join(f.read_bytes() for f in (tmp_path / "unpacked").iterdir())
    assert b"SECRET" not in kept
    assert str(tmp_path).encode() not in kept


def test_the_size_is_known_before_the_first_byte(house: House) -> None:
    found = archive.entries(house.folder, house.card())
    pieces = list(archive.stream_zip(found))
    assert sum(map(len, pieces)) == archive.archive_bytes(found)


def test_a_large_file_passes_in_small_pieces(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(40 * 2**20)
    files.write_json(tmp_path / "config.json", {})
    pieces = archive.stream_zip(archive.entries(tmp_path, "card"))
    assert max(len(piece) for piece in pieces) <= 2**20


def test_other_unpackers_read_the_zip_too(house: House, tmp_path: Path) -> None:
    out = io.BytesIO()
    archive.write_zip(house.folder, out, "# Karte ä")
    (tmp_path / "m.zip").write_bytes(out.getvalue())
    program = "import sys, shutil; shutil.unpack_archive(sys.argv[1], sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, tmp_path / "m.zip", tmp_path / "out"], check=True)
    assert (tmp_path / "out" / "README.md").read_text(encoding="utf-8") == "# Karte ä"
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (house.folder / "model.safetensors").read_bytes()


def test_what_a_zip_cannot_hold_is_said_first() -> None:
    huge = [archive.Entry("model.safetensors", 2**32, file=Path("/nowhere"))]
    assert refused("model_too_large_to_zip", archive.stream_zip, huge).facts == {"gigabytes": 4.3}


def test_a_folder_without_weights_is_no_result(tmp_path: Path) -> None:
    files.write_json(tmp_path / "config.json", {})
    refused("run_has_no_model", archive.entries, tmp_path, "card")


# -- the push


def test_what_was_pushed_comes_back_as_it_was(
    house: House, fake_hub: FakeHub, tmp_path: Path, tiny_model: Path
) -> None:
    url = house.push()
    assert url == f"{fake_hub.url}/tester/my-model"
    repo = fake_hub.repo("tester/my-model")
    assert repo.private
    assert set(repo.files) == {
        ".gitattributes", "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert fake_hub.unhandled == []
    model = fetching.look_up("tester/my-model", house.settings, TOKEN)
    folder = fetching.fetch(model, house.settings, TOKEN, "local")
    assert logits(folder, TEXTS) == logits(tiny_model, TEXTS)
    everything = b"".join(repo.files.values())
    assert b"SECRET" not in everything
    assert str(tmp_path).encode() not in everything
    assert 'model="tester/my-model"' in repo.files["README.md"].decode()


def test_weights_travel_as_large_files_and_the_rest_in_one_commit(house: House, fake_hub: FakeHub) -> None:
    house.push()
    assert len(fake_hub.asked("PUT", "/lfs/")) == 1
    assert len(fake_hub.asked("POST", "/commit/")) == 1
    assert len(fake_hub.repo("tester/my-model").commits) == 2


def test_a_second_push_changes_nothing(house: House, fake_hub: FakeHub) -> None:
    assert house.push() == house.push()
    assert len(fake_hub.repo("tester/my-model").commits) == 2
    assert len(fake_hub.asked("PUT", "/lfs/")) == 1


def test_a_new_result_replaces_the_old_one_whole(house: House, fake_hub: FakeHub) -> None:
    files.write_bytes(house.folder / "vocab.txt", b"old words")
    house.push()
    repo = fake_hub.repo("tester/my-model")
    repo.commit(repo.files | {"picture.png": b"the person's own"})
    (house.folder / "vocab.txt").unlink()
    config = files.read_json(house.folder / "config.json") | {"classifier_dropout": 0.1}
    files.write_json(house.folder / "config.json", config)
    house.push()
    assert "vocab.txt" not in repo.files
    assert repo.files["picture.png"] == b"the person's own"
    assert json.loads(repo.files["config.json"])["classifier_dropout"] == 0.1


def test_a_push_that_broke_off_can_be_repeated(house: House, fake_hub: FakeHub) -> None:
    async def no_commit(request: Request) -> Response | None:
        return Response(status_code=500) if "/commit/" in request.url.path else None

    fake_hub.fault = no_commit
    refused("hub_unreachable", house.push)
    fake_hub.fault = None
    house.push()
    assert "model.safetensors" in fake_hub.repo("tester/my-model").files


@pytest.mark.parametrize("files_there", [{"README.md": b"# Mine"}, {"model.safetensors": b"x"}, {"train.py": b"x"}])
def test_what_something_else_made_is_not_touched(
    files_there: dict[str, bytes], house: House, fake_hub: FakeHub
) -> None:
    before = dict(fake_hub.add("team/taken", files_there, private=True).files)
    assert refused("repo_exists", house.push, "team/taken").facts == {"repo": "team/taken"}
    assert fake_hub.repo("team/taken").files == before


def test_nobody_is_exposed_by_surprise(house: House, fake_hub: FakeHub) -> None:
    house.push("open", private=False)
    house.push("closed", private=True)
    refused("repo_is_public", house.push, "open", private=True)
    refused("repo_is_private", house.push, "closed", private=False)
    assert not fake_hub.repo("tester/open").private
    assert fake_hub.repo("tester/closed").private


def test_a_group_may_be_published_to(house: House, fake_hub: FakeHub) -> None:
    assert house.push(f"{fake_hub.url}/team/shared") == f"{fake_hub.url}/team/shared"


@pytest.mark.parametrize(
    ("repo", "token", "code"),
    [
        ("m", None, "token_missing"),
        ("m", "  ", "token_missing"),
        ("m", "hf_unknown", "token_invalid"),
        ("m", "hf_ä", "token_invalid"),
        ("m", "hf_x\r\nX-Evil: 1", "token_invalid"),
        ("a/b/c", TOKEN, "repo_name_malformed"),
        ("../x", TOKEN, "repo_name_malformed"),
        ("my model", TOKEN, "repo_name_malformed"),
        ("", TOKEN, "repo_name_malformed"),
        ("strangers/m", TOKEN, "repo_forbidden"),
        ("m", "hf_reader", "repo_forbidden"),
    ],
)
def test_why_a_push_cannot_be(repo: str, token: str | None, code: str, house: House, fake_hub: FakeHub) -> None:
    fake_hub.accounts["hf_reader"] = Account("tester", can_write=False)
    refused(code, house.push, repo, token)
    assert fake_hub.repos == {}


def test_another_owners_run_is_unknown(house: House) -> None:
    refused("run_unknown", hub.push, house.store, house.run, "hf:2", repo="m", token=TOKEN, settings=house.settings)


def test_a_run_without_a_result_cannot_be_pushed(house: House) -> None:
    (house.folder.parent / "report.json").unlink()
    refused("run_has_no_model", house.push)


def test_a_hub_that_is_down_is_said_soon(house: House) -> None:
    house.settings = replace(house.settings, hub_endpoint="http://127.0.0.1:9")
    start = time.monotonic()
    refused("hub_unreachable", house.push)
    assert time.monotonic() - start < 10


def test_a_hub_that_falls_silent_in_the_middle_is_given_up(
    house: House, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    async def hang(request: Request) -> Response | None:
        if "/commit/" in request.url.path:
            await asyncio.sleep(30)
        return None

    fake_hub.fault = hang
    monkeypatch.setattr(hub, "_SECONDS_BESIDES", 6.0)
    start = time.monotonic()
    refused("hub_unreachable", house.push)
    assert time.monotonic() - start < 20


def test_a_refused_upload_of_the_weights_is_an_error_of_ours(house: House, fake_hub: FakeHub) -> None:
    async def refuse(request: Request) -> Response | None:
        return Response(status_code=403) if request.url.path.startswith("/lfs/") else None

    fake_hub.fault = refuse
    refused("repo_forbidden", house.push)
    assert "model.safetensors" not in fake_hub.repo("tester/my-model").files


def test_the_token_is_kept_nowhere(house: House, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "hf_canary0123456789"
    fake_hub.accounts[canary] = Account("tester")
    seen: list[bytes] = []
    start = subprocess.Popen

    def watched(arguments: list[str], **options: object) -> "subprocess.Popen[bytes]":
        child = start(arguments, **options)
        seen.append(repr((arguments, options["env"])).encode())
        seen.extend(Path(f"/proc/{child.pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
        return child

    monkeypatch.setattr(processes.subprocess, "Popen", watched)
    house.push(token=canary)
    fake_hub.fault = None
    kept = [f.read_bytes() for f in house.settings.home.rglob("*") if f.is_file()]
    pushed = list(fake_hub.repo("tester/my-model").files.values())
    assert seen
    assert not any(canary.encode() in content for content in [*seen, *kept, *pushed])
    assert not any(canary in value for value in os.environ.values())


# -- the card


def front(text: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_card_tells_the_hub_what_it_is(house: House) -> None:
    told = front(house.card("tester/my-model"))
    assert told["library_name"] == "transformers"
    assert told["pipeline_tag"] == "text-classification"
    assert told["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert told["license"] == "apache-2.0"
    assert card.TAG in told["tags"]
    (index,) = told["model-index"]
    assert index["name"] == "my-model"
    found = {m["type"]: m["value"] for result in index["results"] for m in result["metrics"]}
    assert found == {"accuracy": 0.8, "f1": 0.8, "precision": 0.8, "recall": 0.8}


def test_the_card_is_made_of_the_facts(house: House) -> None:
    text = house.card("tester/my-model")
    for fact in (
        "280 labelled examples", "60 test rows", "**80.0 %** (70.0 to 89.0)", "34.0 %", "60.0 %",
        "| `refund` | 90.0 % | 40.0 % |", "| `delivery` | 16 | 2 | 2 |", "7 rows: a repeat of an earlier row",
        "learning rate | 5e-05", "bfloat16", "stopped before",
        "It misses more than half of the texts of: `refund`.", "tested on 60 rows only", "longer than 128 tokens",
    ):  # fmt: skip
        assert fact in text, fact
    assert "no text" not in text


@pytest.mark.parametrize(
    ("source", "expected"),
    [("hub", "org/base"), ("directory", None), ("run", "sentence-transformers/all-MiniLM-L6-v2")],
)
def test_where_it_comes_from(source: str, expected: str | None, tmp_path: Path, tiny_model: Path) -> None:
    names = {"hub": "org/base", "directory": "/home/somebody/models/secret"}
    first = House(tmp_path, tiny_model)
    name = names.get(source, first.run)
    second = House(tmp_path, tiny_model, model=ModelChoice(source=source, name=name))
    text = second.card("a/b")
    assert front(text).get("base_model") == expected
    assert "somebody" not in text


def test_a_licence_comes_from_what_was_fetched(
    house: House, fake_hub: FakeHub, tmp_path: Path, tiny_model: Path
) -> None:
    content = {f.name: f.read_bytes() for f in tiny_model.iterdir()}
    fake_hub.add("team/base", content | {"README.md": b"---\nlicense: cc-by-4.0\n---\n"})
    model = fetching.look_up("team/base", house.settings)
    fetching.fetch(model, house.settings, None, "local")
    choice = ModelChoice(source="hub", name="team/base", revision=model.revision)
    based = House(house.settings.home, tiny_model, fake_hub.url, model=choice)
    assert front(based.card())["license"] == "cc-by-4.0"


HOSTILE = [
    "a|b", "`code`", "``", "<script>alert(1)</script>", "![x](http://evil.example/t.png)", "[x](javascript:alert(1))",
    "line\nbreak\r\n# heading", "---\nlicense: evil\n---", "*bold* _it_", "http://evil.example", "@everyone", "\\|", "",
    " ", "\u202egnp.exe", "=HYPERLINK(1)", "<!-- ", "${x}", "退款|`问题`", "x" * 500, '"; quoted: [yaml', "a: b", "|",
    "`", "{{7*7}}",
]  # fmt: skip


def test_words_of_strangers_are_not_markup(house: House) -> None:
    """Rendered by a real Markdown parser, every label is text inside code, in the right number of cells."""
    report = report_of(HOSTILE)
    report["data"]["name"] = "x.csv | `a` ![p](http://evil.example/p.png)\n# h <img src=x>"
    files.write_json(house.folder.parent / "report.json", report)
    house.store.annotate(house.run, name="---\nlicense: evil\n---\n<script>")
    for repo_id in ("tester/m", None):
        text = house.card(repo_id)
        told = front(text)
        assert told["license"] == "apache-2.0"
        (index,) = told["model-index"]
        assert "\n" not in index["name"]
        body = text.split("\n---\n", 1)[1]
        tokens = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").parse(body)
        flat = [child for token in tokens for child in [token, *(token.children or [])]]
        assert not any(t.type.startswith("html") or t.type == "image" for t in flat)
        assert {t.attrs["href"] for t in flat if t.type == "link_open"} == {
            "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
        }
        outside = " ".join(t.content for t in flat if t.type == "text")
        assert "evil.example" not in outside
        assert "everyone" not in outside
        in_paragraphs = {c.content for t in tokens if t.level == 1 for c in t.children or [] if c.type == "code_inline"}
        in_tables = {c.content for t in tokens if t.level > 3 for c in t.children or [] if c.type == "code_inline"}
        shown = {card_markup.plain(label) or " " for label in HOSTILE}
        assert {label.strip() for label in shown} <= {content.strip() for content in in_tables}
        assert {"a|b", "\\|", "``"} <= {content.strip() for content in in_paragraphs}
        assert "line break # heading" in in_tables


def test_many_classes_get_the_mistakes_instead_of_a_matrix(house: House) -> None:
    labels = [f"class {i}" for i in range(40)]
    report = report_of(labels)
    report["confusion"][3][7] = 9
    files.write_json(house.folder.parent / "report.json", report)
    text = house.card()
    assert "| `class 3` | `class 7` | 9 |" in text
    assert "What was taken for what" not in text


@pytest.mark.real
@pytest.mark.parametrize("where", ["hub", "zip"])
def test_the_snippet_of_the_card_runs(where: str, house: House, fake_hub: FakeHub, tmp_path: Path) -> None:
    """As a stranger would: copied from the card and started, with nothing but transformers."""
    folder = tmp_path / "anywhere"
    folder.mkdir()
    if where == "hub":
        house.push("open", private=False)
        text = fake_hub.repo("tester/open").files["README.md"].decode()
    else:
        archive.write_zip(house.folder, tmp_path / "m.zip", house.card())
        zipfile.ZipFile(tmp_path / "m.zip").extractall(folder)
        text = (folder / "README.md").read_text(encoding="utf-8")
    snippet = text.split("```python\n")[1].split("```")[0]
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": fake_hub.url, "HF_HUB_DISABLE_XET": "1"}
    said = subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, env=bare, capture_output=True, text=True, check=False, timeout=200
    )
    assert said.returncode == 0, said.stderr
    (answer,) = json.loads(said.stdout.strip().splitlines()[-1].replace("'", '"'))
    assert answer["label"] in LABELS
    assert 0 < answer["score"] <= 1
