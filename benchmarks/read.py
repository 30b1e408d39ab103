"""How long a batch of frames takes from disk to a tensor, against numpy on the same map.

    python benchmarks/read.py [--rows 1000] [--rounds 7] [--json]

Rows of 200 frames x 768 in float16: `store`, as states of an encoder lie in the store; `corpus`, as features lie in
a corpus that `save_to_disk` wrote. What is timed is an epoch of batches of 64 rows in an order of chance, each made
one padded float32 tensor: by EmotionRows and the collator, as the Trainer reads them, and by hand, where each row is
copied from the same memory map into an array. All pages are in the system's cache. The two take turns; medians.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from measuring import Benchmark
from measuring import in_turn
from measuring import medians
from measuring import parser
from measuring import ratio
from measuring import seconds_of

from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.data_collator import EmoMMDataCollator
from emomm.experiments.emotion_rows import EmotionRows
from emomm.features.mapped_store import MappedStore
from emomm.features.mapped_store import StoreWords
from emomm.features.sequences import Sequences

FRAMES, WIDTH, BATCH = 200, 768, 64


def values_of(rows: int) -> Iterator[np.ndarray]:
    """(frames, width) float16 of each row."""
    random = np.random.default_rng(0)
    for _ in range(rows):
        yield random.standard_normal((FRAMES, WIDTH), dtype=np.float32).astype(np.float16)


def from_store(folder: Path, rows: int) -> Sequences:
    """As states of an encoder are kept."""
    keys = [row.to_bytes(16, "little") for row in range(rows)]
    store = MappedStore(folder, StoreWords("made states", "they are made again"))
    return store.rows(keys, lambda missing: zip(missing, values_of(len(missing)), strict=True))


def from_corpus(folder: Path, rows: int) -> Sequences:
    """As features of a corpus are read."""
    import pyarrow as pa
    from datasets import Dataset

    frames = pa.array(np.concatenate([*values_of(rows)]).reshape(-1))
    listed = pa.ListArray.from_arrays(
        pa.array(np.arange(rows + 1, dtype=np.int32) * FRAMES), pa.FixedSizeListArray.from_arrays(frames, WIDTH)
    )
    names = [str(row) for row in range(rows)]
    columns = {
        "utterance_id": names,
        "speaker": [str(row % 10) for row in range(rows)],
        "session": [str(row % 5) for row in range(rows)],
        "label": [("neutral", "happy", "sad", "anger")[row % 4] for row in range(rows)],
        "transcript": names,
        "audio_features": listed,
    }
    Dataset(pa.table(columns)).save_to_disk(str(folder))
    return load_corpus(CorpusSpec("made", path=str(folder))).audio


def by_rows(rows: EmotionRows, order: np.ndarray) -> None:
    """As the Trainer reads."""
    collator = EmoMMDataCollator()
    for start in range(0, len(order), BATCH):
        collator([rows[row] for row in order[start : start + BATCH].tolist()])


def by_hand(sequences: Sequences, order: np.ndarray) -> None:
    """By numpy alone."""
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH].tolist()
        batch = np.empty((len(chosen), FRAMES, WIDTH), np.float32)
        for place, row in enumerate(chosen):
            first = sequences.start[row]
            batch[place] = sequences.parts[sequences.part[row]][first : first + FRAMES]
        torch.from_numpy(batch)


def measured(sequences: Sequences, rounds: int) -> dict[str, float]:
    """Milliseconds a batch of both ways, and their ratio."""
    rows = EmotionRows(audio=sequences, labels=np.arange(len(sequences)) % 4)
    order = np.random.default_rng(1).permutation(len(sequences))
    ways = {
        "rows": lambda: seconds_of(lambda: by_rows(rows, order)),
        "numpy": lambda: seconds_of(lambda: by_hand(sequences, order)),
    }
    found, batches = in_turn(ways, rounds, warm=1), -(-len(sequences) // BATCH)
    times = {f"{way} (ms a batch)": 1000 * seconds / batches for way, seconds in medians(found).items()}
    return {**times, "rows / numpy": ratio(found, "rows", "numpy")}


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--rows", type=int, default=1000, help="of 300 kB each")
    given = options.parse_args()
    with Benchmark(__file__, given) as figures:
        for case, made in (("store", from_store), ("corpus", from_corpus)):
            with tempfile.TemporaryDirectory() as folder:
                figures.add(case, **measured(made(Path(folder) / "made", given.rows), given.rounds))


if __name__ == "__main__":
    main()
