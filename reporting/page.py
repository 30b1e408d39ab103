"""The sections of a report: which figures and tables stand where, and the words around them."""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from ..floors.words import own_floor
from . import figures
from . import score_tables
from . import tables as report_tables
from .drawing import PageFigure
from .drawing import Sketch
from .drawing import draw_all
from .encoder_words import ENCODERS
from .encoder_words import encoders_table
from .encoder_words import layer_weights
from .findings import confusion
from .findings import cross_corpus
from .findings import difficulty_curve
from .findings import reliability_of
from .floor_tables import floors_table
from .price_words import price_table
from .report_data import ReportData
from .report_data import ReportedExperiment
from .report_data import Tested
from .report_data import file_stem
from .score_words import p_in_words
from .search_section import found_table
from .search_section import search_figures
from .search_section import search_text
from .search_section import searches
from .table import Table
from .words import caveats
from .words import difficulty_text
from .words import lead
from .words import protocol_text

_WRONG_ON_PAGE, _WRONG_IN_FILE = 10, 200
_CLASSES_AT_EASE = 8  # a matrix of more classes is drawn as wide as the page


@dataclass(frozen=True)
class Player:
    """A recording on the page.

    Args:
        caption: what it is.
        source: `data:` address of the sound.
    """

    caption: str
    source: str


@dataclass
class Section:
    """A section of the page; left out where it has neither figures, tables nor text.

    `sketches` become its `figures` once the whole page is known.
    """

    id: str
    title: str
    text: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    figures: list[PageFigure] = field(default_factory=list)
    sketches: list[Sketch] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    players: list[Player] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """The whole report.

    Args:
        title: the recipes.
        lead: what it comes to, in a sentence or two.
        caveats: what a reader must know first.
        sections: in order.
        files: all tables to be written, by name.
    """

    title: str
    lead: str
    caveats: list[str]
    sections: list[Section]
    files: dict[str, Table]


def build_page(data: ReportData, folder: Path) -> Page:
    """Puts the page together, and draws its figures into `folder` (PNG and SVG)."""
    of_experiments = {section.id: section for section in _of_experiments(data)}
    for each in data.experiments:
        for tested in each.tested.values():
            _sketch_tested(each, tested, of_experiments, several=len(data.tested_corpora) > 1)
        _sketch_training(each, of_experiments["training"])
    sections = [_protocol(data), _results(data), _search(data), _cross_corpus(data), *of_experiments.values()]
    _draw(sections, folder)
    if of_experiments["difficulty"].figures:
        of_experiments["difficulty"].text += difficulty_text(data)
    if of_experiments["training"].figures:
        said = "Lines are means over runs, bands reach from the 10th to the 90th percentile."
        of_experiments["training"].text.append(said)
    sections += [_data(data), _settings(data)]
    sections = [each for each in sections if each.figures or each.tables or (each.text and each.listed)]
    if len(data.tested_corpora) == 1:  # said in the title's sentence
        for section in sections:
            section.tables = [table.without("tested on") for table in section.tables]
    return Page(data.title, lead(data), caveats(data), sections, _files(data, sections))


def _draw(sections: list[Section], folder: Path) -> None:
    made = iter(draw_all([sketch for section in sections for sketch in section.sketches], folder))
    for section in sections:
        drawn = [next(made) for _ in section.sketches]
        section.figures += [figure for figure in drawn if figure is not None]


def _files(data: ReportData, sections: list[Section]) -> dict[str, Table]:
    """The tables of the page, and those that are in files alone, by name."""
    files = {table.name: table for section in sections for table in section.tables}
    for table in (
        report_tables.confusion_table(data),
        report_tables.difficulty_table(data),
        report_tables.calibration_table(data),
        report_tables.curves_table(data),
        *(
            report_tables.wrong_rows_table(experiment, tested, _WRONG_IN_FILE)
            for experiment in data.experiments
            for tested in experiment.tested.values()
        ),
    ):
        if table.rows:
            files[table.name] = table
    return files


# ---- sections -------------------------------------------------------------------------------------------------------


def _protocol(data: ReportData) -> Section:
    listed = list(dict.fromkeys(line for job in data.jobs.values() for line in job["protocol"]))
    return Section("protocol", "Protocol", protocol_text(data), listed, tables=[report_tables.folds_table(data)])


