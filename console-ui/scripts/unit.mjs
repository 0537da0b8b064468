// tests/unit/ → bundled, then run by node's own test runner.
import { build } from "esbuild";
import { readdir } from "node:fs/promises";
import { spawnSync } from "node:child_process";

const root = new URL("../", import.meta.url).pathname;
const tests = (await readdir(`${root}tests/unit`)).filter((name) => name.endsWith(".test.ts"));
await build({
  absWorkingDir: root,
  entryPoints: tests.map((name) => `tests/unit/${name}`),
  bundle: true,
  platform: "node",
  format: "esm",
  outdir: "node_modules/.unit/tests",
  outExtension: { ".js": ".mjs" },
  logLevel: "warning",
});
const ran = spawnSync(process.execPath, ["--test", ...tests.map((name) => `node_modules/.unit/tests/${name.replace(/ts$/, "mjs")}`)], { cwd: root, stdio: "inherit" });
process.exit(ran.status ?? 1);
