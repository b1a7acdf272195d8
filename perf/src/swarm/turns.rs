//! Who writes next, and who loses his connection: evenly, or as people do.

use std::collections::VecDeque;

use super::worker::Member;
use crate::config::LoadConfig;

/// Whose turn it is to write.
#[derive(Debug)]
pub(super) enum Turns {
    /// Everybody in turn, in a shuffled order.
    Even(VecDeque<usize>),
    /// Conversations by their weights, and in each its writers in turn.
    Uneven(Vec<Place>),
}

/// A conversation of this thread that has writers.
#[derive(Debug)]
pub(super) struct Place {
    /// The weights of all places up to this one.
    weight_up_to: f64,
    writers: VecDeque<usize>,
}

impl Turns {
    /// The turns of one thread's members, and how many of the load's turns are theirs: 1 is an even share.
    pub(super) fn new(config: &LoadConfig, members: &[Member], rng: &mut fastrand::Rng) -> (Turns, f64) {
        let habits = &config.habits;
        let is_even = habits.zipf_exponent <= 0.0 && habits.idle_share <= 0.0;
        let all = Conversations::new(config);
        let writes = |at: &usize| {
            let member = &members[*at];
            let seat = member.client.seat();
            seat.is_some_and(|seat| (seat.member as usize) < config.writers_max) && all.writes[member.index]
        };
        let mut writers: Vec<usize> = (0..members.len()).filter(writes).collect();
        rng.shuffle(&mut writers);
        if is_even {
            return (Turns::Even(writers.into()), 1.0);
        }
        let mut places: Vec<Place> = Vec::new();
        let mut numbers: Vec<usize> = Vec::new();
        let mut weight = 0.0;
        // By conversation; the sort is stable, so that writers of one stay shuffled.
        let number_of = |at: &usize| members[*at].client.seat().map_or(0, |seat| seat.number as usize);
        writers.sort_by_key(number_of);
        for at in writers {
            let number = number_of(&at);
            if numbers.last() != Some(&number) {
                numbers.push(number);
                weight += all.weights[number];
                places.push(Place { weight_up_to: weight, writers: VecDeque::new() });
            }
            if let Some(place) = places.last_mut() {
                place.writers.push_back(at);
            }
        }
        let total = all.weight_of_writers(config);
        let share = if total > 0.0 { weight / total * config.threads as f64 } else { 0.0 };
        (Turns::Uneven(places), share)
    }

    /// The next writer; `None`: nobody writes here.
    pub(super) fn next(&mut self, rng: &mut fastrand::Rng) -> Option<usize> {
        let writers = match self {
            Turns::Even(writers) => writers,
            Turns::Uneven(places) => {
                let drawn = rng.f64() * places.last()?.weight_up_to;
                let at = places.partition_point(|place| place.weight_up_to <= drawn);
                &mut places.get_mut(at)?.writers
            }
        };
        writers.rotate_left(usize::from(writers.len() > 1));
        writers.back().copied()
    }
}

/// What all threads of a load work out alike, from its seed.
struct Conversations {
    /// By number, those of the pairs first.
    weights: Vec<f64>,
    /// By session.
    writes: Vec<bool>,
}

impl Conversations {
    fn new(config: &LoadConfig) -> Conversations {
        let sessions = config.sessions();
        let writers = (sessions as f64 * (1.0 - config.habits.idle_share)).ceil() as usize;
        let mut writes: Vec<bool> = (0..sessions).map(|session| session < writers.max(1)).collect();
        fastrand::Rng::with_seed(config.seed).shuffle(&mut writes);
        Conversations { weights: config.conversation_weights(), writes }
    }

    /// The weights of all conversations in which somebody writes.
    fn weight_of_writers(&self, config: &LoadConfig) -> f64 {
        let pairs = config.users.chunks(2).map(<[_]>::len);
        let sizes = pairs.chain(config.rooms.iter().map(|room| room.users.len()));
        let mut first = 0;
        let mut sum = 0.0;
        for (weight, size) in self.weights.iter().zip(sizes) {
            let writers = &self.writes[first..first + size.min(config.writers_max)];
            if writers.contains(&true) {
                sum += weight;
            }
            first += size;
        }
        sum
    }
}
