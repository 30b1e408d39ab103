import dataclasses
import json

import pytest

from emomm.errors import FromText
from emomm.errors import InputError
from emomm.job_folder import slug_of
from emomm.settings import values as checking
from emomm.settings.consistency import FUSION_TYPES
from emomm.settings.consistency import curriculum_notes
from emomm.settings.recipe import RECIPES
from emomm.settings.recipe import load_recipe
from emomm.settings.settings import FIELDS
from emomm.settings.settings import Settings
from emomm.settings.settings import settings_identity
from emomm.settings.values import check
from emomm.settings.values import describe
from emomm.settings.values import training_argument_kinds

EASY = {"use_curriculum_learning": True}


@pytest.fixture
def write(tmp_path):
    """Writes a recipe and gives its path."""

    def _write(recipe, name="mine.json"):
        path = tmp_path / name
        path.write_text(recipe if isinstance(recipe, str) else json.dumps(recipe), encoding="utf-8")
        return path

    return _write


@pytest.fixture
def no_transformers(monkeypatch):
    """Fails where TrainingArguments is asked for: a known key must not cost its import."""

    def _fail():
        raise AssertionError("TrainingArguments was imported")

    monkeypatch.setattr(checking, "training_argument_kinds", _fail)


@pytest.fixture
def few_training_arguments(monkeypatch):
    """A few of TrainingArguments' fields, without the seconds that importing it takes."""
    kinds = {"bf16": bool, "gradient_accumulation_steps": int, "max_grad_norm": float, "optim_args": str | None}
    monkeypatch.setattr(checking, "training_argument_kinds", lambda: kinds)


def error_of(*args, **kwargs):
    with pytest.raises(InputError) as caught:
        load_recipe(*args, **kwargs)
    return str(caught.value)


def test_recipes_keep_the_original_systems_numbers_where_the_defaults_are_others():
    """The defaults were chosen on validation scores (scripts/choose_defaults.py), and run on any corpus."""
    default, recipe = Settings(), load_recipe("multimodal").experiments[0]
    seed = (9e-3, 64, 512, 1024, 8, 30, 5e-6)
    names = ("learning_rate", "batch_size", "fusion_hidden_dim", "hidden_dim", "num_attention_heads", "num_epochs")
    names += ("weight_decay",)
    assert tuple(getattr(recipe, name) for name in names) == seed
    assert tuple(getattr(default, name) for name in names) == (3e-3, 64, 256, 256, 8, 60, 5e-6)
    assert (default.dropout, default.feature_normalization, default.fusion_block) == (0.3, "standardize", "normalized")
    assert not (default.use_curriculum_learning or default.use_difficulty_scaling)  # they need ratings
    assert (recipe.use_curriculum_learning, recipe.curriculum_epochs, recipe.curriculum_pacing) == (True, 15, "sqrt")
    assert recipe.use_speaker_disentanglement and not default.use_speaker_disentanglement
    assert (default.seeds, default.expected_vad["anger"]) == ([42, 123, 456], [1.8, 4.2, 4.0])


def test_defaults_are_not_shared():
    Settings().expected_vad["anger"].append(9.0)
    Settings().seeds.append(7)
    assert Settings().expected_vad["anger"] == [1.8, 4.2, 4.0]
    assert Settings().seeds == [42, 123, 456]


def test_every_field_has_one_short_sentence_of_help():
    for field in FIELDS.values():
        assert field.metadata["help"].endswith("."), field.name
        assert len(field.metadata["help"]) <= 120, field.name


def test_experiments_override_shared_fields_and_the_command_line_overrides_both(write, no_transformers):
    path = write(
        {
            "description": "what it is",
            "dropout": 0.3,
            "num_epochs": 20,
            "experiments": [{"name": "A b"}, {"name": "C+d", "dropout": 0.4, "num_train_epochs": 25}],
        }
    )
    recipe = load_recipe(path)
    assert (recipe.name, recipe.path, recipe.notes, recipe.description) == ("mine", path, [], "what it is")
    assert [s.name for s in recipe.experiments] == ["A b", "C+d"]
    assert [s.slug for s in recipe.experiments] == ["a-b", "c-d"]
    assert [s.dropout for s in recipe.experiments] == [0.3, 0.4]
    assert [s.num_epochs for s in recipe.experiments] == [20, 25]
    assert str(recipe.output_dir) == "runs/mine"
    recipe = load_recipe(path, {"dropout": "0.5", "seeds": "1,2"}, experiment="C+d", seeds=[7])
    assert [(s.name, s.dropout, s.seeds) for s in recipe.experiments] == [("C+d", 0.5, [7])]


