"""What a table seems to be for, and which column is what."""

import json

import pandas as pd
import pytest

from core.data.shapes import SHAPES
from core.data.understanding import known_columns, understand

TEXTS = (
    "The parcel never arrived and nobody answers the phone, which makes me rather angry",
    "Please refund the money for the second kettle because it was delivered broken",
    "I would like to know whether the small pan also works on an induction hob",
    "The courier left the box in the rain and the cardboard fell apart in my hands",
    "Could you send me another invoice with the name of my company on it, please",
    "The blender smells of burnt rubber whenever it runs for more than a minute",
)
GERMAN = (
    "Das Paket ist nie angekommen und niemand geht ans Telefon, das ärgert mich sehr",
    "Bitte erstatten Sie mir den zweiten Wasserkocher, denn er kam zerbrochen an",
    "Ich wüsste gern, ob die kleine Pfanne auch auf einem Induktionsherd funktioniert",
    "Der Bote hat den Karton im Regen stehen lassen, und die Pappe ist zerfallen",
    "Könnten Sie mir bitte eine weitere Rechnung mit dem Namen meiner Firma schicken",
    "Der Mixer riecht nach verbranntem Gummi, sobald er länger als eine Minute läuft",
)
CHINESE = (
    "包裹一直没有送到，电话也没人接，我很生气",
    "第二个水壶送来就是坏的，请把钱退给我",
    "请问这个小平底锅能不能在电磁炉上使用",
    "快递员把箱子放在雨里，纸箱都散架了",
    "请再给我寄一张写有公司名称的发票",
    "搅拌机开一分钟以上就有烧焦的味道",
)


def repeated(texts, times=10):
    return [f"{text} ({i})" for i in range(times) for text in texts]


def long(texts):
    return [" ".join([text, *texts]) for text in repeated(texts)]


def messages(texts):
    return [
        json.dumps([{"role": "user", "content": t}, {"role": "assistant", "content": "Sure."}]) for t in repeated(texts)
    ]


def some(values, n=60):
    return [values[i % len(values)] for i in range(n)]


N = [str(i) for i in range(60)]
TABLES = {
    "label": ({"id": N, "words": repeated(TEXTS), "kind": some(["a", "b", "c"])}, "classification",
              {"text": "words", "label": "kind"}, "few_values"),
    "numbers as labels": ({"review": repeated(TEXTS), "stars": some(["1", "2", "3", "4", "5"])}, "classification",
                          {"text": "review", "label": "stars"}, "few_values"),
    "chinese": ({"文本": repeated(CHINESE), "类别": some(["物流", "退款"])}, "classification",
                {"text": "文本", "label": "类别"}, "few_values"),
    "label beside two languages": ({"en": repeated(TEXTS), "de": repeated(GERMAN), "area": some(["a", "b"])},
                                   "translation", {"source": "en", "target": "de"}, "two_languages"),
    "chinese to english": ({"zh": repeated(CHINESE), "en": repeated(TEXTS)}, "translation",
                           {"source": "zh", "target": "en"}, "two_languages"),
    "summary by name": ({"article": long(TEXTS), "summary": repeated(TEXTS), "topic": some(["a", "b"])},
                        "summarization", {"text": "article", "summary": "summary"}, "long_and_short"),
    "summary by length": ({"body": long(TEXTS), "first": repeated(TEXTS)}, "summarization",
                          {"text": "body", "summary": "first"}, "long_and_short"),
    "messages": ({"id": N, "messages": messages(TEXTS)}, "chat", {"messages": "messages"}, "messages"),
    "alpaca": ({"instruction": repeated(TEXTS), "input": some(["", "a kettle"]), "output": repeated(TEXTS[::-1])},
               "chat", {"prompt": ("instruction", "input"), "answer": "output"}, "prompt_names"),
    "question and answer": ({"question": repeated(TEXTS), "answer": repeated(TEXTS[::-1])}, "chat",
                            {"prompt": "question", "answer": "answer"}, "prompt_names"),
    "several labels in a cell": ({"text": repeated(TEXTS), "tags": some(["a; b", "b", "c; a", "c", "a; c"])},
                                 "multi_label", {"text": "text", "labels": "tags"}, "several_in_cell"),
    "lists of labels": ({"text": repeated(TEXTS), "tags": some(['["a", "b"]', '["b"]', "[]"])}, "multi_label",
                        {"text": "text", "labels": "tags"}, "several_in_cell"),
    "a column for each label": ({"text": repeated(TEXTS), "toxic": some(["0", "1"]), "rude": some(["0", "0", "1"]),
                                 "spam": some(["1", "0", "0", "0"])}, "multi_label",
                                {"text": "text", "labels": ("toxic", "rude", "spam")}, "one_hot"),
    "texts alone": ({"line": repeated(TEXTS)}, "text_generation", {"text": "line"}, "only_text"),
    "numbers alone": ({"x": N, "y": N[::-1]}, "classification", {}, "nothing_fits"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_the_task_and_the_columns_are_guessed_with_a_reason(name):
    cells, task, columns, reason = TABLES[name]
    guess = understand(pd.DataFrame(cells, dtype="str"))
    assert (guess.task, guess.columns, guess.reason) == (task, columns, reason)


@pytest.mark.parametrize("task", SHAPES)
def test_every_task_can_be_chosen_for_every_table(task):
    for cells, *_ in TABLES.values():
        frame = pd.DataFrame(cells, dtype="str")
        guess = understand(frame, task)
        assert guess.task == task
        assert guess.reason == "chosen"
        assert known_columns(guess.columns, list(frame.columns)) == guess.columns
        assert set(guess.columns) <= {role.name for role in SHAPES[task].roles}


def test_a_chosen_task_gets_the_columns_that_suit_it():
    frame = pd.DataFrame({"body": long(TEXTS), "first": repeated(TEXTS), "kind": some(["a", "b"])}, dtype="str")
    assert understand(frame).columns == {"text": "body", "label": "kind"}
    assert understand(frame, "summarization").columns == {"text": "body", "summary": "first"}
    assert understand(frame, "text_generation").columns == {"text": "body"}


def test_languages_are_told_for_columns_with_a_role():
    cells, *_ = TABLES["label beside two languages"]
    assert understand(pd.DataFrame(cells, dtype="str")).languages == {"en": "en", "de": "de"}
    cells, *_ = TABLES["chinese"]
    assert understand(pd.DataFrame(cells, dtype="str")).languages["文本"] == "zh"


def test_an_empty_table_is_no_accident():
    assert understand(pd.DataFrame({"a": [], "b": []}, dtype="str")).columns == {}
    assert understand(pd.DataFrame({"a": ["", ""], "b": ["", ""]}, dtype="str")).columns == {}


def test_known_columns_forgets_roles_whose_columns_are_gone():
    columns = {"text": "a", "labels": ("b", "c"), "label": "z"}
    assert known_columns(columns, ["a", "b", "c"]) == {"text": "a", "labels": ("b", "c")}
    assert known_columns(columns, ["a", "b"]) == {"text": "a"}
