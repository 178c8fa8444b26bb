"""What a result is for and how a program uses it: the parts of a model card that differ with the kind of answer.

Each text is chosen by what the task declares (how it answers, its name on the Hub): a new task needs none of its own.
"""

from typing import Any

from core.publishing.card_markup import heading, quoted
from core.tasks._language_codes import english_name
from core.tasks.base import Answering, Task

_MOST_THRESHOLDS = 50
_TEXT = "A text like those that it was trained on."
_DOES = {
    "translation": "Translates texts",
    "summarization": "Summarizes texts",
}
_WRITES: dict[Answering, str] = {
    "text": "Writes a text for a text",
    "chat": "Answers in conversations",
    "continuation": "Goes on writing from the beginning of a text",
}
_EXAMPLES: dict[Answering, str] = {
    "label": "labelled examples",
    "labels": "labelled examples",
    "text": "examples, each a text with its answer",
    "chat": "conversations",
    "continuation": "texts",
}
_INTENDED: dict[Answering, str] = {
    "label": (
        "Sorting texts of the same kind and language as those it was trained on, with a person looking at what matters."
        " Every text gets one of the labels above, also one that fits none of them."
    ),
    "labels": (
        "Marking texts of the same kind and language as those it was trained on, with a person looking at what matters."
        " A text may get several of the labels above, or none."
    ),
    "text": (
        "Texts of the same kind and language as those it was trained on, with a person reading what it wrote before it"
        " is used: it may leave things out or say what is not there."
    ),
    "chat": (
        "Conversations of the same kind and language as those it was trained on. It may say what is not true in a"
        " convincing tone: a person should check what matters."
    ),
    "continuation": (
        "Drafting texts of the same kind and language as those it was trained on. What it writes is made up, also where"
        " it looks like a fact, and code should be read before it is run."
    ),
}


def purpose(task: Task, used: dict[str, Any]) -> str:
    """What it does with a text, for tasks that write; of a translation the languages too, where they are known.

    Args:
        used: what a report says about use: the model's notes, and whether its tokenizer has a `chat_template`.
    """
    does = _DOES.get(task.pipeline_tag) or _WRITES[task.answers]
    if task.pipeline_tag != "translation":
        return does
    sides = (("from", used.get("source_language")), ("into", used.get("target_language")))
    return " ".join([does, *(f"{word} {heading(english_name(language))}" for word, language in sides if language)])


def examples(task: Task) -> str:
    """What it learned from, with a number before."""
    return _EXAMPLES[task.answers]


def intended(task: Task) -> str:
    """What it is good for, and where a person must look."""
    return _INTENDED[task.answers]


def auto_class(task: Task, used: dict[str, Any]) -> str:
    """The class of transformers that loads the result."""
    if not task.writes:
        return "AutoModelForSequenceClassification"
    return "AutoModelForSeq2SeqLM" if used.get("kind") == "seq2seq" else "AutoModelForCausalLM"


def snippet(task: Task, used: dict[str, Any], repo_id: str | None) -> str:
    """A few lines of Python that use the result with `transformers` alone, and answer as it was judged.

    Args:
        used: as for `purpose`.
        repo_id: where it is published; None for the folder that the program runs in.
    """
    place = quoted(repo_id or ".")
    if task.writes:
        return _opening(auto_class(task, used), place) + _asking(task, used)
    return _classifying(task, used, place)


def _classifying(task: Task, used: dict[str, Any], place: str) -> str:
    several = task.answers == "labels"
    side = 'classify.tokenizer.truncation_side = "left"\n' if used.get("truncation") == "tail" else ""
    return (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("{task.pipeline_tag}", model={place}{", top_k=None" if several else ""})\n{side}'
        f"print(classify([{quoted(_TEXT)}], truncation=True))\n" + (_thresholds(used) if several else "")
    )


def _thresholds(used: dict[str, Any]) -> str:
    known = list((used.get("thresholds") or {}).items())
    if not known:
        return ""
    lines = "".join(f"#   {quoted(label)}: {value:.3f}\n" for label, value in known[:_MOST_THRESHOLDS])
    more = "#   … and so on: see thresholds in config.json.\n" if len(known) > _MOST_THRESHOLDS else ""
    return f"\n# A label is given where its score reaches its threshold:\n{lines}{more}"


def _opening(auto: str, place: str) -> str:
    return (
        f"from transformers import {auto}, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({place})\n"
        f"model = {auto}.from_pretrained({place})\n"
    )


def _asking(task: Task, used: dict[str, Any]) -> str:
    told = str(used.get("instruction") or "")
    if task.answers == "continuation":
        # The text that is gone on with is shown with what comes next.
        return f'inputs = tokenizer({quoted("The beginning of a text")}, return_tensors="pt")\n' + _written(used, "0")
    if used.get("kind") == "seq2seq":
        limit = f", truncation=True, max_length={used['max_length']}" if used.get("max_length") else ""
        lines = f'inputs = tokenizer({quoted(told + _TEXT)}, return_tensors="pt"{limit})\n' + _written(used, "0")
        return _without_code(lines) if task.pipeline_tag == "translation" else lines
    after = "0, inputs.input_ids.shape[1]:"
    if used.get("chat_template"):
        return _conversation(task, used, told) + _written(used, after)
    text = quoted(f"{told}\n\n{_TEXT}".strip() + "\n\n=>\n")
    return f'inputs = tokenizer({text}, return_tensors="pt")\n' + _written(used, after)


def _written(used: dict[str, Any], part: str) -> str:
    """The lines that write, and show a part of what `generate` gives: up to the text at which writing shall end."""
    stop = (used.get("writing") or {}).get("stop")
    until = f".split({quoted(stop)})[0]" if stop else ""
    shown = f"tokenizer.decode(written, skip_special_tokens=True){until}"
    return f"written = model.generate(**inputs)[{part}]\nprint({shown})\n"


def _without_code(lines: str) -> str:
    """The lines without the code of a language before a translation, which M2M100's tokenizer takes for a word."""
    first = "first = model.generation_config.forced_bos_token_id  # a language, where the model has to be told one\n"
    written = "[token for token in written.tolist() if token != first]"
    return lines.replace("print(", f"{first}print(", 1).replace("decode(written", f"decode({written}", 1)


def _conversation(task: Task, used: dict[str, Any], told: str) -> str:
    turns = [("user", f"{told}\n\n{_TEXT}".strip())]
    if task.answers == "chat":
        turns = [("user", "A question like those that it was trained on.")]
        if told and used.get("system_turn", True):
            turns = [("system", told), *turns]
        elif told:  # the template has no place for a system turn
            turns = [("user", f"{told}\n\n{turns[0][1]}")]
    lines = "".join(f'    {{"role": "{role}", "content": {quoted(said)}}},\n' for role, said in turns)
    return (
        f"messages = [\n{lines}]\n"
        "inputs = tokenizer.apply_chat_template(\n"
        '    messages, add_generation_prompt=True, enable_thinking=False, return_tensors="pt", return_dict=True\n'
        ")\n"
    )


def differences(task: Task, used: dict[str, Any]) -> str:
    """What the lines of `snippet` leave out of how the result was judged; empty where nothing is."""
    writing = used.get("writing") or {}
    found = []
    if not task.writes and used.get("truncation") == "both":
        found.append("of a text that is too long they read the beginning, where it learned from beginning and end")
    if task.writes and used.get("kind") != "seq2seq" and writing.get("no_repeat_ngram"):
        found.append(
            f"when it was judged, no {writing['no_repeat_ngram']} tokens in a row could come twice in an answer"
        )
    return f"What these lines leave out: {'; '.join(found)}." if found else ""
