//! Strips the weights from a model file before it is decoded.
//!
//! A protobuf message is a sequence of fields, each a tag (field number and wire type, as a varint)
//! and a value; a nested message is a value with a length. This code walks the fields of the file
//! from front to back and copies them, but replaces a long `raw_data` or packed `float_data` of a
//! tensor by its offset and length in the file:
//!
//! ```text
//! file   graph { initializer { dims 4096 25088 · name "w26" · raw_data (411 MB)         } }
//! slim   graph { initializer { dims 4096 25088 · name "w26" · offset 60817731 · length … } }
//! ```
//!
//! The slim model, which prost decodes, is a few hundred kB whatever the file's size. Only the
//! bytes between payloads are read, and every length is checked against the rest of the enclosing
//! message before anything is copied.

use super::proto::{PAYLOAD_LENGTH, PAYLOAD_OFFSET};
use super::storage::Storage;

/// Shorter payloads stay where they are.
const LONG: u64 = 1024;

/// The longest model without weights: a bound on what is read into memory.
const MAX_SLIM: usize = 256 << 20;

/// What the walk has to know of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

/// What happens to a field.
enum Treatment {
    /// It is copied.
    Copy,
    /// It is a message and is walked.
    Walk(Message),
    /// It is a tensor's data and is left out if long.
    Payload,
    /// It is skipped.
    Skip,
}

impl Message {
    fn treatment(self, field: u32) -> Treatment {
        use Treatment::{Copy, Payload, Skip, Walk};
        match (self, field) {
            (Message::Model, 7) => Walk(Message::Graph),
            (Message::Graph, 1) => Walk(Message::Node),
            (Message::Graph, 5) => Walk(Message::Tensor),
            (Message::Node, 5) => Walk(Message::Attribute),
            (Message::Attribute, 5) => Walk(Message::Tensor),
            (Message::Tensor, 4 | 9) => Payload,
            // A file must not place payloads itself.
            (Message::Tensor, PAYLOAD_OFFSET | PAYLOAD_LENGTH) => Skip,
            _ => Copy,
        }
    }
}

/// Why a file is not a protobuf message.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("at byte {at}: {what}")]
    Malformed { at: u64, what: &'static str },
}

/// The model in `storage` without long payloads.
pub(super) fn slim(storage: &Storage) -> Result<Vec<u8>, WireError> {
    let mut walk = Walk { reader: Cursor::new(storage), out: Vec::new() };
    walk.message(Message::Model, storage.len())?;
    Ok(walk.out)
}

struct Walk<'a> {
    reader: Cursor<'a>,
    out: Vec<u8>,
}

impl Walk<'_> {
    /// Copies the fields up to `end`. Goes no deeper than the schema does: five levels.
    fn message(&mut self, message: Message, end: u64) -> Result<(), WireError> {
        while self.reader.position < end {
            let tag = self.reader.varint(end)?;
            let field = u32::try_from(tag >> 3).map_err(|_| self.reader.malformed("a bad tag"))?;
            match (tag & 7, message.treatment(field)) {
                (0, treatment) => {
                    let value = self.reader.varint(end)?;
                    if !matches!(treatment, Treatment::Skip) {
                        self.put_varint(tag)?;
                        self.put_varint(value)?;
                    }
                }
                (1, _) => self.copy(tag, None, 8, end)?,
                (5, _) => self.copy(tag, None, 4, end)?,
                (2, treatment) => {
                    let length = self.reader.varint(end)?;
                    self.delimited(tag, field, length, treatment, end)?;
                }
                _ => return Err(self.reader.malformed("a field of unknown type")),
            }
        }
        Ok(())
    }

    fn delimited(
        &mut self,
        tag: u64,
        field: u32,
        length: u64,
        treatment: Treatment,
        end: u64,
    ) -> Result<(), WireError> {
        let start = self.reader.position;
        let field_end = start.checked_add(length).filter(|field_end| *field_end <= end);
        let Some(field_end) = field_end else {
            return Err(self.reader.malformed("a field that is longer than what holds it"));
        };
        match treatment {
            Treatment::Walk(message) => {
                // The nested message may shrink, so its length is known only afterwards.
                let outer = std::mem::take(&mut self.out);
                self.message(message, field_end)?;
                let inner = std::mem::replace(&mut self.out, outer);
                self.put_varint(tag)?;
                self.put_varint(inner.len() as u64)?;
                self.room_for(inner.len() as u64)?;
                self.out.extend_from_slice(&inner);
                Ok(())
            }
            Treatment::Payload if length >= LONG => {
                self.put_varint(u64::from(PAYLOAD_OFFSET) << 3)?;
                self.put_varint(start)?;
                self.put_varint(u64::from(PAYLOAD_LENGTH) << 3)?;
                self.put_varint(length)?;
                self.reader.skip(length);
                Ok(())
            }
            Treatment::Copy | Treatment::Payload => self.copy(tag, Some(length), length, end),
            Treatment::Skip => {
                debug_assert!(field >= PAYLOAD_OFFSET);
                self.reader.skip(length);
                Ok(())
            }
        }
    }

    /// Copies a field of `length` bytes, with a length prefix if it has one.
    fn copy(
        &mut self,
        tag: u64,
        prefix: Option<u64>,
        length: u64,
        end: u64,
    ) -> Result<(), WireError> {
        if length > end - self.reader.position {
            return Err(self.reader.malformed("the end in the middle of a field"));
        }
        self.put_varint(tag)?;
        if let Some(prefix) = prefix {
            self.put_varint(prefix)?;
        }
        self.room_for(length)?;
        self.reader.append(length, &mut self.out)?;
        Ok(())
    }

    fn put_varint(&mut self, value: u64) -> Result<(), WireError> {
        self.room_for(10)?;
        prost::encoding::encode_varint(value, &mut self.out);
        Ok(())
    }

    fn room_for(&self, length: u64) -> Result<(), WireError> {
        if self.out.len() as u64 + length > MAX_SLIM as u64 {
            return Err(self.reader.malformed("over 256 MB of things that are not weights"));
        }
        Ok(())
    }
}

