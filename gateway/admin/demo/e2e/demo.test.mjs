import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";
import { Gateway } from "./gateway.mjs";

const screenshots = process.env.SCREENSHOTS;
const patience = 20_000; // ms; a gateway that restarts is back after at most 5 s

let browser, gateway;

before(async () => {
  gateway = new Gateway();
  await gateway.start();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});

after(async () => {
  await browser?.close();
  await gateway?.stop();
});

// Tab is the page in a browser of its own, with what it must not do.
class Tab {
  complaints = [];
  strangers = [];

  static async open(options = {}) {
    const tab = new Tab();
    tab.context = await browser.newContext(options);
    tab.page = await tab.context.newPage();
    tab.page.setDefaultTimeout(patience);
    tab.page.on("pageerror", (error) => tab.complaints.push(String(error)));
    tab.page.on("console", (message) => {
      // A refused WebSocket is logged by the browser while the gateway is down.
      if (message.type() === "error" && !message.text().includes("WebSocket connection to")) {
        tab.complaints.push(message.text());
      }
    });
    tab.page.on("request", (request) => {
      const { hostname } = new URL(request.url());
      if (hostname !== "127.0.0.1") tab.strangers.push(request.url());
    });
    await tab.page.goto(gateway.page);
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

test("two tabs talk, and find each other again after a restart", async () => {
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

  await alice.close();
  await bob.close();
});

test("a room keeps its messages to itself", async () => {
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

test("a name that the gateway would refuse does not get that far", async () => {
  const tab = await Tab.open();
  await tab.page.getByLabel("Your name").fill("no spaces");
  await tab.page.getByRole("button", { name: "Join" }).click();
  await tab.state("idle");
  assert.equal(await tab.page.locator("#name:invalid").count(), 1);
  await tab.close();
});
