"""Leave one speaker or corpus out, folds by speaker: the rows of each part, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from test_protocols import NAMES
from test_protocols import rows_of
from test_protocols import table

from emomm.errors import InputError
from emomm.evaluation.folds import Table
from emomm.evaluation.folds import plan_folds
from emomm.evaluation.folds import speakers_in_both
from emomm.evaluation.protocols import ProtocolOptions


def people(counts, name="EMODB", **columns):
    """Rows of speakers 1, 2, ..., one after the other, each with so many rows: labels 0, 1, 2, 3, 0, ... of each."""
    of_rows = np.repeat(np.arange(1, len(counts) + 1), counts)
    return Table(
        name,
        np.concatenate([np.arange(count) % 4 for count in counts]),
        np.array([f"{name}/{number}" for number in of_rows]),
        np.full(len(of_rows), "unknown"),
        NAMES,
        utterance_ids=np.array([f"u{row}" for row in range(len(of_rows))]),
        **columns,
    )


def planned(train, mode, validation="random", seed=0, **options):
    return plan_folds(train, [], mode, validation, 0.25, seed, options=ProtocolOptions(**options))


def rows_tested(folds, name="EMODB"):
    return [rows_of(fold.test, name).tolist() for fold in folds]


def test_each_speaker_is_tested_once_by_models_of_the_others():
    corpus = people([8, 12, 8])
    folds = planned([corpus], "leave_speaker_out", "speakers")
    assert [fold.name for fold in folds] == ["speaker-1", "speaker-2", "speaker-3"]
    assert rows_tested(folds) == [list(range(8)), list(range(8, 20)), list(range(20, 28))]
    for fold in folds:
        others = np.concatenate([rows_of(side, "EMODB") for side in (fold.train, fold.validation)])
        assert sorted(others.tolist() + rows_of(fold.test, "EMODB").tolist()) == list(range(28))
        assert speakers_in_both(fold.train, fold.validation, [corpus]) == []
    assert folds[0].protocol.name == "leave_speaker_out" and not folds[0].protocol.own
    assert folds[1].description.startswith(
        "leave_speaker_out (Leave one speaker out: a fold for each speaker of each training corpus, tested by models "
        "that are trained on the others), fold speaker-2 (trained without speaker 2 of EMODB): trained on 8 rows"
    )


def test_speakers_of_several_corpora_are_left_out_in_turn():
    folds = planned([people([8, 8], "A"), people([8] * 10, "B")], "leave_speaker_out")
    names = ["A-speaker-1", "A-speaker-2", *(f"B-speaker-{number}" for number in range(1, 11))]
    assert [fold.name for fold in folds] == names
    assert [part.corpus for part in folds[0].test] == ["A"]
    assert {part.corpus for part in folds[0].train} == {"A", "B"}


def played(sessions=("1", "1", "1", "1", "2", "2", "2", "3"), scripts="abacabca", each=8, name="EMODB"):
    """Two rows of each of four labels for each pair of a session and a script; two speakers in each session."""
    sessions = np.repeat(np.array([*sessions]), each)
    scripts = np.repeat(np.array([script and f"{name}/script{script}" for script in scripts]), each)
    corpus = people([len(sessions)], name)
    speakers = np.array([f"{name}/{session}{row % 2}" for row, session in enumerate(sessions)])
    return replace(corpus, speakers=speakers, sessions=sessions, scripts=scripts)


def test_each_script_of_each_session_is_tested_by_models_of_the_others():
    corpus = played()
    folds = planned([corpus], "leave_script_out")
    tested = dict(zip([fold.name for fold in folds], rows_tested(folds), strict=True))
    assert tested == {
        "session-1-scripta": [*range(8), *range(16, 24)],
        "session-1-scriptb": [*range(8, 16)],
        "session-1-scriptc": [*range(24, 32)],
        "session-2-scripta": [*range(32, 40)],
        "session-2-scriptb": [*range(40, 48)],
        "session-2-scriptc": [*range(48, 56)],
        "session-3-scripta": [*range(56, 64)],
    }
    others = {
        fold.name: np.concatenate([rows_of(fold.train, "EMODB"), rows_of(fold.validation, "EMODB")]) for fold in folds
    }
    assert sorted(others["session-1-scripta"].tolist()) == list(range(40, 56))
    assert sorted(others["session-1-scriptb"].tolist()) == [*range(32, 40), *range(48, 64)]
    assert sorted(others["session-3-scripta"].tolist()) == [*range(8, 16), *range(24, 32), *range(40, 56)]


def test_scripts_of_two_corpora_are_two():
    """Each corpus' scripts are left out of that corpus alone: they are called alike, and others."""
    folds = planned([played(), played(name="B")], "leave_script_out")
    assert [fold.name for fold in folds][::7] == ["EMODB-session-1-scripta", "B-session-1-scripta"]
    assert sum(len(part.rows) for part in (*folds[0].train, *folds[0].validation)) == 16 + 64


