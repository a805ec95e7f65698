// The client against a running server, also over a link that fails.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { before, test } from "node:test";

import { UnbrokenError, wasApplied, type Recorded } from "unbroken";

import { type Fault, type Faulty, KEY, client, faulty, fresh, problem } from "./world.js";

const code = fresh("streak");
const unbroken = client();

before(() => unbroken.post("/streaks", { body: { code, name: "Daily" } }));

async function behind(faults: Fault[], work: (link: Faulty) => Promise<void>): Promise<void> {
  const link = await faulty(...faults);
  try {
    await work(link);
  } finally {
    await link.close();
  }
}

function applied(answer: Recorded | { status: "accepted" }): Recorded {
  assert.ok(wasApplied(answer), "nobody applied it in time");
  return answer;
}

const isCalled = (name: string) => (error: unknown) =>
  error instanceof UnbrokenError && error.code === name;

test("it records, repeats and reads", async () => {
  const tick = { participant_id: fresh("a/b ü?#%"), streak_code: code };
  assert.equal(applied(await unbroken.record(tick, { waitSeconds: 10 })).new_count, 1);
  assert.equal(applied(await unbroken.record(tick, { waitSeconds: 10 })).already_recorded, true);
  const [streak] = await unbroken.streaksOf(tick.participant_id);
  assert.deepEqual([streak?.code, streak?.current_count], [code, 1]);
  assert.equal((await unbroken.participant(tick.participant_id)).participant_id, tick.participant_id);
  assert.equal((await unbroken.exportParticipant(tick.participant_id)).ticks.length, 2);
});

test("it does not wait when told so, and can ask later", async () => {
  const tick = { participant_id: fresh("p"), streak_code: code };
  const answer = await unbroken.record(tick, { waitSeconds: 0 });
  assert.ok(!wasApplied(answer));
  const outcome = await unbroken.get("/ticks/{tick_id}", { path: { tick_id: answer.tick_id } });
  assert.ok(["accepted", "applied"].includes(outcome.status));
});

test("a connection that is cut after the write costs no second write", async () => {
  await behind(["cut after the answer"], async (link) => {
    const body = { participant_id: fresh("p"), amount: 30 };
    await client({ baseUrl: link.url }).post("/points/award", { body, waitSeconds: 10 });
    const keys = link.seen.map((one) => one.headers["idempotency-key"]);
    assert.equal(keys.length, 2);
    assert.ok(keys[0]);
    assert.equal(keys[0], keys[1]);
    const path = { participant_id: body.participant_id };
    const points = await unbroken.get("/participants/{participant_id}/points", { path });
    assert.equal(JSON.stringify(points).match(/"balance":(\d+)/)?.[1], "30");
  });
});

test("what is not the same twice is not sent again, unless nothing was accepted", async () => {
  await behind(["cut after the answer"], async (link) => {
    const body = { code: fresh("streak"), name: "Once" };
    const call = client({ baseUrl: link.url }).post("/streaks", { body });
    await assert.rejects(call, isCalled("connection_failed"));
    assert.equal(link.seen.length, 1);
  });
  await behind([problem(503, "outcome_unknown", { "Retry-After": "0" })], async (link) => {
    const body = { code: fresh("streak"), name: "Once" };
    const call = client({ baseUrl: link.url }).post("/streaks", { body });
    await assert.rejects(call, isCalled("outcome_unknown"));
    assert.equal(link.seen.length, 1);
  });
  await behind([problem(503, "unavailable", { "Retry-After": "0" })], async (link) => {
    const body = { code: fresh("streak"), name: "Once" };
    assert.equal((await client({ baseUrl: link.url }).post("/streaks", { body })).code, body.code);
    assert.equal(link.seen.length, 2);
  });
  await behind([problem(503, "overloaded", { "Retry-After": "0" })], async (link) => {
    const body = { code: fresh("streak"), name: "Once" };
    assert.equal((await client({ baseUrl: link.url }).post("/streaks", { body })).code, body.code);
    assert.equal(link.seen.length, 2);
  });
});

