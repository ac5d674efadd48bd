//! Stores that forget when the process ends.

use super::{Checkpoint, CheckpointStore, OutgoingStore, QueueChange, Queued};
use crate::command::LocalId;
use highwater_proto::error::Error;
use highwater_proto::id::Incarnation;

/// Keeps a checkpoint while the process runs.
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpoints {
    held: Option<Checkpoint>,
}

impl MemoryCheckpoints {
    /// Begins where another reader has got to, for example with a checkpoint that the application keeps itself.
    pub fn starting_at(checkpoint: Checkpoint) -> Self {
        Self { held: Some(checkpoint) }
    }
}

impl CheckpointStore for MemoryCheckpoints {
    fn load(&mut self, _incarnation: Incarnation) -> Result<Option<Checkpoint>, Error> {
        Ok(self.held.clone())
    }

    fn store(&mut self, _incarnation: Incarnation, checkpoint: &Checkpoint) -> Result<(), Error> {
        self.held = Some(checkpoint.clone());
        Ok(())
    }
}

/// Keeps nothing itself: what is unsent stands in the client's own queue, and is lost with the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryOutgoing;

impl OutgoingStore for MemoryOutgoing {
    fn load(&mut self) -> Result<(Vec<Queued>, LocalId), Error> {
        Ok((Vec::new(), LocalId(1)))
    }

    fn bind(&mut self, _incarnation: Incarnation) -> Result<Vec<Queued>, Error> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _changes: &[QueueChange]) -> Result<(), Error> {
        Ok(())
    }

    fn may_block(&self) -> bool {
        false
    }
}
