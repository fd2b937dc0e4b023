// A gateway of its own for every test.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { once } from "node:events";

const binary = process.env.SLUICE_BIN ?? new URL("../../../../bin/sluice", import.meta.url).pathname;

// The settings are those that start gives, whatever the environment says; and SLUICE_BIN is none.
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith("SLUICE_")));

/** Gateway is a running sluice; stop and start it again on the ports that it had first. */
export class Gateway {
  #process = null;
  #exited = null; // the promise of the exit code
  #ports = { listen: "127.0.0.1:0", admin: "127.0.0.1:0" };

  /** page is the address of the demo page. */
  page = "";

  #more;

  /** more are further flags. */
  constructor(...more) {
    this.#more = more;
  }

  /** start returns once the gateway has said where it is. */
  async start() {
    const child = this.#process = spawn(binary, [
      "--listen", this.#ports.listen, "--admin", this.#ports.admin,
      "--drain-duration", "0", "--log-level", "warn",
      ...this.#more,
    ], { stdio: ["ignore", "pipe", "inherit"], env: environment });
    this.#exited = once(child, "exit").then(([code]) => code);
    const found = {};
    for await (const line of createInterface({ input: child.stdout })) {
      const chat = line.match(/^chat +ws:\/\/([0-9.:]+)\//);
      const demo = line.match(/^demo +http:\/\/([0-9.:]+)\//);
      if (chat) found.listen = chat[1];
      if (demo) found.admin = demo[1];
      if (found.listen && found.admin) break;
    }
    if (!found.listen || !found.admin) {
      throw new Error("the gateway ended, or did not say where it listens and where its page is");
    }
    child.stdout.resume();
    this.#ports = found;
    this.page = `http://${found.admin}/`;
  }

  /** stop ends it and returns its exit code, null if it did not run or a signal killed it. */
  async stop() {
    const child = this.#process;
    if (!child) return null;
    this.#process = null;
    child.kill("SIGTERM");
    return this.#exited;
  }
}
