"""What a protocol of a user's own gives: taken as it is where it holds up, else refused by fold and row."""

from dataclasses import replace

import numpy as np
import pytest
from test_protocols import NAMES
from test_protocols import as_lists
from test_protocols import rows_of
from test_protocols import table

from emomm.errors import InputError
from emomm.evaluation.folds import Table
from emomm.evaluation.folds import fold_rows
from emomm.evaluation.folds import plan_folds
from emomm.registry import load_own

HEAD = "import numpy as np\nfrom emomm import Split, register_protocol\n\n"
DOC = '    """A split for a test.\n\n    Not said.\n    """\n'


def small():
    """24 rows of 6 speakers in 3 sessions, each class twice with each session's; ids row-0, row-1, ..."""
    numbers = np.arange(24)
    return Table(
        "IEMO",
        numbers % 4,
        np.array([f"IEMO/{n // 4}" for n in numbers], dtype=object),
        np.array([str(n // 8) for n in numbers]),
        NAMES,
        utterance_ids=np.array([f"row-{n}" for n in numbers], dtype=object),
        transcripts=np.array([f"words {n % 5}" for n in numbers]),
    )


@pytest.fixture
def planned(tmp_path):
    """The folds of a protocol with this body: `planned(body, **arguments)`."""

    def plan(body, train=None, test=(), validation="session", seed=0, **registered):
        path = tmp_path / "mine.py"
        options = "".join(f", {key}={value}" for key, value in registered.items())
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        path.write_text(f"{HEAD}@register_protocol('mine'{options})\ndef mine(rows):\n{DOC}{lines}")
        load_own(path)
        return plan_folds([small()] if train is None else train, list(test), "mine", validation, 0.2, seed, str(path))

    return plan


BY_SESSION = "s = rows.sessions\nreturn [Split('a', s == '0', s == '2', s == '1')]"


def test_numbers_masks_and_generators_are_the_same_folds(planned):
    (fold,) = planned(BY_SESSION)
    assert [rows_of(side, "IEMO").tolist() for side in (fold.train, fold.validation, fold.test)] == [
        list(range(8)), list(range(8, 16)), list(range(16, 24)),
    ]  # fmt: skip
    others = [
        "return (Split('a', range(8), list(range(16, 24))[::-1], np.arange(8, 16)),)",
        "yield Split('a', np.arange(24) < 8, [r for r in range(24) if r >= 16], tuple(range(8, 16)))",
    ]
    for body in others:
        assert as_lists(planned(body)) == as_lists([fold])
    assert fold.description == (
        "mine, a protocol of its user's own (A split for a test), fold a: trained on 8 rows of IEMO; 8 rows of IEMO "
        "are tested once, after training; the epoch is chosen on 8 rows of IEMO (8 rows that the protocol names)"
    )
    assert (fold.protocol.about, fold.protocol.names_validation, fold.overlap.speakers) == (
        "A split for a test",
        True,
        0,
    )


@pytest.mark.parametrize("validation", ["session", "speakers", "random"])
def test_validation_rows_that_are_not_named_are_taken_by_the_recipes_rule(planned, validation):
    big = replace(table(), utterance_ids=None)
    body = (
        "for s in np.unique(rows.sessions):\n    yield Split(f'session-{s}', rows.sessions != s, rows.sessions == s)"
    )
    found = planned(body, [big], validation=validation, seed=3)
    ours = plan_folds([big], [], "loso", validation, 0.2, 3)
    if validation != "session":  # the draws of loso, of folds of these names
        assert [fold_rows(fold) for fold in found] == [fold_rows(fold) for fold in ours]
    for fold in found:
        sides = [rows_of(side, "IEMO") for side in (fold.train, fold.validation, fold.test)]
        assert np.array_equal(np.sort(np.concatenate(sides)), np.arange(200)) and not fold.protocol.names_validation
    if validation == "session":  # the last one that is trained on
        assert [set(big.sessions[fold.validation[0].rows]) for fold in found] == [*[{"5"}] * 4, {"4"}]


def test_other_corpora_are_for_testing_and_rows_may_be_left_out(planned):
    other = replace(small(), name="MSPP", speakers=np.array([f"MSPP/{n // 8}" for n in range(24)]))
    body = "c, s = rows.may_train, rows.sessions\n"
    body += "yield Split('a', c & (s == '0'), np.flatnonzero(~c)[:5], c & (s == '1'))"
    (fold,) = planned(body, test=[other])
    assert [(part.corpus, part.rows.tolist()) for part in fold.test] == [("MSPP", [0, 1, 2, 3, 4])]
    assert len(fold.train[0].rows) == 8 and len(fold.validation[0].rows) == 8
    assert fold.description.endswith("; 27 rows are in none of these")


def test_what_a_protocol_sees(planned):
    body = (
        "assert np.char.startswith(rows.utterance_ids, 'row-1').sum() == 11\n"
        "assert rows.utterance_ids[3] == 'row-3' and rows.transcripts[6] == 'words 1' and rows.seed == 7\n"
        "assert rows.label_names[rows.labels[2]] == 'sad' and rows.training_corpora == ('IEMO',) and len(rows) == 24\n"
    )
    assert planned(body + BY_SESSION, seed=7)


def test_known_speakers_are_refused_or_counted(planned):
    known = "yield Split('a', range(10), [10, 11, 20], range(12, 16))\n"
    with pytest.raises(InputError, match="fold 'a': speaker 'IEMO/2' is in both training and test") as error:
        planned(known)
    assert "shares_speakers=True" in str(error.value) and "session '1' of IEMO" in str(error.value)
    more = "yield Split('b', range(12), range(12, 20), range(20, 24))"
    first, second = planned(known + more, shares_speakers=True)
    assert "; 7 rows are in none of these; " in first.description
    assert (first.overlap.speakers, second.overlap.speakers) == (1, 0)
    assert first.description.endswith("; tested speakers that are trained on too: 1")
    assert "speakers" not in second.description
    unknown = replace(small(), speakers=np.full(24, "IEMO/unknown"))
    (fold,) = planned(BY_SESSION, [unknown], shares_speakers=True)
    assert fold.overlap.speakers is None and "not known whether tested speakers" in fold.description
    with pytest.raises(InputError, match="IEMO/unknown"):
        planned(BY_SESSION, [unknown])


WRONG = {
    "a row in training and test": (
        "return [Split('a', range(9), range(8, 16), range(16, 24))]",
        ["fold 'a'", "row 8 ('row-8' of IEMO)", "both training and test", "1 such rows"],
    ),
    "a row in validation and test": (
        "return [Split('a', range(8), range(8, 17), range(16, 24))]",
        ["row 16", "both validation and test"],
    ),
    "a row in training and validation": (
        "return [Split('a', range(9), range(16, 24), range(8, 16))]",
        ["row 8", "both training and validation"],
    ),
    "a speaker in validation and test": (
        "return [Split('a', range(8), range(16, 22), range(22, 24))]",
        ["'IEMO/5' is in both validation and test"],
    ),
    "a row tested twice": (
        "return [Split(n, range(8), range(16, 24), range(8, 16)) for n in 'ab']",
        ["fold 'b' tests row 16", "again, which fold 'a' tests", "8 such rows"],
    ),
    "a row twice in a part": ("return [Split('a', [0, 1, 1], [9], [16])]", ["training row 1 more than once"]),
    "a row too many": (
        "return [Split('a', [0, 1], [24], [16])]",
        ["fold 'a'", "test row 24", "not among the 24 rows"],
    ),
    "a row from the end": ("return [Split('a', [0, 1], [9], [-1])]", ["validation row -1", "not among"]),
    "half a row": ("return [Split('a', [0.5], [9], [16])]", ["float64 (1,)", "from 0 to 23"]),
    "a mask that is short": ("return [Split('a', np.ones(3, bool), [9], [16])]", ["bool (3,)", "mask of 24"]),
    "a list of lists": ("return [Split('a', [[0], [1, 2]], [9], [16])]", ["training rows that are [[0], [1, 2]]"]),
    "a huge number": ("return [Split('a', [2**70], [9], [16])]", ["training rows that are [1180591620717411303424]"]),
    "a large number": ("return [Split('a', np.uint64([2**63 + 1]), [9], [16])]", ["training row 9223372036854775809"]),
    "a set": ("return [Split('a', {0, 1}, [9], [16])]", ["training rows that are {0, 1}"]),
    "no rows": ("return [Split('a', None, [9], [16])]", ["training rows that are None"]),
    "an empty test": ("return [Split('a', range(8), [], [16])]", ["fold 'a' has no test rows"]),
    "an empty validation": ("return [Split('a', range(8), [16], [])]", ["fold 'a' has no validation rows"]),
    "an empty training": ("return [Split('a', [], range(8), [16])]", ["fold 'a' has no training rows"]),
    "a class that is not trained": ("return [Split('a', [0, 1, 2], [9], [16])]", ["no training row of class 'anger'"]),
    "validation in one fold only": (
        "return [Split('a', range(8), [16], [9]), Split('b', range(8), [17])]",
        ["not in fold 'b'", "in every fold, or in none"],
    ),
    "names twice": ("return [Split('a', range(8), [n], [9]) for n in (16, 17)]", ["two folds the name 'a'"]),
    "no name": ("return [Split(3, range(8), [16], [9])]", ["the name 3", "must be a text"]),
    "no folds": ("return []", ["gave no folds", "at least one"]),
    "nothing": ("pass", ["gave None", "each a Split"]),
    "tuples": ("return [([0], [9], [16])]", ["gave ([0], [9], [16])", "each a Split"]),
    "an error in a generator": (
        "yield Split('a', [0], [9], [16])\nraise KeyError('ids.txt')",
        ["mine.py, line 11: KeyError"],
    ),
    "a draw of its own": (
        "r = np.random.permutation(24)\nreturn [Split('a', r[:8], r[8:16], r[16:])]",
        ["other folds when it was asked a second time", "rows.seed"],
    ),
    "labels written to": ("rows.labels[0] = 1\nreturn []", ["mine.py, line 10: ValueError", "read-only"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_hold_up_is_refused(planned, case):
    body, said = WRONG[case]
    with pytest.raises(InputError) as error:
        planned(body)
    message = str(error.value)
    assert all(words in message for words in said), message
    assert "mine" in message and "\n" not in message


def test_rows_of_other_corpora_are_not_trained_on(planned):
    other = replace(small(), name="MSPP", speakers=np.array([f"MSPP/{n // 8}" for n in range(24)]))
    with pytest.raises(InputError, match=r"row 40 \('row-16' of MSPP\) is among the validation rows.*test_datasets"):
        planned("return [Split('a', range(8), range(8, 16), [16, 40])]", test=[other])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("@register_protocol('mine')\ndef mine(rows):\n    return []\n", "'mine' has no docstring"),
        ("@register_protocol('loso')\ndef mine(rows):\n    'Mine.'\n", "'loso' is EmoMM's own"),
        ("register_protocol('mine')(3)\n", "must be a function, got 3"),
    ],
)
def test_what_cannot_be_registered(tmp_path, code, message):
    (tmp_path / "other.py").write_text(HEAD + code)
    with pytest.raises((TypeError, ValueError), match=message):
        load_own(tmp_path / "other.py")
