"""`emomm describe`: a corpus on a page, in the report's style, with some of its recordings to be heard."""

import base64
import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..corpora.corpus import SAMPLING_RATE
from ..corpora.corpus import Corpus
from ..corpora.raw_columns import EMPTY_TRANSCRIPT
from .corpus_figures import classes_figure
from .corpus_figures import durations_figure
from .corpus_figures import ratings_figure
from .drawing import Artist
from .page import Page
from .page import Player
from .page import Section
from .table import Table

LONGEST_PLAYED = 10.0
"""Seconds of a recording that the page holds."""

_FOLDED = 12  # speakers or sessions, beyond which their table is to be opened


def corpus_page(corpus: Corpus, summary: dict[str, Any], folder: Path, players: int) -> Page:
    """Draws the figures into `folder` and puts the page together.

    Args:
        summary: as `summarise` makes it.
        players: how many recordings of each class are on the page, if the corpus has any.
    """
    artist = Artist(folder)
    sections = [
        _classes(corpus, summary, artist),
        _durations(corpus, corpus.seconds, summary, artist),
        _ratings(corpus, summary, artist),
        _words(summary),
        *(_groups(summary, what) for what in ("speaker", "session", "split")),
        _recordings(corpus, players),
        _data(summary),
    ]
    sections = [each for each in sections if each.figures or each.tables or each.players or each.listed]
    files = {table.name: table for section in sections for table in section.tables}
    caveats = [summary["caveat"]] if summary["caveat"] else []
    return Page(f"Corpus {corpus.name}", summary_line(summary), caveats, sections, files)


def summary_line(summary: dict[str, Any]) -> str:
    """The corpus in a sentence."""
    hours = "" if summary["seconds"] is None else f", {summary['seconds']['hours']:.2f} hours"
    classes = ", ".join(f"{name} {count}" for name, count in summary["classes"].items())
    return (
        f"{summary['rows']} rows{hours}, {summary['speakers']} speakers, {summary['sessions']} sessions, "
        f"{len(summary['classes'])} classes: {classes}."
    )


def group_table(summary: dict[str, Any], what: str) -> Table:
    """Rows, durations and ratings of each class, speaker, session or split."""
    groups = summary["by"].get(what, {})
    rated = list(summary["ratings"])
    timed = summary["seconds"] is not None
    counted = [] if what == "class" else list(summary["classes"])
    columns = [what, "rows", *(["speakers"] if what != "speaker" else [])]
    columns += ["minutes", "median s"] if timed else []
    columns += [*counted, *rated]
    rows = [
        [
            name,
            told["rows"],
            *([told["speakers"]] if what != "speaker" else []),
            *([told["minutes"], told["median_seconds"]] if timed else []),
            *(told["classes"][label] for label in counted),
            *(told["ratings"].get(rating) for rating in rated),
        ]
        for name, told in groups.items()
    ]
    note = "Ratings are means, on 1-5." if rated and rows else ""
    return Table(f"by_{what}", f"By {what}", columns, rows, note, fold=len(rows) > _FOLDED)


def _classes(corpus: Corpus, summary: dict[str, Any], artist: Artist) -> Section:
    alt = ", ".join(f"{name} {count}" for name, count in summary["classes"].items())
    figure = artist.draw("classes", classes_figure(summary["classes"]), "Rows of each class", f"Rows: {alt}.")
    return Section("classes", "Classes", figures=[figure], tables=[group_table(summary, "class")])


def _durations(corpus: Corpus, seconds: np.ndarray | None, summary: dict[str, Any], artist: Artist) -> Section:
    section = Section("durations", "Durations")
    if seconds is None or not seconds.any():
        return section
    lengths = [seconds[(corpus.label_ids == label) & (seconds > 0)] for label in range(len(corpus.labels))]
    told = {name: value for name, value in summary["seconds"].items() if name != "hours"}
    alt = f"Seconds of a row: {', '.join(f'{name} {value:.2f}' for name, value in told.items())}."
    made = durations_figure(lengths, corpus.labels)
    section.figures.append(artist.draw("durations", made, "Seconds of a row, by class", alt))
    section.tables.append(Table("durations", "Seconds of a row", ["", *told], [["all", *told.values()]]))
    return section


