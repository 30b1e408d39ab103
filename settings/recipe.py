"""Recipe files and overrides -> the checked settings of their experiments.

A recipe is one flat JSON object: shared fields, and `experiments`, a list of overrides, each with a `name`. The fields
are those of `Settings`, and any field of `transformers.TrainingArguments` that EmoMM does not set itself. YAML in the
layout of the original system is read too (`seed_yaml.py`).
"""

import os
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import FromText
from ..errors import InputError
from ..errors import nearest
from ..errors import show
from .consistency import OWN
from .fold_settings import check_by_fold
from .settings import FIELDS
from .settings import Settings
from .settings import check_setting
from .values import check
from .values import parse_json
from .values import training_argument

# Options of `emomm run` that override no setting; here they are only offered as nearest names.
RUN_OPTIONS = (
    "experiment", "all", "dry_run", "overwrite", "no_report", "price",
    "jobs", "threads_per_run", "engine", "ray_address", "slurm",
    "push_to_hub", "hub_model_id", "hub_private", "hub_license", "final_model", "adapter_only",
)  # fmt: skip
RECIPES = Path(__file__).resolve().parent.parent / "recipes"
# TrainingArguments' names for settings that the seed names otherwise.
ALIASES = {
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "lr_scheduler_type": "lr_scheduler",
}


@dataclass(frozen=True)
class Recipe:
    """A recipe file, its experiments with every override applied, and what there is to say about reading it.

    Of a file of the original system, experiments that can't run are left out, and `left_out` says why; of a recipe of
    EmoMM's own, one wrong experiment is an error.
    """

    name: str
    path: Path
    experiments: list[Settings]
    notes: list[str]
    description: str = ""
    left_out: list[str] = field(default_factory=list)

    @property
    def may_leave_out(self) -> bool:
        """Whether an experiment that can't run is left out, rather than all refused."""
        return self.path.suffix != ".json"

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
    recipe, notes, left_out = _read_recipe(path)
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
    blocks: dict[int, tuple[str, dict[str, Any]]] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry.get("name"), str):
            raise InputError(f"{path}, experiment {number}: name is {show(entry.get('name'))}, but must be text.")
        where = f"{path}, experiment {entry['name']!r}"
        with leaving_out(left_out, number, path.suffix != ".json"):
            if number not in left_out:
                blocks[number] = (where, _merge(_merge(shared, _check_block(entry, where, path.parent)), last))
    experiments = _experiments(path, blocks, notes, left_out)
    if left_out and not experiments:
        raise InputError(left_out[min(left_out)])
    if len({settings.output_dir for settings in experiments.values()}) > 1:
        raise InputError(f"{path}: output_dir differs between experiments: give it once, beside experiments.")
    if experiment is not None:
        experiments, left_out = {0: _pick(experiments, str(experiment), path, left_out)}, {}
    reasons = [reason for _, reason in sorted(left_out.items())]
    return Recipe(path.stem, path, list(experiments.values()), notes, description, reasons)


def _experiments(
    path: Path, blocks: dict[int, tuple[str, dict[str, Any]]], notes: list[str], left_out: dict[int, str]
) -> dict[int, Settings]:
    """The settings of each experiment, by number. Notes, and what of a YAML file can't run, are added to."""
    lenient = path.suffix != ".json"
    if lenient:
        _settle_yaml(blocks.values(), notes)
    _without_curriculum([block for _, block in blocks.values()])
    experiments: dict[int, Settings] = {}
    default = FIELDS["curriculum_epochs"].default
    for number, (where, merged) in blocks.items():
        with leaving_out(left_out, number, lenient):
            experiments[number] = _settings(path, where, merged, experiments.values())
            notes += _clipped(experiments[number], merged.get("curriculum_epochs", default))
    return experiments


@contextmanager
def leaving_out(left_out: dict[int, str], number: int, allowed: bool) -> Iterator[None]:
    """Where it is allowed, an experiment that is wrong is left out: what is wrong is kept by its number."""
    try:
        yield
    except InputError as error:
        if not allowed:
            raise
        left_out[number] = str(error)


def _settings(path: Path, where: str, merged: dict[str, Any], before: Iterable[Settings]) -> Settings:
    """Raises InputError also where it would share a folder with one of those before it."""
    try:
        settings = Settings(**merged)
        check_by_fold(settings)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    for other in before:
        if other.slug == settings.slug:
            raise InputError(
                f"{path}: two experiments, {other.name!r} and {settings.name!r}, would share the folder "
                f"{settings.slug!r}: give them different names."
            )
    return settings


