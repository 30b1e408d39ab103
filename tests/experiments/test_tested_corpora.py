"""Which corpora cross-corpus evaluation tests on where the recipe leaves that open."""

import pytest

from emomm.corpora.builtin import resolve_specs
from emomm.corpora.loading import load_corpus
from emomm.corpora.places import NotThere
from emomm.errors import InputError
from emomm.experiments import tested_corpora as module
from emomm.settings.settings import Settings

SMALL = {"generator": {"rows": 12, "speakers": 2, "sessions": 2, "audio_dim": 4, "frames": [1, 1], "words": [1, 2]}}


def chosen(reachable=None, **given):
    """The names and the notes, and which names were asked for."""
    settings = Settings(evaluation_mode="cross_corpus", **given)
    specs, asked = resolve_specs(settings.corpora, settings.corpus), []

    def load(name):
        asked.append(name)
        if reachable is None:
            return load_corpus(specs[name])
        if name not in reachable:
            raise NotThere(f"corpus {name}: not reachable") from ConnectionError()
        return load_corpus(specs["synthetic"])

    try:
        found, notes = module.tested_corpora(settings, specs, load)
    except InputError as error:
        return str(error), asked
    return [corpus.name for corpus in found], notes, asked


def test_own_corpora_are_tested_on_those_that_the_recipe_names():
    """The licensed ones of the Hub were asked for one after the other, and then the job was refused."""
    corpora = {name: SMALL for name in ("one", "two", "three")}
    assert chosen(train_dataset="one", corpora=corpora) == (["two", "three"], [], ["two", "three"])
    assert chosen(train_dataset=["one", "two"], corpora=corpora, test_datasets=["emodb"])[0] == ["emodb"]
    told, asked = chosen(train_dataset="one", corpora={"one": SMALL})
    assert asked == [] and "the recipe names no corpus but those trained on: name others in test_datasets" in told


def test_what_cannot_be_reached_is_left_out_and_said(tmp_path):
    corpora = {"one": SMALL, "two": SMALL, "gone": {"path": str(tmp_path / "gone")}}
    names, notes, _ = chosen(train_dataset="one", corpora=corpora)
    assert names == ["two"]
    assert notes == [
        "gone is not tested on: it can't be reached (there is no such place); --corpus gone=PATH gives a copy"
    ]
    told, _ = chosen(train_dataset="one", corpora={"one": SMALL, "gone": corpora["gone"]})
    assert "no corpus to test on can be reached" in told and "there is no " in told


def test_a_corpus_that_is_there_and_wrong_is_no_corpus_that_is_not_there(tmp_path):
    (tmp_path / "wrong.csv").write_text("speaker,label\na,odd\n")
    told, _ = chosen(train_dataset="one", corpora={"one": SMALL, "wrong": {"path": str(tmp_path / "wrong.csv")}})
    assert told.startswith("corpus wrong, row 'wrong/0'") and "'odd'" in told


def test_the_corpora_of_the_hub_go_together():
    names, notes, asked = chosen(("MSPP",), train_dataset="IEMO")
    assert len(names) == 1 and asked == ["MSPI", "MSPP", "CMUMOSEI", "SAMSEMO"] and len(notes) == 3
    told, _ = chosen((), train_dataset="IEMO")
    assert "can be reached" in told and "MSPI" in told
    # Where others are named, those are meant.
    assert chosen(("MSPI",), train_dataset="IEMO", corpus={"IEMO": "a", "MSPI": "b"})[2] == ["MSPI"]


def test_leave_one_session_out_asks_for_none():
    settings = Settings(train_dataset="IEMO", evaluation_mode="loso")
    assert module.tested_corpora(settings, resolve_specs({}, {}), pytest.fail) == ([], [])
