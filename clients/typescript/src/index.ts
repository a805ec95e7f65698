// The client for servers and edge functions; React's hook is in `unbroken/react`.

export { Unbroken, wasApplied } from "./client.js";
export { UnbrokenError } from "./errors.js";
export type { Batched } from "./batches.js";
export type { Feed, FeedPage } from "./iterate.js";
export type { Options } from "./transport.js";
export type {
  Award, AwardAccepted, Awarded, CallOptions, ErrorCode, Fact, ParticipantStreak, Problem, Recorded,
  Schemas, Tick, TickAccepted,
} from "./types.js";
