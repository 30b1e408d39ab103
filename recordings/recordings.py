"""What is to be extracted: a folder of audio, a table with paths, a data set or a release folder, as recordings."""

import hashlib
import json
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from pathlib import PureWindowsPath
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..corpora.folders import ENDINGS as ENDINGS
from ..corpora.folders import VIDEOS as VIDEOS
from ..corpora.releases.release import entries
from ..corpora.releases.release import passed_over
from ..corpora.releases.release import walked
from ..errors import InputError
from .audformat_databases import is_database
from .audformat_databases import read_database
from .data_sets import DataSet
from .data_sets import files_of_split
from .data_sets import read_hub
from .data_sets import read_parquet
from .data_sets import read_saved
from .mapped_pages import release_maps
from .matching import joined
from .table_columns import ABSOLUTE
from .table_columns import schema_columns
from .tables import PATH_COLUMNS
from .tables import TABLES
from .tables import find_column
from .tables import paths_of
from .tables import read_table
from .tables import table_of

SIDECARS = tuple(f"{name}{ending}" for ending in TABLES for name in ("metadata", "manifest"))
"""Tables in a folder of audio that say more of its files, whatever their case; the first that is there."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SCAN_ROWS = 1000


@dataclass(frozen=True, eq=False)
class Recordings:
    """n recordings, not read yet, and what is known of them.

    Args:
        name: of the input, without the way to it.
        columns: a row each: `utterance_id` first, each once; then whatever is known, by the names of the schema.
        places: where each lies, relative to the input where it lies in there, for messages.
        files: where each lies; None where the recordings lie in `dataset`.
        dataset: rows with the single column `audio`, as Arrow.
        base: folder that paths inside of `dataset` are relative to.
        notes: what was found and what is missing, in words.
        found: those of the notes that hold whatever the recordings are for.
        told: the same rows as they were told, by the names of their source; with `utterance_id`, if that was not
            there.
    """

    name: str
    columns: pa.Table
    places: list[str]
    files: list[Path] | None = None
    dataset: datasets.Dataset | None = None
    base: Path = Path()
    notes: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    told: pa.Table | None = None

    def __len__(self) -> int:
        return self.columns.num_rows

    @property
    def ids(self) -> list[str]:
        """Their utterance ids."""
        return self.columns["utterance_id"].to_pylist()

    def digest(self) -> str:
        """A hash of the list: which recordings, and all that is said of them."""
        digest = hashlib.sha256(json.dumps(self.places).encode())
        for name in self.columns.column_names:
            values = self.columns[name].to_pylist()
            digest.update(json.dumps([name, values], default=str).encode())
        return digest.hexdigest()

    def segment(self, row: int) -> tuple[float, float] | None:
        """First and last second (NaN: to the end) of the recording's part in its file; None where it is the whole."""
        start, end = (
            self.columns[name][row].as_py() if name in self.columns.column_names else None for name in ("start", "end")
        )
        start = None if start is None or math.isnan(start) else start
        end = None if end is None or math.isnan(end) or end == math.inf else end
        return None if start is None and end is None else (start or 0.0, math.nan if end is None else end)

    def shown(self, row: int) -> str:
        """Where it lies, for files that others get: of recordings outside of the input the name alone."""
        return _inside(self.places[row])

    def release(self) -> None:
        """Lets go of what was read of a data set on the disk: it counts no longer as memory of this process."""
        if self.dataset is not None:
            release_maps({entry["filename"] for entry in self.dataset.cache_files})

    def lacks(self, row: int) -> bool:
        """Whether nothing says where it lies: its path is empty, its place in the data set null."""
        return not self.places[row] if self.files is not None else not self.source(row)

    def source(self, row: int) -> Path | dict[str, Any]:
        """The recording, for `read_waveform`: a path, or a dictionary with bytes or samples."""
        if self.files is not None:
            return self.files[row]
        value = self.dataset[row]["audio"][0]
        found = {name: value[name] for name in value if value[name].is_valid} if value.is_valid else {}
        if "bytes" in found:
            return {"bytes": memoryview(found["bytes"].as_buffer()), "path": self.shown(row)}
        if "array" in found:
            samples = np.asarray(found["array"].values.to_numpy(zero_copy_only=False))
            rate = found.get("sampling_rate")
            return {"array": samples, "sampling_rate": None if rate is None else rate.as_py()}
        return self.base / found["path"].as_py() if "path" in found else {}


