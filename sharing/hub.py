"""Sharing a model: `emomm push` gathers what may leave the machine, and commits it to the Hub in one piece."""

import contextlib
import getpass
import json
import logging
import os
import re
import shutil
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from filelock import Timeout
from huggingface_hub import get_token

from ..corpora.builtin import resolve_specs
from ..corpora.raw_columns import UNKNOWN
from ..corpora.reading import read_genders
from ..corpora.spec import CorpusSpec
from ..errors import InputError
from ..evaluation.results import Pooled
from ..evaluation.results import add_statistics
from ..evaluation.results import pooled_predictions
from ..evaluation.selection import scored_by
from ..evaluation.test_parts import tested_corpus
from ..experiments.final_model import train_final_model
from ..experiments.job import plan_experiment
from ..experiments.own_fusion import load_modalities
from ..experiments.run_folder import fault_of_model
from ..experiments.run_folder import model_is_gone
from ..exporting import CODE
from ..files import is_of_the_disk
from ..files import link_or_copy
from ..files import read_json
from ..files import remove_temporary
from ..files import whole_folder
from ..job_folder import ExperimentFolder
from ..job_folder import JobFolder
from ..job_folder import RunFolder
from ..job_folder import check_finished
from ..job_folder import find_experiment
from ..job_folder import slug_of
from ..processes import process_state
from ..reporting.protocol_words import named_protocol
from ..reporting.report_data import file_stem
from ..reporting.search_words import gains
from ..settings.consistency import OWN
from ..settings.fold_settings import settings_of_fold
from ..settings.settings import Settings
from ..settings.tuning import tunings
from .card_results import CardFacts
from .compared import job_choices
from .compared import public_choices
from .compared import warn_of_choice
from .model_card import model_card
from .uploading import FIGURES
from .uploading import MODEL_FILES
from .uploading import Push
from .uploading import check_destination
from .uploading import upload

logger = logging.getLogger(__name__)

# The report's figures that are shared, and what the card says of those that it shows. None that names speakers.
_FIGURES = {
    "shares": "Confusion matrix: shares of each true emotion",
    "counts": None,
    "calibration": None,
    "difficulty": "Accuracy by difficulty of the row, which is computed with its true label",
    "learning": None,
    "curriculum": None,
    "session": None,
}
_TEXT = (".json", ".md", ".py", ".txt", ".svg")
_ENTRY_KEYS = ("name", "labels", "text_encoder", "speech_encoder", "selection", "protocol", "overlap", "audit")
_RUN_KEYS = (
    "seed", "fold", "protocol", "parts", "rows_without_rating", "steps", "best_epoch", "best_epoch_ties",
    "train_seconds", "validation", "test", "parameters", "layer_weights",
)  # fmt: skip


def push(wanted: Push) -> str:
    """Trains the final model where it is not there yet, gathers the files and pushes them.

    What is pushed lies in `<experiment>/hub` afterwards, whether pushing worked or not.

    Returns the address of the model. Raises InputError where the job is not as it must be, or the Hub did not take it.
    """
    check_destination(wanted.hub_model_id)
    state, lock = process_state(), FileLock(JobFolder(wanted.folder).lock)
    try:
        if state.is_main_process and wanted.folder.is_dir():
            lock.acquire(timeout=0)
            remove_temporary(wanted.files.path)  # of a push that was killed
        model = model_folder(wanted)
        folder = gather(wanted, model) if state.is_main_process else None
    except Timeout as error:
        raise InputError(f"a job or another push is writing into {wanted.folder}; wait for it") from error
    except Exception as error:
        if not is_of_the_disk(error):
            raise
        raise InputError(
            f"{wanted.files.path} could not be prepared ({error}); once that is mended: {wanted.command}"
        ) from error
    finally:
        lock.release()
    return "" if folder is None else upload(wanted, folder)


# ---- what is pushed -------------------------------------------------------------------------------------------------


def model_folder(wanted: Push) -> Path:
    """The folder of the run whose model is pushed: the final one, trained now if it is not there, or that of the fold
    that validated best. Raises InputError where there is no such experiment, or its runs are not finished."""
    results, entry = _entry(wanted)
    if wanted.adapter_only:
        check_adapters(_settings(wanted.files))
    warn_of_choice(entry["name"], job_choices(results))
    if wanted.final_model:
        return train_final_model(*plan_experiment(_settings(wanted.files), wanted.folder))
    metric = scored_by(_settings(wanted.files).metric_for_best_model)
    best = max(entry["runs"], key=lambda run: run["validation"][metric])
    run = wanted.files.run(best["seed"], best["fold"])
    fault = fault_of_model(run)
    if fault is not None:
        delete = f"delete {run.metrics} and " if model_is_gone(run) else ""
        raise InputError(
            f"nothing is pushed: {fault}. To have it again, {delete}give the job's command: it trains that run alone, "
            "to the same numbers"
        )
    return run.path


