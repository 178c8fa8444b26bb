import csv
import json
import re
from collections import Counter

import pytest

from core.data.building import ROW_COLUMN
from core.data.formats import parse_any
from core.data.options import ReadOptions
from core.data.samples import SAMPLES, TASKS
from core.settings import Limits

ASPECTS = {"quality", "price", "delivery", "ease of use", "cleaning", "looks", "customer service"}
WRITTEN = [name for name in SAMPLES if name != "customer_messages"]
ADDRESS = re.compile(r"@|https?:|www\.|\b[\w-]+\.(?:com|org|net|de|io)\b", re.IGNORECASE)
PHONE = re.compile(r"\d(?:[ /().-]?\d){6,}")


def cells(name):
    """The rows of a table, header first."""
    delimiter = "\t" if SAMPLES[name].suffix == ".tsv" else ","
    with SAMPLES[name].open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter, strict=True))


def records(name):
    return [json.loads(line) for line in SAMPLES[name].read_text(encoding="utf-8").splitlines()]


def turns():
    return [record["messages"] for record in records("kitchen_help")]


def groups(name):
    """The texts of each kind: within a kind none may come twice."""
    if name == "kitchen_reviews":
        return [[row[0] for row in cells(name)[1:]]]
    if name == "appliance_phrases":
        return [list(column) for column in zip(*cells(name)[1:], strict=True)]
    if name == "support_notes":
        return [[record[key] for record in records(name)] for key in ("note", "summary")]
    said = [turn["content"] for talk in turns() for turn in talk if turn["role"] == "assistant"]
    asked = ["\n".join(turn["content"] for turn in talk if turn["role"] == "user") for talk in turns()]
    return [said, asked]


def five_grams(texts):
    for text in texts:
        words = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.casefold())
        yield from zip(*(words[start:] for start in range(5)), strict=False)


def test_every_sample_has_a_task_and_each_task_one_sample():
    assert list(SAMPLES) == list(TASKS)
    assert list(TASKS.values()) == ["classification", "multi_label", "translation", "summarization", "chat"]
    assert all(path.is_file() for path in SAMPLES.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_files_are_utf8_with_plain_line_ends(name):
    content = SAMPLES[name].read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"\n")
    assert not content.startswith(b"\xef\xbb\xbf")
    assert "\ufffd" not in content.decode("utf-8")


@pytest.mark.parametrize(
    ("name", "columns", "kind"),
    [
        ("kitchen_reviews", ["review", "labels"], "csv"),
        ("appliance_phrases", ["english", "german"], "tsv"),
        ("support_notes", ["note", "summary"], "jsonl"),
        ("kitchen_help", ["messages"], "jsonl"),
    ],
)
def test_our_own_reader_takes_them_whole(name, columns, kind):
    # One column of conversations is a table, too; the page asks for it in the same way.
    parsed = parse_any(SAMPLES[name], Limits(), ReadOptions(single_column=True))
    assert [column for column in parsed.table.column_names if column != ROW_COLUMN] == columns
    assert parsed.table.num_rows == (len(cells(name)) - 1 if kind != "jsonl" else len(records(name)))
    assert parsed.facts["format"] == kind
    assert parsed.notes == []


@pytest.mark.parametrize("name", WRITTEN)
def test_no_text_comes_twice(name):
    for texts in groups(name):
        assert all(text == text.strip() and text for text in texts)
        assert [text for text, count in Counter(text.casefold() for text in texts).items() if count > 1] == []


@pytest.mark.parametrize("name", WRITTEN)
def test_no_template_shows(name):
    for texts in groups(name):
        seen = list(five_grams(texts))
        assert len(set(seen)) / len(seen) > 0.97


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_looks_like_an_address_or_a_phone_number(name):
    for text in (text for texts in groups(name) for text in texts):
        assert not ADDRESS.search(text), text
        assert not PHONE.search(text), text


def test_reviews_carry_one_to_three_known_aspects():
    header, *rows = cells("kitchen_reviews")
    assert header == ["review", "labels"]
    assert len(rows) >= 260
    labels = [row[1].split("; ") for row in rows]
    assert {len(row) for row in labels} == {1, 2, 3}
    assert all(len(set(row)) == len(row) for row in labels)
    counts = Counter(label for row in labels for label in row)
    assert set(counts) == ASPECTS
    assert min(counts.values()) >= 35


def test_phrases_are_pairs_that_differ():
    header, *rows = cells("appliance_phrases")
    assert header == ["english", "german"]
    assert len(rows) >= 320
    assert {len(row) for row in rows} == {2}
    assert [row for row in rows if row[0].casefold() == row[1].casefold()] == []
    longer = sorted(max(map(len, row)) / min(map(len, row)) for row in rows if min(map(len, row)) > 20)
    assert longer[-1] < 2


def test_phrases_end_alike_and_keep_their_numbers():
    for english, german in cells("appliance_phrases")[1:]:
        assert (english[-1] in ".!?") == (german[-1] in ".!?"), english
        assert re.findall(r"\d+", english) == re.findall(r"\d+", german), english


def test_phrases_address_people_formally():
    informal = re.compile(r"\b(?:du|dich|dir|deine?[mnrs]?|euch|eure?[mnrs]?)\b", re.IGNORECASE)
    assert [row for row in cells("appliance_phrases")[1:] if informal.search(row[1])] == []


def test_summaries_are_one_sentence_and_much_shorter_than_their_note():
    rows = records("support_notes")
    assert len(rows) >= 130
    for row in rows:
        assert list(row) == ["note", "summary"]
        assert 60 <= len(row["note"].split()) <= 160
        assert 10 <= len(row["summary"].split()) <= 25
        assert len(row["summary"]) < len(row["note"]) / 2
        assert re.fullmatch(r"[^.!?]+(?:\d\.\d[^.!?]*)*\.", row["summary"]), row["summary"]


def test_summaries_are_written_anew():
    for row in records("support_notes"):
        copied = set(five_grams([row["note"]])) & set(five_grams([row["summary"]]))
        assert len(copied) <= 1, row["summary"]


def test_chats_alternate_and_end_with_the_assistant():
    talks = turns()
    assert len(talks) >= 160
    for talk in talks:
        assert all(list(turn) == ["role", "content"] for turn in talk)
        roles = [turn["role"] for turn in talk]
        spoken = roles[1:] if roles[0] == "system" else roles
        assert spoken == ["user", "assistant"] * (len(spoken) // 2)
        assert 2 <= len(spoken) <= 6
    assert sum(len(talk) > 3 for talk in talks) >= 30
    assert 3 <= sum(talk[0]["role"] == "system" for talk in talks) <= 20


def test_chat_answers_are_short():
    for answer in (turn["content"] for talk in turns() for turn in talk if turn["role"] == "assistant"):
        assert len(re.findall(r"[.!?]+(?=\s|$)", answer)) <= 4, answer
        assert len(answer) <= 450, answer
