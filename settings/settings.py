"""Recipe files and overrides -> checked settings, and what identifies a run.

A recipe is one flat JSON object: shared fields, and `experiments`, a list of overrides, each with a `name`. The fields
are those of `Settings`, and any field of `transformers.TrainingArguments` that EmoMM does not set itself. YAML in the
layout of the original system is read too (`seed_yaml.py`).
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import FromText
from ..errors import InputError
from ..errors import nearest
from ..errors import show
from ..job_folder import slug_of
from .consistency import FUSION_TYPES
from .consistency import check_consistent
from .values import check
from .values import parse_json
from .values import training_argument

# Options of `emomm run` that override no setting; here they are only offered as nearest names.
RUN_OPTIONS = (
    "experiment", "all", "dry_run", "overwrite", "no_report",
    "push_to_hub", "hub_model_id", "hub_private", "hub_license", "final_model",
)  # fmt: skip
RECIPES = Path(__file__).resolve().parent.parent / "recipes"

LR_SCHEDULERS = ("cosine", "linear", "constant", "plateau", "step", "exponential", "cyclic", "curriculum", "none")
TRACKERS = ("wandb", "tensorboard")
# As `curriculum/` has them; not imported from there because that takes numpy, and `--help` should not.
CURRICULUM_TYPES = (
    "none",
    "difficulty",
    "inverse_difficulty",
    "random",
    "random_nested",
    "random_matched",
    "class_balance",
    "model_confidence",
    "preset_order",
)
PACINGS = ("linear", "sqrt", "log", "exponential")
DIFFICULTY_METHODS = ("euclidean_distance", "weighted", "directional")
# (V, A, D) on 1-5: the prototypes of the original system's recipes.
PROTOTYPES = {
    "neutral": [3.0, 2.5, 3.0],
    "happy": [4.0, 3.8, 3.8],
    "sad": [1.8, 2.2, 2.0],
    "anger": [1.8, 4.2, 4.0],
}
# TrainingArguments' names for settings that the seed names otherwise.
ALIASES = {
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "lr_scheduler_type": "lr_scheduler",
}


def _field(group: str, default: Any, help: str, **limits: Any) -> Any:
    """A field of Settings; `limits` are those of `checking.check`."""
    metadata = {"group": group, "help": help, **limits}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


_data, _model, _loss = partial(_field, "data"), partial(_field, "model"), partial(_field, "loss")
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
        "loso", "Leave one session out, test on other corpora, or both.", choices=("loso", "cross_corpus", "both")
    )
    validation: str = _data(
        "session",
        "Which training rows choose the best epoch.",
        choices=("session", "speakers", "random", "random_unstratified"),
    )
    validation_fraction: float = _data(0.2, "Share of the speakers or rows that validates.", above=0, below=1)
    seeds: list[int] = _data([42, 123, 456], "One run for each seed and fold.", min=0, below=2**32)

    modality: str = _model("both", "What the model hears or reads.", choices=("audio", "text", "both"))
    feature_normalization: str = _model(
        "standardize",
        "Bring voice features and frozen text states to mean 0 and deviation 1, by the training rows.",
        choices=("none", "standardize"),
    )
    audio_dim: int | None = _model(None, "Width of the audio features, checked against the corpus.", min=1)
    audio_projection_dim: int | None = _model(None, "Width of a linear layer and ReLU on each audio frame.", min=1)
    text_model_name: str = _model("bert-base-uncased", "Text encoder: a Hub id, a folder, or package:NAME/FOLDER.")
    freeze_text_encoder: bool = _model(True, "Keep the text encoder as it is, and encode each transcript once.")
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
        "Noise on each modality in training, in its standard deviations; null: root of dimensions / rows, up to .71.",
        min=0,
    )
    modality_dropout: float = _model(
        0.2, "Share of the training rows with voice and words at which one of them is hidden.", min=0, below=1
    )
    num_classes: int | None = _model(None, "Number of classes, checked against the label map.", min=2)

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
    curriculum_type: str = _curriculum("difficulty", "Which rows come first.", choices=CURRICULUM_TYPES)
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
    text_learning_rate: float | None = _training(
        None, "Learning rate of a text encoder that isn't frozen; null is 2e-5.", above=0
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
    training_arguments: dict = _training({}, "Other fields of TrainingArguments, which recipes give directly.")

    output_dir: str | None = _job(None, "Folder of the results; null is runs/<recipe>.")
    report_to: list[str] = _job([], "Experiment trackers.", choices=TRACKERS)
    wandb_project: str = _job("emomm", "Project at Weights & Biases.")
    store_dir: str | None = _job(None, "Folder of the frozen text states; null is the user's cache.")
    store_dtype: str = _job("float16", "Precision of the frozen text states.", choices=("float16", "float32"))
    floors: bool = _job(
        True, "Fit logistic regression to the same folds first, and say of each experiment how it compares."
    )
    save_seconds: float = _job(30.0, "Least time between two full states to resume from, in seconds.", min=0)

    def __post_init__(self) -> None:
        for field in FIELDS.values():
            object.__setattr__(self, field.name, check_setting(field.name, getattr(self, field.name), ""))
        object.__setattr__(self, "curriculum_epochs", min(self.curriculum_epochs, self.num_epochs))
        check_consistent(self)

    @property
    def slug(self) -> str:
        """The name as a folder: lower-case, [a-z0-9-]."""
        return slug_of(self.name)

    @property
    def training_corpora(self) -> list[str]:
        """`train_dataset` as a list."""
        return [self.train_dataset] if isinstance(self.train_dataset, str) else list(self.train_dataset)


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}

# They can't change what a run computes: not its place, its name, its trackers, nor where a corpus happens to lie (its
# content is part of a run's identity by itself).
_NO_IDENTITY = {
    "name", "description", "seeds", "corpus", "output_dir", "report_to", "wandb_project", "store_dir", "save_seconds",
    "floors",
}  # fmt: skip
_NO_IDENTITY_TRAINING = re.compile(r"log(ging)?_.*|disable_tqdm|skip_memory_metrics|dataloader_.*")


def settings_identity(settings: Settings) -> dict[str, Any]:
    """The settings that can change a run's result, as plain JSON values; an own fusion by its file's SHA-256.

    The seed is no part of it (a run has one of `seeds`), nor is any path.
    """
    identity = {key: value for key, value in dataclasses.asdict(settings).items() if key not in _NO_IDENTITY}
    identity["corpora"] = {
        name: {key: value for key, value in spec.items() if key != "path"} for name, spec in settings.corpora.items()
    }
    identity["training_arguments"] = {
        key: value for key, value in settings.training_arguments.items() if not _NO_IDENTITY_TRAINING.fullmatch(key)
    }
    if settings.fusion_module is not None:
        identity["fusion_module"] = hashlib.sha256(Path(settings.fusion_module).read_bytes()).hexdigest()
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


@dataclass(frozen=True)
class Recipe:
    """A recipe file, its experiments with every override applied, and what there is to say about reading it."""

    name: str
    path: Path
    experiments: list[Settings]
    notes: list[str]
    description: str = ""

    @property
    def output_dir(self) -> Path:
        """The folder of the job's results."""
        return Path(self.experiments[0].output_dir or Path("runs") / self.name)


