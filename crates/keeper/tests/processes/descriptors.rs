//! Moving bytes and descriptors: nothing twice, nothing lost, nothing awaited.

use crate::support::{House, PATIENCE, open_fds};
use kin_keeper::sys::misc::{Moved, memfd, receive, send, splice, tee_to};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use std::os::unix::fs::FileExt;
use std::time::Instant;

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe")
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair")
}

#[test]
fn splice_puts_each_byte_at_its_offset_and_tells_empty_from_ended() {
    let (read, write) = pipe();
    let file = tempfile::tempfile().expect("a file");
    assert_eq!(splice(&read, &file, 0, 100), Ok(Moved::Empty));
    rustix::io::write(&write, b"0123456789").expect("written");
    assert_eq!(rustix::io::ioctl_fionread(&read).expect("counted"), 10);
    assert_eq!(splice(&read, &file, 3, 4), Ok(Moved::Bytes(4)));
    assert_eq!(splice(&read, &file, 7, 100), Ok(Moved::Bytes(6)));
    assert_eq!(splice(&read, &file, 13, 100), Ok(Moved::Empty));
    drop(write);
    assert_eq!(splice(&read, &file, 13, 100), Ok(Moved::End));
    let mut all = [0; 13];
    file.read_exact_at(&mut all, 0).expect("reads");
    assert_eq!(&all, b"\0\0\x000123456789");
}

#[test]
fn a_big_output_comes_through_exactly() {
    let mut house = House::new();
    let lines = 200_000;
    let started = house.start(&house.sh(&format!("seq 1 {lines}")));
    let file = tempfile::tempfile().expect("a file");
    let (mut offset, until) = (0, Instant::now() + PATIENCE);
    loop {
        let mut fds = [rustix::event::PollFd::new(&started.out, rustix::event::PollFlags::IN)];
        let left = rustix::event::Timespec::try_from(until - Instant::now()).expect("a time");
        assert_eq!(rustix::event::poll(&mut fds, Some(&left)).expect("waits"), 1, "something comes in time");
        match splice(&started.out, &file, offset, 1 << 20).expect("moves") {
            Moved::Bytes(count) => offset += count as u64,
            Moved::Empty => {}
            Moved::End => break,
        }
    }
    let want: String = (1..=lines).map(|i| format!("{i}\n")).collect();
    let mut got = vec![0; want.len() + 1];
    assert_eq!(file.read_at(&mut got, 0).expect("reads"), want.len());
    assert!(got[..want.len()] == *want.as_bytes());
}

#[test]
fn where_splice_cannot_write_a_copy_is_taken_first() {
    let (read, write) = pipe();
    let (aux_out, aux_in) = pipe();
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null").expect("opens");
    // An O_APPEND file refuses splice as some file systems do.
    let dir = tempfile::tempdir().expect("a directory");
    let appending = std::fs::OpenOptions::new().create(true).append(true).open(dir.path().join("a")).expect("opens");
    rustix::io::write(&write, b"abcdefgh").expect("written");
    assert_eq!(splice(&read, &appending, 0, 100), Err(Errno::INVAL));

    let file =
        std::fs::OpenOptions::new().create_new(true).read(true).write(true).open(dir.path().join("b")).expect("opens");
    let mut scratch = [0; 5];
    assert_eq!(tee_to(&read, (&aux_out, &aux_in), &null, &file, 0, &mut scratch), Ok(Moved::Bytes(5)));
    assert_eq!(rustix::io::ioctl_fionread(&read).expect("counted"), 3);
    assert_eq!(tee_to(&read, (&aux_out, &aux_in), &null, &file, 5, &mut scratch), Ok(Moved::Bytes(3)));
    assert_eq!(tee_to(&read, (&aux_out, &aux_in), &null, &file, 8, &mut scratch), Ok(Moved::Empty));
    drop(write);
    assert_eq!(tee_to(&read, (&aux_out, &aux_in), &null, &file, 8, &mut scratch), Ok(Moved::End));
    assert_eq!(std::fs::read(dir.path().join("b")).expect("reads"), b"abcdefgh");
}

#[test]
fn a_full_disk_leaves_the_bytes_in_the_pipe() {
    let (read, write) = pipe();
    let (aux_out, aux_in) = pipe();
    let full = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").expect("opens");
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null").expect("opens");
    rustix::io::write(&write, b"kept").expect("written");
    let refused = tee_to(&read, (&aux_out, &aux_in), &null, &full, 0, &mut [0; 64]);
    assert_eq!(refused, Err(Errno::NOSPC));
    assert_eq!(rustix::io::ioctl_fionread(&read).expect("counted"), 4);
    assert_eq!(rustix::io::ioctl_fionread(&aux_out).expect("counted"), 0);
}

#[test]
fn descriptors_travel_and_survive_their_sender() {
    let (here, there) = pair();
    let (read, write) = pipe();
    let file = memfd(c"handed").expect("a memfd");
    let before = open_fds();
    send(&here, b"two of them", &[read.as_fd(), file.as_fd()]).expect("sent");
    send(&here, b"none", &[]).expect("sent");
    drop((read, here));
    rustix::io::write(&write, b"still there").expect("written: the descriptor in flight keeps the pipe");
    let mut buffer = [0; 64];
    let packet = receive(&there, &mut buffer).expect("received");
    assert_eq!((&buffer[..packet.len], packet.cut), (&b"two of them"[..], false));
    let [Some(read), Some(_file), ..] = packet.fds else { panic!("{packet:?}") };
    assert!(rustix::io::fcntl_getfd(&read).expect("flags").contains(rustix::io::FdFlags::CLOEXEC));
    let mut bytes = [0; 32];
    assert_eq!(rustix::io::read(&read, &mut bytes), Ok(11));
    let packet = receive(&there, &mut buffer).expect("received");
    assert!(packet.len == 4 && packet.fds.iter().all(Option::is_none));
    assert_eq!(receive(&there, &mut buffer).expect("received").len, 0, "the other side's end");
    drop((read, _file));
    assert_eq!(open_fds(), before - 3 + 1, "all but the file, the pipe's other end and our socket are closed");
}

#[test]
fn a_sender_never_waits_and_a_long_packet_is_known_to_be_cut() {
    let (here, there) = pair();
    assert_eq!(receive(&there, &mut [0; 8]).err(), Some(Errno::AGAIN));
    let mut sent = 0;
    let full = loop {
        match send(&here, &[7; 1024], &[]) {
            Ok(_) => sent += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(full, Errno::AGAIN);
    assert!(sent > 10);
    let packet = receive(&there, &mut [0; 8]).expect("received");
    assert!(packet.len == 8 && packet.cut);
}
