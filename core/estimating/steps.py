"""A few real steps of a run, and what all of them would take."""

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from core import files
from core.device import Device
from core.estimating.sampling import sample
from core.spec import TrainSpec
from core.tasks.base import Task
from core.training import checkpoints, frozen
from core.training.batching import Batches
from core.training.compiling import compiled
from core.training.logits import Guesses
from core.training.loop import (
    Learned,
    arguments,
    memory_is_a_user_error,
    silence,
    steps_between,
    wanted,
)
from core.training.optimizer import large_tables
from core.training.precision import Way, kernels_of, prepared
from core.training.resuming import trainer_class
from core.training.validation import judge_of
from core.training.ways import chosen_way

if TYPE_CHECKING:
    from datasets import Dataset

    from core.data.preparing import Split

Tell = Callable[[dict[str, Any]], None]
# Rows that are encoded to learn how long rows are, and validation rows that are read.
_MOST_ENCODED, _MOST_VALIDATED = 2_000, 128
# Batches that stand for all, by their place among all in order of their tokens; the middle one first, as time may not
# suffice for more.
_PLACES = (0.5, 0.1, 0.9, 0.3, 0.7)
# After so many seconds no further step begins.
_SECONDS = 6.0
# Validation rows are read for about so long; a row is read in about a third of the time in which it is learned from.
_SECONDS_READING, _READ = 3.0, 1 / 3
_NEVER = 10**9


