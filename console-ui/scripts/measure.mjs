// Hundreds of live calls on the wall: frames a second, memory, and what ten open pages cost the server.
//
//   node scripts/measure.mjs [--calls 500] [--seconds 20] [--page]   # --page: the page alone
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { Server, browse, missing, open, pause } from "../tests/browser/house.mjs";

const argument = (name, otherwise) => Number(process.argv[process.argv.indexOf(`--${name}`) + 1] || 0) || otherwise;
const CALLS = argument("calls", 500);
const SECONDS = argument("seconds", 20);
if (missing) {
  console.log(`measure: skipped: ${missing}`);
  process.exit(0);
}

const TICKS = Number(execFileSync("getconf", ["CLK_TCK"]));
const cpu = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
};
const resident = (pid) => Number(/Pss:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))[1]) / 1024;

const server = await Server.start({ more: `[limits]\ncalls = ${CALLS + 10}\ncalls_per_shard = ${CALLS}\n`, args: ["--stages", "watch"] });
const browser = await browse();
try {
  // Not all in one second: a machine that is busy with the first refuses the next.
  for (let begun = 0; begun < CALLS; begun += 50) {
    server.load({ wav: ["calm.wav", "escalating_mulaw.wav", "loud_but_happy.wav", "escalating_de.wav"], calls: Math.min(50, CALLS - begun), seconds: 900 });
    await pause(2000);
  }
  const page = await open(browser, server.url);
  await page.waitForFunction((calls) => window.warmline?.model.calls.size >= calls, CALLS, { timeout: 60_000 }).catch(() => undefined);
  await pause(30_000);
  const live = (await server.ask("/api/v1/calls")).body.calls.length;
  const events = server.follow("score");
  const drawing = () => ["renderer", "gpu-process"].map((kind) => processes(kind).map(cpu).reduce((sum, used) => sum + used, 0));
  const before = drawing();
  const frames = await page.evaluate(
    (seconds) =>
      new Promise((resolve) => {
        const from = performance.now();
        let [count, last, longest, scrolled] = [0, from, 0, 0];
        const rows = document.querySelector(".rows");
        const step = (at) => {
          count += 1;
          longest = Math.max(longest, at - last);
          last = at;
          // A supervisor who looks through the whole wall meanwhile.
          rows.scrollTop = (scrolled += 6) % Math.max(1, rows.scrollHeight - rows.clientHeight);
          if (at - from < 1000 * seconds) requestAnimationFrame(step);
          else resolve({ perSecond: (1000 * count) / (at - from), longest });
        };
        requestAnimationFrame(step);
      }),
    SECONDS,
  );
  events.stop();
  const [script, raster] = drawing().map((used, n) => ((100 * (used - before[n])) / SECONDS).toFixed(0));
  const [one] = readFileSync("/proc/loadavg", "utf8").split(" ");
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("HeapProfiler.collectGarbage");
  const heap = (await cdp.send("Runtime.getHeapUsage")).usedSize / 2 ** 20;
  const renderer = processes("renderer").map(resident).sort((a, b) => b - a)[0];
  console.log(`${live} live calls, ${(events.came.length / SECONDS).toFixed(0)} scores a second`);
  console.log(`page: ${frames.perSecond.toFixed(1)} frames a second while it is scrolled, the longest ${frames.longest.toFixed(0)} ms; JavaScript heap ${heap.toFixed(0)} MiB, its process ${renderer.toFixed(0)} MiB; ${script} % of a core, and ${raster} % to draw without a graphics card; load average ${one}`);
  await page.close();

  if (process.argv.includes("--page")) process.exit(await browser.close().then(() => server.stop()).then(() => 0));
  const load = async (followers) => {
    const all = Array.from({ length: followers }, () => server.follow("none"));
    await pause(1000);
    const before = cpu(server.child.pid);
    await pause(500 * SECONDS);
    const used = (cpu(server.child.pid) - before) / (0.5 * SECONDS);
    all.forEach((follower) => follower.stop());
    await pause(500);
    return used;
  };
  // In turns, so that what else the machine does falls on both alike.
  const [none, ten] = [[], []];
  for (let turn = 0; turn < 3; turn++) {
    none.push(await load(0));
    ten.push(await load(10));
  }
  const middle = (all) => 100 * all.sort((a, b) => a - b)[1];
  console.log(`server: ${middle(none).toFixed(1)} % of a core without a page, ${middle(ten).toFixed(1)} % with ten that follow every event`);
} finally {
  await browser.close();
  await server.stop();
}

/** The processes of one kind, of this browser alone. */
function processes(kind) {
  return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`--type=${kind}`) && isOurs(pid);
    } catch {
      return false;
    }
  });
}

function isOurs(pid) {
  for (let at = pid; at !== "1" && at !== "0"; at = readFileSync(`/proc/${at}/stat`, "utf8").split(") ")[1].split(" ")[1]) {
    if (Number(at) === process.pid) return true;
  }
  return false;
}
