"""Exported folders, loaded by a stranger: a fresh process elsewhere, without this package and without a network."""

import copy
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_encoders import tiny_encoder
from tiny_speech_encoders import tiny_speech_encoder
from transformers import AutoConfig
from transformers import AutoFeatureExtractor
from transformers import AutoModel
from transformers import AutoModelForAudioClassification
from transformers import AutoProcessor
from transformers import AutoTokenizer
from transformers import Trainer
from transformers import TrainingArguments
from transformers import pipeline
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from emomm import fusions
from emomm.configuration_emomm import EmoMMConfig
from emomm.data_collator import EmoMMDataCollator
from emomm.exporting import CODE
from emomm.exporting import SPEECH_PREFIX
from emomm.exporting import export_model
from emomm.exporting import save_encoder_weights
from emomm.features.text_encoders import load_encoder
from emomm.fusions import load_fusion_module
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.speech_encoders import SpeechEncoder
from emomm.tuning import Lora
from emomm.tuning import apply_tuning

ROOT = Path(__file__).resolve().parent.parent
BEFORE = ROOT / "tests" / "fixtures" / "exported_with_code"
AUDIO_DIM, TEXT_DIM = 12, 16
FRAMES = [
    np.random.default_rng(i).standard_normal((length, AUDIO_DIM)).astype(np.float32)
    for i, length in enumerate((5, 1, 3))
]
WORDS = ["I am so happy today!", "leave me alone", "sad"]
AUTO_CLASSES = ("AutoModel", "AutoModelForSequenceClassification", "AutoModelForAudioClassification")

OWN_FUSION = """
import torch
from torch import nn

{imports}


@register_fusion("{name}")
class {cls}(Fusion):
    '''The product of the projected modalities, plus {offset}.'''

    def __init__(self, dims, hidden_dim):
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(dim, hidden_dim) for dim in dims)

    def forward(self, states):
        projected = [project(state.pooled) for project, state in zip(self.projections, states)]
        return FusionOutput(torch.stack(projected).prod(dim=0) + {offset})
"""
IMPORTS = {
    "relative": "from .fusions import Fusion\nfrom .fusions import FusionOutput\nfrom .fusions import register_fusion",
    "absolute": "from emomm.fusions import Fusion, FusionOutput, register_fusion",
    "top": "from emomm import Fusion\nfrom emomm import register_fusion\nfrom emomm.fusions import FusionOutput",
}

SPEECH = {"encoder": "some/encoder", "model_type": "wavlm", "width": AUDIO_DIM, "num_layers": 2}

# name -> encoder, whether the encoder's weights are shared, what the configuration says besides
CASES = {
    "frozen_both": ("bert", True, {"fusion_type": "cross_attention", "audio_projection_dim": 6}),
    "frozen_both_again": ("bert", True, {"fusion_type": "cross_attention"}),
    "audio_only": (
        None,
        False,
        {"modality": "audio", "class_weights": [1.0, 2.0, 0.5], "speech_encoder": SPEECH},
    ),
    "text_only": ("roberta", False, {"modality": "text", "text_pooling": "mean", "hidden_dim": 0}),
    "fine_tuned": ("distilbert", False, {"fusion_type": "gated", "freeze_text_encoder": False}),
    "adaptive": ("mpnet", False, {"fusion_type": "adaptive", "text_pooling": "mean"}),
    "own_relative": ("bert", True, {"fusion_type": "product_relative", "fusion_module": "product_relative"}),
    "own_edited": ("bert", True, {"fusion_type": "product_relative", "fusion_module": "product_relative"}),
    "own_absolute": ("bert", False, {"fusion_type": "product_absolute", "fusion_module": "product_absolute"}),
    "own_top": ("bert", True, {"fusion_type": "product_top", "fusion_module": "product_top"}),
}