def read_input(source: str, split: str = "train", release: str = "") -> Recordings:
    """Finds the recordings of an input; none of them is read.

    Args:
        source: a folder of audio files (beside a metadata.csv or manifest.csv, if there is one), a CSV, TSV or JSONL
            file with paths, a corpus' own release folder, a database in audformat, a `save_to_disk` folder, a
            parquet file or a folder of them, or the id of a data set on the Hub.
        split: of a data set.
        release: the corpus whose release folder it is, if it is one.

    Raises:
        InputError: nothing there, no recordings in it, a table without paths, an utterance id given twice.
    """
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):  # unlike Path's own, False for what is too long
        return _folder(path, split, release)
    if os.path.isfile(path):
        if path.suffix.lower() in TABLES:
            return _from_table(read_table(path), path, [])
        if path.suffix.lower() == ".parquet":
            # without --split, whatever was named is taken
            files = [path] if split == "train" else files_of_split([path], path, split)
            return recordings_of(read_parquet(files, source), path)
        raise InputError(
            f"{source} is none of {', '.join(TABLES)} and .parquet; of single recordings, give the folder"
        )
    if _HUB_ID.fullmatch(source) and not source.startswith("."):
        return recordings_of(read_hub(source, split), None, source)
    raise InputError(
        f"there is no {source}; give a folder of audio, a file ending in {', '.join(TABLES)} or .parquet, or a Hub id"
    )


def _folder(path: Path, split: str, release: str) -> Recordings:
    from ..corpora.releases.release_folders import RECOGNISED
    from ..corpora.releases.release_folders import holds_release
    from ..corpora.releases.release_folders import release_kind

    corpus = release if release and holds_release(path, release) else release_kind(path)
    if corpus is not None and corpus != (release or corpus):
        raise InputError(f"{path} is a release folder of {corpus}, and not of {release}")
    if corpus is not None:
        return _from_release(path, corpus)
    if is_database(path):
        table, notes = read_database(path, split)
        return _from_table(table, path / "database", notes)
    if release and next(entries(path, *SIDECARS), None) is None and next(_files(path, ENDINGS | VIDEOS), None):
        raise InputError(f"{path} holds recordings, but what is in it isn't named as in {RECOGNISED[release]}")
    if os.path.exists(path / "state.json") or os.path.exists(path / "dataset_dict.json"):
        return recordings_of(read_saved(path, split), path)
    found = sorted(_files(path, ENDINGS | VIDEOS))
    videos = [file for file in found if Path(file).suffix.lower() in VIDEOS]
    if len(videos) < len(found):
        left_out = f"{len(videos)} videos (such as {videos[0]}) are not taken, beside recordings" if videos else ""
        return _from_files(path, [file for file in found if Path(file).suffix.lower() in ENDINGS], left_out)
    if videos:
        return _from_files(path, videos)
    tables = [path / file for file in sorted(_files(path, {".parquet"})) if os.path.isfile(path / file)]
    if tables:
        return recordings_of(read_parquet(files_of_split(tables, path, split), str(path)), path)
    raise InputError(f"{path} holds no recordings ({', '.join(sorted(ENDINGS | VIDEOS))}) and no data set")


def _from_release(path: Path, corpus: str) -> Recordings:
    """The rows of the release that `path` is or holds, and a note of how many recordings beside it are not taken."""
    from ..corpora.releases.release_folders import read_release

    release = read_release(path, corpus)
    told = [f"a release folder of {corpus}, whose name is the corpus'", *release.notes]
    rows = [{**row, "path": _nameable(str(row["path"]))} for row in release.rows]
    inner = release.folder.relative_to(os.path.abspath(path))
    if inner != Path():
        outside = sum(inner not in Path(file).parents for file in _files(path, ENDINGS))
        if outside:
            told.append(f"{outside} recordings lie outside of the release ({inner.as_posix()}) and are not taken")
    return _from_table(table_of(rows), path / "release", told)


