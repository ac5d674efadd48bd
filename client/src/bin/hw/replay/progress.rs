//! How far a replay has got: a bar on a terminal, else a line now and then.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};

/// Without a terminal, a line for each such part of the whole.
const LINES: u64 = 50;

/// Tells how much of a whole is done, on standard error.
pub(crate) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    told: u64,
}

impl Progress {
    /// Nothing of `total` is done. `what` names the work.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix:>12} [{bar:40}] {pos}/{len} {per_sec} eta {eta}");
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            bar.set_prefix(what);
            // The template is fixed; if it were wrong, the default one would do.
            if let Ok(style) = style { bar.with_style(style) } else { bar }
        });
        Self { what, bar, total, done: 0, told: 0 }
    }

    /// So much is done now.
    pub(crate) fn set(&mut self, done: u64) {
        self.done = done;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None => {
                let part = done * LINES / self.total.max(1);
                if part > self.told {
                    self.told = part;
                    // That nobody reads it is no reason to fail.
                    let _ = writeln!(std::io::stderr(), "{}: {done} of {}", self.what, self.total);
                }
            }
        }
    }

    /// One more is done.
    pub(crate) fn advance(&mut self) {
        self.set(self.done + 1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
