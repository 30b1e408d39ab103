"""Labels of several corpora as one set of classes."""

import pytest

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.builtin import resolve_specs
from emomm.corpora.shared_labels import SHARED
from emomm.corpora.shared_labels import shared_classes
from emomm.corpora.shared_labels import shared_name
from emomm.errors import InputError


def test_each_label_has_one_name():
    raws = [raw for names in SHARED.values() for raw in names]
    assert len(raws) == len(set(raws))
    assert all(name in raws and raws[0].islower() for name, raws in SHARED.items())
    assert shared_name("Angry") == shared_name("anger") == "anger" and shared_name("amused") == "amused"


def test_classes_of_a_corpus():
    labels = ["Neutral", "joy", "calm", "fearful", "other", "amused"]
    assert shared_classes(labels, "four") == (
        ["neutral", "happy"], {"Neutral": "neutral", "joy": "happy"}, ["calm", "fearful", "other", "amused"],
    )  # fmt: skip
    classes, label_map, dropped = shared_classes(labels, "all")
    assert classes == ["neutral", "happy", "fear", "calm", "amused"] and dropped == ["other"]
    assert label_map["fearful"] == "fear" and label_map["amused"] == "amused"
    assert shared_classes(labels, ["anger", "fear"])[0] == ["anger", "fear"]  # as listed, also what isn't there


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("five", 'classes is \'five\'; it must be "four", "all", or a list'),
        (["anger"], "at least two, each once"),
        (["anger", "anger"], "at least two, each once"),
        (["anger", "hapy"], "'hapy' is no shared name; Did you mean 'happy'?"),
    ],
)
def test_wrong_classes(classes, said):
    with pytest.raises(InputError) as error:
        resolve_specs({"EmoDB": {"classes": classes}}, {})
    assert str(error.value).startswith("corpus EmoDB: ") and said in str(error.value)


def test_classes_in_a_recipe():
    specs = resolve_specs(
        {
            "RAVDESS": {"classes": "four", "label_map": {"calm": "neutral"}},
            "EmoDB": {"classes": "all"},
            "IEMO": {"classes": "all"},
            "MSPI": {"classes": ["neutral", "sad"]},
            "mine": {"path": "x.csv", "classes": ["happy", "anger", "fear"]},
        },
        {},
    )
    assert specs["RAVDESS"].label_map["calm"] == "neutral" and "calm" not in specs["RAVDESS"].dropped_labels
    assert specs["EmoDB"].labels == ["neutral", "happy", "sad", "anger", "fear", "disgust", "boredom"]
    assert specs["IEMO"].label_map["excited"] == "excited" and specs["IEMO"].label_map["1"] == "happy"
    assert "contempt" not in specs["IEMO"].labels  # which IEMOCAP doesn't have
    assert specs["MSPI"].labels == ["neutral", "sad"] and {"happy", "1", "hap"} <= set(specs["MSPI"].dropped_labels)
    assert specs["mine"].label_map["joy"] == "happy" and "boredom" in specs["mine"].dropped_labels


def test_excited_counts_as_happy_until_it_is_asked_for():
    assert BUILTIN["IEMO"].label_map["excited"] == "happy"
    assert resolve_specs({"IEMO": {"classes": "four"}}, {})["IEMO"].label_map["excited"] == "happy"


def test_labels_and_classes_contradict():
    with pytest.raises(InputError, match="corpus EmoDB: classes and labels both say what classes there are"):
        resolve_specs({"EmoDB": {"classes": "all", "labels": ["a", "b"]}}, {})
