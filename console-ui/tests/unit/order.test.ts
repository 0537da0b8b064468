import assert from "node:assert/strict";
import { test } from "node:test";
import type { State } from "../../src/api.ts";
import { FALL_AFTER_S, compare, place, type Placed } from "../../src/order.ts";

const call = (state: State, probability = 0.1, open = false) => ({ state, probability, open });

/** Where a call stands after each of a row of moments. */
function story(moments: [number, State, number?][]): number[] {
  let placed: Placed | undefined;
  return moments.map(([at, state, probability]) => (placed = place(placed, call(state, probability), at)).band);
}

test("a call rises at once and falls after a while", () => {
  assert.deepEqual(story([[0, "calm"], [1, "rising"], [2, "calm"], [1 + FALL_AFTER_S, "calm"], [2 + FALL_AFTER_S, "calm"]]), [3, 1, 1, 1, 3]);
});

test("a score that wavers about a half moves nothing", () => {
  assert.deepEqual(story([[0, "calm", 0.6], [1, "calm", 0.4], [2, "calm", 0.6], [9, "calm", 0.4], [15, "calm", 0.6], [20, "calm", 0.4]]), [2, 2, 2, 2, 2, 2]);
});

test("not enough speech is not calm: it stands below, whatever the last score was", () => {
  assert.deepEqual(story([[0, "insufficient", 0.6], [1, "calm", 0.1], [2, "insufficient", 0.9], [13, "insufficient", 0.9]]), [4, 3, 3, 4]);
});

test("an open transfer stands first even when its voice is calm again", () => {
  assert.equal(place(undefined, call("calm", 0.1, true), 0).band, 0);
});

test("within a band whoever came first stands first, and the score says nothing", () => {
  const early = { ...place(undefined, call("calm", 0.1), 1), id: "b" };
  const late = { ...place(undefined, call("calm", 0.49), 2), id: "a" };
  assert.ok(compare(early, late) < 0);
});
