"""A bundle to a hub and back, over a local server of the same API."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cxr_ldm.assets import DEMO
from cxr_ldm.bundle import bundle_sha256
from cxr_ldm.errors import UserError
from cxr_ldm.hub import parted

COMMIT = "0" * 39 + "1"


class Hub(BaseHTTPRequestHandler):
    """As much of the API as huggingface_hub asks for: repositories in memory, every file regular and not LFS."""

    files: dict[str, dict[str, bytes]]
    private: dict[str, bool]

    def log_message(self, *words):
        """Silence."""

    def answer(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer hf_test":
            return self.answer(401, {"error": "who are you?"})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.files:
                return self.answer(409, {"error": "exists", "url": f"http://{self.headers['Host']}/{name}"})
            self.files[name] = {".gitattributes": b"*.safetensors filter=lfs"}
            self.private[name] = asked["private"]
            return self.answer(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name})
        if self.path.startswith("/api/validate-yaml"):
            return self.answer(200, {"errors": [], "warnings": []})
        name, what = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path).groups()
        if what == "preupload":
            given = json.loads(body)["files"]
            return self.answer(
                200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in given]}
            )
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.files[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self.answer(
            200, {"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
        )

    def do_GET(self):
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^?]+)?(\?.*)?", self.path):
            name = found[1]
            if name not in self.files:
                return self.answer(404, {"error": "no"}, X_Error_Code="RepoNotFound")
            siblings = [{"rfilename": file} for file in self.files[name]]
            return self.answer(
                200,
                {"id": name, "sha": COMMIT, "siblings": siblings, "private": self.private.get(name, False), "tags": []},
            )
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path):
            content = self.files[found[1]][found[2]]
            etag = hashlib.sha1(content).hexdigest()
            return self.answer(200, content, ETag=f'"{etag}"', X_Repo_Commit=COMMIT)
        return self.answer(404, {"error": self.path})

    do_HEAD = do_GET


@pytest.fixture(scope="module")
def running():
    handler = type("Own", (Hub,), {"files": {}, "private": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def handler(running):
    """A hub that holds nothing."""
    running[0].files.clear()
    running[0].private.clear()
    return running[0]


@pytest.fixture(scope="module")
def surroundings(running, tmp_path_factory):
    """Of commands that know this hub alone."""
    known = {"HF_ENDPOINT": running[1], "HF_HOME": str(tmp_path_factory.mktemp("hf")), "HF_HUB_DISABLE_XET": "1"}
    return known | {"HF_HUB_OFFLINE": "0", "HF_TOKEN_PATH": known["HF_HOME"] + "/token"}


@pytest.fixture
def call(surroundings, command):
    """A command that knows this hub alone, and whom it belongs to."""

    def run(*words, token="hf_test", code=0):
        Path(surroundings["HF_TOKEN_PATH"]).write_text(token)
        return command(*words, code=code, **surroundings)

    return run


def test_a_bundle_goes_to_the_hub_and_comes_back_the_same(handler, call, command, surroundings, tmp_path):
    send = ["-m", "cxr_ldm.export", "hub=lab/phantom", "bundle=phantom", f"paths.outputs={tmp_path}"]
    done = call(*send)
    assert "commit/0000" in done.stdout
    assert "What it draws is synthetic" in done.stdout, "the card, with its terms, before it goes"
    assert handler.private == {"lab/phantom": True}
    assert handler.files["lab/phantom"]["config.json"] == (DEMO / "config.json").read_bytes()
    cards = {name: content.decode() for name, content in handler.files["lab/phantom"].items() if "_card." in name}
    assert set(cards) == {f"{kind}_card.{end}" for kind in ("model", "data") for end in ("md", "html")}
    assert bundle_sha256(DEMO) in cards["model_card.md"], "they are of exactly these weights"
    draw = [
        "sample.py",
        "prompt=Nodule.",
        "n=1",
        "sampler.steps=1",
        f"paths.outputs={tmp_path}",
        "bundle=hf:lab/phantom",
    ]
    done = call(*draw, token="")
    assert "using hf:lab/phantom of the hub" in done.stdout
    facts = json.loads(next((tmp_path / "samples").glob("*/0000.json")).read_text())
    assert facts["bundle_sha256"] == bundle_sha256(DEMO)
    handler.files.clear()
    done = command(*draw, **surroundings | {"HF_HUB_OFFLINE": "1"})
    assert "complete already" in done.stdout, "from the cache"


def test_what_is_not_there_or_was_changed_is_refused_in_a_sentence(handler, call, tmp_path):
    draw = ["sample.py", "prompt=x", "n=1", f"paths.outputs={tmp_path}"]
    assert "no such repository" in call(*draw, "bundle=hf:lab/nowhere", code=2).stderr
    assert "names no repository" in call(*draw, "bundle=hf:lab", code=2).stderr
    handler.files["lab/bad"] = {path.name: path.read_bytes() for path in DEMO.iterdir()}
    handler.files["lab/bad"]["network.safetensors"] = b"changed"
    done = call(*draw, "bundle=hf:lab/bad", code=2)
    assert "does not have the hash" in done.stderr
    send = ["-m", "cxr_ldm.export", "hub=lab/new", "bundle=phantom", f"paths.outputs={tmp_path}"]
    assert "was refused" in call(*send, token="hf_wrong", code=2).stderr
    assert not handler.private
    done = call("-m", "cxr_ldm.export", "hub=lab/bad", "bundle=phantom", f"paths.outputs={tmp_path}", code=2)
    assert "is there already and public" in done.stderr


def test_names_of_repositories():
    assert parted("hf:lab/chest@v1") == ("lab/chest", "v1")
    for name in ("hf:", "hf:a/b/c", "hf:a b/c", "hf:../x/y"):
        with pytest.raises(UserError, match="names no repository"):
            parted(name)
