// The proxy in front of a running server.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { createProxy, type ProxyOptions } from "unbroken/proxy";

import { KEY, URL_, client, faulty, fresh, problem } from "./world.js";

const unbroken = client();

function proxy(options: Partial<ProxyOptions> = {}) {
  const asked: string[] = [];
  const mayRead = (id: string) => asked.push(id) > 0;
  const handle = createProxy({ baseUrl: URL_, apiKey: KEY, mayRead, ...options });
  const get = (path: string, init: RequestInit = {}) =>
    handle(new Request(`http://app.test/api/unbroken${path}`, init));
  return { get, asked };
}

async function person(id = fresh("p")): Promise<string> {
  const code = fresh("streak");
  await unbroken.post("/streaks", { body: { code, name: "Daily" } });
  await unbroken.record({ participant_id: id, streak_code: code }, { waitSeconds: 10 });
  return id;
}

test("every read of a participant passes, and nothing else of the API", async () => {
  const { get } = proxy();
  const id = await person();
  const page = readFileSync(new URL("../../../docs/openapi.json", import.meta.url), "utf8");
  for (const [path, operations] of Object.entries<any>(JSON.parse(page).paths)) {
    const short = path.replace("/api/v1/gamify", "");
    // For admins, and not for a browser: everything about a participant, and why it paused.
    const isForAdmins = /\/(export|pauses)$/.test(short);
    const isRead = short.startsWith("/participants/{participant_id}") && !isForAdmins;
    const code = (await unbroken.streaksOf(id))[0]!.code;
    const real = short.replace("{participant_id}", id).replace(/\{\w+\}/, code);
    const { status } = await get(real);
    assert.equal(status, isRead && operations.get ? 200 : 404, path);
  }
});

test("only GET passes", async () => {
  const { get, asked } = proxy();
  for (const method of ["POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"]) {
    const answer = await get("/participants/x/streaks", { method });
    assert.deepEqual([answer.status, answer.headers.get("Allow")], [405, "GET"]);
  }
  assert.deepEqual(asked, []);
});

test("whose they are is asked of the callback, decoded, and refused is refused", async () => {
  const id = await person(fresh("a/b ü"));
  const { get, asked } = proxy();
  const answer = await get(`/participants/${encodeURIComponent(id)}/streaks`);
  assert.equal(((await answer.json()) as { streaks: unknown[] }).streaks.length, 1);
  assert.deepEqual(asked, [id]);
  for (const mayRead of [() => false, async () => false]) {
    const refused = await proxy({ mayRead }).get(`/participants/${encodeURIComponent(id)}/streaks`);
    assert.equal(refused.status, 403);
    assert.equal(((await refused.json()) as { code: string }).code, "forbidden");
  }
  const broken = proxy({ mayRead: () => { throw new Error("no session store"); } });
  await assert.rejects(broken.get("/participants/x/streaks"), /no session store/);
});

test("no spelling of a path reads another participant than the one asked about", async () => {
  const victim = await person();
  const mine = (id: string) => id === `${victim}/streaks` || id === "mine";
  const { get } = proxy({ mayRead: mine });
  const tries = [
    `/participants/${victim}%2Fstreaks`, // the profile of "victim/streaks", not victim's streaks
    `/participants/mine/../${victim}/streaks`,
    `/participants/mine/%2e%2e/${victim}/streaks`,
    `/participants/mine%2F..%2F${victim}/streaks`,
    `/participants/mine/streaks/..%2F..%2F${victim}/history`,
    `/participants/mine?participant_id=${victim}`,
    `/participants/mine/streaks?participant_id=${victim}`,
    `/participants/mine//${victim}/streaks`,
    `/participants/mine\\..\\${victim}/streaks`,
    `/participants/mine/streaks/../history`,
    `/participants/mine/streaks/%2e%2e/history`,
    `/participants?participant_id=${victim}`,
    `/participants/%ff/streaks`,
    `/admin/participants`,
  ];
  for (const path of tries) {
    const answer = await get(path);
    const text = await answer.text();
    assert.ok([403, 404].includes(answer.status) || text.includes('"mine"'), `${path} ${text}`);
    assert.ok(!text.includes(`"${victim}"`), path);
  }
});

test("a query passes, nothing is cached, and the API's own words come through", async () => {
  const { get } = proxy();
  const id = await person();
  const state = await get(`/participants/${id}/state?include=streaks`);
  assert.ok(!("points" in ((await state.json()) as object)));
  assert.equal(state.headers.get("Cache-Control"), "no-store");
  assert.ok(state.headers.get("X-Request-Id"));
  const wrong = await get(`/participants/${id}/state?include=nothing`);
  assert.equal(((await wrong.json()) as { code: string }).code, "invalid_include");
  const nobody = await get("/participants/nobody");
  assert.deepEqual([nobody.status, nobody.headers.get("Content-Type")], [404, "application/problem+json"]);
});

test("a key that is refused, a redirect and a server that is away are no fault of the browser's", async () => {
  assert.equal((await proxy({ apiKey: "bq_live_wrong" }).get("/participants/x/streaks")).status, 502);
  const away = await proxy({ baseUrl: "http://127.0.0.1:9" }).get("/participants/x/streaks");
  assert.deepEqual([away.status, away.headers.get("Retry-After")], [503, "1"]);
  const elsewhere = new Response(null, { status: 302, headers: { Location: "http://127.0.0.1:9" } });
  const link = await faulty(elsewhere, problem(429, "RATE_LIMIT_KEY_EXCEEDED", { "Retry-After": "7" }));
  try {
    const { get } = proxy({ baseUrl: link.url });
    assert.equal((await get("/participants/x/streaks")).status, 502);
    const limited = await get("/participants/x/streaks", { headers: { Cookie: "a=b", "X-API-Key": "mine" } });
    assert.deepEqual([limited.status, limited.headers.get("Retry-After")], [429, "7"]);
    assert.equal(link.seen[1]?.headers["x-api-key"], KEY);
    assert.equal(link.seen[1]?.headers["cookie"], undefined);
  } finally {
    await link.close();
  }
});
