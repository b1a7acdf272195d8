//! A coarse timer wheel. Pure: it is told the time.
//!
//! One ring of slots, one slot a step. What is due after more than a lap waits in the last slot of the lap and is
//! put back when it comes up. Nothing is ever removed: whoever gets an expired entry looks whether it still means
//! anything, so a deadline that moves costs nothing.

/// Slots of a lap: at the default step of 50 ms, 51 s.
const SLOTS: usize = 1024;

struct Entry<T> {
    due: u64,
    item: T,
}

/// Entries by the step in which they are due.
pub(crate) struct Wheel<T> {
    slots: Vec<Vec<Entry<T>>>,
    step_ms: u64,
    /// The last step that has expired.
    step: u64,
}

impl<T> Wheel<T> {
    pub(crate) fn new(step_ms: u64) -> Wheel<T> {
        let slots = std::iter::repeat_with(Vec::new).take(SLOTS).collect();
        Wheel { slots, step_ms: step_ms.max(1), step: 0 }
    }

    /// Expires `item` in the first [`Wheel::advance`] that is told a time at or after `due_ms`.
    pub(crate) fn insert(&mut self, due_ms: u64, item: T) {
        let due = due_ms.div_ceil(self.step_ms).max(self.step + 1);
        self.place(Entry { due, item });
    }

    fn place(&mut self, entry: Entry<T>) {
        let at = entry.due.min(self.step + SLOTS as u64 - 1);
        self.slots[(at % SLOTS as u64) as usize].push(entry);
    }

    /// Goes on to `now_ms` and appends what is due, in steps' order.
    pub(crate) fn advance(&mut self, now_ms: u64, expired: &mut Vec<T>) {
        let target = now_ms / self.step_ms;
        // After a long pause one lap visits every entry there is.
        let first = (self.step + 1).max((target + 1).saturating_sub(SLOTS as u64));
        for step in first..=target {
            self.step = step;
            let index = (step % SLOTS as u64) as usize;
            let mut slot = std::mem::take(&mut self.slots[index]);
            for entry in slot.drain(..) {
                if entry.due <= target {
                    expired.push(entry.item);
                } else {
                    self.place(entry);
                }
            }
            if self.slots[index].is_empty() && slot.capacity() <= 64 {
                self.slots[index] = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_early_and_nothing_more_than_a_step_late() {
        let mut wheel = Wheel::new(50);
        wheel.insert(0, 'a');
        wheel.insert(100, 'b');
        wheel.insert(101, 'c');
        wheel.insert(10_000_000, 'd');
        let mut check = |now, expect: &str| {
            let mut got = Vec::new();
            wheel.advance(now, &mut got);
            assert_eq!(got.iter().collect::<String>(), expect, "at {now}");
        };
        check(49, "");
        check(99, "a");
        check(100, "b");
        check(149, "");
        check(150, "c");
        check(9_999_999, "");
        check(10_000_000, "d");
    }

    proptest! {
        #[test]
        fn every_entry_expires_once_in_its_time(
            dues in prop::collection::vec(0u64..200_000, 1..200),
            pauses in prop::collection::vec(1u64..80_000, 1..50),
        ) {
            let mut wheel = Wheel::new(50);
            for due in &dues {
                wheel.insert(*due, *due);
            }
            let mut now = 0;
            let mut seen = Vec::new();
            for pause in pauses.into_iter().chain([400_000]) {
                let before = now;
                now += pause;
                let mut expired = Vec::new();
                wheel.advance(now, &mut expired);
                for due in &expired {
                    prop_assert!(*due <= now && (*due + 100 > before), "{} at {} after {}", due, now, before);
                }
                seen.extend(expired);
            }
            let mut dues = dues;
            dues.sort_unstable();
            seen.sort_unstable();
            prop_assert_eq!(dues, seen);
        }
    }
}
