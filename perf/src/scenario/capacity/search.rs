//! Which rate to try next; pure.

/// How rates follow each other. All are a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    pub(super) first: f64,
    /// A step up multiplies with this, then adds the next.
    pub(super) factor: f64,
    pub(super) add: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
    /// How often the way between the highest that held and the lowest that did not is halved.
    pub(super) halvings: u32,
}

/// What was found out so far.
#[derive(Debug)]
pub(super) struct Search {
    steps: Steps,
    /// Rates that held, ascending, all below `broke`.
    held: Vec<f64>,
    /// The lowest that did not hold.
    broke: Option<f64>,
    halvings_left: u32,
}

impl Search {
    pub(super) fn new(steps: Steps) -> Search {
        Search { steps, held: Vec::new(), broke: None, halvings_left: steps.halvings }
    }

    /// The highest rate that held.
    pub(super) fn best(&self) -> Option<f64> {
        self.held.last().copied()
    }

    /// The lowest rate that did not hold.
    pub(super) fn broke(&self) -> Option<f64> {
        self.broke
    }

    /// Up until one does not hold, or down until one does; then between the two. `None`: there is nothing left to try.
    pub(super) fn next(&mut self) -> Option<f64> {
        let steps = self.steps;
        match (self.best(), self.broke) {
            (None, None) => Some(steps.first),
            (Some(held), None) => {
                let up = (held * steps.factor + steps.add).round().min(steps.highest);
                (up > held).then_some(up)
            }
            (None, Some(broke)) => {
                let down = ((broke - steps.add) / steps.factor).round().max(steps.lowest);
                (down < broke).then_some(down)
            }
            (Some(held), Some(broke)) => {
                let middle = ((held + broke) / 2.0).round();
                if self.halvings_left == 0 || middle <= held || middle >= broke {
                    return None;
                }
                self.halvings_left -= 1;
                Some(middle)
            }
        }
    }

    /// How the run at `rate` came out.
    pub(super) fn note(&mut self, rate: f64, held: bool) {
        if held {
            self.held.push(rate);
        } else {
            self.broke = Some(rate);
        }
    }

    /// The best did not hold when it was repeated: the one below it is the best now.
    pub(super) fn demote(&mut self) {
        self.broke = self.held.pop().or(self.broke);
        self.halvings_left = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: Steps =
        Steps { first: 100.0, factor: 2.0, add: 0.0, lowest: 10.0, highest: 5_000.0, halvings: 2 };

    /// A server that carries `capacity`: the rates that are tried, and the best.
    #[track_caller]
    fn check(steps: Steps, capacity: f64, tried: &[f64], best: Option<f64>) {
        let mut search = Search::new(steps);
        let mut rates = Vec::new();
        while let Some(rate) = search.next() {
            rates.push(rate);
            search.note(rate, rate <= capacity);
        }
        assert_eq!((rates.as_slice(), search.best()), (tried, best), "{capacity}");
    }

    #[test]
    fn rates_rise_until_one_breaks_and_then_close_in() {
        check(STEPS, 350.0, &[100.0, 200.0, 400.0, 300.0, 350.0], Some(350.0));
        check(STEPS, 260.0, &[100.0, 200.0, 400.0, 300.0, 250.0], Some(250.0));
        check(
            Steps { factor: 1.0, add: 50.0, halvings: 0, ..STEPS },
            210.0,
            &[100.0, 150.0, 200.0, 250.0],
            Some(200.0),
        );
    }

    #[test]
    fn a_first_rate_that_breaks_leads_down() {
        check(STEPS, 30.0, &[100.0, 50.0, 25.0, 38.0, 32.0], Some(25.0));
        check(STEPS, 1.0, &[100.0, 50.0, 25.0, 13.0, 10.0], None);
    }

    #[test]
    fn the_highest_ends_it() {
        check(Steps { highest: 300.0, ..STEPS }, 1e9, &[100.0, 200.0, 300.0], Some(300.0));
    }

    #[test]
    fn what_does_not_hold_again_gives_way_to_the_one_below() {
        let mut search = Search::new(STEPS);
        for (rate, held) in [(100.0, true), (200.0, true), (400.0, false)] {
            assert_eq!(search.next(), Some(rate));
            search.note(rate, held);
        }
        search.demote();
        assert_eq!((search.next(), search.best()), (None, Some(100.0)));
        search.demote();
        assert_eq!((search.best(), search.next()), (None, Some(50.0)), "and further down");
    }
}
