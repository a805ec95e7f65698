// Many writes in as few requests as the API allows.

const ITEMS_MAX = 1_000;
const BYTES_MAX = 900_000; // the API takes 1 MB

export type Batched<Result> = AsyncGenerator<Result, void, void>;

/** Post items in parts; the result of each in order, its `index` counted over all of them.
 *
 * One part is under way at a time, so a slow server slows its callers instead of filling memory.
 */
export async function* inBatches<T, R extends { index: number }>(
  items: Iterable<T> | AsyncIterable<T>,
  post: (part: T[]) => Promise<R[]>,
): Batched<R> {
  let done = 0;
  for await (const part of parts(items)) {
    for (const result of await post(part)) yield { ...result, index: done + result.index };
    done += part.length;
  }
}

async function* parts<T>(items: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T[]> {
  const encoder = new TextEncoder();
  let part: T[] = [];
  let bytes = 0;
  for await (const item of items) {
    const size = encoder.encode(JSON.stringify(item)).length + 1;
    if (part.length === ITEMS_MAX || (part.length > 0 && bytes + size > BYTES_MAX)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(item);
    bytes += size;
  }
  if (part.length > 0) yield part;
}
