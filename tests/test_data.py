"""Images without a network: tiny archives play MNIST, a local server plays its mirror."""

import http.client
import os
import re
import socket
import stat
import sys
import tempfile
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from normtutorial.data import (
    DataError,
    ImageData,
    cache_dir,
    digits,
    files,
    locate,
    mnist,
    synthetic,
)
from normtutorial.data.files import atomic_write, checksum, download
from tiny_mnist import ARCHIVES, FILES, IMAGES, LABELS, UNPACKED, fill, serving, tree


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """Tiny archives are the right ones, the cache is empty, and there is no network."""
    monkeypatch.setattr(mnist, "FILES", FILES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in "NORMTUTORIAL_DATA", "NORMTUTORIAL_SOURCE":
        monkeypatch.delenv(name, raising=False)

    def no_network(url, timeout):
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)


@pytest.fixture
def _few(monkeypatch):
    """Ten synthetic digits in place of 70 000, from glyphs that need no fonts."""
    monkeypatch.setattr(synthetic, "COUNTS", (6, 4))
    monkeypatch.setattr(
        synthetic, "_glyphs", lambda: torch.linspace(-3, 3, 84).expand(10, 2, 84, 84)
    )


@pytest.fixture
def network(monkeypatch):
    """``urlopen`` as it is, but for a proxy that the machine may have."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    monkeypatch.setattr(urllib.request, "urlopen", opener.open)


@pytest.fixture
def mirror(monkeypatch, network):
    """A local server is the mirror."""
    with serving() as server:
        monkeypatch.setattr(mnist, "MIRROR", server.url)
        yield server


def raw_cache():
    return cache_dir() / "MNIST" / "raw"


# What comes back

FIELDS = "train_images", "train_labels", "test_images", "test_labels"


def test_images_and_labels_have_the_promised_form(tmp_path):
    fill(tmp_path)
    data = digits(root=tmp_path, device="cpu")
    assert data.source == "mnist"
    assert data.train_images.shape == (6, 1, 28, 28) and data.test_images.shape == (4, 1, 28, 28)
    assert data.train_images.dtype == data.test_images.dtype == torch.float32
    assert data.train_labels.dtype == data.test_labels.dtype == torch.int64
    assert data.train_labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.test_labels.tolist() == [0, 1, 2, 3]
    expected = torch.arange(28) % 10 / 255
    for images in data.train_images, data.test_images:
        torch.testing.assert_close(images[0, 0, 0], expected, rtol=0, atol=0)


def test_the_device_is_cuda_where_there_is_cuda_and_else_the_cpu(tmp_path):
    fill(tmp_path)
    there = "cuda" if torch.cuda.is_available() else "cpu"
    assert digits(root=tmp_path).device.type == there


def test_the_device_that_is_asked_for_has_all_four_parts_and_the_data_knows_it(tmp_path):
    fill(tmp_path)
    for data in (
        digits(root=tmp_path, device="meta"),
        digits(root=tmp_path, device="cpu").to("meta"),
    ):
        assert {getattr(data, field).device for field in FIELDS} == {torch.device("meta")}
        assert data.device == torch.device("meta") and data.source == "mnist"


def test_a_subset_has_the_first_rows_of_all_four_parts(tmp_path):
    fill(tmp_path)
    data = digits(root=tmp_path, device="cpu")
    few = data.subset(1, 2)
    for field in FIELDS:
        n = 1 if field.startswith("train") else 2
        assert torch.equal(getattr(few, field), getattr(data, field)[:n])
    assert repr(few).startswith("ImageData(mnist: 1 training and 2 test images")


def test_a_subset_keeps_the_test_split_unless_told(tmp_path):
    fill(tmp_path)
    data = digits(root=tmp_path)
    assert len(data.subset(2).train_images) == 2 and len(data.subset(2).test_images) == 4
    assert len(data.subset(6, 4).train_images) == 6


@pytest.mark.parametrize("train, test", [(0, 1), (7, 1), (1, 0), (1, 5), (-1, None)])
def test_a_subset_larger_than_the_data_is_refused(tmp_path, train, test):
    fill(tmp_path)
    message = rf"1 to 6 training and 1 to 4 test images; got {train} and {test or '.'}"
    with pytest.raises(ValueError, match=message):
        digits(root=tmp_path).subset(train, test)


def test_two_sets_of_images_are_told_apart_without_comparing_pixels(tmp_path):
    fill(tmp_path)
    one, other = digits(root=tmp_path), digits(root=tmp_path)
    assert one == one and one != other and len({one, other}) == 2


def test_image_data_is_frozen():
    images, labels = torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.int64)
    data = ImageData(images, labels, images, labels, "synthetic")
    with pytest.raises(AttributeError, match="cannot assign"):
        data.source = "mnist"


# Where the files are


def test_the_files_are_found_by_root_by_variable_and_in_the_cache(tmp_path, monkeypatch):
    root = fill(tmp_path / "root")
    cache = fill(cache_dir())
    assert locate(tmp_path / "root") == root
    assert locate() == cache
    monkeypatch.setenv("NORMTUTORIAL_DATA", str(tmp_path / "root"))
    assert locate() == root
    assert digits("mnist").source == "mnist"


def test_a_root_may_begin_with_the_home_of_the_user(tmp_path, monkeypatch):
    raw = fill(tmp_path / "root")
    for name in "HOME", "USERPROFILE":
        monkeypatch.setenv(name, str(tmp_path))
    assert locate("~/root") == raw


def test_a_root_that_is_a_file_holds_no_files(tmp_path):
    (tmp_path / "root").touch()
    with pytest.raises(DataError, match=r"expects four archives"):
        digits("mnist", root=tmp_path / "root")


def test_unpacked_files_will_do(tmp_path):
    fill(tmp_path, **dict.fromkeys(ARCHIVES), **UNPACKED)
    assert digits("mnist", root=tmp_path).train_labels.tolist() == [0, 1, 2, 3, 4, 5]


def test_reading_writes_nothing(tmp_path):
    fill(tmp_path / "root")
    before = tree(tmp_path)
    digits(root=tmp_path / "root")
    assert tree(tmp_path) == before


def test_locate_verifies_the_files(tmp_path):
    raw = fill(tmp_path)
    assert locate(tmp_path) == raw
    fill(tmp_path, **{LABELS: b"oops"})
    with pytest.raises(DataError, match="truncated"):
        locate(tmp_path)


def test_without_a_folder_that_was_named_there_may_be_none():
    assert locate() is None


def test_the_cache_is_in_the_folder_that_the_system_has_for_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "normtutorial"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_dir() == tmp_path / ".cache" / "normtutorial"


def test_a_user_without_a_home_has_a_cache_among_the_temporary_files(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert cache_dir() == Path(tempfile.gettempdir()) / "normtutorial"


@pytest.mark.parametrize("source", ["auto", "mnist"])
@pytest.mark.parametrize("name", ["root", "$NORMTUTORIAL_DATA"])
@pytest.mark.parametrize("typo", ["typo", "~nobody-of-that-name/typo"])
def test_a_named_folder_without_files_is_an_error_that_names_it(
    monkeypatch, tmp_path, source, name, typo
):
    fill(cache_dir())  # which has them, but was not meant
    monkeypatch.chdir(tmp_path)
    if name != "root":
        monkeypatch.setenv("NORMTUTORIAL_DATA", typo)
    root = typo if name == "root" else None
    folder = Path(typo) / "MNIST" / "raw"
    message = (
        rf"^digits expects four archives in {re.escape(str(folder))}, below the folder that "
        rf"{re.escape(name)} names; missing: train-images-idx3-ubyte\.gz, .*\. Copy them there, "
        r"name another folder, or leave root and \$NORMTUTORIAL_DATA out to have them downloaded\.$"
    )
    with pytest.raises(DataError, match=message):
        digits(source, root=root)
    with pytest.raises(DataError, match=message):
        locate(root)


@pytest.mark.usefixtures("_few")
@pytest.mark.filterwarnings("error")
def test_synthetic_digits_ask_for_no_folder(monkeypatch, tmp_path):
    assert digits("synthetic", root=tmp_path / "typo").source == "synthetic"
    monkeypatch.setenv("NORMTUTORIAL_DATA", str(tmp_path / "typo"))
    assert digits("synthetic").source == "synthetic"
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "synthetic")
    assert digits().source == "synthetic"


@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_one_missing_archive_of_four_is_named(tmp_path, source):
    fill(tmp_path, **{LABELS: None})
    with pytest.raises(DataError, match=r"missing: train-labels-idx1-ubyte\.gz\. Copy"):
        digits(source, root=tmp_path)


def test_an_unknown_source_lists_the_known_ones(monkeypatch):
    with pytest.raises(ValueError, match="one of auto, mnist, synthetic; got 'fashion'"):
        digits("fashion")
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "fashion")
    with pytest.raises(ValueError, match="got 'fashion'"):
        digits()


# What can be wrong with a file

FAULTS = {
    "truncated": (ARCHIVES[IMAGES][:-9], "truncated"),
    "empty": (b"", "truncated"),
    "a web page": (b"<!DOCTYPE html>", "truncated"),
    "too long": (ARCHIVES[IMAGES] + b"\0", "damaged"),
    "altered": (ARCHIVES[IMAGES][:-1] + b"\1", "damaged"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_a_bad_file_is_named_explained_and_left_alone(tmp_path, source, fault):
    content, word = FAULTS[fault]
    raw = fill(tmp_path, **{IMAGES: content})
    message = (
        rf"digits cannot use .*{IMAGES}: it is {word} "
        rf"\({len(content)} bytes of {len(ARCHIVES[IMAGES])}\).*put the original there"
    )
    with pytest.raises(DataError, match=message):
        digits(source, root=tmp_path)
    assert (raw / IMAGES).read_bytes() == content


def test_a_bad_file_in_the_cache_is_not_passed_over_either():
    fill(cache_dir(), **{IMAGES: b"oops"})
    with pytest.raises(DataError, match="truncated"):
        digits()


def test_a_truncated_unpacked_file_is_named_and_its_archive_is_the_original(tmp_path):
    name = IMAGES.removesuffix(".gz")
    fill(tmp_path, **{IMAGES: None, name: UNPACKED[name][:-1]})
    message = rf"{name}: it is truncated \(4719 bytes of 4720\).*\({mnist.MIRROR}{IMAGES}\)"
    with pytest.raises(DataError, match=message):
        digits(root=tmp_path)


@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path, source):
    raw = fill(tmp_path, **{IMAGES: None})
    (raw / IMAGES).mkdir()
    with pytest.raises(DataError, match=rf"digits cannot read .*{IMAGES} \(.*Make it readable"):
        digits(source, root=tmp_path)


def test_every_byte_of_an_archive_counts(tmp_path):
    raw = fill(tmp_path)
    for position in range(len(ARCHIVES[LABELS])):
        altered = bytearray(ARCHIVES[LABELS])
        altered[position] ^= 0x10
        (raw / LABELS).write_bytes(altered)
        with pytest.raises(DataError):
            digits(root=tmp_path)
    (raw / LABELS).write_bytes(ARCHIVES[LABELS])
    assert digits(root=tmp_path).source == "mnist"


def test_archives_that_changed_places_are_found_out(tmp_path):
    fill(tmp_path, **{IMAGES: ARCHIVES["t10k-images-idx3-ubyte.gz"]})
    with pytest.raises(DataError, match="or another file"):
        digits(root=tmp_path)


# The download


def test_a_download_fills_the_cache_once_and_says_nothing(mirror, capsys):
    assert digits("mnist").source == "mnist"
    assert tree(raw_cache()) == set(ARCHIVES)
    mirror.files.clear()
    assert digits("mnist").source == "mnist"
    assert capsys.readouterr() == ("", "")


def test_a_download_fetches_only_what_is_missing(mirror):
    fill(cache_dir(), **{LABELS: None})
    mirror.files = {LABELS: ARCHIVES[LABELS]}
    assert digits("mnist").source == "mnist"


def test_a_download_of_many_pieces_is_whole(mirror):
    content = os.urandom(200_000)
    mirror.files = {"file": content}
    assert download(f"{mirror.url}file", checksum(content)) == content


def test_two_downloads_at_once_do_not_disturb_each_other(mirror):
    mirror.halfway = threading.Barrier(2, timeout=20).wait
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(digits, ["mnist", "mnist"]))
    assert [data.source for data in results] == ["mnist", "mnist"]
    assert tree(raw_cache()) == set(ARCHIVES)


def test_a_download_with_the_wrong_checksum_never_becomes_a_file(mirror):
    mirror.files[LABELS] = b"<html>please log in</html>"
    with pytest.raises(DataError, match=r"could not download .*gave 26 bytes with the wrong MD5"):
        digits("mnist")
    assert tree(raw_cache()) == {IMAGES}


def test_an_interrupted_download_leaves_nothing_behind(mirror, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        digits("mnist")
    assert tree(raw_cache()) == set()


def test_a_file_that_the_mirror_does_not_have_is_named(mirror):
    mirror.files.clear()
    with pytest.raises(DataError, match=rf"{mirror.url}{IMAGES}: HTTP Error 404"):
        digits("mnist")


def test_a_server_that_does_not_speak_http_is_no_crash(monkeypatch):
    def nonsense(url, timeout):
        raise http.client.BadStatusLine("SSH-2.0")

    monkeypatch.setattr(urllib.request, "urlopen", nonsense)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: SSH-2\.0"):
        digits("mnist")


def test_a_name_server_that_never_answers_is_given_up(monkeypatch, network):
    begun, ended, release = threading.Event(), threading.Event(), threading.Event()

    def hangs(*_, **__):
        begun.set()
        release.wait(60)
        ended.set()
        raise socket.gaierror("released")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    monkeypatch.setattr(files, "TIMEOUT", 0.05)
    with pytest.raises(DataError, match=r"no answer in 0\.05 seconds"):
        digits("mnist")
    assert begun.wait(10) and not ended.is_set()
    release.set()


def test_a_transfer_that_stands_still_is_given_up(mirror, monkeypatch):
    release = threading.Event()
    mirror.halfway = lambda: release.wait(20)  # then the file would come whole
    monkeypatch.setattr(files, "TIMEOUT", 0.3)
    with pytest.raises(DataError, match="timed out"):
        digits("mnist")
    release.set()
    assert not raw_cache().exists()


def test_a_transfer_that_ends_early_is_no_file(mirror):
    mirror.halfway = lambda: "hang up"
    with pytest.raises(DataError, match="could not download"):
        digits("mnist")
    assert not raw_cache().exists()


def test_mnist_alone_without_a_network_says_what_to_do():
    with pytest.raises(DataError, match=r"Name or service not known.*root or in \$NORMTUTORIAL_D"):
        digits("mnist")


# Writing


def test_a_file_is_written_with_its_folders_and_readable_for_everybody(tmp_path, monkeypatch):
    before = os.umask(0o077)
    try:
        atomic_write(tmp_path / "new" / "folder" / "file", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "folder" / "file").read_bytes() == b"content"
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "new" / "folder" / "file").stat().st_mode) == 0o644


def test_a_file_is_written_where_one_is_with_a_name_that_is_a_string(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in b"old", b"new":
        atomic_write("file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert tree(tmp_path) == {"file"}


def test_a_file_grows_beside_its_place_so_that_no_other_disk_must_have_room(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    atomic_write(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_the_old_file_stays_when_the_new_one_cannot_be_written(tmp_path):
    atomic_write(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        atomic_write(tmp_path / "file", "not bytes")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert tree(tmp_path) == {"file"}


def test_nothing_lies_beside_a_file_that_cannot_take_its_place(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        atomic_write(tmp_path / "folder", b"content")
    assert tree(tmp_path) == {"folder"}


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    old, new = b"0" * 100_000, b"1" * 100_000
    atomic_write(tmp_path / "file", old)
    done = threading.Event()

    def read():
        seen = set()
        while not done.is_set():
            seen.add((tmp_path / "file").read_bytes())
        return seen

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        for _ in range(50):
            atomic_write(tmp_path / "file", new)
            atomic_write(tmp_path / "file", old)
        done.set()
        assert reader.result() <= {old, new}


# Synthetic digits


@pytest.mark.usefixtures("_few")
def test_a_fallback_is_a_warning_that_gives_the_reason_and_points_at_the_caller(capsys):
    with pytest.warns(UserWarning, match=r"could not be downloaded: .*not known") as caught:
        data = digits()
    assert [warning.filename for warning in caught] == [__file__]
    assert data.source == "synthetic" and data.train_images.shape == (6, 1, 28, 28)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_few")
@pytest.mark.filterwarnings("error")
def test_digits_that_were_asked_for_come_without_a_word(capsys, monkeypatch, tmp_path):
    fill(tmp_path, **{LABELS: b"oops"})
    assert digits("synthetic", root=tmp_path).source == "synthetic"
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "synthetic")
    assert digits(root=tmp_path).source == "synthetic"
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_few")
def test_a_full_disk_ends_in_a_sentence_or_in_synthetic_digits(mirror, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"No space left on device.*NORMTUTORIAL_DATA"):
        digits("mnist")
    with pytest.warns(UserWarning, match="No space left on device"):
        assert digits().source == "synthetic"
    assert not [path for path in cache_dir().rglob("*") if path.is_file()]


@pytest.mark.usefixtures("_few")
def test_the_variable_replaces_auto_only(monkeypatch, tmp_path):
    fill(tmp_path)
    monkeypatch.setenv("NORMTUTORIAL_SOURCE", "synthetic")
    assert digits(root=tmp_path).source == "synthetic"
    assert digits("mnist", root=tmp_path).source == "mnist"


@pytest.mark.usefixtures("_few")
def test_synthetic_digits_are_cached_and_a_damaged_cache_is_made_again(monkeypatch):
    first = digits("synthetic")
    (cached,) = cache_dir().iterdir()
    assert cached.name == "synthetic-digits-1"
    whole = cached.read_bytes()
    altered = bytes([*whole[:20], whole[20] ^ 1, *whole[21:]])
    for damaged in (b"", whole[:-100], whole + b"1", altered, bytes(len(whole)), b"<html></html>"):
        cached.write_bytes(damaged)
        assert torch.equal(digits("synthetic").train_images, first.train_images)
        assert tree(cache_dir()) == {cached.name} and cached.read_bytes() == whole

    monkeypatch.setattr(synthetic, "_glyphs", lambda: pytest.fail("made again"))
    again = digits("synthetic")
    assert all(torch.equal(getattr(again, field), getattr(first, field)) for field in FIELDS)


@pytest.mark.usefixtures("_few")
def test_the_cache_of_synthetic_digits_is_an_md5_and_the_four_parts_as_bytes():
    data = digits("synthetic", device="cpu")
    stored = (cache_dir() / "synthetic-digits-1").read_bytes()
    parts = [(getattr(data, field) * (255 if "images" in field else 1)) for field in FIELDS]
    content = b"".join(bytes(part.round().byte().flatten().tolist()) for part in parts)
    assert stored == bytes.fromhex(checksum(content)) + content


@pytest.mark.usefixtures("_few")
def test_the_two_splits_are_drawn_with_the_seeds_0_and_1():
    data = digits("synthetic", device="cpu")
    for seed, labels in (0, data.train_labels), (1, data.test_labels):
        generator = torch.Generator().manual_seed(seed)
        assert torch.equal(labels, torch.randperm(len(labels), generator=generator) % 10)
    assert not torch.equal(data.train_images[:4], data.test_images)


@pytest.mark.usefixtures("_few")
def test_a_cache_that_cannot_be_written_costs_time_only(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert digits("synthetic").source == "synthetic"
    assert synthetic.stored() is None


def test_without_matplotlib_the_sentence_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(DataError, match="pip install matplotlib"):
        digits("synthetic")
