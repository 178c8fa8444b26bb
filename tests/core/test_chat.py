"""Conversations become tokens of which the assistant's words are learned, and the model then answers in turn."""

import json

import pandas as pd
import pytest
import torch
import transformers

from core.data.preparing import Split
from core.device import Device
from core.errors import UserError
from core.models import notes
from core.models.opening import open_tokenizer
from core.settings import Limits
from core.spec import DataChoice, Writing, build
from core.tasks import _dialogue
from core.tasks._dialogue import conversations, dialect, encode_conversation, instructed, prompt_ids
from core.tasks.chat import TASK
from core.training import checkpoints
from tests import tiny

LONG = [
    {"role": "system", "content": "be warm"},
    {"role": "user", "content": "where is my order"},
    {"role": "assistant", "content": "it never came"},
    {"role": "user", "content": "is it late"},
    {"role": "assistant", "content": "the box was late"},
]
ALTERNATING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles alternate') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
# As Qwen3: an empty thought before the last answer alone, and in what is to be answered if thinking is off.
THINKING = (
    "{% for m in messages %}<{{ m['role'] }}>"
    "{% if m['role'] == 'assistant' and loop.last %}[think][/think]{% endif %}{{ m['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% if enable_thinking is false %}[think][/think]{% endif %}"
    "{% endif %}"
)
# As DeepSeek-R1's distilled models: a thought is begun in what is to be answered, whatever was said before.
THOUGHTFUL = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>[think]{% endif %}"
)
ENDLESS = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp("chat") / "llama", "llama")


@pytest.fixture
def tokenizer(folder):
    return open_tokenizer(folder)


def with_template(tokenizer, template):
    tokenizer.chat_template = template
    return dialect(tokenizer)


def learned(told, encoded):
    """The stretches of tokens that are learned, as text."""
    stretches, open_ = [], False
    for label in encoded.labels:
        if label == -100:
            open_ = False
        elif open_:
            stretches[-1].append(label)
        else:
            stretches.append([label])
            open_ = True
    return [told.tokenizer.decode(stretch) for stretch in stretches]


# -- rows


def test_every_notation_of_a_conversation_is_read():
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    cells = [
        json.dumps(turns),
        json.dumps([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]),
        json.dumps([{"role": "bot", "content": "hello"}, *turns, {"role": "user", "content": "thanks"}]),
        json.dumps([{"role": "user", "content": "a"}]),
        "no conversation",
    ]
    assert conversations(pd.DataFrame({"messages": cells})) == [turns, turns, turns, [], []]


