"""Files: where they are kept, and how they are checked, downloaded and written."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future
from pathlib import Path

__all__ = ["DataError", "atomic_write", "cache_dir", "checksum", "download"]

TIMEOUT = 4.0  # seconds until a server has to answer, and then for every piece of the file


class DataError(RuntimeError):
    """The data cannot be had as asked; the message says why and what to do."""


def cache_dir() -> Path:
    """The user's cache folder for this package; it need not exist.

    It is in ``$XDG_CACHE_HOME``, or else in ``~/.cache``; for a user without a home, where
    temporary files are.

    Example:
        >>> cache_dir().name
        'normtutorial'
    """
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "normtutorial"
    try:
        return Path.home() / ".cache" / "normtutorial"
    except RuntimeError:  # neither $HOME nor an entry for the user
        return Path(tempfile.gettempdir()) / "normtutorial"


def checksum(content: bytes | bytearray) -> str:
    """The MD5 in hexadecimal digits: it finds accidents, not attacks.

    Example:
        >>> checksum(b"")
        'd41d8cd98f00b204e9800998ecf8427e'
    """
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def atomic_write(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all: one beside it takes its place, readable for everybody.

    Missing folders are made. On an error the old file stays as it was, and nothing lies beside it.

    Raises:
        OSError: if the file cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atomic_write(Path(folder) / "new" / "file", b"content")
        ...     (Path(folder) / "new" / "file").read_bytes()
        b'content'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.chmod(beside, 0o644)  # mkstemp lets nobody else read
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def download(url: str, md5: str) -> bytes:
    """Get a file and verify it.

    A server has four seconds to answer. A bar is shown in a terminal, unless ``$TQDM_DISABLE`` is
    set.

    Raises:
        OSError: if the address does not answer, or what comes is something else.

    Example:
        >>> download("http://localhost:1/file", "")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        OSError: http://localhost:1/file: ...
    """
    from tqdm import tqdm  # as late as possible: it reads $TQDM_DISABLE when it is imported

    options = {} if sys.stderr.isatty() else {"disable": True}
    name = url.rpartition("/")[2]
    try:
        with (
            _open(url) as response,
            tqdm.wrapattr(response, "read", response.length, desc=name, **options) as reader,
        ):
            content = b"".join(iter(lambda: reader.read(1 << 16), b""))
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an answer, too
        raise OSError(f"{url}: {str(error) or f'no answer in {TIMEOUT:g} seconds'}") from error
    if checksum(content) != md5:
        raise OSError(f"{url} gave {len(content)} bytes with the wrong MD5")
    return content


def _open(url: str) -> http.client.HTTPResponse:
    """``urlopen`` with one deadline for the look-up of the name and all its addresses.

    Its own timeout is for each address, and the look-up has none: 10 seconds where no name server
    answers, 32 for eight addresses behind a firewall. Nothing can end a look-up, so it is left
    behind in a thread that does not keep the program from ending.
    """
    answer: Future[http.client.HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(urllib.request.urlopen(url, timeout=TIMEOUT))  # noqa: S310
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer.result(TIMEOUT)
