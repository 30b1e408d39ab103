import math

import pytest

from emomm.errors import InputError
from emomm.settings.recipe import load_recipe
from emomm.settings.settings import settings_identity

YAML = """\
# In the layout of the original system
wandb_project: "Words and voice"

template_config: &template
  seeds: [42, 123]
  learning_rate: 9e-3
  weight_decay: 5e-6
  num_epochs: 30
  train_dataset: "IEMO"
  evaluation_mode: "cross_corpus"
  audio_dim: 768
  num_classes: 4
  class_weights:
    neutral: 1.0
    happy: 1.0
    sad: 1.0
    anger: 1.0
  use_curriculum_learning: true
  dropout: 0.1
  expected_vad:
    0: [3.0, 2.5, 3.0]  # neutral
    1: [4.0, 3.8, 3.8]  # happy
    2: [1.8, 2.2, 2.0]  # sad
    3: [1.8, 4.2, 4]  # anger
EXTRA
experiments:
  - <<: *template
    id: 1
    name: "Full System"
    category: "main"
    description: "all of it"
  - <<: *template
    name: "Baseline"
    use_curriculum_learning: false
    dropout: 0.2
"""


@pytest.fixture
def load(tmp_path):
    """Loads the YAML above with lines added to its shared block."""

    def _load(extra="", text=YAML, **options):
        path = tmp_path / "seed.yaml"
        path.write_text(text.replace("EXTRA\n", extra), encoding="utf-8")
        return load_recipe(path, **options)

    return _load


