// The proxy for browsers: reads of one participant, with the key added on your server.
//
// Use `createProxy` where a Request is handled: a route of Next.js, an edge function, Hono.

import { randomId } from "./ids.js";
import { PREFIX } from "./types.js";

export interface ProxyOptions {
  /** The URL of Unbroken, such as `https://gamify.example.com`. */
  baseUrl: string;
  /** A participant key is enough; it never leaves your server. */
  apiKey: string;
  /** Whether the sender of this request may read this participant: check your session. */
  mayRead: (participantId: string, request: Request) => boolean | Promise<boolean>;
  /** The path of the proxy; default `/api/unbroken`. */
  prefix?: string;
  /** 10 s. */
  timeoutMs?: number;
  fetch?: typeof fetch;
}

/** The reads that are forwarded; all other requests are refused. */
export const READABLE: readonly RegExp[] = [
  /^$/,
  /^\/(streaks|badges|state|points|tier|rewards|challenges)$/,
  /^\/points\/transactions$/,
  /^\/streaks\/(?!\.{1,2}\/)[A-Za-z0-9_.:-]{1,50}\/(history|freezes)$/,
];

const PASSED_ON = ["Content-Type", "Retry-After", "X-Request-Id"];

/** A handler that answers GETs under its prefix with what the API answers. */
export function createProxy(options: ProxyOptions): (request: Request) => Promise<Response> {
  if (typeof options.mayRead !== "function") throw new TypeError("mayRead is missing");
  return async (request) => {
    if (request.method !== "GET") return refusal(405, "method_not_allowed", { Allow: "GET" });
    const url = new URL(request.url);
    const asked = readAs(url.pathname, options.prefix ?? "/api/unbroken");
    if (asked === null) return refusal(404, "route_not_found");
    if (!(await options.mayRead(asked.participantId, request))) return refusal(403, "forbidden");
    return forwarded(options, upstream(options.baseUrl, asked, url.searchParams));
  };
}

interface Asked {
  participantId: string;
  rest: string;
}

function readAs(path: string, prefix: string): Asked | null {
  const start = `${prefix.replace(/\/+$/, "")}/participants/`;
  if (!path.startsWith(start)) return null;
  const [, id = "", rest = ""] = /^([^/]+)(.*)$/.exec(path.slice(start.length)) ?? [];
  const participantId = decoded(id);
  if (participantId === null || !READABLE.some((one) => one.test(rest))) return null;
  return { participantId, rest };
}

function decoded(id: string): string | null {
  try {
    const text = decodeURIComponent(id);
    return text === "" || text === "." || text === ".." ? null : text;
  } catch {
    return null;
  }
}

function upstream(baseUrl: string, asked: Asked, query: URLSearchParams): string {
  const start = `${baseUrl.replace(/\/+$/, "")}${PREFIX}/participants`;
  const given = new URLSearchParams(query);
  given.delete("participant_id");
  if (asked.rest !== "") {
    return `${start}/${encodeURIComponent(asked.participantId)}${asked.rest}?${given}`;
  }
  // By the query: in a path, the id `a/streaks` would be read as the streaks of `a`.
  given.set("participant_id", asked.participantId);
  return `${start}?${given}`;
}

async function forwarded(options: ProxyOptions, url: string): Promise<Response> {
  try {
    const answer = await (options.fetch ?? fetch)(url, {
      headers: { "X-API-Key": options.apiKey, Accept: "application/json" },
      redirect: "manual",
      signal: AbortSignal.timeout(options.timeoutMs ?? 10_000),
    });
    // A refused key is the server's fault; the browser cannot fix it.
    if ([401, 403].includes(answer.status)) return refusal(502, "key_refused");
    if (answer.status < 200 || (answer.status >= 300 && answer.status < 400)) {
      return refusal(502, "unexpected_redirect");
    }
    const headers = new Headers({ "Cache-Control": "no-store" });
    for (const name of PASSED_ON) {
      const value = answer.headers.get(name);
      if (value !== null) headers.set(name, value);
    }
    return new Response(await answer.text(), { status: answer.status, headers });
  } catch {
    return refusal(503, "unavailable", { "Retry-After": "1" });
  }
}

const DETAILS: Record<string, string> = {
  method_not_allowed: "This proxy only reads",
  route_not_found: "This proxy knows no such path",
  forbidden: "You may not read this participant",
  key_refused: "The API refused the key of this proxy",
  unexpected_redirect: "The API redirects: is the proxy's baseUrl right?",
  unavailable: "The API did not answer; try again",
};

function refusal(status: number, code: string, more: Record<string, string> = {}): Response {
  const document = {
    type: `urn:unbroken:error:${code}`, title: code.replaceAll("_", " "), status,
    detail: DETAILS[code], code, request_id: randomId(),
  };
  const headers = { "Content-Type": "application/problem+json", "Cache-Control": "no-store" };
  return new Response(JSON.stringify(document), { status, headers: { ...headers, ...more } });
}
