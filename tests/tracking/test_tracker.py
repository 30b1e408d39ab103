"""Trackers are opened and closed for each run, whatever becomes of it; what they wrote is read back."""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from forked import finish
from forked import start
from offline_wandb import read_runs
from small_jobs import kill_at
from small_jobs import write_recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_encoders import tiny_encoder

from emomm.corpora.builtin import BUILTIN
from emomm.curriculum_trainer import CurriculumTrainer
from emomm.errors import InputError
from emomm.evaluation.metrics import SCALARS
from emomm.experiments.job import run as run_job
from emomm.interruption import Interrupted
from emomm.interruption import interruptible
from emomm.job_folder import RunFolder
from emomm.settings.recipe import load_recipe
from emomm.settings.settings import Settings
from emomm.tracking import tracker as tracking
from emomm.tracking.backends import attempt
from emomm.tracking.tracker import check_trackers
from emomm.tracking.tracker import summarise_job
from emomm.tracking.tracker import tracked

HUB_TOKEN, KEY = "hf_" + "Secret" * 6, "5ec2e7" * 6 + "5ec2"


def test_trackers_must_be_installed(monkeypatch):
    settings = Settings(name="mine", report_to=["wandb", "tensorboard"])
    check_trackers(settings)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match="'mine': report_to holds tensorboard.*pip install tensorboard"):
        check_trackers(settings)
    check_trackers(Settings(report_to=["wandb"]))


@contextlib.contextmanager
def own_wandb(folder: Path):
    """W&B in a folder of its own, without the key of who runs the tests; gives a patch that ends with it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(folder / "wandb of the tests"))
        for name in ("WANDB_DIR", "WANDB_API_KEY", "WANDB_MODE"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(folder / "no netrc"))
        patch.setenv("HF_TOKEN", HUB_TOKEN)
        yield patch


@contextlib.contextmanager
def warnings_of(patch):
    messages = []
    patch.setattr("emomm.tracking.backends.logger.warning", lambda text, *values: messages.append(text % values))
    yield messages


def test_a_tracker_that_takes_a_signal_for_an_error(tmp_path):
    """The job ends, and does not go on without its tracker."""

    def swallowing():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("Unable to cast") from None

    with pytest.raises(Interrupted), interruptible():
        attempt(tmp_path, "W&B: a step", swallowing)


# ---- the calls to W&B -----------------------------------------------------------------------------------------------


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in for W&B that keeps what it was given."""
    module = ModuleType("wandb")
    module.calls, module.finished = [], []
    module.key = False
    module.login = lambda prompt, verify: module.key and not (prompt or verify)
    module.Settings = lambda **options: options

    def init(**options):
        module.calls.append(options)
        return SimpleNamespace(
            finish=lambda exit_code: module.finished.append(exit_code), offline=options["mode"] == "offline"
        )

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    for name in ("WANDB_DIR", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    return module


@pytest.fixture
def messages(monkeypatch):
    with warnings_of(monkeypatch) as said:
        yield said


SETTINGS = Settings(name="Both, frozen", report_to=["wandb", "tensorboard"], wandb_project="mine")


def planned(folder, settings=SETTINGS):
    place, fold = folder / "run", SimpleNamespace(name="session-2")
    return SimpleNamespace(settings=settings, folder=place, files=RunFolder(place), seed=7, fold=fold)


def trackers(tracker):
    return [sink.title for sink in tracker.sinks]


def test_one_tracker_run_for_a_run_in_its_experiments_group(wandb, messages, tmp_path):
    with tracked(planned(tmp_path), tmp_path / "a job") as tracker:
        assert trackers(tracker) == ["W&B", "TensorBoard"]
        assert wandb.finished == []
    (call,) = wandb.calls
    assert (call["project"], call["group"], call["name"]) == ("mine", "Both, frozen", "both-frozen-seed7-session-2")
    assert call["mode"] == "offline"  # there is no key
    assert call["dir"] == str(tmp_path / "a job") and (tmp_path / "a job").is_dir()
    assert wandb.finished == [0]
    with tracked(planned(tmp_path), tmp_path / "a job"):
        pass
    assert messages == [
        f"W&B: tracked offline; to send it later: cd '{tmp_path}/a job' && wandb sync wandb/offline-run-*"
    ]


def test_the_folder_of_the_environment_is_taken(wandb, messages, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "there"))
    with tracked(planned(tmp_path), tmp_path / "job"):
        pass
    assert wandb.calls[0]["dir"] == str(tmp_path / "there")
    assert f"cd {tmp_path}/job && wandb sync {tmp_path}/there/wandb/offline-run-*" in messages[0]