def check_adapters(settings: Settings) -> None:
    """Raises InputError where no encoder is tuned by LoRA, so that there is no adapter to push."""
    found = tunings(settings)
    if any(tuning.how == "lora" for tuning in found.values()):
        return
    names = {"audio": "speech_tuning", "text": "text_tuning"}
    said = ", ".join(f"{names[name]} is {tuning.how}" for name, tuning in found.items()) or "it has no encoder"
    raise InputError(
        f"--adapter_only: experiment {settings.name!r} has no adapter, as no encoder is tuned by LoRA ({said}): leave "
        "--adapter_only out, or run the job with speech_tuning or text_tuning lora"
    )


def gather(wanted: Push, folder: Path) -> Path:
    """Writes the folder that is pushed, `<experiment>/hub`: model, code, processor, card, results and figures.

    Args:
        folder: from `model_folder`.
    """
    results, entry = _entry(wanted)
    source, settings = RunFolder(folder), _settings(wanted.files)
    load_modalities(settings)  # which the corpora's columns and the card name
    specs = resolve_specs(settings.corpora, settings.corpus)
    known = {corpus["name"]: specs[corpus["name"]] for corpus in entry["corpora"]}
    if wanted.adapter_only and not (source.adapter / "config.json").is_file():
        raise InputError(
            f"nothing is pushed: {source.adapter} is gone. To have it again, delete {source.metrics} and give the "
            "job's command, or push: it trains that run alone, to the same numbers"
        )
    with whole_folder(wanted.files.hub) as staging:
        _link_files(source.adapter if wanted.adapter_only else source.model, staging)
        pooled = pooled_predictions(entry, wanted.folder)
        if pooled.keys() != entry["statistics"].keys():
            raise InputError(f"{wanted.files.path}: predictions of its runs are gone: run the job again, then push")
        alone = _has_sessions_of_one(pooled)
        figures = _figures(wanted.folder, entry, staging, alone)
        metrics, run = _object(source.metrics), _object(source.record)
        settings = settings_of_fold(settings, metrics["fold"])
        folds = numbered_folds(entry, alone)
        settings = replace(settings, searched=public_search(settings.searched, folds))
        tested = dict.fromkeys(tested_corpus(name, known) for name in entry["statistics"])
        facts = CardFacts(
            hub_model_id=wanted.hub_model_id,
            entry={
                **entry,
                **({"statistics": _with_folds(entry["statistics"], folds)} if folds else {}),
                **({"searched": settings.searched} if "searched" in entry else {}),
            },
            settings=settings,
            specs=known,
            pooled=pooled,
            pool_size=_last_pool(source.history),
            license=wanted.license,
            model={
                **metrics,
                "fold": folds.get(metrics["fold"], metrics["fold"]),
                **{key: run.get(key) for key in ("stop_after_epoch", "epoch_steps")},
            },
            config=_object(staging / "config.json"),
            environment=_object(source.environment) if source.environment.exists() else results["environment"],
            job_environment=results["environment"],
            genders={name: _genders(known[name]) for name in tested},
            figures=figures,
            choices=job_choices(results),
            adapter_only=wanted.adapter_only,
            gains=gains(results, entry) if "searched" in entry else (),
        )
        (staging / "README.md").write_text(f"{model_card(facts).content}\n", encoding="utf-8")
        public = public_results(results, entry, alone)
        text = json.dumps(public, indent=2, ensure_ascii=False)
        JobFolder(staging).results.write_text(text, encoding="utf-8")
        refuse_private(staging, _private(wanted.folder, settings))
    return wanted.files.hub


def _has_sessions_of_one(pooled: Pooled) -> bool:
    """Whether a session is a speaker's own, as where each speaker is left out in turn: its name is then theirs."""
    for rows in pooled.values():
        pairs = set(zip(rows.sessions.tolist(), rows.speakers.tolist(), strict=True))
        people = Counter(session for session, _ in pairs)
        if any(count == 1 for session, count in people.items() if session != UNKNOWN):
            return True
    return False


