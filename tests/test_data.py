"""The data room, without a network: tiny archives play MNIST, a local server plays its mirror."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image

from normtutorial import data as room
from normtutorial.data import DataError, ImageData, cache_dir, locate, mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
SHAPES = {
    IMAGES: (6, 28, 28),
    LABELS: (6,),
    "t10k-images-idx3-ubyte": (4, 28, 28),
    "t10k-labels-idx1-ubyte": (4,),
}


def idx(shape, magic=None, payload=None):
    size = torch.Size(shape).numel()
    payload = bytes(i % 10 for i in range(size)) if payload is None else payload
    header = struct.pack(f">{1 + len(shape)}I", magic or 0x0800 + len(shape), *shape)
    return header + payload


ARCHIVES = {name: gzip.compress(idx(shape), mtime=0) for name, shape in SHAPES.items()}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Tiny archives are the right ones, the cache is empty, and there is no network."""
    table = {
        name: (shape, *(hashlib.md5(c).hexdigest() for c in (ARCHIVES[name], idx(shape))))
        for name, shape in SHAPES.items()
    }
    monkeypatch.setattr(room, "_FILES", table)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NORMTUTORIAL_PROGRESS", "0")
    for name in "NORMTUTORIAL_DATA", "NORMTUTORIAL_SOURCE":
        monkeypatch.delenv(name, raising=False)

    def no_network(url, timeout):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)


@pytest.fixture
def few(monkeypatch):
    """Ten synthetic digits in place of 70 000, from glyphs that need no fonts."""
    glyphs = torch.linspace(-3, 3, 84).expand(10, 2, 84, 84)
    draw = room._draw
    monkeypatch.setattr(room, "_glyphs", lambda: glyphs)
    fewer = {60_000: 6, 10_000: 4}
    monkeypatch.setattr(room, "_draw", lambda g, count, seed: draw(g, fewer[count], seed))


def fill(root, **changed):
    """The four archives under ``root``; a changed one is bytes, or None to leave it out."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, archive in (ARCHIVES | changed).items():
        if archive is not None:
            (raw / f"{name}.gz").write_bytes(archive)
    return raw


def in_process(call, cache, *mirrors):
    """Start a Python process that knows the tiny archives, and these mirrors only.

    ``call`` is an expression; what it returns is printed, or the sentence that it fails with. The
    process gives up the rights of root, who may open any file, after it has read its own modules.
    """
    code = (
        "import encodings.idna, os, sys, tqdm; from normtutorial import data; "
        "data._FILES, data.MIRRORS, data.TIMEOUT = eval(sys.argv[1]); "
        "hasattr(os, 'geteuid') and os.geteuid() == 0 and os.setuid(65534)\n"
        "print('begun', flush=True)\n"
        f"try: print({call})\n"
        "except data.DataError as error: sys.exit(str(error))"
    )
    settings = repr((room._FILES, mirrors, 20))
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "no_proxy": "*"}
    run = subprocess.Popen(
        [sys.executable, "-c", code, settings],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout.readline() == "begun\n"
    return run


@pytest.fixture
def open_folder():
    """A folder that everybody may enter and write to; pytest's own are for one user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        for path in folder.rglob("*"):
            path.chmod(0o777)  # else it could not be removed


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# What comes back


def test_images_and_labels_have_the_promised_form(tmp_path):
    fill(tmp_path)
    data = mnist(root=tmp_path, device="cpu")
    assert data.source == "mnist"
    assert data.train_images.shape == (6, 1, 28, 28) and data.test_images.shape == (4, 1, 28, 28)
    assert data.train_images.dtype == torch.float32 and data.train_labels.dtype == torch.int64
    assert data.train_labels.tolist() == [0, 1, 2, 3, 4, 5]
    expected = torch.arange(28) % 10 / 255
    for images in data.train_images, data.test_images:
        torch.testing.assert_close(images[0, 0, 0], expected, rtol=0, atol=0)


