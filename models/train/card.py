#!/usr/bin/env python3
"""Renders MODEL_CARD.md from the cards and from figures.json, so that the prose and the figures cannot drift apart.

    card.py --models models [--work DIR]

With --work, the folder train.py, baseline.py and calls.py worked in, figures.json is made anew first: of DIR/egemaps/figures.json
and of what `warmline evaluate --json` said of the calls, DIR/calls/{watch,confirm,both}.json.
"""

import argparse
import json
from pathlib import Path

TEXT = """# Model card: {watch_name} {watch_version} and {confirm_name} {confirm_version}

For the person who answers for using them. Every figure below is copied by `models/train/card.py` from the cards `watch.json` and
`confirm.json`, which the training command writes, and from `train/figures.json`, which holds what other commands measured.

## What the score means
A number from 0 to 1: **how much this caller's last seconds of speech sound like an actor portraying anger.** Anger stands in for
frustration, because nobody publishes telephone calls labelled with frustration. The models hear how something is said (pitch, loudness
contour, voice quality, rhythm). They are given no words and nothing about who is calling, and they know nothing of what the caller feels. A
high score is a reason to offer a human. It is not a fact about a person.

**`watch`** hears every call once a second: three seconds of speech as descriptors, {watch_parameters:,} parameters. **`confirm`** hears
the same speech as audio (the caller's last three seconds, eight bits a sample, kept in memory and gone with the call) when watch gives
{suspect} or more, when confirm itself did last time, and in the caller's first {opening:.0f} seconds. Its word then stands, and nothing
escalates on the voice without it. It is {pre_trained}, fine-tuned: {confirm_parameters:,} parameters.

Each score is moved by {weight:.0%} of what this caller's first {opening:.0f} seconds of speech deviate from the usual. Scores are calibrated as if {prior:.0%} of the scored windows were angry, every training corpus having the same
weight. In calm traffic the true share is far lower, so a single score of 0.7 is right less often than seven times in ten: the policy asks that it lasts.

The second output, `speech`, says whether the window is a human voice rather than hold music, tones or noise; a window that is none is no evidence.

## May I use them?
**Research and evaluation only.** The data below include licences that forbid commercial use (NC) or derivatives (ND), or state none. All
of it is acted speech. The pre-trained part is MIT-licensed; its authors do not publish the recordings it was trained on.

{data}

**A second pair, `permissive-watch` and `permissive-confirm`, heard no other speech than banglaser and fsdd** (licences that allow commercial use,
as listed by third parties; the noises mixed in carry NC terms, see `corpora/noise`; the two numbers of each calibration were fitted on
the other corpora). On the other corpora, all of them unheard: watch AUC {permissive_watch}, confirm AUC {permissive_confirm}. Name them with `--model`.

To own models you may sell with, train on recordings you have the rights to: write a `manifest.csv` (id, corpus, path, speaker, gender,
language, emotion, licence; the target is `emotion` = `anger`), then

    pip install -r models/train/requirements.txt
    python models/train/train.py --stage watch --corpora YOUR_DATA --warmline warmline --work .warmline/train --out models
    python models/train/train.py --stage confirm --corpora YOUR_DATA --warmline warmline --work .warmline/train --out models

`models/train/adapt.py` fits the last layer and the calibration of a shipped model to a few dozen labelled calls of your own, or to exported verdicts;
`--corpus NAME ...` trains on some corpora alone; `--smoke` tries the whole road in minutes. The models of this card:

    {watch_command}
    {confirm_command}

## How it was measured
Every clip goes through a telephone first: 300-3400 Hz, a random equaliser, a random gain over 36 dB, G.711 µ-law. *Noisy* adds background
at 5-25 dB signal-to-noise ratio from recordings not used in training, a harsher equaliser, and up to 3 % lost packets. A clip's score is the
mean over its windows. *Unseen corpora*: neither the language, nor the room, nor the actors were in training (five groups of corpora left
out in turn). *Unseen speakers*: other actors of the same corpora, in three folds of speakers for watch and the first of them for
confirm. Figures are means over corpora; brackets are 95 % intervals from drawing
speakers anew. The nets measured are trained like the shipped ones on less data; the shipped ones have heard every corpus and cannot be
measured on them. Choices made while looking at unseen corpora (length of training, averaging of weights, layers and penalty of the probe,
and for calls the opening, its weight, and the two
numbers a stage that bring scores of clips to the scale of calls) make their figures flatter a little. AUC: the chance that an angry clip scores above another one.
Recall at FPR 5 %: the share of angry clips found when one other clip in twenty is flagged, the threshold being chosen on the test corpus.

{headline}

| human listeners, voice only (CREMA-D, not our data) | |
|---|---|
| one listener | recall .532 at a false-positive rate of .063 (UAR .7345), agreement κ .44 |
| a panel of about nine | AUC .9145, recall .362 at FPR 1 %, .645 at FPR 5 % |

What noise and a worse line cost on unseen corpora: watch {watch_loss:+.3f} AUC, confirm {confirm_loss:+.3f}.

### Whole calls
{calls_words}

{calls}

{calls_slices}

### Does a threshold carry over to another room?
Set for FPR 5 % on the other corpora, then used on one never heard, single clips without the caller's opening: confirm's false-positive rate is between
{fpr_low:.3f} and {fpr_high:.3f} (watch: up to {watch_fpr_high:.3f}). Calibration error (ECE, at the prior above) on an unseen corpus: {ece:.3f} on average (watch: {watch_ece:.3f}).
After four calm clips of the same speaker it is no better: worst {opened_fpr:.3f}, ECE {opened_ece:.3f}. On whole calls, where an opening is longer and a rise has to last, the error is the
one above. Check the rates in your own traffic.

{transfer}

### Per group, confirm, unseen corpora, clean telephone
{groups}

Differences between women and men within a corpus go both ways and are large: one threshold does not treat groups alike. Age, accent and
health are not labelled in the data and were not measured. A hoarse, hard-of-hearing or habitually loud voice may score high.

### What each part buys
{ablation}

### Speech head
{speech}

## Cost
One thread of a shared AMD EPYC, median. watch: {watch_cost} (eight-bit convolutions). confirm: {confirm_cost} (eight-bit matrix products).
A gain of ±20 dB changes a logit of watch by at most {watch_gain:.1e}, of confirm by {confirm_gain:.1e}. Eight bits move a logit by up to {watch_difference:.2f} (watch) and
{confirm_difference:.2f} (confirm) from the trained net's; the scores the program streams are those of the same file run on what `warmline features` writes,
to 1e-3 (`tests/reference/parity.py`).

## Limits
- Acted, short, mostly scripted speech; no real call, no real frustration, seven languages with an anger label. Quiet, cold anger, sarcasm and resignation
  are mostly missed.
- Joy, fear and surprise are loud too and cause most of the false alarms.
- A caller who is angry from the first word moves their own opening up, and is found later or not at all by the voice alone.
- Two voices on the caller's line, a television, or a child in the room are scored as if they were the caller.
- Less than one second of speech gives no score: the state is then `insufficient`, not `calm`.

## Out of scope
Ranking, paying or disciplining agents or callers; deciding on refusal, price, credit, insurance or law enforcement; inferring health,
honesty or personality; emotion recognition of employees or pupils (forbidden in the EU by Regulation 2024/1689, Article 5). Callers must be told
that such a system listens where the law asks for it.
"""


