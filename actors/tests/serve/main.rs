//! `edgeld serve` as a process, with workers as processes, asked over real sockets.
//!
//! deploy/serve/clients does the same with clients that people have; here is what only shows from
//! within: bounds, bad input, cancellation, losses.

mod site;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use site::{NETWORK, Site, tensor};

#[test]
fn answers_are_those_of_the_library_whoever_asks() {
    let site = Site::start(&["--queue", "8", "--kernels", "exact"], 2);
    let (first, second) = (site.infer(&tensor(1)), site.infer(&tensor(2)));
    assert_eq!((first.status, second.status), (200, 200), "{}", first.text());
    assert_eq!(first.json()["outputs"][0]["shape"], json!([1, 10]));
    assert_ne!(first.json()["outputs"], second.json()["outputs"]);
    assert_eq!(site.infer(&tensor(1)).json(), first.json());
    // As bytes behind the JSON.
    let values = site::values(1);
    let size = 4 * values.len();
    let head = json!({"inputs": [{"name": NETWORK.input, "shape": [1, 3, 32, 32],
        "datatype": "FP32", "parameters": {"binary_data_size": size}}]});
    let head = head.to_string();
    let mut body = head.clone().into_bytes();
    body.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let length = format!("Inference-Header-Content-Length: {}", head.len());
    let answer = site.post("/v2/models/net/infer", &[&length], &body);
    assert_eq!(answer.json(), first.json());
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let site = Site::start(&[], 0);
    let infer = "/v2/models/net/infer";
    let input = |patch: Value| {
        let mut input = json!({"name": NETWORK.input, "shape": [1, 3, 32, 32],
            "datatype": "FP32", "data": [1.0]});
        input.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        json!({"inputs": [input]}).to_string().into_bytes()
    };
    for (body, words) in [
        (b"{".to_vec(), "not an inference request"),
        (b"[1]".to_vec(), "not an inference request"),
        (json!({"inputs": []}).to_string().into_bytes(), "missing"),
        (input(json!({})), "1 elements"),
        (input(json!({"shape": [1, 3, 32]})), "[1, 3, 32, 32]"),
        (input(json!({"shape": [-1]})), "not an inference request"),
        (input(json!({"datatype": "BYTES"})), "send FP32"),
        (input(json!({"name": "cat"})), NETWORK.input),
        (input(json!({"data": null})), "neither data"),
        (input(json!({"data": "AAAA"})), "not an inference request"),
        (input(json!({"data": null, "parameters": {"binary_data_size": 1u64 << 40}})), "follow"),
        (input(json!({"data": null, "parameters": {"binary_data_size": -4}})), "number of bytes"),
        (input(json!({"parameters": {"shared_memory_region": "a"}})), "shared memory"),
    ] {
        let answer = site.post(infer, &[], &body);
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, 400, "{error}");
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
    for length in ["99999", "-1", "x", ""] {
        let header = format!("Inference-Header-Content-Length: {length}");
        assert_eq!(site.post(infer, &[&header], b"{}").status, 400, "{length}");
    }
    let large = site.raw(
        "POST /v2/models/net/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    );
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    assert_eq!(site.get("/v2/models/net").status, 200);
    assert_eq!(site.get("/v2/models/net/infer").status, 405);
}

#[test]
fn what_does_not_fit_the_queue_is_refused_at_once_and_what_does_is_answered() {
    // Frames of 30 ms, at most three at work or ready, two waiting.
    let site = Site::start(&["--queue", "2", "--pace", "0.02", "--threads", "1"], 0);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..16)
            .map(|seed| {
                let site = &site;
                scope.spawn(move || {
                    let begun = Instant::now();
                    (site.infer(&tensor(seed)), begun.elapsed())
                })
            })
            .collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |status| answers.iter().filter(|(answer, _)| answer.status == status).count();
    assert_eq!(count(200) + count(429), 16);
    assert!(count(200) >= 4 && count(429) >= 1, "{} answered", count(200));
    for (answer, _) in answers.iter().filter(|(answer, _)| answer.status == 429) {
        assert!(answer.head.to_lowercase().contains("retry-after: "), "{}", answer.head);
        assert!(answer.text().contains("wait already"), "{}", answer.text());
    }
}

#[test]
fn a_client_that_goes_away_takes_its_place_with_it() {
    let site = Site::start(
        &["--queue", "1", "--deadline", "60000", "--pace", "0.005", "--threads", "1"],
        0,
    );
    let body = tensor(1);
    let ask = || {
        let mut stream = TcpStream::connect(&site.http).unwrap();
        let head = format!(
            "POST /v2/models/net/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        stream
    };
    // One computes for a second, one is ready, one waits.
    let mut asked: Vec<TcpStream> = Vec::new();
    while site.waiting() < 1 {
        asked.push(ask());
    }
    let begun = site.answered();
    drop(asked);
    let deadline = Instant::now() + Duration::from_secs(20);
    while site.waiting() > 0 {
        assert!(Instant::now() < deadline, "requests of clients that are gone still wait");
    }
    assert!(site.answered() <= begun + 1, "they were computed, and nobody reads the answers");
    assert_eq!(site.infer(&tensor(2)).status, 200);
}

#[test]
fn a_worker_that_is_killed_takes_no_request_with_it() {
    let mut site = Site::start(&["--spread"], 2);
    let wanted = site.infer(&tensor(1)).json();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let (server, seeds) = (site.http.clone(), 0..24);
        let asked = scope
            .spawn(move || seeds.map(|_| site::infer_at(&server, &tensor(1))).collect::<Vec<_>>());
        site.kill_worker(0);
        asked.join().unwrap()
    });
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        site::same(&answer.json(), &wanted);
    }
    // Who listens is told.
    let events = site.events_until("\"event\":\"plan\"");
    assert!(events.contains("\"event\":\"cluster\""), "{events}");
}

#[test]
fn requests_that_were_accepted_are_answered_before_it_ends() {
    let mut site = Site::start(&["--pace", "0.05", "--threads", "1"], 0);
    let server = site.http.clone();
    let asked = std::thread::spawn(move || site::infer_at(&server, &tensor(1)));
    while site.running() == 0 && !asked.is_finished() {}
    site.terminate();
    assert_eq!(asked.join().unwrap().status, 200);
    assert_eq!(site.wait().code(), Some(0));
}

#[test]
fn a_body_that_never_comes_ends_with_its_connection() {
    let site = Site::start(&[], 0);
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(&site.http).unwrap();
            stream
                .write_all(
                    b"POST /v2/models/net/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
                )
                .unwrap();
            stream
        })
        .collect();
    // Others are not kept waiting by them.
    assert_eq!(site.infer(&tensor(3)).status, 200);
    slow.truncate(1);
    slow[0].set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = [0; 12];
    slow[0].read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}
