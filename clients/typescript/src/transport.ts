// One request with its tries: the only place that calls fetch.

import { UnbrokenError, errorOf } from "./errors.js";
import { randomId } from "./ids.js";
import { KEYED, delayMs, isRepeatable, sleep } from "./retry.js";
import { PREFIX, type CallOptions, type Method } from "./types.js";

export interface Options {
  /** The URL of Unbroken, such as `https://gamify.example.com`. */
  baseUrl: string;
  /** `bq_live_…` or `bq_test_…`: for servers only, never in a browser. */
  apiKey: string;
  /** Time limit of one try; default 15 s. */
  timeoutMs?: number;
  /** Retries after the first try; default 3. */
  retries?: number;
  /** The longest `Retry-After` to wait for; default 30 s. */
  retryAfterMaxMs?: number;
  fetch?: typeof fetch;
}

export interface Call extends CallOptions {
  method: Method;
  path: string;
  values?: Record<string, unknown>;
  query?: Record<string, unknown>;
  body?: unknown;
}

/** A path with its values in place of `{…}`. */
export function filled(path: string, values: Record<string, unknown> = {}): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const text = String(values[name] ?? "");
    if (text === "" || text === "." || text === "..") {
      // Every client of HTTP takes dots as steps of the path, however they are encoded.
      throw new TypeError(`${name} ${JSON.stringify(text)} cannot stand in a path`);
    }
    return encodeURIComponent(text);
  });
}

/** The URL of a call. */
export function address(baseUrl: string, call: Call): string {
  const path = filled(call.path, call.values);
  const prefix = /^\/(v1\/|livez|readyz|openapi\.json)/.test(path) ? "" : PREFIX;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(call.query ?? {})) {
    if (value !== undefined && value !== null) query.set(name, String(value));
  }
  return `${baseUrl.replace(/\/+$/, "")}${prefix}${path}${query.size ? `?${query}` : ""}`;
}

/** Send a call, with retries where they are safe; returns the body. Throws UnbrokenError. */
export async function send(options: Options, call: Call): Promise<unknown> {
  const url = address(options.baseUrl, call);
  const request = prepared(options.apiKey, call);
  const canRepeat = isRepeatable(call.method, call.path, "Idempotency-Key" in request.headers);
  const longest = options.retryAfterMaxMs ?? 30_000;
  for (let tries = 1; ; tries += 1) {
    try {
      return await once(options, url, request, call.signal);
    } catch (error) {
      if (!(error instanceof UnbrokenError) || tries > (options.retries ?? 3)) throw error;
      const delay = delayMs(error, tries, canRepeat, longest, Math.random());
      if (delay === null) throw error;
      await sleep(delay, call.signal);
    }
  }
}

interface Prepared {
  method: string;
  headers: Record<string, string>;
  body: string | null;
}

function prepared(apiKey: string, call: Call): Prepared {
  const headers: Record<string, string> = { "X-API-Key": apiKey, Accept: "application/json" };
  if (call.body !== undefined) headers["Content-Type"] = "application/json";
  const key = call.idempotencyKey ?? (KEYED.includes(call.path) ? randomId() : undefined);
  if (key !== undefined) headers["Idempotency-Key"] = key;
  const wait = call.waitSeconds;
  if (wait !== undefined) headers["Prefer"] = wait > 0 ? `wait=${wait}` : "respond-async";
  const body = call.body === undefined ? null : JSON.stringify(call.body);
  return { method: call.method.toUpperCase(), headers, body };
}

async function once(
  options: Options, url: string, request: Prepared, outer?: AbortSignal,
): Promise<unknown> {
  outer?.throwIfAborted();
  const inner = new AbortController();
  const stop = () => inner.abort();
  outer?.addEventListener("abort", stop, { once: true });
  const timer = setTimeout(stop, options.timeoutMs ?? 15_000);
  try {
    // Redirects are not followed: they would send the key to another host.
    const init = { ...request, redirect: "manual" as const, signal: inner.signal };
    const response = await (options.fetch ?? fetch)(url, init);
    if (!response.ok) throw await errorOf(response);
    return await response.json();
  } catch (error) {
    outer?.throwIfAborted();
    throw error instanceof UnbrokenError ? error : failed(error, inner.signal.aborted);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", stop);
  }
}

function failed(error: unknown, isLate: boolean): UnbrokenError {
  const [code, detail] = isLate
    ? (["timeout", "No answer within timeoutMs"] as const)
    : (["connection_failed", "No answer: is the server there?"] as const);
  return new UnbrokenError(code, detail, 0, null, null, error);
}
