// Random ids, also where `crypto` is not global (Node 18).

export function randomId(): string {
  const source = globalThis.crypto as Crypto | undefined;
  if (source?.randomUUID) return source.randomUUID();
  return Array.from({ length: 32 }, () => Math.floor(Math.random() * 16).toString(16)).join("");
}
