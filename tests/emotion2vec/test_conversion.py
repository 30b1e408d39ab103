"""Published checkpoints in every layout: what comes out, what is refused and how, and that nothing in them is run."""

import builtins
import errno
import json
import logging
import os
import subprocess
import sys
import types
from argparse import Namespace
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from test_modeling_emotion2vec import TINY
from test_modeling_emotion2vec import padded
from test_modeling_emotion2vec import tiny
from test_modeling_emotion2vec import waveforms
from torch import Tensor
from transformers import AutoFeatureExtractor
from transformers import AutoModel
from transformers import AutoModelForAudioClassification

from emomm.cli.convert_emotion2vec import main
from emomm.emotion2vec import conversion as emotion2vec_conversion
from emomm.emotion2vec.conversion import convert
from emomm.errors import InputError
from emomm.modeling_emotion2vec import Emotion2VecForEmotionClassification
from emomm.modeling_emotion2vec import Emotion2VecModel
from emomm.speech_encoders import SpeechEncoder
from emomm.speech_features import SpeechFeatures

ROOT = Path(__file__).resolve().parent.parent.parent
AUDIO = "modality_encoders.AUDIO."
SPEC = "[(8, 10, 5), (8, 3, 2)] + [(6, 2, 2)] * 1"
SETTINGS = {
    "depth": 2,
    "num_heads": 6,
    "norm_eps": "1e-05",
    "normalize": True,
    "modalities": {"audio": {"feature_encoder_spec": SPEC, "num_alibi_heads": "${model.num_heads}"}},
}
TOKENS = ["生气/angry", "calm", "unuse_0", "<unk>"]


def published_names(model: Emotion2VecModel) -> dict[str, Tensor]:
    """A model's weights as their authors name and shape them."""
    prenet = model.config.prenet_depth
    inside = {"attention.qkv": "attn.qkv", "attention.proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    found = {}
    for name, value in model.state_dict().items():
        head, _, rest = name.partition(".")
        if head == "alibi_scale":
            value = value[:, None, :, None, None]
        elif head == "conv_layers":
            number, _, part = rest.partition(".")
            part = part.replace("conv.", "0.").replace("layer_norm.", "2.1.")
            name = f"local_encoder.conv_layers.{number}.{part}"
        elif head in ("projection_norm", "projection"):
            name = f"project_features.{1 if head == 'projection_norm' else 2}.{rest}"
        elif head == "positional_layers":
            number, _, part = rest.split(".")
            name = f"relative_positional_encoder.{int(number) + 1}.0.{part}"
        elif head == "layer_norm":
            name = f"context_encoder.norm.{rest}"
        elif head == "layers":
            number, part = rest.split(".", 1)
            kind, _, last = part.rpartition(".")
            place = f"context_encoder.blocks.{number}" if int(number) < prenet else f"blocks.{int(number) - prenet}"
            name = f"{place}.{inside.get(kind, kind)}.{last}"
        found[name if name.startswith("blocks.") else f"{AUDIO}{name}"] = value.clone()
    return found


def checkpoint(folder: Path, content, config: dict | None = SETTINGS, tokens: list[str] | None = None) -> Path:
    """A checkpoint as FunASR lays it: model.pt, and beside it config.yaml and tokens.txt."""
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "model.pt")
    if config is not None:  # JSON is YAML
        (folder / "config.yaml").write_text(json.dumps({"model": "Emotion2vec", "model_conf": config}))
    if tokens is not None:
        (folder / "tokens.txt").write_text("\n".join(tokens), encoding="utf-8")
    return folder / "model.pt"


class DictConfig:
    """Looks like omegaconf's in a file."""

    def __init__(self, content):
        self._content = content

    def __setstate__(self, state):
        raise AssertionError("this must not be run")


class AnyNode(DictConfig):
    def __init__(self, value):
        self._val = value


def as_omegaconf(value):
    if isinstance(value, dict):
        return DictConfig({key: as_omegaconf(part) for key, part in value.items()})
    return AnyNode(value)