def test_the_device_is_cuda_only_where_there_is_cuda(tmp_path, monkeypatch):
    fill(tmp_path)
    there = "cuda" if torch.cuda.is_available() else "cpu"
    assert mnist(root=tmp_path).train_images.device.type == there
    assert mnist(root=tmp_path, device="cpu").to("meta").test_labels.device.type == "meta"


def test_without_a_device_the_cpu_stands_in_for_a_missing_cuda(tmp_path, monkeypatch):
    fill(tmp_path)
    asked, to = [], torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda x, device: asked.append(device) or to(x, "cpu"))
    for there, expected in (True, "cuda"), (False, "cpu"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        asked.clear()
        mnist(root=tmp_path)
        assert asked == [expected] * 4
    asked.clear()
    mnist(root=tmp_path, device="meta")
    assert asked == ["meta"] * 4


FIELDS = "train_images", "train_labels", "test_images", "test_labels"


def test_all_four_parts_go_to_a_device_and_into_a_subset(tmp_path):
    fill(tmp_path)
    data = mnist(root=tmp_path, device="cpu")
    moved = data.to("meta")
    assert {getattr(moved, field).device.type for field in FIELDS} == {"meta"}
    few = data.subset(1, 2)
    for field in FIELDS:
        n = 1 if field.startswith("train") else 2
        assert torch.equal(getattr(few, field), getattr(data, field)[:n])
    assert len(data.subset(6, 4).train_images) == 6 and len(data.subset(1, 1).test_images) == 1


def test_two_sets_of_images_are_told_apart_without_a_look_at_them(tmp_path):
    fill(tmp_path)
    one, other = mnist(root=tmp_path, device="cpu"), mnist(root=tmp_path, device="cpu")
    assert one == one and one != other and len({one, other}) == 2


def test_a_subset_takes_the_first_rows_and_keeps_the_test_split(tmp_path):
    fill(tmp_path)
    data = mnist(root=tmp_path, device="cpu")
    few = data.subset(2)
    assert few.train_labels.tolist() == [0, 1] and len(few.test_images) == 4
    assert len(data.subset(2, 3).test_labels) == 3
    assert repr(few).startswith("ImageData(mnist: 2 training and 4 test images")


@pytest.mark.parametrize("train, test", [(0, 1), (7, 1), (1, 5), (-1, None)])
def test_a_subset_larger_than_the_data_is_refused(tmp_path, train, test):
    fill(tmp_path)
    with pytest.raises(ValueError, match="subset expects (train|test) between 1 and"):
        mnist(root=tmp_path).subset(train, test)


# Where it looks


def test_the_files_are_found_by_root_by_variable_and_in_the_cache(tmp_path, monkeypatch):
    fill(tmp_path / "root")
    fill(cache_dir())
    assert locate(tmp_path / "root") == tmp_path / "root" / "MNIST" / "raw"
    assert locate() == cache_dir() / "MNIST" / "raw"
    monkeypatch.setenv("NORMTUTORIAL_DATA", str(tmp_path / "root"))
    assert locate() == tmp_path / "root" / "MNIST" / "raw"
    assert mnist("mnist").source == "mnist"


def test_unpacked_files_will_do(tmp_path):
    raw = fill(tmp_path, **dict.fromkeys(ARCHIVES))
    for name, shape in SHAPES.items():
        (raw / name).write_bytes(idx(shape))
    assert mnist("mnist", root=tmp_path).source == "mnist"


def test_reading_writes_nothing(tmp_path):
    fill(tmp_path / "root")
    before = tree(tmp_path)
    mnist(root=tmp_path / "root")
    assert tree(tmp_path) == before


def test_locate_looks_into_the_files(tmp_path):
    raw = fill(tmp_path)
    assert locate(tmp_path) == raw
    fill(tmp_path, **{LABELS: b"oops"})
    with pytest.raises(DataError, match="not a gzip archive"):
        locate(tmp_path)


def test_a_file_that_vanishes_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"{LABELS}\.gz: it cannot be read \(No such file"):
        room._read(tmp_path, LABELS)


