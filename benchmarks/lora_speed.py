"""LoRA of a model that writes against a script as peft's examples write it: same model, rows, epochs, matrices.

Docstring body -> first line with SmolLM2-135M. Each training runs in a fresh process, in turn with the other, from
encoded rows to the trained model; both read the same tokens and learn the same ones. Quote the median ratio.

    python -m benchmarks.lora_speed [--turns 3] [--rows 160] [--epochs 1]
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.docstrings import first_lines
from benchmarks.turns import Result, finished, flags, peak_memory, prepared, take_turns
from core.data.preparing import Split
from core.data.store import TableStore
from core.models import notes, starters
from core.quiet import quiet_libraries
from core.settings import Limits, Settings
from core.spec import DataChoice, ModelChoice, TrainSpec, build
from core.tasks.base import find

_COLUMNS = {"text": "text", "summary": "summary"}
_KINDS = ("script", "ours")


def rows(given: argparse.Namespace, settings: Settings, spec: TrainSpec) -> Split:
    """The rows as the task divides them, the same for both."""
    table = first_lines(given.rows + 100)
    path = settings.home / "rows.jsonl"
    table.to_json(path, orient="records", lines=True)
    tables = TableStore(settings)
    kept = tables.add(path, "local", "rows.jsonl")
    return find("summarization").prepare(tables.frame(kept.id, "local"), spec, settings.limits, None)


def ours(split: Split, spec: TrainSpec, settings: Settings, home: Path) -> tuple[float, Any, Any, int]:
    """Seconds of our loop, its best (model, tokenizer), and the tokens of an epoch."""
    from transformers import set_seed

    from core.device import detect
    from core.models import kernel_building
    from core.models.adapting import adapt, reopen
    from core.training import checkpoints
    from core.training.loop import Signals, fit

    task, device, folder = find("summarization"), detect(), starters.prepared("smollm2", settings)
    assert folder is not None
    kernel_building.begin()  # as a run does before it opens its model
    set_seed(spec.seed)
    model, tokenizer = task.load(folder, split, spec)
    tokens = sum(task.encode(split.train, split.labels, model, tokenizer, spec)["length"])
    model = adapt(model, spec)
    begin = perf_counter()
    done = fit(task, model, tokenizer, split, spec, device, home, lambda e: None, Signals(lambda: False, lambda: False))
    finished(device.kind)
    seconds = perf_counter() - begin
    print(done.way, file=sys.stderr)
    best = checkpoints.best(home)
    assert best is not None
    return seconds, *reopen(lambda: task.load(folder, split, spec), best), tokens


def script(split: Split, spec: TrainSpec, settings: Settings, home: Path) -> tuple[float, Any, Any, int]:
    """The same with peft and a Trainer: bfloat16 autocast, dynamic padding, random order, validation once an epoch."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq, Trainer, TrainingArguments, set_seed

    from core.device import detect

    task, folder = find("summarization"), starters.prepared("smollm2", settings)
    assert folder is not None
    set_seed(spec.seed)
    known, tokenizer = task.load(folder, split, spec)
    encoded = {
        name: task.encode(part, split.labels, known, tokenizer, spec).remove_columns("length")
        for name, part in (("train", split.train), ("validation", split.validation))
    }
    tokens = sum(len(ids) for ids in encoded["train"]["input_ids"])
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    matrices = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        r=spec.lora_rank,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
    )
    model = get_peft_model(model, matrices)
    arguments = TrainingArguments(
        output_dir=str(home / "script"),
        learning_rate=spec.learning_rate,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=8,
        num_train_epochs=spec.epochs,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup_ratio,
        bf16=True,
        eval_strategy="epoch",
        prediction_loss_only=True,
        seed=spec.seed,
        use_cpu=detect().kind == "cpu",
        disable_tqdm=True,
        report_to="none",
    )
    begin = perf_counter()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    trainer.train()
    finished(detect().kind)
    seconds, learned = perf_counter() - begin, model.merge_and_unload()
    notes.note(learned, **notes.notes(known))  # how test rows are read
    return seconds, learned, tokenizer, tokens


def spec_of(given: argparse.Namespace) -> TrainSpec:
    """What both are told."""
    return build(
        task="summarization",
        data=DataChoice(table="0" * 64, columns=_COLUMNS),
        model=ModelChoice(source="starter", name="smollm2"),
        method="lora",
        learning_rate=5e-4,
        batch_size=16,
        epochs=given.epochs,
        max_length=192,
        max_target_length=48,
        validation_fraction=0.1,
        test_fraction=0.2,
    )


def one(given: argparse.Namespace) -> Result:
    """A single timed run, in a process of its own."""
    quiet_libraries()
    from core.device import Device, detect
    from core.tasks._generation import token_losses

    settings, task = Settings(home=Path(given.home), limits=Limits(free_disk=0)), find("summarization")
    split: Split = prepared(given)
    spec = spec_of(given)
    with tempfile.TemporaryDirectory(dir=given.home) as folder:
        train = {"ours": ours, "script": script}[given.one]
        seconds, model, tokenizer, tokens = train(split, spec, settings, Path(folder))
        memory, on = peak_memory(detect().kind), detect().kind
        encoded = task.encode(split.test, split.labels, model, tokenizer, spec)
        losses = token_losses(model, tokenizer, list(encoded), Device(on, "float32", 2, "same"))
    wanted = sum(count for _, count, _ in losses)
    return {
        "seconds": round(seconds, 1),
        "per_second": round(tokens * given.epochs / seconds),
        "memory_gib": memory,
        "score": round(sum(right for _, _, right in losses) / wanted, 4),
        "perplexity": round(math.exp(sum(total for total, _, _ in losses) / wanted), 3),
    }


def main() -> None:
    """Run both in turn and print the median ratio; the score is the share of test tokens that are guessed."""
    known = flags(__doc__, _KINDS)
    known.add_argument("--rows", type=int, default=160)
    known.add_argument("--epochs", type=int, default=1)
    given = known.parse_args()

    def prepare(settings: Settings) -> Split:
        starters.prepare("smollm2", settings)
        return rows(given, settings, spec_of(given))

    take_turns(given, "benchmarks.lora_speed", "SmolLM2 LoRA, tokens", _KINDS, prepare, one)


if __name__ == "__main__":
    main()
