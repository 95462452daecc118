//! Protocol Buffers changed field by field, so that all lengths stay right and changes reach what
//! fields mean: shapes, attributes, names that are edges of a graph.

use crate::dice::Dice;

/// A field: its number, and what it holds.
#[derive(Clone)]
struct Field {
    number: u64,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Varint(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

/// How deep messages are looked into.
const DEPTH: usize = 8;

/// Numbers that dimensions, axes and sizes are set to.
const NUMBERS: [u64; 14] =
    [0, 1, 2, 3, 4, 5, 7, 16, 255, 1 << 16, 1 << 31, u64::MAX, u64::MAX - 1, i64::MIN as u64];

/// A message with a few fields changed; `None` if the bytes are no message.
pub fn changed(dice: &mut Dice, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut fields = message(bytes, DEPTH)?;
    for _ in 0..=dice.below(3) {
        change(dice, &mut fields);
    }
    let mut out = Vec::new();
    encode(&fields, &mut out);
    Some(out)
}

fn change(dice: &mut Dice, fields: &mut Vec<Field>) {
    if fields.is_empty() {
        return;
    }
    let at = dice.below(fields.len() as u64) as usize;
    // Mostly further down, where there is more.
    if let Content::Message(inner) = &mut fields[at].content
        && !dice.one_in(6)
    {
        return change(dice, inner);
    }
    let other = dice.below(fields.len() as u64) as usize;
    match dice.below(6) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(at, fields[other].clone()),
        2 => fields.swap(at, other),
        3 => {
            // Another one of the same kind: an edge that goes elsewhere, a shape of another tensor.
            let number = fields[at].number;
            let same = fields.iter().filter(|field| field.number == number).count() as u64;
            let chosen = dice.below(same) as usize;
            let chosen = fields.iter().filter(|field| field.number == number).nth(chosen).cloned();
            fields[at].content = chosen.map_or(Content::Varint(0), |field| field.content);
        }
        _ => match &mut fields[at].content {
            Content::Varint(number) => *number = NUMBERS[dice.below(14) as usize],
            Content::Fixed(bytes) | Content::Bytes(bytes) => {
                if let Some(byte) = bytes.first_mut() {
                    *byte = dice.below(256) as u8;
                }
            }
            Content::Message(inner) => inner.reverse(),
        },
    }
}

fn message(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let content = match tag & 7 {
            0 => Content::Varint(varint(&mut bytes)?),
            1 => Content::Fixed(taken(&mut bytes, 8)?.to_vec()),
            5 => Content::Fixed(taken(&mut bytes, 4)?.to_vec()),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let part = taken(&mut bytes, length)?;
                // What reads as text is one; long runs of numbers are no messages either.
                let is_text = part.iter().all(|byte| (0x20..0x7f).contains(byte));
                let inner = match depth.checked_sub(1) {
                    Some(depth) if !is_text => message(part, depth),
                    _ => None,
                };
                inner.map_or_else(|| Content::Bytes(part.to_vec()), Content::Message)
            }
            _ => return None,
        };
        if tag >> 3 == 0 {
            return None;
        }
        fields.push(Field { number: tag >> 3, content });
    }
    Some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn taken<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

fn encode(fields: &[Field], out: &mut Vec<u8>) {
    for Field { number, content } in fields {
        let tag = |kind: u64| number << 3 | kind;
        match content {
            Content::Varint(value) => {
                push(tag(0), out);
                push(*value, out);
            }
            Content::Fixed(bytes) => {
                push(tag(if bytes.len() == 8 { 1 } else { 5 }), out);
                out.extend(bytes);
            }
            Content::Bytes(bytes) => {
                push(tag(2), out);
                push(bytes.len() as u64, out);
                out.extend(bytes);
            }
            Content::Message(inner) => {
                let mut bytes = Vec::new();
                encode(inner, &mut bytes);
                push(tag(2), out);
                push(bytes.len() as u64, out);
                out.extend(bytes);
            }
        }
    }
}

fn push(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[test]
fn what_is_not_changed_stays() {
    for model in crate::corpus::seeds::models() {
        let fields = message(&model, DEPTH).expect("a model is a message");
        let mut out = Vec::new();
        encode(&fields, &mut out);
        assert_eq!(out, model);
    }
}
