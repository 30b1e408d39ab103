"""A stranger: loads a model from the local Hub, with torch and transformers alone, and follows its card."""

import contextlib
import io
import json
import os
import re
import sys
import time
import urllib.request
from pathlib import Path

for name in ("emomm", "accelerate", "datasets", "evaluate", "pyarrow", "scipy", "sklearn", "wandb", "jinja2"):
    sys.modules[name] = None

import torch  # noqa: E402
from huggingface_hub import hf_hub_download  # noqa: E402
from transformers import AutoModel  # noqa: E402
from transformers import AutoModelForSequenceClassification  # noqa: E402
from transformers import AutoProcessor  # noqa: E402
from transformers import pipeline  # noqa: E402

NAME = "user/first"
URL = os.environ["HF_ENDPOINT"]
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.002))  # what huggingface_hub waits between its attempts
told = torch.load(sys.argv[1])


def ask(path, content=None):
    data = None if content is None else json.dumps(content).encode()
    with urllib.request.urlopen(f"{URL}{path}", data) as answer:
        return json.loads(answer.read())


def difference(auto_class=AutoModel, **where) -> float:
    model = auto_class.from_pretrained(NAME, trust_remote_code=True, **where)
    processor = AutoProcessor.from_pretrained(NAME, trust_remote_code=True, **where)
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    with torch.no_grad():
        logits = model(**processor(audio_features=told["voice"].numpy(), text=told["words"])).logits
    return (logits - told["logits"]).abs().max().item()


said = {"difference": [difference(), difference(AutoModelForSequenceClassification)]}
card = Path(hf_hub_download(NAME, "README.md")).read_text(encoding="utf-8")
code = re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1)
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    exec(compile(code, "card", "exec"), {})
said["card"] = printed.getvalue()

# A model that was tuned from recordings: the pipeline of its task gives what the fold was tested with; its adapters,
# on their bases as the card says, make the same model.
folder = Path(sys.argv[1]).parent
tuned = json.loads((folder / "tuned.json").read_text())
where = folder / "recordings"
del sys.modules["accelerate"]  # peft needs it
emotion = pipeline("audio-classification", model="user/tuned", trust_remote_code=True, any_sound=True, top_k=None)
assert type(emotion).__module__.startswith("transformers_modules."), type(emotion)
said["tuned"] = 0.0
for name, words, expected in tuned["rows"]:
    scores = {each["label"]: each["score"] for each in emotion(str(where / f"{name}.wav"), text=words)}
    found = [scores[label] for label in emotion.model.config.id2label.values()]
    said["tuned"] = max(said["tuned"], *(abs(a - b) for a, b in zip(found, expected, strict=True)))
card = Path(hf_hub_download("user/adapter", "README.md")).read_text(encoding="utf-8")
code = re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1)
for name, base in tuned["bases"].items():
    code = code.replace(f'from_pretrained("{name}"', f'from_pretrained("{base}"')
name, words, _ = tuned["rows"][0]
code = code.replace("recording.wav", str(where / f"{name}.wav"))
joined = {}
with contextlib.redirect_stdout(io.StringIO()):
    exec(compile(code, "card of adapters", "exec"), joined)
with torch.no_grad():
    whole = emotion.model(**joined["inputs"]).logits
    parts = joined["model"](**joined["inputs"]).logits
said["adapters"] = (whole - parts).abs().max().item()

# A fault at each request of a load in turn: the model, or an error, and never another model. Of the files of code,
# which come one like the other, two stand for all.
ask("/control", {})
difference(cache_dir="whole")
paths = ask("/paths")
code = sorted({path for path in paths if path.endswith(".py")})
chosen = [number for number, path in enumerate(paths) if path not in code[2:]]
said["requests"], said["files"], said["faulted"] = len(chosen), [paths[number] for number in chosen], []
for number in chosen:
    ask("/control", {number: ("status", "cut")[number % 2]})
    try:
        said["faulted"].append(difference(cache_dir=f"cache-{number}"))
    except Exception as error:  # noqa: BLE001 any, as long as there is one
        said["faulted"].append(f"{type(error).__name__}")
# A bit of a weight that has flipped on the stranger's disk.
ask("/control", {})
weights = Path(hf_hub_download(NAME, "model-00001-of-00002.safetensors", cache_dir="whole")).resolve()
content = bytearray(weights.read_bytes())
content[-5] ^= 1
weights.write_bytes(content)
try:
    said["damaged"] = difference(cache_dir="whole")
except Exception as error:  # noqa: BLE001 the one that is expected is named in the test
    said["damaged"] = f"{type(error).__name__}: {error}"
Path(sys.argv[2]).write_text(json.dumps(said))
