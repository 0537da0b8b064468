// Small parts that several views are made of.
import type { ComponentChildren } from "preact";
import type { Point, State } from "./api.ts";
import { states } from "./words.ts";

export function Pill({ state }: { state: State }) {
  const { word, mark, means } = states[state];
  return (
    <span class={`pill ${state}`} title={means}>
      <span class="mark" aria-hidden="true">{mark}</span>
      {word}
    </span>
  );
}

const WIDTH = 132;
const HEIGHT = 30;
/** Media seconds a sparkline shows. */
const SPAN_S = 60;

/** The latest minute of scores, now at the right edge; broken where nothing was judged. The dashed line is the policy's threshold. */
export function Sparkline({ trend, t, enter }: { trend: Point[]; t: number; enter: number }) {
  const from = t - SPAN_S;
  const x = (at: number) => ((at - from) / SPAN_S) * WIDTH;
  const y = (p: number) => HEIGHT - 2 - p * (HEIGHT - 4);
  let line = "";
  let area = "";
  let before = Number.NEGATIVE_INFINITY;
  let begun = 0;
  for (const [at, p] of trend) {
    if (at < from) continue;
    const [px, py] = [x(at).toFixed(1), y(p).toFixed(1)];
    if (at - before > 2.5) {
      if (area) area += `L${x(before).toFixed(1)},${HEIGHT}L${begun},${HEIGHT}Z`;
      begun = Number(px);
      line += `M${px},${py}`;
      area += `M${px},${py}`;
      // A lone score is a dot: a line of no length with a round cap.
      line += `l0,0`;
    } else {
      line += `L${px},${py}`;
      area += `L${px},${py}`;
    }
    before = at;
  }
  if (area) area += `L${x(before).toFixed(1)},${HEIGHT}L${begun},${HEIGHT}Z`;
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden="true">
      <line class="enter" x1="0" x2={WIDTH} y1={y(enter)} y2={y(enter)} />
      <path class="area" d={area} />
      <path class="line" d={line} />
    </svg>
  );
}

export function Key({ children }: { children: ComponentChildren }) {
  return <kbd>{children}</kbd>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="title">{title}</p>
      {children}
    </div>
  );
}
