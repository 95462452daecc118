//! After the first frames, frames reuse memory: nothing as large as a map is allocated, so no map is
//! copied between layers either.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use edgeld_runtime::exec::{Frame, Input, Prepared, Progress};
use edgeld_runtime::kernel::{Alone, KernelKind, Kernels, Scratch};
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::plan::{Generation, Plan};
use edgeld_runtime::program::{Encoding, derive};
use edgeld_runtime::wire::SessionId;

/// Counts allocations: all of them, and those that may be maps.
struct Counting;

static ALL: AtomicUsize = AtomicUsize::new(0);
static LARGE: AtomicUsize = AtomicUsize::new(0);

/// The size from which an allocation counts as large: less than any map of the network below.
const MAP: usize = 16 * 1024;

// SAFETY: every call is forwarded to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALL.fetch_add(1, Ordering::Relaxed);
        LARGE.fetch_add(usize::from(layout.size() >= MAP), Ordering::Relaxed);
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn frames_compute_in_memory_that_is_there() {
    let model = models::open("vgg11?size=96&classes=10", &Options::default()).unwrap();
    let graph = &model.graph;
    let derivation = derive(graph, &Plan::alone(graph.layers().len() as u32)).unwrap();
    let program = derivation.programs.into_iter().next().unwrap();
    let kind = KernelKind::Fast;
    let regions = program.regions(graph);
    let kernels = Kernels::prepare(graph, &regions, &*model.weights, kind, &[]).unwrap();
    let prepared = Arc::new(Prepared::new(
        (SessionId(0), Generation(0)),
        Arc::clone(graph),
        vec![Encoding::F32],
        program,
        derivation.transfers.into(),
        kernels,
    ));
    let elements = graph.shape(graph.inputs()[0].tensor).elements() as usize;
    let inputs = [Input::from(vec![0.5f32; elements])];
    let mut scratch = Scratch::new();
    let mut counts = Vec::new();
    for _ in 0..4 {
        let mut frame = Frame::new(Arc::clone(&prepared), 0);
        frame.begin(&inputs).unwrap();
        let before = (ALL.load(Ordering::Relaxed), LARGE.load(Ordering::Relaxed));
        while frame.advance(&mut scratch, &Alone).unwrap() != Progress::Finished {}
        let (all, large) = (ALL.load(Ordering::Relaxed), LARGE.load(Ordering::Relaxed));
        counts.push((all - before.0, large - before.1));
    }
    let layers = graph.layers().len();
    let (all, large) = counts[3];
    assert_eq!(large, 0, "{counts:?}");
    assert!(all <= 2 * layers, "{all} allocations for {layers} layers");
}
