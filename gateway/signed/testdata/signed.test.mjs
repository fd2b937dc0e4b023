// Reads a welcome, messages and texts from Go; writes what the messages say and the texts signed.
import assert from "node:assert/strict";
import { openSigned } from "../../admin/demo/page/signed.js";

let input = "";
for await (const chunk of process.stdin) input += chunk;
const { welcome, down, texts } = JSON.parse(input);

const spoilt = await openSigned(welcome);
await assert.rejects(spoilt.verify(down[0].replace("hello", "hallo")), /signature/);
await assert.rejects(spoilt.verify(down[1]), /missing/); // the first has not come
const replayed = await openSigned(welcome);
await replayed.verify(down[0]);
await assert.rejects(replayed.verify(down[0]), /again/);
await assert.rejects(replayed.verify("hello"), /envelope/);
const stranger = await openSigned({ ...welcome, connection: "other" });
await assert.rejects(stranger.verify(down[0]), /signature/);

const session = await openSigned(welcome);
const answer = { down: [], up: [] };
for (const envelope of down) answer.down.push(await session.verify(envelope));
for (const text of texts) answer.up.push(await session.sign(text));
console.log(JSON.stringify(answer));
