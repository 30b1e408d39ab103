"""The rows of a corpus in the schema as a `datasets.Dataset`, sharing the memory of what was read."""

from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from ..features.sequences import Sequences
from ..modalities import get_modality
from .arrow_features import features_column
from .spec import CorpusSpec

RATINGS = ("valence", "arousal", "dominance")


def as_dataset(
    spec: CorpusSpec,
    texts: dict[str, pa.Array],
    label_ids: np.ndarray,
    vectors: dict[str, Sequences],
    vad: np.ndarray,
    extra: dict[str, np.ndarray | None],
    recordings: tuple[pa.ChunkedArray, Any] | None = None,
) -> datasets.Dataset:
    """The rows as a data set.

    Args:
        spec: of the corpus.
        texts: utterance_id, speaker, session and transcript.
        label_ids: (n,) class numbers, -1 where there is none.
        vectors: by modality.
        vad: (n, 3).
        extra: further columns of numbers; None is none.
        recordings: the column of recordings, and its feature.
    """
    columns: dict[str, Any] = {
        "utterance_id": texts["utterance_id"],
        "corpus": pa.array([spec.name]).take(pa.array(np.zeros(len(label_ids), np.int32))),
        "speaker": texts["speaker"],
        "session": texts["session"],
        "label": pa.array(label_ids, mask=label_ids < 0),
        "transcript": texts["transcript"],
        **{get_modality(name).features: features_column(found) for name, found in vectors.items()},
        **{role: pa.array(vad[:, i]) for i, role in enumerate(RATINGS)},
        **{role: pa.array(values) for role, values in extra.items() if values is not None},
    }
    features = datasets.Features.from_arrow_schema(pa.table(columns).schema)
    features["label"] = datasets.ClassLabel(names=spec.labels)
    if recordings is not None:
        columns["audio"], features["audio"] = recordings
    # With a fingerprint of its own: to make one, `datasets` would pickle the whole table.
    return datasets.Dataset(
        pa.table(columns),
        info=datasets.DatasetInfo(features=features),
        fingerprint=datasets.fingerprint.generate_random_fingerprint(),
    )


__all__ = ["RATINGS", "as_dataset"]
