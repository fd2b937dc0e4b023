import { Connection } from "./reconnect.js";
import { openSigned } from "./signed.js";

const LINES_MAX = 500; // kept in the log

const $ = (id) => document.getElementById(id);
const log = $("log"), lines = $("lines"), enter = $("enter"), state = $("state"), countdown = $("countdown"), text = $("text"), send = $("send");
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

let connection = null;
let signing = null; // the promise of the signatures of this connection; null in other rooms
let ticking = 0;
let me = "";
let base = ""; // of the URLs of the gateway; nobody can join before it is known

// locate learns where the gateway listens. It asks once: the policy of this page lets it connect to
// where the gateway listened when the page was loaded, so what helps is to load it again.
async function locate() {
  try {
    const response = await fetch("demo.json");
    if (!response.ok) throw new Error(`status ${response.status}`);
    base = (await response.json()).ws;
  } catch (error) {
    show("stopped", "No gateway");
    append("note", "", `The gateway does not say where it listens (${error.message}). ` +
      "Load this page again to go on.");
    return;
  }
  $("url").textContent = `${base}/chat/{name}?room={room}`;
  enter.disabled = false;
}

// show sets the pill in the corner.
function show(name, words) {
  clearInterval(ticking);
  state.dataset.state = name;
  state.firstElementChild.textContent = words;
  countdown.textContent = "";
}

// append adds a line to the log. What others wrote is only ever inserted as text.
function append(kind, author, words, verified = false) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = document.createElement("li");
  line.className = kind;
  if (kind !== "note") {
    const at = document.createElement("time");
    at.textContent = time.format(new Date());
    const who = document.createElement("b");
    who.textContent = author;
    line.append(at, who);
    if (verified) {
      const mark = document.createElement("i");
      mark.textContent = "✓";
      mark.title = "The signature is good.";
      mark.setAttribute("aria-label", "verified");
      line.append(mark);
    }
  }
  const what = document.createElement("span");
  what.textContent = words;
  line.append(what);
  lines.append(line);
  while (lines.childElementCount > LINES_MAX) lines.firstElementChild.remove();
  if (atEnd || kind === "mine") log.scrollTop = log.scrollHeight;
}

// received shows a message of somebody else: "name: text". In a room whose messages are signed, the
// first message brings the key, and every other one is verified.
async function received(data) {
  if (signing) {
    await receivedSigned(data);
    return;
  }
  if (data.startsWith('{"type":"welcome"')) {
    signing = openSigned(JSON.parse(data));
    append("note", "", "Messages in this room are signed; ✓ marks what has been verified.");
    return;
  }
  const at = data.indexOf(": ");
  if (at < 0) append("note", "", data);
  else append("theirs", data.slice(0, at), data.slice(at + 2));
}

async function receivedSigned(data) {
  if (data.startsWith('{"type":"error"')) {
    append("note", "", `The gateway refused a message: ${JSON.parse(data).error}.`);
    return;
  }
  try {
    const { from, text } = await (await signing).verify(data);
    append("theirs", from, text, true);
  } catch (error) {
    append("note", "", `A message was not shown: ${error.message}.`);
  }
}

function speakable(yes) {
  text.disabled = send.disabled = !yes;
  text.placeholder = yes ? "Say something" : "Not connected";
}

function changed(room, name, detail) {
  speakable(name === "open");
  switch (name) {
    case "connecting":
      signing = null;
      show(name, "Connecting…");
      break;
    case "open":
      show(name, `Connected as ${me}`);
      append("note", "", `You are in ${room}.`);
      if (document.activeElement === document.body || document.activeElement === enter) text.focus();
      break;
    case "waiting":
      wait(detail);
      break;
    case "stopped":
      show(name, `Closed: ${detail.reason || detail.code}`);
      append("note", "", `The gateway closed the connection (${detail.code} ${detail.reason}). ` +
        "Join again to go on.");
      break;
  }
}

// wait counts the seconds down to the next attempt, for the eye only: read aloud, it would not stop.
function wait({ delay, code }) {
  const until = performance.now() + delay;
  const tell = () => {
    const seconds = Math.max(0, Math.ceil((until - performance.now()) / 1000));
    countdown.textContent = `in ${seconds} s`;
  };
  show("waiting", "Reconnecting");
  tell();
  ticking = setInterval(tell, 250);
  if (code === 1012) append("note", "", "The gateway restarts.");
}

function join(name, room) {
  connection?.close();
  me = name;
  sessionStorage.setItem("name", name);
  sessionStorage.setItem("room", room);
  const url = `${base}/chat/${encodeURIComponent(name)}?room=${encodeURIComponent(room)}`;
  connection = new Connection(url, {
    onState: (now, detail) => changed(room, now, detail),
    onMessage: received,
  });
}

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  if (base) join($("name").value, $("room").value);
});

$("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const words = text.value;
  if (!words) return;
  const message = signing ? await (await signing).sign(words) : words;
  if (!connection?.send(message)) return;
  append("mine", me, words);
  text.value = "";
});

const guest = `guest-${Math.floor(Math.random() * 9000 + 1000)}`;
$("name").value = sessionStorage.getItem("name") ?? guest;
$("room").value = sessionStorage.getItem("room") ?? "lobby";

locate();
