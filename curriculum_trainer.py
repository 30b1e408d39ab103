"""A Trainer with a curriculum, speaker batches and difficulty weighting, whose interrupted runs resume exactly."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import IntervalStrategy

from .curriculum.arguments import CurriculumTrainingArguments
from .curriculum.pool import pool_statistics
from .curriculum.sampling import CurriculumSampler
from .curriculum.schedules import build_schedule
from .evaluation.chance import frequencies_loss
from .evaluation.learning_checks import FREQUENCIES_LOSS
from .evaluation.window_means import first_windows
from .evaluation.window_means import window_means
from .files import link_or_copy
from .files import write_whole
from .losses import emotion_loss
from .losses import weights_of
from .optimizer_groups import encoders_of
from .optimizer_groups import gradient_norm
from .optimizer_groups import refuse_missing
from .optimizer_groups import regroup
from .optimizer_groups import trained_state
from .resuming.resumable_trainer import ResumableTrainer

logger = logging.getLogger(__name__)

_STATE_FILE = "emomm_state.json"
_CONFIDENCE_FILE = "confidence.npy"
BEST_WEIGHTS = "best.safetensors"


class CurriculumTrainer(ResumableTrainer):
    """`Trainer` that overrides sampling (curriculum, speaker batches), the loss (weights of the rows) and saving.

    Weights of the rows are scaled in each epoch so that their mean over its pool is their mean over all training rows:
    else the easiest rows, which weigh least, would also learn at a lower rate, and the hardest at a higher one.

    Args:
        speakers: (n,) speaker of each training row; for `speaker_batches` and the statistics.
        difficulty: (n,) difficulty of each training row.
        preset_order: (n,) rank of each training row in a preset curriculum.

    The rest is as in `ResumableTrainer`. `train_dataset` gives `labels` as an attribute (`EmotionRows`) or a column
    `labels` or `label`, and weights as `sample_weights`.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *args,
        speakers: np.ndarray | None = None,
        difficulty: np.ndarray | None = None,
        preset_order: np.ndarray | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if self.args.speaker_batches and speakers is None:
            raise ValueError("speaker_batches needs the speaker of each training row: give speakers")
        self._columns = {"speakers": speakers, "difficulty": difficulty, "preset_order": preset_order}
        self.begin_anew()
        self.remove_callback(PrinterCallback)
        self.add_callback(_EpochControl(self))

    def begin_anew(self) -> None:
        """Forgets what a training before has left."""
        self.group_owners: list[str] = []
        self._gradient_norms: dict[str, torch.Tensor] = {}
        self.sampler: CurriculumSampler | None = None
        self.weight_scale = 1.0
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.epochs_without_improvement = 0

    # ---- sampling ---------------------------------------------------------------------------------------------------

    def _train_column(self, *names: str) -> np.ndarray | None:
        """A column of the training rows: the first of these names that there is, or None."""
        columns = getattr(self.train_dataset, "column_names", ())
        for name in names:
            values = getattr(self.train_dataset, name, None)
            if values is None and name in columns:
                values = self.train_dataset[name][:]
            if values is not None:
                return np.asarray(values)
        return None

    def begin_epoch(self, epoch: int) -> None:
        """Sets what follows from the epoch: the pool, the scale of the weights, dropout."""
        args = self.args
        self.sampler.set_epoch(epoch)
        if hasattr(self.train_dataset, "set_epoch"):
            self.train_dataset.set_epoch(epoch)
        if hasattr(self.train_dataset, "set_pool"):
            self.train_dataset.set_pool(self.sampler.pool())
        weights = self._train_column("sample_weights")
        if weights is not None:
            of_pool = weights[self.sampler.pool()].mean(dtype=np.float64)
            self.weight_scale = float(weights.mean(dtype=np.float64) / of_pool) if of_pool > 0 else 1.0
        if args.post_curriculum_dropout is not None and args.curriculum_epochs > 0:
            self.accelerator.unwrap_model(self.model).set_dropout(self.dropout(epoch))

    def dropout(self, epoch: int) -> float:
        """Of the head in this epoch."""
        changed = self.args.post_curriculum_dropout
        over = changed is not None and 0 < self.args.curriculum_epochs <= epoch
        return changed if over else self.model.config.dropout

    def _get_train_sampler(self, train_dataset=None) -> CurriculumSampler:
        if self.sampler is None:
            of_step = self.args.world_size * self.args.gradient_accumulation_steps
            short = self.args.short_last_batch
            if short and self.args.world_size * max(self.args.n_gpu, 1) > 1:
                logger.warning("short_last_batch holds on one device alone: here the last batch of an epoch is filled")
                short = False
            self.sampler = CurriculumSampler(
                self._train_column("labels", "label"),
                self.args.train_batch_size,
                of_step,
                self.args.curriculum(),
                self.model.config.num_labels,
                self._columns["speakers"] if self.args.speaker_batches else None,
                self._columns["difficulty"],
                self._columns["preset_order"],
                None if self.args.epoch_steps is None else self.args.epoch_steps * of_step,
                short,
                getattr(self.train_dataset, "lengths", None),
            )
        return self.sampler

    def pool_log(self) -> dict[str, float]:
        """What this epoch trains on: pool size, fraction, mean difficulty, class mix, distinct speakers; and the loss
        on it of a model that knows the class frequencies alone, for `learning_checks`."""
        sampler = self.sampler
        found = pool_statistics(
            sampler.pool(), sampler.labels, sampler.num_classes, sampler.difficulty, self._columns["speakers"]
        )
        padding = sampler.padding()
        found |= {} if padding is None else {"padding": padding}
        return found | {FREQUENCIES_LOSS: self._frequencies_loss()}

    def _frequencies_loss(self) -> float:
        """Of the rows that the epoch takes: short batches are filled up, and a last pass can be a part of one."""
        config, rows = self.model.config, self.sampler.order()
        weights, ratings = self._train_column("sample_weights"), self._train_column("vad")
        return frequencies_loss(
            self.sampler.labels[rows],
            config.num_labels,
            config.loss,
            config.focal_gamma,
            config.label_smoothing,
            config.class_weights,
            None if weights is None else weights[rows] * self.weight_scale,
            None if ratings is None else ratings[rows],
            config.vad_loss_weight,
        )

    @torch.no_grad()
    def _confidence(self) -> np.ndarray:
        """The largest softmax probability of each training row, from one pass in evaluation mode."""
        loader = self.get_eval_dataloader(getattr(self.train_dataset, "plain", self.train_dataset))
        output = self.evaluation_loop(loader, description="Confidence", prediction_loss_only=False)
        return torch.from_numpy(output.predictions).float().softmax(dim=-1).max(dim=-1).values.numpy()

    # ---- loss, optimiser, schedule ----------------------------------------------------------------------------------

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """As in `Trainer`, but what goes with the batches of a step is what their losses are divided by."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, self._loss_norms(batches)

    def _loss_norms(self, batches: list[dict[str, torch.Tensor]]) -> torch.Tensor | None:
        """(2,): the sums of class weights and of ratings over all that an optimiser step takes, each as a share.

        Batches of one step, on all ranks, differ in both: with its own sum each, the step would not be that of the
        one large batch that they stand for. As the Trainer takes the mean over batches and ranks, the sums are divided
        by their number. None where the step is a single batch, or all batches have the same sums.
        """
        devices = max(self.args.n_gpu, 1)
        parts = len(batches) * self.args.world_size * devices
        weights = self.model.class_weights
        alike = weights is None and not self.args.short_last_batch
        if parts < 2 or (alike and "vad" not in batches[0]):
            return None
        labels = torch.cat([batch["labels"] for batch in batches])
        rows = labels.new_tensor(len(labels)) if weights is None else weights_of(labels, weights).sum()
        ratings = sum((~batch["vad"].isnan()).sum() for batch in batches) if "vad" in batches[0] else rows
        norms = torch.stack([rows.float(), ratings.float()]) / parts
        if self.args.world_size > 1:
            norms = self.accelerator.reduce(norms, "sum")
        return norms if devices == 1 else norms.expand(len(batches[0]["labels"]), 2)  # DataParallel hands out rows

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The model's loss; the weights of the rows count in training alone.

        `num_items_in_batch` is what `get_batch_samples` gives.
        """
        if "sample_weights" in inputs:
            inputs = dict(inputs)
            weights = inputs.pop("sample_weights")
            if model.training:
                inputs["sample_weights"] = weights * self.weight_scale
        if model.training and num_items_in_batch is not None:
            inputs = {**inputs, "loss_norms": num_items_in_batch}
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """As in `Trainer`; of a row that is several windows, the mean of what the model says of them."""
        inputs = dict(inputs)
        window_of = inputs.pop("window_of", None)
        loss, predictions, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        if window_of is None:
            return loss, predictions, labels
        return loss, window_means(predictions, window_of), first_windows(labels, window_of)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        """As in `Trainer`, but the loss is that of all rows at once.

        The Trainer's mean over batches depends on how they are cut, with class weights, and with several processes,
        where the last batches are filled with rows that were there before. Of a model that gives V/A/D too, it is the
        loss of the classes alone.
        """
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if output.predictions is not None and output.label_ids is not None:
            loss = self.loss_of_all(logits_of(output.predictions), output.label_ids)
            output.metrics[f"{metric_key_prefix}_loss"] = loss
        return output

    def loss_of_all(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """The loss of rows that are evaluated together: logits (n, classes), class numbers (n,)."""
        config = self.model.config
        weights = None if config.class_weights is None else torch.tensor(config.class_weights)
        shape = (config.loss, config.focal_gamma, config.loss_temperature, config.label_smoothing)
        return emotion_loss(torch.from_numpy(logits), torch.from_numpy(labels), *shape, weights).item()

    def floating_point_ops(self, inputs) -> int:
        """Not counted: the Trainer's estimate walks all parameters at each step, and is wrong for a head."""
        return 0

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """As in `Trainer`, with the learning rates that `optimizer_groups.regroup` says."""
        created = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if created:
            self.group_owners = regroup(optimizer, self.model if model is None else model, self.args)
        return optimizer

    def _clip_grad_norm(self, model):
        self._note_gradients()
        return super()._clip_grad_norm(model)

    def _get_grad_norm(self, model, grad_norm=None):
        if grad_norm is None and not self._note_gradients():
            return None  # nothing was clipped: the norm is for the log alone
        return super()._get_grad_norm(model, grad_norm)

    def _note_gradients(self) -> bool:
        """Before they are clipped, the norm of the gradients of each encoder, where a step is logged; if it is."""
        step, every = self.state.global_step + 1, self.state.logging_steps
        if self.args.logging_strategy == IntervalStrategy.EPOCH:
            every = self.sampler.batches // (self.args.world_size * self.args.gradient_accumulation_steps)
        if step % max(1, round(every)) and not (step == 1 and self.args.logging_first_step):
            return False
        for name, encoder in encoders_of(self.accelerator.unwrap_model(self.model)).items():
            norm = gradient_norm(encoder.parameters())
            if norm is not None:
                self._gradient_norms[name] = norm
        return True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in `Trainer`; beside the learning rate and the gradients' norm, those of each encoder that is tuned."""
        if "learning_rate" in logs:
            for group, name in zip(self.optimizer.param_groups, self.group_owners, strict=True):
                if name:  # of its layers the top one's rate
                    key = f"{name}_learning_rate"
                    logs[key] = max(group["lr"], logs.get(key, 0.0))
            logs |= {f"{name}_grad_norm": float(norm) for name, norm in self._gradient_norms.items()}
        super().log(logs, start_time)

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """As in `Trainer`, and the schedules of `curriculum/schedules.py`."""
        if self.lr_scheduler is None and self.args.lr_schedule is not None:
            steps = self.sampler.batches // (self.args.world_size * self.args.gradient_accumulation_steps)
            self.lr_scheduler = build_schedule(
                self.args.lr_schedule,
                self.optimizer if optimizer is None else optimizer,
                steps,
                self.args.learning_rate,
                self.args.curriculum_epochs,
                dict(self.args.lr_scheduler_kwargs or {}),
                self.args.get_warmup_steps(num_training_steps),
            )
            self._created_lr_scheduler = True
            return self.lr_scheduler
        return super().create_scheduler(num_training_steps, optimizer)

    # ---- the best weights -------------------------------------------------------------------------------------------

    @property
    def best_weights(self) -> Path:
        """Where the weights of the best validation epoch lie."""
        return self.folder / BEST_WEIGHTS

    @property
    def best_epoch_ties(self) -> int | None:
        """How many later epochs have the very score of the best, which is the first of them: among these, validation
        chooses nothing. None without validation."""
        if self.best_epoch is None:
            return None
        key = f"eval_{self.args.metric_for_best_model.removeprefix('eval_')}"
        scores = [entry[key] for entry in self.state.log_history if key in entry]
        return sum(score == self.best_score for score in scores[self.best_epoch :])

    def _keep_if_better(self, metrics: dict[str, float]) -> None:
        score = metrics[f"eval_{self.args.metric_for_best_model.removeprefix('eval_')}"]
        gain = math.inf
        if not math.isfinite(score):  # of a model whose outputs are not finite: none to be kept
            gain = -math.inf
        elif self.best_score is not None:
            gain = (score - self.best_score) * (1 if self.args.greater_is_better else -1)
        if gain > 0:
            self.best_score, self.best_epoch = score, round(self.state.epoch)
            if self.args.should_save:
                self.keep_weights()
        counted = round(self.state.epoch) > self.args.curriculum_epochs
        if gain > self.args.early_stopping_threshold or not counted:
            self.epochs_without_improvement = 0
        else:
            self.epochs_without_improvement += 1
        patience = self.args.early_stopping_patience
        if patience is not None and self.epochs_without_improvement >= patience:
            self.control.should_training_stop = True
            # From a state that was saved now, a resumed run would go on training.
            self.control.should_save = False

    def keep_weights(self) -> None:
        """Writes the weights, which are the best so far."""
        state = trained_state(self.accelerator.unwrap_model(self.model))
        self.folder.mkdir(parents=True, exist_ok=True)
        # Without waiting for the disk: what is gone on from after the machine went down has a hash of its parts.
        write_whole(self.best_weights, lambda path: save_file(state, path, metadata={"format": "pt"}), synced=False)

    def load_best(self) -> None:
        """Puts the weights of the best validation epoch into the model."""
        self.accelerator.wait_for_everyone()
        model = self.accelerator.unwrap_model(self.model)
        refuse_missing(model, model.load_state_dict(load_file(self.best_weights), strict=False))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """As in `Trainer`; a resume state holds what training changes."""
        model = self.accelerator.unwrap_model(self.model)
        super()._save(output_dir, trained_state(model) if state_dict is None else state_dict)

    def _issue_warnings_after_load(self, load_result) -> None:
        refuse_missing(self.accelerator.unwrap_model(self.model), load_result)

    # ---- resume states ----------------------------------------------------------------------------------------------

    def write_own_state(self, folder: Path) -> None:
        """Adds what is the curriculum's and the choice of the best epoch's to a resume state."""
        super().write_own_state(folder)
        state = {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "epochs_without_improvement": self.epochs_without_improvement,
        }
        (folder / _STATE_FILE).write_text(json.dumps(state))
        if self.sampler.confidence is not None:
            np.save(folder / _CONFIDENCE_FILE, self.sampler.confidence)
        if self.best_epoch is not None:
            link_or_copy(self.best_weights, folder / BEST_WEIGHTS)

    def restore_own_state(self, folder: Path) -> None:
        """Takes it from one."""
        super().restore_own_state(folder)
        state = json.loads((folder / _STATE_FILE).read_text())
        self.best_score, self.best_epoch = state["best_score"], state["best_epoch"]
        self.epochs_without_improvement = state["epochs_without_improvement"]
        if (folder / _CONFIDENCE_FILE).exists():
            self.sampler.confidence = np.load(folder / _CONFIDENCE_FILE)
        if self.args.should_save and self.best_epoch is not None:
            write_whole(self.best_weights, lambda path: link_or_copy(folder / BEST_WEIGHTS, path))


class _EpochControl(TrainerCallback):
    """What happens at the borders of epochs. It holds no state: the trainer and its sampler do."""

    def __init__(self, trainer: CurriculumTrainer):
        self.trainer = trainer

    def on_epoch_begin(self, args, state, control, **kwargs):
        # The Trainer's own set_epoch does not reach the sampler after a resume under several processes.
        trainer = self.trainer
        trainer.begin_epoch(int(state.epoch or 0))
        if not (state.epoch or 0) % 1:  # not when an epoch is resumed in its middle
            trainer.log(trainer.pool_log())

    def on_step_end(self, args, state, control, **kwargs):
        # At the last step of an epoch the state is saved after the evaluation, not before it.
        if state.epoch % 1 and (args.world_size == 1 or state.global_step % 10 == 0) and self.trainer.save_due():
            control.should_save = True

    def on_epoch_end(self, args, state, control, **kwargs):
        trainer = self.trainer
        curriculum = trainer.sampler.curriculum
        if curriculum.needs("confidence") and curriculum.active(round(state.epoch)):
            trainer.sampler.confidence = trainer._confidence()
        if args.stop_after_epoch is not None and round(state.epoch) >= args.stop_after_epoch:
            control.should_training_stop = True  # and nothing is saved: from there, a resumed run would go on
        elif trainer.save_due():
            control.should_save = True

    def on_log(self, args, state, control, logs, **kwargs):
        # The Trainer begins its sum anew by taking it from itself, which leaves what is not finite as it is.
        if "loss" in logs and not math.isfinite(logs["loss"]):
            self.trainer._tr_loss.zero_()

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        if self.trainer.is_in_train:
            self.trainer._keep_if_better(metrics)


def logits_of(predictions: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    """The logits (n, classes) among what `Trainer.predict` gives: they come first."""
    return predictions[0] if isinstance(predictions, tuple) else predictions


__all__ = [
    "CurriculumTrainer",
    "CurriculumTrainingArguments",
    "logits_of",
]
