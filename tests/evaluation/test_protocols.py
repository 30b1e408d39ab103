"""Folds on tables made here: nothing tested is ever trained on, and what cannot hold up is refused by name."""

from dataclasses import replace

import numpy as np
import pytest

from emomm.errors import InputError
from emomm.evaluation.folds import Table
from emomm.evaluation.folds import plan_folds
from emomm.evaluation.folds import speakers_in_both
from emomm.evaluation.protocols import natural_key

NAMES = ("neutral", "happy", "sad", "anger")


def table(name="IEMO", sessions=5, rows=200, seed=0, speakers_a_session=3, first_session=1):
    """Rows in mixed order; every speaker belongs to one session."""
    rng = np.random.default_rng(seed)
    speaker = rng.integers(0, sessions * speakers_a_session, rows)
    return Table(
        name=name,
        labels=rng.integers(0, 4, rows),
        speakers=np.array([f"{name}/{number}" for number in speaker]),
        sessions=(speaker // speakers_a_session + first_session).astype(str),
        label_names=NAMES,
    )


def rows_of(parts, corpus):
    return next((part.rows for part in parts if part.corpus == corpus), np.array([], dtype=int))


def sessions_of(parts, of_table):
    return set(of_table.sessions[rows_of(parts, of_table.name)].tolist())


def as_lists(folds):
    return [
        (fold.name, fold.description)
        + tuple([(p.corpus, p.rows.tolist()) for p in side] for side in (fold.train, fold.validation, fold.test))
        for fold in folds
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("validation", ["session", "speakers", "random", "random_unstratified"])
@pytest.mark.parametrize("mode", ["loso", "cross_corpus", "both"])
def test_no_tested_row_or_speaker_is_trained_on(mode, validation, seed):
    train = [table("IEMO", 4, 300, seed), table("MSPI", 3, 250, seed + 50)]
    test = [table("MSPP", 1, 40, seed), table("MOSEI", 1, 30, seed)]
    folds = plan_folds(train, test, mode, validation, 0.25, seed)
    assert len(folds) == {"loso": 7, "cross_corpus": 1, "both": 8}[mode]
    assert len({fold.name for fold in folds}) == len(folds)
    for fold in folds:
        for side in (fold.train, fold.validation, fold.test):
            assert side and all(len(part.rows) and part.rows.dtype == np.int64 for part in side)
            assert all(np.array_equal(part.rows, np.unique(part.rows)) for part in side)
            assert len({part.corpus for part in side}) == len(side)
        for corpus in train:
            sides = [rows_of(side, corpus.name) for side in (fold.train, fold.validation, fold.test)]
            together = np.concatenate(sides)
            assert np.array_equal(np.sort(together), np.arange(len(corpus)))  # each row on exactly one side
        trained = fold.train + fold.validation
        assert speakers_in_both(trained, fold.test, [*train, *test]) == []
        assert not {part.corpus for part in trained} & {corpus.name for corpus in test}
        if not validation.startswith("random"):
            assert speakers_in_both(fold.train, fold.validation, train) == []


def test_loso_tests_and_validates_each_session_once():
    corpus = table(sessions=5, first_session=8)  # 8 to 12: "10" sorts before "8" as text
    folds = plan_folds([corpus], [], "loso", "session")
    assert [fold.name for fold in folds] == [f"session-{s}" for s in (8, 9, 10, 11, 12)]
    assert [sessions_of(fold.test, corpus) for fold in folds] == [{"8"}, {"9"}, {"10"}, {"11"}, {"12"}]
    assert [sessions_of(fold.validation, corpus) for fold in folds] == [{"9"}, {"10"}, {"11"}, {"12"}, {"8"}]
    assert sessions_of(folds[1].train, corpus) == {"8", "11", "12"}
    assert "session 10 of IEMO" in folds[1].description and "without session 9 of IEMO" in folds[1].description


def test_loso_with_several_corpora_keeps_the_others_whole():
    iemo, mspi = table("IEMO", 3), table("MSPI", 2, seed=1)
    folds = plan_folds([iemo, mspi], [], "loso", "session")
    assert [fold.name for fold in folds] == [
        "IEMO-session-1",
        "IEMO-session-2",
        "IEMO-session-3",
        "MSPI-session-1",
        "MSPI-session-2",
    ]
    assert len(rows_of(folds[0].train, "MSPI")) == len(mspi)
    assert [part.corpus for part in folds[0].validation] == ["IEMO"]
    assert sessions_of(folds[2].validation, iemo) == {"1"}
    assert [part.corpus for part in folds[4].train] == ["IEMO"]  # one session tested, the other validates


def test_cross_corpus_tests_every_row_and_validates_on_the_last_session():
    iemo, mspi, mspp = table("IEMO", 11, 600), table("MSPI", 2, seed=1), replace(table("MSPP", 1), test_only=True)
    (fold,) = plan_folds([iemo, mspi], [mspp], "cross_corpus", "session")
    assert fold.name == "cross-corpus"
    assert sessions_of(fold.validation, iemo) == {"11"} and sessions_of(fold.validation, mspi) == {"2"}
    assert [(part.corpus, part.rows.tolist()) for part in fold.test] == [("MSPP", list(range(200)))]
    assert "session 11 of IEMO, session 2 of MSPI" in fold.description


def test_cross_corpus_needs_no_sessions_without_validation_by_session():
    bare = replace(table(), sessions=np.full(200, ""))
    (fold,) = plan_folds([bare], [table("MSPP")], "cross_corpus", "random")
    assert len(fold.train[0].rows) + len(fold.validation[0].rows) == 200


def test_validation_by_speakers_takes_the_fraction_of_each_corpus():
    iemo, mspi = table("IEMO", 5, 600), table("MSPI", 2, 300, seed=1)
    for fold in plan_folds([iemo, mspi], [], "loso", "speakers", 0.25, seed=3)[:5]:
        # 12 of IEMO's 15 speakers are left, and MSPI's 6
        assert len(set(iemo.speakers[rows_of(fold.validation, "IEMO")])) == 3
        assert len(set(mspi.speakers[rows_of(fold.validation, "MSPI")])) == 2
    two = table("IEMO", 2, speakers_a_session=1)
    (fold,) = plan_folds([two], [table("MSPP")], "cross_corpus", "speakers", 0.01)
    assert len(set(two.speakers[fold.validation[0].rows])) == 1  # one at least...
    (fold,) = plan_folds([two], [table("MSPP")], "cross_corpus", "speakers", 0.99)
    assert len(set(two.speakers[fold.train[0].rows])) == 1  # ...and one left to train on


def test_random_validation_is_stratified():
    labels = np.repeat([0, 1, 2, 3], [500, 250, 100, 50])
    corpus = replace(table(rows=900), labels=np.random.default_rng(0).permutation(labels))
    (fold,) = plan_folds([corpus], [table("MSPP")], "cross_corpus", "random", 0.2, seed=1)
    assert np.bincount(corpus.labels[fold.validation[0].rows]).tolist() == [100, 50, 20, 10]
    assert len(set(np.diff(fold.validation[0].rows))) > 3  # not a stretch


def test_unstratified_validation_is_a_plain_draw():
    """As torch's random_split with int(0.8 n) draws it: 727 rows and 182, of each class what comes."""
    labels = np.repeat([0, 1, 2, 3], [500, 250, 109, 50])
    corpus = replace(table(rows=909), labels=np.random.default_rng(0).permutation(labels))
    mixes = set()
    for seed in range(5):
        (fold,) = plan_folds([corpus], [table("MSPP")], "cross_corpus", "random_unstratified", 0.2, seed)
        train, validation = fold.train[0].rows, fold.validation[0].rows
        assert (len(train), len(validation)) == (727, 182)
        assert sorted([*train, *validation]) == list(range(909))
        mixes.add(tuple(np.bincount(corpus.labels[validation], minlength=4)))
        assert f"0.2 of the rows, of speakers that are also trained on, drawn with seed {seed}" in fold.description
    assert len(mixes) == 5 and 4 <= min(mix[3] for mix in mixes) < max(mix[3] for mix in mixes) <= 20


@pytest.mark.parametrize("validation", ["speakers", "random", "random_unstratified"])
def test_drawn_validation_follows_the_seed_and_nothing_else(validation):
    train, test = [table("IEMO", 4, 300), table("MSPI", 3, 300, 1)], [table("MSPP")]
    folds = plan_folds(train, test, "both", validation, seed=5)
    assert as_lists(folds) == as_lists(plan_folds(train, test, "both", validation, seed=5))
    assert as_lists(folds)[:-1] == as_lists(plan_folds(train, test, "loso", validation, seed=5))
    assert as_lists(folds)[-1:] == as_lists(plan_folds(train, test, "cross_corpus", validation, seed=5))
    other = plan_folds(train, test, "both", validation, seed=6)
    for fold, fold_of_other in zip(folds, other, strict=True):
        assert as_lists([fold])[0][2:4] != as_lists([fold_of_other])[0][2:4]
        assert as_lists([fold])[0][4] == as_lists([fold_of_other])[0][4]


def test_natural_order():
    assert sorted(["10", "2", "s10", "s9", "1b", "1"], key=natural_key) == ["1", "1b", "2", "10", "s9", "s10"]


def swapped(of_table, field, where, value):
    values = getattr(of_table, field).astype(object)
    values[where] = value
    return replace(of_table, **{field: values.astype(str)})


def test_a_speaker_in_training_and_test_is_named_with_the_sessions():
    base = table()
    row = np.flatnonzero(base.sessions == "4")[0]
    leaky = swapped(base, "speakers", row, base.speakers[base.sessions == "2"][0])
    with pytest.raises(InputError, match=f"speaker '{leaky.speakers[row]}' is in both training and test") as error:
        plan_folds([leaky], [], "loso", "random")
    assert "session '4' of IEMO" in str(error.value) and "session '2' of IEMO" in str(error.value)
    assert "session-2" in str(error.value)


def test_a_speaker_in_validation_and_test_is_refused():
    base = table(speakers_a_session=1)
    row = np.flatnonzero(base.sessions == "2")[0]  # session 2 validates when session 1 is tested
    leaky = swapped(base, "speakers", row, base.speakers[base.sessions == "1"][0])
    with pytest.raises(InputError, match="validation and test"):
        plan_folds([leaky], [], "loso", "session")


def test_a_speaker_in_training_and_validation_is_refused_unless_random():
    base = table(sessions=3)
    shared = swapped(
        base, "speakers", np.flatnonzero(base.sessions == "3")[:2], base.speakers[base.sessions == "1"][0]
    )
    with pytest.raises(InputError, match="both training and validation"):
        plan_folds([shared], [table("MSPP")], "cross_corpus", "session")
    assert plan_folds([shared], [table("MSPP")], "cross_corpus", "random")


def test_a_speaker_of_two_corpora_is_found():
    base = table()
    test = swapped(table("MSPP"), "speakers", 7, base.speakers[0])
    with pytest.raises(InputError, match="training and test|validation and test") as error:
        plan_folds([base], [test], "cross_corpus", "random", 0.05)
    assert "of MSPP" in str(error.value) and "of IEMO" in str(error.value)


def test_a_class_that_no_training_row_has_is_named():
    base = table()
    labels = np.where((base.labels == 2) & (base.sessions != "3"), 0, base.labels)
    with pytest.raises(InputError, match="fold session-3 has no training row of class 'sad'"):
        plan_folds([replace(base, labels=labels)], [], "loso", "speakers")


@pytest.mark.parametrize(
    ("train", "arguments", "message"),
    [
        ([table(sessions=1)], ("loso", "random"), "needs 2 sessions or more, IEMO has 1"),
        ([table(sessions=1), table("MSPI")], ("loso", "random"), "needs 2 sessions or more, IEMO has 1"),
        ([table(sessions=2)], ("loso", "session"), "needs 3 sessions or more, IEMO has 2"),
        ([table(sessions=1)], ("cross_corpus", "session"), "needs 2 sessions or more"),
        ([swapped(table(), "sessions", [3, 4], "")], ("loso", "random"), "2 rows of IEMO have no session"),
        ([swapped(table(), "sessions", ..., "unknown")], ("loso", "random"), "200 rows of IEMO have no session"),
        ([table(sessions=1, speakers_a_session=1)], ("cross_corpus", "speakers"), "two speakers or more"),
        ([replace(table(), test_only=True)], ("loso", "random"), "testing only"),
        ([table(rows=0)], ("loso", "random"), "IEMO has no rows"),
        ([], ("loso", "random"), "no training corpus"),
        ([table(), table()], ("loso", "random"), "IEMO is named twice"),
        ([table("MSPP")], ("cross_corpus", "random"), "MSPP is named twice"),
        ([replace(table(), label_names=NAMES[::-1])], ("cross_corpus", "random"), "one label space"),
        ([table()], ("loocv", "random"), "choose one of loso, cross_corpus, both"),
        ([table()], ("loso", "sessions"), "choose one of session, speakers, random, random_unstratified"),
        ([table()], ("loso", "random", 0.0), "validation_fraction is 0.0"),
        ([table()], ("loso", "random", 1.0), "validation_fraction is 1.0"),
        ([table()], ("loso", "random", 0.001), "no validation rows"),
        ([table()], ("loso", "random", 0.999), "no training row"),
    ],
)
def test_wrong_input_is_refused(train, arguments, message):
    with pytest.raises(InputError, match=message):
        plan_folds(train, [table("MSPP")], *arguments)


def test_cross_corpus_without_a_corpus_to_test_is_refused():
    with pytest.raises(InputError, match="cross-corpus has no test rows"):
        plan_folds([table()], [], "cross_corpus", "random")


def test_loso_does_not_read_the_test_corpora():
    plan_folds([table()], [table("IEMO", rows=0)], "loso", "random")
