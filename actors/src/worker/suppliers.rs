//! Other devices of a plan that may have weights which this one lacks.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use edgeld_runtime::plan::DeviceIx;
use edgeld_runtime::wire::{Member, Purpose, SessionId};

use crate::transport::{Connection, Network};

/// Devices to ask besides the leader. With more of them the own link is the limit.
const MAX_SUPPLIERS: usize = 3;

/// How long to wait for connections to them: the leader has the weights, too.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whom to ask for a session's weights, besides the leader.
#[derive(Clone)]
pub(super) struct Suppliers {
    network: Network,
    session: SessionId,
    members: Vec<Member>,
}

impl Suppliers {
    /// Some of a plan's members. Those that follow this device in the plan come first, so that devices
    /// which fetch at the same time do not all ask the same ones.
    pub(super) fn among(
        members: &[Member],
        me: DeviceIx,
        network: Network,
        session: SessionId,
    ) -> Suppliers {
        Suppliers { network, session, members: to_ask(members, me) }
    }

    /// Connects to them; blocks until that is done or has taken too long.
    pub(super) fn connect(&self) -> Vec<Connection> {
        let (sender, opened) = mpsc::channel();
        for Member { node, addresses, .. } in self.members.clone() {
            let (network, sender, purpose) =
                (self.network.clone(), sender.clone(), Purpose::Weights(self.session));
            self.network.spawn(async move {
                if let Ok(connection) = network.dial_any(&addresses, node, purpose).await {
                    // Too late is as good as never: this closes it.
                    drop(sender.send(connection));
                }
            });
        }
        drop(sender);
        let begun = Instant::now();
        let next = || opened.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())).ok();
        std::iter::from_fn(next).collect()
    }
}

fn to_ask(members: &[Member], me: DeviceIx) -> Vec<Member> {
    let (before, from) = members.split_at(me.index());
    let others = from.iter().skip(1).chain(before);
    // The leader connects by itself.
    let others = others.filter(|member| member.device != DeviceIx::LEADER);
    others.take(MAX_SUPPLIERS).cloned().collect()
}

#[cfg(test)]
mod tests {
    use edgeld_runtime::wire::{Incarnation, NodeId};

    use super::*;

    #[test]
    fn everybody_asks_others_first_and_nobody_itself_or_the_leader() {
        let member = |device: u16| Member {
            device: DeviceIx(device),
            node: NodeId(device.into()),
            incarnation: Incarnation::default(),
            name: String::new(),
            addresses: Vec::new(),
        };
        let asked = |devices: u16, me: u16| -> Vec<u16> {
            let members: Vec<Member> = (0..devices).map(member).collect();
            to_ask(&members, DeviceIx(me)).iter().map(|member| member.device.0).collect()
        };
        assert!(asked(2, 1).is_empty());
        assert_eq!(asked(4, 1), [2, 3]);
        assert_eq!(asked(4, 3), [1, 2]);
        assert_eq!(asked(8, 5), [6, 7, 1]);
    }
}
