"""Texts are learned token by token, judged by how well they are foreseen, and gone on with."""

import pandas as pd
import pytest
import torch
import transformers

from core.data.preparing import Split
from core.device import Device
from core.errors import UserError
from core.models import notes
from core.spec import DataChoice, Writing, build
from core.tasks.text_generation import TASK, beginning, documents, pieces
from core.training import checkpoints
from tests import tiny

CPU = Device("cpu", "float32", 1, "test")
POEM = "the sun was warm\nand the wind was cold\n    the rain came late\nand the snow was early\n"


def spec(**choices):
    data = DataChoice(table="0" * 64, columns={"text": "text"})
    return build(
        task="text_generation", data=data, **{"max_length": 32, "max_new_tokens": 8, "method": "full"} | choices
    )


def rows(*texts):
    return pd.DataFrame({"row": range(2, len(texts) + 2), "text": texts})


def split(*texts):
    held = rows(POEM)
    return Split(rows(*(texts or (POEM,))), held, held, (), ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp("texts") / "gpt2", "gpt2", chat_template=False)


@pytest.fixture(scope="module")
def learned(folder):
    """A model that knows the poem by heart."""
    transformers.set_seed(2)
    model, tokenizer = TASK.load(folder, split(), spec(max_length=64))
    dataset = TASK.encode(split().train, (), model, tokenizer, spec(max_length=64))
    batch = TASK.collate(model, tokenizer)([{k: v for k, v in row.items() if k != "length"} for row in dataset])
    labels, loss = batch.pop("labels"), TASK.loss(split())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(100):
        value = loss(model(**batch), labels)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert value.item() < 0.05
    return model, tokenizer


# -- pieces


@pytest.mark.parametrize("length", [2, 9, 10, 11, 19, 20, 57])
@pytest.mark.parametrize("step", [9, 5, 1])
def test_each_token_is_a_label_in_one_piece_but_the_first(length, step):
    ids = list(range(100, 100 + length))
    found = list(pieces(ids, 10, step))
    assert [label for piece in found for label in piece["labels"] if label != -100] == ids[1:]
    assert all(label in (-100, i) for p in found for label, i in zip(p["labels"], p["input_ids"], strict=True))
    assert all(len(piece["input_ids"]) <= 10 for piece in found)
    # A piece's first token has nothing before it in the piece, so it is learned or judged in the piece before.
    assert all(piece["labels"][0] == -100 for piece in found)


def test_with_a_stride_there_is_always_enough_before_a_label():
    found = list(pieces(list(range(100)), 10, 5))
    assert all(piece["labels"][:5] == [-100] * 5 for piece in found[1:])


def test_a_single_token_teaches_nothing():
    assert list(pieces([7], 10, 9)) == []


def test_documents_end_with_the_end_token_once(folder, tmp_path):
    _, gpt2 = TASK.load(folder, split(), spec())
    (ids,) = documents(gpt2, ["warm sun"])
    assert gpt2.decode(ids) == "warm sun<|endoftext|>"
    assert list(documents(gpt2, ["warm sun<|endoftext|>"])) == [ids]
    assert list(documents(gpt2, ["warm sun"], ended=False)) == [ids[:-1]]
    _, llama = TASK.load(tiny.language_model(tmp_path), split(), spec())
    (ids,) = documents(llama, ["warm sun"])
    assert (ids[0], ids[-1]) == (llama.bos_token_id, llama.eos_token_id)


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("the sun was cold today", "the sun was"),
        ("the sun was not so warm", "the sun was"),
        ("sun", "s"),
        ("春天的雨下了一夜没有停", "春天的雨下"),
        ("def f(x):\n    return x + 1\n", "def f(x):"),
    ],
)
def test_a_beginning_is_the_first_words_and_at_most_half(text, begins):
    assert beginning(text) == begins
    assert text.startswith(begins)


def test_references_are_what_follows():
    given = rows(POEM, "春天的雨下了一夜没有停")
    for text, asked, reference in zip(given["text"], TASK.asked(given), TASK.references(given), strict=True):
        assert asked + reference == text


# -- the task


