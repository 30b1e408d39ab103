"""The Trainer by itself, on rows that carry their own number: what it trains on, which loss it has, what it keeps."""

import importlib.util
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_encoders import tiny_encoder
from torch.optim.lr_scheduler import CyclicLR
from transformers import AutoModel
from transformers import TrainerCallback

from emomm.choices import CURRICULUM_TYPES
from emomm.configuration_emomm import EmoMMConfig
from emomm.curriculum.order import epoch_batches
from emomm.curriculum.order import epoch_order
from emomm.curriculum.pool import Curriculum
from emomm.curriculum.pool import pool_statistics
from emomm.curriculum.row_weights import difficulty_weights
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.curriculum_trainer import CurriculumTrainingArguments
from emomm.data_collator import EmoMMDataCollator
from emomm.evaluation.chance import frequencies_loss
from emomm.evaluation.learning_checks import FREQUENCIES_LOSS
from emomm.experiments.augmented_rows import AugmentedRows
from emomm.experiments.emotion_rows import EmotionRows
from emomm.features.sequences import Sequences
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.resuming.lean_trainer import LeanTrainer
from emomm.resuming.resume_states import resume_states
from emomm.settings.recipe import load_recipe

ROWS, CLASSES, DIM, BATCH = 26, 3, 6, 4
LABELS = np.random.default_rng(0).integers(0, CLASSES, ROWS)
SPEAKERS = np.array(["a", "b", "c"])[np.random.default_rng(1).integers(0, 3, ROWS)]
DIFFICULTY = np.random.default_rng(2).random(ROWS)
ORDER = np.random.default_rng(3).permutation(ROWS).astype(float)
STEPS = math.ceil(ROWS / BATCH)


def rows(weights=None, count=ROWS):
    """Each row's first feature is its number."""
    values = np.random.default_rng(4).standard_normal((ROWS, DIM)).astype(np.float32) + LABELS[:, None]
    values[:, 0] = np.arange(ROWS)
    audio = Sequences.from_arrays(values[:count], np.ones(count, int))
    return EmotionRows(audio=audio, labels=LABELS[:count], sample_weights=weights)


def new_model(dropout=0.0, seed=0):
    torch.manual_seed(seed)
    config = EmoMMConfig(modality="audio", audio_dim=DIM, hidden_dim=8, dropout=dropout, num_labels=CLASSES)
    return EmoMMForEmotionClassification(config)


def scores(scripted=None):
    """The accuracy, or for the evaluation rows one scripted score after the other."""
    script = iter(scripted or [])

    def compute(output):
        if scripted is not None and len(output.label_ids) == 10:
            return {"uar": next(script)}
        return {"uar": float((output.predictions.argmax(-1) == output.label_ids).mean())}

    return compute


class Recorder(TrainerCallback):
    """What the model sees and is at each step, and after each evaluation."""

    def __init__(self):
        self.rows, self.dropout, self.rates, self.losses, self.weights = [], [], [], [], []
        self.stop_after = None

    def on_step_begin(self, args, state, control, **kwargs):
        self.rates.append([group["lr"] for group in kwargs["optimizer"].param_groups])
        if len(self.rows) == self.stop_after:
            raise KeyboardInterrupt

    def on_evaluate(self, args, state, control, model, **kwargs):
        self.weights.append({name: value.clone() for name, value in model.state_dict().items()})


def new_trainer(folder, scripted=None, dropout=0.0, weights=None, model=None, **arguments):
    """A trainer with a Recorder as `.seen`; the evaluation rows are the first ten."""
    defaults = {
        "num_train_epochs": 4,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": 8,
        "learning_rate": 0.01,
        "lr_scheduler_type": "constant",
        "seed": 5,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    seen = Recorder()
    trainer = CurriculumTrainer(
        model=model or new_model(dropout),
        args=CurriculumTrainingArguments(output_dir=str(folder), **{**defaults, **arguments}),
        train_dataset=rows(weights),
        eval_dataset=rows(count=10),
        data_collator=EmoMMDataCollator(),
        compute_metrics=scores(scripted),
        speakers=SPEAKERS,
        difficulty=DIFFICULTY,
        preset_order=ORDER,
        callbacks=[seen],
    )
    step = trainer.training_step

    def training_step(model, inputs, *rest):
        seen.rows.append(inputs["audio_features"][:, 0].int().tolist())
        seen.dropout.append({part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)})
        seen.losses.append(step(model, inputs, *rest).item())
        return torch.tensor(seen.losses[-1])

    trainer.training_step, trainer.seen = training_step, seen
    return trainer