def test_with_a_key_the_mode_is_left_to_wandb(wandb, messages, tmp_path, monkeypatch):
    wandb.key = True
    with tracked(planned(tmp_path), tmp_path):
        pass
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracked(planned(tmp_path), tmp_path):
        pass
    assert [call["mode"] for call in wandb.calls] == [None, "disabled"]
    assert not messages


def test_without_a_connection_the_rest_of_the_job_is_offline(wandb, messages, tmp_path, monkeypatch):
    wandb.key = True
    works = wandb.init

    def init(**options):
        if options["mode"] != "offline":
            wandb.calls.append(options)
            raise TimeoutError("no\nanswer")
        return works(**options)

    monkeypatch.setattr(wandb, "init", init)
    for name in ("one", "two"):
        with tracked(planned(tmp_path / name), tmp_path) as tracker:
            assert "W&B" in trackers(tracker)
    assert [call["mode"] for call in wandb.calls] == [None, "offline", "offline"]
    assert messages[0] == "W&B can't be reached (no answer)" and len(messages) == 2
    assert len({call["id"] for call in wandb.calls}) == 3  # that of a run that failed to open is in use


def test_a_run_that_goes_on_keeps_its_id(wandb, messages, tmp_path):
    for name in ("one", "one", "two"):
        with tracked(planned(tmp_path / name), tmp_path):
            pass
    first, again, other = (call["id"] for call in wandb.calls)
    assert first == again != other
    assert {call["resume"] for call in wandb.calls} == {"allow"}


def test_a_run_that_fails_is_closed_as_failed(wandb, messages, tmp_path):
    with pytest.raises(RuntimeError, match="diverged"), tracked(planned(tmp_path), tmp_path):
        raise RuntimeError("diverged")
    assert wandb.finished == [1]


def test_a_tracker_that_cannot_be_opened_or_closed_is_only_a_warning(wandb, messages, tmp_path, monkeypatch):
    def broken(**_):
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "init", lambda **_: SimpleNamespace(finish=broken, offline=False))
    monkeypatch.setenv("WANDB_MODE", "offline")
    with tracked(planned(tmp_path), tmp_path) as tracker:
        assert trackers(tracker) == ["W&B", "TensorBoard"]
    assert messages == ["W&B: the end of this run could not be sent (disk full); the job goes on without"]
    monkeypatch.setattr(wandb, "init", broken)
    for _ in range(2):
        with tracked(planned(tmp_path), tmp_path) as tracker:
            assert trackers(tracker) == ["TensorBoard"]
    assert messages[1:] == ["W&B: this run could not be sent (disk full); the job goes on without"]
    summarise_job({}, [], tmp_path)  # the job is over: the next one says it again
    with tracked(planned(tmp_path), tmp_path):
        pass
    assert len(messages) == 3


def test_without_trackers_nothing_is_opened(wandb, messages, tmp_path):
    with tracked(planned(tmp_path, Settings()), tmp_path / "job") as tracker:
        assert trackers(tracker) == []
    assert wandb.calls == [] and not list(tmp_path.iterdir())


def test_other_processes_report_nothing(wandb, tmp_path, monkeypatch):
    monkeypatch.setattr("emomm.tracking.tracker.process_state", lambda: SimpleNamespace(is_main_process=False))
    with tracked(planned(tmp_path), tmp_path) as tracker:
        assert trackers(tracker) == []
    assert wandb.calls == []


# ---- the quickstart, read back --------------------------------------------------------------------------------------