def _files(folder: Path, endings: Collection[str]) -> Iterator[str]:
    """Paths relative to `folder`; links are followed, each folder once, and hidden files passed over."""
    for parent, names in walked(folder):
        for name in names:
            if Path(name).suffix.lower() in endings:
                yield _nameable(Path(parent, name).relative_to(folder).as_posix())


def _nameable(name: str) -> str:
    """The same name; neither Arrow nor JSON holds one that isn't UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the name {os.fsencode(name)!r} is not in UTF-8; rename the file or folder") from error
    return name


def _from_files(folder: Path, files: list[str], note: str = "") -> Recordings:
    """A folder of audio, each file a row, with what a table beside them says."""
    known, notes = pa.table({"file": files}), []
    beside = next((file for file in entries(folder, *SIDECARS) if file.is_file()), None)
    if beside is not None:
        files, known, notes = joined(folder, files, read_table(beside), beside)
    others = [name for name in _tables_in(folder) if beside is None or name != beside.name]
    if others:
        notes.append(f"not read: {', '.join(others)}" + ("" if beside else f"; a table of the files is {SIDECARS[0]}"))
    notes += [note] if note else []
    return _finished(folder.resolve().name, known, [folder / file for file in files], files, notes, str(folder))


def _from_table(table: pa.Table, file: Path, notes: list[str]) -> Recordings:
    """Rows with a path each, relative to the folder of `file`."""
    column = find_column(table, PATH_COLUMNS)
    if column is None:
        raise InputError(
            f"{file} needs a column {', '.join(PATH_COLUMNS)} with the paths; columns: {', '.join(table.column_names)}"
        )
    folder = file.parent
    paths = [_there(folder, path) for path in paths_of(table, column)]
    files = [folder / path for path in paths]
    inside = Path(os.path.abspath(folder))
    places = [_place(path, inside) for path in paths]
    name = file.name if file.is_file() else folder.resolve().name
    return _finished(name, table, files, places, notes, str(file))


def _tables_in(folder: Path) -> list[str]:
    """The names of the tables right in a folder."""
    names = sorted(name for name in os.listdir(folder) if Path(name).suffix.lower() in TABLES)
    return [name for name in names if not passed_over(name) and os.path.isfile(folder / name)]


def _there(folder: Path, path: str) -> str:
    """A path as it lies on the disk: where it isn't there as written, with slashes, or in the other Unicode form."""
    if path.isascii() and "\\" not in path:
        return path
    slashes = path.replace("\\", "/")
    forms = [path, slashes, *(unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))]
    return next((form for form in forms if os.path.exists(folder / form)), path)


def _place(path: str, folder: Path) -> str:
    root = os.path.join(folder, "")
    absolute = os.path.abspath(os.path.join(folder, path))
    return absolute[len(root) :].replace(os.sep, "/") if absolute.startswith(root) else path


def recordings_of(found: DataSet, path: Path | None, name: str = "") -> Recordings:
    """The recordings of a data set.

    Args:
        path: where it lies on the disk; None where it lies elsewhere.
        name: of it, in place of the path.

    Raises:
        InputError: it has no column of recordings; see `read_input`.
    """
    base = Path() if path is None else path if path.is_dir() else path.parent
    shown = name or str(path)
    notes = [f"columns not taken along: {', '.join(found.left_out)}"] if found.left_out else []
    if found.audio is None:
        if path is None or find_column(found.table, PATH_COLUMNS) is None:
            raise InputError(f"{shown} has no column of recordings; its columns: {', '.join(found.columns)}")
        return _from_table(found.table, base / "table", notes)
    places = _inner_paths(found.audio)
    return _finished(name or path.resolve().name, found.table, None, places, notes, shown, found.audio, base)


