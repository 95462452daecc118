//! What a small server has told, for tests.

use serde_json::json;

use super::state::State;

/// Two devices that share one stage, and an answer.
pub fn example() -> State {
    let mut state = State::default();
    let device = |name: &str, leader: bool, gflops: f64| {
        json!({"id": name, "name": name, "leader": leader, "state": "active",
            "gflops": gflops, "goodput_mbps": 930.0, "rtt_ms": 0.3, "memory_bytes": 2e9})
    };
    let share =
        |device: &str, from: u32, to: u32| json!({"device": device, "from": from, "to": to});
    for event in [
        json!({"event": "models", "models": [{"name": "net", "task": "classify"}]}),
        json!({"event": "cluster", "devices": [device("attic", true, 20.0), device("cellar", false, 60.0)]}),
        json!({"event": "plan", "model": "net", "generation": 3, "reason": "joined",
            "predicted_ms": 40.0, "alone_ms": 100.0, "part_of_frames": 1.0, "active": [3],
            "stages": [{"shares":
                [share("attic", 0, 14), share("cellar", 14, 56)]}]}),
        json!({"event": "frame", "model": "net", "request_ms": 42.0, "waiting": 2}),
        json!({"event": "something new"}),
    ] {
        state.happened(&event);
    }
    state
}
