"""One run: an experiment, a seed and a fold, from rows to trained weights and test scores."""

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback
from transformers import set_seed

from ..audit.audited import Audit
from ..configuration_emomm import EmoMMConfig
from ..curriculum.order import epoch_batches
from ..curriculum.row_weights import difficulty_weights
from ..curriculum_trainer import CurriculumTrainer
from ..curriculum_trainer import CurriculumTrainingArguments
from ..data_collator import EmoMMDataCollator
from ..evaluation.learning_checks import RunRecord
from ..evaluation.predictions import Predictions
from ..evaluation.predictions import write_predictions
from ..exporting import export_model
from ..features.text_encoders import public_name
from ..files import write_json
from ..files import write_text
from ..modeling_emomm import EmoMMForEmotionClassification
from ..settings.consistency import curriculum_notes
from ..settings.tuning import encoder_notes
from ..settings.tuning import speech_tuning
from ..settings.tuning import tunings
from ..text_columns import coded
from ..tracking.tracker import Tracker
from ..tracking.tracker import check_trackers
from ..tracking.tracker import tracked
from .configuring import check_compiler
from .configuring import check_optimizer
from .configuring import model_config
from .configuring import trainer_arguments
from .data import ExperimentData
from .input_forms import INPUTS
from .input_forms import VECTORS
from .inputs import Inputs
from .learning_watch import LearningWatch
from .own_fusion import checked
from .own_fusion import load_fusion
from .own_fusion import note_own_dropout
from .own_fusion import try_fusion
from .part_cards import part_cards
from .run import Run
from .run import RunFailed
from .scoring import predict
from .scoring import predictions_of
from .scoring import validation_scores
from .speech_encoder import RecordingEncoder
from .speech_encoder import tuning_card
from .stackable import check_stackable
from .text_encoder import Encoders
from .text_encoder import TextEncoder

