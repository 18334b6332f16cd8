"""The real data: reading and checking files, and fetching them from a small hub on this machine."""

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

from sgblend_utils.datasets import data_root, fetch, hub
from sgblend_utils.errors import UserError

# Reading ------------------------------------------------------------------------------------------

PAIRS = {"en": ["A dog.", "A cat."], "de": ["Ein Hund.", "Eine Katze."]}


def write(root: Path, task: str, split: str, columns: dict) -> Path:
    path = root / task / f"{split}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def write_manifest(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = {"files": {path.name: {"sha256": digest}}}
    path.with_name("manifest.json").write_text(json.dumps(manifest), "utf-8")


def test_data_root_is_the_variable_or_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("SGBLEND_DATA")
    assert data_root().parts[-2:] == ("data", "cache")


def test_a_table_is_read_with_or_without_a_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path))
    path = write(tmp_path, "multi30k", "test", PAIRS)
    assert hub.load_table("multi30k", "test").to_pydict() == PAIRS
    write_manifest(path)
    assert hub.load_table("multi30k", "test", ["de"]).to_pydict() == {"de": PAIRS["de"]}
    assert hub.load_pairs("multi30k", "test") == list(zip(*PAIRS.values(), strict=True))
    assert hub.file_digest("multi30k", "test") == hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_cased_wmt14_rows_are_trained_on(tmp_path):
    sources = ["europarl-v7/raw", "europarl-v7/lowercased", "newstest2012", "commoncrawl"]
    sources += ["newstest2011/lowercased", "multi30k"]
    texts = [f"text {number}" for number in range(6)]
    write(tmp_path, "wmt14", "train", {"en": texts, "de": texts, "source": sources})
    write(tmp_path, "wmt14", "test", {"en": texts, "de": texts, "source": ["newstest2014"] * 6})
    assert [en for en, _ in hub.load_pairs("wmt14", "train", tmp_path)] == ["text 0", "text 3"]
    assert len(hub.load_pairs("wmt14", "test", tmp_path)) == 6
    assert hub.load_table("wmt14", "train", root=tmp_path).num_rows == 6
    write(tmp_path, "wmt14", "train", {"en": texts, "de": texts})
    assert len(hub.load_pairs("wmt14", "train", tmp_path)) == 6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda root: hub.load_table("wmt15", "train", root=root),
            "wmt14, multi30k, imdb, cifar10",
        ),
        (lambda root: hub.load_table("imdb", "validation", root=root), "train, test"),
        (lambda root: hub.load_table("wmt14", "train", root=root), "sgblend data fetch wmt14"),
        (lambda root: hub.load_pairs("imdb", "train", root=root), "wmt14 or multi30k"),
        (lambda root: fetch.fetch("wmt15", root=root), "wmt14, multi30k, imdb, cifar10"),
        (lambda root: fetch.fetch("wmt14", root=root, max_rows=-1), "positive"),
    ],
)
def test_bad_requests_say_what_to_do(tmp_path, call, words):
    with pytest.raises(UserError, match=re.escape(words)):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_column_is_named(tmp_path):
    write(tmp_path, "multi30k", "test", {"en": ["A dog."], "fr": ["Un chien."]})
    with pytest.raises(UserError, match="no column 'de'; it has en, fr"):
        hub.load_table("multi30k", "test", root=tmp_path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[10] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("written_down", ["manifest", "readme", "nowhere"])
@pytest.mark.parametrize("damage", [flip, truncate])
def test_a_damaged_file_is_named_and_kept(tmp_path, damage, written_down):
    path = write(tmp_path, "multi30k", "test", PAIRS)
    if written_down == "manifest":
        write_manifest(path)
    elif written_down == "readme":
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        row = f"| `multi30k/test.parquet` | 2 | en, de | 999 | `{digest}` |\n"
        (tmp_path / "README.md").write_text(f"# Data\n\n{row}", "utf-8")
    hub.load_table("multi30k", "test", root=tmp_path)
    damage(path)
    before = path.read_bytes()
    if written_down == "nowhere" and damage is flip:
        return  # without a digest only what cannot be read can be noticed
    for reader in (hub.load_table, hub.verify_file):
        with pytest.raises(UserError, match="damaged") as caught:
            reader("multi30k", "test", root=tmp_path)
        message = str(caught.value)
        assert str(path) in message and "sgblend data fetch multi30k" in message
    assert path.read_bytes() == before


def test_a_damaged_manifest_is_named(tmp_path):
    path = write(tmp_path, "multi30k", "test", PAIRS)
    path.with_name("manifest.json").write_text('{"files": {"test.parquet": ', "utf-8")
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        hub.load_table("multi30k", "test", root=tmp_path)


def test_describe_and_verify_tell_what_is_there(tmp_path):
    for split in ("train", "validation", "test"):
        write(tmp_path, "multi30k", split, PAIRS)
    text = hub.describe(tmp_path)
    assert re.search(r"multi30k/train +2 rows .*no digest", text)
    assert re.search(r"wmt14/train +missing: run `sgblend data fetch wmt14`", text)
    assert hub.verify("multi30k", tmp_path).count("2 rows") == 3
    truncate(tmp_path / "multi30k" / "train.parquet")
    assert re.search(r"multi30k/train +damaged", hub.describe(tmp_path))


# Fetching -----------------------------------------------------------------------------------------


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
    """The few routes of the hub that streaming uses; `broken` names files that it will not give."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.broken: set[str] = set()


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


@pytest.fixture
def server():
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


DRIVER = """
import json, sys
from sgblend_utils.datasets import fetch
from sgblend_utils.errors import UserError
options = json.loads(sys.argv[1])
interrupt_after = options.pop("interrupt_after", None)
if interrupt_after:
    updates = []
    def update(self, rows):
        updates.append(rows)
        if len(updates) == interrupt_after:
            raise KeyboardInterrupt
    fetch.tqdm.update = update
try:
    print(json.dumps([state.rows for state in fetch.fetch(**options)]))
except UserError as error:
    sys.exit(f"UserError: {error}")
"""


@pytest.fixture
def run(server, tmp_path):
    """Fetch in a process of its own: the hub's libraries read HF_ENDPOINT when imported."""

    def run(task: str, root: Path, endpoint: str | None = None, **options):
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint or f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "hf"),
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        environment.pop("HF_HUB_OFFLINE", None)
        job = json.dumps({"task": task, "root": str(root), **options})
        return subprocess.run(
            [sys.executable, "-c", DRIVER, job], env=environment, capture_output=True, text=True
        )

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_an_interrupted_fetch_goes_on_and_ends_in_the_same_files(
    run, server, tmp_path, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert json.loads(run("wmt14", whole, max_rows=0, shard_rows=40).stdout) == [250, 30, 20]
    expected = contents(whole)
    assert set(expected) == {
        f"wmt14/{n}"
        for n in ("manifest.json", "train.parquet", "validation.parquet", "test.parquet")
    }
    train = hub.load_table("wmt14", "train", root=whole)
    assert train.column_names == ["en", "de"]
    assert train["en"].to_pylist() == [f"Line {n}" for n in range(250)]
    assert train["de"].to_pylist() == [f"Satz {n} äöü" for n in range(250)]

    interrupted = run("wmt14", parts, max_rows=0, shard_rows=40, interrupt_after=4)
    assert interrupted.returncode and "KeyboardInterrupt" in interrupted.stderr
    assert not list(parts.glob("wmt14/*.parquet"))
    note = parts / "wmt14" / ".partial" / "train" / "progress.json"
    assert json.loads(note.read_text())["rows"] == 160
    # The second source file is gone for a while: one sentence, and what was fetched is kept.
    server.broken = {"de-en/train-00001-of-00002.parquet"}
    broken = run("wmt14", parts, max_rows=0, shard_rows=40)
    assert "UserError" in broken.stderr and "run the same command again" in broken.stderr
    assert json.loads(note.read_text())["rows"] == 160
    server.broken = set()
    # It stopped in the second file, so the rows of the first one are not taken again.
    first = "de-en/train-00000-of-00002.parquet"
    monkeypatch.setitem(REPOSITORIES["wmt/wmt14"], first, translation(5000, 130))
    assert json.loads(run("wmt14", parts, max_rows=0, shard_rows=40).stdout) == [250, 30, 20]
    assert contents(parts) == expected

    # Once there, files are used as they are; without a hub too.
    again = run("wmt14", parts, endpoint="http://127.0.0.1:9")
    assert json.loads(again.stdout) == [250, 30, 20]
    more = run("wmt14", parts, max_rows=100)
    assert "move it away to fetch another number of rows" in more.stderr
    assert contents(parts) == expected


def test_max_rows_cuts_the_training_split_alone(run, tmp_path):
    assert json.loads(run("wmt14", tmp_path, max_rows=100, shard_rows=40).stdout) == [100, 30, 20]
    english = hub.load_table("wmt14", "train", root=tmp_path)["en"].to_pylist()
    assert english == [f"Line {n}" for n in range(100)]
    entry = json.loads((tmp_path / "wmt14" / "manifest.json").read_text())["files"]
    assert entry["train.parquet"]["commit"] == fetch.SOURCES["wmt14"].revision
    assert (entry["train.parquet"]["max_rows"], entry["test.parquet"]["max_rows"]) == (100, 0)


def test_other_tasks_have_their_columns_and_types(run, tmp_path):
    assert json.loads(run("imdb", tmp_path).stdout) == [2, 2]
    imdb = hub.load_table("imdb", "train", root=tmp_path)
    assert imdb.to_pydict() == {"text": ["train good", "train bad"], "label": [1, 0]}
    assert json.loads(run("cifar10", tmp_path).stdout) == [5, 2]
    cifar10 = hub.load_table("cifar10", "train", root=tmp_path)
    assert cifar10.to_pydict() == {"img": IMAGES, "label": list(range(5))}
    assert (cifar10.schema.field("img").type, cifar10.schema.field("label").type) == (
        pa.binary(),
        pa.int8(),
    )


def test_a_branch_is_held_to_one_commit_and_present_files_are_kept(run, tmp_path):
    own = write(tmp_path, "multi30k", "validation", PAIRS)
    before = own.read_bytes()
    assert json.loads(run("multi30k", tmp_path).stdout) == [90, 2, 10]
    assert own.read_bytes() == before
    files = json.loads((tmp_path / "multi30k" / "manifest.json").read_text())["files"]
    assert {name: entry["commit"] for name, entry in files.items()} == {
        "train.parquet": HEAD,
        "test.parquet": HEAD,
    }
    assert "90 rows, digest correct" in hub.verify("multi30k", tmp_path)


def test_failures_are_one_sentence_and_leave_nothing_behind(run, tmp_path):
    data = tmp_path / "data"
    offline = run("wmt14", data, endpoint="http://127.0.0.1:9")
    unknown = run("multi30k", data, revision="no-such-branch")
    for done, words in [(offline, "SGBLEND_DATA"), (unknown, "--revision")]:
        assert done.returncode and done.stderr.startswith("UserError: ")
        assert words in done.stderr and len(done.stderr.splitlines()) == 1
    assert not data.exists()
    data.write_text("a file where the folder should be")
    blocked = run("imdb", data)
    assert "cannot be written" in blocked.stderr and len(blocked.stderr.splitlines()) == 1


def test_a_damaged_file_stops_a_fetch_and_stays(run, tmp_path):
    run("imdb", tmp_path)
    path = tmp_path / "imdb" / "train.parquet"
    flip(path)
    before = path.read_bytes()
    done = run("imdb", tmp_path)
    assert f"{path} is damaged" in done.stderr and path.read_bytes() == before
    path.rename(tmp_path / "aside")
    assert json.loads(run("imdb", tmp_path).stdout) == [2, 2]
    assert "digest correct" in hub.verify("imdb", tmp_path)
