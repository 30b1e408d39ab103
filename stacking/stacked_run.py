"""One run of a stack: its Trainer, whose steps the stack takes, and which does all that comes once an epoch."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import EvalPrediction
from transformers.trainer_utils import IntervalStrategy
from transformers.trainer_utils import speed_metrics

from ..curriculum_trainer import CurriculumTrainer


class StackedRun(CurriculumTrainer):
    """A `CurriculumTrainer` that a stack trains together with others.

    Order, weights of rows, logs, scores, the best epoch and early stopping are its own, by the code of a run that
    trains alone; forward, backward, clipping and the optimiser's step are the stack's. In the order of a training:
    `open`, of each epoch `open_epoch` and `close_epoch`, and `close`.

    Attributes:
        generator: of the run's random numbers.
        step_losses, step_rates: of each step so far.
        improved: whether the epoch that ended last is the best so far: the stack then keeps its weights.
    """

    def open(self, device: torch.device) -> None:
        """As `Trainer.train` begins: sampler, optimiser, schedule, state; with a generator of the run's numbers."""
        loader = self.get_train_dataloader()
        epochs, steps, _, self._train_samples, _, self._batches, max_steps = self.set_initial_training_values(
            self.args, loader
        )
        self.epochs, self.epoch_steps, self.max_steps = epochs, steps, max_steps
        self._init_training_state(max_steps, steps, epochs, None, None)
        self.create_optimizer()
        self.create_scheduler(num_training_steps=max_steps)
        for name in ("model", "optimizer", "lr_scheduler"):
            setattr(self.callback_handler, name, getattr(self, name))
        self.callback_handler.train_dataloader = loader
        self._initial_num_input_tokens_seen = self._initial_global_step = 0
        self._tr_loss, self._total_loss_scalar, self._globalstep_last_logged = torch.tensor(0.0), 0.0, 0
        self.improved, self.is_in_train = False, True
        self.step_losses: list[float] = []
        self.step_rates: list[float] = []
        self.best_row: Tensor | None = None
        self._logits: np.ndarray | None = None
        self._confident: np.ndarray | None = None
        self._seconds, self._start = 0.0, time.time()
        self.generator = torch.Generator(device).manual_seed(self.args.seed)
        if device.type == "cpu":  # goes on as the run would that is alone: its weights were drawn just now
            self.generator.set_state(torch.get_rng_state())
        self.control = self.callback_handler.on_train_begin(self.args, self.state, self.control)

    # ---- an epoch ---------------------------------------------------------------------------------------------------

    def open_epoch(self, epoch: int) -> None:
        """As an epoch begins, counted from 0."""
        self.control = self.callback_handler.on_epoch_begin(self.args, self.state, self.control)
        self.draw_seed()

    def draw_seed(self) -> None:
        """Draws what torch's data loaders draw each time they begin, so that what follows is the same as alone."""
        torch.empty((), dtype=torch.int64, device=self.generator.device).random_(generator=self.generator)

    def batches(self) -> list[np.ndarray]:
        """The training rows of the epoch, by number among these; a batch each."""
        order = self.sampler.order()
        size = self.args.train_batch_size
        return [order[begin : begin + size] for begin in range(0, len(order), size)]

    def row_weights(self) -> np.ndarray | None:
        """(n,) what each training row weighs in this epoch; None where all weigh the same."""
        weights = self._train_column("sample_weights")
        return None if weights is None else weights * np.float32(self.weight_scale)

    def close_epoch(
        self,
        losses: list[float],
        norms: list[float],
        rates: list[float],
        logits: np.ndarray | None,
        confident: np.ndarray | None = None,
    ) -> None:
        """As an epoch ends: logs, scores, the best epoch, early stopping.

        Args:
            losses, norms, rates: of each of its steps, the loss, the gradients' norm before they were clipped and the
                learning rate.
            logits: (rows, classes) of the validation rows; None without any.
            confident: (n,) the largest probability of each training row, where the curriculum asks for it.
        """
        self.improved, self._logits, self._confident = False, logits, confident
        self.step_losses += losses
        self.step_rates += rates
        begun = self.state.global_step
        epoch = begun // self.epoch_steps
        by_step = self.args.logging_strategy == IntervalStrategy.STEPS
        for number, (loss, norm, rate) in enumerate(zip(losses, norms, rates, strict=True), 1):
            self._tr_loss += loss
            self.state.global_step = begun + number
            self.state.epoch = epoch + number / self.epoch_steps
            if by_step:
                self.control = self.callback_handler.on_step_begin(self.args, self.state, self.control)
                self.control = self.callback_handler.on_step_end(self.args, self.state, self.control)
                self._log_and_evaluate(epoch, norm, rate)
        self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
        self._log_and_evaluate(epoch, norms[-1], rates[-1])

    def _log_and_evaluate(self, epoch: int, norm: float, rate: float) -> None:
        self._maybe_log_save_evaluate(self._tr_loss, norm, self.model, None, epoch, None, self._start, rate)

    def save_due(self) -> bool:
        """Never: the stack is saved as a whole."""
        return False

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """As in `Trainer`, of the logits that the stack gave."""
        begun, labels = time.time(), np.asarray(self.eval_dataset.labels)
        self.draw_seed()
        found = self.compute_metrics(EvalPrediction(predictions=self._logits, label_ids=labels))
        found = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        found[f"{metric_key_prefix}_loss"] = self.loss_of_all(self._logits, labels)
        steps = -(-len(labels) // self.args.eval_batch_size)
        found.update(speed_metrics(metric_key_prefix, begun, num_samples=len(labels), num_steps=steps))
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _confidence(self) -> np.ndarray:
        self.draw_seed()
        return self._confident

    def keep_weights(self) -> None:
        """Tells the stack to keep them."""
        self.improved = True

    @property
    def ended(self) -> bool:
        """Whether it stopped, or is through all epochs."""
        return self.control.should_training_stop or self.state.global_step >= self.max_steps

    # ---- the end ----------------------------------------------------------------------------------------------------

    def close(self, seconds: float, load: Callable[[Tensor, torch.nn.Module], None], last: Tensor) -> None:
        """As training ends.

        Args:
            seconds: of it: the run's share of the stack's.
            load: puts a row of weights into a model.
            last: the weights of the last epoch.
        """
        self._seconds, self._load = seconds, load
        load(last, self.model)
        self._finalize_training(None, self._train_samples, self._start)

    @property
    def seconds(self) -> float:
        """Its share of what the stack took."""
        return self._seconds

    def load_best(self) -> None:
        """Puts the weights of the best validation epoch into the model."""
        self._load(self.best_row, self.model)

    # ---- saving -----------------------------------------------------------------------------------------------------

    def saved(self) -> dict[str, Any]:
        """What the run is besides weights and optimiser, as JSON values and arrays."""
        confidence = self.sampler.confidence
        return {
            "global_step": self.state.global_step,
            "epoch": self.state.epoch,
            "log_history": self.state.log_history,
            "stopped": self.control.should_training_stop,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "epochs_without_improvement": self.epochs_without_improvement,
            "running_loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "last_logged_step": self._globalstep_last_logged,
            "step_losses": self.step_losses,
            "step_rates": self.step_rates,
            "confidence": None if confidence is None else torch.from_numpy(confidence),
            "generator": self.generator.get_state(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Goes on from what `saved` gave."""
        self.state.global_step, self.state.epoch = saved["global_step"], saved["epoch"]
        self.state.log_history = list(saved["log_history"])
        self.control.should_training_stop = saved["stopped"]
        self.best_score, self.best_epoch = saved["best_score"], saved["best_epoch"]
        self.epochs_without_improvement = saved["epochs_without_improvement"]
        self._tr_loss, self._total_loss_scalar = torch.tensor(saved["running_loss"]), saved["total_loss"]
        self._globalstep_last_logged = saved["last_logged_step"]
        self.step_losses, self.step_rates = list(saved["step_losses"]), list(saved["step_rates"])
        if saved["confidence"] is not None:
            self.sampler.confidence = saved["confidence"].numpy()
        self.generator.set_state(saved["generator"].cpu())


__all__ = ["StackedRun"]
