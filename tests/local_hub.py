"""A Hugging Face Hub on this machine, for tests: enough of its HTTP protocol to push models and to load them, and to
read data sets.

Every request can be made to fail. Repositories live in memory.
"""

import base64
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass
from dataclasses import field
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from urllib.parse import unquote

import certifi


def one_certificate(folder: Path) -> Path:
    """A file for `SSL_CERT_FILE`. Each new client reads the certificates, for plain HTTP too: all take 40 ms."""
    first = Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----")
    path = folder / "certificate.pem"
    path.write_text("".join(first[:2]) + "\n", encoding="utf-8")
    return path


FAULTS = ("status", "silence", "cut", "cut after")
_ID = r"(?P<repo>[\w.-]+/[\w.-]+)"
_LARGE = (".safetensors", ".bin", ".png", ".parquet")


@dataclass
class Repository:
    """A repository of a model or a data set: its files now, and the number of commits."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    private: bool = False

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(self.commits).encode()).hexdigest()


class LocalHub(ThreadingHTTPServer):
    """The server; use it as a context manager.

    Args:
        token: the only one that may write.
        silence: how long the fault `silence` lasts, in seconds; clients should give up before.

    `log` holds (method, route) of each request; `fail_at` a request's number in it -> one of FAULTS: `status` answers
    503, `silence` nothing in time, `cut` closes the connection at once, `cut after` after having done it.
    `broken` does the same to every request of a route, `refused` answers a status.
    """

    daemon_threads = True

    def __init__(self, token: str = "dummy", silence: float = 2.0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token, self.silence = token, silence
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.log: list[tuple[str, str]] = []
        self.paths: list[str] = []  # of the requests in `log`, since a control
        self.bodies: list[bytes] = []
        self.fail_at: dict[int, str] = {}
        self.broken: dict[str, str] = {}
        self.refused: dict[str, int] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "LocalHub":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize = True, 1 << 16
    server: LocalHub

    # (method, path, name of the method that answers)
    ROUTES = (
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", rf"/api/models/{_ID}/preupload/main", "preupload"),
        ("POST", rf"/api/models/{_ID}/commit/main", "commit"),
        ("GET", rf"/api/(models|datasets)/{_ID}/tree/(?P<revision>\w+)(/(?P<folder>.+))?", "tree"),
        ("POST", rf"/api/datasets/{_ID}/paths-info/(?P<revision>\w+)", "paths_info"),
        ("GET", rf"/api/(models|datasets)/{_ID}(/revision/(?P<revision>\w+))?", "info"),
        ("POST", rf"/{_ID}\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/lfs/(?P<oid>\w+)", "put"),
        ("POST", r"/verify", "verify"),
        ("GET", rf"(/datasets)?/{_ID}/resolve/(?P<revision>\w+)/(?P<file>.+)", "resolve"),
    )

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._dispatch("GET")

    def do_HEAD(self) -> None:
        self._dispatch("GET")

    def do_POST(self) -> None:
        self._dispatch("POST")

    def do_PUT(self) -> None:
        self._dispatch("PUT")

    def _dispatch(self, method: str) -> None:
        hub, path = self.server, unquote(self.path.partition("?")[0])
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/control":  # a test in another process sets the faults to come
            asked = json.loads(body)
            with hub.lock:
                hub.log.clear()
                hub.paths.clear()
                hub.fail_at = {int(number): fault for number, fault in asked.items()}
            return self._answer({})
        if path == "/paths":
            return self._answer(hub.paths)
        found = next(
            (
                (name, match)
                for verb, pattern, name in self.ROUTES
                if verb == method and (match := re.fullmatch(pattern, path))
            ),
            None,
        )
        if found is None:
            return self._answer({"error": "no such route"}, 404)
        name, match = found
        with hub.lock:
            fault = hub.fail_at.get(len(hub.log)) or hub.broken.get(name)
            hub.log.append((self.command, name))
            hub.paths.append(path)
            hub.bodies.append(body)
        if fault == "status":
            return self._answer({"error": "come back later"}, 503)
        if fault == "silence":
            time.sleep(hub.silence)
        if fault in ("silence", "cut"):
            self.close_connection = True
            return None
        if name in hub.refused:
            return self._answer({"error": "refused"}, hub.refused[name])
        if (
            method != "GET"
            and self.headers.get("Authorization") != f"Bearer {hub.token}"
            and name
            not in (
                "put",
                "paths_info",
            )
        ):
            return self._answer({"error": "Invalid credentials"}, 401)
        with hub.lock:
            reply = getattr(self, name)(body, **match.groupdict())
        if fault == "cut after":
            self.close_connection = True
            return None
        return self._answer(*reply)

    def _chunks(self) -> bytes:
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header(
            "Content-Type", "application/octet-stream" if isinstance(content, bytes) else "application/json"
        )
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # ---- what there is to ask for: each gives (content, status)

    def create(self, body: bytes) -> tuple[Any, ...]:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        status = 409 if repo in self.server.repositories else 200
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.repositories.setdefault(repo, Repository(private=private))
        return {"url": f"{self.server.url}/{repo}", **({"error": "exists"} if status == 409 else {})}, status

    def validate(self, body: bytes) -> tuple[Any, ...]:
        return {"errors": [], "warnings": []}, 200

    def whoami(self, body: bytes) -> tuple[Any, ...]:
        return {"type": "user", "name": "user"}, 200

    def preupload(self, body: bytes, repo: str) -> tuple[Any, ...]:
        files = self.server.repositories[repo].files
        return {
            "files": [
                {
                    "path": asked["path"],
                    "uploadMode": "lfs" if asked["path"].endswith(_LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(asked["path"], files[asked["path"]]) if asked["path"] in files else None,
                }
                for asked in json.loads(body)["files"]
            ]
        }, 200

    def batch(self, body: bytes, repo: str) -> tuple[Any, ...]:
        def actions(oid: str) -> dict[str, Any]:
            if oid in self.server.large:
                return {}
            urls = {
                "upload": {"href": f"{self.server.url}/lfs/{oid}"},
                "verify": {"href": f"{self.server.url}/verify"},
            }
            return {"actions": urls}

        objects = [{**asked, **actions(asked["oid"])} for asked in json.loads(body)["objects"]]
        return {"transfer": "basic", "objects": objects}, 200

    def put(self, body: bytes, oid: str) -> tuple[Any, ...]:
        if hashlib.sha256(body).hexdigest() != oid:
            return {"error": "another content"}, 400
        self.server.large[oid] = body
        return {}, 200

    def verify(self, body: bytes) -> tuple[Any, ...]:
        return {}, 200 if json.loads(body)["oid"] in self.server.large else 404

    def commit(self, body: bytes, repo: str) -> tuple[Any, ...]:
        repository = self.server.repositories[repo]
        files = dict(repository.files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repository.files = files
        repository.commits += 1
        return {"commitUrl": f"{self.server.url}/{repo}/commit/{repository.sha}", "commitOid": repository.sha}, 200

    def info(self, body: bytes, repo: str, revision: str | None) -> tuple[Any, ...]:
        if repo not in self.server.repositories:
            return {"error": "Repository not found"}, 404
        repository = self.server.repositories[repo]
        siblings = [{"rfilename": name} for name in repository.files]
        return {
            "id": repo,
            "sha": repository.sha,
            "private": repository.private,
            "tags": [],
            "siblings": siblings,
        }, 200

    def tree(self, body: bytes, repo: str, revision: str, folder: str | None = None) -> tuple[Any, ...]:
        files = self.server.repositories[repo].files
        inside = "" if folder is None else f"{folder}/"
        found = {name: _entry(name, content) for name, content in files.items() if name.startswith(inside)}
        if "recursive=false" in self.path.lower():
            deeper = [name for name in found if "/" in name.removeprefix(inside)]
            for name in deeper:
                del found[name]
                path = inside + name.removeprefix(inside).partition("/")[0]
                found[path] = {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
        return list(found.values()), 200

    def paths_info(self, body: bytes, repo: str, revision: str) -> tuple[Any, ...]:
        files, asked = self.server.repositories[repo].files, parse_qs(body.decode())["paths"]
        return [_entry(name, files[name]) for name in asked if name in files], 200

    def resolve(self, body: bytes, repo: str, revision: str, file: str) -> tuple[Any, ...]:
        if repo not in self.server.repositories:
            return {"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"}
        repository = self.server.repositories[repo]
        headers = {"X-Repo-Commit": repository.sha}
        if file not in repository.files:
            return {"error": "Entry not found"}, 404, {**headers, "X-Error-Code": "EntryNotFound"}
        content = repository.files[file]
        headers["ETag"] = f'"{_oid(file, content)}"'
        rest = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if rest is None:
            return content, 200, headers
        first = int(rest.group(1))
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return content[first:], 206, headers


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path.endswith(_LARGE):
        entry["lfs"] = {"oid": _oid(path, content), "size": len(content), "pointerSize": 130}
    else:
        entry["oid"] = _oid(path, content)
    return entry


def _oid(path: str, content: bytes) -> str:
    """As git and LFS have it."""
    if path.endswith(_LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