def test_long_texts_are_learned_in_pieces_and_short_ones_are_packed(folder):
    texts = [POEM, "warm sun", "cold rain", "late wind"]
    model, tokenizer = TASK.load(folder, split(), spec())
    plain = TASK.encode(rows(*texts), (), model, tokenizer, spec())
    packed = TASK.encode(rows(*texts), (), model, tokenizer, spec(packing=True))
    tokens = sum(len(ids) - 1 for ids in documents(tokenizer, texts))
    for dataset in (plain, packed):
        assert sum(label != -100 for labels in dataset["labels"][:] for label in labels[1:]) == tokens
        assert max(dataset["length"]) <= 32
    assert len(packed) < len(plain)


def test_a_text_is_gone_on_with_blanks_and_all(learned):
    whole = "".join([POEM[:12], TASK.predict(*learned, [POEM[:12]], CPU, Writing(max_new_tokens=60))[0].answer])
    assert whole == POEM.rstrip()
    assert TASK.predict(*learned, [POEM[:7]], CPU)[0].answer.startswith(" was")
    half = POEM.index("    the rain") - 1
    assert TASK.predict(*learned, [POEM[:half]], CPU)[0].answer.startswith("\n    the rain")


def test_pieces_of_a_stream_make_up_the_continuation(learned):
    for asked in (POEM[:7], POEM[:8]):
        told = list(TASK.stream(*learned, asked, CPU))
        assert len(told) > 1
        assert "".join(told) == TASK.predict(*learned, [asked], CPU)[0].answer


def test_of_a_text_longer_than_the_model_the_end_is_gone_on_with(learned):
    assert TASK.predict(*learned, ["red " * 300 + POEM[:40]], CPU)[0].answer
    assert "".join(TASK.stream(*learned, "red " * 300 + POEM[:40], CPU))


def test_a_saved_result_goes_on_alike(learned, tmp_path):
    checkpoints.save(*learned, tmp_path / "model")
    again = TASK.reload(tmp_path / "model")
    assert TASK.predict(*again, [POEM[:12]], CPU) == TASK.predict(*learned, [POEM[:12]], CPU)
    assert notes.notes(again[0])["task"] == "text_generation"
    assert notes.notes(again[0])["writing"]["max_new_tokens"] == 8


def test_a_result_is_judged_by_how_well_it_foresees_texts(learned, folder):
    parts, choices = split(), spec()
    ours = TASK.answer(*learned, parts.test, choices, CPU)
    untouched = TASK.answer(*TASK.load(folder, parts, choices), parts.test, choices, CPU)
    report = TASK.judge(parts.test, (), ours, {"untouched": untouched})
    assert report["main_metric"] == "perplexity"
    assert set(report["metrics"]) == {*TASK.metrics, "intervals"}
    assert report["metrics"]["perplexity"] < 2 < 50 < report["baselines"]["untouched"]["perplexity"]
    assert report["examples"] == [beginning(POEM)]


def test_every_token_of_a_long_document_is_judged_once(folder):
    model, tokenizer = TASK.load(folder, split(), spec(max_length=16))
    ((_, tokens, _),) = TASK.answer(model, tokenizer, rows(POEM), spec(), CPU).token_losses
    (ids,) = documents(tokenizer, [POEM])
    assert len(ids) > 16
    assert tokens == len(ids) - 1


def test_of_many_long_documents_each_has_its_share(folder, monkeypatch):
    monkeypatch.setattr("core.tasks.text_generation._MOST_SCORED", 60)
    model, tokenizer = TASK.load(folder, split(), spec(max_length=16))
    losses = TASK.answer(model, tokenizer, rows(POEM, POEM, "warm sun"), spec(), CPU).token_losses
    assert [tokens for _, tokens, _ in losses] == [19, 19, len(next(documents(tokenizer, ["warm sun"]))) - 1]


def test_an_empty_text_is_not_gone_on_with(learned):
    with pytest.raises(UserError, match="text_empty"):
        TASK.predict(*learned, [" \n"], CPU)


def test_loss_during_training_is_the_mean_over_the_tokens_that_are_learned(folder):
    # The Trainer counts labels without their first place, which holds one here.
    model, tokenizer = TASK.load(folder, split(), spec())
    batch = TASK.collate(model, tokenizer)([{"input_ids": [5, 6, 7], "labels": [5, 6, 7]}])
    labels = batch.pop("labels")
    with torch.no_grad():
        outputs = model(**batch)
        wanted = torch.nn.functional.cross_entropy(outputs.logits[0, :2], torch.tensor([6, 7]))
        assert torch.allclose(TASK.loss(split())(outputs, labels, torch.tensor(1)), wanted)
