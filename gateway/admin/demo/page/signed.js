// Signed chat messages, with WebCrypto. openSigned(welcome) takes the first message of a connection
// to a room that wants signatures, {"type":"welcome","connection":"…","key":"…","v":1}, and returns
//
//   sign(text)        the envelope to send instead of the text
//   verify(envelope)  {from, text, seq, ts} of a received one, or an error that says what is wrong
//
// Both are asynchronous and keep their order. The format is described in gateway/signed. WebCrypto
// exists in secure contexts only: https, or this machine.

const encoder = new TextEncoder();

const decode = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

const encode = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// covered are the bytes that a signature is about.
function covered(direction, id, from, text, seq, ts) {
  const number = (value, size) => {
    const bytes = new DataView(new ArrayBuffer(size));
    if (size === 8) bytes.setBigUint64(0, BigInt(value));
    else bytes.setUint32(0, value);
    return new Uint8Array(bytes.buffer);
  };
  const sized = (value) => {
    const bytes = encoder.encode(value);
    return [number(bytes.length, 4), bytes];
  };
  const parts = [encoder.encode("SLC1" + direction), ...sized(id), number(seq, 8), number(ts, 8),
    ...sized(from), ...sized(text)];
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export async function openSigned(welcome) {
  if (welcome.v !== 1) throw new Error(`signatures of version ${welcome.v} are unknown here`);
  const id = welcome.connection;
  const key = await crypto.subtle.importKey("raw", decode(welcome.key),
    { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
  let up = 0, down = 0;
  let before = Promise.resolve(); // the message before this one

  // inOrder runs one task after the other.
  const inOrder = (task) => {
    const result = before.then(task);
    before = result.catch(() => {});
    return result;
  };

  return {
    sign: (text) => inOrder(async () => {
      const seq = ++up, ts = Date.now();
      const mac = await crypto.subtle.sign("HMAC", key, covered("U", id, "", text, seq, ts));
      return JSON.stringify({ text, seq, ts, mac: encode(new Uint8Array(mac)) });
    }),

    verify: (envelope) => inOrder(async () => {
      let message;
      try {
        message = JSON.parse(envelope);
      } catch {
        throw new Error("it has no envelope");
      }
      const { from, text, seq, ts, mac } = message ?? {};
      if (typeof from !== "string" || typeof text !== "string" || typeof mac !== "string" ||
        !Number.isSafeInteger(seq) || !Number.isSafeInteger(ts)) {
        throw new Error("its envelope is not complete");
      }
      const good = await crypto.subtle.verify("HMAC", key, decode(mac),
        covered("D", id, from, text, seq, ts));
      if (!good) throw new Error("its signature is wrong");
      if (seq <= down) throw new Error("it came again");
      if (seq !== down + 1) {
        const missing = seq - down - 1;
        down = seq;
        throw new Error(`${missing} before it are missing`);
      }
      down = seq;
      return { from, text, seq, ts };
    }),
  };
}