def history(trainer, key):
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def weights_of(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


# ---- what it trains on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_speaker", [False, True])
@pytest.mark.parametrize("kind", CURRICULUM_TYPES)
def test_steps_rows_and_log_of_every_curriculum(tmp_path, kind, by_speaker):
    """Constant steps; exactly the rows of the epoch's order reach the model; the pool is logged each epoch."""
    epochs = 0 if kind == "none" else 3
    trainer = new_trainer(
        tmp_path,
        curriculum_type=kind,
        curriculum_epochs=epochs,
        curriculum_pacing="linear",
        speaker_batches=by_speaker,
        class_order=[2, 0, 1],
    )
    confidence, scored = [], trainer._confidence
    trainer._confidence = lambda: confidence.append(scored()) or confidence[-1]
    trainer.train()
    codes = np.unique(SPEAKERS, return_inverse=True)[1] if by_speaker else None
    steps = epoch_batches(ROWS, BATCH, 1, codes)
    assert trainer.state.global_step == trainer.state.max_steps == len(trainer.seen.rows) == 4 * steps
    curriculum = Curriculum(kind, "linear", epochs, (2, 0, 1), seed=5)
    pools = []
    for epoch in range(4):
        known = confidence[epoch - 1] if 0 < epoch <= len(confidence) else None
        pools.append(curriculum.pool(epoch, LABELS, DIFFICULTY, known, ORDER))
        order = epoch_order(pools[-1], steps, BATCH, 5, epoch, codes).reshape(steps, BATCH)
        assert trainer.seen.rows[epoch * steps : (epoch + 1) * steps] == order.tolist()
        if by_speaker:
            assert all(len(set(SPEAKERS[batch])) == 1 for batch in order)
    assert len(confidence) == (2 if kind == "model_confidence" else 0)
    logged = [entry for entry in trainer.state.log_history if "curriculum/pool_size" in entry]
    assert len(logged) == 4
    for epoch, (entry, pool) in enumerate(zip(logged, pools, strict=True)):
        expected = pool_statistics(pool, LABELS, CLASSES, DIFFICULTY, SPEAKERS)
        assert {name: entry[name] for name in expected} == expected
        seen = np.concatenate(trainer.seen.rows[epoch * steps : (epoch + 1) * steps])
        assert entry[FREQUENCIES_LOSS] == pytest.approx(frequencies_loss(LABELS[seen], CLASSES), rel=1e-6)
        assert entry["epoch"] == epoch and entry["step"] == epoch * steps
        assert (len(pool) < ROWS) == (epoch < {"none": 0, "class_balance": 1}.get(kind, 2))


@pytest.mark.parametrize(("steps", "by_speaker"), [(3, True), (STEPS + 2, False)])
def test_epochs_of_a_given_length(tmp_path, steps, by_speaker):
    """Shorter and longer than a pass: every epoch has that many steps, by which all schedules go."""
    trainer = new_trainer(
        tmp_path, epoch_steps=steps, speaker_batches=by_speaker, gradient_accumulation_steps=2, lr_schedule="step",
        lr_scheduler_kwargs={"step_size": 1, "gamma": 0.5},
    )  # fmt: skip
    trainer.train()
    codes = np.unique(SPEAKERS, return_inverse=True)[1] if by_speaker else None
    assert trainer.state.global_step == trainer.state.max_steps == 4 * steps
    for epoch in range(4):
        order = epoch_order(np.arange(ROWS), 2 * steps, BATCH, 5, epoch, codes).reshape(2 * steps, BATCH)
        assert trainer.seen.rows[epoch * 2 * steps : (epoch + 1) * 2 * steps] == order.tolist()
    assert [rate for (rate,) in map(set, trainer.seen.rates)] == [0.01 * 0.5 ** (i // steps) for i in range(4 * steps)]


def test_confidence_is_a_pass_in_evaluation_mode(tmp_path):
    """With dropout on in training: the largest probability of each row, in row order, by the weights of that epoch."""
    trainer = new_trainer(
        tmp_path, dropout=0.5, curriculum_type="model_confidence", curriculum_epochs=3, num_train_epochs=3
    )
    trainer.train()
    with torch.no_grad():
        model = new_model()
        model.load_state_dict(trainer.seen.weights[1])  # the evaluation after the last scoring, at the end of epoch 1
        logits = model.eval()(
            audio_features=torch.from_numpy(np.stack([rows()[i]["audio_features"][0] for i in range(ROWS)]))
        ).logits
    expected = logits.softmax(-1).max(-1).values.numpy()
    np.testing.assert_allclose(trainer.sampler.confidence, expected, atol=1e-6)
    assert len(set(np.round(expected, 4))) > ROWS / 2


def test_the_number_of_batches_is_a_multiple_of_the_accumulation(tmp_path):
    trainer = new_trainer(tmp_path, gradient_accumulation_steps=3, num_train_epochs=2)
    trainer.train()
    assert len(trainer.seen.rows) == 2 * 9 and trainer.state.global_step == 2 * 3


def test_a_short_last_batch(tmp_path):
    """Each row once an epoch, in the order of the filled one; its steps and schedules are those of the filled one."""
    trainer = new_trainer(tmp_path, short_last_batch=True, lr_schedule="exponential")
    trainer.train()
    assert trainer.state.global_step == trainer.state.max_steps == 4 * STEPS
    for epoch in range(4):
        of_epoch = trainer.seen.rows[epoch * STEPS : (epoch + 1) * STEPS]
        assert [len(batch) for batch in of_epoch] == 6 * [BATCH] + [2]
        assert sum(of_epoch, []) == epoch_order(np.arange(ROWS), STEPS, BATCH, 5, epoch)[:ROWS].tolist()
        assert {rates[0] for rates in trainer.seen.rates[epoch * STEPS : (epoch + 1) * STEPS]} == {0.01 * 0.95**epoch}


@pytest.mark.parametrize("accumulation", [2, 4])
def test_a_short_last_batch_that_is_accumulated_is_that_of_a_big_batch(tmp_path, accumulation):
    same = {"optim": "sgd", "max_grad_norm": 0.0, "short_last_batch": True}
    big = new_trainer(tmp_path / "big", **same, per_device_train_batch_size=accumulation * BATCH)
    small = new_trainer(tmp_path / "small", **same, gradient_accumulation_steps=accumulation)
    big.train(), small.train()
    assert sum(small.seen.rows, []) == sum(big.seen.rows, []) and len(sum(big.seen.rows, [])) == 4 * ROWS
    assert len(big.seen.rows[-1]) != len(small.seen.rows[-1]) * accumulation
    for name, value in small.model.state_dict().items():
        torch.testing.assert_close(value, big.model.state_dict()[name], atol=1e-6, rtol=1e-6)


def test_epochs_of_a_given_length_have_no_short_batch(tmp_path):
    trainer = new_trainer(tmp_path, short_last_batch=True, epoch_steps=3, num_train_epochs=2)
    trainer.train()
    assert [len(batch) for batch in trainer.seen.rows] == 6 * [BATCH]


# ---- borders of epochs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "none"])
def test_dropout_changes_after_curriculum_epochs_with_a_curriculum_and_without(tmp_path, kind):
    arguments = {"curriculum_type": kind, "curriculum_epochs": 2, "post_curriculum_dropout": 0.5}
    trainer = new_trainer(tmp_path, dropout=0.1, **arguments)
    trainer.train()
    assert trainer.seen.dropout == 2 * STEPS * [{0.1}] + 2 * STEPS * [{0.5}]
    assert new_trainer(tmp_path, dropout=0.1).train() and trainer.model.config.dropout == 0.1


def test_dropout_stays_where_no_epochs_are_given(tmp_path):
    trainer = new_trainer(tmp_path, dropout=0.1, post_curriculum_dropout=0.6, num_train_epochs=2)
    trainer.train()
    assert set.union(*trainer.seen.dropout) == {0.1}


def test_without_a_curriculum_a_resumed_run_has_the_dropout_of_its_epoch(tmp_path):
    arguments = {"dropout": 0.1, "curriculum_epochs": 2, "post_curriculum_dropout": 0.5, "save_seconds": 0.0}
    whole = new_trainer(tmp_path / "whole", **arguments)
    whole.train()
    broken = new_trainer(tmp_path / "broken", **arguments)
    broken.seen.stop_after = 2 * STEPS + 3
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = new_trainer(tmp_path / "broken", **arguments)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.seen.dropout == (2 * STEPS - 3) * [{0.5}]
    assert_equal(weights_of(resumed), weights_of(whole))


@pytest.mark.parametrize("stop_after", [STEPS - 2, 2 * STEPS, 2 * STEPS + 3, 3 * STEPS + 1])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, stop_after):
    """Rows, dropout, losses, learning rates, weights, history: from within an epoch and from a border."""
    arguments = {
        "dropout": 0.1,
        "weights": DIFFICULTY.astype(np.float32) + 0.5,
        "curriculum_type": "model_confidence",
        "curriculum_epochs": 2,
        "post_curriculum_dropout": 0.5,
        "early_stopping_patience": 2,
        "lr_schedule": "curriculum",
        "speaker_batches": True,
        "save_seconds": 0.0,
    }
    script = [0.5, 0.6, 0.6, 0.4]
    whole = new_trainer(tmp_path / "whole", scripted=script, **arguments, gradient_accumulation_steps=1)
    whole.train()
    assert whole.best_epoch == 2 and whole.epochs_without_improvement == 2
    broken = new_trainer(tmp_path / "broken", scripted=script, **arguments)
    broken.seen.stop_after = stop_after
    broken._seconds_before = 1000.0  # as if it had been interrupted before
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    checkpoint = resume_states(tmp_path / "broken")[0]
    assert checkpoint.name == f"checkpoint-{stop_after}"
    steps = whole.sampler.batches
    resumed = new_trainer(tmp_path / "broken", scripted=script[stop_after // steps :], **arguments)
    resumed.train(resume_from_checkpoint=True)
    for name in ("rows", "dropout", "losses", "rates"):
        assert getattr(broken.seen, name)[:stop_after] + getattr(resumed.seen, name) == getattr(whole.seen, name), name
    assert_equal(weights_of(resumed), weights_of(whole))
    for key in ("loss", "eval_uar", "curriculum/pool_size", "curriculum/mean_difficulty", "learning_rate"):
        assert history(resumed, key) == history(whole, key), key
    assert 1000 < resumed.seconds < 1500
    assert (resumed.best_epoch, resumed.best_score) == (2, 0.6) and resumed.epochs_without_improvement == 2
    assert resumed.best_epoch_ties == whole.best_epoch_ties == 1
    for trainer in (whole, resumed):
        trainer.load_best()
    assert_equal(weights_of(resumed), weights_of(whole))


@pytest.mark.parametrize(
    ("script", "arguments", "epochs"),
    [
        # counted from the end of the curriculum on: epochs 4 and 5 are without improvement; without one from there too
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1], {"curriculum_type": "random", "curriculum_epochs": 3}, 5),
        ([0.5, 0.4, 0.3, 0.2, 0.6, 0.1, 0.1, 0.1], {"curriculum_type": "random", "curriculum_epochs": 3}, 7),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1], {}, 3),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1], {"curriculum_epochs": 3}, 5),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], {}, 8),
        ([0.1, 0.15, 0.3, 0.31, 0.32, 0.33, 0.7, 0.8], {"early_stopping_threshold": 0.1}, 5),
        ([0.5, 0.6, 0.4, 0.5, 0.6, 0.3, 0.2, 0.1], {"greater_is_better": False}, 5),
    ],
)
def test_early_stopping_begins_after_the_curriculum(tmp_path, script, arguments, epochs):
    trainer = new_trainer(tmp_path, scripted=script, num_train_epochs=8, early_stopping_patience=2, **arguments)
    trainer.train()
    assert trainer.state.global_step == epochs * STEPS
    assert history(trainer, "eval_uar") == script[:epochs]


