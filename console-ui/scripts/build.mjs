// src/ → dist/: two pages, their scripts and one style sheet, each file with its hash in its name.
import { build } from "esbuild";
import { readdir, rm, writeFile, mkdir } from "node:fs/promises";
import { basename } from "node:path";

const root = new URL("../", import.meta.url);
const dist = new URL("dist/", root);
const at = (path) => new URL(path, root).pathname;

const pages = {
  index: { title: "Warmline", entry: "src/app.tsx" },
  packet: { title: "Context packet – Warmline", entry: "src/packet.tsx" },
};

await rm(new URL("assets/", dist), { recursive: true, force: true });
await mkdir(dist, { recursive: true });
const built = await build({
  absWorkingDir: at("."),
  entryPoints: { index: pages.index.entry, packet: pages.packet.entry, style: "src/style.css" },
  bundle: true,
  splitting: true,
  format: "esm",
  minify: true,
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  outdir: "dist/assets",
  entryNames: "[name]-[hash]",
  chunkNames: "shared-[hash]",
  metafile: true,
  logLevel: "warning",
});

const made = (entry, kind) => {
  const found = Object.entries(built.metafile.outputs).find(([path, o]) => o.entryPoint === entry && path.endsWith(kind));
  if (!found) throw new Error(`${entry}: nothing was built`);
  return `/assets/${basename(found[0])}`;
};

const style = made("src/style.css", ".css");
for (const [name, { title, entry }] of Object.entries(pages)) {
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M1 11l3-4 3 2 3-6 2 4h3' fill='none' stroke='%23d55e00' stroke-width='2'/%3E%3C/svg%3E">
<link rel="stylesheet" href="${style}">
<script type="module" src="${made(entry, ".js")}"></script>
</head>
<body><div id="page"></div><noscript>This page needs JavaScript. The same is said by /api/v1, see /openapi.json.</noscript></body>
</html>
`;
  await writeFile(new URL(`${name}.html`, dist), html);
}

const bytes = Object.entries(built.metafile.outputs).map(([path, o]) => `${basename(path)} ${(o.bytes / 1024).toFixed(1)} kB`);
console.log(`dist/: ${(await readdir(dist)).filter((name) => name.endsWith(".html")).join(", ")}; ${bytes.join(", ")}`);
