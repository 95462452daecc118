//! What a device's interface carries in a given time.
//!
//! A piece occupies the sender's interface and, from the same moment, the receiver's, each for as long
//! as its rate asks; it arrives when the slower of the two is done. Pieces of other connections wait,
//! as in a queue of packets.
//!
//! ```text
//! 12,500 bytes at 100 Mbit/s, while the receiver gets 12,500 others at 50 Mbit/s
//! sender     0 to 1 ms
//! receiver   0 to 2 ms: the others; 2 to 4 ms: these, so they arrive after 4 ms
//! ```

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use edgeld_runtime::units::{Bytes, Mbps};
use tokio::time::Instant;

/// What passes at no rate at all takes this long.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A network interface. It carries its rate in each direction, both at once.
#[derive(Default)]
pub(super) struct Port {
    rate: Option<Mbps>,
    sends_until: Option<Instant>,
    receives_until: Option<Instant>,
}

impl Port {
    /// From now on it carries no more than this.
    pub(super) fn limit(&mut self, rate: Mbps) {
        self.rate = Some(rate);
    }

    /// The most that it carries.
    pub(super) fn rate(&self) -> Option<Mbps> {
        self.rate
    }
}

/// When `bytes` arrive that are sent now.
pub(super) fn carry(from: &Mutex<Port>, to: &Mutex<Port>, bytes: Bytes, now: Instant) -> Instant {
    let (began, sent) = {
        let Port { rate, sends_until, .. } = &mut *lock(from);
        occupy(*rate, sends_until, bytes, now)
    };
    let Port { rate, receives_until, .. } = &mut *lock(to);
    let (_, received) = occupy(*rate, receives_until, bytes, began);
    sent.max(received)
}

/// From when until when `bytes` occupy one direction of an interface, if they come at this moment.
fn occupy(
    rate: Option<Mbps>,
    until: &mut Option<Instant>,
    bytes: Bytes,
    come: Instant,
) -> (Instant, Instant) {
    let Some(rate) = rate else { return (come, come) };
    let begin = until.map_or(come, |until| until.max(come));
    let takes = Duration::try_from_secs_f64(rate.time_for(bytes).0 / 1e3).unwrap_or(LONGEST);
    let end = begin + takes.min(LONGEST);
    *until = Some(end);
    (begin, end)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The state is consistent whenever the lock is free, so poisoning can be ignored.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(rate: f64) -> Mutex<Port> {
        let mut port = Port::default();
        port.limit(Mbps(rate));
        Mutex::new(port)
    }

    #[test]
    fn pieces_wait_for_those_before_them_at_both_ends() {
        let (a, b, c) = (port(100.0), port(50.0), port(100.0));
        let now = Instant::now();
        let after = |arrives: Instant| arrives.duration_since(now).as_millis();
        let piece = Bytes(12_500);
        assert_eq!(after(carry(&c, &b, piece, now)), 2);
        assert_eq!(after(carry(&a, &b, piece, now)), 4);
        // The other direction is free, and so is a port without a rate.
        assert_eq!(after(carry(&b, &a, piece, now)), 2);
        assert_eq!(after(carry(&Mutex::default(), &c, piece, now)), 1);
        assert_eq!(after(carry(&Mutex::default(), &Mutex::default(), piece, now)), 0);
        for nothing in [0.0, -1.0, f64::NAN] {
            assert_eq!(after(carry(&port(nothing), &a, piece, now)), LONGEST.as_millis());
        }
    }
}
