"""Sharing a model: `emomm push` gathers what may leave the machine, and commits it to the Hub in one piece."""

import contextlib
import getpass
import json
import logging
import os
import re
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import TypeVar

import httpx2
from filelock import FileLock
from filelock import Timeout
from huggingface_hub import CommitOperationAdd
from huggingface_hub import CommitOperationDelete
from huggingface_hub import HfApi
from huggingface_hub import constants
from huggingface_hub import get_session
from huggingface_hub import get_token
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.errors import HFValidationError
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError

from ..checking import nearest
from ..checksums import CHECKSUMS
from ..checksums import WEIGHTS
from ..checksums import WORDS
from ..corpora import UNKNOWN
from ..corpus_reading import read_genders
from ..corpus_specs import CorpusSpec
from ..corpus_specs import resolve_specs
from ..errors import InputError
from ..exporting import CODE
from ..job import SETTINGS
from ..job import plan_experiment
from ..processes import process_state
from ..reporting.data import file_stem
from ..results import Pooled
from ..results import add_statistics
from ..results import pooled_predictions
from ..selection import scored_by
from ..settings import Settings
from ..settings import slug_of
from .card_results import CardFacts
from .compared import job_choices
from .compared import public_choices
from .compared import warn_of_choice
from .final_model import train_final_model
from .model_card import model_card

logger = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_SECONDS = (1.0, 4.0, 15.0)
"""Waits between attempts of what huggingface_hub itself tries once."""
TIMEOUT_SECONDS = 120.0
"""How long the Hub may be silent; huggingface_hub waits forever."""
_TRANSIENT = (408, 409, 412, 429)  # 409 and 412: another commit came in between; and all from 500 on

# Nothing but these is ever pushed.
MODEL_FILES = re.compile(rf"{re.escape(CHECKSUMS)}|(processor_)?config\.json|{WEIGHTS.pattern}|{WORDS.pattern}")
FIGURES = re.compile(r"figures/[\w.-]+\.(png|svg)")
# The report's figures that are shared, and what the card says of those that it shows. None that names speakers.
_FIGURES = {
    "shares": "Confusion matrix: shares of each true emotion",
    "counts": None,
    "calibration": None,
    "difficulty": "Accuracy by difficulty of the row",
    "learning": None,
    "curriculum": None,
    "session": None,
}
_TEXT = (".json", ".md", ".py", ".txt", ".svg")
_RUN_KEYS = (
    "seed", "fold", "protocol", "parts", "rows_without_rating", "steps", "best_epoch", "best_epoch_ties",
    "train_seconds", "validation", "test",
)  # fmt: skip


@dataclass(frozen=True)
class Push:
    """What `emomm push` is asked for.

    Args:
        folder: of a job, `runs/<recipe>`.
        experiment: name of one of its experiments.
        hub_model_id: `user/name`.
        private: whether a repository that is made is private.
        final_model: train once more on all sessions; else the run with the best validation score is pushed.
        license: of the model, an id that the Hub knows; None: that of the training data, whatever it is.
    """

    folder: Path
    experiment: str
    hub_model_id: str
    private: bool = False
    final_model: bool = True
    license: str | None = None

    @property
    def place(self) -> Path:
        """The experiment's folder."""
        return self.folder / slug_of(self.experiment)

    @property
    def command(self) -> str:
        """The command that does it (again)."""
        flags = " --hub_private" * self.private + " --final_model false" * (not self.final_model)
        flags += f" --hub_license {self.license}" if self.license else ""
        return f"emomm push {self.folder} --experiment {self.experiment!r} --hub_model_id {self.hub_model_id}{flags}"


def check_destination(hub_model_id: str) -> None:
    """Raises InputError, without asking the Hub, where nothing can be pushed: a name that is none, no token."""
    if hub_model_id.count("/") != 1:
        raise InputError(f"--hub_model_id is {hub_model_id!r}, but must be user/name")
    try:
        validate_repo_id(hub_model_id)
    except HFValidationError as error:
        raise InputError(f"--hub_model_id is {hub_model_id!r}: {error}") from None
    if constants.is_offline_mode():
        raise InputError("the Hub can't be reached: HF_HUB_OFFLINE is set; unset it to push")
    if not get_token():
        raise InputError(
            "there is no token for the Hub: `hf auth login` keeps one, or set HF_TOKEN; it needs write access"
        )


