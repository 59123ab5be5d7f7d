"""Object stores for tests: one in memory, a real S3 server on loopback, and servers that refuse or keep silent."""

import contextlib
import http.server
import logging
import socket
import threading
import uuid

import pytest


def in_memory() -> str:
    """The URL of an empty store in the memory of this process."""
    return f"memory://{uuid.uuid4().hex}/study"


@pytest.fixture
def credentials(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


class S3:
    """A server of moto's, which can be stopped and started again; its buckets stay."""

    def __init__(self) -> None:
        self.server = pytest.importorskip("moto.server")
        self.port = 0
        self.start()

    def start(self) -> None:
        self.running = self.server.ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self.running.start()
        self.port = self.running.get_host_and_port()[1]

    def stop(self) -> None:
        self.running.stop()


@pytest.fixture(scope="module")
def s3_server():
    pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = S3()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server, credentials, monkeypatch):
    """The URL of an empty place in a bucket of a real S3 server, and the server."""
    import boto3

    endpoint = f"http://127.0.0.1:{s3_server.port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    bucket = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/study", s3_server


@contextlib.contextmanager
def answering(status: int):
    """The URL of a server that answers every request with `status`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_PUT = do_HEAD = answer  # noqa: N815 - as http.server calls them

        def log_message(self, *_) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def silent():
    """The URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
