// Which requests may be sent again, and after how long.

import type { UnbrokenError } from "./errors.js";

/** Paths with an Idempotency-Key: the client creates one, so a retry is not a second write. */
export const KEYED: readonly string[] = [
  "/streaks/record",
  "/streaks/record/batch",
  "/streaks/{code}/restore",
  "/badges/award/batch",
  "/points/award",
  "/points/award-batch",
  "/points/deduct",
  "/tiers/assign",
  "/rewards/{reward_id}/claim",
  "/participants/{participant_id}/merge",
  "/participants/{participant_id}/pauses",
  "/participants/{participant_id}/streaks/{code}/freezes/buy",
  "/participants/{participant_id}/streaks/{code}/freezes/grant",
  "/participants/{participant_id}/streaks/{code}/repair",
  "/participants/{participant_id}/streaks/{code}/restore",
  "/freezes/batch",
  "/merges/batch",
  "/pauses/batch",
  "/repairs/batch",
  "/restores/batch",
  "/retractions/batch",
];

/** Idempotent POSTs: one tick per period, one badge per participant, upserts. */
export const SAME_TWICE: readonly string[] = [
  "/badges/award",
  "/participants",
  "/v1/participants",
];

/** Codes of a 503 after which nothing is stored, neither now nor later. */
const KEPT_NOTHING: readonly string[] = ["overloaded", "unavailable"];

const PASSING: readonly number[] = [0, 408, 429, 502, 503, 504];
const FIRST_MS = 200;
const MOST_MS = 10_000;

/** Whether sending a request twice has the same effect as sending it once. */
export function isRepeatable(method: string, path: string, hasKey: boolean): boolean {
  return method !== "post" || hasKey || SAME_TWICE.includes(path);
}

/** Milliseconds until the next try; null when there is none. `random` is from 0 to 1. */
export function delayMs(
  error: UnbrokenError,
  tries: number,
  canRepeat: boolean,
  longestMs: number,
  random: number,
): number | null {
  if (!PASSING.includes(error.status) || error.code === "unexpected_redirect") return null;
  // `outcome_unknown`, or an answer of an intermediary: it may have been carried out.
  const nothingWasDone = error.status === 429 || KEPT_NOTHING.includes(error.code);
  if (!canRepeat && !nothingWasDone) return null;
  const jittered = Math.min(MOST_MS, FIRST_MS * 2 ** (tries - 1)) * (0.5 + random / 2);
  const asked = error.retryAfterSeconds === null ? 0 : error.retryAfterSeconds * 1000;
  // Never earlier than `Retry-After`, and with jitter, so that refused requests do not return together.
  const delay = asked > 0 ? asked + jittered / 4 : jittered;
  return delay > longestMs ? null : delay;
}

/** Wait; rejects as soon as the signal is aborted. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
