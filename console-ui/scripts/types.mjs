// schemas/openapi.json, and the schemas it refers to → src/generated/api.ts.
import { mkdir, writeFile } from "node:fs/promises";
import openapi, { astToString } from "openapi-typescript";

const root = new URL("../../schemas/", import.meta.url);
const out = new URL("../src/generated/", import.meta.url);
await mkdir(out, { recursive: true });
await writeFile(new URL("api.ts", out), astToString(await openapi(new URL("openapi.json", root), { alphabetize: true })));
