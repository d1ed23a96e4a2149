use super::*;

fn place(name: &str) -> Place {
    Place { folder: 0, below: name.into() }
}

fn status(size: u64) -> FileStatus {
    FileStatus {
        device: 0,
        size,
        mtime_ns: 0,
        inode: 0,
        ctime_ns: 7,
        born_ns: None,
        is_regular: true,
        is_folder: false,
    }
}

fn names(tracker: &mut Tracker) -> Vec<String> {
    std::iter::from_fn(|| tracker.take()).map(|(place, _)| place.below.display().to_string()).collect()
}

#[test]
fn a_file_is_due_only_once_it_was_quiet() {
    let mut tracker = Tracker::default();
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    tracker.touch(place("a"), after(50), None, Some(false));
    tracker.touch(place("a"), after(90), None, Some(true));
    assert!(tracker.pop_due(after(60)).is_none());
    assert_eq!(tracker.next_due(), Some(after(90)));
    let due = tracker.pop_due(after(90)).unwrap();
    assert!(!due.writer_was_seen);
    tracker.make_ready(due, &status(1), None, None);
    assert_eq!(names(&mut tracker), ["a"]);
    assert_eq!(tracker.in_flight(), 1);
}

#[test]
fn what_comes_back_goes_first_and_in_its_order() {
    let mut tracker = Tracker::default();
    for name in ["a", "b", "c", "d"] {
        tracker.add_ready(place(name), &status(1), None, None);
    }
    tracker.take();
    tracker.take();
    tracker.put_back(place("b"), 1);
    tracker.put_back(place("a"), 0);
    assert_eq!(names(&mut tracker), ["a", "b", "c", "d"]);
}

#[test]
fn an_event_while_a_file_is_in_flight_is_remembered() {
    let mut tracker = Tracker::default();
    tracker.add_ready(place("a"), &status(1), None, None);
    tracker.take();
    tracker.touch(place("a"), Instant::now(), None, None);
    assert!(tracker.settle(&place("a")).is_some());
    assert!(tracker.is_empty());
}

/// The bug: whether a file was being written or was closed while it was in flight was forgotten once it was committed, came
/// back, or could not be read. Where the kernel does not tell, half of its successor was taken.
#[test]
fn what_events_tell_of_a_file_in_flight_is_not_forgotten() {
    let now = Instant::now();
    let taken = |is_finished| {
        let mut tracker = Tracker::default();
        tracker.add_ready(place("a"), &status(1), None, None);
        tracker.take();
        tracker.touch(place("a"), now, None, is_finished);
        tracker
    };
    for is_finished in [Some(false), Some(true), None] {
        let is_written = is_finished == Some(false);
        assert_eq!(taken(is_finished).settle(&place("a")).unwrap().is_finished, is_finished);

        let mut tracker = taken(is_finished);
        tracker.put_back(place("a"), 0);
        assert_eq!(tracker.take().unwrap().1.writer_was_seen, is_written);
        assert!(tracker.settle(&place("a")).is_some(), "it is looked at again");

        let mut tracker = taken(is_finished);
        let delay = tracker.retry(place("a"), now);
        assert_eq!(delay.is_zero(), is_finished == Some(true), "{is_finished:?}");
        assert_eq!(tracker.pop_due(now + delay).unwrap().writer_was_seen, is_written);
    }
}

#[test]
fn a_ready_file_that_is_touched_settles_again() {
    let mut tracker = Tracker::default();
    tracker.add_ready(place("a"), &status(1), None, None);
    tracker.touch(place("a"), Instant::now(), None, Some(false));
    assert!(tracker.take().is_none());
    assert!(tracker.pop_due(Instant::now()).is_some());
}