def _ratings(corpus: Corpus, summary: dict[str, Any], artist: Artist) -> Section:
    section = Section("ratings", "Valence, arousal, dominance")
    if not summary["ratings"]:
        return section
    section.text.append(
        f"On 1-5, more is more{', of ' + summary['vad_of'] if summary['vad_of'] else ''}; as means of each class in "
        "the tables."
    )
    both = {"valence", "arousal"} <= set(summary["ratings"])
    if both:
        made = ratings_figure(corpus.vad, corpus.label_ids, corpus.labels)
        alt = "Mean valence and arousal of each class; the numbers are in the table of classes."
        section.figures.append(artist.draw("ratings", made, "Valence and arousal", alt))
    columns = ["rating", "rated rows", "mean", "std", "lowest", "highest"]
    rows = [[name, *told.values()] for name, told in summary["ratings"].items()]
    section.tables.append(Table("ratings", "Ratings", columns, rows))
    return section


def _words(summary: dict[str, Any]) -> Section:
    told = summary["transcripts"]
    if told["different"] == 0:
        return Section("words", "Words")
    rows = [
        ["rows without a transcript", told["missing"]],
        ["different transcripts", told["different"]],
        ["rows whose transcript another row has too", told["rows_with_a_repeated_one"]],
        ["repeated transcripts that are of one class alone", told["repeated_in_one_class_alone"]],
        ["words of a transcript (median)", round(told["median_words"])],
    ]
    note = "Where transcripts recur, a model that reads words can know the tested ones."
    return Section("words", "Words", tables=[Table("words", "Transcripts", ["", "number"], rows, note)])


def _groups(summary: dict[str, Any], what: str) -> Section:
    table = group_table(summary, what)
    return Section(f"{what}s", f"{what.capitalize()}s", tables=[table] if table.rows else [])


def _recordings(corpus: Corpus, each: int) -> Section:
    section = Section("recordings", "Recordings")
    rows = _chosen(corpus, each) if corpus.recordings is not None else []
    for row in rows:
        text = corpus.transcripts[row]
        said = "" if text == EMPTY_TRANSCRIPT else f": {text}"
        label = corpus.labels[corpus.label_ids[row]]
        seconds = corpus.audio.length[row] / SAMPLING_RATE
        cut = f", the first {LONGEST_PLAYED:g} s" if seconds > LONGEST_PLAYED else ""
        caption = f"{label}, {corpus.speakers[row]}, {corpus.utterance_ids[row]}, {seconds:.1f} s{cut}{said}"
        section.players.append(Player(caption, _wav(corpus.audio[row][:, 0])))
    if rows:
        section.text.append(
            f"{len(rows)} recordings are in this page, so the corpus' licence holds for it: {corpus.spec.licence}."
        )
    return section


def _chosen(corpus: Corpus, each: int) -> list[int]:
    """Rows of each class, of as many speakers as can be, those of about the median length."""
    chosen: list[int] = []
    for label in range(len(corpus.labels)):
        rows = np.flatnonzero((corpus.label_ids == label) & (corpus.audio.length > 0))
        if not len(rows):
            continue
        lengths = corpus.audio.length[rows]
        rows = rows[np.argsort(np.abs(lengths - np.median(lengths)), kind="stable")].tolist()
        heard = {corpus.speakers[row] for row in chosen}
        rows.sort(key=lambda row, heard=heard: corpus.speakers[row] in heard)  # stable: voices not heard yet first
        first = list({corpus.speakers[row]: row for row in reversed(rows)}.values())[::-1]
        chosen += sorted(first[:each] or rows[:each])
    return chosen


def _wav(samples: np.ndarray) -> str:
    """The `data:` address of samples, float or 16 bit."""
    samples = samples[: int(LONGEST_PLAYED * SAMPLING_RATE)]
    if samples.dtype != np.int16:
        samples = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(SAMPLING_RATE)
        opened.writeframes(np.ascontiguousarray(samples, "<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()


def _data(summary: dict[str, Any]) -> Section:
    facts: Sequence[tuple[str, str]] = (
        ("language", summary["language"]),
        ("licence", summary["licence"]),
        ("terms", summary["licence_url"]),
        ("features", summary["extractor"]),
        ("cite", summary["citation"]),
    )
    rows = [[name, value] for name, value in facts if value and value != "not stated"]
    tables = [Table("about", "About the corpus", ["", "as stated"], rows)] if rows else []
    return Section("data", "Data", listed=list(summary["notes"]), tables=tables)


__all__ = ["corpus_page", "group_table", "summary_line"]
