import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { Gateway } from "./gateway.mjs";

const screenshots = process.env.SCREENSHOTS;
const patience = 20_000; // ms; a gateway that restarts is back after at most 5 s
const limit = { timeout: 80_000 }; // of a test, so that none hangs

let browser, gateway;

before(async () => {
  gateway = new Gateway();
  await gateway.start();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}, limit);

after(async () => {
  await browser?.close();
  await gateway?.stop();
}, limit);

// Tab is the page in a browser session of its own, with what it must not do.
class Tab {
  complaints = [];
  strangers = [];
  sockets = 0;

  // open loads the page; prepare may first change what the page will meet.
  static async open(options = {}, prepare = async () => {}, from = gateway) {
    const tab = new Tab();
    tab.context = await browser.newContext(options);
    tab.page = await tab.context.newPage();
    tab.page.setDefaultTimeout(patience);
    tab.page.on("pageerror", (error) => tab.complaints.push(String(error)));
    tab.page.on("console", (message) => {
      // The browser logs every attempt while the gateway is down. What a gateway that is up
      // refuses reads otherwise.
      const down = /^WebSocket connection to .* connection establishment: net::ERR_/;
      if (message.type() === "error" && !down.test(message.text())) {
        tab.complaints.push(message.text());
      }
    });
    const visited = (to) => {
      if (new URL(to.url()).hostname !== "127.0.0.1") tab.strangers.push(to.url());
    };
    tab.page.on("request", visited);
    tab.page.on("websocket", (socket) => {
      tab.sockets++;
      visited(socket);
    });
    await prepare(tab.page);
    await tab.page.goto(from.page);
    return tab;
  }

  async join(name, room) {
    await this.page.getByLabel("Your name").fill(name);
    await this.page.getByLabel("Room").fill(room);
    await this.page.getByRole("button", { name: "Join" }).click();
    await this.state("open");
  }

  async state(name) {
    await this.page.locator(`#state[data-state="${name}"]`).waitFor();
  }

  async say(text) {
    await this.page.getByLabel("Message", { exact: true }).fill(text);
    await this.page.getByRole("button", { name: "Send" }).click();
  }

  async sees(author, text) {
    await this.page.locator("#log li", { hasText: text }).filter({ hasText: author }).waitFor();
  }

  async lines(kind) {
    return this.page.locator(`#log li.${kind} span`).allTextContents();
  }

  async shoot(name) {
    if (!screenshots) return;
    await mkdir(screenshots, { recursive: true });
    await this.page.screenshot({ path: `${screenshots}/${name}.png` });
  }

  async close() {
    await this.context.close();
    assert.deepEqual(this.complaints, [], "the page complained");
    assert.deepEqual(this.strangers, [], "a request left the machine");
  }
}

test("two tabs talk, and find each other again after a restart", limit, async () => {
  const alice = await Tab.open();
  const bob = await Tab.open({ colorScheme: "dark", viewport: { width: 390, height: 700 } });
  await alice.shoot("before");
  await alice.join("alice", "e2e");
  await bob.join("bob", "e2e");

  await alice.say("hello, bob");
  await bob.sees("alice", "hello, bob");
  await bob.say("<b>hello</b>, alice: how are you?");
  await alice.sees("bob", "<b>hello</b>, alice: how are you?");
  assert.deepEqual(await alice.lines("theirs"), ["<b>hello</b>, alice: how are you?"],
    "alice must not get her own message, and markup must stay text");
  await alice.shoot("light");
  await bob.shoot("dark-phone");

  assert.equal(await gateway.stop(), 0, "exit code of the drain");
  await alice.state("waiting");
  await alice.shoot("waiting");
  await bob.state("waiting");
  await gateway.start();
  await alice.state("open");
  await bob.state("open");
  await alice.say("back again");
  await bob.sees("alice", "back again");
  await bob.say("so am I");
  await alice.sees("bob", "so am I");
  await alice.shoot("after");

  await alice.close();
  await bob.close();
});

test("a room keeps its messages to itself", limit, async () => {
  const carol = await Tab.open();
  const dave = await Tab.open();
  const erin = await Tab.open();
  await carol.join("carol", "one");
  await dave.join("dave", "two");
  await erin.join("erin", "one");
  await carol.say("only for one");
  await erin.sees("carol", "only for one");
  await erin.say("done");
  await carol.sees("erin", "done");
  assert.deepEqual(await dave.lines("theirs"), []);
  for (const tab of [carol, dave, erin]) await tab.close();
});

