"""Published splits and manifests: taken as they are, each test part apart; what leaks is refused, or said."""

from dataclasses import replace

import numpy as np
import pytest
from test_protocols import NAMES
from test_protocols import rows_of

from emomm.errors import InputError
from emomm.evaluation.folds import Table
from emomm.evaluation.folds import fold_rows
from emomm.evaluation.folds import plan_folds
from emomm.evaluation.given_protocols import part_of
from emomm.evaluation.protocols import ManifestRow
from emomm.evaluation.protocols import ProtocolOptions

MSPP_SPLIT = ("Train", "Development", "Test1", "Test2", "Test3")


def podcast(name="MSPP", told=MSPP_SPLIT, **columns):
    """40 rows, 8 to a part, each part of two speakers of its own with all four classes."""
    rows = np.arange(40)
    return Table(
        name,
        rows % 4,
        np.array([f"{name}/{row // 4}" for row in rows]),
        np.full(40, "1"),
        NAMES,
        utterance_ids=np.array([f"{name}_{row}" for row in rows]),
        splits=np.array([told[row // 8] for row in rows]),
        **columns,
    )


def planned(train, mode="published", test=(), validation="random", **options):
    return plan_folds(train, list(test), mode, validation, 0.25, options=ProtocolOptions(**options))


def parts(side):
    return [(part.name, part.rows.tolist()) for part in side]


def test_what_parts_are_called():
    assert [part_of(name) for name in (*MSPP_SPLIT, "dev", "Valid", "test", "Test 2", "test-b", "EVAL")] == [
        "train", "validation", "test1", "test2", "test3", "validation", "validation", "test", "test2", "testb", "test",
    ]  # fmt: skip
    assert [part_of(name) for name in ("", "rest", "tested", "trains", "unlabelled")] == [None] * 5


def test_three_test_parts_are_kept_apart():
    (fold,) = planned([podcast()])
    assert parts(fold.train) == [("MSPP", list(range(8)))]
    assert parts(fold.validation) == [("MSPP", list(range(8, 16)))]
    assert parts(fold.test) == [
        ("MSPP:test1", list(range(16, 24))), ("MSPP:test2", list(range(24, 32))),
        ("MSPP:test3", list(range(32, 40))),
    ]  # fmt: skip
    assert fold.protocol.names_validation and fold.overlap.speakers == 0 and not fold.overlap
    assert "8 rows of MSPP:test1 + MSPP:test2" not in fold.description
    assert "24 rows of MSPP:test1 + MSPP:test2 + MSPP:test3 are tested once" in fold.description
    assert "chosen on 8 rows of MSPP (the split's own validation part)" in fold.description


def test_one_test_part_is_called_as_the_corpus_is():
    meld = podcast("MELD", ("train", "train", "dev", "test", "test"))
    (fold,) = planned([podcast(), meld])
    assert [name for name, _ in parts(fold.test)] == ["MSPP:test1", "MSPP:test2", "MSPP:test3", "MELD"]
    assert parts(fold.train)[1] == ("MELD", list(range(16)))
    assert parts(fold.validation)[1] == ("MELD", list(range(16, 24)))


def test_without_a_validation_part_the_recipes_rule_takes_one():
    corpus = podcast(told=("train", "train", "train", "test", "test"))
    (fold,) = planned([corpus], validation="speakers")
    assert not fold.protocol.names_validation
    taken = rows_of(fold.validation, "MSPP")
    assert 0 < len(taken) < 24 and sorted([*taken, *rows_of(fold.train, "MSPP")]) == list(range(24))


def test_other_corpora_are_tested_by_their_test_parts_or_whole():
    whole, split = replace(podcast("B"), splits=None), podcast("C", ("train", "train", "dev", "test", "test"))
    (fold,) = planned([podcast("A", ("train", "train", "dev", "test", "test"))], test=[whole, split])
    assert parts(fold.test) == [("A", list(range(24, 40))), ("B", list(range(40))), ("C", list(range(24, 40)))]


LEAKY = np.array([f"MSPP/{row // 4 % 4}" for row in range(40)])


def test_speakers_on_both_sides_are_refused_dropped_or_said():
    leaky = replace(podcast(), speakers=LEAKY)
    with pytest.raises(InputError) as error:
        planned([leaky])
    assert (
        "fold published leaks: 4 of 4 tested speakers (MSPP/0, MSPP/1, MSPP/2, MSPP/3) have training or validation "
        "rows" in str(error.value)
    )
    assert "allow_overlap" in str(error.value) and "disjoint_by" in str(error.value)
    (fold,) = planned([leaky], allow_overlap=True)
    assert fold.overlap.speakers == 4 and fold.protocol.shares_speakers
    assert fold.description.endswith("; tested speakers that are trained on too: 4")
    (plain,) = planned([podcast()])
    assert fold_rows(fold) == fold_rows(plain)
    one = replace(podcast(), speakers=np.where(np.arange(40) == 17, "MSPP/0", podcast().speakers))
    (fold,) = planned([one], disjoint_by=["speaker"])
    assert parts(fold.train) == [("MSPP", [4, 5, 6, 7])] and fold.dropped == {"speaker": 4}
    with pytest.raises(InputError, match="no validation rows: each part needs some; disjoint_by drops 16"):
        planned([leaky], disjoint_by=["speaker"])


def test_recordings_on_both_sides_are_refused_dropped_or_said():
    numbers = np.arange(40)
    numbers[[18, 33]] = 3
    numbers[9] = -1
    corpus = podcast(recordings=numbers)
    with pytest.raises(InputError, match="recordings of 2 test rows, the first of them row 18 .'MSPP_18' of MSPP."):
        planned([corpus])
    (fold,) = planned([corpus], disjoint_by=["recording"])
    assert parts(fold.train) == [("MSPP", [0, 1, 2, 4, 5, 6, 7])] and fold.dropped == {"recording": 1}
    (fold,) = planned([corpus], allow_overlap=True)
    assert (fold.overlap.speakers, fold.overlap.recordings) == (0, 2)
    assert fold.description.endswith("; test rows whose recording is trained on too: 2")


def test_unknown_speakers_are_no_speaker_and_said():
    names = podcast().speakers
    unknown = replace(podcast(), speakers=np.where(np.isin(np.arange(40), (0, 1, 20, 30)), "MSPP/unknown", names))
    (fold,) = planned([unknown])
    assert fold.overlap.unknown == (("training", 2), ("test", 2)) and fold.overlap.speakers == 0
    assert fold.description.endswith("; it is not known who speaks in 2 training rows, 2 test rows")
    (fold,) = planned([replace(podcast(), speakers=np.full(40, "MSPP/unknown"))])
    assert fold.overlap.speakers is None


NO_SPLIT = {
    "no split at all": (replace(podcast(), splits=None), ["MSPP has no split", '"columns": {"split": ...}']),
    "rows without one": (
        replace(podcast(), splits=np.where(np.arange(40) < 3, "", podcast().splits)),
        ["3 rows of MSPP have no split", "row 'MSPP_0' of MSPP", '"leave_out": {"split": [null]}'],
    ),
    "another part": (podcast(told=(*MSPP_SPLIT[:4], "Tets3")), ["MSPP has the part 'Tets3'", "leave_out"]),
    "no test part": (podcast(told=("train", "train", "train", "dev", "dev")), ["fold published has no test rows"]),
    "no training part": (podcast(told=("test", "test", "dev", "dev", "dev")), ["fold published has no training rows"]),
    "a class that isn't trained on": (
        replace(podcast(), labels=np.where(np.arange(40) < 8, 0, np.arange(40) % 4)),
        ["fold published has no training row of class 'happy', 'sad', 'anger'"],
    ),
}


@pytest.mark.parametrize("case", NO_SPLIT)
def test_a_wrong_split_is_refused_by_name(case):
    corpus, said = NO_SPLIT[case]
    with pytest.raises(InputError) as error:
        planned([corpus])
    assert all(words in str(error.value) for words in said), str(error.value)


# ---- manifests ------------------------------------------------------------------------------------------------------


def told(*rows, corpus=""):
    return [
        ManifestRow((name,), corpus, fold, part, f"m.csv, row {number}")
        for number, (name, fold, part) in enumerate(rows, 1)
    ]


def ten_folds(validation=False):
    """Fold k tests the rows 4k to 4k + 3, one speaker; the next four validate, the rest is trained on."""
    rows = []
    for fold in range(10):
        for row in range(40):
            part = "test" if row // 4 == fold else "train"
            if validation and row // 4 == (fold + 1) % 10:
                part = "valid"
            rows.append((f"MSPP_{row}", str(fold + 1), part))
    return told(*rows)


@pytest.mark.parametrize("validation", [False, True])
def test_ten_folds_of_a_manifest(validation):
    corpus = replace(podcast(), splits=None)
    folds = planned([corpus], "manifest", manifest=ten_folds(validation))
    assert [fold.name for fold in folds] == [f"fold-{number}" for number in range(1, 11)]
    for number, fold in enumerate(folds):
        assert parts(fold.test) == [("MSPP", list(range(4 * number, 4 * number + 4)))]
        sides = [rows_of(side, "MSPP").tolist() for side in (fold.train, fold.validation, fold.test)]
        assert sorted(sum(sides, [])) == list(range(40))
        if validation:
            after = 4 * ((number + 1) % 10)
            assert sides[1] == list(range(after, after + 4)) and fold.protocol.names_validation
    assert folds[0].overlap.speakers == 0


def test_a_manifest_may_leave_rows_out_and_have_several_tests():
    rows = told(
        *((f"MSPP_{row}", "a", "train") for row in range(8)), *((f"MSPP_{row}", "a", "test1") for row in range(8, 12)),
        *((f"MSPP_{row}", "a", "test2") for row in range(12, 16)),
    )  # fmt: skip
    rows += told(*((f"MSPP_{row}", "a", "val") for row in range(16, 20)))
    (fold,) = planned([podcast()], "manifest", manifest=rows)
    assert fold.name == "fold-a"
    assert parts(fold.test) == [("MSPP:test1", [8, 9, 10, 11]), ("MSPP:test2", [12, 13, 14, 15])]
    assert "20 rows are in none of these" in fold.description
    # A row that the recipe leaves out of the corpus (of another label, say) is passed over, and said.
    left_out = replace(podcast(), left_out=frozenset(["MSPP_a", "MSPP_b"]))
    more = [*rows, *told(("MSPP_a", "a", "train"), ("MSPP_b", "a", "test1"))]
    (again,) = planned([left_out], "manifest", manifest=more)
    assert fold_rows(again) == fold_rows(fold) and "2 utterances of the manifest are left out" in again.description


def test_a_manifest_of_two_corpora():
    a, b = replace(podcast("A"), splits=None), replace(podcast("B"), splits=None)
    rows = [*told(*((f"A_{row}", "1", "train") for row in range(40)), corpus="A")]
    rows += told(*((f"B_{row}", "1", "test") for row in range(40)))
    (fold,) = planned([a], "manifest", test=[b], manifest=rows)
    assert parts(fold.test) == [("B", list(range(40)))]
    alike = replace(b, utterance_ids=a.utterance_ids)
    with pytest.raises(InputError, match=r"m.csv, row 1: utterance 'A_0' is in several corpora \(A, B\)"):
        planned([a], "manifest", test=[alike], manifest=told(("A_0", "1", "train")))
    with pytest.raises(InputError, match="m.csv, row 1: 'C' is none of the experiment's corpora"):
        planned([a], "manifest", test=[b], manifest=told(("A_0", "1", "train"), corpus="C"))


GOOD = [(f"MSPP_{row}", "1", "train" if row < 20 else "test") for row in range(40)]
WRONG = {
    "an unknown utterance": (
        [*GOOD, ("nobody", "1", "test"), ("MSPP_40", "1", "test")],
        ["m.csv, row 41", "'nobody' of fold 1 is in no corpus", "(MSPP); 2 such utterances of 42"],
    ),
    "a row in two parts": (
        [*GOOD, ("MSPP_3", "1", "test")],
        ["m.csv, row 41", "row 'MSPP_3' of MSPP is in both train and test of fold 1", "before in m.csv, row 4"],
    ),
    "a row twice": ([*GOOD, ("MSPP_3", "1", "train")], ["row 'MSPP_3' of MSPP is twice in train of fold 1"]),
    "another part": ([*GOOD[:-1], ("MSPP_39", "1", "tets")], ["m.csv, row 40", "'tets' of fold 1", "'test'"]),
    "a fold without a class": (
        [(name, fold, part) for name, fold, part in GOOD if int(name[5:]) % 4 != 2 or part == "test"],
        ["fold fold-1 has no training row of class 'sad'"],
    ),
    "a fold without test": ([each for each in GOOD if each[2] == "train"], ["fold fold-1 has no test rows"]),
    "a row tested twice": (
        [*GOOD, *((name, "2", part) for name, _, part in GOOD)],
        ["fold fold-2 tests row 20 ('MSPP_20' of MSPP) again, which fold 'fold-1' tests"],
    ),
    "validation in one fold alone": (
        [(n, "1", "valid" if n == "MSPP_0" else p) for n, _, p in GOOD[:32]]
        + [(f"MSPP_{row}", "2", "train" if row < 32 else "test") for row in range(40)],
        ["fold fold-2 has no validation rows, and others have"],
    ),
    "no rows": ([], ["the manifest has no rows"]),
    "speakers on both sides": (
        [(f"MSPP_{row}", "1", "test" if row % 5 == 0 else "train") for row in range(40)],
        ["fold fold-1 leaks: 8 of 8 tested speakers (MSPP/0, ", ", ...) have training or validation rows"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_manifest_is_refused_by_name(case):
    rows, said = WRONG[case]
    with pytest.raises(InputError) as error:
        planned([replace(podcast(), splits=None)], "manifest", manifest=told(*rows))
    assert all(words in str(error.value) for words in said), str(error.value)
