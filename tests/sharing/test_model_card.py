"""The model card of a small job: the whole of it, and what must and must not be in it."""

import copy
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from finished_job import CORPUS
from finished_job import finished_job
from huggingface_hub import ModelCard

from emomm.corpora.builtin import BUILTIN
from emomm.corpora.contamination import contamination
from emomm.corpora.reading import read_genders
from emomm.settings.recipe import load_recipe
from emomm.settings.settings import Settings
from emomm.settings.settings import settings_identity
from emomm.sharing.card_results import CardFacts
from emomm.sharing.compared import public_choices
from emomm.sharing.compared import warn_of_choice
from emomm.sharing.hub import _has_sessions_of_one
from emomm.sharing.hub import _private
from emomm.sharing.hub import gather
from emomm.sharing.hub import model_folder
from emomm.sharing.hub import public_results
from emomm.sharing.hub import public_search
from emomm.sharing.hub import refuse_private
from emomm.sharing.model_card import model_card
from emomm.sharing.model_card import public_recipe
from emomm.sharing.uploading import Push
from emomm.speech_features import SpeechFeatures

ROOT = Path(__file__).resolve().parent.parent.parent
EXPECTED = Path(__file__).resolve().parent.parent / "fixtures" / "expected_model_card.md"


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """The facts of the card, and the folder that is pushed."""
    folder = tmp_path_factory.mktemp("card")
    job = finished_job(folder)
    wanted = Push(job, "Both of them", "someone/feelings")
    kept = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emomm.sharing.hub.model_card", lambda facts: model_card(kept.setdefault("facts", facts)))
        place = gather(wanted, model_folder(wanted))
    return kept["facts"], place, folder


def without_numbers(text: str) -> str:
    """The card, with a # for what differs between machines and versions."""
    text = re.sub(r"\nIn \d+ of \d+ runs?, [^\n]* scored just as high: [^\n]*", "", text)
    text = re.sub(r"for \d+ steps", "for # steps", text)
    text = re.sub(r"\(\d+ of (\d+) epochs of \d+ steps\)", r"(# of \1 epochs of # steps)", text)
    text = re.sub(r"\| epochs \| \d+ of", "| epochs | # of", text)
    text = re.sub(r"\| steps \| \d+ of", "| steps | # of", text)
    text = re.sub(r"\| time \| \d+ s on [^|]*\|", "| time | # |", text)
    text = re.sub(r"SHA-256 \w+", "SHA-256 #", text)
    text = re.sub(r"\| (software[^|]*) \|[^|]*\|", r"| \1 | # |", text)
    text = re.sub(r"version = \{[^}]*\}", "version = {#}", text)
    # What so small a job did not learn: see test_what_was_not_learned_is_a_limit.
    text = re.sub(r"(?m)^- (Of the \d+ runs behind these numbers|The model here:) .*\n", "", text)
    return re.sub(r"(?<![\w.-])-?\d+\.\d+", "#", text)


def test_the_whole_card(pushed):
    """Rewrite the file with `EMOMM_EXPECTED=1` and read it, where the card is meant to have changed."""
    _, place, _ = pushed
    found = without_numbers((place / "README.md").read_text(encoding="utf-8"))
    if os.environ.get("EMOMM_EXPECTED"):
        EXPECTED.write_text(found, encoding="utf-8")
    assert found == EXPECTED.read_text(encoding="utf-8")


def card_of(facts, **changes):
    return model_card(replace(facts, **changes)).content


def test_names_notes_and_licences_are_text(pushed):
    """Whatever a corpus says of itself: no HTML, no link but to a web address, no line or cell of its own."""
    markdown_it = pytest.importorskip("markdown_it")
    facts, _, _ = pushed
    entry = copy.deepcopy(facts.entry)
    (said,) = entry["corpora"]
    said |= {
        "licence": "free](javascript:alert(1)) <b>",
        "licence_url": "javascript:alert(1)",
        "caveat": "<script>alert(1)</script>\n\n# Buy [this](javascript:alert(2))",
        "language": "<img src=x onerror=alert(1)>",
        "notes": ["a | b <iframe>", "![x](javascript:alert(3))"],
        "citation": "`</details><script>`",
        "extractor": "<svg onload=alert(1)>",
    }
    text = card_of(facts, entry=entry).split("\n---\n", 1)[1]
    html = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    for tag in ("<script", "<img src=x", "<iframe", "<svg", "<b>", 'href="javascript', 'src="javascript', "Buy</h1>"):
        assert tag not in html, tag
    assert "&lt;script&gt;alert(1)&lt;/script&gt; # Buy [this](javascript:alert(2))" in html
    assert "<details>" in html and 'href="https://' not in html.split("Training data")[1].split("What it is for")[0]
    assert "[CC0-1.0](https://creativecommons.org/" in card_of(facts)


