import { Connection } from "./reconnect.js";

const LINES_MAX = 500; // kept in the log

const $ = (id) => document.getElementById(id);
const log = $("log"), lines = $("lines"), enter = $("enter"), state = $("state"), countdown = $("countdown"), text = $("text"), send = $("send");
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

let connection = null;
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
function append(kind, author, words) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = document.createElement("li");
  line.className = kind;
  if (kind !== "note") {
    const at = document.createElement("time");
    at.textContent = time.format(new Date());
    const who = document.createElement("b");
    who.textContent = author;
    line.append(at, who);
  }
  const what = document.createElement("span");
  what.textContent = words;
  line.append(what);
  lines.append(line);
  while (lines.childElementCount > LINES_MAX) lines.firstElementChild.remove();
  if (atEnd || kind === "mine") log.scrollTop = log.scrollHeight;
}

// received shows a message of somebody else: "name: text".
function received(data) {
  const at = data.indexOf(": ");
  if (at < 0) append("note", "", data);
  else append("theirs", data.slice(0, at), data.slice(at + 2));
}

function speakable(yes) {
  text.disabled = send.disabled = !yes;
  text.placeholder = yes ? "Say something" : "Not connected";
}

function changed(room, name, detail) {
  speakable(name === "open");
  switch (name) {
    case "connecting":
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

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value;
  if (!words || !connection?.send(words)) return;
  append("mine", me, words);
  text.value = "";
});

const guest = `guest-${Math.floor(Math.random() * 9000 + 1000)}`;
$("name").value = sessionStorage.getItem("name") ?? guest;
$("room").value = sessionStorage.getItem("room") ?? "lobby";

locate();