def test_disjoint_by_script_drops_the_others_rows_of_a_tested_script():
    corpus = played(("1", "1", "2", "2", "3", "3"), "abbcde")
    folds = planned([corpus], "loso", disjoint_by=["script"])
    assert [fold.dropped for fold in folds] == [{"script": 8}, {"script": 8}, {"script": 0}]
    trained = np.concatenate([rows_of(folds[0].train, "EMODB"), rows_of(folds[0].validation, "EMODB")])
    assert sorted(trained.tolist()) == list(range(24, 48))
    with pytest.raises(InputError, match="rows: each part needs some; disjoint_by drops 16.*leave_script_out"):
        planned([played("1123", "abaa")], "loso", disjoint_by=["script"])
    together = planned([corpus], "group_folds", folds=2, disjoint_by=["script"])
    assert {"3" in corpus.sessions[rows] for rows in rows_tested(together)} == {True, False}


def test_scripts_that_are_not_known_are_refused():
    with pytest.raises(InputError, match="16 rows of EMODB are of no script, and leave-one-script-out needs one for"):
        planned([played("1123", ["a", "", "", "b"])], "leave_script_out")
    with pytest.raises(InputError, match="needs two scripts or more, EMODB has 1"):
        planned([played("1123", "aaaa")], "leave_script_out")
    with pytest.raises(InputError, match="leave-one-script-out needs 2 sessions or more"):
        planned([played("1111", "abab")], "leave_script_out")
    with pytest.raises(
        InputError, match="no row has a script that is known: take it out, or give the corpus a column"
    ):
        planned([people([8, 8])], "leave_speaker_out", disjoint_by=["script"])


def test_each_of_three_corpora_is_tested_by_a_model_of_the_other_two():
    corpora = [people([8, 8], "A"), people([12], "B"), people([16, 4, 4], "C")]
    folds = planned(corpora, "leave_corpus_out")
    assert [fold.name for fold in folds] == ["corpus-A", "corpus-B", "corpus-C"]
    for fold, left_out in zip(folds, corpora, strict=True):
        assert [(part.corpus, part.rows.tolist()) for part in fold.test] == [
            (left_out.name, list(range(len(left_out))))
        ]
        for corpus in corpora:
            sides = [rows_of(side, corpus.name) for side in (fold.train, fold.validation)]
            expected = [] if corpus is left_out else list(range(len(corpus)))
            assert sorted(np.concatenate(sides).tolist()) == expected
    with pytest.raises(InputError, match="leave-one-corpus-out needs two training corpora or more, there is A alone"):
        planned(corpora[:1], "leave_corpus_out")
    same = replace(corpora[2], speakers=np.array([name.replace("C/1", "A/1") for name in corpora[2].speakers]))
    with pytest.raises(InputError, match="the corpora share speakers; disjoint_by"):
        planned([corpora[0], same], "leave_corpus_out")
    folds = planned([corpora[0], corpora[1], same], "leave_corpus_out", disjoint_by=["speaker"])
    assert [fold.dropped for fold in folds] == [{"speaker": 16}, {"speaker": 0}, {"speaker": 8}]


@pytest.mark.parametrize("seed", range(4))
def test_seven_speakers_in_five_folds(seed):
    corpus = people([8, 8, 8, 8, 8, 8, 12])
    folds = planned([corpus], "group_folds", fold_seed=seed)
    assert [fold.name for fold in folds] == [f"fold-{number}" for number in range(1, 6)]
    assert sorted(row for rows in rows_tested(folds) for row in rows) == list(range(60))
    by_fold = [sorted(set(corpus.speakers[rows].tolist())) for rows in rows_tested(folds)]
    assert sorted(name for names in by_fold for name in names) == sorted(set(corpus.speakers.tolist()))
    assert sorted(map(len, by_fold)) == [1, 1, 1, 2, 2]
    for fold, rows in zip(folds, rows_tested(folds), strict=True):
        assert set(corpus.labels[rows].tolist()) == {0, 1, 2, 3}
        trained = np.concatenate([rows_of(side, "EMODB") for side in (fold.train, fold.validation)])
        assert sorted([*trained.tolist(), *rows]) == list(range(60))
        assert speakers_in_both(fold.train + fold.validation, fold.test, [corpus]) == []
    # The folds are those of the fold_seed alone.
    assert rows_tested(planned([corpus], "group_folds", seed=9, fold_seed=seed)) == rows_tested(folds)