// The gateway does not take the first one; the browser takes the others for directories.
for (const name of ["no spaces", ".", ".."]) {
  test(`the name ${name} does not get as far as the gateway`, limit, async () => {
    const tab = await Tab.open();
    await tab.page.getByLabel("Your name").fill(name);
    await tab.page.getByRole("button", { name: "Join" }).click();
    await tab.page.locator("#name:invalid").waitFor();
    await tab.state("idle");
    assert.equal(tab.sockets, 0);
    await tab.close();
  });
}

test("who floods is told why, and comes back only by a click", limit, async () => {
  const tab = await Tab.open();
  await tab.join("grace", "flood");
  await tab.page.evaluate(() => {
    const form = document.getElementById("say");
    for (let i = 1; i <= 1000; i++) {
      form.elements.text.value = `line ${i}`;
      form.requestSubmit();
    }
  });
  await tab.state("stopped");
  assert.match(await tab.page.getByRole("status").textContent(), /message rate exceeded/);
  assert.equal(await tab.page.locator("#log li").count(), 500, "the log is bounded");
  assert.equal((await tab.lines("mine")).at(-1), "line 1000");
  await tab.shoot("stopped");
  assert.equal(tab.sockets, 1);
  await tab.join("grace", "flood");
  assert.equal(tab.sockets, 2);
  await tab.close();
});

test("nobody can join before the page knows where the gateway listens", limit, async () => {
  let answer;
  const asked = new Promise((resolve) => { answer = resolve; });
  const tab = await Tab.open({}, (page) => page.route("**/demo.json", async (route) => {
    await asked;
    await route.continue();
  }));
  const joins = () => tab.page.evaluate(() => document.getElementById("join").requestSubmit());
  await joins();
  await joins();
  assert.equal(await tab.page.getByRole("button", { name: "Join" }).isDisabled(), true);
  answer();
  await tab.join("heidi", "early");
  assert.equal(tab.sockets, 1);
  await tab.close();
});

test("a gateway that does not say where it listens is reported", limit, async () => {
  const tab = await Tab.open({}, (page) => page.route("**/demo.json",
    (route) => route.fulfill({ status: 503, body: "not listening\n" })));
  await tab.state("stopped");
  assert.equal(await tab.page.getByRole("button", { name: "Join" }).isDisabled(), true);
  await tab.shoot("unknown");
  // The browser itself logs the status.
  tab.complaints = tab.complaints.filter((text) => !text.includes("status of 503"));
  await tab.close();
});

test("the longest names and words fit on a small phone", limit, async () => {
  const tab = await Tab.open({ viewport: { width: 320, height: 568 } });
  await tab.join("n".repeat(64), "r".repeat(64));
  await tab.say("w".repeat(300));
  await tab.shoot("narrow");
  const wide = await tab.page.evaluate(() => [document.documentElement, document.getElementById("log")]
    .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.id || "page"));
  assert.deepEqual(wide, [], "what has to be scrolled sideways");
  await tab.close();
});

test("name and room outlive a reload", limit, async () => {
  const tab = await Tab.open();
  await tab.join("ivan", "attic");
  await tab.page.reload();
  assert.equal(await tab.page.getByLabel("Your name").inputValue(), "ivan");
  assert.equal(await tab.page.getByLabel("Room").inputValue(), "attic");
  await tab.close();
});

test("messages of signed rooms are verified", limit, async () => {
  const dir = await mkdtemp(join(tmpdir(), "sluice-"));
  const key = join(dir, "key");
  await writeFile(key, "a key of at least thirty-two bytes.");
  const signing = new Gateway("--chat-hmac-key-file", key, "--chat-hmac-rooms", "signed");
  await signing.start();
  try {
    const alice = await Tab.open({}, undefined, signing);
    const bob = await Tab.open({}, undefined, signing);
    await alice.join("alice", "signed");
    await bob.join("bob", "signed");
    await alice.sees("", "Messages in this room are signed");
    await alice.say("first");
    await alice.say("second, ü \"quoted\"");
    await bob.sees("alice", "first");
    await bob.sees("alice", "second, ü");
    assert.equal(await bob.page.getByLabel("verified").count(), 2, "marks of what was verified");
    await bob.say("I can tell");
    await alice.sees("bob", "I can tell");
    await bob.shoot("signed");

    await alice.join("alice", "open");
    await bob.join("bob", "open");
    await alice.say("no signature here");
    await bob.sees("alice", "no signature here");
    assert.equal(await bob.page.getByLabel("verified").count(), 2, "marks in an open room");
    await alice.close();
    await bob.close();
  } finally {
    await signing.stop();
    await rm(dir, { recursive: true });
  }
});
