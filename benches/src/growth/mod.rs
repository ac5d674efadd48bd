//! What a send and a sync cost as users, entries and conversations grow, and how long a store takes to open.
//!
//! Stores of different sizes are held open at once, each in a process of its own, and measured in turns, so that a
//! slow minute of the machine strikes all of them alike. Half of the users have a partner with whom they talk; inboxes
//! grow by messages to groups of 1,000, fanned out on write.

mod child;
mod membership;
mod population;

use crate::children::Child;
use crate::context::{Context, Failure};
use crate::machine::Machine;
use crate::pair::{Rounds, Variant, interleave};
use crate::plot::{Axis, Plot};
use crate::report::{Bound, Cell, Report, Table};
use crate::stats::Sample;
use crate::sys;
use child::{FULL_FROM, Opened};
use highwater_engine::inspect::inspect;
use membership::MembershipCost;
use population::{Made, SENDS, SendCost, SyncCost};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Stores that differ in users alone, and those that differ in entries alone. The middle ones are the same store.
struct Sizes {
    users: [usize; 3],
    /// Entries, at the middle number of users; 0: those that the pairs make.
    entries: &'static [u64],
    conversations: &'static [usize],
    rounds: usize,
    sync_rounds: usize,
    openings: usize,
    /// Pairs among whom the messages before a kill are sent, so that the head is filled by bytes, not by changed rows.
    dense_pairs: usize,
    /// How long a head may take to fill.
    fill: Duration,
}

const FULL: Sizes = Sizes {
    users: [10_000, 100_000, 1_000_000],
    entries: &[0, 1_000_000, 10_000_000, 100_000_000],
    conversations: &[1, 10, 100, 500, 2_000],
    rounds: 9,
    sync_rounds: 3,
    openings: 3,
    dense_pairs: 8_000,
    fill: Duration::from_secs(120),
};
const QUICK: Sizes = Sizes {
    users: [2_000, 10_000, 50_000],
    entries: &[0, 200_000, 2_000_000],
    conversations: &[1, 20, 200],
    rounds: 3,
    sync_rounds: 1,
    openings: 1,
    dense_pairs: 0,
    fill: Duration::from_secs(2),
};

/// How much a send may cost more at the most entries, and at the most users.
const ENTRIES_RATIO_MAX: f64 = 1.25;
const USERS_RATIO_MAX: f64 = 3.0;
/// How long opening after a kill may take.
const REOPEN_SECONDS_MAX: f64 = 5.0;

/// Runs the program.
///
/// # Errors
/// Something could not be measured at all.
pub fn run(context: &Context) -> Result<Report, Failure> {
    let mut report = Report::new("growth", Machine::here(&context.out));
    let sizes = context.pick(FULL, QUICK);
    let until = Instant::now() + context.budget;
    let scratch = context.scratch()?;
    memberships(&sizes, scratch.path(), &mut report)?;
    let stores = Stores::make(&sizes, scratch.path())?;
    let sends = stores.sends(&sizes, until)?;
    let syncs = stores.syncs(&sizes, until)?;
    stores.report(&sizes, &sends, &syncs, &mut report);
    let largest = stores.close()?;
    reopenings(&sizes, &largest, until, &mut report)?;
    report.note(format!(
        "a send: direct, 200 bytes, 1,024 in flight, {SENDS} a round in random pairs of half of all users; CPU of the \
         engine's threads, without the program that gives the commands; a sync: 50 messages in 5 conversations"
    ));
    Ok(report)
}

