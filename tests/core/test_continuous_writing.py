"""Many answers of a decoder-only model at once: rows leave, others join, and each is what its prompt has alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from core.device import Device
from core.errors import UserError
from core.models.opening import open_model
from core.spec import Writing
from core.tasks import _writing_rows
from core.tasks._generation import settings, write
from core.tasks._writing_choice import choose
from tests import tiny

EXACT = Device("cpu", "float32", 1, "test")
FASTER = Device("cpu", "bfloat16", 1, "test")
FAMILIES = ["llama", "qwen2", "gpt2", "gpt_neox"]
Loaded = tuple[Any, Any]
Prompts = list[list[int]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request: pytest.FixtureRequest, folder: Path) -> Loaded:
    return opened(folder, request.param)


@pytest.fixture(scope="module")
def llama(folder: Path) -> Loaded:
    return opened(folder, "llama")


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows of at most 40 tokens are read at once, and the cache has little to spare."""
    monkeypatch.setattr(_writing_rows, "_ROWS", 3)
    monkeypatch.setattr(_writing_rows, "_READ", {"cpu": 40})
    monkeypatch.setattr(_writing_rows, "_SPARE", 2)


def opened(folder: Path, family: str) -> Loaded:
    """A model with larger weights than models start from, which would say the same to everything."""
    if family == "gpt_neox":
        _, words = open_model(tiny.language_model(folder / "words", "gpt2"), "AutoModelForCausalLM")
        shape = transformers.GPTNeoXConfig(
            vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=128, bos_token_id=words.eos_token_id, eos_token_id=words.eos_token_id,
        )  # fmt: skip
        model = transformers.AutoModelForCausalLM.from_config(shape, attn_implementation="sdpa")
    else:
        model, words = open_model(tiny.language_model(folder / family, family), "AutoModelForCausalLM")
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.4)
    return model.eval(), words


def asked(count: int = 11, shared: int = 0) -> Prompts:
    """Prompts of 1 to 60 tokens beyond those they share."""
    chance = torch.Generator().manual_seed(5)
    begin = [20 + place for place in range(shared)]
    lengths = [1, 60, 2, 17, 17, 33, 5, 9, 41, 3, 12, 25, 8][:count]
    return [begin + torch.randint(10, 280, (length,), generator=chance).tolist() for length in lengths]


def alone(model: Any, prompts: Prompts, writing: Writing, ends: tuple[int, ...] = (), words: Any = None) -> Prompts:
    """Tokens that `generate` writes for each prompt by itself."""
    found = []
    for prompt in prompts:
        config = settings(model, words, writing, stop_ids=ends)
        ids = torch.tensor([prompt])
        written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        found.append(written[0, len(prompt) :].tolist())
    return found


def together(
    loaded: Loaded, prompts: Prompts, writing: Writing, ends: tuple[int, ...] = (), tokens: int = 8192, **more: Any
) -> Prompts:
    """The same, of many at once."""
    model, words = loaded
    found: Prompts = [[]] * len(prompts)
    config = settings(model, words, writing, stop_ids=ends)
    with torch.inference_mode():
        for ended in _writing_rows.answers(model, prompts, config, writing, tokens=tokens, **more):
            for place, row in ended:
                assert found[place] == []
                found[place] = row
    return found


