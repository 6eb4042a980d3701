#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // The settings' ground is made once and kept: not counted.
    hubcast::fuzzing::reader(&data[..data.len().min(2)]);
    let before = USED.load(Relaxed);
    MOST.store(before, Relaxed);
    let allowed = hubcast::fuzzing::reader(data);
    let most = MOST.load(Relaxed) - before;
    assert!(most <= allowed, "{most} bytes, more than {allowed}");
});

/// The system's allocator, which counts what is in use.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// Everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(used, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}
