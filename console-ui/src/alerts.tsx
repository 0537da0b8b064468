// The alerts: transfers that wait for a human, and what becomes of them.
import type { Transfer, TransferState, Verdict } from "./api.ts";
import { api } from "./api.ts";
import { isOpen } from "./model.ts";
import { asking, attempt, ledger, may, model, myName, note, now, publish, session, transfers } from "./store.ts";
import { ago, clock, cues, evidence, plain, short, transferStates, verdicts } from "./words.ts";
import { Empty } from "./parts.tsx";

/** Transfers that have come to their end stay in sight so long, milliseconds. */
const LINGER_MS = 90_000;

function took(transfer: Transfer | undefined): void {
  if (!transfer) return;
  model.known([transfer], performance.now() / 1000, false);
  transfers.value = model.all();
  publish();
}

export async function claim(transfer: Transfer): Promise<void> {
  took(await attempt(() => api.claim(transfer.id, myName()), "It is yours. The packet says how to open."));
}

export async function settle(transfer: Transfer, outcome: TransferState): Promise<void> {
  took(await attempt(() => api.outcome(transfer.id, outcome), `Noted: ${transferStates[outcome]}.`));
}

export async function judge(transfer: Transfer, verdict: Verdict): Promise<void> {
  took(await attempt(() => api.verdict(transfer.id, verdict, myName()), `Noted: ${verdicts[verdict]}.`));
}

export async function force(call: string, reason: string): Promise<void> {
  await attempt(() => api.force(call, reason), "A transfer was asked for.");
}

export async function dismiss(call: string, reason: string): Promise<void> {
  await attempt(() => api.dismiss(call, reason), "Dismissed. The voice alone asks for no other for a while.");
}

export async function missed(call: string, reason: string): Promise<void> {
  await attempt(() => api.missed(call, reason), "Noted as missed. It counts in the figures.");
}

export function Alerts() {
  const shown = transfers.value.filter(
    (transfer) => isOpen(transfer) || now.value - Date.parse(transfer.ended_at ?? transfer.created_at) < LINGER_MS,
  );
  const open = shown.filter(isOpen).length;
  return (
    <aside class="alerts" aria-label="Transfers">
      <header>
        <h2>Transfers</h2>
        <p class="counts">{open === 0 ? "none open" : `${open} open`}</p>
        <Notify />
      </header>
      {shown.length === 0 ? (
        <Empty title="Nobody waits.">
          <p>A caller who asks for a person, or whose frustration lasts, appears here within a second.</p>
        </Empty>
      ) : (
        <ol class="cards" role="list">
          {shown.slice(0, 40).map((transfer) => (
            <Card key={transfer.id} transfer={transfer} />
          ))}
        </ol>
      )}
    </aside>
  );
}

function Notify() {
  if (!("Notification" in window) || Notification.permission !== "default") return null;
  return (
    <button
      type="button"
      class="quiet"
      onClick={async () => {
        const answer = await Notification.requestPermission();
        note(answer === "granted" ? "You will be notified when this page is in the background." : "No notifications, then: sound and this page alone.");
      }}
    >
      Notify me
    </button>
  );
}

const STEPS: TransferState[] = ["waiting", "offered", "ringing", "connected"];

/** Where a transfer stands on its way to a human. */
export function Life({ transfer }: { transfer: Transfer }) {
  const at = transfer.state === "accepted" ? 2 : STEPS.indexOf(transfer.state);
  if (at < 0) {
    const reason = transfer.reason ? `: ${plain(transfer.reason)}` : "";
    return <p class={`life ended ${transfer.state}`}>{transferStates[transfer.state]}{reason}</p>;
  }
  return (
    <ol class="life" aria-label={`State: ${transferStates[transfer.state]}`}>
      {STEPS.map((step, n) => (
        <li key={step} class={n < at ? "done" : n === at ? "now" : ""}>{n === 2 && transfer.state === "accepted" ? "accepted" : n === 0 ? "waiting" : step}</li>
      ))}
    </ol>
  );
}

function Card({ transfer }: { transfer: Transfer }) {
  const age = (now.value - Date.parse(transfer.created_at)) / 1000;
  const where = [transfer.queue, transfer.intent].filter((name): name is string => Boolean(name)).map(plain).join(" · ");
  const open = isOpen(transfer);
  const live = model.calls.has(transfer.call);
  const attempts = transfer.attempts.at(-1);
  return (
    <li class={`card ${open ? "open" : "over"} ${transfer.claimed_by ? "claimed" : ""}`} data-transfer={transfer.id}>
      <div class="card-head">
        <b>{cues[transfer.cue]}</b>
        <span class="num">{ago(age)} ago</span>
      </div>
      <p class="who">
        <a href={`#/call/${encodeURIComponent(transfer.call)}`}>{short(transfer.call, 26)}</a>
        {where ? <small> {where}</small> : null}
      </p>
      <p class="why">{evidence(transfer.cue, transfer.why) || "no further evidence"}<small> at {clock(transfer.t)}</small></p>
      <Life transfer={transfer} />
      {attempts ? <p class="attempt">attempt {attempts.n}, {attempts.connector}: {plain(attempts.outcome)}{attempts.detail ? ` (${attempts.detail})` : ""}</p> : null}
      {transfer.position ? <p class="attempt">place {transfer.position} in the queue for a free human</p> : null}
      {transfer.claimed_by ? <p class="on">● {transfer.claimed_by === myName() && myName() ? "you are" : `${transfer.claimed_by} is`} on it</p> : null}
      <div class="acts">
        {open && ledger.value && may.value.claim && !transfer.claimed_by ? (
          <button type="button" class="main" onClick={() => void claim(transfer)}>Claim</button>
        ) : null}
        {ledger.value ? <a class="button" href={transfer.packet_url} target="_blank" rel="noopener">Packet</a> : null}
        {open && ledger.value && may.value.claim && transfer.claimed_by ? (
          <button type="button" onClick={() => void settle(transfer, "connected")}>Connected</button>
        ) : null}
        {open && live && may.value.dismiss && ledger.value ? (
          <button type="button" onClick={() => (asking.value = { what: "dismiss", call: transfer.call })}>Dismiss…</button>
        ) : null}
        {!open && ledger.value && may.value.judge ? <Verdicts transfer={transfer} /> : null}
      </div>
      {session.value?.demo && open && !ledger.value ? <p class="attempt">No ledger: this transfer is only shown.</p> : null}
    </li>
  );
}

export function Verdicts({ transfer }: { transfer: Transfer }) {
  return (
    <span class="verdicts" role="group" aria-label="Verdict">
      {(Object.keys(verdicts) as Verdict[]).map((verdict) => (
        <button
          key={verdict}
          type="button"
          class={transfer.verdict === verdict ? `chosen ${verdict}` : ""}
          aria-pressed={transfer.verdict === verdict}
          onClick={() => void judge(transfer, verdict)}
        >
          {verdicts[verdict]}
        </button>
      ))}
    </span>
  );
}
