"""Whether a run has learned anything: checks of its history, scores and weights, and what is said of them.

Each kind of warning, and when it is given:

`loss_not_finite`
    The weights were no longer finite at the end of an epoch (training stops there, and the weights of the best epoch
    before it are kept), or the training or validation loss was not, while the weights were.
`weights_still`
    No trainable weight has moved by a thousandth of what it was, or every logged gradient is zero.
`loss_stays`
    The training loss never fell by 3 % below that of a model which knows nothing of its input, only how frequent each
    class is among the rows that the epoch trains on (`chance.frequencies_loss`; log C where all C classes are as
    frequent); and validation, where there is any, is at chance.
`at_chance`
    The validation score never was above chance by more than one standard error of it; or it was, but not on average
    over the epochs, and its best is no better than the best of so many epochs at chance. The score is the UAR, whose
    chance is 1 / K, K being the classes that occur in the validation rows. Where accuracy chooses the epoch, it must
    be at its own chance too, the share of the most frequent class: on unequal classes a model can be worse in
    accuracy than one that always says the most frequent class, and have learned a lot. Where another score than UAR
    chooses, the chosen epoch's UAR is looked at besides.
`class_never_predicted`
    A class that occurs in the validation or test rows is never predicted there by the chosen weights. Of fewer than 5
    rows a class can be missed by chance; then it must be missing in all of these parts together.

All of it is a function of what a resumed run has as well as one that was never interrupted: the history (which is part
of every resume state), the scores, and the weights at the start and at the end.
"""

import math
from collections import Counter
from collections.abc import Collection
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import numpy as np

from ..settings.settings import Settings
from .chance import accuracy_at_chance
from .chance import explained_by_chance
from .chance import uar_at_chance

KINDS = ("loss_not_finite", "weights_still", "loss_stays", "at_chance", "class_never_predicted")
"""All kinds of warnings, the one that explains most first."""

FREQUENCIES_LOSS = "frequencies_loss"
"""What the history calls the loss of a model that knows the class frequencies alone, logged as each epoch begins."""

_STILL = 1e-3  # of its size: what a weight must move by
_BELOW = 0.03  # of the frequencies' loss, for what biases can follow within an epoch
_LEARNED = 0.8  # of the frequencies' loss: below it, the training rows are learned
_FEW_ROWS = 5

_WORDS = {
    "loss_not_finite": "loss or weights not finite",
    "weights_still": "weights that did not move",
    "loss_stays": "a training loss that stayed at chance",
    "at_chance": "validation at chance",
    "class_never_predicted": "a class that is never predicted",
}

Warnings = list[dict[str, str]]


@dataclass(frozen=True)
class RunRecord:
    """What the checks look at.

    Args:
        settings: of the experiment.
        labels: the C class names.
        history: what the Trainer logged, `state.log_history`.
        train_rows, validation_rows: (C,) rows of each class; no validation rows at all in a final model.
        weights_change: the largest relative change of a weight, `LearningWatch.look`; None where not known.
        diverged_epoch: the epoch at whose end the weights were not finite; None where they were.
        best_epoch: the epoch whose weights were kept; None while training, or without validation.
        scores: {"validation rows": scores of `emotion_scores`, ...} of the weights that were kept, by part.
    """

    settings: Settings
    labels: Sequence[str]
    history: Sequence[dict[str, Any]]
    train_rows: np.ndarray
    validation_rows: np.ndarray
    weights_change: float | None = None
    diverged_epoch: int | None = None
    best_epoch: int | None = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)


def learning_warnings(record: RunRecord, kinds: Collection[str] = KINDS) -> Warnings:
    """What is wrong with a run, or with one under way: {"kind", "said", "try"} each, in the order of `KINDS`.

    Args:
        kinds: those that are looked for, of `KINDS`.
    """
    found = {"loss_not_finite": _not_finite(record)}
    if set(kinds) - found.keys():
        found |= _not_learned(record)
    return [
        {"kind": kind, "said": said[0], "try": said[1]}
        for kind in KINDS
        if kind in kinds and (said := found[kind]) is not None
    ]


def _not_learned(record: RunRecord) -> dict[str, tuple[str, str] | None]:
    share = _lowest_share(record)
    chance = _at_chance(record, learned=share is not None and share < _LEARNED)
    stays = share is not None and share >= 1 - _BELOW and (chance is not None or not record.validation_rows.any())
    return {
        "weights_still": _still(record),
        "loss_stays": _stays(record) if stays else None,
        "at_chance": chance,
        "class_never_predicted": _never_predicted(record),
    }


# ---- validation -----------------------------------------------------------------------------------------------------


def _epoch_scores(record: RunRecord, name: str) -> dict[int, float]:
    """A validation score by epoch, from 1."""
    key = f"eval_{name}"
    return {round(entry["epoch"]): entry[key] for entry in record.history if key in entry}