@pytest.mark.parametrize(
    ("script", "greater", "best", "ties"),
    [([0.2, 0.6, 0.6, 0.1], True, 2, 1), ([0.5, 0.4, 0.4, 0.4], False, 2, 2), ([0.5, 0.5, 0.6, 0.5], True, 3, 0)],
)
def test_the_best_weights_are_those_of_the_best_epoch(tmp_path, script, greater, best, ties):
    """The first of equals, which are counted; copies, not the tensors that train on."""
    trainer = new_trainer(tmp_path, scripted=script, greater_is_better=greater)
    trainer.train()
    assert trainer.best_epoch_ties == ties
    assert (trainer.best_epoch, trainer.best_score) == (best, script[best - 1])
    last = weights_of(trainer)
    trainer.load_best()
    assert_equal(weights_of(trainer), trainer.seen.weights[best - 1])
    assert not torch.equal(last["classifier.0.weight"], trainer.model.state_dict()["classifier.0.weight"])
    assert_equal(last, trainer.seen.weights[-1])
    assert not list(tmp_path.glob("checkpoint-*"))  # 30 s have not gone by


def test_the_loss_can_choose_the_best_epoch(tmp_path):
    trainer = new_trainer(tmp_path, metric_for_best_model="loss", learning_rate=0.3)
    trainer.train()
    losses = history(trainer, "eval_loss")
    assert trainer.best_score == min(losses) and trainer.best_epoch == losses.index(min(losses)) + 1