def error_of(load, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        load(*args, **kwargs)
    return str(caught.value)


def test_the_layout_loads(load):
    recipe = load()
    assert recipe.name == "seed"
    assert recipe.notes == []
    full, base = recipe.experiments
    assert (full.name, full.description, base.name) == ("Full System", "all of it", "Baseline")
    assert (full.dropout, base.dropout) == (0.1, 0.2)
    assert (full.use_curriculum_learning, base.use_curriculum_learning) == (True, False)
    assert (full.learning_rate, full.weight_decay) == (0.009, 5e-6)
    assert full.expected_vad == {
        "neutral": [3.0, 2.5, 3.0],
        "happy": [4.0, 3.8, 3.8],
        "sad": [1.8, 2.2, 2.0],
        "anger": [1.8, 4.2, 4.0],
    }
    assert full.class_weights == "none"
    assert (full.wandb_project, full.seeds, full.num_classes) == ("Words and voice", [42, 123], 4)
    assert full.loss == "cross_entropy"


def test_overrides_hold_for_yaml_too(load):
    recipe = load(overrides={"num_epochs": "20"}, experiment="baseline", seeds=[5])
    assert [(s.num_epochs, s.seeds) for s in recipe.experiments] == [(20, [5])]


@pytest.mark.parametrize("name", ["template", "baseline", "defaults"])
def test_other_names_of_the_shared_block(load, name):
    assert len(load(text=YAML.replace("template_config", name)).experiments) == 2


def test_a_key_given_twice_is_noted_and_the_last_holds(load):
    recipe = load("  batch_size: 32\n  num_epochs: 25\n")
    assert recipe.notes == ["key 'num_epochs' given twice, at lines 8 and 26: the last holds"]
    assert recipe.experiments[0].num_epochs == 25
    assert recipe.experiments[0].batch_size == 32


def test_focal_gamma_means_focal_loss_and_is_noted(load):
    recipe = load("  focal_gamma: 1.5\n  loss_temperature: 2000\n")
    assert [(s.loss, s.focal_gamma, s.loss_temperature) for s in recipe.experiments] == [("focal", 1.5, 2000.0)] * 2
    assert recipe.notes == ["every experiment: focal_gamma is given (1.5), so loss is focal"]


def test_class_weights_by_number_or_name(load):
    text = YAML.replace("    sad: 1.0\n", "    2: 2.0\n")
    assert load(text=text).experiments[0].class_weights == {"neutral": 1.0, "happy": 1.0, "sad": 2.0, "anger": 1.0}
    assert "'sad' by name and by number" in error_of(load, text=YAML.replace("    anger: 1.0\n", "    2: 1.0\n"))
    message = error_of(load, text=YAML.replace("    3: [1.8", "    4: [1.8"))
    assert "experiment 'Full System'" in message
    assert "expected_vad has the key 4, but classes are 0 neutral, 1 happy, 2 sad, 3 anger" in message


@pytest.mark.parametrize("value", ["none", "null"])
def test_no_scheduler(load, value):
    assert load(f"  lr_scheduler: {value}\n").experiments[0].lr_scheduler == "none"


def test_curriculum_schedule(load):
    settings = load(
        "  use_curriculum_lr_schedule: true\n  curriculum_start_lr_multiplier: 2.0\n"
        "  curriculum_end_lr_multiplier: 0.5\n  post_curriculum_lr_multiplier: 1\n  curriculum_lr_decay: linear\n",
        experiment=0,
        text=YAML.replace("    use_curriculum_learning: false\n", ""),
    ).experiments[0]
    assert settings.lr_scheduler == "curriculum"
    assert settings.lr_scheduler_kwargs == {"start": 2.0, "end": 0.5, "post": 1.0, "decay": "linear"}


def test_keys_of_a_schedule_that_is_off_are_noted(load):
    recipe = load("  use_curriculum_lr_schedule: false\n  curriculum_start_lr_multiplier: 2.0\n")
    assert recipe.experiments[0].lr_scheduler == "cosine"
    assert recipe.experiments[0].lr_scheduler_kwargs == {}
    assert "curriculum_start_lr_multiplier don't hold" in recipe.notes[0]


def test_half_period_of_the_cosine_is_the_same_curve(load):
    assert load("  lr_scheduler_T_max: 30\n").experiments[0].lr_scheduler_kwargs == {}
    recipe = load("  lr_scheduler: cosine\n  lr_scheduler_T_max: 40\n")
    cycles = recipe.experiments[0].lr_scheduler_kwargs["num_cycles"]
    for epoch in range(31):  # torch: cos(pi t / T_max); transformers: cos(2 pi cycles t / total)
        assert math.cos(math.pi * epoch / 40) == pytest.approx(math.cos(2 * math.pi * cycles * epoch / 30))
    assert "num_cycles 0.375" in recipe.notes[0]
    assert "whole number" in error_of(load, "  lr_scheduler_T_max: soon\n")


@pytest.mark.parametrize(
    ("extra", "parts"),
    [
        ("  audio_encoder_type: wave2vec\n", ['audio_encoder_type is "wave2vec"', "hubert", "mean 'wav2vec2'?"]),
        ("  audio_encoder_type: hubert\n  audio_pooling: cls\n", ['audio_pooling is "cls"', "must be mean"]),
        ("  audio_encoder_type: hubert\n  freeze_audio_encoder: 1\n", ["freeze_audio_encoder is 1", "true or false"]),
        ("  single_test_session: 5\n", ["single_test_session (5)", "every session"]),
        ("  fusion_type: gatd\n", ["fusion_type", "Did you mean 'gated'?"]),
        ("  7: 3\n", ["the key 7 is no name"]),
        ("  use_curriculum_lr_schedule: 1\n", ["must be true or false"]),
    ],
)
def test_what_has_no_counterpart_is_refused(load, extra, parts):
    message = error_of(load, extra)
    assert "seed.yaml, experiment 'Full System'" in message
    for part in parts:
        assert part in message


def test_features_that_were_extracted_are_what_it_trains_on(load):
    assert load("  audio_encoder_type: preextracted\n").experiments[0] == load().experiments[0]


@pytest.mark.parametrize(
    ("extra", "name", "tuning"),
    [
        ("  audio_encoder_type: wav2vec2\n", "facebook/wav2vec2-base", "frozen"),
        ("  audio_encoder_type: hubert\n  freeze_audio_encoder: true\n", "facebook/hubert-base-ls960", "frozen"),
        ("  audio_encoder_type: hubert\n  freeze_audio_encoder: false\n", "facebook/hubert-base-ls960", "full"),
        ("  audio_encoder_type: wav2vec2\n  audio_model_name: own/wav2vec2\n", "own/wav2vec2", "frozen"),
        ("  audio_encoder_type: wav2vec2\n  audio_pooling: mean\n", "facebook/wav2vec2-base", "frozen"),
    ],
)
def test_an_encoder_of_the_voice_reads_recordings(load, extra, name, tuning):
    for settings in load(extra).experiments:
        found = (settings.voice_input, settings.speech_model_name, settings.speech_tuning)
        assert found == ("recording", name, tuning)


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        ("  freeze_audio_encoder: false\n", "audio_encoder_type is preextracted, so freeze_audio_encoder (false)"),
        (
            "  audio_model_name: x\n  audio_pooling: cls\n",
            'audio_model_name ("x"), audio_pooling ("cls") changes noth',
        ),
        ("  use_text_cache: false\n", "use_text_cache (false) changes nothing: states of a frozen"),
        ("  device: cuda\n", 'device ("cuda") changes nothing: the launcher'),
        ("  vad_weights: [1, 2, 3]\n", "difficulty_method is euclidean_distance, so vad_weights doesn't hold"),
    ],
)
def test_a_key_without_effect_is_noted(load, extra, note):
    recipe = load(extra)
    assert len(recipe.experiments) == 2
    assert any(note in said for said in recipe.notes)
    assert settings_identity(recipe.experiments[0]) == settings_identity(load().experiments[0])