def test_epochs_that_tie_are_said(pushed):
    facts, _, _ = pushed
    entry = copy.deepcopy(facts.entry)
    for run in entry["runs"]:
        run["best_epoch_ties"] = 0
    assert "scored just as high" not in card_of(facts, entry=entry)
    entry["runs"][0]["best_epoch_ties"] = 2
    assert "\nIn 1 of 4 runs, 2 later epochs scored just as high: the first is kept" in card_of(facts, entry=entry)


def test_a_pushed_fold_says_what_chose_it(pushed):
    facts, _, _ = pushed
    model = {**facts.model, "test": {CORPUS: {}}, "seed": 3, "fold": "session-1"}
    for metric, name in (("uar", "UAR"), ("f1_macro", "F1 macro"), ("loss", "UAR")):
        card = card_of(facts, model=model, settings=replace(facts.settings, metric_for_best_model=metric))
        assert f"the one with the highest {name} on its validation rows" in card


def test_intervals_speak_for_other_speakers_alone(pushed):
    facts, _, _ = pushed
    std = facts.entry["summary"][CORPUS]["uar"]["std_over_seeds"]
    assert f"standard deviation of the pooled UAR over the seeds, {std:.3f} ({CORPUS})." in card_of(facts)
    entry = copy.deepcopy(facts.entry)
    entry["summary"][CORPUS]["uar"]["std_over_seeds"] = None  # one seed
    assert "not for other trainings: with one seed, a score or a difference may be the luck" in card_of(
        facts, entry=entry
    )


def choice(**fields):
    given = {"experiment": "Both of them", "metric": "uar", "score": 0.7, "runs": 4, "scores": [0.7, 0.6]}
    return {CORPUS: {**given, "among": ["Both of them", "Other*"], "tied": ["Both of them"], **fields}}


def test_the_card_says_whether_validation_chooses_it(pushed, caplog):
    facts, place, _ = pushed
    assert "experiments of its job" not in card_of(facts)  # it was the only one
    said = f"Of the 2 experiments of its job, validation chooses this one (validation UAR 0.700) ({CORPUS})."
    assert said in card_of(facts, choices=choice())
    other = choice(experiment="Other*", tied=["Other*"], score=0.8, scores=[0.7, 0.8])
    card = card_of(facts, choices=other)
    assert "validation chooses another one (0.800, this one: validation UAR 0.700); if it was taken for" in card
    assert "that score is optimistic" in card and "Other*" not in card
    assert "validated on different rows, so that none is chosen" in card_of(facts, choices=choice(experiment=None))
    public = public_choices("Both of them", other)
    assert public == {CORPUS: {"experiments": 2, "chosen_on_validation": False}}
    warn_of_choice("Both of them", choice())
    assert not caplog.messages
    warn_of_choice("Both of them", other)
    assert (
        "'Both of them' is pushed, with a validation UAR of 0.700; validation chooses 'Other*' (0.800)" in caplog.text
    )


def test_both_decisions_and_mixed_means_are_in_the_card(pushed):
    facts, _, _ = pushed
    entry = copy.deepcopy(facts.entry)
    said = entry["statistics"][CORPUS]
    said["folds_lacking_classes"] = {"session-2": ["anger"]}
    card = card_of(facts, entry=entry)
    assert re.search(r"\| MELD \| 4 \| 0\.\d+ ± 0\.\d+‡ \|", card) and "‡ MELD: folds differ in their classes" in card
    labels = entry["labels"]
    said["recall"] = {name: said["recall"][name] if name in labels[:2] else None for name in labels}
    summary, recall = entry["summary"][CORPUS], {name: said["recall"][name] for name in labels[:2]}
    decision = {**{metric: summary[metric] for metric in summary}, "recall": recall}
    shared = {**decision, "classes": labels[:2], "chance": 0.5, "uar": {**summary["uar"], "pooled": 0.875}}
    said["decisions"] = {"all": {**decision, "classes": labels, "chance": 0.25}, "shared": shared}
    card = model_card(replace(facts, entry=entry))
    lines = [line for line in card.content.splitlines() if line.startswith(f"| {CORPUS}, among")]
    assert [line.split(" | ")[0] for line in lines] == [f"| {CORPUS}, among all 4", f"| {CORPUS}, among its 2"] * 3
    assert "guessing gives a UAR of .250 and .500" in card.content
    assert lines[5].endswith("| does not occur | does not occur |")
    names = [result.metric_name for result in card.data.eval_results]
    assert names[0] == "UAR (leave one session out, pooled, decided among 4 classes)"
    assert names[4] == "UAR (leave one session out, pooled, decided among 2 classes)"
    assert card.data.eval_results[4].metric_value == 0.875


