// What the tests stand on: a running server, and servers that misbehave as asked.

import { type IncomingMessage, type RequestListener, createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { Unbroken, type Options } from "unbroken";

export const URL_ = needed("UNBROKEN_URL");
export const KEY = needed("UNBROKEN_API_KEY");

function needed(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run tests/e2e/clients/test_typescript_client.py`);
  return value;
}

export function client(options: Partial<Options> = {}): Unbroken {
  return new Unbroken({ baseUrl: URL_, apiKey: KEY, ...options });
}

export interface Site {
  url: string;
  close: () => Promise<void>;
}

export async function site(listener: RequestListener): Promise<Site> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
}

export type Faulty = Site & { seen: Seen[] };

/** What goes wrong with a request instead of its answer: a response, or a cut connection. */
export type Fault = Response | "cut" | "cut after the answer";

/** Unbroken behind a link with faults, one for each request until there are none left. */
export async function faulty(...faults: Fault[]): Promise<Faulty> {
  const seen: Seen[] = [];
  const made = await site(async (request, response) => {
    const body = await text(request);
    const { method = "", url: path = "", headers } = request;
    seen.push({ method, path, headers, body });
    const fault = faults.shift();
    if (fault === "cut") return void request.socket.destroy();
    const forward = { method, headers: forwardable(headers), ...(body ? { body } : {}) };
    const answer = fault instanceof Response ? fault : await fetch(`${URL_}${path}`, forward);
    if (fault === "cut after the answer") return void request.socket.destroy();
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(await answer.text());
  });
  return { ...made, seen };
}

async function text(request: IncomingMessage): Promise<string> {
  let found = "";
  for await (const part of request) found += part;
  return found;
}

function forwardable(headers: IncomingMessage["headers"]): Record<string, string> {
  const kept = ["x-api-key", "content-type", "idempotency-key", "prefer", "accept"];
  return Object.fromEntries(kept.flatMap((name) => (headers[name] ? [[name, String(headers[name])]] : [])));
}

export function problem(status: number, code: string, headers: Record<string, string> = {}): Response {
  const document = { type: "x", title: "x", status, detail: code, code, request_id: "r" };
  const type = { "Content-Type": "application/problem+json" };
  return new Response(JSON.stringify(document), { status, headers: { ...type, ...headers } });
}

let counter = 0;
/** A name that no other test uses. */
export function fresh(prefix: string): string {
  counter += 1;
  return `${prefix}_${process.pid}_${counter}`;
}

export async function until(condition: () => boolean, seconds = 20): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!condition()) {
    if (Date.now() > end) throw new Error("it did not come about");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
