"""Training jobs on Kubernetes, whose API is stood in for by a small HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nas.launcher import Launcher
from nas.training.outcome import read_outcome
from profiles import files

HANDLE = "kubernetes://hwnas/default:hwnas-0"


class Api(BaseHTTPRequestHandler):
    """Answers every question with ``code``."""

    code = 404

    def do_GET(self) -> None:
        body = json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.code}).encode()
        self.send_response(self.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    pytest.importorskip("kubernetes")
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "u", "user": {}}],
        }
        files.write_json(tmp_path / "config", config)
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
        yield Launcher("kubernetes", {"queue": "q"}, image="i")
        server.shutdown()


def test_a_job_that_was_deleted_has_ended_and_is_tried_again(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.launcher._UNKNOWN_S", -1.0)
    monkeypatch.setattr("nas.torchx_jobs._ASK_S", -1.0)
    monkeypatch.setattr(Api, "code", 503)
    assert launcher.word(HANDLE) is None and launcher.state(HANDLE, tmp_path / "job") == "running"
    monkeypatch.setattr(Api, "code", 404)
    assert launcher.state(HANDLE, tmp_path / "job") == "ended"
    outcome = read_outcome(tmp_path / "job", launcher.word(HANDLE))
    assert (outcome.reason, outcome.transient) == ("kubernetes no longer knows the job", True)
