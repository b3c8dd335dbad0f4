//! The few kernel calls that neither the standard library nor tokio offers, and with them all of the
//! agent's `unsafe`.
#![allow(unsafe_code)]

/// Whether the kernel's clock is kept in step by something that knows the time.
#[cfg(target_os = "linux")]
pub(crate) fn clock_is_synchronised() -> bool {
    // SAFETY: `timex` is a C struct of integers, for which all zero bits are valid; `modes` 0 asks
    // and changes nothing; the pointer is to a live, writable `timex`.
    let (state, status) = unsafe {
        let mut query: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut query), query.status)
    };
    state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

/// Whether the kernel's clock is kept in step: elsewhere than on Linux nobody can be asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn clock_is_synchronised() -> bool {
    false
}

/// Whether this process may write to a file or folder, as the kernel sees it; nothing is touched.
pub(crate) fn may_write(path: &std::path::Path) -> bool {
    may(path, libc::W_OK)
}

/// Whether this process may read from and write to a device.
pub(crate) fn may_use(path: &std::path::Path) -> bool {
    may(path, libc::R_OK | libc::W_OK)
}

/// Whether this process may run a program.
pub(crate) fn may_run(path: &std::path::Path) -> bool {
    path.is_file() && may(path, libc::X_OK)
}

fn may(path: &std::path::Path, mode: libc::c_int) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the pointer is to a C string that outlives the call.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) == 0 }
}

/// How many bytes this process may still write to the file system of a folder; none where it does not say.
pub(crate) fn free_bytes(folder: &std::path::Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: `statvfs` is a C struct of integers, for which all zero bits are valid; both pointers are to
    // live values, the second writable.
    let (answer, room) = unsafe {
        let mut room: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut room), room)
    };
    #[allow(clippy::unnecessary_cast, reason = "narrower on 32-bit machines")]
    (answer == 0).then_some((room.f_bavail as u64).saturating_mul(room.f_frsize as u64))
}

/// Ends a process and all of its children that stayed in its process group, which its caller made
/// with the process as leader.
pub(crate) fn kill_group(leader: u32) {
    if let Ok(leader @ 2..) = i32::try_from(leader) {
        // SAFETY: `kill` takes two integers and touches no memory of ours; a negative process id
        // above -2 is excluded, so it can only mean the group of `leader`.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}

/// Whether a child of this process has ended. It is left to be waited for, so that its number stays its own.
pub(crate) fn has_ended(child: u32) -> bool {
    // SAFETY: `siginfo_t` is a C struct for which all zero bits are valid; the pointer is to a live, writable
    // one, whose `si_pid` the kernel sets where the child has ended and leaves alone, at 0, where it has not.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let answer =
            libc::waitid(libc::P_PID, child, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT);
        answer != 0 || info.si_pid() != 0
    }
}

/// Whether this process was started to go on when its terminal is closed, as `nohup` does it.
pub fn ignores_hangup() -> bool {
    // SAFETY: `sigaction` is a C struct for which all zero bits are valid; without a new action the call
    // changes nothing, and the pointer is to a live, writable one.
    let (answer, action) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(libc::SIGHUP, std::ptr::null(), &mut action), action.sa_sigaction)
    };
    answer == 0 && action == libc::SIG_IGN
}

/// Lets this process have `wanted` files and sockets open at once, as far as the system's hard limit goes.
/// Returns how many it may have now, or `wanted` where the system does not say. A shell usually starts its
/// programs with 1,024.
pub fn allow_open_files(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, writable `rlimit`.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 || limit.rlim_cur >= wanted {
        return limit.rlim_cur.max(wanted);
    }
    let more = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), ..limit };
    // SAFETY: the pointer is to a live `rlimit`, which is read.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &more) } {
        0 => more.rlim_cur,
        _ => limit.rlim_cur,
    }
}

/// Gives memory that the program has freed back to the system: after work that is done once and took
/// much more than what comes later, such as compiling transforms.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn return_freed_memory() {
    // SAFETY: `malloc_trim` may be called at any time from any thread; it takes an integer.
    unsafe { libc::malloc_trim(0) };
}

/// Other systems' allocators give it back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn return_freed_memory() {}
