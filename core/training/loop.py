"""The one training loop: a Hugging Face Trainer, told what to do by the spec and the task, and reporting events.

From time to time it keeps its whole state. A run that goes on from a state ends with the very weights that it would
have ended with undisturbed (on a CPU): the order of the rows follows from seed and epoch alone, and random numbers go
on where they were.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from core import events
from core.device import Device
from core.errors import UserError
from core.models.adapting import trainable
from core.models.rounding import Rounded, Unrounded
from core.spec import TrainSpec
from core.tasks.base import Task, judged_rows
from core.training import checkpoints, frozen
from core.training.batch_size import rate_factor
from core.training.batching import Batches
from core.training.choosing import Choice
from core.training.compiling import compiled
from core.training.logits import Guesses
from core.training.pace import Pace
from core.training.precision import Way, kernels_of, prepared
from core.training.validation import judge_of
from core.training.ways import chosen_way, way_of

if TYPE_CHECKING:
    from core.data.preparing import Split

Report = Callable[[events.Event], None]
# The model is judged once in an epoch at least and so often in all, or more often where that takes little time.
_LEAST_EVALUATIONS, _USUAL_EVALUATIONS = 3, 5
# What judging may take beyond that, as a share of the time of training. A row is judged in a third of what it is
# learned in: one pass forward instead of that and two back.
_JUDGING, _A_THIRD = 0.05, 1 / 3
_SECONDS_BETWEEN_REPORTS = 1.0


class InterruptedRunError(Exception):
    """The worker was told by the system to end."""


@dataclass(frozen=True)
class Fitted:
    """How training went. The best model lies in the newest checkpoint.

    Attributes:
        best_epoch: when the weights that were kept were reached, see `core.training.choosing`.
        best_value: the task's training metric there.
        epochs_done: passes over the training rows, also partial ones.
        stopped: whether it ended early.
        diverged: whether that was because the loss was no number any more.
        way: how steps were computed, see `core.training.precision.Way`.
    """

    best_epoch: float
    best_value: float
    epochs_done: float
    stopped: bool
    diverged: bool = False
    way: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Keeping:
    """How a run keeps its state, and in how many parts a batch has to be worked through.

    Attributes:
        seconds: between two savings.
        parts: the pieces of a batch have so many times fewer tokens, where memory ran out before. What is learned
            stays the same but for rounding.
        begun: when the work began, on the clock of `time.monotonic`; earlier attempts' work counts.
        testing: seconds that the judged rows took before training, where they were judged.
        opening: seconds in which the model was opened.
    """

    seconds: float = 60.0
    parts: int = 1
    begun: float = field(default_factory=monotonic)
    testing: float | None = None
    opening: float = 0.0

    def facts(self, device: Device) -> dict[str, Any]:
        """What is noted with a state that is saved now."""
        return {"device": device.as_dict(), "seconds": monotonic() - self.begun, "testing": self.testing}


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
    keeping: Keeping | None = None,
) -> Fitted:
    """Train, judge on the validation rows as it goes, and keep the best model of the run in `folder`.

    Where an earlier attempt left a state in `folder`, training goes on from there.

    Raises:
        UserError: `loss_not_finite` before there was a model to keep, `disk_full`, `out_of_memory`.
        InterruptedRunError: the system asked to end; the state is kept.
    """
    train = task.encode(split.train, split.labels, model, tokenizer, spec, folder / checkpoints.ENCODED)
    judged = split.validation.iloc[: task.most_validated]
    validation = task.encode(judged, split.labels, model, tokenizer, spec, folder / checkpoints.ENCODED)
    keeping = keeping or Keeping()
    state, _ = checkpoints.state(folder)
    loss, collate = task.loss(split), task.collate(model, tokenizer)
    with memory_is_a_user_error(spec.batch_size // keeping.parts):
        if state:
            way = way_of(state, device, keeping.parts)
        else:
            way = chosen_way(model, collate, train, loss, device, spec, keeping.parts)
    rows = way.rows or spec.batch_size
    batches = Batches(
        train["length"][:],
        rows,
        spec.seed,
        device.kind,
        keeping.parts,
        way.beside,
        padded=not way.unpadded,
        shared=way.shared,
    )
    learned = Learned(loss, wanted(train) / len(batches))
    steps = len(batches) * spec.epochs
    between = steps_between(steps, spec.epochs, len(validation) / len(train))
    pace = Pace(
        steps=steps,
        evaluations=math.ceil(steps / between),
        rows_per_step=rows,
        validated=len(judged),
        read_after=len(judged_rows(task, split.test)),
        testing=keeping.testing,
        opening=keeping.opening,
    )
    once = frozen.Reading(
        passes=((train, spec.epochs), (validation, math.ceil(steps / between))),
        collate=collate,
        parts=keeping.parts,
        seconds=keeping.seconds,
        tell=teller("training", report, signals),
        stop=signals.stop,
    )
    # A result that is taught further may have been better before: it is judged as it comes.
    further = spec.model.source == "run"
    with (
        memory_is_a_user_error(spec.batch_size // keeping.parts),
        prepared(model, way, device, forget=True) as rounded,
        frozen.replayed(model, way, device, folder, once, wanted=state is None or way.kept_layers > 0) as kept,
        compiled(model) if way.compiled and not kept else nullcontext(),
        closing(Guesses(model)) as guesses,
    ):
        way = replace(way, kept_layers=kept)
        choice = Choice(task.chooses_by, len(judged))
        watcher = _watcher(task, spec, folder, report, signals, pace, tokenizer, keeping, learned, rounded, choice)
        trainer = _trainer_class()(
            run=folder,
            facts=lambda: keeping.facts(device) | {"way": way.as_dict()},
            save_first=watcher.save_first,
            batches=batches,
            rounded=rounded,
            guesses=guesses,
            judge=judge_of(task, validation, collate, loss, device, way, keeping.parts),
            kernels=kernels_of(way, device),
            model=model,
            args=arguments(spec, device, way, folder, between, begin_judged=further and state is None),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=collate,
            compute_loss_func=learned,
            callbacks=[watcher],
        )
        silence(trainer)
        changed, parameters = trainable(model)
        report(events.Phase(name="training"))
        report(events.Planned(steps=steps, epochs=spec.epochs, parameters=parameters, trainable=changed))
        if state is not None and checkpoints.to_be_judged(folder, state):
            watcher.judge_first = trainer.evaluate
        trainer.train(resume_from_checkpoint=str(state) if state else None)
        if signals.interrupted():
            raise InterruptedRunError
        if watcher.best_step is None:
            trainer.evaluate()
    fitted: Fitted = watcher.fitted(float(trainer.state.epoch or 0), way)
    return fitted


def teller(phase: str, report: Report, signals: Signals) -> Callable[[int, int], None]:
    """Begin a part that takes long, and say every second how far it is.

    The function that it gives raises InterruptedRunError when the system asks to end.
    """
    report(events.Phase(name=phase))
    told = monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if signals.interrupted():
            raise InterruptedRunError
        if monotonic() - told >= _SECONDS_BETWEEN_REPORTS:
            told = monotonic()
            report(events.Phase(name=phase, done=done, total=total))

    return tell


def _trainer_class() -> Any:
    from core.training.resuming import trainer_class

    return trainer_class()


def silence(trainer: Any) -> None:
    """It prints nothing: events say it better."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


