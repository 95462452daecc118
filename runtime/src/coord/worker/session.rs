//! A session's connections for strips, and which of its plans are ready to run.
//!
//! A plan is ready when its weights are packed and there is a connection to every device that it
//! exchanges strips with. If there are several to one device, the newest is used: whoever dials has
//! none left. One to an earlier incarnation of a device is given up. What does not become ready is
//! refused, and what breaks is reported, so that no plan waits for ever.
//!
//! ```
//! use edgeld_runtime::coord::Moment;
//! use edgeld_runtime::coord::worker::session::{Command, ConnectionId, Event, Partner, Session};
//! use edgeld_runtime::ids::{Incarnation, NodeId};
//! use edgeld_runtime::plan::Generation;
//! let (mut session, now) = (Session::default(), Moment(0.0));
//! let (peer, incarnation, generation) = (NodeId(7), Incarnation(1), Generation(1));
//! let partners = vec![Partner { node: peer, incarnation, dial: true }];
//! let dial = session.handle(now, Event::Prepare { generation, partners });
//! assert_eq!(dial, [Command::Dial(peer)]);
//! assert_eq!(session.handle(now, Event::Packed(generation)), []);
//! let connected = Event::Connected { connection: ConnectionId(1), node: peer, incarnation };
//! let routes = [(peer, ConnectionId(1))].into();
//! assert_eq!(session.handle(now, connected), [Command::Start { generation, routes }]);
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::coord::Moment;
use crate::ids::{Incarnation, NodeId};
use crate::plan::Generation;
use crate::units::Ms;

/// How long a plan whose weights are packed waits for connections.
const CONNECT_TIMEOUT: Ms = Ms(3_000.0);

/// Names a connection for strips on one device; later ones have larger numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A device to exchange strips with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partner {
    /// Which.
    pub node: NodeId,
    /// Which run of its process.
    pub incarnation: Incarnation,
    /// Whether this device dials it; otherwise it dials this device.
    pub dial: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The leader wants a plan to be prepared.
    Prepare {
        /// Which.
        generation: Generation,
        /// Whom this device exchanges strips with under it.
        partners: Vec<Partner>,
    },
    /// The weights of a plan are packed.
    Packed(Generation),
    /// A plan is over, or was refused for another reason.
    Retire(Generation),
    /// There is a new connection.
    Connected {
        /// Its number.
        connection: ConnectionId,
        /// Who is at the other end.
        node: NodeId,
        /// Which run of its process.
        incarnation: Incarnation,
    },
    /// A connection has ended.
    Ended(ConnectionId),
    /// A device that was dialled cannot be reached.
    DialFailed {
        /// Which.
        node: NodeId,
        /// Why, in words.
        error: String,
    },
    /// The leader says that a device is gone.
    Gone {
        /// Which.
        node: NodeId,
        /// Which run of its process.
        incarnation: Incarnation,
    },
    /// Time has passed.
    Tick,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Connect to a device.
    Dial(NodeId),
    /// End a connection. Its end need not be reported.
    Cut(ConnectionId),
    /// A plan is ready: run its frames, and tell the leader.
    Start {
        /// Which.
        generation: Generation,
        /// Which connection leads to which device.
        routes: BTreeMap<NodeId, ConnectionId>,
    },
    /// Tell the leader that a plan cannot run here.
    Refuse {
        /// Which.
        generation: Generation,
        /// Whom this device cannot exchange strips with.
        peer: NodeId,
        /// Why, in words.
        error: String,
    },
    /// Tell the leader that a plan which was ready has lost a connection.
    LinkDown {
        /// Which.
        generation: Generation,
        /// Who was at the other end.
        peer: NodeId,
    },
}

/// The connections and plans of one session.
#[derive(Debug, Clone, Default)]
pub struct Session {
    connections: BTreeMap<ConnectionId, (NodeId, Incarnation)>,
    dialling: BTreeSet<NodeId>,
    plans: BTreeMap<Generation, Plan>,
}

#[derive(Debug, Clone)]
struct Plan {
    partners: BTreeMap<NodeId, Partner>,
    /// Since when its weights are packed.
    packed: Option<Moment>,
    state: State,
    /// Devices that were dialled again because a connection ended before the plan was ready.
    redialled: BTreeSet<NodeId>,
}

#[derive(Debug, Clone)]
enum State {
    Preparing,
    Ready(BTreeMap<NodeId, ConnectionId>),
    Refused,
}

impl Plan {
    fn is_preparing(&self) -> bool {
        matches!(self.state, State::Preparing)
    }

    fn refuse(&mut self, generation: Generation, peer: NodeId, error: String) -> Command {
        self.state = State::Refused;
        Command::Refuse { generation, peer, error }
    }
}

