"""A local server that speaks the Hugging Face hub's API as far as pushing and pulling use it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.core.servers import running

TOKEN = "hf_good"
_LARGE = 1000  # bytes, from which a file goes to large file storage


class Hub:
    """Repositories, what was asked, and faults on demand.

    Attributes:
        repositories: "models/user/name" → path → contents.
        objects: large files by SHA-256.
        requests: "METHOD path" in order.
        faults: (pattern of "METHOD path", status, how often still): answered with that status; status 0 closes the connection.
        drop_after: bytes of a download after which the connection is closed, once.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.tags: dict[str, dict[str, list[str]]] = {}  # repository → tag → the files that it had then
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.faults: list[list[Any]] = []
        self.drop_after = 0
        self.url = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.hub.requests.append(f"{method} {path}")
        for fault in self.hub.faults:
            if fault[2] and re.search(fault[0], f"{method} {path}"):
                fault[2] -= 1
                if not fault[1]:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._json({"error": "as asked"}, fault[1])
                return
        self._route(method, path)

    def _route(self, method: str, path: str) -> None:
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if path.startswith("/storage/"):
            if method == "PUT":
                if hashlib.sha256(self.body).hexdigest() != path.rpartition("/")[2]:
                    return self._json({"error": "wrong contents"}, 400)
                self.hub.objects[path.rpartition("/")[2]] = self.body
            return self._json({})
        if method in ("POST", "PUT", "DELETE") and not known:
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/whoami-v2":
            return self._json({"name": "user", "type": "user", "auth": {}, "orgs": []})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(self.body)
            name = f"{asked.get('type', 'model')}s/{asked.get('organization') or 'user'}/{asked['name']}"
            if name in self.hub.repositories:
                return self._json({"url": f"{self.hub.url}/{name}", "error": "exists"}, 409)
            self.hub.repositories[name] = {}
            if asked.get("private") or asked.get("visibility") == "private":  # older and newer libraries
                self.hub.private.add(name)
            return self._json({"url": f"{self.hub.url}/{name.removeprefix('models/')}"})
        match = re.fullmatch(r"/api/((models|datasets)/[^/]+/[^/]+)(?:/(\w[\w-]*)/(.+?))?", path)
        if match:
            return self._api(match[1], match[3] or "", match[4] or "", known)
        match = re.fullmatch(
            r"/((?:datasets/)?[^/]+/[^/]+?)(?:\.git/info/lfs/objects/batch|/resolve/([^/]+)/(.+))", path
        )
        if match:
            name = match[1] if match[1].startswith("datasets/") else f"models/{match[1]}"
            return self._batch() if match[2] is None else self._file(name, match[3], known)
        return self._json({"error": "Not Found"}, 404)

    def _api(self, name: str, action: str, revision: str, known: bool) -> None:
        files = self.hub.repositories.get(name)
        if files is None or (name in self.hub.private and not known):
            return self._json({"error": "Repository not found"}, 404 if known else 401)
        if action == "preupload":
            asked = json.loads(self.body)["files"]
            modes = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["size"] >= _LARGE else "regular",
                    "shouldIgnore": False,
                }
                for each in asked
            ]
            return self._json({"files": modes})
        if action == "commit":
            for line in self.body.decode().splitlines():
                each = json.loads(line)
                value = each["value"]
                if each["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                if each["key"] == "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
                if each["key"] == "deletedFile":
                    del files[value["path"]]
            return self._json(
                {"success": True, "commitOid": "1" * 40, "commitUrl": f"{self.hub.url}/{name}/commit/{'1' * 40}"}
            )
        if action == "tree":
            return self._tree(files)
        if action == "tag":
            return self._tag(self.hub.tags.setdefault(name, {}), revision, files)
        return self._json(
            {"id": name.partition("/")[2], "sha": "1" * 40, "private": name in self.hub.private, "siblings": []}
        )

    def _tag(self, tags: dict[str, list[str]], name: str, files: dict[str, bytes]) -> None:
        if self.command == "DELETE":
            there = tags.pop(name, None) is not None
            return self._json({} if there else {"error": "Tag not found"}, 200 if there else 404)
        asked = json.loads(self.body)["tag"]
        if asked in tags:  # a tag stays where it is
            return self._json({"error": "Tag reference exists already"}, 409)
        tags[asked] = sorted(files)
        return self._json({})

    def _tree(self, files: dict[str, bytes]) -> None:
        rows: list[dict[str, Any]] = [{"type": "directory", "path": "folder", "oid": "0" * 40, "size": 0}]
        for path, data in sorted(files.items()):
            digest = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            row: dict[str, Any] = {"type": "file", "path": path, "oid": digest, "size": len(data)}
            if len(data) >= _LARGE:
                row["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            rows.append(row)
        page = int((urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("page") or ["0"])[0])
        following = f"{self.hub.url}{urllib.parse.urlsplit(self.path).path}?recursive=true&page={page + 1}"
        more = len(rows) > (page + 1) * 3
        self._json(rows[page * 3 : page * 3 + 3], headers={"Link": f'<{following}>; rel="next"'} if more else {})

    def _batch(self) -> None:
        found = []
        for each in json.loads(self.body)["objects"]:
            actions = {"upload": {"href": f"{self.hub.url}/storage/{each['oid']}", "header": {}}}
            new = each["oid"] not in self.hub.objects
            found.append({"oid": each["oid"], "size": each["size"], **({"actions": actions} if new else {})})
        self._json({"transfer": "basic", "objects": found})

    def _file(self, name: str, path: str, known: bool) -> None:
        files = self.hub.repositories.get(name)
        if files is None or (name in self.hub.private and not known):
            return self._json({"error": "Repository not found"}, 404 if known else 401)
        if path not in files:
            return self._json({"error": "Entry not found"}, 404)
        data, start = files[path], 0
        self.hub.ranges.append(self.headers.get("Range") or "")
        if (self.headers.get("Range") or "").startswith("bytes="):
            start = int(self.headers["Range"][6:].split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", "1" * 40)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if self.hub.drop_after and len(data) - start > self.hub.drop_after:
            self.wfile.write(data[start : start + self.hub.drop_after])
            self.hub.drop_after = 0
            self.close_connection = True
            return None
        self.wfile.write(data[start:])
        return None

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 401 or (status == 404 and isinstance(value, dict) and "Repository" in str(value.get("error"))):
            self.send_header("X-Error-Code", "RepoNotFound")
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Run it on a free local port; `.url` has no trailing slash."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with running(handler) as hub.url:
        yield hub
