//! Proof by crash: `cargo test --release --features simulation --test crash -- --nocapture`. See `docs/durability.md`.
//!
//! The real writer and the real recovery run on a disk and a ledger in memory. Every instant of every workload is crashed in
//! many ways, read as a reader would, recovered, crashed again inside the recovery, and run to its end (`explore`); every
//! operation fails in every way (`faults`); and the checks are checked by leaving out each step of the protocol
//! (`mutations`).
//!
//! | variable | |
//! |---|---|
//! | `NPY_INGEST_CRASH_STATES` | at least so many crash states; 1,000,000 unless set |
//! | `NPY_INGEST_CRASH_SEED` | the first seed of the workloads that are made by seed |
//! | `NPY_INGEST_CRASH_REPLAY` | plays one schedule, as a violation prints it, and nothing else |

#[path = "crash/check.rs"]
mod check;
#[path = "crash/explore.rs"]
mod explore;
#[path = "crash/faults.rs"]
mod faults;
#[path = "crash/log.rs"]
mod log;
#[path = "crash/model.rs"]
mod model;
#[path = "crash/mutations.rs"]
mod mutations;
#[path = "crash/random.rs"]
mod random;
#[path = "crash/schedule.rs"]
mod schedule;
#[path = "crash/service.rs"]
mod service;
#[path = "crash/workload.rs"]
mod workload;
#[path = "crash/world.rs"]
mod world;

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use check::Case;
use explore::{Explorer, Figures, Found};
use mutations::{MUTATIONS, Outcome};
use schedule::Schedule;

const STATES: u64 = 1_000_000;
/// More violations say no more.
const VIOLATIONS_SHOWN_MAX: usize = 20;

#[test]
fn proof_by_crash() {
    log::count();
    if let Ok(text) = std::env::var("NPY_INGEST_CRASH_REPLAY") {
        return replay(&text);
    }
    let states_wanted = number("NPY_INGEST_CRASH_STATES").unwrap_or(STATES);
    let first_seed = number("NPY_INGEST_CRASH_SEED").unwrap_or(1);
    let cases: Vec<Case> = workload::fixed().into_iter().map(Case::new).collect();
    let figures = Figures::default();
    let violations = Mutex::new(Vec::new());
    let report = |found: Found| violations.lock().unwrap().push(found);
    let start = Instant::now();

    println!("\nworkloads\n");
    let fixed = in_parallel(cases.len(), |place| {
        let start = Instant::now();
        let explorer = Explorer::new(&cases[place], &figures);
        explorer.explore().unwrap_or_else(report);
        format!(
            "{:26} {:>9} states {:>7} ms",
            cases[place].workload.name,
            explorer.states(),
            start.elapsed().as_millis()
        )
    });
    println!("{}", fixed.join("\n"));

    in_parallel(cases.len(), |place| faults::explore(&cases[place], &figures, &mut |found| report(found)));
    let faults = figures.faults.load(Ordering::Relaxed);
    println!("\n{faults} faults injected after {} s", start.elapsed().as_secs());

    println!("\nmutations\n");
    let outcomes = in_parallel(MUTATIONS.len(), |number| mutations::explore(number, &cases));
    for outcome in &outcomes {
        println!("{}", line(outcome));
    }
    let needed = outcomes.iter().filter(|outcome| MUTATIONS[outcome.number].not_needed.is_none());
    let (needed, caught) = (needed.clone().count(), needed.filter(|outcome| outcome.caught.is_some()).count());

    // By seed until there are enough.
    let seeds = AtomicU64::new(first_seed);
    in_parallel(threads(), |_| {
        while figures.states.load(Ordering::Relaxed) < states_wanted
            && violations.lock().unwrap().len() < VIOLATIONS_SHOWN_MAX
        {
            let seed = seeds.fetch_add(1, Ordering::Relaxed);
            let case = Case::new(workload::random(seed));
            let mut explorer = Explorer::new(&case, &figures);
            explorer.seed = seed;
            explorer.explore().unwrap_or_else(report);
        }
    });

    let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    println!("\nworkloads by seed: {first_seed} to {}", load(&seeds) - 1);
    println!("of the states, {} were run to the end of their workload", load(&figures.continued));
    println!("{} s on {} threads", start.elapsed().as_secs(), threads());
    let violations = violations.into_inner().unwrap();
    for found in violations.iter().take(VIOLATIONS_SHOWN_MAX) {
        println!("\nviolation: {}\n  NPY_INGEST_CRASH_REPLAY='{}'", found.violation, found.schedule);
    }
    println!(
        "\ncrash states explored: {}, faults injected: {}, mutations caught: {caught} of {needed}, violations: {}",
        load(&figures.states),
        load(&figures.faults),
        violations.len()
    );
    assert!(violations.is_empty(), "{} violations", violations.len());
    let wrong: Vec<&str> =
        outcomes.iter().filter(|outcome| !outcome.is_right()).map(|outcome| MUTATIONS[outcome.number].name).collect();
    assert!(wrong.is_empty(), "not as the table says: {wrong:?}");
}

fn line(outcome: &Outcome) -> String {
    let mutation = &MUTATIONS[outcome.number];
    let name = format!("{:2} {:70}", outcome.number, mutation.name);
    match (&outcome.caught, mutation.not_needed) {
        (Some(found), _) => format!("{name} caught by \"{}\" after {} states", found.violation.check, outcome.states),
        (None, Some(why)) => format!("{name} not needed ({} states): {why}", outcome.states),
        (None, None) => format!("{name} NOT CAUGHT in {} states", outcome.states),
    }
}

fn replay(text: &str) {
    let schedule = Schedule::parse(text).unwrap_or_else(|| panic!("{text} is not a schedule"));
    let workload = workload::by_name(&schedule.workload).unwrap_or_else(|| panic!("no workload of this name"));
    println!("{workload:#?}");
    let case = Case::new(workload);
    let figures = Figures::default();
    let mut explorer = Explorer::new(&case, &figures);
    if let Some(number) = schedule.mutation {
        explorer = explorer.mutated(number, &MUTATIONS[number]);
    }
    if let Some(fault) = schedule.fault {
        explorer = explorer.with_fault(fault);
    }
    match explorer.replay(&schedule.crashes) {
        Ok(()) => println!("no violation"),
        Err(found) => panic!("{}", found.violation),
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.replace(['_', ','], "").parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, NonZero::get)
}

/// Does `count` things on all cores, and gives what they gave, in their order.
fn in_parallel<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads().min(count) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= count {
                        break;
                    }
                    let result = act(place);
                    results.lock().unwrap().push((place, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}