EPOCHS = 3
CORPUS = "emodb_emobank"
EXPERIMENTS = {"voice": "audio", "words": "text", "both": "both"}
FOLDS = ["session-2", "session-4"]
FIGURES = ["curriculum/pool", f"test/{CORPUS}/confusion_matrix", f"test/{CORPUS}/difficulty"]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart's job with few epochs and sessions, and a tiny encoder: settings, folder, W&B runs, what was
    said."""
    folder = tmp_path_factory.mktemp("tracking")
    table = pq.read_table(f"{BUILTIN[CORPUS].path}/train.parquet")
    few = table.filter(pc.is_in(table["session"], pa.array(name.removeprefix("session-") for name in FOLDS)))
    pq.write_table(few, folder / "few.parquet")
    given = {"corpus": json.dumps({CORPUS: str(folder / "few.parquet")}), "validation": "random"}
    given |= {"text_model_name": tiny_encoder(folder / "encoder"), "text_max_length": "32", "floors": "false"}
    given |= {"num_epochs": str(EPOCHS), "curriculum_epochs": "2", "report_to": "wandb,tensorboard"}
    given |= {"wandb_project": "tests", "output_dir": str(folder / "runs"), "store_dir": str(folder / "store")}
    with own_wandb(folder) as patch, warnings_of(patch) as messages:
        outcome = run_job(load_recipe("quickstart", given))
    assert not outcome.failed
    return SimpleNamespace(folder=folder / "runs", runs=read_runs(folder / "runs"), messages=messages, given=given)


@pytest.fixture(scope="module")
def runs(quickstart):
    """The six W&B runs, each with the folder of its run."""
    found = [run for run in quickstart.runs if run.job_type != "summary"]
    return [(run, quickstart.folder / run.group / "seed-42" / run.config["fold"]) for run in found]


def read_json(path):
    return json.loads(path.read_text())


def accumulator(place):
    events = EventAccumulator(str(place / "tensorboard"), size_guidance={"scalars": 0})
    return events.Reload()


def test_six_runs_in_three_groups_and_a_summary(quickstart, runs):
    assert len(quickstart.runs) == 7 == len({run.id for run in quickstart.runs})
    assert sorted((run.group, run.config["fold"]) for run, _ in runs) == sorted(
        (name, fold) for name in EXPERIMENTS for fold in FOLDS
    )
    for run, _ in runs:
        assert run.name == f"{run.group}-seed42-{run.config['fold']}"
        wanted = {run.group, EXPERIMENTS[run.group], "seed-42", run.config["fold"], CORPUS, "loso", "difficulty"}
        assert wanted <= set(run.tags)
        assert ("cross_attention" in run.tags) == (run.group == "both")
    assert {run.project for run in quickstart.runs} == {"tests"}
    assert {run.exit_code for run in quickstart.runs} == {0}


def test_one_line_says_how_to_sync(quickstart):
    assert quickstart.messages == [
        f"W&B: tracked offline; to send it later: cd {quickstart.folder} && wandb sync wandb/offline-run-*"
    ]


def test_hyper_parameters(runs):
    for run, place in runs:
        config = run.config
        about = (config["experiment"], config["seed"], config["modality"], config["num_epochs"], config["batch_size"])
        assert about == (run.group, 42, EXPERIMENTS[run.group], EPOCHS, 32)
        assert config["hidden_dim"] == (256 if run.group == "voice" else 64)
        assert config["curriculum_type"] == "difficulty" and config["expected_vad"] == "fit"
        assert config["trainer"]["learning_rate"] == config["learning_rate"] == 1e-3
        assert config["trainer"]["speaker_batches"] is True and config["trainer"]["adam_beta2"] == 0.999
        assert config["model"]["modality"] == EXPERIMENTS[run.group] and config["model"]["dropout"] == 0.5
        text = accumulator(place).Tensors("hyper-parameters/text_summary")[0].tensor_proto.string_val[0].decode()
        told = json.loads(text)
        assert told == {key: value for key, value in config.items() if key in told}
        assert {"experiment", "learning_rate", "trainer", "model"} <= told.keys()


def test_curves_of_steps(runs):
    for run, place in runs:
        steps = read_json(place / "metrics.json")["steps"]
        rate, loss = run.curve("train/learning_rate"), run.curve("train/step_loss")
        assert list(rate) == list(loss) == list(range(1, steps + 1))
        cosine = [1e-3 * 0.5 * (1 + np.cos(np.pi * step / steps)) for step in range(steps)]
        np.testing.assert_allclose(list(rate.values()), cosine, atol=1e-9)
        assert len(set(loss.values())) > steps / 2 and min(loss.values()) > 0
        ends = run.curve("train/loss")  # of the Trainer: the mean over an epoch's steps
        assert list(ends) == [steps * epoch // EPOCHS for epoch in range(1, EPOCHS + 1)]
        means = np.array(list(loss.values())).reshape(EPOCHS, -1).mean(axis=1)
        np.testing.assert_allclose(list(ends.values()), means, rtol=1e-4)


def test_metrics_of_epochs(runs):
    for run, place in runs:
        history = [entry for entry in read_json(place / "history.json") if "eval_uar" in entry]
        assert len(history) == EPOCHS
        for key in ("loss", *SCALARS):
            wanted = {entry["step"]: entry[f"eval_{key}"] for entry in history}
            assert run.curve(f"eval/{key}") == pytest.approx(wanted)
        assert list(run.curve("train/epoch").values())[-1] == EPOCHS


def test_curriculum_of_epochs(runs):
    labels = ("neutral", "happy", "sad", "anger")
    for run, place in runs:
        history = [entry for entry in read_json(place / "history.json") if "curriculum/pool_size" in entry]
        pool = run.curve("curriculum/pool_fraction")
        assert list(pool) == [entry["step"] for entry in history] and len(pool) == EPOCHS
        assert 0 < pool[0] < 1 and list(pool.values())[-1] == 1
        hard = list(run.curve("curriculum/mean_difficulty").values())
        assert hard == pytest.approx([entry["curriculum/mean_difficulty"] for entry in history])
        assert hard[0] < hard[-1]
        for number, label in enumerate(labels):
            share = list(run.curve(f"curriculum/share_{label}").values())
            assert share == pytest.approx([entry[f"curriculum/class_{number}"] for entry in history])
        assert (
            list(run.curve("curriculum/pool_size").values())[-1]
            == read_json(place / "metrics.json")["parts"]["train"]["rows"]
        )


def test_scores_and_confusion_matrix_of_the_test_fold(runs):
    for run, place in runs:
        metrics = read_json(place / "metrics.json")
        scores = metrics["test"][CORPUS]
        for key in SCALARS:
            assert run.summary[f"test/{CORPUS}/{key}"] == pytest.approx(scores[key])
            assert run.summary[f"best/{key}"] == pytest.approx(metrics["validation"][key])
        assert run.summary["best/epoch"] == metrics["best_epoch"]
        for name, recall in scores["recall_per_class"].items():
            assert run.summary[f"test/{CORPUS}/recall_{name}"] == pytest.approx(recall)
        ((path),) = run.curve(f"test/{CORPUS}/confusion_matrix_counts/path").values()
        table = run.file(path).read_text()
        for name, counts in zip(scores["recall_per_class"], scores["confusion_matrix"], strict=True):
            assert "".join(f"<td>{cell}</td>" for cell in [name, *counts]) in table


def picture(path):
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_figures(runs):
    seen = set()
    for run, place in runs:
        events = accumulator(place)
        assert sorted(events.Tags()["images"]) == FIGURES
        for name in FIGURES:
            (path,) = run.curve(f"{name}/path").values()
            image = picture(run.file(path))
            assert image.shape[0] >= 250 and image.shape[1] >= 300 and image.std() > 10
            seen.add(path.rsplit("_", 1)[1])
            (event,) = events.Images(name)
            assert (event.height, event.width) == image.shape[:2]
            assert event.step == run.curve(f"{name}/path").popitem()[0] == read_json(place / "metrics.json")["steps"]
    assert len(seen) >= 12  # each is of its own run; the pools of a fold are alike in the three experiments


def test_tensorboard_has_the_same_scalars(runs):
    for run, place in runs:
        events = accumulator(place)
        for name in ("train/step_loss", "train/learning_rate", "train/loss", "eval/uar", "eval/loss") + tuple(
            f"curriculum/{what}" for what in ("pool_fraction", "mean_difficulty", "share_sad")
        ):
            told = {event.step: event.value for event in events.Scalars(name)}
            assert told == pytest.approx(run.curve(name), rel=1e-6), name
        (event,) = events.Scalars(f"test/{CORPUS}/uar")
        assert event.value == pytest.approx(run.summary[f"test/{CORPUS}/uar"], rel=1e-6)


def test_the_exported_model_is_an_artifact(quickstart, runs):
    for run, place in runs:
        ((kind, name),) = run.artifacts
        assert (kind, name) == ("model", run.name)
        entries = run.artifacts[kind, name]
        files = {path.relative_to(place / "model").as_posix(): path for path in (place / "model").rglob("*")}
        assert entries.keys() == {name for name, path in files.items() if path.is_file()}
        assert {"config.json", "modeling_emomm.py", "processor_config.json"} <= entries.keys()
        for name, entry in entries.items():
            assert entry.size == files[name].stat().st_size
            assert quickstart.folder / entry.local_path == files[name]


def test_the_summary_has_the_averages_of_the_results(quickstart):
    (summary,) = (run for run in quickstart.runs if run.job_type == "summary")
    results = read_json(quickstart.folder / "results.json")
    assert (summary.name, summary.group) == ("quickstart-summary", "") and "summary" in summary.tags
    assert summary.config["protocol"] == results["protocol"]
    assert [entry["name"] for entry in results["experiments"]] == list(EXPERIMENTS)
    for entry in results["experiments"]:
        for score in SCALARS:
            for part in ("mean", "std", "pooled"):
                told = summary.summary[f"{entry['name']}/{CORPUS}/{score} {part}"]
                assert told == pytest.approx(entry["summary"][CORPUS][score][part], abs=1e-12)
        mean = np.mean([run["test"][CORPUS]["uar"] for run in entry["runs"]])
        assert summary.summary[f"{entry['name']}/{CORPUS}/uar mean"] == pytest.approx(mean)
    (path,) = summary.curve("results/path").values()
    assert summary.file(path).read_text().count("<tr>") == 1 + len(EXPERIMENTS)


def told_files(folder):
    """All that a tracker would send or show; W&B's debug logs stay where they are."""
    paths = [*folder.glob("wandb/offline-run-*/*.wandb"), *folder.glob("wandb/offline-run-*/files/**/*")]
    return [path for path in [*paths, *folder.rglob("events.out.tfevents.*")] if path.is_file()]


