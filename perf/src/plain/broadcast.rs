//! What one connection says goes to all. One thread: deliveries are light, and a message is counted off when everybody has it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Events;

use super::content::{content, history, note_came, note_sent};
use super::count::Expected;
use super::wires::{Came, Frames, Wires};
use super::{Crew, Plan, in_words, wait_for};
use crate::checker::{self, ConversationHistory, History, Verdict};
use crate::error::LoadError;
use crate::swarm::Control;
use crate::tally::Counters;

/// A running load.
#[derive(Debug)]
pub(crate) struct BroadcastLoad {
    pub(crate) control: Arc<Control>,
    crew: Crew<Harvest>,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct BroadcastOutcome {
    pub(crate) verdict: Verdict,
    pub(crate) broken: Vec<String>,
    /// Connections whose contents were looked at.
    pub(crate) checked: usize,
}

#[derive(Debug)]
struct Harvest {
    /// On connections that are only counted.
    lost: u64,
    unasked: u64,
    /// Connections that did not answer a ping.
    silent: u64,
    /// The sender, who is checked too, and the checked receivers.
    checked: ConversationHistory,
}

impl BroadcastLoad {
    /// The plan's first connection sends, with `in_flight` messages at most that somebody has not got; all of them receive.
    ///
    /// # Errors
    /// [`LoadError::Io`]: no thread or epoll instance left.
    pub(crate) fn start(plan: Arc<Plan>, in_flight: usize) -> Result<BroadcastLoad, LoadError> {
        let control = Arc::new(Control::new(plan.connections));
        let worker = Worker::new(plan, control.clone(), in_flight)
            .map_err(|source| LoadError::Io { what: "no epoll instance", source })?;
        let mut crew = Crew { control: control.clone(), threads: Vec::new() };
        crew.add("broadcast".to_owned(), || worker.run())?;
        Ok(BroadcastLoad { control, crew })
    }

    /// Blocks until all are connected and have answered a ping: a server may join them to the others only after it has
    /// answered the upgrade.
    ///
    /// # Errors
    /// [`LoadError::NotReady`].
    pub(crate) fn wait_ready(&self, connections: usize, patience: Duration) -> Result<(), LoadError> {
        wait_for(&self.control, connections, patience, || self.control.counters.snapshot().ready)
    }

    /// Waits until everybody has what was sent, `patience` at most, and judges.
    pub(crate) fn stop(self, patience: Duration) -> BroadcastOutcome {
        self.control.finish(patience);
        let mut outcome = BroadcastOutcome { verdict: Verdict::default(), broken: Vec::new(), checked: 0 };
        for end in self.crew.join() {
            let harvest = match end {
                Ok(harvest) => harvest,
                Err(why) => {
                    outcome.broken.push(why.to_owned());
                    continue;
                }
            };
            outcome.checked = harvest.checked.members.len();
            outcome.verdict = checker::check(&History { conversations: vec![harvest.checked] });
            outcome.verdict.lost += harvest.lost;
            outcome.verdict.doubled += harvest.unasked;
            outcome.broken.extend(in_words(&[
                (harvest.lost, "deliveries that were only counted are missing"),
                (harvest.unasked, "deliveries more than were sent"),
                (harvest.silent, "connections that did not answer a ping at the end"),
            ]));
        }
        let progress = self.control.counters.snapshot();
        outcome.broken.extend(in_words(&[
            (progress.bad_frames, "frames of another kind or length"),
            (progress.disconnects, "connections that ended"),
        ]));
        outcome
    }
}

struct Worker {
    control: Arc<Control>,
    wires: Wires,
    message_bytes: usize,
    /// Messages that came over each connection.
    came: Vec<u64>,
    /// Which member of the history a connection is; `None`: it is only counted.
    members: Vec<Option<usize>>,
    history: ConversationHistory,
    sent: u64,
    window: Window,
    roll: Roll,
    /// Deliveries of this turn.
    fresh: u64,
}

/// Pings that everybody has to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roll {
    /// Not all are connected.
    ToCall,
    Called,
    Answered,
    /// Once more, when everybody has everything: behind the pong nothing more can come.
    CalledAgain,
}

/// Messages that somebody has not got, by how many have.
struct Window {
    everybody: u64,
    /// Of the message `n` at `n % in_flight`.
    came: Vec<u64>,
    /// Messages that everybody has: those before this one.
    complete: u64,
}

const EVENTS_MAX: usize = 1024;
const IDLE_US: u64 = 20_000;

impl Window {
    fn new(everybody: usize, in_flight: usize) -> Window {
        Window { everybody: everybody as u64, came: vec![0; in_flight], complete: 0 }
    }

    /// Somebody has got message `n`, which is among those on the way.
    fn count(&mut self, n: u64) {
        let room = self.came.len() as u64;
        self.came[(n % room) as usize] += 1;
        while self.came[(self.complete % room) as usize] == self.everybody {
            self.came[(self.complete % room) as usize] = 0;
            self.complete += 1;
        }
    }

    /// How many more may be on the way when `sent` are sent.
    fn room(&self, sent: u64) -> usize {
        self.came.len() - (sent - self.complete) as usize
    }
}

