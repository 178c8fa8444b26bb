"""Writing with a model in memory: batches, beams, stops, streams, and how likely texts are."""

import copy
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.device import Device
from core.errors import UserError
from core.models.opening import open_model
from core.spec import Writing
from core.tasks._batches import IGNORED, batches, padded, token_accuracy, token_loss, training_batch
from core.tasks._generation import settings, token_losses, tokens_held, write, write_streaming
from tests import tiny
from tests.processor import WEIGHTS_ARE_LAID_OUT

EXACT = Device("cpu", "float32", 1, "test")
FASTER = Device("cpu", "bfloat16", 1, "test")
TEXTS = ["the sun", "my order is late and the box came broken again", "how much", "rain and snow and wind"]
Loaded = tuple[Any, Any]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return talkative(open_model(tiny.language_model(tmp_path_factory.mktemp("gpt2"), "gpt2"), "AutoModelForCausalLM"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return talkative(open_model(tiny.encoder_decoder(tmp_path_factory.mktemp("bart"), "bart"), "AutoModelForSeq2SeqLM"))


def talkative(loaded: Loaded) -> Loaded:
    """With larger weights than models start from, which would say the same to everything."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in loaded[0].parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.4)
    return loaded


def asked(tokenizer: Any) -> list[list[int]]:
    return [tokenizer(text)["input_ids"] for text in TEXTS]


def test_batches_hold_the_longest_rows_first_within_their_budget() -> None:
    found = list(batches([3, 9, 1, 5, 20], tokens=10, most=2))
    assert found == [[4], [1], [3, 0], [2]]


def test_padding_goes_where_it_is_asked() -> None:
    ids, mask = padded([[1, 2, 3], [4]], 0, left=True)
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    ids, mask = padded([[1, 2, 3], [4]], 0)
    assert ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("kind", ["decoder", "pair"])
def test_answers_of_a_batch_are_those_that_each_prompt_has_alone(kind: str, request: pytest.FixtureRequest) -> None:
    model, tokenizer = request.getfixturevalue(kind)
    writing = Writing(max_new_tokens=8)
    prompts = asked(tokenizer)
    alone = [write(model, tokenizer, [prompt], EXACT, writing)[0] for prompt in prompts]
    told: list[tuple[int, int]] = []
    together = write(model, tokenizer, prompts, EXACT, writing, tell=lambda done, of: told.append((done, of)))
    assert together == alone
    assert len(set(alone)) > 1
    assert told == [(4, 4)]


@pytest.mark.parametrize("kind", ["decoder", "pair"])
def test_greedy_writing_takes_the_likeliest_token_each_time(kind: str, request: pytest.FixtureRequest) -> None:
    model, tokenizer = request.getfixturevalue(kind)
    ids = torch.tensor([asked(tokenizer)[1]])
    written = [model.config.decoder_start_token_id] if kind == "pair" else []
    for _ in range(6):
        with torch.no_grad():
            if kind == "pair":
                scores = model(input_ids=ids, decoder_input_ids=torch.tensor([written])).logits[0, -1]
            else:
                scores = model(input_ids=torch.cat([ids, torch.tensor([written], dtype=torch.long)], 1)).logits[0, -1]
        written.append(int(scores.argmax()))
    wanted = tokenizer.decode(written[kind == "pair" :], skip_special_tokens=True).strip().rstrip("\ufffd")
    # Four bytes may be one character that is not whole yet, so more may not be compared.
    found = write(model, tokenizer, ids.tolist(), EXACT, Writing(max_new_tokens=7))[0]
    assert wanted
    assert found.startswith(wanted.strip())


@pytest.mark.parametrize("kind", ["decoder", "pair"])
def test_beams_find_a_likelier_answer_than_greed_does(kind: str, request: pytest.FixtureRequest) -> None:
    model, tokenizer = request.getfixturevalue(kind)
    prompts = asked(tokenizer)
    one = write(model, tokenizer, prompts, EXACT, Writing(max_new_tokens=10))
    several = write(model, tokenizer, prompts, EXACT, Writing(max_new_tokens=10, beams=4, length_penalty=0.5))
    assert len(several) == 4
    assert one != several


@pytest.mark.parametrize("kind", ["decoder", "pair"])
def test_nothing_is_said_twice_where_that_is_forbidden(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = request.getfixturevalue(kind)
    rows = recorded(model, monkeypatch)
    for size in (0, 1):
        for prompt in asked(tokenizer):  # one by one in the plain way, of which the others' tests are another file's
            write(model, tokenizer, [prompt], EXACT, Writing(max_new_tokens=20, no_repeat_ngram=size))
    said = [[token for token in row[-19:] if token != tokenizer.eos_token_id] for row in rows]
    assert any(len(row) > len(set(row)) for row in said[:4])
    assert all(len(row) == len(set(row)) for row in said[4:])


def recorded(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """A list that all rows are added to which the model writes from now on, as tokens."""
    rows: list[list[int]] = []
    generate = model.generate

    def listening(**options: Any) -> Any:
        found = generate(**options)
        rows.extend(found.tolist())
        return found

    monkeypatch.setattr(model, "generate", listening)
    return rows


def test_the_prompt_may_be_said_again_although_repetition_is_forbidden(
    decoder: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = decoder
    rows = recorded(model, monkeypatch)
    prompts = [list(range(start, start + 100)) for start in range(1, 280, 20)]
    for size in (0, 1):
        for prompt in prompts:
            write(model, tokenizer, [prompt], EXACT, Writing(max_new_tokens=1, no_repeat_ngram=size))
    assert any(row[-1] in row[:-1] for row in rows)
    assert rows[: len(prompts)] == rows[len(prompts) :]


def test_drawing_depends_on_chance_and_a_temperature_of_zero_does_not(decoder: Loaded) -> None:
    model, tokenizer = decoder
    drawn = [write(model, tokenizer, asked(tokenizer), EXACT, Writing(temperature=2.0)) for _ in range(2)]
    sure = [write(model, tokenizer, asked(tokenizer), EXACT, Writing(temperature=0.0)) for _ in range(2)]
    assert drawn[0] != drawn[1]
    assert sure[0] == sure[1]


@pytest.mark.parametrize("beams", [1, 2])
def test_an_answer_ends_before_the_stop_text(decoder: Loaded, beams: int) -> None:
    model, tokenizer = decoder
    prompts = asked(tokenizer)[1:2]
    whole = write(model, tokenizer, prompts, EXACT, Writing(max_new_tokens=24, beams=beams))[0]
    stop = whole[len(whole) // 2 :][:2]
    cut = write(model, tokenizer, prompts, EXACT, Writing(max_new_tokens=24, beams=beams, stop=stop))[0]
    assert len(stop) == 2
    assert stop not in cut
    if beams == 1:
        assert cut == whole[: whole.index(stop)].rstrip()


@pytest.mark.parametrize("kind", ["decoder", "pair"])
def test_pieces_make_up_the_answer(kind: str, request: pytest.FixtureRequest) -> None:
    model, tokenizer = request.getfixturevalue(kind)
    counts = []
    for prompt in asked(tokenizer):
        for writing in (Writing(max_new_tokens=12), Writing(max_new_tokens=12, beams=2)):
            pieces = list(write_streaming(model, tokenizer, prompt, EXACT, writing))
            assert "".join(pieces) == write(model, tokenizer, [prompt], EXACT, writing)[0]
            assert all(pieces)
            counts.append(len(pieces))
    assert max(counts) > 2


def test_no_piece_ends_within_a_character_or_within_the_stop_text(
    decoder: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = decoder
    spoken = tokenizer("ab 雨 cd## ef ### gh", add_special_tokens=False)["input_ids"]

    def speaks(input_ids: Any, stopping_criteria: Any, **_: Any) -> Any:
        for token in spoken:
            input_ids = torch.cat([input_ids, torch.tensor([[token]])], dim=1)
            if all(criterion(input_ids, None).all() for criterion in stopping_criteria):
                break
        return input_ids

    monkeypatch.setattr(model, "generate", speaks)
    pieces = list(write_streaming(model, tokenizer, spoken, EXACT, Writing(stop="###")))
    assert "".join(pieces) == "ab 雨 cd## ef"
    assert "\ufffd" not in "".join(pieces)
    assert len(pieces) > 5
    assert not any(piece == "#" for piece in pieces)


def test_leaving_a_stream_ends_its_thread_and_gives_the_model_back(decoder: Loaded) -> None:
    model, tokenizer = decoder
    before, threads = model.generation_config, threading.active_count()
    stream = write_streaming(model, tokenizer, asked(tokenizer)[0], FASTER, Writing(max_new_tokens=100))
    next(stream)
    assert threading.active_count() == threads + 1
    assert next(model.parameters()).dtype is torch.bfloat16
    # Its weights are laid out, see core.models.prepacked.
    assert ("forward" in vars(model.get_output_embeddings())) == WEIGHTS_ARE_LAID_OUT
    stream.close()
    assert "forward" not in vars(model.get_output_embeddings())
    assert threading.active_count() == threads
    assert model.generation_config is before
    assert next(model.parameters()).dtype is torch.float32


def test_trouble_in_the_writing_thread_reaches_the_reader(decoder: Loaded) -> None:
    model, tokenizer = decoder
    with pytest.raises(UserError) as error:
        list(write_streaming(model, tokenizer, [5] * 200, EXACT, Writing()))
    assert error.value.code == "prompt_too_long"
    assert error.value.facts == {"tokens": 200, "most": 128}


def test_an_answer_ends_where_the_positions_end(decoder: Loaded) -> None:
    model, tokenizer = decoder
    prompt = (asked(tokenizer)[1] * 20)[:126]
    assert write(model, tokenizer, [prompt], EXACT, Writing(max_new_tokens=50)) is not None
    with pytest.raises(UserError):
        write(model, tokenizer, [[*prompt, 5, 5]], EXACT, Writing(max_new_tokens=50))


@pytest.mark.parametrize("kind", ["decoder", "pair"])
def test_weights_are_exactly_the_same_after_writing_faster(kind: str, request: pytest.FixtureRequest) -> None:
    model, tokenizer = request.getfixturevalue(kind)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    assert len(write(model, tokenizer, asked(tokenizer), FASTER, Writing(max_new_tokens=5))) == 4
    assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())


def test_what_a_base_model_is_used_to_gives_way(pair: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = pair
    prompts = asked(tokenizer)
    plain = write(model, tokenizer, prompts, EXACT, Writing(max_new_tokens=12))
    habits = copy.deepcopy(model.generation_config)
    habits.update(max_length=5, num_beams=4, min_length=9, no_repeat_ngram_size=3, repetition_penalty=9.0)
    monkeypatch.setattr(model, "generation_config", habits)
    assert write(model, tokenizer, prompts, EXACT, Writing(max_new_tokens=12)) == plain
    found = settings(model, tokenizer, Writing(max_new_tokens=30), stop_ids=[7])
    assert found.eos_token_id == [2, 7]
    assert found.decoder_start_token_id == 2
    assert found.forced_eos_token_id == 2


@pytest.mark.parametrize(
    "writing", [Writing(), Writing(beams=3, length_penalty=2), Writing(temperature=0.7, top_p=0.9)]
)
def test_every_way_of_writing_can_be_saved(decoder: Loaded, writing: Writing, tmp_path: Path) -> None:
    settings(*decoder, writing).save_pretrained(tmp_path)
    assert (tmp_path / "generation_config.json").is_file()


@pytest.mark.parametrize("kind", ["decoder", "pair"])
@pytest.mark.parametrize("device", [EXACT, FASTER])
def test_token_losses_are_what_the_model_itself_computes(
    kind: str, device: Device, request: pytest.FixtureRequest
) -> None:
    model, tokenizer = request.getfixturevalue(kind)
    rows = []
    for prompt in asked(tokenizer):
        answer = tokenizer("it is cold", add_special_tokens=False)["input_ids"]
        whole = {"input_ids": [*prompt, *answer], "labels": [IGNORED] * len(prompt) + answer}
        rows.append(whole if kind == "decoder" else {"input_ids": prompt, "labels": answer})
    found = token_losses(model, tokenizer, rows, device)
    for row, (loss, tokens, right) in zip(rows, found, strict=True):
        with torch.no_grad():
            wanted = model(**{name: torch.tensor([ids]) for name, ids in row.items()}).loss.item()
        assert loss / tokens == pytest.approx(wanted, rel=1e-4 if device is EXACT else 2e-2)
        assert tokens == sum(label != IGNORED for label in row["labels"])
        assert 0 <= right <= tokens


@pytest.mark.parametrize("kind", ["decoder", "pair"])
def test_a_training_batch_has_the_loss_of_its_tokens(kind: str, request: pytest.FixtureRequest) -> None:
    model, tokenizer = request.getfixturevalue(kind)
    rows = [{"input_ids": ids, "labels": [IGNORED, *ids[1:]] if kind == "decoder" else ids} for ids in asked(tokenizer)]
    batch = training_batch(model, tokenizer, rows)
    labels = batch.pop("labels")
    outputs = model(**batch)
    found = token_losses(model, tokenizer, rows, EXACT)
    tokens = sum(count for _, count, _ in found)
    assert token_loss(outputs, labels).item() == pytest.approx(sum(loss for loss, _, _ in found) / tokens, rel=1e-4)
    assert token_loss(outputs, labels, 2 * tokens).item() == pytest.approx(token_loss(outputs, labels).item() / 2)
    right = sum(hits for _, _, hits in found) / tokens
    assert token_accuracy(outputs.logits.argmax(-1).numpy(), labels.numpy()) == pytest.approx(right)


@pytest.mark.parametrize(
    ("own", "precision", "tokens"),
    [
        ({"num_key_value_heads": 3, "head_dim": 64}, "bfloat16", 3 * 2**27 // (2 * 30 * 3 * 64 * 2)),
        ({"num_key_value_heads": 3, "head_dim": 64}, "float32", 3 * 2**27 // (2 * 30 * 3 * 64 * 4)),
        ({}, "bfloat16", 3 * 2**27 // (2 * 30 * 576 * 2)),
        ({"head_dim": 40_000}, "float32", 1024),
    ],
)
def test_keys_and_values_that_are_held_come_to_so_many_bytes(own, precision, tokens):
    config = SimpleNamespace(num_attention_heads=9, hidden_size=576, num_hidden_layers=30, **own)
    config.get_text_config = lambda decoder: config
    assert tokens_held(SimpleNamespace(config=config), Device("cpu", precision, 1, "test")) == tokens
