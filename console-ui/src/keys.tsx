// The keyboard, and the two questions that it and the buttons ask.
import { useEffect, useRef } from "preact/hooks";
import { claim, dismiss, force, missed } from "./alerts.tsx";
import { asking, help, ledger, may, openTransfers, order, place, selected } from "./store.ts";
import { open } from "./wall.tsx";
import { Key } from "./parts.tsx";

const KEYS: [string, string][] = [
  ["j / k", "next, previous call"],
  ["Enter", "open the call"],
  ["c", "claim its transfer, or the oldest that nobody has"],
  ["p", "open the packet"],
  ["f", "force a transfer"],
  ["d", "dismiss its transfer"],
  ["m", "report that it should have been transferred"],
  ["1 2 3", "wall, figures, policy"],
  ["Esc", "back, close"],
  ["?", "these keys"],
];

/** The call that keys act upon: the one that is open, else the one that is selected. */
function subject(): string | null {
  return place.value.startsWith("#/call/") ? decodeURIComponent(place.value.slice("#/call/".length)) : selected.value;
}

export function onKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (asking.value || help.value) {
      asking.value = null;
      help.value = false;
    } else if (location.hash.length > 2 && !target.closest("input, textarea")) {
      location.hash = "#/";
    }
    return;
  }
  if (target.closest("input, textarea, select, dialog")) return;
  const calls = order.value;
  const at = calls.findIndex((call) => call.id === selected.value);
  const step = (n: number) => (selected.value = calls[Math.max(0, Math.min(calls.length - 1, at < 0 ? 0 : at + n))]?.id ?? null);
  const call = subject();
  const transfer = openTransfers.value.find((transfer) => transfer.call === call);
  switch (event.key) {
    case "j":
    case "ArrowDown":
      if (event.key === "ArrowDown" && !target.closest(".rows")) return;
      step(1);
      break;
    case "k":
    case "ArrowUp":
      if (event.key === "ArrowUp" && !target.closest(".rows")) return;
      step(-1);
      break;
    case "Enter":
      if (target.closest("a, button") || !selected.value || place.value.startsWith("#/call/")) return;
      open(selected.value);
      break;
    case "c": {
      const unclaimed = transfer ?? openTransfers.value.filter((transfer) => !transfer.claimed_by).at(-1);
      if (!unclaimed || !ledger.value || !may.value.claim) return;
      void claim(unclaimed);
      break;
    }
    case "p":
      if (transfer) window.open(transfer.packet_url, "_blank", "noopener");
      break;
    case "f":
      if (!call || !may.value.force) return;
      asking.value = { what: "force", call };
      break;
    case "d":
      if (!call || !may.value.dismiss || !ledger.value) return;
      asking.value = { what: "dismiss", call };
      break;
    case "m":
      if (!call || !ledger.value) return;
      asking.value = { what: "missed", call };
      break;
    case "1":
    case "2":
    case "3":
      location.hash = ["#/", "#/figures", "#/policy"][Number(event.key) - 1] ?? "#/";
      break;
    case "?":
      help.value = !help.value;
      break;
    default:
      return;
  }
  event.preventDefault();
}

/** A native dialog that is open while it is drawn. */
function Dialog({ label, onClose, children }: { label: string; onClose: () => void; children: preact.ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} aria-label={label} onClose={onClose} onClick={(event) => event.target === dialog.current && onClose()}>
      {children}
    </dialog>
  );
}

const QUESTIONS = {
  force: { title: "Hand this caller to a human", note: "The transfer is asked for at once, whatever the score says.", hint: "Reason (optional)", act: "Transfer", must: false },
  dismiss: { title: "Dismiss the transfer", note: "It is called back. The voice alone asks for no other for the cool-down; an explicit request still does.", hint: "Reason", act: "Dismiss", must: true },
  missed: { title: "This call should have been transferred", note: "It counts as missed in the figures, and in what they advise.", hint: "What was missed (optional)", act: "Report", must: false },
} as const;

export function Ask() {
  const question = asking.value;
  if (!question) return null;
  const { title, note, hint, act, must } = QUESTIONS[question.what];
  const close = () => (asking.value = null);
  return (
    <Dialog label={title} onClose={close}>
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault();
          const reason = String(new FormData(event.currentTarget).get("reason") ?? "").trim();
          if (must && !reason) return;
          close();
          void { force, dismiss, missed }[question.what](question.call, reason);
        }}
      >
        <h2>{title}</h2>
        <p class="call-id">{question.call}</p>
        <p>{note}</p>
        <label>
          {hint}
          <input name="reason" required={must} maxLength={300} autofocus list="reasons" />
        </label>
        <datalist id="reasons">
          {(question.what === "dismiss" ? ["already being helped", "not frustrated: lively", "background noise", "wrong person heard"] : []).map((reason) => (
            <option key={reason} value={reason} />
          ))}
        </datalist>
        <p class="acts">
          <button type="button" onClick={close}>Cancel</button>
          <button type="submit" class="main">{act}</button>
        </p>
      </form>
    </Dialog>
  );
}

export function Help() {
  if (!help.value) return null;
  return (
    <Dialog label="Keys" onClose={() => (help.value = false)}>
      <h2>Keys</h2>
      <dl class="keys">
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt>{key.split(" ").map((part) => (part === "/" ? " / " : <Key key={part}>{part}</Key>))}</dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p>The score is a probability that this stretch of speech sounds frustrated, against everything else. It says what was heard, not what someone is.</p>
      <p class="acts"><button type="button" class="main" onClick={() => (help.value = false)}>Close</button></p>
    </Dialog>
  );
}
