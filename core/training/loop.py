"""The one training loop: a Hugging Face Trainer, told what to do by the spec and the task, and reporting events."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import events
from core.device import Device
from core.errors import UserError
from core.models.adapting import trainable
from core.spec import TrainSpec
from core.tasks.base import Task
from core.training import checkpoints
from core.training.pace import Pace

if TYPE_CHECKING:
    from core.data.preparing import Split

Report = Callable[[events.Event], None]
_LEAST_EVALUATIONS = 5


class InterruptedRunError(Exception):
    """The worker was told by the system to end."""


@dataclass(frozen=True)
class Fitted:
    """How training went. The best model lies in the newest checkpoint.

    Attributes:
        best_epoch: when the weights that were kept were reached: by the metric or by the loss, as the task chooses.
        best_value: the task's training metric there.
        epochs_done: passes over the training rows, also partial ones.
        stopped: whether it was asked to end early.
    """

    best_epoch: float
    best_value: float
    epochs_done: float
    stopped: bool


@dataclass
class Signals:
    """What the outside may ask of a running loop.

    Attributes:
        stop: whether the person asked to end and keep the best so far.
        interrupted: whether the system asked to end at once.
    """

    stop: Callable[[], bool]
    interrupted: Callable[[], bool]


def fit(
    task: Task,
    model: Any,
    tokenizer: Any,
    split: "Split",
    spec: TrainSpec,
    device: Device,
    folder: Path,
    report: Report,
    signals: Signals,
) -> Fitted:
    """Train, judge on the validation rows as it goes, and keep the best model as a checkpoint below `folder`.

    Raises:
        UserError: `loss_not_finite`, `disk_full`, `out_of_memory`.
        InterruptedRunError: the system asked to end; the last checkpoint is whole.
    """
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    train = task.encode(split.train, split.labels, model, tokenizer, spec)
    judged = split.validation.iloc[: task.most_validated]
    validation = task.encode(judged, split.labels, model, tokenizer, spec)
    steps = math.ceil(len(train) / spec.batch_size) * spec.epochs
    between = max(1, round(steps / max(spec.epochs, _LEAST_EVALUATIONS)))
    pace = Pace(
        steps=steps,
        evaluations=math.ceil(steps / between),
        rows_per_step=spec.batch_size,
        test_share=len(split.test) / max(1, len(judged)),
    )
    watcher = _watcher(task, spec, folder, report, signals, pace, tokenizer)
    trainer = Trainer(
        model=model,
        args=_arguments(task, spec, device, folder, between),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=task.collate(model, tokenizer),
        compute_loss_func=task.loss(split),
        preprocess_logits_for_metrics=task.reduce_logits,
        compute_metrics=lambda p: task.evaluation_scores(p.predictions, p.label_ids),
        callbacks=[watcher],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    changed, parameters = trainable(model)
    report(events.Planned(steps=steps, epochs=spec.epochs, parameters=parameters, trainable=changed))
    with _memory_is_a_user_error(spec.batch_size):
        trainer.train()
        if signals.interrupted():
            raise InterruptedRunError
        if watcher.best_step is None:
            trainer.evaluate()
    return Fitted(watcher.best_epoch, watcher.best_value, float(trainer.state.epoch or 0), watcher.stopped)


def _arguments(task: Task, spec: TrainSpec, device: Device, folder: Path, between: int) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        learning_rate=spec.learning_rate,
        per_device_train_batch_size=spec.batch_size,
        # Logits for each token fill the memory much sooner than logits for each text.
        per_device_eval_batch_size=min(8, spec.batch_size) if task.writes else max(32, spec.batch_size),
        num_train_epochs=spec.epochs,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup_ratio,
        lr_scheduler_type="linear",
        seed=spec.seed,
        data_seed=spec.seed,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        bf16=device.precision == "bfloat16",
        use_cpu=device.kind == "cpu",
        dataloader_pin_memory=device.kind == "cuda",
        eval_strategy="steps",
        eval_steps=between,
        save_strategy="no",
        logging_steps=1 if device.kind == "cpu" else 10,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )


def _watcher(
    task: Task, spec: TrainSpec, folder: Path, report: Report, signals: Signals, pace: Pace, tokenizer: Any
) -> Any:
    """A Trainer callback that reports, keeps the best, and ends the loop when asked to."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):
        best_step: int | None = None
        best_epoch, best_value, best_order = 0.0, 0.0, -math.inf
        stopped = False
        _asked_at = 0.0
        _losses: list[float]

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._losses = []
            pace.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            pace.step()
            if signals.interrupted():
                control.should_training_stop = True
            elif monotonic() - self._asked_at > 0.5:
                self._asked_at = monotonic()
                if signals.stop():
                    self.stopped = True
                    control.should_training_stop = True
                    control.should_evaluate = True

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            logs: dict[str, float] = kwargs.get("logs") or {}
            if "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise UserError("loss_not_finite", step=state.global_step, learning_rate=spec.learning_rate)
            self._losses.append(logs["loss"])
            if pace.due() or state.global_step >= state.max_steps:
                mean, self._losses = sum(self._losses) / len(self._losses), []
                report(
                    events.Step(
                        step=state.global_step,
                        epoch=round(state.epoch or 0, 3),
                        loss=round(mean, 5),
                        learning_rate=logs.get("learning_rate", spec.learning_rate),
                        rows_per_second=round(pace.rows_per_second(), 2),
                        seconds_left=round(pace.seconds_left(), 1),
                    )
                )

        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            metrics: dict[str, float] = kwargs["metrics"]
            pace.evaluated(metrics.get("eval_runtime", 0.0))
            value = metrics[f"eval_{task.training_metric}"]
            order = value if task.chooses_by == "metric" else -metrics["eval_loss"]
            better = order > self.best_order
            report(
                events.Evaluated(
                    step=state.global_step,
                    epoch=round(state.epoch or 0, 3),
                    loss=round(metrics["eval_loss"], 5),
                    metric=task.training_metric,
                    value=round(value, 5),
                    best=better,
                )
            )
            if better:
                self.best_step, self.best_epoch = state.global_step, float(state.epoch or 0)
                self.best_value, self.best_order = value, order
                root = folder / "checkpoints"
                checkpoints.save(kwargs["model"], tokenizer, root / f"step-{state.global_step}")
                checkpoints.keep_newest(root)
                report(events.Saved(step=state.global_step))
            pace.resume()

    return Watcher()


@contextmanager
def _memory_is_a_user_error(batch_size: int) -> Iterator[None]:
    """Turn the several ways in which memory runs out into `UserError("out_of_memory")`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        signs = ("not enough memory", "out of memory", "can't allocate memory")
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in signs):
            raise
        raise UserError("out_of_memory", batch_size=batch_size, smaller=max(1, batch_size // 2)) from error
