// Writes the snippets of README.md to test/generated, to be compiled and run.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const folder = new URL("generated/", import.meta.url);
mkdirSync(folder, { recursive: true });
for (const language of ["ts", "tsx"]) {
  const fence = new RegExp("^```" + language + "\\n(.*?)^```$", "gms");
  const snippets = [...readme.matchAll(fence)].map((match) => match[1]);
  if (snippets.length === 0) throw new Error(`README.md has no ${language} any more`);
  writeFileSync(new URL(`readme_${language}.${language}`, folder), snippets.join("\n"));
}