class Learned:
    """The loss of a piece of a batch, such that all that is wanted in an epoch counts alike.

    The pieces of a batch add up to it, and a batch in which more is wanted weighs as much more.

    Args:
        loss: mean over what is wanted in a batch.
        usual: labels, or tokens, that are wanted in a batch on average.
    """

    def __init__(self, loss: Callable[..., Any], usual: float) -> None:
        self._loss, self._usual = loss, usual
        self._sum: Any = 0.0
        self._count: Any = 0.0

    def __call__(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        """The weighed loss, as the Trainer asks for it."""
        mean, count = self._loss(outputs, labels), labels.ne(-100).sum()
        self._sum, self._count = self._sum + mean.detach() * count, self._count + count
        return mean * (count / self._usual)

    def take(self) -> float:
        """The mean over all that was learned since this was asked last."""
        mean = float(self._sum) / max(1.0, float(self._count))
        self._sum = self._count = 0.0
        return mean


def steps_between(steps: int, epochs: int, share: float) -> int:
    """After how many of all steps the model is judged each time.

    Args:
        share: validation rows as a share of the training rows.
    """
    affordable = int(min(_USUAL_EVALUATIONS, _JUDGING * epochs / max(share * _A_THIRD, 1e-9)))
    return max(1, round(steps / max(epochs, _LEAST_EVALUATIONS, affordable)))


def wanted(train: Any) -> float:
    """Labels, or tokens, that are to be learned in these encoded rows."""
    import numpy as np

    # Straight from the file: as Python's numbers, all at once would take gigabytes.
    pieces: Any = train.data.column("labels").chunks
    values = (piece.flatten() if hasattr(piece, "flatten") else piece for piece in pieces)
    return float(sum(int((np.asarray(part) != -100).sum()) for part in values))


def arguments(spec: TrainSpec, device: Device, way: Way, folder: Path, between: int, *, begin_judged: bool) -> Any:
    """What the library's Trainer is told, but for what `core.training.resuming` does in its own way."""
    from transformers import TrainingArguments

    rows = way.rows or spec.batch_size
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        learning_rate=spec.learning_rate * rate_factor(rows, spec.batch_size),
        per_device_train_batch_size=rows,
        num_train_epochs=spec.epochs,
        weight_decay=spec.weight_decay,
        warmup_steps=spec.warmup_ratio,
        lr_scheduler_type="linear",
        seed=spec.seed,
        data_seed=spec.seed,
        bf16=way.weights == "autocast",
        use_cpu=device.kind == "cpu",
        dataloader_pin_memory=device.kind == "cuda",
        eval_strategy="steps",
        eval_steps=between,
        eval_on_start=begin_judged,
        save_strategy="no",
        logging_steps=1 if device.kind == "cpu" else 10,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )


