"""Where a corpus lies: the Hub, a folder, a file, an emotion2vec triple or a generator -> its columns by role, raw."""

import os
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any
from typing import TypeVar

import datasets
import pyarrow as pa
from huggingface_hub import hf_hub_download

from ..errors import InputError
from ..features.sequences import Sequences
from ..modalities import own_modalities
from ..speech_features import SIDECAR
from ..speech_features import SpeechFeatures
from .builtin import DEFAULT_COLUMNS
from .copies import Copies
from .extraction_state import refuse_unfinished
from .folders import walked
from .hub_copies import take_data_set
from .hub_data_sets import HubAnswer
from .hub_data_sets import ask_hub
from .hub_data_sets import not_there
from .kept_corpora import Sources
from .mapped_features import mapped_column
from .names import same_column
from .names import spelled
from .names import spelling
from .places import NotThere
from .places import data_files
from .places import is_saved
from .places import parsed_json
from .places import saved_folder
from .places import triple_prefix
from .releases.release_folders import holds_release
from .releases.release_folders import read_release
from .spec import CorpusSpec
from .synthetic import Generator
from .synthetic import generate
from .tables import DataFile
from .tables import named
from .tables import open_data_file
from .triples import read_triple

# Roles whose values are never read as class numbers.
_NUMBERS = {"features", "audio", "valence", "arousal", "dominance", "difficulty", "curriculum_order"}
_GENDER = ("gender", "sex")
# Endings of data with features, in lower case as we write them.
_DATA = (".parquet", ".arrow", ".npy")

Read = TypeVar("Read")


@dataclass(frozen=True)
class RawCorpus:
    """What was found, not yet in the schema.

    Args:
        pieces: the columns that the corpus' spec asks for, by role or (of `leave_out`) by name; a table for each file,
            since files may differ in their types and columns. ClassLabels are names, not numbers.
        names: role or name -> what its column is called there.
        there: the names of all columns there, for messages.
        source: where it came from, for messages.
        audio: the features, where they don't lie in the tables.
        notes: what was passed over, in words.
        speech_encoder: what made the features, where the data say.
        classes: the names of the data set's own class numbers in the label column, where it has one list of them.
        recordings: the feature of the column of recordings, where `datasets` says one.
    """

    pieces: list[pa.Table]
    names: dict[str, str]
    there: list[str]
    source: str
    audio: Sequences | None = None
    notes: list[str] = field(default_factory=list)
    speech_encoder: dict[str, Any] | None = None
    classes: list[str] | None = None
    recordings: Any = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(piece.num_rows for piece in self.pieces)

    def column(self, role: str) -> list[pa.ChunkedArray] | None:
        """The column of a role (or name), in a piece for each file, null where a file lacks it; None where all do."""
        if role not in self.names:
            return None
        return [
            piece.column(role) if role in piece.column_names else pa.chunked_array([pa.nulls(piece.num_rows)])
            for piece in self.pieces
        ]


@dataclass(frozen=True)
class Extra:
    """What is read besides the usual roles.

    Args:
        columns: by name.
        modalities: of the user's own, by name.
    """

    columns: list[str]
    modalities: list[str]


def read_raw(
    spec: CorpusSpec,
    with_recordings: bool = False,
    also: Iterable[str] = (),
    modalities: Iterable[str] = (),
    copies: Copies | None = None,
    answer: HubAnswer | None = None,
) -> RawCorpus:
    """Reads the corpus from where `spec` says it lies: its path, else its generator, else the Hub.

    Args:
        also: further columns to read, by name.
        modalities: of the user's own, to read as well, by name.
        copies: from which features of data files are mapped, and where they are made; None: they are read.
        answer: the Hub's; None: it is asked.

    Raises:
        InputError: nothing there, not reachable (`NotThere`) or not readable.
    """
    extra = Extra([*spec.leave_out, *also], list(modalities))
    if spec.path is not None:
        return _read_local(spec, Path(os.path.expanduser(spec.path)), extra, copies)
    if spec.generator is not None:
        table = generate(Generator.from_dict(spec.name, spec.generator))
        return _joined(spec, [DataFile("the generator", table.column_names, table.select)], "the generator", extra)
    return _read_hub(spec, with_recordings, extra, copies, answer)


