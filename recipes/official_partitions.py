"""The partitions that a corpus is published with, as its column of sessions names them, such as MSP-Podcast's."""

import numpy as np

from emomm.evaluation.protocols import ProtocolRows
from emomm.evaluation.protocols import Split
from emomm.evaluation.protocols import register_protocol

TRAIN = ("train", "training")
DEVELOPMENT = ("development", "dev", "validation", "valid")


@register_protocol("official_partitions", shares_speakers=True)
def official_partitions(rows: ProtocolRows) -> list[Split]:
    """Trained on the corpus' own training rows, chosen on its development rows, tested on each of its test partitions.

    The sessions are the partitions: whatever is neither training nor development is tested, each by itself.
    """
    names = np.char.lower(np.asarray(rows.sessions, dtype=str))
    train, development = np.isin(names, TRAIN), np.isin(names, DEVELOPMENT)
    if not train.any() or not development.any():
        found = ", ".join(sorted(set(rows.sessions.tolist()))[:8])
        raise ValueError(f"the sessions must be Train, Development and test partitions; they are {found}")
    tested = sorted(set(names[~train & ~development].tolist()))
    return [
        Split(f"{name}", np.flatnonzero(train), np.flatnonzero(names == name), np.flatnonzero(development))
        for name in tested
    ]
