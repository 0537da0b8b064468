// The page of the human who takes a call: the packet, and what became of it.
import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { api, Problem, type Packet, type Transfer, type TransferState, type Verdict } from "./api.ts";
import { PacketView } from "./packet-view.tsx";
import { Key } from "./parts.tsx";
import { day, transferStates, verdicts } from "./words.ts";

const id = decodeURIComponent(location.pathname.split("/").at(-1) ?? "");
const packet = signal<Packet | null>(null);
const transfer = signal<Transfer | null>(null);
const said = signal("");
const name = signal("");
const wrong = signal("");

const OUTCOMES: [string, TransferState][] = [["o", "connected"], ["n", "no_answer"], ["g", "caller_gone"]];
const VERDICTS: [string, Verdict][] = [["h", "helpful"], ["u", "unneeded"], ["l", "too_late"]];

async function read(): Promise<void> {
  try {
    packet.value = await api.packet(id);
    transfer.value = await api.transfer(id).catch(() => null);
    const session = await api.session();
    name.value = session.name ?? localStorage.getItem("warmline.name") ?? (session.open ? "this machine" : "");
    document.title = `${packet.value.full.trigger.words.slice(0, 60)} – Warmline`;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) wrong.value = "Log in on the wall first, in this browser.";
    else if (error instanceof Problem && error.status === 404) wrong.value = "There is no packet of this id: it never was, or was erased.";
    else wrong.value = error instanceof Error ? error.message : String(error);
  }
}

async function tell(what: () => Promise<Transfer>, words: string): Promise<void> {
  try {
    transfer.value = await what();
    said.value = words;
  } catch (error) {
    said.value = error instanceof Error ? error.message : String(error);
  }
}

const settle = (outcome: TransferState) => tell(() => api.outcome(id, outcome), `Noted: ${transferStates[outcome]}.`);
const judge = (verdict: Verdict) => tell(() => api.verdict(id, verdict, name.value), `Noted: ${verdicts[verdict]}. Thank you.`);

function Page() {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const outcome = OUTCOMES.find(([key]) => key === event.key)?.[1];
      const verdict = VERDICTS.find(([key]) => key === event.key)?.[1];
      if (outcome) void settle(outcome);
      else if (verdict) void judge(verdict);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  if (wrong.value) {
    return (
      <main class="packet-page">
        <h1>No packet</h1>
        <p>{wrong.value}</p>
        <p><a href="/">To the wall</a></p>
      </main>
    );
  }
  if (!packet.value) return <main class="packet-page"><p>Reading the packet.</p></main>;
  const state = transfer.value?.state;
  return (
    <main class="packet-page">
      <PacketView packet={packet.value} />
      <section class="packet-acts" aria-label="What became of it">
        <div>
          <h2>Outcome {state ? <small>now: {transferStates[state]}{transfer.value?.claimed_by ? `, ${transfer.value.claimed_by}` : ""}</small> : null}</h2>
          <p class="acts">
            {OUTCOMES.map(([key, outcome]) => (
              <button key={key} type="button" class={state === outcome ? "chosen" : ""} aria-pressed={state === outcome} onClick={() => void settle(outcome)}>
                {transferStates[outcome]} <Key>{key}</Key>
              </button>
            ))}
          </p>
        </div>
        <div>
          <h2>Was it right to hand this caller over?</h2>
          <p class="acts">
            {VERDICTS.map(([key, verdict]) => (
              <button key={key} type="button" class={transfer.value?.verdict === verdict ? `chosen ${verdict}` : ""} aria-pressed={transfer.value?.verdict === verdict} onClick={() => void judge(verdict)}>
                {verdicts[verdict]} <Key>{key}</Key>
              </button>
            ))}
          </p>
        </div>
        <p class="said" role="status">{said.value}</p>
      </section>
      <p class="fine">
        Transfer {id}{transfer.value ? `, asked for ${day(transfer.value.created_at)}` : ""}. <button type="button" class="quiet" onClick={() => window.print()}>Print</button>
      </p>
    </main>
  );
}

try {
  document.documentElement.dataset["theme"] = localStorage.getItem("warmline.theme") ?? "system";
} catch {
  document.documentElement.dataset["theme"] = "system";
}
void read();
const root = document.getElementById("page");
if (root) render(<Page />, root);