@pytest.fixture
def omegaconf(monkeypatch):
    """Makes DictConfig and AnyNode picklable as omegaconf's."""
    module = types.ModuleType("omegaconf")
    for kind in (DictConfig, AnyNode):
        monkeypatch.setattr(kind, "__module__", "omegaconf")
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "omegaconf", module)
    return module


def states(model, rows) -> Tensor:
    with torch.inference_mode():
        return model.eval()(**rows).last_hidden_state


ROWS = padded(waveforms([700, 333]))


@pytest.mark.parametrize("layout", ["weights", "model", "state_dict", "prefixed"])
def test_every_layout_gives_the_same_model(tmp_path, layout):
    model = tiny()
    weights = published_names(model)
    content = {
        "weights": weights,
        "model": {"model": weights, "epoch": 3},
        "state_dict": {"state_dict": {"model": weights}},
        "prefixed": {"model": {f"d2v_model.{name}": value for name, value in weights.items()}},
    }[layout]
    folder = convert(checkpoint(tmp_path / "in", content), tmp_path / "out")
    again = AutoModel.from_pretrained(folder)
    assert type(again) is Emotion2VecModel
    for name, value in {**TINY, "normalize": True, "layer_norm_eps": 1e-5}.items():
        assert getattr(again.config, name) == value, name
    assert torch.equal(states(again, ROWS), states(model, ROWS))
    files = {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert {path.name for path in folder.iterdir()} == files | {
        "configuration_emotion2vec.py",
        "modeling_emotion2vec.py",
    }
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize(
    "values", [{"alibi_scale_per_layer": True}, {"prenet_depth": 0}, {"conv_pos_depth": 0}], ids=str
)
def test_other_architectures_are_read_off_the_shapes(tmp_path, values):
    model = tiny(**values)
    folder = convert(checkpoint(tmp_path / "in", published_names(model)), tmp_path / "out")
    again = AutoModel.from_pretrained(folder)
    assert all(getattr(again.config, name) == value for name, value in values.items())
    assert torch.equal(states(again, ROWS), states(model, ROWS))


def test_fairseqs_settings_are_read_and_nothing_of_them_is_run(tmp_path, omegaconf):
    model = tiny(normalize=False, alibi_scale_per_head=False)
    weights = published_names(model)
    content = {
        "args": None,
        "cfg": as_omegaconf({"task": {"normalize": False, "data": "/x"}, "model": {**SETTINGS, "normalize": None}}),
        "model": weights,
        "extra_state": {"epoch": 3, "best": np.float64(0.5), "meters": defaultdict(list, {"loss": [1.0]})},
    }
    path = checkpoint(tmp_path / "in", content, config=None)
    again = AutoModel.from_pretrained(convert(path, tmp_path / "out"))
    assert not again.config.normalize and again.config.num_attention_heads == 6
    assert torch.equal(states(again, ROWS), states(model, ROWS))


def test_the_arguments_of_older_files_are_read(tmp_path):
    arguments = Namespace(num_heads=6, normalize=False, feature_encoder_spec=SPEC)
    path = checkpoint(tmp_path / "in", {"args": arguments, "model": published_names(tiny(normalize=False))}, None)
    assert not AutoModel.from_pretrained(convert(path, tmp_path / "out")).config.normalize


def with_head(rows: int) -> tuple[Emotion2VecForEmotionClassification, dict[str, Tensor]]:
    model = tiny(model_class=Emotion2VecForEmotionClassification, num_labels=rows)
    return model, {
        **published_names(model.emotion2vec),
        **{f"proj.{k}": v for k, v in model.proj.state_dict().items()},
    }


def test_the_head_and_its_labels(tmp_path):
    model, weights = with_head(9)
    folder = convert(checkpoint(tmp_path / "in", weights), tmp_path / "a")
    again = AutoModelForAudioClassification.from_pretrained(folder)
    with torch.inference_mode():
        assert torch.equal(again(**ROWS).logits, model(**ROWS).logits)
    assert again.config.id2label[1] == "disgusted" and again.config.label2id["unknown"] == 8
    model, weights = with_head(4)
    path = checkpoint(tmp_path / "four", weights, tokens=TOKENS)
    again = AutoModelForAudioClassification.from_pretrained(convert(path, tmp_path / "b"))
    assert again.config.id2label == {0: "angry", 1: "calm", 2: "unknown"}
    with torch.inference_mode():  # FunASR takes the class that is not used for impossible
        scores = model(**ROWS).logits
        scores[:, 2] = -torch.inf
        torch.testing.assert_close(again(**ROWS).logits.softmax(1), scores.softmax(1)[:, [0, 1, 3]])
    with pytest.raises(InputError, match="proj.weight is for 4 classes; there is no tokens.txt"):
        convert(checkpoint(tmp_path / "none", weights), tmp_path / "c")
    with pytest.raises(InputError, match="tokens.txt has 3 beside"):
        convert(checkpoint(tmp_path / "few", weights, tokens=TOKENS[:3]), tmp_path / "c")
    with pytest.raises(InputError, match="tokens.txt has angry more than once"):
        convert(checkpoint(tmp_path / "twice", weights, tokens=["angry", "angry", "b", "c"]), tmp_path / "c")


def test_whether_labels_were_seen_is_kept_where_the_head_is_not(tmp_path):
    """Whatever the folder is called: frames of a fine-tuned model know the corpora that it was tuned on."""
    _, labelled = with_head(9)
    plain = published_names(tiny())
    for name, weights, expected in (
        ("e2v", labelled, True),
        ("b", plain, None),
        ("c", {**plain, "_ema": {"x": torch.zeros(1)}}, False),
    ):
        folder = convert(checkpoint(tmp_path / f"in-{name}", weights), tmp_path / name)
        encoder = SpeechEncoder.from_pretrained(str(folder), device="cpu")
        assert encoder.features.trained_with_labels is expected
        assert SpeechFeatures.from_dict(json.loads(json.dumps(encoder.features.to_dict()))) == encoder.features
    heads = json.loads((tmp_path / "b" / "config.json").read_text())["auto_map"]
    assert set(heads) == {"AutoConfig", "AutoModel"}  # no head of random weights


def test_the_folder_of_a_checkpoint_will_do(tmp_path):
    weights = published_names(tiny())
    path = checkpoint(tmp_path / "in", weights)
    convert(path.parent, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    torch.save(weights, path.parent / "other.pt")
    with pytest.raises(InputError, match="in is a folder; give the checkpoint in it .model.pt, other.pt"):
        convert(path.parent, tmp_path / "two")
    with pytest.raises(ValueError, match="convert emotion2vec's own files first: python convert_emotion2vec.py"):
        SpeechEncoder.from_pretrained(str(path.parent), device="cpu")


def test_classes_that_are_not_in_utf8(tmp_path):
    _, weights = with_head(4)
    path = checkpoint(tmp_path / "in", weights)
    (path.parent / "tokens.txt").write_bytes("生气/angry".encode("gbk"))
    with pytest.raises(InputError, match="tokens.txt can't be read as UTF-8"):
        convert(path, tmp_path / "out")


def test_paths_among_the_settings_run_nothing(tmp_path):
    content = {"model": published_names(tiny()), "cfg": {"model": SETTINGS, "task": {"data": Path("/data/manifest")}}}
    assert convert(checkpoint(tmp_path / "in", content, config=None), tmp_path / "out").is_dir()


def test_leftovers_of_pretraining_are_dropped_and_named(tmp_path, caplog):
    model = tiny()
    leftovers = {f"{AUDIO}decoder.blocks.0.0.weight": torch.zeros(2), f"{AUDIO}decoder.proj.bias": torch.zeros(2)}
    leftovers |= {"_ema": {"blocks.0.norm1.weight": torch.zeros(2)}}
    teacher = {f"{where}.{name}": value for where in ("ema", "_ema") for name, value in published_names(model).items()}
    with caplog.at_level(logging.INFO, logger="emomm"):
        path = checkpoint(tmp_path / "in", {"model": teacher | published_names(model) | leftovers})
        folder = convert(path, tmp_path / "out")
    said = next(record.getMessage() for record in caplog.records if "left out" in record.getMessage())
    assert "ema.extra_tokens" in said or "more" in said
    path = checkpoint(tmp_path / "fewer", {"model": published_names(model) | leftovers})
    with caplog.at_level(logging.INFO, logger="emomm"):
        convert(path, tmp_path / "named")
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()][-1]
    assert all(name in said for name in leftovers)
    assert torch.equal(states(AutoModel.from_pretrained(folder), ROWS), states(model, ROWS))


def changed(weights: dict[str, Tensor], name: str, value: Tensor | None) -> dict[str, Tensor]:
    weights = dict(weights)
    weights.pop(name, None)
    return weights if value is None else {**weights, name: value}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("blocks.0.gate.weight", torch.zeros(2), "doesn't have: blocks.0.gate.weight"),
        ("modality_encoders.IMAGE.extra_token", torch.zeros(2), "modality_encoders.IMAGE.extra_token"),
        ("blocks.1.mlp.fc2.bias", torch.zeros(7), r"blocks.1.mlp.fc2.bias has shape \(7,\) and must have \(24,\)"),
        ("blocks.1.attn.qkv.weight", torch.zeros(72, 23), r"attn.qkv.weight has shape \(72, 23\) .*have \(72, 24\)"),
        ("blocks.1.norm1.bias", None, "lacks layers.2.norm1.bias"),
        (f"{AUDIO}alibi_scale", torch.ones(1, 1, 5, 1, 1), "num_heads: 6, its other parts 5 heads"),
        (f"{AUDIO}alibi_scale", torch.ones(6), r"alibi_scale has shape \(6,\)"),
        (f"{AUDIO}alibi_scale", None, "lacks modality_encoders.AUDIO.alibi_scale"),
        (f"{AUDIO}project_features.2.weight", torch.zeros(24), "project_features.2.weight has shape .* 2 axes"),
        ("blocks.7.norm1.bias", torch.zeros(24), "lacks number 2 of blocks"),
        ("blocks.1.norm1.bias", torch.full((24,), torch.nan), "not finite in blocks.1.norm1.bias"),
        (f"{AUDIO}extra_tokens", None, "is no emotion2vec checkpoint"),
        ("blocks.0.norm1.bias", "text", "blocks.0.norm1.bias is a str"),
    ],
)
def test_wrong_weights_are_refused_by_name(tmp_path, name, value, said):
    path = checkpoint(tmp_path / "in", {"model": changed(published_names(tiny()), name, value)})
    with pytest.raises(InputError, match=said):
        convert(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layer_norm_first": True}, "layer_norm_first: True; only False"),
        ({"depth": 3}, "settings have depth: 3, the checkpoint's weights 2"),
        ({"num_heads": 8}, "num_heads: 8"),
        ({"modalities": {"audio": {"feature_encoder_spec": "[(8, 10, 5)]"}}}, "other widths"),
        ({"modalities": {"audio": {"feature_encoder_spec": "__import__('os')"}}}, "must be like"),
        ({"modalities": {}}, r"strides of convolutions with widths \[10, 3, 2\]"),
    ],
)
def test_settings_that_contradict_the_weights(tmp_path, settings, said):
    path = checkpoint(tmp_path / "in", published_names(tiny()), {**SETTINGS, **settings})
    with pytest.raises(InputError, match=said):
        convert(path, tmp_path / "out")


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def test_what_would_run_is_refused_and_not_run(tmp_path, monkeypatch):
    mark = tmp_path / "ran"
    family = types.ModuleType("fairseq")
    family.run = lambda: mark.touch()
    family.run.__module__ = family.__name__
    family.run.__qualname__ = family.run.__name__ = "run"
    monkeypatch.setitem(sys.modules, "fairseq", family)
    evil = [Touches(os.system, f"touch {mark}"), Touches(builtins.eval, f"open({str(mark)!r}, 'w')")]
    for thing in (*evil, Touches(Path.touch, mark)):
        path = checkpoint(tmp_path / "in", {"model": published_names(tiny()), "cfg": thing})
        with pytest.raises(InputError, match="would run .*(system|eval|touch|getattr|Path)"):
            convert(path, tmp_path / "out")
    # Of a family that settings are made of: not run either, a stand-in takes its place.
    path = checkpoint(tmp_path / "in", {"model": published_names(tiny()), "cfg": Touches(family.run)})
    convert(path, tmp_path / "out")
    assert not mark.exists()
    torch.load(path, weights_only=False)  # it would have
    assert mark.exists()


