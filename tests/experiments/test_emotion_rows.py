"""Rows of recordings, through a training: windows, orders and weights are what they would be without interruption."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_speech_encoders import tiny_speech_encoder
from transformers import AutoFeatureExtractor
from transformers import AutoModel
from transformers import TrainerCallback

from emomm.configuration_emomm import EmoMMConfig
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.curriculum_trainer import CurriculumTrainingArguments
from emomm.data_collator import EmoMMDataCollator
from emomm.data_collator import GatheredRows
from emomm.experiments import emotion_rows
from emomm.experiments.emotion_rows import EmotionRows
from emomm.features.mapped_store import MappedStore
from emomm.features.mapped_store import StoreWords
from emomm.features.sequences import Sequences
from emomm.features.windows import Windows
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.resuming.resume_states import resume_states

ROWS, BATCH, CLASSES = 14, 4, 2
STEPS = -(-ROWS // BATCH)
LABELS = np.arange(ROWS) % CLASSES
SPEAKERS = np.arange(ROWS) % 3
LENGTHS = np.random.default_rng(0).integers(1600, 6400, ROWS)


class Noise:
    def augmented(self, samples, generator):
        return samples + generator.normal(size=len(samples)).astype(np.float32) * np.float32(0.01)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_speech_encoder(tmp_path_factory.mktemp("encoder"), "wavlm")


def waveforms():
    values = np.random.default_rng(1).normal(size=int(LENGTHS.sum())) * 3000
    return Sequences.from_arrays(values.astype(np.int16)[:, None], LENGTHS)


def rows(seed=5, **columns):
    return EmotionRows(
        labels=LABELS,
        windows=Windows(waveforms(), 0.2, seed, Noise()),
        plain_windows=Windows(waveforms(), 0.15),
        **columns,
    )


def test_rows_give_windows_of_their_epoch():
    given = rows()
    assert given.lengths.tolist() == np.minimum(LENGTHS, 3200).tolist()
    given.set_epoch(3)
    windows = Windows(waveforms(), 0.2, 5, Noise())
    windows.set_epoch(3)
    np.testing.assert_array_equal(given[2]["input_values"], windows[2])
    plain = given.plain
    assert len(plain) == ROWS and plain.plain is plain and plain[2]["labels"] == LABELS[2]
    parts = plain[2]["input_values"]
    assert len(parts) == -(-LENGTHS[2] // 2400)
    np.testing.assert_array_equal(np.concatenate(parts) * 32768, waveforms()[2][:, 0])
    assert EmotionRows(labels=LABELS).lengths is None
    assert EmotionRows(labels=LABELS, lengths=LENGTHS).lengths is LENGTHS
    with pytest.raises(ValueError, match="same number of rows"):
        EmotionRows(labels=LABELS[1:], windows=Windows(waveforms()))


def test_memory_does_not_grow_with_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(emotion_rows, "_RELEASED", 1 << 20)
    store = MappedStore(tmp_path, StoreWords("samples", "again"), 8 << 20)
    keys = [bytes([i]) * 16 for i in range(24)]
    samples = store.rows(keys, lambda missing: ((key, np.full((1 << 20, 1), key[0], np.int16)) for key in missing))
    given = EmotionRows(windows=Windows(samples, 30.0, 0))

    def resident():
        return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10

    given.windows.waveforms.release()
    before, most = resident(), 0
    for i in range(24):
        assert given[i]["input_values"][0] == np.float32(i / 32768)
        most = max(most, resident())
    assert most - before < 10 << 20  # of 48 MB


@pytest.mark.parametrize(("mapped", "kept"), [(False, 0), (True, 0), (True, 1 << 20)])
def test_a_batch_of_pooled_vectors_is_what_its_rows_are(tmp_path, monkeypatch, mapped, kept):
    """Of several arrays, in half precision; with pages that are let go of in the middle of a batch, where the files
    are larger than what may be kept."""
    rng, parts, released = np.random.default_rng(0), [], []
    monkeypatch.setattr(emotion_rows, "_RELEASED", kept or 8)
    monkeypatch.setattr(emotion_rows, "_LARGE_PAGE", 4)
    let_go = Sequences.release
    monkeypatch.setattr(Sequences, "release", lambda *given: released.append(given[1]) or let_go(*given))
    for number in range(2):
        values = rng.normal(size=(7, 3)).astype(np.float16)
        np.save(tmp_path / f"{number}.npy", values)
        values = np.load(tmp_path / f"{number}.npy", mmap_mode="r") if mapped else values
        parts.append(Sequences.from_arrays(values, np.ones(7, int)))
    both = Sequences.concatenate(parts)
    text = Sequences.from_arrays(rng.normal(size=(14, 2)), np.ones(14, int))
    weights, vad = rng.random(ROWS), rng.normal(size=(ROWS, 3))
    given = EmotionRows(labels=LABELS, sample_weights=weights, vad=vad, audio=both, text=text)
    chosen = [9, 0, 13, 0, 6]
    together, collate = given.__getitems__(chosen), EmoMMDataCollator()
    assert isinstance(together, GatheredRows) and len(together) == 5
    assert released == ([[0], [0], [1]] if mapped and not kept else [])
    found, expected = collate(together), collate([given[i] for i in chosen])
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype and torch.equal(found[name], values)
    one_by_one = collate([together[i] for i in range(5)])
    assert all(torch.equal(one_by_one[name], values) for name, values in expected.items())
    with pytest.raises(IndexError, match="no row 5"):
        together[5]


def test_rows_of_sequences_are_read_one_by_one():
    """A row that lacks the modality, one of several vectors, and recordings."""
    for lengths in (np.r_[0, np.ones(13, int)], np.r_[3, np.ones(13, int)]):
        audio = Sequences.from_arrays(np.ones((lengths.sum(), 2), np.float32), lengths)
        given = EmotionRows(labels=LABELS, audio=audio)
        assert isinstance(given.__getitems__([1, 2]), GatheredRows) and isinstance(given.__getitems__([0, 2]), list)
    assert isinstance(rows().__getitems__([0, 1]), list)


# ---- a training -----------------------------------------------------------------------------------------------------


class Seen(TrainerCallback):
    def __init__(self):
        self.batches, self.stop_after = [], None

    def on_step_begin(self, args, state, control, **kwargs):
        if len(self.batches) == self.stop_after:
            raise KeyboardInterrupt


def new_trainer(folder, encoder, spec_augment=0.2, class_weights=None, **arguments):
    torch.manual_seed(0)
    names = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop")
    loaded = AutoModel.from_pretrained(encoder, **({} if spec_augment else dict.fromkeys(names, 0.0)))
    config = EmoMMConfig(
        modality="audio",
        audio_dim=16,
        hidden_dim=8,
        num_labels=CLASSES,
        speech_config=loaded.config,
        speech_tuning="full",
        spec_augment=spec_augment,
        class_weights=class_weights,
        dropout=0.1 if spec_augment else 0.0,
    )
    model = EmoMMForEmotionClassification(config)
    model.attach_speech_encoder(loaded)
    defaults = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 4,
        "learning_rate": 0.01,
        "lr_scheduler_type": "constant",
        "seed": 5,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    seen = Seen()
    trainer = CurriculumTrainer(
        model=model,
        args=CurriculumTrainingArguments(output_dir=str(folder), **{**defaults, **arguments}),
        train_dataset=rows(),
        eval_dataset=rows().plain,
        data_collator=EmoMMDataCollator(feature_extractor=AutoFeatureExtractor.from_pretrained(encoder)),
        compute_metrics=lambda output: {"uar": float((output.predictions.argmax(-1) == output.label_ids).mean())},
        speakers=SPEAKERS,
        callbacks=[seen],
    )
    step = trainer.training_step

    def training_step(model, inputs, *rest):
        seen.batches.append(inputs["input_values"].clone())
        return step(model, inputs, *rest)

    trainer.training_step, trainer.seen = training_step, seen
    return trainer


def weights_of(trainer):
    return trainer.model.state_dict()


def assert_same(trainer, other):
    for name, value in weights_of(trainer).items():
        assert torch.equal(value, weights_of(other)[name]), name


CURRICULUM = {"curriculum_type": "model_confidence", "curriculum_epochs": 2, "save_seconds": 0.0}


@pytest.mark.parametrize("speaker_batches", [False, True])
def test_a_run_interrupted_in_an_epoch_reads_what_it_would_have_read(tmp_path, encoder, speaker_batches):
    """Windows, augmentation, order, masks of the model, and the pool that its confidence chose."""
    arguments = {**CURRICULUM, "speaker_batches": speaker_batches}
    whole = new_trainer(tmp_path / "whole", encoder, **arguments)
    whole.train()
    broken = new_trainer(tmp_path / "broken", encoder, **arguments)
    broken.seen.stop_after = stop_after = whole.sampler.batches + 2
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    assert resume_states(tmp_path / "broken")[0].name == f"checkpoint-{stop_after}"
    resumed = new_trainer(tmp_path / "broken", encoder, **arguments)
    resumed.train(resume_from_checkpoint=True)
    batches = broken.seen.batches[:stop_after] + resumed.seen.batches
    assert len(batches) == len(whole.seen.batches)
    assert all(torch.equal(*pair) for pair in zip(batches, whole.seen.batches, strict=True))
    assert_same(resumed, whole)
    shares = [entry["padding"] for entry in whole.state.log_history if "padding" in entry]
    assert shares == [entry["padding"] for entry in resumed.state.log_history if "padding" in entry]
    assert len(shares) == 3 and 0 < shares[-1] < 0.3


def test_accumulated_batches_learn_as_the_large_one(tmp_path, encoder):
    """With windows, augmentation and class weights: the weights are equal, but for the order of sums."""
    fields = {"spec_augment": 0.0, "class_weights": [0.5, 2.5], "optim": "sgd", "learning_rate": 0.1}
    large = new_trainer(tmp_path / "large", encoder, **fields)
    large.train()
    small = new_trainer(
        tmp_path / "small", encoder, **fields, per_device_train_batch_size=1, gradient_accumulation_steps=BATCH
    )
    small.train()
    assert large.state.global_step == small.state.global_step == 3 * STEPS
    begun = new_trainer(tmp_path / "begun", encoder, **fields)
    moved = 0.0
    for name, value in weights_of(large).items():
        np.testing.assert_allclose(weights_of(small)[name], value, atol=1e-6, rtol=1e-5, err_msg=name)
        moved = max(moved, float((value - weights_of(begun)[name]).abs().max()))
    assert moved > 1e-2


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_read_the_same(tmp_path, encoder, persistent):
    """Those that outlive an epoch, too."""
    alone = new_trainer(tmp_path / "alone", encoder)
    alone.train()
    helped = new_trainer(
        tmp_path / "helped", encoder, dataloader_num_workers=1, dataloader_persistent_workers=persistent
    )
    helped.train()
    assert all(torch.equal(*pair) for pair in zip(helped.seen.batches, alone.seen.batches, strict=True))
    if not persistent:  # else the loader draws one number fewer of those that masks are drawn from
        assert_same(helped, alone)
    firsts = [alone.seen.batches[epoch * STEPS] for epoch in range(3)]
    assert not any(torch.equal(first, second) for first, second in zip(firsts, firsts[1:], strict=False))


def test_long_recordings_are_evaluated_in_windows_whose_logits_are_averaged(tmp_path, encoder):
    """In validation, test and confidence alike, whatever the batches."""
    trainer = new_trainer(tmp_path, encoder, **CURRICULUM)
    trainer.model.eval()
    plain, collate = trainer.train_dataset.plain, trainer.data_collator
    expected = []
    for i in range(ROWS):
        parts = plain[i]["input_values"]
        parts = parts if isinstance(parts, list) else [parts]
        with torch.no_grad():
            logits = [trainer.model(**collate([{"input_values": part}])).logits for part in parts]
        expected.append(torch.cat(logits).mean(dim=0).numpy())
    assert 1 < sum(isinstance(plain[i]["input_values"], list) for i in range(ROWS)) < ROWS
    output = trainer.predict(plain)
    assert output.predictions.shape == (ROWS, CLASSES) and output.label_ids.tolist() == LABELS.tolist()
    np.testing.assert_allclose(output.predictions, expected, atol=1e-5)
    right = float((np.stack(expected).argmax(-1) == LABELS).mean())
    assert trainer.evaluate()["eval_uar"] == right and output.metrics["test_uar"] == right
    confidence = torch.tensor(np.stack(expected)).softmax(-1).max(-1).values
    np.testing.assert_allclose(trainer._confidence(), confidence, atol=1e-5)
