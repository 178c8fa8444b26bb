"""A Trainer that keeps its whole state from time to time, and that draws the same rows whenever it goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import files
from core.training import checkpoints

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Trainer

_WEIGHTS = "changed.safetensors"


class Shuffled:
    """The order of an epoch's rows, texts of about equal length together: it follows from seed and epoch alone.

    Args:
        lengths: tokens of each row.
        together: rows of a step.
        seed: of the run.
    """

    def __init__(self, lengths: list[int], together: int, seed: int) -> None:
        self._lengths, self._together, self._seed = lengths, together, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which pass over the rows comes next; the data loader calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Rows."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """Each row's number once."""
        import torch
        from transformers.trainer_pt_utils import get_length_grouped_indices

        chance = torch.Generator().manual_seed(self._seed * 1_000 + self._epoch)
        yield from get_length_grouped_indices(self._lengths, self._together, generator=chance)


def trainer_class() -> "Callable[..., Trainer]":
    """The class, made when it is needed: importing transformers takes seconds."""
    import torch
    from transformers import Trainer
    from transformers.trainer import TRAINER_STATE_NAME

    class Resuming(Trainer):
        """A Trainer that is told more.

        Args:
            run: folder in which the run is kept.
            facts: gives what is noted with a state.
            save_first: whether the state is saved before rows are judged, because that takes long.
        """

        def __init__(
            self, run: Path, facts: Callable[[], dict[str, Any]], save_first: Callable[[], bool], **given: Any
        ) -> None:
            super().__init__(**given)
            self._run, self._facts, self._save_first = run, facts, save_first
            self._kept = -1
            # Of a batch in parts, the items of all are counted: ours line up with the logits, so none is left out.
            self._loss_shifts_labels = False

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            rows: Any = self.train_dataset  # what is given lacks the columns that no model reads
            together = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return Shuffled(rows["length"][:], together, self.args.seed)

        def _evaluate(self, *given: Any, **more: Any) -> Any:
            if self._save_first():
                self._keep_state(to_be_judged=True)
                after = self.control.should_save
                self.control = self.callback_handler.on_save(self.args, self.state, self.control)
                self.control.should_save = after
            return super()._evaluate(*given, **more)

        def evaluate(self, *given: Any, **more: Any) -> Any:
            # Drawing rows must not depend on when others were judged.
            with torch.random.fork_rng(devices=[]):
                return super().evaluate(*given, **more)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            self._keep_state(to_be_judged=False)

        def _keep_state(self, *, to_be_judged: bool) -> None:
            if self._kept == self.state.global_step:
                return

            def write(staged: Path) -> None:
                staged.mkdir()
                save_changed(self.model, staged)
                self._save_optimizer_and_scheduler(str(staged))
                self._save_scaler(str(staged))
                self._save_rng_state(str(staged))
                self.state.save_to_json(str(staged / TRAINER_STATE_NAME))
                files.write_json(staged / checkpoints.FACTS, self._facts() | {"to_be_judged": to_be_judged})

            checkpoints.save_state(self._run, self.state.global_step, write)
            self._kept = self.state.global_step

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            load_changed(self.model if model is None else model, Path(resume_from_checkpoint))

    return Resuming


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
