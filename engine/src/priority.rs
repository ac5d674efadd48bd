//! Work that can wait: what runs here takes processor time only where the threads that somebody waits for leave some.
//!
//! A lowered priority cannot be raised again without a privilege. So such work gets a thread of its own, which must not
//! hold a lock that others need: they would wait for it at its pace.

use crate::sync::Mutex;
use std::io;
use std::thread;

/// How nice such threads are. At 19 a busy machine would hardly ever let them run, and whoever waits for them at last
/// (senders, when both heads are full) would wait for long; at 10 they get a tenth of what others get.
const NICE: i32 = 10;

/// Does this in a thread of lower priority, and waits for it. Threads that it starts inherit the priority.
pub(crate) fn lowered<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let work = Mutex::new(Some(work));
    let once = || (work.lock().take().expect("it is done once, here or there"))();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
            if let Err(error) = lower() {
                tracing::debug!(%error, "cannot lower a thread's priority");
            }
            once()
        });
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => {
                tracing::warn!(%error, "there is no thread for what can wait: it is done at once");
                once()
            }
        }
    })
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "setpriority has no safe form in std; it takes three numbers and touches no memory")]
fn lower() -> io::Result<()> {
    // SAFETY: no pointers are passed. On Linux, 0 names the calling thread alone.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Elsewhere it would lower the whole process.
#[cfg(not(target_os = "linux"))]
fn lower() -> io::Result<()> {
    let _ = NICE;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_nice_and_the_caller_is_not() {
        let nice = || {
            // "/proc/thread-self/stat": the nice value is the 17th field after the name in parentheses.
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("proc");
            let fields = stat.rsplit_once(')').expect("a name").1;
            fields.split_whitespace().nth(16).expect("a nice value").parse::<i32>().expect("a number")
        };
        let before = nice();
        assert_eq!(lowered("test", nice), NICE.max(before));
        assert_eq!(nice(), before);
    }
}
