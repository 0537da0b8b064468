// The wall: every live call, one line each. Only the lines that can be seen are drawn.
import { useSignal } from "@preact/signals";
import { memo } from "preact/compat";
import { useEffect, useRef } from "preact/hooks";
import type { Call } from "./model.ts";
import { enter, frame, ledger, link, may, now, order, asking, selected, session } from "./store.ts";
import { ago, changes, clock, cues, evidence, plain, short, states } from "./words.ts";
import { Empty, Pill, Sparkline } from "./parts.tsx";

/** Pixels of a line; the style sheet knows the same. */
const ROW = 58;

/** Lines drawn above and below what can be seen. */
const MARGIN = 4;

export function open(call: string): void {
  location.hash = `#/call/${encodeURIComponent(call)}`;
}

export function Wall() {
  const calls = order.value;
  void frame.value;
  const box = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const height = useSignal(900);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const watch = new ResizeObserver(() => (height.value = element.clientHeight));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  const at = calls.findIndex((call) => call.id === selected.value);
  useEffect(() => {
    const element = box.current;
    if (!element || at < 0) return;
    if (at * ROW < element.scrollTop) element.scrollTop = at * ROW;
    else if ((at + 1) * ROW > element.scrollTop + element.clientHeight) element.scrollTop = (at + 1) * ROW - element.clientHeight;
  }, [selected.value]);
  const first = Math.max(0, Math.floor(top.value / ROW) - MARGIN);
  const visible = calls.slice(first, Math.ceil((top.value + height.value) / ROW) + MARGIN);
  const count = (states: string[]) => calls.filter((call) => states.includes(call.state)).length;
  return (
    <section class="wall" aria-label="Live calls">
      <header class="wall-head">
        <h1>Live calls</h1>
        <p class="counts">
          <b>{calls.length}</b> live
          <span class="sep" />
          <span class="dot escalated" /> <b>{count(["escalated"])}</b> escalated
          <span class="dot rising" /> <b>{count(["rising"])}</b> rising
          <span class="dot insufficient" /> <b>{count(["insufficient", "unheard", "suspended"])}</b> not judged
        </p>
      </header>
      <div class="row heads" aria-hidden="true">
        <span>State</span>
        <span>Caller</span>
        <span>Last minute</span>
        <span class="num">Score</span>
        <span>Heard, against their own calm voice</span>
        <span class="num">Since</span>
        <span />
      </div>
      <div
        class="rows"
        ref={box}
        role="grid"
        tabIndex={0}
        aria-label={`${calls.length} live calls, most urgent first`}
        aria-rowcount={calls.length}
        aria-activedescendant={at >= 0 ? `call-${selected.value}` : undefined}
        onScroll={(event) => (top.value = event.currentTarget.scrollTop)}
        onFocus={() => (selected.value ??= calls[0]?.id ?? null)}
      >
        {calls.length === 0 ? (
          <Empty title={link.value === "live" ? "No call is live." : "Waiting for the server."}>
            <p>{session.value?.demo ? "The bundled calls begin in a moment." : "A call is here as soon as its media stream begins."}</p>
          </Empty>
        ) : (
          <div class="space" role="rowgroup" style={{ height: `${calls.length * ROW}px` }}>
            {visible.map((call, n) => (
              <Row
                key={call.id}
                call={call}
                revision={call.revision}
                place={first + n}
                threshold={enter.value}
                minute={Math.floor((now.value - call.since) / 10_000)}
                isSelected={call.id === selected.value}
              />
            ))}
          </div>
        )}
      </div>
    </section>
  );
}

interface RowProps {
  call: Call;
  revision: number;
  place: number;
  threshold: number;
  minute: number;
  isSelected: boolean;
}

const Row = memo(function Row({ call, place, threshold, isSelected }: RowProps) {
  const judged = call.state !== "insufficient" && call.state !== "unheard" && call.state !== "suspended";
  const score = call.probability;
  const where = [call.queue && plain(call.queue), call.intent && plain(call.intent)].filter(Boolean).join(" · ");
  const said = call.cue && call.t - call.cue.t < 90 ? call.cue : null;
  return (
    <div
      id={`call-${call.id}`}
      class={`row ${call.state}${isSelected ? " selected" : ""}`}
      role="row"
      aria-rowindex={place + 1}
      aria-selected={isSelected}
      style={{ transform: `translateY(${place * ROW}px)` }}
      onClick={() => (selected.value = call.id)}
      onDblClick={() => open(call.id)}
    >
      <span role="gridcell"><Pill state={call.state} /></span>
      <span role="gridcell" class="who">
        <a href={`#/call/${encodeURIComponent(call.id)}`} title={call.id} tabIndex={-1}>{short(call.id, 22)}</a>
        <small>{where || call.source}</small>
      </span>
      <span role="gridcell" class="trend"><Sparkline trend={call.trend} t={call.t} enter={threshold} /></span>
      <span role="gridcell" class={`num score${judged ? "" : " stale"}`} title={judged ? "Calibrated probability that the caller sounds frustrated" : "The latest score; not judged now"}>
        {score === null ? "–" : score.toFixed(2)}
        {call.peak !== null && call.peak > (score ?? 0) + 0.05 ? <small>peak {call.peak.toFixed(2)}</small> : null}
      </span>
      <span role="gridcell" class="heard">
        {said ? (
          <>
            <b class="cue">{cues[said.cue]}</b> <span class="why" title={said.evidence}>{changes(evidence(said.cue, said.evidence))}</span>
          </>
        ) : call.heard ? (
          <>
            <span>{call.heard.words}</span> <small>at {clock(call.heard.t)}</small>
          </>
        ) : (
          <span class="none">{judged ? "nothing differs" : call.why || states[call.state].means}</span>
        )}
      </span>
      <span role="gridcell" class="num since" title={new Date(call.since).toLocaleString()}>{ago((Date.now() - call.since) / 1000)}</span>
      <span role="gridcell" class="acts">
        {may.value.force && call.state !== "escalated" ? (
          <button type="button" tabIndex={-1} onClick={() => (asking.value = { what: "force", call: call.id })}>Transfer…</button>
        ) : null}
        {may.value.dismiss && ledger.value && call.state === "escalated" ? (
          <button type="button" tabIndex={-1} onClick={() => (asking.value = { what: "dismiss", call: call.id })}>Dismiss…</button>
        ) : null}
      </span>
    </div>
  );
});
