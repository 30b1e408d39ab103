"""What lies where in a job's folder, and its results.json, read for commands that refuse at once.

    JOB                    a `JobFolder`
        results.json       what the job found
        report             a `ReportFolder`
        floors             predictions of floors, made once
        encoders           weights of frozen encoders, which exports share
        array              what submitit keeps of a job array
        search             a `SearchFolder`
        EXPERIMENT         an `ExperimentFolder`
            settings.json  of the experiment, with the paths of this machine
            seed-1
                FOLD       a `RunFolder`
            stacks         of runs that are trained as one model, until they are done
            final          a `RunFolder` of the model that is trained on all sessions
            hub            what was pushed

No other place names these files: tests/test_layout.py looks.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .errors import nearest
from .files import read_json

_KEYS = ("recipe", "protocol", "environment", "experiments")
_OF_EXPERIMENT = {"name", "labels", "corpora", "runs", "summary"}
_OF_RUN = {"seed", "fold", "status"}
_LONGEST_SLUG = 100  # of an experiment's folder, below which others lie


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Args:
        path: of the folder.
    """

    path: Path

    @property
    def record(self) -> Path:
        """Of which settings and data it is; written before it is trained."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """Its scores. Written last: where it is, the run is done."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """Its test rows and what was made of them, see `evaluation.predictions`; none of a final model."""
        return self.path / "predictions.parquet"

    @property
    def history(self) -> Path:
        """What the Trainer logged, a list."""
        return self.path / "history.json"

    @property
    def model(self) -> Path:
        """The exported model, a folder."""
        return self.path / "model"

    @property
    def adapter(self) -> Path:
        """The same without the encoders, with adapters in their place, a folder; of runs that tune by LoRA."""
        return self.path / "adapter"

    @property
    def environment(self) -> Path:
        """Versions and hardware, of a final model alone: else results.json says them."""
        return self.path / "environment.json"

    @property
    def tensorboard(self) -> Path:
        """Event files, a folder."""
        return self.path / "tensorboard"


@dataclass(frozen=True)
class ExperimentFolder:
    """The files of one experiment.

    Args:
        path: of the folder.
    """

    path: Path

    @property
    def settings(self) -> Path:
        """Its settings, with the paths of this machine."""
        return self.path / "settings.json"

    @property
    def final(self) -> RunFolder:
        """The model that is trained once more, on all sessions."""
        return RunFolder(self.path / "final")

    @property
    def stacks(self) -> Path:
        """What runs go on from that are trained as one model and were killed, a folder."""
        return self.path / "stacks"

    @property
    def hub(self) -> Path:
        """What was pushed, a folder."""
        return self.path / "hub"

    def run(self, seed: int, fold: str) -> RunFolder:
        """The run of a seed and a fold."""
        return RunFolder(self.path / f"seed-{seed}" / fold)


@dataclass(frozen=True)
class ReportFolder:
    """A report and what it is made of.

    Args:
        path: of the folder.
    """

    path: Path

    @property
    def page(self) -> Path:
        """The report itself."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Its figures, a folder."""
        return self.path / "figures"

    @property
    def tables(self) -> Path:
        """Its tables, a folder."""
        return self.path / "tables"


@dataclass(frozen=True)
class SearchFolder:
    """What a search for settings has tried and found.

    Args:
        path: of the folder.
    """

    path: Path

    @property
    def record(self) -> Path:
        """What is searched, in which studies; written before the first trial."""
        return self.path / "search.json"

    @property
    def journal(self) -> Path:
        """Every trial as it went, of all studies: a journal of Optuna's."""
        return self.path / "journal.log"

    @property
    def trials(self) -> Path:
        """All trials, a row each."""
        return self.path / "trials.csv"

    @property
    def best(self) -> Path:
        """The experiments with the settings that were found, a recipe."""
        return self.path / "best.json"