logger = logging.getLogger(__name__)


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
        self.audit: Audit | None = None  # of its rows and folds, once these are planned
        self.callbacks: list[TrainerCallback] = []  # of each run's trainer, besides its trackers
        self._optimizer_checked = False
        self.notes = curriculum_notes(self.settings) + encoder_notes(self.settings)
        check_trackers(self.settings)
        fusion, self.fusion_module = load_fusion(self.settings)
        self.encoder = TextEncoder(self.settings, job_folder) if "text" in self.settings.modalities else None
        hears = speech_tuning(self.settings) is not None
        self.speech = RecordingEncoder(self.settings, job_folder) if hears else None
        self.inputs = Inputs(data, self.encoder, fusion, self.speech)
        if fusion is not None:
            data.check_something() if self.inputs.may_lack else data.check_complete()
        encoders = {} if encoders is None else encoders
        if self.encoder is not None:
            self.notes += self.encoder.find(offline_ok, encoders)
        if self.speech is not None:
            self.notes += self.speech.find(offline_ok, encoders)
            self._choose_form()
        self.inputs.check_augmentation()
        found = [encoder.form.note for encoder in (self.speech, self.encoder) if encoder is not None]
        found.append(self.inputs.windows_in_words)
        self.notes += [f"experiment {self.settings.name!r}: {note}" for note in found if note]

    def _choose_form(self) -> None:
        """Lets the encoder of recordings decide how it is used, by how long they are. Raises InputError as it does."""
        data = self.data
        lengths = np.concatenate([corpus.audio.length for corpus in data.corpora])
        names, corpora = coded(data.corpus_names)
        trained = np.isin(names, [corpus.name for corpus in data.train])[corpora]
        self.speech.choose_form(lengths, trained, lambda row: f"{data.corpus_names[row]} {data.utterance_ids[row]}")

    def of_fold(self, fold: str) -> "Experiment":
        """The experiment as it is in a fold: itself, but where settings differ by fold."""
        return self

    def check_folds(self, names: Sequence[str]) -> None:
        """Raises InputError where the settings don't go with the folds of these names."""

    def check(self, run: Run) -> None:
        """Raises InputError for what can only be found with a run's training rows at hand."""
        train_rows = self.data.rows(run.fold.train)
        config = self.config(self.data.label_ids[train_rows])
        arguments = self.arguments(run)
        check_compiler(self.settings, arguments)
        if not self._optimizer_checked and any(name.startswith("optim") for name in self.settings.training_arguments):
            check_optimizer(self.settings, arguments, config)
            self._optimizer_checked = True
        if self.settings.stack:
            check_stackable(self, arguments, config)
        self.data.check_ratings(train_rows, run.fold.name)
        if self.fusion_module is not None:
            checked(self.settings, try_fusion, config)
            note_own_dropout(self.settings, config, self.notes)

    def config(self, train_labels: np.ndarray) -> EmoMMConfig:
        """The model's configuration, of a run with these training rows."""
        settings, data = self.settings, self.data
        dims = {name: self.inputs.width(name) for name in settings.modalities if name != "text"}
        return model_config(
            settings,
            data.labels,
            train_labels,
            data.train[0].spec,
            dims,
            self.encoder,
            self.speech,
            self.fusion_module,
        )

    def arguments(self, run: Run) -> CurriculumTrainingArguments:
        """The Trainer's arguments."""
        inputs = self.inputs
        return trainer_arguments(
            self.settings, run, self.data.labels, inputs.may_lack, inputs.runs_encoders, inputs.form("audio") == INPUTS
        )

    def steps(self, run: Run, world_size: int) -> int:
        """Optimiser steps of a whole run, without early stopping."""
        rows = self.data.rows(run.fold.train)
        accumulation = int(self.settings.training_arguments.get("gradient_accumulation_steps", 1))
        speakers = self.data.speakers[rows] if self.settings.use_speaker_disentanglement else None
        if speakers is not None:
            speakers = coded(speakers)[1]
        batches = epoch_batches(len(rows), self.settings.batch_size, world_size * accumulation, speakers)
        return batches // (world_size * accumulation) * self.settings.num_epochs

    def make_shared(self) -> None:
        """Makes what all its runs read or link to, where it isn't there: stored states, and the weights of frozen
        encoders. It is then held by this process, mapped from disk."""
        for name in self.settings.modalities:
            self.inputs.vectors(name)
        _ = self.inputs.lower_states
        for encoder in (self.encoder, self.speech):
            _ = None if encoder is None else encoder.shared_weights

    # ---- the run ----------------------------------------------------------------------------------------------------

    def train(self, run: Run) -> dict[str, Any]:
        """Trains, or goes on from where it was interrupted; tests once; writes the run's files.

        Returns what `metrics.json` holds. Raises RunFailed where training diverged.
        """
        with tracked(run, self.job_folder) as tracker:
            begun = self.begin(run, [tracker, *self.callbacks])
            begun.trainer.train(resume_from_checkpoint=True)
            return self._finish(begun, tracker)

    def begin(
        self, run: Run, callbacks: Sequence[TrainerCallback], kind: type[CurriculumTrainer] = CurriculumTrainer
    ) -> "Begun":
        """A run as it begins: the model that its seed gives, and its Trainer, of a `kind`."""
        train_rows = self.data.rows(run.fold.train)
        rated = self.data.wants_difficulty
        difficulty, of_train, unrated = self.data.difficulty(train_rows) if rated else (None, None, None)
        set_seed(run.seed)  # the Trainer seeds only after the model is built
        model = self._model(train_rows)
        trainer = self._trainer(run, model, of_train, callbacks, kind)
        return Begun(run, trainer, self._watch(run, trainer), difficulty, unrated)

    def finish(self, begun: "Begun", losses: Sequence[float], rates: Sequence[float], **about: Any) -> dict[str, Any]:
        """Tests a run that others trained, and writes its files; what it logged is tracked now.

        Args:
            begun: the run, its Trainer through with training.
            losses, rates: of each of its steps.
            about: what `metrics.json` says besides.

        As `train`.
        """
        trainer = begun.trainer
        with tracked(begun.run, self.job_folder) as tracker:
            tracker.replay(trainer.args, trainer.state, trainer.model, losses, rates)
            return self._finish(begun, tracker, **about)

    def _finish(self, begun: "Begun", tracker: Tracker, **about: Any) -> dict[str, Any]:
        run, trainer, watch = begun.run, begun.trainer, begun.watch
        seconds = trainer.seconds
        _load_chosen(trainer, watch)
        result = {**self._result(run, trainer, begun.unrated, seconds), **about}
        predictions = self._test(run, trainer, begun.difficulty, result)
        scores = {"validation rows": result["validation"]} if run.fold.validation else {}
        scores |= {f"test rows of {corpus}": found for corpus, found in result["test"].items()}
        result["warnings"] = watch.warnings(trainer.state.log_history, best_epoch=trainer.best_epoch, scores=scores)
        if trainer.args.should_save:
            self._write(run, trainer, predictions)
            tracker.finished(result, predictions, run.files.model)
            # Last, since it says that the run is done.
            write_json(run.files.metrics, result)
        _tidy_up(trainer)
        return result

    def _model(self, train_rows: np.ndarray) -> EmoMMForEmotionClassification:
        """The model as it begins: with the weights of the seed, and what its training rows alone decide."""
        model = EmoMMForEmotionClassification(self.config(self.data.label_ids[train_rows]))
        model.config.training_seconds = self.data.recording_seconds(train_rows) if model.config.uses_audio else None
        if self.speech is not None:
            model.config.window_seconds = self.settings.max_eval_seconds
            model.config.windows_joined = self.inputs.form("audio") == VECTORS
        if self.encoder is not None and self.inputs.form("text") != VECTORS:
            model.attach_text_encoder(self.encoder.tuned())
        if self.speech is not None and self.inputs.form("audio") != VECTORS:
            model.attach_speech_encoder(self.speech.tuned())
        for name, of_rows in self.inputs.statistics(train_rows, model.config.standardized).items():
            model.set_feature_statistics(name, torch.from_numpy(of_rows.mean), torch.from_numpy(of_rows.std))
            if name in (model.config.feature_noise or {}):
                # Given in what the rows differ by: frames differ more within a recording than recordings do.
                model.config.feature_noise[name] *= of_rows.spread
        return model

    def _trainer(
        self,
        run: Run,
        model: EmoMMForEmotionClassification,
        difficulty: np.ndarray | None,
        callbacks: Sequence[TrainerCallback],
        kind: type[CurriculumTrainer],
    ) -> CurriculumTrainer:
        """The Trainer of a run; `difficulty` is that of the training rows."""
        data, settings, inputs = self.data, self.settings, self.inputs
        rows = data.rows(run.fold.train)
        weights = difficulty_weights(difficulty) if settings.use_difficulty_scaling else None
        order = data.own_curriculum_order[rows]
        return kind(
            model=model,
            args=self.arguments(run),
            train_dataset=inputs.training_rows(
                rows, weights, data.vad[rows] if settings.vad_loss_weight else None, run.seed
            ),
            eval_dataset=inputs.rows(data.rows(run.fold.validation)) if run.fold.validation else None,
            data_collator=EmoMMDataCollator(
                pad_token_id=0 if inputs.tokens is None else self.encoder.tokenizer.pad_token_id,
                allow_missing=inputs.may_lack,
                feature_extractor=None if self.speech is None else self.speech.speech.feature_extractor,
            ),
            compute_metrics=partial(validation_scores, data.labels),
            speakers=coded(data.speakers[rows])[1],
            difficulty=difficulty,
            preset_order=None if np.isnan(order).any() else order,
            identity=run.identity,
            callbacks=[*callbacks],
        )

    def _watch(self, run: Run, trainer: CurriculumTrainer) -> LearningWatch:
        """Says while the run trains that it learns nothing. Added after the Trainer's own callbacks."""
        counts = [self.data.class_counts(self.data.rows(part)) for part in (run.fold.train, run.fold.validation)]
        watch = LearningWatch(trainer.model, str(run), RunRecord(self.settings, self.data.labels, (), *counts))
        trainer.add_callback(watch)
        return watch

    def _result(self, run: Run, trainer: CurriculumTrainer, unrated: int | None, seconds: float) -> dict[str, Any]:
        """What `metrics.json` says before the test."""
        validation_rows = self.data.rows(run.fold.validation)
        return {
            "experiment": self.settings.name,
            "seed": run.seed,
            "fold": run.fold.name,
            "status": "done",
            "identity": run.identity,
            "protocol": run.fold.description,
            "parts": part_cards(self.data, run.fold),
            "rows_without_rating": unrated,
            "steps": trainer.state.global_step,
            "best_epoch": trainer.best_epoch,
            "best_epoch_ties": trainer.best_epoch_ties,
            "train_seconds": round(seconds, 3),
            "validation": predict(trainer, self.inputs, validation_rows)[0] if run.fold.validation else None,
            "test": {},
            "parameters": parameter_counts(trainer.model),
            **layer_weights(trainer.model),
        }

    def _test(
        self, run: Run, trainer: CurriculumTrainer, difficulty: np.ndarray | None, result: dict[str, Any]
    ) -> list[Predictions]:
        """Adds the scores of each tested corpus to the result, and gives its predictions."""
        predictions = []
        trained_on = self.data.rows((*run.fold.train, *run.fold.validation))
        for part in run.fold.test:  # the test rows are read here for the first time
            rows = self.data.rows((part,))
            result["test"][part.name], probabilities, vad = predict(trainer, self.inputs, rows)
            named = self.data.tested_names((part,))
            predictions.append(predictions_of(self.data, rows, probabilities, vad, difficulty, named, trained_on))
        return predictions

    def _write(self, run: Run, trainer: CurriculumTrainer, predictions: list[Predictions]) -> None:
        """The run's files but `metrics.json`."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        tokenizer, weights = (
            (None, None) if self.encoder is None else (self.encoder.tokenizer, self.encoder.shared_weights)
        )
        extractor, speech_weights = (
            (None, None) if self.speech is None else (self.speech.speech.feature_extractor, self.speech.shared_weights)
        )
        export_model(model, run.files.model, tokenizer, weights, extractor, speech_weights)
        if any(tuning.how == "lora" for tuning in tunings(self.settings).values()):  # for `push --adapter_only`
            export_model(model, run.files.adapter, tokenizer, feature_extractor=extractor, adapter_only=True)
        if predictions:
            write_predictions(run.files.predictions, predictions)
        # A resume state has the keys sorted.
        history = [sorted(entry.items()) for entry in trainer.state.log_history]
        finite = [{key: _json_value(value) for key, value in entry} for entry in history]
        write_text(run.files.history, json.dumps(finite))

    def card(self) -> dict[str, Any]:
        """What results.json says of the experiment besides its runs."""
        return {
            "name": self.settings.name,
            "labels": self.data.labels,
            "corpora": [corpus.card() for corpus in self.data.corpora],
            "text_encoder": None
            if self.encoder is None
            else {
                "name": public_name(self.settings.text_model_name),
                "sha256": self.encoder.hash,
                "local": os.path.isdir(self.settings.text_model_name)
                or self.settings.text_model_name.startswith("package:"),
                **tuning_card(self.encoder.tuning, self.settings, self.encoder.config),
            },
            **({} if self.speech is None else {"speech_encoder": self.speech.card()}),
            "selection": {
                "metric": self.settings.metric_for_best_model,
                "validation": self.settings.validation,
                "fraction": None if self.settings.validation == "session" else self.settings.validation_fraction,
            },
            "shared_rows": self.data.shared_rows,
            "notes": [*self.data.notes, *self.notes],
            **({"searched": self.settings.searched} if self.settings.searched else {}),
        }


@dataclass
class Begun:
    """A run that trains.

    Args:
        run: which.
        trainer: of it.
        watch: of its learning, one of the Trainer's callbacks.
        difficulty: of all rows; None where nothing wants it.
        unrated: how many training rows have no rating.
    """

    run: Run
    trainer: CurriculumTrainer
    watch: LearningWatch
    difficulty: np.ndarray | None
    unrated: int | None


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


def parameter_counts(model: EmoMMForEmotionClassification) -> dict[str, int]:
    """How many numbers the model that trains holds, and how many of them are trained."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"trained": sum(count for count, trained in counts if trained), "all": sum(count for count, _ in counts)}


def layer_weights(model: EmoMMForEmotionClassification) -> dict[str, Any]:
    """{"layer_weights": {"speech": [share of each layer, from what enters the first]}} of a model that weighs layers,
    of "text" too; {} of others."""
    found = {name: getattr(model, f"{name}_layer_weights", None) for name in ("speech", "text")}
    shares = {
        name: [round(float(share), 4) for share in weights.detach().float().softmax(dim=0)]
        for name, weights in found.items()
        if weights is not None
    }
    return {"layer_weights": shares} if shares else {}


def _tidy_up(trainer: CurriculumTrainer) -> None:
    """Takes away what only an unfinished run needs. All processes call it."""
    trainer.accelerator.wait_for_everyone()
    trainer.remove_resume_states()
    trainer.best_weights.unlink(missing_ok=True) if trainer.args.should_save else None
    trainer.accelerator.free_memory()


def _json_value(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


__all__ = ["Begun", "Experiment"]
