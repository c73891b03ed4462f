//! The keeper's door: descriptors arrive under their key, again and again until they are acknowledged.

#[path = "fake/keeper.rs"]
mod keeper;

use keeper::keeper;
use kin_api::home::Home;
use kin_client::{Client, HandKey, Keyboard, Start, block_on};
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

fn client(home: &Path) -> Client {
    let home = Home { config: vec![home.to_owned()], state: home.join("state"), system: false };
    Client::with_patience(home, Start::Never, Duration::from_secs(5), Duration::from_secs(5))
}

#[test]
fn descriptors_arrive_under_their_key_until_they_are_acknowledged() {
    let home = tempfile::tempdir().expect("a directory");
    let (tell, told) = std::sync::mpsc::channel();
    let mut before = 0;
    keeper(home.path(), move |packet| {
        before += 1;
        tell.send(packet).expect("a listener");
        // The first keeper dies before it has answered.
        (before > 1).then(|| b"KINHAND+".to_vec())
    });
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"input").expect("bytes");
    file.rewind().expect("a rewind");
    let key = HandKey(0x0102_0304_0506_0708);
    block_on(client(home.path()).hand(key, &[file.as_fd()])).expect("a runtime").expect("taken");
    let packets = [told.recv().expect("a packet"), told.recv().expect("a packet")];
    for packet in &packets {
        assert_eq!(packet.bytes, b"KINHAND1\x08\x07\x06\x05\x04\x03\x02\x01");
        assert_eq!(packet.fds.len(), 1);
    }
    let [_, packet] = packets;
    let mut text = String::new();
    let given = packet.fds.into_iter().next().expect("a descriptor");
    std::fs::File::from(given).read_to_string(&mut text).expect("text");
    assert_eq!(text, "input");
}

#[test]
fn without_a_keeper_it_is_given_up() {
    let home = tempfile::tempdir().expect("a directory");
    let home = Home { config: Vec::new(), state: home.path().join("state"), system: false };
    let client = Client::with_patience(home, Start::Never, Duration::from_millis(50), Duration::from_secs(1));
    let key = HandKey::random().expect("a key");
    let error = block_on(client.hand(key, &[std::io::stdin().as_fd()])).expect("a runtime").expect_err("nobody");
    assert!(error.to_string().starts_with("could not hand over standard input"), "{error}");
}

#[test]
fn keys_are_taken_once_whatever_the_keeper_takes_at_a_time() {
    let home = tempfile::tempdir().expect("a directory");
    let (tell, told) = std::sync::mpsc::channel();
    let mut terminal: Vec<u8> = Vec::new();
    let mut asked = 0;
    keeper(home.path(), move |packet| {
        let number =
            |range: std::ops::Range<usize>| u64::from_le_bytes(packet.bytes[range].try_into().expect("8 bytes"));
        assert_eq!((&packet.bytes[..8], number(8..16)), (&b"KININPUT"[..], 62 + 2));
        let (offset, bytes) = (number(16..24) as usize, &packet.bytes[24..]);
        asked += 1;
        // Three bytes at most fit the terminal; now and then none, and now and then the answer is lost.
        let new = &bytes[terminal.len() - offset..];
        terminal.extend_from_slice(&new[..new.len().min(if asked % 3 == 0 { 0 } else { 3 })]);
        tell.send(terminal.clone()).expect("a listener");
        let next = (terminal.len() as u64).to_le_bytes();
        (asked % 4 != 0).then(|| [&b"KININPUT"[..], &next].concat())
    });
    let client = client(home.path());
    let mut keyboard = Keyboard::of(&client, "vi-00000012").expect("a keyboard");
    block_on(async {
        keyboard.send(b"every key").await.expect("taken");
        keyboard.send(b" once").await.expect("taken");
    })
    .expect("a runtime");
    assert_eq!(told.try_iter().last().expect("keys"), b"every key once");
}

/// A keeper that does not answer for a time is no reason to lose a key.
#[test]
fn what_is_typed_outlasts_a_silent_keeper() {
    let home = tempfile::tempdir().expect("a directory");
    let mut asked = 0;
    keeper(home.path(), move |packet| {
        asked += 1;
        let taken = 3u64.to_le_bytes();
        (asked > 3).then(|| [&packet.bytes[..8], &taken].concat())
    });
    let place = Home { config: vec![home.path().to_owned()], state: home.path().join("state"), system: false };
    let client = Client::with_patience(place, Start::Never, Duration::ZERO, Duration::ZERO);
    let mut keyboard = Keyboard::of(&client, "vi-00000012").expect("a keyboard");
    block_on(async { keyboard.send(b"key").await.expect("taken") }).expect("a runtime");
}
