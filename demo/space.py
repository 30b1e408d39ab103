"""`emomm space`: the folder of a Hugging Face Space that shows a model in the browser."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import SpaceCard
from huggingface_hub import SpaceCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..errors import InputError
from ..files import replace_folder
from ..files import staging
from .page import KEPT
from .page import SETTINGS_FILE
from .page import Options

CODE = (
    "app.py",
    "hub_access.py",
    "demo/__init__.py",
    "demo/page.py",
    "demo/markup.py",
    "demo/timeline.py",
)
"""Of this package: what a Space runs. The rest of the code comes with the model."""
GRADIO = "6.31.0"
"""The version that the demo is tested with, and that the Space runs."""
REQUIREMENTS = (
    "torch>=2.6",
    "transformers>=5.23,<6",
    "huggingface_hub>=2.4,<3",
    "safetensors>=0.6",
    "numpy>=2",
    "soundfile>=0.13",
    "soxr>=0.5",
    "gradio>=6.31,<7",
)
_REQUIREMENTS_FILE = """# On CPU hardware, torch without CUDA is ten times smaller; take the # off the next line:
# --extra-index-url https://download.pytorch.org/whl/cpu
{packages}
"""
_MADE_BY = "emomm space"
_THEIR_OWN = (".git", ".gitattributes", ".gitignore", ".huggingface", ".cache")
_CARD = """---
{header}
---

# {title}

Record or upload a voice, type its words, and see which emotion [{model}](https://huggingface.co/{model}) takes them
for: the probability of each emotion, the words coloured by weight, and the emotions over the recording.{beside}

It guesses what a recording and its words sound like, which need not be what the person feels, and it is often wrong.
**Take no decision about a person by it.** In the EU, inferring emotions at work and in education is prohibited,
medical and safety reasons aside (AI Act, Regulation (EU) 2024/1689, art. 5(1)(f)).

Uploads are deleted within {minutes} minutes; words and results are not stored.

The models are named in `{settings}`. To run it elsewhere: `pip install -r requirements.txt`, then `python app.py`. The
code here is under Apache-2.0; the models are under their own licences.
"""


def write_space(
    folder: str | Path,
    hub_model_id: str,
    voice_model: str | None = None,
    words_model: str | None = None,
    speech_encoder: str | None = None,
    transcribe: str | None = None,
    title: str | None = None,
) -> Path:
    """Writes a folder that runs as a Hugging Face Space, or anywhere with its requirements, as it is.

    A folder that is there already is changed only where it is empty or a Space that this wrote: its files are
    replaced, git's are left.

    Args:
        folder: where to.
        hub_model_id: `user/name` of the model on the Hub.
        voice_model, words_model: of models to be shown beside it.
        speech_encoder: where its speech encoder is taken from, if not from where the model says.
        transcribe: speech recognition model for recordings without typed words.
        title: of the Space; default made of the model's name.

    Returns the folder. Raises InputError for an id that is none, or a folder with anything else in it.
    """
    options = Options(hub_model_id, voice_model, words_model, speech_encoder, transcribe)
    for name, value in asdict(options).items():
        if value is not None:
            _check_id("hub_model_id" if name == "model" else name, value)
    folder = Path(folder)
    _check_folder(folder)
    title = title or f"Emotion from voice and words: {hub_model_id.split('/')[-1]}"
    files = {name: (_package() / name).read_text(encoding="utf-8") for name in CODE}
    files[SETTINGS_FILE] = json.dumps({"made_by": _MADE_BY, **asdict(options)}, indent=2) + "\n"
    files["requirements.txt"] = _REQUIREMENTS_FILE.format(packages="\n".join(REQUIREMENTS))
    files["README.md"] = space_card(options, title).content
    try:
        _write(folder, files)
    except OSError as error:
        raise InputError(f"{folder} can't be written ({error})") from error
    return folder


def space_card(options: Options, title: str) -> SpaceCard:
    """The Space's README, with the header that the Hub reads."""
    models = [options.model, options.voice_model, options.words_model, options.speech_encoder, options.transcribe]
    data = SpaceCardData(
        title=title,
        emoji="🎙️",
        colorFrom="indigo",
        colorTo="blue",
        sdk="gradio",
        sdk_version=GRADIO,
        python_version="3.11",
        app_file="app.py",
        pinned=False,
        license="apache-2.0",
        short_description="Emotion from a voice and its words",
        models=list(dict.fromkeys(model for model in models if model)),
        tags=["emomm", "speech-emotion-recognition"],
    )
    beside = [
        f"[{name}](https://huggingface.co/{name})" for name in (options.voice_model, options.words_model) if name
    ]
    content = _CARD.format(
        header=data.to_yaml(),
        title=title,
        model=options.model,
        beside=f"\nBeside it: {' and '.join(beside)}." if beside else "",
        minutes=KEPT // 60 + 1,
        settings=SETTINGS_FILE,
    )
    return SpaceCard(content)


def _package() -> Path:
    return Path(__file__).resolve().parent.parent


def _check_id(option: str, value: str) -> None:
    if option in ("hub_model_id", "voice_model", "words_model") and value.count("/") != 1:
        raise InputError(f"--{option} is {value!r}, but must be user/name: a Space takes its models from the Hub")
    try:
        validate_repo_id(value)
    except HFValidationError as error:
        raise InputError(f"--{option} is {value!r}: {error}") from None


def _check_folder(folder: Path) -> None:
    """Raises InputError where anything but a Space of ours would be changed."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"--output is {folder}, which is a file; name a folder")
    inside = {path.name for path in folder.iterdir()} - set(_THEIR_OWN)
    if not inside:
        return
    try:
        made_by = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))["made_by"]
    except (OSError, ValueError, KeyError, TypeError):
        made_by = None
    if made_by != _MADE_BY:
        raise InputError(
            f"--output is {folder}, which holds something other than a Space of `emomm space` "
            f"({', '.join(sorted(inside)[:3])}); name a new or empty folder"
        )


def _write(folder: Path, files: dict[str, str]) -> None:
    """Every file, or none: they are all written beside the folder first."""
    with staging(folder) as draft:
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
        if not folder.exists():
            replace_folder(draft, folder)
            return
        for name in files:
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(draft / name, folder / name)


__all__ = ["CODE", "GRADIO", "REQUIREMENTS", "space_card", "write_space"]
