"""The tables of a report, made from its data."""

import json
from typing import Any

import numpy as np

from .encoder_words import ENCODERS
from .encoder_words import layer_weights
from .findings import confusion
from .findings import difficulty_curve
from .findings import reliability_of
from .findings import rows_most_often_wrong
from .report_data import ReportData
from .report_data import ReportedExperiment
from .report_data import Tested
from .report_data import file_stem
from .table import Marked
from .table import Table
from .table import with_interval

# ---- details --------------------------------------------------------------------------------------------------------


def _each(data: ReportData) -> list[tuple[ReportedExperiment, Tested]]:
    return [(experiment, tested) for experiment in data.experiments for tested in experiment.tested.values()]


def classes_table(data: ReportData) -> Table:
    """Recall and precision of each class."""
    rows, plain = [], []
    for each, tested in _each(data):
        matrix = confusion(tested.rows)
        true, predicted = matrix.sum(1), matrix.sum(0)
        count = np.bincount(tested.rows.references, minlength=len(true))
        for i, label in enumerate(tested.rows.labels):
            recall = float(matrix[i, i] / true[i]) if true[i] else None
            precision = float(matrix[i, i] / predicted[i]) if predicted[i] else None
            head, found = [each.name, tested.corpus, label, int(count[i])], tested.statistics["recall"][label]
            bounds = None if found is None else found["ci95"]
            rows.append([*head, None if recall is None else with_interval(recall, bounds), precision])
            plain.append([*head, recall, *(bounds or (None, None)), precision])
    columns = ["experiment", "tested on", "class", "rows", "recall", "precision"]
    plain_columns = ["experiment", "tested_on", "class", "rows", "recall", "recall_low", "recall_high", "precision"]
    title = "Recall (with its 95 % interval) and precision by class, over all seeds"
    return Table("classes", title, columns, rows, "", (plain_columns, plain), fold=len(rows) > 16)


def confusion_table(data: ReportData) -> Table:
    """Counts over all seeds, a row a cell."""
    rows = [
        [each.name, tested.corpus, true, predicted, int(count)]
        for each, tested in _each(data)
        for true, line in zip(tested.rows.labels, confusion(tested.rows), strict=True)
        for predicted, count in zip(tested.rows.labels, line, strict=True)
    ]
    return Table("confusion", "Confusion", ["experiment", "tested on", "true", "predicted", "count"], rows)


def groups_table(data: ReportData, what: str) -> Table:
    """UAR by speaker or session, `what`."""
    rows = [
        [each.name, tested.corpus, name, group["n"], group["uar"], group["accuracy"], group["f1_macro"]]
        for each, tested in _each(data)
        for name, group in tested.statistics[f"by_{what}"].items()
    ]
    columns = ["experiment", "tested on", what, "rows", "UAR", "accuracy", "F1 macro"]
    note = "UAR is over the classes that occur."
    return Table(f"by-{what}", f"Scores by {what}, averaged over seeds", columns, rows, note, fold=True)


def wrong_rows_table(each: ReportedExperiment, tested: Tested, count: int) -> Table:
    """The rows most often wrong."""
    columns = ["utterance", "speaker", "session", "label", "taken for", "wrong in seeds"]
    columns += ["probability of the truth", "difficulty"]
    found = rows_most_often_wrong(tested, count)
    rows = [
        [row["utterance"], row["speaker"], row["session"], row["label"], row["taken for"]]
        + [Marked(f"{row['wrong']} of {row['seeds']}", ""), row["probability of the truth"], row["difficulty"]]
        for row in found
    ]
    plain = [list(row.values()) for row in found]
    title = f"{each.name}, tested on {tested.corpus}"
    name = f"wrong-{file_stem(each.slug, tested.corpus)}"
    return Table(name, title, columns, rows, "", (list(found[0]) if found else columns, plain))


def difficulty_table(data: ReportData) -> Table:
    """The buckets of the difficulty plots."""
    rows = []
    for each, tested in _each(data):
        curve = difficulty_curve(tested)
        if curve is not None:
            for i, count in enumerate(curve.count):
                values = [float(of[i]) for of in (curve.difficulty, curve.accuracy, curve.uar)]
                correlations = [curve.r, curve.p, curve.r_within, curve.p_within]
                rows.append([each.name, tested.corpus, i + 1, int(count), *values, *correlations])
    columns = ["experiment", "tested on", "bucket", "rows", "difficulty", "accuracy", "UAR", "Pearson r", "p"]
    columns += ["r within classes", "p within classes"]
    return Table("difficulty", "Scores by difficulty", columns, rows)


def calibration_table(data: ReportData) -> Table:
    """The bins of the reliability diagrams."""
    rows = []
    for each, tested in _each(data):
        curve = reliability_of(tested.rows).curve
        for i in np.flatnonzero(curve["count"]):
            values = [float(curve["confidence"][i]), float(curve["accuracy"][i])]
            rows.append([each.name, tested.corpus, int(i) + 1, int(curve["count"][i]), *values])
    columns = ["experiment", "tested on", "bin", "rows, all seeds", "mean probability", "share right"]
    return Table("calibration", "Reliability", columns, rows)


def curves_table(data: ReportData) -> Table:
    """Learning curves and curriculum: mean over runs, by epoch."""
    names = sorted({name for experiment in data.experiments for name in experiment.curves.series})
    rows = []
    for experiment in data.experiments:
        for i, epoch in enumerate(experiment.curves.epochs):
            values = []
            for name in names:
                column = experiment.curves.series.get(name, np.full((1, i + 1), np.nan))[:, i]
                values.append(None if np.isnan(column).all() else float(np.nanmean(column)))
            rows.append([experiment.name, int(epoch), *values])
    return Table("curves", "By epoch, mean over runs", ["experiment", "epoch", *names], rows)