def test_a_recipe_without_experiments_is_one(write):
    assert [s.name for s in load_recipe(write({"dropout": 0.3})).experiments] == ["mine"]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("9e-3", "learning_rate", 0.009),
        ("1", "learning_rate", 1.0),
        ("false", "freeze_text_encoder", False),
        (None, "freeze_text_encoder", True),
        ("12", "num_epochs", 12),
        ("none", "post_curriculum_dropout", None),
        ("none", "lr_scheduler", "none"),
        ("none", "class_weights", "none"),
        ("none", "report_to", []),
        ("all", "report_to", ["wandb", "tensorboard"]),
        ("wandb", "report_to", ["wandb"]),
        ('["wandb", "tensorboard"]', "report_to", ["wandb", "tensorboard"]),  # two values on the command line
        ("IEMO", "train_dataset", "IEMO"),
        ("IEMO,MSPI", "train_dataset", ["IEMO", "MSPI"]),
        ('["IEMO", "MSPI"]', "train_dataset", ["IEMO", "MSPI"]),
        ("MSPI", "test_datasets", ["MSPI"]),
        ("3,4", "seeds", [3, 4]),
        ('{"sad": 2, "anger": "0.5"}', "class_weights", {"sad": 2.0, "anger": 0.5}),
        ("64", "wandb_project", "64"),
    ],
)
def test_text_of_the_command_line_is_read_by_the_fields_type(write, no_transformers, text, name, expected):
    settings = load_recipe(write({"curriculum_epochs": 2}), {name: text}).experiments[0]
    assert getattr(settings, name) == expected
    assert type(getattr(settings, name)) is type(expected)


