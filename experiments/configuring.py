"""Settings -> the model's configuration and the Trainer's arguments."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.import_utils import enable_tf32

from ..configuration_emomm import EmoMMConfig
from ..corpora.spec import CorpusSpec
from ..curriculum.schedules import SCHEDULES
from ..curriculum_trainer import CurriculumTrainer
from ..curriculum_trainer import CurriculumTrainingArguments
from ..errors import InputError
from ..errors import show
from ..features.text_encoders import public_name
from ..fusions import get_fusion
from ..modalities import get_modality
from ..modeling_emomm import EmoMMForEmotionClassification
from ..processes import process_state
from ..settings.settings import Settings
from ..settings.tuning import tunings
from .own_fusion import checked
from .own_fusion import in_a_line
from .run import Run
from .speech_encoder import RecordingEncoder
from .text_encoder import TextEncoder

_HF_SCHEDULERS = {
    "cosine": "cosine",
    "linear": "linear",
    "constant": "constant",
    "none": "constant",
    "plateau": "reduce_lr_on_plateau",
}
_LOADERS = 2  # processes that make batches of recordings beside a GPU


# ---- the model ------------------------------------------------------------------------------------------------------


def model_config(
    settings: Settings,
    labels: list[str],
    train_labels: np.ndarray,
    spec: CorpusSpec,
    dims: dict[str, int],
    text: TextEncoder | None,
    speech: RecordingEncoder | None,
    fusion_module: str | None,
) -> EmoMMConfig:
    """The model's configuration; balanced class weights come from the training rows.

    Args:
        settings: the experiment.
        labels: class names.
        train_labels: (n,) class numbers of the training rows.
        spec: of the first training corpus: what made its voice features.
        dims: the width of the vectors of each modality that the corpora have: all but the words.
        text: the text encoder; None where no words are read. It may have no configuration, where it can't be reached.
        speech: the encoder of recordings; None where there are none. As `text`.
        fusion_module: that a user's own fusion comes from.
    """
    text_config = None if text is None else text.config
    text_dim = text_config.hidden_size if text_config is not None else 768
    hears, reads = "audio" in settings.modalities, "text" in settings.modalities
    own = {name: dim for name, dim in dims.items() if name != "audio"}
    module = None if settings.modality_module is None or not own else Path(settings.modality_module).stem
    same = ("modality", "feature_normalization", "audio_projection_dim", "text_max_length", "text_pooling")
    same += ("modality_dropout", "dropout", "hidden_dim")
    same += ("fusion_type", "fusion_block", "fusion_hidden_dim", "num_attention_heads")
    same += ("loss", "focal_gamma", "loss_temperature", "label_smoothing", "vad_loss_weight")
    weights = class_weights(settings, labels, train_labels)
    return checked(
        settings,
        EmoMMConfig,
        **{name: getattr(settings, name) for name in same},
        audio_dim=dims.get("audio", 768),
        **{**(_voice(settings, spec, speech) if hears else {}), **_words(settings, text)},
        text_config=text_config,
        text_dim=text_dim,
        text_model_name=settings.text_model_name if reads else "",
        fusion_module=fusion_module,
        modality_dims=own or None,
        modality_module=module,
        feature_noise=feature_noise(settings, len(train_labels), dims, text_dim),
        class_weights=weights,
        id2label=dict(enumerate(labels)),
        label2id={name: i for i, name in enumerate(labels)},
    )


def _voice(settings: Settings, spec: CorpusSpec, speech: RecordingEncoder | None) -> dict[str, Any]:
    """What the configuration says of what reads the voice, or made its features."""
    if speech is None:
        return {"audio_encoder": public_name(spec.extractor), "speech_encoder": spec.speech_encoder}
    found = {"audio_encoder": public_name(settings.speech_model_name), "speech_model_name": settings.speech_model_name}
    found |= {"speech_tuning": speech.tuning.how}
    if speech.config is None:
        return found
    found |= {"speech_encoder": speech.description, "speech_config": speech.config}
    found |= {"speech_layers": speech.tuning.layers, "speech_start": speech.form.start}
    if speech.tuning.tunes:
        found |= {"spec_augment": settings.spec_augment, "layer_drop": settings.layer_drop}
    return found


def _words(settings: Settings, text: TextEncoder | None) -> dict[str, Any]:
    """What the configuration says of the text encoder."""
    found: dict[str, Any] = {"freeze_text_encoder": settings.freeze_text_encoder}
    if text is None:
        return found
    if text.tuning.how in ("last_k", "lora"):  # the others are said by freeze_text_encoder
        found["text_tuning"] = text.tuning.how
    if text.tuning.tunes:
        found["layer_drop"] = settings.layer_drop
    if text.config is not None:
        found |= {"text_layers": text.tuning.layers, "text_start": text.form.start if text.tuning.tunes else 0}
    return found


def class_weights(settings: Settings, labels: list[str], train_labels: np.ndarray) -> list[float] | None:
    """The weight of each class in the loss; None where all weigh the same."""
    if settings.class_weights == "balanced":
        counts = np.bincount(train_labels, minlength=len(labels))
        return (len(train_labels) / (len(labels) * counts)).tolist()
    if isinstance(settings.class_weights, dict):
        return [float(settings.class_weights[name]) for name in labels]
    return None


def feature_noise(settings: Settings, rows: int, dims: dict[str, int], text_dim: int) -> dict[str, float] | None:
    """The deviation of the training noise of each modality that is standardised, in those of the rows' means.

    Noise on the inputs acts as a ridge penalty (Bishop 1995, Neural Computation 7), and that needs to grow with
    the dimensions and to fall with the rows: with more dimensions than rows, each row can be told from all others
    by what says nothing of its class. Attention tells sentences apart by single tokens, too: where it reads
    them, their noise goes up to 1, else it goes up to the root of a half.
    """
    if settings.feature_normalization == "none" or settings.feature_noise == 0:
        return None
    tuned = [name for name, tuning in tunings(settings).items() if tuning.tunes]
    dims = {name: dims.get(name, text_dim) for name in settings.modalities if name not in tuned}
    given = settings.feature_noise
    attends = len(settings.modalities) > 1 and get_fusion(settings.fusion_type).uses_sequences
    most = {name: 1.0 if attends and get_modality(name).encoder == "text" else 0.5 for name in dims}
    return {name: min(most[name], dim / rows) ** 0.5 if given is None else given for name, dim in dims.items()} or None


# ---- the Trainer ----------------------------------------------------------------------------------------------------


def trainer_arguments(
    settings: Settings, run: Run, labels: list[str], may_lack: bool, runs_encoders: bool, reads_recordings: bool
) -> CurriculumTrainingArguments:
    """The Trainer's arguments.

    Args:
        settings: the experiment.
        run: one of its runs.
        labels: class names.
        may_lack: whether a row may lack a modality.
        runs_encoders: whether the model runs an encoder at each step.
        reads_recordings: whether a step takes samples of recordings, and not stored features or states.
    """
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
        "per_device_eval_batch_size": max(settings.batch_size, 1 if runs_encoders else 256),
        "learning_rate": settings.learning_rate,
        "lr_base_width": settings.lr_base_width,
        "lr_width_limit": settings.lr_width_limit,
        "weight_decay": settings.weight_decay,
        "lr_scheduler_type": _hf_scheduler(settings),
        "lr_schedule": settings.lr_scheduler if own_schedule else None,
        "lr_scheduler_kwargs": scheduler_kwargs,
        "metric_for_best_model": settings.metric_for_best_model,
        "greater_is_better": not lower_is_better,
        "early_stopping_patience": settings.early_stopping_patience,
        "early_stopping_threshold": settings.early_stopping_threshold,
        "curriculum_type": curriculum,
        "curriculum_module": settings.curriculum_module,
        "curriculum_epochs": settings.curriculum_epochs,
        "curriculum_pacing": settings.curriculum_pacing,
        "class_order": None if order is None else [labels.index(name) for name in order],
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
        "ddp_find_unused_parameters": may_lack or (runs_encoders and settings.layer_drop > 0),
    }
    device = process_state().device.type
    given |= {"use_cpu": device == "cpu"}  # or bf16 is refused there
    given |= _encoder_rates(settings) | loading_arguments(reads_recordings, device == "cuda")
    _forget_precision()
    return checked(settings, CurriculumTrainingArguments, **{**given, **settings.training_arguments})


def _forget_precision() -> None:
    """`tf32`, and torch_compile on a GPU, set the precision of the whole process, and transformers remembers to have
    done so: without this, one experiment's would be the next one's, or its own would not be set again."""
    if hasattr(torch.backends, "fp32_precision"):  # torch 2.9
        torch.backends.fp32_precision = "none"
        enable_tf32.cache_clear()


def check_compiler(settings: Settings, arguments: CurriculumTrainingArguments) -> None:
    """Raises InputError for `torch_compile` where what it needs to compile is not there."""
    if not arguments.torch_compile or arguments.torch_compile_backend != "inductor":
        return
    compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if not any(shutil.which(name) for name in compilers):
        raise InputError(
            f"experiment {settings.name!r}: torch_compile needs a C++ compiler, and there is no "
            f"{' or '.join(compilers)} here: install one (Debian, Ubuntu: apt install g++), name yours in the "
            "environment variable CXX, or leave torch_compile out"
        )


def loading_arguments(reads_recordings: bool, gpu: bool) -> dict[str, Any]:
    """How batches are made: beside a GPU, recordings are read and extracted while it computes.

    The processes that do so end with their epoch: then the loader draws as many random numbers as one without them,
    and a resumed run as many as one that wasn't interrupted.
    """
    return {"dataloader_pin_memory": gpu, "dataloader_num_workers": _LOADERS if reads_recordings and gpu else 0}


def _hf_scheduler(settings: Settings) -> str:
    """The schedule of transformers; a constant where it is one of ours."""
    kind = _HF_SCHEDULERS.get(settings.lr_scheduler, "constant")
    warms_up = settings.lr_scheduler not in SCHEDULES and settings.training_arguments.get("warmup_steps")
    return "constant_with_warmup" if kind == "constant" and warms_up else kind


def _encoder_rates(settings: Settings) -> dict[str, float]:
    """The learning rates of the encoders that are tuned, as the Trainer's arguments have them."""
    found = {}
    for modality, tuning in tunings(settings).items():
        encoder = "speech" if modality == "audio" else modality
        if tuning.tunes:
            found[f"{encoder}_learning_rate"] = tuning.learning_rate
            found[f"{encoder}_layer_decay"] = tuning.layer_decay
    return found


def check_optimizer(settings: Settings, arguments: CurriculumTrainingArguments, config: EmoMMConfig) -> None:
    """Makes the optimiser, for a model of this kind: many come in packages of their own.

    Raises InputError where it can't be made, and where it has no such argument.
    """
    given = {name: value for name, value in settings.training_arguments.items() if name.startswith("optim")}
    pairs = [pair.strip().partition("=") for pair in (arguments.optim_args or "").split(",") if pair.strip()]
    if not all(equals for _, equals, _ in pairs):
        raise InputError(
            f"experiment {settings.name!r}: optim_args is {show(arguments.optim_args)}, but must be "
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
            f"experiment {settings.name!r}: {said}: no such optimiser can be made here ({in_a_line(settings, error)})"
        ) from error
    for name, _, value in pairs:
        if not _took(optimizer, name.strip(), value.strip()):
            raise InputError(
                f"experiment {settings.name!r}: optim_args is {show(arguments.optim_args)}, but the Trainer "
                f"hands no {name.strip()!r} on to {arguments.optim.value}: take it out, or choose another optim"
            )


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


__all__ = [
    "check_compiler",
    "check_optimizer",
    "class_weights",
    "feature_noise",
    "loading_arguments",
    "model_config",
    "trainer_arguments",
]