test("it waits as long as Retry-After asks, as a number and as a date", async () => {
  const inMs = (later: number) => new Date(Date.now() + later).toUTCString(); // whole seconds
  for (const [asked, leastMs] of [[() => "1", 1_000], [() => inMs(2_000), 900]] as const) {
    const value = asked();
    await behind([problem(429, "RATE_LIMIT_KEY_EXCEEDED", { "Retry-After": value })], async (link) => {
      const started = Date.now();
      await client({ baseUrl: link.url }).streaksOf("user_42");
      assert.ok(Date.now() - started >= leastMs, `${value}: ${Date.now() - started} ms`);
    });
  }
});

test("a longer Retry-After than is waited for is thrown at once", async () => {
  await behind([problem(429, "RATE_LIMIT_KEY_EXCEEDED", { "Retry-After": "31" })], async (link) => {
    const call = client({ baseUrl: link.url }).streaksOf("user_42");
    await assert.rejects(call, (error: UnbrokenError) => error.retryAfterSeconds === 31);
    assert.equal(link.seen.length, 1);
  });
});

test("it gives up after its tries, and says what came last", async () => {
  const html = () => new Response("<h1>Bad gateway</h1>", { status: 502 });
  await behind([html(), html(), html()], async (link) => {
    const call = client({ baseUrl: link.url, retries: 2 }).streaksOf("user_42");
    await assert.rejects(call, isCalled("unexpected_response"));
    assert.equal(link.seen.length, 3);
  });
});

test("a server that is silent ends in a timeout, an aborted call in its reason", async () => {
  await behind([], async (link) => {
    const slow = () => new Promise<never>(() => undefined);
    const never: typeof fetch = (_, init) =>
      Promise.race([slow(), new Promise<never>((_, no) => init?.signal?.addEventListener("abort", () => no(new Error("aborted"))))]);
    const hung = client({ baseUrl: link.url, fetch: never, timeoutMs: 50, retries: 0 });
    await assert.rejects(hung.streaksOf("user_42"), isCalled("timeout"));
    const reason = new Error("gone");
    const signal = AbortSignal.abort(reason);
    await assert.rejects(unbroken.streaksOf("user_42", { signal }), reason);
    const later = new AbortController();
    setTimeout(() => later.abort(reason), 50);
    const waiting = client({ baseUrl: link.url, fetch: never });
    await assert.rejects(waiting.streaksOf("user_42", { signal: later.signal }), reason);
  });
});

test("a redirect is not followed, so the key stays here", async () => {
  await behind([], async (elsewhere) => {
    const away = new Response(null, { status: 307, headers: { Location: elsewhere.url } });
    await behind([away], async (link) => {
      const call = client({ baseUrl: link.url }).streaksOf("user_42");
      await assert.rejects(call, isCalled("unexpected_redirect"));
      assert.equal(elsewhere.seen.length, 0);
    });
  });
});

test("an error is typed and says which field", async () => {
  const call = unbroken.record({ participant_id: "", streak_code: code });
  await assert.rejects(call, (error: UnbrokenError) => {
    assert.equal(error.code, "validation_error");
    assert.equal(error.status, 422);
    assert.equal(error.errors[0]?.field, "participant_id");
    assert.equal(
      String(error),
      "UnbrokenError: Invalid: participant_id (validation_error): participant_id must not be empty",
    );
    assert.ok(error.requestId);
    return true;
  });
  const stranger = client({ apiKey: "bq_live_wrong" });
  await assert.rejects(stranger.streaksOf("user_42"), isCalled("unauthorized"));
});

test("ids that no path can hold are refused before they are sent", async () => {
  for (const id of ["", ".", ".."]) {
    await assert.rejects(unbroken.streaksOf(id), TypeError);
  }
  const profile = unbroken.participant("..");
  await assert.rejects(profile, isCalled("participant_not_found"));
});

test("a printed client shows no key", () => {
  assert.ok(!inspect(unbroken, { depth: 9, showHidden: true }).includes(KEY));
  assert.ok(!JSON.stringify(unbroken).includes(KEY));
});

