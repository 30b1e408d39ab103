"""Audits of experiments: the folds of all seeds, and what encoders had seen before."""

import json

import numpy as np
import pytest

from emomm.experiments.auditing import audit_experiment
from emomm.experiments.auditing import audit_settings
from emomm.experiments.planning import folds_by_seed
from emomm.experiments.planning import load_data
from emomm.settings.settings import Settings

PROTOCOL = '''
import numpy as np
from emomm.evaluation.protocols import Split, register_protocol

@register_protocol("drawn", shares_speakers=True)
def drawn(rows):
    """Half of the rows, drawn by the seed: the third seed's are of all speakers."""
    half = np.arange(len(rows)) < len(rows) // 2 if rows.seed == 3 else np.isin(rows.speakers, ["mine/1", "mine/2"])
    return [Split("a", half, ~half)]
'''


def settings(**given):
    generator = {"rows": 96, "speakers": 4, "sessions": 2, "audio_dim": 8}
    plain = {"train_dataset": "mine", "corpora": {"mine": {"generator": generator}}, "validation": "random"}
    return Settings(**{**plain, "modality": "audio", "seeds": [1, 2, 3], **given})


def audited(**given):
    data = load_data(settings(**given), {})
    return audit_experiment(data, folds_by_seed(data), "mine", brief=True)


def test_folds_that_a_later_seed_draws_are_audited_too(tmp_path):
    (tmp_path / "drawn.py").write_text(PROTOCOL)
    own = {"evaluation_mode": "drawn", "protocol_module": str(tmp_path / "drawn.py")}
    first, found = audited(seeds=[1, 2], **own), audited(**own)
    assert not [each for each in first.problems if each.check == "speakers"]
    (told,) = [each for each in found.problems if each.check == "speakers"]
    assert told.text.startswith("4 of 4 tested speakers have training or validation rows, in 1 of 2 folds: mine/1")
    assert [part["fold"] for part in found.parts][::3] == ["a", "a, seed 2", "a, seed 3"]


def test_seeds_that_draw_validation_rows_alone_count_test_rows_once():
    found = audited()
    assert [part["fold"] for part in found.parts][::3] == [
        "session-1", "session-2", "session-1, seed 2", "session-2, seed 2", "session-1, seed 3", "session-2, seed 3",
    ]  # fmt: skip
    sentences = [each for each in found.findings if each.check == "sentences"]
    assert [each.numbers["tested"] for each in sentences] in ([], [96])
    few = audited(corpora={"mine": {"generator": {"rows": 36, "speakers": 4, "sessions": 2, "audio_dim": 8}}})
    (told,) = [each for each in few.problems if each.check == "class counts"]
    parts = [part for part in few.parts if part["part"] == "training" or part["fold"] in ("session-1", "session-2")]
    parts = [part for part in parts if part["part"] != "validation"]
    assert told.numbers == {"parts": sum(count < 5 for part in parts for count in part["classes"].values())}
    (told,) = [each for each in found.findings if each.check == "validation"]
    assert "in 6 of 6 folds" in told.text
    assert [part["fold"] for part in audited(validation="session", corpora=three_sessions()).parts][::3] == [
        "session-1", "session-2", "session-3",
    ]  # fmt: skip


def three_sessions():
    return {"mine": {"generator": {"rows": 96, "speakers": 6, "sessions": 3, "audio_dim": 8}}}


def test_a_row_on_both_other_sides_counts_once():
    """One of whose recording there are copies in training and in validation."""
    from test_auditing import fold
    from test_auditing import problems
    from test_auditing import rows

    recordings = np.arange(24)
    recordings[[0, 12, 16]] = 7
    found = problems(rows(recordings=recordings), fold(range(7), range(16, 24), range(12, 16)))
    assert found["recordings"].numbers == {"rows": 1, "tested": 8}


@pytest.mark.parametrize(
    ("encoder", "config", "problem", "told"),
    [
        ("emotion2vec_plus_base", {"model_type": "emotion2vec"}, "The numbers on IEMO are contaminated", "labels of"),
        ("mine", {"model_type": "emotion2vec", "trained_with_labels": True}, "The numbers on IEMO are cont", "262"),
        ("emotion2vec_base", {"model_type": "emotion2vec", "trained_with_labels": False}, "", "CMU-MOSEI, MEAD"),
        ("wavlm-base-plus", {"model_type": "wavlm"}, "", "94,000 hours"),
        ("my-own", {"model_type": "wavlm"}, "", ""),
    ],
)
def test_what_the_encoder_of_recordings_had_seen(encoder, config, problem, told, tmp_path):
    (tmp_path / encoder).mkdir()
    (tmp_path / encoder / "config.json").write_text(json.dumps(config))
    recorded = {"generator": {"kind": "tones", "rows": 32, "speakers": 4, "sessions": 2}}
    found = audit_settings(
        settings(
            train_dataset="IEMO", corpora={"IEMO": recorded}, voice_input="recording", store_dir=str(tmp_path),
            speech_model_name=str(tmp_path / encoder), speech_tuning="lora",
        ),
        {}, brief=True,
    )  # fmt: skip
    problems = [each.text for each in found.problems if each.check == "contamination"]
    assert [text.startswith(problem) for text in problems] == ([True] if problem else [])
    known = [each.text for each in found.findings if each.check == "encoders"]
    assert [told in text and text.startswith(f"{encoder} was trained on") for text in known] == (
        [True] if told else []
    )


@pytest.mark.parametrize(("modality", "found"), [("audio", 1), ("both", 1), ("text", 0)])
def test_what_made_the_features_counts_where_they_are_heard(modality, found):
    corpora = {"IEMO": {**three_sessions()["mine"], "extractor": "emotion2vec_plus_large", "audio_dim": 8}}
    given = {"train_dataset": "IEMO", "corpora": corpora, "modality": modality, "validation": "session"}
    problems = audited(**given).problems
    assert sum(each.check == "contamination" for each in problems) == found


def test_an_encoder_of_words_that_was_trained_on_the_corpus():
    found = audited(
        train_dataset="MELD", corpora={"MELD": three_sessions()["mine"]}, modality="text", validation="session",
        text_model_name="j-hartmann/emotion-english-distilroberta-base",
    )  # fmt: skip
    (told,) = [each for each in found.problems if each.check == "words"]
    assert told.text.startswith("The numbers on MELD are contaminated: j-hartmann/emotion-english-distilroberta-base")
