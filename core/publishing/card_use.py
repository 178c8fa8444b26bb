"""What a result is for and how a program uses it: the parts of a model card that differ with the kind of answer.

Each text is chosen by what the task declares (how it answers, its name on the Hub): a new task needs none of its own.
"""

import json
from typing import Any

from core.tasks.base import Answering, Task

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


def purpose(task: Task) -> str:
    """What it does with a text, for tasks that write."""
    return _DOES.get(task.pipeline_tag) or _WRITES[task.answers]


def examples(task: Task) -> str:
    """What it learned from, with a number before."""
    return _EXAMPLES[task.answers]


def intended(task: Task) -> str:
    """What it is good for, and where a person must look."""
    return _INTENDED[task.answers]


def snippet(task: Task, report: dict[str, Any], repo_id: str | None) -> str:
    """A few lines of Python that use the result with `transformers` alone."""
    place = json.dumps(repo_id or ".")
    used = report.get("use", {})
    if task.answers == "label":
        return _pipeline(task, place, "")
    if task.answers == "labels":
        return _pipeline(task, place, ", top_k=None") + _thresholds(used)
    return _opening(place, used.get("kind", "decoder")) + _asking(task, used)


def _pipeline(task: Task, place: str, more: str) -> str:
    return (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("{task.pipeline_tag}", model={place}{more})\n'
        'print(classify(["A text like those that it was trained on."], truncation=True))\n'
    )


def _thresholds(used: dict[str, Any]) -> str:
    known = used.get("thresholds")
    if not known:
        return ""
    # Labels are the words of strangers: a JSON string is a Python string too, and has no line breaks.
    lines = "".join(f"#   {json.dumps(label)}: {value:.3f}\n" for label, value in list(known.items())[:50])
    return f"\n# A label is given where its score reaches its threshold:\n{lines}"


def _opening(place: str, kind: str) -> str:
    auto = "AutoModelForSeq2SeqLM" if kind == "seq2seq" else "AutoModelForCausalLM"
    return (
        f"from transformers import {auto}, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({place})\n"
        f"model = {auto}.from_pretrained({place})\n"
    )


def _asking(task: Task, used: dict[str, Any]) -> str:
    told = str(used.get("instruction") or "")
    if task.answers == "continuation":
        return (
            'inputs = tokenizer("The beginning of a text", return_tensors="pt")\n'
            "print(tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True))\n"
        )
    if used.get("kind") == "seq2seq":
        text = json.dumps(f"{told}A text like those that it was trained on.", ensure_ascii=False)
        return (
            f'inputs = tokenizer({text}, return_tensors="pt", truncation=True)\n'
            "print(tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True))\n"
        )
    if used.get("chat_template"):
        return _conversation(task, told)
    text = json.dumps(f"{told}\n\nA text like those that it was trained on.\n\n=>\n", ensure_ascii=False)
    return f'inputs = tokenizer({text}, return_tensors="pt")\n' + _ANSWER


_ANSWER = (
    "written = model.generate(**inputs)[0, inputs.input_ids.shape[1]:]\n"
    "print(tokenizer.decode(written, skip_special_tokens=True))\n"
)


def _conversation(task: Task, told: str) -> str:
    if task.answers == "chat":
        first = f'    {{"role": "system", "content": {json.dumps(told, ensure_ascii=False)}}},\n' if told else ""
        said = json.dumps("A question like those that it was trained on.")
    else:
        first = ""
        said = json.dumps(f"{told}\n\nA text like those that it was trained on.".strip(), ensure_ascii=False)
    return (
        f'messages = [\n{first}    {{"role": "user", "content": {said}}},\n]\n'
        "inputs = tokenizer.apply_chat_template(\n"
        '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True\n'
        ")\n" + _ANSWER
    )
