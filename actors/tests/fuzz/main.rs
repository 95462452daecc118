//! Bytes from outside, mutated: messages of peers, models, pictures, arrays and other files.
//!
//! Whatever comes in is refused or understood: nothing panics, hangs, or takes more memory than three
//! times its size and [`ALLOWANCE`]. Each target begins with real inputs and with those in `corpus/`,
//! which once did harm. An input that does harm is written to a file: mend the defect, and move the
//! file to `corpus/TARGET/`.
//!
//! `EDGELD_FUZZ_INPUTS=100000 cargo test --workspace --test fuzz` tries more of them.

mod corpus;
#[allow(dead_code)] // other tests roll it in other ways, too
#[path = "../../../runtime/tests/coord_sim/dice.rs"]
mod dice;
mod fields;
mod memory;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use dice::Dice;
use memory::peak_of;

/// What reads bytes from outside.
type Target = fn(&[u8]);

/// What an input may allocate beyond three times its size.
const ALLOWANCE: usize = 200 << 20;

/// An input that takes this long hangs. Most take less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(60);

/// Inputs of each target, half of them the same every time.
fn inputs() -> u64 {
    let given = env::var("EDGELD_FUZZ_INPUTS").ok().and_then(|count| count.parse().ok());
    given.unwrap_or(2_000)
}

/// Memory is measured, so there is one target at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn fuzz(name: &'static str, target: Target, mut seeds: Vec<Vec<u8>>) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    seeds.extend(corpus::of(name));
    assert!(!seeds.is_empty(), "{name} has nothing to begin with");
    for seed in &seeds {
        run(name, target, seed);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    for mut dice in [Dice::new(1), Dice::new(now.as_nanos() as u64)] {
        for _ in 0..inputs() / 2 {
            run(name, target, &mutate::mutated(&mut dice, &seeds));
        }
    }
}

/// Feeds an input to a target.
fn run(name: &'static str, target: Target, input: &[u8]) {
    let (done, waiting) = channel::<()>();
    let copy = input.to_vec();
    let watchdog = thread::spawn(move || {
        if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} hangs: {}", saved(name, &copy).display());
            std::process::abort();
        }
    });
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let (outcome, peak) = peak_of(|| catch_unwind(AssertUnwindSafe(|| target(input))));
    set_hook(hook);
    drop(done);
    watchdog.join().expect("it only waits");
    if let Err(panic) = outcome {
        panic!("{}: {}", saved(name, input).display(), edgeld::panic_text(&*panic));
    }
    let allowed = 3 * input.len() + ALLOWANCE;
    let path = || saved(name, input);
    assert!(peak <= allowed, "{}: {peak} bytes of memory; {allowed} are allowed", path().display());
}

/// Where an input that does harm is kept.
fn saved(name: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(name);
    let path = folder.join(edgeld_runtime::manifest::Hash::of(input).to_string());
    fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)).expect("it can be kept");
    path
}

macro_rules! targets {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            fuzz(stringify!($name), targets::$name, corpus::seeds::$name());
        }
    )*};
}

targets!(leader_messages, worker_messages, weights_messages, strips, hellos, manifests, plans);
targets!(models, pictures, arrays, labels, keys);

#[test]
#[should_panic(expected = "harm")]
fn what_panics_is_found() {
    fuzz("panics", |bytes| assert!(!bytes.contains(&0xff), "harm"), vec![vec![0; 8]]);
}

#[test]
#[should_panic(expected = "bytes of memory")]
fn what_takes_too_much_memory_is_found() {
    fuzz("greed", |bytes| drop(vec![0u8; bytes.len() << 20]), vec![vec![0; 180]]);
}
