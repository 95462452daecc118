//! Connections between processes, and what can happen to the links under them.
//!
//! A connection is an ordered stream of messages each way, as TCP is: what cannot get through is held
//! back until it can, and an end that closes is a last message. Heartbeats are not simulated one by
//! one: an end knows since when nothing can have arrived.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use edgeld_runtime::ids::NodeId;

use crate::dice::Dice;
use crate::messages::Message;

/// Names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// One run of a process.
pub type Process = (NodeId, u64);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first end is the leader's.
    Control,
    Strips,
}

#[derive(Debug)]
pub struct Conn {
    pub kind: Kind,
    pub ends: [End; 2],
}

#[derive(Debug)]
pub struct End {
    pub process: Process,
    pub open: bool,
    /// What is on its way to this end, with the time of its arrival.
    queue: VecDeque<(f64, Message)>,
    /// An arrival is scheduled.
    pub scheduled: bool,
    /// Since when nothing can have arrived, if nothing can.
    pub silent_since: Option<f64>,
}

/// An end of a connection: 0 or 1.
pub type Side = usize;

#[derive(Debug, Default)]
pub struct Network {
    pub conns: BTreeMap<ConnId, Conn>,
    last: u64,
    /// Links over which nothing gets, from one device to another.
    deaf: BTreeSet<(NodeId, NodeId)>,
    /// Devices whose processes run.
    pub running: BTreeMap<NodeId, u64>,
    pub frozen: BTreeSet<NodeId>,
    /// Megabits a second, if not very many.
    rates: BTreeMap<NodeId, f64>,
    /// Until when a device's link is busy sending.
    busy: BTreeMap<NodeId, f64>,
}

impl Network {
    pub fn is_running(&self, (node, run): Process) -> bool {
        self.running.get(&node) == Some(&run)
    }

    /// Whether something gets from one device to another, whatever their processes do.
    pub fn carries(&self, from: NodeId, to: NodeId) -> bool {
        !self.deaf.contains(&(from, to))
    }

    /// Whether a process can connect to another now.
    pub fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        let runs = self.running.contains_key(&to) && !self.frozen.contains(&to);
        runs && self.carries(from, to) && self.carries(to, from)
    }

    pub fn set_rate(&mut self, node: NodeId, mbps: f64) {
        self.rates.insert(node, mbps);
    }

    pub fn deafen(&mut self, from: NodeId, to: NodeId) {
        if from != to {
            self.deaf.insert((from, to));
        }
    }

    pub fn heal(&mut self, a: NodeId, b: NodeId) {
        self.deaf.remove(&(a, b));
        self.deaf.remove(&(b, a));
    }

    pub fn connect(&mut self, kind: Kind, first: Process, second: Process) -> ConnId {
        self.last += 1;
        let end = |process| End {
            process,
            open: true,
            queue: VecDeque::new(),
            scheduled: false,
            silent_since: None,
        };
        let id = ConnId(self.last);
        self.conns.insert(id, Conn { kind, ends: [end(first), end(second)] });
        id
    }

    /// The process at an end, while that end is open.
    pub fn open_end(&self, id: ConnId, side: Side) -> Option<Process> {
        let end = &self.conns.get(&id)?.ends[side];
        end.open.then_some(end.process)
    }

    pub fn peer(&self, id: ConnId, side: Side) -> Option<Process> {
        Some(self.conns.get(&id)?.ends[1 - side].process)
    }

    /// Sends a message from an end. Returns when it arrives, if nothing before it is due.
    pub fn send(
        &mut self,
        now: f64,
        dice: &mut Dice,
        (id, side): (ConnId, Side),
        message: Message,
    ) -> Option<f64> {
        let conn = self.conns.get_mut(&id)?;
        if !conn.ends[side].open {
            return None;
        }
        let from = conn.ends[side].process.0;
        let end = &mut conn.ends[1 - side];
        let is_local = from == end.process.0;
        let latency = if is_local { 0.01 } else { dice.between(0.1, 2.0) };
        let mut due = now + latency;
        if let Some(rate) = self.rates.get(&from).filter(|_| !is_local) {
            let busy = self.busy.entry(from).or_insert(now);
            *busy = busy.max(now) + message.bytes() as f64 * 8.0 / (rate * 1e3);
            due = due.max(*busy);
        }
        if let Some((last, _)) = end.queue.back() {
            due = due.max(*last);
        }
        end.queue.push_back((due, message));
        (!std::mem::replace(&mut end.scheduled, true)).then_some(due)
    }

    /// Takes what has arrived at an end, and says when the next message does.
    pub fn receive(&mut self, now: f64, id: ConnId, side: Side) -> (Option<Message>, Option<f64>) {
        let Some(conn) = self.conns.get(&id) else { return (None, None) };
        let (from, to) = (conn.ends[1 - side].process.0, conn.ends[side].process.0);
        let carries = self.carries(from, to);
        let Some(conn) = self.conns.get_mut(&id) else { return (None, None) };
        let end = &mut conn.ends[side];
        end.scheduled = false;
        if !carries {
            return (None, None);
        }
        let message = end.queue.pop_front().map(|(_, message)| message);
        let next = end.queue.front().map(|(due, _)| due.max(now));
        end.scheduled = next.is_some();
        (message, next)
    }

    /// Closes an end; what is on its way to it is lost. Returns whether it was open.
    pub fn close(&mut self, id: ConnId, side: Side) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        let was_open = std::mem::replace(&mut conn.ends[side].open, false);
        conn.ends[side].queue.clear();
        was_open
    }

    /// Forgets connections that are over at both ends, or whose processes are.
    pub fn tidy(&mut self) {
        let running = &self.running;
        self.conns.retain(|_, conn| {
            let matters =
                |end: &End| end.open && running.get(&end.process.0) == Some(&end.process.1);
            conn.ends.iter().any(matters)
        });
    }

    /// Notes since when nothing can have arrived, after a change. Returns the ends at which messages
    /// wait that get through now.
    pub fn update(&mut self, now: f64) -> Vec<(ConnId, Side)> {
        let mut wake = Vec::new();
        let (deaf, running, frozen) = (&self.deaf, &self.running, &self.frozen);
        for (id, conn) in &mut self.conns {
            for side in [0, 1] {
                let (from, to) = (conn.ends[1 - side].process, conn.ends[side].process);
                let lives = conn.ends[1 - side].open
                    && running.get(&from.0) == Some(&from.1)
                    && !frozen.contains(&from.0);
                let carries = !deaf.contains(&(from.0, to.0));
                let end = &mut conn.ends[side];
                end.silent_since = match lives && carries {
                    true => None,
                    false => Some(end.silent_since.unwrap_or(now)),
                };
                if carries && !end.scheduled && !end.queue.is_empty() {
                    end.scheduled = true;
                    wake.push((*id, side));
                }
            }
        }
        wake
    }
}
