"""Fetching real data, from a small hub on this machine."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from sgblend_utils.data.source import describe, fetch, read_table, verify
from sgblend_utils.errors import UserError
from sgblend_utils.tasks import registry

SOURCES = {task.source.name: task.source for task in registry().values()}


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=40)
    return sink.getvalue()


def translation(start: int, rows: int) -> bytes:
    pairs = [{"de": f"Satz {n} äöü", "en": f"Line {n}"} for n in range(start, start + rows)]
    return parquet(pa.table({"translation": pairs}))


def lines(start: int, rows: int) -> bytes:
    pairs = ({"en": f"Line {n}", "de": f"Satz {n}"} for n in range(start, start + rows))
    return "".join(json.dumps(pair) + "\n" for pair in pairs).encode()


def card(config: str, splits: tuple[str, ...], features: str = "") -> bytes:
    paths = [f"  - split: {split}\n    path: {config}/{split}-*\n" for split in splits]
    info = f"dataset_info:\n- config_name: {config}\n  features:\n{features}" if features else ""
    files = f"configs:\n- config_name: {config}\n  data_files:\n{''.join(paths)}"
    return f"---\n{info}{files}---\n# A data set\n".encode()


IMAGES = [b"RIFF image %d" % n for n in range(5)]
IMAGE_TABLE = pa.table(
    {"img": [{"bytes": image, "path": "x.png"} for image in IMAGES], "label": list(range(5))}
)
LABEL = "  - name: label\n    dtype:\n      class_label:\n        names:\n"
LABEL += "".join(f"          '{n}': class{n}\n" for n in range(5))
REPOSITORIES = {
    "wmt/wmt14": {
        "README.md": card("de-en", ("train", "validation", "test")),
        "de-en/train-00000-of-00002.parquet": translation(0, 130),
        "de-en/train-00001-of-00002.parquet": translation(130, 120),
        "de-en/validation-00000-of-00001.parquet": translation(1000, 30),
        "de-en/test-00000-of-00001.parquet": translation(2000, 20),
    },
    "bentrevett/multi30k": {
        "README.md": b"# Multi30k\n",
        "train.jsonl": lines(0, 90),
        "val.jsonl": lines(100, 10),
        "test.jsonl": lines(200, 10),
    },
    "stanfordnlp/imdb": {
        "README.md": card("plain_text", ("train", "test", "unsupervised")),
        **{
            f"plain_text/{split}-00000-of-00001.parquet": parquet(
                pa.table({"text": [f"{split} good", f"{split} bad"], "label": [1, label]})
            )
            for split, label in (("train", 0), ("test", 0), ("unsupervised", -1))
        },
    },
    "uoft-cs/cifar10": {
        "README.md": card(
            "plain_text", ("train", "test"), f"  - name: img\n    dtype: image\n{LABEL}"
        ),
        "plain_text/train-00000-of-00001.parquet": parquet(IMAGE_TABLE),
        "plain_text/test-00000-of-00001.parquet": parquet(IMAGE_TABLE.slice(0, 2)),
    },
}
HEAD = "c" * 40  # what `main` stands for


class Hub(ThreadingHTTPServer):
    """The few routes of the hub that are used.

    `broken` names files that it does not give; `down`, it hangs up whatever it is asked.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.broken, self.down = set[str](), False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.server.down:
            self.close_connection = True
            return None
        path = unquote(self.path.split("?")[0])
        found = re.fullmatch(
            r"(?:/api)?/datasets/(\w[\w-]*/\w+)/(revision|tree|resolve)/(\w+)/?(.*)", path
        )
        if found is None or found[1] not in REPOSITORIES:
            return self.reply(404, X_Error_Code="RepoNotFound")
        repo, what, revision, name = found.groups()
        if revision != "main" and not re.fullmatch("[0-9a-f]{40}", revision):
            return self.reply(404, X_Error_Code="RevisionNotFound")
        commit, files = HEAD if revision == "main" else revision, REPOSITORIES[repo]
        if what == "revision":
            siblings = [{"rfilename": file} for file in files]
            about = {"id": repo, "sha": commit, "siblings": siblings, "tags": [], "private": False}
            return self.reply(200, json.dumps(about).encode(), Content_Type="application/json")
        if what == "tree":
            under = [file for file in files if file.startswith(name)]
            rest = {file: file.removeprefix(name).lstrip("/") for file in under}
            entries = [
                {"type": "file", "path": file, "size": len(files[file]), "oid": "e" * 40}
                for file in under
                if "/" not in rest[file]
            ]
            folders = {file.split("/")[0] for file in under if not name and "/" in file}
            entries += [{"type": "directory", "path": at, "oid": "d" * 40} for at in folders]
            return self.reply(200, json.dumps(entries).encode(), Content_Type="application/json")
        if name not in files or name in self.server.broken:
            return self.reply(404, X_Error_Code="EntryNotFound")
        body, tag = files[name], f'"{hashlib.sha1(files[name]).hexdigest()}"'
        headers = {"ETag": tag, "X_Repo_Commit": commit, "Accept_Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            headers["Content_Range"] = f"bytes {first}-{last}/{len(body)}"
            return self.reply(206, body[first : last + 1], **headers)
        return self.reply(200, body, **headers)

    do_HEAD = do_GET


# Fetches in one process of its own, as the hub's libraries read HF_ENDPOINT when imported.
DRIVER = """
import json, os, sys
from sgblend_utils.data.source import fetch
from sgblend_utils.errors import UserError
from sgblend_utils.tasks import registry
sources = {task.source.name: task.source for task in registry().values()}
for line in sys.stdin:
    job = json.loads(line)
    os.environ["SGBLEND_DATA"] = job.pop("root")
    try:
        said = fetch(sources[job.pop("name")], **job)
    except UserError as error:
        said = str(error)
    print(json.dumps(said), flush=True)
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The hub, and a function that has its driver do a job."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        environment = {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path_factory.mktemp("hf")),
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        environment.pop("HF_HUB_OFFLINE", None)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, "-c", DRIVER], env=environment, **pipes) as driver:

            def do(**job):
                print(json.dumps(job), file=driver.stdin, flush=True)
                return json.loads(driver.stdout.readline())

            yield server, do
            driver.stdin.close()
        server.shutdown()


@pytest.fixture
def server(hub):
    hub[0].broken, hub[0].down = set(), False
    return hub[0]


@pytest.fixture
def run(hub, server, monkeypatch):
    """Fetch into a folder, which `SGBLEND_DATA` names from then on: rows by split, or why not."""

    def run(name, root, **options):
        monkeypatch.setenv("SGBLEND_DATA", str(root))
        said = hub[1](name=name, root=str(root), **options)
        return said or [read_table(SOURCES[name], s).num_rows for s in SOURCES[name].splits]

    return run


def contents(folder):
    """Every file below a folder, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def manifest(root, name):
    return json.loads((root / name / "manifest.json").read_text())["files"]


@pytest.mark.slow
def test_a_broken_fetch_is_given_again_and_ends_in_the_same_files(run, server, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run("wmt14", whole, max_rows=0) == [250, 30, 20]
    expected = contents(whole)
    files = {"manifest.json", "train.parquet", "validation.parquet", "test.parquet", ".lock"}
    assert set(expected) == {f"wmt14/{name}" for name in files}
    train = read_table(SOURCES["wmt14"], "train")
    assert train.column_names == ["en", "de"]
    assert train["en"].to_pylist() == [f"Line {n}" for n in range(250)]
    assert train["de"].to_pylist() == [f"Satz {n} äöü" for n in range(250)]

    # A file of the hub is gone for a while: one sentence, and no half of a file.
    server.broken = {"de-en/train-00001-of-00002.parquet"}
    said = run("wmt14", parts, max_rows=200)
    assert "run the same command again" in said
    assert set(contents(parts)) == {"wmt14/.lock"}
    server.broken = set()
    assert run("wmt14", parts, max_rows=0) == [250, 30, 20]
    assert contents(parts) == expected

    # Once there, files are used as they are; without a hub too.
    server.down = True
    assert run("wmt14", parts) == [250, 30, 20]
    assert "move it away to fetch another number of rows" in run("wmt14", parts, max_rows=100)
    assert run("wmt14", parts, max_rows=0) == [250, 30, 20]
    assert contents(parts) == expected


def test_what_is_downloaded_is_not_downloaded_again(run, server, tmp_path):
    assert run("imdb", tmp_path / "one") == [2, 2]
    server.broken = {name for name in REPOSITORIES["stanfordnlp/imdb"] if "parquet" in name}
    assert run("imdb", tmp_path / "two") == [2, 2]
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_max_rows_cuts_the_training_split_alone(run, tmp_path):
    assert run("wmt14", tmp_path, max_rows=150) == [150, 30, 20]
    english = read_table(SOURCES["wmt14"], "train")["en"].to_pylist()
    assert english == [f"Line {n}" for n in range(150)]
    entry = manifest(tmp_path, "wmt14")
    assert entry["train.parquet"]["commit"] == SOURCES["wmt14"].revision
    assert (entry["train.parquet"]["max_rows"], entry["test.parquet"]["max_rows"]) == (150, 0)
    assert entry["train.parquet"]["rows"] == 150


def test_images_and_labels_have_their_columns_and_types(run, tmp_path):
    assert run("cifar10", tmp_path) == [5, 2]
    cifar10 = read_table(SOURCES["cifar10"], "train")
    assert cifar10.to_pydict() == {"img": IMAGES, "label": list(range(5))}
    assert [field.type for field in cifar10.schema] == [pa.binary(), pa.int8()]


def test_a_branch_is_held_to_one_commit_and_present_files_are_kept(run, tmp_path):
    own = tmp_path / "multi30k" / "validation.parquet"
    own.parent.mkdir()
    pq.write_table(pa.table({"en": ["A dog.", "A cat."], "de": ["Ein Hund.", "Eine Katze."]}), own)
    before = own.read_bytes()
    assert run("multi30k", tmp_path) == [90, 2, 10]
    assert own.read_bytes() == before
    commits = {name: entry["commit"] for name, entry in manifest(tmp_path, "multi30k").items()}
    assert commits == {"train.parquet": HEAD, "test.parquet": HEAD}
    verify(SOURCES["multi30k"], SOURCES["multi30k"].splits)
    assert describe([SOURCES["multi30k"]]).count("no digest") == 1


def test_failures_are_one_sentence_and_leave_nothing_behind(run, server, tmp_path):
    data = tmp_path / "data"
    assert "--revision" in run("multi30k", data, revision="no-such-branch")
    server.down = True
    assert "SGBLEND_DATA" in run("wmt14", data)
    assert not data.exists()
    server.down = False
    data.write_text("a file where the folder should be")
    assert "cannot be written" in run("imdb", data)
    with pytest.raises(UserError, match="positive"):
        fetch(SOURCES["imdb"], max_rows=-1)


def test_one_fetch_at_a_time(run, tmp_path):
    (tmp_path / "imdb").mkdir()
    with FileLock(tmp_path / "imdb" / ".lock"):
        assert "wait until it ends" in run("imdb", tmp_path)


def test_a_damaged_file_stops_a_fetch_and_stays(run, tmp_path):
    run("imdb", tmp_path)
    path = tmp_path / "imdb" / "train.parquet"
    before = path.read_bytes()[:-9]
    path.write_bytes(before)
    assert f"{path} is damaged" in run("imdb", tmp_path) and path.read_bytes() == before
    path.rename(tmp_path / "aside")
    assert run("imdb", tmp_path) == [2, 2]
    assert "no digest" not in describe([SOURCES["imdb"]])
