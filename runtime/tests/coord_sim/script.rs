//! What happens to a simulated cluster: a list of operations. A script that fails is made as short
//! as it can be before it is shown.

use std::fmt;

use crate::dice::Dice;

/// A device, by number; 0 leads.
pub type Slot = u8;

/// Something that happens. What is impossible (to kill what is dead) does nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// A device starts, or starts again after it was killed or left.
    Join(Slot),
    /// It says goodbye, finishes its frames and stops.
    Leave(Slot),
    /// Its process dies.
    Kill(Slot),
    /// Its process stands still.
    Freeze(Slot),
    /// It goes on.
    Thaw(Slot),
    /// It computes this many times slower than at first.
    Slow(Slot, f64),
    /// Its link carries this many megabits a second.
    Rate(Slot, f64),
    /// Nothing gets from one device to another any more, and nobody is told.
    Deafen(Slot, Slot),
    /// The same in both directions.
    Cut(Slot, Slot),
    /// Everything gets through again.
    Heal(Slot, Slot),
    /// Its next computation fails.
    Spoil(Slot),
    /// Its next preparation never ends.
    Stick(Slot),
    /// A frame is submitted.
    Frame,
}

/// What a cluster is like, and what happens to it.
#[derive(Clone, PartialEq)]
pub struct Script {
    /// For whatever else is left to chance.
    pub seed: u64,
    /// How many devices there are in the beginning, the leader included.
    pub devices: Slot,
    /// How many frames are in flight at once.
    pub in_flight: usize,
    /// Whether devices compute whole frames side by side.
    pub side_by_side: bool,
    /// What happens, each some milliseconds after the one before.
    pub ops: Vec<(f64, Op)>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Script { seed, devices, in_flight, side_by_side, ops } = self;
        write!(f, "Script {{ seed: {seed}, devices: {devices}, in_flight: {in_flight}, ")?;
        writeln!(f, "side_by_side: {side_by_side}, ops: vec![")?;
        for (after, op) in ops {
            writeln!(f, "    ({after:.1}, Op::{op:?}),")?;
        }
        write!(f, "] }}")
    }
}

/// Operations of a random script, and frames.
const OPERATIONS: usize = 100;
const FRAMES: usize = 50;

impl Script {
    /// A quiet cluster.
    pub fn new(devices: Slot) -> Script {
        let (seed, in_flight, side_by_side, ops) = (1, 1, false, Vec::new());
        Script { seed, devices, in_flight, side_by_side, ops }
    }

    /// Another thing that happens, some milliseconds after the one before.
    pub fn then(mut self, after: f64, op: Op) -> Script {
        self.ops.push((after, op));
        self
    }

    /// The script of a seed.
    pub fn random(seed: u64) -> Script {
        let mut dice = Dice::new(seed);
        let devices = 5 + dice.below(3) as Slot;
        let side_by_side = dice.one_in(4);
        let in_flight = if side_by_side || dice.one_in(3) { 3 } else { 1 };
        let mut script = Script { seed, devices, in_flight, side_by_side, ops: Vec::new() };
        let (mut operations, mut frames) = (OPERATIONS, FRAMES);
        let mut broken = Broken::default();
        while operations + frames > 0 {
            // Often several things happen at once.
            let after = if dice.one_in(4) { 0.0 } else { dice.between(0.0, 500.0) };
            let is_frame = dice.below((operations + frames) as u64) < frames as u64;
            let op = match is_frame {
                true => Op::Frame,
                false => broken.random_op(&mut dice, devices),
            };
            *(if is_frame { &mut frames } else { &mut operations }) -= 1;
            script.ops.push((after, op));
        }
        script
    }

    /// The script without what it does not need in order to fail.
    pub fn shrink(mut self, fails: impl Fn(&Script) -> bool) -> Script {
        let mut length = self.ops.len().div_ceil(2);
        while length > 0 {
            let mut at = 0;
            while at < self.ops.len() {
                let mut shorter = self.clone();
                let cut = shorter.ops.drain(at..(at + length).min(self.ops.len()));
                // What follows happens when it did.
                let passed: f64 = cut.map(|(after, _)| after).sum();
                if let Some((after, _)) = shorter.ops.get_mut(at) {
                    *after += passed;
                }
                match fails(&shorter) {
                    true => self = shorter,
                    false => at += length,
                }
            }
            length = if length == 1 { 0 } else { length.div_ceil(2) };
        }
        self
    }
}

/// What a script has broken so far, so that it mends some of it.
#[derive(Default)]
struct Broken {
    links: Vec<(Slot, Slot)>,
    processes: Vec<Slot>,
    frozen: Vec<Slot>,
}

impl Broken {
    fn random_op(&mut self, dice: &mut Dice, devices: Slot) -> Op {
        // Some devices join that were not there in the beginning.
        let one = 1 + dice.below(u64::from(devices) + 1) as Slot;
        // Mostly it is the link between two workers that breaks.
        let any = if dice.one_in(4) { 0 } else { 1 + dice.below(u64::from(devices)) as Slot };
        match dice.below(100) {
            0..6 => Op::Join(one),
            6..20 => Op::Join(mended(&mut self.processes, dice).unwrap_or(one)),
            20..24 => {
                self.processes.push(one);
                Op::Leave(one)
            }
            24..32 => {
                self.processes.push(one);
                Op::Kill(one)
            }
            32..40 => {
                let frozen = if dice.one_in(6) { 0 } else { one };
                self.frozen.push(frozen);
                Op::Freeze(frozen)
            }
            40..50 => Op::Thaw(mended(&mut self.frozen, dice).unwrap_or(one)),
            50..56 => Op::Slow(one, dice.between(0.5, 4.0)),
            56..60 => Op::Rate(one, [1.0, 10.0, 100.0, 1000.0][dice.below(4) as usize]),
            60..66 => {
                self.links.push((one, any));
                Op::Deafen(one, any)
            }
            66..81 => {
                self.links.push((one, any));
                Op::Cut(one, any)
            }
            81..98 => {
                let (one, any) = mended(&mut self.links, dice).unwrap_or((one, any));
                Op::Heal(one, any)
            }
            98 => Op::Spoil(any),
            _ => Op::Stick(one),
        }
    }
}

fn mended<T>(broken: &mut Vec<T>, dice: &mut Dice) -> Option<T> {
    let count = broken.len() as u64;
    (count > 0).then(|| broken.swap_remove(dice.below(count) as usize))
}