def test_prompt_answer_and_system_columns_are_turns():
    rows = pd.DataFrame({"prompt": ["a", "c"], "answer": ["b", "d"], "system": ["be kind", ""]})
    assert conversations(rows) == [
        [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ],
        [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
    ]


def test_an_instruction_is_for_conversations_without_one():
    assert instructed(LONG, "be cold") == LONG
    assert instructed(LONG[1:], "be cold")[0] == {"role": "system", "content": "be cold"}
    assert instructed(LONG[1:], "") == LONG[1:]


# -- templates


def test_only_what_the_assistant_says_is_learned(tokenizer):
    told = dialect(tokenizer)
    encoded = encode_conversation(told, LONG, 500)
    assert learned(told, encoded) == ["it never came</s>", "the box was late</s>"]
    assert not encoded.shortened
    assert all(label in (-100, token) for label, token in zip(encoded.labels, encoded.input_ids, strict=True))


@pytest.mark.parametrize("template", [tiny.CHAT_TEMPLATE, ALTERNATING, THINKING, THOUGHTFUL, ENDLESS, None])
def test_an_answer_is_asked_for_as_it_was_learned(tokenizer, template):
    told = with_template(tokenizer, template)
    encoded = encode_conversation(told, LONG, 500)
    prompt, cut = prompt_ids(told, LONG[:-1], 500)
    assert not cut
    assert encoded.input_ids[: len(prompt)] == prompt
    assert encoded.labels[len(prompt) - 1] == -100
    # From there on everything is learned, up to the token that ends the turn.
    rest = encoded.labels[len(prompt) :]
    assert rest[: rest.index(told.end) + 1] == encoded.input_ids[len(prompt) :][: rest.index(told.end) + 1]


def test_a_system_turn_that_the_template_refuses_is_said_with_the_first_question(tokenizer):
    told = with_template(tokenizer, ALTERNATING)
    assert not told.system
    encoded = encode_conversation(told, LONG, 500)
    shown = tokenizer.decode(encoded.input_ids)
    assert shown.startswith("<user>be warm\n\nwhere is my order</s><assistant>it never came</s>")
    assert learned(told, encoded) == ["it never came</s>", "the box was late</s>"]


def test_the_result_of_a_tool_is_said_by_the_person_where_the_template_knows_no_tools(tokenizer):
    told = with_template(tokenizer, ALTERNATING)
    tools = [LONG[1], {"role": "assistant", "content": "look"}, {"role": "tool", "content": "cold"}, LONG[4]]
    encoded = encode_conversation(told, tools, 500)
    assert "<user>cold</s>" in tokenizer.decode(encoded.input_ids)
    assert learned(told, encoded) == ["look</s>", "the box was late</s>"]


def test_of_a_template_that_shows_earlier_turns_otherwise_the_last_answer_is_learned(tokenizer):
    told = with_template(tokenizer, THINKING)
    encoded = encode_conversation(told, LONG, 500)
    assert learned(told, encoded) == ["the box was late</s>"]
    assert "it never came" in tokenizer.decode(encoded.input_ids)


def test_an_answer_without_an_end_gets_one(tokenizer):
    told = with_template(tokenizer, ENDLESS)
    assert not told.written
    encoded = encode_conversation(told, LONG, 500)
    assert encoded.input_ids[-1] == encoded.labels[-1] == tokenizer.eos_token_id


def test_the_end_of_a_turn_is_found_where_it_is_not_the_end_token(tmp_path):
    words = open_tokenizer(tiny.language_model(tmp_path, "qwen2"))
    words.eos_token = "<|endoftext|>"
    words.chat_template = tiny.CHAT_TEMPLATE.replace("{{ eos_token }}", "<|im_end|>")
    told = dialect(words)
    assert (told.end, told.written) == (words.convert_tokens_to_ids("<|im_end|>"), True)


@pytest.mark.parametrize("template", [None, "{{ messages.nothing.at.all }}", "nothing is shown"])
def test_a_plain_template_stands_in_for_none_and_for_a_broken_one_and_is_kept(tokenizer, template, tmp_path):
    told = with_template(tokenizer, template)
    assert tokenizer.chat_template == _dialogue.PLAIN_TEMPLATE
    assert learned(told, encode_conversation(told, LONG, 500)) == ["it never came</s>", "the box was late</s>"]
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").read_text() == _dialogue.PLAIN_TEMPLATE


def test_a_tokenizer_that_cannot_end_a_turn_is_refused(tokenizer):
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="model_without_end"):
        with_template(tokenizer, None)


# -- lengths


def test_of_a_long_conversation_the_earliest_exchanges_go_first_and_the_system_turn_never(tokenizer):
    told = with_template(tokenizer, ALTERNATING)
    whole = encode_conversation(told, LONG, 500)
    encoded = encode_conversation(told, LONG, len(whole.input_ids) - 1)
    assert encoded.shortened
    assert tokenizer.decode(encoded.input_ids) == "<user>be warm\n\nis it late</s><assistant>the box was late</s>"
    assert encode_conversation(told, LONG, len(whole.input_ids)).input_ids == whole.input_ids


def test_as_few_exchanges_go_as_possible(tokenizer):
    told = dialect(tokenizer)
    many = [
        turn
        for n in range(9)
        for turn in ({"role": "user", "content": f"is {n} late"}, {"role": "assistant", "content": f"not {n}"})
    ]
    whole = encode_conversation(told, many, 10_000).input_ids
    one = len(whole) // 9
    encoded = encode_conversation(told, many, 4 * one + 1)
    assert learned(told, encoded) == [f"not {n}</s>" for n in (5, 6, 7, 8)]


def test_an_answer_that_is_too_long_is_cut_and_a_question_that_is_leaves_nothing_to_learn(tokenizer):
    told = dialect(tokenizer)
    last = [{"role": "user", "content": "is it late"}, {"role": "assistant", "content": "late " * 50}]
    encoded = encode_conversation(told, last, 60)
    assert encoded.shortened
    assert encoded.teaches
    assert len(encoded.input_ids) == 60
    assert told.end not in [label for label in encoded.labels if label != -100]
    assert not encode_conversation(told, last, 10).teaches


def test_a_prompt_that_is_too_long_loses_earlier_exchanges_then_its_beginning(tokenizer):
    told = with_template(tokenizer, ALTERNATING)
    whole, _ = prompt_ids(told, LONG[:-1], 500)
    short, cut = prompt_ids(told, LONG[:-1], len(whole) - 1)
    assert not cut
    assert tokenizer.decode(short) == "<user>be warm\n\nis it late</s><assistant>"
    shortest, cut = prompt_ids(told, LONG[:-1], 8)
    assert cut
    assert shortest == short[-8:]


# -- the task

CPU = Device("cpu", "float32", 1, "test")
ANSWERS = {"red": "warm sun", "blue": "cold rain", "green": "late wind"}


