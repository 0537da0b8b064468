// What the page shows: the model, drained into signals once a frame. Absent here: how it looks.
import { computed, signal } from "@preact/signals";
import { api, Problem, type Event, type Session, type Transfer } from "./api.ts";
import { Model, isOpen, type Call } from "./model.ts";
import { plain } from "./words.ts";

/** Events that wait for the next frame; beyond, the page takes a snapshot instead. */
const PENDING_MAX = 20_000;

/** Milliseconds between two looks at the order. */
const ORDER_MS = 500;

export const model = new Model();
/** Grows with each frame in which something changed. */
export const frame = signal(0);
export const order = signal<Call[]>([]);
export const transfers = signal<Transfer[]>([]);
export const openTransfers = computed(() => transfers.value.filter(isOpen));
/** One a second. */
export const now = signal(Date.now());
export const session = signal<Session | null>(null);
/** `null`: not asked yet; `false`: a token is wanted. */
export const admitted = signal<boolean | null>(null);
export const link = signal<"connecting" | "live" | "away">("connecting");
export const enter = signal(0.7);
/** Whether the server keeps a ledger of transfers. */
export const ledger = signal(true);
/** The call that keys act upon. */
export const selected = signal<string | null>(null);
export const place = signal(location.hash);
export const help = signal(false);

export interface Note {
  id: number;
  words: string;
  tone: "good" | "bad" | "plain";
}
export const notes = signal<Note[]>([]);
/** What a screen reader is told. */
export const spoken = signal("");

/** A question that is open: force or dismiss, with a reason. */
export const asking = signal<{ what: "force" | "dismiss" | "missed"; call: string } | null>(null);

export const sound = signal(read("sound") !== "off");
export const theme = signal<"system" | "light" | "dark">((read("theme") as "light" | "dark" | null) ?? "system");

function read(key: string): string | null {
  try {
    return localStorage.getItem(`warmline.${key}`);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(`warmline.${key}`, value);
  } catch {
    // A browser that keeps nothing keeps nothing.
  }
}

export const may = computed(() => {
  const roles = new Set(session.value?.roles ?? []);
  return {
    force: roles.has("supervisor") || roles.has("integrator"),
    dismiss: roles.has("supervisor"),
    claim: roles.has("supervisor") || roles.has("agent"),
    judge: roles.has("supervisor") || roles.has("agent"),
    policy: roles.has("supervisor"),
  };
});

let noteCount = 0;
export function note(words: string, tone: Note["tone"] = "plain"): void {
  const id = ++noteCount;
  notes.value = [...notes.value.slice(-3), { id, words, tone }];
  setTimeout(() => (notes.value = notes.value.filter((other) => other.id !== id)), tone === "bad" ? 9000 : 5000);
}

export async function attempt<T>(what: () => Promise<T>, done?: string): Promise<T | undefined> {
  try {
    const answer = await what();
    if (done) note(done, "good");
    return answer;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) admitted.value = false;
    note(error instanceof Error ? error.message : String(error), "bad");
    return undefined;
  }
}

/** What colleagues are told: the name given at login, or on this machine. */
export const named = signal(read("name") ?? "");
export const myName = () => session.value?.name || named.value || (session.value?.open ? "this machine" : "");

// ── From the events to the screen ────────────────────────────────────────────

/** Whoever shows one call, and takes its events as they are. */
export const watched: { call: string | null; take: (event: Event) => void } = { call: null, take: () => undefined };

const pending: Event[] = [];
let scheduled = false;
let reordered = 0;
const pageSeconds = () => performance.now() / 1000;

function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  // A page in the background gets no frames, and must alert all the same.
  if (document.hidden) setTimeout(drain, 100);
  else requestAnimationFrame(drain);
}

document.addEventListener("visibilitychange", () => {
  if (scheduled) drain();
});

function drain(): void {
  scheduled = false;
  const at = pageSeconds();
  const before = model.calls.size;
  for (const event of pending) {
    model.take(event, at);
    if (event.call === watched.call) watched.take(event);
  }
  pending.length = 0;
  publish(model.calls.size !== before || model.alerts.length > 0);
}

/** Shows what the model holds. */
export function publish(atOnce = true): void {
  const at = performance.now();
  if (atOnce || at - reordered >= ORDER_MS) {
    reordered = at;
    order.value = model.order(at / 1000);
  }
  if (model.stale.size > 0 || model.alerts.length > 0) transfers.value = model.all();
  frame.value += 1;
  alertAll();
  refresh();
}

let refreshing = false;
/** Reads anew what the ledger says of transfers that changed. */
function refresh(): void {
  if (model.stale.size === 0 || refreshing || !ledger.value) {
    if (!ledger.value) model.stale.clear();
    return;
  }
  refreshing = true;
  // The ledger writes before it tells, but the call tells first.
  setTimeout(async () => {
    const ids = [...model.stale].slice(0, 20);
    const wrong: string[] = [];
    await Promise.all(
      ids.map(async (id) => {
        model.stale.delete(id);
        try {
          model.known([await api.transfer(id)], pageSeconds(), false);
        } catch (error) {
          if (error instanceof Problem && error.status === 404) wrong.push(id);
        }
      }),
    );
    refreshing = false;
    if (wrong.length === ids.length && !(await hasLedger())) ledger.value = false;
    transfers.value = model.all();
    publish();
  }, 150);
}

