"""A data set on the Hub whose files can be taken one by one (hub_copies.py): which they are, and how they are read.

What the Hub said of a large one is kept beside its copies: without a connection, or where the revision is a commit,
the Hub is not asked again.
"""

import dataclasses
import json
import logging
import re
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import xxhash
from huggingface_hub import HfApi
from huggingface_hub import constants
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from ..files import read_json
from ..files import write_json
from ..hub_access import reach_hub
from ..speech_features import SIDECAR
from .copies import Copies
from .kept_corpora import is_large
from .places import NotThere
from .spec import CorpusSpec

logger = logging.getLogger(__name__)

_FORMAT = "hub-1"
_KINDS = {"parquet": (".parquet",), "csv": (".csv", ".tsv"), "json": (".json", ".jsonl")}
_COMMIT = re.compile("[0-9a-f]{40}")
_OF_ITSELF = {"name", "version", "data_dir", "data_files", "description", "features"}
_PATHS_A_REQUEST = 500


class NotByFiles(Exception):
    """A data set, or a file of it, that can't be taken so: then `datasets` loads all of it."""


@dataclass(frozen=True)
class HubFile:
    """A data file.

    Args:
        path: in the repository.
        size: in bytes.
        digest: of its content, as the Hub has it.
    """

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class HubDataSet:
    """A data set whose files can be taken one by one.

    Args:
        hub_id, split: of it.
        commit: which the revision was.
        kind: the builder of `datasets` that reads its files: `parquet`, `csv` or `json`.
        settings: of the builder, where they are not its defaults.
        features: of all files, as `datasets` writes them; None where the first file says them.
        rows: how many there should be; None where nothing says so.
        files: of the split, in order.
        sidecar: the text of the file that says what made the features; None where there is none.
    """

    hub_id: str
    split: str
    commit: str
    kind: str
    settings: dict[str, Any]
    features: dict[str, Any] | None
    rows: int | None
    files: list[HubFile]
    sidecar: str | None

    notes = ()

    @property
    def large(self) -> bool:
        """Whether it is worth keeping."""
        return is_large(file.size for file in self.files)

    def content(self, copies: Copies) -> list[Any]:
        """What it is made of, as JSON."""
        files = [[file.path, file.digest] for file in self.files]
        return [self.hub_id, files, self.kind, self.settings, self.features, self.rows, self.sidecar]

    def changed(self, before: list[Any], copies: Copies) -> None:
        """None: what a commit holds never changes."""


@dataclass(frozen=True)
class HubAnswer:
    """What the Hub says of a data set, or said when it was last asked.

    Args:
        data_set: its files; None where they can't be taken one by one.
        builder: of `datasets`, for all of it; None where the Hub wasn't reached.
    """

    data_set: HubDataSet | None
    builder: "datasets.DatasetBuilder | None"


def not_there(spec: CorpusSpec, hub_id: str, error: Exception) -> NotThere:
    """The error of a data set that can't be had: network, access, cache, disk; the libraries share no base class."""
    reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return NotThere(
        f"corpus {spec.name}: data set {hub_id} is not reachable on the Hub ({reason}); check the connection and your "
        f"access to it, or point to a local copy with --corpus {spec.name}=PATH"
    )


# ---- asking ---------------------------------------------------------------------------------------------------------


def ask_hub(spec: CorpusSpec, hub_id: str, copies: Copies | None) -> HubAnswer:
    """What the Hub says of a data set. Large ones are known from when they were asked for before where there is no
    connection, or the revision is a commit.

    Raises:
        NotThere: not reachable, no such data set or split, or no access to it.
    """
    reach_hub(hub_id)
    kept = None if copies is None else _kept_answer(spec, hub_id, copies)
    known = None if kept is None else _read_answer(kept)
    if known is not None and (constants.is_offline_mode() or _COMMIT.fullmatch(spec.revision or "")):
        return HubAnswer(known, None)
    try:
        builder = datasets.load_dataset_builder(hub_id, revision=spec.revision)
    except Exception as error:
        if known is None or _is_an_answer(error):
            raise not_there(spec, hub_id, error) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        commit = known.commit
        logger.warning("data set %s is not reachable (%s): its copy of commit %s is read", hub_id, reason, commit)
        return HubAnswer(known, None)
    if kept is None:
        return HubAnswer(None, builder)
    try:
        data_set = _described(builder, hub_id, spec.split)
    except Exception as error:  # whatever it is, `datasets` is asked to load it, and says what is wrong
        logger.info("data set %s is not taken file by file (%s): datasets loads it", hub_id, error)
        return HubAnswer(None, builder)
    if data_set.large:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, asdict(data_set))
        except OSError as error:
            logger.debug("%s can't be written: %s", kept, error)
    return HubAnswer(data_set, builder)