def _results(data: ReportData) -> Section:
    section = Section("results", "Results", tables=[score_tables.results_table(data)])
    priced = price_table(list(data.jobs.values()))
    section.tables += [priced] if priced.rows else []
    for corpus in data.tested_corpora:
        found = {
            experiment.name: experiment.tested[corpus].statistics
            for experiment in data.experiments
            if corpus in experiment.tested
        }
        having = {name: statistics["uar"] for name, statistics in found.items()}
        if len(having) > 1:
            values, bounds = [uar["pooled"] for uar in having.values()], [uar["ci95"] for uar in having.values()]
            among = ", decided among all classes" if any(said["decisions"] for said in found.values()) else ""
            floors = [
                own_floor(experiment.entry, corpus) for experiment in data.experiments if corpus in experiment.tested
            ]
            alt = "; ".join(
                f"{name} {value:.3f}" + ("" if floor is None else f" (floor {floor:.3f})")
                for name, value, floor in zip(having, values, floors, strict=True)
            )
            and_floors = ", and floors" if any(floor is not None for floor in floors) else ""
            section.sketches.append(
                Sketch(
                    f"uar-{file_stem('', corpus)}",
                    figures.scores_figure,
                    (list(having), values, bounds, floors),
                    f"UAR on {corpus} with 95 % intervals{and_floors}{among}",
                    f"UAR on {corpus}{among}: {alt}.",
                )
            )
    comparisons = score_tables.comparisons_table(data)
    others = (floors_table(data), comparisons, score_tables.vad_table(data))
    section.tables += [table for table in others if table.rows]
    return section


def _search(data: ReportData) -> Section:
    found = found_table(data)
    section = Section("search", "Search for settings", [], search_text(data), tables=[found] if found.rows else [])
    for each in searches(data):
        section.sketches += search_figures(each)
    return section


def _cross_corpus(data: ReportData) -> Section:
    section = Section("cross-corpus", "Across corpora")
    matrix = cross_corpus(data)
    if matrix is not None:
        text = "UAR of what was trained (rows) on what was tested (columns), pooled."
        if matrix.shared is not None:
            text += " It is that of the decision among all classes that were trained; a second table has the decision "
            text += "among the classes that the test corpus has, where it lacks some (see the note below the results)."
        if matrix.within.any():
            text += " Framed: other rows of the same corpus were trained on."
        section.text.append(text)
        alt = "Heat map of UAR; the same numbers are in the table below."
        caption = "UAR, trained on and tested on"
        section.sketches.append(Sketch("cross-corpus", figures.cross_corpus_figure, (matrix,), caption, alt))
        section.tables.append(score_tables.cross_corpus_table(matrix))
        if matrix.shared is not None:
            section.tables.append(score_tables.cross_corpus_table(matrix, shared=True))
    return section


def _of_experiments(data: ReportData) -> list[Section]:
    """The sections that each experiment adds to, in order, with what is in them once."""
    return [
        _confusion(data),
        Section("difficulty", "Difficulty and accuracy"),
        _calibration(data),
        _groups(data),
        Section("training", "Training"),
        _wrong(),
    ]


def _confusion(data: ReportData) -> Section:
    text = ["Rows are true classes, columns predicted ones; counts are over all folds and seeds."]
    return Section("confusion", "Confusion", text, tables=[report_tables.classes_table(data)])


def _calibration(data: ReportData) -> Section:
    text = [
        "How often the predicted class is right, by the probability it was given, over all folds and "
        "seeds: 15 equal bins. The expected calibration error (ECE, best 0) and the Brier score (0 to 2, "
        "best 0) of the table are each seed's, averaged; those of a diagram are of the rows of all seeds "
        "together, as it is drawn: an ECE that is no higher, since the seeds' gaps partly cancel."
    ]
    return Section("calibration", "Calibration", text, tables=[score_tables.calibration_scores_table(data)])


def _groups(data: ReportData) -> Section:
    text = ["UAR is over the classes that occur with the speaker or in the session, averaged over seeds."]
    tables = [report_tables.groups_table(data, what) for what in ("speaker", "session")]
    return Section("groups", "Speakers and sessions", text, tables=tables)


def _wrong() -> Section:
    text = ["By the share of seeds that were wrong, then by the probability given to the truth."]
    return Section("wrong", "Rows most often wrong", text)


