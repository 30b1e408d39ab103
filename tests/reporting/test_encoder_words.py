"""How encoders were tuned, in words, in the terminal and on the page; and what their layers weigh."""

import json

import numpy as np
import pytest
from test_report_data import fabricate

from emomm.corpora.contamination import contamination_of
from emomm.reporting.encoder_words import encoder_lines
from emomm.reporting.encoder_words import encoders_table
from emomm.reporting.encoder_words import layer_weights
from emomm.reporting.encoder_words import layers_in_words
from emomm.reporting.encoder_words import trained_in_words
from emomm.reporting.encoder_words import tuning_in_words
from emomm.reporting.report_data import read_report
from emomm.reporting.results_table import results_notes
from emomm.reporting.tables import layer_weights_table
from emomm.reporting.tables import settings_table
from emomm.reporting.tables import time_table
from emomm.reporting.words import caveats

FEATURES = {"encoder": "wavlm-base-plus", "model_type": "wavlm", "width": 768, "num_layers": 12}
FROZEN = {"name": "microsoft/wavlm-base-plus", "tuning": "frozen", "layers": "last", "features": FEATURES}
LORA = {
    **FROZEN,
    "tuning": "lora",
    "tuned_layers": None,
    "learning_rate": 2e-4,
    "layer_decay": 1.0,
    "lora": {"rank": 8, "alpha": 16.0, "dropout": 0.0, "targets": None},
}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (FROZEN, "frozen"),
        (LORA, "LoRA of rank 8 (alpha 16) in all its layers, at a learning rate of 0.0002"),
        (
            {**LORA, "tuned_layers": 2, "lora": {**LORA["lora"], "dropout": 0.1, "targets": ["q_proj", "v_proj"]}},
            "LoRA of rank 8 (alpha 16, dropout 0.1) on q_proj and v_proj in its last 2 layers, at a learning rate of "
            "0.0002",
        ),
        (
            {**LORA, "tuning": "last_k", "tuned_layers": 1, "learning_rate": 2e-5, "layer_decay": 0.9},
            "its last layer tuned, at a learning rate of 2e-05, times 0.9 from each layer to the one below",
        ),
        (
            {**LORA, "tuning": "full", "learning_rate": 2e-5},
            "tuned as a whole but for its convolutions, at a learning rate of 2e-05",
        ),
        (
            {**LORA, "tuning": "full", "learning_rate": 2e-5, "convolutions": True},
            "tuned as a whole, convolutions too, at a learning rate of 2e-05",
        ),
    ],
)
def test_tunings_in_words(said, expected):
    assert tuning_in_words(said) == expected


def test_layers_in_words():
    named = {"last": "last layer", "mean": "mean of all layers", "weighted": "learned weights of all layers"}
    for layers, words in [*named.items(), ([9], "layer 9"), ([3, 6, 9], "mean of layers 3, 6 and 9")]:
        assert layers_in_words({"layers": layers}) == words