impl Session {
    /// Handles an event that happened at `now`; returns what to do, in this order.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        let out = &mut commands;
        match event {
            Event::Prepare { generation, partners } => self.prepare(generation, partners, out),
            Event::Packed(generation) => {
                if let Some(plan) = self.plans.get_mut(&generation) {
                    plan.packed = Some(now);
                }
            }
            Event::Retire(generation) => drop(self.plans.remove(&generation)),
            Event::Connected { connection, node, incarnation } => {
                self.dialling.remove(&node);
                self.give_up(node, |other| other != incarnation, out);
                self.connections.insert(connection, (node, incarnation));
            }
            Event::Ended(connection) => self.ended(connection, out),
            Event::DialFailed { node, error } => self.dial_failed(node, &error, out),
            Event::Gone { node, incarnation } => {
                self.give_up(node, |other| other == incarnation, out);
            }
            Event::Tick => self.refuse_unconnected(now, out),
        }
        self.start_ready(out);
        commands
    }

    /// Whether a plan was prepared and is not retired.
    pub fn knows(&self, generation: Generation) -> bool {
        self.plans.contains_key(&generation)
    }

    /// Whether a plan is ready.
    pub fn is_ready(&self, generation: Generation) -> bool {
        let plan = self.plans.get(&generation);
        plan.is_some_and(|plan| matches!(plan.state, State::Ready(_)))
    }

    /// Whether a plan exchanges strips with a device.
    pub fn expects(&self, node: NodeId) -> bool {
        self.plans.values().any(|plan| plan.partners.contains_key(&node))
    }

    /// How many plans there are.
    pub fn plans(&self) -> usize {
        self.plans.len()
    }

    fn prepare(&mut self, generation: Generation, partners: Vec<Partner>, out: &mut Vec<Command>) {
        for partner in &partners {
            self.give_up(partner.node, |other| other != partner.incarnation, out);
            self.dial_if_needed(partner, out);
        }
        let partners = partners.into_iter().map(|partner| (partner.node, partner)).collect();
        let (packed, state) = (None, State::Preparing);
        let plan = Plan { partners, packed, state, redialled: BTreeSet::new() };
        self.plans.insert(generation, plan);
    }

    fn dial_if_needed(&mut self, partner: &Partner, out: &mut Vec<Command>) {
        let needed = partner.dial && self.newest(partner.node).is_none();
        if needed && self.dialling.insert(partner.node) {
            out.push(Command::Dial(partner.node));
        }
    }

    /// The connection that a plan would use.
    fn newest(&self, node: NodeId) -> Option<ConnectionId> {
        let mut newest = self.connections.iter().rev();
        newest.find(|(_, (other, _))| *other == node).map(|(id, _)| *id)
    }

    /// Ends the connections to these incarnations of a device.
    fn give_up(
        &mut self,
        node: NodeId,
        is_old: impl Fn(Incarnation) -> bool,
        out: &mut Vec<Command>,
    ) {
        self.connections.retain(|id, (other, incarnation)| {
            let stays = *other != node || !is_old(*incarnation);
            if !stays {
                out.push(Command::Cut(*id));
            }
            stays
        });
    }

    fn ended(&mut self, connection: ConnectionId, out: &mut Vec<Command>) {
        let Some((node, _)) = self.connections.remove(&connection) else { return };
        let mut dial = None;
        for (generation, plan) in &mut self.plans {
            match &plan.state {
                State::Ready(routes) if routes.get(&node) == Some(&connection) => {
                    out.push(Command::LinkDown { generation: *generation, peer: node });
                }
                State::Preparing if plan.partners.contains_key(&node) => {
                    if plan.redialled.insert(node) {
                        dial = dial.or(plan.partners.get(&node).copied());
                    } else if !self.connections.values().any(|(other, _)| *other == node) {
                        let error = "the connection ended twice".to_owned();
                        out.push(plan.refuse(*generation, node, error));
                    }
                }
                _ => {}
            }
        }
        if let Some(partner) = dial {
            self.dial_if_needed(&partner, out);
        }
    }

    fn dial_failed(&mut self, node: NodeId, error: &str, out: &mut Vec<Command>) {
        self.dialling.remove(&node);
        if self.newest(node).is_some() {
            return;
        }
        for (generation, plan) in &mut self.plans {
            if plan.is_preparing() && plan.partners.contains_key(&node) {
                out.push(plan.refuse(*generation, node, error.to_owned()));
            }
        }
    }

    fn refuse_unconnected(&mut self, now: Moment, out: &mut Vec<Command>) {
        let connected: BTreeSet<NodeId> =
            self.connections.values().map(|(node, _)| *node).collect();
        for (generation, plan) in &mut self.plans {
            let waited = plan.packed.map_or(Ms::ZERO, |since| now.since(since));
            if !plan.is_preparing() || waited < CONNECT_TIMEOUT {
                continue;
            }
            let missing = plan.partners.keys().find(|node| !connected.contains(node)).copied();
            if let Some(peer) = missing {
                let error = format!("no connection within {CONNECT_TIMEOUT}");
                out.push(plan.refuse(*generation, peer, error));
            }
        }
    }

    /// Starts the plans that are packed and connected.
    fn start_ready(&mut self, out: &mut Vec<Command>) {
        let mut newest = BTreeMap::new();
        newest.extend(self.connections.iter().map(|(id, (node, _))| (*node, *id)));
        for (generation, plan) in &mut self.plans {
            if !plan.is_preparing() || plan.packed.is_none() {
                continue;
            }
            let route = |node: &NodeId| Some((*node, *newest.get(node)?));
            let routes: Option<BTreeMap<_, _>> = plan.partners.keys().map(route).collect();
            if let Some(routes) = routes {
                plan.state = State::Ready(routes.clone());
                out.push(Command::Start { generation: *generation, routes });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(7);
    const FIRST: Incarnation = Incarnation(1);
    const SECOND: Incarnation = Incarnation(2);
    const ONE: Generation = Generation(1);
    const TWO: Generation = Generation(2);

    /// A session and its clock.
    #[derive(Default)]
    struct Script {
        session: Session,
        now: f64,
    }

    impl Script {
        fn handle(&mut self, event: Event) -> Vec<Command> {
            self.session.handle(Moment(self.now), event)
        }

        fn prepare(&mut self, generation: Generation, incarnation: Incarnation) -> Vec<Command> {
            let partners = vec![Partner { node: PEER, incarnation, dial: true }];
            self.handle(Event::Prepare { generation, partners })
        }

        fn connect(&mut self, connection: u64, incarnation: Incarnation) -> Vec<Command> {
            let connection = ConnectionId(connection);
            self.handle(Event::Connected { connection, node: PEER, incarnation })
        }

        /// A session with one plan that is ready over connection 1.
        fn ready() -> Script {
            let mut script = Script::default();
            script.prepare(ONE, FIRST);
            script.handle(Event::Packed(ONE));
            assert_eq!(script.connect(1, FIRST), [start(ONE, 1)]);
            script
        }
    }

    fn start(generation: Generation, connection: u64) -> Command {
        Command::Start { generation, routes: [(PEER, ConnectionId(connection))].into() }
    }

    #[test]
    fn a_connection_to_an_earlier_life_is_not_used() {
        let mut script = Script::ready();
        let commands = script.prepare(TWO, SECOND);
        assert_eq!(commands, [Command::Cut(ConnectionId(1)), Command::Dial(PEER)]);
        assert_eq!(script.handle(Event::Packed(TWO)), []);
        assert_eq!(script.connect(2, SECOND), [start(TWO, 2)]);
    }

    #[test]
    fn whoever_dials_again_has_nothing_left() {
        let mut script = Script::ready();
        assert_eq!(script.connect(2, FIRST), []);
        script.prepare(TWO, FIRST);
        assert_eq!(script.handle(Event::Packed(TWO)), [start(TWO, 2)]);
        // The first plan runs on as long as its connection does.
        let down = Command::LinkDown { generation: ONE, peer: PEER };
        assert_eq!(script.handle(Event::Ended(ConnectionId(1))), [down]);
    }

    #[test]
    fn a_device_that_the_leader_lost_is_dialled_anew() {
        let mut script = Script::ready();
        let gone = Event::Gone { node: PEER, incarnation: FIRST };
        assert_eq!(script.handle(gone), [Command::Cut(ConnectionId(1))]);
        assert_eq!(script.handle(Event::Ended(ConnectionId(1))), [], "the leader knows");
        assert_eq!(script.prepare(TWO, FIRST), [Command::Dial(PEER)]);
    }

    #[test]
    fn a_plan_that_is_packed_does_not_wait_for_ever_for_a_connection() {
        let mut script = Script::default();
        let partners = vec![Partner { node: PEER, incarnation: FIRST, dial: false }];
        assert_eq!(script.handle(Event::Prepare { generation: ONE, partners }), []);
        script.now = 60_000.0;
        assert_eq!(script.handle(Event::Tick), [], "it may take long to pack");
        script.handle(Event::Packed(ONE));
        script.now += CONNECT_TIMEOUT.0;
        let commands = script.handle(Event::Tick);
        assert!(
            matches!(&commands[..], [Command::Refuse { generation: ONE, peer: PEER, .. }]),
            "{commands:?}"
        );
        assert_eq!(script.handle(Event::Tick), [], "said once");
        assert_eq!(script.connect(1, FIRST), [], "too late");
    }

    #[test]
    fn a_connection_that_ends_before_the_plan_is_ready_is_dialled_once_more() {
        let mut script = Script::default();
        script.prepare(ONE, FIRST);
        script.connect(1, FIRST);
        assert_eq!(script.handle(Event::Ended(ConnectionId(1))), [Command::Dial(PEER)]);
        script.connect(2, FIRST);
        let commands = script.handle(Event::Ended(ConnectionId(2)));
        assert!(matches!(&commands[..], [Command::Refuse { generation: ONE, .. }]), "{commands:?}");
    }

    #[test]
    fn a_device_that_cannot_be_reached_is_named() {
        let mut script = Script::default();
        script.prepare(ONE, FIRST);
        let error = "no route".to_owned();
        let commands = script.handle(Event::DialFailed { node: PEER, error: error.clone() });
        assert_eq!(commands, [Command::Refuse { generation: ONE, peer: PEER, error }]);
    }
}
