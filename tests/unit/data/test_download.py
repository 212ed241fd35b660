"""Fetching over a bad line: a server on the loopback address that drops connections, lies, or has changed its file."""

import hashlib
import io
import re
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from cxr_ldm.assets import CONF
from cxr_ldm.data.download import download, fetch, unpack
from cxr_ldm.errors import UserError


def archive(members: dict[str, bytes], link: tuple[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            file.addfile(member)
    return buffer.getvalue()


PICTURES = {f"{n}.png": np.random.default_rng(n).bytes(40_000) for n in range(8)}
CONTENT = archive(PICTURES)


class Server(ThreadingHTTPServer):
    """Serves `content`; `drop` is after how many bytes each connection ends, `ranges` whether it knows ranges."""

    content, drop, ranges, etag, status = CONTENT, None, True, '"one"', None

    def handle_error(self, request, address):
        pass  # the client hanging up is part of the tests


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if server.status:
            self.send_error(server.status)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        same = self.headers.get("If-Range") in (None, server.etag)
        start = int(asked[1]) if asked and server.ranges and same else 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        self.wfile.write(body[: server.drop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server(("127.0.0.1", 0), Handler)
    server.asked = []
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(server) -> str:
    return f"http://127.0.0.1:{server.server_port}/NLMCXR_png.tgz"


def get(server, path, retries=2, **known):
    fetch(url(server), path, known.get("size"), known.get("sha256"), retries, pause=0.0)


@pytest.mark.parametrize("drop", [None, 50_000, 100_000])
def test_a_dropping_server_gives_the_whole_file_by_ranges(server, tmp_path, drop):
    server.drop = drop
    path = tmp_path / "a.tgz"
    get(server, path, size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tgz"]
    steps = -(-len(CONTENT) // drop) if drop else 1
    assert server.asked == [None, *(f"bytes={drop * n}-" for n in range(1, steps))]


def test_a_second_command_goes_on_where_the_first_gave_up(server, tmp_path):
    server.drop = 100_000
    with pytest.raises(UserError, match="goes on from where it stopped"):
        fetch(url(server), tmp_path / "a.tgz", None, None, -1, 0.0)  # no second attempt at all
    assert not (tmp_path / "a.tgz").exists()
    server.drop, server.asked = None, []
    get(server, tmp_path / "a.tgz")
    assert (tmp_path / "a.tgz").read_bytes() == CONTENT
    assert server.asked == ["bytes=100000-"]


@pytest.mark.parametrize("change", [{"etag": '"two"'}, {"ranges": False}])
def test_a_changed_file_or_a_server_without_ranges_is_begun_anew(server, tmp_path, change):
    server.drop = 100_000
    with pytest.raises(UserError):
        fetch(url(server), tmp_path / "a.tgz", None, None, -1, 0.0)
    server.drop, server.content = None, CONTENT[::-1]
    for name, value in change.items():
        setattr(server, name, value)
    get(server, tmp_path / "a.tgz")
    assert (tmp_path / "a.tgz").read_bytes() == CONTENT[::-1]


def test_a_whole_file_that_was_not_yet_checked_is_finished_without_a_byte(server, tmp_path):
    server.drop = 100_000
    with pytest.raises(UserError):
        fetch(url(server), tmp_path / "a.tgz", None, None, -1, 0.0)
    (tmp_path / ".a.tgz.part").write_bytes(CONTENT)
    get(server, tmp_path / "a.tgz")
    assert (tmp_path / "a.tgz").read_bytes() == CONTENT


def test_a_server_that_brings_nothing_is_given_up(server, tmp_path):
    server.status = 503
    with pytest.raises(UserError, match=r"could not be fetched \(the server answered 503\)"):
        get(server, tmp_path / "a.tgz", retries=2)
    assert len(server.asked) == 3
    server.status = 404
    with pytest.raises(UserError, match="the server answered 404"):
        get(server, tmp_path / "a.tgz")
    server.server_close()
    with pytest.raises(UserError, match=r"could not be fetched \(Connect"):
        fetch("http://127.0.0.1:9/a.tgz", tmp_path / "a.tgz", None, None, 0, 0.0)


def test_a_wrong_size_or_hash_is_refused_and_leaves_nothing(server, tmp_path):
    with pytest.raises(UserError, match=r"has \d+ bytes and not 7"):
        get(server, tmp_path / "a.tgz", size=7)
    with pytest.raises(UserError, match="and not 00ff; the file was removed"):
        get(server, tmp_path / "a.tgz", sha256="00ff")
    assert not list(tmp_path.glob("*.tgz"))
    assert not list(tmp_path.glob("*.part"))


def test_what_was_fetched_is_unpacked_and_left_alone_the_second_time(server, tmp_path, capsys):
    archives = {"png": {"url": url(server), "folder": "NLMCXR_png"}}
    for _ in range(2):
        download(tmp_path / "root", archives, ["png"], retries=1, pause=0.0)
    folder = tmp_path / "root" / "NLMCXR_png"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == PICTURES
    assert len(server.asked) == 1
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(UserError, match="must be one or more of png"):
        download(tmp_path, archives, ["ct"], retries=1, pause=0.0)


def test_a_top_folder_of_the_right_name_is_not_doubled(tmp_path):
    (tmp_path / "a.tgz").write_bytes(archive({"ecgen-radiology/1.xml": b"<x/>"}))
    unpack(tmp_path / "a.tgz", tmp_path / "ecgen-radiology")
    assert (tmp_path / "ecgen-radiology" / "1.xml").read_bytes() == b"<x/>"


@pytest.mark.parametrize(
    "content",
    [
        archive({"../escaped.png": b"x"}),
        archive({"/tmp/escaped.png": b"x", "a/../../escaped.png": b"x"}),
        archive({}, link=("link", "/etc/passwd")),
        archive({}, link=("link", "../../escaped")),
    ],
)
def test_no_path_leaves_the_target(tmp_path, content):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.tgz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"leads out of its folder .* it is not unpacked"):
        unpack(path, tmp_path / "in" / "out")
    assert [entry.name for entry in (tmp_path / "in").iterdir()] == ["a.tgz"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("content", [CONTENT[:-20_000], b"no archive", b""])
def test_a_damaged_archive_is_refused_and_leaves_nothing(tmp_path, content):
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        unpack(tmp_path / "a.tgz", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tgz"]


def test_the_config_names_the_published_archives():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("download", ["root=x"])
    assert set(cfg.parts) <= set(cfg.archives)
    assert {archive.folder for archive in cfg.archives.values()} == {"ecgen-radiology", "NLMCXR_png", "NLMCXR_dcm"}
