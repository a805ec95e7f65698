// Errors: a problem document that the API answered, or why there was no answer.

import type { ErrorCode, Problem } from "./types.js";

/** Its `message` has the detail, the code, and the reason for each invalid field. */
export class UnbrokenError extends Error {
  override readonly name = "UnbrokenError";

  constructor(
    /** For programs: switch on it. */
    readonly code: ErrorCode,
    detail: string,
    /** 0 when there was no answer. */
    readonly status: number = 0,
    /** The problem document, when the answer was one. */
    readonly problem: Problem | null = null,
    /** `Retry-After`, in seconds. */
    readonly retryAfterSeconds: number | null = null,
    cause?: unknown,
  ) {
    super(told(code, detail, problem), cause === undefined ? undefined : { cause });
  }

  /** The invalid fields with their reasons. */
  get errors(): NonNullable<Problem["errors"]> {
    return this.problem?.errors ?? [];
  }

  /** Identifies the request in the log of the API. */
  get requestId(): string | null {
    return this.problem?.request_id ?? null;
  }
}

function told(code: ErrorCode, detail: string, problem: Problem | null): string {
  const fields = (problem?.errors ?? []).map((one) => `${one.field} ${one.message}`).join("; ");
  return `${detail} (${code})${fields && ": "}${fields}`;
}

/** The error of an answer that is not 2xx; reads its body. */
export async function errorOf(response: Response): Promise<UnbrokenError> {
  const after = retryAfter(response.headers.get("Retry-After"), Date.now());
  const problem = await problemIn(response);
  if (problem) {
    return new UnbrokenError(
      problem.code as ErrorCode, problem.detail, response.status, problem, after);
  }
  if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
    return new UnbrokenError(
      "unexpected_redirect", "The server redirects: is baseUrl right?", response.status);
  }
  return new UnbrokenError(
    "unexpected_response", `HTTP ${response.status} without a problem document`,
    response.status, null, after);
}

/** `Retry-After`, in seconds: a number or a date; null when it is neither. */
export function retryAfter(text: string | null, now: number): number | null {
  if (text === null || text.trim() === "") return null;
  const seconds = Number(text);
  if (Number.isFinite(seconds)) return Math.max(0, seconds);
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max(0, (at - now) / 1000);
}

async function problemIn(response: Response): Promise<Problem | null> {
  const found: unknown = await response.json().catch(() => null);
  return typeof found === "object" && found !== null && "code" in found && "detail" in found
    ? (found as Problem)
    : null;
}
