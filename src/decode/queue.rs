//! What waits for the pool: one queue for each dataset, served in turn, so that a dataset with large files does not keep
//! another's waiting. Within a dataset the first comes first: the pool relies on it (see [`crate::lane::Turn`]).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::lane::Lane;
use crate::source::Candidate;

type Waiting = VecDeque<(Arc<Lane>, Candidate)>;

/// See the module documentation. Locked twice for each source, never while one is decoded.
#[derive(Default)]
pub struct FairQueue {
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    by_lane: Vec<Waiting>,
    /// Whose turn it is.
    next: usize,
}

impl FairQueue {
    pub fn push(&self, lane: &Arc<Lane>, candidate: Candidate) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.by_lane.len() <= lane.index {
            queues.by_lane.resize_with(lane.index + 1, Waiting::new);
        }
        if let Some(queue) = queues.by_lane.get_mut(lane.index) {
            queue.push_back((lane.clone(), candidate));
        }
    }

    /// The next candidate: of the dataset that has waited longest for its turn. As many can be taken as were put in.
    pub fn pop(&self) -> Option<(Arc<Lane>, Candidate)> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queues.by_lane.len();
        for step in 0..count {
            let place = (queues.next + step) % count;
            if let Some(taken) = queues.by_lane.get_mut(place).and_then(VecDeque::pop_front) {
                queues.next = (place + 1) % count;
                return Some(taken);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::source::{Identity, Place};
    use std::path::Path;

    fn lane(index: usize) -> Arc<Lane> {
        let text = "[[dataset]]\nname = 'd'\noutput = 'd.npy'\nshape = [2, 2]\ndtype = 'u1'\n\
                    [dataset.watch]\nfolders = ['drop']\n[dataset.image]\n";
        let config = config::parse(text, Path::new("/c.toml")).unwrap();
        Arc::new(Lane::new(index, Arc::new(config.datasets[0].clone()), 4, 4))
    }

    fn candidate(sequence: u64) -> Candidate {
        Candidate {
            sequence,
            place: Place { folder: 0, below: sequence.to_string().into() },
            identity: Identity { size: 0, mtime_ns: 0, inode: 0 },
            known_hash: None,
            permit_bytes: 0,
            writer_was_seen: false,
            arrived_ns: 0,
            is_last_attempt: false,
            follow: None,
        }
    }

    /// The bug: thousands of large files of one dataset were decoded before the first small one of another.
    #[test]
    fn datasets_take_turns_and_each_keeps_its_order() {
        let queue = FairQueue::default();
        let lanes = [lane(0), lane(1), lane(2)];
        for sequence in 0..4 {
            queue.push(&lanes[2], candidate(sequence));
        }
        queue.push(&lanes[0], candidate(10));
        queue.push(&lanes[0], candidate(11));
        let taken: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(|(_, candidate)| candidate.sequence).collect();
        assert_eq!(taken, [10, 0, 11, 1, 2, 3]);
    }
}