def _at_chance(record: RunRecord, learned: bool) -> tuple[str, str] | None:
    """What is said of a run whose validation score is at chance, and what to try; `learned`, its training rows are."""
    guessing = uar_at_chance(record.validation_rows)
    scores = _epoch_scores(record, "uar")
    if guessing is None or not any(map(math.isfinite, scores.values())):
        return None
    metric, rows = record.settings.metric_for_best_model, int(record.validation_rows.sum())
    looked_at = [("UAR", list(scores.values()), guessing)]
    if metric == "accuracy":
        usual = accuracy_at_chance(record.validation_rows)
        looked_at.append(("accuracy", list(_epoch_scores(record, "accuracy").values()), usual))
    if all(explained_by_chance(values, *chance) for _, values, chance in looked_at):
        said = " and ".join(_said_at_chance(name, values, *chance, rows) for name, values, chance in looked_at)
        return said, _try_at_chance(record, learned)
    chosen = scores.get(record.best_epoch, math.nan)
    if metric in ("uar", "accuracy") or not chosen <= sum(guessing):
        return None
    best = max((epoch for epoch in scores if math.isfinite(scores[epoch])), key=scores.__getitem__)
    said = (
        f"the epoch that {metric} chose, {record.best_epoch}, has a validation UAR at chance: {chosen:.3f} (chance "
        f"{guessing[0]:.3f}, standard error {guessing[1]:.3f}), while epoch {best} had {scores[best]:.3f}"
    )
    return said, f"metric_for_best_model uar; or {_other_rate(record)}"


def _said_at_chance(name: str, scores: list[float], chance: float, error: float, rows: int) -> str:
    finite = [score for score in scores if math.isfinite(score)]
    epochs, best = f"{len(finite)} epoch{'' if len(finite) == 1 else 's'}", f"at best {max(finite):.3f}"
    what = f"chance is {chance:.3f}, its standard error on {rows} rows {error:.3f}"
    if max(finite) <= chance + error:
        return f"validation {name} was never above chance by more than its standard error: {best} in {epochs}; {what}"
    return (
        f"validation {name} is at chance: {np.mean(finite):.3f} on average over {epochs}, and {best}, which so many "
        f"epochs at chance reach as well; {what}"
    )


def _try_at_chance(record: RunRecord, learned: bool) -> str:
    settings = record.settings
    called = {"audio": "features", "text": "transcripts"}
    inputs = ", ".join(called.get(name, f"{name} features") for name in settings.modalities)
    check = f"check that {inputs} and labels belong to their rows"
    if learned:
        tips = f"{check}: the training rows are learned, and nothing of it carries over (more dropout, more rows)"
    else:
        tips = f"{_other_rate(record)}, or more epochs than {settings.num_epochs}; {check}"
    if settings.modality == "text":
        tips += "; if all that is right, the words may say nothing of the emotion here, and chance is the finding"
    return tips


def _advice(tip: str) -> str:
    """A tip as a sentence: what to try, or what to check."""
    return tip[:1].upper() + tip[1:] if tip.startswith("check ") else f"Try {tip}"


def _other_rate(record: RunRecord) -> str:
    """Another learning rate: a higher one where no weight has moved; or features that are standardised."""
    which = "a lower" if _still(record) is None else "a higher"
    standardize = " or feature_normalization standardize" if record.settings.feature_normalization == "none" else ""
    return f"{which} learning_rate than {record.settings.learning_rate:g}{standardize}"


# ---- loss and weights -----------------------------------------------------------------------------------------------


def epoch_losses(history: Sequence[dict[str, Any]]) -> dict[int, float]:
    """The mean training loss of each epoch, from 1, however often it was logged; none where it never was."""
    sums: dict[int, np.ndarray] = {}
    before = 0
    for entry in history:
        if "loss" in entry:
            epoch = math.ceil(entry["epoch"] - 1e-6)
            steps = entry["step"] - before
            sums[epoch] = sums.get(epoch, np.zeros(2)) + np.array([steps * entry["loss"], steps])
            before = entry["step"]
    return {epoch: float(total / steps) for epoch, (total, steps) in sums.items() if steps}


def _against_frequencies(record: RunRecord) -> dict[int, tuple[float, float]]:
    """By epoch, the training loss and that of the class frequencies, where both are known and finite."""
    logged = [entry for entry in record.history if FREQUENCIES_LOSS in entry]
    known = {round(entry["epoch"]) + 1: entry[FREQUENCIES_LOSS] for entry in logged}
    losses = epoch_losses(record.history).items()
    return {epoch: (loss, known[epoch]) for epoch, loss in losses if known.get(epoch) and math.isfinite(loss)}


def _lowest_share(record: RunRecord) -> float | None:
    """The lowest training loss as a share of that of the class frequencies; None where it is not known."""
    pairs = _against_frequencies(record).values()
    return min(loss / known for loss, known in pairs) if pairs else None


def _stays(record: RunRecord) -> tuple[str, str]:
    pairs = _against_frequencies(record)
    lowest = min(pairs, key=lambda epoch: pairs[epoch][0] / pairs[epoch][1])
    loss, known = pairs[lowest]
    said = (
        f"the training loss never fell by {_BELOW:.0%} below that of a model that knows the class frequencies alone: "
        f"at its lowest {loss:.3f} against {known:.3f} (epoch {lowest} of {len(pairs)})"
    )
    return said, _try_at_chance(record, learned=False)


