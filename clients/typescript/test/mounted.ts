// The proxy behind a real server, as a page's own backend mounts it.

import { type Site, site } from "./world.js";

export type Mounted = Site & { statuses: number[]; aborted: number };

export async function mounted(handle: (request: Request) => Promise<Response>): Promise<Mounted> {
  const found = { statuses: [] as number[], aborted: 0 };
  const made = await site(async (request, response) => {
    response.on("close", () => (found.aborted += response.writableFinished ? 0 : 1));
    const headers = new Headers();
    for (const [name, value] of Object.entries(request.headers)) headers.set(name, String(value));
    const asked = new Request(`http://app.test${request.url}`, { method: request.method, headers });
    const answer = await handle(asked);
    found.statuses.push(answer.status);
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(await answer.text());
  });
  return Object.assign(found, made);
}