def push(wanted: Push) -> str:
    """Trains the final model where it is not there yet, gathers the files and pushes them.

    What is pushed lies in `<experiment>/hub` afterwards, whether pushing worked or not.

    Returns the address of the model. Raises InputError where the job is not as it must be, or the Hub did not take it.
    """
    check_destination(wanted.hub_model_id)
    state, lock = process_state(), FileLock(wanted.folder / ".lock")
    try:
        if state.is_main_process and wanted.folder.is_dir():
            lock.acquire(timeout=0)
        model = model_folder(wanted)
        folder = gather(wanted, model) if state.is_main_process else None
    except Timeout as error:
        raise InputError(f"a job or another push is writing into {wanted.folder}; wait for it") from error
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{wanted.place} could not be prepared ({error}); once that is mended: {wanted.command}"
        ) from error
    finally:
        lock.release()
    return "" if folder is None else upload(wanted, folder)


# ---- what is pushed -------------------------------------------------------------------------------------------------


def model_folder(wanted: Push) -> Path:
    """The folder of the run whose model is pushed: the final one, trained now if it is not there, or that of the fold
    that validated best. Raises InputError where there is no such experiment, or its runs are not finished."""
    results, entry = _entry(wanted)
    warn_of_choice(entry["name"], job_choices(results))
    if wanted.final_model:
        return train_final_model(*plan_experiment(_settings(wanted.place), wanted.folder))
    metric = scored_by(_settings(wanted.place).metric_for_best_model)
    best = max(entry["runs"], key=lambda run: run["validation"][metric])
    return wanted.place / f"seed-{best['seed']}" / best["fold"]


def gather(wanted: Push, source: Path) -> Path:
    """Writes the folder that is pushed, `<experiment>/hub`: model, code, processor, card, results and figures.

    Args:
        source: from `model_folder`.
    """
    results, entry = _entry(wanted)
    place, settings = wanted.place, _settings(wanted.place)
    specs = resolve_specs(settings.corpora, settings.corpus)
    known = {corpus["name"]: specs[corpus["name"]] for corpus in entry["corpora"]}
    environment = source / "environment.json"
    staging = Path(tempfile.mkdtemp(prefix=".hub.", dir=place))
    try:
        _link_files(source / "model", staging)
        pooled = pooled_predictions(entry, wanted.folder)
        if pooled.keys() != entry["statistics"].keys():
            raise InputError(f"{place}: predictions of its runs are gone: run the job again, then push")
        alone = _has_sessions_of_one(pooled)
        figures = _figures(wanted.folder, entry, staging, alone)
        model = json.loads((source / "metrics.json").read_text())
        run = json.loads((source / "run.json").read_text())
        facts = CardFacts(
            hub_model_id=wanted.hub_model_id,
            entry=entry,
            settings=settings,
            specs=known,
            pooled=pooled,
            pool_size=_last_pool(source / "history.json"),
            license=wanted.license,
            model={**model, **{key: run.get(key) for key in ("stop_after_epoch", "epoch_steps")}},
            config=json.loads((staging / "config.json").read_text()),
            environment=json.loads(environment.read_text()) if environment.exists() else results["environment"],
            job_environment=results["environment"],
            genders={name: _genders(known[name]) for name in entry["statistics"]},
            figures=figures,
            choices=job_choices(results),
        )
        (staging / "README.md").write_text(f"{model_card(facts).content}\n", encoding="utf-8")
        public = public_results(results, entry, alone)
        (staging / "results.json").write_text(json.dumps(public, indent=2, ensure_ascii=False), encoding="utf-8")
        refuse_private(staging, _private(wanted.folder, settings))
        staging.chmod(0o755)
        shutil.rmtree(place / "hub", ignore_errors=True)
        os.rename(staging, place / "hub")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return place / "hub"


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
    entries = json.loads(history.read_text()) if history.exists() else []
    sizes = [entry["curriculum/pool_size"] for entry in entries if "curriculum/pool_size" in entry]
    return int(sizes[-1]) if sizes else None


