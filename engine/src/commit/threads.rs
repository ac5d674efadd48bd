//! Starting the threads of the commit path, and ending them in order.

use super::committer::{self, WriterInput};
use super::loader;
use super::persist;
use super::sequencer::{Input, Sequencer};
use super::shared::{PersistJob, Shared};
use highwater_proto::error::{Code, Error};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

/// The threads of one open store.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    sequencer: JoinHandle<()>,
    loader: JoinHandle<()>,
    writer: JoinHandle<()>,
    applier: JoinHandle<()>,
    persister: JoinHandle<()>,
}

/// Both ends of the channels between the threads; the sending ends that everybody needs go into [`Shared`].
pub(crate) struct Channels {
    pub(crate) input: Sender<Input>,
    pub(crate) writer: SyncSender<WriterInput>,
    pub(crate) persister: Sender<Option<PersistJob>>,
    receivers: Receivers,
}

pub(crate) struct Receivers {
    pub(super) input: Receiver<Input>,
    pub(super) writer: Receiver<WriterInput>,
    persister: Receiver<Option<PersistJob>>,
}

impl Channels {
    pub(crate) fn new() -> Self {
        let (input, input_receiver) = channel();
        // No room: a group is taken over when the one before is durable, and meanwhile the next one is sequenced.
        let (writer, writer_receiver) = sync_channel(0);
        let (persister, persister_receiver) = channel();
        let receivers = Receivers { input: input_receiver, writer: writer_receiver, persister: persister_receiver };
        Self { input, writer, persister, receivers }
    }

    /// The ends for [`Shared`], and those for the threads.
    pub(crate) fn split(self) -> (Sender<Input>, SyncSender<WriterInput>, Sender<Option<PersistJob>>, Receivers) {
        (self.input, self.writer, self.persister, self.receivers)
    }
}

impl Threads {
    /// Starts them.
    pub(crate) fn start(shared: &Arc<Shared>, receivers: Receivers) -> Result<Self, Error> {
        let (jobs, job_receiver) = channel();
        let (groups, group_receiver) = channel();
        let sequencer = Sequencer::new(shared.clone(), receivers.input, jobs);
        let of = || shared.clone();
        Ok(Self {
            shared: of(),
            sequencer: spawn("hw-sequencer", shared, move || sequencer.run())?,
            loader: spawn("hw-loader", shared, {
                let shared = of();
                move || loader::run(&shared, &job_receiver)
            })?,
            writer: spawn("hw-writer", shared, {
                let shared = of();
                move || committer::write(&shared, &receivers.writer, &groups)
            })?,
            applier: spawn("hw-applier", shared, {
                let shared = of();
                move || committer::apply(&shared, &group_receiver)
            })?,
            persister: spawn("hw-persister", shared, {
                let shared = of();
                move || persist::run(&shared, &receivers.persister)
            })?,
        })
    }

    /// Finishes what was submitted, persists, and leaves the log clean.
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.shared.tell(Input::Finish);
        // Whatever fails, all of them are ended.
        let sequenced = join(self.sequencer).and(join(self.loader));
        // It has gone already only if it has told why.
        let _ended = self.shared.writer.send(WriterInput::End);
        let committed = sequenced.and(join(self.writer)).and(join(self.applier));
        let unharmed = committed.and_then(|()| self.shared.failure().map_or(Ok(()), Err));
        let closed = unharmed.and_then(|()| self.shared.durable.close());
        if let Err(error) = &closed {
            self.shared.poison(error);
        }
        self.shared.durable.give_up();
        let persisted = closed.and_then(|()| persist::now(&self.shared));
        persist::end(&self.shared);
        persisted.and(join(self.persister))
    }

    /// Ends them as soon as they come to it, as a crash would: what is not under way is not begun.
    pub(crate) fn abort(self) {
        self.shared.tell(Input::Abort);
        let _ended = join(self.sequencer);
        let _ended = join(self.loader);
        let _ended = self.shared.writer.send(WriterInput::End);
        let _ended = join(self.writer);
        let _ended = join(self.applier);
        self.shared.durable.give_up();
        persist::end(&self.shared);
        let _ended = join(self.persister);
    }
}

fn spawn<T: Send + 'static>(
    name: &'static str,
    shared: &Arc<Shared>,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let failed = |error: io::Error| Error::new(Code::Io, format!("cannot start thread {name}: {error}"));
    let guard = PanicGuard { name, shared: shared.clone() };
    let run = move || {
        let _guard = guard;
        run()
    };
    Builder::new().name(name.to_owned()).spawn(run).map_err(failed)
}

/// A thread that panics stops the engine: nobody waits for it in vain.
struct PanicGuard {
    name: &'static str,
    shared: Arc<Shared>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.poison(&Error::new(Code::Poisoned, format!("thread {} panicked", self.name)));
        }
    }
}

fn join<T>(thread: JoinHandle<T>) -> Result<T, Error> {
    let name = thread.thread().name().unwrap_or("unnamed").to_owned();
    thread.join().map_err(|_| Error::new(Code::Poisoned, format!("thread {name} panicked")))
}
