"""A serving container of standard library: answers with the word in its model; can be told to fail or to be slow."""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
WORD = (Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model" / "word.txt").read_text()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(200, b"pong")

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(request.get("sleep", 0))
        if request.get("die"):
            os._exit(3)
        status = request.get("status", 200)
        about = {"word": WORD, "pid": os.getpid(), "port": PORT, "env": os.environ.get("GREETING")}
        self._answer(status, json.dumps(about).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


if WORD == "broken":
    sys.exit("the model is broken")
Server(("127.0.0.1", PORT), Handler).serve_forever()
