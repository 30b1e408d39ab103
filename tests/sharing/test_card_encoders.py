"""The card of a model that reads recordings: its base models, how they were tuned, and how to use it; adapters."""

import copy
import json
import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from tuned_job import tuned_job

from emomm.cli.main import main
from emomm.corpora.contamination import seen_with_labels
from emomm.errors import InputError
from emomm.job_folder import JobFolder
from emomm.sharing.card_encoders import base_models
from emomm.sharing.card_encoders import base_notes
from emomm.sharing.card_encoders import encoder_rows
from emomm.sharing.hub import check_adapters
from emomm.sharing.hub import gather
from emomm.sharing.hub import model_folder
from emomm.sharing.model_card import model_card
from emomm.sharing.model_card import public_recipe
from emomm.sharing.uploading import Push


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """By name, the facts of a card and the files that are pushed: of the model, of its adapters, of a frozen one."""
    job = tuned_job(tmp_path_factory.mktemp("tuned"))
    found = {}
    for name, experiment, adapter_only in (
        ("model", "Adapted", False),
        ("adapter", "Adapted", True),
        ("frozen", "Frozen", False),
    ):
        wanted = Push(job, experiment, f"someone/{name}", final_model=False, adapter_only=adapter_only)
        kept = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "emomm.sharing.hub.model_card", lambda facts, kept=kept: model_card(kept.setdefault("", facts))
            )
            place = gather(wanted, model_folder(wanted))
        files = {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        found[name] = kept[""], files
    return found, job


def on_the_hub(facts, **changes):
    """The facts of a model whose encoders come from the Hub."""
    entry = copy.deepcopy(facts.entry)
    entry["speech_encoder"] |= {"name": "microsoft/wavlm-base-plus", "local": False}
    if entry["text_encoder"]:
        entry["text_encoder"] |= {"name": "bert-base-uncased", "local": False}
    return replace(facts, entry=entry, **changes)


def test_the_header_names_both_base_models(pushed):
    facts, files = pushed[0]["model"]
    assert base_models(facts) == {}  # they lie in folders here
    assert ModelCard(files["README.md"].decode()).data.base_model is None
    names = ["microsoft/wavlm-base-plus", "bert-base-uncased"]
    data = model_card(on_the_hub(facts)).data
    assert data.base_model == names and data.to_dict()["base_model_relation"] == "finetune"
    data = model_card(on_the_hub(facts, adapter_only=True)).data
    assert data.base_model == names and data.to_dict()["base_model_relation"] == "adapter"
    assert {"lora", "peft"} <= set(data.tags)
    frozen = on_the_hub(pushed[0]["frozen"][0])
    assert base_models(frozen) == {"base_model": names[:1]}
    assert model_card(frozen).data.pipeline_tag == "audio-classification"


def test_the_card_says_how_encoders_were_tuned(pushed):
    facts, files = pushed[0]["model"]
    card = files["README.md"].decode()
    head, rest = card.split("## How to use it")
    assert "Input is the recording of an utterance and its transcript" in head
    assert (
        "LoRA of rank 8 (alpha 16) on query and value in all" in rest
        and "| parameters trained |" in rest
        and "| text encoder | `text`" in rest
    )
    assert re.search(r"\| speech encoder \| `speech-wavlm`, LoRA of rank 8 .*; last layer; SHA-256 \w{16}… \|", rest)
    assert "those longer than 0.15 s are evaluated in windows, whose logits are averaged |" in rest
    assert "| 16 kHz, mono; of those longer than 10 s, each epoch trains on another random window; " in rest
    assert "| augmentation of recordings | none |" in rest
    assert "on those of the speech encoder, `speech-wavlm`, and of the text encoder, `text`;" in rest
    assert "the speech encoder, `speech-wavlm`" in rest.split("Please also cite")[1]
    assert "audio_features" not in rest and 'emotion("recording.wav", text=' in rest.replace("'", '"')
    assert 'processor(audio="recording.wav", text=' in rest and "whose logits are averaged" in rest
    assert "The speech encoder is part of the model, as it was tuned" in rest
    assert not re.search(r"\{\{ | \}\}|\{%|\bNone\b|\bnan\b", card)
    weighted = pushed[0]["frozen"][1]["README.md"].decode()
    assert re.search(r"\| weights of layers, voice \| 0\.\d\d, .* \(from layer 0 on; most: layer \d\) \|", weighted)
    assert "frozen; learned weights of all layers" in weighted and "whose states are joined" in weighted
    assert (
        "16 kHz, mono; those longer than 0.15 s are read in windows, whose states are joined |" in weighted
        and "text" not in dict(encoder_rows(pushed[0]["frozen"][0]))
    )


def test_augmentation_is_in_the_card(pushed):
    facts, _ = pushed[0]["model"]
    given = {"augment_noise_snr": [5.0, 20.0], "augment_noise": "pink", "augment_speed": [0.9, 1.1]}
    settings = replace(facts.settings, **given, augment_room="simulated", spec_augment=0.05, layer_drop=0.1)
    assert dict(encoder_rows(replace(facts, settings=settings)))["augmentation of recordings"] == (
        "pink noise at 5 to 20 dB, speed times 0.9 to 1.1 and rooms (simulated), of 0.5 of the rows; SpecAugment of "
        "0.05 of the frames; layer drop 0.1"
    )


def test_adapters_alone(pushed):
    facts, files = pushed[0]["adapter"]
    whole = pushed[0]["model"][1]
    adapters = [f"{name}_adapter/adapter_{file}" for name in ("speech", "text") for file in ("config.json",
                "model.safetensors")]  # fmt: skip
    assert set(files) == {*whole, *adapters} and len(files["model.safetensors"]) < len(whole["model.safetensors"])
    config = json.loads(files["config.json"])
    assert not config.get("holds_speech_encoder") and not config.get("holds_text_encoder")
    card = files["README.md"].decode()
    assert "merge_and_unload()" in card and 'f"{folder}/speech_adapter"' in card and "pipeline(" not in card
    assert "The encoders are not in this repository: their adapters are" in card
    assert json.loads(files["speech_adapter/adapter_config.json"])["base_model_name_or_path"] == "speech-wavlm"
    text = {name: content.decode() for name, content in files.items() if name.endswith((".json", ".md"))}
    assert not [name for name, content in text.items() if str(pushed[1].parent) in content]
    assert facts.adapter_only


def test_adapters_of_what_has_none_are_refused(pushed, capsys, monkeypatch):
    _, job = pushed
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    push = ["push", str(job), "--experiment", "Frozen", "--hub_model_id", "someone/x", "--adapter_only"]
    assert main(push) == 2
    said = capsys.readouterr().err
    assert (
        "--adapter_only: experiment 'Frozen' has no adapter, as no encoder is tuned by LoRA (speech_tuning is " in said
    )
    settings = pushed[0]["model"][0].settings
    check_adapters(settings)
    with pytest.raises(InputError, match="speech_tuning is full, text_tuning is last_k"):
        check_adapters(replace(settings, speech_tuning="full", text_tuning="last_k"))
    run = JobFolder(job).experiment("Adapted").run(1, "session-1")
    moved = run.adapter.rename(run.path / "away")
    wanted = Push(job, "Adapted", "someone/x", final_model=False, adapter_only=True)
    with pytest.raises(InputError, match="adapter is gone. To have it again, delete .*metrics.json"):
        gather(wanted, run.path)
    moved.rename(run.adapter)


def test_what_the_base_had_seen(pushed):
    facts, _ = pushed[0]["model"]
    assert "on what its own card says" in base_notes(facts)[0]
    entry = copy.deepcopy(facts.entry)
    entry["speech_encoder"]["name"] = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
    (note,) = base_notes(replace(facts, entry=entry))
    assert note.endswith("was trained before with the emotion labels of MSP-Podcast.")
    entry["speech_encoder"]["features"]["encoder"] = entry["speech_encoder"]["name"]
    for corpora in ("statistics", "summary"):
        entry[corpora] = {"MSPP": next(iter(entry[corpora].values()))}
    entry["corpora"][0]["name"] = "MSPP"
    settings = replace(facts.settings, train_dataset="MSPP", evaluation_mode="loso")
    specs = {"MSPP": next(iter(facts.specs.values()))}
    pooled = {"MSPP": next(iter(facts.pooled.values()))}
    card = model_card(replace(facts, entry=entry, settings=settings, specs=specs, pooled=pooled)).text
    assert "> **Contaminated features.** The numbers on MSPP are contaminated: audeering/wav2vec2-large" in card
    assert seen_with_labels("mine", {"model_type": "emotion2vec", "trained_with_labels": True}).startswith("IEMOCAP")
    assert seen_with_labels("mine", {"model_type": "wavlm"}) is None


def test_the_recipe_in_the_card_has_no_path(pushed):
    facts, _ = pushed[0]["model"]
    settings = replace(facts.settings, augment_noise_snr=[5.0, 20.0], augment_noise="/home/me/noises")
    recipe = public_recipe(settings)
    assert recipe["speech_model_name"] == "speech-wavlm" and recipe["augment_noise"] == "noises"
    assert recipe["speech_tuning"] == "lora" and "/home" not in json.dumps(recipe)
