import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const screenshots = process.env.SCREENSHOTS;
const limit = { timeout: 60_000 }; // of a test, so that none hangs
const bench = new URL("../../../bin/sluice-bench", import.meta.url).pathname;

let browser, dir, page;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), "sluice-report-"));
  page = join(dir, "run.html");
  const floor = spawn(bench, ["floor", "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [line] = await once(createInterface(floor.stdout), "line");
    const url = line.match(/ws:\S+/)[0];
    await promisify(execFile)(bench, ["echo", url, "-c", "20", "--rate", "2k/s", "-d", "4s",
      "--warmup", "0", "--ui", "none", "--pid", String(floor.pid), "--out", `html=${page}`]);
  } finally {
    floor.kill();
    await once(floor, "exit");
  }
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}, limit);

after(async () => {
  await browser?.close();
  await rm(dir, { recursive: true, force: true });
}, limit);

test("it names no address outside", limit, async () => {
  assert.doesNotMatch(await readFile(page, "utf8"), /https?:\/\//);
});

for (const [name, options] of Object.entries({
  light: { viewport: { width: 1280, height: 900 } },
  dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  phone: { viewport: { width: 375, height: 700 } },
})) {
  test(`it draws, ${name}`, limit, async () => {
    const tab = await browser.newPage(options);
    const complaints = [], requests = [];
    tab.on("pageerror", (error) => complaints.push(String(error)));
    tab.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    tab.on("request", (request) => requests.push(request.url()));
    const url = pathToFileURL(page).href;
    await tab.goto(url);
    // Fonts and canvases are ready a frame later.
    await tab.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    const drawn = await tab.evaluate(() => [...document.querySelectorAll("canvas")].map((canvas) => {
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      let n = 0;
      for (let i = 3; i < pixels.length; i += 4) n += pixels[i] > 0;
      return n;
    }));
    assert.equal(drawn.length, 4, "charts");
    for (const n of drawn) assert.ok(n > 1000, `a chart has ${n} pixels`);
    const wide = await tab.evaluate(() =>
      document.documentElement.scrollWidth > document.documentElement.clientWidth);
    assert.equal(wide, false, "it has to be scrolled sideways");
    assert.deepEqual(requests, [url]);
    assert.deepEqual(complaints, []);
    if (screenshots) {
      await mkdir(screenshots, { recursive: true });
      await tab.screenshot({ path: join(screenshots, `report-${name}.png`), fullPage: true });
    }
    await tab.close();
  });
}