def test_a_loss_that_is_no_number_is_no_improvement_and_any_number_is_one_on_it(tmp_path):
    for script, best in (([math.nan, 0.5, 0.4, math.nan], 2), ([0.5, math.nan, 0.6, 0.4], 3)):
        trainer = new_trainer(tmp_path, scripted=script)
        trainer.train()
        assert trainer.best_epoch == best


def test_resume_states_follow_save_seconds(tmp_path, monkeypatch):
    """At most one in `save_seconds`; the one before is kept."""
    clock, saved = [0.0], []
    monkeypatch.setattr("emomm.resuming.resumable_trainer.time", SimpleNamespace(monotonic=lambda: clock[0]))
    trainer = new_trainer(tmp_path, save_seconds=30.0)
    step, save = trainer.training_step, trainer._save_checkpoint

    def training_step(*args):
        clock[0] += 4
        return step(*args)

    trainer.training_step = training_step
    trainer._save_checkpoint = lambda *args: (
        save(*args),
        saved.append([path.name for path in resume_states(tmp_path)]),
    )
    trainer.train()
    assert saved == [["checkpoint-8"], ["checkpoint-16", "checkpoint-8"], ["checkpoint-24", "checkpoint-16"]]
    assert not list(tmp_path.glob("*.temporary"))
    trainer.remove_resume_states()
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


# ---- the loss -------------------------------------------------------------------------------------------------------


def by_hand(model, numbers, weights=None):
    """The loss of some rows."""
    features = torch.from_numpy(np.stack([rows()[i]["audio_features"][0] for i in numbers]))
    log_p = model(audio_features=features).logits.log_softmax(-1)
    losses = -log_p[torch.arange(len(numbers)), torch.from_numpy(LABELS[numbers])]
    return (losses if weights is None else losses * torch.from_numpy(weights[numbers])).mean()


def test_weights_reach_the_loss_in_training_alone(tmp_path):
    """Each step's loss by hand; evaluation without weights, also over the training rows, which carry some."""
    weights = (1 + DIFFICULTY).astype(np.float32) * 2
    trainer = new_trainer(tmp_path, weights=weights, optim="sgd", num_train_epochs=1)
    trainer.train()
    model = new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for numbers, loss in zip(trainer.seen.rows, trainer.seen.losses, strict=True):
        expected = by_hand(model, np.array(numbers), weights)
        assert loss == pytest.approx(expected.item(), abs=1e-5)
        optimizer.zero_grad()
        expected.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], atol=1e-5, rtol=1e-5)
    model.eval()
    metrics = trainer.evaluate(rows(weights))
    assert metrics["eval_loss"] == pytest.approx(by_hand(model, np.arange(ROWS)).item(), abs=1e-5)
    assert trainer.predict(rows(weights)).metrics["test_loss"] == pytest.approx(metrics["eval_loss"], abs=1e-6)
    trainer.compute_metrics = None  # the loss alone: no predictions are gathered
    assert trainer.evaluate(rows(weights))["eval_loss"] == pytest.approx(metrics["eval_loss"], abs=1e-6)


@pytest.mark.parametrize("kind", ["difficulty", "inverse_difficulty"])
def test_weights_keep_their_mean_in_the_pool_of_each_epoch(tmp_path, kind):
    """The easiest quarter weighs .59 on average, the hardest 1.43; in training both weigh as much as all rows."""
    weights = difficulty_weights(3 * DIFFICULTY)
    trainer = new_trainer(
        tmp_path, weights=weights, curriculum_type=kind, curriculum_epochs=4, curriculum_pacing="linear",
        learning_rate=1e-12,
    )  # fmt: skip
    trainer.train()
    curriculum = Curriculum(kind, "linear", 4)
    model = new_model()
    for epoch in range(4):
        pool = curriculum.pool(epoch, LABELS, DIFFICULTY)
        scaled = weights / weights[pool].mean()
        assert scaled[pool].mean() == pytest.approx(1, abs=1e-6)
        assert epoch > 2 or abs(weights[pool].mean() - 1) > 0.14
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            expected = by_hand(model, np.array(trainer.seen.rows[step]), scaled).item()
            assert trainer.seen.losses[step] == pytest.approx(expected, rel=1e-5)
    assert trainer.weight_scale == 1.0  # of all rows


def test_the_loss_of_an_evaluation_is_that_of_all_rows(tmp_path):
    """Whatever the batches: with class weights the mean of their losses would be another."""
    torch.manual_seed(0)
    config = EmoMMConfig(modality="audio", audio_dim=DIM, hidden_dim=8, num_labels=CLASSES, class_weights=[5, 1, 0.1])
    model = EmoMMForEmotionClassification(config).eval()
    features = torch.from_numpy(np.stack([rows()[i]["audio_features"][0] for i in range(ROWS)]))
    expected = model(audio_features=features, labels=torch.from_numpy(LABELS)).loss.item()
    for batch in (4, 7, 64):
        trainer = new_trainer(tmp_path, model=model, per_device_eval_batch_size=batch)
        assert trainer.evaluate(rows())["eval_loss"] == pytest.approx(expected, abs=1e-6)


