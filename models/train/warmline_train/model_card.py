"""Renders MODEL_CARD.md from the cards and from figures.json, so that the prose and the figures cannot drift apart.

    python -m warmline_train card --models models [--work DIR]

The prose is `templates/MODEL_CARD.md`. With --work, the folder that `train`, `baseline` and `calls` worked in,
figures.json is made anew first: from DIR/egemaps/figures.json and from what `warmline evaluate --json` printed for the
calls, DIR/calls/{watch,confirm,both}.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmline_train import templates

Json = Mapping[str, Any]

KEPT = (  # of what `warmline evaluate --json` prints
    "calls",
    "hours",
    "caller_speech_hours",
    "detection_rate",
    "false_alarms_per_hour",
    "delay_s",
    "delay_speech_s",
    "precision_at",
    "ece",
    "pauc_fpr5",
    "operating_points",
    "slices",
)
STAGES = ("watch", "confirm")
PROTOCOLS = {"unseen_corpora": "unseen corpora", "unseen_speakers": "unseen speakers"}
CONDITIONS = {"clean_telephone": "clean", "noisy_telephone": "noisy"}
SCORERS = {"watch": "watch alone", "confirm": "confirm always", "both": "both stages"}
ALARM_LIMITS = (1, 4, 15)  # false alarms per hour of caller speech
GROUPINGS = ("corpus", "language", "gender", "corpus_and_gender")


@dataclass(frozen=True)
class Cards:
    """The cards of both stages, of the permissive pair, and the figures of other commands."""

    watch: Json
    confirm: Json
    permissive: Json  # by stage
    figures: Json

    @classmethod
    def read(cls, models: Path, figures: Json | None = None) -> Cards:
        """Those of a models folder. `figures` replaces train/figures.json."""
        return cls(
            watch=read_json(models / "watch.json"),
            confirm=read_json(models / "confirm.json"),
            permissive={stage: read_json(models / f"permissive-{stage}.json") for stage in STAGES},
            figures=figures if figures is not None else read_json(figures_file(models)),
        )

    def of_stages(self) -> tuple[tuple[str, Json], ...]:
        return ("watch", self.watch), ("confirm", self.confirm)


def figures_file(models: Path) -> Path:
    return models / "train" / "figures.json"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def interval(f: Json) -> str:
    return f"{f['value']:.3f} ({f['low']:.3f}-{f['high']:.3f})"


def share(f: Json) -> str:
    return f"{f['value']:.0%} ({f['low']:.0%}-{f['high']:.0%})"


def or_dash(f: Json, form: str) -> str:
    return "-" if f["value"] is None else format(f["value"], form)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def unseen(card: Json, condition: str = "clean_telephone") -> Json:
    return card["metrics"]["unseen_corpora"][condition]


def auc(figures: Json) -> Json:
    return figures["mean_over_corpora"]["auc"]


def headline(cards: Cards) -> str:
    rows = []
    for protocol, words in PROTOCOLS.items():
        egemaps = cards.figures.get("egemaps", {}).get(protocol)
        if egemaps:
            rows.append((f"{words}, clean: openSMILE eGeMAPSv02 + SVM", *map(interval, egemaps.values())))
        for name, card in cards.of_stages():
            if protocol in card["metrics"]:
                for condition, short in CONDITIONS.items():
                    figures = card["metrics"][protocol][condition]["mean_over_corpora"]
                    rows.append((f"{words}, {short}: {name}", *map(interval, figures.values())))
    return table(["", "AUC", "recall at FPR 1 %", "recall at FPR 5 %"], rows)


def best(points: Iterable[Json], most: float) -> Json | None:
    """The operating point that finds most with at most so many false alarms an hour."""
    kept = [p for p in points if p["false_alarms_per_hour"]["value"] <= most]
    return max(kept, key=lambda p: p["detection_rate"]["value"], default=None)


def calls_table(calls: Json) -> str:
    rows = []
    for name, words in SCORERS.items():
        for most in ALARM_LIMITS:
            point = best(calls[name]["operating_points"], most) if name in calls else None
            if point:
                found, alarms = share(point["detection_rate"]), f"{point['false_alarms_per_hour']['value']:.1f}"
                delay = point["delay_p50"]["value"]
                waited = "not reached" if delay is None else f"{delay:.1f} s"
                rows.append((words, f"≤ {most}", f"{point['enter']:.2f}", found, alarms, waited))
    head = ["", "false alarms per hour of caller speech", "`enter`", "found within 10 s of caller speech"]
    return table([*head, "false alarms per hour", "median delay, misses infinite"], rows)


def slices_table(both: Json) -> str:
    rows = []
    for kind in ("scenario", "gender", "language"):
        for name, s in both["slices"].get(kind, {}).items():
            found, alarms = or_dash(s["detection_rate"], ".0%"), or_dash(s["false_alarms_per_hour"], ".1f")
            rows.append((kind, name, s["calls"], found, alarms))
    return table(["both stages, built-in policy", "", "calls", "found", "false alarms per hour"], rows)


def groups(clean: Json) -> str:
    """A table for each grouping of the clips."""
    head = ["AUC", "R@1 %", "R@5 %", "clips", "angry"]
    tables = []
    for grouping in GROUPINGS:
        rows = [(name, *figures_of_group(g), g["clips"], g["angry"]) for name, g in clean[grouping].items()]
        tables.append(table([grouping.replace("_", " "), *head], rows))
    return "\n\n".join(tables)


def figures_of_group(g: Json) -> tuple[str, ...]:
    return tuple(f"{g[figure]:.3f}" for figure in ("auc", "recall_at_fpr_1", "recall_at_fpr_5"))


def transfer_table(corpora: Json) -> str:
    rows = [(c, f"{v['fpr']:.3f}", f"{v['recall']:.3f}", f"{v['ece']:.3f}") for c, v in corpora.items()]
    return table(["unseen corpus", "realised FPR", "recall", "ECE"], rows)


def whole_calls(both: Json) -> str:
    """The sentence above the tables of calls."""
    alarms = both["false_alarms_per_hour"]
    return templates.text(
        "whole-calls.md",
        calls=str(both["calls"]),
        hours=f"{both['caller_speech_hours']:.1f}",
        found=share(both["detection_rate"]),
        alarms=f"{alarms['value']:.1f} ({alarms['low']:.1f}-{alarms['high']:.1f})",
        ece=f"{both['ece']['value']:.3f}",
    )


def speech_head(card: Json) -> str:
    speech = card["metrics"]["unseen_corpora"].get("speech_head")
    if not speech:
        return "Not measured."
    return templates.text(
        "speech-head.md",
        pieces=str(speech["non_speech_pieces"]),
        auc=f"{speech['auc']:.3f}",
        recall=f"{speech['recall_at_fpr_5']:.1%}",
    )


def facts_of_stage(name: str, card: Json) -> dict[str, str]:
    """The values of `templates/MODEL_CARD.md` that begin with the stage's name."""
    runtime, transfer = card["runtime"], unseen(card)["threshold_transfer"]
    cost = [f"{f['us_per_window_median']:,} µs a window in batches of {n}" for n, f in runtime["lanes"].items()]
    loss = auc(unseen(card, "noisy_telephone"))["value"] - auc(unseen(card))["value"]
    facts = {
        "name": card["name"],
        "version": card["version"],
        "parameters": f"{card['training']['parameters']:,}",
        "command": card["training"]["command"],
        "loss": f"{loss:+.3f}",
        "ece": f"{transfer['mean_ece']:.3f}",
        "cost": "; ".join(cost),
        "gain": f"{runtime['max_logit_shift_at_20_db_gain']:.1e}",
        "difference": f"{runtime['max_difference_from_training_graph']:.2f}",
        "fpr_low": f"{min(v['fpr'] for v in transfer['corpora'].values()):.3f}",
        "fpr_high": f"{transfer['worst_realised_fpr']:.3f}",
    }
    return {f"{name}_{fact}": value for fact, value in facts.items()}


