import assert from "node:assert/strict";
import { test } from "node:test";
import type { Event, Transfer, WallCall } from "../../src/api.ts";
import { Model, TREND_MAX, TRANSFERS_MAX, isOpen } from "../../src/model.ts";

const started = (call: string): Event => ({ type: "call_started", call, t: 0, source: "twilio", caller_channel: "inbound", queue: "billing" });
const score = (call: string, t: number, probability: number): Event => ({ type: "score", call, t, stage: "confirm", probability, raw: probability, state: "calm", speech_s: t, baseline: true });
const asked = (call: string, transfer: string, t = 12): Event => ({ type: "transfer", call, t, transfer, cue: "frustration", probability: 0.9, packet: undefined as never });

function model(...events: Parameters<Model["take"]>[0][]): Model {
  const model = new Model();
  events.forEach((event, n) => model.take(event, n));
  return model;
}

function wall(call: string, trend: [number, number, "confirm"][]): WallCall {
  return { call, source: "twilio", caller_channel: "inbound", queue: null, intent: null, state: "calm", why: "", probability: 0.2, peak: 0.3, speech_s: 4, t: 9, transfers: 0, packets: 1, dropped: 0, trend, cues: [] };
}

function transfer(id: string, more: Partial<Transfer> = {}): Transfer {
  return { id, call: "a", source: "twilio", cue: "frustration", why: "", t: 1, created_at: `2026-11-22T10:00:00Z`, state: "waiting", attempts: [], deadline_at: "", urgency: 1, packet_url: "", ...more };
}

test("what the snapshot held already comes a second time without harm", () => {
  const m = new Model();
  m.snapshot([wall("a", [[1, 0.1, "confirm"], [2, 0.2, "confirm"]])], 0);
  m.take(score("a", 2, 0.2), 1);
  m.take(score("a", 3, 0.3), 1);
  assert.deepEqual(m.calls.get("a")?.trend.map(([t]) => t), [1, 2, 3]);
});

test("a snapshot takes away what is over and keeps the place of what is not", () => {
  const m = model(started("a"), started("b"), { type: "state", call: "b", t: 3, from: "calm", to: "rising", why: "score 0.9" });
  m.snapshot([wall("b", [])], 4);
  assert.deepEqual([...m.calls.keys()], ["b"]);
  assert.equal(m.calls.get("b")?.placed.band, 1);
});

test("a sparkline holds so many scores", () => {
  const m = model(started("a"), ...Array.from({ length: 100 }, (_, n) => score("a", n, 0.5)));
  assert.equal(m.calls.get("a")?.trend.length, TREND_MAX);
});

test("a transfer alerts once, whether the event or the ledger tells of it first", () => {
  const m = model(started("a"), asked("a", "t1"));
  m.known([transfer("t1")], 5, true);
  m.known([transfer("t2")], 5, true);
  m.take(asked("a", "t2"), 6);
  assert.deepEqual(m.alerts.map(({ transfer }) => transfer.id), ["t1", "t2"]);
});

test("what is known when the page opens does not ring", () => {
  const m = new Model();
  m.known([transfer("t1")], 0, false);
  assert.equal(m.alerts.length, 0);
  assert.equal(m.open().length, 1);
});

test("a claim and an outcome show before the ledger is read again", () => {
  const m = model(started("a"), asked("a", "t1"), { type: "transfer_claimed", call: "a", t: 12, transfer: "t1", by: "Ada" }, { type: "transfer_outcome", call: "a", t: 12, transfer: "t1", outcome: "connected" });
  assert.equal(m.transfers.get("t1")?.claimed_by, "Ada");
  assert.equal(isOpen(m.transfers.get("t1") as Transfer), false);
  assert.ok(m.stale.has("t1"));
});

test("an outcome this page does not know asks the ledger instead of guessing", () => {
  const m = model(started("a"), asked("a", "t1"), { type: "transfer_outcome", call: "a", t: 12, transfer: "t1", outcome: "teleported" as never });
  assert.equal(m.transfers.get("t1")?.state, "waiting");
});

test("an open transfer holds its call at the top", () => {
  const m = model(started("a"), started("b"), score("b", 1, 0.9), asked("a", "t1"));
  assert.deepEqual(m.order(10).map(({ id }) => id), ["a", "b"]);
});

test("so many transfers are held, and the oldest goes", () => {
  const m = new Model();
  m.known(Array.from({ length: TRANSFERS_MAX + 5 }, (_, n) => transfer(`t${n}`)), 0, false);
  assert.equal(m.transfers.size, TRANSFERS_MAX);
});