def test_a_root_without_files_is_passed_over_by_locate(tmp_path):
    assert locate(tmp_path) is None
    raw = fill(cache_dir())
    assert locate(tmp_path) == raw


def test_the_cache_is_in_the_folder_that_the_system_has_for_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "normtutorial"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_dir() == tmp_path / ".cache" / "normtutorial"


def test_no_files_anywhere_is_not_a_fault_of_locate():
    assert locate() is None


def test_a_root_without_files_fails_for_mnist_and_is_passed_over_by_auto(tmp_path):
    fill(cache_dir())
    with pytest.raises(DataError, match=r"expects four archives in .*raw; missing: train-images"):
        mnist("mnist", root=tmp_path / "typo")
    assert mnist("auto", root=tmp_path / "typo").source == "mnist"


@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_one_missing_archive_of_four_is_named(tmp_path, source):
    fill(tmp_path, **{LABELS: None})
    with pytest.raises(DataError, match=r"missing: train-labels-idx1-ubyte\.gz\. Copy"):
        mnist(source, root=tmp_path)


def test_an_unknown_source_lists_the_known_ones(monkeypatch):
    with pytest.raises(ValueError, match="one of auto, mnist, synthetic; got 'fashion'"):
        mnist("fashion")
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "fashion")
    with pytest.raises(ValueError, match="got 'fashion'"):
        mnist()


# What can be wrong with a file