def raw_of_table(
    spec: CorpusSpec, table: pa.Table, source: str, modalities: Iterable[str] = (), notes: Iterable[str] = ()
) -> RawCorpus:
    """The columns that the spec asks for of a table that is there already; of recordings none.

    Args:
        source: where it came from, for messages.
        modalities: as in `read_raw`.
        notes: what is to be said of it.
    """
    extra = Extra(list(spec.leave_out), list(modalities))
    raw = _joined(spec, [DataFile(source, table.column_names, table.select)], source, extra, notes)
    if "audio" not in spec.leave_out:
        raw.names.pop("audio", None)
    return raw


def read_genders(spec: CorpusSpec) -> dict[str, str]:
    """The gender of each speaker, {speaker as in the schema: what the corpus says}; {} where it says nothing.

    From a column `gender` or `sex` beside the speaker's. Speakers for whom it isn't one and the same are left out.

    Raises:
        InputError: as `read_raw`.
    """
    copies = Copies() if is_of_hub(spec) else None  # where a large one lies already
    raw = read_raw(spec, also=_GENDER, copies=copies)
    gender = next((raw.column(name) for name in _GENDER if name in raw.names), None)
    speakers = raw.column("speaker")
    if speakers is None or gender is None:
        return {}
    found: dict[str, set[str | None]] = {}
    for people, said in zip(speakers, gender, strict=True):
        for person, what in zip(spelled(people).to_pylist(), spelled(said).to_pylist(), strict=True):
            found.setdefault(f"{spec.speakers_of}/{person}", set()).add(what)
    return {name: str(said.copy().pop()) for name, said in found.items() if len(said) == 1 and None not in said}


def _read_hub(
    spec: CorpusSpec, with_recordings: bool, extra: Extra, copies: Copies | None, answer: HubAnswer | None
) -> RawCorpus:
    hub_id = spec.hub_id_audio if with_recordings else spec.hub_id
    if hub_id is None:
        raise InputError(
            f"corpus {spec.name}: nothing says where it lies; give a path, a hub_id, or --corpus {spec.name}=PATH"
        )
    source = f"data set {hub_id}"
    answer = ask_hub(spec, hub_id, copies) if answer is None else answer
    large = answer.data_set if copies is not None and answer.data_set is not None and answer.data_set.large else None
    if large is not None:
        file = take_data_set(large, spec, extra.modalities, lambda there: _columns(spec, there, extra), copies)
        if file is not None:
            described = _made_by(spec, f"{SIDECAR} of {source}", large.sidecar)
            return _joined(spec, [file], source, extra, speech_encoder=described)
    try:
        if answer.builder is None:
            loaded = datasets.load_dataset(hub_id, revision=spec.revision, split=spec.split)
        else:
            answer.builder.download_and_prepare()
            loaded = answer.builder.as_dataset(split=spec.split)
    except Exception as error:
        raise not_there(spec, hub_id, error) from error
    try:
        sidecar = hf_hub_download(hub_id, SIDECAR, repo_type="dataset", revision=spec.revision)
    except (OSError, ValueError):  # most data sets have none; huggingface_hub's errors are these two
        sidecar = ""
    described = _described(spec, Path(sidecar)) if sidecar else None
    file = DataFile(source, loaded.column_names, loaded.data.table.select, loaded.features.to_dict())
    return _joined(spec, [file], source, extra, speech_encoder=described)


def _described(spec: CorpusSpec, file: Path) -> dict[str, Any] | None:
    """What made the features, from the file beside them that `extract_features.py` writes."""
    if not os.path.isfile(file):
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"corpus {spec.name}: cannot read {file}: {error}") from error
    return _made_by(spec, str(file), text)


def _made_by(spec: CorpusSpec, source: str, text: str | None) -> dict[str, Any] | None:
    """What made the features, as the text of that file says it; None where there is none."""
    if text is None:
        return None
    try:
        return SpeechFeatures.from_dict(parsed_json(text)).to_dict()
    except (ValueError, TypeError, AttributeError) as error:  # the latter two: JSON of another shape
        raise InputError(f"corpus {spec.name}: cannot read {source}: {error}") from error