def load_recipe(
    path: str | Path,
    overrides: Mapping[str, str | None] | None = None,
    experiment: str | int | None = None,
    seeds: list[int] | None = None,
) -> Recipe:
    """A recipe file, read and checked.

    Args:
        path: a .json file, a .yaml file in the layout of the original system, or the bare name of a packaged recipe.
            Paths of files that it reads are relative to its folder.
        overrides: text by field name, as on a command line, for every experiment; None is a flag without a value.
            `corpus` (a JSON object) adds to what the recipe has. Paths are relative to the working directory.
        experiment: the name, slug or number (from 0) of the only experiment to keep.
        seeds: in place of every experiment's own.

    Raises:
        InputError: naming file, experiment, key, value and what is allowed; syntax errors with line and column.
    """
    path = _find_recipe(str(path))
    recipe, notes = _read_recipe(path)
    entries = recipe.pop("experiments", [{"name": path.stem}])
    description = check_setting("description", recipe.pop("description", ""), str(path))
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: experiments is {show(entries)}, but must be a list of objects, each with a name.")
    if "name" in recipe:
        raise InputError(f"{path}: name ({show(recipe['name'])}) belongs into each entry of experiments.")
    shared = _check_block(recipe, str(path), path.parent)
    given = {key: None if text is None else FromText(text) for key, text in (overrides or {}).items()}
    for key in sorted({"name", "description"} & set(given)):
        raise InputError(f"command line: --{key} can't be given: it belongs to one experiment of the recipe.")
    last = _check_block(given, "command line", _working_folder())
    if seeds is not None:
        last["seeds"] = seeds
    blocks: list[tuple[str, dict[str, Any]]] = []
    for number, entry in enumerate(entries):
        if not isinstance(entry.get("name"), str):
            raise InputError(f"{path}, experiment {number}: name is {show(entry.get('name'))}, but must be text.")
        where = f"{path}, experiment {entry['name']!r}"
        blocks.append((where, _merge(_merge(shared, _check_block(entry, where, path.parent)), last)))
    _without_curriculum([block for _, block in blocks])
    experiments = []
    for where, merged in blocks:
        try:
            experiments.append(Settings(**merged))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        notes += _clipped(experiments[-1], merged.get("curriculum_epochs", FIELDS["curriculum_epochs"].default))
    _check_distinct(experiments, path)
    if experiment is not None:
        experiments = [_pick(experiments, str(experiment), path)]
    return Recipe(path.stem, path, experiments, notes, description)


