//! Reading the whole history of the load at its end, page after page, for the checker.

use super::Seat;
use crate::checker::{ConversationHistory, Entry};
use crate::config::ClientRules;
use crate::wire;

/// The reading's state; what was read stands in the history itself.
#[derive(Debug, Default)]
pub(crate) struct FinalRead {
    asked_us: Option<u64>,
    done: bool,
}

fn cursor(talk: &ConversationHistory, seat: Seat) -> u64 {
    // The highest, not the last: a page that runs backwards must not be asked for again and again.
    let page = &talk.members[seat.member as usize].page;
    page.iter().map(|entry| entry.seq).rev().take(LOOK_BACK).max().unwrap_or(talk.base_seq)
}

/// Entries of the last page at least.
const LOOK_BACK: usize = 1_000;

fn question_id(cursor: u64) -> String {
    format!("final-{cursor}")
}

impl FinalRead {
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    pub(crate) fn disconnected(&mut self) {
        self.asked_us = None;
    }

    /// A page with this request id answers the open question.
    pub(crate) fn is_answer(&self, talk: &ConversationHistory, seat: Seat, id: Option<&str>) -> bool {
        self.asked_us.is_some() && id == Some(&question_id(cursor(talk, seat)))
    }

    /// The conversation does not exist: an empty history.
    pub(crate) fn end(&mut self) {
        self.done = true;
    }

    /// True: that was the last page.
    pub(crate) fn take_page(
        &mut self,
        talk: &mut ConversationHistory,
        seat: Seat,
        entries: Vec<Entry>,
        has_more: bool,
    ) -> bool {
        self.asked_us = None;
        let before = cursor(talk, seat);
        talk.members[seat.member as usize].page.extend(entries);
        // A page that promises more and does not move on would be read for ever; what it hides is a loss.
        self.done = !has_more || cursor(talk, seat) <= before;
        self.done
    }

    pub(crate) fn next_question(
        &mut self,
        talk: &ConversationHistory,
        seat: Seat,
        now_us: u64,
        rules: &ClientRules,
    ) -> Option<String> {
        let waiting = self.asked_us.is_some_and(|at| now_us < at + rules.answer_wait_ms * 1000);
        if self.done || waiting {
            return None;
        }
        self.asked_us = Some(now_us);
        let cursor = cursor(talk, seat);
        Some(wire::sync(&talk.id, cursor, rules.page_messages, &question_id(cursor)))
    }
}