RATINGS = np.random.default_rng(6).uniform(1, 5, (ROWS, 3)).astype(np.float32)
RATINGS[np.random.default_rng(7).random((ROWS, 3)) < 0.4] = np.nan
LOSSES = {
    "plain": {},
    "class weights": {"class_weights": [5.0, 1.0, 0.1]},
    "focal": {"class_weights": [5.0, 1.0, 0.1], "loss": "focal"},
    "smoothed": {"class_weights": [5.0, 1.0, 0.1], "label_smoothing": 0.2},
    "ratings": {"class_weights": [5.0, 1.0, 0.1], "vad_loss_weight": 0.7},
    "ratings alone": {"vad_loss_weight": 0.7},
}


def weighted_trainer(folder, config, weights=None, **arguments):
    """A trainer of a model with that loss, on rows of which many lack ratings."""
    torch.manual_seed(0)
    shape = {"modality": "audio", "audio_dim": DIM, "hidden_dim": 8, "dropout": 0.0, "num_labels": CLASSES}
    model = EmoMMForEmotionClassification(EmoMMConfig(**shape, **config))
    same = {"optim": "sgd", "num_train_epochs": 2, "max_grad_norm": 0.0, "eval_strategy": "no"}
    trainer = new_trainer(folder, model=model, weights=weights, **{**same, **arguments})
    if model.config.gives_vad:
        trainer.train_dataset.vad = RATINGS
    return trainer


@pytest.mark.parametrize("weights", [None, difficulty_weights(3 * DIFFICULTY)])
@pytest.mark.parametrize("config", LOSSES.values(), ids=LOSSES)
def test_accumulated_gradients_equal_a_big_batch(tmp_path, config, weights):
    """What a step's loss is divided by counts all of its rows; and the loss is not divided by the steps twice."""
    same = {"curriculum_type": "difficulty", "curriculum_epochs": 2} if weights is not None else {}
    big = weighted_trainer(tmp_path / "big", config, weights, per_device_train_batch_size=8, **same)
    small = weighted_trainer(tmp_path / "small", config, weights, gradient_accumulation_steps=2, **same)
    big.train(), small.train()
    assert sum(small.seen.rows, []) == sum(big.seen.rows, [])
    assert small.state.global_step == big.state.global_step == 8
    assert history(small, "loss") == pytest.approx(history(big, "loss"), rel=1e-6)
    for name, value in small.model.state_dict().items():
        torch.testing.assert_close(value, big.model.state_dict()[name], atol=1e-6, rtol=1e-6)


def test_mixed_rows_accumulate_to_a_big_batch_and_come_from_the_pool(tmp_path):
    """Class weights count by the shares of the classes; a partner depends on the row, not on the batch."""
    same = {"curriculum_type": "difficulty", "curriculum_epochs": 2}
    config = {"class_weights": [5.0, 1.0, 0.1]}
    big = weighted_trainer(tmp_path / "big", config, per_device_train_batch_size=8, **same)
    small = weighted_trainer(tmp_path / "small", config, gradient_accumulation_steps=2, **same)
    plain = weighted_trainer(tmp_path / "plain", config, gradient_accumulation_steps=2, **same)
    for trainer in (big, small):
        trainer.train_dataset = AugmentedRows(trainer.train_dataset, CLASSES, seed=1, mixup=0.5)
    for trainer in (big, small, plain):
        trainer.train()
    assert history(small, "loss") == pytest.approx(history(big, "loss"), rel=1e-6)
    assert history(small, "loss") != pytest.approx(history(plain, "loss"), rel=1e-2)
    for name, value in small.model.state_dict().items():
        torch.testing.assert_close(value, big.model.state_dict()[name], atol=1e-6, rtol=1e-6)
    partners = [*small.train_dataset._of_kind(0)]
    assert partners == sorted(small.sampler.pool())


def test_a_step_without_any_rating_or_weight_is_a_step(tmp_path):
    """Nothing to divide by is not a division by nothing."""
    config = {"class_weights": [0.0, 0.0, 1.0], "vad_loss_weight": 0.7}
    trainer = weighted_trainer(tmp_path, config, per_device_train_batch_size=1, gradient_accumulation_steps=2)
    trainer.train_dataset.vad = np.full((ROWS, 3), np.nan, np.float32)
    trainer.train()
    pairs = np.array(trainer.seen.rows).reshape(-1, 2)
    assert (LABELS[pairs] < 2).all(axis=1).any()
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())


# ---- learning rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "of_epoch"),
    [
        ({"lr_schedule": "step", "lr_scheduler_kwargs": {"step_size": 2, "gamma": 0.5}}, [1, 1, 0.5, 0.5]),
        ({"lr_schedule": "exponential"}, [1, 0.95, 0.95**2, 0.95**3]),
        ({"lr_schedule": "cyclic", "lr_scheduler_kwargs": {"max_lr": 0.03, "step_size_up_epochs": 2}}, [1, 2, 3, 2]),
    ],
)
def test_schedules_by_epoch(tmp_path, arguments, of_epoch):
    """The same with accumulated gradients: an epoch of optimiser steps, not of batches."""
    for accumulation in (1, 2):
        trainer = new_trainer(tmp_path / str(accumulation), gradient_accumulation_steps=accumulation, **arguments)
        trainer.train()
        steps = math.ceil(STEPS / accumulation)
        expected = np.repeat(of_epoch, steps) * 0.01
        np.testing.assert_allclose([rate for (rate, *_) in trainer.seen.rates], expected, rtol=1e-9)