def is_of_hub(spec: CorpusSpec) -> bool:
    """Whether the corpus is read from the Hub, and has a name there."""
    return spec.path is None and spec.generator is None and spec.hub_id is not None


def sources_of(spec: CorpusSpec) -> Sources | None:
    """The files that `read_raw` would read of data files; None of what else a corpus may be, or where they can't be
    told."""
    path = None if spec.path is None else Path(os.path.expanduser(spec.path))
    if path is None or triple_prefix(spec, path) is not None or not os.path.exists(path) or spec.release:
        return None
    if os.path.isdir(path) and is_saved(path):
        return None
    try:
        refuse_unfinished(path, (), spec.name)
        files, notes = data_files(spec, path)
        refuse_unfinished(path, files, spec.name)
    except InputError:  # said by who reads it
        return None
    sidecar = (path if os.path.isdir(path) else path.parent) / SIDECAR
    return Sources([*files, *([sidecar] if os.path.isfile(sidecar) else [])], notes)


def _read_local(spec: CorpusSpec, path: Path, extra: Extra, copies: Copies | None = None) -> RawCorpus:
    prefix = triple_prefix(spec, path)
    if prefix is not None:
        triple = read_triple(spec, prefix)
        table = pa.table(triple.columns)
        return RawCorpus(
            [table], {role: role for role in triple.columns}, list(triple.columns), triple.source, triple.audio,
            list(triple.notes),
        )  # fmt: skip
    if not os.path.exists(path):
        raise NotThere(f"corpus {spec.name}: there is no {path}; give a folder, a file, or an emotion2vec prefix")
    if os.path.isdir(path) and is_saved(path):
        saved = saved_folder(spec, path)
        opened = [_guarded(spec, file, lambda file=file: open_data_file(file, saved.features)) for file in saved.files]
        return _joined(spec, opened, str(path), extra)
    if spec.release and _is_release(spec, path):
        return _read_release(spec, path, extra)
    refuse_unfinished(path, (), spec.name)  # also where there are no rows yet
    files, notes = data_files(spec, path)
    refuse_unfinished(path, files, spec.name)
    opened = [_guarded(spec, file, lambda file=file: open_data_file(file)) for file in files]
    described = _described(spec, (path if os.path.isdir(path) else path.parent) / SIDECAR)
    return _joined(spec, opened, str(path), extra, notes, described, copies)


def _is_release(spec: CorpusSpec, path: Path) -> bool:
    """Whether a place is the corpus' release folder, and no data of it: those have features."""
    if not os.path.isdir(path) or any(name.endswith(_DATA) for _, names in walked(path) for name in names):
        return False
    return holds_release(path, spec.release)


def _read_release(spec: CorpusSpec, path: Path, extra: Extra) -> RawCorpus:
    """What a release folder says of its recordings, for models that read words alone."""
    release = read_release(path, spec.release)
    table = pa.Table.from_pylist([{name: row[name] for name in row if name != "path"} for row in release.rows])
    file = DataFile(str(path), table.column_names, table.select)
    unheard = "it is a release folder, of which voice_input: recording takes the recordings; here they are passed over"
    return _joined(spec, [file], str(path), extra, [unheard, *release.notes])


def _guarded(spec: CorpusSpec, path: Path | str, read: Callable[[], Read]) -> Read:
    try:
        return read()
    except InputError:
        raise
    except Exception as error:  # of damaged files, Arrow and the codecs below it raise whatever they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"corpus {spec.name}: cannot read {path}: {reason}") from error


