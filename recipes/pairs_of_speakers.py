"""Leave two speakers out, for a corpus that comes without sessions, such as EmoDB: ten speakers make five folds."""

import numpy as np

from emomm.evaluation.protocols import ProtocolRows
from emomm.evaluation.protocols import Split
from emomm.evaluation.protocols import register_protocol


@register_protocol("pairs_of_speakers")
def pairs_of_speakers(rows: ProtocolRows) -> list[Split]:
    """Two speakers are tested, in the order of their names, the next two choose the epoch, and the others are trained
    on.
    """
    names, speaker = rows.coded_speakers
    pair = np.where(rows.may_train, speaker // 2, -1)
    pairs = np.unique(pair[rows.may_train])
    if len(pairs) < 3:
        raise ValueError(
            f"three pairs of speakers are needed, to train, to choose and to test; there are {len(names)}"
        )
    splits = []
    for place, tested in enumerate(pairs):
        chosen = pairs[(place + 1) % len(pairs)]
        train = rows.may_train & (pair != tested) & (pair != chosen)
        splits.append(Split(f"pair-{place + 1}", train, pair == tested, pair == chosen))
    return splits
