import assert from "node:assert/strict";
import { test } from "node:test";
import { readFile, readdir } from "node:fs/promises";
import { ago, changes, clock, evidence, moment, short } from "../../src/words.ts";

test("media time is minutes and seconds", () => {
  assert.deepEqual([0, 9.9, 61, 3661].map(clock), ["0:00", "0:09", "1:01", "1:01:01"]);
  assert.deepEqual([-1, 59, 61, 3700].map(ago), ["0 s", "59 s", "1 min", "1 h 1 min"]);
});

test("a moment is told in the reader's own zone", () => {
  assert.notEqual(moment("2026-11-22T23:30:00Z", "Asia/Kolkata"), moment("2026-11-22T23:30:00Z", "America/New_York"));
  assert.equal(moment("no time"), "");
});

test("an id is cut in the middle, where it says least", () => {
  assert.equal(short("demo-2-1"), "demo-2-1");
  assert.equal(short("7b78c872-d921-83d4-99ad-84fb6568bb3d"), "7b78c872-d9…68bb3d");
});

test("a cue's words do not stand twice", () => {
  assert.equal(evidence("frustration", "sounds frustrated (0.92, heard 0:37.0-0:47.0: pitch +6.2 st over this caller's baseline)"), "0.92, heard 0:37.0-0:47.0: pitch +6.2 st over this caller's baseline");
  assert.equal(changes("0.92, heard 0:37.0-0:47.0: pitch +6.2 st, brighter voice (+10 dB) over this caller's baseline"), "pitch +6.2 st, brighter voice (+10 dB)");
  assert.equal(changes("pressed 0"), "pressed 0");
  assert.equal(evidence("explicit_request", "pressed 0"), "pressed 0");
});

test("nothing says what somebody is", async () => {
  const folder = new URL("../../../src/", import.meta.url);
  for (const name of await readdir(folder)) {
    if (!/\.tsx?$/.test(name)) continue;
    assert.doesNotMatch(await readFile(new URL(name, folder), "utf8"), /\bis (angry|frustrated|upset)\b/i, name);
  }
});
