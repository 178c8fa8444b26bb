"""Our training loop against a plain Trainer script: same model, rows, epochs, batch size and learning rate.

Both run in fresh processes, in turn, and only the training itself is timed (validation once an epoch included in both).
Quote the median ratio: machines are noisy.

    python -m benchmarks.against_plain_trainer [--runs 3] [--epochs 2] [--data FILE --text COL --label COL]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from core.data.preparing import Split, prepare
from core.data.store import TableStore
from core.quiet import quiet_libraries
from core.settings import Settings, child_environment
from core.spec import DataChoice, TrainSpec, build
from core.tasks.base import Prediction, find

SAMPLE = Path("core/data/samples/customer_messages.csv")


def rows(given: argparse.Namespace, home: Path) -> Split:
    """The cleaned and split rows, the same for both."""
    settings = Settings(home=home)
    tables = TableStore(settings)
    table = tables.add(given.data, "local", given.data.name)
    return prepare(
        tables.frame(table.id, "local"),
        {"text": given.text, "label": given.label},
        validation_fraction=0.15,
        test_fraction=0.15,
        seed=42,
        limits=settings.limits,
    )


def ours(split: Split, spec: TrainSpec, home: Path) -> tuple[float, list[Prediction]]:
    """Seconds of our loop, and the answers of its best model to the test rows."""
    from transformers import set_seed

    from core.device import detect
    from core.models.catalogue import STARTERS
    from core.training import checkpoints
    from core.training.loop import Signals, fit

    task, device = find("classification"), detect()
    (home / "checkpoints").mkdir()
    set_seed(spec.seed)
    model, tokenizer = task.load(STARTERS["minilm"].folder(), split, spec)
    begin = perf_counter()
    fit(task, model, tokenizer, split, spec, device, home, lambda event: None, Signals(lambda: False, lambda: False))
    seconds = perf_counter() - begin
    best = checkpoints.best(home)
    assert best is not None
    return seconds, task.predict(*task.reload(best), split.test["text"].tolist(), device)


def plain(split: Split, spec: TrainSpec, home: Path) -> tuple[float, list[Prediction]]:
    """The same with a Trainer as the library's examples write it: its defaults, padded per batch, random order."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from core.device import Device
    from core.models.catalogue import STARTERS

    set_seed(spec.seed)
    folder, number = STARTERS["minilm"].folder(), {label: i for i, label in enumerate(split.labels)}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(number), id2label=dict(enumerate(split.labels)), label2id=number
    )

    def encoded(part: Any) -> Dataset:
        made = Dataset.from_dict({"text": part["text"].tolist(), "labels": [number[x] for x in part["label"]]})
        return made.map(lambda b: tokenizer(b["text"], truncation=True, max_length=spec.max_length), batched=True)

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
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encoded(split.train),
        eval_dataset=encoded(split.validation),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    begin = perf_counter()
    trainer.train()
    seconds = perf_counter() - begin
    cpu = Device("cpu", "float32", 2, "plain")
    return seconds, find("classification").predict(model, tokenizer, split.test["text"].tolist(), cpu, spec.max_length)


def one(given: argparse.Namespace) -> None:
    """A single timed run, in a process of its own; JSON on the last line."""
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        split = rows(given, Path(folder))
        data = DataChoice(table="0" * 64, columns={"text": given.text, "label": given.label})
        spec = build(data=data, learning_rate=2e-4, epochs=given.epochs, max_length=given.max_length)
        seconds, answers = {"ours": ours, "plain": plain}[given.one](split, spec, Path(folder))
        scores = find("classification").score(split.test["label"].tolist(), [a.answer for a in answers], split.labels)
        speed = len(split.train) * given.epochs / seconds
    print(json.dumps({"seconds": round(seconds, 2), "rows_per_second": round(speed, 1), **scores}))


def main() -> None:
    """Run both in turn and print the median ratio."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--data", type=Path, default=SAMPLE)
    flags.add_argument("--text", default="message")
    flags.add_argument("--label", default="topic")
    flags.add_argument("--runs", type=int, default=3)
    flags.add_argument("--epochs", type=int, default=2)
    flags.add_argument("--max-length", type=int, default=128)
    flags.add_argument("--one", choices=["ours", "plain"], help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.one:
        one(given)
        return
    found: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as home:
        for turn in range(given.runs):
            for kind in ("plain", "ours") if turn % 2 == 0 else ("ours", "plain"):
                found[kind].append(_child(kind, Path(home)))
                print(f"{kind:6}", json.dumps(found[kind][-1]), flush=True)
    ratios = [p["seconds"] / o["seconds"] for p, o in zip(found["plain"], found["ours"], strict=True)]
    for kind, results in found.items():
        middle = {name: round(statistics.median(r[name] for r in results), 3) for name in results[0]}
        print(f"{kind:6} median {json.dumps(middle)}")
    print(f"ours is {statistics.median(ratios):.2f} times as fast (from {min(ratios):.2f} to {max(ratios):.2f})")


def _child(kind: str, home: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.against_plain_trainer", "--one", kind, *sys.argv[1:]]
    done = subprocess.run(
        command,
        env=child_environment(Settings(home=home)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    answer: dict[str, float] = json.loads(done.stdout.decode().splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