def steps(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and tokens of each call of the model from now on."""
    calls: list[tuple[int, int]] = []
    forward = model.forward

    def listening(input_ids: Any, **options: Any) -> Any:
        calls.append(tuple(input_ids.shape))
        return forward(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "forward", listening)
    return calls


@pytest.mark.usefixtures("few_places")
@pytest.mark.parametrize("shared", [0, 20])
@pytest.mark.parametrize("tokens", [8192, 200])
def test_each_answer_is_that_of_its_prompt_alone(loaded: Loaded, shared: int, tokens: int) -> None:
    model, words = loaded
    prompts, writing = asked(shared=shared), Writing(max_new_tokens=14)
    frequent = alone(model, prompts, writing, words=words)
    ends = (frequent[1][3], frequent[4][6])
    wanted = alone(model, prompts, writing, ends, words)
    assert len({len(row) for row in wanted}) > 2
    assert together(loaded, prompts, writing, ends, tokens) == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_these_families_write_row_by_row(folder: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, words = opened(folder, family)
    prompts, writing = asked(), Writing(max_new_tokens=9)
    wanted = [write(model, words, [prompt], EXACT, writing)[0] for prompt in prompts]
    monkeypatch.setattr(model, "generate", lambda **_: pytest.fail("the plain way"))
    assert write(model, words, prompts, EXACT, writing) == wanted
    assert len(write(model, words, prompts, FASTER, writing)) == len(prompts)


@pytest.mark.usefixtures("few_places")
def test_a_row_that_has_ended_makes_room_at_once(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    model, words = llama
    prompts, writing = [[40 + place] for place in range(12)], Writing(max_new_tokens=20)
    ends = tuple({row[2] for row in alone(model, prompts[::2], writing, words=words)})
    lengths = [len(row) for row in alone(model, prompts, writing, ends, words)]
    assert min(lengths) < 4
    assert max(lengths) == 20
    calls = steps(model, monkeypatch)
    together(llama, prompts, writing, ends)
    assert max(rows for rows, _ in calls) == 3
    assert sum(rows for rows, _ in calls) == sum(lengths)
    assert all(rows == 3 for rows, _ in calls[: sum(lengths) // 3 - 20])


def test_what_all_prompts_begin_with_is_read_once(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = steps(llama[0], monkeypatch)
    together(llama, asked(shared=30), Writing(max_new_tokens=2))
    assert calls[0] == (1, 30)
    assert sum(rows * width for rows, width in calls) < 30 + 11 * 60


def test_long_prompts_do_not_keep_short_ones_from_being_written_side_by_side(
    llama: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = steps(llama[0], monkeypatch)
    prompts = [list(range(10, 110)), *([10 + place, 7] for place in range(20))]
    together(llama, prompts, Writing(max_new_tokens=5), tokens=150)
    assert (1, 1) in calls
    assert max(rows for rows, width in calls if width == 1) > 10


@pytest.mark.usefixtures("few_places")
def test_answers_end_before_the_stop_text_and_the_last_position(llama: Loaded) -> None:
    model, words = llama
    prompts = [*asked(), [9] * 125]
    whole = [write(model, words, [prompt], EXACT, Writing(max_new_tokens=24))[0] for prompt in prompts]
    stop = whole[3][4:6]
    writing = Writing(max_new_tokens=24, stop=stop)
    cut = write(model, words, prompts, EXACT, writing)
    assert cut == [text.split(stop)[0].rstrip() for text in whole]
    assert cut != whole
    rows = together(llama, prompts, Writing(max_new_tokens=24), limit=128)
    assert [len(row) for row in rows] == [24] * 11 + [3]
    found = together(llama, prompts, writing, stops=lambda row: stop in words.decode(row))
    assert sum(map(len, found)) < 24 * 12


def test_a_prompt_without_room_for_an_answer_is_refused(llama: Loaded) -> None:
    with pytest.raises(UserError) as error:
        write(*llama, [*asked(), [9] * 128], EXACT, Writing())
    assert error.value.code == "prompt_too_long"
    assert error.value.facts == {"tokens": 128, "most": 128}


def test_the_longest_answer_is_as_long_as_asked(llama: Loaded) -> None:
    for most in (1, 2, 7):
        assert {len(row) for row in together(llama, asked(), Writing(max_new_tokens=most))} == {most}


@pytest.mark.usefixtures("few_places")
def test_no_answer_takes_longer_than_it_may(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    model, words = llama
    prompts, writing = asked(), Writing(max_new_tokens=60)
    assert {len(row) for row in together(llama, prompts, writing, seconds=0)} == {1}
    ends = {row[3] for row in alone(model, prompts[::3], writing, words=words)}
    calls = steps(model, monkeypatch)
    monkeypatch.setattr(_writing_rows, "monotonic", lambda: len(calls))  # a second for each call of the model
    found = together(llama, prompts, writing, tuple(ends), seconds=20)
    cut = [len(row) for row in found if row[-1] not in ends]
    assert len(calls) > 40
    assert len(cut) < len(found)
    # Those that join later have as long as the first, some of it for the reading of others.
    assert all(15 <= length <= 20 for length in cut)


@pytest.mark.usefixtures("few_places")
@pytest.mark.parametrize("size", [1, 2, 3])
def test_so_many_tokens_do_not_come_twice_in_an_answer(llama: Loaded, size: int) -> None:
    model, words = llama
    prompts = [*asked(), [7, 7, 7, 7]]
    for place, row in enumerate(together(llama, prompts, Writing(max_new_tokens=40, no_repeat_ngram=size))):
        parts = [tuple(row[begin : begin + size]) for begin in range(len(row) - size + 1)]
        assert len(parts) == len(set(parts))
        one = together(llama, prompts[place : place + 1], Writing(max_new_tokens=40, no_repeat_ngram=size))[0]
        assert row == one
    free = together(llama, prompts, Writing(max_new_tokens=40))
    assert any(len(row) > len(set(row)) for row in free)
    wanted = [write(model, words, [ids], EXACT, Writing(max_new_tokens=40, no_repeat_ngram=size))[0] for ids in prompts]
    assert write(model, words, prompts, EXACT, Writing(max_new_tokens=40, no_repeat_ngram=size)) == wanted


def test_only_what_was_said_is_not_said_again() -> None:
    said = torch.tensor([[-1, -1, 3], [0, 4, 3], [-1, 3, 3]])
    scores = torch.arange(5.0).repeat(3, 1)
    assert choose(scores.clone(), said, Writing(no_repeat_ngram=1)).tolist() == [4, 2, 4]
    scores[:, 3] = 9
    assert choose(scores.clone(), said, Writing(no_repeat_ngram=2)).tolist() == [3, 3, 4]
    assert choose(scores.clone(), said, Writing(no_repeat_ngram=4)).tolist() == [3, 3, 3]


def test_drawn_answers_come_again_with_the_same_seed(llama: Loaded) -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(together(llama, asked(), Writing(max_new_tokens=9, temperature=1.0, top_p=0.9)))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("likely", [4, 256])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.5, 1.0), (1.5, 1.0), (1.0, 0.6), (1.7, 0.8), (0.3, 0.05)])
def test_tokens_are_drawn_as_transformers_shares_them(
    temperature: float, top_p: float, likely: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.tasks._writing_choice._LIKELY", likely)
    torch.manual_seed(2)
    scores = torch.randn(2, 12) * 2
    warped = transformers.TemperatureLogitsWarper(temperature)(torch.empty(0), scores)
    if top_p < 1:
        warped = transformers.TopPLogitsWarper(top_p)(torch.empty(0), warped)
    wanted = warped.softmax(dim=-1)
    draws = 20_000
    tokens = choose(scores.repeat(draws, 1), None, Writing(temperature=temperature, top_p=top_p)).view(draws, 2)
    shares = torch.stack([torch.bincount(tokens[:, row], minlength=12) for row in range(2)]) / draws
    assert ((shares == 0) | (wanted > 0)).all()
    assert torch.allclose(shares, wanted, atol=0.015)


def test_what_is_told_adds_up_and_what_it_raises_ends_the_work(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    model, words = llama
    monkeypatch.setattr(_writing_rows, "_ROWS", 3)
    told: list[tuple[int, int]] = []
    write(model, words, asked(), EXACT, Writing(max_new_tokens=5), tell=lambda done, of: told.append((done, of)))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > 2
    assert told[-1] == (11, 11)
    calls, whole = steps(model, monkeypatch), len(told)

    def stop(done: int, of: int) -> None:
        assert not torch.is_inference_mode_enabled()
        raise KeyboardInterrupt

    before = model.generation_config
    with pytest.raises(KeyboardInterrupt):
        write(model, words, asked(), FASTER, Writing(max_new_tokens=5), tell=stop)
    assert model.generation_config is before
    assert next(model.parameters()).dtype is torch.float32
    assert sum(1 for _, width in calls if width == 1) < 5 * whole


def unable() -> Iterator[Any]:
    """Shapes of families that keep or see something else than all keys and values."""
    small = {"vocab_size": 303, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}
    yield transformers.MistralConfig(**small, **heads, sliding_window=8)
    yield transformers.BloomConfig(vocab_size=303, hidden_size=32, n_layer=2, n_head=2)
    yield transformers.MambaConfig(vocab_size=303, hidden_size=32, num_hidden_layers=2, state_size=4)
    yield transformers.FalconConfig(**small, num_attention_heads=2, alibi=True)


@pytest.mark.parametrize("shape", list(unable()), ids=lambda shape: shape.model_type)
def test_other_families_write_in_the_plain_way(llama: Loaded, shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    model = transformers.AutoModelForCausalLM.from_config(shape).eval()
    words, prompts = llama[1], [ids for ids in asked() if len(ids) < 30]
    with torch.inference_mode():
        assert not _writing_rows.can_write(model, prompts, settings(model, words, Writing()))
    generate, plain = model.generate, []
    monkeypatch.setattr(model, "generate", lambda **options: plain.append(1) or generate(**options))
    assert len(write(model, words, prompts, EXACT, Writing(max_new_tokens=3))) == len(prompts)
    assert plain


def test_a_model_that_sees_positions_otherwise_is_found_out(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    model, words = llama
    config, forward = settings(model, words, Writing()), model.forward

    def can() -> bool:
        with torch.inference_mode():
            return _writing_rows.can_write(model, asked(), config)

    assert can()

    def without(name: str) -> Any:
        def called(
            input_ids: Any, attention_mask: Any = None, position_ids: Any = None, past_key_values: Any = None,
            logits_to_keep: int = 0, use_cache: bool = True,
        ) -> Any:  # fmt: skip
            given = {"attention_mask": attention_mask, "position_ids": position_ids} | {name: None}
            return forward(
                input_ids=input_ids, past_key_values=past_key_values, logits_to_keep=logits_to_keep,
                use_cache=use_cache, **given,
            )  # fmt: skip

        return called

    for name, able in (("other", True), ("position_ids", False), ("attention_mask", False)):
        monkeypatch.setattr(model, "forward", without(name) if able is False else forward)
        assert can() is able
