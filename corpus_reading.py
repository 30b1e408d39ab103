"""Where a corpus lies: the Hub, a folder, a file, an emotion2vec triple or a generator -> one raw Arrow table."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from huggingface_hub import hf_hub_download

from .corpus_specs import DEFAULT_COLUMNS
from .corpus_specs import CorpusSpec
from .errors import InputError
from .hub_access import reach_hub
from .rows import Sequences
from .speech_features import SIDECAR
from .speech_features import SpeechFeatures
from .synthetic import Generator
from .synthetic import generate

TRIPLE = (".npy", ".lengths", ".emo")
# Utterances of IEMOCAP's five sessions in the public emotion2vec features, in this order.
IEMOCAP_SESSION_SIZES = (1085, 1023, 1151, 1031, 1241)
# Ses01F_impro01_F000: session 1, and the last group's letter says which of its two speakers talks.
IEMOCAP_ID = r"^Ses0?(?P<session>\d+)[FM]_.*_(?P<voice>[FM])[^_]*$"
# A line of jsonl with frames is megabytes long, and a block must hold at least one.
JSON_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True)
class RawCorpus:
    """What was found: the table in its own layout, and where it came from, for messages.

    `audio` are the features where they don't lie in the table; `speech_encoder` is what made them, where the data say.
    """

    table: pa.Table
    source: str
    audio: Sequences | None = None
    notes: list[str] = field(default_factory=list)
    speech_encoder: dict[str, Any] | None = None


def read_raw(spec: CorpusSpec, with_recordings: bool = False) -> RawCorpus:
    """Reads the corpus from where `spec` says it lies: its path, else its generator, else the Hub.

    Raises:
        InputError: nothing there, not reachable or not readable.
    """
    if spec.path is not None:
        return _read_local(spec, Path(spec.path).expanduser())
    if spec.generator is not None:
        return RawCorpus(generate(Generator.from_dict(spec.name, spec.generator)), "the generator")
    return _read_hub(spec, with_recordings)


def read_genders(spec: CorpusSpec) -> dict[str, str]:
    """The gender of each speaker, {speaker as in the schema: what the corpus says}; {} where it says nothing.

    From a column `gender` or `sex` beside the speaker's. Speakers for whom it isn't one and the same are left out.

    Raises:
        InputError: as `read_raw`.
    """
    table = read_raw(spec).table
    folded = {name.lower(): name for name in table.column_names}
    speaker = next((folded[name.lower()] for name in spec.candidates("speaker") if name.lower() in folded), None)
    gender = next((folded[name] for name in ("gender", "sex") if name in folded), None)
    if speaker is None or gender is None:
        return {}
    found: dict[str, set[str | None]] = {}
    pairs = pa.table({"speaker": table[speaker].cast(pa.string()), "gender": table[gender].cast(pa.string())})
    for row in pairs.group_by(["speaker", "gender"]).aggregate([]).to_pylist():
        found.setdefault(f"{spec.speakers_of}/{row['speaker']}", set()).add(row["gender"])
    return {name: str(said.copy().pop()) for name, said in found.items() if len(said) == 1 and None not in said}


def _read_hub(spec: CorpusSpec, with_recordings: bool) -> RawCorpus:
    hub_id = spec.hub_id_audio if with_recordings else spec.hub_id
    local = f"--corpus {spec.name}=PATH"
    if hub_id is None:
        raise InputError(f"corpus {spec.name}: nothing says where it lies; give a path, a hub_id, or {local}")
    reach_hub(hub_id)
    try:
        loaded = datasets.load_dataset(hub_id, revision=spec.revision, split=spec.split)
    except Exception as error:  # network, access, cache, disk: the libraries below share no base class
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise InputError(
            f"corpus {spec.name}: data set {hub_id} is not reachable on the Hub ({reason}); check the connection and "
            f"your access to it, or point to a local copy with {local}"
        ) from error
    try:
        sidecar = hf_hub_download(hub_id, SIDECAR, repo_type="dataset", revision=spec.revision)
    except (OSError, ValueError):  # most data sets have none; huggingface_hub's errors are these two
        sidecar = ""
    described = _described(spec, Path(sidecar)) if sidecar else None
    return RawCorpus(loaded.with_format("arrow")[:], f"data set {hub_id}", speech_encoder=described)


def _described(spec: CorpusSpec, file: Path) -> dict[str, Any] | None:
    """What made the features, from the file beside them that `extract_features.py` writes."""
    if not file.is_file():
        return None
    try:
        return SpeechFeatures.from_dict(json.loads(file.read_text(encoding="utf-8"))).to_dict()
    except (OSError, ValueError) as error:
        raise InputError(f"corpus {spec.name}: cannot read {file}: {error}") from error


def _read_local(spec: CorpusSpec, path: Path) -> RawCorpus:
    prefix = _triple_prefix(path)
    if prefix is not None:
        return _read_triple(spec, prefix)
    if not path.exists():
        raise InputError(f"corpus {spec.name}: there is no {path}; give a folder, a file, or an emotion2vec prefix")
    if path.is_dir() and ((path / "state.json").exists() or (path / "dataset_dict.json").exists()):
        return RawCorpus(_guarded(spec, path, lambda: _saved_table(spec, path)), str(path))
    files = _data_files(spec, path)
    tables = [_guarded(spec, file, lambda file=file: READERS[file.suffix.lower()](file)) for file in files]
    joined = _guarded(spec, path, lambda: pa.concat_tables(tables, promote_options="permissive"))
    described = _described(spec, (path if path.is_dir() else path.parent) / SIDECAR)
    return RawCorpus(joined, str(path), speech_encoder=described)


def _guarded(spec: CorpusSpec, path: Path, read: Callable[[], pa.Table]) -> pa.Table:
    try:
        return read()
    except (OSError, ValueError, pa.ArrowException) as error:  # ArrowInvalid and JSON errors are ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"corpus {spec.name}: cannot read {path}: {reason}") from error


def _saved_table(spec: CorpusSpec, path: Path) -> pa.Table:
    saved = datasets.load_from_disk(str(path))
    if isinstance(saved, datasets.DatasetDict):
        if spec.split not in saved:
            raise ValueError(f"no split {spec.split!r}; splits there: {', '.join(saved)}")
        saved = saved[spec.split]
    return saved.with_format("arrow")[:]


def _read_arrow(file: Path) -> pa.Table:
    """An Arrow file, or the stream format that `datasets` writes; memory-mapped."""
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


_SPLITS = r"(train|test|validation|valid|val|dev|development|eval)([^a-z]|$)"
_NAMES_IN_CSV = {
    name: pa.string() for role in ("utterance_id", "speaker", "session", "label") for name in DEFAULT_COLUMNS[role]
}

READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": lambda file: pa.parquet.ParquetFile(file, memory_map=True).read(),
    ".arrow": _read_arrow,
    ".jsonl": lambda file: pa.json.read_json(file, pa.json.ReadOptions(block_size=JSON_BLOCK_BYTES)),
    ".csv": lambda file: pa.csv.read_csv(
        file,
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        # 007 is a name; columns that are not there are passed over
        convert_options=pa.csv.ConvertOptions(column_types=_NAMES_IN_CSV, strings_can_be_null=True),
    ),
}


def _data_files(spec: CorpusSpec, path: Path) -> list[Path]:
    """The file, or the folder's files of the first kind there is; of the split alone where names tell splits."""
    if path.is_file():
        if path.suffix.lower() not in READERS:
            raise InputError(f"corpus {spec.name}: {path} is none of {', '.join(READERS)}")
        return [path]
    for ending in READERS:
        files = sorted(file for file in path.rglob(f"*{ending}") if file.is_file())
        if files:
            return _of_split(spec, path, files)
    raise InputError(
        f"corpus {spec.name}: no data in {path}; expected a save_to_disk folder, files ending in "
        f"{', '.join(READERS)}, or an emotion2vec triple ({', '.join(TRIPLE)})"
    )