/// What the program starts as a process of its own: `highwater-bench child growth ARGUMENTS...`.
///
/// # Errors
/// The arguments are not known, or what they ask for failed.
pub fn child(arguments: &[String]) -> Result<(), Failure> {
    child::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The stores, each with the child that holds it open.
struct Stores {
    held: Vec<Held>,
}

struct Held {
    /// As variants are called: users and entries asked for.
    name: String,
    path: PathBuf,
    made: Made,
    child: RefCell<Child>,
}

impl Stores {
    fn make(sizes: &Sizes, scratch: &Path) -> Result<Self, Failure> {
        let middle = sizes.users[1];
        let by_users = sizes.users.iter().map(|users| (*users, 0));
        let by_entries = sizes.entries.iter().skip(1).map(|entries| (middle, *entries));
        let mut held = Vec::new();
        for (users, entries) in by_users.chain(by_entries) {
            let path = scratch.join(format!("{users}-{entries}"));
            let arguments = ["store", text(&path)?, &users.to_string(), &entries.to_string()];
            let mut child = Child::start("growth", &arguments)?;
            // One after the other: two cores are not many.
            let made = child.answer()?;
            held.push(Held { name: store_name(users, entries), path, made, child: RefCell::new(child) });
        }
        Ok(Self { held })
    }

    fn sends(&self, sizes: &Sizes, until: Instant) -> Result<Rounds<SendCost>, Failure> {
        let variant = |held| {
            let Held { name, child, .. }: &Held = held;
            Variant::new(name.clone(), |_| child.borrow_mut().ask("send"))
        };
        let mut variants: Vec<_> = self.held.iter().map(variant).collect();
        // A round that nobody counts warms up.
        interleave(1, until, &mut variants)?;
        interleave(sizes.rounds, until, &mut variants)
    }

    fn syncs(&self, sizes: &Sizes, until: Instant) -> Result<Rounds<SyncCost>, Failure> {
        let variant = |held| {
            let Held { name, child, .. }: &Held = held;
            Variant::new(name.clone(), |_| child.borrow_mut().ask("sync"))
        };
        let mut variants: Vec<_> = self.held.iter().map(variant).collect();
        interleave(sizes.sync_rounds, until, &mut variants)
    }

    fn report(&self, sizes: &Sizes, sends: &Rounds<SendCost>, syncs: &Rounds<SyncCost>, report: &mut Report) {
        let middle = sizes.users[1];
        let users: Vec<&Held> = self.held.iter().take(sizes.users.len()).collect();
        let entries: Vec<&Held> = self.held.iter().filter(|held| held.made.users == middle).collect();
        for (title, stores) in [
            ("Users".to_owned(), &users),
            (format!("Inbox entries at {} users", crate::report::number(middle as f64)), &entries),
        ] {
            report.table(cost_table(&title, stores, sends, syncs));
        }
        let mut size = Table::new(
            "Stores as they were made",
            &[
                "store",
                "made in s",
                "grown in s",
                "grown: CPU ns an entry",
                "memory MiB",
                "peak MiB",
                "log MiB",
                "index MiB",
            ],
        );
        for held in &self.held {
            let Made { seconds, growth_seconds, growth_cpu_ns_per_entry, .. } = held.made;
            let is_grown = growth_seconds > 0.0;
            let grown = |value: f64| if is_grown { value.into() } else { Cell::Nothing };
            let mib = |bytes: u64| Cell::from((bytes >> 20) as f64);
            size.row([
                held.name.as_str().into(),
                seconds.into(),
                grown(growth_seconds),
                grown(growth_cpu_ns_per_entry),
                mib(held.made.memory_bytes),
                mib(held.made.memory_peak_bytes),
                mib(held.made.log_bytes),
                mib(held.made.index_bytes),
            ]);
        }
        report.table(size);
        let alone = |cost: &SendCost| cost.cpu_us;
        let all = |cost: &SendCost| cost.cpu_us + cost.persist_us;
        for (stores, ratio_max, what) in [(&entries, ENTRIES_RATIO_MAX, "entries"), (&users, USERS_RATIO_MAX, "users")]
        {
            let (Some(first), Some(last)) = (stores.first(), stores.last()) else { continue };
            let ends = format!("CPU of a send, {} against {}", last.name, first.name);
            let (alone, all) = (sends.ratio(&last.name, &first.name, alone), sends.ratio(&last.name, &first.name, all));
            report.check(ends, alone.median(), Bound::AtMost(ratio_max));
            report.note(format!(
                "the same ratio by {what}, round by round: {}; with the persist of what was sent: {}",
                quartiles(&alone),
                quartiles(&all)
            ));
        }
        report.plot(cost_plot("users", "users", &users, sends, syncs, |made| made.users as f64));
        report.plot(cost_plot("entries", "inbox entries", &entries, sends, syncs, |made| made.entries as f64));
    }

    /// Lets all children end, and says where the store with the most users lies.
    fn close(self) -> Result<Vec<(Made, PathBuf)>, Failure> {
        let mut closed = Vec::new();
        for held in self.held {
            held.child.into_inner().finish()?;
            closed.push((held.made, held.path));
        }
        Ok(closed)
    }
}

fn cost_table(title: &str, stores: &[&Held], sends: &Rounds<SendCost>, syncs: &Rounds<SyncCost>) -> Table {
    let columns = [
        "store",
        "entries",
        "send: CPU µs",
        "its persist: CPU µs",
        "sends/s",
        "sync hot p50 µs",
        "p99",
        "warm p50 µs",
        "p99",
    ];
    let mut table = Table::new(title, &columns);
    for held in stores {
        let send = |quantity: fn(&SendCost) -> f64| Cell::from(sends.sample(&held.name, quantity));
        let sync = |quantity: fn(&SyncCost) -> f64| Cell::from(syncs.sample(&held.name, quantity).median());
        table.row([
            held.name.as_str().into(),
            held.made.entries.into(),
            send(|cost| cost.cpu_us),
            send(|cost| cost.persist_us),
            send(|cost| cost.per_second),
            sync(|cost| cost.hot_p50_us),
            sync(|cost| cost.hot_p99_us),
            sync(|cost| cost.warm_p50_us),
            sync(|cost| cost.warm_p99_us),
        ]);
    }
    table
}

fn cost_plot(
    name: &str,
    label: &str,
    stores: &[&Held],
    sends: &Rounds<SendCost>,
    syncs: &Rounds<SyncCost>,
    x: impl Fn(&Made) -> f64,
) -> Plot {
    let title = format!("Costs by {label}");
    let mut plot = Plot::new(name, title, Axis::logarithmic(label), Axis::logarithmic("µs"));
    let line = |quantity: &dyn Fn(&str) -> f64| -> Vec<(f64, f64)> {
        stores.iter().map(|held| (x(&held.made), quantity(&held.name))).collect()
    };
    plot.line("send, CPU", line(&|store| sends.sample(store, |cost| cost.cpu_us).median()));
    plot.line("its persist, CPU", line(&|store| sends.sample(store, |cost| cost.persist_us).median()));
    plot.line("sync of 50, hot, p50", line(&|store| syncs.sample(store, |cost| cost.hot_p50_us).median()));
    plot.line("sync of 50, warm, p50", line(&|store| syncs.sample(store, |cost| cost.warm_p50_us).median()));
    plot
}

fn memberships(sizes: &Sizes, scratch: &Path, report: &mut Report) -> Result<(), Failure> {
    let columns =
        ["conversations", "fan-out", "send: CPU µs", "sync of 50 hot µs", "warm µs", "nothing new µs", "list of 50 µs"];
    let mut table = Table::new("Conversations of a user", &columns);
    let mut costs: Vec<MembershipCost> = Vec::new();
    for conversations in sizes.conversations {
        let path = scratch.join(format!("conversations-{conversations}"));
        let mut child = Child::start("growth", &["membership", text(&path)?, &conversations.to_string()])?;
        for _mode in 0..2 {
            costs.push(child.answer()?);
        }
        child.finish()?;
    }
    costs.sort_by_key(|cost| (cost.is_read_mode, cost.conversations));
    let mut plot = Plot::new(
        "conversations",
        "A user in many conversations",
        Axis::logarithmic("conversations"),
        Axis::logarithmic("µs"),
    );
    for (is_read_mode, mode) in [(false, "on write"), (true, "on read")] {
        let of_mode = || costs.iter().filter(move |cost| cost.is_read_mode == is_read_mode);
        let mut line = |what: &str, quantity: fn(&MembershipCost) -> f64| {
            plot.line(format!("{what}, {mode}"), of_mode().map(|cost| (cost.conversations as f64, quantity(cost))));
        };
        line("sync of 50, hot", |cost| cost.hot_us);
        line("sync of 50, warm", |cost| cost.warm_us);
        line("nothing new", |cost| cost.nothing_new_us);
        for cost in of_mode() {
            table.row([
                cost.conversations.into(),
                mode.into(),
                cost.send_cpu_us.into(),
                cost.hot_us.into(),
                cost.warm_us.into(),
                cost.nothing_new_us.into(),
                cost.list_us.into(),
            ]);
        }
    }
    report.table(table);
    report.plot(plot);
    Ok(())
}

fn reopenings(sizes: &Sizes, stores: &[(Made, PathBuf)], until: Instant, report: &mut Report) -> Result<(), Failure> {
    let columns = ["store", "records replayed", "warm s", "cold s", "warm: CPU s", "peak MiB"];
    let mut table = Table::new("Opening", &columns);
    let mut points = Vec::new();
    let mut is_cold = true;
    for (made, path) in stores {
        let opened = Openings::measure(path, sizes.openings, &mut is_cold, End::Close)?;
        points.push((made.users as f64, opened.warm.median()));
        table.row(opened.row(&format!("closed, {}", store_name(made.users, made.entries)), 0));
    }
    let Some((made, path)) = stores.iter().max_by_key(|(made, _)| made.users) else { return Ok(()) };
    let all_pairs = made.users / 4;
    for (pairs, spread) in [(all_pairs, "over half of all users"), (sizes.dense_pairs, "over few pairs")] {
        if pairs == 0 || Instant::now() > until {
            continue;
        }
        let fullness = fill_and_kill(path, made.users, pairs, sizes.fill)?;
        let summary = inspect(path)?;
        let replayed = summary.last.0 - summary.applied.0;
        let opened = Openings::measure(path, sizes.openings, &mut is_cold, End::Kill)?;
        let head = format!("a head {:.0} % full", fullness * 100.0);
        let name = format!("killed with {head} {spread}, {} users", crate::report::number(made.users as f64));
        table.row(opened.row(&name, replayed));
        // The target speaks of a full head: another one neither meets nor misses it.
        if fullness >= FULL_FROM {
            report.check(format!("s to open, {name}, warm"), opened.warm.median(), Bound::AtMost(REOPEN_SECONDS_MAX));
        }
    }
    if !is_cold {
        report.note("this machine does not let its page cache be dropped: `cold` drops the pages of the store's files");
    }
    report.table(table);
    let mut plot = Plot::new("opening", "Opening a closed store", Axis::logarithmic("users"), Axis::logarithmic("s"));
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points.dedup_by(|one, other| one.0 == other.0);
    plot.line("warm", points);
    report.plot(plot);
    Ok(())
}

/// How the process ends that has opened a store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Kill,
}

