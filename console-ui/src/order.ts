// The order of the wall: most urgent first, without jumping about.
//
// A call stands in a band. It rises into a more urgent band at once and falls back only when it has deserved less for a while.
// Within a band whoever came into it first stands first, so a score that wavers moves nothing.
import type { State } from "./api.ts";

/** Seconds a call must deserve a lesser band before it falls into it. */
export const FALL_AFTER_S = 10;

/** The bands, most urgent first. */
export const bands = ["transfer", "rising", "raised", "heard", "unjudged"] as const;
export type Band = (typeof bands)[number];

export interface Placed {
  band: number;
  /** When it came into its band, seconds of the page's clock. */
  since: number;
  /** Since when it deserves a lesser band. */
  lesserSince: number | null;
}

export interface Deserves {
  state: State;
  probability: number | null;
  /** A transfer of it is open. */
  open: boolean;
}

/** The band a call deserves now. */
export function deserved({ state, probability, open }: Deserves): number {
  if (open || state === "escalated") return 0;
  switch (state) {
    case "rising":
      return 1;
    case "calm":
    case "cooldown":
      return (probability ?? 0) >= 0.5 ? 2 : 3;
    case "unheard":
    case "insufficient":
    case "suspended":
      return 4;
  }
}

/** Where a call stands after `now`. */
export function place(before: Placed | undefined, deserves: Deserves, now: number): Placed {
  const band = deserved(deserves);
  if (!before || band < before.band) return { band, since: now, lesserSince: null };
  if (band === before.band) return before.lesserSince === null ? before : { ...before, lesserSince: null };
  const lesserSince = before.lesserSince ?? now;
  // What was never judged before it is calm waits for nothing.
  if (now - lesserSince >= FALL_AFTER_S) return { band, since: now, lesserSince: null };
  return { ...before, lesserSince };
}

/** Who stands before whom. */
export function compare(a: Placed & { id: string }, b: Placed & { id: string }): number {
  return a.band - b.band || a.since - b.since || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}