def interval(f):
    return f"{f['value']:.3f} ({f['low']:.3f}-{f['high']:.3f})"


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(map(str, r)) + " |" for r in rows)])


def group_rows(groups):
    return [(name, f"{g['auc']:.3f}", f"{g['recall_at_fpr_1']:.3f}", f"{g['recall_at_fpr_5']:.3f}", g["clips"], g["angry"]) for name, g in groups.items()]


def lanes(card):
    return "; ".join(f"{f['us_per_window_median']:,} µs a window in batches of {n}" for n, f in card["runtime"]["lanes"].items())


def headline(watch, confirm, figures):
    protocols = [("unseen_corpora", "unseen corpora"), ("unseen_speakers", "unseen speakers")]
    rows = []
    for protocol, words in protocols:
        if protocol in figures.get("egemaps", {}):
            rows.append((f"{words}, clean: openSMILE eGeMAPSv02 + SVM", *(interval(v) for v in figures["egemaps"][protocol].values())))
        for name, card in (("watch", watch), ("confirm", confirm)):
            for condition in ("clean_telephone", "noisy_telephone"):
                if protocol in card["metrics"]:
                    rows.append((f"{words}, {condition.split('_')[0]}: {name}", *(interval(v) for v in card["metrics"][protocol][condition]["mean_over_corpora"].values())))
    return table(["", "AUC", "recall at FPR 1 %", "recall at FPR 5 %"], rows)


