//! Rows read ahead: one thread reads and decompresses table files while another makes rows of state of what is there.
//!
//! Opening a store of a million users reads ten million rows; reading them takes about as long as putting them in their
//! places.

use super::Store;
use super::family::Family;
use highwater_proto::error::{Damage, Error};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

/// Bytes of keys and values that are handed over at once, about.
const BATCH_BYTES: usize = 256 << 10;
/// Batches that wait.
const BATCHES_MAX: usize = 16;

/// Rows of one family, in the order of their keys.
struct Batch {
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<(u32, u32)>,
    /// No rows of the family come after these.
    is_last: bool,
}

/// Families as another thread reads them, one after the other.
pub(super) struct RowsAhead<'a> {
    store: &'a Store,
    batches: Receiver<Result<Batch, Error>>,
    families: std::slice::Iter<'static, Family>,
}

impl<'a> RowsAhead<'a> {
    /// Begins to read these families, which must then be asked for in this order.
    pub(super) fn begin<'scope>(
        store: &'a Store,
        families: &'static [Family],
        scope: &'scope Scope<'scope, '_>,
    ) -> RowsAhead<'a>
    where
        'a: 'scope,
    {
        let (sender, batches) = sync_channel(BATCHES_MAX);
        scope.spawn(move || {
            for family in families {
                let read = read(store, *family, &sender);
                // Whoever asked may have given up.
                if read.is_err_and(|error| sender.send(Err(error)).is_err()) {
                    return;
                }
            }
        });
        RowsAhead { store, batches, families: families.iter() }
    }

    /// Calls `row` with every row of a family, in the order of keys.
    pub(super) fn each(
        &mut self,
        family: Family,
        mut row: impl FnMut(&[u8], &[u8]) -> Result<(), Damage>,
    ) -> Result<(), Error> {
        assert_eq!(self.families.next(), Some(&family), "families are asked for in the order in which they are read");
        loop {
            let batch = self.batches.recv().expect("a family's last batch, or an error, comes before the end")?;
            let mut from = 0;
            for (key_end, end) in batch.ends {
                let (key_end, end) = (key_end as usize, end as usize);
                let (key, value) = (&batch.bytes[from..key_end], &batch.bytes[key_end..end]);
                row(key, value).map_err(|damage| self.store.damaged(family, key, &damage))?;
                from = end;
            }
            if batch.is_last {
                return Ok(());
            }
        }
    }
}

impl Batch {
    fn empty() -> Self {
        Self { bytes: Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 8), ends: Vec::new(), is_last: false }
    }
}

/// Sends a family's rows. What cannot be sent any more nobody wants.
fn read(store: &Store, family: Family, batches: &SyncSender<Result<Batch, Error>>) -> Result<(), Error> {
    let mut batch = Batch::empty();
    let mut is_wanted = true;
    store.scan(family, |key, value| {
        batch.bytes.extend_from_slice(key);
        let key_end = batch.bytes.len();
        batch.bytes.extend_from_slice(value);
        batch.ends.push((offset(key_end)?, offset(batch.bytes.len())?));
        if batch.bytes.len() >= BATCH_BYTES && is_wanted {
            is_wanted = batches.send(Ok(std::mem::replace(&mut batch, Batch::empty()))).is_ok();
        }
        if is_wanted { Ok(()) } else { Err(Damage::new("nobody wants it")) }
    })?;
    batch.is_last = true;
    let _wanted = batches.send(Ok(batch));
    Ok(())
}

fn offset(bytes: usize) -> Result<u32, Damage> {
    u32::try_from(bytes).map_err(|_| Damage::new("a row has 4 GiB or more"))
}
