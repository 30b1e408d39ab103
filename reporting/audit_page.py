"""`emomm audit`: what is found, on a page in the report's style."""

from pathlib import Path

from ..audit.audited import TRAIN
from ..audit.audited import VALIDATION
from ..audit.audited import Audit
from .audit_figures import class_shares_figure
from .audit_figures import lengths_figure
from .audit_figures import speakers_figure
from .drawing import Artist
from .drawing import PageFigure
from .page import Page
from .page import Section
from .table import Table

_FOLDED = 24  # rows, beyond which a table is to be opened


def audit_page(found: Audit, folder: Path) -> Page:
    """Draws the figures into `folder` and puts the page of an audit together."""
    artist = Artist(folder)
    sections = [
        _findings(found),
        Section("pairs", "What two parts share", figures=_known(found, artist), tables=_tables(_pairs(found))),
        Section("parts", "Parts", figures=_shares(found, artist), tables=_tables(_parts(found))),
        Section("speakers", "Speakers", tables=_tables(_speakers(found))),
        Section(
            "shortcuts",
            "What labels can be told from",
            figures=_lengths(found, artist),
            tables=[*_tables(_probes(found)), *_tables(_durations(found))],
        ),
    ]
    sections = [each for each in sections if each.tables]
    files = {table.name: table for section in sections for table in section.tables}
    return Page(f"Audit of {found.name}", lead(found), [each.text + "." for each in found.problems], sections, files)


def lead(found: Audit) -> str:
    """How much was found, in a sentence."""
    count = len(found.problems)
    return f"{found.rows} rows: {count or 'no'} problem{'' if count < 2 else 's'} found."


def _tables(table: Table) -> list[Table]:
    return [table] if table.rows else []


def _known(found: Audit, artist: Artist) -> list[PageFigure]:
    """Speakers of the tested parts, those who are known apart."""
    known: dict[str, set[str]] = {}
    everybody: dict[str, int] = {}
    for pair in found.pairs:
        fold, part = pair["fold"], pair["parts"][1]
        if part not in (TRAIN, VALIDATION):
            name = f"{fold}: {part}"
            known.setdefault(name, set()).update(pair["speakers"])
            everybody[name] = pair["of_speakers"]
    if not any(everybody.values()):
        return []
    counts = {name: (len(known[name]), count - len(known[name])) for name, count in everybody.items()}
    shown = dict([*counts.items()][:_FOLDED])
    alt = "; ".join(f"{name} {sum(each)} speakers, {each[0]} trained on too" for name, each in shown.items()) + "."
    caption = "Speakers of each tested part" + f", of the first {_FOLDED} of {len(counts)}" * (
        len(counts) > len(shown)
    )
    return [artist.draw("speakers", speakers_figure(shown), caption, alt)]


def _shares(found: Audit, artist: Artist) -> list[PageFigure]:
    """Class shares of each part, of all folds together."""
    counts: dict[str, dict[str, int]] = {}
    for part in found.parts:
        sums = counts.setdefault(part["part"], dict.fromkeys(part["classes"], 0))
        for label, count in part["classes"].items():
            sums[label] += count
    shares = {
        part: {label: count / max(sum(sums.values()), 1) for label, count in sums.items()}
        for part, sums in counts.items()
    }
    if not shares:
        return []
    alt = "; ".join(
        f"{part}: {', '.join(f'{label} {share:.0%}' for label, share in each.items())}"
        for part, each in shares.items()
    )
    return [artist.draw("classes", class_shares_figure(shares), "Class shares by part, of all folds", f"{alt}.")]


def _lengths(found: Audit, artist: Artist) -> list[PageFigure]:
    if not found.lengths:
        return []
    unit = found.lengths[0]["unit"]
    alt = ", ".join(f"{each['class']} {each['median']:g}" for each in found.lengths)
    made = lengths_figure(found.lengths, unit)
    return [artist.draw("durations", made, "How long rows are, by class", f"Median {unit}: {alt}.")]


def _durations(found: Audit) -> Table:
    columns = list(found.lengths[0]) if found.lengths else []
    rows = [list(each.values()) for each in found.lengths]
    return Table("durations", "How long rows are, by class", columns, rows)


def _findings(found: Audit) -> Section:
    rows = [["problem" if each.problem else "to know", each.check, each.text] for each in found.findings]
    return Section("findings", "Findings", tables=_tables(Table("findings", "Findings", ["", "check", "found"], rows)))


def _pairs(found: Audit) -> Table:
    columns = ["fold", "parts", "rows", "speakers shared", "same recording", "near-duplicates", "same sentence"]
    rows = [
        [
            pair["fold"],
            " → ".join(pair["parts"]),
            pair["rows"],
            f"{len(pair['speakers'])} of {pair['of_speakers']}",
            pair["recordings"],
            pair["close"],
            pair["sentences"],
        ]
        for pair in found.pairs
    ]
    note = "Speakers and rows of the second part which the first has too; rows are those of the second."
    return Table("pairs", "Each pair of parts", columns, rows, note, fold=len(rows) > _FOLDED)


def _parts(found: Audit) -> Table:
    labels = list(found.parts[0]["classes"]) if found.parts else []
    rows = [
        [part["fold"], part["part"], part["rows"], part["speakers"], *part["classes"].values()] for part in found.parts
    ]
    columns = ["fold", "part", "rows", "speakers", *labels]
    return Table("parts", "Rows of each class, by part", columns, rows, fold=len(rows) > _FOLDED)


def _speakers(found: Audit) -> Table:
    labels = list(found.speakers[0]["classes"]) if found.speakers else []
    rows = [[each["speaker"], each["rows"], *each["classes"].values()] for each in found.speakers]
    return Table(
        "by_speaker", "Rows of each class, by speaker", ["speaker", "rows", *labels], rows, fold=len(rows) > _FOLDED
    )


def _probes(found: Audit) -> Table:
    said = {True: "tells labels", False: "at chance"}
    rows = [
        [each["of"], each["uar"], each["error"], each["chance"], each["speakers"], said[each["tells"]]]
        for each in found.probes
    ]
    note = (
        "UAR of a logistic regression on this alone (of sentences, the label that each mostly has), on speakers that "
        "it was not fitted on, with its standard error."
    )
    return Table(
        "shortcuts", "Labels from one thing alone", ["from", "UAR", "±", "chance", "speakers", ""], rows, note
    )


__all__ = ["audit_page", "lead"]