def test_another_fold_seed_draws_other_folds():
    corpus = people([8] * 20)
    drawn = {str(rows_tested(planned([corpus], "group_folds", fold_seed=seed))) for seed in range(5)}
    assert len(drawn) == 5


def test_folds_have_all_classes_where_that_can_be():
    """Four speakers alone have class 3: two folds of them, where a draw could put all into one."""
    corpus = people([6] * 12)
    labels = np.array(corpus.labels) % 3
    labels[np.isin(np.arange(72) // 6, (0, 3, 7, 9)) & (np.arange(72) % 6 == 5)] = 3
    for seed in range(10):
        folds = planned([replace(corpus, labels=labels)], "group_folds", folds=4, fold_seed=seed)
        assert all(set(labels[rows].tolist()) == {0, 1, 2, 3} for rows in rows_tested(folds))


def test_who_shares_a_sentence_stays_together_where_that_leaves_enough_groups():
    sentences = np.array([0] * 8 + [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8)
    corpus = people([8] * 5, sentences=sentences)
    (first, second) = planned([corpus], "group_folds", folds=2, disjoint_by=["transcript"])
    assert "5 speakers in 4 groups in EMODB stay together" in first.description
    sides = [set(sentences[rows].tolist()) for rows in rows_tested([first, second])]
    assert not sides[0] & sides[1] and first.dropped == {"transcript": 0}
    # All say sentence 0 once: rows are dropped instead.
    everybody = np.arange(40)
    everybody[::8] = 0
    folds = planned([replace(corpus, sentences=everybody)], "group_folds", folds=5, disjoint_by=["transcript"])
    assert [fold.dropped for fold in folds] == [{"transcript": 4}] * 5
    assert sum(len(part.rows) for part in (*folds[0].train, *folds[0].validation)) == 32 - 4
    assert "4 training and validation rows are dropped" in folds[0].description


def test_what_can_not_be_divided_is_refused():
    corpus = people([8] * 4)
    with pytest.raises(InputError, match="folds is 5, but EMODB has 4 speakers: lower folds"):
        planned([corpus], "group_folds")
    unknown = replace(corpus, speakers=np.where(np.arange(32) < 8, "EMODB/unknown", corpus.speakers))
    for mode in ("group_folds", "leave_speaker_out"):
        with pytest.raises(InputError, match="8 rows of EMODB are of an unknown speaker.*leave_out"):
            planned([unknown], mode, folds=2)
    with pytest.raises(InputError, match="needs two speakers or more, EMODB has 1"):
        planned([people([8])], "leave_speaker_out")
    alone = replace(corpus, labels=np.where(np.arange(32) < 8, 3, corpus.labels % 3))
    with pytest.raises(InputError, match="fold speaker-1 has no training row of class 'anger'"):
        planned([alone], "leave_speaker_out")


def test_disjoint_by_drops_training_rows_of_any_protocol():
    corpus = table(rows=120)
    recordings = np.arange(120)
    first, other = np.flatnonzero(corpus.sessions == "1")[0], np.flatnonzero(corpus.sessions == "3")[:2]
    recordings[other] = recordings[first]
    corpus = replace(corpus, recordings=recordings)
    plain = plan_folds([corpus], [], "loso", "session")
    folds = planned([corpus], "loso", "session", disjoint_by=["speaker", "recording"])
    assert [fold.dropped for fold in folds] == [
        {"speaker": 0, "recording": 2}, {"speaker": 0, "recording": 0}, {"speaker": 0, "recording": 1},
        {"speaker": 0, "recording": 0}, {"speaker": 0, "recording": 0},
    ]  # fmt: skip
    assert set(rows_of(plain[0].train, "IEMO")) - set(rows_of(folds[0].train, "IEMO")) == set(other.tolist())
    assert set(rows_of(plain[2].train, "IEMO")) - set(rows_of(folds[2].train, "IEMO")) == {first}
    assert folds[0].description.startswith(plain[0].description + "; 2 training and validation rows are dropped")
    with pytest.raises(InputError, match="disjoint_by holds transcript, but no row has a transcript that is known"):
        planned([corpus], "loso", "session", disjoint_by=["transcript"])
