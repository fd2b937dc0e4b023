import { test } from "node:test";
import assert from "node:assert/strict";
import { backoff, restartDelay } from "../page/reconnect.js";

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
