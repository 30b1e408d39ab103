"""What was read of a mapped file counts no longer as memory, and is there when it is looked at again."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from emomm.recordings.mapped_pages import release_maps
from emomm.recordings.recordings import read_input


def resident():
    return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10


def test_a_mapped_file_is_let_go_of(tmp_path):
    (tmp_path / "with blank").write_bytes(bytes(range(256)) * (32 << 12))
    mapped = np.memmap(tmp_path / "with blank", mode="r")
    before, total = resident(), int(mapped.sum(dtype=np.int64))
    read = resident()
    release_maps([str(tmp_path / "with blank"), str(tmp_path / "nothing")])
    assert read - before > 24 << 20 and resident() - before < 4 << 20
    assert int(mapped.sum(dtype=np.int64)) == total
    writable = np.memmap(tmp_path / "with blank", mode="r+")
    writable[:5] = 7
    release_maps([str(tmp_path / "with blank")])
    assert writable[:5].tolist() == [7] * 5


def test_recordings_of_a_data_set(tmp_path):
    rows = [{"bytes": bytes([i]) * (2 << 20), "path": None} for i in range(12)]
    pq.write_table(pa.table({"audio": rows}), tmp_path / "rows.parquet", compression="none")
    recordings = read_input(str(tmp_path / "rows.parquet"))
    recordings.release()
    before = resident()
    contents = [bytes(recordings.source(row)["bytes"]) for row in range(12)]
    read = resident()
    recordings.release()
    assert read - before > 16 << 20 and resident() - before < 4 << 20
    assert contents == [row["bytes"] for row in rows]
