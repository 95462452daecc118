//! Every test runs over both transports, in the clear and encrypted.

mod lan;
mod tampering;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use edgeld_runtime::wire::{Hello, MAX_HEADER, NodeId, PROTOCOL, Purpose, SessionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::lan::{
    Lan, STRIPS, ShortOfFiles, WEIGHTS, expecting, hello, join, keyed, memory, opening, tcp,
};
use crate::transport::connection::READ_AHEAD;
use crate::transport::error::TransportError;
use crate::transport::frame::{FrameError, Lengths, MAGIC};
use crate::transport::memory::Switchboard;
use crate::transport::network::{Listener, MAX_ADDRESSES};
use crate::transport::pipe::Transport;
use crate::transport::settings::Settings;

/// Fails if `work` hangs.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

async fn each_side_learns_who_the_other_is(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    assert_eq!(dialled.peer(), &Hello { purpose: WEIGHTS, ..hello(1) });
    assert_eq!(accepted.peer(), &Hello { purpose: WEIGHTS, ..hello(2) });
    assert_eq!(dialled.address(), listener.address());
}

async fn frames_arrive_in_order_from_any_thread(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, _) = dialled.split();
    let (_, mut receiver) = accepted.split();
    let thread = std::thread::spawn(move || {
        for number in 0..500_u32 {
            sender.send(number.to_le_bytes().to_vec(), vec![number as u8; number as usize])?;
        }
        Ok::<(), TransportError>(())
    });
    for number in 0..500_u32 {
        let frame = receiver.next().await.unwrap();
        assert_eq!(frame.header, number.to_le_bytes());
        assert_eq!(frame.payload, vec![number as u8; number as usize]);
    }
    thread.join().unwrap().unwrap();
}

async fn a_large_payload_is_allocated_exactly(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, _) = dialled.split();
    let (_, mut receiver) = accepted.split();
    let payload: Vec<u8> = (0..20_000_003_u32).map(|byte| (byte % 251) as u8).collect();
    receiver.limit_payload(payload.len());
    sender.send(vec![1], payload.clone()).unwrap();
    let frame = receiver.next().await.unwrap();
    assert!(frame.payload == payload);
    assert_eq!(frame.payload.capacity(), payload.len());
    sender.backlog_below(0).await.unwrap();
}

/// Whoever waits for many bytes at once must not wait for more than come.
async fn a_payload_arrives_although_nothing_follows(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, _answers) = dialled.split();
    let (_kept, mut receiver) = accepted.split();
    let around = |length: usize| length - 40..length + 40;
    for length in around(READ_AHEAD).chain(around(2 * READ_AHEAD)).chain(around(128 << 10)) {
        sender.send(vec![1], vec![7; length]).unwrap();
        assert_eq!(receiver.next().await.unwrap().payload.len(), length);
    }
}

async fn a_sender_sees_its_backlog(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, _) = dialled.split();
    let (_, mut receiver) = accepted.split();
    // More than queues and buffers hold while nothing is received.
    let frames = 60;
    for _ in 0..frames {
        sender.send(vec![1], vec![0; 1 << 20]).unwrap();
    }
    assert!(sender.backlog() > 20 << 20, "{}", sender.backlog());
    for _ in 0..frames {
        receiver.next().await.unwrap();
    }
    sender.backlog_below(0).await.unwrap();
    assert_eq!(sender.backlog(), 0);
}

async fn another_version_is_refused_in_words_on_both_sides(lan: Lan) {
    let old = Hello { protocol: (90, 91), build: "9.0.0".to_owned(), ..hello(3) };
    let error = refusal(lan, old).await;
    let ours = format!("this build speaks {}..={}", PROTOCOL.0, PROTOCOL.1);
    assert!(error.contains(&ours) && error.contains("90..=91"), "{error}");
    assert!(error.contains("install the same version"), "{error}");
}