def _is_an_answer(error: Exception) -> bool:
    """Whether the Hub has said that there is no such data set, or none for this user."""
    if isinstance(error, HfHubHTTPError):
        return error.response is not None and error.response.status_code < 500
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError
    from datasets.exceptions import DatasetNotFoundError

    return isinstance(error, DatasetNotFoundError | DataFilesNotFoundError | EmptyDatasetError)


def _kept_answer(spec: CorpusSpec, hub_id: str, copies: Copies) -> Path:
    asked = [constants.ENDPOINT, hub_id, spec.revision or "main", spec.split]
    return copies.folder / f"{_FORMAT}-{xxhash.xxh3_128_hexdigest(json.dumps(asked).encode())}.json"


def _read_answer(path: Path) -> HubDataSet | None:
    found = read_json(path, *(field.name for field in dataclasses.fields(HubDataSet)))
    if found is None:
        return None
    try:
        return HubDataSet(**{**found, "files": [HubFile(**file) for file in found["files"]]})
    except TypeError:  # of another version
        return None


def _described(builder: "datasets.DatasetBuilder", hub_id: str, split: str) -> HubDataSet:
    """Raises NotByFiles, and whatever the libraries raise."""
    config, data_files = builder.config, builder.config.data_files or {}
    if builder.name not in _KINDS or split not in data_files or getattr(config, "features", None) is not None:
        raise NotByFiles(f"it is read as {builder.name}, and has the splits {', '.join(map(str, data_files))}")
    if builder.info.features is None and split != next(iter(data_files)):
        raise NotByFiles("another split says what its columns are")
    usual = type(config)()
    settings = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    settings = {
        name: value for name, value in settings.items() if name not in _OF_ITSELF and value != getattr(usual, name)
    }
    if json.loads(json.dumps(settings)) != settings:
        raise NotByFiles("its settings are more than text and numbers")
    place = re.compile(rf"hf://datasets/{re.escape(hub_id)}@({_COMMIT.pattern})/(.+)")
    found = [place.fullmatch(str(file)) for file in data_files[split]]
    commits = {match.group(1) for match in found if match}
    if not found or not all(found) or len(commits) != 1:
        raise NotByFiles("its files lie elsewhere")
    commit, paths = commits.pop(), [match.group(2) for match in found]
    if not all(path.lower().endswith(_KINDS[builder.name]) for path in paths):
        raise NotByFiles("its files are packed")
    splits, files = builder.info.splits or {}, _files(hub_id, commit, paths)
    large = is_large(file.size for file in files)
    return HubDataSet(
        hub_id,
        split,
        commit,
        builder.name,
        settings,
        None if builder.info.features is None else builder.info.features.to_dict(),
        (splits[split].num_examples or None) if split in splits else None,
        files,
        _sidecar(hub_id, commit) if large else None,  # with a small one it is asked for once it is loaded
    )


def _files(hub_id: str, commit: str, paths: list[str]) -> list[HubFile]:
    found = {}
    for first in range(0, len(paths), _PATHS_A_REQUEST):
        some = paths[first : first + _PATHS_A_REQUEST]
        for info in HfApi().get_paths_info(hub_id, some, revision=commit, repo_type="dataset"):
            if isinstance(info, RepoFile):
                digest = info.blob_id if info.lfs is None else info.lfs.sha256
                found[info.path] = HubFile(info.path, info.size, digest)
    return [found[path] for path in paths]


def _sidecar(hub_id: str, commit: str) -> str | None:
    try:
        path = hf_hub_download(hub_id, SIDECAR, repo_type="dataset", revision=commit)
    except EntryNotFoundError:  # most data sets have none
        return None
    return Path(path).read_text(encoding="utf-8")


__all__ = ["HubAnswer", "HubDataSet", "HubFile", "NotByFiles", "ask_hub", "not_there"]
