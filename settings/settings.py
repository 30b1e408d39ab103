"""Every choice that an experiment has, checked, and what of it identifies a run."""

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..choices import BOTH
from ..choices import CURRICULUM_TYPES
from ..choices import DIFFICULTY_METHODS
from ..choices import DISJOINT_BY
from ..choices import EVALUATION_MODES
from ..choices import MODALITIES
from ..choices import PACINGS
from ..choices import VALIDATION_RULES
from ..job_folder import slug_of
from .consistency import FUSION_TYPES
from .consistency import OWN
from .consistency import check_consistent
from .tuning import LAYERS
from .tuning import TUNINGS
from .tuning import VOICE_INPUTS
from .tuning import settled_text_tuning
from .tuning import without_effect
from .values import check

LR_SCHEDULERS = ("cosine", "linear", "constant", "plateau", "step", "exponential", "cyclic", "curriculum", "none")
TRACKERS = ("wandb", "tensorboard")
# (V, A, D) on 1-5: the prototypes of the original system's recipes.
PROTOTYPES = {
    "neutral": [3.0, 2.5, 3.0],
    "happy": [4.0, 3.8, 3.8],
    "sad": [1.8, 2.2, 2.0],
    "anger": [1.8, 4.2, 4.0],
}


def _field(group: str, default: Any, help: str, **limits: Any) -> Any:
    """A field of Settings; `limits` are those of `values.check`."""
    metadata = {"group": group, "help": help, **limits}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


_data, _model, _loss = partial(_field, "data"), partial(_field, "model"), partial(_field, "loss")
_encoders = partial(_field, "encoders")
_curriculum, _training, _job = partial(_field, "curriculum"), partial(_field, "training"), partial(_field, "job")


