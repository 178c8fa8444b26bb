"""Questions to a model in a process of its own."""

import io
import json
import os
import queue
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from core.data.preparing import Split
from core.errors import UserError
from core.inference.client import Predictors
from core.inference.server import _answer
from core.settings import Limits, Settings
from core.spec import DataChoice, Writing, build
from core.tasks.base import find
from core.training import checkpoints
from tests import tiny


def result(folder, task, base, rows, **choices):
    """A result of a task as it is saved, untrained."""
    spec = build(task=task, data=DataChoice(table="0" * 64, columns={}), **({"max_length": 128} | choices))
    frame = pd.DataFrame([{"row": 2, **rows}])
    model, tokenizer = find(task).load(base, Split(frame, frame, frame, (), ()), spec)
    torch.manual_seed(3)
    with torch.no_grad():  # larger weights say something else to everything, and without ends the answers are long
        for weight in (weight for weight in model.parameters() if weight.dim() > 1):
            weight.normal_(0, 0.4)
        model.get_output_embeddings().weight[tokenizer.all_special_ids] = 0
    checkpoints.save(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny.language_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def chat(tmp_path_factory, llama):
    rows = {"prompt": "where is it", "answer": "here"}
    return result(tmp_path_factory.mktemp("chat") / "m", "chat", llama, rows, max_new_tokens=40)


@pytest.fixture(scope="module")
def novel(tmp_path_factory, llama):
    rows = {"text": "the sun was late again and it never came"}
    return result(tmp_path_factory.mktemp("novel") / "m", "text_generation", llama, rows, max_new_tokens=40)


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    base = tiny.encoder_decoder(tmp_path_factory.mktemp("t5"), "t5")
    rows = {"source": "the red box", "target": "a b c"}
    return result(tmp_path_factory.mktemp("german") / "m", "translation", base, rows, max_new_tokens=20)


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    asked = Predictors(Settings(home=tmp_path_factory.mktemp("home")))
    yield asked
    asked.close()


QUESTION = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "where is my box"}]