def test_nothing_private_is_in_what_is_pushed(pushed):
    facts, place, folder = pushed
    table = pq.read_table(folder / "private corpus" / "train.parquet")
    private = [str(folder), str(ROOT), str(Path.home()), str(folder.name), "private corpus", "secret-row", "Agent0"]
    private += [text for text in table["transcript"].to_pylist() if len(text.split()) > 2]
    texts = {path.name: path.read_text() for path in place.rglob("*") if path.suffix in (".md", ".json", ".py")}
    assert {"README.md", "results.json", "config.json", "processor_config.json", "tokenizer.json"} <= set(texts)
    for name, text in texts.items():
        for secret in private:
            assert secret not in text, (name, secret)
    for path in place.iterdir():
        assert not path.is_symlink()
    (results,) = json.loads(texts["results.json"])["experiments"]
    assert len(results["runs"]) == 4 and results["statistics"][CORPUS]["by_speaker"][0].keys() >= {"n", "uar"}
    assert results["summary"] == facts.entry["summary"]


def test_a_file_with_a_path_or_the_token_is_not_pushed(tmp_path):
    (tmp_path / "fine.json").write_text('{"a": "https://example.org/home/someone", "b": "/home/someone-else", "c": 1}')
    refuse_private(tmp_path, ["/home/someone", "hf_abcdefgh"])
    (tmp_path / "weights.safetensors").write_bytes(b"/home/someone")  # not text
    refuse_private(tmp_path, ["/home/someone"])
    for content, what in (('"/home/someone/data"', "/home/someone;"), ("x = 'hf_abcdefgh'", "the token;")):
        (tmp_path / "own_fusion.py").write_text(content)
        with pytest.raises(ValueError, match=f"nothing is pushed: own_fusion.py holds {what}"):
            refuse_private(tmp_path, ["/home/someone", "hf_abcdefgh"])


@pytest.mark.parametrize(
    "content",
    [
        "file:///home/someone/data/x",
        "alice@box:/home/someone/data/rec",
        '"/home/someone/data"',
        "someone@here",
        "made on some@box.example",
    ],
)
def test_paths_are_found_behind_hosts_and_schemes(tmp_path, content):
    private = ["/home/someone/data", "someone@", "@box"]
    (tmp_path / "README.md").write_text(content)
    with pytest.raises(ValueError, match="nothing is pushed: README.md holds"):
        refuse_private(tmp_path, private)
    (tmp_path / "README.md").write_text("https://example.org/home/someone/data and mailto:awesome@boxer.org")
    refuse_private(tmp_path, private)


def test_parents_of_paths_are_private_too(pushed):
    facts, place, folder = pushed
    found = _private(place.parent.parent, facts.settings)
    assert str(folder / "private corpus") in found and str(folder.parent) in found and "/tmp" not in found


def test_speakers_that_are_sessions_are_not_named(pushed):
    facts, place, _ = pushed
    entry = copy.deepcopy(facts.entry)
    results = {"recipe": "r", "environment": {}}
    for run in entry["runs"]:
        run["fold"] = f"session-Maria-{run['fold'][-1]}"
        run["protocol"] = f"tests {run['fold']}"
    entry["corpora"][0]["sessions"] = {"Maria-1": 24, "Maria-2": 24}
    said = entry["statistics"][CORPUS]
    said["by_session"] = {"Maria-1": said["by_session"]["1"], "Maria-2": said["by_session"]["2"]}
    public = json.dumps(public_results(results, entry, alone=True))
    assert "Maria" not in public and '"fold-1"' in public
    assert "Maria" in json.dumps(public_results(results, entry))
    rows = facts.pooled[CORPUS]
    assert not _has_sessions_of_one(facts.pooled)
    assert _has_sessions_of_one({CORPUS: replace(rows, sessions=rows.speakers)})