@dataclass(frozen=True)
class Settings:
    """One experiment: every choice there is, checked. `metadata` of each field holds its help, group and limits.

    Raises:
        InputError: a value of a wrong type or out of range, or two that don't go together.
    """

    name: str = _job("experiment", "Name of the experiment.")
    description: str = _job("", "What the experiment is for.")

    train_dataset: str | list[str] = _data("IEMO", "Corpus or corpora to train on.")
    test_datasets: list[str] | None = _data(
        None, "Corpora that cross-corpus evaluation tests on; null: the others that the recipe names and can reach."
    )
    corpora: dict[str, dict] = _data({}, "Own corpora, and changes to built-in ones: fields of CorpusSpec by name.")
    corpus: dict[str, str] = _data({}, "Local copies of corpora: path by name.")
    evaluation_mode: str = _data(
        "loso",
        "What is trained on and what is tested, by one of these names or one that protocol_module registers.",
        names=EVALUATION_MODES,
    )
    folds: int = _data(5, "Folds of group_folds.", min=2)
    fold_seed: int = _data(0, "Draws the folds of group_folds, the same for all seeds.", min=0, below=2**32)
    manifest: str | None = _data(
        None, "File (or folder of EmoBox's fold files) that says fold and part of each utterance, for manifest."
    )
    disjoint_by: list[str] = _data(
        [],
        "Training and validation rows that share this with a test row of the fold are dropped.",
        choices=DISJOINT_BY,
    )
    allow_overlap: bool = _data(
        False, "Train although speakers or recordings are on both sides; all that shows the scores then says so."
    )
    protocol_module: str | None = _data(None, "Python file with an own protocol.")
    validation: str = _data(
        "session",
        "Which training rows choose the best epoch.",
        choices=VALIDATION_RULES,
    )
    validation_fraction: float = _data(0.2, "Share of the speakers or rows that validates.", above=0, below=1)
    seeds: list[int] = _data([42, 123, 456], "One run for each seed and fold.", min=0, below=2**32)

    modality: str | list[str] = _model(
        BOTH,
        f"What the model hears or reads: {', '.join(MODALITIES)}, {BOTH}, or a list, with names that modality_module "
        "registers.",
    )
    modality_module: str | None = _model(None, "Python file with own modalities.")
    feature_normalization: str = _model(
        "standardize",
        "Bring voice features and frozen text states to mean 0 and deviation 1, by the training rows.",
        choices=("none", "standardize"),
    )
    audio_dim: int | None = _model(None, "Width of the audio features, checked against the corpus.", min=1)
    audio_projection_dim: int | None = _model(None, "Width of a linear layer and ReLU on each audio frame.", min=1)
    text_model_name: str = _model("bert-base-uncased", "Text encoder: a Hub id, a folder, or package:NAME/FOLDER.")
    freeze_text_encoder: bool = _model(True, "Keep the text encoder as it is; text_tuning says more.")
    text_max_length: int = _model(128, "Tokens of a transcript that are read.", min=1)
    text_pooling: str = _model(
        "mean", "State of a transcript: the mean over its tokens, or its first token's.", choices=("mean", "cls")
    )
    fusion_type: str = _model(
        "cross_attention",
        f"How voice and words are joined: {', '.join(FUSION_TYPES)}, or a name that fusion_module registers.",
    )
    fusion_module: str | None = _model(None, "Python file with an own fusion.")
    fusion_block: str = _model(
        "normalized",
        "Layers of the fusion: the original's, or with LayerNorms besides.",
        choices=("original", "normalized"),
    )
    fusion_hidden_dim: int = _model(256, "Width of the fusion.", min=1)
    num_attention_heads: int = _model(8, "Heads of cross attention; they divide fusion_hidden_dim.", min=1)
    hidden_dim: int = _model(256, "Width of the classifier's hidden layer; 0 is one linear layer.", min=0)
    dropout: float = _model(0.3, "Dropout of the fusion and the classifier.", min=0, below=1)
    feature_noise: float | None = _model(
        None,
        "Noise on each modality in training, in deviations of its rows; null: root of dimensions / rows, to .71 or 1.",
        min=0,
    )
    modality_dropout: float = _model(
        0.2, "Share of the training rows with voice and words at which one of them is hidden.", min=0, below=1
    )
    num_classes: int | None = _model(None, "Number of classes, checked against the label map.", min=2)

    voice_input: str = _encoders(
        "features",
        "What the voice comes as: features that were extracted, or recordings, which speech_model_name reads.",
        choices=VOICE_INPUTS,
    )
    speech_model_name: str = _encoders(
        "microsoft/wavlm-base-plus", "Speech encoder of recordings: a Hub id, a folder, or package:NAME/FOLDER."
    )
    speech_tuning: str = _encoders(
        "frozen", "What of the speech encoder is tuned: nothing, all, its last layers, or LoRA.", choices=TUNINGS
    )
    speech_tuned_layers: int | None = _encoders(
        None, "How many of its last layers are tuned; null: 4 for last_k, all for lora.", min=1
    )
    speech_layers: str | list[int] = _encoders(
        "last",
        "Layers of the speech encoder that are read: the last, the mean or a learned weighting of all, or a list.",
        choices=LAYERS,
        min=0,
    )
    speech_learning_rate: float | None = _encoders(
        None, "Learning rate of the speech encoder; null: 2e-5, or 2e-4 for lora.", above=0
    )
    speech_layer_decay: float = _encoders(
        1.0, "What its learning rate falls by from each layer to the one below.", above=0, max=1
    )
    text_tuning: str | None = _encoders(
        None, "What of the text encoder is tuned; null: nothing or all, by freeze_text_encoder.", choices=TUNINGS
    )
    text_tuned_layers: int | None = _encoders(
        None, "How many of its last layers are tuned; null: 4 for last_k, all for lora.", min=1
    )
    text_layers: str | list[int] = _encoders(
        "last",
        "Layers of the text encoder that are read: the last, the mean or a learned weighting of all, or a list.",
        choices=LAYERS,
        min=0,
    )
    text_learning_rate: float | None = _encoders(
        None, "Learning rate of a text encoder that is tuned; null: 2e-5, or 2e-4 for lora.", above=0
    )
    text_layer_decay: float = _encoders(
        1.0, "What its learning rate falls by from each layer to the one below.", above=0, max=1
    )
    lora_rank: int = _encoders(8, "Rank of LoRA's matrices.", min=1)
    lora_alpha: float = _encoders(16.0, "What LoRA adds is scaled by this / lora_rank.", above=0)
    lora_dropout: float = _encoders(0.0, "Dropout of LoRA's input.", min=0, below=1)
    lora_targets: list[str] | None = _encoders(
        None, "Names of the linear layers that LoRA adds to; null: those of the attention, by architecture."
    )
    tune_convolutions: bool = _encoders(
        False, "Tune the convolutions (or embeddings) below the layers too, where an encoder is tuned as a whole."
    )
    spec_augment: float = _encoders(
        0.0, "Share of the frames that are masked in training, where the speech encoder is tuned.", min=0, below=1
    )
    layer_drop: float = _encoders(0.0, "Chance that a tuned layer is left out of a training step.", min=0, below=1)
    store_frozen_layers: bool = _encoders(
        True, "Store the states below the tuned layers where they never change, rather than run these layers."
    )
    max_seconds: float | None = _encoders(
        10.0, "Of longer recordings each epoch trains on another random window of this length; null: on all.", above=0
    )
    max_eval_seconds: float | None = _encoders(
        30.0,
        "Longer recordings are evaluated in windows of this length, whose logits are averaged; null: whole.",
        above=0,
    )
    recording_dtype: str = _encoders(
        "int16", "Precision of the decoded recordings on disk.", choices=("int16", "float32")
    )
    augment_share: float = _encoders(0.5, "Share of the training rows that are augmented in an epoch.", min=0, max=1)
    augment_noise_snr: list[float] | None = _encoders(
        None, "Lowest and highest signal-to-noise ratio of noise that is added to recordings, in dB; null: none."
    )
    augment_noise: str = _encoders("white", "Noise that augment_noise_snr adds: white, pink, or a folder of it.")
    augment_gain_db: list[float] | None = _encoders(None, "Lowest and highest gain of recordings, in dB; null: none.")
    augment_speed: list[float] | None = _encoders(
        None, "Lowest and highest speed of recordings, 1 being as they are; null: none."
    )
    augment_room: str | None = _encoders(
        None, "Rooms that recordings are put into: simulated, or a folder of responses."
    )
    augment_band: list[float] | None = _encoders(
        None, "Lowest and highest upper limit of the band that recordings are cut to, in Hz; null: none."
    )
    augment_time_mask: float = _encoders(
        0.0, "Share of a row's voice features (or frozen states) that is masked in training.", min=0, below=1
    )
    augment_mixup: float = _encoders(0.0, "Alpha of mixup of the voice features (or frozen states); 0 is none.", min=0)

    loss: str = _loss("cross_entropy", "Loss function.", choices=("cross_entropy", "focal"))
    focal_gamma: float = _loss(2.0, "How strongly focal loss favours rows that are still wrong.", min=0)
    loss_temperature: float = _loss(1.0, "Logits are divided by it in the loss.", above=0)
    label_smoothing: float = _loss(0.0, "Share of each label that is spread over all classes.", min=0, below=1)
    class_weights: str | dict[str, float] = _loss(
        "none", "Weight of each class in the loss: a rule, or weights by name.", choices=("none", "balanced"), above=0
    )
    vad_loss_weight: float = _loss(
        0.0, "Weight of the loss of valence, arousal and dominance; above 0 the model gives them too.", min=0
    )

    use_curriculum_learning: bool = _curriculum(False, "Start with a part of the training rows.")
    curriculum_type: str = _curriculum(
        "difficulty",
        "Which rows come first, by one of these names or one that curriculum_module registers.",
        names=CURRICULUM_TYPES,
    )
    curriculum_module: str | None = _curriculum(None, "Python file with an own curriculum.")
    curriculum_epochs: int = _curriculum(
        15, "Epochs until all rows are in, at most num_epochs; 0 is no curriculum.", min=0
    )
    curriculum_pacing: str = _curriculum("sqrt", "How fast rows come in.", choices=PACINGS)
    class_order: list[str] | None = _curriculum(None, "Order of the classes for class_balance; null: the label map's.")
    difficulty_method: str = _curriculum(
        "euclidean_distance", "Distance of a row's V/A/D from its class.", choices=DIFFICULTY_METHODS
    )
    vad_weights: list[float] | None = _curriculum(
        None, "Weights of V, A and D for the weighted difficulty; null is 0.4, 0.4, 0.2.", min=0
    )
    expected_vad: str | dict[str, list[float]] = _curriculum(
        PROTOTYPES, "V/A/D that each class should have, or fit: the class means.", choices=("fit",), min=1, max=5
    )
    difficulty_from_corpus: bool = _curriculum(False, "Take the difficulty from the corpus' own column.")
    use_difficulty_scaling: bool = _curriculum(False, "Weight each training row's loss by its difficulty.")
    use_speaker_disentanglement: bool = _curriculum(False, "Hold one speaker in each training batch.")
    post_curriculum_dropout: float | None = _curriculum(
        None,
        "Dropout after curriculum_epochs, without a curriculum too; null keeps it as it is.",
        min=0,
        below=1,
    )

    num_epochs: int = _training(60, "Epochs of a run.", min=1)
    batch_size: int = _training(64, "Training rows in a batch, on each device.", min=1)
    short_last_batch: bool = _training(
        False, "Leave an epoch's last batch short, rather than fill it with rows of a further pass; on one device."
    )
    learning_rate: float = _training(3e-3, "Highest learning rate.", above=0)
    lr_base_width: int | None = _training(
        2048,
        "Inputs of the matrix that learning_rate is meant for: narrower ones learn faster; null: all alike.",
        min=1,
    )
    lr_width_limit: float | None = _training(
        1.5,
        "A matrix' rate is at most this / (its inputs x the root of the number of matrices), a vector's this / its "
        "length.",
        above=0,
    )
    weight_decay: float = _training(5e-6, "Weight decay.", min=0)
    lr_scheduler: str = _training("cosine", "Course of the learning rate.", choices=LR_SCHEDULERS)
    lr_scheduler_kwargs: dict = _training({}, "Arguments of the scheduler; a new lr_scheduler begins with none.")
    metric_for_best_model: str = _training(
        "uar", "Validation metric of the best epoch.", choices=("uar", "accuracy", "f1_macro", "f1_weighted", "loss")
    )
    early_stopping_patience: int | None = _training(
        None,
        "Epochs without improvement until a run stops, counted after curriculum_epochs, without a curriculum too; "
        "null is never.",
        min=1,
    )
    early_stopping_threshold: float = _training(0.0, "Least improvement that counts.", min=0)
    stack: bool = _training(
        False, "Train folds and seeds as one model with stacked weights: heads on stored features or states, on a GPU."
    )
    stack_size: int | None = _training(None, "Runs in a stack at most; null: all, or as many as memory holds.", min=1)
    training_arguments: dict = _training({}, "Other fields of TrainingArguments, which recipes give directly.")

    by_fold: dict[str, dict] = _job(
        {}, "Settings that hold in one fold alone, by its name: what a nested search found (see emomm search)."
    )
    searched: dict = _job({}, "How a search found the settings, as emomm search writes it; said with the results.")
    output_dir: str | None = _job(None, "Folder of the results; null is runs/<recipe>.")
    report_to: list[str] = _job([], "Experiment trackers.", choices=TRACKERS)
    wandb_project: str = _job("emomm", "Project at Weights & Biases.")
    store_dir: str | None = _job(None, "Folder of frozen encoders' states and recordings; null is the user's cache.")
    store_dtype: str = _job("float16", "Precision of frozen encoders' states.", choices=("float16", "float32"))
    floors: bool = _job(
        True, "Fit logistic regression to the same folds first, and say of each experiment how it compares."
    )
    save_seconds: float = _job(30.0, "Least time between two full states to resume from, in seconds.", min=0)

    def __post_init__(self) -> None:
        for field in FIELDS.values():
            object.__setattr__(self, field.name, check_setting(field.name, getattr(self, field.name), ""))
        object.__setattr__(self, "modality", _shortest(self.modality))
        object.__setattr__(self, "curriculum_epochs", min(self.curriculum_epochs, self.num_epochs))
        object.__setattr__(self, "freeze_text_encoder", settled_text_tuning(self) == "frozen")
        check_consistent(self)

    @property
    def slug(self) -> str:
        """The name as a folder: lower-case, [a-z0-9-]."""
        return slug_of(self.name)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names in `modality`, in the order in which a fusion sees them."""
        if isinstance(self.modality, list):
            return tuple(self.modality)
        return MODALITIES if self.modality == BOTH else (self.modality,)

    @property
    def training_corpora(self) -> list[str]:
        """`train_dataset` as a list."""
        return [self.train_dataset] if isinstance(self.train_dataset, str) else list(self.train_dataset)


def _shortest(modality: str | list[str]) -> str | list[str]:
    """`modality` as those write it who have no further one: so that the same experiment has the same identity."""
    if not isinstance(modality, list):
        return modality
    names = [name for given in modality for name in (MODALITIES if given == BOTH else (given,))]
    if sorted(names) == sorted(MODALITIES):
        return BOTH
    return names[0] if len(names) == 1 else names


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}

# They can't change what a run computes: not its place, its name, its trackers, nor where a corpus happens to lie (its
# content is part of a run's identity by itself), nor what shapes its fold, whose rows are part of it where they don't
# follow from corpus and protocol alone.
_NO_IDENTITY = {
    "name", "description", "seeds", "corpus", "output_dir", "report_to", "wandb_project", "store_dir", "save_seconds",
    "floors", "folds", "fold_seed", "manifest", "disjoint_by", "allow_overlap", "stack_size",
    "by_fold", "searched",
}  # fmt: skip
_NO_IDENTITY_TRAINING = re.compile(r"log(ging)?_.*|disable_tqdm|skip_memory_metrics|dataloader_.*")


def settings_identity(settings: Settings) -> dict[str, Any]:
    """The settings that can change a run's result, as plain JSON values; a user's own file by its SHA-256.

    The seed is no part of it (a run has one of `seeds`), nor is any path; of settings that differ by fold, those that
    hold in a run's fold are to be given (`fold_settings.settings_of_fold`).
    """
    left_out = _NO_IDENTITY | without_effect(settings).keys()
    identity = {key: value for key, value in dataclasses.asdict(settings).items() if key not in left_out}
    identity["corpora"] = {
        name: {key: value for key, value in spec.items() if key != "path"} for name, spec in settings.corpora.items()
    }
    identity["training_arguments"] = {
        key: value for key, value in settings.training_arguments.items() if not _NO_IDENTITY_TRAINING.fullmatch(key)
    }
    if not settings.stack:
        del identity["stack"]
    for key, names, module in OWN:
        file = identity[module]
        chosen = identity[key] if isinstance(identity[key], list) else [identity[key]]
        if module != "fusion_module" and (file is None or set(chosen) <= set(names)):
            del identity[module]  # EmoMM's own are never those of the file
        elif file is not None:
            identity[module] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return identity


def check_setting(name: str, value: Any, where: str) -> Any:
    """The value of the field `name`, by itself, in the type and the limits of its declaration.

    Raises:
        InputError: with where, name, value and what is allowed.
    """
    field = FIELDS[name]
    if name == "report_to" and isinstance(value, str) and not value.startswith("["):
        value = {"none": [], "all": list(TRACKERS)}.get(value, str(value).split(","))
    return check(name, value, field.type, field.metadata, where)
