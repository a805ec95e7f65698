// The hook in a real React tree, through the proxy, on a running server.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { Window } from "happy-dom";
import { createProxy } from "unbroken/proxy";
import type { UseStreaks } from "unbroken/react";

import { type Mounted, mounted } from "./mounted.js";
import { KEY, URL_, client, fresh, until } from "./world.js";

const window = new Window({ url: "http://app.test/" });
const network = globalThis.fetch;
for (const [name, value] of Object.entries({
  window, document: window.document, navigator: window.navigator, IS_REACT_ACT_ENVIRONMENT: false,
})) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

// Loaded once there is a document.
const { createRoot } = await import("react-dom/client");
const { StrictMode } = await import("react");
const { useStreaks } = await import("unbroken/react");
const { StreakPanel } = await import("./generated/readme_tsx.js");

const unbroken = client();
const codes = [fresh("one"), fresh("two")] as const;
let backend: Mounted;
let holding: Promise<void> | null = null; // while it is pending, the backend does not answer
let isRefused = false;
const complaints: unknown[][] = [];
const unmounts: (() => void)[] = [];

before(async () => {
  for (const code of codes) await unbroken.post("/streaks", { body: { code, name: code } });
  const handle = createProxy({ baseUrl: URL_, apiKey: KEY, mayRead: () => !isRefused });
  backend = await mounted(async (request) => {
    await holding;
    return handle(request);
  });
  // A browser completes a relative address; Node's fetch has no page to complete it from.
  globalThis.fetch = (input, init) =>
    network(String(input).startsWith("/") ? `${backend.url}${input}` : input, init);
  console.error = (...words) => complaints.push(words);
});

afterEach(() => {
  unmounts.splice(0).forEach((unmount) => unmount());
  seen(true);
  [holding, isRefused] = [null, false];
  assert.deepEqual(complaints.splice(0), [], "React has complained");
});

after(async () => {
  globalThis.fetch = network;
  await backend.close();
  await window.happyDOM.close();
});

function seen(isSeen: boolean): void {
  const value = isSeen ? "visible" : "hidden";
  Object.defineProperty(document, "visibilityState", { value, configurable: true });
  document.dispatchEvent(new window.Event("visibilitychange") as unknown as Event);
}

async function ticked(id: string, ...which: string[]): Promise<string> {
  for (const code of which) {
    await unbroken.record({ participant_id: id, streak_code: code }, { waitSeconds: 10 });
  }
  return id;
}

interface Shown {
  all: UseStreaks[];
  last: () => UseStreaks;
  codes: () => string[];
  show: (id: string | null) => void;
  unmount: () => void;
}

