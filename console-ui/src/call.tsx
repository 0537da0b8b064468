// One call: its timeline on the media clock, everything that happened, and the packet as the human sees it.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { api, Problem, type Event, type Packet, type Story } from "./api.ts";
import { Life, Verdicts, claim } from "./alerts.tsx";
import { isOpen } from "./model.ts";
import { asking, enter, frame, ledger, may, model, transfers, watched } from "./store.ts";
import { Empty, Pill } from "./parts.tsx";
import { PacketView } from "./packet-view.tsx";
import { Timeline } from "./timeline.ts";
import { clock, cues, day, evidence, plain, states, transferStates } from "./words.ts";

export function CallView({ id }: { id: string }) {
  const story = useSignal<Story | null>(null);
  const packet = useSignal<Packet | null>(null);
  const wrong = useSignal("");
  const chart = useRef<HTMLDivElement>(null);
  const timeline = useRef<Timeline | null>(null);
  void frame.value;

  useEffect(() => {
    let gone = false;
    const early: Event[] = [];
    const add = (event: Event) => {
      const told = story.value;
      if (!told) {
        early.push(event);
        return;
      }
      if (event.type === "score") {
        if ((told.scores.at(-1)?.[0] ?? -1) < event.t) told.scores.push([event.t, event.probability, event.stage]);
      } else {
        told.events.push(event as Story["events"][number]);
        if (event.type === "call_ended") told.until = new Date().toISOString();
        if (event.type === "transfer") void find(event.transfer, event.packet as Packet | undefined);
      }
      story.value = { ...told };
    };
    const find = async (transfer: string, told?: Packet) => {
      if (told && "full" in told) packet.value = told;
      else packet.value = await api.packet(transfer).catch(() => packet.value);
    };
    watched.call = id;
    watched.take = add;
    void api.story(id).then(
      (told) => {
        if (gone) return;
        story.value = told;
        const held = told.events.length;
        for (const event of early) if (!(event.type !== "score" && told.events.slice(0, held).some((e) => JSON.stringify(e) === JSON.stringify(event)))) add(event);
        const last = (told.events as Event[]).findLast((event) => event.type === "transfer");
        if (last?.type === "transfer") void find(last.transfer, last.packet as Packet | undefined);
      },
      (error: unknown) => (wrong.value = error instanceof Problem && error.status === 404 ? "This call is over so long that the server has forgotten its course." : String(error)),
    );
    return () => {
      gone = true;
      watched.call = null;
    };
  }, [id]);

  const told = story.value;
  const live = model.calls.get(id);
  const t = Math.max(live?.t ?? 0, told?.scores.at(-1)?.[0] ?? 0, ...(told?.events ?? []).slice(-1).map((event) => (event as Event).t));
  useEffect(() => {
    if (!told || !chart.current) return;
    const shown = { scores: told.scores as never, events: told.events as Event[], packet: packet.value, enter: enter.value, t };
    if (timeline.current) timeline.current.show(shown);
    else timeline.current = new Timeline(chart.current, shown);
  }, [told, packet.value, t, enter.value]);
  useEffect(() => {
    const element = chart.current;
    if (!element) return;
    const watch = new ResizeObserver(() => timeline.current?.resize(element.clientWidth));
    watch.observe(element);
    return () => {
      watch.disconnect();
      timeline.current?.end();
      timeline.current = null;
    };
  }, [told !== null]);

  const started = (told?.events as Event[] | undefined)?.find((event) => event.type === "call_started");
  const queue = live?.queue ?? (started?.type === "call_started" ? started.queue : undefined);
  const intent = live?.intent ?? (started?.type === "call_started" ? started.intent : undefined);
  const own = transfers.value.filter((transfer) => transfer.call === id);
  const open = own.find(isOpen);
  if (wrong.value && !told) {
    return (
      <section class="call">
        <header class="call-head"><a class="back" href="#/">← Wall</a><h1>{id}</h1></header>
        <Empty title={wrong.value}>{own.map((transfer) => <p key={transfer.id}><a href={transfer.packet_url}>Its packet</a> is kept.</p>)}</Empty>
      </section>
    );
  }
  return (
    <section class="call" aria-label={`Call ${id}`}>
      <header class="call-head">
        <a class="back" href="#/" title="Esc">← Wall</a>
        <h1>{id}</h1>
        {live ? <Pill state={live.state} /> : <span class="pill over">over</span>}
        <p>
          {[queue && plain(queue), intent && plain(intent), live?.source].filter(Boolean).join(" · ")}
          {told ? <small> since {day(told.since)} · {clock(t)} heard</small> : null}
        </p>
        <span class="fill" />
        {open && ledger.value && may.value.claim && !open.claimed_by ? <button type="button" class="main" onClick={() => void claim(open)}>Claim</button> : null}
        {live && may.value.force && live.state !== "escalated" ? <button type="button" onClick={() => (asking.value = { what: "force", call: id })}>Transfer…</button> : null}
        {open && ledger.value && may.value.dismiss ? <button type="button" onClick={() => (asking.value = { what: "dismiss", call: id })}>Dismiss…</button> : null}
        {ledger.value && may.value.judge && own.length === 0 ? <button type="button" onClick={() => (asking.value = { what: "missed", call: id })}>Report as missed…</button> : null}
      </header>
      {live?.state === "insufficient" ? <p class="hint insufficient">{states.insufficient.means} {live.why}</p> : null}
      <div class="chart" ref={chart} role="img" aria-label={describe(told)} />
      <p class="legend" aria-hidden="true">
        {(["calm", "insufficient", "rising", "escalated", "suspended"] as const).map((state) => (
          <span key={state}><i class={`swatch ${state}`} />{states[state].word}</span>
        ))}
        <span><i class="swatch caller" />caller speaks</span>
        <span><i class="swatch agent" />agent or bot speaks</span>
        <span><i class="swatch gap" />audio missing</span>
        <span><i class="swatch evidence" />evidence</span>
      </p>
      <div class="call-body">
        <section class="log" aria-label="What happened">
          <h2>What happened</h2>
          <ol>{[...((told?.events ?? []) as Event[])].reverse().map((event, n) => <Line key={(told?.events.length ?? 0) - n} event={event} />)}</ol>
        </section>
        <section class="side">
          {own.map((transfer) => (
            <div key={transfer.id} class="card over">
              <Life transfer={transfer} />
              {transfer.claimed_by ? <p class="on">● {transfer.claimed_by}</p> : null}
              {!isOpen(transfer) && may.value.judge && ledger.value ? <Verdicts transfer={transfer} /> : null}
            </div>
          ))}
          {packet.value ? <PacketView packet={packet.value} /> : <Empty title="No transfer so far."><p>When there is one, this is where the human's packet is.</p></Empty>}
        </section>
      </div>
    </section>
  );
}

/** The timeline for whoever does not see it. */
function describe(told: Story | null): string {
  if (!told) return "Timeline";
  const scores = told.scores as [number, number, string][];
  const peak = scores.reduce<[number, number] | null>((best, [t, p]) => (!best || p > best[1] ? [t, p] : best), null);
  return peak ? `Score over media time: ${scores.length} scores, the highest ${peak[1].toFixed(2)} at ${clock(peak[0])}. The list below says the same in words.` : "Timeline: nothing was scored yet.";
}

function Line({ event }: { event: Event }) {
  const said = words(event);
  if (!said) return null;
  const [kind, text] = said;
  return (
    <li class={`event ${event.type} ${event.type === "state" ? event.to : ""}`}>
      <time>{clock(event.t)}</time>
      <b>{kind}</b>
      <span>{text}</span>
    </li>
  );
}

function words(event: Event): [string, string] | null {
  switch (event.type) {
    case "call_started":
      return ["began", `by ${event.source}`];
    case "state":
      return [states[event.to].word, event.why];
    case "cue":
      return [cues[event.cue], evidence(event.cue, event.evidence)];
    case "turn":
      return event.speaker === "caller" ? ["caller", `spoke ${(event.to_s - event.from_s).toFixed(1)} s${event.heard ? `: ${event.heard}` : ""}`] : ["agent", `spoke ${(event.to_s - event.from_s).toFixed(1)} s`];
    case "said":
      return [event.speaker, `“${event.text}”`];
    case "transfer":
      return ["transfer", "asked for"];
    case "transfer_outcome":
      return ["transfer", transferStates[event.outcome as keyof typeof transferStates] ?? plain(event.outcome)];
    case "transfer_claimed":
      return ["claimed", `by ${event.by}`];
    case "transfer_verdict":
      return ["verdict", plain(event.verdict)];
    case "gap":
      return ["gap", `${event.seconds.toFixed(1)} s of the ${event.track} ${event.cause === "lost" ? "never came" : "were not to be heard"}`];
    case "problem":
      return ["problem", event.problem];
    case "score_failed":
      return ["not scored", event.why];
    case "call_ended":
      return ["over", `${event.cause}; ${clock(event.duration_s)} long, ${Math.round(event.caller_speech_s)} s spoken by the caller`];
    case "score":
      return null;
  }
}
