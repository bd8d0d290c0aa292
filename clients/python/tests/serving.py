"""Real servers for tests: `usher serve` as users start it, and a cluster that counts. What is started here is ended by its id."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List

ROOT = pathlib.Path(__file__).resolve().parents[3]
CLI = ROOT / "dist" / "cli" / "usher.cjs"


class Folder:
    def __init__(self) -> None:
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="usher-python-"))

    def remove(self) -> None:
        shutil.rmtree(self.path)


class Server:
    """`usher serve`, which accepts jobs when the constructor returns."""

    def __init__(self, folder: Folder, config: str, store: str = "store", listen: str = "127.0.0.1:0") -> None:
        file = folder.path / f"{store}-{os.urandom(4).hex()}.toml"
        file.write_text(config + '[log]\nlevel = "error"\n')
        command = ["node", str(CLI), "serve", "--json", "--config", str(file)]
        command += ["--store", str(folder.path / store), "--listen", listen]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"usher serve ended with status {self._process.wait()}")
        ready = json.loads(line)
        self.address: str = ready["address"]
        self.instance: str = ready["instance"]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit status, or the signal as a negative number."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        status = self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status


def usher(*args: str) -> Any:
    """What a command prints with --json."""
    done = subprocess.run(["node", str(CLI), *args, "--json"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"usher {args[0]} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


class Sink:
    """A cluster that takes every job as often as it is sent, and remembers: one that arrives twice is counted twice."""

    def __init__(self) -> None:
        taken: Dict[str, int] = {}
        self.taken = taken
        mutex = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                job_id = self.path.rpartition("/")[2] if self.path.startswith("/jobs/") else ""
                if job_id in ("", *taken):
                    self._answer(200, b"{}" if job_id == "" else json.dumps({"jobId": f"sink-{job_id}"}).encode())
                else:
                    self._answer(404, b"{}")

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"])).decode()
                answers: List[str] = []
                for line in text.strip().split("\n"):
                    job_id = json.loads(line)["id"]
                    with mutex:
                        taken[job_id] = taken.get(job_id, 0) + 1
                    answers.append(json.dumps({"jobId": f"sink-{job_id}"}))
                self._answer(200, "\n".join(answers).encode())

            def log_message(self, *args: object) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                # A submitter that is killed resets its connections.
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)

        self._server = Listener(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/jobs"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def audit_of(folder: Folder, store: str = "store") -> Dict[str, Any]:
    audit: Dict[str, Any] = usher("status", "--store", str(folder.path / store))["audit"]
    return audit