def _entry(wanted: Push) -> tuple[dict[str, Any], dict[str, Any]]:
    """results.json, and the experiment's entry in it, with statistics."""
    path = wanted.folder / "results.json"
    if not path.exists():
        raise InputError(f"{wanted.folder} is no folder of a job: there is no results.json in it")
    results = json.loads(path.read_text())
    names = [entry["name"] for entry in results["experiments"]]
    found = [entry for entry in results["experiments"] if wanted.experiment in (entry["name"], slug_of(entry["name"]))]
    if not found:
        raise InputError(
            f"{path}: there is no experiment {wanted.experiment!r}.{nearest(wanted.experiment, names)} There are: "
            f"{', '.join(names)}"
        )
    unfinished = [f"seed {run['seed']}, {run['fold']}: {run['status']}" for run in found[0]["runs"]]
    unfinished = [said for said in unfinished if not said.endswith(": done")] or ["none is there"] * (not unfinished)
    if unfinished:
        raise InputError(
            f"{path}: not all runs of {wanted.experiment!r} are done ({unfinished[0]}): run the job again, then push"
        )
    if "statistics" not in found[0]:
        add_statistics({"experiments": found}, wanted.folder)
    return results, found[0]


def _settings(place: Path) -> Settings:
    path = place / SETTINGS
    if not path.exists():
        raise InputError(f"{path} is missing: the command that started the job writes it, and trains nothing again")
    return Settings(**json.loads(path.read_text()))


def _link_files(model: Path, staging: Path) -> None:
    """The files of an export, linked (or copied) if they are on the list."""
    own_fusion = json.loads((model / "config.json").read_text()).get("fusion_module")
    code = {*CODE, f"{own_fusion}.py"}
    for path in sorted(model.iterdir()):
        if path.name not in code and not MODEL_FILES.fullmatch(path.name):
            logger.warning("%s is not pushed: it is not on the list of what a model is made of", path.name)
            continue
        try:
            os.link(path, staging / path.name)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(path, staging / path.name)


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
            for path in sorted((folder / "report" / "figures").glob(f"{stem}.*")):
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


def public_results(results: dict[str, Any], entry: dict[str, Any], alone: bool = False) -> dict[str, Any]:
    """results.json of one experiment as it is shared: numbers and protocol; no speaker is named, and no path.

    Args:
        alone: sessions are speakers: they and their folds are numbered.
    """
    runs = [{key: run[key] for key in _RUN_KEYS if key in run} for run in entry["runs"]]
    corpora = entry["corpora"]
    if alone:
        folds = {name: f"fold-{i}" for i, name in enumerate(dict.fromkeys(run["fold"] for run in runs), start=1)}
        for run in runs:
            run["fold"] = folds[run["fold"]]
            run["protocol"] = f"{run['fold']}: one session left out"
        corpora = [{**corpus, "sessions": len(corpus["sessions"])} for corpus in corpora]
    for run in runs:
        parts = run["parts"].items()
        run["parts"] = {name: {k: v for k, v in part.items() if k != "speakers"} for name, part in parts}
    statistics = {
        corpus: {**said, "by_speaker": sorted(said["by_speaker"].values(), key=lambda each: each["uar"])}
        for corpus, said in entry["statistics"].items()
    }
    if alone:
        for said in statistics.values():
            said["by_session"] = sorted(said["by_session"].values(), key=lambda each: each["uar"])
            lacking = said.get("folds_lacking_classes", {})
            said["folds_lacking_classes"] = {folds[fold]: classes for fold, classes in lacking.items()}
    return {
        "recipe": results["recipe"],
        "protocol": list(dict.fromkeys(run["protocol"] for run in runs)),
        "environment": results["environment"],
        "experiments": [
            {
                **{key: entry[key] for key in ("name", "labels", "text_encoder", "selection") if key in entry},
                "compared": public_choices(entry["name"], job_choices(results)),
                "corpora": corpora,
                "runs": runs,
                "summary": entry["summary"],
                "statistics": statistics,
            }
        ],
    }


