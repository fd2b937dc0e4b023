import { afterEach, beforeEach, mock, test } from "node:test";
import assert from "node:assert/strict";
import { backoff, Connection, restartDelay } from "../page/reconnect.js";

// FakeSocket is a WebSocket whose events the test makes up.
class FakeSocket {
  static OPEN = 1;
  static made = [];
  readyState = 0;
  sent = [];

  constructor() { FakeSocket.made.push(this); }
  send(text) { this.sent.push(text); }
  close() { this.readyState = 2; }

  opens() { this.readyState = 1; this.onopen(); }
  closes(code, reason = "") { this.readyState = 3; this.onclose({ code, reason }); }
}

let now = 0;

beforeEach(() => {
  FakeSocket.made = [];
  globalThis.WebSocket = FakeSocket;
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(performance, "now", () => now);
  mock.method(Math, "random", () => 0.5);
});

afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
  delete globalThis.WebSocket;
});

// connect returns a connection, what it told, and its newest socket.
function connect() {
  const told = [], heard = [];
  const connection = new Connection("ws://gateway.test/chat/alice", {
    onState: (state, detail) => told.push(detail?.delay === undefined ? state : [state, detail.delay]),
    onMessage: (text) => heard.push(text),
  });
  return { connection, told, heard, socket: () => FakeSocket.made.at(-1) };
}

test("back-off doubles its bound up to 30 s and is jittered over all of it", () => {
  for (const [failures, bound] of [[0, 500], [1, 1000], [5, 16_000], [6, 30_000], [100, 30_000]]) {
    assert.equal(backoff(failures, () => 0), 0, `shortest after ${failures}`);
    assert.equal(backoff(failures, () => 1), bound, `longest after ${failures}`);
  }
});

test("after a restart, clients come back spread over 0.5 to 5 s", () => {
  assert.equal(restartDelay(() => 0), 500);
  assert.equal(restartDelay(() => 1), 5000);
});

test("refused handshakes are tried again, ever later", () => {
  const { told, socket } = connect();
  for (const delay of [250, 500, 1000]) {
    socket().closes(1006);
    assert.deepEqual(told.at(-1), ["waiting", delay]);
    const before = FakeSocket.made.length;
    mock.timers.tick(delay - 1);
    assert.equal(FakeSocket.made.length, before, "too early");
    mock.timers.tick(1);
    assert.equal(FakeSocket.made.length, before + 1);
    assert.equal(told.at(-1), "connecting");
  }
});

for (const { code, delay } of [
  { code: 1012, delay: 2750 },
  { code: 1006, delay: 250 },
  { code: 1000, delay: 250 },
  { code: 1009, delay: 250 },
]) {
  test(`${code} ends an open connection: another one follows`, () => {
    const { told, socket } = connect();
    socket().opens();
    socket().closes(code);
    assert.deepEqual(told, ["connecting", "open", ["waiting", delay]]);
    mock.timers.tick(delay);
    assert.equal(FakeSocket.made.length, 2);
  });
}

for (const code of [1008, 3000]) {
  test(`${code} ends it for good`, () => {
    const { connection, told, socket } = connect();
    socket().opens();
    socket().closes(code, "no");
    assert.deepEqual(told, ["connecting", "open", "stopped"]);
    mock.timers.tick(3_600_000);
    assert.equal(FakeSocket.made.length, 1);
    assert.equal(connection.send("lost"), false);
  });
}

test("a connection that held makes the next failure a first one, a short one does not", () => {
  const { told, socket } = connect();
  socket().closes(1006);
  mock.timers.tick(250);
  socket().opens();
  now += 4999;
  socket().closes(1006);
  assert.deepEqual(told.at(-1), ["waiting", 500]);
  mock.timers.tick(500);
  socket().opens();
  now += 5000;
  socket().closes(1006);
  assert.deepEqual(told.at(-1), ["waiting", 250]);
});

test("send reports what the socket takes", () => {
  const { connection, socket } = connect();
  assert.equal(connection.send("too early"), false);
  socket().opens();
  assert.equal(connection.send("hello"), true);
  assert.deepEqual(socket().sent, ["hello"]);
});

test("after close nothing is told and nothing is tried", () => {
  const { connection, told, heard, socket } = connect();
  connection.close();
  socket().opens();
  socket().onmessage({ data: "late" });
  socket().closes(1006);
  mock.timers.tick(3_600_000);
  assert.deepEqual([told, heard, FakeSocket.made.length], [["connecting"], [], 1]);
});

test("close ends the wait for the next attempt", () => {
  const { connection, socket } = connect();
  socket().closes(1012);
  connection.close();
  mock.timers.tick(3_600_000);
  assert.equal(FakeSocket.made.length, 1);
});
