//! Comparing in turns. Two minutes on a shared machine differ more than many things that one wants to tell apart; so
//! what is compared runs A B A B within one run, every second round the other way round, and ratios are taken round by
//! round.

use crate::context::Failure;
use crate::stats::Sample;
use std::time::Instant;

/// What is compared: a name, and a measurement of one round.
pub struct Variant<'a, M> {
    name: String,
    measure: Box<dyn FnMut(usize) -> Result<M, Failure> + 'a>,
}

impl<'a, M> Variant<'a, M> {
    /// A variant; `measure` gets the number of the round, from 0.
    pub fn new(name: impl Into<String>, measure: impl FnMut(usize) -> Result<M, Failure> + 'a) -> Self {
        Self { name: name.into(), measure: Box::new(measure) }
    }
}

/// What the rounds gave.
#[derive(Clone, Debug)]
pub struct Rounds<M> {
    names: Vec<String>,
    /// One row a round, one measurement a variant.
    rows: Vec<Vec<M>>,
}

/// Runs the variants in turns for so many rounds, at least one; ends early, between rounds, when another round would
/// end after `until`.
///
/// # Errors
/// The first of a measurement.
pub fn interleave<M>(rounds: usize, until: Instant, variants: &mut [Variant<'_, M>]) -> Result<Rounds<M>, Failure> {
    let names = variants.iter().map(|variant| variant.name.clone()).collect();
    let mut rows = Vec::with_capacity(rounds);
    for round in 0..rounds.max(1) {
        let began = Instant::now();
        let mut row: Vec<Option<M>> = variants.iter().map(|_| None).collect();
        let mut order: Vec<usize> = (0..variants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            row[index] = Some((variants[index].measure)(round)?);
        }
        rows.push(row.into_iter().flatten().collect());
        if Instant::now() + began.elapsed() > until {
            break;
        }
    }
    Ok(Rounds { names, rows })
}

impl<M> Rounds<M> {
    /// How many rounds there were.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The variants' names, in their order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// All measurements of a variant.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn of(&self, name: &str) -> impl Iterator<Item = &M> {
        let index = self.index(name);
        self.rows.iter().map(move |row| &row[index])
    }

    /// A quantity of a variant.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn sample(&self, name: &str, quantity: impl Fn(&M) -> f64) -> Sample {
        Sample::new(self.of(name).map(quantity))
    }

    /// A quantity of one variant against that of another, round by round.
    ///
    /// # Panics
    /// If there is no such variant.
    pub fn ratio(&self, name: &str, against: &str, quantity: impl Fn(&M) -> f64) -> Sample {
        let (above, below) = (self.index(name), self.index(against));
        Sample::new(self.rows.iter().map(|row| quantity(&row[above]) / quantity(&row[below])))
    }

    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| panic!("no variant is called {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::time::Duration;

    #[test]
    fn rounds_take_turns_and_ratios_are_of_one_round() {
        let order = RefCell::new(String::new());
        let variant = |name: &'static str, factor: f64| {
            let order = &order;
            Variant::new(name, move |round| {
                order.borrow_mut().push_str(name);
                Ok(factor * (round + 1) as f64)
            })
        };
        let until = Instant::now() + Duration::from_secs(60);
        let rounds = interleave(3, until, &mut [variant("a", 6.0), variant("b", 2.0)]).expect("nothing fails");
        assert_eq!(*order.borrow(), "abbaab");
        assert_eq!(rounds.ratio("a", "b", |value| *value).summary().max, 3.0);
        assert_eq!(rounds.sample("b", |value| *value).median(), 4.0);
    }

    #[test]
    fn the_end_of_the_time_is_respected() {
        let mut variants = [Variant::new("a", |_| Ok(()))];
        let rounds = interleave(100, Instant::now(), &mut variants).expect("nothing fails");
        assert_eq!(rounds.count(), 1);
    }
}