def _private(folder: Path, settings: Settings) -> list[str]:
    """What must be in no file that is shared: paths of this machine, and the token."""
    given = [settings.output_dir, settings.store_dir, settings.fusion_module, settings.text_model_name]
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
    ends = [(text, r"(?![\w-])" if text[-1] != "@" else "") for text in sorted(set(private))]
    pattern = re.compile("|".join(f"{'' if text[0] == '@' else before}{re.escape(text)}{end}" for text, end in ends))
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _TEXT or not path.is_file():
            continue
        found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
        if found is not None:
            what = found.group() if found.group()[0] == "/" or "@" in found.group() else "the token"
            raise InputError(f"nothing is pushed: {path.relative_to(folder)} holds {what}; take it out and push again")


# ---- pushing --------------------------------------------------------------------------------------------------------


def upload(wanted: Push, folder: Path) -> str:
    """Makes the repository if there is none, and commits the folder: all of it at once, or nothing.

    Model files of an earlier push that are not in the folder are deleted by the same commit.

    Returns the address. Raises InputError that says what failed, where, and how to try again.
    """
    api, repo = HfApi(), wanted.hub_model_id
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def commit() -> None:
        there = set(api.list_repo_files(repo))
        stale = sorted(name for name in there - files.keys() if MODEL_FILES.fullmatch(name) or FIGURES.fullmatch(name))
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
        api.create_commit(
            repo,
            [*operations, *(CommitOperationDelete(path_in_repo=name) for name in stale)],
            commit_message="EmoMM: model, card and results",
        )

    steps = (
        ("making the repository", lambda: api.create_repo(repo, private=wanted.private or None, exist_ok=True)),
        ("making sure that it is private", lambda: wanted.private and _refuse_public(api, repo)),
        ("uploading", commit),
    )
    for what, step in steps:
        try:
            _insist(what, step)
        except InputError:
            raise
        except (
            HfHubHTTPError, httpx2.HTTPError, OSError, OfflineModeIsEnabled, ValueError, KeyError, RuntimeError
        ) as error:  # fmt: skip
            raise InputError(
                f"{repo} was not pushed: {what} failed ({_reason(error, repo)}). The Hub takes a push whole or "
                f"not at all; what would be there is in {folder}. Try again: {wanted.command}"
            ) from error
    return f"{api.endpoint}/{repo}"


def _refuse_public(api: HfApi, repo: str) -> None:
    if not api.repo_info(repo).private:
        raise InputError(
            f"{repo} is there already, and public: --hub_private makes only a new repository private. Nothing was "
            "uploaded; set it to private in its settings on the Hub, or leave out --hub_private"
        )


def _insist(what: str, step: Callable[[], T]) -> T:
    """Calls `step` again after what may pass: 5xx, time-outs, cut connections."""
    for wait in (*RETRY_SECONDS, None):
        get_session().timeout = TIMEOUT_SECONDS
        try:
            return step()
        except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
            if wait is None or not _may_pass(error):
                raise
            logger.warning("%s failed (%s); trying again in %g s", what, _reason(error, ""), wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        code = None if error.response is None else error.response.status_code
        return code is not None and (code in _TRANSIENT or code >= 500)
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError)


def _reason(error: Exception, repo: str) -> str:
    """The error in a few words, without the token."""
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of an upload that was given up
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if status == 401:
        return "401: the Hub does not know the token; `hf auth login` keeps another, or set HF_TOKEN"
    if status == 403:
        return f"403: the token may not write to {repo}; it needs write access there"
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0] if lines else 'no more is known'}"
    if status is not None:
        text = f"{status} {error.response.reason_phrase}"
        said = getattr(error, "server_message", None)
        text += f": {said}" if said else ""
    token = get_token()
    return text.replace(token, "…") if token else text


__all__ = ["Push", "check_destination", "gather", "push", "upload"]