test("many ticks go in parts, and each has its result", async () => {
  await behind([], async (link) => {
    async function* ticks() {
      for (let nth = 0; nth < 2_001; nth += 1) {
        yield { participant_id: nth === 1_500 ? "" : `many_${nth}`, streak_code: code };
      }
    }
    const results = [];
    for await (const one of client({ baseUrl: link.url }).recordAll(ticks())) results.push(one);
    assert.deepEqual(results.map((one) => one.index), [...results.keys()]);
    assert.equal(results.length, 2_001);
    assert.deepEqual(results.filter((one) => one.error).map((one) => one.index), [1_500]);
    assert.equal(link.seen.length, 3);
  });
});

test("large items make smaller parts", async () => {
  await behind([], async (link) => {
    const metadata = { text: "x".repeat(15_000) };
    const ticks = Array.from({ length: 100 }, (_, nth) => ({
      participant_id: `large_${nth}`, streak_code: code, metadata,
    }));
    const results = [];
    for await (const one of client({ baseUrl: link.url }).recordAll(ticks)) results.push(one);
    assert.ok(results.every((one) => one.tick_id));
    assert.equal(results.length, 100);
    assert.equal(link.seen.length, 2);
  });
});

test("a list is read page by page, a feed cursor by cursor", async () => {
  const prefix = fresh("listed");
  for (let nth = 0; nth < 3; nth += 1) {
    await unbroken.post("/streaks", { body: { code: `${prefix}_${nth}`, name: "Listed" } });
  }
  await behind([], async (link) => {
    const reader = client({ baseUrl: link.url });
    const codes = [];
    for await (const one of reader.pages("/streaks", { query: { page_size: 2 } })) codes.push(one.code);
    assert.deepEqual(codes.filter((one) => one.startsWith(prefix)), [0, 1, 2].map((n) => `${prefix}_${n}`));
    assert.equal(new Set(codes).size, codes.length);
    assert.equal(link.seen.length, Math.ceil(codes.length / 2));
  });
  const person = fresh("p");
  applied(await unbroken.record({ participant_id: person, streak_code: code }, { waitSeconds: 10 }));
  const query = { participant_id: person, limit: 1 };
  let cursor: string | null = null;
  const counted = [];
  for await (const page of unbroken.feed("/facts", { query }).pages()) {
    counted.push(...page.items.map((fact) => fact.sequence));
    cursor = page.next_cursor;
  }
  assert.deepEqual(counted, [1]);
  const rest = [];
  for await (const fact of unbroken.feed("/facts", { query: { ...query, after: cursor! } })) rest.push(fact);
  assert.deepEqual(rest, []);
});

test("awards go in, one and many", async () => {
  const badge = fresh("badge");
  await unbroken.post("/admin/badges", { body: { code: badge, name: "Badge" } });
  const person = fresh("p");
  const answer = await unbroken.award({ participant_id: person, badge_code: badge }, { waitSeconds: 10 });
  assert.ok(wasApplied(answer));
  const results = [];
  for await (const one of unbroken.awardAll([{ participant_id: person, badge_code: "none" }])) results.push(one);
  assert.equal(results[0]?.error?.code, "badge_not_found");
});

test("keys are made for exactly what takes them, and what is the same twice has its path", async () => {
  const { KEYED, SAME_TWICE } = await import(new URL("../dist/retry.js", import.meta.url).href);
  const page = readFileSync(new URL("../../../docs/openapi.json", import.meta.url), "utf8");
  const posts: string[] = [];
  const keyed: string[] = [];
  for (const [path, operations] of Object.entries<any>(JSON.parse(page).paths)) {
    const short = path.replace("/api/v1/gamify", "");
    if (operations.post) posts.push(short);
    const names = (operations.post?.parameters ?? []).map((one: { name: string }) => one.name);
    if (names.includes("Idempotency-Key")) keyed.push(short);
  }
  assert.deepEqual([...KEYED].sort(), keyed.sort());
  for (const path of SAME_TWICE) assert.ok(posts.includes(path), path);
});

