//! How much memory is allocated: counted where it is asked for, since what the kernel says of a process knows nothing of
//! what an allocator keeps for later.
#![allow(unsafe_code, reason = "an allocator cannot be written without; it hands on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

/// The system's allocator, which counts while it is told to: counters that two threads write cost too much in a time.
pub(crate) struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);
static CALLS: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    if COUNTS.load(Relaxed) {
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(live, Relaxed);
        CALLS.fetch_add(i64::from(bytes > 0), Relaxed);
    }
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size) - signed(layout.size()));
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Begins to count, from nothing.
pub(crate) fn begin() {
    for counter in [&LIVE, &PEAK, &CALLS] {
        counter.store(0, Relaxed);
    }
    COUNTS.store(true, Relaxed);
}

/// Bytes that are there now and were not when counting began.
pub(crate) fn live() -> i64 {
    LIVE.load(Relaxed)
}

/// The most that it was.
pub(crate) fn peak() -> i64 {
    PEAK.load(Relaxed)
}

/// How often memory was asked for.
pub(crate) fn calls() -> i64 {
    CALLS.load(Relaxed)
}

pub(crate) fn end() {
    COUNTS.store(false, Relaxed);
}