# ---- protocol, data, settings ---------------------------------------------------------------------------------------


def folds_table(data: ReportData) -> Table:
    """Rows and speakers of each part of each fold."""
    found: dict[tuple, list[str]] = {}
    for experiment in data.experiments:
        for run in experiment.runs:
            cells = [run["fold"], " + ".join(run["parts"]["train"]["corpora"])]
            for part in ("train", "validation", "test"):
                card = run["parts"][part]
                cells += [card["rows"], card["speaker_count"]]
            cells.append(", ".join(run["parts"]["test"]["corpora"]))
            found.setdefault(tuple(cells), [])
            if experiment.name not in found[tuple(cells)]:
                found[tuple(cells)].append(experiment.name)
    everywhere = all(len(names) == len(data.experiments) for names in found.values())
    columns = ["fold", "trained on", "training rows", "speakers", "validation rows", "speakers", "test rows"]
    columns += ["speakers", "tested on"]
    rows = [[*cells, *([] if everywhere else [", ".join(names)])] for cells, names in found.items()]
    columns += [] if everywhere else ["experiments"]
    return Table("folds", "Rows and speakers in each part", columns, rows, fold=len(rows) > 12)


def corpora_table(data: ReportData) -> Table:
    """The corpora with their terms and extractor."""
    columns = ["corpus", "rows", "speakers", "sessions", "classes", "language", "voice features", "licence"]
    rows = []
    for card in data.corpora.values():
        classes = ", ".join(f"{name} {count}" for name, count in card["classes"].items())
        licence = card["licence"] + (f" ({card['licence_url']})" if card["licence_url"] else "")
        rows.append(
            [card["name"], card["rows"], card["speakers"], len(card["sessions"]), classes]
            + [card["language"], card["extractor"], licence]
        )
    return Table("corpora", "Corpora", columns, rows)


def settings_table(data: ReportData, differing: bool) -> Table:
    """The settings that differ between experiments, a column an experiment; or those that all share."""
    keys = list(dict.fromkeys(key for experiment in data.experiments for key in experiment.settings))
    values = {key: [_setting(experiment.settings, key) for experiment in data.experiments] for key in keys}
    if differing:
        rows = [[key, *values[key]] for key in keys if len(set(values[key])) > 1]
        columns = ["setting", *(experiment.name for experiment in data.experiments)]
        return Table("settings-differing", "Settings that differ", columns, rows)
    rows = [[key, values[key][0]] for key in keys if len(set(values[key])) == 1]
    title = "Settings" if len(data.experiments) == 1 else "Settings that all experiments share"
    return Table("settings", title, ["setting", "value"], rows, fold=True)


def _setting(settings: dict[str, Any], key: str) -> str:
    if key not in settings:
        return "–"
    value = settings[key]
    return value if isinstance(value, str) else json.dumps(value)


def environment_table(data: ReportData) -> Table:
    """Versions and hardware, a column a job."""
    flat = []
    for job in data.jobs.values():
        environment = dict(job["environment"])
        packages = environment.pop("packages", {})
        environment["accelerators"] = ", ".join(environment.get("accelerators") or []) or "none (CPU)"
        flat.append({**environment, **packages})
    keys = list(dict.fromkeys(key for each in flat for key in each))
    rows = [[key, *(str(each.get(key) or "–") for each in flat)] for key in keys]
    columns = ["what", *(data.jobs if len(flat) > 1 else ["version or value"])]
    return Table("environment", "Environment", columns, rows)


def time_table(data: ReportData) -> Table:
    """Training time and steps."""
    rows = []
    padded = any("padding" in experiment.curves.series for experiment in data.experiments)
    for experiment in data.experiments:
        seconds = [run["train_seconds"] for run in experiment.runs]
        steps = [run["steps"] for run in experiment.runs]
        span = f"{min(steps)}" if min(steps) == max(steps) else f"{min(steps)} to {max(steps)}"
        rows.append(
            [experiment.name, len(seconds), Marked(span, ""), float(np.mean(seconds)), float(np.sum(seconds) / 60)]
            + [_padding(experiment)] * padded
        )
    columns = ["experiment", "runs", "steps a run", "training, mean (s a run)", "training, all runs (min)"]
    columns += ["padding (% of a batch)"] * padded
    return Table("time", "Time", columns, rows)


def _padding(experiment: ReportedExperiment) -> float | None:
    """Per cent of the batches of recordings, mean over epochs and runs; None where there are none."""
    shares = experiment.curves.series.get("padding")
    return None if shares is None else 100 * float(np.nanmean(shares))


def layer_weights_table(data: ReportData) -> Table:
    """The learned weights of encoders' layers, mean and range over runs."""
    rows = [
        [each.name, ENCODERS[which], layer, float(np.mean(shares)), float(np.min(shares)), float(np.max(shares))]
        for each in data.experiments
        for which, runs in layer_weights(each.entry).items()
        for layer, shares in enumerate(zip(*runs, strict=True))
    ]
    columns = ["experiment", "reads", "layer", "weight, mean over runs", "lowest", "highest"]
    note = "Weights of a run sum to 1. Layer 0 is what enters the first layer."
    return Table("layer-weights", "Learned weights of layers", columns, rows, note, fold=True)
