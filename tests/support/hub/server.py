"""The test hub's HTTP: routes as the real Hub has them, tokens, and faults that a test orders."""

import base64
import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from hub.store import Store

# What each token may do: the owner writes in its own namespace and in the organisation's.
USERS: Final = {
    "hf_owner": {"name": "owner", "orgs": ["org"], "role": "write"},
    "hf_reader": {"name": "reader", "orgs": [], "role": "read"},
}
_LFS: Final = (".onnx", ".safetensors", ".npz", ".png")
_PAGE: Final = 7  # so that every list of a bundle's files has several pages


@dataclass
class Fault:
    """What goes wrong with requests "METHOD /path" that `pattern` finds, `times` times (None: always).

    `status`, `body` and `headers` are an answer instead of the right one. Else the right answer is spoilt: `cut`
    closes the connection after so many bytes of the body, `hold` sends so many and then says nothing more until the
    hub closes, `shorter` leaves out so many from the end and announces the rest alone, `altered` changes one byte.
    """

    pattern: str
    status: int | None = None
    body: bytes = b'{"error":"ordered"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    hold: int | None = None
    shorter: int = 0
    altered: bool = False
    times: int | None = None
    reached: threading.Event = field(default_factory=threading.Event)


class Hub:
    """A running hub at `url`.

    `requests` lists what was asked, as "METHOD /path"; beside it are `tokens` and `ranges`, the Range headers.
    """

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.ranges: list[str] = []
        self.ignores_ranges = False
        self.closing = threading.Event()
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Go down; a second time changes nothing."""
        if self.closing.is_set():
            return
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self._server.connections:  # those that a client keeps for its next request
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def order(self, pattern: str, **fault: Any) -> Fault:
        """Order a fault."""
        self.faults.append(Fault(pattern, **fault))
        return self.faults[-1]

    def asked(self, pattern: str = "") -> list[str]:
        """The requests that `pattern` finds."""
        return [request for request in self.requests if re.search(pattern, request)]

    def add(self, repo: str, folder: Path) -> str:
        """Put a folder into a model's repository, as one commit that somebody made: the commit."""
        if not self.store.exists("models", repo):
            self.store.create("models", repo, private=False)
        entries = {path.name: self.store.put(path.read_bytes()) for path in folder.iterdir()}
        return self.store.commit("models", repo, "main", "added", entries)

    def set(self, repo: str, **settings: Any) -> None:
        """Change a model's settings: private, gated, branches, tags."""
        self.store.save("models", repo, self.store.read("models", repo) | settings)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connections: list[socket.socket] = []

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed or stopped listening is no fault of the server."""


class _Refused(Exception):
    """An answer that is an error: status, X-Error-Code and X-Error-Message."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    body = b""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: requests are in the hub's list."""

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {self.path}"
        with self.hub.lock:
            self.hub.requests.append(request)
            self.hub.tokens.append(self._token())
            self.hub.ranges.append(self.headers.get("Range") or "")
            self.fault = self._next_fault(request)
        try:
            if self.fault and self.fault.status:
                self._send(self.fault.status, self.fault.body, self.fault.headers)
            else:
                with self.hub.lock:  # one commit at a time, as the real one
                    answer = self._route()
                self._send(*answer)
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self._send(refused.status, json.dumps({"error": refused.message}).encode(), headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the base class's names

    def _next_fault(self, request: str) -> Fault | None:
        for fault in self.hub.faults:
            if re.search(fault.pattern, request) and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                return fault
        return None

    def _send(self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        fault = self.fault or Fault("")
        content = content[: len(content) - fault.shorter]
        if fault.altered:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        stop = fault.cut if fault.hold is None else fault.hold
        self.wfile.write(content if stop is None else content[:stop])
        fault.reached.set()
        if fault.hold is not None:
            self.hub.closing.wait()
        if stop is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _user(self) -> dict[str, Any] | None:
        token = self._token()
        if token is None:
            return None
        if token not in USERS:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        return USERS[token]

    def _member(self, repo: str) -> bool:
        user = self._user()
        return user is not None and repo.split("/")[0] in (user["name"], *user["orgs"])

    def _may_write(self, repo: str) -> None:
        user = self._user()
        if user is None:
            raise _Refused(401, message="Invalid username or password.")
        if not self._member(repo) or user["role"] != "write":
            raise _Refused(403, message=f"{user['name']} may not write to {repo}")

    def _route(self) -> tuple[Any, ...]:
        path = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(path.query).items()}
        for method, pattern, name in _ROUTES:
            if method == self.command.replace("HEAD", "GET") and (match := re.fullmatch(pattern, path.path)):
                found = {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
                action: Callable[..., tuple[Any, ...]] = getattr(self, name)
                return action(**found)
        raise _Refused(404, message=f"there is no {self.command} {path.path}")

    def _json(self, document: Any, headers: Mapping[str, str] | None = None) -> tuple[Any, ...]:
        return 200, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})}

    def _page(self, entries: list[Any]) -> tuple[Any, ...]:
        start = int(self.query.get("cursor", 0))
        address, more = self.path.split("?")[0], "&".join(f"{k}={v}" for k, v in self.query.items() if k != "cursor")
        link = f'<{self.hub.url}{address}?cursor={start + _PAGE}&{more}>; rel="next"'
        return self._json(entries[start : start + _PAGE], {"Link": link if start + _PAGE < len(entries) else ""})

    def _seen(self, kind: str, repo: str) -> dict[str, Any]:
        """A repository that the asking user may see."""
        if self.hub.store.exists(kind, repo):
            document = self.hub.store.read(kind, repo)
            if not document["private"] or self._member(repo):
                self._user()
                return document
        self._user()
        raise _Refused(401 if self._token() is None else 404, "RepoNotFound", "Repository not found")

    def _commit_of(self, kind: str, repo: str, rev: str) -> str:
        self._seen(kind, repo)
        commit = self.hub.store.revision(kind, repo, rev)
        if commit is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {rev}")
        return commit

    def whoami(self) -> tuple[Any, ...]:
        user = self._user()
        if user is None:
            raise _Refused(401, message="Invalid username or password.")
        orgs = [{"name": name, "roleInOrg": "write"} for name in user["orgs"]]
        token = {"accessToken": {"displayName": "test", "role": user["role"]}}
        return self._json({"type": "user", "name": user["name"], "fullname": user["name"], "orgs": orgs, "auth": token})

    def harnesses(self) -> tuple[Any, ...]:
        return self._json({"standardEnvVars": [], "harnesses": {}})

    def validate_yaml(self) -> tuple[Any, ...]:
        """The card's metadata as the Hub reads them: YAML between two lines of dashes."""
        found = re.match(r"---\n(.*?)\n---\n", json.loads(self.body)["content"], re.DOTALL)
        warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
        try:
            loaded = yaml.safe_load(found[1]) if found else {}
        except yaml.YAMLError as error:
            loaded = str(error)
        errors = [] if isinstance(loaded, dict) else [{"message": f"invalid yaml: {loaded}"}]
        return (400 if errors else 200), json.dumps({"errors": errors, "warnings": warnings}).encode()

    def create(self) -> tuple[Any, ...]:
        asked = json.loads(self.body)
        user = self._user()
        repo = f"{asked.get('organization') or (user or {}).get('name')}/{asked['name']}"
        kind = f"{asked.get('type') or 'model'}s"
        self._may_write(repo)
        answer = {"url": f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{repo}", "name": repo, "id": repo}
        if self.hub.store.exists(kind, repo):
            return 409, json.dumps({**answer, "error": "You already created this repo"}).encode()
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.store.create(kind, repo, private=private)
        return self._json(answer)

    def settings(self, kind: str, repo: str) -> tuple[Any, ...]:
        self._may_write(repo)
        asked = json.loads(self.body)
        if "visibility" in asked:
            asked["private"] = asked.pop("visibility") == "private"
        self.hub.store.save(kind, repo, self._seen(kind, repo) | asked)
        return self._json({})

    def search(self, kind: str) -> tuple[Any, ...]:
        author, words = self.query.get("author", ""), self.query.get("search", "")
        found = []
        for repo in self.hub.store.repositories(kind):
            if repo.startswith(author) and words in repo:
                try:
                    found.append(self._describe(kind, repo, self._commit_of(kind, repo, "main")))
                except _Refused:
                    continue
        return self._page(found)

    def info(self, kind: str, repo: str, rev: str = "main") -> tuple[Any, ...]:
        return self._json(self._describe(kind, repo, self._commit_of(kind, repo, rev)))

    def _describe(self, kind: str, repo: str, commit: str) -> dict[str, Any]:
        document = self.hub.store.read(kind, repo)
        files = self.hub.store.files(kind, repo, commit)
        date = "2026-01-01T00:00:00.000Z"
        return {
            "id": repo,
            "author": repo.split("/")[0],
            "sha": commit,
            "tags": [],
            "createdAt": date,
            "private": document["private"],
            "gated": document["gated"],
            "lastModified": date,
            "siblings": [{"rfilename": path, "blobId": e["oid"], "size": e["size"]} for path, e in files.items()],
        }

    def tree(self, kind: str, repo: str, rev: str) -> tuple[Any, ...]:
        files = self.hub.store.files(kind, repo, self._commit_of(kind, repo, rev))
        return self._page([_entry(path, entry) for path, entry in sorted(files.items())])

    def paths_info(self, kind: str, repo: str, rev: str) -> tuple[Any, ...]:
        files = self.hub.store.files(kind, repo, self._commit_of(kind, repo, rev))
        asked = parse_qs(self.body.decode()).get("paths", [])
        return self._json([_entry(path, files[path]) for path in asked if path in files])

    def refs(self, kind: str, repo: str) -> tuple[Any, ...]:
        document = self._seen(kind, repo)
        branches, tags = (
            [{"name": n, "ref": f"refs/{p}/{n}", "targetCommit": c} for n, c in document[key].items()]
            for key, p in (("branches", "heads"), ("tags", "tags"))
        )
        branches = [branch for branch in branches if not branch["name"].startswith("refs/")]
        return self._json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    def discussions(self, kind: str, repo: str) -> tuple[Any, ...]:
        """The pull requests, all of them open, on pages of one."""
        names = [name for name in self._seen(kind, repo)["branches"] if name.startswith("refs/pr/")]
        start = int(self.query["p"])
        pulls = [
            {
                "num": int(name.removeprefix("refs/pr/")),
                "title": self.hub.store.history(kind, repo, self._commit_of(kind, repo, name))[0]["title"],
                "status": "open",
                "isPullRequest": True,
                "createdAt": "2026-01-01T00:00:00.000Z",
                "repo": {"name": repo, "type": kind[:-1]},
            }
            for name in names[start : start + 1]
        ]
        return self._json({"discussions": pulls, "count": len(names), "start": start})

    def commits(self, kind: str, repo: str, rev: str) -> tuple[Any, ...]:
        history = self.hub.store.history(kind, repo, self._commit_of(kind, repo, rev))
        facts = {"authors": [], "date": "2026-01-01T00:00:00.000Z", "message": ""}
        return self._page([{"id": commit["oid"], "title": commit["title"], **facts} for commit in history])

    def tag(self, kind: str, repo: str, rev: str) -> tuple[Any, ...]:
        self._may_write(repo)
        document, commit = self._seen(kind, repo), self._commit_of(kind, repo, rev)
        name = json.loads(self.body)["tag"]
        if name in document["tags"]:
            raise _Refused(409, message=f"Tag {name} already exists")
        document["tags"][name] = commit
        self.hub.store.save(kind, repo, document)
        return self._json({})

    def untag(self, kind: str, repo: str, rev: str) -> tuple[Any, ...]:
        self._may_write(repo)
        document = self._seen(kind, repo)
        if document["tags"].pop(rev, None) is None:
            raise _Refused(404, "RevisionNotFound", f"there is no tag {rev}")
        self.hub.store.save(kind, repo, document)
        return self._json({})

    def preupload(self, kind: str, repo: str, rev: str) -> tuple[Any, ...]:
        files = self.hub.store.files(kind, repo, self._commit_of(kind, repo, rev))
        answers = []
        for asked in json.loads(self.body)["files"]:
            base64.b64decode(asked["sample"], validate=True)
            mode = "lfs" if asked["path"].endswith(_LFS) or asked["size"] > 10 << 20 else "regular"
            known = {"oid": files[asked["path"]]["oid"]} if asked["path"] in files else {}
            answers.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, **known})
        return self._json({"files": answers})

    def batch(self, repo: str, kind: str = "models") -> tuple[Any, ...]:
        self._may_write(repo)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.hub.url}/upload/{asked['oid']}"}  # a signed address of its own in real life
            verify = {"href": f"{self.hub.url}/verify/{repo}"}
            actions = {} if self.hub.store.has(asked["oid"]) else {"actions": {"upload": upload, "verify": verify}}
            objects.append({**asked, **actions})
        return self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> tuple[Any, ...]:
        if self._token() is not None or not self.hub.store.put_lfs(oid, self.body):
            raise _Refused(400, message="a token where none belongs, or another content")
        return 200, b""

    def verify(self, repo: str) -> tuple[Any, ...]:
        self._may_write(repo)
        if not self.hub.store.has(json.loads(self.body)["oid"]):
            raise _Refused(404, message="there is no such object")
        return self._json({})

    def commit(self, kind: str, repo: str, rev: str) -> tuple[Any, ...]:
        """One commit: all of it or, where an object was not uploaded or the parent is not the newest, nothing."""
        new_pull = "create_pr" in self.query
        if not new_pull:
            self._may_write(repo)
        elif self._user() is None:
            raise _Refused(401, message="Invalid username or password.")
        head = self._commit_of(kind, repo, rev)
        header: dict[str, Any] = {}
        adds: dict[str, Any] = {}
        deletes: list[str] = []
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                header = value
            elif item["key"] == "file":
                adds[value["path"]] = self.hub.store.put(base64.b64decode(value["content"], validate=True))
            elif item["key"] == "lfsFile":
                if not self.hub.store.has(value["oid"]):
                    raise _Refused(400, message=f"{value['path']} was not uploaded")
                adds[value["path"]] = {"oid": value["oid"], "size": value["size"], "lfs": True}
            else:
                deletes.append(value["path"].rstrip("/"))
        if header.get("parentCommit", head) != head:
            raise _Refused(412, message="A commit has happened since. Please refresh and try again.")
        pulls = [name for name in self.hub.store.read(kind, repo)["branches"] if name.startswith("refs/pr/")]
        branch = f"refs/pr/{len(pulls) + 1}" if new_pull else rev
        oid = self.hub.store.commit(kind, repo, branch, header["summary"], adds, tuple(deletes), base=head)
        place = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{repo}"
        pull = {"pullRequestUrl": f"{place}/discussions/{len(pulls) + 1}"} if new_pull else {}
        return self._json({"success": True, "commitOid": oid, "commitUrl": f"{place}/commit/{oid}", **pull})

    def resolve(self, repo: str, rev: str, file: str, kind: str = "models") -> tuple[Any, ...]:
        if self._seen(kind, repo)["gated"] and not self._member(repo):
            raise _Refused(403, "GatedRepo", f"Access to model {repo} is restricted")
        commit = self._commit_of(kind, repo, rev)
        files = self.hub.store.files(kind, repo, commit)
        if file not in files:
            raise _Refused(404, "EntryNotFound", "Entry not found")
        content = self.hub.store.content(files[file])
        headers = {"X-Repo-Commit": commit, "ETag": f'"{files[file]["oid"]}"', "Accept-Ranges": "bytes"}
        if files[file]["lfs"]:
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None or self.hub.ignores_ranges:
            return 200, content, headers
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first >= len(content):
            return 416, b"", headers | {"Content-Range": f"bytes */{len(content)}"}
        return 206, content[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"}


def _entry(path: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    lfs = {"lfs": {"oid": entry["oid"], "size": entry["size"], "pointerSize": 130}} if entry["lfs"] else {}
    return {"type": "file", "path": path, "oid": entry["oid"][:40], "size": entry["size"], **lfs}


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_KIND = r"(?P<kind>models|datasets|spaces)"
_API = rf"/api/{_KIND}/{_REPO}"
_ROUTES: Final = (
    ("GET", r"/api/whoami-v2", "whoami"),
    ("GET", r"/api/agent-harnesses", "harnesses"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("POST", r"/api/repos/create", "create"),
    ("GET", rf"/api/{_KIND}", "search"),
    ("PUT", rf"{_API}/settings", "settings"),
    ("GET", rf"{_API}(/revision/(?P<rev>[^/]+))?", "info"),
    ("GET", rf"{_API}/tree/(?P<rev>[^/]+)", "tree"),
    ("POST", rf"{_API}/paths-info/(?P<rev>[^/]+)", "paths_info"),
    ("GET", rf"{_API}/refs", "refs"),
    ("GET", rf"{_API}/discussions", "discussions"),
    ("GET", rf"{_API}/commits/(?P<rev>[^/]+)", "commits"),
    ("POST", rf"{_API}/tag/(?P<rev>[^/]+)", "tag"),
    ("DELETE", rf"{_API}/tag/(?P<rev>[^/]+)", "untag"),
    ("POST", rf"{_API}/preupload/(?P<rev>[^/]+)", "preupload"),
    ("POST", rf"{_API}/commit/(?P<rev>[^/]+)", "commit"),
    ("POST", rf"/((?P<kind>datasets|spaces)/)?{_REPO}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/upload/(?P<oid>[0-9a-f]{64})", "upload"),
    ("POST", rf"/verify/{_REPO}", "verify"),
    ("GET", rf"/((?P<kind>datasets|spaces)/)?{_REPO}/resolve/(?P<rev>[^/]+)/(?P<file>.+)", "resolve"),
)