@dataclass(frozen=True)
class Trial:
    """What was found out about training.

    Attributes:
        training: seconds of all steps; of a method without them, until the best model is kept.
        steps: of the run, 0 for a method without steps.
        measured: steps that were made, or texts that were read.
        way: see `core.training.precision.Way`; empty where there is no choice.
        preparing: seconds between the loaded model and the first step.
        validations: how often the model is judged and then kept, 0 where `training` holds that.
        validation: seconds of one, without keeping it.
        kept_bytes: of hidden states that are computed once.
        unread_bytes: that a state does not have, see `core.training.checkpoints.Sizes.used`.
    """

    training: float
    steps: int
    measured: int
    way: dict[str, Any]
    preparing: float = 0.0
    validations: int = 0
    validation: float = 0.0
    kept_bytes: int = 0
    unread_bytes: int = 0

    def states(self, between: float) -> int:
        """States that are saved in a run, if one is due after so many seconds; without steps there is none.

        Where the model is judged, half of them suffice; the last step has one in any case.
        """
        if not self.steps:
            return 0
        seconds = self.training + self.validations * self.validation
        judged = seconds * max(0, self.validations - 1) / max(1, self.validations)
        return max(1 + int(seconds // between), 1 + (judged >= between / 2))


def step_some(
    task: Task, model: Any, tokenizer: Any, split: "Split", spec: TrainSpec, device: Device, folder: Path, tell: Tell
) -> Trial:
    """Real steps of the loop, twice on the batch with most tokens and then on some that stand for all.

    So the optimizer's numbers are there when as much memory is needed as ever will be. How long a step takes follows
    from its tokens, with their padding; the first one also sets things up.
    """
    begin = monotonic()
    some, more = sample(split.train, _MOST_ENCODED)
    encode = partial(task.encode, labels=split.labels, model=model, tokenizer=tokenizer, spec=spec)
    train = encode(some, folder=folder / checkpoints.ENCODED)
    encoding, begin = more * (monotonic() - begin), monotonic()
    judged, more_judged = sample(split.validation.iloc[: task.most_validated], _MOST_VALIDATED)
    validation = encode(judged, folder=folder / checkpoints.ENCODED)
    encoding, begin = encoding + more_judged * (monotonic() - begin), monotonic()
    loss, collate = task.loss(split), task.collate(model, tokenizer)
    with memory_is_a_user_error(spec.batch_size):
        # As many passes over these rows as make up all steps of the run: how many there are may decide the way.
        passes = spec.model_copy(update={"epochs": round(more * spec.epochs)})
        way = chosen_way(model, collate, train, loss, device, passes)
    preparing = encoding + monotonic() - begin

    unread = _unread_bytes(model, train, more) if device.kind == "cpu" else 0
    held_out = more_judged * len(validation) / (more * len(train))
    together, marks = way.rows or spec.batch_size, _Marks(device)
    plan = _Plan(train["length"][:], more, together, held_out, spec, device.kind, way)
    rows = train.select(plan.rows)
    share = plan.all_rows / len(rows)
    once = frozen.Reading(
        # As often as all rows are given to the model, as this decides whether it pays.
        passes=((rows, round(share * spec.epochs)), (validation, plan.validations)),
        collate=collate,
        parts=1,
        seconds=_NEVER,
        tell=lambda done, total: None,
        stop=lambda: False,
    )
    tell({"steps": plan.steps, "begun": time()})
    begin = monotonic()
    with (
        memory_is_a_user_error(spec.batch_size),
        prepared(model, way, device, forget=True) as rounded,
        frozen.replayed(model, way, device, folder, once, wanted=spec.epochs > 1) as kept,
        compiled(model) if way.compiled and not kept else nullcontext(),
        closing(Guesses(model)) as guesses,
    ):
        preparing += share * (monotonic() - begin) if kept else 0.0
        trainer = trainer_class()(
            run=folder,
            facts=dict,
            save_first=lambda: False,
            batches=plan,
            rounded=rounded,
            guesses=guesses,
            judge=lambda trainer: {},
            kernels=kernels_of(way, device),
            model=model,
            args=arguments(plan.once(spec), device, way, folder, _NEVER, begin_judged=False),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=collate,
            compute_loss_func=Learned(loss, wanted(train) / plan.batches),
            callbacks=[marks.callback()],
        )
        silence(trainer)
        trainer.train()
        row = _READ * plan.seconds(marks.seconds) / (plan.all_rows * spec.epochs)
        few = _some(validation, int(_SECONDS_READING / row))
        begin = monotonic()
        # What sets things up is done once in a run.
        judge_of(task, _some(validation, 1), collate, loss, device, way, 1)(trainer)
        preparing, begin = preparing + monotonic() - begin, monotonic()
        judge_of(task, few, collate, loss, device, way, 1)(trainer)
        validating = more_judged * len(validation) / len(few) * (monotonic() - begin)
        kept_bytes = share * files.folder_bytes(folder / frozen.FOLDER) if kept else 0
    return Trial(
        training=plan.seconds(marks.seconds),
        steps=plan.steps,
        measured=len(marks.seconds),
        way=replace(way, kept_layers=kept).as_dict(),
        preparing=preparing,
        validations=plan.validations,
        validation=validating,
        kept_bytes=round(kept_bytes),
        unread_bytes=unread,
    )


def _unread_bytes(model: Any, train: "Dataset", more: float) -> int:
    """Of the optimizer's two numbers for each weight, those of rows of embedding tables that no text reads.

    Args:
        more: how many times as many rows the run has. The number of words grows with the root of the text, about.
            Source: Heaps, Information Retrieval, 1978.
    """
    import numpy as np

    chunks = [np.unique(chunk.flatten().to_numpy()) for chunk in train.data.column("input_ids").chunks if len(chunk)]
    read = more**0.5 * len(np.unique(np.concatenate(chunks)))
    weights = {id(table.weight): table.weight for table in large_tables(model)}.values()
    return int(sum(2 * 4 * max(0.0, len(weight) - read) * weight.shape[1] for weight in weights))


def _some(rows: "Dataset", most: int) -> "Dataset":
    """At most so many of the rows, at least one, evenly chosen."""
    count = max(1, min(most, len(rows)))
    return rows.select([place * len(rows) // count for place in range(count)])


class _Plan:
    """Which batches are tried, as a data loader asks for them, and what they say about all.

    Args:
        lengths: tokens of encoded rows.
        more: how many times as many rows the run has.
        together: rows of a batch.
        held_out: validation rows as a share of the training rows.
        spec: of the run.
        kind: of the device.
        way: in which steps are computed.

    Attributes:
        all_rows: of an epoch.
        steps: of the run.
        validations: of the run.
        batches: of the encoded rows.
        rows: that are tried, in order.
    """

    def __init__(
        self,
        lengths: list[int],
        more: float,
        together: int,
        held_out: float,
        spec: TrainSpec,
        kind: str,
        way: Way,
    ) -> None:
        self.all_rows, self._epochs = round(more * len(lengths)), spec.epochs
        self.steps = len(Batches([1] * self.all_rows, together, spec.seed, kind)) * spec.epochs
        # A result that is taught further is judged before its first step, too.
        first = int(spec.model.source == "run")
        self.validations = first + -(-self.steps // steps_between(self.steps, spec.epochs, held_out))
        all_batches = Batches(
            lengths, together, spec.seed, kind, beside=way.beside, padded=not way.unpadded, shared=way.shared
        )
        found = list(all_batches)
        self.batches, self.pieces = len(found), all_batches.pieces
        costs = [all_batches.cost(batch) for batch in found]
        order = sorted(range(len(found)), key=costs.__getitem__)
        places = [order[int(place * len(order))] for place in _PLACES]
        others = list(dict.fromkeys(places))
        # Twice: a shape that is new is set up first, and most of a run's are not.
        self._places, self._once = [order[-1], order[-1], *others, *others], 2 + len(others)
        self._chosen = [found[place] for place in self._places]
        self._costs, self._all_costs = [costs[place] for place in self._places], more * sum(costs)
        self.rows = sorted({row for batch in self._chosen for row in batch})

    def once(self, spec: TrainSpec) -> TrainSpec:
        """The same spec for a single pass over the batches that are tried."""
        return spec.model_copy(update={"epochs": 1})

    def set_epoch(self, epoch: int) -> None:
        """There is one alone."""

    def __len__(self) -> int:
        """Batches that are tried."""
        return len(self._chosen)

    def __iter__(self) -> Iterator[list[int]]:
        """Places of their rows."""
        return iter(self._chosen)

    def seconds(self, measured: list[float]) -> float:
        """Of all steps of the run, from those of the steps that were made."""
        # The batch with most tokens stands for all only where no other was tried.
        begin = self._once if len(measured) > self._once + 1 else min(2, len(measured) - 1)
        for_a_token = sum(measured[begin:]) / sum(self._costs[begin : len(measured)])
        setting_up = max(0.0, measured[0] - for_a_token * self._costs[0])
        return setting_up + for_a_token * self._all_costs * self._epochs


class _Marks:
    """How long steps take; ends them when that has taken long enough.

    Attributes:
        seconds: of each.
    """

    def __init__(self, device: Device) -> None:
        self.seconds: list[float] = []
        self._device, self._last = device, monotonic()

    def callback(self) -> Any:
        """For a Trainer."""
        from transformers import TrainerCallback

        marks = self

        class Marking(TrainerCallback):
            def on_train_begin(self, *given: Any, **more: Any) -> None:
                marks.begin()

            def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                control.should_training_stop = marks.end()

        return Marking()

    def begin(self) -> None:
        """The first step begins."""
        self._last = monotonic()

    def end(self) -> bool:
        """A step ends, and with it perhaps all; the next begins."""
        if self._device.kind == "cuda":
            import torch

            torch.cuda.synchronize()
        now = monotonic()
        self.seconds.append(now - self._last)
        self._last = now
        return sum(self.seconds[1:]) > _SECONDS