function shown(first: string | null, refreshMs = 60_000, isStrict = false): Shown {
  const all: UseStreaks[] = [];
  function Probe({ id }: { id: string | null }) {
    all.push(useStreaks(id, { refreshMs }));
    return null;
  }
  const root = createRoot(document.createElement("div"));
  const show = (id: string | null) =>
    root.render(isStrict ? <StrictMode><Probe id={id} /></StrictMode> : <Probe id={id} />);
  const unmount = () => root.unmount();
  unmounts.push(unmount);
  show(first);
  const last = () => all.at(-1) ?? { streaks: null, isLoading: true, error: null, refresh: async () => {} };
  return { all, last, show, unmount, codes: () => (last().streaks ?? []).map((one) => one.code) };
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

test("the panel of the README shows a participant's streaks", async () => {
  const id = await ticked(fresh("p"), codes[0]);
  const place = document.createElement("div");
  const root = createRoot(place);
  unmounts.push(() => root.unmount());
  let release = () => {};
  holding = new Promise((resolve) => (release = resolve));
  root.render(<StreakPanel participantId={id} />);
  await until(() => place.textContent !== "");
  assert.equal(place.textContent, "…");
  release();
  await until(() => place.querySelector("li") !== null);
  assert.match(place.textContent ?? "", new RegExp(`^${codes[0]}: 1`));
});

test("it loads, asks again by itself, and at once when told to", async () => {
  const id = await ticked(fresh("a/b ü"), codes[0]);
  const { all, last, codes: found } = shown(id, 1_000);
  await until(() => last().streaks !== null);
  assert.deepEqual([all[0]?.isLoading, last().isLoading, last().error], [true, false, null]);
  assert.deepEqual(found(), [codes[0]]);
  await ticked(id, codes[1]);
  await until(() => found().length === 2);
  const before = backend.statuses.length;
  await last().refresh();
  assert.equal(backend.statuses.length, before + 1);
});

test("a refresh is the same function for as long as the component lives", async () => {
  const { all, last, show } = shown(await ticked(fresh("p"), codes[0]));
  await until(() => last().streaks !== null);
  show("somebody_else");
  await until(() => last().streaks?.length === 0);
  assert.equal(new Set(all.map((one) => one.refresh)).size, 1);
});

test("another participant never shows the streaks of the one before", async () => {
  const [one, two] = [await ticked(fresh("p"), codes[0]), await ticked(fresh("p"), codes[1])];
  const { all, last, show, codes: found } = shown(one);
  await until(() => last().streaks !== null);
  const rendered = all.length;
  show(two);
  await until(() => found()[0] === codes[1]);
  assert.deepEqual(all[rendered]?.streaks, null);
  assert.ok(all.slice(rendered).every((each) => each.streaks?.[0]?.code !== codes[0]));
  show(null);
  await until(() => last().streaks === null);
  assert.equal(last().isLoading, false);
});

test("an unmount aborts what is under way, and nothing comes after", async () => {
  let release = () => {};
  holding = new Promise((resolve) => (release = resolve));
  const aborted = backend.aborted;
  const { all, unmount, last } = shown(await ticked(fresh("p"), codes[0]), 1_000);
  await until(() => all.length > 0);
  const { refresh } = last();
  await pause(100);
  unmount();
  const rendered = all.length;
  await until(() => backend.aborted === aborted + 1);
  release();
  const asked = backend.statuses.length;
  await refresh();
  await pause(1_300);
  assert.equal(all.length, rendered);
  assert.ok(backend.statuses.length <= asked + 1, "it goes on asking");
});

test("a hidden tab does not ask; a seen one asks at once when it is late", async () => {
  const id = await ticked(fresh("p"), codes[0]);
  const { last, codes: found } = shown(id, 1_000);
  await until(() => last().streaks !== null);
  seen(false);
  const asked = backend.statuses.length;
  await ticked(id, codes[1]);
  await pause(2_300);
  assert.equal(backend.statuses.length, asked);
  assert.equal(found().length, 1);
  seen(true);
  await until(() => found().length === 2, 1);
});

test("a tab that is hidden while an answer is on its way asks no more", async () => {
  let release = () => {};
  holding = new Promise((resolve) => (release = resolve));
  const { all, last } = shown(await ticked(fresh("p"), codes[0]), 1_000);
  await until(() => all.length > 0);
  seen(false);
  release();
  await until(() => last().streaks !== null);
  const asked = backend.statuses.length;
  await pause(1_300);
  assert.equal(backend.statuses.length, asked);
});

test("an error is told, what was there stays, and it recovers", async () => {
  const { last } = shown(await ticked(fresh("p"), codes[0]), 1_000);
  await until(() => last().streaks !== null);
  isRefused = true;
  await until(() => last().error !== null);
  assert.deepEqual([last().error?.code, last().streaks?.length], ["forbidden", 1]);
  isRefused = false;
  await until(() => last().error === null);
  assert.equal(last().streaks?.length, 1);
});

test("StrictMode mounts twice and leaves one that asks", async () => {
  const { last } = shown(await ticked(fresh("p"), codes[0]), 1_000, true);
  await until(() => last().streaks !== null);
  await pause(100);
  const asked = backend.statuses.length;
  await pause(2_400);
  assert.ok([2, 3].includes(backend.statuses.length - asked), `${backend.statuses.length - asked}`);
});