def spec(**choices):
    return build(
        task="chat",
        data=DataChoice(table="0" * 64, columns={"prompt": "prompt", "answer": "answer"}),
        **{"max_length": 128, "max_new_tokens": 12, "learning_rate": 1e-2, "method": "full"} | choices,
    )


def conversations_of(count, start=0):
    """Rows of one exchange or of two; six in a row are all that there are."""
    cells = []
    for n in range(start, start + count):
        (first, told), (second, other) = [list(ANSWERS.items())[(n + k) % 3] for k in (0, 1)]
        turns = [{"role": "user", "content": first}, {"role": "assistant", "content": told}]
        if n % 2:
            turns += [{"role": "user", "content": second}, {"role": "assistant", "content": other}]
        cells.append(json.dumps(turns))
    return pd.DataFrame({"row": range(start + 2, start + count + 2), "messages": cells})


def split():
    held = conversations_of(6, 40)
    return Split(conversations_of(6), held, held, (), ())


def taught(task, model, tokenizer, rows, choices, steps=100):
    """A plain loop over one batch of all rows; the loss before and after."""
    dataset = task.encode(rows, (), model, tokenizer, choices)
    columns = [name for name in dataset.column_names if name not in ("length",)]
    batch = task.collate(model, tokenizer)([{name: row[name] for name in columns} for row in dataset])
    labels, loss = batch.pop("labels"), task.loss(None)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    model.train()
    for _ in range(steps):
        value = loss(model(**batch), labels, torch.tensor(1))
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    return losses[0], losses[-1]


@pytest.fixture(scope="module", params=[False, True], ids=["unpacked", "packed"])
def learned_chat(request, folder):
    transformers.set_seed(2)
    choices = spec(packing=request.param)
    model, tokenizer = TASK.load(folder, split(), choices)
    before, after = taught(TASK, model, tokenizer, split().train, choices)
    assert before > 3
    assert after < 0.03
    return model, tokenizer


def test_a_toy_conversation_is_learned_packed_or_not(learned_chat):
    model, tokenizer = learned_chat
    asked = TASK.asked(split().test)
    answers = TASK.predict(model, tokenizer, asked, CPU)
    assert [answer.answer for answer in answers] == TASK.references(split().test)
    assert TASK.predict(model, tokenizer, ["blue"], CPU)[0].answer == "cold rain"
    earlier = TASK.question(
        "green", before=[{"role": "user", "content": "red"}, {"role": "assistant", "content": "no"}]
    )
    assert TASK.predict(model, tokenizer, [earlier], CPU)[0].answer == "late wind"


def test_pieces_of_a_stream_make_up_the_answer(learned_chat):
    pieces = list(TASK.stream(*learned_chat, TASK.question("red"), CPU))
    assert "".join(pieces) == "warm sun"
    assert len(pieces) > 1


def test_a_stop_text_ends_the_answer(learned_chat):
    writing = Writing(stop="sun")
    assert TASK.predict(*learned_chat, ["red"], CPU, writing)[0].answer == "warm"
    assert "".join(TASK.stream(*learned_chat, "red", CPU, writing)) == "warm"


def test_a_saved_result_answers_alike_and_keeps_what_it_needs(learned_chat, tmp_path):
    model, tokenizer = learned_chat
    checkpoints.save(model, tokenizer, tmp_path / "model")
    again = TASK.reload(tmp_path / "model")
    asked = TASK.asked(split().test)
    assert TASK.predict(*again, asked, CPU) == TASK.predict(model, tokenizer, asked, CPU)
    assert again[1].chat_template == tokenizer.chat_template
    known = notes.notes(again[0])
    assert (known["task"], known["instruction"]) == ("chat", "")
    assert known["writing"]["max_new_tokens"] == 12
    assert tokenizer.eos_token_id in again[0].generation_config.eos_token_id


def test_a_result_is_judged_beside_the_nearest_answer_and_the_untouched_model(learned_chat, folder):
    parts, choices = split(), spec()
    ours = TASK.answer(*learned_chat, parts.test, choices, CPU)
    untouched = TASK.answer(*TASK.load(folder, parts, choices), parts.test, choices, CPU)
    others = TASK.simple_answers(parts, parts.test, choices) | {"untouched": untouched}
    assert set(others) == set(TASK.baselines)
    report = TASK.judge(parts.test, (), ours, others)
    assert set(report["metrics"]) == {*TASK.metrics, "intervals"}
    assert report["metrics"]["rougeL"] == 100
    assert report["metrics"]["perplexity"] < 1.2 < report["baselines"]["untouched"]["perplexity"]
    assert report["samples"][0]["before"] != report["samples"][0]["answer"]
    assert all(example[-1]["role"] == "user" for example in report["examples"])