async fn another_cluster_is_refused_in_words_on_both_sides(lan: Lan) {
    let stranger = Hello { cluster: "office".to_owned(), ..hello(3) };
    let error = refusal(lan, stranger).await;
    assert!(error.contains("office") && error.contains("home"), "{error}");
    assert!(error.contains("--cluster"), "{error}");
}

/// Returns the worker's raw reply and the initiator's error; checks that the worker still accepts.
async fn refusal(lan: Lan, stranger: Hello) -> String {
    let (_worker, mut listener) = lan.worker().await;
    let mut pipe = lan.leader.dial(listener.address()).await.unwrap();
    pipe.writer.write_all(&opening(&stranger)).await.unwrap();
    let mut answer = Vec::new();
    pipe.reader.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("Refused") && answer.contains("device-3"), "{answer}");

    let network = lan.start(&lan.leader, stranger, Settings::default());
    let error = network.dial(listener.address(), STRIPS).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
    join(&lan.leader(), &mut listener).await;
    format!("{answer} {error}")
}

async fn a_listener_rejects_other_protocols(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let mut wrong = opening(&hello(3));
    wrong[MAGIC.len() + 1..].fill(0xff);
    let mut no_hello = opening(&hello(3));
    no_hello[MAGIC.len() + 9..].fill(0xc1);
    let garbage: [&[u8]; 5] =
        [b"GET / HTTP/1.1\r\n\r\n", &[0; 100], b"EDGELD\0\x63", &wrong, &no_hello];
    for bytes in garbage {
        let mut pipe = lan.leader.dial(listener.address()).await.unwrap();
        pipe.writer.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is fine too.
        let _ = pipe.reader.read_to_end(&mut answer).await;
    }
    join(&lan.leader(), &mut listener).await;
}

async fn an_initiator_recognises_other_protocols(lan: Lan) {
    let mut accept = lan.worker.listen(lan.at).await.unwrap();
    let address = accept.address().to_owned();
    let serve = async move {
        let mut pipe = accept.accept().await.unwrap().unwrap();
        pipe.writer.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
        pipe.writer.flush().await.unwrap();
        drop(accept.accept().await.unwrap());
        (pipe, accept.accept().await.unwrap())
    };
    let impatient = Settings { handshake: Duration::from_millis(200), ..Settings::default() };
    let leader = lan.start(&lan.leader, hello(2), Settings::default());
    let hasty = lan.start(&lan.leader, hello(2), impatient);
    let dial = async {
        let error = leader.dial(&address, STRIPS).await.unwrap_err();
        assert!(matches!(error, TransportError::NotEdgeld { .. }), "{error}");
        assert!(error.to_string().contains("HTTP"), "{error}");
        let error = leader.dial(&address, STRIPS).await.unwrap_err();
        assert!(matches!(error, TransportError::NotEdgeld { .. }), "{error}");
        let error = hasty.dial(&address, STRIPS).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
    };
    tokio::join!(dial, serve);
}

