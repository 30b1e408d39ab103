"""An audit: every check put together, problems first."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from . import content
from . import parts
from .audited import Audit
from .audited import AuditedFold
from .audited import AuditedRows
from .audited import Finding
from .near_duplicates import close_rows
from .parts import SameContent
from .shortcuts import Probe
from .shortcuts import probes


def audit(name: str, rows: AuditedRows, folds: Sequence[AuditedFold], brief: bool = False) -> Audit:
    """What the rows and folds give away.

    Args:
        folds: none for a corpus alone.
        brief: leaves out what takes seconds: near-duplicates, probes, silence and clipping.
    """
    close = None if brief or rows.audio is None else close_rows(rows.audio, rows.recorded)
    found: list[Finding] = []
    if close is not None and close.threshold is None:
        text = "near-duplicates were not looked for: the features have too few dimensions to tell them from chance"
        found.append(Finding("near-duplicates", text, problem=False))
        close = None
    same = SameContent(rows.recordings, None if close is None else close.numbers)
    pairs, counts = parts.pair_counts(rows, folds, same), parts.part_counts(rows, folds)
    speakers = content.speaker_counts(rows)
    found += parts.findings(rows, folds, same, pairs, counts) if folds else _whole_classes(rows)
    found += content.findings(rows, same, speakers)
    told: list[Probe] = [] if brief else probes(rows)
    found += [_shortcut(probe) for probe in told if probe.tells]
    found += [] if brief else content.sound_findings(rows)
    found.sort(key=lambda finding: not finding.problem)
    told_from = [asdict(probe) for probe in told]
    return Audit(name, len(rows), found, pairs, counts, speakers, told_from, content.class_lengths(rows))


def _whole_classes(rows: AuditedRows) -> list[Finding]:
    counts = np.bincount(rows.labels, minlength=len(rows.label_names))
    few = [f"{count} of {name}" for name, count in zip(rows.label_names, counts, strict=True) if count < parts.FEWEST]
    text = f"fewer than {parts.FEWEST} rows of a class: {', '.join(few)}"
    return [Finding("class counts", text, numbers={"classes": len(few)})] if few else []


def _shortcut(probe: Probe) -> Finding:
    what = {"missing": "what is missing of a row", "sentence": "the sentence"}.get(probe.of, f"the {probe.of}")
    return Finding(
        "shortcuts",
        f"{what} alone tells labels: UAR {probe.uar:.3f} ± {probe.error:.3f} on other speakers, chance is "
        f"{probe.chance:.3f}",
        probe.problem,
        {key: value for key, value in asdict(probe).items() if key not in ("tells", "problem")},
    )


__all__ = ["audit"]