def _last_pool(history: Path) -> int | None:
    """Rows that the curriculum had let in by the last epoch; None where nothing was logged of it."""
    try:
        sizes = [entry.get("curriculum/pool_size") for entry in json.loads(history.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # torn, or of another shape
        return None
    known = [int(size) for size in sizes if size is not None]
    return known[-1] if known else None


def _entry(wanted: Push) -> tuple[dict[str, Any], dict[str, Any]]:
    """results.json, and the experiment's entry in it, with statistics."""
    results, found = find_experiment(wanted.folder, wanted.experiment)
    check_finished(wanted.folder, found)
    if "statistics" not in found:
        add_statistics({"experiments": [found]}, wanted.folder)
    return results, found


def _settings(files: ExperimentFolder) -> Settings:
    try:
        return Settings(**_object(files.settings))
    except (TypeError, InputError) as error:
        raise InputError(
            f"{files.settings} is missing or torn: the command that started the job writes it, and trains "
            "nothing again"
        ) from error


def _object(path: Path) -> dict[str, Any]:
    """What a JSON file of the job holds. Raises InputError where it is missing or torn."""
    found = read_json(path)
    if found is None:
        raise InputError(f"{path} is missing or torn: the command that started the job makes it again; then push")
    return found


def _link_files(model: Path, staging: Path) -> None:
    """The files of an export, linked (or copied) if they are on the list."""
    config = _object(model / "config.json")
    code = {*CODE, *(f"{config.get(module)}.py" for module in ("fusion_module", "modality_module"))}
    for path in sorted(model.rglob("*")):
        name = path.relative_to(model).as_posix()
        if path.is_dir():
            continue
        if name not in code and not MODEL_FILES.fullmatch(name):
            logger.warning("%s is not pushed: it is not on the list of what a model is made of", name)
            continue
        (staging / name).parent.mkdir(exist_ok=True)
        link_or_copy(path, staging / name)


def _figures(folder: Path, entry: dict[str, Any], staging: Path, alone: bool) -> list[tuple[str, str]]:
    """The report's figures of this experiment, copied; (path, what it shows) of those that the card shows.

    Args:
        alone: sessions are speakers: their figure is left out.
    """
    slug, shown = slug_of(entry["name"]), []
    for kind, what in _FIGURES.items():
        if kind == "session" and alone:
            continue
        for corpus in (None, *entry["statistics"]):
            stem = f"{kind}-{slug}" if corpus is None else f"{kind}-{file_stem(slug, corpus)}"
            for path in sorted(JobFolder(folder).report.figures.glob(f"{stem}.*")):
                name = f"figures/{path.name}"
                if not FIGURES.fullmatch(name):
                    continue
                (staging / "figures").mkdir(exist_ok=True)
                shutil.copyfile(path, staging / name)
                if what is not None and path.suffix == ".png":
                    shown.append((name, what if corpus is None else f"{what}, {corpus}"))
    if not (staging / "figures").exists():
        logger.warning("no figures are pushed: there are none in %s; `emomm report %s` draws them", folder, folder)
    return shown


def _genders(spec: CorpusSpec) -> dict[str, str]:
    try:
        return read_genders(spec)
    except InputError as error:  # the corpus has gone since: the card does without
        logger.warning("%s; scores by gender are left out", error)
        return {}


def numbered_folds(entry: dict[str, Any], alone: bool) -> dict[str, str]:
    """A number for each fold whose name may tell who a speaker is: of sessions that are speakers (`alone`), and of a
    user's own protocol, which calls its folds what it likes. Else {}."""
    if not (alone or "protocol" in entry):
        return {}
    names = dict.fromkeys(run["fold"] for run in entry["runs"])
    return {name: f"fold-{number}" for number, name in enumerate(names, start=1)}


def _with_folds(statistics: dict[str, Any], folds: dict[str, str]) -> dict[str, Any]:
    """The statistics with other names of folds."""
    lacking = {corpus: said.get("folds_lacking_classes", {}) for corpus, said in statistics.items()}
    return {
        corpus: {**said, "folds_lacking_classes": {folds[name]: found for name, found in lacking[corpus].items()}}
        for corpus, said in statistics.items()
    }


def public_search(searched: dict[str, Any], folds: dict[str, str]) -> dict[str, Any]:
    """How settings were searched for, as it is shared: without what each fold's study found.

    Args:
        searched: of the experiment's settings; {} where nothing was searched.
        folds: the numbers of folds that are called as speakers; {} where none are.
    """
    if not searched:
        return {}
    said = {key: value for key, value in searched.items() if key != "found"}
    said["leaks"] = [folds.get(fold, fold) for fold in searched["leaks"]]
    return {**said, "fold": folds.get(searched["fold"], searched["fold"])}


def public_results(results: dict[str, Any], entry: dict[str, Any], alone: bool = False) -> dict[str, Any]:
    """results.json of one experiment as it is shared: numbers and protocol; no speaker is named, and no path.

    Args:
        alone: sessions are speakers: they are numbered.
    """
    runs = [{key: run[key] for key in _RUN_KEYS if key in run} for run in entry["runs"]]
    corpora, folds = entry["corpora"], numbered_folds(entry, alone)
    for run in runs if folds else ():
        run["fold"] = folds[run["fold"]]
        run["protocol"] = f"{run['fold']}: {named_protocol(entry) or 'one session left out'}"
    if alone:
        corpora = [{**corpus, "sessions": len(corpus["sessions"])} for corpus in corpora]
    for run in runs:
        parts = run["parts"].items()
        run["parts"] = {name: {k: v for k, v in part.items() if k != "speakers"} for name, part in parts}
    statistics = {
        corpus: {**said, "by_speaker": sorted(said["by_speaker"].values(), key=lambda each: each["uar"])}
        for corpus, said in entry["statistics"].items()
    }
    for said in statistics.values() if alone else ():
        said["by_session"] = sorted(said["by_session"].values(), key=lambda each: each["uar"])
    statistics = _with_folds(statistics, folds) if folds else statistics
    floors = {key: value for key, value in (entry.get("floors") or {}).items() if key != "folds"}
    return {
        "recipe": results["recipe"],
        "protocol": [*dict.fromkeys(run["protocol"] for run in runs), *entry.get("shared_rows", [])],
        "environment": results["environment"],
        "experiments": [
            {
                **{key: entry[key] for key in _ENTRY_KEYS if key in entry},
                "compared": public_choices(entry["name"], job_choices(results)),
                "corpora": corpora,
                "runs": runs,
                "summary": entry["summary"],
                "statistics": statistics,
                **({"floors": floors} if floors else {}),
                **({"searched": public_search(entry["searched"], folds)} if "searched" in entry else {}),
            }
        ],
    }


def _private(folder: Path, settings: Settings) -> list[str]:
    """What must be in no file that is shared: paths of this machine, and the token."""
    given = [settings.output_dir, settings.store_dir, settings.text_model_name, settings.speech_model_name]
    given += [settings.augment_noise, settings.augment_room]
    given += [getattr(settings, module) for _, _, module in OWN]
    given += [*settings.corpus.values(), *(spec.get("path") for spec in settings.corpora.values())]
    paths = [text for text in given if text and os.path.isabs(text)]
    paths += [str(path) for path in (folder.resolve(), Path.cwd(), Path.home()) if len(path.parts) > 1]
    above = [str(parent) for path in paths for parent in Path(path).parents if len(parent.parts) > 2]
    token, here = get_token(), []
    with contextlib.suppress(OSError, KeyError, ImportError):
        here = [f"{getpass.getuser()}@", f"@{socket.gethostname()}"]
    return [*paths, *above, *here, *([token] if token and len(token) >= 8 else [])]


def refuse_private(folder: Path, private: list[str]) -> None:
    """Raises InputError where a text file names a path of this machine, or holds the token."""
    # Not within a URL; but after `file://`, and after a host.
    before = r"(?:(?<![\w.:/])|(?<=file://)|(?<=\w:))"
    texts = sorted(set(private))
    ends = [(text, r"(?![\w-])" if text[-1] != "@" else "") for text in texts]
    pattern = re.compile("|".join(f"{'' if text[0] == '@' else before}{re.escape(text)}{end}" for text, end in ends))
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _TEXT or not path.is_file():
            continue
        said = path.read_text(encoding="utf-8", errors="replace")
        found = pattern.search(said) if any(text in said for text in texts) else None  # the pattern is slow
        if found is not None:
            what = found.group() if found.group()[0] == "/" or "@" in found.group() else "the token"
            raise InputError(f"nothing is pushed: {path.relative_to(folder)} holds {what}; take it out and push again")


__all__ = ["check_adapters", "gather", "model_folder", "public_results", "push", "refuse_private"]
