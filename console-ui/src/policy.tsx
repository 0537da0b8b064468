// The policy: what is in force, what a change would have done, and what was in force before.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, Problem, type Policy, type PolicyTried } from "./api.ts";
import { attempt, enter, may, place } from "./store.ts";
import { Empty } from "./parts.tsx";
import { clock, day } from "./words.ts";

export function PolicyView() {
  const force = useSignal<Policy | null>(null);
  const history = useSignal<Policy[]>([]);
  const draft = useSignal("");
  const tried = useSignal<PolicyTried | null>(null);
  const triedSource = useSignal("");
  const busy = useSignal(false);
  const wrong = useSignal("");

  const read = async () => {
    try {
      force.value = await api.policy();
      history.value = (await api.policies()).policies;
      const value = /^\s*enter\s*=\s*([0-9.]+)/m.exec(force.value.source)?.[1];
      if (value) enter.value = Number(value);
      if (!draft.value) draft.value = suggested(force.value.source);
    } catch (error) {
      wrong.value = error instanceof Problem && error.status === 404 ? "This server shows no policy." : String((error as Error).message);
    }
  };
  useEffect(() => void read(), []);
  if (wrong.value) return <section class="policy"><Empty title={wrong.value} /></section>;
  const now = force.value;
  if (!now) return <section class="policy"><Empty title="Reading the policy." /></section>;
  const changed = draft.value !== now.source;
  const tryIt = async () => {
    busy.value = true;
    const source = draft.value;
    const answer = await attempt(() => patiently(() => api.tryPolicy(source)));
    busy.value = false;
    if (answer) {
      tried.value = answer;
      triedSource.value = source;
    }
  };
  const put = async () => {
    const answer = await attempt(() => api.putPolicy(draft.value), "In force for every call from now on.");
    if (answer) {
      tried.value = null;
      draft.value = answer.source;
      await read();
    }
  };
  const isTried = tried.value !== null && triedSource.value === draft.value;
  return (
    <section class="policy">
      <header class="wall-head">
        <h1>Policy {now.version}</h1>
        <p class="counts">in force since {day(now.since)}, by {now.by}</p>
        <code class="hash" title={now.sha256}>{now.sha256.slice(0, 12)}</code>
      </header>
      <div class="policy-body">
        <div>
          <label>
            <span>Change it here. It goes live only when you say so; calls that are live keep what they began with.</span>
            <textarea spellcheck={false} rows={26} value={draft.value} readOnly={!may.value.policy} onInput={(event) => (draft.value = event.currentTarget.value)} />
          </label>
          {may.value.policy ? (
            <p class="acts">
              <button type="button" class={isTried ? "" : "main"} disabled={busy.value} onClick={() => void tryIt()}>{busy.value ? "Replaying…" : "Try on recorded calls"}</button>
              <button type="button" class={isTried ? "main" : ""} disabled={!changed || busy.value} title={isTried ? "" : "Try it first: this is what it would have done"} onClick={() => void put()}>Put in force</button>
              <button type="button" class="quiet" disabled={!changed} onClick={() => (draft.value = now.source)}>Undo my changes</button>
            </p>
          ) : null}
        </div>
        <div>
          <h2>On recorded calls</h2>
          {tried.value ? <Tried told={tried.value} /> : <p class="none">Try a change to see which recorded calls it would have handed over, and when, beside the policy in force.</p>}
          <h2>Before</h2>
          <ol class="history">
            {history.value.map((policy, n) => (
              <li key={`${policy.sha256}${policy.since}`}>
                <b>{policy.version}</b> <small>since {day(policy.since)}, by {policy.by}</small> <code class="hash">{policy.sha256.slice(0, 12)}</code>
                <button type="button" class="quiet" onClick={() => (draft.value = policy.source)}>Show</button>
                {n > 0 && may.value.policy && policy.sha256 !== now.sha256 ? (
                  <button type="button" class="quiet" onClick={() => void attempt(() => api.revert(policy.sha256), "Reverted.").then(() => { draft.value = ""; return read(); })}>Put in force again</button>
                ) : null}
              </li>
            ))}
          </ol>
        </div>
      </div>
    </section>
  );
}

/** Asks again while the recordings are still being replayed. */
async function patiently<T>(what: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await what();
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 503) throw error;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

/** The policy in force, with the threshold that the figures' advice links to. */
function suggested(source: string): string {
  const wanted = /[?&]enter=([0-9.]+)/.exec(place.value)?.[1];
  return wanted ? source.replace(/^(\s*enter\s*=\s*)[0-9.]+/m, `$1${wanted}`).replace(/^version = "(.*?)"/m, 'version = "$1+"') : source;
}

function Tried({ told }: { told: PolicyTried }) {
  const differs = (a: number[], b: number[]) => a.length !== b.length || a.some((at, n) => Math.abs(at - (b[n] ?? 0)) > 0.05);
  const times = (list: number[]) => (list.length === 0 ? "–" : list.map(clock).join(", "));
  const changed = told.calls.filter((call) => differs(call.before, call.after));
  return (
    <>
      <p>
        <b>{told.version}</b> on {told.calls.length} calls, {told.caller_hours.toFixed(2)} h of caller speech: {told.before.calls_transferred} → <b>{told.after.calls_transferred}</b> handed over
        {told.after.found !== undefined ? <>, {told.before.found} → <b>{told.after.found}</b> found, {told.before.false_alarms} → <b>{told.after.false_alarms}</b> false alarms</> : null}.{" "}
        {changed.length === 0 ? "No call goes otherwise." : `${changed.length} ${changed.length === 1 ? "call goes" : "calls go"} otherwise.`}
      </p>
      <div class="scroll">
        <table>
          <thead><tr><th>Recording</th><th>Labelled</th><th>In force</th><th>Tried</th></tr></thead>
          <tbody>
            {[...told.calls].sort((a, b) => Number(differs(b.before, b.after)) - Number(differs(a.before, a.after))).map((call) => (
              <tr key={call.name} class={differs(call.before, call.after) ? "differs" : ""}>
                <td>{call.name} <small>{clock(call.duration_s)}</small></td>
                <td>{call.label ? (call.label === "escalate" ? `from ${clock(call.onset_s ?? 0)}` : "calm") : "–"}</td>
                <td>{times(call.before)}</td>
                <td>{times(call.after)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