@pytest.mark.real
class TestStreams:
    def test_pieces_make_up_the_answer(self, predictors, chat, novel, german):
        for folder, task, asked in (
            (chat, "chat", QUESTION),
            (novel, "text_generation", "the sun was"),
            (german, "translation", "the red box"),
        ):
            whole = predictors.predict(folder, [asked], task)[0].answer
            pieces = list(predictors.stream(folder, asked, task))
            assert "".join(pieces) == whole
            assert whole
            assert len(pieces) > 3

    def test_a_text_gets_the_same_answer_as_the_conversation_it_begins(self, predictors, chat):
        told = find("chat").question("where is my box", system="be kind")
        assert predictors.predict(chat, [told], "chat") == predictors.predict(chat, [QUESTION], "chat")
        assert predictors.predict(chat, ["where"], "chat") != predictors.predict(chat, [QUESTION], "chat")

    def test_who_leaves_early_stops_the_model_and_the_next_question_is_answered(self, predictors, novel):
        long = Writing(max_new_tokens=90)
        whole = predictors.predict(novel, ["the sun"], "text_generation", long)[0].answer
        child = predictors._child
        with closing(predictors.stream(novel, "the sun", "text_generation", long)) as pieces:
            first = next(pieces)
        assert whole.startswith(first)
        assert len(first) < len(whole)
        assert predictors.predict(novel, ["the sun"], "text_generation", long)[0].answer == whole
        assert predictors._child is child

    def test_a_label_comes_in_one_piece(self, predictors, tmp_path):
        folder = tiny.classifier(tmp_path / "m")
        (piece,) = predictors.stream(folder, "sun", "classification")
        assert piece == predictors.predict(folder, ["sun"], "classification")[0].answer

    def test_writing_follows_what_is_asked_for(self, predictors, novel):
        def answer(**how):
            return predictors.predict(novel, ["the sun"], "text_generation", Writing(**how))[0].answer

        long = answer(max_new_tokens=30)
        short = answer(max_new_tokens=3)
        assert long.startswith(short)
        assert 0 < len(short) < len(long)
        stop = long[len(long) // 2 :][:2]
        assert answer(max_new_tokens=30, stop=stop) == long[: long.index(stop)].rstrip()
        drawn = {answer(max_new_tokens=30, temperature=2.0) for _ in range(3)}
        assert len(drawn) > 1

    def test_no_answer_is_longer_than_512_tokens(self):
        with pytest.raises(ValidationError):
            Writing(max_new_tokens=513)
        with pytest.raises(ValidationError):
            Writing(temperature=float("nan"))


class TestStopping:
    """The two ends by themselves: a tiny model may have ended before it is stopped."""

    def test_who_leaves_says_stop_and_hears_the_rest(self, tmp_path, monkeypatch):
        class Child:
            def __init__(self):
                self.sent, self.answers = [], [{"piece": "a"}, {"piece": "b"}, {"done": True}]

            def send(self, request):
                self.sent.append(request)

            def read(self, seconds):
                return self.answers.pop(0)

        predictors, child = Predictors(Settings(home=tmp_path)), Child()
        monkeypatch.setattr(predictors, "_child_of", lambda folder, task: child)
        with closing(predictors.stream(tmp_path, "the sun", "text_generation")) as pieces:
            assert next(pieces) == "a"
        assert child.sent[1:] == [{"stop": True}]
        assert not child.answers

    def test_the_process_goes_no_further_when_something_is_asked_meanwhile(self):
        class Talkative:
            def stream(self, model, tokenizer, asked, device, writing):
                yield from ["again "] * 3

        answers, requests = io.StringIO(), queue.Queue()
        requests.put({"stop": True})
        _answer(answers, {"asked": ["the sun"], "stream": True}, requests, (Talkative(), None, None, None))
        assert [json.loads(line) for line in answers.getvalue().splitlines()] == [{"piece": "again "}, {"done": True}]


@pytest.mark.real
class TestTrouble:
    def test_settings_that_make_no_sense_do_not_end_the_process(self, predictors, novel):
        predictors.warm(novel, "text_generation")
        child = predictors._child
        wrong = Writing.model_construct(max_new_tokens=10**9)
        with pytest.raises(UserError, match="predict_failed"):
            predictors.predict(novel, ["the sun"], "text_generation", wrong)
        with pytest.raises(UserError, match="predict_failed"):
            list(predictors.stream(novel, "the sun", "text_generation", wrong))
        assert predictors.predict(novel, ["the sun"], "text_generation")[0].answer
        assert predictors._child is child

    @pytest.mark.parametrize(
        ("asked", "code"),
        [
            ([{"role": "wizard", "content": "hello"}], "chat_role_unknown"),
            ([{"role": "user", "content": "where"}, {"role": "assistant", "content": "here"}], "text_empty"),
            ([{"role": "user", "content": " "}], "text_empty"),
            ([], "text_empty"),
            ("", "text_empty"),
            ([{"role": "user", "content": "where is my box " * 40}], "question_too_long"),
        ],
    )
    def test_what_cannot_be_answered_is_said_by_its_name_and_the_process_goes_on(self, asked, code, predictors, chat):
        predictors.warm(chat, "chat")
        child = predictors._child
        with pytest.raises(UserError, match=code):
            list(predictors.stream(chat, asked, "chat"))
        assert predictors.predict(chat, [QUESTION], "chat")[0].answer
        assert predictors._child is child

    def test_a_question_without_words_needs_no_process(self, tmp_path):
        asked = Predictors(Settings(home=tmp_path))
        for nothing in ([], ["  "], ["sun", ""]):
            with pytest.raises(UserError, match="text_empty"):
                asked.predict(tiny.classifier(tmp_path / "m"), nothing, "classification")
        assert asked._child is None

    def test_a_folder_that_cannot_be_opened_says_why(self, predictors, tmp_path):
        damaged, pickled, foreign = (tmp_path / name for name in ("damaged", "pickled", "foreign"))
        tiny.classifier(damaged)
        (damaged / "model.safetensors").write_bytes(b"nothing")
        tiny.classifier(pickled)
        (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
        tiny.encoder_decoder(foreign, "t5")
        for folder, task, code in (
            (damaged, "classification", "model_not_loadable"),
            (pickled, "classification", "model_not_safetensors"),
            (foreign, "translation", "model_not_loadable"),
            (tmp_path / "nowhere", "classification", "model_not_loadable"),
        ):
            with pytest.raises(UserError, match=code):
                predictors.predict(folder, ["sun"], task)

    def test_an_answer_that_takes_too_long_ends_the_process_and_the_next_one_works(self, tmp_path):
        model = tiny.classifier(tmp_path / "m")
        predictors = Predictors(Settings(home=tmp_path / "home"))
        try:
            predictors.warm(model, "classification")
            child = predictors._child
            os.kill(child._process.pid, signal.SIGSTOP)
            predictors._settings = replace(predictors._settings, limits=Limits(predict_timeout=0.3))
            with pytest.raises(UserError, match="predict_timeout"):
                predictors.predict(model, ["sun"], "classification")
            assert not child.alive()
            predictors._settings = replace(predictors._settings, limits=Limits())
            assert predictors.predict(model, ["sun"], "classification")[0].answer in ("cold", "warm")
        finally:
            predictors.close()

    def test_closing_waits_for_no_answer(self, tmp_path):
        model = tiny.classifier(tmp_path / "m")
        predictors = Predictors(Settings(home=tmp_path / "home"))
        predictors.warm(model, "classification")
        child = predictors._child
        os.kill(child._process.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(predictors.predict, model, ["sun"], "classification")
            while not predictors._lock.locked():
                time.sleep(0.01)
            predictors.close(patience=0.1)
            assert not child.alive()
            with pytest.raises(UserError, match="predict_ended"):
                answer.result(timeout=30)

    def test_the_process_ends_when_nobody_asks(self, tmp_path):
        predictors = Predictors(Settings(home=tmp_path / "home"), idle=0.2)
        predictors.warm(tiny.classifier(tmp_path / "m"), "classification")
        end = time.monotonic() + 30
        while predictors._child is not None:
            assert time.monotonic() < end
            time.sleep(0.02)
