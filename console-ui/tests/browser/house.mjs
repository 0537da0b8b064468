// A real server, real streamed calls, and a real browser.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const ROOT = new URL("../../../", import.meta.url).pathname;
export const CHROMIUM = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
const PROGRAM = [process.env.WARMLINE, `${ROOT}target/debug/warmline`, `${ROOT}target/release/warmline`].find((path) => path && existsSync(path));

/** Why these tests cannot run here; empty: they can. */
export const missing = !CHROMIUM ? "no chromium" : !PROGRAM ? "warmline is not built" : "";

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(Number(process.env.PAGE_TEST_PORT ?? 0), "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A server of its own, with its own files. `more` is appended to its configuration. */
export class Server {
  static async start({ more = "", demo = false, env = {}, policy = true, args = [] } = {}) {
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "warmline-page-"));
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    server.demo = demo;
    server.env = env;
    server.args = args;
    if (policy) writeFileSync(join(server.folder, "policy.toml"), readFileSync(`${ROOT}crates/warmline-core/src/policy/default.toml`));
    const tables = [`[server]\nlisten = "127.0.0.1:${server.port}"\ngrace_s = 0\n`, policy ? `[policy]\nfile = "${join(server.folder, "policy.toml")}"\n` : "", more];
    writeFileSync(join(server.folder, "warmline.toml"), tables.join("\n").replaceAll("FOLDER", server.folder));
    await server.run();
    return server;
  }

  async run() {
    const more = [...this.args, ...(this.demo ? ["--demo"] : [])];
    this.child = spawn(PROGRAM, ["serve", "--config", join(this.folder, "warmline.toml"), ...more], {
      cwd: ROOT,
      env: { ORT_DYLIB_PATH: `${ROOT}.warmline/lib/libonnxruntime.so`, ...process.env, ...this.env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let log = "";
    this.child.stderr.on("data", (text) => (log = (log + text).slice(-20_000)));
    for (let n = 0; n < 200; n++) {
      if (this.child.exitCode !== null) throw new Error(`warmline serve ended:\n${log}`);
      if (await fetch(`${this.url}/healthz`).then((answer) => answer.ok, () => false)) return;
      await pause(100);
    }
    throw new Error(`warmline serve does not answer:\n${log}`);
  }

  /** Streams recordings to it as live calls over Twilio's framing. */
  load({ wav, calls = 1, seconds = 60, pace = 1, env = {} }) {
    const files = [wav].flat().map((name) => `${ROOT}fixtures/calls/${name}`);
    const args = ["load", "--protocol", "twilio", "--calls", String(calls), "--seconds", String(seconds), "--pace", String(pace), ...files.flatMap((file) => ["--wav", file]), `ws://127.0.0.1:${this.port}/v1/media`];
    const child = spawn(PROGRAM, args, { cwd: ROOT, stdio: "ignore", env: { ...process.env, ...env } });
    this.loads = [...(this.loads ?? []), child];
    return child;
  }

  async ask(path, body) {
    const answer = await fetch(`${this.url}${path}`, body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } });
    return { status: answer.status, body: await answer.json().catch(() => null) };
  }

  /** When each event of a type came, by the clock of this machine. */
  follow(type) {
    const came = [];
    const stop = new AbortController();
    (async () => {
      const answer = await fetch(`${this.url}/api/v1/events`, { signal: stop.signal });
      let text = "";
      for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        const lines = text.split("\n");
        text = lines.pop();
        for (const line of lines) {
          if (!line.startsWith("data: ")) continue;
          const event = JSON.parse(line.slice(6));
          if (event.type === type) came.push({ at: Date.now(), event });
        }
      }
    })().catch(() => undefined);
    return { came, stop: () => stop.abort() };
  }

  async kill(signal = "SIGKILL") {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill(signal);
      await ended;
    }
  }

  async stop() {
    for (const child of this.loads ?? []) child.kill("SIGKILL");
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function browse() {
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"] });
}

/** A page whose errors are collected. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.wrong = [];
  page.on("pageerror", (error) => page.wrong.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource|ERR_CONNECTION|net::/.test(message.text())) page.wrong.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(new URL(url).origin) && !/^(data|blob):/.test(request.url())) page.wrong.push(`asks somebody else: ${request.url()}`);
  });
  await page.goto(url);
  return page;
}
