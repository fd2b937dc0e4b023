"""Serves app on a port of the system's choice and says which. uvicorn uses uvloop and httptools where
they are installed. One process: the rooms are in its memory."""

import socket
import sys

import uvicorn

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 0))
listener.listen(4096)
print(f"ws://127.0.0.1:{listener.getsockname()[1]}", flush=True)
config = uvicorn.Config(
    "app:app", log_level="critical", access_log=False,
    ws_per_message_deflate="--compress" in sys.argv,
)
uvicorn.Server(config).run(sockets=[listener])
