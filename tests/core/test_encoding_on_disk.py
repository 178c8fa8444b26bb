"""Encoded rows are read from a file that follows from rows, tokenizer and settings alone."""

import errno
from pathlib import Path

import pandas as pd
import pytest

from core.errors import UserError
from core.spec import DataChoice, build
from core.tasks import _encoded
from core.tasks.base import find
from core.training import checkpoints
from core.training.loop import wanted
from tests import tiny

LABELS = ("cold", "warm")
ROWS = pd.DataFrame(
    {"text": [" ".join(["red", "blue", "green"][: 1 + i % 3] * (1 + i % 7)) for i in range(50)],
     "label": [LABELS[i % 2] for i in range(50)]}
)  # fmt: skip


def spec(task="classification", **settings):
    columns = {"text": "text", "label": "label"} if task == "classification" else {"text": "text"}
    return build(task=task, data=DataChoice(table="0" * 64, columns=columns), **settings)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return opened(tmp_path_factory.mktemp("encoder"), "classification", ROWS, spec())


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    return opened(tmp_path_factory.mktemp("decoder"), "text_generation", ROWS, spec("text_generation", max_length=32))


def opened(folder, task, rows, choices):
    from core.data.preparing import Split

    make = tiny.encoder if task == "classification" else tiny.language_model
    split = Split(rows, rows, rows, LABELS if task == "classification" else (), ())
    return find(task).load(make(folder), split, choices)


@pytest.fixture(autouse=True)
def several_pieces(monkeypatch):
    monkeypatch.setattr(_encoded, "ROWS", 16)


def encode(loaded, folder, rows=ROWS, choices=None, labels=LABELS):
    return find("classification").encode(rows, labels, *loaded, choices or spec(), folder)


def files_in(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.arrow")}


def test_rows_are_those_that_are_made_in_memory_and_lie_in_a_file(classifier, tmp_path):
    kept, plain = encode(classifier, tmp_path), encode(classifier, None)
    assert kept[:] == plain[:]
    assert kept.features == plain.features
    assert [Path(file["filename"]).parent for file in kept.cache_files] == [tmp_path]
    assert not plain.cache_files
    assert [row["labels"] for row in kept] == [i % 2 for i in range(50)]
    assert [len(row["input_ids"]) for row in kept] == kept["length"][:] == [sum(r["attention_mask"]) for r in kept]


@pytest.mark.parametrize("packing", [False, True])
def test_texts_to_go_on_with_are_the_same_too(packing, writer, tmp_path):
    choices, task = spec("text_generation", max_length=32, packing=packing), find("text_generation")
    plain = task.encode(ROWS, (), *writer, choices)
    assert task.encode(ROWS, (), *writer, choices, tmp_path)[:] == plain[:]
    assert task.encode(ROWS, (), *writer, choices, tmp_path)[:] == plain[:]
    assert ("position_ids" in plain.features) == packing
    assert wanted(plain) == sum(label != -100 for row in plain for label in row["labels"])


def test_what_is_there_is_used_again(classifier, tmp_path, monkeypatch):
    first = encode(classifier, tmp_path)[:]
    before = files_in(tmp_path)
    monkeypatch.setattr("core.tasks._labelling.tokens_of", lambda *given: pytest.fail("encoded again"))
    assert encode(classifier, tmp_path)[:] == first
    assert files_in(tmp_path) == before


def test_other_rows_labels_settings_or_words_are_encoded_anew(classifier, tmp_path):
    model, tokenizer = classifier
    encode(classifier, tmp_path)
    encode(classifier, tmp_path, rows=ROWS.assign(text=["green", *ROWS["text"][1:]]))
    encode(classifier, tmp_path, rows=ROWS.assign(label=["warm", *ROWS["label"][1:]]))
    encode(classifier, tmp_path, rows=ROWS.iloc[:-1])
    encode(classifier, tmp_path, labels=LABELS[::-1])
    encode(classifier, tmp_path, choices=spec(truncation="tail"))
    assert len(files_in(tmp_path)) == 6
    before = model.config.to_dict()
    model.config.update({"pad_token_id": 5})
    encode(classifier, tmp_path)
    model.config.update({"pad_token_id": before["pad_token_id"]})
    assert len(files_in(tmp_path)) == 7
    tokenizer.add_tokens(["reddish"])
    encode(classifier, tmp_path)
    assert len(files_in(tmp_path)) == 8


def test_padding_of_an_earlier_call_does_not_matter(classifier, tmp_path):
    _, tokenizer = classifier
    encode(classifier, tmp_path)
    tokenizer(["red", "red blue"], padding="max_length", max_length=8, truncation=True)
    encode(classifier, tmp_path)
    assert len(files_in(tmp_path)) == 1


@pytest.mark.parametrize("harm", ["cut", "changed", "no note", "broken note", "gone"])
def test_a_damaged_file_is_written_again(harm, classifier, tmp_path):
    wanted = encode(classifier, tmp_path)[:]
    (path,), (note,) = tmp_path.glob("*.arrow"), tmp_path.glob("*.json")
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[:-100])
    elif harm == "changed":
        path.write_bytes(content.replace(b"\x01\x01", b"\x00\x01", 1))
    elif harm == "gone":
        path.unlink()
    else:
        note.unlink() if harm == "no note" else note.write_text("[")
    assert encode(classifier, tmp_path)[:] == wanted
    assert path.read_bytes() == content


def test_a_full_disk_is_told_and_nothing_half_is_left(classifier, tmp_path, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("core.tasks._encoded._batch", full)
        with pytest.raises(UserError, match="disk_full"):
            encode(classifier, tmp_path)
    assert not list(tmp_path.iterdir())
    assert len(encode(classifier, tmp_path)) == len(ROWS)


def test_rows_that_teach_nothing_leave_no_file(writer, tmp_path):
    choices = spec("text_generation", max_length=32)

    class Mute:
        def __getattr__(self, name):
            return getattr(writer[1], name)

        def __call__(self, *texts, **options):
            return {"input_ids": []}

    with pytest.raises(UserError, match="texts_too_short"):
        find("text_generation").encode(ROWS, (), writer[0], Mute(), choices, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resumable", [False, True])
def test_an_ended_run_keeps_none_of_it(resumable, classifier, tmp_path):
    encode(classifier, tmp_path / checkpoints.ENCODED)
    checkpoints.forget(tmp_path, resumable=resumable)
    assert not (tmp_path / checkpoints.ENCODED).exists()
