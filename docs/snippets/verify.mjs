// Receive facts with Node 18 or later alone. Set PORT and UNBROKEN_WEBHOOK_SECRET.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const KEY = Buffer.from(process.env.UNBROKEN_WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const TOLERANCE_SECONDS = 300; // an old request that somebody recorded is not accepted again
const BODY_BYTES_MAX = 1_000_000;
const seen = new Set(); // in earnest: a table with a unique key on the webhook-id

// `body` is the bytes as they came: parsed and written again they are not those that were signed.
export function isGenuine(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  const age = Math.abs(Date.now() / 1000 - Number(timestamp));
  if (!id || !/^\d+$/.test(timestamp) || age > TOLERANCE_SECONDS) return false;
  const expected = createHmac("sha256", KEY).update(`${id}.${timestamp}.`).update(body).digest();
  return (headers["webhook-signature"] ?? "")
    .split(" ") // one for each secret while it is being rotated
    .filter((one) => one.startsWith("v1,"))
    .map((one) => Buffer.from(one.slice(3), "base64"))
    .some((given) => given.length === expected.length && timingSafeEqual(given, expected));
}

async function receive(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    parts.push(part);
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) return 413;
  }
  const body = Buffer.concat(parts);
  if (!isGenuine(request.headers, body)) return 401;
  const fact = JSON.parse(body);
  if (!seen.has(fact.id)) {
    seen.add(fact.id); // the webhook-id: the same on every attempt
    console.log(fact.type, fact.participant_id, fact.sequence);
  }
  return 204; // at once; work that takes longer goes into a queue
}

createServer((request, response) => {
  receive(request).then(
    (status) => response.writeHead(status).end(),
    () => response.destroy(), // the sender went away, and will come again
  );
}).listen(Number(process.env.PORT), "127.0.0.1");
