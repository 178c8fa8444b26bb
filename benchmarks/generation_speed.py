"""Answers of SmolLM2 to many prompts in a batch job, against `generate` in the order of the file, 16 prompts at a time.

`generate` is measured in 32 bits, as the library loads the model, and in bfloat16. Each runs in a fresh process, in
turn with the others. `chat`: the questions of the bundled conversations behind SmolLM2's own system prompt; `summary`:
docstrings to be told in a line, with prompts of very different lengths. The score is the share of answers that are
those of `generate` in 32 bits; rounding makes some differ.

    python -m benchmarks.generation_speed [--work chat|summary] [--turns 3] [--rows 128] [--longest 64]
"""

import argparse
import json
import pickle
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.docstrings import first_lines
from benchmarks.turns import Result, flags, peak_memory, prepared, take_turns
from core.models import starters
from core.quiet import quiet_libraries
from core.settings import Limits, Settings
from core.spec import Writing

_CHAT = Path(__file__).parent.parent / "core" / "data" / "samples" / "kitchen_help.jsonl"
_KINDS = ("generate32", "generate16", "ours")
_TOGETHER = 16


def questions(given: argparse.Namespace) -> list[str]:
    """What the model is asked, in the order of the file."""
    if given.work == "chat":
        lines = _CHAT.read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["messages"][0]["content"] for line in lines][: given.rows]
    return [f"Say in one line what this does:\n\n{text}" for text in first_lines(given.rows)["text"]]


def ours(model: Any, tokenizer: Any, prompts: list[list[int]], writing: Writing) -> list[str]:
    """As a batch job writes them."""
    from core.device import detect
    from core.tasks._generation import write

    return write(model, tokenizer, prompts, detect(), writing)


def plain(model: Any, tokenizer: Any, prompts: list[list[int]], writing: Writing) -> list[str]:
    """As the library's examples write them: greedy, padded on the left."""
    import torch

    found: list[str] = []
    tokenizer.padding_side = "left"
    with torch.inference_mode():
        for begin in range(0, len(prompts), _TOGETHER):
            batch = tokenizer.pad({"input_ids": prompts[begin : begin + _TOGETHER]}, return_tensors="pt").to(
                model.device
            )
            said = model.generate(**batch, max_new_tokens=writing.max_new_tokens, do_sample=False)
            answers = tokenizer.batch_decode(said[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            found += [answer.strip() for answer in answers]
    return found


def one(given: argparse.Namespace) -> Result:
    """A single timed job, in a process of its own."""
    quiet_libraries()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.device import detect

    home = Path(given.home)
    folder = starters.prepared("smollm2", Settings(home=home, limits=Limits(free_disk=0)))
    assert folder is not None
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype="bfloat16" if given.one == "generate16" else "float32"
    )
    on = detect().kind
    loaded.to(on)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    asked: list[str] = prepared(given)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        for text in asked
    ]
    writing, write = Writing(max_new_tokens=given.longest), ours if given.one == "ours" else plain
    write(loaded.eval(), tokenizer, prompts[:4], Writing(max_new_tokens=2))
    begin = perf_counter()
    answers = write(loaded, tokenizer, prompts, writing)
    seconds = perf_counter() - begin
    memory = peak_memory(on)
    exact = home / "exact.pickle"
    if given.one == "generate32":
        exact.write_bytes(pickle.dumps(answers))
    known = pickle.loads(exact.read_bytes())
    tokens = sum(len(ids) for ids in tokenizer(answers)["input_ids"])
    return {
        "seconds": round(seconds, 1),
        "per_second": round(tokens / seconds, 1),
        "memory_gib": memory,
        "score": round(sum(a == b for a, b in zip(answers, known, strict=True)) / len(answers), 3),
    }


def main() -> None:
    """Run all in turn and print the median ratios."""
    known = flags(__doc__, _KINDS)
    known.add_argument("--work", choices=["chat", "summary"], default="chat")
    known.add_argument("--rows", type=int, default=128)
    known.add_argument("--longest", type=int, default=64, help="tokens of an answer at most")
    given = known.parse_args()

    def prepare(settings: Settings) -> list[str]:
        starters.prepare("smollm2", settings)
        return questions(given)

    take_turns(given, "benchmarks.generation_speed", f"SmolLM2 writes, {given.work}", _KINDS, prepare, one)


if __name__ == "__main__":
    main()
