import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.__main__ import main
from core.data.preparing import REMOVING_FIXES
from core.data.samples import SAMPLES
from core.runs.store import RunStore
from core.spec import DataChoice, build
from tests import tiny
from tests.answers import logits
from tests.ways import command as here

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def body(tmp_path_factory):
    return tiny.body(tmp_path_factory.mktemp("body"))


@pytest.fixture(scope="module")
def weather(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "weather.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "note", "kind"])
        writer.writerows([i, text, label] for i, (text, label) in enumerate(tiny.rows(120)))
    return path


def command(home, *arguments, language="C.UTF-8", environment=None):
    """(exit status, answer from stdout's last line, stderr) of a real command line."""
    done = subprocess.run(
        [sys.executable, "-m", "core", *map(str, arguments), "--home", str(home)],
        cwd=ROOT,
        env=os.environ | {"LC_ALL": language, "HF_ENDPOINT": "http://127.0.0.1:9"} | (environment or {}),
        capture_output=True,
        check=False,
        timeout=240,
    )
    out = done.stdout.decode().splitlines()
    return done.returncode, json.loads(out[-1]) if out else None, done.stderr.decode()


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    """For commands in this process; each is also given to a real command line, which takes seconds to begin."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, body, weather):
    """(home, answer, stderr) of a real training."""
    home = tmp_path_factory.mktemp("home")
    chosen = [
        f"--set={pair}" for pair in ("method=full", "learning_rate=3e-3", "epochs=6", "batch_size=8", "max_length=32")
    ]
    status, answer, said = command(
        home, "train", "--task", "classification", "--data", weather, "--text", "note", "--label", "kind",
        "--model", body, *chosen,
    )  # fmt: skip
    assert status == 0, said
    return home, answer, said


@pytest.mark.real
class TestTheWholeWay:
    def test_train_answers_in_json_and_talks_on_stderr(self, trained):
        _, answer, said = trained
        assert answer["state"] == "FINISHED"
        assert {"accuracy", "macro_f1", "macro_precision", "macro_recall", "intervals"} == answer["metrics"].keys()
        assert answer["baselines"].keys() == {"majority", "tfidf"}
        assert answer["metrics"]["accuracy"] > answer["baselines"]["majority"]["accuracy"]
        assert answer["device"].keys() >= {"kind", "precision", "reason"}
        assert answer["spec"]["learning_rate"] == 3e-3
        assert answer["seconds"] > 0
        assert "100%" not in said.splitlines()[0]
        assert answer["run"][:8] in said
        assert "{" not in said

    def test_evaluate_judges_the_run_by_its_id_or_folder(self, trained, weather):
        home, answer, _ = trained
        by_id = command(
            home, "evaluate", "--model", answer["run"], "--data", weather, "--text", "note", "--label", "kind"
        )
        by_folder = here(
            home, "evaluate", "--model", answer["model"], "--data", weather, "--text", "note", "--label", "kind"
        )
        assert by_id[0] == by_folder[0] == 0
        assert by_id[1] == by_folder[1]
        assert by_id[1]["rows"] == 120
        assert by_id[1]["metrics"]["accuracy"] > 0.7

    def test_predict_answers_one_text(self, trained):
        home, answer, _ = trained
        status, said, _ = command(home, "predict", "--model", answer["run"][:8], "warm sun")
        assert (status, said["answer"], said["labels"]) == (0, "warm", ["warm"])
        assert said["confidence"] == said["probabilities"]["warm"]

    def test_predict_keeps_every_column_and_row_of_a_file(self, trained, tmp_path):
        home, answer, _ = trained
        source, out = tmp_path / "new.csv", tmp_path / "answers.csv"
        source.write_text('id,note,extra\n7,"sun, warm",=1+1\n8,,x\n9,"cold\nwind",y\n', encoding="utf-8")
        status, said, err = here(
            home, "predict", "--model", answer["run"], "--data", source, "--text", "note", "--out", out
        )
        assert (status, said["rows"], said["answered"]) == (0, 3, 2), err
        with out.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        assert [r["id"] for r in rows] == ["7", "8", "9"]
        assert [r["prediction"] for r in rows] == ["warm", "", "cold"]
        assert rows[2]["note"] == "cold\nwind"
        assert not rows[0]["extra"].startswith("=")
        assert 0.5 <= float(rows[0]["confidence"]) <= 1

    @pytest.mark.parametrize(("many", "begun"), [(199, 0), (200, 1)])
    def test_many_texts_are_worth_compiling_for(self, many, begun, trained, tmp_path, monkeypatch):
        counted = []
        monkeypatch.setattr("core.models.kernel_building.begin", lambda: counted.append(1))
        home, answer, _ = trained
        source, out = tmp_path / "new.csv", tmp_path / "answers.csv"
        source.write_text("id,note\n" + "".join(f"{n},warm sun\n" for n in range(many)), encoding="utf-8")
        status, said, err = here(
            home, "predict", "--model", answer["run"], "--data", source, "--text", "note", "--out", out
        )
        assert status == 0, err
        assert (said["answered"], len(counted)) == (many, begun)

    def test_the_input_file_is_never_written_over(self, trained, tmp_path):
        home, answer, _ = trained
        source = tmp_path / "new.csv"
        source.write_text("note,b\nsun,1\n", encoding="utf-8")
        status, said, err = here(
            home, "predict", "--model", answer["run"], "--data", source, "--text", "note", "--out", source
        )
        assert (status, said) == (2, None)
        assert len(err.splitlines()) == 1
        assert source.read_text(encoding="utf-8") == "note,b\nsun,1\n"

    def test_a_run_can_be_trained_further(self, trained, weather):
        home, answer, _ = trained
        status, second, said = here(
            home, "train", "--data", weather, "--text", "note", "--label", "kind", "--model", answer["run"][:8],
            "--set=method=full", "--set=epochs=1", "--set=learning_rate=1e-6", "--set=max_length=32",
        )  # fmt: skip
        assert status == 0, said
        assert second["spec"]["model"] == {"source": "run", "name": answer["run"], "revision": None}
        assert second["metrics"]["accuracy"] >= answer["metrics"]["accuracy"] - 0.1

    def test_an_own_test_file_is_what_it_is_judged_on(self, trained, weather, body, tmp_path):
        home, *_ = trained
        test = tmp_path / "test.csv"
        test.write_text(
            "note,kind\n" + "".join(f"sun warm {w},warm\nsnow {w},cold\n" for w in "abcde"), encoding="utf-8"
        )
        status, answer, said = here(
            home, "train", "--data", weather, "--text", "note", "--label", "kind", "--test", test, "--model", body,
            "--set=method=full", "--set=epochs=1", "--set=max_length=32",
        )  # fmt: skip
        assert status == 0, said
        assert answer["rows"]["test"] == 10
        assert answer["rows"]["train"] + answer["rows"]["validation"] <= 120


@pytest.mark.real
def test_a_run_that_fails_leaves_with_1_and_says_why(body, weather, tmp_path):
    import torch
    from transformers import AutoModel

    broken = shutil.copytree(body, tmp_path / "broken")
    model = AutoModel.from_pretrained(broken)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight.fill_(float("nan"))
    model.save_pretrained(broken)
    train = ["train", "--data", weather, "--text", "note", "--label", "kind", "--model", broken]
    status, answer, said = here(tmp_path / "home", *train, "--set=method=full", "--set=max_length=32")
    assert (status, answer["state"], answer["error"]["code"]) == (1, "FAILED", "loss_not_finite"), said
    assert "learning rate" in said.splitlines()[-1]


@pytest.mark.real
def test_a_messy_spreadsheet_is_mended_and_every_change_is_said(body, tmp_path):
    """The same sum as an accountant's: rows used and rows left out make up the rows of the file."""
    messy = SAMPLES["customer_messages"].with_name("customer_messages_messy.csv")
    status, answer, said = here(
        tmp_path, "train", "--data", messy, "--text", "message", "--label", "topic", "--model", body,
        "--set=method=full", "--set=epochs=1", "--set=max_length=32",
    )  # fmt: skip
    assert status == 0, said
    assert "KeyError" not in said
    for words in (
        "have no text",
        "have no label",
        "repeat an earlier one",
        "different labels",
        "only in capitals",
        "Mended",
    ):
        assert words in said
    left_out = sum(f["rows"] for f in answer["findings"] if f["applied"] in REMOVING_FIXES)
    assert sum(answer["rows"][part] for part in ("train", "validation", "test")) + left_out == 60


@pytest.mark.real
def test_from_a_model_on_the_hub_to_a_published_result(fake_hub, body, weather, tmp_path):
    """Fetch, train, publish and load again, all over HTTP; then the same once more with the Hub away."""
    fake_hub.add("org/base", {path.name: path.read_bytes() for path in body.iterdir()})
    environment = {"HF_ENDPOINT": fake_hub.url, "HF_TOKEN": "hf_writer"}
    train = ["train", "--data", weather, "--text", "note", "--label", "kind", "--model", "org/base"]
    quick = ["--set=method=full", "--set=epochs=1", "--set=max_length=32", "--set=learning_rate=3e-3"]
    status, answer, said = command(tmp_path, *train, *quick, environment=environment)
    assert status == 0, said
    assert answer["spec"]["model"]["source"] == "hub"
    assert answer["spec"]["model"]["revision"] == fake_hub.repo("org/base").sha
    status, published, said = command(
        tmp_path, "publish", "--model", answer["run"], "--repo", "weather", environment=environment
    )
    assert status == 0, said
    assert published["private"] is True
    repo = fake_hub.repo("tester/weather")
    assert repo.private
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= repo.files.keys()
    folder = tmp_path / "pushed"
    folder.mkdir()
    for name, content in repo.files.items():
        (folder / name).write_bytes(content)
    assert logits(folder, ["sun"])[0] == pytest.approx(logits(answer["model"], ["sun"])[0])
    status, again, said = here(tmp_path, *train, *quick)
    assert status == 0, said
    assert again["spec"]["model"] == answer["spec"]["model"]


def test_publishing_without_a_token_is_refused_in_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    runs = RunStore(tmp_path)
    record = runs.create(build(data=DataChoice(table="0" * 64, columns={})), "local")
    tiny.classifier(runs.folder(record.id) / "model")
    capsys.readouterr()
    assert main(["publish", "--model", record.id, "--repo", "x", "--home", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def table(rows, header="text,label"):
    return (header + "\n" + "\n".join(rows) + "\n").encode()


GOOD = [f"sentence number {i} about {'sun' if i % 2 else 'snow'},{'warm' if i % 2 else 'cold'}" for i in range(40)]
BAD_FILES = {
    "empty": b"",
    "blank": b"\n\n  \n",
    "header_only": b"text,label\n",
    "one_column": table([f"line {i}" for i in range(30)], "text"),
    "one_class": table([f"sentence {i},same" for i in range(30)]),
    "one_row_each": table([f"sentence {i},label{i}" for i in range(30)]),
    "image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
    "excel": b"PK\x03\x04" + b"\0" * 300,
    "noise": bytes((i * 7919 + i * i) % 251 + 1 for i in range(5000)),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("language", ["en_US.UTF-8", "zh_CN.UTF-8"])
def test_a_bad_file_gets_one_plain_sentence(name, language, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", language)
    path = tmp_path / "bad.csv"
    path.write_bytes(BAD_FILES[name])
    status = main(["train", "--data", str(path), "--home", str(tmp_path / "home")])
    out, err = capsys.readouterr()
    assert status == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert "{" not in err
    assert err.rstrip()[-1] in ".。"
    assert any("一" <= c <= "鿿" for c in err) == language.startswith("zh")


@pytest.mark.parametrize(
    "flags",
    [
        ["--set", "learning_rate=nan"],
        ["--set", "learning_rate=fast"],
        ["--set", "epochs=1000000"],
        ["--set", "sorcery=1"],
        ["--text", "nosuchcolumn"],
        ["--text", "label"],
        ["--task", "juggling"],
        ["--task", "translation", "--text", "text", "--label", "label", "--set", "method=quick"],
        ["--model", "../../etc"],
        ["--model", "a/b/c"],
        ["--model", "no space/allowed"],
        ["--model", "0123456789abcdef0123456789abcdef"],
    ],
)
def test_a_bad_choice_gets_one_plain_sentence(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    path = tmp_path / "good.csv"
    path.write_bytes(table(GOOD))
    status = main(["train", "--data", str(path), "--home", str(tmp_path / "home"), *flags])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert "{" not in err


def test_a_hub_that_cannot_be_reached_is_said_within_seconds(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    path = tmp_path / "good.csv"
    path.write_bytes(table(GOOD))
    begin = time.monotonic()
    status = main(["train", "--data", str(path), "--home", str(tmp_path / "home"), "--model", "some/model"])
    assert status == 2
    assert time.monotonic() - begin < 15  # far from the library's own 23 seconds of retries for each file
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_flags_that_are_missing_leave_with_2(capsys):
    for arguments in (["train"], ["dance"], []):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_inspect_tells_what_the_sample_is(tmp_path, capsys):
    assert main(["inspect", str(SAMPLES["customer_messages"]), "--home", str(tmp_path)]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (answer["format"], answer["rows"]) == ("csv", 936)
    assert answer["suggested"]["task"] == "classification"
    assert (answer["suggested"]["text"], answer["suggested"]["label"]) == ("message", "topic")
