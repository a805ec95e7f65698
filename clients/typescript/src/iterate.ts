// Lists with pages and feeds with cursors, as iterators that ask for the next page when needed.

interface Page<T> {
  items: T[];
  total: number;
  page: number;
  page_size: number;
}

export interface FeedPage<T> {
  items: T[];
  next_cursor: string | null;
}

export interface Feed<T> extends AsyncIterable<T> {
  /** Page by page: store `next_cursor` after handling a page, and pass it as `after`. */
  pages(): AsyncGenerator<FeedPage<T>, void, void>;
}

/** Every item of a list. */
export async function* pages<T>(
  read: (page: number) => Promise<Page<T>>,
): AsyncGenerator<T, void, void> {
  for (let number = 1; ; number += 1) {
    const page = await read(number);
    yield* page.items;
    if (page.items.length === 0 || page.page * page.page_size >= page.total) return;
  }
}

/** Every item of a feed, until nothing is left for now. */
export function feed<T>(
  after: string | undefined,
  read: (after: string | undefined) => Promise<FeedPage<T>>,
): Feed<T> {
  async function* eachPage(): AsyncGenerator<FeedPage<T>, void, void> {
    let cursor = after;
    for (;;) {
      const page = await read(cursor);
      if (page.items.length > 0) yield page;
      // A feed of facts always has a cursor to go on from: it stands still at the end.
      if (page.next_cursor === null || (page.items.length === 0 && page.next_cursor === cursor)) {
        return;
      }
      cursor = page.next_cursor;
    }
  }
  async function* eachItem(): AsyncGenerator<T, void, void> {
    for await (const page of eachPage()) yield* page.items;
  }
  return { pages: eachPage, [Symbol.asyncIterator]: eachItem };
}
