// The interface, as its document and the event schema describe it.
import type { components } from "./generated/api.ts";

type Schemas = components["schemas"];

export type Event =
  | Schemas["callStarted"]
  | Schemas["score"]
  | Schemas["scoreFailed"]
  | Schemas["$defs-cue"]
  | Schemas["state"]
  | Schemas["$defs-turn"]
  | Schemas["said"]
  | Schemas["transfer"]
  | Schemas["transferOutcome"]
  | Schemas["transferClaimed"]
  | Schemas["transferVerdict"]
  | Schemas["gap"]
  | Schemas["problem"]
  | Schemas["callEnded"];

export type Packet = Omit<Schemas["context-packet-1.schema"], "$defs">;
export type State = Schemas["State"];
export type Cue = Schemas["Cue"];
export type Verdict = Schemas["Verdict"];
export type Transfer = Schemas["Transfer"];
export type TransferState = Schemas["TransferState"];
export type WallCall = Schemas["WallCall"];
export type Wall = Schemas["Wall"];
export type Story = Schemas["Story"];
export type Session = Schemas["Session"];
export type Stats = Schemas["Stats"];
export type Figures = Schemas["Figures"];
export type Policy = Schemas["Policy"];
export type PolicyTried = Schemas["PolicyTried"];
export type Role = Schemas["Role"];
export type Point = [number, number, "watch" | "confirm"];

/** An answer that is no success, in the server's own words. */
export class Problem extends Error {
  readonly status: number;
  constructor(status: number, words: string) {
    super(words);
    this.status = status;
  }
}

export async function ask<T>(method: "GET" | "POST" | "DELETE", path: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      credentials: "same-origin",
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
  } catch {
    throw new Problem(0, "The server does not answer.");
  }
  if (!response.ok) {
    const said = (await response.json().catch(() => ({}))) as { title?: string; detail?: string };
    throw new Problem(response.status, [said.title, said.detail].filter(Boolean).join(": ") || `The server answered ${response.status}.`);
  }
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

const id = encodeURIComponent;
export const api = {
  session: () => ask<Session>("GET", "/api/v1/session"),
  login: (token: string, name: string) => ask<void>("POST", "/api/v1/session", name ? { token, name } : { token }),
  logout: () => ask<void>("DELETE", "/api/v1/session"),
  wall: () => ask<Wall>("GET", "/api/v1/wall"),
  story: (call: string) => ask<Story>("GET", `/api/v1/calls/${id(call)}/story`),
  transfers: (since: string) => ask<{ transfers: Transfer[] }>("GET", `/api/v1/transfers?since=${id(since)}&limit=500`),
  transfer: (transfer: string) => ask<Transfer>("GET", `/api/v1/transfers/${id(transfer)}`),
  packet: (transfer: string) => ask<Packet>("GET", `/api/v1/packets/${id(transfer)}`),
  claim: (transfer: string, by: string) => ask<Transfer>("POST", `/api/v1/transfers/${id(transfer)}/claim`, by ? { by } : {}),
  outcome: (transfer: string, outcome: TransferState, reason?: string) =>
    ask<Transfer>("POST", `/api/v1/transfers/${id(transfer)}/outcome`, reason ? { outcome, reason } : { outcome }),
  verdict: (transfer: string, verdict: Verdict, by: string) =>
    ask<Transfer>("POST", `/api/v1/transfers/${id(transfer)}/verdict`, by ? { verdict, by } : { verdict }),
  force: (call: string, reason: string) => ask<void>("POST", `/api/v1/calls/${id(call)}/transfer`, reason ? { reason } : undefined),
  dismiss: (call: string, reason: string) => ask<void>("POST", `/api/v1/calls/${id(call)}/dismiss`, { reason }),
  missed: (call: string, note: string) => ask<void>("POST", "/api/v1/missed", note ? { call, note } : { call }),
  stats: (since: string) => ask<Stats>("GET", `/api/v1/stats?since=${id(since)}`),
  policy: () => ask<Policy>("GET", "/api/v1/policy"),
  policies: () => ask<{ policies: Policy[] }>("GET", "/api/v1/policy/history"),
  tryPolicy: (source: string) => ask<PolicyTried>("POST", "/api/v1/policy/try", { source }),
  putPolicy: (source: string) => ask<Policy>("POST", "/api/v1/policy", { source }),
  revert: (sha256: string) => ask<Policy>("POST", "/api/v1/policy/revert", { sha256 }),
};
