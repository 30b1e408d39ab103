"""What was read before is not read again, unless it may have changed."""

import os

import pytest

from emomm.features.seen_files import SeenFiles
from emomm.files import content_hash


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    os.utime(path, ns=(0, 10**18))
    return path


def test_hashes_are_known_as_long_as_files_do_not_change(file, tmp_path):
    seen = SeenFiles(tmp_path / "journal")
    assert seen.get(file) is None
    seen.put(file, "ab")
    assert seen.get(file) == "ab"  # before it is saved, too
    seen.save()
    assert SeenFiles(tmp_path / "journal").get(file) == "ab"
    os.utime(file, ns=(0, 10**18 + 1))
    assert SeenFiles(tmp_path / "journal").get(file) is None
    file.write_bytes(b"other content")
    os.utime(file, ns=(0, 10**18))
    assert SeenFiles(tmp_path / "journal").get(file) is None


def test_another_file_of_the_same_size_and_time_is_not_taken_for_it(file, tmp_path):
    """As a copier leaves it that keeps times: written in place, or renamed."""
    seen = SeenFiles(tmp_path / "journal")
    seen.put(file, "ab")
    file.write_bytes(b"CONTENT")
    os.utime(file, ns=(0, 10**18))
    assert seen.get(file) is None
    seen.put(file, "cd")
    (tmp_path / "other").write_bytes(b"another")
    os.utime(tmp_path / "other", ns=(0, 10**18))
    os.replace(tmp_path / "other", file)
    assert seen.get(file) is None


def test_a_file_that_changes_while_it_is_hashed_is_hashed_again(file, tmp_path, monkeypatch):
    def replaced(path):
        found = content_hash(path)
        path.write_bytes(b"CONTENT")
        os.utime(path, ns=(0, 10**18))
        return found

    seen = SeenFiles(tmp_path / "journal")
    monkeypatch.setattr("emomm.features.seen_files.content_hash", replaced)
    first = seen.hash_of(file)
    monkeypatch.undo()
    assert seen.get(file) is None and seen.hash_of(file) == content_hash(file) != first


def test_what_was_written_just_now_may_change_unseen(file, tmp_path):
    seen = SeenFiles(tmp_path / "journal")
    os.utime(file)
    seen.put(file, "ab")
    seen.save()
    assert not (tmp_path / "journal").exists()


def test_what_others_found_meanwhile_is_kept_and_damage_is_nothing(file, tmp_path):
    one, other = SeenFiles(tmp_path / "journal"), SeenFiles(tmp_path / "journal")
    second = tmp_path / "second"
    second.write_bytes(b"")
    os.utime(second, ns=(0, 10**18))
    one.put(file, "ab"), one.save()
    other.put(second, "cd"), other.save()
    found = SeenFiles(tmp_path / "journal")
    assert (found.get(file), found.get(second)) == ("ab", "cd")
    (tmp_path / "journal").write_text("{")
    assert SeenFiles(tmp_path / "journal").get(file) is None
    nowhere = SeenFiles(tmp_path / "none" / "journal")
    nowhere.put(file, "ab")
    nowhere.save()  # said, and no more
    assert nowhere.get(file) == "ab"
