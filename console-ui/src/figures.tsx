// After the fact: today's transfers with their verdicts, and what they come to.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, Problem, type Figures, type Stats } from "./api.ts";
import { Verdicts } from "./alerts.tsx";
import { isOpen } from "./model.ts";
import { asking, ledger, may, transfers } from "./store.ts";
import { Empty } from "./parts.tsx";
import { ago, clock, cues, moment, percent, plain, short, transferStates } from "./words.ts";

const SINCE: [string, () => Date][] = [
  ["today", () => new Date(new Date().setHours(0, 0, 0, 0))],
  ["7 days", () => new Date(Date.now() - 7 * 86_400_000)],
  ["30 days", () => new Date(Date.now() - 30 * 86_400_000)],
];

export function FiguresView() {
  const stats = useSignal<Stats | null>(null);
  const wrong = useSignal("");
  const span = useSignal(0);
  const verdicts = transfers.value.map((transfer) => transfer.verdict ?? "").join();
  useEffect(() => {
    const since = (SINCE[span.value]?.[1]() ?? new Date()).toISOString();
    void api.stats(since).then(
      (told) => {
        stats.value = told;
        wrong.value = "";
      },
      (error: unknown) => (wrong.value = error instanceof Problem && error.status === 404 ? "This server keeps no ledger." : String((error as Error).message)),
    );
  }, [span.value, verdicts, transfers.value.length]);
  const told = stats.value;
  return (
    <section class="figures">
      <header class="wall-head">
        <h1>Figures</h1>
        <p class="choice" role="group" aria-label="Since">
          {SINCE.map(([name], n) => (
            <button key={name} type="button" aria-pressed={span.value === n} onClick={() => (span.value = n)}>{name}</button>
          ))}
        </p>
      </header>
      {wrong.value ? <Empty title={wrong.value} /> : told ? <Tiles told={told} /> : <Empty title="Reading the figures." />}
      {told?.advice ? (
        <p class="advice">
          <b>What the verdicts suggest:</b> {told.advice.words}{" "}
          <a href={`#/policy?enter=${told.advice.threshold.toFixed(2)}`}>Try {told.advice.threshold.toFixed(2)} on recorded calls</a>
        </p>
      ) : null}
      {told?.by_queue && Object.keys(told.by_queue).length > 0 ? <Queues told={told.by_queue} /> : null}
      <header class="wall-head">
        <h2>Today's transfers</h2>
        <p class="counts"><b>{transfers.value.length}</b> today</p>
        <span class="fill" />
        {ledger.value && may.value.judge ? <button type="button" onClick={() => exportVerdicts()}>Export for training</button> : null}
      </header>
      {transfers.value.length === 0 ? <Empty title="No transfer today." /> : (
        <div class="scroll">
          <table>
            <thead>
              <tr><th>Asked</th><th>Call</th><th>Queue</th><th>Why</th><th class="num">Score</th><th>Became</th><th class="num">To human</th><th>Verdict</th></tr>
            </thead>
            <tbody>
              {transfers.value.slice(0, 200).map((transfer) => (
                <tr key={transfer.id} data-transfer={transfer.id}>
                  <td><time>{moment(transfer.created_at)}</time></td>
                  <td><a href={`#/call/${encodeURIComponent(transfer.call)}`} title={transfer.call}>{short(transfer.call)}</a> <a class="quiet" href={transfer.packet_url}>packet</a></td>
                  <td>{transfer.queue ? plain(transfer.queue) : "–"}</td>
                  <td class="why" title={transfer.why}><b>{cues[transfer.cue]}</b> <small>at {clock(transfer.t)}</small></td>
                  <td class="num">{transfer.probability?.toFixed(2) ?? "–"}</td>
                  <td>{transferStates[transfer.state]}{transfer.claimed_by ? <small> {transfer.claimed_by}</small> : null}</td>
                  <td class="num">{transfer.state === "connected" && transfer.ended_at ? ago((Date.parse(transfer.ended_at) - Date.parse(transfer.created_at)) / 1000) : "–"}</td>
                  <td>{ledger.value && may.value.judge && !isOpen(transfer) ? <Verdicts transfer={transfer} /> : (transfer.verdict && plain(transfer.verdict)) ?? "–"}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {ledger.value && may.value.judge ? (
        <p class="fine">
          A call that should have been transferred and was not?{" "}
          <button type="button" class="quiet" onClick={() => {
            const call = prompt("The call's id");
            if (call) asking.value = { what: "missed", call };
          }}>Report it</button> – or open the call and press m.
        </p>
      ) : null}
    </section>
  );
}

function Tiles({ told }: { told: Stats }) {
  const { precision, time_to_human_s: human, verdicts } = told;
  const judged = verdicts.helpful + verdicts.unneeded + verdicts.too_late;
  return (
    <dl class="tiles">
      <Tile name="Calls" value={String(told.calls)} note={`${told.caller_hours.toFixed(1)} h of caller speech`} />
      <Tile name="Transfers" value={String(told.transfers)} note={told.escalation_rate === null ? "" : `${percent(told.escalation_rate, 1)} of calls`} />
      <Tile
        name="Live precision"
        value={precision ? percent(precision.value) : "–"}
        note={precision ? `${percent(precision.low)} to ${percent(precision.high)} (95 %), of ${precision.n} judged` : "no verdicts yet"}
      />
      <Tile name="Time to a human" value={human ? `${human.p50.toFixed(0)} s` : "–"} note={human ? `nine in ten within ${human.p90.toFixed(0)} s` : "nobody connected yet"} />
      <Tile name="False alarms" value={told.false_alarms_per_caller_hour === null ? "–" : told.false_alarms_per_caller_hour.toFixed(2)} note="judged unneeded, per hour of caller speech" />
      <Tile name="Verdicts" value={`${judged} of ${told.transfers}`} note={`${verdicts.helpful} helpful, ${verdicts.unneeded} unneeded, ${verdicts.too_late} too late; ${told.missed_reported} missed reported`} />
    </dl>
  );
}

function Tile({ name, value, note }: { name: string; value: string; note: string }) {
  return <div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>;
}

function Queues({ told }: { told: Record<string, Figures> }) {
  const number = (value: number | null | undefined, digits: number) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr><th>Queue</th><th class="num">Calls</th><th class="num">Transfers</th><th class="num">Rate</th><th>Precision</th><th class="num">To human, p50</th><th class="num">False alarms/h</th></tr>
        </thead>
        <tbody>
          {Object.entries(told).map(([queue, figures]) => (
            <tr key={queue}>
              <td>{plain(queue) || "none"}</td>
              <td class="num">{figures.calls}</td>
              <td class="num">{figures.transfers}</td>
              <td class="num">{figures.escalation_rate === null ? "–" : percent(figures.escalation_rate, 1)}</td>
              <td>{figures.precision ? <Interval {...figures.precision} /> : "–"}</td>
              <td class="num">{figures.time_to_human_s ? `${figures.time_to_human_s.p50.toFixed(0)} s` : "–"}</td>
              <td class="num">{number(figures.false_alarms_per_caller_hour, 2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A share with its interval, drawn: how little is known shows. */
function Interval({ value, low, high, n }: { value: number; low: number; high: number; n: number }) {
  return (
    <span class="interval" title={`${percent(low)} to ${percent(high)}, of ${n}`}>
      <svg viewBox="0 0 100 12" width="100" height="12" aria-hidden="true">
        <line x1="0" x2="100" y1="6" y2="6" class="axis" />
        <line x1={100 * low} x2={100 * high} y1="6" y2="6" class="range" />
        <circle cx={100 * value} cy="6" r="4" />
      </svg>
      {percent(value)} <small>of {n}</small>
    </span>
  );
}

/** The verdicts as `warmline evaluate` reads a suite: which call, what it should have been, from when. */
function exportVerdicts(): void {
  const rows = transfers.value.filter((transfer) => transfer.verdict).map((transfer) => {
    const escalate = transfer.verdict !== "unneeded";
    return [transfer.call, escalate ? "escalate" : "calm", escalate ? transfer.t.toFixed(1) : "", transfer.queue ?? "", transfer.verdict].map((cell) => `"${String(cell).replaceAll('"', '""')}"`).join(",");
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([["call,label,onset_s,queue,verdict", ...rows].join("\n")], { type: "text/csv" }));
  link.download = `verdicts-${new Date().toISOString().slice(0, 10)}.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
}