SEARCHED = {
    "form": "once", "of": "Both of them", "metric": "uar", "seed": 0, "trials": 20, "studies": 1, "done": 20,
    "pruned": 3, "failed": 0, "space": {"dropout": {"low": 0.0, "high": 0.5}}, "fold": "session-Maria-1",
    "leaks": ["session-Maria-2"], "found": {"session-Maria-1": {"score": 0.5}},
}  # fmt: skip


def test_a_search_for_the_settings_is_in_the_card(pushed):
    facts, _, _ = pushed
    once = public_search(SEARCHED, {"session-Maria-1": "fold-1", "session-Maria-2": "fold-2"})
    gain = "Both (searched) - Both: UAR +0.010"
    text = card_of(facts, entry={**facts.entry, "searched": once}, gains=[gain])
    assert "> **Settings chosen with test rows.** Its settings (dropout) were searched for once: 20 trials" in text
    assert "Rows that fold-2 tests were trained on or validated there" in text and "Maria" not in text
    assert f"\n{gain}\n" in text
    nested = {**once, "form": "nested", "fold": None, "leaks": [], "studies": 2, "done": 40}
    text = card_of(facts, entry={**facts.entry, "searched": nested})
    assert "Settings chosen with test rows" not in text
    assert "in each of 2 folds: 20 trials (40 in all, 3 pruned)" in text and "nested cross-validation" in text


def test_a_protocol_of_a_users_own_is_said_in_its_words(pushed, tmp_path):
    """Its folds are numbered, since speakers may be named in theirs; known speakers are what is said first."""
    facts, _, folder = pushed
    (tmp_path / "mine.py").write_text("")
    settings = replace(facts.settings, evaluation_mode="my_split", protocol_module=str(tmp_path / "mine.py"))
    entry = copy.deepcopy(facts.entry)
    entry["protocol"] = {
        "name": "my_split",
        "about": "As *they* do",
        "names_validation": True,
        "shares_speakers": True,
    }
    for run in entry["runs"]:
        run.update(fold=f"Maria-{run['fold']}", protocol="Maria is tested")
        run["parts"]["test"]["speakers_trained_on"] = 1
    card = card_of(facts, settings=settings, entry=entry)
    assert "By my_split, a protocol of its user's own: As \\*they\\* do. Trained on rows of MELD, tested" in card
    assert (
        "2 folds, with 2 seeds." in card and "The epoch is chosen by UAR on validation rows that the protocol" in card
    )
    assert "> **Known speakers.** Tested speakers are trained on too (4 of the 8 tested speakers of all runs)" in card
    of_numbers = ModelCard(card).data.eval_results[0].dataset_args["protocol"]
    assert of_numbers.startswith("By my_split, ") and "Tested speakers are trained on too (4 of the 8" in of_numbers
    assert "no tested speaker is trained on" not in card and "no tested speaker is trained on" in card_of(facts)
    assert "(own protocol my_split, pooled)" in card and "eave one session out" not in card
    assert "all rows of MELD that the protocol uses" in card and "all sessions" not in card
    results = json.loads((folder / "job" / "results.json").read_text())
    public = public_results(results, entry)
    assert "Maria" not in json.dumps(public) and public["experiments"][0]["protocol"] == entry["protocol"]
    assert public["protocol"][0] == "fold-1: my_split, a protocol of its user's own: As *they* do"


def test_the_results_are_a_model_index(pushed):
    facts, place, _ = pushed
    card = ModelCard((place / "README.md").read_text(encoding="utf-8"))
    found = {result.metric_name.split(" (")[0]: result for result in card.data.eval_results}
    assert card.data.model_name == "feelings" and card.data.license == "other"
    assert list(found) == ["UAR", "Accuracy", "F1 macro", "F1 weighted"]
    for name, metric in (("UAR", "uar"), ("Accuracy", "accuracy"), ("F1 macro", "f1_macro")):
        summary, result = facts.entry["summary"][CORPUS][metric], found[name]
        assert result.metric_value == pytest.approx(summary["pooled"], abs=1e-4)
        if summary["ci95"] is not None:
            assert result.metric_args["ci95"] == pytest.approx(summary["ci95"], abs=1e-4)
        assert result.metric_args["std_over_runs"] == pytest.approx(summary["std"], abs=1e-4)
        assert (result.dataset_name, result.dataset_config) == (CORPUS, "leave one session out")
        assert "each of the 2 sessions" in result.dataset_args["protocol"]


