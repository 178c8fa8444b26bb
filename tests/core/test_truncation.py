import pytest

from core.tasks._truncation import cut, read
from tests import tiny

TEXTS = ["sun", "rain snow wind " * 30, "my order never came", "", "it is late and the box was broken again, please?"]
MAKERS = {
    "bert": tiny.encoder,
    "roberta": tiny.encoder,
    "llama": tiny.language_model,
    "gpt2": tiny.language_model,
    "t5": tiny.encoder_decoder,
    "mbart": tiny.encoder_decoder,
    "nllb": tiny.encoder_decoder,
}


@pytest.fixture(scope="module", params=list(MAKERS))
def words(request, tmp_path_factory):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MAKERS[request.param](tmp_path_factory.mktemp("words"), request.param))


def test_the_first_the_last_or_both_ends_are_kept():
    ids = list(range(1000))
    assert cut(ids, 510, "head") == ids[:510]
    assert cut(ids, 510, "tail") == ids[-510:]
    assert cut(ids, 510, "both") == ids[:128] + ids[-382:]
    assert cut(ids, 1, "both") == [999]
    for how in ("head", "tail", "both"):
        assert cut(ids[:510], 510, how) == ids[:510]
        assert len(cut(ids, 7, how)) == 7


def test_texts_that_fit_are_what_the_tokenizer_makes_of_them(words):
    expected = words(TEXTS)["input_ids"]
    for how in ("head", "tail", "both"):
        given = read(words, TEXTS, 500, how)
        assert [ids for ids, told in zip(given, expected, strict=True) if told] == [ids for ids in expected if ids]
        assert all(given)


def test_a_head_is_what_the_tokenizer_cuts(words):
    assert read(words, TEXTS[:3], 9, "head") == words(TEXTS[:3], truncation=True, max_length=9)["input_ids"]


def test_a_tail_has_the_special_tokens_of_any_text_and_the_last_words(words):
    bare = words(TEXTS[1], add_special_tokens=False)["input_ids"]
    whole = words(TEXTS[1])["input_ids"]
    before = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    after = len(whole) - len(bare) - before
    (tail,) = read(words, TEXTS[1:2], 11, "tail")
    (both,) = read(words, TEXTS[1:2], 11, "both")
    kept = 11 - before - after
    assert tail == [*whole[:before], *bare[-kept:], *whole[len(whole) - after :]]
    first = round(kept * 128 / 510)
    assert both == [*whole[:before], *bare[:first], *bare[first - kept :], *whole[len(whole) - after :]]


def test_blocks_of_texts_come_in_order(monkeypatch):
    monkeypatch.setattr("core.tasks._truncation._BLOCK", 2)
    words = tiny.tokenizer()
    assert read(words, TEXTS, 64, "head") == words(TEXTS, truncation=True, max_length=64)["input_ids"]