def _joined(
    spec: CorpusSpec,
    files: list[DataFile],
    source: str,
    extra: Extra,
    notes: Iterable[str] = (),
    speech_encoder: dict[str, Any] | None = None,
    copies: Copies | None = None,
) -> RawCorpus:
    """The columns of all files that the spec asks for. Each file is read by what it says of itself."""
    pieces: list[pa.Table] = []
    names: dict[str, str] = {}
    recordings = None
    numbering = _Numbering(spec)
    for file in files:
        wanted = _columns(spec, file.columns, extra)
        if wanted:
            piece = _guarded(spec, file.source, partial(_piece, file, wanted, numbering, copies))
            pieces.append(piece)
        elif len(files) > 1:
            raise InputError(
                f"corpus {spec.name}: {file.source} has no column of the corpus; columns there: "
                f'{", ".join(file.columns)}; move it away, or name its columns in the corpus\' "columns"'
            )
        names = {**wanted, **names}
        recordings = recordings or file.features.get(wanted.get("audio", ""))
    there = list(dict.fromkeys(name for file in files for name in file.columns))
    notes = [*notes, *(note for file in files for note in file.notes)]
    return RawCorpus(pieces, names, there, source, None, notes, speech_encoder, numbering.classes(), recordings)


def _piece(file: DataFile, wanted: dict[str, str], numbering: "_Numbering", copies: Copies | None = None) -> pa.Table:
    """The columns of one file by role or name, with names in place of class numbers."""
    vectors = ("features", *own_modalities()) if copies is not None else ()
    mapped = {role: mapped_column(file, wanted[role], copies) for role in vectors if role in wanted}
    mapped = {role: column for role, column in mapped.items() if column is not None}
    table = file.table(list(dict.fromkeys(name for role, name in wanted.items() if role not in mapped)))
    columns = {role: mapped[role] if role in mapped else table.column(name) for role, name in wanted.items()}
    for role in (role for role in wanted if role not in {*_NUMBERS, *own_modalities()}):
        columns[role] = numbering.by_name(role, columns[role], file.class_names(wanted[role]), file.source)
    return pa.table(columns)


def _columns(spec: CorpusSpec, there: list[str], extra: Extra) -> dict[str, str]:
    """Role, or name that is asked for besides, -> which of the columns there it is: by its spelling first, then
    whatever its case."""
    by_spelling = {spelling(name): name for name in reversed(there)}
    by_letters = {same_column(name): name for name in reversed(there)}
    sought = {role: spec.candidates(role) for role in (*DEFAULT_COLUMNS, *extra.modalities)}
    sought |= {name: [name] for name in extra.columns if name not in sought}
    found = {}
    for role, candidates in sought.items():
        names = [by_spelling.get(spelling(name)) for name in candidates]
        names += [by_letters.get(same_column(name)) for name in candidates]
        found[role] = next((name for name in names if name is not None), None)
    return {role: name for role, name in found.items() if name is not None}


class _Numbering:
    """Class numbers -> names, file by file: what 0 means is each file's own, and one may call it otherwise."""

    def __init__(self, spec: CorpusSpec):
        self.spec = spec
        self._sources: dict[str, dict[bool, str]] = {}  # role -> whether its numbers have names -> the first such file
        self._labels: list[list[str] | None] = []

    def by_name(self, role: str, column: pa.ChunkedArray, classes: list[str] | None, source: str) -> pa.ChunkedArray:
        """The column with names in place of its numbers, where the file says them.

        Raises:
            InputError: another file of the corpus says them, and this one doesn't, or the other way round.
            ValueError: a number that has no name.
        """
        numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if role == "label" and len(column):
            self._labels.append(classes if numeric else None)
        if not numeric or column.null_count == len(column):
            return column
        sources = self._sources.setdefault(role, {})
        sources.setdefault(classes is not None, source)
        if len(sources) == 2:
            raise InputError(
                f"corpus {self.spec.name}: {role}: {sources[True]} says the names of its class numbers, "
                f"{sources[False]} has numbers alone, and whether they mean the same can't be told; save all files "
                "with the names, or all as text"
            )
        return column if classes is None else named(column, classes)

    def classes(self) -> list[str] | None:
        """The names of the label column's numbers, where all files have the same."""
        first = self._labels[0] if self._labels else None
        return first if all(each == first for each in self._labels) else None


__all__ = ["RawCorpus", "is_of_hub", "raw_of_table", "read_genders", "read_raw", "sources_of"]
