"""The chat that Sluice replaces: a list of sockets, and a loop that awaits each send."""

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
rooms: dict[str, list[WebSocket]] = {}


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                await socket.send_bytes(message["bytes"])
            else:
                await socket.send_text(message["text"])
    except (WebSocketDisconnect, RuntimeError):
        pass


@app.websocket("/chat/{name}")
async def chat(socket: WebSocket, name: str, room: str = "lobby") -> None:
    await socket.accept()
    members = rooms.setdefault(room, [])
    members.append(socket)
    try:
        while True:
            text = f"{name}: {await socket.receive_text()}"
            for other in list(members):
                if other is not socket:
                    try:
                        await other.send_text(text)
                    except (WebSocketDisconnect, RuntimeError):
                        pass  # its own loop takes it out
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        members.remove(socket)
        if not members:
            rooms.pop(room, None)
