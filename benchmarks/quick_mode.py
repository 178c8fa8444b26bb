"""Quick mode, the method for few examples and full fine-tuning of MiniLM, against TF-IDF and against a plain Trainer.

Docstrings to library (8 classes, 4,000 training rows, up to 256 tokens): scores on 800 test rows, and the seconds of
quick mode, from the rows to the saved model, against one epoch of a plain Trainer on the same training rows. The
epoch's time follows from 320 rows, one half before and one half after quick mode; `--whole` runs all of it.

    python -m benchmarks.quick_mode [--full] [--whole] [--rows 4000]

With `--few`, customer messages cut to 8, 16 and 32 training rows of each class, several seeds: macro F1 of each method.

    python -m benchmarks.quick_mode --few [--seeds 3] [--sizes 8 16 32]
"""

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from benchmarks.docstrings import table
from core.data.preparing import Split
from core.device import Device, detect
from core.quiet import quiet_libraries
from core.spec import DataChoice, TrainSpec, build
from core.tasks.base import Task, find
from core.training.loop import Signals
from core.training.run import fitting

if TYPE_CHECKING:
    import pandas as pd

_SAMPLE = Path("core/data/samples/customer_messages.csv")
_QUIET = Signals(stop=lambda: False, interrupted=lambda: False)
_SLICE = 160


@dataclass(frozen=True)
class Timed:
    """A fitted model: seconds, processor seconds, which a busy machine changes less, and macro F1 on the test rows."""

    seconds: float
    cpu: float
    macro_f1: float


def parts(frame: "pd.DataFrame", train: int, validation: int) -> Split:
    """The first rows to learn from, the next to choose by, the others to judge by."""
    ends = (0, train, train + validation, len(frame))
    cut = [frame.iloc[a:b].reset_index(drop=True) for a, b in itertools.pairwise(ends)]
    return Split(cut[0], cut[1], cut[2], tuple(sorted(set(frame["label"]))), ())


