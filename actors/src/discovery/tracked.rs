//! A device that was sighted: where it may be, and whether it is connected.
//!
//! A sighting is a hint that anybody on the network can forge. What a handshake has proven is kept
//! apart from it and comes first: false sightings neither displace an address that works nor rename a
//! device that is connected.

use std::cmp::Ordering;

use actix::Addr;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::liveness::Liveness;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::Hello;

use super::sighting::SightedDevice;
use crate::profiler::ProfilerActor;
use crate::transport::{MAX_ADDRESSES, Network, Sender, TransportError};

/// Shortest delay before a device is dialled again.
pub(super) const MIN_RETRY_DELAY: Ms = Ms(250.0);

/// Longest delay before a device that was connected is dialled again.
pub(super) const MAX_RETRY_DELAY: Ms = Ms(5_000.0);

/// Longest delay before one that never answered is.
pub(super) const MAX_STRANGER_DELAY: Ms = Ms(60_000.0);

/// How long a device that was connected is dialled although no source sees it: it may have restarted
/// before anybody noticed that it was gone, and its goodbye may be forged.
const REMEMBERED: Ms = Ms(60_000.0);

/// Proven addresses to remember per device.
const MAX_PROVEN: usize = 3;

/// A device that was sighted.
pub(super) struct TrackedDevice {
    /// The latest hints.
    pub(super) sighted: SightedDevice,
    /// Addresses at which it has answered, the latest first.
    proven: Vec<String>,
    /// The network that reaches it.
    pub(super) network: Network,
    /// No source sees it any more.
    pub(super) out_of_sight: bool,
    /// When it was sighted first.
    since: Moment,
    /// It was connected, and did not leave.
    pub(super) is_missed: bool,
    /// When its last connection ended.
    pub(super) ended: Option<Moment>,
    pub(super) state: State,
    pub(super) retry_delay: Ms,
    /// Why the last dial was refused.
    pub(super) refused: Option<TransportError>,
}

pub(super) enum State {
    Dialling,
    /// To be dialled again at this time.
    Disconnected(Moment),
    Connected(Box<Connected>),
}

pub(super) struct Connected {
    pub(super) id: u64,
    pub(super) hello: Hello,
    pub(super) control: Sender,
    pub(super) profiler: Addr<ProfilerActor>,
    pub(super) profile: Option<(DeviceProfile, LinkProfile)>,
    /// The profile when it joined, shown to users instead of one that changes with every frame.
    pub(super) initial_profile: Option<(DeviceProfile, LinkProfile)>,
    pub(super) liveness: Liveness,
    pub(super) leaving: bool,
}

impl TrackedDevice {
    /// A device that is to be dialled at once.
    pub(super) fn new(sighted: SightedDevice, network: Network, now: Moment) -> TrackedDevice {
        let mut sighted = sighted;
        sighted.addresses.truncate(MAX_ADDRESSES);
        TrackedDevice {
            sighted,
            proven: Vec::new(),
            network,
            out_of_sight: false,
            since: now,
            is_missed: false,
            ended: None,
            state: State::Disconnected(now),
            retry_delay: MIN_RETRY_DELAY,
            refused: None,
        }
    }

    /// Where it may be, most promising first: where it has answered, then where it is said to be.
    pub(super) fn addresses(&self) -> Vec<String> {
        let hints = self.sighted.addresses.iter().filter(|hint| !self.proven.contains(hint));
        self.proven.iter().chain(hints).take(MAX_ADDRESSES).cloned().collect()
    }

    /// Takes a newer sighting; older hints come last. A device that has answered before is then due at
    /// once. One that never did may not be there at all, however often it is announced: it waits, but
    /// not as long as if there were no news.
    pub(super) fn sighted_again(&mut self, mut new: SightedDevice, now: Moment) {
        for address in std::mem::take(&mut self.sighted.addresses) {
            if !new.addresses.contains(&address) {
                new.addresses.push(address);
            }
        }
        new.addresses.truncate(MAX_ADDRESSES);
        self.sighted = new;
        self.out_of_sight = false;
        let wait = if self.is_stranger() { MAX_RETRY_DELAY } else { Ms(0.0) };
        if let State::Disconnected(at) = &mut self.state
            && *at > now + wait
        {
            *at = now + wait;
        }
    }

    /// It has answered at this address.
    pub(super) fn greeted(&mut self, address: &str) {
        self.proven.retain(|proven| proven != address);
        self.proven.insert(0, address.to_owned());
        self.proven.truncate(MAX_PROVEN);
        (self.retry_delay, self.is_missed, self.refused) = (MIN_RETRY_DELAY, true, None);
        self.out_of_sight = false;
    }

    /// It could not be reached: waits twice as long as last time before the next attempt.
    pub(super) fn unreachable(&mut self, now: Moment) {
        self.state = State::Disconnected(now + self.retry_delay);
        let longest = if self.is_stranger() { MAX_STRANGER_DELAY } else { MAX_RETRY_DELAY };
        self.retry_delay = (self.retry_delay * 2.0).min(longest);
    }

