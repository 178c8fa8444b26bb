import random
import time

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from core.evaluation import language_modelling
from core.evaluation.text_metrics import (
    Bleu,
    Chrf,
    Rouge,
    bleu,
    chrf,
    longest_common,
    rouge,
    text_metrics,
    tokenizer_for,
)
from core.evaluation.words import first_sentence, words

TEXT = "the a cat dog runs over Lazy fox; and then it's gone (really), to Paris 3.5 times! state_of-the art"
WORDS = TEXT.split()


def pairs(rows, seed=0):
    drawn = random.Random(seed)
    references = [" ".join(drawn.choices(WORDS, k=drawn.randint(3, 30))) for _ in range(rows)]
    answers = [" ".join(w if drawn.random() < 0.7 else drawn.choice(WORDS) for w in r.split()) for r in references]
    return references, ["", *answers[1:]]


def test_bleu_and_chrf_are_those_of_sacrebleu():
    references, answers = pairs(40)
    assert bleu(references, answers) == pytest.approx(sacrebleu.corpus_bleu(answers, [references]).score)
    assert chrf(references, answers) == pytest.approx(sacrebleu.corpus_chrf(answers, [references]).score)


def test_signatures_are_those_that_sacrebleu_prints():
    signatures = {name: metric.signature(name) for metric in (Bleu("zh"), Chrf(), Rouge()) for name in metric.names}
    assert signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:")
    assert signatures["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")
    assert signatures["rougeL"].startswith("rouge:L|measure:f1|average:rows|stem:no|case:folded|tok:unicode-words|")


def test_rouge_of_english_is_that_of_rouge_score():
    references, answers = pairs(60)
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"])
    each = [theirs.score(r, a) for r, a in zip(references, answers, strict=True)]
    expected = {name: 100 * np.mean([scores[name].fmeasure for scores in each]) for name in Rouge.names}
    assert rouge(references, answers) == pytest.approx(expected)


def test_words_of_english_are_those_of_rouge_score():
    default = DefaultTokenizer()
    for text in (*WORDS, "Don't stop: snake_case, e-mail me@example.org!", "x=1; y = 'two'\n\treturn 0x1F", "", "..."):
        assert words(text) == default.tokenize(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天ABC很好，3个", ["今", "天", "abc", "很", "好", "3", "个"]),
        ("カタカナー日本", ["カ", "タ", "カ", "ナ", "ー", "日", "本"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("ที่ดี", ["ที่", "ดี"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("Straße CAFÉ cafe\u0301", ["strasse", "café", "café"]),
        ("😀 !", []),
    ],
)
def test_words_of_every_script(text, expected):
    assert words(text) == expected


def test_chinese_summaries_have_a_rouge():
    scores = rouge(["今天天气很好"], ["今天天气不好"])
    assert scores["rouge1"] == pytest.approx(100 * 5 / 6)
    assert scores["rouge2"] == pytest.approx(100 * 3 / 5)


def test_the_longest_common_part_agrees_with_the_table():
    drawn = random.Random(3)
    for _ in range(60):
        first, second = (drawn.choices("abcd", k=drawn.randint(0, 90)) for _ in range(2))
        table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
        for i, one in enumerate(first):
            for j, other in enumerate(second):
                table[i + 1, j + 1] = table[i, j] + 1 if one == other else max(table[i, j + 1], table[i + 1, j])
        assert longest_common(first, second) == table[-1, -1]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("zh", "", "zh"),
        ("zh-Hans", "", "zh"),
        ("yue_Hant", "", "zh"),
        ("ja", "", "char"),
        ("th", "", "char"),
        ("de", "你好", "13a"),
        ("ko", "", "13a"),
        ("", "Good morning", "13a"),
        ("", "今天天气很好", "zh"),
        ("", "今日は天気がいいです", "char"),
        ("", "วันนี้อากาศดี", "char"),
    ],
)
def test_the_tokenizer_follows_the_language(language, text, expected):
    assert tokenizer_for(language, [text]) == expected


def test_nothing_written_and_nothing_wanted_are_no_error():
    for references, answers in ((["a b"], [""]), ([""], ["a b"]), ([""], [""]), (["!"], ["?"])):
        assert bleu(references, answers) == 0
        assert chrf(references, answers) == 0
        assert set(rouge(references, answers).values()) == {0}


def test_intervals_hold_the_score_and_are_quick_for_500_rows():
    references, answers = pairs(500)
    begin = time.monotonic()
    for metric in text_metrics(("bleu", "chrf", "rougeL"), "en", references):
        measured = metric.measured(references, answers)
        values = measured.values()
        for name, (low, high) in measured.intervals().items():
            assert low < values[name] < high
            assert 0.5 < high - low < 8
    assert time.monotonic() - begin < 10  # about 1 s when nothing else runs


def test_loss_perplexity_and_accuracy_count_tokens_not_rows():
    values = language_modelling.measured([(2.0, 1, 1), (1.0, 9, 5), (0.0, 0, 0)]).values()
    assert values == pytest.approx({"loss": 0.3, "perplexity": np.exp(0.3), "token_accuracy": 0.6})
    assert np.isfinite(language_modelling.measured([(1e6, 1, 0)]).values()["perplexity"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Return the sum. Then go.", "Return the sum."),
        ("Uses e.g. this\nand that. Next.", "Uses e.g. this and that."),
        ("Dr. A. Smith went home! He slept.", "Dr. A. Smith went home!"),
        ("Version 3.5 is out. Yes", "Version 3.5 is out."),
        ('He said "Go!" and left. Then', 'He said "Go!" and left.'),
        ("你好。再见。", "你好。"),
        ("「はい。」と言った。次", "「はい。」と言った。"),
        ("यह है। वह", "यह है।"),
        ("\nTitle\n\nBody. More.", "Title"),
        ("No end here\nsecond line", "No end here"),
        ("", ""),
    ],
)
def test_the_first_sentence(text, expected):
    assert first_sentence(text) == expected
