"""Writes data sets in the raw layout of each hub corpus, for tests: the columns, nesting and quirks as published.

Voice features carry the class (so that a model can learn from them), transcripts come from a handful per class.
"""

import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet

# corpus -> speaker column, first speaker number, speakers a session, usual number of sessions
SPEAKERS = {
    "IEMO": ("speaker_id", 1, 2, 5),
    "MSPI": ("speakerID", 947, 2, 6),
    "MSPP": ("SpkrID", 1, 500, 3),
}
RATINGS = {
    "IEMO": ("valence", "arousal", "domination"),
    "MSPI": ("valence", "arousal", "consensus_dominance"),
    "MSPP": ("EmoVal", "EmoAct", "EmoDom"),
}
TRANSCRIPT = {"IEMO": "transcript", "MSPI": "transcript", "MSPP": "text", "CMUMOSEI": "text", "SAMSEMO": "transcript"}
PHRASES = ("I see {}", "well then {}", "and now {}", "they said {}")
SUBJECTS = (("noon", "paper"), ("great", "wonderful"), ("lost", "gone"), ("stop", "never"))


def raw_columns(
    name: str,
    rows: int,
    seed: int = 0,
    audio_dim: int = 768,
    frames: tuple[int, int] | None = None,
    sessions: int | None = None,
    strength: float = 3.0,
    dtype: type = np.float64,
) -> dict:
    """Columns of the raw data set, and under "feats" its features: (lengths, values). Rows go round the speakers."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(rows) % 4)
    columns: dict = {"label": label.tolist()}
    if name in SPEAKERS:
        column, first, size, usual = SPEAKERS[name]
        count = sessions or usual
        voices = np.arange(2 * count)  # two speakers are enough, also where a session may have hundreds
        numbers = first + voices // 2 * size + voices % 2
        columns[column] = numbers[np.arange(rows) % len(numbers)].tolist()
        low, high = (1, 7) if name == "MSPP" else (1, 5)
        centres = np.array([[3.0, 2.5, 3.0], [4.0, 3.8, 3.8], [1.8, 2.2, 2.0], [1.8, 4.2, 4.0]])[label]
        rated = np.clip(centres + rng.normal(0, 0.4, (rows, 3)), 1, 5)
        rated = (rated - 1) * (high - low) / 4 + low
        columns |= {column: rated[:, i].tolist() for i, column in enumerate(RATINGS[name])}
        columns["curriculum_order"] = rng.random(rows).tolist()
    drawn = zip(label, rng.integers(4, size=rows), rng.integers(2, size=rows), strict=True)
    said = [PHRASES[phrase].format(SUBJECTS[k][subject]) for k, phrase, subject in drawn]
    columns[TRANSCRIPT[name]] = said
    lengths = np.ones(rows, np.int64) if frames is None else rng.integers(frames[0], frames[1] + 1, size=rows)
    values = rng.standard_normal((int(lengths.sum()), audio_dim)).astype(dtype)
    values[np.arange(len(values)), np.repeat(label, lengths)] += strength
    columns["feats"] = (lengths, values)
    return columns


def nested_features(lengths: np.ndarray, values: np.ndarray, frame_level: bool) -> pa.Array:
    """`[{"feats": vector}]` a row, or `[{"feats": [vector, ...]}]` where frame level."""
    dim = values.shape[1]
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    vectors = pa.ListArray.from_arrays(
        pa.array(np.arange(len(values) + 1, dtype=np.int32) * dim), pa.array(values.reshape(-1))
    )
    feats = pa.ListArray.from_arrays(pa.array(ends), vectors) if frame_level else vectors
    entries = pa.StructArray.from_arrays(
        [feats, pa.array([f"key-{i}" for i in range(len(lengths))])], ["feats", "key"]
    )
    return pa.ListArray.from_arrays(pa.array(np.arange(len(lengths) + 1, dtype=np.int32)), entries)


def raw_table(name: str, rows: int, seed: int = 0, frames: tuple[int, int] | None = None, **options) -> pa.Table:
    """The raw data set as an Arrow table; options as in `raw_columns`."""
    columns = raw_columns(name, rows, seed, frames=frames, **options)
    columns["emotion2vec_features"] = nested_features(*columns.pop("feats"), frame_level=frames is not None)
    return pa.table(columns)


def write_table(table: pa.Table, path: Path, layout: str) -> Path:
    """Writes a table as "disk" (save_to_disk), "parquet" (a folder of two files), "arrow" or "jsonl"; its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if layout == "disk":
        datasets.Dataset(table).save_to_disk(str(path))
        return path
    if layout == "parquet":
        (path / "data").mkdir(parents=True)
        half = table.num_rows // 2
        for i, part in enumerate((table.slice(0, half), table.slice(half))):
            pa.parquet.write_table(part, path / "data" / f"train-{i:05d}-of-00002.parquet")
        return path
    file = path.with_suffix(f".{layout}")
    if layout == "arrow":
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    elif layout == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))  # to_json rounds numbers
    else:
        raise ValueError(f"layout is {layout!r}; it must be disk, parquet, arrow or jsonl")
    return file


def write_raw(
    name: str,
    folder: Path | str,
    rows: int,
    seed: int = 0,
    audio_dim: int = 768,
    frames: tuple[int, int] | None = None,
    sessions: int | None = None,
    layout: str = "disk",
    **options,
) -> Path:
    """Writes `name` (IEMO, MSPI, MSPP, CMUMOSEI, SAMSEMO) in its raw layout into `folder`; returns its path.

    Args:
        frames: lowest and highest number of frames of a row; None for utterance level.
        sessions: how many (two speakers each; rows go round them); the corpus' usual number by default.
        layout: as in `write_table`.
        options: `strength` of the class in the voice, `dtype` of the features.
    """
    table = raw_table(name, rows, seed, frames, audio_dim=audio_dim, sessions=sessions, **options)
    return write_table(table, Path(folder) / name, layout)


def write_triple(
    folder: Path | str, ids: list[str], labels: list[str], lengths: list[int], seed: int = 0, audio_dim: int = 768
) -> Path:
    """Writes train.npy, train.lengths and train.emo as emotion2vec publishes them; returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).standard_normal((sum(lengths), audio_dim)).astype(np.float32)
    np.save(folder / "train.npy", values)
    (folder / "train.lengths").write_text("".join(f"{n}\n" for n in lengths))
    (folder / "train.emo").write_text("".join(f"{i}\t{label}\n" for i, label in zip(ids, labels, strict=True)))
    return folder


def put(tmp_path, columns, name="own.parquet"):
    """Writes columns as one parquet file; its path."""
    file = tmp_path / name
    pa.parquet.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), file)
    return file


def own_columns(rows=4, **changes):
    """Columns of a corpus in the one schema, 2 speakers and sessions; those given replace or (None) remove."""
    columns = {
        "utterance_id": [f"u{i}" for i in range(rows)],
        "speaker": [f"s{i % 2}" for i in range(rows)],
        "session": [str(i % 2 + 1) for i in range(rows)],
        "label": [("neutral", "happy", "sad", "anger")[i % 4] for i in range(rows)],
        "transcript": [f"words {i}" for i in range(rows)],
        "audio_features": [[float(i), 1.0, 2.0] for i in range(rows)],
    }
    columns |= changes
    return {name: values for name, values in columns.items() if values is not None}