def test_text_is_a_number_only_where_a_float_is_due(write):
    assert load_recipe(write({"learning_rate": "9e-3"})).experiments[0].learning_rate == 0.009
    assert load_recipe(write({"learning_rate": 1})).experiments[0].learning_rate == 1.0
    assert 'num_epochs is "30", but must be a whole number of at least 1.' in error_of(write({"num_epochs": "30"}))


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"learning_rate": "fast"}, ['learning_rate is "fast", but must be a number above 0.']),
        ({"learning_rate": True}, ["learning_rate is true, but must be a number above 0."]),
        ({"learning_rate": 0}, ["learning_rate is 0, but must be a number above 0."]),
        ({"weight_decay": "inf"}, ['weight_decay is "inf" (not finite), but must be a number of at least 0.']),
        ({"num_epochs": True}, ["num_epochs is true, but must be a whole number of at least 1."]),
        ({"num_epochs": 3.5}, ["num_epochs is 3.5"]),
        ({"dropout": 1.0}, ["dropout is 1.0, but must be a number of at least 0 and below 1."]),
        ({"validation_fraction": 0}, ["a number above 0 and below 1"]),
        ({"freeze_text_encoder": "yes"}, ['freeze_text_encoder is "yes", but must be true or false.']),
        ({"modality": "vocie"}, ["modality is", "one of audio, text, both"]),
        ({"curriculum_pacing": "sqr"}, ["one of linear, sqrt, log, exponential", "Did you mean 'sqrt'?"]),
        ({"fusion_type": "gatde"}, ["fusion_type is", "one of cross_attention, concat, gated", "mean 'gated'?"]),
        ({"seeds": []}, ["seeds is []"]),
        ({"seeds": [1, 1]}, ["seeds is [1, 1]", "each once"]),
        ({"seeds": [-1]}, ["seeds is [-1]", "a list, each entry a whole number of at least 0 and below 4294967296"]),
        ({"train_dataset": []}, ["train_dataset is []"]),
        ({"test_datasets": ["IEMO"]}, ["test_datasets holds 'IEMO'", "train_dataset"]),
        ({"vad_weights": [1, 2]}, ["vad_weights is [1.0, 2.0]", "three numbers"]),
        ({"vad_weights": [1, 2, 3]}, ["vad_weights is given", "euclidean_distance", "only weighted"]),
        ({"expected_vad": {"sad": [1, 2]}}, ["expected_vad of 'sad'", "three numbers"]),
        ({"expected_vad": {"sad": [1, 2, 6]}}, ["expected_vad is", "of at most 5"]),
        ({"expected_vad": "fitt"}, ["expected_vad is", "Did you mean 'fit'?"]),
        ({"class_weights": {"sad": 0}}, ["class_weights is", "each value a number above 0"]),
        ({"fusion_module": "absent.py"}, ["fusion_module is", "absent.py", "that is there"]),
        (
            {"short_last_batch": True, "use_speaker_disentanglement": True},
            ["short_last_batch", "use_speaker_disentanglement", "false"],
        ),
        (
            {"lr_scheduler": "cyclic", "lr_scheduler_kwargs": {"max_momentum": 0.95}},
            ["max_momentum", "cycle_momentum is false"],
        ),
        ({"lr_scheduler": "cyclic", "lr_scheduler_kwargs": {"base_momentum": 1}}, ["base_momentum", "below 1"]),
        ({"lr_scheduler": "curriculum", "curriculum_epochs": 0}, ["lr_scheduler", "curriculum_epochs is 0"]),
        (
            {**EASY, "lr_scheduler": "curriculum", "lr_scheduler_kwargs": {"strat": 1}},
            ["lr_scheduler_kwargs holds 'strat'", "Did you mean 'start'?"],
        ),
        (
            {**EASY, "lr_scheduler": "curriculum", "lr_scheduler_kwargs": {"decay": "cosin"}},
            ["lr_scheduler_kwargs decay is", "Did you mean 'cosine'?"],
        ),
        ({"report_to": ["wandbb"]}, ["report_to is", "Did you mean 'wandb'?"]),
        ({"num_epochs": 20, "num_train_epochs": 20}, ["num_train_epochs (20) and num_epochs (20) mean the same"]),
        ({"corpus": {"IEMO": 3}}, ["corpus is", "each value text"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(write, no_transformers, fields, parts):
    path = write({"experiments": [{"name": "first"}, {"name": "The one", **fields}]})
    message = error_of(path)
    assert message.startswith(f"{path}, experiment 'The one': ")
    for part in parts:
        assert part in message


def test_where_a_value_came_from_is_named(write, no_transformers):
    assert error_of(write({"dropout": 2, "experiments": [{"name": "x"}]})).startswith(f"{write({})}: dropout is 2")
    assert error_of(write({}), {"dropout": "2"}).startswith("command line: dropout is '2'")
    assert error_of(write({}), {"dropout": None}) == "command line: --dropout needs a value."
    assert "no valid JSON" in error_of(write({}), {"class_weights": "{sad: 1}"})


def test_fields_of_an_unused_part_are_no_errors():
    Settings(modality="audio", num_attention_heads=7)
    Settings(fusion_type="concat", num_attention_heads=7)
    Settings(use_curriculum_learning=False, num_epochs=3)


def test_unknown_key_offers_the_nearest_name(write, few_training_arguments):
    message = error_of(write({"experiments": [{"name": "x", "learning_rat": 0.1}]}))
    assert "experiment 'x': unknown key 'learning_rat' (value 0.1). Did you mean 'learning_rate'?" in message
    assert "Did you mean 'max_grad_norm'?" in error_of(write({"max_grad_nrom": 1}))
    assert "emomm run --help" in error_of(write({"zzzz": 1}))


def test_fields_of_training_arguments_are_collected_and_checked(write, few_training_arguments):
    path = write(
        {
            "gradient_accumulation_steps": 2,
            "experiments": [{"name": "x"}, {"name": "y", "gradient_accumulation_steps": 4, "bf16": True}],
        }
    )
    recipe = load_recipe(path, {"max_grad_norm": "0.5"})
    assert [s.training_arguments for s in recipe.experiments] == [
        {"gradient_accumulation_steps": 2, "max_grad_norm": 0.5},
        {"gradient_accumulation_steps": 4, "bf16": True, "max_grad_norm": 0.5},
    ]
    assert load_recipe(path, {"bf16": None}).experiments[0].training_arguments["bf16"] is True
    assert "bf16 is 1, but must be true or false." in error_of(write({"bf16": 1}))
    assert "gradient_accumulation_steps is 0" in error_of(write({"gradient_accumulation_steps": 0}))


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("seed", "use seeds"),
        ("max_steps", "use num_epochs"),
        ("label_smoothing_factor", "use label_smoothing"),
        ("hub_model_id", "pushes models itself"),
        ("eval_strategy", "once an epoch"),
        ("training_arguments", "directly"),
    ],
)
def test_fields_that_emomm_sets_are_refused_with_the_reason(write, no_transformers, key, reason):
    message = error_of(write({key: 1}))
    assert f"{key} (1) can't be given" in message
    assert reason in message


