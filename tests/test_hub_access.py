"""A Hub that is silent, gone, or slow: asked once, in seconds, and said."""

import logging
import socket
import threading
from types import SimpleNamespace

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub import constants
from huggingface_hub import get_session
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from emomm import hub_access
from emomm.corpora.reading import read_raw
from emomm.corpora.spec import CorpusSpec
from emomm.errors import InputError
from emomm.features.text_encoders import load_encoder_config
from emomm.features.text_states import encoder_fingerprint


@pytest.fixture
def silent():
    """A server that accepts and never answers: its address, and the connections that it got."""
    server, found = socket.create_server(("127.0.0.1", 0)), SimpleNamespace(calls=[])

    def accept():
        while True:
            try:
                found.calls.append(server.accept())
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.getsockname()[1]}"
    yield found
    server.close()


@pytest.fixture
def online(monkeypatch, tmp_path):
    """This process as a command that may use the Hub, waits a second for it, and has an empty cache."""
    import datasets

    for name in ("on", "seconds", "asked"):
        monkeypatch.setattr(hub_access._Limits, name, getattr(hub_access._Limits, name))
    monkeypatch.setattr(hub_access._Limits, "asked", set())
    monkeypatch.setattr(hub_access, "SECONDS", 1.0)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    hub_access.limit_waiting()

    def point_to(url):
        monkeypatch.setattr(constants, "ENDPOINT", url)

    yield point_to
    set_client_factory(default_client_factory)


def test_a_hub_that_never_answers_is_asked_once(silent, online, caplog):
    """By whatever is taken from it: an encoder, its hash, a corpus."""
    online(silent.url)
    with caplog.at_level(logging.INFO, "emomm"):
        for take in (
            lambda: load_encoder_config("nobody/nothing"),
            lambda: encoder_fingerprint("nobody/nothing"),
            lambda: read_raw(CorpusSpec.from_dict("mine", {"hub_id": "nobody/corpus", "labels": ["a", "b"]})),
        ):
            with pytest.raises(InputError, match="nobody/"):
                take()
    assert len(silent.calls) == 1
    assert caplog.text.count(f"asking {silent.url} for nobody/nothing") == 1
    assert caplog.text.count(f"{silent.url} can't be reached (") == 1
    assert constants.is_offline_mode()


def test_a_hub_that_is_not_there_is_said_at_once(online, caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    online(url)
    hub_access.reach_hub("bert-base-uncased")
    assert f"{url} can't be reached (" in caplog.text
    assert constants.is_offline_mode()


def test_no_request_waits_for_ever(silent, online):
    """Not even one that says of itself that it would; and one that names a time keeps it."""
    online(silent.url)
    with pytest.raises(httpx2.TimeoutException):
        HfApi(endpoint=silent.url).model_info("nobody/nothing")
    with hub_access.patience(0.2), pytest.raises(httpx2.TimeoutException):
        get_session().get(silent.url)
    with pytest.raises(httpx2.TimeoutException):
        get_session().get(silent.url, timeout=0.1)


def test_a_library_user_is_left_alone(silent, monkeypatch):
    """Only commands ask, and go on offline."""
    monkeypatch.setattr(constants, "ENDPOINT", silent.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_access._Limits, "on", False)
    hub_access.reach_hub("anything")
    assert not silent.calls and not constants.is_offline_mode()


def test_a_hub_that_answers_is_used(online, monkeypatch, caplog):
    asked = []
    monkeypatch.setattr(hub_access.httpx2, "head", lambda url, timeout: asked.append((url, timeout)))
    online("https://hub.example")
    with caplog.at_level(logging.INFO, "emomm"):
        hub_access.reach_hub("one")
        hub_access.reach_hub("another")
    assert asked == [("https://hub.example", 1.0)] and not constants.is_offline_mode()
    assert [record.message for record in caplog.records] == ["asking https://hub.example for one"]
