"""What `test_hub.py` does in a process of its own, since huggingface_hub reads its address when it is imported.

`python push_to_local_hub.py FOLDER RESULT`: makes a job in FOLDER, pushes its model to a local Hub in every way,
lets a stranger load it, and writes what happened to RESULT.
"""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from local_hub import FAULTS
from local_hub import LocalHub
from local_hub import one_certificate

TOKEN = "hf_0123456789abcdef"
FOLDER, RESULT = Path(sys.argv[1]), Path(sys.argv[2])
HUB = LocalHub(TOKEN, silence=0.75)
os.environ |= {
    "HF_ENDPOINT": HUB.url,
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_OFFLINE": "0",
    "HF_HOME": str(FOLDER / "hf"),
    "HF_TOKEN": TOKEN,
    "SSL_CERT_FILE": str(one_certificate(FOLDER)),
}

import conftest  # noqa: E402, F401 makes the package importable
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from finished_job import finished_job  # noqa: E402
from transformers import AutoModel  # noqa: E402
from transformers import AutoProcessor  # noqa: E402
from tuned_job import tuned_job  # noqa: E402

from emomm.cli.main import main  # noqa: E402
from emomm.errors import InputError  # noqa: E402
from emomm.modeling_emomm import EmoMMForEmotionClassification  # noqa: E402, F401 registers the auto classes
from emomm.processing_emomm import EmoMMProcessor  # noqa: E402, F401
from emomm.sharing import uploading  # noqa: E402

STRANGER = Path(__file__).resolve().parent / "pull_from_local_hub.py"
EXPERIMENT = "Both of them"
_sleep = time.sleep