def best(points, most):
    """The operating point that finds most with at most so many false alarms an hour."""
    kept = [p for p in points if p["false_alarms_per_hour"]["value"] <= most]
    return max(kept, key=lambda p: p["detection_rate"]["value"], default=None)


def calls_table(calls):
    rows = []
    for name, words in (("watch", "watch alone"), ("confirm", "confirm always"), ("both", "both stages")):
        for most in (1, 4, 15):
            p = best(calls[name]["operating_points"], most) if name in calls else None
            if p:
                rate, delay = p["detection_rate"], p["delay_p50"]["value"]
                rows.append((words, f"≤ {most}", f"{p['enter']:.2f}", f"{rate['value']:.0%} ({rate['low']:.0%}-{rate['high']:.0%})", f"{p['false_alarms_per_hour']['value']:.1f}", "not reached" if delay is None else f"{delay:.1f} s"))
    return table(["", "false alarms per hour of caller speech", "`enter`", "found within 10 s of caller speech", "false alarms per hour", "median delay, misses infinite"], rows)


def slices_table(both):
    rows = []
    for kind in ("scenario", "gender", "language"):
        for name, s in both["slices"].get(kind, {}).items():
            show = lambda f, form: "-" if f["value"] is None else form(f["value"])
            rows.append((kind, name, s["calls"], show(s["detection_rate"], lambda v: f"{v:.0%}"), show(s["false_alarms_per_hour"], lambda v: f"{v:.1f}")))
    return table(["both stages, built-in policy", "", "calls", "found", "false alarms per hour"], rows)


