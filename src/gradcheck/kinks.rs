//! Kinks in sampled mode: one kinked coordinate would leave room for any error within its two slopes in every
//! direction through it, so such coordinates are taken out of the directions and looked at on their own.

use alloc::{vec, vec::Vec};

use super::compare::Comparison;
use super::function::{Direction, Fault, Function};
use super::number::{Number, Random};
use super::sample::{restricted, support};

/// How many kinks are searched for, beyond the coordinates that share a value with one.
const SEARCHES: usize = 3;

/// How many coordinates of the same value are tried before all of them count as kinked.
const TRIED: usize = 4;

pub(super) struct Kinks {
    out: Vec<bool>,
    searches: usize,
    random: Random,
    /// Coordinates at a kink, to be compared one by one.
    pub(super) found: Vec<usize>,
}

/// Compares a direction, far enough to see kinks.
pub(super) type Look<'l, N> =
    &'l mut dyn FnMut(&mut Function<'_, N>, &Direction) -> Result<Vec<Comparison>, Fault>;

impl Kinks {
    pub(super) fn new(len: usize, seed: u64) -> Self {
        Self { out: vec![false; len], searches: SEARCHES, random: Random::new(seed), found: Vec::new() }
    }

    /// The direction without the coordinates known to be kinked.
    pub(super) fn without_known(&self, direction: &Direction) -> Direction {
        match direction {
            Direction::Dense(u) => Direction::Dense(
                u.iter().zip(&self.out).map(|(u, &out)| if out { 0.0 } else { *u }).collect(),
            ),
            Direction::Coordinate(j) => Direction::Coordinate(*j),
        }
    }

    /// Whether there is a kink in these comparisons that is still worth a search.
    pub(super) fn to_search(&self, results: &[Comparison]) -> bool {
        self.searches > 0 && results.iter().any(|c| c.sides.is_some())
    }

    /// Searches a direction that shows a kink for the coordinates at fault.
    pub(super) fn search<N: Number>(
        &mut self,
        function: &mut Function<'_, N>,
        direction: &Direction,
        look: Look<'_, N>,
    ) -> Result<(), Fault> {
        let Direction::Dense(u) = direction else { return Ok(()) };
        let kinked = |c: &[Comparison]| c.iter().any(|c| c.sides.is_some());
        self.searches -= 1;
        let mut culprits = support(direction);
        while culprits.len() > 1 {
            let (first, second) = culprits.split_at(culprits.len() / 2);
            let half = if kinked(&look(function, &Direction::Dense(restricted(u, first)))?) {
                first
            } else if kinked(&look(function, &Direction::Dense(restricted(u, second)))?) {
                second
            } else {
                break;
            };
            culprits = half.to_vec();
        }
        let [j] = culprits[..] else {
            // A kink of several coordinates together: there is none to take out.
            self.searches = 0;
            return Ok(());
        };
        self.out[j] = true;
        self.found.push(j);
        // Rectifiers and the like are kinked at one value, wherever it stands.
        let (input, _) = function.place(j);
        let alike = |&i: &usize| {
            u[i] != 0.0
                && !self.out[i]
                && function.place(i).0 == input
                && function.at(i).abs() == function.at(j).abs()
        };
        let alike: Vec<usize> = support(direction).into_iter().filter(|i| alike(i)).collect();
        let mut all = !alike.is_empty();
        for _ in 0..if all { TRIED } else { 0 } {
            let i = alike[self.random.below(alike.len())];
            all &= kinked(&look(function, &Direction::Coordinate(i))?);
            if !self.found.contains(&i) {
                self.found.push(i);
            }
        }
        if all {
            alike.iter().for_each(|&i| self.out[i] = true);
        }
        Ok(())
    }
}