impl Worker {
    fn new(plan: Arc<Plan>, control: Arc<Control>, in_flight: usize) -> io::Result<Worker> {
        let expected = Expected::OfBytes(plan.message_bytes);
        let wires = Wires::new(plan.clone(), control.clone(), expected, 0)?;
        let mut numbers = 0..;
        let members: Vec<_> =
            (0..wires.len()).map(|at| if wires.is_checked(at) { numbers.next() } else { None }).collect();
        Ok(Worker {
            control,
            message_bytes: plan.message_bytes,
            came: vec![0; wires.len()],
            history: history("the broadcast".to_owned(), members.iter().flatten().count()),
            members,
            sent: 0,
            window: Window::new(wires.len(), in_flight),
            wires,
            roll: Roll::ToCall,
            fresh: 0,
        })
    }

    fn run(mut self) -> Harvest {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let now_us = self.control.now_us();
            self.wires.connect_some(now_us);
            self.call_the_roll();
            self.send(now_us);
            if self.control.is_abandoned() || self.is_over(now_us) {
                return self.harvest();
            }
            let wait_us = self.control.send_from_us().saturating_sub(now_us).clamp(1, IDLE_US);
            if !self.wires.poll(&mut events, Duration::from_micros(wait_us)) {
                return self.harvest();
            }
            for event in &events {
                self.on_event(event.token().0, event.is_read_closed());
            }
            Counters::add_many(&self.control.counters.delivered, std::mem::take(&mut self.fresh));
        }
    }

    fn call_the_roll(&mut self) {
        let counters = &self.control.counters;
        if self.roll == Roll::ToCall && counters.snapshot().connected == self.wires.len() as u64 {
            self.wires.ping_all();
            self.roll = Roll::Called;
        }
        if self.roll == Roll::Called && self.wires.silent() == 0 {
            Counters::add_many(&counters.ready, self.wires.len() as u64);
            self.roll = Roll::Answered;
        }
    }

    /// As much as may be on the way.
    fn send(&mut self, now_us: u64) {
        if now_us < self.control.send_from_us() || now_us >= self.control.send_until_us() {
            return;
        }
        let count = self.window.room(self.sent);
        if count == 0 {
            return;
        }
        let (sender, bytes) = (&mut self.history.members[0], self.message_bytes);
        self.wires.write(0, count, &Frames::default(), || {
            (0..count).map(|_| content(0, note_sent(sender), bytes)).collect()
        });
        self.sent += count as u64;
        Counters::add_many(&self.control.counters.sent, count as u64);
    }

    fn on_event(&mut self, at: usize, is_to_end: bool) {
        if self.wires.go_on_connecting(at) {
            return;
        }
        // What the kernel did not take before; nobody but the sender writes.
        self.wires.write(at, 0, &Frames::default(), Vec::new);
        let Worker { wires, came, members, history, sent, window, fresh, message_bytes, .. } = self;
        let mut arrive = || {
            *fresh += 1;
            let n = came[at];
            came[at] += 1;
            if n < *sent {
                window.count(n);
            }
        };
        wires.read(at, is_to_end, |what| match what {
            Came::Counted(count) => (0..count).for_each(|_| arrive()),
            Came::Checked(text) => {
                arrive();
                if let Some(member) = members[at] {
                    note_came(&mut history.members[member], 0, *sent, text, *message_bytes);
                }
            }
        });
    }

    /// Everybody has everything, and a last pong has come from all; or the time for it is over.
    fn is_over(&mut self, now_us: u64) -> bool {
        let give_up_at_us = self.control.give_up_at_us();
        if give_up_at_us == u64::MAX || now_us >= give_up_at_us {
            return give_up_at_us != u64::MAX;
        }
        let has_all = |at: usize| self.wires.is_gone(at) || self.came[at] >= self.sent;
        if self.roll == Roll::Answered
            && now_us >= self.control.send_until_us()
            && (0..self.came.len()).all(has_all)
        {
            self.wires.ping_all();
            self.roll = Roll::CalledAgain;
        }
        self.roll == Roll::CalledAgain && self.wires.silent() == 0
    }

    fn harvest(self) -> Harvest {
        let counted = (0..self.came.len()).filter(|at| self.members[*at].is_none());
        let (mut lost, mut unasked) = (0, 0);
        for at in counted {
            lost += self.sent.saturating_sub(self.came[at]);
            unasked += self.came[at].saturating_sub(self.sent);
        }
        Harvest { lost, unasked, silent: self.wires.silent() as u64, checked: self.history }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_makes_room_when_everybody_has_it_and_those_before_it() {
        let mut window = Window::new(2, 3);
        assert_eq!(window.room(0), 3);
        // One has all three, the other none.
        (0..3).for_each(|n| window.count(n));
        assert_eq!((window.room(3), window.complete), (0, 0));
        window.count(0);
        assert_eq!((window.room(3), window.complete), (1, 1));
        window.count(3);
        window.count(1);
        window.count(2);
        assert_eq!((window.room(4), window.complete), (2, 3));
        window.count(3);
        assert_eq!((window.room(4), window.complete), (3, 4));
    }
}
