// How things are said. Absent here: what is known.
import type { Cue, State, TransferState, Verdict } from "./api.ts";

/** Media seconds as `m:ss`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** How long ago, short. */
export function ago(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** A moment in the reader's own time zone. */
export function moment(iso: string, zone?: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "";
  return new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", ...(zone ? { timeZone: zone } : {}) }).format(at);
}

export function day(iso: string): string {
  return new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));
}

export function zone(): string {
  const name = Intl.DateTimeFormat(undefined, { timeZoneName: "short" }).formatToParts(new Date()).find((part) => part.type === "timeZoneName");
  return name?.value ?? "";
}

/** `disputed_medical_bill` → `disputed medical bill`. */
export const plain = (name: string) => name.replaceAll("_", " ");

export const percent = (value: number, digits = 0) => `${(100 * value).toFixed(digits)} %`;

/** What each state means, for a pill, and in a sentence. A shape beside the colour, so that colour alone says nothing. */
export const states: Record<State, { word: string; mark: string; means: string }> = {
  unheard: { word: "not heard yet", mark: "○", means: "The caller has not spoken." },
  insufficient: { word: "too little speech", mark: "?", means: "Too little speech, or too long ago, to say anything. That is not the same as calm." },
  calm: { word: "calm", mark: "–", means: "The voice gives no reason to act." },
  rising: { word: "rising", mark: "▲", means: "The score is above the threshold and has not fallen back." },
  escalated: { word: "escalated", mark: "■", means: "A transfer was asked for." },
  cooldown: { word: "cooling down", mark: "◇", means: "A transfer came to nothing; the voice alone asks for no other for a while." },
  suspended: { word: "not listening", mark: "‖", means: "Hold, pause, no notice yet, opted out, or a human has the caller." },
};

export const cues: Record<Cue, string> = {
  frustration: "sounds frustrated",
  explicit_request: "asked for a person",
  negative_phrase: "said it is going wrong",
  repetition: "repeats",
  no_progress: "makes no progress",
  barge_in: "talks over the bot",
  long_wait: "has waited long",
  manual: "a supervisor asked",
};

export const transferStates: Record<TransferState, string> = {
  waiting: "waits for a human",
  offered: "offered",
  accepted: "accepted",
  ringing: "ringing",
  connected: "connected",
  declined: "declined",
  no_answer: "no answer",
  busy: "busy",
  voicemail: "voicemail",
  caller_gone: "caller hung up",
  failed: "failed",
  expired: "expired",
  dismissed: "dismissed",
};

export const verdicts: Record<Verdict, string> = { helpful: "helpful", unneeded: "unneeded", too_late: "too late" };

/** `demo-2-1` stays; a UUID or a carrier's id is cut in the middle. */
export function short(id: string, longest = 18): string {
  return id.length <= longest ? id : `${id.slice(0, longest - 7)}…${id.slice(-6)}`;
}

/** What speaks for a cue, without the cue's own words before it: they stand beside it already. */
export function evidence(cue: Cue, words: string): string {
  const own = cues[cue];
  return words.startsWith(`${own} (`) && words.endsWith(")") ? words.slice(own.length + 2, -1) : words.startsWith(own) ? words.slice(own.length).trim() : words;
}

/** Only what differed, for a line that has room for no more. */
export function changes(words: string): string {
  return /heard \S+: (.+?)(?: over this caller's baseline\)?)?$/.exec(words)?.[1] ?? words;
}
