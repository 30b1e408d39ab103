"""`emomm report`: a folder with report.html, figures and tables, from the folders of jobs."""

import importlib.util
import shutil
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import InputError
from ..files import staging
from ..job_folder import JobFolder
from ..job_folder import ReportFolder

if TYPE_CHECKING:
    from ..audit.audited import Audit
    from ..corpora.corpus import Corpus
    from .page import Page

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_NEEDED = ("matplotlib", "jinja2")


def write_report(folders: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Writes the report of one or more jobs; nothing is trained. Several jobs are compared.

    Args:
        folders: of jobs, finished or under way.
        output: folder to write; default `report` in the first job's folder. A report that is there is replaced.

    Returns:
        the path of report.html: one file that needs nothing else. `figures` (PNG, SVG) and `tables` (CSV, Markdown,
        LaTeX) are beside it.

    Raises:
        InputError: no or broken jobs, an output folder that holds other files or can't be written, matplotlib or
            jinja2 missing.
    """
    _check_packages()
    twice = [str(folder) for i, folder in enumerate(folders) if _same(folder, folders[:i])]
    if twice:
        raise InputError(f"{twice[0]} is given twice")
    output = _free(JobFolder(Path(folders[0])).report.path if output is None else Path(output))
    from .report_data import read_report

    data = read_report(folders)
    from .page import build_page

    return _written(output, lambda figures: build_page(data, figures))


def write_description(corpus: "Corpus", output: str | Path, players: int = 2) -> Path:
    """Writes a page on a corpus, in the folder and form of a report.

    Args:
        output: folder to write. A report or description that is there is replaced.
        players: how many recordings of each class are on the page, of a corpus of recordings.

    Returns:
        the path of the page.

    Raises:
        InputError: an output folder that holds other files or can't be written, matplotlib or jinja2 missing.
    """
    _check_packages()
    output = _free(Path(output))
    from .corpus_page import corpus_page
    from .corpus_summary import summarise

    return _written(output, lambda figures: corpus_page(corpus, summarise(corpus), figures, players))


def write_audit(found: "Audit", output: str | Path) -> Path:
    """Writes the page of an audit, in the folder and form of a report; gives the path of the page.

    Raises:
        InputError: an output folder that holds other files or can't be written, matplotlib or jinja2 missing.
    """
    _check_packages()
    output = _free(Path(output))
    from .audit_page import audit_page

    return _written(output, lambda figures: audit_page(found, figures))


def _check_packages() -> None:
    missing = [package for package in _NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f"a report needs {' and '.join(missing)}: pip install emomm[report]")


def _free(output: Path) -> Path:
    if output.exists() and not (output.is_dir() and _ours(output)):
        raise InputError(f"{output} holds something other than a report: give another --output")
    return output


def _written(output: Path, build: Callable[[Path], "Page"]) -> Path:
    """The page that `build` makes, drawing into a folder; its figures and tables beside it."""
    try:
        with staging(output) as draft:
            made = ReportFolder(draft)
            made.figures.mkdir()
            made.tables.mkdir()
            page = build(made.figures)
            for name, table in page.files.items():
                for ending, text in (("csv", table.csv()), ("md", table.markdown()), ("tex", table.latex())):
                    (made.tables / f"{name}.{ending}").write_text(text, encoding="utf-8")
            made.page.write_text(render(page), encoding="utf-8")
            output.mkdir(parents=True, exist_ok=True)
            ReportFolder(output).page.unlink(missing_ok=True)
            for part in _parts(made):
                shutil.rmtree(output / part.name, ignore_errors=True)
                part.rename(output / part.name)
    except OSError as error:
        raise InputError(f"can't write the report into {output} ({error}); give another --output") from error
    return ReportFolder(output).page


def render(page: "Page") -> str:
    """The HTML of a `page.Page`."""
    import jinja2

    from .table import shown

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html").render(page=page, version=__version__, shown=shown)


def _same(folder: str | Path, others: Sequence[str | Path]) -> bool:
    return Path(folder).resolve() in [Path(other).resolve() for other in others]


def _parts(report: ReportFolder) -> tuple[Path, ...]:
    """What a report is made of, the page last: it says that the others are there."""
    return report.figures, report.tables, report.page


def _ours(folder: Path) -> bool:
    """Whether the folder holds nothing but a report, or part of one."""
    return set(folder.iterdir()) <= set(_parts(ReportFolder(folder)))


__all__ = ["render", "write_audit", "write_description", "write_report"]
