"""Pushing to a local Hub and loading from there, with every request failing in turn."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from local_hub import FAULTS

from emomm.cli.main import main
from emomm.errors import InputError
from emomm.sharing.uploading import FIGURES
from emomm.sharing.uploading import MODEL_FILES
from emomm.sharing.uploading import check_destination

TESTS = Path(__file__).resolve().parent.parent
TOKEN = "hf_0123456789abcdef"
CODE = [
    "answers.py", "checksums.py", "compressed_audio.py", "configuration_emomm.py", "configuration_emotion2vec.py",
    "data_collator.py", "encoder_layers.py", "fusions.py", "held_encoders.py", "losses.py", "modalities.py",
    "modeling_emomm.py", "modeling_emotion2vec.py", "own_files.py", "pipeline_emomm.py", "processing_emomm.py",
    "saliency.py", "sample_scale.py", "speech_encoders.py", "speech_features.py", "speech_layers.py",
    "text_layers.py", "transcribing.py", "travelling.py", "utterances.py", "voice_activity.py", "waveforms.py",
]  # fmt: skip
FILES = [
    "README.md", "checksums.json", "config.json", *CODE, "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors", "model.safetensors.index.json", "processor_config.json", "results.json",
    "tokenizer.json", "tokenizer_config.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """What `push_to_local_hub.py` and its stranger report, and the folder they worked in."""
    folder = tmp_path_factory.mktemp("hub")
    child = subprocess.run(
        [sys.executable, str(TESTS / "push_to_local_hub.py"), str(folder), str(folder / "result.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert child.returncode == 0, child.stderr[-5000:]
    result = json.loads((folder / "result.json").read_text())
    assert result["stranger"][0] == 0, result["stranger"][2][-5000:]
    said = child.stdout + child.stderr + result.pop("log") + "".join(result["stranger"][1:])
    return result, json.loads((folder / "pulled.json").read_text()), said, folder


def test_what_is_pushed(pushed):
    result, _, _, folder = pushed
    assert result["push"]["code"] == 0
    assert re.search(r"pushed: http://127.0.0.1:\d+/user/first\n$", result["push"]["out"])
    assert result["files"] == sorted(FILES) and result["state"] == "whole" and result["private"]
    assert result["again"]["code"] == 0 and result["commits"] == 1  # nothing has changed
    assert result["left"] == []


def test_a_job_ends_with_a_push(pushed):
    result, _, _, _ = pushed
    assert result["run"]["code"] == 0 and "pushed: " in result["run"]["out"] and "UAR" in result["run"]["out"]
    assert result["second has"] == "whole"
    assert "The model here is one of 4 runs" in result["second is"] and '"user/second"' in result["second is"]
    for name, message in (
        ("run without id", "--push_to_hub needs --hub_model_id user/name"),
        ("run into the blue", "--hub_model_id is 'nobody', but must be user/name"),
    ):
        assert result[name]["code"] == 2 and message in result[name]["err"]


def test_a_stranger_gets_the_same_logits(pushed):
    _, pulled, _, _ = pushed
    assert max(pulled["difference"]) <= 1e-6
    printed = [line.split() for line in pulled["card"].splitlines()]
    assert [name for name, _ in printed] == ["neutral", "happy", "sad", "anger"]
    assert sum(float(value) for _, value in printed) == pytest.approx(1, abs=0.003)


def test_a_tuned_model_is_the_evaluated_one_at_a_strangers(pushed):
    """By the pipeline of its task, without the package; and put together from its bases and adapters."""
    result, pulled, _, _ = pushed
    tuned = result["tuned"]
    assert tuned["whole"]["code"] == tuned["adapter"]["code"] == 0, tuned["adapter"]["err"]
    whole = {*FILES, "model.safetensors", "preprocessor_config.json"} - {name for name in FILES if "model-0" in name}
    whole -= {"model.safetensors.index.json"}
    adapters = {f"{name}_adapter/adapter_{file}" for name in ("speech", "text") for file in
                ("config.json", "model.safetensors")}  # fmt: skip
    assert set(tuned["files"]["tuned"]) == whole and set(tuned["files"]["adapter"]) == whole | adapters
    assert tuned["sizes"]["adapter"] < tuned["sizes"]["tuned"]
    assert tuned["none"]["code"] == 2 and "no encoder is tuned by LoRA" in tuned["none"]["err"]
    assert len(tuned["rows"]) == 8 and pulled["tuned"] <= 1e-4
    assert pulled["adapters"] <= 1e-6


def test_loading_with_faults_gives_the_model_or_an_error(pushed):
    _, pulled, _, _ = pushed
    assert len(pulled["faulted"]) == pulled["requests"] > 10
    files = {path.rpartition("/")[2] for path in pulled["files"]}
    assert files >= {name for name in FILES if name.endswith(".safetensors")} | {"config.json", "checksums.py"}
    assert all(isinstance(outcome, str) or outcome <= 1e-6 for outcome in pulled["faulted"])
    assert any(isinstance(outcome, str) for outcome in pulled["faulted"])
    assert pulled["damaged"].startswith(
        "ChangedFiles: user/first is not what was written there: model-00001-of-00002.safetensors has changed. Fetch"
    )


def test_a_fault_at_any_request_is_overcome(pushed):
    result, _, _, _ = pushed
    assert result["plain"] == "done"
    requests = result["requests"]
    assert {"create", "tree", "validate", "preupload", "batch", "put", "verify", "commit"} <= set(requests)
    assert len(result["faults"]) == len(FAULTS) * len(requests)
    for fault in result["faults"]:
        assert fault[2:] == ["done", "whole"], fault


def test_what_stays_broken_ends_in_a_message_and_changes_nothing(pushed):
    result, _, _, folder = pushed
    assert {route for route, *_ in result["broken"]} == set(result["requests"])
    for route, fault, repo, outcome, kept in result["broken"]:
        what = "making the repository" if route == "create" else "uploading"
        assert outcome.startswith(f"error: {repo} was not pushed: {what} failed ("), (route, fault, outcome)
        assert "whole or not at all" in outcome and str(folder / "job" / "both-of-them" / "hub") in outcome
        command = f"emomm push {folder / 'job'} --experiment 'Both of them' --hub_model_id {repo}"
        assert outcome.endswith(f"Try again: {command}"), outcome
        assert ("503" in outcome) == (fault == "status"), outcome
        assert kept is True if repo == "user/old" else kept == "nothing", (route, fault, kept)


def test_nothing_private_goes_into_a_public_repository(pushed):
    outcome, names = pushed[0]["public"]
    assert outcome["code"] == 2 and "user/public is there already, and public" in outcome["err"]
    assert names == ["mine.txt"]


def test_the_licence_can_be_given(pushed):
    assert pushed[0]["licensed"]["code"] == 0
    assert "license: cc-by-nc-4.0" in pushed[0]["licence"] and "license_name" not in pushed[0]["licence"]


def test_files_of_an_older_model_go_and_others_stay(pushed):
    outcome, names = pushed[0]["over old"]
    assert outcome == "done"
    assert names == sorted([*FILES, ".gitattributes", "mine.txt"])


def test_tokens(pushed):
    result, _, said, folder = pushed
    for name, message in (
        ("wrong token", "401: the Hub does not know the token; `hf auth login` keeps another, or set HF_TOKEN"),
        ("forbidden", "403: the token may not write to user/other; it needs write access there"),
        (
            "no token",
            "there is no token for the Hub: `hf auth login` keeps one, or set HF_TOKEN; it needs write access",
        ),
    ):
        assert result[name]["code"] == 2 and result[name]["out"] == ""
        assert message in result[name]["err"] and result[name]["err"].count("error:") == 1
    everything = json.dumps({key: value for key, value in result.items() if key != "bodies"}) + said
    bodies = "".join(result["bodies"])
    for token in (TOKEN, "hf_wrongwrongwrong"):
        assert token not in everything and token not in bodies
    for path in folder.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


def test_nothing_else_leaves_the_machine(pushed):
    result, _, _, folder = pushed
    bodies = "".join(result["bodies"])
    for secret in ("secret-row", "Agent0", str(folder), "private corpus", "optimizer", "training_args"):
        assert secret not in bodies, secret


def test_what_is_not_there(pushed):
    result, _, _, _ = pushed
    assert "there is no experiment 'Both of then'. Did you mean 'Both of them'?" in result["no experiment"]["err"]
    assert "holds no results.json: give the folder of a job" in result["no job"]["err"]
    assert result["no experiment"]["code"] == result["no job"]["code"] == 2


@pytest.mark.parametrize(
    "name",
    ["training_args.bin", "optimizer.pt", "predictions.parquet", "history.json", "run.json", "settings.json",
     "pytorch_model.bin", "states.pkl", "model.safetensors.bin", "xmodel.safetensors", "figures/../x.png"],
)  # fmt: skip
def test_the_list_of_files_is_short(name):
    assert not MODEL_FILES.fullmatch(name) and not FIGURES.fullmatch(name)


@pytest.mark.parametrize("name", ["nobody", "a/b/c", "user/", "user/na me", "user/-x-", "user/x..y"])
def test_names_that_are_none(name):
    with pytest.raises(InputError, match="--hub_model_id is "):
        check_destination(name)


def test_options_that_do_not_go_together(capsys):
    for argv, message in (
        (["run", "quickstart", "--hub_model_id", "user/x"], "--hub_model_id goes with --push_to_hub"),
        (
            ["run", "quickstart", "--push_to_hub", "--hub_model_id", "user/x"],
            "choose an --experiment. There are: voice",
        ),
        (["push", "runs/x", "--experiment", "a"], "--hub_model_id user/name is missing"),
        (["push", "runs/x", "--hub_model_id", "user/x"], "--experiment"),
        (["push", "x", "--experiment", "a", "--hub_model_id", "u/x", "--final_model", "no"], "must be true or false"),
    ):
        assert main(argv) == 2
        assert message in capsys.readouterr().err
