"use client";
// React: a participant's streaks, live, through a proxy on your backend that holds the key.

import { useCallback, useEffect, useRef, useState } from "react";

import type { UnbrokenError } from "./errors.js";
import { type Poll, poll, readJson } from "./poll.js";
import type { ParticipantStreak, Schemas } from "./types.js";

export type { ErrorCode, ParticipantStreak } from "./types.js";
export { UnbrokenError } from "./errors.js";

export interface UseStreaksOptions {
  /** The path of your proxy; default `/api/unbroken`. */
  baseUrl?: string;
  /** Polling interval; default 60,000. State changes only on ticks and at the end of a period. */
  refreshMs?: number;
}

export interface UseStreaks {
  /** Null until the first answer; kept when a later request fails. */
  streaks: ParticipantStreak[] | null;
  /** True until there are streaks or an error to show. */
  isLoading: boolean;
  /** Why the last request failed; null once one succeeds. */
  error: UnbrokenError | null;
  /** Ask now, for example after the participant did something. */
  refresh: () => Promise<void>;
}

type Found = Pick<UseStreaks, "streaks" | "error"> & { of: string | null };

/** The streaks of a participant; without one (null, not logged in yet) no request is sent. */
export function useStreaks(
  participantId: string | null | undefined,
  { baseUrl = "/api/unbroken", refreshMs = 60_000 }: UseStreaksOptions = {},
): UseStreaks {
  const url = participantId ? address(baseUrl, participantId) : null;
  const [found, setFound] = useState<Found>({ of: null, streaks: null, error: null });
  const running = useRef<Poll | null>(null);

  useEffect(() => {
    if (url === null) return;
    const started = (running.current = poll<Schemas["ParticipantStreaks"]>({
      refreshMs,
      load: (signal) => readJson(url, signal),
      onLoaded: ({ streaks }) => setFound({ of: url, streaks, error: null }),
      onError: (error) =>
        setFound((old) => ({ of: url, streaks: old.of === url ? old.streaks : null, error })),
    }));
    return () => {
      started.stop();
      running.current = null;
    };
  }, [url, refreshMs]);

  const refresh = useCallback(async () => running.current?.refresh(), []);
  // Until the new participant's answer arrives, the streaks belong to the previous one.
  const { streaks, error } = found.of === url ? found : { streaks: null, error: null };
  return { streaks, error, isLoading: url !== null && !streaks && !error, refresh };
}

function address(baseUrl: string, participantId: string): string {
  return `${baseUrl.replace(/\/+$/, "")}/participants/${encodeURIComponent(participantId)}/streaks`;
}
