"""A small HTTP server on the loopback interface that can misbehave on demand."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

#: What a request can be answered with, beside the file itself.
FAULTS = ("503", "404", "truncated", "corrupted", "dropped", "slow")


class Loopback:
    """Serve a folder at ``url``, with faults queued for single files or set for all.

    Parameters
    ----------
    root : Path
        The folder that is served.

    Attributes
    ----------
    faults : dict of str to list of str
        By the end of a path, the faults of its next requests, in order; then the file is served.
    always : str or None
        A fault for every request that has none queued.
    requests : Counter
        How many times each path was asked for.
    peak : int
        The most requests that were answered at the same time.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.always: str | None = None
        self.requests: Counter[str] = Counter()
        self.peak = 0
        self._open = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """The address that stands in for ``https://raw.githubusercontent.com/``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_fault(self, path: str) -> str | None:
        """Take the fault that the next answer to `path` has."""
        with self._lock:
            self.requests[path] += 1
            for end, queue in self.faults.items():
                if path.endswith(end) and queue:
                    return queue.pop(0)
            return self.always

    def enter(self) -> None:
        """Count a request that begins."""
        with self._lock:
            self._open += 1
            self.peak = max(self.peak, self._open)

    def leave(self) -> None:
        """Count a request that ends."""
        with self._lock:
            self._open -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                loopback.enter()
                try:
                    self.answer(loopback.next_fault(self.path))
                finally:
                    loopback.leave()

            def answer(self, fault: str | None) -> None:
                if fault not in (None, *FAULTS):
                    raise ValueError(f"no fault is called {fault!r}")
                if fault == "slow":
                    time.sleep(0.2)
                if fault == "dropped":
                    self.close_connection = True
                    return
                file = loopback.root / self.path.lstrip("/")
                if fault in ("503", "404") or not file.is_file():
                    self.send_error(503 if fault == "503" else 404)
                    return
                body = file.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if fault == "truncated":
                    body = body[: len(body) // 2]
                elif fault == "corrupted":
                    body = bytes([body[0] ^ 1]) + body[1:]
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test output free of one line for each request."""

        return Handler