def few_parts(frame: "pd.DataFrame", per_class: int, seed: int, most_judged: int = 400) -> Split:
    """So many rows of each class to learn from, a quarter as many to choose by."""
    import pandas as pd

    shuffled = frame.sample(frac=1, random_state=seed)
    place = shuffled.groupby("label").cumcount()
    held = max(2, per_class // 4)
    judged = shuffled[place >= per_class + held].head(most_judged)
    chosen = shuffled[place < per_class], shuffled[(place >= per_class) & (place < per_class + held)], judged
    train, validation, test = (pd.DataFrame(part).reset_index(drop=True) for part in chosen)
    return Split(train, validation, test, tuple(sorted(set(frame["label"]))), ())


def settings(method: str, rows: int, max_length: int) -> TrainSpec:
    """What is recommended for a small encoder and so many rows."""
    from core.training.recommending import recommend

    advice = recommend(rows=rows, classes=8, tokens_p95=max_length, facts=None, method=method)
    chosen: dict[str, Any] = {name: advice[name].value for name in ("learning_rate", "batch_size", "epochs")}
    return build(
        data=DataChoice(table="0" * 64, columns={"text": "text", "label": "label"}),
        method=method,
        max_length=max_length,
        **chosen,
    )


def fitted(task: Task, split: Split, spec: TrainSpec, device: Device) -> Timed:
    """MiniLM, fitted by `spec.method`; loading it is not timed."""
    from transformers import set_seed

    from core.models.adapting import adapt
    from core.models.catalogue import STARTERS
    from core.training import checkpoints

    with tempfile.TemporaryDirectory() as home:
        set_seed(spec.seed)
        model, tokenizer = task.load(STARTERS["minilm"].folder(), split, spec)
        model = adapt(model, spec)
        begin, begin_cpu = perf_counter(), process_time()
        fitting(spec.method)(task, model, tokenizer, split, spec, device, Path(home), lambda event: None, _QUIET)
        seconds, cpu = perf_counter() - begin, process_time() - begin_cpu
        best = checkpoints.best(Path(home))
        assert best is not None
        answers = task.predict(*task.reload(best), task.asked(split.test), device)
    return Timed(seconds, cpu, macro_f1(split, [answer.answer for answer in answers]))


def macro_f1(split: Split, answers: list[str]) -> float:
    """On the test rows."""
    from core.evaluation.metrics import classification_scores

    number = {label: i for i, label in enumerate(split.labels)}
    return classification_scores([number[x] for x in split.test["label"]], [number[x] for x in answers])["macro_f1"]


def simple(task: Task, split: Split, spec: TrainSpec) -> float:
    """Macro F1 of TF-IDF with logistic regression."""
    answers = task.simple_answers(split, split.test, spec)["tfidf"]
    return macro_f1(split, [prediction.answer for prediction in answers.predictions])


def plain_epoch(split: Split, max_length: int) -> tuple[float, float]:
    """(Seconds, processor seconds) of an epoch of a Trainer as the library's examples write it, without evaluation."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )
    from transformers.trainer_callback import PrinterCallback

    from core.models.catalogue import STARTERS

    folder, number = STARTERS["minilm"].folder(), {label: i for i, label in enumerate(split.labels)}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(number))
    rows = Dataset.from_dict(
        {"text": split.train["text"].tolist(), "labels": [number[x] for x in split.train["label"]]}
    )
    rows = rows.map(lambda batch: tokenizer(batch["text"], truncation=True, max_length=max_length), batched=True)
    with tempfile.TemporaryDirectory() as home:
        arguments = TrainingArguments(
            output_dir=home,
            num_train_epochs=1,
            per_device_train_batch_size=16,
            save_strategy="no",
            logging_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer)
        )
        trainer.remove_callback(PrinterCallback)
        begin, begin_cpu = perf_counter(), process_time()
        trainer.train()
        return perf_counter() - begin, process_time() - begin_cpu


def compare_times(split: Split, spec: TrainSpec, quick: "Callable[[], Timed]", *, whole: bool) -> Timed:
    """Print quick mode's time as a share of the plain epoch's: of a whole one, or of slices before and after it."""
    rows = len(split.train) if whole else _SLICE
    sliced = Split(split.train.sample(rows, random_state=1), split.validation, split.test, split.labels, ())
    before = plain_epoch(sliced, spec.max_length)
    found = quick()
    after = before if whole else plain_epoch(sliced, spec.max_length)
    epochs = [sum(pair) / 2 * len(split.train) / rows for pair in zip(before, after, strict=True)]
    said = "measured" if whole else f"from {rows} rows before and {rows} after quick mode"
    print(f"quick mode {found.seconds:.0f} s ({found.cpu:.0f} s of processor time)")
    print(f"plain epoch {epochs[0]:.0f} s ({epochs[1]:.0f} s of processor time), {said}")
    print(
        f"quick mode takes 1/{epochs[0] / found.seconds:.1f} (1/{epochs[1] / found.cpu:.1f} in processor time)",
        flush=True,
    )
    return found


def docstrings_to_library(given: argparse.Namespace) -> None:
    """Scores and times on docstrings."""
    task, device = find("classification"), detect()
    held = given.rows // 5
    frame = table(-(-(given.rows + 2 * held) // 8))
    split, spec = parts(frame, given.rows, held), settings("quick", given.rows, 256)
    print(f"{split.sizes()} {device.precision}, {device.threads} threads", flush=True)
    print(f"TF-IDF      macro F1 {simple(task, split, spec):.3f}", flush=True)
    quick = compare_times(split, spec, lambda: fitted(task, split, spec, device), whole=given.whole)
    print(f"quick mode  macro F1 {quick.macro_f1:.3f}", flush=True)
    if given.full:
        full = fitted(task, split, settings("full", given.rows, 256), device)
        print(f"full        macro F1 {full.macro_f1:.3f} in {full.seconds:.0f} s", flush=True)


def few_examples(given: argparse.Namespace) -> None:
    """A line for each number of rows and seed, then means."""
    import pandas as pd

    task, device = find("classification"), detect()
    frame = pd.read_csv(_SAMPLE).rename(columns={"message": "text", "topic": "label"})[["text", "label"]]
    print(f"{'rows':>5}{'seed':>5}{'tfidf':>8}{'quick':>8}{'few':>8}{'full':>8}", flush=True)
    for size in given.sizes:
        lines = []
        for seed in range(given.seeds):
            split = few_parts(frame, size, seed)
            scores = [simple(task, split, settings("quick", len(split.train), 128))]
            for method in ("quick", "few", "full"):
                scores.append(fitted(task, split, settings(method, len(split.train), 128), device).macro_f1)
            lines.append(scores)
            print(f"{size:>5}{seed:>5}" + "".join(f"{score:>8.3f}" for score in scores), flush=True)
        means = [statistics.mean(column) for column in zip(*lines, strict=True)]
        print(f"{size:>5} mean" + "".join(f"{score:>8.3f}" for score in means), flush=True)


def main() -> None:
    """Print what was asked for."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--rows", type=int, default=4_000, help="training rows of the docstrings")
    flags.add_argument("--full", action="store_true", help="full fine-tuning too, which takes an hour")
    flags.add_argument("--whole", action="store_true", help="time the whole plain epoch")
    flags.add_argument("--few", action="store_true", help="few examples instead")
    flags.add_argument("--seeds", type=int, default=3)
    flags.add_argument("--sizes", type=int, nargs="*", default=(8, 16, 32))
    given = flags.parse_args()
    quiet_libraries()
    (few_examples if given.few else docstrings_to_library)(given)


if __name__ == "__main__":
    main()