def test_the_terminal_says_how_each_encoder_was_tuned():
    words = {"name": "bert-base-uncased", "tuning": "frozen", "layers": "last"}
    entry = {"name": "one", "runs": [], "summary": {}, "text_encoder": words, "speech_encoder": LORA}
    (line,) = encoder_lines(entry)
    assert line == f"voice by microsoft/wavlm-base-plus: {tuning_in_words(LORA)}; last layer"
    assert f"one: {line}." in results_notes({"experiments": [entry]})
    entry["text_encoder"] = {**words, "layers": "mean"}
    assert encoder_lines(entry)[1] == "words by bert-base-uncased: frozen; mean of all layers"
    before = {"runs": [], "text_encoder": {"name": "bert-base-uncased", "sha256": "0", "local": False}}
    assert encoder_lines(before) == [] and encoder_lines({"runs": [], "text_encoder": None}) == []
    assert trained_in_words({}) == ""
    assert trained_in_words({"parameters": {"trained": 12345, "all": 1000000}}) == "12,345 of 1,000,000 (1.2 %)"


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A fabricated job whose first experiment reads recordings by learned weights of layers."""
    folder = fabricate(tmp_path_factory.mktemp("tuned") / "made")
    results = json.loads((folder / "results.json").read_text())
    first = results["experiments"][0]
    first["speech_encoder"] = {**LORA, "layers": "weighted"}
    for number, run in enumerate(first["runs"]):
        run["layer_weights"] = {"speech": [0.2, 0.3 + 0.01 * number, 0.5 - 0.01 * number]}
        run["parameters"] = {"trained": 10, "all": 100}
        path = folder / "experiment-0" / f"seed-{run['seed']}" / run["fold"] / "history.json"
        history = json.loads(path.read_text())
        for entry in history:
            if "curriculum/pool_size" in entry or "curriculum/pool_fraction" in entry:
                entry["padding"] = 0.25 if number % 2 else 0.15
        path.write_text(json.dumps(history))
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_the_report_says_what_was_tuned_weighed_and_padded(job):
    data = read_report([job])
    entries = {each.name: each.entry for each in data.experiments}
    table = encoders_table(entries)
    assert table.columns[-1] == "parameters trained" and table.rows == [
        ["experiment-0", "voice", LORA["name"], tuning_in_words(LORA), "learned weights of all layers"]
        + ["10 of 100 (10.0 %)"]
    ]
    without = {name: {**entry, "runs": []} for name, entry in entries.items()}
    assert encoders_table(without).columns[-1] == "layers" and not encoders_table({"x": {"runs": []}}).rows
    assert np.shape(layer_weights(entries["experiment-0"])["speech"]) == (6, 3)
    weights = layer_weights_table(data)
    assert weights.rows[1] == ["experiment-0", "voice", 1, pytest.approx(0.325), 0.3, pytest.approx(0.35)]
    assert [row[2] for row in weights.rows] == [0, 1, 2]
    times = time_table(data)
    assert times.columns[-1] == "padding (% of a batch)"
    assert times.rows[0][-1] == pytest.approx(20) and times.rows[1][-1] is None
    first = data.experiments[0]
    assert first.settings.get("speech_model_name", LORA["name"]) == LORA["name"]
    assert settings_table(data, differing=False).rows


def test_the_page_shows_the_weights_of_layers(job):
    pytest.importorskip("matplotlib", reason="a report needs matplotlib: pip install emomm[report]")
    from emomm.reporting import figures
    from emomm.reporting import page

    section = page.Section("training", "")
    page._sketch_training(read_report([job]).experiments[0], section)
    (drawn,) = [(each.name, each.caption, each.alt) for each in section.sketches if each.name.startswith("layers")]
    assert drawn == (
        "layers-speech-experiment-0",
        "experiment-0: weights of the layers that hear the voice",
        "experiment-0: weights of the layers that hear the voice: layer 2 has the highest, 0.48 of 1 on average.",
    )
    shares = np.array([[0.25, 0.75], [0.35, 0.65]])
    axes = figures.layers_figure(shares).axes[0]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.3, 0.7])
    assert axes.lines[0].get_ydata().tolist() == [0.25, 0.75, 0.35, 0.65]


@pytest.mark.parametrize(
    ("encoder", "labelled", "expected"),
    [
        ("emotion2vec_plus_large", None, "The numbers on IEMO are contaminated: emotion2vec_plus_large"),
        ("mine", True, "The numbers on IEMO are contaminated: mine"),
        ("emotion2vec_base", False, None),
    ],
)
def test_a_tuned_encoder_knows_what_its_base_had_seen(job, encoder, labelled, expected):
    features = {**FEATURES, "encoder": encoder, "model_type": "emotion2vec", "trained_with_labels": labelled}
    card = {"name": "IEMO", "extractor": "none: the recordings themselves", "caveat": ""}
    warning = contamination_of(card, {**LORA, "features": features})
    assert warning is None if expected is None else warning.startswith(expected)
    assert contamination_of(card) is None
    data = read_report([job])
    data.experiments[0].entry.update(corpora=[card], speech_encoder={**LORA, "features": features})
    assert [text for text in caveats(data) if "contaminated" in text] == ([] if warning is None else [warning])


def test_audeerings_encoder_has_heard_msp_podcast():
    features = {**FEATURES, "encoder": "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"}
    card = {"name": "MSPP", "extractor": "none: the recordings themselves"}
    assert "MSP-Podcast" in contamination_of(card, {**LORA, "features": features})
    assert contamination_of({**card, "name": "emodb"}, {**LORA, "features": features}) is None
