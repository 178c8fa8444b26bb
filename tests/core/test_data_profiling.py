import itertools
import json

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from core.data.profiler import summary
from core.data.profiling import measured_columns, token_lengths
from core.data.shapes import SHAPES
from core.data.store import TableStore
from core.errors import UserError
from core.settings import Limits, Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


@pytest.fixture
def tokenizer(tmp_path):
    """A word tokenizer that adds two special tokens and would cut at 4 and pad, as saved ones do."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    words.enable_truncation(4)
    words.enable_padding(length=9)
    path = tmp_path / "tokenizer.json"
    words.save(str(path))
    return path


def stored(settings, tmp_path, lengths):
    path = tmp_path / "file.csv"
    path.write_text("text,label\n" + "".join(f"{'w ' * n}{i},x\n" for i, n in enumerate(lengths)))
    store = TableStore(settings)
    return store.path(store.add(path, "local").id, "local")


def test_lengths_count_special_tokens_and_are_not_cut(settings, tmp_path, tokenizer):
    table = stored(settings, tmp_path, [*range(100)])
    facts = token_lengths(settings, table, ["text"], tokenizer)
    assert (facts["sampled"], facts["rows"], facts["p50"], facts["p95"], facts["max"]) == (100, 100, 52, 97, 102)
    assert sum(count for _, _, count in facts["histogram"]) == 100
    assert (facts["histogram"][0][0], facts["histogram"][-1][1]) == (3, 102)


def test_a_sample_is_spread_over_the_table(settings, tmp_path, tokenizer):
    table = stored(settings, tmp_path, [*range(1000)])
    facts = token_lengths(settings, table, ["text"], tokenizer, sample=50)
    assert (facts["sampled"], facts["rows"]) == (50, 1000)
    assert 450 < facts["p50"] < 550
    assert facts["max"] > 900


def test_a_damaged_tokenizer_is_said(settings, tmp_path):
    table = stored(settings, tmp_path, [1, 2])
    for content in ("{", "{}", ""):
        broken = tmp_path / "broken.json"
        broken.write_text(content)
        with pytest.raises(UserError, match="profile_failed"):
            token_lengths(settings, table, ["text"], broken)


def test_a_missing_column_is_said(settings, tmp_path, tokenizer):
    with pytest.raises(UserError, match="column_missing"):
        token_lengths(settings, stored(settings, tmp_path, [1, 2]), "topic", tokenizer)


@pytest.mark.usefixtures("started_anew")
def test_counting_is_bounded(settings, tmp_path, tokenizer):
    table = stored(settings, tmp_path, [1, 2])
    hasty = Settings(home=settings.home, limits=Limits(reader_memory=64 * 2**20))
    with pytest.raises(UserError, match="profile_failed"):
        token_lengths(hasty, table, ["text"], tokenizer)


def test_one_giant_does_not_flatten_the_histogram():
    histogram = summary([*range(10, 60)] * 10 + [5000], 501)["histogram"]
    assert len(histogram) >= 10
    assert histogram[-1][1] == 5000
    assert max(count for _, _, count in histogram) < 100
    assert all(high + 1 == low for (_, high, _), (low, _, _) in itertools.pairwise(histogram))
    assert summary([7], 1)["histogram"] == [[7, 7, 1]]
    assert summary([], 0)["histogram"] == []


@pytest.mark.usefixtures("started_anew")
def test_a_tokenizer_that_panics_takes_nobody_with_it(settings, tmp_path, tokenizer):
    """A pattern that backtracks until its library panics, as a stranger's tokenizer may bring along."""
    bomb = json.loads(tokenizer.read_text(encoding="utf-8"))
    bomb["pre_tokenizer"] = {
        "type": "Split", "pattern": {"Regex": "(a+a+)+y"}, "behavior": "Isolated", "invert": False,
    }  # fmt: skip
    tokenizer.write_text(json.dumps(bomb), encoding="utf-8")
    path = tmp_path / "bomb.csv"
    path.write_text("text,label\n" + f"{'a' * 40_000},x\n" * 4)
    store = TableStore(settings)
    table = store.path(store.add(path, "local").id, "local")
    hasty = Settings(home=settings.home, limits=Limits(reader_cpu=2, reader_wall=10))
    with pytest.raises(UserError, match="profile_failed"):
        token_lengths(hasty, table, ["text"], tokenizer)
    tokenizer.write_text(json.dumps(bomb | {"pre_tokenizer": {"type": "Whitespace"}}), encoding="utf-8")
    assert token_lengths(settings, table, ["text"], tokenizer)["rows"] == 4


def test_several_columns_count_together_and_answers_by_themselves(settings, tmp_path, tokenizer):
    path = tmp_path / "chat.csv"
    path.write_text("ask,more,said\n" + "a b,c,w w w w\n" * 20)
    store = TableStore(settings)
    table = store.path(store.add(path, "local").id, "local")
    columns = {"prompt": ("ask", "more"), "answer": "said"}
    read, answer = measured_columns(SHAPES["chat"], columns)
    assert (read, answer) == (("ask", "more"), "said")
    facts = token_lengths(settings, table, read, tokenizer, answer=answer)
    assert (facts["p95"], facts["answer_p95"]) == (3 + 2, 4 + 2)
    assert measured_columns(SHAPES["classification"], {"text": "t", "label": "l"}) == (("t",), None)
    assert measured_columns(SHAPES["chat"], {"messages": "m"}) == (("m",), None)
