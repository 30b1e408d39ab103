"""The price of a leak, for the terminal and the report."""

from typing import Any

from .table import Table


def price_lines(results: dict[str, Any]) -> list[str]:
    """What each leak comes to, a sentence each.

    Args:
        results: results.json.
    """
    return [_line(found) for found in results.get("price", [])]


def price_table(results: list[dict[str, Any]]) -> Table:
    """UAR as given and on disjoint folds, of all jobs."""
    found = [each for of_job in results for each in of_job.get("price", [])]
    rows = [
        [each["experiment"], each["tested"], *each["uar"], each["difference"], _interval(each), _how(each)]
        for each in found
    ]
    columns = ["experiment", "tested on", "UAR as given", "UAR disjoint", "difference", "95 % interval", "interval of"]
    note = (
        "Difference: how much higher the score is on folds that share speakers or recordings than on the nearest "
        "folds that don't (sizes and class counts as near as whole speakers allow)."
    )
    return Table("price", "The price of the leak", columns, rows, note)


def _line(found: dict[str, Any]) -> str:
    given, disjoint = found["uar"]
    interval = f" (95 % interval {_interval(found)})" if found["ci95"] else ""
    return (
        f"the price of the leak: {found['experiment']} on {found['tested']}: UAR {given:.3f} as given, {disjoint:.3f} "
        f"on the nearest disjoint folds, difference {found['difference']:+.3f}{interval}, {_how(found)}"
    )


def _interval(found: dict[str, Any]) -> str | None:
    return None if found["ci95"] is None else "{:+.3f} to {:+.3f}".format(*found["ci95"])


def _how(found: dict[str, Any]) -> str:
    paired = "the same test rows" if found["paired"] else "other test rows"
    return f"{paired}, over {found['units']}"


__all__ = ["price_lines", "price_table"]