async fn nobody_there_is_unreachable(lan: Lan) {
    let (worker, listener) = lan.worker().await;
    let address = listener.address().to_owned();
    drop(listener);
    worker.shutdown().await;
    let error = lan.leader().dial(&address, STRIPS).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

/// Opens a connection by hand and writes `bytes`; returns the receiver's error.
async fn violation(lan: &Lan, listener: &mut Listener, bytes: &[u8]) -> TransportError {
    let peer = Hello { purpose: STRIPS, ..hello(2) };
    let mut pipe = lan.greet(&peer, listener.address()).await;
    let (_sender, mut receiver) = expecting(listener.accept().await.unwrap()).split();
    pipe.writer.write_all(bytes).await.unwrap();
    pipe.writer.shutdown().await.unwrap();
    receiver.next().await.unwrap_err()
}

async fn a_truncated_frame_ends_only_its_connection(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let lengths = Lengths { header: 10, payload: 1000 };
    let whole = [&lengths.prefix()[..], &[1; 10], &[2; 1000]].concat();
    for length in [1, 7, 8, 9, 17, 18, 19, 1017] {
        let error = violation(&lan, &mut listener, &whole[..length]).await;
        let expected = FrameError::Truncated;
        assert!(
            matches!(&error, TransportError::Violation { error, .. } if *error == expected),
            "{length}: {error}"
        );
    }
    join(&lan.leader(), &mut listener).await;
}

async fn an_oversized_frame_ends_only_its_connection(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    for (header, payload) in
        [(MAX_HEADER as u32 + 1, 0), (1, u32::MAX), (u32::MAX, u32::MAX), (0, 1)]
    {
        let claim = [header.to_le_bytes(), payload.to_le_bytes()].concat();
        let error = violation(&lan, &mut listener, &claim).await;
        assert!(matches!(error, TransportError::Violation { .. }), "{error}");
    }
    join(&lan.leader(), &mut listener).await;
}

async fn a_limit_can_be_set(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, mut answers) = dialled.split();
    let (_kept, mut receiver) = accepted.split();
    receiver.limit_payload(100);
    sender.send(vec![1], vec![0; 100]).unwrap();
    assert_eq!(receiver.next().await.unwrap().payload.len(), 100);
    sender.send(vec![1], vec![0; 101]).unwrap();
    let expected = FrameError::Payload { found: 101, limit: 100 };
    let error = receiver.next().await.unwrap_err();
    assert!(
        matches!(&error, TransportError::Violation { error, .. } if *error == expected),
        "{error}"
    );
    answers.next().await.unwrap_err();
}

async fn a_payload_that_no_message_has_is_not_accepted(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let address = listener.address().to_owned();
    for (purpose, payload) in
        [(Purpose::Control, 1), (Purpose::Probe, 1 << 20), (Purpose::Strips(SessionId(7)), 1)]
    {
        let (dialled, accepted) = tokio::join!(leader.dial(&address, purpose), listener.accept());
        let (sender, mut answers) = dialled.unwrap().split();
        let (_kept, mut receiver) = accepted.unwrap().split();
        sender.send(vec![1], vec![0; payload]).unwrap();
        let error = receiver.next().await.unwrap_err();
        assert!(matches!(error, TransportError::Violation { .. }), "{purpose:?}: {error}");
        answers.next().await.unwrap_err();
    }
}

/// A peer that asks and asks and never reads the answers.
async fn who_does_not_read_control_messages_is_cut(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let address = listener.address().to_owned();
    let (dialled, accepted) =
        tokio::join!(leader.dial(&address, Purpose::Control), listener.accept());
    let (answers, _questions) = accepted.unwrap().split();
    let (_deaf, _unread) = dialled.unwrap().split();
    let mut queued = 0;
    let error = loop {
        match answers.send(vec![0; 1 << 20], Vec::new()) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
        assert!(queued <= 100, "{queued} MB wait for a peer that does not read");
    };
    assert!(error.to_string().contains("does not read"), "{error}");
    assert_eq!(answers.broken().await, error);
}

async fn one_side_may_end_before_the_other(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (question, mut answers) = dialled.split();
    let (answer, mut questions) = accepted.split();
    question.send(vec![1], vec![5; 1000]).unwrap();
    drop(question);
    assert_eq!(questions.next().await.unwrap().payload, vec![5; 1000]);
    let end = questions.next().await.unwrap_err();
    assert!(matches!(end, TransportError::Closed { .. }), "{end}");
    answer.send(vec![2], Vec::new()).unwrap();
    drop(answer);
    assert_eq!(answers.next().await.unwrap().header, [2]);
    answers.next().await.unwrap_err();
    answers.next().await.unwrap_err();
}

