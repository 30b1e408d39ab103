"""What a person sees when a job ends."""

from typing import Any

from ..metrics import mean_and_std


def results_table(results: dict[str, Any]) -> str:
    """The table at the end of a job: for each experiment and test corpus, mean ± standard deviation over runs."""
    header = ["experiment", "tested on", "runs", "UAR", "accuracy", "F1 macro", "F1 weighted", "UAR pooled [95 %]"]
    rows = [header]
    for experiment in results["experiments"]:
        runs = [run for run in experiment["runs"] if run["status"] == "done"]
        if not runs:
            rows.append([experiment["name"], "-", "0", *5 * ["-"]])
        for corpus, summary in experiment["summary"].items():
            cells = [mean_and_std(summary[metric]) for metric in ("uar", "accuracy", "f1_macro", "f1_weighted")]
            tested = sum(corpus in run["test"] for run in runs)
            interval = summary["uar"]["ci95"]
            bounds = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
            rows.append([experiment["name"], corpus, str(tested), *cells, f"{summary['uar']['pooled']:.3f}{bounds}"])
    return format_table(rows)


def format_table(rows: list[list[str]]) -> str:
    """Rows of text, the first one the header, in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


__all__ = ["format_table", "results_table"]
