import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { Server, browse, missing, open, pause } from "./house.mjs";

const skip = missing ? `skipped: ${missing}` : false;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let server;
let browser;
let page;
let ledger = false;

before(async () => {
  if (skip) return;
  server = await Server.start({ more: '[ledger]\npath = "FOLDER/warmline.db"\n' }).catch(() => Server.start());
  ledger = (await server.ask("/api/v1/transfers")).status === 200;
  browser = await browse();
  page = await open(browser, server.url);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A call that is asked a human for at once, by the integrator. */
async function asked(seconds = 40) {
  server.load({ wav: "calm.wav", seconds });
  const call = await page.waitForFunction((known) => [...document.querySelectorAll(".space .row")].map((row) => row.id.slice(5)).find((id) => !known.includes(id)), await page.$$eval(".space .row", (rows) => rows.map((row) => row.id.slice(5))), { timeout: 15_000 });
  return call.jsonValue();
}

const card = (call) => page.locator(".card", { hasText: call.slice(-6) }).first();
const needsLedger = () => (ledger ? false : "skipped: this server keeps no ledger");

test("an alert is on the screen within a second of the decision", { skip, timeout: 120_000 }, async (t) => {
  const events = server.follow("transfer");
  await page.evaluate(() => {
    window.seen = [];
    new MutationObserver(() => {
      for (const card of document.querySelectorAll(".card[data-transfer]")) {
        if (!window.seen.some(({ id }) => id === card.dataset.transfer)) window.seen.push({ id: card.dataset.transfer, at: Date.now() });
      }
    }).observe(document.body, { childList: true, subtree: true });
  });
  server.load({ wav: "escalating.wav", calls: 3, seconds: 60, pace: 3 });
  await page.waitForFunction(() => window.seen.length >= 3, null, { timeout: 90_000 });
  const seen = await page.evaluate(() => window.seen);
  const delays = events.came.map(({ at, event }) => (seen.find(({ id }) => id === event.transfer)?.at ?? Infinity) - at);
  events.stop();
  t.diagnostic(`from the event on the wire to the card on the screen: ${delays.join(", ")} ms`);
  assert.ok(delays.length >= 3 && delays.every((delay) => delay < 1000), delays.join());
  assert.match(await page.locator(".card .why").first().textContent(), /baseline/);
  assert.match(await page.title(), /^\(\d+\) Warmline$/);
});

test("a supervisor forces a transfer by the keyboard", { skip, timeout: 60_000 }, async () => {
  const call = await asked();
  await page.locator(`[id="call-${call}"]`).click();
  await page.keyboard.press("f");
  await page.getByRole("dialog").locator("input").fill("asked me by chat");
  await page.keyboard.press("Enter");
  await card(call).waitFor({ timeout: 5000 });
  await page.waitForFunction((id) => document.getElementById(`call-${id}`)?.classList.contains("escalated"), call);
});

test("a claim shows who is on it, to everybody", { skip, timeout: 60_000 }, async (t) => {
  if (needsLedger()) return t.skip(needsLedger());
  const other = await open(browser, server.url);
  const call = await asked();
  await server.ask(`/api/v1/calls/${call}/transfer`, {});
  await card(call).getByRole("button", { name: "Claim" }).click();
  await other.locator(".card.claimed", { hasText: call.slice(-6) }).getByText("on it").waitFor({ timeout: 5000 });
  await other.close();
  await card(call).getByRole("button", { name: "Connected" }).click();
  await card(call).locator(".life li.now", { hasText: "connected" }).waitFor({ timeout: 5000 });
});

test("a verdict stays, and is in the figures", { skip, timeout: 60_000 }, async (t) => {
  if (needsLedger()) return t.skip(needsLedger());
  await page.keyboard.press("2");
  const row = page.locator("tr[data-transfer]", { has: page.locator(".verdicts") }).first();
  await row.waitFor({ timeout: 5000 });
  await row.getByRole("button", { name: "helpful" }).click();
  await row.locator("button.chosen", { hasText: "helpful" }).waitFor();
  await page.reload();
  await page.locator("tr[data-transfer] button.chosen", { hasText: "helpful" }).first().waitFor({ timeout: 5000 });
  await page.waitForFunction(() => /1 helpful/.test(document.querySelector(".tiles")?.textContent ?? ""));
  await page.keyboard.press("1");
});

test("a dismissal needs a reason and calls the transfer back", { skip, timeout: 60_000 }, async (t) => {
  if (needsLedger()) return t.skip(needsLedger());
  const call = await asked();
  await server.ask(`/api/v1/calls/${call}/transfer`, {});
  await card(call).getByRole("button", { name: "Dismiss…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Dismiss", exact: true }).click();
  assert.ok(await dialog.isVisible(), "without a reason the question stays");
  await dialog.locator("input").fill("already being helped");
  await dialog.getByRole("button", { name: "Dismiss", exact: true }).click();
  await card(call).locator(".life.dismissed").waitFor({ timeout: 5000 });
});

test("a call shows its course on the media clock, and its packet", { skip, timeout: 60_000 }, async () => {
  await page.locator(".card .who a").first().click();
  await page.locator(".chart canvas").waitFor();
  await page.locator(".packet h1").waitFor({ timeout: 5000 });
  assert.ok((await page.locator(".event").count()) > 1);
  await page.keyboard.press("Escape");
  await page.locator(".wall").waitFor();
});

test("the packet's page says why, takes an outcome and a verdict by key, and prints", { skip, timeout: 60_000 }, async (t) => {
  if (needsLedger()) return t.skip(needsLedger());
  const { body } = await server.ask("/api/v1/transfers?limit=1");
  const packet = await open(browser, `${server.url}/packets/${body.transfers[0].id}`);
  await packet.locator(".packet h1").waitFor();
  await packet.keyboard.press("h");
  await packet.locator("button.chosen", { hasText: "helpful" }).waitFor({ timeout: 5000 });
  await packet.emulateMedia({ media: "print" });
  assert.equal(await packet.locator(".packet-acts").isVisible(), false);
  assert.ok(await packet.locator(".packet").isVisible());
  assert.deepEqual(packet.wrong, []);
  await packet.close();
});

test("a policy is tried on recorded calls, put in force, and reverted", { skip, timeout: 120_000 }, async () => {
  await page.keyboard.press("3");
  const text = page.locator("textarea");
  await text.waitFor();
  const before = await text.inputValue();
  await text.fill(before.replace(/enter = [0-9.]+/, "enter = 0.99").replace(/version = ".*?"/, 'version = "test.1"'));
  await page.getByRole("button", { name: "Try on recorded calls" }).click();
  await page.locator("tr.differs").first().waitFor({ timeout: 90_000 });
  await page.getByRole("button", { name: "Put in force", exact: true }).click();
  await page.getByRole("heading", { name: "Policy test.1" }).waitFor({ timeout: 5000 });
  assert.equal((await server.ask("/api/v1/policy")).body.version, "test.1");
  await page.getByRole("button", { name: "Put in force again" }).first().click();
  await page.waitForFunction(() => !document.querySelector("h1")?.textContent?.includes("test.1"));
  assert.equal((await server.ask("/api/v1/policy")).body.source, before);
  assert.equal((await server.ask("/api/v1/policy/history")).body.policies.length, 3);
  await text.fill("enter = ");
  await page.getByRole("button", { name: "Try on recorded calls" }).click();
  await page.locator(".notes .bad", { hasText: "policy line" }).waitFor();
  await page.keyboard.press("Escape");
  await page.locator("h1").first().click();
  await page.keyboard.press("1");
});

for (const [name, hash] of [["the wall", "#/"], ["the figures", "#/figures"], ["the policy", "#/policy"]]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`${name} is accessible by axe, ${colorScheme}`, { skip, timeout: 60_000 }, async () => {
      await page.emulateMedia({ colorScheme });
      await page.evaluate((to) => (location.hash = to), hash);
      await pause(600);
      assert.deepEqual(await faults(page), []);
    });
  }
}

