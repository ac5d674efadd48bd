//! Counting what is allocated: the allocator that the server uses, too, with two counters in front of it.
//!
//! The counters are relaxed and kept per thread slot, so that counting does not make threads wait for one another.

#![expect(unsafe_code, reason = "a global allocator is unsafe by nature; this one only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tikv_jemallocator::Jemalloc;

/// The allocator: `#[global_allocator] static ALLOCATOR: Counting = Counting;` in a binary.
pub struct Counting;

/// How often was allocated, and how much, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    /// Calls that gave memory, growth of an allocation included.
    pub count: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

#[repr(align(128))]
struct Slot {
    count: AtomicU64,
    bytes: AtomicU64,
}

const SLOTS: usize = 64;
static COUNTED: [Slot; SLOTS] = [const { Slot { count: AtomicU64::new(0), bytes: AtomicU64::new(0) } }; SLOTS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// What was counted so far; zeros in a process that does not use [`Counting`].
pub fn so_far() -> Allocations {
    let sum = |field: fn(&Slot) -> &AtomicU64| COUNTED.iter().map(|slot| field(slot).load(Relaxed)).sum();
    Allocations { count: sum(|slot| &slot.count), bytes: sum(|slot| &slot.bytes) }
}

impl std::ops::Sub for Allocations {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { count: self.count - earlier.count, bytes: self.bytes - earlier.bytes }
    }
}

fn count(bytes: usize) {
    // A thread that is being torn down has no slot any more; the first one takes it.
    let slot = SLOT.try_with(|slot| {
        if slot.get() == usize::MAX {
            slot.set(NEXT.fetch_add(1, Relaxed) % SLOTS);
        }
        slot.get()
    });
    let slot = &COUNTED[slot.unwrap_or(0)];
    slot.count.fetch_add(1, Relaxed);
    slot.bytes.fetch_add(bytes as u64, Relaxed);
}

// SAFETY: every call is passed on unchanged to an allocator that keeps the contract; counting allocates nothing, since
// the thread-local is constant and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { Jemalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from the same allocator with this layout, as the caller promises.
        unsafe { Jemalloc.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { Jemalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
        // SAFETY: `pointer` came from the same allocator with this layout, as the caller promises.
        unsafe { Jemalloc.realloc(pointer, layout, bytes) }
    }
}
