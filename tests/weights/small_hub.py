"""A hub of models on loopback: what huggingface_hub's client requests, for repositories of a few small files."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

from tests import loopback

ACCESS = re.compile(r"/api/models/([^/]+/[^/]+)/auth-check$")
INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?$")
TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)$")
FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")


@dataclasses.dataclass
class Repository:
    """A model; its commits are numbered by their content. Gated ones are open to the token "good"."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    history: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)

    @property
    def commit(self) -> str:
        content = [(name, hashlib.sha1(x).hexdigest()) for name, x in sorted(self.files.items())]
        digest = hashlib.sha1(json.dumps(content).encode()).hexdigest()
        self.history.setdefault(digest, dict(self.files))
        return digest

    def resolve(self, revision: str) -> str | None:
        newest = self.commit
        return newest if revision == "main" else revision if revision in self.history else None


@dataclasses.dataclass
class Hub:
    """The repositories by name, and the requests so far: "GET ORG/NAME/resolve/..."."""

    repositories: dict[str, Repository] = dataclasses.field(default_factory=dict)
    requests: list[str] = dataclasses.field(default_factory=list)
    broken: bool = False

    def downloads(self) -> list[str]:
        """The names of the files that were requested whole."""
        found = (re.fullmatch(r"GET /[^/]+/[^/]+/resolve/[^/]+/(.+)", request) for request in self.requests)
        return sorted(match[1] for match in found if match)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, content: object = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.broken:
            return self.answer(503)
        access, info, tree, file = (pattern.match(path) for pattern in (ACCESS, INFO, TREE, FILE))
        match = access or info or tree or file
        repository = self.hub.repositories.get(match[1]) if match else None
        if match is None or repository is None or repository.private:
            return self.answer(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        if (access or file) and repository.gated and self.headers["Authorization"] != "Bearer good":
            return self.answer(401, X_Error_Code="GatedRepo", X_Error_Message="Access to model is restricted")
        if access:
            return self.answer(200, {})
        commit = repository.resolve(match[2] or "main")
        if commit is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = repository.history[commit]
        if info:
            siblings = [{"rfilename": name} for name in files]
            return self.answer(200, {"id": match[1], "sha": commit, "siblings": siblings, "gated": repository.gated})
        oids = {name: hashlib.sha1(x).hexdigest() for name, x in files.items()}
        if tree:
            entries = [{"type": "file", "path": n, "size": len(x), "oid": oids[n]} for n, x in files.items()]
            return self.answer(200, entries)
        name = match[3]
        if name not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        return self.answer(200, files[name], X_Repo_Commit=commit, ETag=f'"{oids[name]}"')

    do_HEAD = do_GET


@contextlib.contextmanager
def serve() -> Iterator[tuple[str, Hub]]:
    """Yields the address and the content of a hub in a thread of this process."""
    hub = Hub()
    with loopback.serving(Handler, hub=hub) as address:
        yield address, hub