    /// Whether nothing is known of it but hints.
    pub(super) fn is_stranger(&self) -> bool {
        self.proven.is_empty()
    }

    /// Who is dialled first: devices that have answered before, then those that failed least often,
    /// then those that have waited longest.
    pub(super) fn precedence(&self, other: &TrackedDevice) -> Ordering {
        let strangers = self.is_stranger().cmp(&other.is_stranger());
        let failures = self.retry_delay.0.total_cmp(&other.retry_delay.0);
        strangers.then(failures).then(self.since.0.total_cmp(&other.since.0))
    }

    /// Whether it is connected.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    /// Whether to give up on it.
    pub(super) fn is_gone(&self, now: Moment) -> bool {
        let remembered = self.ended.is_some_and(|ended| now.since(ended) < REMEMBERED);
        self.out_of_sight && !self.is_connected() && !remembered
    }

    /// Whether it should be dialled now.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        matches!(self.state, State::Disconnected(at) if now >= at)
    }

    /// Its name: what it says itself, if it is connected.
    pub(super) fn name(&self) -> &str {
        match &self.state {
            State::Connected(connected) => &connected.hello.name,
            State::Dialling | State::Disconnected(_) => &self.sighted.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use edgeld_runtime::kernel::Isa;
    use edgeld_runtime::wire::{Incarnation, NodeId, PROTOCOL, Purpose};

    use super::*;
    use crate::api::Found;
    use crate::transport::{Security, Settings, Switchboard};

    fn sighting(addresses: &[&str]) -> SightedDevice {
        SightedDevice {
            node: NodeId(1),
            name: "kitchen".to_owned(),
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            found: Found::Mdns,
            protocol: PROTOCOL,
            build: "test".to_owned(),
        }
    }

    fn tracked(addresses: &[&str]) -> TrackedDevice {
        let me = Hello {
            protocol: PROTOCOL,
            build: "test".to_owned(),
            node: NodeId(2),
            incarnation: Incarnation::default(),
            name: "leader".to_owned(),
            cluster: "test".to_owned(),
            isa: Isa::Plain,
            threads: 1,
            memory: 0,
            purpose: Purpose::Control,
        };
        let transport = Arc::new(Switchboard::default().plug("leader"));
        let network = Network::start(transport, me, Security::Local, Settings::default()).unwrap();
        TrackedDevice::new(sighting(addresses), network, Moment(0.0))
    }

    #[test]
    fn false_addresses_do_not_displace_one_that_works() {
        let mut tracked = tracked(&["a:1", "b:1"]);
        tracked.greeted("b:1");
        assert_eq!(tracked.addresses(), ["b:1", "a:1"]);
        for flood in 0..10 {
            let hints: Vec<String> = (0..20).map(|n| format!("false-{flood}:{n}")).collect();
            let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
            tracked.sighted_again(sighting(&hints), Moment(0.0));
        }
        let addresses = tracked.addresses();
        assert_eq!((addresses.len(), addresses[0].as_str()), (MAX_ADDRESSES, "b:1"));
        assert_eq!(
            super::TrackedDevice::new(
                sighting(&["x:1"; 100]),
                tracked.network.clone(),
                Moment(0.0)
            )
            .addresses()
            .len(),
            MAX_ADDRESSES
        );
    }

    #[test]
    fn who_never_answers_is_asked_ever_less() {
        let mut stranger = tracked(&["a:1"]);
        let mut asked = 0;
        let mut now = Moment(0.0);
        // Announced anew all the time.
        for number in 0..36_000 {
            now = now + Ms(100.0);
            stranger.sighted_again(sighting(&[&format!("a:{number}")]), now);
            if stranger.is_due(now) {
                asked += 1;
                stranger.unreachable(now);
            }
        }
        assert!((700..800).contains(&asked), "asked {asked} times in an hour");
        let mut silent = tracked(&["a:1"]);
        let mut asked = 0;
        for _ in 0..36_000 {
            now = now + Ms(100.0);
            if silent.is_due(now) {
                asked += 1;
                silent.unreachable(now);
            }
        }
        assert!((60..80).contains(&asked), "asked {asked} times in an hour");
    }

    #[test]
    fn a_device_that_was_there_is_looked_for_a_while() {
        let mut tracked = tracked(&["a:1"]);
        tracked.out_of_sight = true;
        assert!(tracked.is_gone(Moment(0.0)), "it was never there");
        tracked.greeted("a:1");
        tracked.ended = Some(Moment(1_000.0));
        tracked.out_of_sight = true;
        assert!(!tracked.is_gone(Moment(1_000.0 + REMEMBERED.0 - 1.0)));
        assert!(tracked.is_gone(Moment(1_000.0 + REMEMBERED.0)));
    }
}