async fn an_abort_ends_both_directions_at_once(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, mut receiver) = dialled.split();
    let (_kept, mut questions) = accepted.split();
    sender.abort("the leader has finished");
    assert!(sender.broken().await.to_string().contains("has finished"));
    assert!(sender.send(vec![1], Vec::new()).is_err());
    receiver.next().await.unwrap_err();
    questions.next().await.unwrap_err();
}

async fn heartbeats_count_as_heard_and_are_not_delivered(lan: Lan) {
    let quick = Settings { heartbeat: Duration::from_millis(1), ..Settings::default() };
    let worker = lan.start(&lan.worker, hello(1), quick.clone());
    let mut listener = worker.listen(lan.at).await.unwrap();
    let leader = lan.start(&lan.leader, hello(2), quick);
    let address = listener.address().to_owned();
    for purpose in [Purpose::Control, STRIPS] {
        let (dialled, accepted) = tokio::join!(leader.dial(&address, purpose), listener.accept());
        let (sender, mut receiver) = dialled.unwrap().split();
        let (answer, _questions) = accepted.unwrap().split();
        for heard in [&sender, &answer] {
            let before = heard.last_heard();
            while heard.last_heard() <= before {
                tokio::task::yield_now().await;
            }
        }
        answer.send(vec![9], Vec::new()).unwrap();
        assert_eq!(receiver.next().await.unwrap().header, [9]);
    }
}

async fn part_of_a_payload_counts_as_heard(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let peer = Hello { purpose: STRIPS, ..hello(2) };
    let mut pipe = lan.greet(&peer, listener.address()).await;
    let (_sender, mut receiver) = expecting(listener.accept().await.unwrap()).split();
    let lengths = Lengths { header: 1, payload: 300 };
    pipe.writer.write_all(&[&lengths.prefix()[..], &[1]].concat()).await.unwrap();
    for _ in 0..3 {
        let before = receiver.last_heard();
        pipe.writer.write_all(&[2; 100]).await.unwrap();
        pipe.writer.flush().await.unwrap();
        while receiver.last_heard() <= before {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(receiver.next().await.unwrap().payload, [2; 300]);
}

async fn a_listener_survives_failures_to_accept(lan: Lan) {
    let short_of_files: Arc<dyn Transport> = Arc::new(ShortOfFiles(lan.worker.clone()));
    let worker = lan.start(&short_of_files, hello(1), Settings::default());
    let mut listener = worker.listen(lan.at).await.unwrap();
    join(&lan.leader(), &mut listener).await;
}

async fn silent_initiators_do_not_block_others(lan: Lan) {
    // They are never told to hurry: those who speak take their place.
    let handshake = Duration::from_secs(3600);
    let settings = Settings { handshake, concurrent_handshakes: 2, ..Settings::default() };
    let worker = lan.start(&lan.worker, hello(1), settings);
    let mut listener = worker.listen(lan.at).await.unwrap();
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"EDG", b"", b"EDGELD", b""] {
        let mut pipe = lan.leader.dial(listener.address()).await.unwrap();
        pipe.writer.write_all(bytes).await.unwrap();
        silent.push(pipe);
    }
    join(&lan.leader(), &mut listener).await;
}

async fn queued_frames_are_written_before_a_network_ends(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let leader = lan.leader();
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, _answers) = dialled.split();
    let (_, mut receiver) = accepted.split();
    for number in 0..100 {
        sender.send(vec![number], vec![0; 10_000]).unwrap();
    }
    leader.shutdown().await;
    for number in 0..100 {
        assert_eq!(receiver.next().await.unwrap().header, [number]);
    }
    receiver.next().await.unwrap_err();
    assert!(sender.send(vec![1], Vec::new()).is_err());
}

