//! How far the work has got: a bar on a terminal, else a line now and then.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};

/// How progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A bar that moves.
    Bar,
    /// A line now and then.
    Lines,
    /// Not at all: standard error is read by a program.
    Silent,
}

impl Style {
    /// The one that suits those who read standard error.
    pub(crate) fn suitable(json: bool) -> Self {
        match (std::io::stderr().is_terminal(), json) {
            (true, _) => Style::Bar,
            (false, true) => Style::Silent,
            (false, false) => Style::Lines,
        }
    }
}

/// With [`Style::Lines`], how many lines the whole is worth, unless said otherwise.
const LINES: u64 = 50;

/// Tells how much of a whole is done, on standard error.
pub(crate) struct Progress {
    what: &'static str,
    style: Style,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    told: u64,
    lines: u64,
}

impl Progress {
    /// Nothing of `total` is done. `what` names the work.
    pub(crate) fn new(style: Style, what: &'static str, total: u64) -> Self {
        let bar = (style == Style::Bar).then(|| {
            let template = ProgressStyle::with_template("{prefix:>12} [{bar:40}] {pos}/{len} {per_sec} eta {eta}");
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            bar.set_prefix(what);
            // The template is fixed; if it were wrong, the default one would do.
            if let Ok(template) = template { bar.with_style(template) } else { bar }
        });
        Self { what, style, bar, total, done: 0, told: 0, lines: LINES }
    }

    /// A whole that is worth so many lines.
    pub(crate) fn lines(mut self, lines: u64) -> Self {
        self.lines = lines;
        self
    }

    /// So much is done now.
    pub(crate) fn set(&mut self, done: u64) {
        self.done = done;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.style == Style::Silent => {}
            None => {
                let part = done * self.lines / self.total.max(1);
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