def _of_split(spec: CorpusSpec, path: Path, files: list[Path]) -> list[Path]:
    """Those whose name, or a folder they lie in, begins with the split; all where no name tells of splits."""
    parts = {file: [part.lower() for part in file.relative_to(path).parts] for file in files}
    chosen = [file for file in files if any(part.startswith(spec.split.lower()) for part in parts[file])]
    other = sorted({part for file in files for part in parts[file] if re.match(_SPLITS, part)})
    if not chosen and other:
        raise InputError(
            f"corpus {spec.name}: {path} has no split {spec.split!r} (there is {', '.join(other)}); name one of its "
            'splits in the corpus\' "split", or give the file'
        )
    return chosen or files


def _triple_prefix(path: Path) -> Path | None:
    """The common beginning of the three emotion2vec files, where `path` is it, one of them, or their folder."""
    if path.is_dir():
        found = sorted(path.glob("*.lengths"))
        path = found[0].with_suffix("") if len(found) == 1 else path / "train"
    elif path.suffix in TRIPLE:
        path = path.with_suffix("")
    beside = [path.parent / (path.name + ending) for ending in TRIPLE]
    return path if all(file.is_file() for file in beside) else None


def _read_triple(spec: CorpusSpec, prefix: Path) -> RawCorpus:
    """Features as published with emotion2vec: memory-mapped frames, lengths, and `utterance-id<TAB>label` lines."""
    npy, lengths_file, emo = (prefix.parent / (prefix.name + ending) for ending in TRIPLE)
    source = f"{prefix}{{{','.join(TRIPLE)}}}"
    try:
        frames = np.load(npy, mmap_mode="r")
        lengths = np.array(lengths_file.read_text(encoding="utf-8").split(), dtype=np.int64)
        lines = [line.split("\t") for line in emo.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"corpus {spec.name}: cannot read {source}: {error}") from error
    wrong = [line for line in lines if len(line) != 2]
    if wrong:
        raise InputError(f"corpus {spec.name}: {emo}: {wrong[0][0]!r} is no `utterance-id<TAB>label` line")
    if frames.ndim != 2 or len(lengths) != len(lines) or lengths.sum() != len(frames) or (lengths < 0).any():
        raise InputError(
            f"corpus {spec.name}: {source} don't belong together: {frames.shape} frames, {len(lengths)} lengths that "
            f"sum to {lengths.sum()}, {len(lines)} labels"
        )
    if spec.audio_dim is not None and frames.shape[1] != spec.audio_dim:
        where = f"corpus {spec.name}, row {lines[0][0]!r}" if lines else f"corpus {spec.name}"
        raise InputError(f"{where}: features in {npy} are {frames.shape[1]} wide; expected {spec.audio_dim}")
    if frames.dtype not in (np.float16, np.float32):
        frames = frames.astype(np.float32)
    ids = pa.array([line[0] for line in lines], pa.string())
    columns = {"utterance_id": ids, "label": pa.array([line[1].strip() for line in lines], pa.string())}
    columns, notes = _triple_speakers(spec, ids, columns, emo)
    return RawCorpus(_with_usual_names(spec, columns), source, Sequences.from_arrays(frames, lengths), notes)