def test_the_real_training_arguments():
    """The one test here that takes the seconds of importing transformers."""
    kinds = training_argument_kinds()
    assert {"optim", "optim_args", "warmup_steps", "bf16"} <= set(kinds)
    assert check("optim", "rmsprop", kinds["optim"], {}, "") == "rmsprop"
    assert check("warmup_steps", FromText("0.1"), kinds["warmup_steps"], {}, "") == 0.1
    assert check("use_cpu", FromText("true"), kinds["use_cpu"], {}, "") is True
    assert check("include_num_input_tokens_seen", "all", kinds["include_num_input_tokens_seen"], {}, "") == "all"
    with pytest.raises(InputError, match=r"optim is \"rmsprob\", but must be one of adamw_torch.*mean 'rmsprop'"):
        check("optim", "rmsprob", kinds["optim"], {}, "")
    probe = load_recipe("emotion2vec_linear").experiments[0]
    assert probe.training_arguments == {"optim": "rmsprop", "optim_args": "momentum=0.9", "max_grad_norm": 0.0}
    assert (probe.lr_scheduler, probe.lr_scheduler_kwargs["max_lr"], probe.learning_rate) == ("cyclic", 1e-3, 5e-4)
    assert (probe.batch_size, probe.num_epochs, probe.hidden_dim, probe.dropout) == (128, 100, 0, 0.0)


def test_scheduler_arguments_go_with_their_scheduler(write):
    path = write({"lr_scheduler": "cyclic", "lr_scheduler_kwargs": {"max_lr": 0.01}, "experiments": [{"name": "x"}]})
    assert load_recipe(path).experiments[0].lr_scheduler_kwargs == {"max_lr": 0.01}
    assert load_recipe(path, {"lr_scheduler": "linear"}).experiments[0].lr_scheduler_kwargs == {}


def test_paths_are_relative_to_the_recipe_and_corpora_add_up(write, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "elsewhere").mkdir()
    path = write(
        {
            "fusion_module": "mine.py",
            "fusion_type": "mine",
            "corpus": {"IEMO": "a.parquet", "MSPI": "/b"},
            "corpora": {"own": {"path": "own.csv", "audio_dim": 3}},
        }
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = load_recipe(path, {"corpus": '{"MSPI": "c", "own": "d"}'}).experiments[0]
    assert settings.fusion_module == str(tmp_path / "mine.py")
    here = tmp_path / "elsewhere"
    assert settings.corpus == {"IEMO": str(tmp_path / "a.parquet"), "MSPI": str(here / "c"), "own": str(here / "d")}
    assert settings.corpora == {"own": {"path": str(tmp_path / "own.csv"), "audio_dim": 3}}


def test_a_url_of_a_file_is_a_path_and_others_are_refused(write):
    path = write({"corpus": {"IEMO": "file:///data/my%20own"}, "output_dir": "file:///shared/runs"})
    settings = load_recipe(path, {"store_dir": "file://localhost/stores"}).experiments[0]
    assert settings.corpus == {"IEMO": "/data/my own"}
    assert settings.output_dir == "/shared/runs" and settings.store_dir == "/stores"
    for key, value, said in (
        ("output_dir", "s3://bucket/runs", 'output_dir is "s3://bucket/runs", but'),
        ("store_dir", "gs://bucket/stores", 'store_dir is "gs://bucket/stores", but'),
        ("output_dir", "file://other/runs", 'output_dir is "file://other/runs", but'),
        ("corpus", {"IEMO": "s3://bucket/a.parquet"}, 'corpus IEMO is "s3://bucket/a.parquet", but'),
        ("corpora", {"own": {"path": "memory://a.csv"}}, 'path of own is "memory://a.csv", but'),
    ):
        with pytest.raises(InputError, match="mount it") as error:
            load_recipe(write({key: value}))
        assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('{\n  "dropout": 0.1,,\n}', ["no valid JSON", "line 2 column 18"]),
        ('{"dropout": NaN}', ["NaN is not a number"]),
        ('{"dropout": 0.1, "dropout": 0.2}', ["the key 'dropout' is given twice"]),
        ("[1]", ["one JSON object", "[1]"]),
        ('{"experiments": []}', ["experiments is []", "a list of objects"]),
        ('{"experiments": [{"dropout": 0.1}]}', ["experiment 0", "name is null"]),
        ('{"name": "x"}', ["name", "each entry of experiments"]),
        ('{"experiments": [{"name": "a b"}, {"name": "A-B"}]}', ["'a b' and 'A-B'", "folder 'a-b'"]),
        ('{"experiments": [{"name": "é"}]}', ["name is", "a letter or a digit"]),
        ('{"experiments": [{"name": "a", "output_dir": "x"}, {"name": "b"}]}', ["output_dir differs"]),
    ],
)
def test_a_broken_recipe_is_named(write, no_transformers, text, parts):
    path = write(text)
    message = error_of(path)
    assert message.startswith(str(path))
    for part in parts:
        assert part in message