def _inner_paths(audio: datasets.Dataset) -> list[str]:
    """The file name in each row's recording, "row N" where there is none. Reads no recording."""
    paths: list[str | None] = []
    for first in range(0, len(audio), _SCAN_ROWS):
        column = audio[first : first + _SCAN_ROWS]["audio"]
        named = any(child.name == "path" for child in column.type)
        paths += pc.struct_field(column, "path").to_pylist() if named else [None] * len(column)
    return [Path(path).name if path else f"row {row}" for row, path in enumerate(paths)]


def _finished(
    name: str,
    known: pa.Table,
    files: list[Path] | None,
    places: list[str],
    notes: list[str],
    source: str,
    dataset: datasets.Dataset | None = None,
    base: Path = Path(),
) -> Recordings:
    """Brings the columns into the schema, each row with an id of its own, and says what is missing."""
    if not places:
        raise InputError(f"{source} has no rows")
    columns, left = schema_columns(known, source)
    name = _nameable(name)
    columns = _with_ids(columns, places, source)
    parts = _parts_noted(columns, places)
    without = [role for role in ("speaker", "label") if role not in columns.column_names]
    missing = f"no {' and no '.join(without)}: the features are for prediction; training needs both"
    lacking = [
        f"{columns[role].null_count} of {len(places)} recordings have no {role}"
        for role in ("speaker", "label")
        if role in columns.column_names and columns[role].null_count
    ]
    found, notes = [*notes, *parts], [*notes, *left, *parts, *([missing] if without else []), *lacking]
    named = find_column(known, ["utterance_id"]) is not None or not known.num_columns
    told = known if named else known.append_column("utterance_id", columns["utterance_id"])
    told = told if told.num_columns else columns.select(["utterance_id"])
    return Recordings(name, columns, places, files, dataset, base, notes, found, told)


def _parts_noted(columns: pa.Table, places: list[str]) -> list[str]:
    """That `start` and `end` are taken for seconds in the recording, which may be what they are or not."""
    named = [name for name in ("start", "end") if name in columns.column_names]
    given = [columns[name].is_valid() for name in named]
    count = pc.sum(pc.or_(given[0], given[-1])).as_py() if given else 0
    if not count:
        return []
    note = f"{count} recordings are parts of their files: the seconds from {' to '.join(named)}"
    if max(Counter(places).values()) == 1:
        note += "; each file is named once, so if they are cut already, leave out these columns"
    return [note]


def _with_ids(columns: pa.Table, places: list[str], source: str) -> pa.Table:
    """`utterance_id` as the first column: as given, else the place without its ending, made unique by the row."""
    if "utterance_id" in columns.column_names:
        ids = columns["utterance_id"].to_pylist()
        if None in ids:
            raise InputError(f"{source}: row {ids.index(None)} has no utterance_id")
        twice, count = Counter(ids).most_common(1)[0]
        if count > 1:
            raise InputError(f"{source}: utterance_id {twice!r} is given {count} times; each must be there once")
    else:
        shown = [_inside(place) for place in places]
        ids = [os.path.splitext(place)[0] for place in shown]
        counts = Counter(ids)
        ids = [place if counts[short] > 1 else short for short, place in zip(ids, shown, strict=True)]
        counts = Counter(ids)
        ids = [f"{name}#{row}" if counts[name] > 1 or not name else name for row, name in enumerate(ids)]
    rest = {name: columns[name] for name in columns.column_names if name != "utterance_id"}
    return pa.table({"utterance_id": pa.array(ids, pa.string()), **rest})


def _inside(place: str) -> str:
    """A place as an id: of files elsewhere the name alone, since the way to them is this machine's."""
    if os.path.isabs(place) or place.startswith(".."):
        return os.path.basename(place)
    return PureWindowsPath(place).name if re.match(ABSOLUTE, place) else place


__all__ = ["ENDINGS", "SIDECARS", "Recordings", "read_input", "recordings_of"]
