import json

import pandas as pd
import pytest

from core.evaluation import report
from core.evaluation.answers import Answers, Prediction
from core.evaluation.texts import judge_texts


def labelled(answers, theirs):
    references = ["a", "b"] * 20
    rows = pd.DataFrame(
        [(i + 2, f"text {i}", label) for i, label in enumerate(references)], columns=["row", "text", "label"]
    )
    ours = Answers([Prediction(a, 0.9, ((a, 0.9),), (a,)) for a in answers])
    others = {name: Answers([Prediction(a, labels=(a,)) for a in given]) for name, given in theirs.items()}
    return report.judge(rows, ("a", "b"), ours, others)


def against(answers, theirs):
    return labelled(answers, {"majority": ["a"] * 40, "tfidf": theirs})


RIGHT, WRONG = ["a", "b"] * 20, ["b", "a"] * 20


def test_the_verdict_says_worth_it_only_when_chance_is_unlikely():
    assert against(RIGHT, WRONG)["verdict"] == {
        "code": "beats_both", "right": 40, "rows": 40, "strongest": "majority", "baseline_right": 20, "chance": 0.0
    }  # fmt: skip
    assert against(WRONG, RIGHT)["verdict"]["code"] == "not_better"
    assert against(RIGHT, RIGHT)["verdict"]["code"] == "unclear"
    assert labelled(RIGHT, {})["verdict"] == {"code": "uncompared", "right": 40, "rows": 40}


def test_wrong_rows_are_told_with_their_row_in_the_file():
    found = against(["b", *["b" if i % 2 else "a" for i in range(1, 40)]], RIGHT)
    assert [(e["row"], e["label"], e["prediction"]) for e in found["errors"]] == [(2, "a", "b")]
    assert found["confusion"] == [[19, 1], [0, 20]]
    assert found["per_class"][0] == {"label": "a", "precision": 1.0, "recall": 0.95, "f1": 0.9744, "rows": 20}
    assert found["main_metric"] in found["metrics"]
    assert found["baselines"]["tfidf"]["accuracy"] == 1.0


def test_examples_are_short_and_of_as_many_labels_as_possible():
    texts = ["x" * 300, "one", "one", "two", "three", *(f"more {i}" for i in range(9))]
    found = report.examples(texts, ["z", "a", "a", "a", "b", *["a"] * 9])
    assert found == ["one", "three", "two", *(f"more {i}" for i in range(5))]
    assert report.examples(["y" * 500], ["a"]) == ["y" * 220]


REFERENCES = [f"the cat number {n} sat on the mat" for n in ("one", "two", "three", "four", "five", "six") * 4]
ROWS = list(range(2, 26))


def said(texts, losses=()):
    return Answers([Prediction(text) for text in texts], list(losses))


def judged(ours, others, metrics=("chrf", "bleu"), main="chrf", **more):
    asked = more.pop("asked", [f"source {i}" for i in range(24)])
    return judge_texts(
        asked,
        REFERENCES,
        ours,
        others,
        metrics=metrics,
        main_metric=main,
        rows_numbers=ROWS,
        shown_texts=[f"shown {i}" for i in range(24)],
        **more,
    )


def test_a_report_of_written_answers():
    almost = ["a cat", *REFERENCES[1:]]
    found = judged(said(almost), {"untouched": said(["no"] * 24), "copied": said(["the cat sat on a mat"] * 24)})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["metrics"]) == ["chrf", "bleu", "intervals"]
    assert list(found["baselines"]) == ["untouched", "copied"]
    assert set(found["signatures"]) == {"chrf", "bleu"}
    assert found["verdict"]["code"] == "beats_both"
    assert (found["verdict"]["strongest"], found["verdict"]["metric"]) == ("copied", "chrf")
    assert found["verdict"]["ours"] == found["metrics"]["chrf"]
    assert found["verdict"]["theirs"] == found["baselines"]["copied"]["chrf"]
    for name in ("chrf", "bleu"):
        low, high = found["metrics"]["intervals"][name]
        assert low <= found["metrics"][name] <= high
    assert found["samples"][0] == {
        "row": 2, "text": "shown 0", "reference": REFERENCES[0], "answer": "a cat", "before": "no"
    }  # fmt: skip
    assert [s["row"] for s in found["samples"]] == ROWS


def test_not_better_and_unclear():
    good, bad = said(REFERENCES), said(["no"] * 24)
    assert judged(bad, {"nearest": good})["verdict"]["code"] == "not_better"
    assert judged(good, {"nearest": good})["verdict"]["code"] == "unclear"
    assert judged(good, {})["verdict"] == {"code": "uncompared", "metric": "chrf", "rows": 24, "ours": 100.0}
    assert "before" not in judged(good, {"nearest": bad})["samples"][0]


def test_probabilities_alone_make_a_report_and_less_is_better():
    ours, before = Answers([], [(20.0, 10, 5)] * 24), Answers([], [(30.0 + i % 3, 10, 3) for i in range(24)])
    metrics = ("perplexity", "loss", "token_accuracy")
    found = judged(ours, {"untouched": before}, metrics, "perplexity")
    assert found["metrics"]["loss"] == 2.0
    assert found["metrics"]["perplexity"] == pytest.approx(7.3891)
    assert found["verdict"]["code"] == "beats_both"
    assert (found["samples"], found["signatures"], found["labels"]) == ([], {}, [])
    assert judged(before, {"untouched": ours}, metrics, "perplexity")["verdict"]["code"] == "not_better"


def test_methods_without_probabilities_have_no_perplexity():
    ours = said(REFERENCES, [(20.0, 10, 5)] * 24)
    others = {"untouched": said(["no"] * 24, [(30.0, 10, 5)] * 24), "nearest": said(REFERENCES)}
    found = judged(ours, others, ("rougeL", "loss"), "loss")
    assert set(found["baselines"]["untouched"]) == {"rougeL", "loss"}
    assert set(found["baselines"]["nearest"]) == {"rougeL"}
    assert found["verdict"]["strongest"] == "untouched"


def test_long_samples_are_cut_and_examples_are_short_ones():
    asked = ["x" * 3000, "same", "same", "y" * 500, *(f"ask {i}" for i in range(20))]
    found = judged(said(["z" * 9000] * 24), {}, asked=asked)
    assert len(found["samples"][0]["answer"]) == 4000
    assert found["examples"] == ["same", *(f"ask {i}" for i in range(7))]
    long = judged(said(REFERENCES), {}, asked=["x" * 3000, "y" * 500, *["x" * 3000] * 22])["examples"]
    assert [len(text) for text in long] == [500, 2000]


def test_conversations_are_examples_too():
    talk = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]
    long = [*talk, {"role": "user", "content": "x" * 5000}]
    found = judged(said(REFERENCES), {}, asked=[talk, long] * 12)
    assert found["examples"] == [talk, [{"role": "user", "content": "x" * 1999 + "…"}]]


def test_the_language_decides_about_bleus_words():
    assert "tok:char" in judged(said(REFERENCES), {}, language="ja")["signatures"]["bleu"]
    assert "tok:13a" in judged(said(REFERENCES), {})["signatures"]["bleu"]
