// What the page knows, as values: a snapshot and events in, calls and transfers out. Absent here: the network, the screen.
import type { Cue, Event, Point, State, Transfer, TransferState, WallCall } from "./api.ts";
import { compare, place, type Placed } from "./order.ts";

/** Scores that are held of a call for its sparkline. */
export const TREND_MAX = 60;

/** Transfers that are held; beyond, the oldest is forgotten. */
export const TRANSFERS_MAX = 1000;

export interface Call {
  id: string;
  source: string;
  queue: string | null;
  intent: string | null;
  state: State;
  why: string;
  probability: number | null;
  peak: number | null;
  t: number;
  /** When it came in, milliseconds of Unix time. */
  since: number;
  trend: Point[];
  heard: { t: number; words: string } | null;
  cue: { t: number; cue: Cue; evidence: string } | null;
  transfer: string | null;
  placed: Placed;
  /** Grows with each change. */
  revision: number;
}

/** Transfers whose human is not there yet, and that may still come to something. */
const OPEN: ReadonlySet<TransferState> = new Set(["waiting", "offered", "accepted", "ringing", "declined", "no_answer", "busy", "voicemail", "failed"]);
const STATES: ReadonlySet<string> = new Set([...OPEN, "connected", "caller_gone", "expired", "dismissed"]);

/** Whether somebody still has to do something about it. */
export const isOpen = (transfer: Transfer) => OPEN.has(transfer.state) && !transfer.ended_at;

export interface Alerted {
  transfer: Transfer;
  /** When this page learnt of it, milliseconds of the page's clock. */
  at: number;
}

export class Model {
  readonly calls = new Map<string, Call>();
  readonly transfers = new Map<string, Transfer>();
  /** Transfers that are new to this page, in order, until somebody takes them out. */
  alerts: Alerted[] = [];
  /** Transfers whose record at the server has changed. */
  readonly stale = new Set<string>();