async fn dial_any_keeps_the_address_of_the_right_device(lan: Lan) {
    let (_worker, listener) = lan.worker().await;
    let other = lan.start(&lan.worker, hello(5), Settings::default());
    let elsewhere = other.listen(lan.at).await.unwrap();
    let gone = other.listen(lan.at).await.unwrap().address().to_owned();
    let mut addresses = vec![elsewhere.address().to_owned(), gone, listener.address().to_owned()];
    let leader = lan.leader();
    let connection = leader.dial_any(&addresses, NodeId(1), STRIPS).await.unwrap();
    assert_eq!(connection.address(), listener.address());
    let error = leader.dial_any(&addresses, NodeId(8), STRIPS).await.unwrap_err();
    assert!(matches!(error, TransportError::WrongNode { .. }), "{error}");
    let error = leader.dial_any(&[], NodeId(8), STRIPS).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    // More addresses than a device has are not all tried.
    let elsewhere = addresses[0].clone();
    addresses.splice(0..2, std::iter::repeat_n(elsewhere, MAX_ADDRESSES));
    let error = leader.dial_any(&addresses, NodeId(1), STRIPS).await.unwrap_err();
    assert!(matches!(error, TransportError::WrongNode { .. }), "{error}");
}

macro_rules! over_all {
    ($($name:ident)*) => {
        mod over_tcp {
            $(#[tokio::test]
            async fn $name() {
                super::within(super::$name(super::tcp())).await;
            })*
        }
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::within(super::$name(super::memory())).await;
            })*
        }
        mod encrypted_over_tcp {
            $(#[tokio::test]
            async fn $name() {
                super::within(super::$name(super::keyed(super::tcp()))).await;
            })*
        }
        mod encrypted_in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::within(super::$name(super::keyed(super::memory()))).await;
            })*
        }
    };
}

over_all! {
    each_side_learns_who_the_other_is
    frames_arrive_in_order_from_any_thread
    a_large_payload_is_allocated_exactly
    a_payload_arrives_although_nothing_follows
    a_sender_sees_its_backlog
    another_version_is_refused_in_words_on_both_sides
    another_cluster_is_refused_in_words_on_both_sides
    a_listener_rejects_other_protocols
    an_initiator_recognises_other_protocols
    nobody_there_is_unreachable
    a_truncated_frame_ends_only_its_connection
    an_oversized_frame_ends_only_its_connection
    a_limit_can_be_set
    a_payload_that_no_message_has_is_not_accepted
    who_does_not_read_control_messages_is_cut
    one_side_may_end_before_the_other
    an_abort_ends_both_directions_at_once
    heartbeats_count_as_heard_and_are_not_delivered
    part_of_a_payload_counts_as_heard
    a_listener_survives_failures_to_accept
    silent_initiators_do_not_block_others
    queued_frames_are_written_before_a_network_ends
    dial_any_keeps_the_address_of_the_right_device
}

mod switchboard {
    use super::*;

    #[tokio::test]
    async fn a_pulled_cable_delays_and_a_reset_ends() {
        within(async {
            let board = Switchboard::default();
            let (worker, leader) = (Arc::new(board.plug("w")), Arc::new(board.plug("l")));
            let lan = Lan { worker, leader, ..memory() };
            let (_worker, mut listener) = lan.worker().await;
            let leader = lan.leader();
            let (dialled, accepted) = join(&leader, &mut listener).await;
            let (sender, mut answers) = dialled.split();
            let (_kept, mut receiver) = accepted.split();

            board.cut("w", "l");
            let before = board.carried("w", "l");
            sender.send(vec![1], vec![0; 1000]).unwrap();
            sender.backlog_below(0).await.unwrap();
            assert_eq!(board.carried("w", "l"), before);
            board.heal("l", "w");
            receiver.next().await.unwrap();
            assert_eq!(board.carried("w", "l").0, before.0 + 8 + 1 + 1000);

            board.delay("w", "l", Duration::from_millis(5));
            sender.send(vec![2], Vec::new()).unwrap();
            assert_eq!(receiver.next().await.unwrap().header, [2]);

            board.sever("w", "l");
            receiver.next().await.unwrap_err();
            answers.next().await.unwrap_err();
        })
        .await;
    }
}
