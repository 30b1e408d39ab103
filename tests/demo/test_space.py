"""The folder of a Space: what is in it, what it refuses, and that it runs where emomm is not."""

import configparser
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from huggingface_hub import SpaceCard

from emomm.cli.main import main
from emomm.demo import space
from emomm.demo.space import write_space
from emomm.errors import InputError


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_in_the_folder(tmp_path, capsys):
    arguments = ["--voice-model", "me/voice", "--words_model", "me/words", "--transcribe", "openai/whisper-base"]
    output = tmp_path / "deep" / "space"
    assert main(["space", "--hub_model_id", "me/both", *arguments, "--output", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    assert set(everything(output)) == {*space.CODE, "demo.json", "requirements.txt", "README.md"}
    for name in space.CODE:
        assert (output / name).read_bytes() == (ROOT / name).read_bytes()
    assert json.loads((output / "demo.json").read_text()) == {
        "made_by": "emomm space",
        "model": "me/both",
        "voice_model": "me/voice",
        "words_model": "me/words",
        "speech_encoder": None,
        "transcribe": "openai/whisper-base",
    }
    assert [path.name for path in output.parent.iterdir()] == ["space"]  # nothing left beside it


def test_the_header_is_what_the_hub_takes(tmp_path):
    folder = write_space(tmp_path / "space", "me/both", transcribe="openai/whisper-base", title="Mine: a 'test'")
    text = (folder / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(text.split("---")[1])
    assert header == SpaceCard.load(folder / "README.md").data.to_dict()
    assert header["title"] == "Mine: a 'test'"
    assert (header["sdk"], header["sdk_version"], header["app_file"]) == ("gradio", space.GRADIO, "app.py")
    assert header["models"] == ["me/both", "openai/whisper-base"]
    assert header["license"] == "apache-2.0"
    colours = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {header["colorFrom"], header["colorTo"]} <= colours
    assert len(header["short_description"]) <= 60
    assert (folder / header["app_file"]).is_file()
    assert "5(1)(f)" in text and "deleted within 11 minutes" in text


def test_requirements_are_those_of_the_package(tmp_path):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    ours = set(setup["options"]["install_requires"].split())
    lines = (write_space(tmp_path / "space", "me/both") / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert [package for package in packages if package not in ours] == ["gradio>=6.31,<7"]
    assert "emomm" not in " ".join(packages)


@pytest.mark.parametrize(
    ("option", "value"),
    [("hub_model_id", "nobody"), ("hub_model_id", "a/b/c"), ("voice_model", "/tmp/x"), ("transcribe", "a b")],
)
def test_an_id_that_is_none_is_refused(tmp_path, option, value):
    with pytest.raises(InputError, match=f"--{option} is"):
        write_space(tmp_path / "space", **{"hub_model_id": "me/both", option: value})
    assert not list(tmp_path.iterdir())


def test_other_peoples_files_are_safe(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("mine")
    assert main(["space", "--hub_model_id", "me/both", "--output", str(tmp_path)]) == 2
    assert "holds something other than a Space" in capsys.readouterr().err
    assert main(["space", "--hub_model_id", "me/both", "--output", str(tmp_path / "thesis.tex")]) == 2
    assert "which is a file" in capsys.readouterr().err
    (tmp_path / "demo.json").write_text('{"made_by": "somebody"}')
    with pytest.raises(InputError, match="something other"):
        write_space(tmp_path, "me/both")
    assert set(everything(tmp_path)) == {"thesis.tex", "demo.json"}


def test_a_space_is_written_anew_and_keeps_its_git(tmp_path):
    folder = tmp_path / "clone"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main")
    write_space(folder, "me/both", transcribe="openai/whisper-base")
    (folder / "demo" / "page.py").write_text("an older one")
    write_space(folder, "me/other")
    assert json.loads((folder / "demo.json").read_text())["model"] == "me/other"
    assert "openai/whisper-base" not in (folder / "README.md").read_text()
    assert (folder / "demo" / "page.py").read_bytes() == (ROOT / "demo" / "page.py").read_bytes()
    assert (folder / ".git" / "HEAD").read_text() == "ref: refs/heads/main"


def test_what_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    write_space(tmp_path / "old", "me/both")
    before = everything(tmp_path)

    def full(self, content, encoding=None):
        if self.name == "requirements.txt":
            raise OSError(28, "No space left on device")
        self.write_bytes(content.encode())

    monkeypatch.setattr(Path, "write_text", full)
    for folder in ("old", "new"):
        with pytest.raises(InputError, match="No space left"):
            write_space(tmp_path / folder, "me/other")
    assert everything(tmp_path) == before


def test_a_demo_never_waits_for_a_silent_hub(tmp_path):
    """A Space's folder holds what asks the Hub with a time limit, and its app.py does so before anything is loaded."""
    folder = write_space(tmp_path / "space", "nobody/nothing")
    (tmp_path / "stand_ins").mkdir()  # for what takes seconds to import
    (tmp_path / "stand_ins" / "gradio.py").touch()
    (tmp_path / "stand_ins" / "transformers.py").write_text(
        "from huggingface_hub import constants\n"
        "def pipeline(*_, **__): raise OSError(f'loaded, and offline is {constants.HF_HUB_OFFLINE}')"
    )
    code = (
        "import runpy, sys; sys.path.insert(0, '.'); import hub_access; hub_access.SECONDS = 0.5\n"
        "runpy.run_path('app.py', run_name='__main__')"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        hub = {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(tmp_path / "stand_ins")}
        ran = [sys.executable, "-c", code]
        done = subprocess.run(ran, cwd=folder, env={**os.environ, **hub}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    assert f"{url} can't be reached (" in done.stderr and "loaded, and offline is True" in done.stderr
