"""What the README prints is run as it is printed."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from emomm.cli.main import main
from emomm.settings.recipe import load_recipe

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> Path:
    """A working directory in which a short quickstart job with the README's own fusion has been run."""
    folder = tmp_path_factory.mktemp("readme")
    fusion = next(block for block in blocks("python") if "register_fusion" in block)
    (folder / "max_fusion.py").write_text(fusion)
    short = "--num_epochs 2 --curriculum_epochs 1 --store_dir store --no_report"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(shlex.split(f"run quickstart --experiment both {short}")) == 0
        command = next(line for line in "\n".join(blocks("bash")).splitlines() if "--fusion_module" in line)
        assert main([*shlex.split(command.removeprefix("emomm ")), *shlex.split(short)]) == 0
    return folder


def test_recipe_blocks_are_recipes(tmp_path):
    whole, corpus = blocks("json")
    (tmp_path / "recipe.json").write_text(whole)
    recipe = load_recipe(tmp_path / "recipe.json")
    assert [settings.curriculum_type for settings in recipe.experiments][1:3] == ["random", "inverse_difficulty"]
    assert not recipe.experiments[3].use_curriculum_learning
    assert recipe.experiments[0].training_arguments == {"gradient_accumulation_steps": 2}
    described = json.loads(f"{{{corpus}}}")
    (tmp_path / "own.json").write_text(json.dumps({**described, "experiments": [{"name": "one"}]}))
    from emomm.corpora.builtin import resolve_specs

    settings = load_recipe(tmp_path / "own.json").experiments[0]
    spec = resolve_specs(settings.corpora, {})["callcentre"]
    assert spec.labels == ["neutral", "angry"] and spec.vad_scale == [1, 7]


def test_own_fusion_is_exported(quickstart):
    model = quickstart / "runs/max/both/seed-42/session-1/model"
    assert json.loads((model / "config.json").read_text())["fusion_type"] == "max"
    assert (model / "max_fusion.py").exists()


def test_inference_block(quickstart, monkeypatch, capsys):
    monkeypatch.chdir(quickstart)
    code = next(block for block in blocks("python") if "AutoModel" in block)
    exec(compile(code, "README.md", "exec"), {})
    scores = eval(capsys.readouterr().out.strip().splitlines()[-1])
    assert set(scores) == {"neutral", "happy", "sad", "anger"}
    assert sum(scores.values()) == pytest.approx(1, abs=0.003)


def test_predict_command(quickstart, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.chdir(quickstart)
    command = next(line for line in "\n".join(blocks("bash")).splitlines() if "--output predictions.parquet" in line)
    assert main(shlex.split(command)[1:]) == 0
    table = pq.read_table("predictions.parquet")
    before = pq.read_table("runs/quickstart/both/seed-42/session-1/predictions.parquet")
    rows = dict(zip(table["utterance_id"].to_pylist(), table["probabilities"].to_pylist(), strict=True))
    assert len(rows) == 339
    stored = np.array(before["probabilities"].to_pylist())
    live = np.array([rows[name] for name in before["utterance_id"].to_pylist()])
    # The encoder runs live here, and its states came from the float16 store there.
    np.testing.assert_allclose(live, stored, atol=2e-3)


def test_a_recording_in_one_call(quickstart, monkeypatch, capsys):
    """The pipeline's block and the command's, on the recordings they name; the encoder from a folder."""
    shared = Path(__file__).resolve().parent.parent.parent / "shared"
    recordings, whisper = shared / "data" / "emodb" / "flac", shared / "models" / "whisper-base"
    if not (recordings.is_dir() and whisper.is_dir()):
        pytest.skip("EmoDB's recordings and Whisper base are not beside this checkout")
    monkeypatch.chdir(quickstart)
    Path("emodb").symlink_to(recordings)
    Path("whisper-base").symlink_to(whisper)
    code = next(block for block in blocks("python") if "import pipeline" in block)
    assert code.count("trust_remote_code=True)") == 1
    code = code.replace("trust_remote_code=True)", "trust_remote_code=True, speech_encoder='whisper-base')")
    exec(compile(code, "README.md", "exec"), {})
    label, score = capsys.readouterr().out.strip().splitlines()[-1].split()
    labels = {"neutral", "happy", "sad", "anger"}
    assert label in labels and 0.25 < float(score) <= 1
    command = next(block for block in blocks("bash") if "emodb/03a01Wa.flac" in block).replace("\\\n", " ")
    assert main(shlex.split(command)[1:]) == 0
    said = capsys.readouterr().out
    assert f"emodb/03a01Wa.flac: {label} ({100 * float(score):.1f}%)" in said
    assert all(f"emodb/{name}.flac: " in said for name in ("03a01Fa", "03a02Ta", "03a01Nc"))


def test_recipes_of_the_table_are_packaged():
    names = {path.stem for path in (Path(__file__).resolve().parent.parent / "recipes").glob("*.json")}
    table = README.split("| recipe | what |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == names