/// The bug: each time that a file was rewritten while its dataset was paused took memory until the pause was over.
#[test]
fn files_that_are_touched_while_nothing_is_taken_need_no_more_room() {
    let mut tracker = Tracker::default();
    tracker.add_ready(place("a"), &status(1), None, None);
    tracker.add_ready(place("b"), &status(1), None, None);
    for _ in 0..10 * STALE_MAX {
        let now = Instant::now();
        tracker.touch(place("b"), now, None, Some(true));
        let due = tracker.pop_due(now).unwrap();
        tracker.make_ready(due, &status(1), None, None);
    }
    assert!(tracker.waiting() <= STALE_MAX + 5 && tracker.due.len() <= 1);
    assert_eq!(names(&mut tracker), ["a", "b"]);
}

/// The bug: a mode that was set after the close undid it, and the file was waited for as one that is being written.
#[test]
fn a_close_is_not_undone_by_what_tells_of_no_writer() {
    let now = Instant::now();
    let mut tracker = Tracker::default();
    tracker.touch(place("a"), now, None, Some(true));
    tracker.touch(place("a"), now, None, None);
    assert!(!tracker.pop_due(now).unwrap().writer_was_seen);
    // Nor is a write, while the file waits to be taken or is in flight.
    tracker.touch(place("a"), now, None, Some(false));
    let due = tracker.pop_due(now).unwrap();
    tracker.make_ready(due, &status(1), None, None);
    tracker.touch(place("a"), now, None, None);
    let due = tracker.pop_due(now).unwrap();
    assert!(due.writer_was_seen);
    tracker.make_ready(due, &status(1), None, None);
    tracker.take();
    tracker.touch(place("a"), now, None, Some(true));
    tracker.touch(place("a"), now, None, None);
    assert_eq!(tracker.settle(&place("a")).unwrap().is_finished, Some(true));
}

/// The bug: a file that a scan had met while it was being written had to be quiet for twice as long after its close.
#[test]
fn what_was_closed_need_not_be_what_the_scan_saw() {
    let now = Instant::now();
    let (before, after) = (Identity::from(&status(1)), Identity::from(&status(2)));
    for (events, is_still_changing) in [
        (vec![Some(true)], false),
        (vec![Some(true), None], false),
        (vec![Some(true), Some(false)], true),
        (vec![], true),
    ] {
        let mut tracker = Tracker::default();
        tracker.touch(place("a"), now, Some(before), None);
        for event in &events {
            tracker.touch(place("a"), now, None, *event);
        }
        assert_eq!(tracker.pop_due(now).unwrap().is_still_changing(after), is_still_changing, "{events:?}");
    }
}

/// The bug: a file that could not be read was left for the whole wait before the next attempt, though it had become another,
/// or readable, and counted as if it had not.
#[test]
fn what_becomes_of_a_file_that_could_not_be_read_ends_the_wait() {
    let (now, settle) = (Instant::now(), Duration::from_millis(1));
    for is_finished in [None, Some(false), Some(true)] {
        let mut tracker = Tracker::default();
        tracker.add_ready(place("a"), &status(1), None, None);
        tracker.take();
        tracker.retry(place("a"), now);
        tracker.touch(place("a"), now + settle, None, is_finished);
        let due = tracker.pop_due(now + settle).unwrap();
        assert_eq!((due.attempts, due.writer_was_seen), (0, is_finished == Some(false)));
        assert!(tracker.pop_due(now + Duration::from_secs(9)).is_none(), "it is due once");
    }
}

/// The bug: each of hundreds of files that were held open was opened ten times a second.
#[test]
fn a_file_that_is_held_open_is_asked_less_and_less_often_until_it_is_closed() {
    let mut tracker = Tracker::default();
    let mut now = Instant::now();
    tracker.add_ready(place("a"), &status(1), None, None);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let (taken, _) = tracker.take().unwrap();
        tracker.settle_again(taken, now, Duration::from_millis(100));
        let due = tracker.next_due().unwrap();
        waits.push((due - now).as_millis());
        now = due;
        let due = tracker.pop_due(now).unwrap();
        tracker.make_ready(due, &status(1), None, None);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
    let (taken, _) = tracker.take().unwrap();
    tracker.settle_again(taken, now, Duration::from_millis(100));
    tracker.touch(place("a"), now + Duration::from_millis(50), None, Some(true));
    assert!(tracker.pop_due(now + Duration::from_millis(50)).is_some(), "its close is waited for no longer");
    assert!(tracker.pop_due(now + Duration::from_secs(3)).is_none(), "and it is due once");
}

