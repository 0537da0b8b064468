//! Two policies on the same calls: what one does that the other does not.

use serde::Serialize;

use super::verdict::{Judged, Verdict};
use warmline_core::packet::seconds;

/// What differs in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The caller now gets a human in time.
    Gained,
    /// The caller no longer does.
    Lost,
    /// The transfer after the onset comes sooner, or comes at all.
    Earlier,
    /// It comes later, or no longer.
    Later,
    /// More transfers that nobody wants.
    NewFalseAlarm,
    /// Fewer of them.
    Avoided,
}

impl Change {
    /// Every change, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Gained, Self::Lost, Self::Earlier, Self::Later, Self::NewFalseAlarm, Self::Avoided];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Gained => "gained",
            Self::Lost => "lost",
            Self::Earlier => "earlier",
            Self::Later => "later",
            Self::NewFalseAlarm => "new false alarms",
            Self::Avoided => "avoided",
        }
    }
}

/// One call that goes differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// As the suite names it.
    pub file: String,
    /// What differs.
    pub change: Change,
    /// Where the transfers of the other policy lie, seconds.
    pub before_s: Vec<f64>,
    /// Where those of the evaluated policy lie, seconds.
    pub after_s: Vec<f64>,
}

/// What `after` does differently from `before`, in the order of the suite; a call may differ in two ways.
pub fn differences(before: &[Judged<'_>], after: &[Judged<'_>]) -> Vec<Difference> {
    let of_call = |(before, after): (&Judged<'_>, &Judged<'_>)| {
        let difference = |change| Difference {
            file: after.row.file.clone(),
            change,
            before_s: transfers(&before.verdict),
            after_s: transfers(&after.verdict),
        };
        changes(&before.verdict, &after.verdict).map(difference).collect::<Vec<_>>()
    };
    before.iter().zip(after).flat_map(of_call).collect()
}

fn changes(before: &Verdict, after: &Verdict) -> impl Iterator<Item = Change> + use<> {
    let at = |verdict: &Verdict| verdict.transfer.map_or(u64::MAX, |alarm| alarm.at.0);
    let detection = match (before.is_detected(), after.is_detected()) {
        (false, true) => Some(Change::Gained),
        (true, false) => Some(Change::Lost),
        (true, true) | (false, false) if at(after) < at(before) => Some(Change::Earlier),
        (true, true) | (false, false) if at(after) > at(before) => Some(Change::Later),
        (true, true) | (false, false) => None,
    };
    let (few, many) = (before.false_alarms.len(), after.false_alarms.len());
    let alarms = if many > few {
        Some(Change::NewFalseAlarm)
    } else if many < few {
        Some(Change::Avoided)
    } else {
        None
    };
    detection.into_iter().chain(alarms)
}

fn transfers(verdict: &Verdict) -> Vec<f64> {
    verdict.false_alarms.iter().chain(&verdict.transfer).map(|alarm| seconds(alarm.at)).collect()
}