def _watcher(
    task: Task,
    spec: TrainSpec,
    folder: Path,
    report: Report,
    signals: Signals,
    pace: Pace,
    tokenizer: Any,
    keeping: Keeping,
    learned: Learned,
    rounded: Rounded | Unrounded,
    choice: Choice,
) -> Any:
    """A Trainer callback that reports, keeps the best, has the state saved, and ends the loop when asked to."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):
        best_step: int | None = None
        best_epoch = best_value = 0.0
        stopped = diverged = False
        _asked_at = 0.0
        judge_first: Callable[[], Any] | None = None

        def __init__(self) -> None:
            self._saved_at = monotonic()
            kept = checkpoints.best(folder)
            if kept is not None:
                facts = checkpoints.facts_of(kept)
                self.best_step = checkpoints.step_of(kept)
                self.best_epoch, self.best_value = facts["epoch"], facts["value"]
                choice.go_on(facts)

        def fitted(self, epochs_done: float, way: Way) -> Fitted:
            return Fitted(self.best_epoch, self.best_value, epochs_done, self.stopped, self.diverged, way.as_dict())

        def save_first(self) -> bool:
            return signals.interrupted() or monotonic() - self._saved_at >= keeping.seconds / 2

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if self.judge_first is not None:
                self.judge_first()
            pace.start(state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            pace.step()
            last = state.global_step >= state.max_steps
            # What comes after the last step takes long too: the state tells that training need not be done again.
            control.should_save = last or monotonic() - self._saved_at >= keeping.seconds
            # A state with weights that are no numbers is never saved: the log comes first and refuses them.
            control.should_log = control.should_log or control.should_save or control.should_evaluate
            if signals.interrupted():
                control.should_training_stop = control.should_save = True
            elif monotonic() - self._asked_at > 0.5:
                self._asked_at = monotonic()
                if signals.stop():
                    self.stopped = True
                    control.should_training_stop = control.should_save = True
                    control.should_evaluate = True

        def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if signals.interrupted():
                raise InterruptedRunError

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._saved_at = monotonic()
            report(events.Saved(step=state.global_step))
            pace.resume()

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            logs: dict[str, float] = kwargs.get("logs") or {}
            if "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                if self.best_step is None:
                    raise UserError("loss_not_finite", step=state.global_step, learning_rate=spec.learning_rate)
                # The weights are lost, but those that did best before are kept.
                self.stopped = self.diverged = control.should_training_stop = True
                control.should_evaluate = control.should_save = False
                return
            if pace.due() or control.should_evaluate or state.global_step >= state.max_steps:
                report(
                    events.Step(
                        step=state.global_step,
                        epoch=round(state.epoch or 0, 3),
                        loss=round(learned.take(), 5),
                        learning_rate=logs.get("learning_rate", spec.learning_rate),
                        rows_per_second=round(pace.rows_per_second(), 2),
                        seconds_left=round(pace.seconds_left(), 1),
                    )
                )

        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            metrics: dict[str, float] = kwargs["metrics"]
            pace.evaluated(metrics.get("eval_runtime", 0.0))
            value = metrics[f"eval_{task.training_metric}"]
            kept = choice.keeps(value, metrics["eval_loss"], untrained=state.global_step == 0)
            report(
                events.Evaluated(
                    step=state.global_step,
                    epoch=round(state.epoch or 0, 3),
                    loss=round(metrics["eval_loss"], 5),
                    metric=task.training_metric,
                    value=round(value, 5),
                    best=kept,
                )
            )
            if kept:
                self.best_step, self.best_epoch = state.global_step, float(state.epoch or 0)
                self.best_value = value
                facts = {"epoch": self.best_epoch, "value": value, **choice.facts()}
                with rounded.made_exact():
                    checkpoints.save_best(kwargs["model"], tokenizer, folder, state.global_step, facts)
            checkpoints.note_judged(folder, state.global_step)
            pace.resume()

    return Watcher()


@contextmanager
def memory_is_a_user_error(batch_size: int) -> Iterator[None]:
    """Turn the several ways in which memory runs out into `UserError("out_of_memory")`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # The last two are how oneDNN and C++ put it.
        signs = (
            "not enough memory", "out of memory", "can't allocate memory", "could not create a primitive", "bad_alloc",
        )  # fmt: skip
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in signs):
            raise
        raise UserError("out_of_memory", batch_size=batch_size, smaller=max(1, batch_size // 2)) from error
