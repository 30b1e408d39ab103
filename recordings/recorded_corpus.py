"""A corpus of recordings: whatever extraction reads, in the one schema, with samples in place of voice features."""

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from ..corpora.corpus import Corpus
from ..corpora.loading import corpus_of
from ..corpora.places import NotThere
from ..corpora.raw_columns import RawColumns
from ..corpora.reading import raw_of_table
from ..corpora.spec import CorpusSpec
from ..corpora.synthetic import Generator
from ..corpora.synthetic import generate
from ..errors import InputError
from ..features.sequences import Sequences
from .audformat_databases import is_database
from .data_sets import DataSet
from .data_sets import read_hub
from .recordings import Recordings
from .recordings import read_input
from .recordings import recordings_of
from .waveform_store import WaveformStore

EXTRACTOR = "none: the recordings themselves"
"""What made the features, of a corpus that has none."""

_MOST_NAMED = 3


def load_recorded_corpus(
    spec: CorpusSpec, modalities: Iterable[str] = (), store_dir: str | Path | None = None, dtype: str = "int16"
) -> Corpus:
    """Finds the recordings that `spec` describes, decodes those that are not decoded yet, and brings what is said of
    them into the schema: by the same columns, label map, sessions and checks as a corpus of features.

    Recordings lie where the spec's `path` says, else its generator makes them, else the Hub has them (`hub_id_audio`,
    or `hub_id` where there is no such).

    Args:
        modalities: of the user's own, registered, to read as well, by name.
        store_dir: where the samples are kept; by default in the Hub's cache folder.
        dtype: of the samples there, `int16` or `float32`.

    Raises:
        InputError: nothing there (`NotThere`), no recordings; recordings that can't be read, by row and reason; what
            `load_corpus` raises.
    """
    recordings = _found(spec)
    store = WaveformStore(store_dir, dtype)
    spec = replace(
        spec,
        required=[role for role in spec.required if role != "features"],
        audio_dim=None,
        speech_encoder=None,
        extractor=EXTRACTOR,
    )
    raw = raw_of_table(spec, recordings.told, recordings.name, modalities, recordings.found)
    return corpus_of(spec, raw, modalities, lambda columns: _voices(spec, columns, recordings, store))


def holds_recordings(spec: CorpusSpec) -> bool:
    """Whether what the spec says where it lies are recordings alone: a release folder, a database in audformat, a
    data set or a generator of sounds."""
    if spec.path is None:
        return "tones" == (spec.generator or {}).get("kind") or (spec.generator is None and spec.hub_id is None)
    path = Path(os.path.expanduser(spec.path))
    if not path.is_dir():
        return False
    from ..corpora.releases.release_folders import holds_release
    from ..corpora.releases.release_folders import release_kind

    known = bool(spec.release) and holds_release(path, spec.release)
    return known or release_kind(path) is not None or is_database(path)


def _found(spec: CorpusSpec) -> Recordings:
    hub_id = spec.hub_id_audio or spec.hub_id
    try:
        if spec.path is not None:
            if not os.path.exists(os.path.expanduser(spec.path)):
                raise NotThere(f"there is no {spec.path}; give a folder or a file with recordings")
            return read_input(spec.path, spec.split, spec.release)
        if spec.generator is not None:
            return _generated(spec)
        if hub_id is None:
            raise InputError(f"nothing says where its recordings lie; give a path, or --corpus {spec.name}=PATH")
        return recordings_of(_of_hub(spec, hub_id), None, f"data set {hub_id}")
    except InputError as error:
        raise type(error)(f"corpus {spec.name}: {error}") from error.__cause__


def _of_hub(spec: CorpusSpec, hub_id: str) -> DataSet:
    try:
        return read_hub(hub_id, spec.split, spec.revision)
    except InputError as error:
        raise NotThere(
            f"{error}; check the connection and your access to it, or point to a local copy with "
            f"--corpus {spec.name}=PATH"
        ) from error.__cause__


def _generated(spec: CorpusSpec) -> Recordings:
    """The rows of a generator that makes sounds: a column `audio` of files in memory, as `datasets` stores them."""
    table = generate(Generator.from_dict(spec.name, spec.generator))
    if "audio" not in table.column_names:
        raise InputError(
            "it is generated without recordings: set voice_input to features, or take a generator of sounds, as "
            '{"kind": "tones"}'
        )
    audio = datasets.Dataset(pa.table({"audio": table["audio"]})).with_format("arrow")
    return recordings_of(DataSet(table.drop_columns(["audio"]), audio, [], table.column_names), None, "the generator")


def _voices(
    spec: CorpusSpec, columns: RawColumns, recordings: Recordings, store: WaveformStore
) -> tuple[Sequences, np.ndarray]:
    """The samples of the rows that stay, and the keys of their recordings. Rows whose recording is missing or can't be
    read don't stay where the recipe leaves out those without; else what can't be read is refused, and what is missing
    is a row without voice."""
    rows = np.flatnonzero(columns.kept)
    stored = store.waveforms(recordings, rows.tolist())
    failed = {int(rows[place]): reason for place, reason in stored.failed.items()}
    length, keys = np.zeros(columns.rows, np.int64), np.zeros((columns.rows, 16), np.uint8)
    part, start = np.zeros(columns.rows, np.int32), np.zeros(columns.rows, np.int64)
    part[rows], start[rows], length[rows] = stored.samples.part, stored.samples.start, stored.samples.length
    keys[rows] = stored.keys
    audio = Sequences(stored.samples.parts, part, start, length)
    if "features" in spec.leave_out:
        _leave_out(spec, columns, audio, recordings, failed)
    elif failed:
        raise InputError(
            f"corpus {spec.name}: {len(failed)} of {len(rows)} recordings can't be read: "
            f"{_shown(columns, recordings, failed)}; mend them, or leave such rows out: "
            f'"leave_out": {json.dumps({"features": [None]})} in the corpus'
        )
    if not audio.length.any():
        raise InputError(f"corpus {spec.name}: no row of {columns.raw.source} has a recording")
    return audio, keys


def _leave_out(
    spec: CorpusSpec, columns: RawColumns, audio: Sequences, recordings: Recordings, failed: dict[int, str]
) -> None:
    silent = columns.kept & (audio.length == 0)
    columns.kept &= ~silent
    told = f"{silent.sum()} of {columns.rows} rows left out by leave_out: without a recording"
    if failed:
        told += f" that can be read ({_shown(columns, recordings, failed)})"
    columns.notes.append(told)
    if not columns.kept.any():
        raise InputError(f"corpus {spec.name}: empty: {told}")


def _shown(columns: RawColumns, recordings: Recordings, failed: dict[int, str]) -> str:
    """The first of the rows that failed, by id and place, with their reasons."""
    named = [
        f"row {columns.ids[row].as_py()!r} ({recordings.shown(row)}): {reason}"
        for row, reason in [*failed.items()][:_MOST_NAMED]
    ]
    more = f"; and {len(failed) - _MOST_NAMED} more" if len(failed) > _MOST_NAMED else ""
    return "; ".join(named) + more


__all__ = ["EXTRACTOR", "holds_recordings", "load_recorded_corpus"]
