// One call on the media clock: the score, what it stood on, who spoke, what was missing.
import uPlot from "uplot";
import type { Event, Packet, Point, State } from "./api.ts";
import { clock, cues } from "./words.ts";

/** What a timeline shows. */
export interface Told {
  scores: Point[];
  events: Event[];
  packet: Packet | null;
  enter: number;
  /** Media seconds that have passed. */
  t: number;
}

/** Seconds without a score behind which the line is broken: nothing was judged in between. */
const BREAK_S = 2.5;

/** Where the lanes lie below the score, in its unit. */
const LANES = { state: [-0.1, -0.17], caller: [-0.24, -0.31], agent: [-0.35, -0.42] } as const;

export class Timeline {
  readonly #plot: uPlot;
  #told: Told;

  constructor(into: HTMLElement, told: Told) {
    this.#told = told;
    const color = (name: string) => getComputedStyle(into).getPropertyValue(name).trim();
    const font = `11px ${getComputedStyle(into).fontFamily}`;
    this.#plot = new uPlot(
      {
        width: Math.max(320, into.clientWidth),
        height: 300,
        padding: [10, 12, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 7 }, drag: { x: true, y: false } },
        scales: { x: { time: false, range: (_, __, max) => [0, Math.max(30, max, this.#told.t)] }, y: { range: [-0.46, 1.03] } },
        axes: [
          {
            values: (_, splits) => splits.map(clock),
            space: 70,
            incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600],
            font,
            stroke: () => color("--ink-2"),
            grid: { show: false },
            ticks: { stroke: () => color("--line") },
          },
          {
            splits: () => [0, 0.25, 0.5, 0.75, 1],
            values: () => ["0", "", ".5", "", "1"],
            size: 58,
            font,
            stroke: () => color("--ink-2"),
            grid: { stroke: () => color("--line"), width: 1 },
            ticks: { show: false },
          },
        ],
        series: [
          {},
          {
            stroke: () => color("--score"),
            width: 2,
            fill: () => color("--score-area"),
            fillTo: 0,
            spanGaps: false,
            points: { show: true, size: 4, fill: () => color("--score"), stroke: () => color("--score") },
          },
        ],
        hooks: { drawAxes: [(plot) => this.#below(plot, color, font)], draw: [(plot) => this.#above(plot, color, font)] },
      },
      data(told.scores),
      into,
    );
  }

  show(told: Told): void {
    this.#told = told;
    this.#plot.setData(data(told.scores));
  }

  resize(width: number): void {
    this.#plot.setSize({ width: Math.max(320, width), height: 300 });
  }

  /** The media second under the pointer. */
  under(): number | null {
    const left = this.#plot.cursor.left ?? -1;
    return left < 0 ? null : this.#plot.posToVal(left, "x");
  }

  end(): void {
    this.#plot.destroy();
  }

  #below(plot: uPlot, color: (name: string) => string, font: string): void {
    const { ctx } = plot;
    const x = (at: number) => plot.valToPos(at, "x", true);
    const y = (p: number) => plot.valToPos(p, "y", true);
    const { left, width } = plot.bbox;
    const box = (from: number, to: number, [top, bottom]: readonly [number, number]) => ctx.fillRect(x(from), y(top), Math.max(1.5, x(to) - x(from)), y(bottom) - y(top));
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, plot.bbox.top, width, plot.bbox.height);
    ctx.clip();
    for (const moment of this.#told.packet?.full.evidence ?? []) {
      ctx.fillStyle = color("--evidence");
      box(moment.from_s, moment.to_s, [1.03, 0]);
    }
    const { events, t } = this.#told;
    let state: State = "unheard";
    let from = 0;
    const span = (to: number) => {
      ctx.fillStyle = color(`--${state}`);
      box(from, to, LANES.state);
    };
    for (const event of events) {
      if (event.type === "state") {
        span(event.t);
        [state, from] = [event.to, event.t];
      } else if (event.type === "turn") {
        ctx.fillStyle = color(event.speaker === "caller" ? "--caller" : "--agent");
        box(event.from_s, event.to_s, event.speaker === "caller" ? LANES.caller : LANES.agent);
      } else if (event.type === "gap") {
        ctx.fillStyle = color("--gap");
        box(event.t - event.seconds, event.t, event.track === "caller" ? LANES.caller : LANES.agent);
      }
    }
    span(t);
    ctx.restore();
    ctx.save();
    ctx.font = font.replace("11px", `${Math.round(11 * devicePixelRatio)}px`);
    ctx.fillStyle = color("--ink-2");
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    for (const [name, [top, bottom]] of Object.entries(LANES)) ctx.fillText(name, left - 8 * devicePixelRatio, y((top + bottom) / 2));
    ctx.restore();
  }

  #above(plot: uPlot, color: (name: string) => string, font: string): void {
    const { ctx } = plot;
    const x = (at: number) => Math.round(plot.valToPos(at, "x", true)) + 0.5;
    const y = (p: number) => Math.round(plot.valToPos(p, "y", true)) + 0.5;
    const { left, width, top } = plot.bbox;
    ctx.save();
    ctx.font = font.replace("11px", `${Math.round(11 * devicePixelRatio)}px`);
    ctx.lineWidth = devicePixelRatio;
    ctx.strokeStyle = color("--enter");
    ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(left, y(this.#told.enter));
    ctx.lineTo(left + width, y(this.#told.enter));
    ctx.stroke();
    ctx.setLineDash([]);
    for (const event of this.#told.events) {
      if (event.type !== "cue" && event.type !== "transfer") continue;
      const at = x(event.t);
      ctx.strokeStyle = ctx.fillStyle = color(event.type === "cue" ? "--rising-ink" : "--escalated-ink");
      ctx.beginPath();
      ctx.moveTo(at, y(1.03));
      ctx.lineTo(at, y(-0.19));
      ctx.stroke();
      if (event.type === "cue") continue;
      const right = at < left + width - 160 * devicePixelRatio;
      ctx.textAlign = right ? "left" : "right";
      ctx.fillText(`transfer: ${cues[event.cue]}`, at + (right ? 5 : -5) * devicePixelRatio, top + 10 * devicePixelRatio);
    }
    ctx.restore();
  }
}

/** The scores as columns, with a hole where nothing was judged. */
function data(scores: Point[]): [number[], (number | null)[]] {
  const [at, p]: [number[], (number | null)[]] = [[], []];
  for (const [t, probability] of scores) {
    const before = at.at(-1);
    if (before !== undefined && t - before > BREAK_S) {
      at.push(before + 0.01);
      p.push(null);
    }
    at.push(t);
    p.push(probability);
  }
  return [at, p];
}
