"""The price of a leak: by how much scores on a split that leaks are above those on the nearest one that doesn't."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .intervals import resample
from .intervals import standard_error
from .intervals import t_quantile
from .metrics import SCALARS
from .predictions import PooledRows


def prices(
    twins: Mapping[str, str], pooled: Mapping[str, Mapping[str, PooledRows]], comparisons: Mapping[str, list]
) -> list[dict[str, Any]]:
    """The difference in UAR of each pair of experiments, as given minus disjoint, on each corpus that both tested.

    Where both tested the same rows, the interval is that of their paired comparison; else that of two independent
    scores of speakers, which is wider.

    Args:
        twins: experiment -> the same on disjoint folds.
        pooled: predictions by experiment and tested corpus.
        comparisons: as `compare_experiments` gives them.

    Returns:
        [{"experiment", "disjoint", "tested", "uar": [as given, disjoint], "difference", "ci95" or None, "paired",
        "units"}].
    """
    found = []
    for name, twin in twins.items():
        for tested in (each for each in pooled.get(name, {}) if each in pooled.get(twin, {})):
            rows = pooled[name][tested], pooled[twin][tested]
            if not all(each.complete.any() for each in rows):
                continue
            pair = _pair(comparisons.get(tested, []), name, twin)
            said = _unpaired(*rows) if pair is None else _paired(rows, pair, name)
            found.append({"experiment": name, "disjoint": twin, "tested": tested, **said})
    return found


def earlier_twins(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, str]:
    """Experiments that had a price before, and their twins: those of which all runs are as they were.

    Args:
        before, now: results.json of an earlier call, None where there is none; and of this one.
    """
    if before is None:
        return {}
    runs = [{entry["name"]: json.dumps(entry["runs"]) for entry in each["experiments"]} for each in (before, now)]
    same = {name for name in runs[0].keys() & runs[1].keys() if runs[0][name] == runs[1][name]}
    pairs = [(each["experiment"], each["disjoint"]) for each in before.get("price", [])]
    return {name: twin for name, twin in pairs if {name, twin} <= same}


def _pair(pairs: list, name: str, twin: str) -> dict[str, Any] | None:
    return next((pair for pair in pairs if {pair["first"], pair["second"]} == {name, twin}), None)


def _paired(rows: tuple[PooledRows, PooledRows], pair: dict[str, Any], name: str) -> dict[str, Any]:
    found, sign = pair["uar"], 1 if pair["first"] == name else -1
    bounds = None if found["ci95"] is None else sorted(sign * bound for bound in found["ci95"])
    return {
        "uar": [_resampled(each).estimate[_UAR].item() for each in rows],
        "difference": sign * found["difference"],
        "ci95": bounds,
        "paired": True,
        "units": found["ci_units"],
    }


def _unpaired(first: PooledRows, second: PooledRows) -> dict[str, Any]:
    sides = [_resampled(first), _resampled(second)]
    errors = [standard_error(side.values - side.estimate[..., None, :], side.scale)[_UAR] for side in sides]
    difference = float(sides[0].estimate[_UAR] - sides[1].estimate[_UAR])
    half = max(float(t_quantile(side)[0]) for side in sides) * float(np.hypot(*errors))
    return {
        "uar": [float(side.estimate[_UAR]) for side in sides],
        "difference": difference,
        "ci95": None if np.isnan(half) else [max(difference - half, -1.0), min(difference + half, 1.0)],
        "paired": False,
        "units": "rows" if any(side.units == "rows" for side in sides) else "speakers",
    }


_UAR = SCALARS.index("uar")


def _resampled(rows: PooledRows):
    return resample(rows.references, rows.predictions[rows.complete], rows.speakers, len(rows.labels))


__all__ = ["earlier_twins", "prices"]
