// A context packet, to be read in ten seconds: why, since when, who, the moments, what was tried, how to open.
// Every field but the trigger may be absent.
import type { Packet, Point } from "./api.ts";
import { Sparkline } from "./parts.tsx";
import { clock, cues, evidence, percent, plain } from "./words.ts";

const NAME = /name$/;
const NUMBER = /(number|phone|from)$/;

export function PacketView({ packet }: { packet: Packet }) {
  const { full } = packet;
  const { trigger, evidence: moments, trend, consent, provenance, conversation, advice, call } = full;
  const metadata = Object.entries(call.metadata ?? {});
  // A name before a number, whatever the integrator calls the two.
  const found = (kind: RegExp) => metadata.filter(([name]) => kind.test(name)).map(([, value]) => value);
  const who = [...new Set([...found(NAME), ...found(NUMBER)])];
  const others = metadata.filter(([name]) => !NAME.test(name) && !NUMBER.test(name));
  const spoken = conversation.turns.filter((turn) => turn.words);
  const summary = conversation.summary;
  const scores: Point[] = trend.scores.flatMap((p, n) => (p === null ? [] : [[trend.from_s + n, p, "confirm"] as Point]));
  const end = trend.from_s + trend.scores.length;
  return (
    <article class="packet">
      <header>
        <h1>{cues[trigger.cue]}</h1>
        <p class="heard">{evidence(trigger.cue, trigger.words)}</p>
        <p class="facts">
          at {clock(trigger.at_s)} of the call
          {trigger.since_s !== undefined ? <>, rising since {clock(trigger.since_s)}</> : null}
          {trigger.probability !== undefined ? <>, score <b>{trigger.probability.toFixed(2)}</b>{trigger.threshold !== undefined ? <> (threshold {trigger.threshold.toFixed(2)})</> : null}</> : null}
        </p>
      </header>
      <div class="columns">
        <section>
          <h2>Who</h2>
          {who.length > 0 ? <p class="person">{who.join(" · ")}</p> : <p class="person none">not told</p>}
          <p>{[call.queue && `queue ${plain(call.queue)}`, call.intent && plain(call.intent), conversation.language].filter(Boolean).join(" · ")}</p>
          {others.length > 0 ? (
            <dl class="facts">
              {others.map(([name, value]) => <div key={name}><dt>{plain(name)}</dt><dd>{value}</dd></div>)}
            </dl>
          ) : null}
        </section>
        <section>
          <h2>How it went</h2>
          {scores.length > 0 ? (
            <figure>
              <Sparkline trend={scores} t={end} enter={trigger.threshold ?? 0.7} />
              <figcaption>
                {trend.peak !== undefined ? `peak ${trend.peak.toFixed(2)}` : ""}
                {trend.slope_per_s !== undefined && Math.abs(trend.slope_per_s) >= 0.005 ? `, ${trend.slope_per_s > 0 ? "rising" : "falling"}` : ""}
              </figcaption>
            </figure>
          ) : <p class="none">The voice was not scored.</p>}
          <p>{Math.round(conversation.caller_speech_s)} s spoken by the caller</p>
        </section>
        {advice.opening ? <section class="open wide"><h2>How to open</h2><p>{advice.opening}</p></section> : null}
        {advice.do_not_ask.length > 0 ? (
          <section class="dont"><h2>Do not ask again</h2><ul>{advice.do_not_ask.map((line) => <li key={line}>{plain(line)}</li>)}</ul></section>
        ) : null}
        {summary ? (
          <section class="wide">
            <h2>What it is about</h2>
            {summary.at_peak ? <blockquote>“{summary.at_peak}”</blockquote> : null}
            {summary.problem && summary.problem !== summary.at_peak ? <p>“{summary.problem}”</p> : null}
          </section>
        ) : null}
        <section class="wide">
          <h2>The moments</h2>
          {moments.length === 0 && !full.cues?.length ? <p class="none">No moment of the voice speaks for it.</p> : (
            <ol class="moments">
              {moments.map((moment) => (
                <li key={moment.from_s}>
                  <b>{clock(moment.from_s)}–{clock(moment.to_s)}</b> <span class="num">{moment.probability.toFixed(2)}</span>
                  <span>{moment.changes.map((change) => change.words).join(", ") || "no single change stands out"}</span>
                  {spoken.filter((turn) => turn.speaker === "caller" && turn.to_s > moment.from_s && turn.from_s < moment.to_s).slice(-2).map((turn) => (
                    <q key={turn.from_s}>{turn.words}</q>
                  ))}
                </li>
              ))}
              {(full.cues ?? []).map((heard) => (
                <li key={`${heard.cue}${heard.at_s}`}><b>{clock(heard.at_s)}</b> <span class="num" /><span>{cues[heard.cue]}: {heard.words}</span></li>
              ))}
            </ol>
          )}
          <p class="fine">Changes are against this caller's own calm voice earlier in the call.</p>
        </section>
        {conversation.tried?.length || conversation.key_presses.length ? (
          <section>
            <h2>Tried so far</h2>
            <ul>
              {(conversation.tried ?? []).map(({ at_s, what, failed }) => <li key={at_s}>“{what}” – {failed}</li>)}
              {conversation.key_presses.length ? <li>pressed {conversation.key_presses.map(({ key }) => key).join(" ")}</li> : null}
            </ul>
          </section>
        ) : null}
        {spoken.length > 0 ? (
          <section class="wide">
            <h2>What was said</h2>
            <ol class="said">
              {spoken.slice(-12).map((turn) => (
                <li key={`${turn.speaker}${turn.from_s}`} class={turn.speaker}><small>{clock(turn.from_s)} {turn.speaker}</small> {turn.words}</li>
              ))}
            </ol>
          </section>
        ) : null}
      </div>
      <footer>
        <p>
          Told: {consent.given === "none" ? "nothing" : consent.given}{consent.required !== "none" ? ` (${consent.required} is required)` : ""} · policy {provenance.policy.name}
          {provenance.model ? ` · model ${provenance.model.name}` : ""} · {provenance.software}
        </p>
        <p>A score says how this stretch of speech sounds ({trigger.probability !== undefined ? percent(trigger.probability) : "not scored"}), not what someone is. It may be wrong.</p>
      </footer>
    </article>
  );
}
