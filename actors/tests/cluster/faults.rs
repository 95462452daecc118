//! Links that fall silent between devices that live: nobody is told, and no frame is lost.

use edgeld::{Reason, Worker};

use super::memory::Lan;
use super::*;

/// A leader and two workers, all with shares.
struct Three {
    lan: Lan,
    _workers: [Worker; 2],
    cluster: Cluster,
    source: Source,
    references: Vec<Answer>,
}

impl Three {
    async fn start() -> Three {
        let lan = Lan::new();
        let workers = [lan.worker("one").await.0, lan.worker("two").await.0];
        let peers = workers.iter().map(Worker::address);
        let cluster = peers.fold(lan.leader(), |leader, peer| leader.peer(peer));
        let cluster = cluster.devices(3).discover().await.unwrap();
        let source = source();
        let references = references(&cluster, &source, 2).await;
        Three { lan, _workers: workers, cluster, source, references }
    }

    /// Loads the model; all three get a share if they can.
    async fn load(&self) -> (Model, UnboundedReceiver<Event>) {
        let model = timeout(PATIENCE, self.cluster.load_with(self.source.clone(), spread()));
        let model = model.await.expect("loading hangs").unwrap();
        let events = model.subscribe();
        (model, events)
    }

    async fn run_until(
        &self,
        model: &Model,
        events: &mut UnboundedReceiver<Event>,
        reason: Reason,
    ) -> Arc<PlanInfo> {
        run_until(model, &self.source, &self.references, events, reason).await
    }
}

#[tokio::test]
async fn two_workers_that_stop_hearing_each_other_are_kept_apart() {
    let three = Three::start().await;
    let (model, mut events) = three.load().await;
    assert_eq!(holders(&model.plan()).len(), 3);
    three.lan.switchboard.cut("one", "two");
    three.run_until(&model, &mut events, Reason::Link).await;
    // Nobody is at fault, and strips may go through the leader.
    three.lan.switchboard.heal("one", "two");
    three.run_until(&model, &mut events, Reason::Joined).await;
    three.cluster.shutdown().await;
}

#[tokio::test]
async fn two_workers_that_never_reach_each_other_work_for_the_same_leader() {
    let three = Three::start().await;
    three.lan.switchboard.cut("one", "two");
    let (model, _events) = three.load().await;
    for (frame, reference) in three.references.iter().enumerate() {
        let answer = timeout(PATIENCE, model.infer(&inputs(&three.source, frame as u64))).await;
        same_bits(&answer.expect("the frame hangs").unwrap(), reference);
    }
    three.cluster.shutdown().await;
}

#[tokio::test]
async fn a_device_that_was_cut_off_comes_back_over_new_connections() {
    let three = Three::start().await;
    let (model, mut events) = three.load().await;
    for _ in 0..2 {
        for other in ["leader", "one"] {
            three.lan.switchboard.cut("two", other);
        }
        let lost = three.run_until(&model, &mut events, Reason::Lost).await;
        assert_eq!(holders(&lost).len(), 2);
        for other in ["leader", "one"] {
            three.lan.switchboard.heal("two", other);
        }
        let joined = three.run_until(&model, &mut events, Reason::Joined).await;
        assert_eq!(holders(&joined).len(), 3);
    }
    three.cluster.shutdown().await;
}
