//! The agent's side of the link: one coordinator's orders, obeyed one after another.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::message::{
    Answer, FRAME_BYTES_MAX, Home, Order, PROTOCOL, Seen, VERSION, Welcome, read_frame, write_frame,
};
use crate::config::LoadConfig;
use crate::load::ChatLoad;
use crate::meter::proc;
use crate::report::Fingerprint;

/// What an agent asks of its coordinator.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// `None`: whoever has the link may give orders.
    pub(super) token: Option<String>,
    pub(super) sessions_max: usize,
}

/// Looks at the first order. False: who sent it was refused, and told why.
pub(super) fn greet(hello: &Order, writer: &mut impl Write, terms: &Terms) -> io::Result<bool> {
    if let Err(why) = check_hello(hello, terms) {
        write_frame(writer, &Answer::Refused { why })?;
        return Ok(false);
    }
    let welcome = Welcome {
        pid: std::process::id(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        fingerprint: serde_json::to_value(Fingerprint::take(&[])).unwrap_or_default(),
    };
    write_frame(writer, &Answer::Welcome(Box::new(welcome)))?;
    Ok(true)
}

fn check_hello(hello: &Order, terms: &Terms) -> Result<(), String> {
    let Order::Hello { protocol, version, token } = hello else {
        return Err("the first order must be a hello".to_owned());
    };
    // The token first: a stranger learns nothing, not even the version.
    if let Some(asked) = &terms.token
        && !token.as_ref().is_some_and(|token| is_same(token, asked))
    {
        return Err("the token is wrong or missing: both sides need the same --token-file".to_owned());
    }
    if (*protocol, version.as_str()) != (PROTOCOL, VERSION) {
        return Err(format!(
            "it is gochat-perf {VERSION} (protocol {PROTOCOL}), and the coordinator is {version} (protocol \
             {protocol}): use one build everywhere"
        ));
    }
    Ok(())
}

/// Takes as long wherever the first difference is.
fn is_same(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |sum, (one, other)| sum | (one ^ other));
    one.len() == other.len() && differing == 0
}

/// Obeys until the coordinator closes; a load that still runs then is abandoned.
pub(super) fn serve(reader: &mut impl Read, writer: &mut impl Write, terms: &Terms) -> io::Result<()> {
    let mut agent = Obedient { zero: Instant::now(), load: None, sessions_max: terms.sessions_max };
    while let Some(order) = read_frame(reader, FRAME_BYTES_MAX)? {
        if let Order::Stop = order {
            agent.bring_home(writer)?;
            continue;
        }
        let answer = agent.obey(order).unwrap_or_else(|why| Answer::Refused { why });
        write_frame(writer, &answer)?;
    }
    Ok(())
}

struct Obedient {
    /// Of the clock that the coordinator reads.
    zero: Instant,
    load: Option<ChatLoad>,
    sessions_max: usize,
}

impl Obedient {
    fn obey(&mut self, order: Order) -> Result<Answer, String> {
        match order {
            Order::TellClock => {
                return Ok(Answer::Clock { now_us: self.zero.elapsed().as_micros() as u64 });
            }
            Order::TellCost => {
                return proc::process("self").map(Answer::Cost).ok_or("/proc can't be read".to_owned());
            }
            Order::Start { config, connect_limit } => return self.start(*config, connect_limit),
            _ => {}
        }
        let load = self.load.as_ref().ok_or("there is no load")?;
        match order {
            Order::LetConnect { limit } => load.let_connect(limit),
            Order::Begin { at_us, lasting_us } => {
                load.begin_at(
                    self.zero + Duration::from_micros(at_us),
                    lasting_us.map(Duration::from_micros),
                );
            }
            Order::EndSending => load.end_sending(),
            Order::CutAll => load.cut_all(),
            Order::Finish { deadline_ms } => load.finish(Duration::from_millis(deadline_ms)),
            Order::Look => {
                let seen = Seen {
                    progress: load.progress(),
                    trouble: load.trouble(),
                    is_finished: load.is_finished(),
                };
                return Ok(Answer::Seen(seen));
            }
            Order::TakeLatencies => return Ok(Answer::Measured(Box::new(load.fresh_latencies()))),
            _ => return Err("this order has no place here".to_owned()),
        }
        Ok(Answer::Done)
    }

    fn start(&mut self, config: LoadConfig, connect_limit: usize) -> Result<Answer, String> {
        let sessions = config.sessions();
        if sessions > self.sessions_max {
            let max = self.sessions_max;
            return Err(format!("{sessions} sessions are asked of it, and its --sessions-max is {max}"));
        }
        // The earlier one's threads end first.
        self.load = None;
        self.load = Some(ChatLoad::start_some(config, connect_limit).map_err(|error| error.to_string())?);
        Ok(Answer::Done)
    }

    /// One frame for each conversation, so that no frame holds a whole run.
    fn bring_home(&mut self, writer: &mut impl Write) -> io::Result<()> {
        let Some(load) = self.load.take() else {
            return write_frame(writer, &Answer::Refused { why: "there is no load".to_owned() });
        };
        let outcome = load.stop(Duration::ZERO);
        for conversation in outcome.history.conversations {
            write_frame(writer, &Answer::Conversation(conversation))?;
        }
        let home = Home {
            latencies: outcome.latencies,
            progress: outcome.progress,
            unfinished: outcome.unfinished,
            unread: outcome.unread,
            panicked: outcome.panicked,
        };
        write_frame(writer, &Answer::Home(Box::new(home)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_and_build_are_welcome() {
        let why = |hello: &Order, token: Option<&str>| {
            check_hello(hello, &Terms { token: token.map(str::to_owned), sessions_max: 1 }).err()
        };
        let hello = |version: &str, token: Option<&str>| Order::Hello {
            protocol: PROTOCOL,
            version: version.to_owned(),
            token: token.map(str::to_owned),
        };
        assert_eq!(why(&hello(VERSION, None), None), None);
        assert_eq!(why(&hello(VERSION, Some("sesame")), Some("sesame")), None);
        for wrong in [None, Some(""), Some("sesam"), Some("sesame2"), Some("sesamE")] {
            assert!(why(&hello(VERSION, wrong), Some("sesame")).unwrap().contains("token"), "{wrong:?}");
        }
        assert!(why(&hello("0.0.0", None), None).unwrap().contains("one build everywhere"));
        assert!(why(&Order::Look, None).is_some());
    }
}
