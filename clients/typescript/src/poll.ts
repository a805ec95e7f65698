// Poll while the page is visible: the logic of the hook, without React.

import { UnbrokenError, errorOf } from "./errors.js";

export interface Polled<T> {
  /** One request; rejects when the signal is aborted. */
  load: (signal: AbortSignal) => Promise<T>;
  refreshMs: number;
  onLoaded: (value: T) => void;
  onError: (error: UnbrokenError) => void;
}

const REFRESH_MS_MIN = 1_000; // a mistake in a page must not become a flood

export interface Poll {
  /** Ask now; resolves with the answer, or when it is no longer needed. */
  refresh: () => Promise<void>;
  /** Abort the request in flight and never call back again. */
  stop: () => void;
}

/** Load at once and then each `refreshMs`, but not while the page is hidden. */
export function poll<T>(polled: Polled<T>): Poll {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let current: AbortController | undefined;
  let dueAt = 0;
  let isOver = false;

  function schedule(milliseconds: number): void {
    clearTimeout(timer);
    dueAt = Date.now() + milliseconds;
    if (!isHidden()) timer = setTimeout(refresh, milliseconds);
  }

  async function refresh(): Promise<void> {
    if (isOver) return;
    current?.abort();
    clearTimeout(timer);
    const mine = (current = new AbortController());
    let pause = Math.max(REFRESH_MS_MIN, polled.refreshMs || 0);
    try {
      const value = await polled.load(mine.signal);
      if (!mine.signal.aborted) polled.onLoaded(value);
    } catch (caught) {
      if (mine.signal.aborted) return;
      const error = asError(caught);
      pause = Math.max(pause, (error.retryAfterSeconds ?? 0) * 1000);
      polled.onError(error);
    }
    if (!mine.signal.aborted) schedule(pause);
  }

  function onVisibility(): void {
    clearTimeout(timer);
    if (!isHidden() && dueAt > 0) schedule(Math.max(0, dueAt - Date.now()));
  }

  if (typeof document !== "undefined") {
    document.addEventListener("visibilitychange", onVisibility);
  }
  void refresh();
  return {
    refresh,
    stop() {
      isOver = true;
      current?.abort();
      clearTimeout(timer);
      if (typeof document !== "undefined") {
        document.removeEventListener("visibilitychange", onVisibility);
      }
    },
  };
}

/** A GET of JSON; throws UnbrokenError for what is not 2xx. */
export async function readJson<T>(url: string, signal: AbortSignal, get = fetch): Promise<T> {
  const response = await get(url, { headers: { Accept: "application/json" }, signal });
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as T;
}

function isHidden(): boolean {
  return typeof document !== "undefined" && document.visibilityState === "hidden";
}

function asError(error: unknown): UnbrokenError {
  if (error instanceof UnbrokenError) return error;
  return new UnbrokenError("connection_failed", "No answer", 0, null, null, error);
}