def test_nothing_of_this_machine_and_no_row_is_told(quickstart):
    table = pq.read_table(quickstart.folder / "both" / "seed-42" / FOLDS[0] / "predictions.parquet")
    hidden = [str(quickstart.folder), str(Path.home()), str(Path.cwd()), sys.executable, HUB_TOKEN]
    hidden += ["--output_dir", table["utterance_id"][0].as_py()]
    hidden += [sys.argv[0]] if os.sep in sys.argv[0] else []  # a worker of xdist has none
    files = told_files(quickstart.folder)
    assert len(files) > 7 + 6
    for path in files:
        content = path.read_bytes()
        assert not [text for text in hidden if text.encode() in content], path
        assert path.name not in ("output.log", "requirements.txt", "wandb-metadata.json")


def test_settings_are_told_without_places(tmp_path):
    given = {
        "output_dir": str(tmp_path),
        "_name_or_path": "user/name",
        "hub_token": "hf_secret",
        "text_model_name": str(tmp_path / "my-encoder"),
        "corpora": {"own": {"path": str(tmp_path / "rows.parquet"), "sizes": [3, 0.5, None]}},
        "resume": True,
    }
    assert tracking._public(given) == {
        "text_model_name": "my-encoder",
        "corpora": {"own": {"path": "rows.parquet", "sizes": [3, 0.5, None]}},
        "resume": True,
    }


