//! What the process may do once it runs: compute, read the file that it was handed, and answer.
//!
//! Two walls, each of which is enough by itself:
//!
//! - Landlock: no path below any folder can be opened or changed, no TCP port used. Left out on kernels that lack it.
//! - seccomp: a list of system calls. None of them opens a file, makes a socket, starts a program, or sends a signal to
//!   another process; memory cannot be made executable. Others fail with EPERM, so that a library that tries one goes on
//!   without.
//!
//! Limits on memory are set from outside, by npy-ingest. Threads that are started later are within the same walls.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::process::Command;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Without conditions.
const CALLS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_ppoll,
    libc::SYS_recvmsg,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // Fails all the same: see below. Of two filters that refuse, the later one's error would be told.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Those of older processors only.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[i64] = &[libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[i64] = &[];

/// # Errors
/// The system calls cannot be restricted. Nothing is decoded then.
pub fn enter() -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("the sandbox cannot be entered: {error}");
    forbid_files().map_err(|error| failed(&error))?;
    apply_filter(&without_clone3().map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    apply_filter(&calls().map_err(|error| failed(&error))?).map_err(|error| failed(&error))
}

/// What no decoder ever has to do, tried.
pub fn tries() -> Vec<(&'static str, io::Result<()>)> {
    let signal = || match rustix::process::getppid() {
        Some(parent) => rustix::process::test_kill_process(parent).map_err(io::Error::from),
        None => Ok(()),
    };
    vec![
        ("read a file", File::open("/proc/self/status").map(drop)),
        ("write a file", File::create("/tmp/npy-ingest-video-was-here").map(drop)),
        ("open a socket", UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("start a program", Command::new("/bin/true").spawn().map(drop)),
        ("signal a process", signal()),
    ]
}

/// No rule allows anything. What the kernel is too old for is left out: the second wall stands by itself.
fn forbid_files() -> Result<(), landlock::RulesetError> {
    let abi = ABI::V5;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?;
    match ruleset.create().and_then(landlock::RulesetCreated::restrict_self) {
        Ok(_) => Ok(()),
        // Some sandboxes around this one do not know these system calls.
        Err(landlock::RulesetError::CreateRuleset(_) | landlock::RulesetError::RestrictSelf(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn arch() -> Result<TargetArch, seccompiler::BackendError> {
    std::env::consts::ARCH.try_into()
}

/// The C library makes threads with `clone3`, whose flags lie in memory where no filter sees them. Told that the kernel
/// lacks it, it takes `clone`.
fn without_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let missing = SeccompAction::Errno(u32::try_from(libc::ENOSYS).unwrap_or(38));
    SeccompFilter::new(rules, SeccompAction::Allow, missing, arch()?)?.try_into()
}

fn calls() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().chain(OLD_CALLS).map(|call| (*call, Vec::new())).collect();
    let where_argument = |number: u8, operator, value: u64| {
        SeccompRule::new(vec![SeccompCondition::new(number, SeccompCmpArgLen::Qword, operator, value)?])
    };
    let executable = u64::try_from(libc::PROT_EXEC).unwrap_or(4);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![where_argument(2, SeccompCmpOp::MaskedEq(executable), 0)?]);
    }
    let thread = u64::try_from(libc::CLONE_THREAD).unwrap_or(0x10000);
    rules.insert(libc::SYS_clone, vec![where_argument(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    // Names of threads.
    let name = u64::try_from(libc::PR_SET_NAME).unwrap_or(15);
    rules.insert(libc::SYS_prctl, vec![where_argument(0, SeccompCmpOp::Eq, name)?]);
    // Limits are asked for, and not set.
    rules.insert(libc::SYS_prlimit64, vec![where_argument(2, SeccompCmpOp::Eq, 0)?]);
    // The status of an open file, for which the C library asks in this way.
    let of_file = u64::try_from(libc::AT_EMPTY_PATH).unwrap_or(0x1000);
    rules.insert(libc::SYS_newfstatat, vec![where_argument(3, SeccompCmpOp::Eq, of_file)?]);
    // Its own end, where memory is found to be broken.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![where_argument(0, SeccompCmpOp::Eq, own)?]);
    let refused = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    SeccompFilter::new(rules, refused, SeccompAction::Allow, arch()?)?.try_into()
}