test("one call is accessible by axe, and on a narrow screen nothing is cut", { skip, timeout: 60_000 }, async () => {
  await page.evaluate(() => (location.hash = "#/"));
  const call = await asked(20);
  await page.evaluate((to) => (location.hash = to), `#/call/${call}`);
  await page.locator(".chart canvas").waitFor();
  assert.deepEqual(await faults(page), []);
  await page.setViewportSize({ width: 390, height: 800 });
  for (const hash of ["#/", `#/call/${call}`, "#/figures", "#/policy"]) {
    await page.evaluate((to) => (location.hash = to), hash);
    await pause(400);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${hash}: ${wide} px too wide`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.evaluate(() => (location.hash = "#/"));
});

test("a server that starts anew loses nothing the page needs", { skip, timeout: 90_000 }, async () => {
  const before = ledger ? (await server.ask("/api/v1/transfers?limit=500")).body.transfers.map(({ id }) => id).sort() : [];
  await server.kill("SIGKILL");
  await page.locator("p.away").waitFor({ timeout: 10_000 });
  await server.run();
  await page.locator(".link.live").waitFor({ timeout: 15_000 });
  // A call that comes after the start is seen, so the page follows the new server's events.
  const call = await asked(20);
  await server.ask(`/api/v1/calls/${call}/transfer`, {});
  await card(call).waitFor({ timeout: 5000 });
  if (ledger) {
    const held = await page.evaluate(() => [...window.warmline.model.transfers.keys()].sort());
    assert.deepEqual(before.filter((id) => !held.includes(id)), []);
  }
});

test("with tokens a page asks for one, keeps it where no script reads it, and shows an auditor no numbers", { skip, timeout: 90_000 }, async () => {
  const more = ["supervisor", "auditor", "integrator"].map((role) => `[[server.token]]\nrole = "${role}"\nsecret = { env = "PAGE_${role.toUpperCase()}" }\n`).join("");
  const env = { PAGE_SUPERVISOR: "open-sesame-1", PAGE_AUDITOR: "open-sesame-2", PAGE_INTEGRATOR: "open-sesame-3" };
  const locked = await Server.start({ more, env });
  try {
    const visitor = await open(browser, locked.url);
    await visitor.getByLabel("Token").fill("wrong");
    await visitor.getByRole("button", { name: "Log in" }).click();
    await visitor.getByRole("alert").filter({ hasText: "wrong credentials" }).waitFor();
    assert.deepEqual(await faults(visitor), []);
    await visitor.getByLabel("Your name").fill("Ada");
    await visitor.getByLabel("Token").fill("open-sesame-1");
    await visitor.getByRole("button", { name: "Log in" }).click();
    await visitor.locator(".wall").waitFor();
    assert.equal(await visitor.evaluate(() => document.cookie), "");
    const [cookie] = await visitor.context().cookies();
    assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
    // Another site's page that makes this browser ask gets nothing done.
    const forged = await fetch(`${locked.url}/api/v1/policy`, { method: "POST", headers: { cookie: `warmline_session=${cookie.value}`, origin: "https://elsewhere.example" }, body: "{}" });
    assert.equal(forged.status, 403);
    await visitor.getByRole("button", { name: "Log out" }).click();
    await visitor.getByLabel("Token").waitFor();
    const after = await fetch(`${locked.url}/api/v1/wall`, { headers: { cookie: `warmline_session=${cookie.value}` } });
    assert.equal(after.status, 401);
    const auditor = await fetch(`${locked.url}/api/v1/policy`, { method: "POST", headers: { authorization: "Bearer open-sesame-2" }, body: '{"source":"x"}' });
    assert.equal(auditor.status, 403);
  } finally {
    await locked.stop();
  }
});

test("the page said nothing wrong and asked nobody else", { skip }, () => assert.deepEqual(page.wrong, []));

/** What axe finds, in a line each. */
async function faults(page) {
  // The policy of the page lets no script in but its own: axe comes by the browser's own way.
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: axe });
  const { result } = await session.send("Runtime.evaluate", { expression: "axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }).then((r) => JSON.stringify(r.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target.join(' ') + ' ' + (n.any[0]?.message ?? '')).join('; ')}`)))", awaitPromise: true, returnByValue: true });
  return JSON.parse(result.value);
}
