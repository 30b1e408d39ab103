"""One run: an experiment, a seed and a fold, from rows to trained weights and test scores."""

import copy
import hashlib
import json
import logging
import math
import os
import tempfile
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import EvalPrediction
from transformers import PreTrainedConfig
from transformers import TrainerCallback
from transformers import set_seed

from ..configuration_emomm import EmoMMConfig
from ..corpora.loading import UNKNOWN
from ..curriculum.curriculum import difficulty_weights
from ..curriculum.curriculum import epoch_batches
from ..curriculum.schedules import SCHEDULES
from ..curriculum_trainer import CurriculumTrainer
from ..curriculum_trainer import CurriculumTrainingArguments
from ..curriculum_trainer import logits_of
from ..data_collator import EmoMMDataCollator
from ..errors import InputError
from ..errors import show
from ..evaluation.learning_checks import RunRecord
from ..evaluation.learning_checks import Warnings
from ..evaluation.metrics import RATINGS
from ..evaluation.metrics import emotion_scores
from ..evaluation.metrics import scalar_scores
from ..evaluation.metrics import vad_scores
from ..evaluation.protocols import Fold
from ..exporting import export_model
from ..exporting import shared_encoder_weights
from ..features.sequences import EmotionRows
from ..features.text_encoders import check_max_length
from ..features.text_encoders import load_encoder
from ..features.text_encoders import load_encoder_config
from ..features.text_encoders import load_tokenizer
from ..features.text_encoders import public_name
from ..features.text_states import TextStateStore
from ..features.text_states import encoder_fingerprint
from ..files import write_json
from ..files import write_text
from ..files import write_whole
from ..fusions import get_fusion
from ..fusions import load_fusion_module
from ..modeling_emomm import EmoMMForEmotionClassification
from ..processing_emomm import EmoMMProcessor
from ..settings.consistency import curriculum_notes
from ..settings.settings import Settings
from ..tracking.tracker import Tracker
from ..tracking.tracker import check_trackers
from ..tracking.tracker import tracked
from .data import ExperimentData
from .fusion_trial import drops_out_of_reach
from .fusion_trial import try_fusion
from .learning_watch import LearningWatch

logger = logging.getLogger(__name__)

Encoders = dict[str, PreTrainedConfig | InputError]

_FINE_TUNING_RATE = 2e-5
_HF_SCHEDULERS = {
    "cosine": "cosine",
    "linear": "linear",
    "constant": "constant",
    "none": "constant",
    "plateau": "reduce_lr_on_plateau",
}


def _encoder_config(name: str) -> PreTrainedConfig | InputError:
    try:
        config = load_encoder_config(name)
        load_tokenizer(name)
        encoder_fingerprint(name)
    except InputError as error:
        return error
    return config


def _json_value(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _took(optimizer: torch.optim.Optimizer, name: str, value: str) -> bool:
    """Whether an optimiser of torch has an argument of `optim_args`: the Trainer passes over those it doesn't know.

    Those of other packages have arguments that they show nowhere.
    """
    if not type(optimizer).__module__.startswith("torch."):
        return True
    kept = optimizer.defaults.get(name)
    if isinstance(kept, bool):
        return kept == (value.lower() in ("true", "1", "yes"))
    return isinstance(kept, int | float) and kept == float(value)


class RunFailed(RuntimeError):
    """A run that could not give a result; the job goes on with the others.

    Args:
        message: why.
        warnings: of `learning_checks`, where it learned nothing.
    """

    def __init__(self, message: str, warnings: Warnings = ()):
        super().__init__(message)
        self.warnings = list(warnings)


def _load_chosen(trainer: CurriculumTrainer, watch: LearningWatch) -> None:
    """Puts the weights of the best validation epoch into the model; without validation the last ones stay there.

    Raises RunFailed where training diverged before there were any.
    """
    watch.look(trainer.model, trainer.state.epoch)
    validated = trainer.eval_dataset is not None
    if (validated and trainer.best_epoch is None) or (not validated and watch.record.diverged_epoch is not None):
        found = watch.warnings(trainer.state.log_history)
        raise RunFailed(f"training diverged: {found[0]['said']}; try {found[0]['try']}", found)
    if validated:
        trainer.load_best()


@dataclass(frozen=True)
class Run:
    """One run of a job.

    Args:
        settings: the experiment.
        seed: of the weights, the order and the validation draw.
        fold: which rows train, validate and test.
        folder: where its files go.
        inputs: everything that can change its result, besides the seed and the fold: the settings, a hash of each
            corpus, the number of processes.
        stop_after_epoch: end there, with the schedules of all epochs. Goes with a fold without validation rows.
        epoch_steps: optimiser steps of every epoch, where they are not those of one pass over the training rows.
    """

    settings: Settings
    seed: int
    fold: Fold
    folder: Path
    inputs: dict[str, Any]
    stop_after_epoch: int | None = None
    epoch_steps: int | None = None

    @cached_property
    def identity(self) -> str:
        """Hash of everything that can change its result."""
        everything = {**self.inputs, "seed": self.seed, "fold": self.fold.name}
        return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.settings.name} · seed {self.seed} · {self.fold.name}"


