"""Our training against scripts as the libraries' examples write them: same model, rows, epochs and learning rate.

Each training runs in a fresh process, in turn with the others, from encoded rows to the trained model, with its
validation. Beside that, an epoch's seconds: from the first step to the last, with validation and what is saved, without
what comes before. Quote the median ratio: machines are noisy. The share is that of an epoch's useful products (6
operations for each weight of a layer and token, and those of attention, without padding) in the rate of PyTorch's
products that the same process measures before and after the training: in bfloat16, or in 32 bits where that is faster.

    python -m benchmarks.training_speed [--work long|short] [--against plain plain16 padded] [--turns 3] [--rows 1600]
"""

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.docstrings import LIBRARIES, table
from benchmarks.turns import Result, finished, flags, peak_memory, prepared, product_rate, take_turns
from core import events
from core.data.preparing import Split, prepare
from core.data.store import TableStore
from core.quiet import quiet_libraries
from core.settings import Settings
from core.spec import DataChoice, TrainSpec, build
from core.tasks.base import find

_WORDS = {"long": 10**6, "short": 12}
# Rows of a batch; scripts that pad everything mostly have 8.
_ROWS = {"ours": 16, "plain": 16, "plain16": 16, "padded": 8}


def rows(given: argparse.Namespace, settings: Settings) -> Split:
    """Docstrings and the library that each comes from, cut after some words, cleaned and divided."""
    frame = table(-(-given.rows // len(LIBRARIES)))
    frame["text"] = [" ".join(text.split()[: _WORDS[given.work]]) for text in frame["text"]]
    path = settings.home / "rows.csv"
    frame.to_csv(path, index=False)
    tables = TableStore(settings)
    kept = tables.add(path, "local", path.name)
    return prepare(
        tables.frame(kept.id, "local"),
        {"text": "text", "label": "label"},
        validation_fraction=0.1,
        test_fraction=0.2,
        seed=42,
        limits=settings.limits,
    )


def ours(split: Split, spec: TrainSpec, home: Path) -> tuple[float, float, Any, Any]:
    """Seconds of our loop and of its steps, and its best (model, tokenizer)."""
    from transformers import set_seed

    from core.device import detect
    from core.models import kernel_building
    from core.models.catalogue import STARTERS
    from core.training import checkpoints
    from core.training.loop import Signals, fit

    task, device = find("classification"), detect()
    kernel_building.begin()  # as a run does before it opens its model
    set_seed(spec.seed)
    model, tokenizer = task.load(STARTERS["minilm"].folder(), split, spec)
    stepping: list[float] = []

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Planned):
            stepping.append(perf_counter())

    begin = perf_counter()
    done = fit(task, model, tokenizer, split, spec, device, home, hear, Signals(lambda: False, lambda: False))
    finished(device.kind)
    end = perf_counter()
    print(done.way, file=sys.stderr)
    best = checkpoints.best(home)
    assert best is not None
    return end - begin, end - stepping[0], *task.reload(best)


def script(split: Split, spec: TrainSpec, home: Path, kind: str, on: str) -> tuple[float, float, Any, Any]:
    """The same as the library's examples write it: 32 bits or bf16, random order; or all padded to one length."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from core.models.catalogue import STARTERS

    set_seed(spec.seed)
    folder, number = STARTERS["minilm"].folder(), {label: i for i, label in enumerate(split.labels)}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(number), id2label=dict(enumerate(split.labels)), label2id=number
    )
    how = {"padding": "max_length", "max_length": 128} if kind == "padded" else {"max_length": spec.max_length}

    def encoded(part: Any) -> Dataset:
        made = Dataset.from_dict({"text": part["text"].tolist(), "labels": [number[x] for x in part["label"]]})
        return made.map(lambda b: tokenizer(b["text"], truncation=True, **how), batched=True)

    arguments = TrainingArguments(
        output_dir=str(home / "plain"),
        learning_rate=spec.learning_rate,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=32,
        num_train_epochs=spec.epochs,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup_ratio,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        save_total_limit=1,
        seed=spec.seed,
        bf16=kind == "plain16",
        use_cpu=on == "cpu",
        disable_tqdm=True,
        report_to="none",
    )
    begin = perf_counter()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encoded(split.train),
        eval_dataset=encoded(split.validation),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    stepping = perf_counter()
    trainer.train()
    finished(on)
    end = perf_counter()
    return end - begin, end - stepping, model, tokenizer


def useful_operations(model: Any, tokenizer: Any, texts: list[str], max_length: int) -> float:
    """Of forward and backward over these texts once, with what is multiplied alone: no padding, no embeddings."""
    inner = model.base_model
    weights = sum(p.numel() for name, p in inner.encoder.named_parameters() if p.dim() == 2)
    lengths = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]]
    layers, width = model.config.num_hidden_layers, model.config.hidden_size
    return sum(6.0 * weights * n + 3 * 2 * 2 * layers * width * n * n for n in lengths)


def one(given: argparse.Namespace) -> Result:
    """A single timed run, in a process of its own."""
    quiet_libraries()
    from core.device import Device, detect
    from core.evaluation.metrics import classification_scores

    split: Split = prepared(given)
    task, on = find("classification"), detect().kind
    data = DataChoice(table="0" * 64, columns={"text": "text", "label": "label"})
    size = given.batch or _ROWS[given.one]
    spec = build(
        data=data, learning_rate=given.rate, epochs=given.epochs, max_length=256, batch_size=size, seed=given.seed
    )
    spec = spec.model_copy(update={"larger_batches": given.one == "ours" and not given.batch})
    before = product_rate(on)
    with tempfile.TemporaryDirectory(dir=given.home) as folder:
        if given.one == "ours":
            seconds, stepping, model, tokenizer = ours(split, spec, Path(folder))
        else:
            seconds, stepping, model, tokenizer = script(split, spec, Path(folder), given.one, on)
    memory, rate = peak_memory(on), (before + product_rate(on)) / 2
    print(f"{rate / 1e9:.0f} GFLOP/s", file=sys.stderr)
    # Both are judged on as much of a text as they learned from: a tokenizer's own limit may be higher.
    tokenizer.model_max_length = spec.max_length
    answers = task.answer(model, tokenizer, split.test, spec, Device(on, "float32", 2, "same")).predictions
    number = {label: i for i, label in enumerate(split.labels)}
    told = [[number[label] for label in labels] for labels in (split.test["label"], [a.answer for a in answers])]
    operations = given.epochs * useful_operations(model, tokenizer, split.train["text"].tolist(), spec.max_length)
    return {
        "seconds": round(seconds, 1),
        "epoch_seconds": round(stepping / given.epochs, 1),
        "per_second": round(len(split.train) * given.epochs / seconds, 1),
        "share": round(operations / stepping / rate, 3),
        "memory_gib": memory,
        "score": round(classification_scores(*told)["accuracy"], 4),
    }


def main() -> None:
    """Run all in turn and print the median ratios."""
    known = flags(__doc__, list(_ROWS))
    known.add_argument("--work", choices=list(_WORDS), default="long")
    known.add_argument("--against", choices=["plain", "plain16", "padded"], nargs="+", default=["plain"])
    known.add_argument("--rows", type=int, default=1600)
    known.add_argument("--epochs", type=int, default=2)
    known.add_argument("--rate", type=float, default=2e-4)
    known.add_argument("--batch", type=int, default=0, help="rows of a batch; 0 for what each side usually has")
    known.add_argument("--seed", type=int, default=42)
    given = known.parse_args()
    kinds = [*given.against, "ours"]
    work = f"MiniLM, {given.work} texts"
    take_turns(given, "benchmarks.training_speed", work, kinds, lambda settings: rows(given, settings), one)


if __name__ == "__main__":
    main()