def render(watch, confirm, permissive, figures):
    unseen = confirm["metrics"]["unseen_corpora"]
    clean = unseen["clean_telephone"]
    loss = lambda card: card["metrics"]["unseen_corpora"]["noisy_telephone"]["mean_over_corpora"]["auc"]["value"] - card["metrics"]["unseen_corpora"]["clean_telephone"]["mean_over_corpora"]["auc"]["value"]
    group_head = ["AUC", "R@1 %", "R@5 %", "clips", "angry"]
    groups = "\n\n".join(table([k.replace("_", " ")] + group_head, group_rows(clean[k])) for k in ("corpus", "language", "gender", "corpus_and_gender"))
    transfers = {name: card["metrics"]["unseen_corpora"]["clean_telephone"]["threshold_transfer"] for name, card in (("watch", watch), ("confirm", confirm))}
    transfer = transfers["confirm"]["corpora"]
    speech = watch["metrics"]["unseen_corpora"].get("speech_head")
    calls = figures["calls"]
    both = calls["both"]
    rate, alarms = both["detection_rate"], both["false_alarms_per_hour"]
    permissive_auc = lambda name: interval(permissive[name]["metrics"]["permissive_data"]["clean_telephone"]["mean_over_corpora"]["auc"])
    caller = confirm["calibration"]["caller"]
    return TEXT.format(
        watch_name=watch["name"],
        watch_version=watch["version"],
        confirm_name=confirm["name"],
        confirm_version=confirm["version"],
        watch_parameters=watch["training"]["parameters"],
        confirm_parameters=confirm["training"]["parameters"],
        pre_trained=confirm["training"]["pre_trained"],
        suspect=figures["suspect"],
        opening=caller["opening_s"],
        weight=caller["weight"],
        prior=confirm["calibration"]["prior"],
        data=table(["corpus", "licence", "speakers", "clips"], [(d["corpus"], d["licence"], d["speakers"], d["clips"]) for d in confirm["training"]["data"]]),
        permissive_watch=permissive_auc("watch"),
        permissive_confirm=permissive_auc("confirm"),
        watch_command=watch["training"]["command"],
        confirm_command=confirm["training"]["command"],
        headline=headline(watch, confirm, figures),
        watch_loss=loss(watch),
        confirm_loss=loss(confirm),
        calls_words=f"{both['calls']} simulated calls of unseen corpora ({both['caller_speech_hours']:.1f} hours of caller speech), each scored by nets trained without its corpus (`models/train/calls.py`, `warmline evaluate`). Under the built-in policy both stages find {rate['value']:.0%} ({rate['low']:.0%}-{rate['high']:.0%}) within 10 s of caller speech at {alarms['value']:.1f} ({alarms['low']:.1f}-{alarms['high']:.1f}) false alarms per hour of caller speech, ECE {both['ece']['value']:.3f}. At other thresholds:",
        calls=calls_table(calls),
        calls_slices=slices_table(both),
        fpr_low=min(v["fpr"] for v in transfer.values()),
        fpr_high=max(v["fpr"] for v in transfer.values()),
        watch_fpr_high=transfers["watch"]["worst_realised_fpr"],
        opened_fpr=clean["after_an_opening"]["with"]["worst_realised_fpr"],
        opened_ece=clean["after_an_opening"]["with"]["mean_ece"],
        ece=transfers["confirm"]["mean_ece"],
        watch_ece=transfers["watch"]["mean_ece"],
        transfer=table(["unseen corpus", "realised FPR", "recall", "ECE"], [(c, f"{v['fpr']:.3f}", f"{v['recall']:.3f}", f"{v['ece']:.3f}") for c, v in transfer.items()]),
        groups=groups,
        ablation="\n".join(f"- {line}" for line in figures["ablation"]),
        speech=f"watch's, against {speech['non_speech_pieces']} pieces (music and noise not heard in training, tones of the same kinds), whether or not the speech gate would have stopped them: AUC {speech['auc']:.3f}, {speech['recall_at_fpr_5']:.1%} of speech kept when one piece in twenty passes." if speech else "Not measured.",
        watch_cost=lanes(watch),
        confirm_cost=lanes(confirm),
        watch_gain=watch["runtime"]["max_logit_shift_at_20_db_gain"],
        confirm_gain=confirm["runtime"]["max_logit_shift_at_20_db_gain"],
        watch_difference=watch["runtime"]["max_difference_from_training_graph"],
        confirm_difference=confirm["runtime"]["max_difference_from_training_graph"],
    )


KEPT = ["calls", "hours", "caller_speech_hours", "detection_rate", "false_alarms_per_hour", "delay_s", "delay_speech_s", "precision_at", "ece", "pauc_fpr5", "operating_points", "slices"]


def gather(work, known):
    """What other commands measured: figures.json."""
    egemaps = work / "egemaps" / "figures.json"
    calls = {name: json.loads((work / "calls" / f"{name}.json").read_text()) for name in ("watch", "confirm", "both")}
    return known | {
        "egemaps": json.loads(egemaps.read_text()) if egemaps.exists() else known.get("egemaps", {}),
        "calls": {name: {key: told[key] for key in KEPT} for name, told in calls.items()},
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=Path, default=Path("models"))
    p.add_argument("--work", type=Path)
    a = p.parse_args()
    read = lambda name: json.loads((a.models / name).read_text())
    figures = read("train/figures.json")
    if a.work:
        figures = gather(a.work, figures)
        (a.models / "train" / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    permissive = {name: read(f"permissive-{name}.json") for name in ("watch", "confirm")}
    (a.models / "MODEL_CARD.md").write_text(render(read("watch.json"), read("confirm.json"), permissive, figures))


if __name__ == "__main__":
    main()
