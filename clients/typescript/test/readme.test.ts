// The README's snippets, run from the first to the last.

import assert from "node:assert/strict";
import { before, test } from "node:test";

import { client } from "./world.js";

before(() => client().post("/streaks", { body: { code: "daily_login", name: "Daily Login" } }));

test("they write, read, and answer a browser", async () => {
  const lines: string[] = [];
  const { log } = console;
  console.log = (...words) => void lines.push(words.join(" "));
  const { GET } = await import("./generated/readme_ts.js").finally(() => (console.log = log));
  assert.equal(lines.includes("started: 1 in a row"), true, lines.join("\n"));
  assert.equal(lines.includes("1 1"), true);
  assert.equal(lines.includes("item 2: Invalid: participant_id"), true, lines.join("\n"));
  assert.equal(lines.includes("daily_login"), true);
  assert.ok(lines.some((line) => line.startsWith("behavior.streak_recorded user_42 1")));
  assert.ok(lines.some((line) => line.startsWith("404 Streak 'no_such_streak' not found")));
  assert.equal((await client().streaksOf("grace")).length, 1);
  const path = "http://app.test/api/unbroken/participants/user_42/streaks";
  const headers = { Cookie: "user=user_42" };
  assert.equal((await GET(new Request(path, { headers }))).status, 200);
  assert.equal((await GET(new Request(path))).status, 403);
});