def trained(encoder: str | None, **values) -> EmoMMForEmotionClassification:
    """A model after some real steps, on stored states unless its encoder is fine-tuned."""
    torch.manual_seed(0)
    config = EmoMMConfig(
        audio_dim=AUDIO_DIM,
        text_dim=TEXT_DIM,
        text_model_name=encoder or "",
        text_config=None if encoder is None else load_encoder(encoder).config,
        text_max_length=30,
        fusion_hidden_dim=16,
        num_attention_heads=4,
        **{
            "hidden_dim": 20,
            "id2label": {0: "calm", 1: "glad", 2: "angry"},
            "label2id": {"calm": 0, "glad": 1, "angry": 2},
        }
        | values,
    )
    model = EmoMMForEmotionClassification(config)
    if encoder is not None and not config.freeze_text_encoder:
        model.attach_text_encoder(load_encoder(encoder))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = inputs_of(model, FRAMES, WORDS) | {"labels": torch.tensor([0, 1, 2])}
    model.train()
    for _ in range(5):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model.eval()


def inputs_of(model: EmoMMForEmotionClassification, frames: list, words: list) -> dict[str, torch.Tensor]:
    """The model's inputs without the processor: tokens where it holds its encoder, else states from the live one."""
    config, rows = model.config, [{} for _ in frames]
    if config.uses_audio:
        rows = [row | {"audio_features": value} for row, value in zip(rows, frames, strict=True)]
    if config.uses_text:
        tokenizer = AutoTokenizer.from_pretrained(config.text_model_name)
        ids = [None if text is None else torch.tensor(tokenizer(text)["input_ids"]) for text in words]
        if model.text_encoder is not None:
            return EmoMMDataCollator(pad_token_id=tokenizer.pad_token_id)(
                [row | {"input_ids": value.numpy()} for row, value in zip(rows, ids, strict=True)]
            )
        encoder = load_encoder(config.text_model_name)
        with torch.no_grad():
            states = [None if i is None else encoder(input_ids=i[None]).last_hidden_state[0].numpy() for i in ids]
        rows = [row | {"text_features": value} for row, value in zip(rows, states, strict=True)]
    return EmoMMDataCollator()(rows)


