"""The sections of a report: which figures and tables stand where, and the words around them."""

import base64
import logging
import os
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from dataclasses import field
from itertools import combinations
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from ..contamination import contamination
from . import figures
from . import tables as report_tables
from .data import BUCKETS
from .data import ROWS_A_BUCKET
from .data import ReportData
from .data import ReportedExperiment
from .data import Tested
from .data import confusion
from .data import cross_corpus
from .data import difficulty_curve
from .data import file_stem
from .data import reliability_curve
from .table import Table

_WRONG_ON_PAGE, _WRONG_IN_FILE = 10, 200
_CLASSES_AT_EASE = 8  # a matrix of more classes is drawn as wide as the page
_MANY = 6  # experiments that are drawn by several processes, which take a few seconds to start
_OF_EXPERIMENTS = ("confusion", "difficulty", "calibration", "groups", "training", "wrong")  # sections

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PageFigure:
    """A figure on the page.

    Args:
        caption: what it shows.
        alt: what one would see, in words.
        source: `data:` address of the SVG.
        width: in CSS pixels, as drawn.
        wide: takes the whole width, and scrolls on a phone.
    """

    caption: str
    alt: str
    source: str
    width: int
    wide: bool


@dataclass
class Section:
    """A section of the page; left out where it has neither figures, tables nor text."""

    id: str
    title: str
    text: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    figures: list[PageFigure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


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
    """Draws the figures into `folder` (PNG and SVG) and puts the page together."""
    artist = _Artist(folder)
    with tqdm(total=len(data.experiments) + 1, desc="drawing", unit="experiment", disable=None) as bar:
        sections = [_protocol(data), _results(data, artist), _cross_corpus(data, artist)]
        bar.update()
        drawn: dict[str, Section] = {
            "confusion": Section(
                "confusion",
                "Confusion",
                ["Rows are true classes, columns predicted ones; counts are over all folds and seeds."],
                tables=[report_tables.classes_table(data)],
            ),
            "difficulty": Section("difficulty", "Difficulty and accuracy"),
            "calibration": Section(
                "calibration",
                "Calibration",
                [
                    "How often the predicted class is right, by the probability it was given, over all folds and "
                    "seeds: 15 equal bins. The expected calibration error (ECE, best 0) and the Brier score (0 to 2, "
                    "best 0) are averaged over seeds."
                ],
                tables=[report_tables.calibration_scores_table(data)],
            ),
            "groups": Section(
                "groups",
                "Speakers and sessions",
                ["UAR is over the classes that occur with the speaker or in the session, averaged over seeds."],
                tables=[report_tables.groups_table(data, what) for what in ("speaker", "session")],
            ),
            "training": Section("training", "Training"),
            "wrong": Section(
                "wrong",
                "Rows most often wrong",
                ["By the share of seeds that were wrong, then by the probability given to the truth."],
            ),
        }
        for of_experiment in _drawn(data, folder):
            for name, section in of_experiment.items():
                drawn[name].figures += section.figures
                drawn[name].tables += section.tables
            bar.update()
    _difficulty_words(data, drawn["difficulty"])
    if drawn["training"].figures:
        drawn["training"].text.append("Lines are means over runs, bands reach from the 10th to the 90th percentile.")
    sections += [*drawn.values(), _data(data), _settings(data)]
    sections = [each for each in sections if each.figures or each.tables or (each.text and each.listed)]
    if len(data.tested_corpora) == 1:  # said in the title's sentence
        for section in sections:
            section.tables = [table.without("tested on") for table in section.tables]
    files = {table.name: table for section in sections for table in section.tables}
    for table in (
        report_tables.confusion_table(data),
        report_tables.difficulty_table(data),
        report_tables.calibration_table(data),
        report_tables.curves_table(data),
        *(
            report_tables.wrong_rows_table(each, tested, _WRONG_IN_FILE)
            for each in data.experiments
            for tested in each.tested.values()
        ),
    ):
        if table.rows:
            files[table.name] = table
    return Page(data.title, _lead(data), _caveats(data), sections, files)


def _drawn(data: ReportData, folder: Path) -> Iterator[dict[str, Section]]:
    """What is drawn of each experiment; of many, by several processes."""
    several = len(data.tested_corpora) > 1
    processes = min(os.cpu_count() or 1, 4)
    here = 0
    if len(data.experiments) >= _MANY and processes > 1:
        try:
            with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                for made in pool.map(draw_experiment, data.experiments, repeat(several), repeat(folder)):
                    yield made
                    here += 1
        except (
            OSError,
            AssertionError,
            BrokenProcessPool,
        ) as error:  # where no process may be started, or one is killed
            logger.warning("drawing goes on in one process (%s)", error)
    for each in data.experiments[here:]:
        yield draw_experiment(each, several, folder)


def draw_experiment(each: ReportedExperiment, several: bool, folder: Path) -> dict[str, Section]:
    """The figures and tables of one experiment, by section; `several` corpora were tested on."""
    artist, sections = _Artist(folder), {name: Section(name, "") for name in _OF_EXPERIMENTS}
    for tested in each.tested.values():
        _draw_tested(each, tested, sections, artist, several)
    _draw_training(each, sections["training"], artist)
    return sections


class _Artist:
    """Draws into a folder, and hands on what the page shows."""

    def __init__(self, folder: Path):
        self.folder = folder

    def draw(self, name: str, made: Figure, caption: str, alt: str, wide: bool = False) -> PageFigure:
        svg = figures.themed(figures.save(made, self.folder, name))
        source = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
        return PageFigure(caption, alt, source, round(96 * made.get_size_inches()[0]), wide)


# ---- words ----------------------------------------------------------------------------------------------------------


def _lead(data: ReportData) -> str:
    runs = sum(len(each.runs) for each in data.experiments)
    parts = [f"{_number(len(data.experiments), 'experiment')}, {_number(runs, 'run')}."]
    for corpus in data.tested_corpora:
        having = [each for each in data.experiments if corpus in each.tested]
        most = max(each.tested[corpus].statistics["rows"] for each in having)
        having = [each for each in having if each.tested[corpus].statistics["rows"] == most]  # others are under way
        best = max(having, key=lambda each: each.tested[corpus].statistics["uar"]["pooled"])
        found = best.tested[corpus].statistics
        bounds = found["uar"]["ci95"]
        interval = "" if bounds is None else f" (95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})"
        what = f"Highest UAR on {corpus}" if len(having) > 1 else f"UAR on {corpus}"
        rows = f"{found['rows']} rows, {_number(found['speakers'], 'speaker')}"
        parts.append(f"{what} ({rows}): {found['uar']['pooled']:.3f}{interval}, {best.name}.")
    return " ".join(parts)


def _caveats(data: ReportData) -> list[str]:
    found = []
    for name, card in data.corpora.items():
        warning = contamination(name, card["extractor"], card.get("speech_encoder"))
        found += [text for text in (card["caveat"], warning) if text]
    for label, job in data.jobs.items():
        for entry in job["experiments"]:
            if not any(run["status"] == "done" for run in entry["runs"]):
                found.append(f"{label}, {entry['name']}: no run is done, so it is not shown.")
    found += [f"{each.name}: no result of {reason}." for each in data.experiments for reason in each.failed]
    for each in data.experiments:
        for tested in each.tested.values():
            untested = int((~tested.rows.complete).sum())
            if untested:
                seeds = _number(untested, "seed has", "seeds have")
                found.append(f"{each.name}, {tested.corpus}: {seeds} not tested every row that others have.")
    return found + _not_compared(data)


def _not_compared(data: ReportData) -> list[str]:
    """Which experiments no paired test can tell apart, since they were not tested on the same rows."""
    found = []
    for corpus in data.tested_corpora:
        names = [each.name for each in data.experiments if corpus in each.tested]
        compared = {frozenset((pair["first"], pair["second"])) for pair in data.comparisons.get(corpus, [])}
        apart = [pair for pair in combinations(names, 2) if frozenset(pair) not in compared]
        if apart:
            shown = "; ".join(f"{first} and {second}" for first, second in apart[:5])
            more = f"; and {len(apart) - 5} more pairs" if len(apart) > 5 else ""
            found.append(f"Not compared on {corpus}, having been tested on different rows or classes: {shown}{more}.")
    return found


def _number(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _protocol(data: ReportData) -> Section:
    section = Section("protocol", "Protocol", tables=[report_tables.folds_table(data)])
    for mode in dict.fromkeys(each.settings.get("evaluation_mode") for each in data.experiments):
        of_mode = [each for each in data.experiments if each.settings.get("evaluation_mode") == mode]
        section.text.append(_mode_words(mode, of_mode))
    chosen = {
        (each.settings.get("metric_for_best_model"), each.settings.get("validation")) for each in data.experiments
    }
    for metric, validation in sorted(chosen, key=str):
        part = {"session": "a session", "speakers": "a set of speakers", "random": "a random part"}.get(
            validation, validation
        )
        best = "lowest loss" if metric == "loss" else f"highest {str(metric).replace('uar', 'UAR')}"
        section.text.append(
            f"The weights kept are those of the epoch with the {best} on a validation part, {part} of the training "
            "rows, set aside before training. Test rows are read once, after it."
        )
    section.text.append(
        "Scores are computed over the rows of all folds together (pooled) for each seed, then averaged over seeds; "
        "mean and standard deviation are over runs (seeds × folds). " + _interval_words(data)
    )
    section.listed = list(dict.fromkeys(line for job in data.jobs.values() for line in job["protocol"]))
    return section


def _mode_words(mode: str | None, experiments: list[ReportedExperiment]) -> str:
    trained = ", ".join(dict.fromkeys(" + ".join(each.trained_on) for each in experiments))
    seeds = sorted({len({run["seed"] for run in each.runs}) for each in experiments})
    folds = sorted({len({run["fold"] for run in each.runs}) for each in experiments})
    size = f"{_span(seeds, 'seed')} and {_span(folds, 'fold')}"
    if mode == "loso":
        return f"Leave one session out, {trained}: a model tests the one session that it has not seen. {size}."
    tested = ", ".join(dict.fromkeys(corpus for each in experiments for corpus in each.tested))
    return f"Cross-corpus: trained on {trained}; tested on {tested}, in the classes that both know. {size}."


def _span(counts: list[int], what: str) -> str:
    return _number(counts[0], what) if len(counts) == 1 else f"{counts[0]} to {counts[-1]} {what}s"


def _interval_words(data: ReportData) -> str:
    used = {
        (t.statistics["uar"]["ci_method"], t.statistics["uar"]["ci_units"])
        for each in data.experiments
        for t in each.tested.values()
    }
    words = {
        ("bootstrap", "speakers"): "a bootstrap over speakers (2000 resamples)",
        ("jackknife", "speakers"): "leaving out a speaker at a time (jackknife, Student's t)",
        ("exact", "speakers"): "for scores of 0 or 1, Clopper and Pearson's with as many trials as speakers",
        ("jackknife", "rows"): "leaving out a row at a time, since there are fewer than five speakers: such intervals "
        "ignore that rows of one speaker are alike, and are too narrow",
    }
    named = [words.get(each, " over ".join(each)) for each in sorted(used)]
    luck = "They are for other speakers, not for other trainings: what those change shows in the spread over seeds."
    return f"95 % intervals come from {'; or from '.join(named)}. {luck}"


# ---- sections -------------------------------------------------------------------------------------------------------


def _results(data: ReportData, artist: _Artist) -> Section:
    section = Section("results", "Results", tables=[report_tables.results_table(data)])
    for corpus in data.tested_corpora:
        having = {
            each.name: each.tested[corpus].statistics["uar"] for each in data.experiments if corpus in each.tested
        }
        if len(having) > 1:
            values, bounds = [s["pooled"] for s in having.values()], [s["ci95"] for s in having.values()]
            alt = "; ".join(f"{name} {value:.3f}" for name, value in zip(having, values, strict=True))
            section.figures.append(
                artist.draw(
                    f"uar-{file_stem('', corpus)}",
                    figures.scores_figure(list(having), values, bounds),
                    f"UAR on {corpus} with 95 % intervals",
                    f"UAR on {corpus}: {alt}.",
                )
            )
    comparisons = report_tables.comparisons_table(data)
    section.tables += [table for table in (comparisons, report_tables.vad_table(data)) if table.rows]
    return section


def _cross_corpus(data: ReportData, artist: _Artist) -> Section:
    section = Section("cross-corpus", "Across corpora")
    matrix = cross_corpus(data)
    if matrix is not None:
        text = "UAR of what was trained (rows) on what was tested (columns), pooled."
        if matrix.within.any():
            text += " Framed: other rows of the same corpus were trained on."
        section.text.append(text)
        alt = "Heat map of UAR; the same numbers are in the table below."
        made = figures.cross_corpus_figure(matrix)
        section.figures.append(artist.draw("cross-corpus", made, "UAR, trained on and tested on", alt))
        section.tables.append(report_tables.cross_corpus_table(matrix))
    return section


def _draw_tested(
    each: ReportedExperiment, tested: Tested, sections: dict[str, Section], artist: _Artist, several: bool
) -> None:
    """All that is drawn of an experiment in one corpus."""
    rows, found = tested.rows, tested.statistics
    title = f"{each.name}, {tested.corpus}" if several else each.name
    name = file_stem(each.slug, tested.corpus)

    def add(section: str, kind: str, made: Callable[..., Figure], args: tuple, caption: str, alt: str, wide=False):
        page_figure = artist.draw(f"{kind}-{name}", made(*args), f"{title}: {caption}", f"{title}. {alt}", wide)
        sections[section].figures.append(page_figure)

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
        correlation = "" if np.isnan(curve.r) else f" Pearson r {curve.r:.2f}, p {curve.p:.3f}."
        alt = f"Accuracy from {curve.accuracy[0]:.2f} in the easiest to {curve.accuracy[-1]:.2f} in the hardest of "
        alt += f"{len(curve.count)} buckets; overall {curve.overall:.2f}.{correlation}"
        caption = f"accuracy by difficulty, {len(curve.count)} buckets"
        add("difficulty", "difficulty", figures.difficulty_figure, (curve,), caption, alt)
    alt = f"Reliability diagram; ECE {found['ece']:.3f}, Brier score {found['brier']:.3f}."
    args = (reliability_curve(rows), found["ece"], found["brier"])
    add("calibration", "calibration", figures.reliability_figure, args, "reliability diagram", alt)
    for what in ("speaker", "session"):
        groups = found[f"by_{what}"]
        if len(groups) > 1:
            values = [group["uar"] for group in groups.values()]
            alt = f"UAR by {what}: from {min(values):.2f} to {max(values):.2f} over {len(values)} {what}s."
            add("groups", what, figures.groups_figure, (groups, what), f"UAR by {what}", alt)
    wrong = report_tables.wrong_rows_table(each, tested, _WRONG_ON_PAGE)
    sections["wrong"].tables += [wrong] if wrong.rows else []


def _draw_training(each: ReportedExperiment, section: Section, artist: _Artist) -> None:
    made = figures.learning_figure(each.curves)
    if made is not None:
        reached = each.curves.series.get("eval_uar")
        words = "" if reached is None else f", which ends at {np.nanmean(reached[:, -1]):.2f} on average"
        alt = f"{each.name}. Loss and validation UAR by epoch{words}."
        section.figures.append(artist.draw(f"learning-{each.slug}", made, f"{each.name}: learning curves", alt))
    if each.curves.has_curriculum:
        made = figures.curriculum_figure(each.curves, each.entry["labels"])
        pool = 100 * np.nanmean(each.curves.series["curriculum/pool_fraction"], axis=0)
        alt = f"{each.name}. The pool grows from {pool[0]:.0f} to {pool[-1]:.0f} % of the training rows."
        caption = f"{each.name}: the curriculum as it went"
        section.figures.append(artist.draw(f"curriculum-{each.slug}", made, caption, alt))


def _difficulty_words(data: ReportData, section: Section) -> None:
    if not section.figures:
        return
    text = "Rows are sorted by difficulty and cut into buckets of equal count"
    fewer = {
        (tested.corpus, len(curve.count))
        for each in data.experiments
        for tested in each.tested.values()
        if (curve := difficulty_curve(tested)) is not None and len(curve.count) < BUCKETS
    }
    if fewer:
        text += f": {BUCKETS}, or fewer where they would hold under {ROWS_A_BUCKET} rows ("
        text += ", ".join(f"{corpus} {count}" for corpus, count in sorted(fewer)) + ")"
    section.text.append(
        f"{text}. r is Pearson's, between a row's difficulty and the share of seeds that were right; its p takes rows "
        "as independent. Difficulty is averaged over runs where it differs between them."
    )


def _data(data: ReportData) -> Section:
    notes = [f"{card['name']}: {note}" for card in data.corpora.values() for note in card["notes"]]
    notes += [f"{each.name}: {note}" for each in data.experiments for note in each.entry["notes"]]
    return Section("data", "Data", listed=list(dict.fromkeys(notes)), tables=[report_tables.corpora_table(data)])


def _settings(data: ReportData) -> Section:
    tables: list[Any] = [report_tables.time_table(data)]
    if len(data.experiments) > 1:
        tables.append(report_tables.settings_table(data, differing=True))
    tables += [report_tables.settings_table(data, differing=False), report_tables.environment_table(data)]
    return Section("settings", "Settings, time and environment", tables=[table for table in tables if table.rows])