/// Reads forward, in blocks.
struct Cursor<'a> {
    storage: &'a Storage,
    position: u64,
    block: Vec<u8>,
    block_start: u64,
}

impl<'a> Cursor<'a> {
    const BLOCK: u64 = 16 << 10;

    fn new(storage: &'a Storage) -> Cursor<'a> {
        Cursor { storage, position: 0, block: Vec::new(), block_start: 0 }
    }

    fn malformed(&self, what: &'static str) -> WireError {
        WireError::Malformed { at: self.position, what }
    }

    /// The rest of the block; at least one byte unless at the end of the file.
    fn ahead(&mut self) -> std::io::Result<&[u8]> {
        let block_end = self.block_start + self.block.len() as u64;
        if !(self.block_start..block_end).contains(&self.position) {
            let length = Self::BLOCK.min(self.storage.len() - self.position);
            self.block.clear();
            self.block_start = self.position;
            self.storage.append(self.position, length, &mut self.block)?;
        }
        Ok(&self.block[(self.position - self.block_start) as usize..])
    }

    fn varint(&mut self, end: u64) -> Result<u64, WireError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if self.position >= end {
                return Err(self.malformed("the end in the middle of a number"));
            }
            let byte = self.ahead()?[0];
            self.position += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number of more than 64 bits"))
    }

    fn skip(&mut self, length: u64) {
        self.position += length;
    }

    fn append(&mut self, mut length: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
        while length > 0 {
            let ahead = self.ahead()?;
            let piece = ahead.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            out.extend_from_slice(&ahead[..piece]);
            self.position += piece as u64;
            length -= piece as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::proto::{GraphProto, ModelProto, TensorProto};
    use super::*;

    fn model(raw: usize, floats: usize) -> ModelProto {
        let tensor = |name: &str| TensorProto { name: name.into(), ..Default::default() };
        let raw = TensorProto { raw_data: vec![7; raw], ..tensor("raw") };
        let packed = TensorProto { float_data: vec![1.0; floats], ..tensor("packed") };
        let graph = GraphProto { initializer: vec![raw, packed], ..Default::default() };
        ModelProto { graph: Some(graph), ..Default::default() }
    }

    fn slimmed(bytes: Vec<u8>) -> Result<ModelProto, WireError> {
        let bytes = slim(&Storage::memory("test", bytes.leak()))?;
        Ok(ModelProto::decode(&*bytes).unwrap())
    }

    #[test]
    fn short_payloads_stay() {
        let model = model(1023, 255);
        assert_eq!(slimmed(model.encode_to_vec()).unwrap(), model);
    }

    #[test]
    fn long_payloads_become_places_in_the_file() {
        let bytes = model(40_000, 9_000).encode_to_vec();
        let slim = slimmed(bytes.clone()).unwrap();
        let [raw, packed] = &slim.graph.unwrap().initializer[..] else { panic!("two tensors") };
        for (tensor, byte, length) in [(raw, [7; 4], 40_000), (packed, 1f32.to_le_bytes(), 36_000)]
        {
            assert!(tensor.raw_data.is_empty() && tensor.float_data.is_empty());
            assert_eq!(tensor.payload_length, Some(length));
            let start = tensor.payload_offset.unwrap() as usize;
            let payload = &bytes[start..start + length as usize];
            assert!(payload.chunks(4).all(|chunk| chunk == byte));
        }
    }

    #[test]
    fn a_file_cannot_place_its_own_payloads() {
        let mut model = model(8, 2);
        model.graph.as_mut().unwrap().initializer[0].payload_offset = Some(1 << 60);
        let slim = slimmed(model.encode_to_vec()).unwrap();
        assert_eq!(slim.graph.unwrap().initializer[0].payload_offset, None);
    }

    #[test]
    fn truncation_is_an_error_wherever_it_hits_a_field() {
        let bytes = model(2_000, 700).encode_to_vec();
        for length in 1..bytes.len() {
            assert!(slimmed(bytes[..length].to_vec()).is_err(), "{length}");
        }
    }
}