def own_fusion(folder: Path, name: str, offset: int) -> None:
    """A user's file, written and registered."""
    source = OWN_FUSION.format(imports=IMPORTS[name], name=f"product_{name}", cls=name.title(), offset=offset)
    path = folder / f"product_{name}.py"
    folder.mkdir(exist_ok=True)
    path.write_text(source)
    load_fusion_module(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def exported(place):
    """Every case exported: name -> (model, folder). All the folders are called `model`, as a job's are."""
    known = dict(fusions._REGISTRY)
    encoders = {kind: tiny_encoder(place / "encoders" / kind, kind, TEXT_DIM) for kind in ("bert", "roberta")}
    encoders |= {kind: tiny_encoder(place / "encoders" / kind, kind, TEXT_DIM) for kind in ("distilbert", "mpnet")}
    shared = place / "shared" / "bert.safetensors"
    save_encoder_weights(load_encoder(encoders["bert"]), shared)
    for number, name in enumerate(IMPORTS):
        own_fusion(place / "fusions", name, number)
    models = {}
    for name, (kind, share, values) in CASES.items():
        path = None if kind is None else encoders[kind]
        if name == "own_edited":  # the user has changed the file since the export before
            own_fusion(place / "fusions", "relative", 3)
        model = trained(path, **values)
        tokenizer = None if path is None else AutoTokenizer.from_pretrained(path)
        folder = export_model(model, place / name / "model", tokenizer, shared if share else None)
        models[name] = (model, folder)
    yield models
    fusions._REGISTRY.clear()
    fusions._REGISTRY.update(known)


def saved_here(exported, folder: Path) -> dict[str, Path]:
    """What the installed classes and a Trainer save, of three of the cases: name -> folder."""
    folders = {}
    for name in ("frozen_both", "own_absolute", "audio_only"):
        folders[f"saved.{name}"] = saved = folder / "saved" / name
        model, processor = (auto.from_pretrained(exported[name][1]) for auto in (AutoModel, AutoProcessor))
        assert type(model) is EmoMMForEmotionClassification
        if name == "audio_only":
            args = TrainingArguments(str(folder / "trainer"), report_to="none", use_cpu=True)
            Trainer(model, args, processing_class=processor).save_model(str(saved))
        else:
            model.save_pretrained(saved)
            processor.save_pretrained(str(saved))
    return folders


def of_before(folder: Path) -> dict[str, Path]:
    """Models with the code of before modalities were objects: name -> folder. `before` was written by it; `exchanged`
    by today's package."""
    folders = {}
    for modality in ("both", "audio"):
        model, processor = (auto.from_pretrained(BEFORE / modality) for auto in (AutoModel, AutoProcessor))
        subprocess.run(["cp", "-r", BEFORE / modality, folder / f"before.{modality}"], check=True)
        model.save_pretrained(folder / f"exchanged.{modality}")
        processor.save_pretrained(str(folder / f"exchanged.{modality}"))
        (folder / f"exchanged.{modality}" / "checksums.json").unlink()
        for which in ("before", "exchanged"):
            folders[f"{which}.{modality}"] = place = folder / f"{which}.{modality}"
            for file in place.glob("*.py"):
                file.unlink()
            with zipfile.ZipFile(BEFORE / "code.zip") as code:
                code.extractall(place)
    return folders


def auto_classes_of(name: str) -> tuple[str, ...]:
    """All of them load a model of voice and words; each other is loaded by one, in turn: it takes half a second."""
    if name == "frozen_both":
        return AUTO_CLASSES
    turn = [*CASES, "saved.frozen_both", "saved.own_absolute", "saved.audio_only"]
    return (AUTO_CLASSES[turn.index(name) % 3] if name in turn else AUTO_CLASSES[0],)


def texts_of(name: str) -> list | None:
    if name.endswith(("audio_only", ".audio")):
        return None
    return ["I am so happy today!", None, "sad"] if name == "adaptive" else WORDS


def missing_voice(name: str) -> list[int]:
    return [2] if name == "adaptive" else []


@pytest.fixture(scope="module")
def strangers_logits(exported, recorded, place) -> dict[str, np.ndarray]:
    """What a fresh process makes of all the folders. One for all: its imports take seconds."""
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    moved = {}
    for name, (_, folder) in exported.items():  # not where they were written, and the encoders are gone
        (elsewhere / name).mkdir()
        moved[name] = elsewhere / name / "model"
        subprocess.run(["cp", "-r", folder, moved[name]], check=True)
    moved |= saved_here(exported, elsewhere) | of_before(elsewhere)
    (place / "encoders").rename(place / "gone")
    features = {
        name: (str(path), texts_of(name), missing_voice(name), auto_classes_of(name)) for name, path in moved.items()
    }
    recordings = {name: (str(folder), WORDS if name == "fusion" else None) for name, (*_, folder) in recorded.items()}
    (elsewhere / "given.json").write_text(json.dumps({"features": features, "recordings": recordings}))
    arrays = {f"frames-{i}": value for i, value in enumerate(FRAMES)}
    np.savez(elsewhere / "inputs.npz", **arrays, **{f"sounds-{i}": value for i, value in enumerate(sounds())})
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_", "TRANSFORMERS_"))}
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(elsewhere / "hub"),
        "HF_MODULES_CACHE": str(elsewhere / "modules"),
    }
    script = ROOT / "tests" / "stranger_of_exports.py"
    try:
        child = subprocess.run(
            [sys.executable, "-I", str(script), "given.json", "inputs.npz", "logits.npz"],
            cwd=elsewhere,
            env=kept | offline | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        (place / "gone").rename(place / "encoders")
    assert child.returncode == 0, f"{child.stderr[:3000]} ... {child.stderr[-3000:]}"
    with np.load(elsewhere / "logits.npz") as results:
        return dict(results)


@pytest.mark.parametrize("name", CASES)
def test_a_stranger_gets_the_same_logits(exported, strangers_logits, name):
    model, _ = exported[name]
    frames = [None if i in missing_voice(name) else value for i, value in enumerate(FRAMES)]
    with torch.no_grad():
        expected = model(**inputs_of(model, frames, texts_of(name))).logits.numpy()
    assert np.ptp(expected, axis=0).min() > 1e-3  # the rows differ
    for auto_class in auto_classes_of(name):
        np.testing.assert_allclose(strangers_logits[f"{name}.{auto_class}"], expected, atol=1e-6, rtol=0)
        if name != "adaptive":
            single = strangers_logits[f"{name}.{auto_class}.single"]
            np.testing.assert_allclose(single, expected[1:2], atol=1e-6, rtol=0)
    assert strangers_logits[f"{name}.labels"].tolist() == ["calm", "glad", "angry"]


@pytest.mark.parametrize("name", ["frozen_both", "own_absolute", "audio_only"])
def test_what_is_saved_after_importing_the_package_loads_at_a_strangers(exported, strangers_logits, name):
    model, _ = exported[name]
    with torch.no_grad():
        expected = model(**inputs_of(model, FRAMES, texts_of(name))).logits.numpy()
    (auto_class,) = auto_classes_of(f"saved.{name}")
    np.testing.assert_allclose(strangers_logits[f"saved.{name}.{auto_class}"], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("which", ["before", "exchanged"])
@pytest.mark.parametrize("modality", ["both", "audio"])
def test_models_and_code_of_before_and_of_today_go_together(strangers_logits, which, modality):
    expected = load_file(BEFORE / f"{modality}.safetensors")["logits"].numpy()
    found = strangers_logits[f"{which}.{modality}.AutoModel"]
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("part", ["config", "processor"])
def test_a_part_that_is_saved_alone_has_its_code(exported, tmp_path, monkeypatch, part):
    _, folder = exported["own_absolute"]
    auto = {"config": AutoConfig, "processor": AutoProcessor}[part]
    auto.from_pretrained(folder).save_pretrained(str(tmp_path))
    assert {path.name for path in tmp_path.glob("*.py")} >= set(CODE)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    reference = f"{part}uration_emomm.EmoMMConfig" if part == "config" else "processing_emomm.EmoMMProcessor"
    loaded = get_class_from_dynamic_module(reference, str(tmp_path)).from_pretrained(tmp_path)
    assert type(loaded).__module__.startswith("transformers_modules")


def test_a_processor_leaves_the_code_of_the_model_it_is_saved_beside(exported, tmp_path):
    _, folder = exported["own_absolute"]
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "checksums.json"}
    assert b"from .product_absolute import Absolute" in before["modeling_emomm.py"]
    AutoProcessor.from_pretrained(folder).save_pretrained(str(tmp_path))
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())


