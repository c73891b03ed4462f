//! Output and events over connections that break: every byte once, in order.

#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod fake;

use fake::{Act, Asked, Fake, frame, run_json};
use kin_api::home::Home;
use kin_client::{Chunk, Client, Error, Offsets, Piece, Start, Stream, block_on};
use proptest::prelude::*;
use std::time::Duration;

fn client(fake: &Fake) -> Client {
    let home = Home { config: vec![fake.home()], state: fake.home().join("state"), system: false };
    Client::with_patience(home, Start::Never, Duration::from_secs(5), Duration::from_secs(10))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    out: Vec<u8>,
    err: Vec<u8>,
    gaps: Vec<(Stream, u64, u64)>,
    away: u32,
    ended: Option<String>,
}

async fn read(client: &Client, from: Offsets, follow: bool) -> Result<Got, Error> {
    let mut reader = client.follow("a-00000001", from, follow);
    let mut got = Got::default();
    while let Some(piece) = reader.next().await? {
        match piece {
            Piece::Bytes { stream: Stream::Out, bytes, .. } => got.out.extend_from_slice(&bytes),
            Piece::Bytes { stream: Stream::Err, bytes, .. } => got.err.extend_from_slice(&bytes),
            Piece::Gap { stream, offset, count } => got.gaps.push((stream, offset, count)),
            Piece::Away => got.away += 1,
            Piece::Unrecorded(run) => panic!("{run:?}"),
            Piece::End(run) => got.ended = run.outcome,
        }
    }
    Ok(got)
}

fn offsets(asked: &Asked) -> (usize, usize) {
    let number = |name: &str| {
        let value = asked.path.split(['?', '&']).find_map(|part| part.strip_prefix(name)).expect("an offset");
        value.parse().expect("a number")
    };
    (number("out="), number("err="))
}

/// The frames a server would send from these offsets on, each of at most `size` bytes.
fn frames(out: &[u8], err: &[u8], (from_out, from_err): (usize, usize), size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let streams = [(0, out, from_out), (1, err, from_err)];
    let longest = out.len().max(err.len());
    for start in (0..longest).step_by(size) {
        for (kind, all, from) in streams {
            let (start, end) = (start.max(from), (start + size).min(all.len()));
            if start < end {
                bytes.extend(frame(kind, start as u64, &all[start..end]));
            }
        }
    }
    bytes.extend(frame(9, 0, run_json("a-00000001", "ended", Some("ok")).as_bytes()));
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn output_is_exact_wherever_the_connection_breaks(
        out in proptest::collection::vec(any::<u8>(), 0..400),
        err in proptest::collection::vec(any::<u8>(), 0..400),
        size in 1usize..90,
        cuts in proptest::collection::vec((0usize..600, any::<bool>()), 0..6),
    ) {
        let (all_out, all_err) = (out.clone(), err.clone());
        let fake = Fake::new(move |asked, before| {
            let mut bytes = frames(&all_out, &all_err, offsets(asked), size);
            match cuts.get(before) {
                Some((cut, clean)) => {
                    bytes.truncate(*cut);
                    let whole = bytes.ends_with(b"}");
                    if *clean || whole { Act::Body(bytes) } else { Act::BodyCut(bytes) }
                }
                None => Act::Body(bytes),
            }
        });
        let got = block_on(read(&client(&fake), Offsets::default(), true)).expect("a runtime").expect("output");
        prop_assert_eq!(got, Got { out, err, gaps: Vec::new(), away: 0, ended: Some("ok".into()) });
    }
}

#[test]
fn what_comes_twice_is_given_once_and_what_is_missing_is_said() {
    let fake = Fake::new(|_, _| {
        let mut bytes = frame(0, 0, b"abcdef");
        bytes.extend(frame(0, 3, b"defgh"));
        bytes.extend(frame(0, 2, b"cd"));
        let mut payload = 5u64.to_le_bytes().to_vec();
        payload.push(0);
        bytes.extend(frame(2, 8, &payload));
        bytes.extend(frame(0, 13, b"ij"));
        bytes.extend(frame(1, 4, b"late"));
        bytes.extend(frame(1, 8, b""));
        Act::Body(bytes)
    });
    let got = block_on(read(&client(&fake), Offsets::default(), false)).expect("a runtime").expect("output");
    assert_eq!(got.out, b"abcdefghij");
    assert_eq!(got.err, b"late");
    assert_eq!(got.gaps, [(Stream::Out, 8, 5), (Stream::Err, 0, 4)]);
    assert_eq!(got.ended, None);
}

