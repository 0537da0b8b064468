// The README's pictures: a real `warmline serve --demo`, seen by a real browser → docs/src/images/*.png.
import { mkdirSync, statSync } from "node:fs";
import { Server, browse, missing, open, pause } from "../tests/browser/house.mjs";

if (missing) {
  console.log(`screenshots: skipped: ${missing}`);
  process.exit(0);
}
const DOCS = new URL("../../docs/src/images/", import.meta.url).pathname;
mkdirSync(DOCS, { recursive: true });

const server = await Server.start({ demo: true, policy: false });
const browser = await browse();
try {
  const page = await open(browser, server.url, { viewport: { width: 1360, height: 760 }, colorScheme: "light" });
  await page.evaluate(() => localStorage.setItem("warmline.name", "Grace"));
  await page.reload();
  const shoot = async (page, name) => {
    await page.screenshot({ path: `${DOCS}${name}.png` });
    console.log(`docs/${name}.png: ${Math.round(statSync(`${DOCS}${name}.png`).size / 1024)} kB`);
  };
  const ledger = (await server.ask("/api/v1/transfers")).status === 200;
  // Two callers lose patience within the first minute of the demo.
  await page.locator(".card.open").nth(1).waitFor({ timeout: 150_000 });
  await pause(1500);
  if (ledger) {
    await page.locator(".card.open").last().getByRole("button", { name: "Claim" }).click();
    await page.locator(".notes p").waitFor({ state: "detached" });
  }
  await page.mouse.move(5, 700);
  await shoot(page, "wall");
  const packetUrl = await page.locator(".card.open").last().evaluate((card) => `/packets/${card.dataset.transfer}`);
  await page.locator(".card.open .who a").last().click();
  await page.locator(".packet").waitFor();
  await pause(800);
  await page.emulateMedia({ colorScheme: "dark" });
  await pause(400);
  await page.evaluate(() => dispatchEvent(new Event("resize")));
  await pause(400);
  await shoot(page, "call");
  await page.emulateMedia({ colorScheme: "light" });
  if (ledger) {
    const packet = await open(browser, server.url + packetUrl, { viewport: { width: 860, height: 760 }, colorScheme: "light" });
    await packet.locator(".packet").waitFor();
    await shoot(packet, "packet");
    // What a supervisor does in a day, in two minutes.
    const { body } = await server.ask("/api/v1/transfers?limit=100");
    for (const [n, { id }] of body.transfers.entries()) {
      await server.ask(`/api/v1/transfers/${id}/claim`, { by: n % 2 ? "Ada" : "Grace" });
      await server.ask(`/api/v1/transfers/${id}/outcome`, { outcome: "connected" });
      await server.ask(`/api/v1/transfers/${id}/verdict`, { verdict: n === 1 ? "unneeded" : "helpful" });
    }
    await page.evaluate(() => (location.hash = "#/figures"));
    await pause(1500);
    await shoot(page, "figures");
  }
  await page.evaluate(() => (location.hash = "#/policy"));
  await page.locator("textarea").waitFor();
  await page.locator("textarea").evaluate((area) => {
    area.value = area.value.replace(/enter = [0-9.]+/, "enter = 0.90").replace(/version = ".*?"/, 'version = "2026-11-22.1"');
    area.dispatchEvent(new Event("input", { bubbles: true }));
  });
  await page.getByRole("button", { name: "Try on recorded calls" }).click();
  await page.locator("tr.differs").first().waitFor({ timeout: 60_000 });
  await shoot(page, "policy");
} finally {
  await browser.close();
  await server.stop();
}