def test_files_that_are_no_recipes(tmp_path):
    assert "no such recipe file. Did you mean 'quickstart'?" in error_of("quickstrat")
    assert "no such recipe file" in error_of(tmp_path / "absent.json")
    assert "is a folder" in error_of(tmp_path)
    (tmp_path / "x.toml").write_text("")
    assert "a recipe is a .json file" in error_of(tmp_path / "x.toml")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe\x00")
    assert "can't be read as a text file" in error_of(tmp_path / "x.json")


@pytest.mark.parametrize("wanted", ["Second One", "second-one", "1", 1])
def test_an_experiment_by_name_slug_or_number(write, wanted):
    path = write({"experiments": [{"name": "First"}, {"name": "Second One"}]})
    assert [s.name for s in load_recipe(path, experiment=wanted).experiments] == ["Second One"]


def test_an_experiment_that_does_not_exist(write):
    path = write({"experiments": [{"name": "First"}, {"name": "Second"}]})
    message = error_of(path, experiment="Secnd")
    assert f"{path}: there is no experiment 'Secnd'. Did you mean 'Second'? There are: 0 First; 1 Second." == message
    assert "there is no experiment '2'" in error_of(path, experiment=2)


def test_what_waits_for_the_end_of_the_curriculum_waits_as_long_without_one(write):
    """The epochs of the default, or of the recipe, hold for the baseline too; where nobody has one, nothing waits."""
    plain, none = {"name": "a", **EASY}, {"name": "b"}

    def epochs(shared, *experiments):
        path = write({**shared, "experiments": list(experiments)})
        whole = [settings.curriculum_epochs for settings in load_recipe(path).experiments]
        alone = [load_recipe(path, experiment=i).experiments[0].curriculum_epochs for i in range(len(experiments))]
        assert whole == alone
        return whole

    assert epochs({}, plain, none) == [15, 15]
    assert epochs({"curriculum_epochs": 4}, none) == [4]
    assert epochs({}, none, {"name": "c", "curriculum_type": "none"}) == [0, 0]
    for experiments, changes in (([plain, none], True), ([none], False)):
        path = write({"experiments": experiments, "post_curriculum_dropout": 0.5, "early_stopping_patience": 3})
        notes = curriculum_notes(load_recipe(path).experiments[-1])
        if changes:
            assert "dropout changes from 0.3 to 0.5 after epoch 15" in notes[0]
            assert "early stopping counts after epoch 15" in notes[1] and len(notes) == 2
        else:
            assert len(notes) == 1 and "curriculum_epochs is 0, so dropout stays 0.3" in notes[0]
    assert curriculum_notes(Settings(**EASY, post_curriculum_dropout=0.5, early_stopping_patience=3)) == []


def test_a_curriculum_ends_with_the_training_at_the_latest(write):
    """`--num_epochs 4` beside the recipe's curriculum_epochs is no contradiction: it is said, once."""
    path = write({**EASY, "curriculum_epochs": 10, "experiments": [{"name": "a"}, {"name": "b", "modality": "audio"}]})
    recipe = load_recipe(path, {"num_epochs": "4"})
    assert [settings.curriculum_epochs for settings in recipe.experiments] == [4, 4]
    assert set(recipe.notes) == {"curriculum_epochs is 10, but num_epochs is 4: it is taken as 4"}
    assert load_recipe(path, {"num_epochs": "10"}).notes == []
    settings = Settings(**dataclasses.asdict(recipe.experiments[0]))
    assert settings_identity(settings) == settings_identity(Settings(**EASY, curriculum_epochs=4, num_epochs=4))


