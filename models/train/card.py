"""Renders MODEL_CARD.md from the cards, so that the prose and the figures cannot drift apart."""

import json
from pathlib import Path

TEXT = """# Model card: {name} {version}

For the person who answers for using it. Every figure below is copied by `models/train/card.py` from `watch.json`, which the training
command writes.

## What the score means
A number from 0 to 1: **how much the last three seconds of this caller's speech sound like an actor portraying anger.** Anger stands in
for frustration, because nobody publishes telephone calls labelled with frustration. The model hears how something is said (pitch,
loudness contour, voice quality, rhythm within three seconds). It knows nothing of words, of who is calling, or of what the caller feels.
A high score is a reason to offer a human. It is not a fact about a person.

Scores are calibrated as if {prior:.0%} of the scored windows were angry, every training corpus having the same weight. In calm traffic the true
share is far lower, so a single score of 0.7 is right less often than seven times in ten. The policy's persistence rule and
the caller's own baseline are there for that. One clip at or above 0.70: {enter_recall:.0%} of the angry ones, {enter_fpr:.1%} of the others
(corpora never heard in training, mean over corpora).

The second output, `speech`, says whether the window is a human voice rather than hold music, tones or noise.

## May I use it?
**Research and evaluation only.** The data below include licences that forbid commercial use (NC) or derivatives (ND), or state none. All
of it is acted speech.

{data}

To own a model you may sell with, train on recordings you have the rights to: write a `manifest.csv` (id, corpus, path, speaker, gender,
language, emotion, licence; the target is `emotion` = `anger`), then

    pip install -r models/train/requirements.txt
    python models/train/train.py --corpora YOUR_DATA --warmline warmline --work .warmline/train --out models

`--corpus NAME ...` trains on some corpora alone. `--smoke` tries the whole road in a minute or two. The model of this card:

    {command}

{permissive}## How it was measured
Every clip goes through a telephone first: 300-3400 Hz, a random equaliser, a random gain over 36 dB, G.711 µ-law. *Noisy* adds background
at 5-25 dB signal-to-noise ratio from recordings not used in training, a harsher equaliser, and up to 3 % lost packets. A clip's score is the mean over its windows. *Unseen corpora*: neither the language, nor
the room, nor the actors were in training (five groups of corpora left out in turn). *Unseen speakers*: other actors of the same corpora.
Figures are means over corpora; brackets are 95 % intervals from drawing speakers anew. The nets measured are trained like the
shipped one on less data; the shipped one has heard every corpus and cannot be measured on them. The length of training and the averaging of
weights were chosen while looking at two of the five unseen groups (ravdess, tess; banglaser, emotiontts), so those figures flatter a little.
AUC: the chance that an angry clip scores above another one. Recall at FPR 5 %: the share of angry clips found when one other clip in twenty is
flagged, the threshold being chosen on the test corpus.

{headline}

| human listeners, voice only (CREMA-D, not our data) | |
|---|---|
| one listener | recall .532 at a false-positive rate of .063 (UAR .7345), agreement κ .44 |
| a panel of about nine | AUC .9145, recall .362 at FPR 1 %, .645 at FPR 5 % |

What noise and a worse line cost, unseen corpora: {loss:+.3f} AUC.

### Does a threshold carry over to another room?
Set for FPR 5 % on the other corpora, then used on one never heard: the false-positive rate is between {fpr_low:.3f} and {fpr_high:.3f}. Calibration error
(ECE, at the prior above) on an unseen corpus: {ece:.3f} on average. So calibrate on each caller's own calm opening, and check the rates in your own traffic.

{transfer}

### Per group, unseen corpora, clean telephone
{groups}

Differences between women and men within a corpus go both ways and are large: one threshold does not treat groups alike. Age, accent and
health are not labelled in the data and were not measured. A hoarse, hard-of-hearing or habitually loud voice may score high.

### Speech head
{speech}

## Cost
{parameters:,} parameters, fp32. {lanes}. A gain of ±20 dB changes a logit by at most {gain:.1e}. A row's
result does not depend on the other rows of its batch, to the bit, at each of these batch sizes; between batch sizes the last bits differ, so a
deployment keeps to the card's `lanes`.

## Limits
- Acted, short, mostly scripted speech; no real call, no real frustration, seven languages with an anger label. Quiet, cold anger, sarcasm and resignation
  are mostly missed.
- Joy, fear and surprise are loud too and cause part of the false alarms.
- Two voices on the caller's line, a television, or a child in the room are scored as if they were the caller.
- Less than one second of speech gives no score.

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


def render(card):
    metrics = card["metrics"]
    unseen = metrics["unseen_corpora"]
    clean, noisy = unseen["clean_telephone"], unseen["noisy_telephone"]
    names = [("unseen_corpora", "unseen corpora"), ("unseen_speakers", "unseen speakers")]
    conditions = [("clean_telephone", "clean"), ("noisy_telephone", "noisy")]
    head = ["", "AUC", "recall at FPR 1 %", "recall at FPR 5 %"]
    headline = table(head, [(f"{n}, {c}", *(interval(v) for v in metrics[p][q]["mean_over_corpora"].values())) for p, n in names if p in metrics for q, c in conditions])
    group_head = ["", "AUC", "R@1 %", "R@5 %", "clips", "angry"]
    groups = "\n\n".join(table([k.replace("_", " ")] + group_head[1:], group_rows(clean[k])) for k in ("corpus", "language", "gender", "corpus_and_gender"))
    transfer = clean["threshold_transfer"]["corpora"]
    speech = unseen.get("speech_head")
    own = ""
    if "permissive_data" in metrics:
        p = metrics["permissive_data"]["clean_telephone"]["mean_over_corpora"]
        own = f"The same net trained on the speech of banglaser and fsdd alone (licences that allow commercial use, as listed by third parties), tested on\nthe other corpora: AUC {interval(p['auc'])}, recall at FPR 5 % {interval(p['recall_at_fpr_5'])}.\n\n"
    return TEXT.format(
        name=card["name"],
        version=card["version"],
        prior=card["calibration"]["prior"],
        enter_recall=card["operating_point"]["recall"],
        enter_fpr=card["operating_point"]["fpr"],
        data=table(["corpus", "licence", "speakers", "clips"], [(d["corpus"], d["licence"], d["speakers"], d["clips"]) for d in card["training"]["data"]]),
        command=card["training"]["command"],
        permissive=own,
        headline=headline,
        loss=noisy["mean_over_corpora"]["auc"]["value"] - clean["mean_over_corpora"]["auc"]["value"],
        fpr_low=min(v["fpr"] for v in transfer.values()),
        fpr_high=max(v["fpr"] for v in transfer.values()),
        ece=clean["threshold_transfer"]["mean_ece"],
        transfer=table(["unseen corpus", "realised FPR", "recall", "ECE"], [(c, f"{v['fpr']:.3f}", f"{v['recall']:.3f}", f"{v['ece']:.3f}") for c, v in transfer.items()]),
        groups=groups,
        speech=f"Against {speech['non_speech_pieces']} pieces (music and noise not heard in training, tones of the same kinds), whether or not the speech gate would have stopped them: AUC {speech['auc']:.3f}, {speech['recall_at_fpr_5']:.1%} of speech kept when one piece in twenty passes." if speech else "Not measured.",
        parameters=card["training"]["parameters"],
        lanes="; ".join(f"{f['us_per_window_median']} µs a window in batches of {n}" for n, f in card["runtime"]["lanes"].items()) + " (one thread, median, AMD EPYC, shared)",
        gain=card["runtime"]["max_logit_shift_at_20_db_gain"],
    )


if __name__ == "__main__":
    models = Path(__file__).parent.parent
    (models / "MODEL_CARD.md").write_text(render(json.loads((models / "watch.json").read_text())))
