import { createHmac, timingSafeEqual } from "node:crypto";

// The event in a request of Licenzy's; throws for anything else.
// `body` is the raw Buffer (express.raw, not express.json), `headers` have names in lower case.
export function verify(body, headers, secret) {
  const id = headers["webhook-id"];
  const sentAt = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(sentAt)) <= 300)) throw new Error("too old or too new");
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const digest = createHmac("sha256", key).update(`${id}.${sentAt}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${digest}`);
  for (const signature of (headers["webhook-signature"] ?? "").split(" ")) {
    const given = Buffer.from(signature);
    if (given.length === expected.length && timingSafeEqual(given, expected)) {
      return JSON.parse(body.toString("utf8"));
    }
  }
  throw new Error("no good signature");
}
