//! The bytes that an honest peer would send, so that an attack can leave them at any point.

use std::io::{Read, Write};
use std::net::TcpStream;

use edgeld_runtime::kernel::Isa;
use edgeld_runtime::wire::{Hello, Incarnation, NodeId, PROTOCOL, Purpose, encode};
use serde::Serialize;
use serde_bytes::ByteBuf;

use super::worker::Worker;

/// What every connection begins with.
pub const MAGIC: &[u8; 8] = b"EDGELD\0\x02";

/// What the side that dials says first.
#[derive(Serialize)]
struct Opening {
    hello: ByteBuf,
    noise: Option<ByteBuf>,
}

/// Who the attacker claims to be.
pub fn hello(worker: &Worker, node: u128, purpose: Purpose) -> Hello {
    Hello {
        protocol: PROTOCOL,
        build: "attack".to_owned(),
        node: NodeId(node),
        incarnation: Incarnation::default(),
        name: "attacker".to_owned(),
        cluster: worker.cluster_name(),
        isa: Isa::Plain,
        threads: 1,
        memory: 1 << 30,
        purpose,
    }
}

/// The first bytes of a connection, without a key.
pub fn opening(hello: &Hello) -> Vec<u8> {
    framed(&encode(&Opening { hello: ByteBuf::from(encode(hello)), noise: None }))
}

/// A message of the handshake.
fn framed(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &lengths(message.len() as u32, 0), message].concat()
}

/// The lengths before a frame.
pub fn lengths(header: u32, payload: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&header.to_le_bytes());
    bytes[4..].copy_from_slice(&payload.to_le_bytes());
    bytes
}

/// A connection whose handshake has succeeded, in a cluster without a key.
pub fn greeted(worker: &Worker, node: u128, purpose: Purpose) -> TcpStream {
    let mut stream = TcpStream::connect(&worker.address).unwrap();
    stream.write_all(&opening(&hello(worker, node, purpose))).unwrap();
    let mut start = [0; 16];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(start[..8], *MAGIC);
    let length = u32::from_le_bytes(start[8..12].try_into().unwrap());
    let mut reply = vec![0; length as usize];
    stream.read_exact(&mut reply).unwrap();
    let reply = super::worker::text(&reply);
    assert!(reply.contains("Accepted"), "{reply}");
    stream
}