/// How long a store took to open, several times.
struct Openings {
    warm: Sample,
    cold: Sample,
    cpu: Sample,
    peak_bytes: u64,
}

impl Openings {
    fn measure(path: &Path, count: usize, is_cold: &mut bool, end: End) -> Result<Self, Failure> {
        let open = || -> Result<Opened, Failure> {
            let mut child = Child::start("growth", &["open", text(path)?])?;
            let opened = child.answer()?;
            // Killed, it leaves the store as it found it but for one record.
            if end == End::Kill {
                child.kill()?
            } else {
                child.finish()?
            }
            Ok(opened)
        };
        let warm = (0..count).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
        let mut cold = Vec::new();
        // The replay after a kill is the same work, wherever the pages come from: once is enough.
        for _ in 0..if end == End::Kill { 1 } else { count } {
            sys::drop_cached(path)?;
            *is_cold &= sys::drop_all_caches().is_ok();
            cold.push(open()?);
        }
        let sample = |of: &[Opened], quantity: fn(&Opened) -> f64| Sample::new(of.iter().map(quantity));
        Ok(Self {
            cold: sample(&cold, |opened| opened.seconds),
            cpu: sample(&warm, |opened| opened.cpu_seconds),
            peak_bytes: warm.iter().map(|opened| opened.memory_bytes).max().unwrap_or(0),
            warm: sample(&warm, |opened| opened.seconds),
        })
    }

