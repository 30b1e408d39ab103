"""Recordings decoded once, whatever runs: right after kills, torn files and full disks, and not held in memory."""

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from forked import finish
from forked import start
from small_jobs import die

from emomm.errors import InputError
from emomm.features import mapped_store
from emomm.features import seen_files
from emomm.features.mapped_store import MappedStore
from emomm.files import content_hash
from emomm.recordings import waveform_store
from emomm.recordings.recordings import read_input
from emomm.recordings.waveform_store import WaveformStore
from emomm.recordings.waveform_store import stored_samples
from emomm.waveforms import read_waveform

ROWS = 12


def sound(i, rate=16000):
    return (np.random.default_rng(i).normal(size=round((0.1 + i / 50) * rate)) * 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Twelve recordings, of several rates and kinds; the last is a copy of the first."""
    folder = tmp_path_factory.mktemp("audio")
    for i in range(ROWS - 1):
        rate = (16000, 22050, 8000)[i % 3]
        soundfile.write(folder / f"{i:02}.{'flac' if i % 2 else 'wav'}", sound(i, rate), rate, subtype="PCM_16")
    (folder / "11.wav").write_bytes((folder / "00.wav").read_bytes())
    return folder


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """A file for each recording: more can go wrong between two."""
    monkeypatch.setattr(waveform_store, "_FLUSH_BYTES", 0)


@pytest.fixture
def counted(monkeypatch):
    """Recordings that are decoded for the store: `counted[0]`."""
    rows, original = [0], stored_samples

    def stored(*args):
        rows[0] += 1
        return original(*args)

    monkeypatch.setattr(waveform_store, "stored_samples", stored)
    return rows


def assert_right(samples, audio, dtype="int16", rows=range(ROWS)):
    found = read_input(str(audio))
    for i in rows:
        expected = read_waveform(found.files[i]).samples
        assert samples[i].shape == (len(expected), 1) and samples[i].dtype == np.dtype(dtype)
        scale = 32768 if dtype == "int16" else 1
        np.testing.assert_allclose(samples[i][:, 0] / scale, expected, atol=0.6 / 32768 if scale > 1 else 0)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_samples_are_those_of_the_recordings(audio, tmp_path, counted, dtype):
    """At 16 kHz whatever they came in; the same content is decoded once, and the next process decodes nothing."""
    stored = WaveformStore(tmp_path, dtype).waveforms(read_input(str(audio)))
    assert counted[0] == ROWS - 1 and not stored.failed
    assert_right(stored.samples, audio, dtype)
    assert stored.samples.start[0] == stored.samples.start[11] and (stored.keys[0] == stored.keys[11]).all()
    again = WaveformStore(tmp_path, dtype).waveforms(read_input(str(audio)), [5, 3])
    assert counted[0] == ROWS - 1
    np.testing.assert_array_equal(again.samples[0], stored.samples[5])
    np.testing.assert_array_equal(again.keys, stored.keys[[5, 3]])


def test_sixteen_bits_are_kept_as_they_are_and_what_is_louder_is_clipped():
    given = np.arange(-32768, 32768, 7, dtype=np.int16)
    np.testing.assert_array_equal(stored_samples(given.astype(np.float32) / 32768)[:, 0], given)
    loud = stored_samples(np.array([1.5, 1.0, -1.5], np.float32))[:, 0]
    assert loud.tolist() == [32767, 32767, -32768] and loud.dtype == np.int16
    with pytest.raises(ValueError, match="int16, float32"):
        WaveformStore(dtype="int8")


def test_parts_of_files_are_recordings_of_their_own(audio, tmp_path):
    (audio / "parts.csv").write_text("\n".join(["path,start,end", "06.wav,0,0.15", "06.wav,0.02,0.2", "06.wav,,"]))
    try:
        recordings = read_input(str(audio / "parts.csv"))
        stored = WaveformStore(tmp_path).waveforms(recordings)
    finally:
        (audio / "parts.csv").unlink()
    whole = read_waveform(audio / "06.wav").samples
    assert stored.samples.length.tolist() == [2400, 2880, len(whole)]
    assert len(np.unique(stored.keys, axis=0)) == 3
    np.testing.assert_allclose(stored.samples[1][:, 0] / 32768, whole[320:3200], atol=0.6 / 32768)


def test_samples_are_mapped_and_can_be_let_go_of(audio, tmp_path):
    """What was read counts no longer as memory of the process, and is there when it is looked at again."""
    store = MappedStore(tmp_path / "big", waveform_store._WORDS)
    samples = np.random.default_rng(0).integers(-9, 9, (8 << 20, 1)).astype(np.int16)
    found = store.rows([b"k" * 16], lambda keys: [(keys[0], samples)])

    def resident():
        return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10

    assert not found.parts[0].flags.owndata and not found.parts[0].flags.writeable
    before, total = resident(), int(found[0].sum())
    read = resident()
    found.release()
    assert read - before > 12 << 20 and resident() - before < 4 << 20
    assert int(found[0].sum()) == total == samples.sum()
    found.take(np.array([0])).release()


def test_of_files_that_have_not_changed_nothing_is_read_at_the_next_start(audio, tmp_path, monkeypatch):
    """Neither of the recordings nor of the store; one that has changed is read."""
    folder = tmp_path / "audio"
    shutil.copytree(audio, folder)
    store = tmp_path / "store"
    WaveformStore(store).waveforms(read_input(str(folder)))
    for file in (*folder.iterdir(), *store.rglob("*.arrow")):
        os.utime(file, ns=(0, 10**18))
    first = WaveformStore(store).waveforms(read_input(str(folder)))
    hashed = []

    def counted(path):
        hashed.append(path.name)
        return content_hash(path)

    monkeypatch.setattr(seen_files, "content_hash", counted)
    monkeypatch.setattr(mapped_store, "content_hash", counted)
    again = WaveformStore(store).waveforms(read_input(str(folder)))
    np.testing.assert_array_equal(again.keys, first.keys)
    assert hashed == []
    soundfile.write(folder / "03.flac", sound(40), 16000, subtype="PCM_16")
    changed = WaveformStore(store).waveforms(read_input(str(folder)))
    assert hashed[0] == "03.flac" and len(hashed) == 2  # and the file of the store that it is in now
    assert (changed.keys != first.keys).any(axis=1).tolist() == [i == 3 for i in range(ROWS)]
    assert_right(changed.samples, folder)


# ---- several processes, kills, damage, full disks -------------------------------------------------------------------


def decode(audio, folder, rows, log, kill_after=None):
    """In a process of its own: decodes, and writes how many recordings it wrote into a log."""
    waveform_store._FLUSH_BYTES = 0
    original, written = MappedStore.write, []

    def write(self, done):
        if len(written) == kill_after:
            (self.folder / "half.arrow.temporary").write_bytes(b"h")
            die()
        original(self, done)
        written.extend(done)
        Path(log).write_text(str(len(written)))

    MappedStore.write = write
    stored = WaveformStore(folder).waveforms(read_input(audio), rows)
    np.savez(f"{log}.npz", *[stored.samples[i] for i in range(len(rows))])


def test_two_processes_at_once_on_an_empty_store(audio, tmp_path):
    rows = [list(range(8)), list(range(4, 11))]
    logs = [tmp_path / "log0", tmp_path / "log1"]
    processes = [start(decode, str(audio), tmp_path, *both) for both in zip(rows, logs, strict=True)]
    assert [finish(process) for process in processes] == [0, 0]
    assert sum(int(log.read_text()) for log in logs if log.exists()) == ROWS - 1
    for given, log in zip(rows, logs, strict=True):
        found = dict(zip(given, np.load(f"{log}.npz").values(), strict=True))
        assert_right(found, audio, rows=given)


def test_a_process_killed_while_decoding(audio, tmp_path, counted):
    log = tmp_path / "log"
    assert finish(start(decode, str(audio), tmp_path, list(range(ROWS)), log, 4)) == -9
    assert int(log.read_text()) == 4 and list(tmp_path.rglob("*.temporary"))
    stored = WaveformStore(tmp_path).waveforms(read_input(str(audio)))
    assert counted[0] == ROWS - 1 - 4
    assert_right(stored.samples, audio)
    assert not list(tmp_path.rglob("*.temporary"))


def test_a_torn_file_is_found_out_and_its_recordings_are_decoded_again(audio, tmp_path, counted, caplog, monkeypatch):
    monkeypatch.setattr(mapped_store.logger.parent, "propagate", True)  # the command line turns it off
    WaveformStore(tmp_path).waveforms(read_input(str(audio)))
    path = sorted(tmp_path.rglob("*.arrow"))[3]
    path.write_bytes(path.read_bytes()[:-1])
    counted[0] = 0
    stored = WaveformStore(tmp_path).waveforms(read_input(str(audio)))
    assert counted[0] == 1
    assert_right(stored.samples, audio)
    assert f"{path.name} is torn or not ours: removed, its recordings are decoded again" in caplog.text


def test_a_full_disk(audio, tmp_path, monkeypatch):
    """Says where; what was whole stays, and with space it goes on."""
    original, calls = os.replace, []

    def full(*args):
        calls.append(args)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(mapped_store.os, "replace", full)
        with pytest.raises(InputError, match=f"no space left in {tmp_path} for the samples .* set store_dir"):
            WaveformStore(tmp_path).waveforms(read_input(str(audio)))
    assert len(list(tmp_path.rglob("*.arrow"))) == 3 and not list(tmp_path.rglob("*.temporary"))
    assert_right(WaveformStore(tmp_path).waveforms(read_input(str(audio))).samples, audio)