def test_cyclic_runs_as_torchs_stepped_once_an_epoch(tmp_path):
    kwargs = {"max_lr": 0.05, "step_size_up_epochs": 3}
    trainer = new_trainer(tmp_path, lr_schedule="cyclic", lr_scheduler_kwargs=kwargs)
    trainer.train()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    theirs = CyclicLR(optimizer, 0.01, 0.05, step_size_up=3, cycle_momentum=False)
    for epoch in range(4):
        assert trainer.seen.rates[epoch * STEPS][0] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step(), theirs.step()


def test_the_probe_is_its_authors_loop(tmp_path):
    """The recipe's training against torch's RMSprop and CyclicLR, stepped as theirs, on the same weights and order."""
    settings = load_recipe("emotion2vec_linear").experiments[0]
    config = EmoMMConfig(
        modality="audio",
        audio_dim=DIM,
        audio_projection_dim=8,
        hidden_dim=settings.hidden_dim,
        dropout=settings.dropout,
        feature_normalization=settings.feature_normalization,
        num_labels=CLASSES,
    )
    torch.manual_seed(0)
    trainer = new_trainer(
        tmp_path,
        model=EmoMMForEmotionClassification(config),
        num_train_epochs=12,
        learning_rate=settings.learning_rate,
        lr_width_limit=settings.lr_width_limit,
        weight_decay=settings.weight_decay,
        lr_schedule=settings.lr_scheduler,
        lr_scheduler_kwargs=settings.lr_scheduler_kwargs,
        short_last_batch=settings.short_last_batch,
        **settings.training_arguments,
    )
    first, last = torch.nn.Linear(DIM, 8), torch.nn.Linear(8, CLASSES)
    first.load_state_dict(trainer.model.audio_projection.state_dict())
    last.load_state_dict(trainer.model.classifier.state_dict())
    trainer.train()
    assert [len(batch) for batch in trainer.seen.rows] == 12 * [*(STEPS - 1) * [BATCH], ROWS % BATCH]
    assert (settings.validation, settings.validation_fraction) == ("random_unstratified", 0.2)
    assert (settings.feature_normalization, settings.lr_width_limit) == ("none", None)
    optimizer = torch.optim.RMSprop([*first.parameters(), *last.parameters()], lr=5e-4, momentum=0.9)
    scheduler = CyclicLR(optimizer, base_lr=5e-4, max_lr=1e-3, step_size_up=10)
    features = torch.from_numpy(np.stack([rows()[i]["audio_features"][0] for i in range(ROWS)])).float()
    for epoch in range(12):
        for batch in trainer.seen.rows[epoch * STEPS : (epoch + 1) * STEPS]:
            optimizer.zero_grad()
            logits = last(first(features[batch]).relu())
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(LABELS[batch])).backward()
            optimizer.step()
        scheduler.step()
    for name, value in last.state_dict().items():
        torch.testing.assert_close(trainer.model.classifier.state_dict()[name], value, atol=1e-5, rtol=1e-5)


def test_gradients_that_are_not_clipped_are_measured_for_the_log_alone(tmp_path, monkeypatch):
    """The norm that is logged is that of clipped ones, before they are."""
    asked, clip = [], CurriculumTrainer._clip_grad_norm
    monkeypatch.setattr(CurriculumTrainer, "_clip_grad_norm", lambda self, model: asked.append(1) or clip(self, model))
    logged = {}
    for limit in (0.0, 1e9):  # so much that nothing is cut
        trainer = new_trainer(tmp_path / str(limit), num_train_epochs=2, max_grad_norm=limit, logging_first_step=True)
        calls, measure = [], trainer.accelerator.clip_grad_norm_

        def measured(*args, calls=calls, measure=measure):
            calls.append(1)
            return measure(*args)

        trainer.accelerator.clip_grad_norm_ = measured
        trainer.train()
        logged[limit] = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
        assert len(calls) == (3 if limit == 0 else 2 * STEPS)
    assert len(asked) == 2 * STEPS and len(logged[0.0]) == 3 and logged[0.0] == logged[1e9]


def test_numbers_too_small_to_count_are_zero_while_it_trains(tmp_path):
    """They would take the processor five times as long; what is around a training is as it was."""
    tiny, found = torch.tensor(1e-40), []
    trainer = new_trainer(tmp_path, num_train_epochs=1)
    trainer.seen.on_pre_optimizer_step = lambda *_, **__: found.append(float(tiny * 1))
    assert float(tiny * 1) > 0
    trainer.train()
    assert float(tiny * 1) > 0 and (found == STEPS * [0.0] or not torch.set_flush_denormal(False))


def test_momentum_that_cycles_goes_on_after_an_interruption(tmp_path):
    """.9 in the first epoch and .8 in the second, whose interruption changes nothing."""
    arguments = {
        "lr_schedule": "cyclic",
        "lr_scheduler_kwargs": {"max_lr": 0.03, "step_size_up_epochs": 1, "cycle_momentum": True},
        "optim": "rmsprop",
        "optim_args": "momentum=0.9",
        "short_last_batch": True,
        "save_seconds": 0.0,
    }

    def trained(folder, stop_after=None):
        trainer, momenta = new_trainer(tmp_path / folder, **arguments), []
        trainer.seen.stop_after = stop_after
        trainer.seen.on_pre_optimizer_step = lambda *_, optimizer, **__: momenta.append(
            optimizer.param_groups[0]["momentum"]
        )
        if stop_after is None:
            trainer.train(resume_from_checkpoint=True)
        else:
            with pytest.raises(KeyboardInterrupt):
                trainer.train()
        return trainer, momenta

    whole, momenta = trained("whole")
    assert momenta == pytest.approx(2 * (STEPS * [0.9] + STEPS * [0.8]))
    _, before = trained("broken", stop_after=STEPS + 3)
    resumed, after = trained("broken")
    assert before + after == momenta and len(before) == STEPS + 3
    assert_equal(weights_of(resumed), weights_of(whole))


