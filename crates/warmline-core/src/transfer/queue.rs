//! Who goes first where humans are scarce: the most urgent. Urgency grows with waiting and without end, so nobody starves; who asked
//! for a person is not held back by a limit of transfers per hour, and comes before any voice that has not waited minutes longer.

use std::collections::{BTreeMap, VecDeque};

use super::UnixMillis;
use crate::{policy::Cue, units::Probability};

/// The window of `transfers_per_hour_max`, milliseconds.
pub const HOUR_MS: u64 = 3_600_000;

/// Queues whose humans are counted; of one more nothing is taken.
pub const QUEUES_MAX: usize = 1_024;

/// How much urgency a minute of waiting adds.
const URGENCY_A_MINUTE: f64 = 0.05;

/// A transfer that wants a human.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The queue its call came by.
    pub queue: Option<String>,
    /// What decided.
    pub cue: Cue,
    /// Calibrated, if the voice was scored.
    pub probability: Option<Probability>,
    /// Since when it waits.
    pub since: UnixMillis,
    /// Transfers per hour, over all calls, that its policy allows.
    pub per_hour_max: Option<u32>,
}

impl Wish {
    /// 0..=1 when it begins, and without end from then on.
    pub fn urgency(&self, now: UnixMillis) -> f64 {
        let p = self.probability.map_or(0.5, Probability::get);
        let of_cue = match self.cue {
            Cue::Manual => 0.9,
            Cue::ExplicitRequest => 0.7 + 0.1 * p,
            Cue::Frustration => 0.2 + 0.4 * p,
            Cue::NegativePhrase => 0.2 + 0.3 * p,
            Cue::Repetition | Cue::NoProgress | Cue::BargeIn | Cue::LongWait => 0.1 + 0.3 * p,
        };
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of waiting are far below 2^52")]
        let minutes = now.since(self.since) as f64 / 60_000.0;
        of_cue + URGENCY_A_MINUTE * minutes
    }

    /// Whether somebody asked for a person, so that no limit of transfers per hour holds it back.
    pub fn is_asked_for(&self) -> bool {
        matches!(self.cue, Cue::ExplicitRequest | Cue::Manual)
    }
}

/// The transfers that wait, how many humans are free, and how many transfers there were in the last hour.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    waiting: BTreeMap<String, Wish>,
    /// Free humans by queue; `None` holds for queues of which nothing was said. Without either nobody is waited for.
    free: BTreeMap<Option<String>, u32>,
    admitted: VecDeque<UnixMillis>,
}

impl Queue {
    /// A transfer wants a human.
    pub fn arrive(&mut self, id: &str, wish: Wish) {
        self.waiting.insert(id.into(), wish);
    }

    /// It does not any more, or was seen to otherwise.
    pub fn leave(&mut self, id: &str) {
        self.waiting.remove(id);
    }

    /// So many humans are free now; without a queue: for all queues of which nothing else was said. `false` for one queue too many.
    pub fn set_free(&mut self, queue: Option<String>, free: u32) -> bool {
        let has_room = self.free.len() < QUEUES_MAX || self.free.contains_key(&queue);
        if has_room {
            self.free.insert(queue, free);
        }
        has_room
    }

    /// A transfer that had been let go came to nothing: its human is free again.
    pub fn give_back(&mut self, queue: Option<&str>) {
        if let Some(free) = self.free_of(queue) {
            *free += 1;
        }
    }

    /// Free humans for a queue, if anybody said.
    pub fn free(&self, queue: Option<&str>) -> Option<u32> {
        let own = queue.and_then(|queue| self.free.get(&Some(queue.to_owned())));
        own.or_else(|| self.free.get(&None)).copied()
    }

