"""Manifests as people have them: tables of several kinds, and EmoBox's fold files as they lie in a copy."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emomm.errors import InputError
from emomm.experiments.manifests import read_manifest

ROWS = [("a/1", "1", "train"), ("a/2", "1", "test"), ("03", "2", "valid")]


def as_told(rows):
    return [(each.names, each.corpus, each.fold, each.part) for each in rows]


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolons", "jsonl", "parquet"])
def test_a_table_of_any_kind(tmp_path, kind):
    names = ("utterance_id", "fold", "part")
    path = tmp_path / f"folds.{kind if kind != 'semicolons' else 'csv'}"
    if kind == "parquet":
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True))), path)
    elif kind == "jsonl":
        rows = [{"Utterance_ID": name, "fold": int(fold), "Split": part} for name, fold, part in ROWS]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        between = {"csv": ",", "tsv": "\t", "semicolons": ";"}[kind]
        lines = [between.join(row) for row in (("ID", "Fold", "subset"), *ROWS)]
        path.write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    found = read_manifest(path)
    assert as_told(found) == [((name,), "", fold, part) for name, fold, part in ROWS]
    assert found[2].where == f"{path}, row 3"


def test_without_a_fold_there_is_one_and_corpora_can_be_named(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("key,corpus,partition\nx,IEMO,Train\nx,,Test1\n")
    assert as_told(read_manifest(path)) == [(("x",), "IEMO", "1", "Train"), (("x",), "", "1", "Test1")]


def emobox(folder: Path, folds: dict[int, dict[str, list[str]]], name: str = "emodb") -> Path:
    """EmoBox's files of a data set: data/emodb/fold_1/emodb_train_fold_1.jsonl, with the fields of the real ones."""
    place = folder / "data" / name
    for number, parts in folds.items():
        (place / f"fold_{number}").mkdir(parents=True)
        for part, ids in parts.items():
            lines = [
                {
                    "key": f"{name}-{each}", "dataset": name, "wav": f"downloads/{name}/wav/{each}.wav", "type": "raw",
                    "sample_rate": 16000, "num_frame": 33978.0, "task": "category", "length": 2.123625,
                    "emo": "anger", "channel": 1,
                }
                for each in ids
            ]  # fmt: skip
            file = place / f"fold_{number}" / f"{name}_{part}_fold_{number}.jsonl"
            file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            file.with_suffix(".json").write_text("{}")  # the same once more, in another layout
    (place / f"{name}.jsonl").write_text("")
    (place / "label_map.json").write_text("{}")
    return place


FOLDS = {1: {"train": ["03a01Wa", "03a02Wb"], "test": ["03a04Lc"]}, 2: {"train": ["03a04Lc"], "test": ["03a01Wa"]}}


def test_the_fold_files_of_emobox(tmp_path):
    place = emobox(tmp_path, FOLDS)
    found = read_manifest(place)
    assert [(each.names[0], each.fold, each.part) for each in found] == [
        ("03a04Lc", "1", "test"), ("03a01Wa", "1", "train"), ("03a02Wb", "1", "train"),
        ("03a01Wa", "2", "test"), ("03a04Lc", "2", "train"),
    ]  # fmt: skip
    assert found[0].names == ("03a04Lc", "emodb-03a04Lc")
    assert found[0].where.endswith("emodb_test_fold_1.jsonl, line 1")


def test_older_files_beside_them_are_not_read_twice(tmp_path):
    """The real copy has emodb_test_fold1.jsonl beside emodb_test_fold_1.jsonl, with other fields."""
    place = emobox(tmp_path, FOLDS)
    for part in ("train", "test"):
        old = [{"key": "emodb-03a01Wa", "dataset": "emodb", "audio": "downloads/emodb/wav/03a01Wa.wav"}]
        (place / "fold_1" / f"emodb_{part}_fold1.jsonl").write_text(json.dumps(old[0]) + "\n")
    assert len(read_manifest(place)) == 5


def test_other_keys_have_the_recordings_name_besides(tmp_path):
    place = tmp_path / "ravdess" / "fold_1"
    place.mkdir(parents=True)
    for part in ("train", "valid", "test1", "test2"):
        wav = f"x\\Actor_01\\03-01-05-{part}.wav"
        (place / f"{part}.jsonl").write_text(json.dumps({"key": f"{part}-7", "wav": wav}) + "\n")
    found = read_manifest(place.parent)
    assert [(each.names, each.part) for each in found] == [
        ((f"{part}-7", f"03-01-05-{part}"), kind)
        for part, kind in (("test1", "test1"), ("test2", "test2"), ("train", "train"), ("valid", "validation"))
    ]


def without(path):
    path.unlink()


def empty(path):
    path.write_text("")


WRONG = {
    "nothing there": (lambda place: place / "no.csv", "manifest: there is no "),
    "another kind of file": (lambda place: place / "label_map.json", "must be a .csv, .tsv, .jsonl, .parquet file"),
    "no folds": (lambda place: place.parent, "no folders fold_1, fold_2"),
    "a test file that is missing": (
        lambda place: without(place / "fold_2" / "emodb_test_fold_2.jsonl") or place,
        "fold_2: no test file .*the copy of EmoBox is not complete",
    ),
    "a fold that is missing": (
        lambda place: (place / "fold_2").rename(place / "fold_3") and place,
        "fold_2 is missing, but there is fold_3",
    ),
    "an empty fold file": (
        lambda place: empty(place / "fold_1" / "emodb_test_fold_1.jsonl") or place,
        "emodb_test_fold_1.jsonl",
    ),
    "no id": (
        lambda place: table(place, "fold,part\n1,train\n"),
        "no column utterance_id .*columns there: fold, part",
    ),
    "no part": (lambda place: table(place, "id,fold\nx,1\n"), "no column part"),
    "a row without a part": (
        lambda place: table(place, "id,part\nx,train\ny,\n"),
        "row 2: no part; each row needs one",
    ),
    "no rows": (lambda place: table(place, "id,part\n"), "it has no rows|can't be read"),
    "torn": (lambda place: table(place, "id,part\nx,y,z\n"), "can't be read"),
}


def table(place, text):
    path = place / "m.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_manifest_is_refused_by_name(tmp_path, case):
    change, said = WRONG[case]
    path = change(emobox(tmp_path, FOLDS))
    with pytest.raises(InputError, match=said) as error:
        read_manifest(path)
    assert "manifest" in str(error.value)