def test_the_curriculum_schedule_and_those_of_the_trainer(tmp_path):
    curriculum = {"curriculum_type": "random", "curriculum_epochs": 2}
    trainer = new_trainer(tmp_path / "own", lr_schedule="curriculum", **curriculum)
    trainer.train()
    during = [1 - 0.9 * (1 - math.cos(math.pi * step / (2 * STEPS))) / 2 for step in range(2 * STEPS)]
    np.testing.assert_allclose([r[0] for r in trainer.seen.rates], 0.01 * np.array(during + 2 * STEPS * [1.0]))
    for name, form in (("linear", lambda t: 1 - t), ("cosine", lambda t: (1 + math.cos(math.pi * t)) / 2)):
        trainer = new_trainer(tmp_path / name, lr_scheduler_type=name, **curriculum)
        trainer.train()
        closed = [0.01 * form(step / (4 * STEPS)) for step in range(4 * STEPS)]
        np.testing.assert_allclose([r[0] for r in trainer.seen.rates], closed, atol=1e-12)


def test_plateau(tmp_path):
    """Falls after one evaluation without improvement, at an epoch's border."""
    kwargs = {"mode": "max", "factor": 0.1, "patience": 0}
    trainer = new_trainer(
        tmp_path,
        scripted=[0.5, 0.6, 0.6, 0.7],
        lr_scheduler_type="reduce_lr_on_plateau",
        lr_scheduler_kwargs=kwargs,
    )
    trainer.train()
    rates = [trainer.seen.rates[epoch * STEPS][0] for epoch in range(4)]
    assert rates == pytest.approx([0.01, 0.01, 0.01, 0.001])
    assert len({rate[0] for rate in trainer.seen.rates[: 3 * STEPS]}) == 1


def test_a_fine_tuned_encoder_has_its_own_learning_rate(tmp_path):
    """Every parameter in one group; biases and norms stay without weight decay; a schedule moves both rates."""
    torch.manual_seed(0)
    encoder = AutoModel.from_pretrained(tiny_encoder(tmp_path / "encoder", hidden=16))
    config = EmoMMConfig(
        modality="text",
        freeze_text_encoder=False,
        text_config=encoder.config,
        text_dim=16,
        hidden_dim=8,
        num_labels=CLASSES,
    )
    model = EmoMMForEmotionClassification(config)
    model.attach_text_encoder(encoder)
    trainer = new_trainer(
        tmp_path / "run", model=model, text_learning_rate=1e-4, weight_decay=0.1, lr_schedule="exponential"
    )
    trainer.train_dataset = EmotionRows(tokens=[np.arange(3, 6 + i % 3) for i in range(ROWS)], labels=LABELS)
    trainer.eval_dataset = trainer.train_dataset
    trainer.training_step = CurriculumTrainer.training_step.__get__(trainer)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    before = weights_of(trainer)
    trainer.train()
    groups = trainer.optimizer.param_groups
    assert sorted(names[id(p)] for group in groups for p in group["params"]) == sorted(names.values())
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["initial_lr"] == (1e-4 if name.startswith("text_encoder.") else 0.01), name
            bare = name.endswith("bias") or "LayerNorm" in name or name == "classifier.1.weight"
            assert group["weight_decay"] == (0.0 if bare else 0.1), name
    last = [0.95**3 * group["initial_lr"] for group in groups]
    assert trainer.seen.rates[-1] == pytest.approx(last)
    moved = {name: (weights_of(trainer)[name] - before[name]).abs().max().item() for name in before}
    assert 0 < moved["text_encoder.encoder.layer.0.attention.self.query.weight"] < 0.01
    assert moved["classifier.0.weight"] > 0.02


@pytest.mark.parametrize(
    ("arguments", "by_hand"),  # of matrices of 19, 4, 2 and 8 inputs, of vectors of 8 and of 3
    [
        ({}, (0.01, 0.01, 0.01, 0.01, 0.01, 0.01)),
        ({"lr_width_limit": 0.04}, (0.02 / 19, 0.005, 0.01, 0.0025, 0.005, 0.01)),  # four matrices: 0.04 / 2 for each
        ({"lr_base_width": 8}, (0.01, 0.02, 0.04, 0.01, 0.01, 0.01)),
        ({"lr_base_width": 8, "lr_width_limit": 0.12}, (0.06 / 19, 0.015, 0.03, 0.0075, 0.01, 0.01)),
        ({"lr_base_width": 8, "lr_width_limit": 0.12, "optim": "sgd"}, (0.01, 0.01, 0.01, 0.01, 0.01, 0.01)),
    ],
)
def test_rates_go_with_the_width(tmp_path, arguments, by_hand):
    """Higher for narrow matrices, limited for wide ones and for long vectors; a tuned encoder has its own."""
    torch.manual_seed(0)
    encoder = AutoModel.from_pretrained(tiny_encoder(tmp_path / "encoder", hidden=16))
    config = EmoMMConfig(
        audio_dim=3,
        text_config=encoder.config,
        text_dim=16,
        freeze_text_encoder=False,
        fusion_type="concat",
        fusion_hidden_dim=2,
        hidden_dim=8,
        num_labels=CLASSES,
    )
    model = EmoMMForEmotionClassification(config)
    model.attach_text_encoder(encoder)
    trainer = new_trainer(tmp_path / "run", model=model, text_learning_rate=0.03, **arguments)
    rates = {id(p): group["lr"] for group in trainer.create_optimizer().param_groups for p in group["params"]}
    found = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert {rate for name, rate in found.items() if name.startswith("text_encoder.")} == {0.03}
    assert trainer.optimizer.param_groups[0]["lr"] == 0.01  # the rate that is logged
    names = ("fusion.output.0.0", "fusion.output.1.0", "classifier.0", "classifier.4")
    assert [found[f"{name}.weight"] for name in names] == pytest.approx(by_hand[:4])
    assert (found["classifier.0.bias"], found["classifier.4.bias"]) == pytest.approx(by_hand[4:])
    assert found["classifier.1.weight"] == found["classifier.0.bias"]