def _clipped(settings: Settings, curriculum_epochs: int) -> list[str]:
    """What there is to say where a curriculum was to last longer than the training does."""
    epochs = settings.num_epochs
    if curriculum_epochs <= epochs:
        return []
    return [f"curriculum_epochs is {curriculum_epochs}, but num_epochs is {epochs}: it is taken as {epochs}"]


def _find_recipe(name: str) -> Path:
    path = Path(os.path.expanduser(name))
    packaged = {recipe.stem: recipe for recipe in RECIPES.glob("*.json")}
    # By os.path, for which a name that no file can have (too long, a NUL in it) is just no file.
    if name in packaged and not os.path.isfile(path):
        return packaged[name]
    if not os.path.isfile(path):
        kind = "is a folder, no recipe" if os.path.isdir(path) else "there is no such recipe file"
        hint = nearest(path.stem, packaged) or f" Packaged: {', '.join(sorted(packaged))}."
        raise InputError(f"{name}: {kind}.{hint}")
    return path


def _read_recipe(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The top-level object of a recipe file, unchecked, and notes on reading it."""
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise InputError(f"{path}: a recipe is a .json file, or a .yaml file in the original system's layout.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as a text file: {error}") from None
    if path.suffix != ".json":
        from .seed_yaml import read_seed_yaml

        return read_seed_yaml(path, text)
    try:
        recipe = parse_json(text)
    except ValueError as error:  # JSONDecodeError, whose text holds line and column, is one too
        raise InputError(f"{path}: no valid JSON: {error}") from None
    if not isinstance(recipe, dict):
        raise InputError(f"{path}: a recipe is one JSON object {{...}}, but this is {show(recipe)}.")
    return recipe, []


def _check_block(block: Mapping[str, Any], where: str, folder: Path) -> dict[str, Any]:
    """The keys of one scope (shared, an experiment, the command line) checked one by one, and paths made absolute.

    Fields of TrainingArguments are collected under `training_arguments`.
    """
    checked: dict[str, Any] = {}
    for given, value in block.items():
        key = ALIASES.get(given, given)
        if key != given and key in block:
            raise InputError(
                f"{where}: {given} ({show(value)}) and {key} ({show(block[key])}) mean the same: give one."
            )
        if value is None and where == "command line":
            value = FromText("true")
            if key in FIELDS and FIELDS[key].type is not bool:
                raise InputError(f"{where}: --{given} needs a value.")
        if key in FIELDS and key != "training_arguments":
            checked[key] = check_setting(key, value, where)
        else:
            others = RUN_OPTIONS if where == "command line" else {"experiments"}
            names = {*FIELDS, *ALIASES, *others} - {"training_arguments", key}
            extra = checked.setdefault("training_arguments", {})
            extra[key] = training_argument(key, value, where, names)
    if checked.get("fusion_module"):
        checked["fusion_module"] = _absolute(checked["fusion_module"], folder)
    if checked.get("text_model_name", "").startswith((".", "~")):
        checked["text_model_name"] = _absolute(checked["text_model_name"], folder)
    if "corpus" in checked:
        checked["corpus"] = {name: _absolute(text, folder) for name, text in checked["corpus"].items()}
    for spec in checked.get("corpora", {}).values():
        if isinstance(spec.get("path"), str):
            spec["path"] = _absolute(spec["path"], folder)
    return checked


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise InputError(f"the working folder is gone ({error.strerror}): change to one that exists.") from None


def _absolute(text: str, folder: Path) -> str:
    try:
        return str((folder / Path(text).expanduser()).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it, a loop of links, ~nobody
        raise InputError(f"{show(text)} is no path: {error}.") from None


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """`second` over `first`. `corpus` and `training_arguments` add up; scheduler arguments go with their scheduler."""
    merged = {**first, **second}
    for key in ("corpus", "training_arguments"):
        if key in first and key in second:
            merged[key] = {**first[key], **second[key]}
    if "lr_scheduler" in second and "lr_scheduler_kwargs" not in second:
        merged["lr_scheduler_kwargs"] = {}
    return merged


def _without_curriculum(blocks: list[dict[str, Any]]) -> None:
    """Where no experiment of a recipe has a curriculum, and none says how long one is, it is 0 epochs long.

    Else `curriculum_epochs` stands for all of them: what waits for the end of a curriculum waits as long in those
    without one, or they would differ in that too.
    """
    for block in blocks:
        kind = block.get("curriculum_type", FIELDS["curriculum_type"].default)
        wanted = block.get("use_curriculum_learning", FIELDS["use_curriculum_learning"].default)
        if "curriculum_epochs" in block or (wanted and kind != "none"):
            return
    for block in blocks:
        block["curriculum_epochs"] = 0


def _check_distinct(experiments: list[Settings], path: Path) -> None:
    """One folder for each experiment, and one for all of them. Raises InputError."""
    seen: dict[str, str] = {}
    for settings in experiments:
        if settings.slug in seen:
            raise InputError(
                f"{path}: two experiments, {seen[settings.slug]!r} and {settings.name!r}, would share the folder "
                f"{settings.slug!r}: give them different names."
            )
        seen[settings.slug] = settings.name
    if len({settings.output_dir for settings in experiments}) > 1:
        raise InputError(f"{path}: output_dir differs between experiments: give it once, beside experiments.")


def _pick(experiments: list[Settings], wanted: str, path: Path) -> Settings:
    for settings in experiments:
        if wanted in (settings.name, settings.slug):
            return settings
    if wanted.isdecimal() and int(wanted) < len(experiments):
        return experiments[int(wanted)]
    names = [settings.name for settings in experiments]
    listed = "; ".join(f"{number} {name}" for number, name in enumerate(names))
    raise InputError(f"{path}: there is no experiment {wanted!r}.{nearest(wanted, names)} There are: {listed}.")