def _not_finite(record: RunRecord) -> tuple[str, str] | None:
    if record.diverged_epoch is not None:
        kept = "" if record.best_epoch is None else f"; the weights kept are those of epoch {record.best_epoch}"
        said = (
            f"the weights were no longer finite at the end of epoch {record.diverged_epoch} of "
            f"{record.settings.num_epochs}, where training stopped{kept}"
        )
        return said, f"{_other_rate(record)}, or a lower max_grad_norm"
    parts = []
    for name, values in (("training", epoch_losses(record.history)), ("validation", _epoch_scores(record, "loss"))):
        epochs = [epoch for epoch, value in values.items() if not math.isfinite(value)]
        if epochs:
            of_all = f"{len(epochs)} of {len(values)} epochs"
            parts.append(f"the {name} loss was not finite in {of_all}, first in epoch {epochs[0]}")
    tip = f"{_other_rate(record)}; with fp16, bf16 in its place"
    return (" and ".join(parts) + ", while the weights were", tip) if parts else None


def _still(record: RunRecord) -> tuple[str, str] | None:
    norms = [entry["grad_norm"] for entry in record.history if "grad_norm" in entry]
    settings = record.settings
    if norms and not any(norms):
        return "every gradient is zero", "other features or another fusion: nothing of the loss reaches the weights"
    change = record.weights_change
    if change is None or record.diverged_epoch is not None or not change < _STILL:
        return None
    said = f"no weight has moved by a thousandth of what it was (at most by {change:.1e} of it)"
    return said, f"a higher learning_rate than {settings.learning_rate:g}, or more epochs than {settings.num_epochs}"


# ---- classes --------------------------------------------------------------------------------------------------------


def _never_predicted(record: RunRecord) -> tuple[str, str] | None:
    parts = {name: np.array(scores["confusion_matrix"]) for name, scores in record.scores.items()}
    missing: dict[int, list[str]] = {}
    for i in range(len(record.labels)):
        of_class = {name: int(cells[i].sum()) for name, cells in parts.items() if cells[i].any()}
        without = [name for name in of_class if not parts[name][:, i].any()]
        nowhere = bool(of_class) and not any(cells[:, i].any() for cells in parts.values())
        counted = without if nowhere else [name for name in without if of_class[name] >= _FEW_ROWS]
        if counted:
            missing[i] = [f"{of_class[name]} of the {int(parts[name].sum())} {name}" for name in counted]
    if not missing:
        return None
    only = np.flatnonzero(sum(cells.sum(axis=0) for cells in parts.values()))
    said = "; ".join(
        f"{record.labels[i]} is never predicted, the label of {' and of '.join(where)} "
        f"({record.train_rows[i]} of {int(record.train_rows.sum())} training rows)"
        for i, where in missing.items()
    )
    if len(only) == 1:
        rows = " and of the ".join(f"{int(cells.sum())} {name}" for name, cells in parts.items())
        said = f"{record.labels[only[0]]} is predicted for every one of the {rows}"
    few = record.train_rows.sum() / (2 * len(record.labels))  # half of an equal share
    rare = [record.labels[i] for i in missing if record.train_rows[i] < few]
    tips = [_other_rate(record)]
    if record.settings.class_weights == "none":
        tips.insert(0, "class_weights balanced")
    if rare:
        tips.append(f"or more rows of {', '.join(rare)}, or none of that class (dropped_labels)")
    return said, ", ".join(tips)


# ---- what is said of a run and of an experiment ---------------------------------------------------------------------


def run_line(found: Warnings) -> str:
    """All that is said of a run, and what to try for the first of it."""
    return f"{'; '.join(each['said'] for each in found)}. {_advice(found[0]['try'])}"


def experiment_warnings(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The warnings of an experiment's runs, by kind: {"kind", "words", "runs", "of", "said", "try"}.

    `runs` of the `of` runs have it; `said` is what is said of the first of them, and `try` what most of them are told.

    Args:
        runs: as in results.json, also those that failed.
    """
    found = []
    for kind in KINDS:
        having = [warning for run in runs for warning in run.get("warnings", []) if warning["kind"] == kind]
        if having:
            tip = Counter(warning["try"] for warning in having).most_common(1)[0][0]
            found.append(
                {"kind": kind, "words": _WORDS[kind], "runs": len(having), "of": len(runs), "said": having[0]["said"]}
                | {"try": tip}
            )
    return found


def experiment_line(runs: Sequence[dict[str, Any]]) -> str | None:
    """`validation at chance in 3 of 5 runs, ...: try ...`; None of an experiment without warnings."""
    found = experiment_warnings(runs)
    if not found:
        return None
    parts = ", ".join(f"{each['words']} in {each['runs']} of {each['of']} runs" for each in found)
    return f"{parts}. {_advice(found[0]['try'])}."


__all__ = [
    "FREQUENCIES_LOSS",
    "KINDS",
    "RunRecord",
    "epoch_losses",
    "experiment_line",
    "experiment_warnings",
    "learning_warnings",
    "run_line",
]
