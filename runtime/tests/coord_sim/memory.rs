//! The memory of a device: what it has promised is not what is in use. A thread may still work on a plan
//! that is over, and a plan that waits takes nothing yet.

use edgeld_runtime::ids::NodeId;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::units::Bytes;

use crate::network::ConnId;
use crate::world::{SESSION, What, World};

impl World {
    /// Begins to prepare what waits, once there is room for all that is promised.
    pub fn begin_preparations(&mut self, node: NodeId) {
        let worker = &mut self.device(node).worker;
        if !worker.fits() {
            worker.give_up();
        }
        while let Some((id, generation)) = self.next_preparation(node) {
            let takes = self.dice.between(1.0, 40.0) * self.devices[&node].slowness;
            let me = (node, self.devices[&node].run);
            if !std::mem::take(&mut self.device(node).stuck) {
                self.schedule(takes, Some(me), What::Packed(node, id, generation));
            }
        }
    }

    /// The next plan to prepare; from now on it uses memory.
    fn next_preparation(&mut self, node: NodeId) -> Option<(ConnId, Generation)> {
        let device = self.device(node);
        while device.worker.fits() {
            let (id, generation) = device.waiting.pop_front()?;
            let plans = device.session.as_ref().map(|session| &session.plans);
            if let Some(plan) = plans.and_then(|plans| plans.get(&generation)) {
                device.using.insert(generation, plan.needs);
                let used: Bytes = device.using.values().copied().sum();
                assert!(used <= device.limit, "{node} uses {used} of {}", device.limit);
                return Some((id, generation));
            }
        }
        None
    }

    /// Some thread still uses the memory of a plan that is over.
    pub fn release_later(&mut self, node: NodeId, generation: Generation) {
        if !self.devices[&node].using.contains_key(&generation) {
            return self.released(node, generation);
        }
        let takes = self.dice.between(0.0, 60.0);
        let me = (node, self.devices[&node].run);
        self.schedule(takes, Some(me), What::Released(node, generation));
    }

    pub fn released(&mut self, node: NodeId, generation: Generation) {
        self.device(node).using.remove(&generation);
        self.device(node).worker.released(SESSION, generation);
        self.begin_preparations(node);
    }
}