def _sketch_tested(each: ReportedExperiment, tested: Tested, sections: dict[str, Section], several: bool) -> None:
    """All figures and tables of an experiment in one corpus; `several` corpora were tested on."""
    rows, found = tested.rows, tested.statistics
    title = f"{each.name}, {tested.corpus}" if several else each.name
    name = file_stem(each.slug, tested.corpus)

    def add(section: str, kind: str, draw: Callable, given: tuple, caption: str, alt: str, wide: bool = False) -> None:
        sketch = Sketch(f"{kind}-{name}", draw, given, f"{title}: {caption}", f"{title}. {alt}", wide)
        sections[section].sketches.append(sketch)

    matrix = confusion(rows)
    recall = np.diagonal(matrix) / np.maximum(matrix.sum(1), 1)
    said = ", ".join(f"{label} {100 * value:.0f} %" for label, value in zip(rows.labels, recall, strict=True))
    wide = len(rows.labels) > _CLASSES_AT_EASE
    draw = figures.confusion_figure
    alt = f"Confusion matrix of {len(rows.labels)} classes, "
    add("confusion", "counts", draw, (matrix, rows.labels, False), "counts", f"{alt}counts.", wide)
    add("confusion", "shares", draw, (matrix, rows.labels, True), "shares", f"{alt}row shares. Recall: {said}.", wide)
    curve = difficulty_curve(tested)
    if curve is not None:
        correlation = "" if np.isnan(curve.r) else f" Pearson r {curve.r:.2f}, {p_in_words(curve.p)}."
        if not np.isnan(curve.r_within):
            correlation += f" Within classes r {curve.r_within:.2f}, {p_in_words(curve.p_within)}."
        alt = f"Accuracy from {curve.accuracy[0]:.2f} in the easiest to {curve.accuracy[-1]:.2f} in the hardest of "
        alt += f"{len(curve.count)} buckets; overall {curve.overall:.2f}.{correlation}"
        caption = f"accuracy by difficulty, {len(curve.count)} buckets"
        add("difficulty", "difficulty", figures.difficulty_figure, (curve,), caption, alt)
    diagram = reliability_of(rows)
    alt = f"Reliability diagram; its ECE {diagram.ece:.3f}, Brier score {diagram.brier:.3f}."
    add("calibration", "calibration", figures.reliability_figure, (diagram,), "reliability diagram", alt)
    for what in ("speaker", "session"):
        groups = found[f"by_{what}"]
        if len(groups) > 1:
            values = [group["uar"] for group in groups.values()]
            alt = f"UAR by {what}: from {min(values):.2f} to {max(values):.2f} over {len(values)} {what}s."
            add("groups", what, figures.groups_figure, (groups, what), f"UAR by {what}", alt)
    wrong = report_tables.wrong_rows_table(each, tested, _WRONG_ON_PAGE)
    sections["wrong"].tables += [wrong] if wrong.rows else []


def _sketch_training(each: ReportedExperiment, section: Section) -> None:
    reached = each.curves.series.get("eval_uar")
    ended = reached is not None and not np.isnan(reached[:, -1]).all()
    words = "" if not ended else f", which ends at {np.nanmean(reached[:, -1]):.2f} on average"
    caption, alt = f"{each.name}: learning curves", f"{each.name}. Loss and validation UAR by epoch{words}."
    section.sketches.append(Sketch(f"learning-{each.slug}", figures.learning_figure, (each.curves,), caption, alt))
    for which, runs in layer_weights(each.entry).items():
        shares = np.array(runs)
        top = int(shares.mean(axis=0).argmax())
        caption = f"{each.name}: weights of the layers that hear the {ENCODERS[which]}"
        if which == "text":
            caption = f"{each.name}: weights of the layers that read the {ENCODERS[which]}"
        alt = f"{caption}: layer {top} has the highest, {shares[:, top].mean():.2f} of 1 on average."
        name = f"layers-{which}-{each.slug}"
        section.sketches.append(Sketch(name, figures.layers_figure, (shares,), caption, alt))
    if each.curves.has_curriculum:
        pool = 100 * np.nanmean(each.curves.series["curriculum/pool_fraction"], axis=0)
        alt = f"{each.name}. The pool grows from {pool[0]:.0f} to {pool[-1]:.0f} % of the training rows."
        caption, given = f"{each.name}: the curriculum as it went", (each.curves, each.entry["labels"])
        section.sketches.append(Sketch(f"curriculum-{each.slug}", figures.curriculum_figure, given, caption, alt))


def _data(data: ReportData) -> Section:
    notes = [f"{card['name']}: {note}" for card in data.corpora.values() for note in card["notes"]]
    notes += [f"{experiment.name}: {note}" for experiment in data.experiments for note in experiment.entry["notes"]]
    return Section("data", "Data", listed=list(dict.fromkeys(notes)), tables=[report_tables.corpora_table(data)])


def _settings(data: ReportData) -> Section:
    encoders = encoders_table({experiment.name: experiment.entry for experiment in data.experiments})
    tables: list[Any] = [encoders, report_tables.layer_weights_table(data), report_tables.time_table(data)]
    if len(data.experiments) > 1:
        tables.append(report_tables.settings_table(data, differing=True))
    tables += [report_tables.settings_table(data, differing=False), report_tables.environment_table(data)]
    return Section("settings", "Settings, time and environment", tables=[table for table in tables if table.rows])
