//! The keeper's small door: descriptors that become a run's own, and keystrokes for a run on a terminal.
//!
//! One packet each way, SEQPACKET. Whatever is not acknowledged is sent again: descriptors under the same key,
//! keystrokes with the offset they have in the run's input, of which the keeper takes each byte once.

use crate::client::Client;
use crate::door::{Pause, SocketPath};
use crate::error::Error;
use kin_api::RunNo;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

const GIVE: &[u8; 8] = b"KINHAND1";
const TAKEN: &[u8; 8] = b"KINHAND+";
const FULL: &[u8; 8] = b"KINHAND-";
const INPUT: &[u8; 8] = b"KININPUT";
const SIZE: &[u8; 8] = b"KINSIZE1";
/// Bytes of input in one packet.
const INPUT_MAX: usize = 4096;
/// An answer that has not come by then is asked for again.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// Under which the keeper keeps what it was handed, until a run names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandKey(pub u64);

impl HandKey {
    pub fn random() -> Result<HandKey, Error> {
        let mut bytes = [0u8; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::System { what: "could not make a key", source: e.into() })?;
        // Zero means that there is none.
        Ok(HandKey(u64::from_le_bytes(bytes).max(1)))
    }
}

/// The type is tokio's for a stream; what it gives is only the readiness of the socket, which holds packets.
struct Door {
    socket: UnixStream,
}

impl Door {
    fn open(client: &Client) -> std::io::Result<Door> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let short = SocketPath::of(&client.inner.home.hand_socket())?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&short.path)?)?;
        Ok(Door { socket: UnixStream::from_std(socket.into())? })
    }

    /// Sends one packet and takes the answer to it.
    async fn ask(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) -> std::io::Result<[u8; 16]> {
        self.socket
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                    return Err(std::io::ErrorKind::InvalidInput.into());
                }
                Ok(rustix::net::sendmsg(&self.socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL)?)
            })
            .await?;
        let mut answer = [0u8; 16];
        let received = self.socket.async_io(Interest::READABLE, || {
            Ok(rustix::net::recv(&self.socket, &mut answer[..], RecvFlags::empty())?.1)
        });
        let received = timeout(ANSWER_PATIENCE, received).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        if received == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer)
    }
}

impl Client {
    /// Hands descriptor 0, or 0, 1 and 2, to the keeper under `key`; done when both keepers have them.
    pub async fn hand(&self, key: HandKey, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let mut packet = [0u8; 16];
        packet[..8].copy_from_slice(GIVE);
        packet[8..].copy_from_slice(&key.0.to_le_bytes());
        let deadline = Instant::now() + self.inner.patience;
        let mut pause = Pause::new();
        loop {
            let attempt = async { Door::open(self)?.ask(&packet, fds).await };
            match attempt.await {
                Ok(answer) if answer.starts_with(TAKEN) => return Ok(()),
                Ok(answer) if answer.starts_with(FULL) => {
                    let source = std::io::Error::other(
                        "so many runs wait with a standard input of their own that no more is held; \
                         try again when some have begun, or use `--detach`, which needs none",
                    );
                    return Err(Error::Hand { what: "standard input", source });
                }
                Ok(_) => return Err(Error::Strange { what: "the keeper did not take what was handed over".into() }),
                Err(error) if lasting(&error) || Instant::now() >= deadline => {
                    return Err(Error::Hand { what: "standard input", source: error });
                }
                Err(_) => pause.take().await,
            }
        }
    }
}

/// Whether trying again cannot help.
fn lasting(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::InvalidInput)
}

/// What is typed for a run on a terminal of its own.
pub struct Keyboard {
    client: Client,
    run: RunNo,
    door: Option<Door>,
    /// Where in the run's input the next byte lies.
    offset: u64,
}

impl Keyboard {
    /// `id` is the run's full id or its last eight characters.
    pub fn of(client: &Client, id: &str) -> Result<Keyboard, Error> {
        let suffix = id.rsplit('-').next().unwrap_or(id);
        let run = RunNo::parse(suffix).ok_or_else(|| Error::Strange { what: format!("a run's id {id:?}") })?;
        Ok(Keyboard { client: client.clone(), run, door: None, offset: 0 })
    }

    /// Sends all of `bytes`, again and again until the terminal has taken them. It has no patience of its own: a key is
    /// as good as ever when a keeper answers again. Whoever knows that the run has ended drops the future.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        let mut pause = Pause::new();
        while !bytes.is_empty() {
            let part = &bytes[..bytes.len().min(INPUT_MAX)];
            let mut packet = Vec::with_capacity(24 + part.len());
            packet.extend_from_slice(INPUT);
            packet.extend_from_slice(&self.run.get().to_le_bytes());
            packet.extend_from_slice(&self.offset.to_le_bytes());
            packet.extend_from_slice(part);
            match self.ask(&packet).await {
                Ok(answer) if answer.starts_with(INPUT) => {
                    let next = u64::from_le_bytes(answer[8..].try_into().unwrap_or_default());
                    let taken = usize::try_from(next.saturating_sub(self.offset)).unwrap_or(0).min(part.len());
                    bytes = &bytes[taken..];
                    self.offset += taken as u64;
                    if taken == 0 {
                        // The terminal is full: its program does not read just now.
                        pause.take().await;
                    } else {
                        pause = Pause::new();
                    }
                }
                Ok(_) => return Err(Error::Strange { what: "the keeper did not take the input".into() }),
                Err(source) if lasting(&source) => return Err(Error::Hand { what: "what was typed", source }),
                Err(_) => pause.take().await,
            }
        }
        Ok(())
    }

    /// Tells the run's terminal how large ours is. What comes too late is no harm: the next size comes anew.
    pub async fn resize(&mut self, rows: u16, cols: u16) -> Result<(), Error> {
        let mut packet = Vec::with_capacity(20);
        packet.extend_from_slice(SIZE);
        packet.extend_from_slice(&self.run.get().to_le_bytes());
        packet.extend_from_slice(&rows.to_le_bytes());
        packet.extend_from_slice(&cols.to_le_bytes());
        self.ask(&packet).await.map(drop).map_err(|source| Error::Hand { what: "the terminal's size", source })
    }

    async fn ask(&mut self, packet: &[u8]) -> std::io::Result<[u8; 16]> {
        let door = match self.door.take() {
            Some(door) => door,
            None => Door::open(&self.client)?,
        };
        let answer = door.ask(packet, &[]).await?;
        self.door = Some(door);
        Ok(answer)
    }
}
