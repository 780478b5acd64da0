"""Tiny archives that play MNIST, and a local server that plays its mirror: no network needed."""

import contextlib
import gzip
import hashlib
import http.server
import math
import struct
import threading

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


def idx(*shape):
    """A file in LeCun's format, whose values are 0 to 9 again and again."""
    header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
    return header + bytes(i % 10 for i in range(math.prod(shape)))


CONTENTS = {
    IMAGES: idx(6, 28, 28),
    LABELS: idx(6),
    "t10k-images-idx3-ubyte.gz": idx(4, 28, 28),
    "t10k-labels-idx1-ubyte.gz": idx(4),
}
ARCHIVES = {name: gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
UNPACKED = {name.removesuffix(".gz"): content for name, content in CONTENTS.items()}
FILES = {
    name: (len(content), hashlib.md5(content, usedforsecurity=False).hexdigest())
    for name, content in (ARCHIVES | UNPACKED).items()
}


def fill(root, **changed):
    """The four archives under ``root``; a changed one is bytes, or None to leave it out."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, content in (ARCHIVES | changed).items():
        if content is not None:
            (raw / name).write_bytes(content)
    return raw


def tree(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


class Server(http.server.ThreadingHTTPServer):
    """A mirror, and what it does when it has sent half of a file."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.files = dict(ARCHIVES)
        self.halfway = lambda: None


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        content = self.server.files.get(self.path.strip("/"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        if self.server.halfway() == "hang up":
            return
        self.wfile.write(content[len(content) // 2 :])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving():
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield server
        finally:
            server.shutdown()