#[test]
fn what_is_not_frames_is_named() {
    let fake = Fake::new(|_, _| Act::Body(b"<html>what is this?</html>".to_vec()));
    let error = block_on(read(&client(&fake), Offsets::default(), true)).expect("a runtime").expect_err("strange");
    assert!(matches!(error, Error::Strange { .. }), "{error:?}");
}

#[test]
fn a_server_that_stays_away_is_given_up() {
    let fake = Fake::new(|_, _| Act::Cut);
    let home = Home { config: vec![fake.home()], state: fake.home().join("state"), system: false };
    let client = Client::with_patience(home, Start::Never, Duration::from_millis(100), Duration::from_millis(300));
    let error = block_on(read(&client, Offsets::default(), true)).expect("a runtime").expect_err("silent");
    assert!(matches!(error, Error::Silent { .. }), "{error:?}");
}

#[test]
fn a_server_that_was_shut_down_is_told_at_once_and_the_next_one_followed() {
    let ended = run_json("a-00000001", "ended", Some("ok"));
    let fake = Fake::new(move |_, before| match before {
        0 => Act::BodyCut(frame(0, 0, b"one")),
        _ => Act::Body([frame(0, 3, b"two"), frame(9, 0, ended.as_bytes())].concat()),
    });
    let closed = fake.home().join("run/closed");
    block_on(async {
        let client = client(&fake);
        let mut reader = client.follow("a-00000001", Offsets::default(), true);
        assert!(matches!(reader.next().await, Ok(Some(Piece::Bytes { .. }))));
        std::fs::write(&closed, "").expect("a mark");
        assert_eq!(reader.next().await.expect("word"), Some(Piece::Away));
        std::fs::remove_file(&closed).expect("another server");
        assert!(matches!(reader.next().await, Ok(Some(Piece::Bytes { offset: 3, .. }))));
        assert!(matches!(reader.next().await, Ok(Some(Piece::End(_)))));
    })
    .expect("a runtime");
    std::fs::write(&closed, "").expect("a mark");
    let home = Home { config: vec![fake.home()], state: fake.home().join("state"), system: false };
    let client = Client::with_patience(home, Start::Never, Duration::from_secs(5), Duration::from_millis(300));
    let error = block_on(read(&client, Offsets::default(), true)).expect("a runtime").expect_err("nobody");
    assert!(matches!(error, Error::NoServer { .. }), "{error:?}");
}

#[test]
fn one_stream_goes_on_from_where_it_broke() {
    const ALL: &[u8] = b"every byte once";
    let fake = Fake::new(|asked, before| {
        let from = asked.path.split("offset=").nth(1).and_then(|t| t.split('&').next()?.parse().ok());
        let rest = &ALL[from.expect("an offset")..];
        if before < 2 { Act::BodyCut(rest[..4].to_vec()) } else { Act::Body(rest.to_vec()) }
    });
    let client = client(&fake);
    let mut got = Vec::new();
    block_on(async {
        let mut output = client.output("a-00000001", Stream::Out, 0, false);
        while let Some(chunk) = output.next().await.expect("output") {
            match chunk {
                Chunk::Bytes(bytes) => got.extend_from_slice(&bytes),
                Chunk::Gap(count) => panic!("a gap of {count}"),
            }
        }
    })
    .expect("a runtime");
    assert_eq!(got, ALL);
}

#[test]
fn events_go_on_after_the_last_one_seen() {
    let event = |seq: u64| {
        format!("id: {seq}\nevent: run.state\ndata: {{\"seq\":{seq},\"at\":\"x\",\"kind\":\"run.state\"}}\n\n")
    };
    let fake = Fake::new(move |asked, _| {
        let after: u64 = asked.last_event.as_deref().map_or(4, |id| id.parse().expect("a number"));
        let mut text = event(after + 1);
        text.push_str(&event(after + 2)[..10]);
        Act::BodyCut(text.into())
    });
    let client = client(&fake);
    let seqs = block_on(async {
        let mut events = client.events(None, Some("a*"));
        let mut seqs = Vec::new();
        for _ in 0..3 {
            seqs.push(events.next().await.expect("an event").seq);
        }
        seqs
    });
    assert_eq!(seqs.expect("a runtime"), [5, 6, 7]);
    assert_eq!(fake.asked()[0].path, "/v1/events?runs=a%2A");
    assert_eq!(fake.asked()[0].last_event, None);
}