def test_a_finished_job_has_one_summary_still(quickstart):
    before = len(quickstart.runs)
    with own_wandb(quickstart.folder.parent):
        run_job(load_recipe("quickstart", quickstart.given))
    found = read_runs(quickstart.folder)
    assert len(found) == before + 1 and len({run.id for run in found}) == before


# ---- small jobs: what fails, and what goes on -----------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """Runs a small job of two runs, by default with both trackers; gives its folder and what was said."""
    with own_wandb(tmp_path) as patch, warnings_of(patch) as messages:

        def job(**fields):
            recipe = write_recipe(
                tmp_path, **{"report_to": ["wandb", "tensorboard"], "modality": "audio", "num_epochs": 3, **fields}
            )
            outcome = run_job(load_recipe(recipe))
            assert not outcome.failed
            return tmp_path / "small"

        yield SimpleNamespace(job=job, messages=messages, patch=patch)


def places(folder):
    return sorted(path.parent for path in folder.rglob("metrics.json"))


def no_space(*_, **__):
    raise OSError(28, "No space left on device")


def unsent(messages):
    return [message for message in messages if not message.startswith("W&B: tracked offline")]


def test_each_tracker_alone_and_none(small, tmp_path):
    folder = small.job(report_to=["wandb"])
    assert len(read_runs(folder)) == 3 and not list(folder.rglob("events.out.*"))
    folder = small.job(report_to=["tensorboard"], output_dir=str(tmp_path / "two"))
    folder = tmp_path / "two"
    assert not (folder / "wandb").exists() and len(list(folder.rglob("events.out.*"))) == 2
    small.job(report_to=[], output_dir=str(tmp_path / "three"))
    assert not (tmp_path / "three" / "wandb").exists() and not list((tmp_path / "three").rglob("events.out.*"))


