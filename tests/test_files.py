import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from emomm import files
from emomm.errors import InputError


@pytest.fixture
def no_process():
    """The number of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done, (fsync, replace) = [], (os.fsync, os.replace)
    monkeypatch.setattr(files.os, "fsync", lambda number: (done.append("on the disk"), fsync(number)))
    monkeypatch.setattr(files.os, "replace", lambda *names: (done.append("renamed"), replace(*names)))
    files.write_json(tmp_path / "a.json", {"ä": [1]})
    assert done == ["on the disk", "renamed"]
    assert files.read_json(tmp_path / "a.json") == {"ä": [1]} and names(tmp_path) == ["a.json"]
    files.write_whole(tmp_path / "b", lambda path: Path(path).write_text("b"), synced=False)
    assert done == ["on the disk", "renamed", "renamed"] and (tmp_path / "b").read_text() == "b"


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    files.write_text(tmp_path / "a", "before")

    def fail(path):
        Path(path).write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        files.write_whole(tmp_path / "a", fail)
    with pytest.raises(OSError, match="no space"), files.whole_folder(tmp_path / "b") as draft:
        fail(draft / "half")
    assert (tmp_path / "a").read_text() == "before" and names(tmp_path) == ["a"]


def test_a_disk_that_is_full_only_when_asked_leaves_what_was_there(tmp_path, monkeypatch):
    files.write_text(tmp_path / "a", "before")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(tmp_path / "a", "after")
    assert (tmp_path / "a").read_text() == "before" and names(tmp_path) == ["a"]


def test_what_a_killed_process_left_is_taken_away(tmp_path, no_process):
    """By who writes the same again; what a process that lives is writing stays, and what is not ours."""
    left = [f".a.{no_process}.temporary", f".a.old.{no_process}.temporary", f".a.{os.getpid()}.temporary"]
    kept = [f".a.{os.getppid()}.temporary", f".ab.{no_process}.temporary", ".a.temporary", "a.1.temporary.txt"]
    for name in (*left, *kept):
        (tmp_path / name).mkdir() if "old" in name else (tmp_path / name).write_text("half")
    files.write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == sorted(["a", *kept])
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".b.1.temporary").mkdir()
    files.remove_temporary(tmp_path)
    assert names(tmp_path) == ["a", "a.1.temporary.txt", "deep"] and names(tmp_path / "deep") == []


def test_a_folder_takes_the_place_of_another_at_once(tmp_path):
    for content in ("first", "second"):
        with files.whole_folder(tmp_path / "new" / "folder") as draft:
            (draft / content).write_text(content)
        assert names(tmp_path / "new" / "folder") == [content] and names(tmp_path / "new") == ["folder"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 50_000, b'{"a": 1}', b"null"])
def test_what_is_torn_or_of_another_shape_is_read_as_nothing(tmp_path, content):
    path = tmp_path / "a.json"
    assert files.read_json(path) is None
    path.write_bytes(content)
    assert files.read_json(path, "b") is None


def test_what_the_libraries_say_of_a_full_disk():
    with pytest.raises(RuntimeError) as found:
        torch.save({"a": torch.zeros(1000)}, "/dev/full")
    assert files.is_of_the_disk(found.value) and not isinstance(found.value, OSError)
    assert files.is_of_the_disk(Exception("No space left on device (os error 28)"))
    assert files.is_of_the_disk(FileNotFoundError(2, "gone"))
    assert not files.is_of_the_disk(InputError("speakers.csv (os error 2)"))
    assert not files.is_of_the_disk(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_hash_tells_every_changed_bit(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00" * 1000)
    (tmp_path / "b").write_bytes(b"\x00" * 999 + b"\x01")
    assert files.content_hash(tmp_path / "a") != files.content_hash(tmp_path / "b")