    fn row(&self, name: &str, replayed: u64) -> [Cell; 6] {
        [
            name.into(),
            replayed.into(),
            (&self.warm).into(),
            (&self.cold).into(),
            (&self.cpu).into(),
            ((self.peak_bytes >> 20) as f64).into(),
        ]
    }
}

/// Lets a child send direct messages until its head is as good as full, or the time is over, and kills it. Says how full
/// the head was, as a part of what makes a persist begin.
fn fill_and_kill(path: &Path, users: usize, pairs: usize, time_max: Duration) -> Result<f64, Failure> {
    let seconds = time_max.as_secs().to_string();
    let mut child = Child::start("growth", &["fill", text(path)?, &users.to_string(), &pairs.to_string(), &seconds])?;
    let fullness = child.answer()?;
    child.kill()?;
    Ok(fullness)
}

fn store_name(users: usize, entries: u64) -> String {
    let number = |value: f64| crate::report::number(value);
    match entries {
        0 => format!("{} users", number(users as f64)),
        entries => format!("{} users, {} entries", number(users as f64), number(entries as f64)),
    }
}

fn quartiles(sample: &Sample) -> String {
    let summary = sample.summary();
    format!("{:.2} ({:.2}..{:.2})", summary.median, summary.lower_quartile, summary.upper_quartile)
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}