def test_no_key_is_told(small):
    small.patch.setenv("WANDB_MODE", "offline")
    small.patch.setenv("WANDB_API_KEY", KEY)
    folder = small.job()
    files = [*told_files(folder), *folder.glob("wandb/**/*.log")]
    assert not [path for path in files if KEY.encode() in path.read_bytes() or HUB_TOKEN.encode() in path.read_bytes()]


def test_wandb_that_fails_in_the_middle_leaves_the_rest(small):
    small.patch.setattr("wandb.sdk.wandb_run.Run.log", no_space)
    folder = small.job()
    assert len(places(folder)) == 2
    assert all("test/synthetic/uar" in accumulator(place).Tags()["scalars"] for place in places(folder))
    assert sorted(unsent(small.messages)) == [
        f"W&B: {what} could not be sent ([Errno 28] No space left on device); the job goes on without"
        for what in ("its metrics", "the summary")
    ]


def test_tensorboard_that_fails_in_the_middle_leaves_the_rest(small):
    small.patch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", no_space)
    runs = read_runs(small.job())
    assert sum("test/synthetic/uar" in run.summary for run in runs) == 2
    assert unsent(small.messages) == [
        "TensorBoard: its metrics could not be sent ([Errno 28] No space left on device); the job goes on without"
    ]


def test_tensorboard_that_cannot_be_imported_is_one_line(small):
    for name in ("torch.utils.tensorboard", "tensorboardX"):
        small.patch.setitem(sys.modules, name, None)
    assert len(read_runs(small.job())) == 3
    (message,) = unsent(small.messages)
    assert message.startswith("TensorBoard: this run could not be sent (import of tensorboardX halted")


def test_without_matplotlib_there_are_no_figures(small):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        small.patch.setitem(sys.modules, name, None)
    small.patch.delitem(sys.modules, "emomm.reporting.figures", raising=False)
    small.patch.delattr("emomm.reporting.figures", raising=False)
    small.patch.setitem(sys.modules, "matplotlib", None)
    runs = read_runs(small.job())
    (message,) = unsent(small.messages)
    assert message.startswith("trackers: no figures (") and message.endswith("pip install matplotlib")
    for run in runs:
        if run.job_type != "summary":
            assert run.curve("test/synthetic/confusion_matrix_counts/path") and run.artifacts
            assert not run.curve("curriculum/pool/path")


def test_a_run_without_a_curriculum_has_no_figure_of_it(small):
    for run in read_runs(small.job(use_curriculum_learning=False)):
        if run.job_type != "summary":
            assert "no curriculum" in run.tags
            assert not run.curve("curriculum/pool/path") and run.curve("test/synthetic/difficulty/path")


