// The types of the reference, derived from docs/openapi.json.

import type { components, paths } from "./schema.js";

export type Schemas = components["schemas"];

type Split<S> = S extends `${infer Head}.${infer Tail}` ? Head | Split<Tail> : S;

/** Every `code` that the API answers; the last four are the client's own. */
export type ErrorCode =
  | Split<Exclude<keyof components["responses"], number>>
  | "connection_failed"
  | "timeout"
  | "unexpected_redirect"
  | "unexpected_response";

export type Problem = Schemas["Problem"];
export type Tick = Schemas["TickBody"];
export type Recorded = Schemas["Recorded"];
export type TickAccepted = Schemas["TickAccepted"];
export type Award = Schemas["AwardBody"];
export type Awarded = Schemas["Awarded"];
export type AwardAccepted = Schemas["AwardAccepted"];
export type ParticipantStreak = Schemas["ParticipantStreak"];
export type Fact = Schemas["FactEnvelope"];

export const PREFIX = "/api/v1/gamify";
type Short<P> = P extends `${typeof PREFIX}${infer Rest}` ? Rest : P;
type Long<S extends string> = `${typeof PREFIX}${S}` extends keyof paths
  ? `${typeof PREFIX}${S}`
  : S & keyof paths;

export type Method = "get" | "post" | "patch" | "delete";

/** The paths that have a method, without the prefix. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends { [K in M]: { responses: unknown } } ? Short<P> : never;
}[keyof paths] &
  string;

export type Operation<M extends Method, S extends string> =
  paths[Long<S>] extends { [K in M]: infer O } ? O : never;

type In<O, Place extends string> = O extends { parameters: { [K in Place]?: infer V } }
  ? NonNullable<V>
  : never;

type JsonBody<O> = O extends { requestBody: { content: { "application/json": infer B } } }
  ? B
  : never;

type Content<R> = R extends { content: { "application/json": infer B } } ? B : never;

/** The body of a 200, 201 or 202. */
export type Answer<O> = O extends { responses: infer R }
  ? { [S in keyof R & (200 | 201 | 202)]: Content<R[S]> }[keyof R & (200 | 201 | 202)]
  : never;

type Part<Name extends string, V> = [V] extends [never]
  ? { [K in Name]?: never }
  : { [K in Name]: V };

/** The options of a call besides its path. */
export type Init<O> = Part<"path", In<O, "path">> &
  Part<"body", JsonBody<O>> & { query?: In<O, "query"> } & CallOptions;

/** Whether a call may omit its options. */
export type Rest<O> = Record<string, never> extends Part<"path", In<O, "path">> &
  Part<"body", JsonBody<O>>
  ? [init?: Init<O>]
  : [init: Init<O>];

export interface CallOptions {
  /** Aborts the call, including its waits. */
  signal?: AbortSignal;
  /** The same over all retries; created by the client where the API accepts one. */
  idempotencyKey?: string;
  /** How long the API may wait for the worker, at most 10 s; 0: answer 202 at once. */
  waitSeconds?: number;
}
