"""The arguments of a training with a curriculum: those of the Trainer, and what EmoMM adds."""

from dataclasses import dataclass
from dataclasses import field

import torch
from transformers import Trainer
from transformers import TrainingArguments
from transformers import get_scheduler

from .pool import Curriculum
from .schedules import SCHEDULES
from .schedules import build_schedule


@dataclass
class CurriculumTrainingArguments(TrainingArguments):
    """`TrainingArguments`, and what EmoMM adds.

    Evaluation is once an epoch. Full resume states follow `save_seconds`, so `save_strategy` stays `no`; the best
    weights are kept in `best.safetensors` at each improvement of `metric_for_best_model`.
    """

    eval_strategy: str = field(default="epoch")
    save_strategy: str = field(default="no")
    logging_strategy: str = field(default="epoch")
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Replace losses that are not finite in the logs; asks the device each step."}
    )
    metric_for_best_model: str | None = field(default="uar")
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "The collator makes exactly the model's inputs: nothing is left to remove."}
    )
    curriculum_type: str = field(default="none", metadata={"help": "A name in curriculum.curricula."})
    curriculum_module: str | None = field(
        default=None, metadata={"help": "Python file that registers curricula of the user's own."}
    )
    curriculum_pacing: str = field(default="sqrt", metadata={"help": "One of choices.PACINGS."})
    curriculum_epochs: int = field(
        default=0,
        metadata={
            "help": "Epochs until the pool is all rows; 0 is none. Dropout and early stopping wait for their end, "
            "whatever curriculum_type is: trainings with a curriculum and without one differ in nothing else."
        },
    )
    class_order: list[int] | None = field(
        default=None, metadata={"help": "The order in which classes enter a class_balance curriculum."}
    )
    speaker_batches: bool = field(default=False, metadata={"help": "Every batch holds the rows of one speaker."})
    short_last_batch: bool = field(
        default=False,
        metadata={"help": "Leave the last batch of an epoch short, where there is one device and no speaker_batches."},
    )
    post_curriculum_dropout: float | None = field(
        default=None, metadata={"help": "Dropout of the head after curriculum_epochs; None, or 0 epochs, leaves it."}
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after so many epochs without improvement, counted after curriculum_epochs."},
    )
    early_stopping_threshold: float = field(default=0.0, metadata={"help": "The least change that is an improvement."})
    stop_after_epoch: int | None = field(
        default=None, metadata={"help": "End after so many epochs; the schedules stay those of num_train_epochs."}
    )
    epoch_steps: int | None = field(
        default=None,
        metadata={"help": "Optimiser steps of every epoch; None: as many as one pass over the training rows takes."},
    )
    lr_schedule: str | None = field(
        default=None, metadata={"help": f"In place of lr_scheduler_type, one of {', '.join(SCHEDULES)}."}
    )
    lr_width_limit: float | None = field(
        default=None,
        metadata={
            "help": "Most that a step may change what a row of weights gives: a matrix' rate is at most this / (its "
            "inputs x the root of the number of matrices), a vector's this / its length; None: no limit."
        },
    )
    lr_base_width: int | None = field(
        default=None,
        metadata={"help": "Inputs of the matrix that learning_rate is meant for: narrower ones learn faster."},
    )
    text_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of what is tuned of the text encoder."}
    )
    speech_learning_rate: float | None = field(
        default=None, metadata={"help": "Learning rate of what is tuned of the speech encoder."}
    )
    text_layer_decay: float = field(
        default=1.0, metadata={"help": "What it falls by from each layer of the text encoder to the one below."}
    )
    speech_layer_decay: float = field(
        default=1.0, metadata={"help": "What it falls by from each layer of the speech encoder to the one below."}
    )
    save_seconds: float = field(default=30.0, metadata={"help": "Least time between two full resume states."})

    def __post_init__(self):
        if self.greater_is_better is None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")
        super().__post_init__()
        self.curriculum()  # raises ValueError for what is not known
        if self.epoch_steps is not None and self.epoch_steps < 1:
            raise ValueError(f"epoch_steps must be at least 1, got {self.epoch_steps}")
        if self.short_last_batch and self.speaker_batches:
            raise ValueError("short_last_batch does not go with speaker_batches, which fill a short batch")
        if self.label_smoothing_factor:
            raise ValueError("label_smoothing_factor bypasses the model's loss: set label_smoothing in EmoMMConfig")
        if self.lr_schedule is not None and self.lr_schedule not in SCHEDULES:
            raise ValueError(f"lr_schedule={self.lr_schedule!r} is not known; it can be {', '.join(SCHEDULES)}")
        self._check_schedule()

    def _check_schedule(self) -> None:
        """Raises ValueError for scheduler arguments that don't fit; the Trainer would find out when it trains."""
        kwargs = dict(self.lr_scheduler_kwargs or {})
        optimizer_class, options = torch.optim.SGD, {"lr": self.learning_rate}
        if kwargs.get("cycle_momentum"):
            optimizer_class, options = Trainer.get_optimizer_cls_and_kwargs(self)
        optimizer = optimizer_class([torch.nn.Parameter(torch.zeros(1))], **options)
        if self.lr_schedule is not None:
            build_schedule(self.lr_schedule, optimizer, 1, self.learning_rate, self.curriculum_epochs, kwargs)
            return
        try:
            get_scheduler(self.lr_scheduler_type, optimizer, 0, 1, kwargs)
        except TypeError as error:
            raise ValueError(
                f"lr_scheduler_kwargs={kwargs!r} does not fit {self.lr_scheduler_type.value!r}: {error}"
            ) from error

    def curriculum(self) -> Curriculum:
        """The curriculum that these arguments describe."""
        order = None if self.class_order is None else tuple(self.class_order)
        return Curriculum(
            type=self.curriculum_type,
            pacing=self.curriculum_pacing,
            epochs=self.curriculum_epochs,
            class_order=order,
            seed=self.seed,
            module=self.curriculum_module,
        )


__all__ = ["CurriculumTrainingArguments"]
