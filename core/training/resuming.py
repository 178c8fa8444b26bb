"""A Trainer that keeps its whole state from time to time, and that draws the same rows whenever it goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.models.rounding import Rounded, Unrounded
from core.training import checkpoints, validation
from core.training.batching import Batches
from core.training.logits import Guesses
from core.training.optimizer import optimizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Trainer

    from core.models.kernels import Kernels

_WEIGHTS = "changed.safetensors"


def trainer_class() -> "Callable[..., Trainer]":
    """The class, made when it is needed: importing transformers takes seconds."""
    import torch
    from torch.utils.data import DataLoader
    from transformers import Trainer
    from transformers.trainer import TRAINER_STATE_NAME

    class Loader(DataLoader[Any]):
        def set_epoch(self, epoch: int) -> None:
            self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]

    class Resuming(Trainer):
        """A Trainer that is told more.

        Args:
            run: folder in which the run is kept.
            facts: gives what is noted with a state.
            save_first: whether the state is saved before rows are judged, because that takes long.
            batches: which rows are learned from together, and in which pieces.
            rounded: the exact weights behind those that are computed with.
            guesses: says at which places a model that writes shall guess.
            judge: gives the scores of the model on the validation rows, named as the Trainer names them.
            kernels: for the optimizer's steps, if there are any.
        """

        def __init__(
            self,
            run: Path,
            facts: Callable[[], dict[str, Any]],
            save_first: Callable[[], bool],
            batches: Batches,
            rounded: Rounded | Unrounded,
            guesses: Guesses,
            judge: "validation.Judge",
            kernels: "Kernels | None" = None,
            **given: Any,
        ) -> None:
            super().__init__(**given)
            self._run, self._facts, self._save_first = run, facts, save_first
            self._batches, self._rounded, self._guesses, self._judge = batches, rounded, guesses, judge
            self._kernels = kernels
            self._kept = -1

        def get_train_dataloader(self) -> Any:
            rows: Any = self._remove_unused_columns(self.train_dataset, description="training")
            collate: Any = self.data_collator
            return Loader(
                _InPieces(rows, self._batches),  # type: ignore[arg-type]  # it has what a loader asks for
                batch_sampler=self._batches,
                collate_fn=lambda pieces: {"pieces": [collate(piece) for piece in pieces]},
                pin_memory=self.args.dataloader_pin_memory,
            )

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            learned: Any = 0.0
            for piece in inputs["pieces"]:
                learned = learned + super().training_step(model, piece)
            return learned

        def floating_point_ops(self, inputs: Any) -> int:
            return 0  # nobody asks

        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                trained: Any = self.model
                decaying = set(self.get_decay_parameter_names(trained))
                named = [(name, weight) for name, weight in trained.named_parameters() if weight.requires_grad]
                groups = [
                    {
                        "params": [weight for name, weight in named if (name in decaying) == decays],
                        "weight_decay": self.args.weight_decay if decays else 0.0,
                    }
                    for decays in (True, False)
                ]
                self.optimizer = optimizer(groups, self._rounded, lr=self.args.learning_rate, kernels=self._kernels)
            return self.optimizer

        def compute_loss(self, model: Any, inputs: Any, *given: Any, **more: Any) -> Any:
            with self._guesses.where(inputs["labels"]):
                return super().compute_loss(model, inputs, *given, **more)

        def _clip_grad_norm(self, model: Any) -> Any:
            inner: Any = getattr(self.optimizer, "optimizer", self.optimizer)
            return inner.clip(self.args.max_grad_norm)

        def _evaluate(self, *given: Any, **more: Any) -> Any:
            if self._save_first():
                self._keep_state(to_be_judged=True)
                after = self.control.should_save
                self.control = self.callback_handler.on_save(self.args, self.state, self.control)
                self.control.should_save = after
            return super()._evaluate(*given, **more)

        def evaluate(self, *given: Any, **more: Any) -> Any:
            # What is drawn for training must not depend on when rows were judged.
            with torch.random.fork_rng(devices=[]):
                metrics = self._judge(self)
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            self._keep_state(to_be_judged=False)

        def _keep_state(self, *, to_be_judged: bool) -> None:
            if self._kept == self.state.global_step:
                return

            def write(staged: Path) -> None:
                staged.mkdir()
                with self._rounded.made_exact():
                    save_changed(self.model, staged)
                self._save_optimizer_and_scheduler(str(staged))
                self._save_scaler(str(staged))
                self._save_rng_state(str(staged))
                self.state.save_to_json(str(staged / TRAINER_STATE_NAME))
                files.write_json(staged / checkpoints.FACTS, self._facts() | {"to_be_judged": to_be_judged})

            checkpoints.save_state(self._run, self.state.global_step, write)
            self._kept = self.state.global_step

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            with self._rounded.made_exact():
                load_changed(self.model if model is None else model, Path(resume_from_checkpoint))

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            # An optimizer takes up its numbers in the format of the weights.
            with self._rounded.made_exact():
                super()._load_optimizer_and_scheduler(checkpoint)

    return Resuming


class _InPieces:
    """Encoded rows, which a data loader gets batch by batch, in pieces."""

    def __init__(self, rows: Any, batches: Batches) -> None:
        self._rows, self._batches = rows, batches

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, places: list[int]) -> list[list[dict[str, Any]]]:
        return [self._rows.__getitems__(piece) for piece in self._batches.pieces(places)]


def save_changed(model: Any, folder: Path) -> None:
    """Write what training changes of a model: its trainable weights and its buffers. The rest is where it came from."""
    from safetensors.torch import save_file

    save_file({name: values.detach().cpu().contiguous().clone() for name, values in _changed(model)}, folder / _WEIGHTS)


def load_changed(model: Any, folder: Path) -> None:
    """Give a model, as it was before training, what `save_changed` wrote.

    Raises:
        ValueError: it is another model.
    """
    import torch
    from safetensors.torch import load_file

    kept, own = load_file(folder / _WEIGHTS), dict(_changed(model))
    if kept.keys() != own.keys():
        raise ValueError(f"not this model's state: {sorted(kept.keys() ^ own.keys())[:3]}")
    with torch.no_grad():
        for name, values in own.items():
            values.copy_(kept[name])


def _changed(model: Any) -> "Iterator[tuple[str, Tensor]]":
    yield from ((name, values) for name, values in model.named_parameters() if values.requires_grad)
    kept = model.state_dict(keep_vars=True)
    yield from ((name, values) for name, values in model.named_buffers() if name in kept)
