//! Which crashes to play, and how to write one down: `two-columns@12=0110@5=kill` is the workload, killed by a power cut
//! after its twelfth change with the second and third of the pending things kept, and killed again after the fifth change
//! of the recovery. `+3` behind the name: with the third mutation. `!7:NoSpace`: the seventh operation fails.

use std::fmt;

use npy_ingest::storage::simulated::{Failure, Image, Tearing};

use crate::random::Random;
use crate::world::Fault;

/// What a crash leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crash {
    /// The process dies, the machine goes on: only locks are lost.
    Kill,
    /// For each thing that was pending, the state that it is left in: 0 is the durable one.
    PowerCut(Vec<u8>),
}

impl Crash {
    /// The disk afterwards.
    pub fn apply(&self, image: &Image, tearing: Tearing) -> Image {
        match self {
            Self::Kill => image.after_kill(),
            Self::PowerCut(states) => {
                let mut states = states.iter();
                image.after_power_cut(tearing, &mut |count| {
                    let state = states.next().copied().unwrap_or(0);
                    usize::from(state).min(count - 1)
                })
            }
        }
    }
}

/// How many crashes to play at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All subsets, if they are no more than this.
    pub all: u64,
    /// Otherwise so many by seed, beside the regular ones.
    pub samples: usize,
}

/// The crashes to play at this instant. The first is the kill.
pub fn crashes(image: &Image, tearing: Tearing, limits: Limits, seed: u64) -> Vec<Crash> {
    let counts = counts(image, tearing);
    let mut crashes = vec![Crash::Kill];
    let all = counts.iter().try_fold(1_u64, |all, count| all.checked_mul(u64::from(*count)));
    if let Some(all) = all.filter(|all| *all <= limits.all) {
        crashes.extend((0..all).map(|mut number| {
            let state = |count: &u8| {
                let state = number % u64::from(*count);
                number /= u64::from(*count);
                state as u8
            };
            Crash::PowerCut(counts.iter().map(state).collect())
        }));
        return crashes;
    }
    let none = vec![0; counts.len()];
    let latest: Vec<u8> = counts.iter().map(|count| count - 1).collect();
    crashes.push(Crash::PowerCut(none.clone()));
    crashes.push(Crash::PowerCut(latest.clone()));
    let mut random = Random::new(seed);
    for number in 0..limits.samples {
        let place = random.below(counts.len() as u64) as usize;
        let mut states = match number % 4 {
            // All but one, or only one.
            0 => latest.clone(),
            1 => none.clone(),
            _ => {
                let share = 1 + random.below(9);
                let kept =
                    |count: &u8| if random.below(10) < share { random.below(u64::from(*count)) as u8 } else { 0 };
                counts.iter().map(kept).collect()
            }
        };
        match number % 4 {
            0 => states[place] = 0,
            1 => states[place] = latest[place],
            _ => {}
        }
        crashes.push(Crash::PowerCut(states));
    }
    crashes
}

/// For each thing that is pending, in how many states a power cut can leave it. Things that are there only if others
/// survive (a file whose name is new) are counted as if all did, so a choice may have too few or too many; what is missing
/// is in its durable state.
fn counts(image: &Image, tearing: Tearing) -> Vec<u8> {
    let mut counts = Vec::new();
    image.after_power_cut(tearing, &mut |count| {
        counts.push(u8::try_from(count).unwrap_or(u8::MAX));
        count - 1
    });
    counts
}

/// A crash that can be played again.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub workload: String,
    pub mutation: Option<usize>,
    pub fault: Option<Fault>,
    /// The instant (a change, counted from 0) and what the crash left; then, if there is a second, in the recovery.
    pub crashes: Vec<(usize, Crash)>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.workload)?;
        if let Some(mutation) = self.mutation {
            write!(formatter, "+{mutation}")?;
        }
        if let Some(Fault { at, failure, lasts, is_done }) = self.fault {
            let (lasts, is_done) = (if lasts { ":lasts" } else { "" }, if is_done { ":done" } else { "" });
            write!(formatter, "!{at}:{failure:?}{lasts}{is_done}")?;
        }
        for (at, crash) in &self.crashes {
            match crash {
                Crash::Kill => write!(formatter, "@{at}=kill")?,
                Crash::PowerCut(states) => {
                    let states = states.iter().map(|state| char::from_digit(u32::from(*state), 36).unwrap_or('z'));
                    write!(formatter, "@{at}={}", states.collect::<String>())?;
                }
            }
        }
        Ok(())
    }
}

impl Schedule {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('@');
        let (head, fault) = match parts.next()?.split_once('!') {
            Some((head, fault)) => (head, Some(parse_fault(fault)?)),
            None => (text.split('@').next()?, None),
        };
        let (workload, mutation) = match head.split_once('+') {
            Some((workload, mutation)) => (workload, Some(mutation.parse().ok()?)),
            None => (head, None),
        };
        let crashes = parts.map(|part| {
            let (at, crash) = part.split_once('=')?;
            let crash = match crash {
                "kill" => Crash::Kill,
                states => {
                    let states = states.chars().map(|state| state.to_digit(36).map(|state| state as u8));
                    Crash::PowerCut(states.collect::<Option<_>>()?)
                }
            };
            Some((at.parse().ok()?, crash))
        });
        Some(Self { workload: workload.to_owned(), mutation, fault, crashes: crashes.collect::<Option<_>>()? })
    }
}

fn parse_fault(text: &str) -> Option<Fault> {
    let mut words = text.split(':');
    let at = words.next()?.parse().ok()?;
    let failure = match words.next()? {
        "NoSpace" => Failure::NoSpace,
        "InputOutput" => Failure::InputOutput,
        "Interrupted" => Failure::Interrupted,
        "Short" => Failure::Short,
        _ => return None,
    };
    let rest: Vec<&str> = words.collect();
    Some(Fault { at, failure, lasts: rest.contains(&"lasts"), is_done: rest.contains(&"done") })
}