class Experiment:
    """What the runs of one experiment share: rows, encoder states, the model's configuration.

    Args:
        data: the corpora.
        job_folder: of the job; the exports of its runs share encoder weights there.
        offline_ok: go on without the encoder where it can't be reached (a plan needs it only for checks).
        encoders: by name, the configurations found before, or why there is none: whether an encoder can be reached
            can take half a minute to find out. Added to.

    Raises InputError for what can't be trained.
    """

    def __init__(
        self, data: ExperimentData, job_folder: Path, offline_ok: bool = False, encoders: Encoders | None = None
    ):
        self.data, self.settings, self.job_folder = data, data.settings, job_folder
        self._statistics: tuple[bytes, dict[str, tuple[np.ndarray, np.ndarray]]] = (b"", {})
        self.callbacks: list[TrainerCallback] = []  # of each run's trainer, besides its trackers
        self._optimizer_checked = False
        settings = self.settings
        self.notes = curriculum_notes(settings)
        check_trackers(settings)
        self.fusion_module = None
        if settings.modality == "both":
            if settings.fusion_module is not None:
                self.fusion_module = self._checked(load_fusion_module, settings.fusion_module)
            self.fusion = self._checked(get_fusion, settings.fusion_type)
            data.check_something() if self.may_lack else data.check_complete()
        self.encoder_config = None
        if settings.modality != "audio":
            self._find_encoder(offline_ok, {} if encoders is None else encoders)

    def _find_encoder(self, offline_ok: bool, encoders: Encoders) -> None:
        """The encoder's configuration; that its tokenizer and weights are there too is checked."""
        name = self.settings.text_model_name
        if name not in encoders:
            encoders[name] = _encoder_config(name)
        found = encoders[name]
        if isinstance(found, InputError):
            if not offline_ok:
                raise found
            self.notes.append(f"not checked: {found}")
        else:
            self.encoder_config = copy.deepcopy(found)
            check_max_length(name, found, self.settings.text_max_length)
            special = self.tokenizer.num_special_tokens_to_add()
            if self.settings.text_max_length <= special:
                raise InputError(
                    f"text_max_length={self.settings.text_max_length} leaves no room for words: the encoder {name!r} "
                    f"adds {special} special tokens, so it must be at least {special + 1}"
                )

    def _checked(self, function, *args, **kwargs):
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 a user's file can raise anything
            raise InputError(f"experiment {self.settings.name!r}: {self._what(error)}") from error

    def _what(self, error: Exception) -> str:
        """The error in a line: of a user's own fusion, with file, line and type; else its message."""
        own = self.settings.fusion_module
        message = " ".join(str(error).split())
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
        if isinstance(error, SyntaxError) and error.filename == own:
            lines, message = [error.lineno], error.msg
        return f"fusion_module {own}, line {lines[-1]}: {type(error).__name__}: {message}" if lines else message

    def check(self, run: Run) -> None:
        """Raises InputError for what can only be found with a run's training rows at hand."""
        train_rows = self.data.rows(run.fold.train)
        config = self.config(self.data.label_ids[train_rows])
        arguments = self._checked(self.arguments, run)
        if not self._optimizer_checked and any(name.startswith("optim") for name in self.settings.training_arguments):
            self._check_optimizer(arguments, config)
        self.data.check_ratings(train_rows, run.fold.name)
        if self.fusion_module is not None:
            self._checked(try_fusion, config)
            self._note_own_dropout(config)

    def _note_own_dropout(self, config: EmoMMConfig) -> None:
        note = (
            f"experiment {self.settings.name!r}: the fusion {config.fusion_type!r} is random in training by itself, "
            "which post_curriculum_dropout doesn't change: make its dropout a module, such as torch.nn.Dropout"
        )
        if self.settings.post_curriculum_dropout is not None and note not in self.notes:
            if self._checked(drops_out_of_reach, config):
                self.notes.append(note)

    def _check_optimizer(self, arguments: CurriculumTrainingArguments, config: EmoMMConfig) -> None:
        """Makes the optimiser, for a model of this kind: many come in packages of their own."""
        given = {name: value for name, value in self.settings.training_arguments.items() if name.startswith("optim")}
        pairs = [pair.strip().partition("=") for pair in (arguments.optim_args or "").split(",") if pair.strip()]
        if not all(equals for _, equals, _ in pairs):
            raise InputError(
                f"experiment {self.settings.name!r}: optim_args is {show(arguments.optim_args)}, but must be "
                "name=value, or several with commas between"
            )
        try:
            with tempfile.TemporaryDirectory() as arguments.output_dir:  # the Trainer makes it
                model, nobody = EmoMMForEmotionClassification(config), np.zeros(0)
                trainer = CurriculumTrainer(model=model, args=arguments, eval_dataset=[], speakers=nobody)
                optimizer = trainer.create_optimizer()
        except Exception as error:  # noqa: BLE001 each package has errors of its own
            said = ", ".join(f"{name} is {show(value)}" for name, value in given.items())
            raise InputError(
                f"experiment {self.settings.name!r}: {said}: no such optimiser can be made here ({self._what(error)})"
            ) from error
        for name, _, value in pairs:
            if not _took(optimizer, name.strip(), value.strip()):
                raise InputError(
                    f"experiment {self.settings.name!r}: optim_args is {show(arguments.optim_args)}, but the Trainer "
                    f"hands no {name.strip()!r} on to {arguments.optim.value}: take it out, or choose another optim"
                )
        self._optimizer_checked = True

    @property
    def may_lack(self) -> bool:
        """Whether a row may lack a modality."""
        return self.settings.modality == "both" and self.fusion.handles_missing

    @property
    def uses_sequences(self) -> bool:
        """Whether the model reads frames and tokens, rather than one vector of each."""
        return self.settings.modality == "both" and self.fusion.uses_sequences

    @property
    def encoder_hash(self) -> str:
        """Hash of the text encoder's weights, configuration and tokenizer."""
        return encoder_fingerprint(self.settings.text_model_name)

    # ---- what the runs read -----------------------------------------------------------------------------------------

    @cached_property
    def tokenizer(self):
        """The text encoder's tokenizer; None for voice alone."""
        return None if self.settings.modality == "audio" else load_tokenizer(self.settings.text_model_name)

    @cached_property
    def audio(self):
        """Voice features of all rows; one vector each where the model would average the frames anyway."""
        if self.settings.modality == "text":
            return None
        audio = self.data.audio()
        as_they_are = self.uses_sequences or self.settings.audio_projection_dim is not None
        return audio if as_they_are else audio.pooled("mean")

    @cached_property
    def text(self):
        """States of the frozen encoder of all rows; None where there is no encoder, or it is fine-tuned."""
        settings = self.settings
        if settings.modality == "audio" or not settings.freeze_text_encoder:
            return None
        store = TextStateStore(
            settings.text_model_name, settings.text_max_length, settings.store_dtype, settings.store_dir
        )
        states = store.states(self.data.words(self.may_lack))
        return states if self.uses_sequences else states.pooled(settings.text_pooling)

    @cached_property
    def tokens(self) -> list[np.ndarray] | None:
        """Token ids of all rows where the encoder is fine-tuned."""
        if self.settings.modality == "audio" or self.settings.freeze_text_encoder:
            return None
        processor = EmoMMProcessor(
            self.tokenizer, max_length=self.settings.text_max_length, allow_missing=self.may_lack
        )
        return processor.tokenize(self.data.transcripts())

    def rows(
        self, indices: np.ndarray, sample_weights: np.ndarray | None = None, vad: np.ndarray | None = None
    ) -> EmotionRows:
        """Some rows as a data set for the Trainer; with weights and ratings, where they are trained on."""
        return EmotionRows(
            audio=None if self.audio is None else self.audio.take(indices),
            text=None if self.text is None else self.text.take(indices),
            tokens=None if self.tokens is None else [self.tokens[i] for i in indices],
            labels=self.data.label_ids[indices],
            sample_weights=sample_weights,
            vad=vad,
        )

    # ---- model and arguments ----------------------------------------------------------------------------------------

    def config(self, train_labels: np.ndarray) -> EmoMMConfig:
        """The model's configuration; balanced class weights come from the training rows."""
        settings, labels = self.settings, self.data.labels
        text_dim = self.encoder_config.hidden_size if self.encoder_config is not None else 768
        weights = None
        if settings.class_weights == "balanced":
            counts = np.bincount(train_labels, minlength=len(labels))
            weights = (len(train_labels) / (len(labels) * counts)).tolist()
        elif isinstance(settings.class_weights, dict):
            weights = [float(settings.class_weights[name]) for name in labels]
        same = ("modality", "feature_normalization", "audio_projection_dim", "text_max_length", "text_pooling")
        same += ("freeze_text_encoder", "modality_dropout", "dropout", "hidden_dim")
        same += ("fusion_type", "fusion_block", "fusion_hidden_dim", "num_attention_heads")
        same += ("loss", "focal_gamma", "loss_temperature", "label_smoothing", "vad_loss_weight")
        return self._checked(
            EmoMMConfig,
            **{name: getattr(settings, name) for name in same},
            audio_dim=768 if self.audio is None else self.audio.dim,
            audio_encoder="" if self.audio is None else public_name(self.data.train[0].spec.extractor),
            speech_encoder=None if self.audio is None else self.data.train[0].spec.speech_encoder,
            text_config=self.encoder_config,
            text_dim=text_dim,
            text_model_name="" if settings.modality == "audio" else settings.text_model_name,
            fusion_module=self.fusion_module,
            feature_noise=self._feature_noise(len(train_labels), text_dim),
            class_weights=weights,
            id2label=dict(enumerate(labels)),
            label2id={name: i for i, name in enumerate(labels)},
        )

    def _feature_noise(self, rows: int, text_dim: int) -> dict[str, float] | None:
        """The deviation of the training noise of each modality that is standardised.

        Noise on the inputs acts as a ridge penalty (Bishop 1995, Neural Computation 7), and that needs to grow with
        the dimensions and to fall with the rows: with more dimensions than rows, each row can be told from all others
        by what says nothing of its class.
        """
        settings = self.settings
        if settings.feature_normalization == "none" or settings.feature_noise == 0:
            return None
        dims = {} if self.audio is None else {"audio": self.audio.dim}
        if settings.modality != "audio" and settings.freeze_text_encoder:
            dims["text"] = text_dim
        given = settings.feature_noise
        return {name: min(0.5, dim / rows) ** 0.5 if given is None else given for name, dim in dims.items()} or None

    def arguments(self, run: Run) -> CurriculumTrainingArguments:
        """The Trainer's arguments."""
        settings = self.settings
        curriculum = settings.curriculum_type if settings.use_curriculum_learning else "none"
        own_schedule = settings.lr_scheduler in SCHEDULES
        scheduler_kwargs = dict(settings.lr_scheduler_kwargs)
        lower_is_better = settings.metric_for_best_model == "loss"
        if settings.lr_scheduler == "plateau":
            scheduler_kwargs.setdefault("mode", "min" if lower_is_better else "max")
        order = settings.class_order
        given = {
            "output_dir": str(run.folder),
            "num_train_epochs": settings.num_epochs,
            "per_device_train_batch_size": settings.batch_size,
            "per_device_eval_batch_size": max(settings.batch_size, 256 if settings.freeze_text_encoder else 1),
            "learning_rate": settings.learning_rate,
            "lr_base_width": settings.lr_base_width,
            "lr_width_limit": settings.lr_width_limit,
            "weight_decay": settings.weight_decay,
            "lr_scheduler_type": "constant" if own_schedule else _HF_SCHEDULERS[settings.lr_scheduler],
            "lr_schedule": settings.lr_scheduler if own_schedule else None,
            "lr_scheduler_kwargs": scheduler_kwargs,
            "metric_for_best_model": settings.metric_for_best_model,
            "greater_is_better": not lower_is_better,
            "early_stopping_patience": settings.early_stopping_patience,
            "early_stopping_threshold": settings.early_stopping_threshold,
            "curriculum_type": curriculum,
            "curriculum_epochs": settings.curriculum_epochs,
            "curriculum_pacing": settings.curriculum_pacing,
            "class_order": None if order is None else [self.data.labels.index(name) for name in order],
            "short_last_batch": settings.short_last_batch,
            "speaker_batches": settings.use_speaker_disentanglement,
            "post_curriculum_dropout": settings.post_curriculum_dropout,
            "seed": run.seed,
            "stop_after_epoch": run.stop_after_epoch,
            "epoch_steps": run.epoch_steps,
            "eval_strategy": "epoch" if run.fold.validation else "no",
            "save_seconds": settings.save_seconds,
            "report_to": "none",  # see tracking.Tracker, which is added as a callback
            "disable_tqdm": True,
            "dataloader_pin_memory": torch.cuda.is_available(),
            "ddp_find_unused_parameters": self.may_lack,
        }
        if settings.modality != "audio" and not settings.freeze_text_encoder:
            given["text_learning_rate"] = settings.text_learning_rate or _FINE_TUNING_RATE
        return self._checked(CurriculumTrainingArguments, **{**given, **settings.training_arguments})

    def steps(self, run: Run, world_size: int) -> int:
        """Optimiser steps of a whole run, without early stopping."""
        rows = self.data.rows(run.fold.train)
        accumulation = int(self.settings.training_arguments.get("gradient_accumulation_steps", 1))
        speakers = self.data.speakers[rows] if self.settings.use_speaker_disentanglement else None
        if speakers is not None:
            speakers = np.unique(speakers, return_inverse=True)[1]
        batches = epoch_batches(len(rows), self.settings.batch_size, world_size * accumulation, speakers)
        return batches // (world_size * accumulation) * self.settings.num_epochs

    # ---- the run ----------------------------------------------------------------------------------------------------

    def train(self, run: Run) -> dict[str, Any]:
        """Trains, or goes on from where it was interrupted; tests once; writes the run's files.

        Returns what `metrics.json` holds. Raises RunFailed where training diverged.
        """
        with tracked(run, self.job_folder) as tracker:
            return self._train(run, tracker)

    def _train(self, run: Run, tracker: Tracker) -> dict[str, Any]:
        data, settings = self.data, self.settings
        train_rows, validation_rows = data.rows(run.fold.train), data.rows(run.fold.validation)
        rated = self._wants_difficulty()
        difficulty, train_difficulty, unrated = data.difficulty(train_rows) if rated else (None, None, None)
        weights = difficulty_weights(train_difficulty) if settings.use_difficulty_scaling else None
        set_seed(run.seed)  # the Trainer seeds only after the model is built
        model = EmoMMForEmotionClassification(self.config(data.label_ids[train_rows]))
        model.config.training_seconds = data.recording_seconds(train_rows) if model.config.uses_audio else None
        if self.tokens is not None:
            model.attach_text_encoder(load_encoder(settings.text_model_name))
        self._standardize(model, train_rows)
        args = self.arguments(run)
        order = data.own_curriculum_order[train_rows]
        trainer = CurriculumTrainer(
            model=model,
            args=args,
            train_dataset=self.rows(train_rows, weights, data.vad[train_rows] if settings.vad_loss_weight else None),
            eval_dataset=self.rows(validation_rows) if run.fold.validation else None,
            data_collator=EmoMMDataCollator(
                pad_token_id=0 if self.tokens is None else self.tokenizer.pad_token_id, allow_missing=self.may_lack
            ),
            compute_metrics=self._scores,
            speakers=data.speakers[train_rows],
            difficulty=train_difficulty,
            preset_order=None if np.isnan(order).any() else order,
            identity=run.identity,
            callbacks=[tracker, *self.callbacks],
        )
        of_train, of_validation = self._class_counts(train_rows), self._class_counts(validation_rows)
        watch = LearningWatch(model, str(run), RunRecord(settings, data.labels, (), of_train, of_validation))
        trainer.add_callback(watch)
        trainer.train(resume_from_checkpoint=True)
        seconds = trainer.seconds
        _load_chosen(trainer, watch)
        result = {
            "experiment": settings.name,
            "seed": run.seed,
            "fold": run.fold.name,
            "status": "done",
            "identity": run.identity,
            "protocol": run.fold.description,
            "parts": self._part_cards(run.fold),
            "rows_without_rating": unrated,
            "steps": trainer.state.global_step,
            "best_epoch": trainer.best_epoch,
            "best_epoch_ties": trainer.best_epoch_ties,
            "train_seconds": round(seconds, 3),
            "validation": self._predict(trainer, validation_rows)[0] if run.fold.validation else None,
            "test": {},
        }
        tables = []
        for part in run.fold.test:  # the test rows are read here for the first time
            rows = data.rows((part,))
            result["test"][part.corpus], probabilities, vad = self._predict(trainer, rows)
            tables.append(self.prediction_table(rows, probabilities, vad, difficulty))
        scores = {"validation rows": result["validation"]} if run.fold.validation else {}
        scores |= {f"test rows of {corpus}": found for corpus, found in result["test"].items()}
        result["warnings"] = watch.warnings(trainer.state.log_history, best_epoch=trainer.best_epoch, scores=scores)
        if args.should_save:
            self._write(run, trainer, pa.concat_tables(tables) if tables else None)
            tracker.finished(result, tables, run.folder / "model")
            # Last, since it says that the run is done.
            write_json(run.folder / "metrics.json", result)
        trainer.accelerator.wait_for_everyone()
        trainer.remove_resume_states()
        trainer.best_weights.unlink(missing_ok=True) if args.should_save else None
        trainer.accelerator.free_memory()
        return result

    def _standardize(self, model: EmoMMForEmotionClassification, train_rows: np.ndarray) -> None:
        """Gives the model the statistics of its training rows; those of the last fold are kept for the next seed."""
        key = train_rows.tobytes()
        if self._statistics[0] != key:
            sources = {"audio": self.audio, "text": self.text}
            found = {name: sources[name].take(train_rows).statistics() for name in model.config.standardized}
            self._statistics = (key, found)
        for name, values in self._statistics[1].items():
            model.set_feature_statistics(name, *(torch.from_numpy(value) for value in values))

    def _wants_difficulty(self) -> bool:
        """Ratings are used where training needs them, and reported where there are any."""
        own = self.settings.difficulty_from_corpus and not np.isnan(self.data.own_difficulty).all()
        return self.data.needs_difficulty or own or not self.settings.difficulty_from_corpus

    def _scores(self, output: EvalPrediction) -> dict[str, float]:
        logits = logits_of(output.predictions)
        scores = scalar_scores(emotion_scores(output.label_ids, logits.argmax(-1), self.data.labels))
        # The class of outputs that are not finite is none.
        return scores if np.isfinite(logits).all() else dict.fromkeys(scores, math.nan)

    def _predict(
        self, trainer: CurriculumTrainer, rows: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
        """Scores, class probabilities (rows, classes) and, of a model that gives it, V/A/D (rows, 3) of some rows."""
        config = trainer.model.config
        unread = [name for name in config.keys_to_ignore_at_inference if name != "vad"]
        predictions = trainer.predict(self.rows(rows), ignore_keys=unread).predictions
        logits, vad = logits_of(predictions), predictions[1] if config.gives_vad else None
        if not np.isfinite(logits).all() or (vad is not None and not np.isfinite(vad).all()):
            raise RunFailed("training diverged: the model's outputs are not finite; lower learning_rate")
        probabilities = torch.from_numpy(logits).float().softmax(dim=-1).numpy()
        scores = emotion_scores(self.data.label_ids[rows], logits.argmax(-1), self.data.labels)
        if vad is not None:
            scores["vad"] = vad_scores(self.data.vad[rows], vad)
        return scores, probabilities, vad

    def _part_cards(self, fold: Fold) -> dict[str, dict[str, Any]]:
        """What is in each part. `speakers_trained_on`: of the validation speakers, those that are trained on too;
        None where not all are known."""
        cards = {part: self._part_card(getattr(fold, part)) for part in ("train", "validation", "test")}
        trained, validated = (set(self.data.speakers[self.data.rows(part)]) for part in (fold.train, fold.validation))
        known = not any(name.endswith(f"/{UNKNOWN}") for name in trained | validated)
        cards["validation"]["speakers_trained_on"] = len(trained & validated) if known else None
        return cards

    def _class_counts(self, rows: np.ndarray) -> np.ndarray:
        """(C,) how many of the rows have each label."""
        return np.bincount(self.data.label_ids[rows], minlength=len(self.data.labels))

    def _part_card(self, parts) -> dict[str, Any]:
        rows = self.data.rows(parts)
        counts = self._class_counts(rows).tolist()
        return {
            "rows": len(rows),
            "corpora": [part.corpus for part in parts],
            "speakers": sorted(set(self.data.speakers[rows].tolist()))[:50],
            "speaker_count": len(set(self.data.speakers[rows].tolist())),
            "classes": dict(zip(self.data.labels, counts, strict=True)),
        }

    def prediction_table(
        self,
        rows: np.ndarray,
        probabilities: np.ndarray,
        vad: np.ndarray | None = None,
        difficulty: np.ndarray | None = None,
    ) -> pa.Table:
        """predictions.parquet: what is known of some rows, and what was made of them.

        Args:
            rows: (n,) where they are in the arrays of `data`.
            probabilities: (n, classes); the most probable class is the prediction.
            vad: (n, 3) predicted ratings, of what gives them.
            difficulty: of *all* rows.
        """
        names = np.array(self.data.labels, dtype=object)
        flat = pa.array(probabilities.astype(np.float32).reshape(-1))
        hard = np.full(len(rows), np.nan) if difficulty is None else difficulty[rows]
        columns = {
            "utterance_id": self.data.utterance_ids[rows],
            "corpus": self.data.corpus_names[rows],
            "speaker": self.data.speakers[rows],
            "session": self.data.sessions[rows],
            "label": names[self.data.label_ids[rows]],
            "prediction": names[probabilities.argmax(-1)],
            "probabilities": pa.FixedSizeListArray.from_arrays(flat, len(names)),
            "difficulty": hard.astype(np.float32),
        }
        if vad is not None:
            columns |= {name: self.data.vad[rows, i] for i, name in enumerate(RATINGS)}
            columns |= {f"predicted_{name}": vad[:, i].astype(np.float32) for i, name in enumerate(RATINGS)}
        return pa.table(columns).replace_schema_metadata({"labels": json.dumps(self.data.labels)})

    def _write(self, run: Run, trainer: CurriculumTrainer, predictions: pa.Table | None) -> None:
        """The run's files but `metrics.json`."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        export_model(model, run.folder / "model", self.tokenizer, self._encoder_weights)
        if predictions is not None:
            write_whole(run.folder / "predictions.parquet", lambda path: pq.write_table(predictions, path))
        # A resume state has the keys sorted.
        history = [sorted(entry.items()) for entry in trainer.state.log_history]
        finite = [{key: _json_value(value) for key, value in entry} for entry in history]
        write_text(run.folder / "history.json", json.dumps(finite))

    @cached_property
    def _encoder_weights(self) -> Path | None:
        """The frozen encoder's weights, written once in the job's folder, for all exports to link to."""
        if self.settings.modality == "audio" or not self.settings.freeze_text_encoder:
            return None
        name = self.settings.text_model_name
        return shared_encoder_weights(self.job_folder, self.encoder_hash[:16], lambda: load_encoder(name))

    def card(self) -> dict[str, Any]:
        """What results.json says of the experiment besides its runs."""
        return {
            "name": self.settings.name,
            "labels": self.data.labels,
            "corpora": [corpus.card() for corpus in self.data.corpora],
            "text_encoder": None
            if self.settings.modality == "audio"
            else {
                "name": public_name(self.settings.text_model_name),
                "sha256": self.encoder_hash,
                "local": os.path.isdir(self.settings.text_model_name)
                or self.settings.text_model_name.startswith("package:"),
            },
            "selection": {
                "metric": self.settings.metric_for_best_model,
                "validation": self.settings.validation,
                "fraction": None if self.settings.validation == "session" else self.settings.validation_fraction,
            },
            "shared_rows": self.data.shared_rows,
            "notes": [*self.data.notes, *self.notes],
        }
