"""`emomm report`: the report of a job, or of several side by side."""

from ..job_folder import job_results
from .parsing import Parser
from .parsing import show
from .parsing import speak


def command(argv: list[str]) -> int:
    """Runs it with the arguments that follow its name; gives the exit code."""
    parser = Parser(
        prog="emomm report",
        description="Write report.html, with figures (PNG, SVG) and tables (CSV, Markdown, LaTeX) beside it, from "
        "what a job has left. Nothing is trained. Several jobs are compared.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folder of a job, such as runs/quickstart")
    parser.add_argument("--output", metavar="DIR", help="folder to write (default: report, in the first FOLDER)")
    options = parser.parse_args(argv)
    for folder in options.folders:
        job_results(folder)  # in time: the libraries take seconds to load
    speak(libraries=False)  # none of them is loaded
    from ..reporting.report import write_report

    show(str(write_report(options.folders, options.output)))
    return 0


__all__ = ["command"]