  /** The live calls as they stand; what is no more among them is over. */
  snapshot(calls: WallCall[], now: number): void {
    const live = new Set(calls.map((call) => call.call));
    for (const id of this.calls.keys()) if (!live.has(id)) this.calls.delete(id);
    for (const seen of calls) {
      const before = this.calls.get(seen.call);
      const since = seen.since ? Date.parse(seen.since) : (before?.since ?? Date.now() - 1000 * seen.t);
      const call: Call = {
        id: seen.call,
        source: seen.source,
        queue: seen.queue ?? null,
        intent: seen.intent ?? null,
        state: seen.state,
        why: seen.why,
        probability: seen.probability ?? null,
        peak: seen.peak ?? null,
        t: seen.t,
        since,
        trend: seen.trend as Point[],
        heard: seen.heard ?? null,
        cue: seen.cues.at(-1) ?? null,
        transfer: seen.transfer ?? null,
        placed: before?.placed as Placed,
        revision: (before?.revision ?? 0) + 1,
      };
      call.placed = place(before?.placed, this.#deserves(call), now);
      this.calls.set(call.id, call);
    }
  }

  /** The ledger's transfers. New ones that are open alert, unless the page has only just opened. */
  known(transfers: Transfer[], now: number, alert: boolean): void {
    for (const transfer of [...transfers].reverse()) {
      const before = this.transfers.get(transfer.id);
      this.transfers.set(transfer.id, transfer);
      if (!before && alert && isOpen(transfer)) this.alerts.push({ transfer, at: now });
      this.#touch(transfer.call);
    }
    this.#forget();
  }

  /** Takes one event. */
  take(event: Event, now: number): void {
    switch (event.type) {
      case "call_started":
        this.calls.set(event.call, {
          id: event.call,
          source: event.source,
          queue: event.queue ?? null,
          intent: event.intent ?? null,
          state: "unheard",
          why: "",
          probability: null,
          peak: null,
          t: event.t,
          since: Date.now(),
          trend: [],
          heard: null,
          cue: null,
          transfer: null,
          placed: { band: 4, since: now, lesserSince: null },
          revision: 0,
        });
        return;
      case "call_ended":
        this.calls.delete(event.call);
        return;
      case "transfer":
        this.#transfer(event, now);
        break;
      case "transfer_outcome":
        this.#outcome(event);
        break;
      case "transfer_claimed":
        this.#change(event.transfer, { claimed_by: event.by });
        break;
      case "transfer_verdict":
        this.#change(event.transfer, { verdict: event.verdict });
        break;
    }
    const call = this.calls.get(event.call);
    if (!call) return;
    call.revision += 1;
    call.t = Math.max(call.t, event.t);
    switch (event.type) {
      case "score": {
        call.probability = event.probability;
        call.peak = Math.max(call.peak ?? 0, event.probability);
        call.state = event.state;
        const last = call.trend.at(-1);
        // What the snapshot already held comes a second time at the most.
        if (!last || last[0] < event.t) {
          call.trend.push([event.t, event.probability, event.stage]);
          if (call.trend.length > TREND_MAX) call.trend.shift();
        }
        break;
      }
      case "state":
        call.state = event.to;
        call.why = event.why;
        break;
      case "cue":
        call.cue = { t: event.t, cue: event.cue, evidence: event.evidence };
        break;
      case "turn":
        if (event.heard) call.heard = { t: event.t, words: event.heard };
        break;
      case "transfer":
        call.transfer = event.transfer;
        break;
      default:
        break;
    }
    call.placed = place(call.placed, this.#deserves(call), now);
  }

  /** The calls, most urgent first. Falls are looked at here, since nothing may happen in a call for a while. */
  order(now: number): Call[] {
    const calls = [...this.calls.values()];
    for (const call of calls) call.placed = place(call.placed, this.#deserves(call), now);
    return calls.sort((a, b) => compare({ ...a.placed, id: a.id }, { ...b.placed, id: b.id }));
  }

  /** Transfers that somebody still has to do something about, newest first. */
  open(): Transfer[] {
    return [...this.transfers.values()].filter(isOpen).sort(newest);
  }

  /** Every transfer that is held, newest first. */
  all(): Transfer[] {
    return [...this.transfers.values()].sort(newest);
  }

  #deserves(call: Call) {
    const transfer = call.transfer ? this.transfers.get(call.transfer) : undefined;
    return { state: call.state, probability: call.probability, open: transfer !== undefined && isOpen(transfer) };
  }

  #transfer(event: Extract<Event, { type: "transfer" }>, now: number): void {
    this.stale.add(event.transfer);
    if (this.transfers.has(event.transfer)) return;
    const call = this.calls.get(event.call);
    const full = event.packet?.full as { trigger?: { words?: string } } | undefined;
    const transfer: Transfer = {
      id: event.transfer,
      call: event.call,
      source: call?.source ?? "",
      ...(call?.queue ? { queue: call.queue } : {}),
      ...(call?.intent ? { intent: call.intent } : {}),
      cue: event.cue,
      ...(event.probability === undefined ? {} : { probability: event.probability }),
      why: full?.trigger?.words ?? call?.cue?.evidence ?? "",
      t: event.t,
      created_at: new Date().toISOString(),
      state: "waiting",
      attempts: [],
      deadline_at: "",
      urgency: event.probability ?? 1,
      packet_url: `/packets/${event.transfer}`,
    };
    this.transfers.set(event.transfer, transfer);
    this.alerts.push({ transfer, at: now });
    this.#forget();
  }

  #outcome(event: Extract<Event, { type: "transfer_outcome" }>): void {
    const state = event.outcome === "came_to_nothing" ? "failed" : event.outcome;
    if (STATES.has(state)) {
      this.#change(event.transfer, { state: state as TransferState, ...(event.reason ? { reason: event.reason } : {}) });
    } else {
      this.stale.add(event.transfer);
    }
  }

  #change(id: string, change: Partial<Transfer>): void {
    this.stale.add(id);
    const transfer = this.transfers.get(id);
    if (transfer) this.transfers.set(id, { ...transfer, ...change });
  }

  #touch(id: string): void {
    const call = this.calls.get(id);
    if (call) call.revision += 1;
  }

  #forget(): void {
    while (this.transfers.size > TRANSFERS_MAX) {
      const oldest = this.transfers.keys().next().value;
      if (oldest === undefined) return;
      this.transfers.delete(oldest);
    }
  }
}

const newest = (a: Transfer, b: Transfer) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : a.id < b.id ? -1 : 1);