def test_identity_holds_what_can_change_a_result(tmp_path):
    base = settings_identity(Settings())
    json.dumps(base)
    same = Settings(
        name="other",
        seeds=[1],
        corpus={"IEMO": "/x"},
        output_dir="y",
        report_to=["wandb"],
        store_dir="z",
        save_seconds=1.0,
        training_arguments={"logging_steps": 3, "dataloader_num_workers": 2},
    )
    assert settings_identity(same) == base
    for name, value in {
        "dropout": 0.2,
        "loss": "focal",
        "store_dtype": "float32",
        "validation": "random",
        "training_arguments": {"max_grad_norm": 0.0},
        "corpora": {"IEMO": {"labels": ["neutral", "sad"]}},
    }.items():
        assert settings_identity(dataclasses.replace(Settings(), **{name: value})) != base, name
    assert settings_identity(Settings(corpora={"IEMO": {"path": "/x"}})) == settings_identity(
        Settings(corpora={"IEMO": {"path": "/y"}})
    )


def test_identity_of_an_own_fusion_is_its_text(tmp_path):
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.write_text("x = 1\n")
    second.write_text("x = 1\n")
    identity = settings_identity(Settings(fusion_module=str(first)))
    assert settings_identity(Settings(fusion_module=str(second))) == identity
    second.write_text("x = 2\n")
    assert settings_identity(Settings(fusion_module=str(second))) != identity


PACKAGED = {
    "finetune": 5,
    "finetune_emotion2vec": 4,
    "weighted_layers": 3,
    "msp_podcast": 2,
    "emodb_recordings": 5,
    "tones": 6,
    "quickstart": 3,
    "emodb": 3,
    "synthetic": 12,
    "multimodal": 5,
    "audio_only": 7,
    "text_only": 8,
    "fusion_ablation": 8,
    "multi_corpus": 9,
    "emotion2vec_linear": 1,
}


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_recipes_load(name, monkeypatch):
    recipe = load_recipe(name)
    assert recipe.path == RECIPES / f"{name}.json"
    assert len(recipe.experiments) == PACKAGED[name]
    assert recipe.description
    assert recipe.notes == []


def test_there_are_no_other_packaged_recipes():
    assert {path.stem for path in RECIPES.glob("*.json")} == set(PACKAGED)


def test_curriculum_comparisons_have_their_controls():
    types = {s.name: s.curriculum_type for s in load_recipe("audio_only").experiments}
    assert types["Audio Random Control IEMO"] == "random"
    assert types["Audio Nested Random Control IEMO"] == "random_nested"
    assert types["Audio Matched Random Control IEMO"] == "random_matched"
    assert types["Audio Inverse Control IEMO"] == "inverse_difficulty"


def test_what_is_allowed_in_words():
    assert describe(FIELDS["post_curriculum_dropout"].type, {"min": 0}) == "a number of at least 0, or null"
    assert describe(FIELDS["corpora"].type, {}) == "an object, each value an object"
    assert describe(str, {"choices": FUSION_TYPES}) == "one of cross_attention, concat, gated, adaptive"


def test_a_working_folder_that_is_gone_is_said(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(InputError, match="the working folder is gone"):
        load_recipe("quickstart")


def test_experiments_of_any_length_have_a_folder():
    one, other = "x" * 300, "x" * 299 + "y"
    assert len(slug_of(one)) <= 100 and slug_of(one) != slug_of(other) and slug_of(one) == slug_of(one)
    assert slug_of("Easy first!") == "easy-first"


# ---- warm-up --------------------------------------------------------------------------------------------------------


def test_warmup_ratio_is_a_share_of_all_steps(write):
    settings = load_recipe(write({"warmup_ratio": 0.1})).experiments[0]
    assert settings.training_arguments == {"warmup_steps": 0.1}
    assert "warmup_ratio is 2, but must be a number of at least 0 and below 1" in error_of(write({"warmup_ratio": 2}))
    assert "mean the same" in error_of(write({"warmup_ratio": 0.1, "warmup_steps": 3}))
