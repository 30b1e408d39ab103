"""A user's own curriculum and protocol: loaded and tried before anything trains, and part of what identifies a run."""

import dataclasses
import hashlib
from itertools import zip_longest
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.utils import gather_object

from ..curriculum.curricula import CURRICULA
from ..curriculum.pool import Curriculum
from ..errors import InputError
from ..errors import nearest
from ..errors import show
from ..evaluation.folds import fold_rows
from ..evaluation.protocols import PROTOCOLS
from ..registry import Registry
from ..registry import in_a_line
from ..registry import load_own
from ..settings.settings import Settings
from .run import Run
from .training import Experiment

_TABLES: tuple[tuple[str, str, Registry], ...] = (
    ("curriculum_type", "curriculum_module", CURRICULA),
    ("evaluation_mode", "protocol_module", PROTOCOLS),
)


def load_own_modules(settings: Settings) -> None:
    """Runs the files that the settings name. Raises InputError for one that fails, or doesn't register the name."""
    where = f"experiment {settings.name!r}"
    for key, module, table in _TABLES:
        file, name = getattr(settings, module), getattr(settings, key)
        if file is None:
            continue
        try:
            load_own(file)
        except Exception as error:  # noqa: BLE001 a user's file can raise anything
            raise InputError(f"{where}: {module} {in_a_line(error, file)}") from error
        own = table.names(file)
        if name not in (*table.names(), *own):
            registers = f"registers {', '.join(own)}" if own else "registers none"
            raise InputError(
                f"{where}: {key} is {show(name)}, but must be one of {', '.join(table.names())}, or a name that "
                f"{file} registers: it {registers}.{nearest(name, own)}"
            )


def own_inputs(experiment: Experiment, run: Run) -> dict[str, Any]:
    """What a user's own curriculum and protocol, a split or a manifest give to a run, as what else can change its
    result: hashes of the rows. So a file that they read counts, too.

    Raises InputError where a curriculum fails, gives what are no rows, or gives others when asked again.
    """
    found = {}
    settings = experiment.settings
    protocol = run.fold.protocol
    if protocol is not None and protocol.own:
        found["rows of protocol_module"] = fold_rows(run.fold)
    if settings.use_curriculum_learning and settings.curriculum_type not in CURRICULA.names():
        try:
            found["rows of curriculum_module"] = _pools(experiment, run)
        except InputError as error:
            raise InputError(f"experiment {settings.name!r}, fold {run.fold.name}: {error}") from error
    # What a split, a manifest or the rows that are dropped come from is no part of the settings' identity.
    if (protocol is not None and not protocol.own) or settings.disjoint_by:
        found["rows of the fold"] = fold_rows(run.fold)
    return {"own": found} if found else {}


def _pools(experiment: Experiment, run: Run) -> str:
    """Hash of the rows of all epochs, with a confidence that is made up where one is asked for."""
    data, curriculum = experiment.data, experiment.arguments(run).curriculum()
    train_rows = data.rows(run.fold.train)
    labels, order = data.label_ids[train_rows], data.own_curriculum_order[train_rows]
    difficulty = data.difficulty(train_rows)[1] if curriculum.needs("difficulty") else None
    confidence = np.random.default_rng(0).random(len(train_rows))
    digest = hashlib.sha256()
    for epoch in range(curriculum.epochs):
        once, again = (curriculum.pool(epoch, labels, difficulty, confidence, order) for _ in range(2))
        if not np.array_equal(once, again):
            raise InputError(_not_the_same(curriculum, epoch))
        digest.update(once.tobytes() + b"|")
    return digest.hexdigest()


def check_agreement(runs: list[Run], state: PartialState) -> None:
    """Raises InputError, in all processes, where what a user's own file gave differs between them. All must call it.

    Asked twice in one process it may give the same and still not in another: the order of a set of texts is such.
    """
    of_each = gather_object([[run.identity for run in runs]]) if state.num_processes > 1 else []
    for number, own in enumerate(of_each):
        for run, one, other in zip_longest(runs, of_each[0], own, fillvalue=runs[-1]):
            if one != other and "own" in run.inputs:
                given = [getattr(run.settings, module) for _, module, _ in _TABLES] + [run.settings.manifest]
                files = ", ".join(filter(None, given)) or f"the protocol {run.settings.evaluation_mode}"
                raise InputError(
                    f"{run}: what {files} gives is not the same in process 0 and process {number}: it must follow "
                    "from what it is given alone (the order of a set of texts, hash() of a text, the time and "
                    "unseeded draws differ between processes)"
                )


def with_protocol(card: dict[str, Any], runs: list[Run]) -> dict[str, Any]:
    """What results.json says of an experiment, with what it says of a protocol that goes by its name."""
    protocol = runs[0].fold.protocol
    if protocol is None:
        return card
    selection = card["selection"]
    if protocol.names_validation:
        selection = {**selection, "validation": f"protocol {protocol.name}", "fraction": None}
    return {**card, "selection": selection, "protocol": dataclasses.asdict(protocol)}


def _not_the_same(curriculum: Curriculum, epoch: int) -> str:
    return (
        f"curriculum {curriculum.type!r} gave other rows when it was asked a second time in epoch {epoch} "
        f"({curriculum.module}): what it draws must follow from rows.seed and rows.epoch"
    )


__all__ = ["check_agreement", "load_own_modules", "own_inputs", "with_protocol"]
