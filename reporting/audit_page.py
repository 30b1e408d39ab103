"""`emomm audit`: what is found, on a page in the report's style."""

from ..audit.audited import Audit
from .page import Page
from .page import Section
from .table import Table

_FOLDED = 24  # rows, beyond which a table is to be opened


def audit_page(found: Audit) -> Page:
    """The page of an audit."""
    sections = [
        _findings(found),
        Section("pairs", "What two parts share", tables=_tables(_pairs(found))),
        Section("parts", "Parts", tables=_tables(_parts(found))),
        Section("speakers", "Speakers", tables=_tables(_speakers(found))),
        Section("shortcuts", "What labels can be told from", tables=_tables(_probes(found))),
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