def _settle_yaml(blocks: Iterable[tuple[str, dict[str, Any]]], notes: list[str]) -> None:
    """Takes out what changes nothing in an experiment of a file of the original system, and notes it."""
    from .seed_yaml import drop_without_effect

    for where, merged in blocks:
        changed: list[str] = []
        drop_without_effect(merged, changed)
        notes += [f"{where.rpartition('experiment ')[2]}: {text}" for text in changed]


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


def _read_recipe(path: Path) -> tuple[dict[str, Any], list[str], dict[int, str]]:
    """The top-level object of a recipe file, unchecked, notes on reading it, and why experiments are left out."""
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
    return recipe, [], {}


def _check_block(block: Mapping[str, Any], where: str, folder: Path) -> dict[str, Any]:
    """The keys of one scope (shared, an experiment, the command line) checked one by one, and paths made absolute.

    Fields of TrainingArguments are collected under `training_arguments`.
    """
    checked: dict[str, Any] = {}
    for given, value in block.items():
        key = ALIASES.get(given, given)
        if given == "warmup_ratio":  # as TrainingArguments called warmup_steps below 1
            key, value = "warmup_steps", check(given, value, float, {"min": 0, "below": 1}, where)
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
    for module in ("manifest", *(module for _, _, module in OWN)):
        if checked.get(module):
            checked[module] = _absolute(checked[module], folder, f"{where}: {module}")
    for name in ("text_model_name", "speech_model_name"):
        if checked.get(name, "").startswith((".", "~")):
            checked[name] = _absolute(checked[name], folder, f"{where}: {name}")
    for name, words in (("augment_noise", ("white", "pink")), ("augment_room", ("simulated", None))):
        if name in checked and checked[name] not in words:
            checked[name] = _absolute(checked[name], folder, f"{where}: {name}")
    for name in ("output_dir", "store_dir"):
        if checked.get(name):
            checked[name] = _of_this_machine(checked[name], f"{where}: {name}")
    if "corpus" in checked:
        checked["corpus"] = {
            name: _absolute(text, folder, f"{where}: corpus {name}") for name, text in checked["corpus"].items()
        }
    for name, spec in checked.get("corpora", {}).items():
        if isinstance(spec.get("path"), str):
            spec["path"] = _absolute(spec["path"], folder, f"{where}: path of {name}")
    if "by_fold" in checked:
        checked["by_fold"] = {
            fold: _check_block(block, f"{where}, by_fold {fold}", folder) for fold, block in checked["by_fold"].items()
        }
    return checked


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise InputError(f"the working folder is gone ({error.strerror}): change to one that exists.") from None


_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


def _of_this_machine(text: str, what: str) -> str:
    """A path as a path, and a `file://` URL as one. Raises InputError for other URLs, which no folder is called by."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        return text
    if scheme[1].lower() == "file":
        url = urlsplit(text)
        if url.netloc in ("", "localhost"):
            return url2pathname(url.path)
    raise InputError(
        f"{what} is {show(text)}, but must be a path: mount it (by mountpoint-s3, gcsfuse or rclone) and give where, "
        "or copy it here."
    )


def _absolute(text: str, folder: Path, what: str) -> str:
    text = _of_this_machine(text, what)
    try:
        return str((folder / Path(text).expanduser()).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it, a loop of links, ~nobody
        raise InputError(f"{what} is {show(text)}, which is no path: {error}.") from None


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


def _pick(experiments: dict[int, Settings], wanted: str, path: Path, left_out: dict[int, str]) -> Settings:
    for settings in experiments.values():
        if wanted in (settings.name, settings.slug):
            return settings
    if wanted.isdecimal() and int(wanted) in experiments:
        return experiments[int(wanted)]
    for number, reason in left_out.items():
        if wanted == str(number) or f"experiment {wanted!r}" in reason:
            raise InputError(reason)
    names = [settings.name for settings in experiments.values()]
    listed = "; ".join(f"{number} {settings.name}" for number, settings in experiments.items())
    raise InputError(f"{path}: there is no experiment {wanted!r}.{nearest(wanted, names)} There are: {listed}.")