def test_an_interrupted_run_goes_on_in_the_run_it_had(small):
    keep, seen = CurriculumTrainer._keep_if_better, []

    def interrupted(self, metrics):
        keep(self, metrics)
        seen.append(metrics)
        if len(seen) == 2:
            raise KeyboardInterrupt

    small.patch.setattr(CurriculumTrainer, "_keep_if_better", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small.job(save_seconds=0)
    folder = small.job(save_seconds=0)
    runs = read_runs(folder)
    assert len(runs) == 4 and len({run.id for run in runs}) == 3
    first, second = runs[:2]
    assert first.id == second.id and (first.exit_code, second.exit_code) == (1, 0)
    steps = read_json(places(folder)[0] / "metrics.json")["steps"]
    one, two = first.curve("train/step_loss"), second.curve("train/step_loss")
    assert 1 in one and steps not in one and min(two) > 1
    assert sorted({*one, *two}) == list(range(1, steps + 1))
    assert all(one[step] == two[step] for step in one.keys() & two.keys())
    events = accumulator(places(folder)[0])  # two files, of which the second voids what it repeats
    assert [event.step for event in events.Scalars("train/step_loss")] == list(range(1, steps + 1))
    assert len(events.Scalars("eval/uar")) == 3
    assert {run.job_type for run in runs} == {"", "summary"}


def test_no_step_is_lost_where_a_run_is_interrupted_within_an_epoch(small):
    """Steps wait to be sent together; what is past the state that the run goes on from is sent again."""
    step = CurriculumTrainer.training_step

    def interrupted(self, *args, **kwargs):
        if self.state.global_step == 8:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CurriculumTrainer, "training_step", interrupted)
        small.job(save_seconds=0)
    folder = small.job(save_seconds=0)
    first, second = read_runs(folder)[:2]
    steps = read_json(places(folder)[0] / "metrics.json")["steps"]
    one, two = first.curve("train/step_loss"), second.curve("train/step_loss")
    assert max(one) == 8 and sorted({*one, *two}) == list(range(1, steps + 1)) and steps > 8
    events = accumulator(places(folder)[0])
    assert [event.step for event in events.Scalars("train/step_loss")] == list(range(1, steps + 1))


def job_that_is_killed(recipe: str) -> None:
    """Killed right after its state was saved within the first epoch."""
    with own_wandb(Path(recipe).parent), warnings_of(pytest.MonkeyPatch()):
        kill_at(CurriculumTrainer, "training_step", lambda self, *_, **__: self.state.global_step == 3, settled)
        run_job(load_recipe(recipe))


def settled(*_, **__):
    time.sleep(2.5)  # W&B writes every second


def test_what_was_tracked_before_a_kill_is_on_the_disk(tmp_path):
    fields = {"report_to": ["wandb", "tensorboard"], "modality": "audio", "save_seconds": 0}
    recipe = write_recipe(tmp_path, **fields)
    assert finish(start(job_that_is_killed, str(recipe))) == -9
    (killed,) = read_runs(tmp_path / "small", finished=False)
    assert sorted(killed.curve("train/step_loss")) == [1, 2, 3]
    (events,) = (tmp_path / "small").rglob("events*")
    found = EventAccumulator(str(events.parent)).Reload()
    assert [event.step for event in found.Scalars("train/step_loss")] == [1, 2, 3]


def job_without_an_answer(recipe: str, said: str) -> None:
    """A job with a key, whose server does not answer. In a process of its own: W&B keeps a key that it has seen."""
    with own_wandb(Path(recipe).parent) as patch, warnings_of(patch) as messages:
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        patch.setattr("emomm.tracking.backends._PATIENCE", 1)
        assert not run_job(load_recipe(recipe)).failed
    Path(said).write_text("\n".join(messages))


def test_a_server_that_does_not_answer_is_done_without(tmp_path):
    recipe = write_recipe(tmp_path, report_to=["wandb"], modality="audio")
    assert finish(start(job_without_an_answer, str(recipe), str(tmp_path / "said"))) == 0
    runs = read_runs(tmp_path / "small")
    assert len(runs) == 3 and all(run.exit_code == 0 for run in runs)
    first, second = (tmp_path / "said").read_text().splitlines()
    assert first.startswith("W&B can't be reached (") and second.startswith("W&B: tracked offline; ")
    assert not [path for path in told_files(tmp_path / "small") if KEY.encode() in path.read_bytes()]
