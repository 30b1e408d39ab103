"""What test_exporting.py does in a process of its own: a stranger with torch and transformers alone, and no network.

`python -I stranger_of_exports.py GIVEN INPUTS RESULTS`: loads every folder that GIVEN (JSON) names by its Auto classes
and pipelines, and writes what the models make of INPUTS (.npz) to RESULTS (.npz).
"""

import json
import socket
import sys
from pathlib import Path

for name in ("emomm", "accelerate", "datasets", "evaluate", "peft", "pyarrow", "scipy", "sklearn", "wandb"):
    sys.modules[name] = None
try:
    import emomm  # noqa: F401
except ImportError:
    pass
else:
    raise AssertionError("the package can be imported")


def refuse(*args, **kwargs):
    raise AssertionError("the network was asked for")


socket.socket.__init__ = socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402


def of_features(folders: dict, inputs: list[np.ndarray], results: dict[str, np.ndarray]) -> None:
    """Models that are given features: logits of a batch and of one row, by some of the Auto classes."""
    for name, (folder, text, missing, auto_classes) in folders.items():
        processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        frames = [None if i in missing else inputs[i] for i in range(3)]
        batch = processor(audio_features=frames, text=text)
        assert set(batch) <= set(processor.model_input_names)
        for auto_class in auto_classes:
            model = getattr(transformers, auto_class).from_pretrained(folder, trust_remote_code=True)
            for part in (model, model.config, processor):
                assert type(part).__module__.startswith("transformers_modules."), type(part)
            assert not model.training
            with torch.no_grad():
                results[f"{name}.{auto_class}"] = model(**batch).logits.numpy()
                if not missing:  # one utterance, as in the README
                    single = processor(audio_features=frames[1], text=text[1] if text else None)
                    results[f"{name}.{auto_class}.single"] = model(**single).logits.numpy()
        results[f"{name}.labels"] = np.array([model.config.id2label[i] for i in range(3)])
        if name not in ("frozen_both", "own_top", "audio_only"):
            continue
        for part in (model, processor):  # what the stranger saves can be loaded too
            part.save_pretrained(f"again/{name}")
        again = transformers.AutoModel.from_pretrained(f"again/{name}", trust_remote_code=True)
        assert sorted(path.name for path in Path("again", name).glob("*.py")) == sorted(
            path.name for path in Path(folder).glob("*.py")
        )
        processor = transformers.AutoProcessor.from_pretrained(f"again/{name}", trust_remote_code=True)
        with torch.no_grad():
            logits = again(**processor(audio_features=frames, text=text)).logits
        assert torch.equal(logits, model(**batch).logits), name


def of_recordings(folders: dict, recordings: list[np.ndarray], results: dict[str, np.ndarray]) -> None:
    """Models that are given recordings: logits of a batch and one by one, and what their pipelines say."""
    for name, (folder, text) in folders.items():
        processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        model = transformers.AutoModelForAudioClassification.from_pretrained(folder, trust_remote_code=True)
        assert type(model).__module__.startswith("transformers_modules.")
        batch = processor(audio=recordings, sampling_rate=16000, text=text)
        assert set(batch) <= set(processor.model_input_names), sorted(batch)
        with torch.no_grad():
            results[name] = model(**batch).logits.numpy()
            for i in range(3):
                one = processor(audio=recordings[i], sampling_rate=16000, text=text[i] if text else None)
                results[f"{name}.{i}"] = model(**one).logits.numpy()
        task = "multimodal-emotion-recognition" if text else "audio-classification"
        emotion = transformers.pipeline(task, model=folder, trust_remote_code=True)
        beside = {"text": text} if text else {}
        found = emotion(recordings, sampling_rate=16000, any_sound=True, batch_size=2, **beside)
        scores = [each["scores"] if text else each for each in found]
        by_label = [{one["label"]: one["score"] for one in each} for each in scores]
        labels = [model.config.id2label[i] for i in range(3)]
        results[f"{name}.pipeline"] = np.array([[each[label] for label in labels] for each in by_label])
        if text:
            assert all(each["moments"] and each["words"] for each in found)
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        assert extractor.sampling_rate == 16000
        for part in (model, processor):  # what the stranger saves can be loaded too
            part.save_pretrained(f"again/{name}")
        again = transformers.AutoModel.from_pretrained(f"again/{name}", trust_remote_code=True)
        processor = transformers.AutoProcessor.from_pretrained(f"again/{name}", trust_remote_code=True)
        with torch.no_grad():
            logits = again(**processor(audio=recordings, sampling_rate=16000, text=text)).logits.numpy()
        assert np.array_equal(logits, results[name]), name


given, inputs, results = json.loads(Path(sys.argv[1]).read_text()), np.load(sys.argv[2]), {}
torch.manual_seed(1)
of_features(given["features"], [inputs[f"frames-{i}"] for i in range(3)], results)
of_recordings(given["recordings"], [inputs[f"sounds-{i}"] for i in range(3)], results)
np.savez(sys.argv[3], **results)