def test_its_settings_are_a_recipe_that_runs(pushed, tmp_path):
    facts, place, folder = pushed
    text = re.search(r"```json\n(.*?)```", (place / "README.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "again.json").write_text(text)
    (again,) = load_recipe(tmp_path / "again.json").experiments
    (before,) = load_recipe(folder / "recipe.json").experiments
    assert again.name == before.name and again.seeds == before.seeds
    expected = {**settings_identity(before), "text_model_name": "encoder"}
    assert settings_identity(again) == expected
    own = {**json.loads((place.parent / "settings.json").read_text()), "modality": "both"}
    own |= {
        "training_arguments": {"warmup_steps": 2, "deepspeed": "/etc/deep/speed.json"},
        "fusion_module": "/x/own.py",
    }
    shared = public_recipe(Settings(**{**own, "fusion_module": None, "training_arguments": {"warmup_steps": 2}}))
    assert shared["warmup_steps"] == 2 and "training_arguments" not in shared


def variant(facts: CardFacts, **changes) -> str:
    """The card of other facts, without its head."""
    return model_card(replace(copy.deepcopy(facts), **changes)).text


def test_what_is_not_known_is_left_out(pushed):
    facts, place, _ = pushed
    whole = variant(facts)
    assert "### By gender" in whole and "### By speaker" in whole and "Contaminated features" in whole
    entry = copy.deepcopy(facts.entry)
    said = entry["statistics"][CORPUS]
    said["by_speaker"] = {f"{CORPUS}/unknown": next(iter(said["by_speaker"].values()))}
    entry["corpora"][0]["extractor"] = "wavlm-base, layer 9"
    less = variant(facts, genders={}, entry=entry)
    assert "### By gender" not in less and "### By speaker" not in less and "Contaminated" not in less
    assert "| 48 | not known |" in less
    for text in (whole, less):
        assert not re.search(r"\{\{ | \}\}|\{%|\bNone\b|\bnan\b|TODO|More information", text), text
        assert "\n\n\n" not in text


def test_voice_or_words_alone(pushed):
    facts, _, _ = pushed
    voice = variant(facts, settings=replace(facts.settings, modality="audio"))
    assert "in the voice." in voice and "text=words" not in voice and "text encoder" not in voice
    words = variant(facts, settings=replace(facts.settings, modality="text"))
    assert "in the words." in words and "audio_features" not in words and "numpy" not in words.split("## Training")[0]
    assert "Contaminated" not in words and "| features |" not in words
    adaptive = variant(facts, settings=replace(facts.settings, fusion_type="adaptive"))
    assert "Voice or words may be left out." in adaptive and "Voice or words may be" not in voice


def test_ratings_are_in_the_card_of_a_model_that_gives_them(pushed):
    facts, _, _ = pushed
    assert "alence" not in variant(facts).split("## How it was trained")[0]
    entry = copy.deepcopy(facts.entry)
    ccc = {"pooled": 0.61234, "ci95": [0.5, 0.7]}
    entry["statistics"][CORPUS]["vad"] = {"valence": {"n": 40, "ccc": ccc, "rmse": {"pooled": 0.5}}}
    text = variant(facts, entry=entry, config={**facts.config, "vad_loss_weight": 0.5})
    assert "output is a logit for each emotion, and valence, arousal and dominance from 1 to 5." in text
    assert "\n\n### Valence, arousal and dominance\n\n| tested on | rating |" in text and "\n\n\n" not in text
    assert f"\n| {CORPUS} | valence | 40 | 0.612 [0.500, 0.700] | 0.500 |\n\nCCC is" in text


def test_what_was_not_learned_is_a_limit(pushed):
    facts, _, _ = pushed
    entry, model = copy.deepcopy(facts.entry), {**facts.model, "warnings": []}
    for run in entry["runs"]:
        run["warnings"] = []
    assert "behind these numbers" not in variant(facts, entry=entry, model=model).split("## Limits")[1]
    entry["runs"][1]["warnings"] = [{"kind": "at_chance", "said": "validation UAR was 0.25", "try": "labels"}]
    model["warnings"] = [{"kind": "loss_stays", "said": "the loss stayed", "try": "more"}]
    limits = variant(facts, entry=entry, model=model).split("## Limits")[1].split("##")[0]
    assert (
        "\n- Of the 4 runs behind these numbers 1 had validation at chance; of the first: validation UAR was 0.25.\n"
        "- The model here: the loss stayed.\n- "
    ) in limits


def test_a_fold_is_called_a_fold(pushed):
    facts, place, _ = pushed
    folder = place.parent / "seed-4" / "session-2"
    model = {**json.loads((folder / "metrics.json").read_text()), "stop_after_epoch": None}
    text = variant(facts, model=model)
    assert "The model here is one of 4 runs: seed 4, fold session-2" in text
    assert "trained once" not in text and "None" not in text


def test_cross_corpus(pushed):
    facts, _, _ = pushed
    entry = copy.deepcopy(facts.entry)
    for part in ("summary", "statistics"):
        entry[part]["other"] = entry[part].pop(CORPUS)
    entry["corpora"].append({**entry["corpora"][0], "name": "other"})
    for run in entry["runs"]:
        run["fold"] = "cross-corpus"
    settings = replace(facts.settings, evaluation_mode="cross_corpus", validation="speakers")
    specs = {**facts.specs, "other": replace(facts.specs[CORPUS], name="other", hub_id="some/other")}
    card = model_card(
        replace(facts, entry=entry, settings=settings, specs=specs, pooled={"other": facts.pooled[CORPUS]})
    )
    assert "Cross-corpus: trained on MELD, tested on all rows of other, with 2 seeds." in card.text
    assert "0.25 of the training speakers" in card.text
    assert {result.dataset_type for result in card.data.eval_results} == {"some/other"}


@pytest.mark.parametrize(
    ("corpus", "extractor", "expected"),
    [
        ("iemocap_improvised", "emotion2vec_plus_large", "are contaminated"),
        ("IEMO", "emotion2vec_base_finetuned", "are contaminated"),
        ("IEMO", "superb/wav2vec2-base-superb-er", "are contaminated"),
        ("MSPP", "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim", "are contaminated"),
        ("IEMO", "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim", None),
        ("meldung", "emotion2vec_plus_large", None),
        ("IEMO", "emotion2vec_plus_large", "are contaminated"),
        ("iemocap", "emotion2vec+ base", "are contaminated"),
        ("MSP-Podcast", "emotion2vec_plus_seed", "are contaminated"),
        ("MELD", "iic/emotion2vec_plus_base", "are contaminated"),
        ("IEMO", BUILTIN["IEMO"].extractor, "may be contaminated"),
        ("MSPP", BUILTIN["MSPP"].extractor, "may be contaminated"),
        ("IEMO", "emotion2vec_base", None),
        ("MSPI", "emotion2vec_plus_large", None),
        ("nEMO", "emotion2vec_plus_large", None),
        ("EmoDB", "emotion2vec_plus_large", "may be contaminated"),
        ("CAMEO-ravdess", "emotion2vec_plus_seed", "may be contaminated"),
        ("RAVDESS", "emotion2vec_base", None),
        ("emodb", BUILTIN["emodb"].extractor, None),
    ],
)
def test_contamination(corpus, extractor, expected):
    found = contamination(corpus, extractor)
    assert (found is None) if expected is None else f"The numbers on {corpus} {expected}" in found


@pytest.mark.parametrize(
    ("folder", "labelled", "expected"),
    [
        ("e2v", True, "are contaminated"),
        ("emotion2vec_base", True, "are contaminated"),
        ("e2v", None, "may be contaminated"),
        ("emotion2vec_base", None, None),
        ("e2v", False, None),
    ],
)
def test_contamination_by_what_the_weights_are_and_not_by_the_folders_name(folder, labelled, expected):
    features = SpeechFeatures(folder, "emotion2vec", 768, 12, trained_with_labels=labelled)
    found = contamination("IEMO", features.in_words(), features.to_dict())
    assert (found is None) if expected is None else f"The numbers on IEMO {expected}" in found
    assert contamination("mine", features.in_words(), features.to_dict()) is None
    other = contamination("emodb", features.in_words(), features.to_dict())  # one of EmoBox's
    assert "The numbers on emodb may be contaminated" in other if labelled else other is None
    assert contamination("IEMO", features.in_words(), {**features.to_dict(), "model_type": "wavlm"}) == (
        contamination("IEMO", features.in_words())
    )


def test_genders(tmp_path):
    found = read_genders(BUILTIN["emodb_emobank"])
    assert sorted(found.values()) == ["female"] * 5 + ["male"] * 5 and found["emodb/03"] == "male"
    assert read_genders(BUILTIN["synthetic"]) == {}
    rows = {"SpkrID": [1, 1, 2, 2, 3], "Sex": ["f", "f", "m", "f", None], "label": ["sad"] * 5}
    pq.write_table(pa.table(rows), tmp_path / "own.parquet")
    own = replace(BUILTIN["emodb"], name="own", path=str(tmp_path / "own.parquet"), speakers_of="Own")
    assert read_genders(own) == {"Own/1": "f"}