def test_a_configuration_whose_fusion_is_not_loaded_is_written_without_code(exported, tmp_path, monkeypatch, caplog):
    config = AutoConfig.from_pretrained(exported["own_absolute"][1])
    monkeypatch.setattr(fusions, "_REGISTRY", {"concat": fusions.get_fusion("concat")})
    config.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checksums.json", "config.json"]
    assert not json.loads((tmp_path / "config.json").read_text()).get("auto_map")
    assert "comes from product_absolute.py, which is not loaded" in caplog.text


@pytest.mark.parametrize("name", CASES)
def test_the_folder_holds_what_it_must_and_nothing_of_this_machine(exported, place, name):
    _, folder = exported[name]
    kind, _, values = CASES[name]
    weights = ["model.safetensors"]
    if kind is not None and values.get("freeze_text_encoder", True):
        weights = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)] + ["model.safetensors.index.json"]
    words = [] if kind is None else ["tokenizer.json", "tokenizer_config.json"]
    own = [f"{values['fusion_module']}.py"] if "fusion_module" in values else []
    files = [path.name for path in folder.iterdir()]
    assert sorted(files) == sorted(
        ["config.json", "processor_config.json", "checksums.json", *CODE, *weights, *words, *own]
    )
    for path in folder.iterdir():
        content = path.read_bytes()
        for private in (str(place), str(ROOT), str(Path.home()) + "/"):
            assert private.encode() not in content, path.name
    config = json.loads((folder / "config.json").read_text())
    assert set(config["auto_map"]) == {"AutoConfig", "AutoProcessor", *AUTO_CLASSES}
    impl = {"impl": "pipeline_emomm.EmoMMPipeline", "pt": ["AutoModel"]}
    declared = "text-classification" if name == "text_only" else "audio-classification"
    assert config["custom_pipelines"] == {"multimodal-emotion-recognition": impl, declared: impl}
    processor = json.loads((folder / "processor_config.json").read_text())
    assert processor["speech_encoder"] == (SPEECH if name == "audio_only" else None)
    assert config["architectures"] == ["EmoMMForEmotionClassification"]
    assert config["text_model_name"] == (kind or "")
    assert oct(folder.stat().st_mode)[-3:] == "755"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_the_encoders_weights_are_shared_or_written(exported, place):
    second = "model-00002-of-00002.safetensors"
    shared = (place / "shared" / "bert.safetensors").stat()
    for name, (kind, share, values) in CASES.items():
        if kind is None or not values.get("freeze_text_encoder", True):
            continue
        written = (exported[name][1] / second).stat()
        assert (written.st_ino == shared.st_ino) is share
    assert shared.st_nlink == 1 + sum(share for _, share, _ in CASES.values())
    assert (exported["own_absolute"][1] / second).read_bytes() == (place / "shared" / "bert.safetensors").read_bytes()
    index = json.loads((exported["frozen_both"][1] / "model.safetensors.index.json").read_text())["weight_map"]
    assert {name for name, file in index.items() if file == second} == {
        n for n in index if n.startswith("text_encoder.")
    }