def test_a_curriculum_schedule_without_a_curriculum_is_noted(load):
    recipe = load("  use_curriculum_lr_schedule: true\n  curriculum_epochs: 10\n")
    assert [settings.lr_scheduler for settings in recipe.experiments] == ["curriculum", "cosine"]
    assert recipe.notes == [
        "'Baseline': use_curriculum_lr_schedule changes nothing without a curriculum: lr_scheduler is cosine"
    ]


def test_an_experiment_that_can_not_run_is_left_out_and_said(load):
    text = YAML.replace("    dropout: 0.2", "    dropout: 2") + '  - name: "Third"\n    audio_encoder_type: ears\n'
    recipe = load(text=text + '  - name: "Full system"\n  - name: "Last"\n')
    assert [settings.name for settings in recipe.experiments] == ["Full System", "Last"]
    assert [reason.partition("seed.yaml, ")[2][:24] for reason in recipe.left_out[:2]] == [
        "experiment 'Baseline': d",
        "experiment 'Third': audi",
    ]
    assert "dropout is 2, but must be" in recipe.left_out[0]
    assert "'Full System' and 'Full system', would share the folder" in recipe.left_out[2]
    assert load(text=text + '  - name: "Last"\n', experiment=3).experiments[0].name == "Last"
    assert "dropout is 2" in error_of(load, text=text, experiment="Baseline")
    assert "audio_encoder_type is" in error_of(load, text=text, experiment=2)


def test_a_syntax_error_has_line_and_column(load):
    message = error_of(load, "`\n")
    assert "seed.yaml, line 25, column 1: no valid YAML: found character '`'" in message
    assert "undefined alias" in error_of(load, text=YAML.replace("&template", ""))


def test_a_shared_block_that_nothing_takes_in(load):
    message = error_of(load, text=YAML.replace("<<: *template", "dropout: 0.1", 2))
    assert "line 4: no experiment takes in the shared block 'template_config'" in message


def test_another_layout(load):
    assert "needs `experiments`" in error_of(load, text="a: 1\n")
    assert "needs `experiments`" in error_of(load, text="")
    assert "experiment 0" in error_of(load, text="experiments: [3]\n")
    assert "is null" in error_of(load, text="experiments:\n  - dropout: 0.1\n")


def test_what_a_file_leaves_out_is_the_original_systems_default(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text("experiments:\n  - name: first\n  - name: second\n    learning_rate: 1e-5\n    hidden_dim: 32\n")
    first, second = load_recipe(path).experiments
    assert (first.learning_rate, first.hidden_dim, first.fusion_hidden_dim, first.dropout) == (9e-3, 1024, 512, 0.1)
    assert first.use_curriculum_learning and first.use_difficulty_scaling and first.use_speaker_disentanglement
    assert (second.learning_rate, second.hidden_dim, second.fusion_hidden_dim) == (1e-5, 32, 512)