def values(cards: Cards) -> dict[str, str]:
    """Every value of `templates/MODEL_CARD.md`."""
    confirm, both = cards.confirm, cards.figures["calls"]["both"]
    clean, caller = unseen(confirm), confirm["calibration"]["caller"]
    opened = clean["after_an_opening"]["with"]
    used = [(d["corpus"], d["licence"], d["speakers"], d["clips"]) for d in confirm["training"]["data"]]
    permissive = {
        f"permissive_{stage}": interval(auc(card["metrics"]["permissive_data"]["clean_telephone"]))
        for stage, card in cards.permissive.items()
    }
    stages = facts_of_stage("watch", cards.watch) | facts_of_stage("confirm", confirm)
    return {
        **stages,
        **permissive,
        "pre_trained": confirm["training"]["pre_trained"],
        "suspect": str(cards.figures["suspect"]),
        "opening": f"{caller['opening_s']:.0f}",
        "weight": f"{caller['weight']:.0%}",
        "prior": f"{confirm['calibration']['prior']:.0%}",
        "data": table(["corpus", "licence", "speakers", "clips"], used),
        "headline": headline(cards),
        "whole_calls": whole_calls(both),
        "calls": calls_table(cards.figures["calls"]),
        "calls_slices": slices_table(both),
        "opened_fpr": f"{opened['worst_realised_fpr']:.3f}",
        "opened_ece": f"{opened['mean_ece']:.3f}",
        "transfer": transfer_table(clean["threshold_transfer"]["corpora"]),
        "groups": groups(clean),
        "ablation": "\n".join(f"- {line}" for line in cards.figures["ablation"]),
        "speech": speech_head(cards.watch),
    }


def render(cards: Cards) -> str:
    """The text of MODEL_CARD.md."""
    return templates.text("MODEL_CARD.md", **values(cards)) + "\n"


def gather(work: Path, known: Json) -> dict[str, Any]:
    """What other commands measured: figures.json."""
    egemaps = work / "egemaps" / "figures.json"
    calls = {name: read_json(work / "calls" / f"{name}.json") for name in SCORERS}
    return {
        **known,
        "egemaps": read_json(egemaps) if egemaps.exists() else known.get("egemaps", {}),
        "calls": {name: {key: evaluated[key] for key in KEPT} for name, evaluated in calls.items()},
    }


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=Path, default=Path("models"))
    p.add_argument("--work", type=Path)
    a = p.parse_args()
    figures = read_json(figures_file(a.models))
    if a.work:
        figures = gather(a.work, figures)
        text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
        figures_file(a.models).write_text(text, encoding="utf-8")
    (a.models / "MODEL_CARD.md").write_text(render(Cards.read(a.models, figures)), encoding="utf-8")
    return 0