    /// Lets the most urgent go for whom there is a human and room in the hour.
    pub fn poll(&mut self, now: UnixMillis) -> Option<String> {
        while self.admitted.front().is_some_and(|at| now.since(*at) >= HOUR_MS) {
            self.admitted.pop_front();
        }
        let id = self.order(now).into_iter().find(|id| self.is_free_to_go(id))?.to_owned();
        let wish = self.waiting.remove(&id)?;
        if let Some(free) = self.free_of(wish.queue.as_deref()) {
            *free = free.saturating_sub(1);
        }
        self.admitted.push_back(now);
        Some(id)
    }

    /// When the next may be let go because an hour has passed; a human who becomes free is told, not waited for.
    pub fn poll_timeout(&self) -> Option<UnixMillis> {
        let limited = self.waiting.values().any(|wish| !wish.is_asked_for() && wish.per_hour_max.is_some());
        self.admitted.front().filter(|_| limited).map(|at| at.after(HOUR_MS))
    }

    /// Its place among those who wait for the same humans, from 1.
    pub fn position(&self, id: &str, now: UnixMillis) -> Option<usize> {
        let own = self.pool(self.waiting.get(id)?);
        let same = |other: &&str| self.waiting.get(*other).is_some_and(|wish| self.pool(wish) == own);
        self.order(now).into_iter().filter(same).position(|other| other == id).map(|before| before + 1)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The most urgent first; of two as urgent who came first.
    fn order(&self, now: UnixMillis) -> Vec<&str> {
        let mut order: Vec<(&str, &Wish)> =
            self.waiting.iter().map(|(id, wish)| (id.as_str(), wish)).collect();
        order.sort_by(|(a_id, a), (b_id, b)| {
            let by_urgency = b.urgency(now).total_cmp(&a.urgency(now));
            by_urgency.then(a.since.cmp(&b.since)).then(a_id.cmp(b_id))
        });
        order.into_iter().map(|(id, _)| id).collect()
    }

    fn is_free_to_go(&self, id: &str) -> bool {
        let Some(wish) = self.waiting.get(id) else { return false };
        let human = self.free(wish.queue.as_deref()) != Some(0);
        let full = wish
            .per_hour_max
            .is_some_and(|max| self.admitted.len() >= usize::try_from(max).unwrap_or(usize::MAX));
        human && (wish.is_asked_for() || !full)
    }

    fn pool<'a>(&self, wish: &'a Wish) -> Option<&'a str> {
        let own = wish.queue.as_ref()?;
        self.free.contains_key(&Some(own.clone())).then_some(own)
    }

    fn free_of(&mut self, queue: Option<&str>) -> Option<&mut u32> {
        let own = queue.map(|queue| Some(queue.to_owned())).filter(|own| self.free.contains_key(own));
        self.free.get_mut(&own.unwrap_or(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a story, a line a moment: `minutes  what …  > who goes`. `arrives ID CUE P [QUEUE]`, `leaves ID`, `free N [QUEUE]`,
    /// `waits`; behind `>` those who are let go, in order, and behind `|` those who wait, in their order.
    fn check(per_hour_max: Option<u32>, story: &str) {
        let mut queue = Queue::default();
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (said, expected) = line.split_once('>').unwrap();
            let words: Vec<&str> = said.split_whitespace().collect();
            let now = UnixMillis(60_000 * words[0].parse::<u64>().unwrap());
            match words[1] {
                "arrives" => {
                    let cue = match words[3] {
                        "voice" => Cue::Frustration,
                        "asked" => Cue::ExplicitRequest,
                        "manual" => Cue::Manual,
                        other => panic!("{other}"),
                    };
                    let probability = Probability::new(words[4].parse().unwrap()).ok();
                    let of = words.get(5).map(|queue| (*queue).to_owned());
                    queue.arrive(words[2], Wish { queue: of, cue, probability, since: now, per_hour_max });
                }
                "leaves" => queue.leave(words[2]),
                "free" => {
                    queue.set_free(words.get(3).map(|q| (*q).to_owned()), words[2].parse().unwrap());
                }
                "waits" => {}
                other => panic!("{other}"),
            }
            let went: Vec<String> = std::iter::from_fn(|| queue.poll(now)).collect();
            let (gone, waiting) = expected.split_once('|').unwrap_or((expected, ""));
            assert_eq!(went, gone.split_whitespace().collect::<Vec<_>>(), "who goes at: {line}");
            let left: Vec<&str> = waiting.split_whitespace().collect();
            assert_eq!(queue.order(now), left, "who waits after: {line}");
        }
    }

    #[test]
    fn where_nobody_counts_humans_nobody_waits() {
        check(None, "0 arrives a voice 0.7 > a\n 0 arrives b asked 0.1 > b");
    }

    #[test]
    fn the_most_urgent_goes_first_when_a_human_becomes_free() {
        check(
            None,
            "
            0  free 1               >
            0  arrives a voice 0.7  > a
            0  arrives b voice 0.7  > | b
            1  arrives c voice 0.9  > | c b
            1  arrives d asked 0.0  > | d c b
            2  arrives e manual 0.0 > | e d c b
            3  free 2               > e d | c b
            4  leaves c             > | b
            5  free 1               > b
            ",
        );
    }

    #[test]
    fn waiting_makes_urgent_so_that_nobody_starves() {
        check(
            None,
            "
            0   free 0               >
            0   arrives a voice 0.7  > | a
            1   arrives b asked 0.5  > | b a
            12  arrives c asked 0.5  > | b a c
            12  free 3               > b a c
            ",
        );
    }

    #[test]
    fn the_hour_holds_voices_back_and_never_who_asked() {
        check(
            Some(2),
            "
            0   arrives a voice 0.7  > a
            10  arrives b voice 0.7  > b
            20  arrives c voice 0.9  > | c
            21  arrives d asked 0.1  > d | c
            60  waits                > | c
            70  waits                > c
            ",
        );
    }

    #[test]
    fn a_queue_has_humans_of_its_own() {
        check(
            None,
            "
            0  free 0                     >
            0  free 1 billing             >
            0  arrives a voice 0.7 sales  > | a
            0  arrives b voice 0.7 billing > b | a
            0  arrives c voice 0.7 billing > | a c
            1  free 1                     > a | c
            2  free 1 billing             > c
            ",
        );
    }

    #[test]
    fn the_place_counts_those_who_wait_for_the_same_humans() {
        let mut queue = Queue::default();
        queue.set_free(None, 0);
        queue.set_free(Some("billing".into()), 0);
        let wish = |of: &str| Wish {
            queue: Some(of.into()),
            cue: Cue::ExplicitRequest,
            probability: None,
            since: UnixMillis(0),
            per_hour_max: None,
        };
        for (id, of) in [("a", "billing"), ("b", "sales"), ("c", "support"), ("d", "billing")] {
            queue.arrive(id, wish(of));
        }
        let places = ["a", "b", "c", "d"].map(|id| queue.position(id, UnixMillis(1)));
        assert_eq!(places, [Some(1), Some(1), Some(2), Some(2)]);
        assert_eq!(queue.position("e", UnixMillis(1)), None);
    }

    #[test]
    fn who_asked_is_overtaken_by_nobody_who_comes_minutes_later() {
        use proptest::prelude::*;
        proptest!(|(others in prop::collection::vec((5u64..600, 0.0..=1.0f64, any::<bool>()), 0..60))| {
            let mut queue = Queue::default();
            queue.set_free(None, 0);
            let wish = |cue, p, minutes| Wish {
                queue: None, cue, probability: Probability::new(p).ok(),
                since: UnixMillis(60_000 * minutes), per_hour_max: Some(0),
            };
            queue.arrive("first", wish(Cue::ExplicitRequest, 0.0, 0));
            for (n, (minutes, p, manual)) in others.into_iter().enumerate() {
                let cue = if manual { Cue::Manual } else { Cue::Frustration };
                queue.arrive(&format!("other-{n}"), wish(cue, p, minutes));
            }
            queue.set_free(None, 1);
            prop_assert_eq!(queue.poll(UnixMillis(60_000 * 600)), Some("first".to_owned()));
        });
    }
}