@dataclass(frozen=True)
class JobFolder:
    """The files of a job.

    Args:
        path: of the folder.
    """

    path: Path

    @property
    def results(self) -> Path:
        """What the job found."""
        return self.path / "results.json"

    @property
    def lock(self) -> Path:
        """Held by who writes into the folder."""
        return self.path / ".lock"

    @property
    def floors(self) -> Path:
        """Predictions of floors, a folder."""
        return self.path / "floors"

    @property
    def disjoint(self) -> Path:
        """Manifests of disjoint folds, a folder; of jobs that price a leak."""
        return self.path / "disjoint"

    @property
    def encoders(self) -> Path:
        """Weights of frozen encoders, which the exports share, a folder."""
        return self.path / "encoders"

    @property
    def array(self) -> Path:
        """What submitit keeps of a job array: tasks, what they gave, their logs, a folder."""
        return self.path / "array"

    @property
    def search(self) -> SearchFolder:
        """What a search for settings has tried and found."""
        return SearchFolder(self.path / "search")

    @property
    def report(self) -> ReportFolder:
        """The report, where no other place is given."""
        return ReportFolder(self.path / "report")

    def experiment(self, name: str) -> ExperimentFolder:
        """The folder of an experiment, by its name or its folder's."""
        return ExperimentFolder(self.path / slug_of(name))

    def experiments(self) -> set[str]:
        """The names of the folders of all experiments that began here."""
        return {found.parent.name for found in self.path.glob(f"*/{ExperimentFolder(self.path).settings.name}")}


def readable_results(folder: Path) -> dict[str, Any] | None:
    """The results.json of a job; None where there is none, or it is torn or another file."""
    found = read_json(JobFolder(folder).results, *_KEYS)
    if found is None or not isinstance(found["experiments"], list):
        return None
    for entry in found["experiments"]:
        if not isinstance(entry, dict) or not entry.keys() >= _OF_EXPERIMENT or not isinstance(entry["runs"], list):
            return None
        if not all(isinstance(run, dict) and run.keys() >= _OF_RUN for run in entry["runs"]):
            return None
    return found


def job_results(folder: str | Path) -> dict[str, Any]:
    """The results.json of a job. Raises InputError where there is none, or it can't be read."""
    path = JobFolder(Path(folder)).results
    if not os.path.isfile(path):  # unlike Path's, it doesn't raise for a name that is too long
        raise InputError(f"{folder} holds no {path.name}: give the folder of a job, such as runs/quickstart")
    found = readable_results(Path(folder))
    if found is None:
        raise InputError(
            f"{path} is torn, or not of a job of emomm: the command that started the job makes it again, and trains "
            "nothing again"
        )
    return found


def find_experiment(folder: str | Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """results.json, and the entry in it of an experiment, by its name or its folder's.

    Raises InputError where there is none.
    """
    results = job_results(folder)
    for entry in results["experiments"]:
        if name in (entry["name"], slug_of(entry["name"])):
            return results, entry
    names = [entry["name"] for entry in results["experiments"]]
    raise InputError(
        f"{JobFolder(Path(folder)).results}: there is no experiment {name!r}.{nearest(name, names)} There are: "
        f"{', '.join(names)}"
    )


def check_finished(folder: str | Path, entry: dict[str, Any]) -> None:
    """Raises InputError where not all runs of an experiment are done."""
    unfinished = [f"seed {run['seed']}, {run['fold']}: {run['status']}" for run in entry["runs"]]
    unfinished = [said for said in unfinished if not said.endswith(": done")] or ["none is there"] * (not unfinished)
    if unfinished:
        raise InputError(
            f"{JobFolder(Path(folder)).results}: not all runs of {entry['name']!r} are done ({unfinished[0]}): "
            "run the job again, then push"
        )


def slug_of(name: str) -> str:
    """A name as a folder: lower-case, [a-z0-9-]; of one that is too long what is left and a hash."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if len(slug) <= _LONGEST_SLUG:
        return slug
    return f"{slug[: _LONGEST_SLUG - 9].strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


__all__ = [
    "ExperimentFolder", "JobFolder", "ReportFolder", "RunFolder", "SearchFolder", "check_finished", "find_experiment",
    "job_results", "readable_results", "slug_of",
]  # fmt: skip