def test_a_file_system_without_links_gets_a_copy(exported, place, tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    model, _ = exported["frozen_both"]
    shared = place / "shared" / "bert.safetensors"
    tokenizer = AutoTokenizer.from_pretrained(model.config.text_model_name)
    copied = export_model(model, tmp_path / "model", tokenizer, shared) / "model-00002-of-00002.safetensors"
    assert copied.read_bytes() == shared.read_bytes() and copied.stat().st_ino != shared.stat().st_ino


def test_exporting_leaves_the_model_as_it_trains(exported):
    model, folder = exported["frozen_both"]
    assert model.text_encoder is None and not model.config.holds_text_encoder
    assert not hasattr(model.config, "auto_map") and Path(model.config.text_model_name).is_dir()
    loaded = AutoModel.from_pretrained(folder)  # here, with the package: the installed class
    assert type(loaded) is EmoMMForEmotionClassification and loaded.config.holds_text_encoder
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_encoders_configuration_is_found_where_none_was_given(exported, tmp_path):
    source, folder = exported["text_only"]
    config = EmoMMConfig(**{**source.config.to_dict(), "text_config": None})
    model = EmoMMForEmotionClassification(config)
    model.load_state_dict(source.state_dict())
    again = export_model(model, tmp_path / "model", AutoTokenizer.from_pretrained(config.text_model_name))
    assert (again / "config.json").read_text() == (folder / "config.json").read_text()


def test_a_folder_is_replaced_whole_or_not_at_all(exported, place, tmp_path):
    model, _ = exported["audio_only"]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale.txt").write_text("from before")
    broken, _ = exported["text_only"]
    name, broken.config.text_model_name = broken.config.text_model_name, str(place / "absent")
    try:
        with pytest.raises(ValueError, match="absent"):
            export_model(broken, folder, AutoTokenizer.from_pretrained(name))
    finally:
        broken.config.text_model_name = name
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in folder.iterdir()] == ["stale.txt"]
    export_model(model, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (folder / "stale.txt").exists() and (folder / "model.safetensors").exists()


def test_the_encoders_file_is_written_whole(place, exported, tmp_path):
    encoder = load_encoder(str(place / "encoders" / "bert"))
    path = tmp_path / "deeper" / "bert.safetensors"
    save_encoder_weights(encoder, path)
    save_encoder_weights(encoder, path)  # again over it
    assert [file.name for file in path.parent.iterdir()] == ["bert.safetensors"]
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {f"text_encoder.{name}" for name in encoder.state_dict()}
        assert not any("pooler" in name for name in file.keys())


def test_a_model_with_words_needs_a_tokenizer(exported, tmp_path):
    model, _ = exported["text_only"]
    with pytest.raises(ValueError, match="tokenizer"):
        export_model(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_fusion_of_the_users_own_is_not_run_unasked(exported, monkeypatch):
    model, folder = exported["own_relative"]
    monkeypatch.setattr(fusions, "_REGISTRY", {"concat": fusions.get_fusion("concat")})
    with pytest.raises(ValueError, match="product_relative.py: load it with trust_remote_code=True"):
        AutoModel.from_pretrained(folder)
    load_fusion_module(folder / "product_relative.py")
    loaded = AutoModel.from_pretrained(folder)
    batch = inputs_of(model, FRAMES, WORDS)
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)


# ---- models that take recordings ------------------------------------------------------------------------------------

# name -> speech encoder, whether its weights are shared, tuning (and how many layers), what the configuration says
RECORDED = {
    "weighted": (
        "wavlm",
        True,
        ("frozen", None),
        {"speech_layers": "weighted", "feature_normalization": "standardize"},
    ),
    "lora": ("emotion2vec", False, ("lora", 2), {"speech_layers": "mean"}),
    "last_k": ("whisper", False, ("last_k", 2), {"hidden_dim": 0}),
    "frozen": ("whisper", True, ("frozen", None), {}),
    "mel": ("w2v-bert", False, ("lora", None), {"audio_projection_dim": 6}),
    "fusion": ("wav2vec2", False, ("full", None), {"modality": "both", "fusion_type": "adaptive"}),
}
SECONDS = (0.7, 0.1, 0.35)


def sounds() -> list[np.ndarray]:
    random = np.random.default_rng(11)
    return [0.1 * random.standard_normal(round(16000 * seconds)).astype(np.float32) for seconds in SECONDS]


def of_recordings(path: str, tuning: tuple[str, int | None], words: str | None, **values):
    """A model after some real steps on recordings, and its feature extractor."""
    torch.manual_seed(0)
    loaded = SpeechEncoder.from_pretrained(path, device="cpu")
    encoder, depth = loaded.model, loaded.features.num_layers
    how, count = tuning
    config = EmoMMConfig(
        audio_dim=loaded.features.width,
        speech_config=encoder.config,
        speech_model_name=path,
        speech_tuning=how,
        speech_start=0 if count is None else depth - count,
        text_dim=TEXT_DIM,
        text_model_name=words or "",
        text_config=None if words is None else load_encoder(words).config,
        text_max_length=30,
        fusion_hidden_dim=16,
        num_attention_heads=4,
        id2label={0: "calm", 1: "glad", 2: "angry"},
        label2id={"calm": 0, "glad": 1, "angry": 2},
        **({"modality": "audio", "hidden_dim": 20} | values),
    )
    model = EmoMMForEmotionClassification(config)
    apply_tuning(encoder, how, count, Lora(rank=2, alpha=8))
    model.attach_speech_encoder(encoder)
    for name, dim in config.standardized.items():
        model.set_feature_statistics(name, torch.linspace(-1, 1, dim), torch.linspace(0.5, 2, dim))
    batch = recorded_inputs(model, loaded.feature_extractor, sounds(), WORDS) | {"labels": torch.tensor([0, 1, 2])}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    model.train()
    for _ in range(4):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model.eval(), loaded.feature_extractor


def recorded_inputs(model, feature_extractor, recordings: list, words: list) -> dict[str, torch.Tensor]:
    rows = [{"input_values": recording} for recording in recordings]
    batch = EmoMMDataCollator(feature_extractor=feature_extractor)(rows)
    if model.config.uses_text:
        kept = inputs_of(model, [np.zeros((1, model.config.audio_dim), np.float32)] * len(words), words)
        batch |= {name: kept[name] for name in ("text_features", "text_mask")}
    return batch


@pytest.fixture(scope="module")
def recorded(place):
    """name -> (model, feature extractor, folder)."""
    words = tiny_encoder(place / "recorded" / "bert", "bert", TEXT_DIM)
    models = {}
    for name, (kind, share, tuning, values) in RECORDED.items():
        path = tiny_speech_encoder(place / "recorded" / f"{name}-{kind}", kind)
        reads = values.get("modality") == "both"
        model, extractor = of_recordings(path, tuning, words if reads else None, **values)
        shared = None
        if share:
            shared = place / "recorded" / f"{name}.safetensors"
            save_encoder_weights(model.speech_encoder, shared, SPEECH_PREFIX)
        tokenizer = AutoTokenizer.from_pretrained(words) if reads else None
        folder = export_model(
            model, place / f"recorded.{name}" / "model", tokenizer, None, extractor, speech_weights=shared
        )
        models[name] = (model, extractor, folder)
    return models


@pytest.mark.parametrize("name", RECORDED)
def test_a_stranger_gives_recordings_and_gets_the_same(recorded, strangers_logits, name):
    """By AutoModel and by pipeline, in a batch and one by one."""
    model, extractor, _ = recorded[name]
    with torch.no_grad():
        expected = model(**recorded_inputs(model, extractor, sounds(), WORDS)).logits
    assert expected.std(dim=0).min() > 1e-4  # the rows differ
    np.testing.assert_allclose(strangers_logits[name], expected.numpy(), atol=1e-5, rtol=0)
    for i in range(3):
        np.testing.assert_allclose(strangers_logits[f"{name}.{i}"], expected[i : i + 1].numpy(), atol=1e-5, rtol=0)
    probabilities = expected.softmax(dim=-1).numpy()
    np.testing.assert_allclose(strangers_logits[f"{name}.pipeline"], probabilities, atol=1e-5, rtol=0)


def test_what_a_folder_of_recordings_holds(recorded, place):
    for name, (model, _, folder) in recorded.items():
        config = AutoConfig.from_pretrained(folder)
        assert config.holds_speech_encoder and config.speech_tuning == model.config.speech_tuning
        assert (folder / "preprocessor_config.json").is_file()
        for file in ("config.json", "processor_config.json"):  # nothing of this machine
            assert str(place) not in (folder / file).read_text(), name
        described = json.loads((folder / "processor_config.json").read_text())["speech_encoder"]
        assert (described["frame_rate"], described["encoder"]) == (50, config.speech_model_name)
        if RECORDED[name][1]:
            assert (folder / "model-00002-of-00002.safetensors").samefile(place / "recorded" / f"{name}.safetensors")
        keys = set()
        for path in folder.glob("*.safetensors"):
            with safe_open(path, framework="pt") as file:
                keys |= set(file.keys())
        assert not any("lora_" in key or "base_layer" in key for key in keys)


def test_transformers_own_pipeline_takes_a_voice_model(recorded):
    """Where the package is there: its classes are registered, and the feature extractor's file is read."""
    model, extractor, folder = recorded["weighted"]
    loaded = AutoModelForAudioClassification.from_pretrained(folder)
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    classify = pipeline("audio-classification", model=loaded, feature_extractor=extractor)
    assert type(classify).__name__ == "AudioClassificationPipeline"
    for recording in sounds():
        with torch.no_grad():
            expected = model(**recorded_inputs(model, extractor, [recording], [])).logits.softmax(dim=-1)[0]
        found = {each["label"]: each["score"] for each in classify({"raw": recording, "sampling_rate": 16000})}
        for number, label in model.config.id2label.items():
            assert abs(found[label] - expected[number].item()) < 1e-5


def test_adapters_alone_go_on_their_base(recorded, tmp_path):
    """By peft, as the docstring says; the head is by itself."""
    from peft import PeftModel

    for name in ("lora", "mel"):
        model, extractor, _ = recorded[name]
        folder = export_model(model, tmp_path / name, feature_extractor=extractor, adapter_only=True)
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        whole = sum(path.stat().st_size for path in recorded[name][2].rglob("*.safetensors"))
        assert size < whole / 2
        loaded = AutoModel.from_pretrained(folder)
        assert loaded.speech_encoder is None and not loaded.config.holds_speech_encoder
        base = AutoModel.from_pretrained(model.config.speech_model_name)
        loaded.attach_speech_encoder(PeftModel.from_pretrained(base, folder / "speech_adapter").merge_and_unload())
        batch = recorded_inputs(model, extractor, sounds(), [])
        with torch.no_grad():
            torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="no encoder of this model was tuned by 'lora'"):
        export_model(recorded["last_k"][0], tmp_path / "none", feature_extractor=extractor, adapter_only=True)


def test_a_model_of_recordings_needs_a_feature_extractor(recorded, tmp_path):
    with pytest.raises(ValueError, match="exported with its speech encoder's feature extractor"):
        export_model(recorded["lora"][0], tmp_path / "model")


def test_a_frozen_encoder_that_only_its_states_stood_for_is_attached(recorded, tmp_path):
    """As while it trains on stored states: no file holds it."""
    model, extractor, _ = recorded["frozen"]
    config = copy.deepcopy(model.config)
    config.holds_speech_encoder = False
    alone = EmoMMForEmotionClassification(config).eval()
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("speech_encoder.")}
    alone.load_state_dict(state)
    loaded = AutoModel.from_pretrained(export_model(alone, tmp_path / "model", feature_extractor=extractor))
    batch = recorded_inputs(model, extractor, sounds(), [])
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, atol=1e-6, rtol=0)