def _triple_speakers(
    spec: CorpusSpec, ids: pa.Array, columns: dict[str, pa.Array], emo: Path
) -> tuple[dict[str, pa.Array], list[str]]:
    """Adds speaker and session: from the ids, else from IEMOCAP's session sizes."""
    found = pc.extract_regex(ids, IEMOCAP_ID)
    if len(ids) and not found.null_count:
        session = found.field("session")
        return {
            **columns,
            "session": session,
            "speaker": pc.binary_join_element_wise(session, found.field("voice"), ""),
        }, []
    if len(ids) == sum(IEMOCAP_SESSION_SIZES):
        session = pa.array(np.repeat(["1", "2", "3", "4", "5"], IEMOCAP_SESSION_SIZES))
        # Whoever speaks, it is one of the session's two: taking both as one keeps every split by speaker honest.
        speaker = pc.binary_join_element_wise("session", session, "-")
        note = "the ids tell no speakers: each session counts as one (sessions by IEMOCAP's utterance counts)"
        return {**columns, "session": session, "speaker": speaker}, [note]
    if spec.test_only or not len(ids):
        return columns, []
    row = int(np.argmax(found.is_null().to_numpy(zero_copy_only=False)))
    raise InputError(
        f"corpus {spec.name}: {emo}: utterance id {ids[row].as_py()!r} doesn't tell speaker and session as "
        f"'Ses01F_impro01_F000' does, and {len(ids)} utterances are not IEMOCAP's {sum(IEMOCAP_SESSION_SIZES)}; "
        "convert the features to parquet with a speaker and a session column"
    )


def _with_usual_names(spec: CorpusSpec, columns: dict[str, pa.Array]) -> pa.Table:
    """The triple's columns, called what the spec calls them."""
    return pa.table({spec.candidates(role)[0]: column for role, column in columns.items()})