FAULTS = {
    "truncated": (IMAGES, ARCHIVES[IMAGES][:-9], "it is truncated, at"),
    "empty": (IMAGES, b"", "it is truncated: its header"),
    "a web page": (LABELS, b"<!DOCTYPE html>", "not a gzip archive; it begins with b'<!DOCTYPE"),
    "damaged": (IMAGES, ARCHIVES[IMAGES][:-8] + bytes(8), "it is damaged"),
    "a header alone": (LABELS, gzip.compress(idx((6,), payload=b"")), "is truncated: 0 bytes"),
    "altered": (
        LABELS,
        gzip.compress(idx((6,), payload=bytes(6))),
        "it has been altered: its MD5 is",
    ),
    "magic": (LABELS, gzip.compress(idx((6,), magic=0x0D01)), "magic number is 0x0d01, not 0x0801"),
    "swapped": (LABELS, ARCHIVES[IMAGES], "magic number is 0x0803, not 0x0801"),
    "count": (LABELS, gzip.compress(idx((5,))), r"announces 5 items, shape \(5,\), not \(6,\)"),
    "short": (LABELS, gzip.compress(idx((6,), payload=bytes(4))), "is truncated: 4 bytes"),
    "long": (LABELS, gzip.compress(idx((6,), payload=bytes(9))), "is too long: 9 bytes"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_a_bad_file_is_named_explained_and_left_alone(tmp_path, source, fault):
    name, content, message = FAULTS[fault]
    raw = fill(tmp_path, **{name: content})
    with pytest.raises(DataError, match=rf"{name}\.gz: .*{message}.*put the original there"):
        mnist(source, root=tmp_path)
    assert (raw / f"{name}.gz").read_bytes() == content


def test_a_bad_file_in_the_cache_is_not_passed_over_either():
    fill(cache_dir(), **{IMAGES: b"oops"})
    with pytest.raises(DataError, match="not a gzip archive"):
        mnist()


def test_a_truncated_unpacked_file_is_named(tmp_path):
    raw = fill(tmp_path, **{IMAGES: None})
    (raw / IMAGES).write_bytes(idx(SHAPES[IMAGES])[:-1])
    url = f"{room.MIRRORS[0]}{IMAGES}.gz"
    with pytest.raises(DataError, match=rf"{IMAGES}: it is truncated: 4703 bytes .*\({url}\)"):
        mnist(root=tmp_path)
    (raw / IMAGES).rename(raw / f"{IMAGES}.gz")
    with pytest.raises(DataError, match=rf"{IMAGES}\.gz: it is not a gzip archive.*\({url}\)"):
        mnist(root=tmp_path)


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    raw = fill(tmp_path, **{IMAGES: None})
    (raw / f"{IMAGES}.gz").mkdir()
    with pytest.raises(DataError, match=rf"{IMAGES}\.gz: it cannot be read \(Is a directory\)"):
        mnist(root=tmp_path)


@pytest.mark.parametrize("method", ["stat", "read_bytes"])
def test_a_file_that_must_not_be_read_is_named(tmp_path, monkeypatch, method):
    raw = fill(tmp_path)

    def forbidden(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(raw), method, forbidden)
    with pytest.raises(DataError, match=r"idx3-ubyte\.gz: it cannot be read \(Permission denied\)"):
        mnist(root=tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize("closed", ["train-images-idx3-ubyte.gz", "."])
def test_wrong_permissions_end_in_a_sentence(open_folder, closed):
    raw = fill(open_folder)
    (raw / closed).chmod(0)
    run = in_process(f"data.mnist(root={str(open_folder)!r})", open_folder, *room.MIRRORS)
    out, sentence = run.communicate(timeout=30)
    assert run.returncode == 1 and out == ""
    assert sentence.startswith(f"mnist cannot use {raw / IMAGES}.gz: it cannot be read (Permission")


# The download


@contextlib.contextmanager
def only_mirror(handler, monkeypatch):
    """A local server, which the download knows as its only mirror."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    monkeypatch.setattr(urllib.request, "urlopen", opener.open)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(room, "MIRRORS", (f"http://127.0.0.1:{server.server_port}/",))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that the only mirror offers."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, archive in ARCHIVES.items():
        (folder / f"{name}.gz").write_bytes(archive)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with only_mirror(functools.partial(Quiet, directory=folder), monkeypatch):
        yield folder


def test_a_download_fills_the_cache_once(mirror, capsys):
    assert mnist("mnist").source == "mnist"
    raw = cache_dir() / "MNIST" / "raw"
    assert tree(raw) == {f"{name}.gz" for name in ARCHIVES}
    for path in mirror.iterdir():
        path.unlink()
    assert mnist("mnist").source == "mnist"
    assert capsys.readouterr() == ("", "")


def test_a_download_fetches_only_what_is_missing(mirror):
    fill(cache_dir(), **{LABELS: None})
    for name in ARCHIVES.keys() - {LABELS}:
        (mirror / f"{name}.gz").unlink()
    assert mnist("mnist").source == "mnist"


def test_an_archive_comes_in_pieces_and_a_bar_counts_their_bytes(mirror, monkeypatch):
    noise = torch.randint(256, (200_000,), dtype=torch.uint8).numpy().tobytes()
    archive = gzip.compress(idx((200_000,), payload=noise))
    (mirror / f"{LABELS}.gz").write_bytes(archive)
    entry = ((200_000,), hashlib.md5(archive).hexdigest(), "")
    monkeypatch.setattr(room, "_FILES", {LABELS: entry})
    bars = []

    class Bar:
        def __init__(self, **options):
            bars.append(self)
            self.options, self.n = options, 0

        def update(self, n):
            self.n += n

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.closed = True

    monkeypatch.setattr("tqdm.tqdm", Bar)
    for progress, disable in ("0", True), ("1", None):  # None: tqdm looks for a terminal
        monkeypatch.setenv("NORMTUTORIAL_PROGRESS", progress)
        assert room._fetch(LABELS) == archive
        bar = bars.pop()
        assert bar.options == {"desc": LABELS, "unit": "B", "disable": disable}
        assert bar.n == bar.total == len(archive) and bar.unit_scale is True and bar.closed


def test_a_file_grows_hidden_beside_its_place(tmp_path, monkeypatch):
    asked, make = [], tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", lambda **o: asked.append(o) or make(**o))
    with room._replacing(tmp_path / "new" / "file") as file:
        file.write(b"content")
    assert asked == [{"prefix": ".file.", "dir": tmp_path / "new"}]
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def test_two_downloads_at_once_do_not_disturb_each_other(mirror):
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(mnist, ["mnist", "mnist"]))
    assert [data.source for data in results] == ["mnist", "mnist"]
    assert tree(cache_dir() / "MNIST" / "raw") == {f"{name}.gz" for name in ARCHIVES}


def test_a_download_with_the_wrong_checksum_never_becomes_a_file(mirror):
    (mirror / f"{LABELS}.gz").write_bytes(b"<html>please log in</html>")
    with pytest.raises(DataError, match=r"could not download .*gave 26 bytes with the wrong MD5"):
        mnist("mnist")
    assert tree(cache_dir() / "MNIST" / "raw") == {f"{IMAGES}.gz"}


def test_an_interrupted_download_leaves_nothing_behind(mirror, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mnist("mnist")
    assert tree(cache_dir() / "MNIST" / "raw") == set()


def test_the_second_mirror_serves_when_the_first_does_not(mirror, monkeypatch):
    monkeypatch.setattr(room, "MIRRORS", ("http://127.0.0.1:1/", *room.MIRRORS))
    assert mnist("mnist").source == "mnist"


def test_a_mirror_that_does_not_answer_is_given_up(monkeypatch):
    asked, done = [], threading.Event()

    def silent(url, timeout):
        asked.append(url)
        assert threading.current_thread().daemon  # the program may end before it
        done.wait(10)
        raise OSError

    monkeypatch.setattr(room, "TIMEOUT", 0.05)
    monkeypatch.setattr(urllib.request, "urlopen", silent)
    with pytest.raises(DataError, match=r"no answer in 0\.05 seconds"):
        mnist("mnist")
    done.set()
    assert len(asked) == len(room.MIRRORS)


class Hangs(http.server.BaseHTTPRequestHandler):
    """A proxy that sends half of what it promises, and then nothing more."""

    def do_GET(self):
        archive = ARCHIVES[self.path.strip("/").removesuffix(".gz")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(archive)))
        self.end_headers()
        self.wfile.write(archive[: len(archive) // 2])
        self.wfile.flush()
        self.server.released.wait(20)

    def log_message(self, *_):
        pass


@pytest.fixture
def hanging(monkeypatch):
    """The server, which lets go once ``released`` is set."""
    monkeypatch.setattr(room, "TIMEOUT", 0.3)
    with only_mirror(Hangs, monkeypatch) as server:
        server.released = threading.Event()
        yield server
        server.released.set()


def test_a_transfer_that_stands_still_is_given_up_within_seconds(hanging):
    started = time.perf_counter()
    with pytest.raises(DataError, match="timed out"):
        mnist("mnist")
    assert time.perf_counter() - started < 5
    assert tree(cache_dir() / "MNIST" / "raw") == set()


def test_a_transfer_that_ends_early_is_no_file(hanging):
    hanging.released.set()  # it hangs up at once
    with pytest.raises(DataError, match=r"gave \d+ bytes with the wrong MD5"):
        mnist("mnist")
    assert tree(cache_dir() / "MNIST" / "raw") == set()


def test_a_process_killed_halfway_through_a_download_leaves_no_archive(hanging, open_folder):
    url = f"http://127.0.0.1:{hanging.server_port}/"
    run = in_process("data.mnist('mnist')", open_folder, url)
    time.sleep(0.5)
    run.kill()
    run.communicate(timeout=10)
    assert run.returncode != 0
    assert not [path for path in open_folder.rglob("*.gz") if path.is_file()]


class WaitsForTwo(http.server.BaseHTTPRequestHandler):
    """A mirror that sends the second half of a file when somebody else has the first half, too."""

    def do_GET(self):
        archive = ARCHIVES[self.path.strip("/").removesuffix(".gz")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(archive)))
        self.end_headers()
        self.wfile.write(archive[: len(archive) // 2])
        self.wfile.flush()
        self.server.both.wait()
        self.wfile.write(archive[len(archive) // 2 :])

    def log_message(self, *_):
        pass


def test_two_processes_at_once_do_not_disturb_each_other(open_folder, monkeypatch):
    with only_mirror(WaitsForTwo, monkeypatch) as server:
        server.both = threading.Barrier(2, timeout=20)
        url = f"http://127.0.0.1:{server.server_port}/"
        runs = [in_process("data.mnist('mnist').source", open_folder, url) for _ in range(2)]
        ends = [run.communicate(timeout=30) for run in runs]
    assert ends == [("mnist\n", "")] * 2
    assert not server.both.broken
    raw = open_folder / "normtutorial" / "MNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == {
        f"{name}.gz": archive for name, archive in ARCHIVES.items()
    }


def test_a_full_disk_ends_in_a_sentence_or_in_synthetic_digits(mirror, few, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left on device.*NORMTUTORIAL_DATA"):
        mnist("mnist")
    assert mnist().source == "synthetic"
    assert "could not be downloaded" in capsys.readouterr().out
    assert not [path for path in cache_dir().rglob("*") if path.is_file()]


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_cache_that_must_not_be_written_ends_in_a_sentence(mirror, open_folder):
    open_folder.chmod(0o555)
    run = in_process("data.mnist('mnist')", open_folder, *room.MIRRORS)
    _, sentence = run.communicate(timeout=30)
    assert run.returncode == 1
    assert sentence.startswith("mnist found no files and could not download them: ")
    assert "Permission denied" in sentence and sentence.count("\n") == 1


def test_every_byte_of_an_archive_counts(tmp_path):
    raw = fill(tmp_path)
    path = raw / f"{LABELS}.gz"
    for position in range(len(ARCHIVES[LABELS])):
        altered = bytearray(ARCHIVES[LABELS])
        altered[position] ^= 0x10
        path.write_bytes(altered)
        with pytest.raises(DataError):
            mnist(root=tmp_path)
    path.write_bytes(ARCHIVES[LABELS])
    assert mnist(root=tmp_path).source == "mnist"


def test_archives_that_changed_places_are_found_out(tmp_path):
    fill(tmp_path, **{IMAGES: ARCHIVES["t10k-images-idx3-ubyte"]})
    with pytest.raises(DataError, match="announces 4 items"):
        mnist(root=tmp_path)


def test_mnist_alone_without_a_network_says_what_to_do():
    with pytest.raises(DataError, match=r"Name or service not known.*NORMTUTORIAL_DATA"):
        mnist("mnist")


# Synthetic digits


def test_synthetic_digits_stand_in_with_one_line_that_says_why(few, capsys):
    data = mnist()
    assert data.source == "synthetic" and data.train_images.shape == (6, 1, 28, 28)
    line = "Synthetic digits stand in for MNIST, which could not be downloaded.\n"
    assert capsys.readouterr() == (line, "")


def test_synthetic_digits_can_be_asked_for_even_beside_a_damaged_file(few, capsys, tmp_path):
    fill(tmp_path, **{LABELS: b"oops"})
    assert mnist("synthetic", root=tmp_path).source == "synthetic"
    assert capsys.readouterr().out == "Synthetic digits stand in for MNIST, as asked for.\n"


def test_the_variable_replaces_auto_only(few, monkeypatch, tmp_path):
    fill(tmp_path)
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "synthetic")
    assert mnist(root=tmp_path).source == "synthetic"
    assert mnist("mnist", root=tmp_path).source == "mnist"


def test_synthetic_digits_are_cached_and_a_damaged_cache_is_made_again(few, monkeypatch):
    first = mnist("synthetic").train_images
    (cached,) = cache_dir().iterdir()
    assert cached.name == "synthetic-digits-1"
    whole = cached.read_bytes()
    altered = bytes([*whole[:20], whole[20] ^ 1, *whole[21:]])
    for damaged in (b"", whole[:-100], whole + b"1", altered, bytes(len(whole)), b"<html></html>"):
        cached.write_bytes(damaged)
        assert torch.equal(mnist("synthetic").train_images, first)
        assert tree(cache_dir()) == {cached.name} and cached.read_bytes() == whole

    monkeypatch.setattr(room, "_glyphs", lambda: pytest.fail("made again"))
    assert torch.equal(mnist("synthetic").train_images, first)


def test_the_two_splits_come_from_seeds_of_their_own(few, monkeypatch):
    asked, draw = [], room._draw
    monkeypatch.setattr(
        room, "_draw", lambda g, count, seed: asked.append((count, seed)) or draw(g, count, seed)
    )
    mnist("synthetic")
    assert asked == [(60_000, 0), (10_000, 1)]


def test_a_cache_that_cannot_be_written_costs_time_only(few, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert mnist("synthetic").source == "synthetic"


@pytest.fixture(scope="module")
def digits():
    glyphs = room._glyphs()
    before = torch.random.get_rng_state()
    drawn = room._draw(glyphs, 2000, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    again, other = room._draw(glyphs, 2000, seed=3), room._draw(glyphs, 2000, seed=4)
    assert torch.equal(drawn[0], again[0]) and not torch.equal(drawn[0], other[0])
    return drawn


def test_synthetic_digits_have_the_statistics_of_mnist(digits):
    images = digits[0] / 255
    assert abs(images.mean() - 0.131) < 0.015 and abs(images.std() - 0.308) < 0.02
    assert (images == 0).float().mean() > 0.75 and images.max() == 1
    assert images[:, [0, -1]].mean() < 0.005 and images[:, :, [0, -1]].mean() < 0.005
    assert images.amax((1, 2)).min() > 0.4  # no empty image


def test_synthetic_labels_are_balanced_and_shuffled(digits):
    labels = digits[1]
    assert labels.bincount().tolist() == [200] * 10
    assert labels[:100].bincount(minlength=10).min() > 0
    assert (labels[1:] < labels[:-1]).float().mean() > 0.3


def test_synthetic_digits_are_centered_by_mass(digits):
    images = digits[0].float()
    x = (images.sum(1) * torch.arange(28)).sum(1) / images.sum((1, 2))
    assert (x - 13.5).abs().mean() < 0.1 and (x - 13.5).abs().max() < 1


def test_synthetic_digits_of_a_class_resemble_each_other(digits):
    images, labels = digits[0].float().flatten(1), digits[1]
    half = len(labels) // 2
    means = torch.stack([images[:half][labels[:half] == d].mean(0) for d in range(10)])
    nearest = torch.cdist(images[half:], means).argmin(1)
    assert 0.6 < (nearest == labels[half:]).float().mean() < 0.95


def test_synthetic_digits_are_the_same_on_every_machine():
    """But for rounding: tests/synthetic_digits.png holds 60 of them."""
    images, labels = room._draw(room._glyphs(), 1040, seed=3)
    assert images.shape == (1040, 28, 28) and images.dtype == labels.dtype == torch.uint8
    assert labels[:10].tolist() == [6, 8, 1, 8, 4, 5, 6, 2, 5, 4]
    stored = Image.open(Path(__file__).parent / "synthetic_digits.png")
    cells = torch.frombuffer(bytearray(stored.tobytes()), dtype=torch.uint8).view(6, 28, 10, 28)
    expected = cells.permute(0, 2, 1, 3).reshape(60, 28, 28).int()
    difference = (torch.cat([images[:30], images[-30:]]).int() - expected).abs()
    assert difference.float().mean() < 0.1 and difference.max() < 20


def test_without_matplotlib_the_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(DataError, match="pip install matplotlib"):
        room._glyphs()


def test_the_room_loads_neither_torchvision_nor_matplotlib():
    code = (
        "import sys, normtutorial.data; "
        "print({'torchvision', 'matplotlib'} & {m.split('.')[0] for m in sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_image_data_is_frozen():
    data = ImageData(*[torch.zeros(1, 1)] * 4, "synthetic")
    with pytest.raises(AttributeError, match="cannot assign"):
        data.source = "mnist"
