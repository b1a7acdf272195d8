//! What the checker found.

use std::fmt;

/// Kinds of broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Acknowledged (`accepted` or `stored`) and not in every member's history, or stored and never delivered.
    Lost,
    /// One written message under two seqs or ids, one id at two places, or two contradicting final acks.
    Doubled,
    /// A seq that a member's final history does not have although a later one is there.
    Gap,
    /// Members see different orders, a sender's order is not kept, or an ack or delivery names another place.
    OutOfOrder,
    /// In the history though nobody wrote it (or with other content), or though it was rejected; or delivered to
    /// somebody and in nobody's history.
    Phantom,
}

/// One broken promise, in words.
#[derive(Debug, Clone)]
pub struct Finding {
    pub fault: Fault,
    pub conversation: String,
    pub text: String,
}

/// Counts of broken promises, all zero for a history that holds.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    pub lost: u64,
    pub doubled: u64,
    pub gaps: u64,
    pub out_of_order: u64,
    pub phantom: u64,
    /// The first [`FINDINGS_MAX`] in words; the counts above go on.
    pub findings: Vec<Finding>,
}

/// More findings than this tell nothing new.
pub const FINDINGS_MAX: usize = 50;

impl Verdict {
    /// Nothing was lost, doubled, left out, mixed up or made up.
    pub fn holds(&self) -> bool {
        self.lost + self.doubled + self.gaps + self.out_of_order + self.phantom == 0
    }

    /// Counts what another load broke too.
    pub(crate) fn merge(&mut self, other: Verdict) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.gaps += other.gaps;
        self.out_of_order += other.out_of_order;
        self.phantom += other.phantom;
        self.findings.extend(other.findings);
        self.findings.truncate(FINDINGS_MAX);
    }

    pub(super) fn report(&mut self, fault: Fault, count: u64, conversation: &str, text: String) {
        *match fault {
            Fault::Lost => &mut self.lost,
            Fault::Doubled => &mut self.doubled,
            Fault::Gap => &mut self.gaps,
            Fault::OutOfOrder => &mut self.out_of_order,
            Fault::Phantom => &mut self.phantom,
        } += count;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { fault, conversation: conversation.to_owned(), text });
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "lost {} · doubled {} · gaps {} · out of order {} · phantom {}",
            self.lost, self.doubled, self.gaps, self.out_of_order, self.phantom
        )?;
        for finding in &self.findings {
            write!(f, "\n  {:?} in {}: {}", finding.fault, finding.conversation, finding.text)?;
        }
        Ok(())
    }
}