/// The bug: a log that was cut while it was held open was looked for ten times a second, each time by a scan of everything.
#[test]
fn a_scan_of_everything_does_not_forget_how_often_files_were_asked() {
    let (now, wait) = (Instant::now(), Duration::from_millis(100));
    let mut tracker = Tracker::default();
    let mut waits = Vec::new();
    for round in 0..6 {
        tracker.add_ready(place("a"), &status(1), None, None);
        tracker.end_scan();
        let (taken, _) = tracker.take().unwrap();
        tracker.settle_again(taken, now, wait);
        let due = tracker.next_due().unwrap();
        waits.push((due - now).as_millis());
        if round % 2 == 0 {
            let due = tracker.pop_due(due).unwrap();
            tracker.leave_to_scan(due);
        }
        tracker.clear();
        tracker.clear();
        assert!(tracker.is_empty());
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 2000]);
    tracker.end_scan();
    tracker.add_ready(place("a"), &status(1), None, None);
    let (taken, _) = tracker.take().unwrap();
    tracker.settle_again(taken, now, wait);
    assert_eq!(tracker.next_due(), Some(now + wait), "it was not found meanwhile");
}

/// The bug: a file that was taken before it was closed, and closed before it was found to be open, waited in vain for
/// its close.
#[test]
fn a_close_that_comes_while_the_file_is_in_flight_is_not_waited_for_again() {
    let (now, settle) = (Instant::now(), Duration::from_millis(1));
    let closed = vec![Some(false), Some(true), None];
    for (events, wait_ms) in [(closed, 1), (vec![Some(true), Some(false)], 100), (vec![None], 100)] {
        let mut tracker = Tracker::default();
        tracker.add_ready(place("a"), &status(1), None, None);
        let (taken, _) = tracker.take().unwrap();
        for event in &events {
            tracker.touch(place("a"), now + settle, None, *event);
        }
        tracker.settle_again(taken, now, Duration::from_millis(100));
        assert_eq!(tracker.next_due(), Some(now + Duration::from_millis(wait_ms)), "{events:?}");
        let due = tracker.pop_due(now + Duration::from_millis(wait_ms)).unwrap();
        assert_eq!(due.writer_was_seen, events.last() == Some(&Some(false)), "{events:?}");
    }
}

#[test]
fn attempts_to_read_come_to_an_end() {
    let mut tracker = Tracker::default();
    tracker.add_ready(place("a"), &status(1), None, None);
    let now = Instant::now();
    for attempt in 1..=ATTEMPTS_MAX {
        let (taken, ready) = tracker.take().unwrap();
        assert_eq!(ready.is_last_attempt(), attempt == ATTEMPTS_MAX);
        let delay = tracker.retry(taken, now);
        let due = tracker.pop_due(now + delay).unwrap();
        tracker.make_ready(due, &status(1), None, None);
    }
}

#[test]
fn what_is_shown_is_what_is_tracked() {
    use std::sync::atomic::AtomicU64;
    let mut tracker = Tracker::default();
    let waiting = Waiting::default();
    let shown = |waiting: &Waiting| {
        let figure = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [&waiting.settling, &waiting.ready, &waiting.in_flight, &waiting.bytes, &waiting.oldest_ns].map(figure)
    };
    tracker.add_ready(place("a"), &status(10), None, None);
    tracker.add_ready(place("b"), &status(20), None, None);
    tracker.touch(place("c"), Instant::now(), None, Some(true));
    tracker.take();
    tracker.show(&waiting);
    assert_eq!(shown(&waiting), [1, 1, 1, 30, 7]);
    tracker.settle(&place("a"));
    tracker.take();
    tracker.settle(&place("b"));
    tracker.pop_due(Instant::now());
    tracker.show(&waiting);
    assert_eq!(shown(&waiting), [0; 5]);
}
