//! Attacks on a worker that runs as a process, through real sockets: every bad connection ends, the
//! worker goes on serving, and its memory, threads and files stay within bounds.
#![cfg(target_os = "linux")]

mod announcements;
mod crowds;
mod frames;
mod handshakes;
mod keys;
mod wire;
mod worker;
