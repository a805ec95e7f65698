// The client: every operation by its path, and names for the common ones.

import { type Batched, inBatches } from "./batches.js";
import { type Feed, feed, pages } from "./iterate.js";
import { type Options, send } from "./transport.js";
import type {
  Answer, Award, AwardAccepted, Awarded, CallOptions, Method, Operation, ParticipantStreak, PathOf,
  Recorded, Rest, Schemas, Tick, TickAccepted,
} from "./types.js";

export class Unbroken {
  /** Not a field, so that printing a client does not print the key. */
  readonly #options: Options;

  constructor(options: Options) {
    if (!options.apiKey) throw new TypeError("apiKey is missing");
    if (!/^https?:\/\//.test(options.baseUrl)) throw new TypeError("baseUrl must be http(s)");
    this.#options = options;
  }

  get<S extends PathOf<"get">>(path: S, ...rest: Rest<Operation<"get", S>>) {
    return this.#call("get", path, rest[0]) as Promise<Answer<Operation<"get", S>>>;
  }

  post<S extends PathOf<"post">>(path: S, ...rest: Rest<Operation<"post", S>>) {
    return this.#call("post", path, rest[0]) as Promise<Answer<Operation<"post", S>>>;
  }

  patch<S extends PathOf<"patch">>(path: S, ...rest: Rest<Operation<"patch", S>>) {
    return this.#call("patch", path, rest[0]) as Promise<Answer<Operation<"patch", S>>>;
  }

  delete<S extends PathOf<"delete">>(path: S, ...rest: Rest<Operation<"delete", S>>) {
    return this.#call("delete", path, rest[0]) as Promise<Answer<Operation<"delete", S>>>;
  }

  /** Record a tick: its result, or that it will be applied (`wasApplied` distinguishes). */
  record(tick: Tick, options: CallOptions = {}): Promise<Recorded | TickAccepted> {
    return this.post("/streaks/record", { body: tick, ...options });
  }

  /** Record any number of ticks, up to 1,000 a request; one result each, in order. */
  recordAll(ticks: Many<Tick>, options: CallOptions = {}): Batched<Schemas["TickItem"]> {
    return inBatches(ticks, async (part) => {
      const body = { ticks: part };
      return (await this.post("/streaks/record/batch", { body, ...options })).results;
    });
  }

  /** Award a badge; a second time changes nothing. */
  award(award: Award, options: CallOptions = {}): Promise<Awarded | AwardAccepted> {
    return this.post("/badges/award", { body: award, ...options });
  }

  /** Award any number of badges, up to 1,000 a request; one result each, in order. */
  awardAll(awards: Many<Award>, options: CallOptions = {}): Batched<Schemas["AwardItem"]> {
    return inBatches(awards, async (part) => {
      const body = { awards: part };
      return (await this.post("/badges/award/batch", { body, ...options })).results;
    });
  }

  /** A participant's streaks, live. */
  async streaksOf(participantId: string, options: CallOptions = {}): Promise<ParticipantStreak[]> {
    const path = { participant_id: participantId };
    return (await this.get("/participants/{participant_id}/streaks", { path, ...options })).streaks;
  }

  /** A participant's profile, for any id. */
  participant(participantId: string, options: CallOptions = {}) {
    return this.get("/participants", { query: { participant_id: participantId }, ...options });
  }

  /** Everything about a participant that erasing it would delete; needs an admin key. */
  exportParticipant(participantId: string, options: CallOptions = {}) {
    const path = { participant_id: participantId };
    return this.get("/participants/{participant_id}/export", { path, ...options });
  }

  /** Every item of a list that has pages. */
  pages<S extends PathOf<"get">>(path: S, ...rest: Rest<Operation<"get", S>>) {
    const init = (rest[0] ?? {}) as Loose;
    return pages<Item<S>>((page) => this.#page(path, init, { page, page_size: 100 }));
  }

  /** Every item of a feed from `after` on; `.pages()` has the cursors to continue from. */
  feed<S extends PathOf<"get">>(path: S, ...rest: Rest<Operation<"get", S>>): Feed<Item<S>> {
    const init = (rest[0] ?? {}) as Loose;
    const after = init.query?.["after"] as string | undefined;
    return feed<Item<S>>(after, (cursor) => this.#page(path, init, { after: cursor }));
  }

  #page(path: string, init: Loose, more: Record<string, unknown>): Promise<never> {
    return this.#call("get", path, { ...init, query: { ...more, ...init.query, ...moving(more) } });
  }

  #call(method: Method, path: string, init: object = {}): Promise<never> {
    const { path: values, ...rest } = init as Loose & { path?: Record<string, unknown> };
    const call = { ...rest, method, path, ...(values ? { values } : {}) };
    return send(this.#options, call) as Promise<never>;
  }
}

type Many<T> = Iterable<T> | AsyncIterable<T>;
type Loose = CallOptions & { query?: Record<string, unknown> };
type Item<S extends string> =
  Answer<Operation<"get", S>> extends { items: (infer I)[] } ? I : never;

/** The query parameters that the iterator sets itself. */
function moving(more: Record<string, unknown>): Record<string, unknown> {
  const { page_size: _, ...place } = more;
  return place;
}

/** Whether a write was applied while the API waited; otherwise it will be applied. */
export function wasApplied<A extends object>(
  answer: A,
): answer is Exclude<A, { status: "accepted" }> {
  return !("status" in answer && answer.status === "accepted");
}