def test_the_command_line(tmp_path, capsys):
    path = checkpoint(tmp_path / "in", published_names(tiny()), config=None)
    (tmp_path / "told.json").write_text(json.dumps(SETTINGS))
    arguments = ["--checkpoint", str(path), "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert main([*arguments, "--config", str(tmp_path / "told.json")]) == 0
    assert main(arguments) == 2
    (tmp_path / "text.pt").write_text("no checkpoint")
    assert main(["--checkpoint", str(tmp_path / "text.pt"), "--output", str(tmp_path / "other")]) == 2
    assert main(["--checkpoint", str(tmp_path / "none.pt"), "--output", str(tmp_path / "other")]) == 2
    assert main(["--output", str(tmp_path / "other")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    said = ["feature_encoder_spec", "is there already", "can't be read as a torch", "is not there", "--checkpoint"]
    assert len(errors) == len(said)
    for error, part in zip(errors, said, strict=True):
        assert part in error
    assert not (tmp_path / "other").exists()


def test_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(state, path, metadata):
        path.write_bytes(b"torn")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = checkpoint(tmp_path / "in", published_names(tiny()))
    monkeypatch.setattr(emotion2vec_conversion, "save_file", full)
    with pytest.raises(InputError, match="out can't be written .*No space left on device"):
        convert(path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]


CHILD = """
import json, runpy, sys
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification
folder, rows, *launched = sys.argv[1], torch.load(sys.argv[2]), *sys.argv[3:]
extractor = AutoFeatureExtractor.from_pretrained(folder)
inputs = extractor([row.numpy() for row in rows], sampling_rate=16000, padding=True, return_tensors="pt")
found = {}
for auto in (AutoModel, AutoModelForAudioClassification):
    model = auto.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.inference_mode():
        found[type(model).__name__] = model(**inputs)[0].flatten()[:40].tolist()
assert "emomm" not in sys.modules and type(model).__module__.startswith("transformers_modules")
print(json.dumps(found))
# Then the launcher, as a script that lies elsewhere: of the same process, whose imports take seconds.
sys.argv = launched
runpy.run_path(launched[0], run_name="__main__")
"""


def test_in_a_process_of_its_own(tmp_path):
    """Remote code loads without this package, and the launcher runs from anywhere."""
    model, weights = with_head(9)
    folder = convert(checkpoint(tmp_path / "in", weights), tmp_path / "out")
    torch.save(waveforms([700, 333]), tmp_path / "rows.pt")
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    launcher = [str(ROOT / "convert_emotion2vec.py"), "--checkpoint", str(tmp_path / "in" / "model.pt")]
    command = ["-c", CHILD, str(folder), str(tmp_path / "rows.pt"), *launcher, "--output", "launched"]
    child = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    found = json.loads(next(line for line in child.stdout.splitlines() if line.startswith("{")))
    with torch.inference_mode():
        frames = model.emotion2vec(**ROWS).last_hidden_state.flatten()[:40]
        logits = model(**ROWS).logits.flatten()[:40]
    torch.testing.assert_close(torch.tensor(found["Emotion2VecModel"]), frames)
    torch.testing.assert_close(torch.tensor(found["Emotion2VecForEmotionClassification"]), logits)
    assert "6 heads, a head for 9 classes" in child.stdout + child.stderr
    launched = (tmp_path / "launched" / "model.safetensors").read_bytes()
    assert launched == (folder / "model.safetensors").read_bytes()


def test_the_feature_extractor(tmp_path):
    folder = convert(checkpoint(tmp_path / "in", published_names(tiny())), tmp_path / "out")
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(
        [row.numpy() for row in waveforms([700, 333])], sampling_rate=16000, padding=True, return_tensors="pt"
    )
    assert extractor.sampling_rate == 16000
    assert torch.equal(inputs["input_values"], ROWS["input_values"])
    assert torch.equal(inputs["attention_mask"].long(), ROWS["attention_mask"])
