//! Inputs made from others: bits flipped, numbers set to extremes, pieces cut out, doubled, exchanged;
//! where they are Protocol Buffers, half of them [field by field](crate::fields).

use crate::dice::Dice;
use crate::fields;

/// Bytes that formats give a meaning: ends of ranges, and MessagePack's and Protocol Buffers' lengths.
const BYTES: [u8; 14] =
    [0, 1, 0x7f, 0x80, 0xff, 0xdc, 0xdd, 0xde, 0xdf, 0xc6, 0xdb, 0xcf, 0xd3, 0x0a];

/// Numbers of several bytes that overflow or ask for much.
const NUMBERS: [u64; 7] =
    [0, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Longest input.
const LONGEST: usize = 1 << 20;

/// One of the seeds, changed in a few places.
pub fn mutated(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = one_of(dice, seeds).clone();
    if dice.one_in(2)
        && let Some(changed) = fields::changed(dice, &bytes)
    {
        return changed;
    }
    for _ in 0..=dice.below(4) {
        change(dice, &mut bytes, seeds);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(dice: &mut Dice, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    if bytes.is_empty() {
        return bytes.push(dice.below(256) as u8);
    }
    let at = dice.below(bytes.len() as u64) as usize;
    let end = at + 1 + dice.below((bytes.len() - at).min(64) as u64) as usize;
    match dice.below(9) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.below(256) as u8,
        2 => bytes[at] = BYTES[dice.below(BYTES.len() as u64) as usize],
        3 => {
            let number = NUMBERS[dice.below(NUMBERS.len() as u64) as usize];
            let width = 1usize << dice.below(4);
            let mut number = number.to_le_bytes();
            if dice.one_in(2) {
                number[..width].reverse();
            }
            for (byte, new) in bytes[at..].iter_mut().zip(&number[..width]) {
                *byte = *new;
            }
        }
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..end)),
        6 => {
            let piece = bytes[at..end].to_vec();
            let times = 1 + dice.below(8) as usize;
            drop(bytes.splice(at..at, piece.repeat(times)));
        }
        7 => {
            let other = one_of(dice, seeds);
            let from = dice.below(other.len().max(1) as u64) as usize;
            bytes.truncate(at);
            bytes.extend(&other[from.min(other.len())..]);
        }
        _ => bytes.insert(at, dice.below(256) as u8),
    }
}

fn one_of<'a>(dice: &mut Dice, seeds: &'a [Vec<u8>]) -> &'a Vec<u8> {
    &seeds[dice.below(seeds.len() as u64) as usize]
}
