"""A table of a report, and its three forms: CSV, Markdown and LaTeX."""

import csv
import io
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import NamedTuple

import numpy as np

from ..markup import csv_cell
from ..markup import markdown

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$"}
_LATEX |= {character: f"\\{character}" for character in "&%$#_{}"} | {"×": r"$\times$", "−": "$-$"}
_LATEX |= {"†": r"$\dagger$", "‡": r"$\ddagger$", "↓": r"$\downarrow$"}
_LATEX |= {"<": "$<$", ">": "$>$"}
_LATEX = str.maketrans(_LATEX)


class Marked(NamedTuple):
    """A cell with a mark above its line, such as the letters of experiments that it is better than."""

    text: str
    mark: str


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        name: of its files.
        title: what it shows.
        columns: their headings.
        rows: cells: text, numbers (shown with three decimals), None where there is nothing, `Marked`.
        note: what a reader must know besides.
        plain: (columns, rows) for the CSV where it differs: numbers in full, a column each.
        fold: to be opened by the reader, on the page.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""
    plain: tuple[list[str], list[list[Any]]] | None = None
    fold: bool = False

    def csv(self) -> str:
        """Comma-separated values: numbers in full, nothing where there is nothing. No cell is a formula: see
        `markup.csv_cell`."""
        columns, rows = self.plain or (self.columns, self.rows)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in (columns, *rows):
            writer.writerow([csv_cell(cell.text if isinstance(cell, Marked) else cell) for cell in row])
        return text.getvalue()

    def markdown(self) -> str:
        """A table in GitHub's Markdown, its note below."""

        def cell(value: Any) -> str:
            text, mark = shown(value)
            return f"{markdown(text)}<sup>{mark}</sup>" if mark else markdown(text)

        lines = [[cell(value) for value in line] for line in (self.columns, *self.rows)]
        lines.insert(1, ["---:" if right else ":---" for right in self.numeric])
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{body}\n" + (f"\n{markdown(self.note)}\n" if self.note else "")

    def latex(self) -> str:
        """A table for `\\usepackage{booktabs}`."""

        def cell(value: Any) -> str:
            text, mark = shown(value)
            return f"{_latex(text)}$^{{{_latex(mark).replace('$', '')}}}$" if mark else _latex(text)

        lines = [" & ".join(cell(value) for value in row) + r" \\" for row in (self.columns, *self.rows)]
        form = "".join("r" if right else "l" for right in self.numeric)
        caption = _latex(f"{self.title}. {self.note}".strip())
        return "\n".join(
            [
                r"\begin{table}",
                r"  \centering",
                f"  \\caption{{{caption}}}",
                f"  \\label{{tab:{self.name}}}",
                f"  \\begin{{tabular}}{{{form}}}",
                r"    \toprule",
                f"    {lines[0]}",
                r"    \midrule",
                *(f"    {line}" for line in lines[1:]),
                r"    \bottomrule",
                r"  \end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def without(self, column: str) -> "Table":
        """The table without a column, on the page and in papers; its CSV keeps it."""
        if column not in self.columns:
            return self
        place = self.columns.index(column)
        rows = [row[:place] + row[place + 1 :] for row in self.rows]
        columns = self.columns[:place] + self.columns[place + 1 :]
        return replace(self, columns=columns, rows=rows, plain=self.plain or (self.columns, self.rows))

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        return [all(isinstance(cell, int | float | Marked | None) for cell in column) for column in columns]


def with_interval(value: float, bounds: list[float] | None) -> Marked:
    """`0.824 [0.767, 0.868]`, without bounds `0.824`."""
    return Marked(f"{value:.3f}" + ("" if bounds is None else f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"), "")


def shown(cell: Any) -> Marked:
    """A cell as it is read."""
    if isinstance(cell, Marked):
        return cell
    if isinstance(cell, float) and not np.isnan(cell):
        return Marked(f"{cell:.3f}", "")
    return Marked("–" if cell is None or cell != cell else str(cell), "")


def _latex(text: str) -> str:
    return text.translate(_LATEX)


__all__ = ["Marked", "Table", "shown", "with_interval"]
