"""The folder that extraction writes: parquet shards, written whole, that tell themselves which rows are done.

    data/train-<process>-<number>.parquet   the rows
    speech_encoder.json                     what made the features
    extraction.json                         of which rows, so that no other job goes on here
    failed.jsonl, README.md                 once all is done

A shard has its name only once it is complete: whenever a job ends, and however, the rows that the shards don't have
are those to be done. A lock for each process, freed by the system when it ends, keeps a second job out, also where the
first one's launcher was killed and left a process running.
"""

import errno
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import BaseFileLock
from filelock import FileLock
from filelock import Timeout

from ..corpora.extraction_state import FAILED
from ..corpora.extraction_state import JOB
from ..errors import InputError
from ..files import TEMPORARY
from ..files import remove_temporary
from ..files import write_text
from ..files import write_whole
from ..recordings.recordings import Recordings
from ..speech_features import SIDECAR
from ..speech_features import SpeechFeatures

logger = logging.getLogger(__name__)

CARD = "README.md"

_DATA, _LOCKS = "data", ".locks"
_SHARD = re.compile(r"train-(\d+)-(\d+)\.parquet")
_LEAF = {"frames": "audio_features.list.element.list.element", "utterance": "audio_features.list.element"}


class ShardFolder:
    """The output of a job, for one of its processes.

    Args:
        folder: made where it isn't there.
        process: its number.
    """

    def __init__(self, folder: Path, process: int = 0):
        self.folder, self.process = folder, process
        self._lock: BaseFileLock | None = None
        self._number: int | None = None

    # ---- before the work

    def prepare(self, features: SpeechFeatures, recordings: Recordings, overwrite: bool = False) -> set[str]:
        """By the first process alone: takes the folder for this job, and tells which utterances are done.

        Args:
            overwrite: rows of another job are removed.

        Raises:
            InputError: another job writes here, or has written rows of another encoder or input; a folder of other
                things; no place to write.
        """
        self.lock()
        self._refuse_others()
        job = {
            "features": features.to_dict(),
            "input": {"name": recordings.name, "rows": len(recordings), "sha256": recordings.digest()},
        }
        before = self._job()
        if before is not None and not overwrite:
            self._refuse_changed(before, job)
        with self._writing():
            (self.folder / _DATA).mkdir(exist_ok=True)
            remove_temporary(self.folder)
            if before is not None and overwrite:
                self._unfinish()
                for file in self.shards():
                    file.unlink(missing_ok=True)
        self.write_text(JOB, json.dumps(job, indent=1))
        self.write_text(SIDECAR, json.dumps(features.to_dict(), indent=1))
        self._drop_outdated(recordings)
        return self.done()

    def _drop_outdated(self, recordings: Recordings) -> None:
        """Rows whose recording was changed after their shard was written are taken out, to be done again."""
        if recordings.files is None:
            return
        files = dict(zip(recordings.ids, recordings.files, strict=True))
        dropped = 0
        for path in self.shards():
            written, names = path.stat().st_mtime_ns, self._column(path, "utterance_id")
            kept = [name not in files or _changed_at(files[name]) <= written for name in names]
            if all(kept):
                continue
            if not dropped:
                self._unfinish()
            dropped += kept.count(False)
            if not any(kept):
                path.unlink()
                continue
            table = pq.read_table(path).filter(pa.array(kept))
            self._write_table(path, table, "fewer rows")
            os.utime(path, ns=(written, written))
        if dropped:
            logger.info("%d recordings were changed after their features were made: they are done again", dropped)

    def _unfinish(self) -> None:
        """Takes away what says that all is done, before rows are: who reads meanwhile is told of the rest."""
        for name in (FAILED, CARD):
            (self.folder / name).unlink(missing_ok=True)

    def lock(self) -> None:
        """Keeps others out as long as this process runs.

        Raises:
            InputError: another job has this process' place.
        """
        with self._writing():
            (self.folder / _LOCKS).mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCKS / f"process-{self.process}", timeout=0)
            try:
                lock.acquire()
            except Timeout as error:
                raise InputError(f"{self.folder}: another job is writing there") from error
        self._lock = lock

    def unlock(self) -> None:
        """Lets others in."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _refuse_others(self) -> None:
        """No process of an earlier job may still run."""
        for file in sorted((self.folder / _LOCKS).iterdir()):
            if file.name == f"process-{self.process}":
                continue
            try:
                with FileLock(file, timeout=0):
                    pass
            except Timeout as error:
                number = file.name.rpartition("-")[2]
                raise InputError(
                    f"{self.folder}: process {number} of an earlier job is still writing there; end it first"
                ) from error

    def _job(self) -> dict[str, Any] | None:
        """What was written here before; None where nothing was."""
        file = self.folder / JOB
        if file.is_file():
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
                SpeechFeatures.from_dict(found["features"])
                return found
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"cannot read {file} ({error!r}); name a new folder, or remove this one") from error
        names = (path.name for path in self.folder.iterdir())
        # A temporary file is of a job that ended while it wrote its first one.
        foreign = sorted(name for name in names if not name.startswith(".") and not name.endswith(TEMPORARY))
        if foreign and (foreign != [_DATA] or any((self.folder / _DATA).iterdir())):
            raise InputError(f"{self.folder} holds {foreign[0]}, which no extraction made; name a new folder")
        return None

    def _refuse_changed(self, before: dict[str, Any], job: dict[str, Any]) -> None:
        was, now = before["features"], job["features"]
        same_weights = was["weights"] == now["weights"] != ""
        ignored = {"encoder", "revision"} if same_weights else set()  # a copy elsewhere
        if was["num_layers"] == now["num_layers"] and _from_below(was) == _from_below(now):
            ignored.add("layers")
        differ = [f"{name} {was.get(name)!r}, now {now[name]!r}" for name in now if was.get(name) != now[name]]
        differ = [text for text in differ if text.split()[0] not in ignored]
        if before["input"]["sha256"] != job["input"]["sha256"]:
            counts = f"{before['input']['name']}, {before['input']['rows']} rows"
            counts += f", now {job['input']['name']}, {job['input']['rows']} rows"
            differ.append(f"another list of recordings ({counts})")
        if differ:
            raise InputError(
                f"{self.folder} holds features of another job: {'; '.join(differ)}. Name a new folder, or replace "
                "what is there with --overwrite"
            )

    # ---- rows

    def shards(self) -> list[Path]:
        """The complete ones."""
        return sorted(path for path in (self.folder / _DATA).glob("*.parquet") if _SHARD.fullmatch(path.name))

    def done(self) -> set[str]:
        """The utterances in complete shards."""
        return set(self.column("utterance_id"))

    def column(self, name: str) -> list[Any]:
        """The values of a column in all shards.

        Raises:
            InputError: a shard that isn't readable.
        """
        return [value for path in self.shards() for value in self._column(path, name)]

    @staticmethod
    def _column(path: Path, name: str) -> list[Any]:
        try:
            return pq.read_table(path, columns=[name])[name].to_pylist()
        except (OSError, KeyError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"cannot read {path} ({reason}); remove it, and its rows are done again") from error

    def write_shard(
        self, columns: pa.Table, features: list[np.ndarray], seconds: list[float], notes: list[str | None]
    ) -> None:
        """Writes rows: what is known of them, (frames, width) or (width,) float16 each, and what was said of each.

        Raises:
            InputError: no space left, or no place to write.
        """
        table = columns.append_column("seconds", pa.array(seconds, pa.float32()))
        table = table.append_column("audio_notes", pa.array(notes, pa.string()))
        table = table.append_column("audio_features", _feature_column(features))
        if self._number is None:
            names = [_SHARD.fullmatch(path.name).groups() for path in self.shards()]
            taken = [int(number) for process, number in names if int(process) == self.process]
            self._number = max(taken, default=-1) + 1
        target = self.folder / _DATA / f"train-{self.process}-{self._number:05d}.parquet"
        self._write_table(target, table, f"{sum(each.nbytes for each in features) / 2**20:.1f} MB of features")
        self._number += 1

    def _write_table(self, target: Path, table: pa.Table, what: str) -> None:
        """A shard, whole or not at all."""
        kind = table.schema.field("audio_features").type.value_type
        pooling = "frames" if pa.types.is_nested(kind) else "utterance"

        def write(temporary: str) -> None:
            with open(temporary, "wb") as file:  # unlike Arrow's own, says why it can't be written
                pq.write_table(
                    table,
                    file,
                    compression="zstd",
                    use_dictionary=[name for name in table.column_names if name != "audio_features"],
                    use_byte_stream_split=[_LEAF[pooling]],
                )

        with self._writing(what):
            write_whole(target, write)

    def write_text(self, name: str, content: str) -> None:
        """A file of the folder, whole or not at all."""
        with self._writing(name):
            write_text(self.folder / name, content)

    @contextmanager
    def _writing(self, what: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f" for {what}" if what else ""
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                full = f"no space left in {self.folder}{what}: free some; the same command then continues"
                raise InputError(full) from error
            raise InputError(f"can't write into {self.folder}{what} ({error})") from error


def _from_below(features: dict[str, Any]) -> list[int]:
    """The layers, counted from the first: -1 of three is 3."""
    return [layer if layer >= 0 else features["num_layers"] + 1 + layer for layer in features["layers"]]


def _changed_at(file: Path) -> int:
    """When a recording was last changed, in nanoseconds; 0 where it is gone, which is said when it is read."""
    try:
        return os.stat(file).st_mtime_ns
    except (OSError, ValueError):
        return 0


def _feature_column(features: list[np.ndarray]) -> pa.ListArray:
    """A vector a row, or a list of vectors a row."""
    width = features[0].shape[-1]
    flat = pa.array(np.concatenate([each.reshape(-1) for each in features]))
    if features[0].ndim == 1:
        return pa.ListArray.from_arrays(pa.array(np.arange(len(features) + 1) * width, pa.int32()), flat)
    offsets = np.cumsum([0, *(len(each) for each in features)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.FixedSizeListArray.from_arrays(flat, width))


__all__ = ["CARD", "FAILED", "JOB", "ShardFolder"]
