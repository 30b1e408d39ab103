"""Reads the folders that W&B writes offline: what a run was told, as plain data."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any


@dataclass
class OfflineRun:
    """One offline folder.

    Args:
        folder: of the run.
        id, project, group, name, job_type, tags: as the run was opened.
        config: {key: value}.
        history: {step: {key: value}}, rows of the same step as one.
        summary: {key: value}; keys of several levels are joined by "/".
        artifacts: {(type, name): {path in the artifact: entry of its manifest}}.
        exit_code: None where the run was not finished.
        started: seconds since 1970.
    """

    folder: Path
    id: str = ""
    project: str = ""
    group: str = ""
    name: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    exit_code: int | None = None
    started: float = 0.0

    def curve(self, key: str) -> dict[int, Any]:
        """{step: value} of one key of the history."""
        return {step: row[key] for step, row in sorted(self.history.items()) if key in row}

    def file(self, place: str) -> Path:
        """A media file of the history, by its path there."""
        return self.folder / "files" / place


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB log blocks of 32 KiB behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, piece = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(piece)
            piece = b""
            yield record


def _key(item) -> str:
    return "/".join(item.nested_key) or item.key


def read_run(folder: Path) -> OfflineRun:
    """One offline folder."""
    (path,) = folder.glob("*.wandb")
    run = OfflineRun(folder)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            about = record.run
            run.id, run.project, run.group, run.name = about.run_id, about.project, about.run_group, about.display_name
            run.job_type, run.tags = about.job_type, list(about.tags)
            run.started = about.start_time.seconds + about.start_time.nanos / 1e9
            run.config |= {_key(item): json.loads(item.value_json) for item in about.config.update}
        elif kind == "config":
            run.config |= {_key(item): json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            row = {_key(item): json.loads(item.value_json) for item in record.history.item}
            run.history.setdefault(record.history.step.num, {}).update(row)
        elif kind == "summary":
            run.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
        elif kind == "artifact":
            contents = {entry.path: entry for entry in record.artifact.manifest.contents}
            run.artifacts[record.artifact.type, record.artifact.name] = contents
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def read_runs(folder: Path, finished: bool = True) -> list[OfflineRun]:
    """All offline folders below `folder/wandb`, oldest first. W&B's own process may still be writing: it is given 5 s,
    unless no run will ever be `finished`, and 30 s to say what the run is."""
    started = time.monotonic()
    while True:
        runs = [read_run(path) for path in (folder / "wandb").glob("offline-run-*")]
        patience = 5 if finished and any(run.exit_code is None for run in runs) else 0
        patience = 30 if any(not run.id for run in runs) else patience
        if time.monotonic() - started >= patience:
            break
        time.sleep(0.2)
    return sorted(runs, key=lambda run: run.started)  # their names tell whole seconds