async function hasLedger(): Promise<boolean> {
  try {
    await api.transfers(new Date().toISOString());
    return true;
  } catch (error) {
    return !(error instanceof Problem && error.status === 404);
  }
}

// ── Alerts ───────────────────────────────────────────────────────────────────

/** Milliseconds from the event's arrival to the alert's, for whoever measures. */
export const alertDelays: number[] = [];

function alertAll(): void {
  const alerts = model.alerts;
  if (alerts.length === 0) return;
  model.alerts = [];
  for (const { transfer, at } of alerts) {
    alertDelays.push(1000 * (pageSeconds() - at));
    const who = [transfer.queue && plain(transfer.queue), transfer.intent && plain(transfer.intent)].filter(Boolean).join(", ") || transfer.call;
    spoken.value = `Transfer asked for: ${who}. ${transfer.why}`;
    if (sound.value) chime();
    if (document.hidden && "Notification" in window && Notification.permission === "granted") {
      const shown = new Notification(`Transfer: ${who}`, { body: transfer.why, tag: transfer.id });
      shown.onclick = () => {
        window.focus();
        location.hash = `#/call/${encodeURIComponent(transfer.call)}`;
        shown.close();
      };
    }
  }
}

let audio: AudioContext | null = null;
/** Two soft notes. Browsers allow sound only after a click or a key; until then this is silent. */
export function chime(): void {
  try {
    audio ??= new AudioContext();
    if (audio.state === "suspended") void audio.resume();
    const from = audio.currentTime;
    for (const [n, f0_hz] of [587.3, 880].entries()) {
      const tone = new OscillatorNode(audio, { type: "sine", frequency: f0_hz });
      const gain = new GainNode(audio, { gain: 0 });
      const at = from + 0.16 * n;
      gain.gain.setValueAtTime(0, at);
      gain.gain.linearRampToValueAtTime(0.18, at + 0.02);
      gain.gain.exponentialRampToValueAtTime(0.0001, at + 0.5);
      tone.connect(gain).connect(audio.destination);
      tone.start(at);
      tone.stop(at + 0.55);
    }
  } catch {
    // No sound device: the alert is on the screen.
  }
}

// ── The stream ───────────────────────────────────────────────────────────────

let source: EventSource | null = null;
let last: string | null = null;
let awaySince: number | null = null;
let patience = 500;

function today(): string {
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  return midnight.toISOString();
}

/** Takes everything anew: the live calls, the ledger's transfers, and the number of the event behind which to follow. */
async function snapshot(alert: boolean): Promise<void> {
  const wall = await api.wall();
  pending.length = 0;
  model.snapshot(wall.calls, pageSeconds());
  last = String(wall.after);
  try {
    const before = new Set(model.transfers.keys());
    const { transfers: known } = await api.transfers(today());
    model.known(known, pageSeconds(), alert);
    ledger.value = true;
    const came = known.filter((transfer) => !before.has(transfer.id)).length;
    if (alert && awaySince !== null) {
      const away = Math.round((Date.now() - awaySince) / 1000);
      note(`Connected again after ${away} s. ${came === 0 ? "No transfer" : came === 1 ? "One transfer" : `${came} transfers`} came meanwhile.`, came > 0 ? "bad" : "good");
    }
  } catch (error) {
    if (error instanceof Problem && error.status === 404) ledger.value = false;
    else throw error;
  }
  transfers.value = model.all();
  publish();
}

/** Follows the events, for ever. */
export async function follow(again = false): Promise<void> {
  source?.close();
  try {
    if (!again || last === null) await snapshot(again);
    else if (!(await api.session())) return;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) {
      admitted.value = false;
      return;
    }
    away();
    return;
  }
  const stream = new EventSource(`/api/v1/events?after=${last}`);
  source = stream;
  stream.onopen = () => {
    link.value = "live";
    patience = 500;
    if (awaySince !== null) {
      // The server may have started anew: its events then begin anew, and what it holds is read again.
      void snapshot(true).catch(() => undefined).finally(() => (awaySince = null));
    }
  };
  stream.onmessage = (message: MessageEvent<string>) => {
    last = message.lastEventId || last;
    if (pending.length >= PENDING_MAX) {
      pending.length = 0;
      void snapshot(true).catch(() => away());
      return;
    }
    pending.push(JSON.parse(message.data) as Event);
    schedule();
  };
  stream.addEventListener("missed", () => void snapshot(true).catch(() => away()));
  stream.onerror = () => away();
}

function away(): void {
  source?.close();
  source = null;
  link.value = "away";
  awaySince ??= Date.now();
  setTimeout(() => void follow(true), patience);
  patience = Math.min(2 * patience, 4000);
}

export async function begin(): Promise<void> {
  try {
    session.value = await api.session();
    admitted.value = true;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) {
      admitted.value = false;
      return;
    }
    link.value = "away";
    setTimeout(() => void begin(), 1000);
    return;
  }
  void api.policy().then((policy) => {
    const value = /^\s*enter\s*=\s*([0-9.]+)/m.exec(policy.source)?.[1];
    if (value) enter.value = Number(value);
  }).catch(() => undefined);
  await follow();
}

setInterval(() => {
  now.value = Date.now();
  if (!scheduled) publish(false);
}, 1000);
window.addEventListener("hashchange", () => (place.value = location.hash));