def run(*argv: str) -> dict:
    """A command: its exit code and what it said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(argv))
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def attempt(repo: str, folder: Path) -> str:
    """Pushes the gathered folder: what the Hub then has, or the message."""
    HUB.log.clear()
    HUB.large.clear()
    try:
        uploading.upload(uploading.Push(FOLDER / "job", EXPERIMENT, repo), folder)
    except InputError as error:
        return f"error: {error}"
    return "done"


def files(repo: str) -> dict[str, bytes]:
    return HUB.repositories[repo].files if repo in HUB.repositories else {}


def state(repo: str, folder: Path) -> str:
    """Whether the repository holds nothing, all of the folder, or something between."""
    there = files(repo)
    whole = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return "nothing" if not there else "whole" if there == whole else f"half: {sorted(there)}"


def push_all() -> dict:
    said = {}
    job = finished_job(FOLDER)
    push = ["push", str(job), "--experiment", EXPERIMENT, "--hub_model_id"]
    said["push"] = run(*push, "user/first", "--hub_private")
    said["private"] = HUB.repositories["user/first"].private
    said["files"] = sorted(files("user/first"))
    said["bodies"] = [body.decode("latin-1") for body in HUB.bodies]
    place = job / "both-of-them" / "hub"
    said["state"] = state("user/first", place)
    recipe = ["run", str(FOLDER / "recipe.json"), "--no_report", "--push_to_hub", "--hub_model_id"]
    said["run"] = run(*recipe, "user/second", "--final-model", "false")
    said["second is"] = files("user/second")["README.md"].decode()
    said["second has"] = state("user/second", place)
    said["run without id"] = run(*recipe[:-1])
    said["run into the blue"] = run(*recipe, "nobody")
    # From here on, the files of the first push.
    said["again"] = run(*push, "user/first")
    said["commits"] = HUB.repositories["user/first"].commits
    reference(place)
    # Faults, at every request in turn.
    said["plain"] = attempt("user/plain", place)
    requests = [route for _, route in HUB.log]
    said["requests"] = requests
    said["faults"] = []
    for fault in FAULTS:
        for number, route in enumerate(requests):
            repo = f"user/{fault.replace(' ', '-')}-{number}"
            HUB.fail_at = {number: fault}
            said["faults"].append([fault, route, attempt(repo, place), state(repo, place)])
    HUB.fail_at = {}
    said["broken"] = []
    for route in sorted(set(requests)):
        for fault, repo in (("status", "user/old"), ("cut", f"user/new-{route}")):
            HUB.broken = {route: fault}
            if repo == "user/old":  # an older model is there, and stays
                HUB.repositories[repo] = type(HUB.repositories["user/first"])({"config.json": b"old"}, 1)
            outcome = attempt(repo, place)
            kept = files(repo) == {"config.json": b"old"} if repo == "user/old" else state(repo, place)
            said["broken"].append([route, fault, repo, outcome, kept])
    HUB.broken = {}
    # What an older push left.
    old = {"model.safetensors": b"old", "figures/old.png": b"old", "mine.txt": b"mine", ".gitattributes": b""}
    HUB.repositories["user/old"] = type(HUB.repositories["user/first"])(dict(old), 1)
    said["over old"] = [attempt("user/old", place), sorted(files("user/old"))]
    HUB.repositories["user/public"] = type(HUB.repositories["user/first"])({"mine.txt": b"mine"}, 1)
    said["public"] = [run(*push, "user/public", "--hub_private"), sorted(files("user/public"))]
    said["licensed"] = run(*push, "user/licensed", "--hub_license", "cc-by-nc-4.0")
    said["licence"] = files("user/licensed")["README.md"].decode()[:400]
    HUB.refused = {"create": 403}
    said["forbidden"] = run(*push, "user/other")
    HUB.refused = {}
    os.environ["HF_TOKEN"] = "hf_wrongwrongwrong"
    said["wrong token"] = run(*push, "user/other")
    del os.environ["HF_TOKEN"]
    said["no token"] = run(*push, "user/other")
    os.environ["HF_TOKEN"] = TOKEN
    said["no experiment"] = run("push", str(job), "--experiment", "Both of then", "--hub_model_id", "user/x")
    said["no job"] = run("push", str(FOLDER), "--experiment", EXPERIMENT, "--hub_model_id", "user/x")
    said["left"] = sorted(path.name for path in place.parent.iterdir() if path.name.startswith("."))
    return said


def push_tuned() -> dict:
    """A model that was tuned from recordings, whole and as adapters; its test rows with their probabilities."""
    job = tuned_job(FOLDER / "recorded")
    push = ["push", str(job), "--experiment", "Adapted", "--final_model", "false", "--hub_model_id"]
    said = {"whole": run(*push, "user/tuned"), "adapter": run(*push, "user/adapter", "--adapter_only")}
    said["files"] = {name: sorted(files(f"user/{name}")) for name in ("tuned", "adapter")}
    said["sizes"] = {name: sum(map(len, files(f"user/{name}").values())) for name in ("tuned", "adapter")}
    said["none"] = run(*push[:3], "Frozen", *push[4:], "user/none", "--adapter_only")
    results = json.loads((job / "results.json").read_text())["experiments"][0]
    best = max(results["runs"], key=lambda each: each["validation"]["uar"])
    saved = pq.read_table(job / "adapted" / f"seed-{best['seed']}" / best["fold"] / "predictions.parquet").to_pylist()
    recordings = {row["utterance_id"]: row for row in pq.read_table(FOLDER / "recorded" / "tuned.parquet").to_pylist()}
    place = FOLDER / "recordings"
    place.mkdir()
    for row in saved:
        (place / f"{row['utterance_id']}.wav").write_bytes(recordings[row["utterance_id"]]["audio"]["bytes"])
        row["transcript"] = recordings[row["utterance_id"]]["transcript"]
    said["rows"] = [[row["utterance_id"], row["transcript"], row["probabilities"]] for row in saved]
    said["bases"] = {name: str(FOLDER / "recorded" / name) for name in ("speech-wavlm", "text")}
    (FOLDER / "tuned.json").write_text(json.dumps(said))
    return said


def reference(place: Path) -> None:
    """The logits of the model as it lies here."""
    model, processor = AutoModel.from_pretrained(place), AutoProcessor.from_pretrained(place)
    torch.manual_seed(0)
    voice, words = torch.randn(3, 6), "not you, i said"
    with torch.no_grad():
        logits = model(**processor(audio_features=voice.numpy(), text=words)).logits
    torch.save({"voice": voice, "words": words, "logits": logits}, FOLDER / "reference.pt")


with HUB:
    uploading.TIMEOUT_SECONDS = 0.3
    time.sleep = lambda seconds: _sleep(seconds if seconds == HUB.silence else min(seconds, 0.002))
    records = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(records))
    logging.getLogger("emomm").addHandler(logging.StreamHandler(records))
    result = push_all()
    result["tuned"] = push_tuned()
    environment = {key: value for key, value in os.environ.items() if key not in ("HF_TOKEN", "PYTHONPATH")}
    environment |= {"HF_HOME": str(FOLDER / "stranger"), "HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    stranger = subprocess.run(
        [sys.executable, str(STRANGER), str(FOLDER / "reference.pt"), str(FOLDER / "pulled.json")],
        env=environment,
        cwd=FOLDER / "store",
        capture_output=True,
        text=True,
        timeout=120,
    )
    result["stranger"] = [stranger.returncode, stranger.stdout, stranger.stderr]
    result["log"] = records.getvalue()
    RESULT.write_text(json.dumps(result))
