// A WebSocket that comes back by itself.

const FIRST_DELAY = 500; // ms, doubled after every failure
const LAST_DELAY = 30_000;
const RESTART_MIN = 500; // after a 1012: the gateway is back soon, and so are all of its clients
const RESTART_MAX = 5_000;
const STABLE_AFTER = 5_000; // a connection that held so long makes the next failure a first one

// Codes after which asking again cannot help: what we did was refused.
const FINAL = new Set([1008, 3000, 3003]);

/** restartDelay is how long to wait after a 1012: spread evenly. */
export function restartDelay(random = Math.random) {
  return RESTART_MIN + random() * (RESTART_MAX - RESTART_MIN);
}

/** backoff is how long to wait after so many failures in a row: anything up to a doubling bound. */
export function backoff(failures, random = Math.random) {
  return random() * Math.min(LAST_DELAY, FIRST_DELAY * 2 ** failures);
}

/**
 * Connection keeps a WebSocket open. onState is told "connecting", "open", "waiting" (with the ms
 * to go) or "stopped" (with the code and reason of the close); onMessage gets every text.
 */
export class Connection {
  #url; #onState; #onMessage;
  #socket = null;
  #timer = 0;
  #failures = 0;
  #opened = 0;

  constructor(url, { onState, onMessage }) {
    this.#url = url;
    this.#onState = onState;
    this.#onMessage = onMessage;
    this.#connect();
  }

  /** send reports whether the text was handed to an open socket. */
  send(text) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  /** close ends it for good. Nothing is told about it. */
  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }

  #connect() {
    this.#onState("connecting");
    const socket = this.#socket = new WebSocket(this.#url);
    socket.onopen = () => {
      if (this.#socket !== socket) return;
      this.#opened = performance.now();
      this.#onState("open");
    };
    socket.onmessage = (event) => {
      if (this.#socket === socket) this.#onMessage(event.data);
    };
    socket.onclose = (event) => {
      if (this.#socket === socket) this.#closed(event);
    };
  }

  #closed({ code, reason }) {
    this.#socket = null;
    if (FINAL.has(code)) {
      this.#onState("stopped", { code, reason });
      return;
    }
    if (this.#opened && performance.now() - this.#opened >= STABLE_AFTER) this.#failures = 0;
    this.#opened = 0;
    const delay = code === 1012 ? restartDelay() : backoff(this.#failures++);
    this.#onState("waiting", { delay, code, reason });
    this.#timer = setTimeout(() => this.#connect(), delay);
  }
}