def test_losses_are_those_of_the_answers_alone(folder):
    model, tokenizer = TASK.load(folder, split(), spec())
    rows = split().test
    losses = TASK.answer(model, tokenizer, rows, spec(max_new_tokens=1), CPU).token_losses
    for row, (nats, tokens, right) in zip(conversations(rows), losses, strict=True):
        answers = [m["content"] for m in row if m["role"] == "assistant"]
        # Each answer's tokens, and the one that ends the turn.
        assert tokens == sum(len(tokenizer(a, add_special_tokens=False)["input_ids"]) + 1 for a in answers)
        assert nats > 0
        assert 0 <= right <= tokens


def test_rows_are_packed_where_that_is_wanted_and_possible(folder, monkeypatch):
    model, tokenizer = TASK.load(folder, split(), spec())
    rows = conversations_of(12)
    plain = TASK.encode(rows, (), model, tokenizer, spec())
    packed = TASK.encode(rows, (), model, tokenizer, spec(packing=True))
    assert len(plain) == 12 > len(packed)
    assert sum(plain["length"]) == sum(packed["length"])
    assert max(packed["length"]) <= 128
    monkeypatch.setattr("core.tasks._packing.packable", lambda model: False)
    assert len(TASK.encode(rows, (), model, tokenizer, spec(packing=True))) == 12


def test_the_instruction_is_the_system_turn_of_those_without_one(folder):
    model, tokenizer = TASK.load(folder, split(), spec(instruction="be cold"))
    rows = conversations_of(1)
    assert "system\nbe cold" in tokenizer.decode(TASK.encode(rows, (), model, tokenizer, spec())["input_ids"][0])
    own = TASK.question("red", system="be warm")
    ((asked, _), (given, _)) = TASK.prompts(model, tokenizer, ["red", own], 500)
    assert "system\nbe cold" in tokenizer.decode(asked)
    assert "system\nbe warm" in tokenizer.decode(given)
    assert "be cold" not in tokenizer.decode(given)


def test_rows_without_an_answer_are_left_out_and_counted():
    cells = [*conversations_of(20)["messages"], '[{"role": "user", "content": "red"}]', "hello"]
    frame = pd.DataFrame({"talk": cells})
    choices = build(task="chat", data=DataChoice(table="0" * 64, columns={"messages": "talk"}))
    parts = TASK.prepare(frame, choices, Limits(), None)
    assert sum(parts.sizes().values()) > 3
    rows = pd.concat([parts.train, parts.validation, parts.test])
    assert all(conversations(rows))
    counted = [f for f in parts.findings if f.code == "chat_no_answer"]
    assert sum(f.rows for f in counted) == 2


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("  ", "text_empty"),
        ([], "text_empty"),
        ([{"role": "assistant", "content": "hello"}], "text_empty"),
        ([{"role": "wizard", "content": "hello"}], "chat_role_unknown"),
    ],
)
def test_what_cannot_be_answered_is_said(folder, asked, code):
    model, tokenizer = TASK.load(folder, split(), spec())
    with pytest.raises(UserError, match=code):
        TASK.predict(model, tokenizer, [asked], CPU)


def test_a_question_longer_than_the_model_is_refused_where_somebody_waits_and_cut_where_rows_are_judged(folder):
    model, tokenizer = TASK.load(folder, split(), spec())
    with pytest.raises(UserError, match="question_too_long"):
        list(TASK.stream(model, tokenizer, "red " * 200, CPU))
    assert len(TASK.predict(model, tokenizer, ["red " * 200], CPU)) == 1


def test_where_no_answer_fits_that_is_said(folder):
    model, tokenizer = TASK.load(folder, split(), spec(max_length=8))
    with pytest.raises(UserError, match="no_answer_fits"):
        TASK.encode(conversations_of(4), (), model, tokenizer, spec(max_length=8))


def test_a_model_that_does_not_go_on_with_texts_is_refused(tmp_path):
    with pytest.raises(UserError, match="model_wrong_kind"):
        TASK.load(tiny.body(tmp_path), split(), spec())


def test_a_model_without_template_and_padding_can_be_taught(tmp_path):
    bare = tiny.language_model(tmp_path / "bare", "gpt2", chat_template=False)
    model, tokenizer = TASK.load(bare, split(), spec())
    before, after = taught(TASK, model, tokenizer, split().train, spec(), steps=40)
    assert after < before / 4
    checkpoints.save(model, tokenizer, tmp_path / "model")
    assert TASK.reload(tmp_path / "model")[1].chat_template == _dialogue.PLAIN_TEMPLATE