# ---- wrong arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"curriculum_type": "easy"}, "class_balance"),
        ({"curriculum_pacing": "cubic"}, "exponential"),
        ({"curriculum_epochs": -1}, "-1"),
        ({"lr_schedule": "steps"}, "it can be step, exponential, cyclic, curriculum"),
        ({"lr_schedule": "step", "lr_scheduler_kwargs": {"size": 5}}, "size"),
        ({"lr_schedule": "step", "lr_scheduler_kwargs": {"step_size": 0}}, "step_size"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patients": 2}}, "patients"),
        ({"label_smoothing_factor": 0.1}, "EmoMMConfig"),
        ({"epoch_steps": 0}, "epoch_steps must be at least 1"),
        ({"short_last_batch": True, "speaker_batches": True}, "does not go with speaker_batches"),
        (
            {"optim": "adagrad", "lr_schedule": "cyclic", "lr_scheduler_kwargs": {"cycle_momentum": True}},
            "needs an optimiser with momentum",
        ),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        CurriculumTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **arguments)


def test_speaker_batches_need_speakers(tmp_path):
    args = CurriculumTrainingArguments(output_dir=str(tmp_path), use_cpu=True, speaker_batches=True)
    with pytest.raises(ValueError, match="give speakers"):
        CurriculumTrainer(model=new_model(), args=args, train_dataset=rows(), eval_dataset=rows())


def test_hyperparameter_search_trains_each_trial_anew(tmp_path):
    """With its own batches, pool and best epoch, in a folder of its own; what it reports is by epochs."""
    import optuna

    trainer = new_trainer(tmp_path)
    wanted = {4: [], 13: []}
    for size in wanted:
        alone = new_trainer(tmp_path / str(size), per_device_train_batch_size=size, save_seconds=0)
        alone.train()
        wanted[size] = [alone.seen.rows, alone.best_score, alone.best_weights.read_bytes()]
    searcher = CurriculumTrainer(
        model_init=lambda: new_model(),
        args=CurriculumTrainingArguments(
            **{**trainer.args.to_dict(), "output_dir": str(tmp_path / "search"), "save_seconds": 0}
        ),
        train_dataset=rows(),
        eval_dataset=rows(count=10),
        data_collator=EmoMMDataCollator(),
        compute_metrics=scores(),
        speakers=SPEAKERS,
        difficulty=DIFFICULTY,
    )
    found = []

    def objective(metrics):
        found.append((searcher.args.per_device_train_batch_size, searcher.best_score, searcher.sampler.batches))
        return metrics["eval_uar"]

    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    searcher.hyperparameter_search(
        hp_space=lambda trial: {"per_device_train_batch_size": trial.suggest_categorical("size", [4, 13])},
        compute_objective=objective,
        n_trials=2,
        direction="maximize",
        backend="optuna",
        sampler=optuna.samplers.GridSampler({"size": [4, 13]}, seed=0),
        study_name=study.study_name,
        storage=study._storage,
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),
    )
    trials = study.get_trials()
    assert sorted(trial.params["size"] for trial in trials) == [4, 13]
    for number, trial in enumerate(trials):
        assert [*trial.intermediate_values] == [1, 2, 3, 4]
        size, best, batches = found[4 * number + 3]
        assert size == trial.params["size"] and batches == math.ceil(ROWS / size)
        assert best == wanted[size][1]
        folder = tmp_path / "search" / f"run-{number}"
        assert (folder / "best.safetensors").read_bytes() == wanted[size][2]
        assert resume_states(folder)


# ---- what is done once ----------------------------------------------------------------------------------------------


def test_evaluation_rows_have_one_loader(tmp_path):
    """Of a training as of the evaluation afterwards; other rows, and rows that processes of their own read, don't."""
    trainer = new_trainer(tmp_path / "one")
    kept = trainer.get_eval_dataloader()
    assert trainer.get_eval_dataloader() is kept is trainer.get_eval_dataloader(trainer.eval_dataset)
    assert trainer.get_eval_dataloader(rows(count=3)) is not kept
    trainer.train()
    assert trainer.get_eval_dataloader() is kept
    assert sum(len(batch["labels"]) for batch in kept) == len(trainer.eval_dataset) == 10
    again = new_trainer(tmp_path / "two")
    again.get_eval_dataloader = super(LeanTrainer, again).get_eval_dataloader  # the Trainer's own
    again.train()
    assert_equal(weights_of(trainer), weights_of(again))
    assert history(trainer, "eval_loss") == history(again, "eval_loss")
    trainer.eval_dataset = rows(count=4)
    assert trainer.get_eval_dataloader() is not kept and len(trainer.get_eval_dataloader().dataset) == 4
    trainer.args.dataloader_num_workers = 1
    assert trainer.get_eval_dataloader() is not trainer.get_eval_dataloader()


def test_packages_are_looked_for_once(tmp_path, monkeypatch):
    trainer, asked, find = new_trainer(tmp_path, num_train_epochs=1), [], importlib.util.find_spec
    trainer.train()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: asked.append(name) or find(name, *rest))
    trainer.train()
    assert "deepspeed" not in asked and asked.count("lomo_optim") < 2  # of some steps
