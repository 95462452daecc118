//! Measures what messages cost this device's processor, over loopback.
//!
//! Two threads play ping-pong over a connection. The processor time of both, divided by the
//! messages, is the cost of one: a system call on each side, and waking the thread that waits.
//!
//! ```text
//! 100 rounds of  1 byte there, 1 back      3.2 ms   8 us on each side of each message
//!  20 rounds of 256 KiB there, 1 byte back 4.6 ms   0.4 ns a byte on each side besides
//! ```

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use edgeld_runtime::cost::MessageCost;
use edgeld_runtime::units::Ms;

use crate::clock::cpu_time;

/// Rounds of the smallest message.
const SMALL_ROUNDS: usize = 100;

/// Rounds and size of large messages.
const LARGE_ROUNDS: usize = 20;
const LARGE_BYTES: usize = 256 << 10;

/// How often a strip wakes a thread on each side: the network's, and the one that computes.
const WAKE_UPS: f64 = 2.0;

/// The cost on one side, in processor time.
///
/// # Errors
/// When there is no loopback interface.
pub(super) fn measure() -> io::Result<MessageCost> {
    let small = ping_pong(1, SMALL_ROUNDS)?.as_secs_f64() * 1e3 / SMALL_ROUNDS as f64;
    let large = ping_pong(LARGE_BYTES, LARGE_ROUNDS)?.as_secs_f64() * 1e3 / LARGE_ROUNDS as f64;
    // A round is two messages with two sides each; the payload has two sides.
    Ok(MessageCost {
        per_message: Ms(small / 4.0 * WAKE_UPS),
        per_byte: (large - small).max(0.0) / (2.0 * LARGE_BYTES as f64),
    })
}

/// The processor time of both threads.
fn ping_pong(bytes: usize, rounds: usize) -> io::Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    let echo = move || -> io::Result<Duration> {
        let start = cpu_time();
        let mut payload = vec![0; bytes];
        for _ in 0..rounds {
            there.read_exact(&mut payload)?;
            there.write_all(&[0])?;
        }
        Ok(cpu_time().saturating_sub(start))
    };
    let echo = thread::Builder::new().name("edgeld-echo".to_owned()).spawn(echo)?;
    let start = cpu_time();
    let payload = vec![0; bytes];
    let mut answer = [0];
    for _ in 0..rounds {
        here.write_all(&payload)?;
        here.read_exact(&mut answer)?;
    }
    let ours = cpu_time().saturating_sub(start);
    let theirs = echo.join().map_err(|_| io::Error::other("the echo thread panicked"))??;
    Ok(ours + theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cost_something() {
        let cost = measure().unwrap();
        assert!(cost.per_message > Ms::ZERO && cost.per_message.0.is_finite());
        assert!(cost.per_byte >= 0.0 && cost.per_byte.is_finite());
    }
}
