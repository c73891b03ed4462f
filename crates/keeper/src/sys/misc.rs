//! Small calls around descriptors and signals, none of which allocates or blocks. Most only give a safe crate's call
//! the shape the keeper wants; the rest have no safe crate.

use super::raw::{call, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use rustix::pipe::SpliceFlags;
use std::ffi::CStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// All signals, held back until this is dropped (except KILL and STOP, which nobody can hold back).
#[derive(Debug)]
pub struct Blocked {
    before: u64,
}

impl Blocked {
    pub fn all() -> Blocked {
        Blocked { before: set_mask(u64::MAX) }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        set_mask(self.before);
    }
}

/// Sets this thread's mask, one bit a signal from 1 on, and gives the one before. Straight to the kernel: the C library
/// would keep two signals of its own out of it.
pub fn set_mask(mask: u64) -> u64 {
    let mut before = 0u64;
    let args = [libc::SIG_SETMASK as usize, (&raw const mask) as usize, (&raw mut before) as usize, 8, 0, 0];
    // SAFETY: two sets of the size given, both ours.
    let result = check(unsafe { call(libc::SYS_rt_sigprocmask, args) });
    debug_assert_eq!(result, Ok(0), "setting a mask fails only for bad addresses");
    before
}

/// The signals that this process ignores or handles, one bit each from 1 on.
pub fn altered_signals() -> u64 {
    (1..=64usize).fold(0, |altered, signal| {
        let mut now = [0usize; 4];
        let args = [signal, 0, now.as_mut_ptr() as usize, 8, 0, 0];
        // SAFETY: only asks, into a `struct sigaction` as the kernel has it, which is ours.
        let result = check(unsafe { call(libc::SYS_rt_sigaction, args) });
        debug_assert_eq!(result, Ok(0), "asking fails only for numbers that are no signals");
        if now[0] == libc::SIG_DFL { altered } else { altered | 1 << (signal - 1) }
    })
}

/// Orphans among our descendants become our children.
pub fn set_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The name that `ps -o comm` shows; 15 bytes of it count.
pub fn set_name(name: &CStr) -> io::Result<()> {
    Ok(rustix::thread::set_name(name)?)
}

/// A file without a place.
pub fn memfd(name: &CStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?)
}

/// What moving bytes out of a pipe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Bytes(usize),
    /// The pipe is empty, and somebody may still write.
    Empty,
    /// The pipe is empty, and nobody can write any more.
    End,
}

fn moved(result: Result<usize, Errno>) -> Result<Moved, Errno> {
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Empty),
        Err(e) => Err(e),
    }
}

/// Where splice is not to be used, to see what happens where there is none.
#[derive(Clone, Copy, Debug)]
enum SwitchedOff {
    Nowhere,
    Everywhere,
    On(rustix::fs::Dev),
}

impl SwitchedOff {
    fn read() -> SwitchedOff {
        match std::env::var_os("KIN_NO_SPLICE") {
            Some(word) if word == "1" => SwitchedOff::Everywhere,
            Some(path) => rustix::fs::stat(&path).map_or(SwitchedOff::Nowhere, |stat| SwitchedOff::On(stat.st_dev)),
            None => SwitchedOff::Nowhere,
        }
    }
}

/// Moves at most `len` bytes from a pipe into a file at `offset` in one call, so that no death of ours can fall between
/// taking and writing. The file must not be O_APPEND. EINVAL: this file system cannot; use `tee_to`. `KIN_NO_SPLICE=1` makes
/// every file system one of those, `KIN_NO_SPLICE=<path>` that of the path.
pub fn splice(pipe: impl AsFd, file: impl AsFd, offset: u64, len: usize) -> Result<Moved, Errno> {
    static SWITCHED_OFF: LazyLock<SwitchedOff> = LazyLock::new(SwitchedOff::read);
    let is_off = match *SWITCHED_OFF {
        SwitchedOff::Nowhere => false,
        SwitchedOff::Everywhere => true,
        SwitchedOff::On(device) => rustix::fs::fstat(&file)?.st_dev == device,
    };
    if is_off {
        return Err(Errno::INVAL);
    }
    let mut at = offset;
    moved(rustix::pipe::splice(pipe, None, file, Some(&mut at), len, SpliceFlags::NONBLOCK | SpliceFlags::MOVE))
}

/// Duplicates at most `len` bytes of one pipe into another, and takes none away.
pub fn tee(pipe: impl AsFd, copy: impl AsFd, len: usize) -> Result<Moved, Errno> {
    moved(rustix::pipe::tee(pipe, copy, len, SpliceFlags::NONBLOCK))
}

/// Moves at most `len` bytes from one pipe into another in one call. A terminal is such a pipe too.
pub fn splice_on(from: impl AsFd, to: impl AsFd, len: usize) -> Result<Moved, Errno> {
    moved(rustix::pipe::splice(from, None, to, None, len, SpliceFlags::NONBLOCK | SpliceFlags::MOVE))
}

/// Takes `len` bytes out of a pipe and throws them away.
pub fn discard(pipe: impl AsFd, null: impl AsFd, len: usize) -> Result<Moved, Errno> {
    moved(rustix::pipe::splice(pipe, None, null, None, len, SpliceFlags::NONBLOCK | SpliceFlags::MOVE))
}

/// Takes at most `len` bytes out of a pipe, throws them away, and adds their number to `count`, all in one call: no death of
/// ours can fall between. The count is given to the kernel as the place in a file at which they are to be written, and the
/// kernel moves it on. That file is in memory, and gone when we return.
pub fn discard_counted(pipe: impl AsFd, count: &AtomicU64, len: usize) -> Result<Moved, Errno> {
    // Beyond that limit we would get a signal, and not an error.
    let most = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if most.is_some_and(|most| count.load(Ordering::Relaxed).saturating_add(len as u64) > most) {
        return Err(Errno::FBIG);
    }
    let sink = rustix::fs::memfd_create(c"kin-dropped", MemfdFlags::CLOEXEC)?;
    let (from, to) = (pipe.as_fd().as_raw_fd() as usize, sink.as_raw_fd() as usize);
    let flags = SpliceFlags::NONBLOCK.bits() as usize;
    // SAFETY: two open descriptors, and eight bytes that are read and written as any other process may at any time, which
    // is what an atomic is for.
    let result = check(unsafe { call(libc::SYS_splice, [from, 0, to, count.as_ptr() as usize, len, flags]) });
    moved(result.map_err(Errno::from_raw_os_error))
}

/// For files that splice cannot write: copies what the pipe holds to the file at `offset` through `scratch` and `aux`
/// (a pipe of our own, empty before and after), and only then takes it out of the pipe by way of `null` (/dev/null).
///
/// Killed in between, the bytes are still in the pipe, and the next one to serve it writes the same bytes to the same
/// offset, as long as it takes its offset from the slot and not from the file's size.
pub fn tee_to(
    pipe: impl AsFd,
    aux: (&OwnedFd, &OwnedFd),
    null: impl AsFd,
    file: impl AsFd,
    offset: u64,
    scratch: &mut [u8],
) -> Result<Moved, Errno> {
    let (aux_out, aux_in) = aux;
    let count = match tee(&pipe, aux_in, scratch.len())? {
        Moved::Bytes(count) => count,
        other @ (Moved::Empty | Moved::End) => return Ok(other),
    };
    let mut held = 0;
    while held < count {
        held += rustix::io::retry_on_intr(|| rustix::io::read(aux_out, &mut scratch[held..count]))?;
    }
    let mut written = 0;
    while written < count {
        let at = offset + written as u64;
        written += rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, &scratch[written..count], at))?;
    }
    let mut taken = 0;
    while taken < count {
        match discard(&pipe, &null, count - taken)? {
            Moved::Bytes(more) => taken += more,
            Moved::Empty | Moved::End => break,
        }
    }
    Ok(Moved::Bytes(taken))
}

/// The most descriptors that travel in one packet.
pub const FDS_MAX: usize = 6;

/// What came in one packet.
#[derive(Debug)]
pub struct Packet {
    pub len: usize,
    pub fds: [Option<OwnedFd>; FDS_MAX],
    /// It was longer than the buffer, or held more descriptors than may come; what did not fit is gone.
    pub cut: bool,
}

/// Sends one packet with up to `FDS_MAX` descriptors. Never waits: EAGAIN when the other side does not read.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags))
}

/// Takes one packet. Never waits. A length of zero is the other side's end.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Packet, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(buffer)];
    let got = loop {
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let cut = rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC;
    let mut packet = Packet { len: got.bytes, fds: [const { None }; FDS_MAX], cut: got.flags.intersects(cut) };
    let mut places = packet.fds.iter_mut();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            for fd in rights {
                match places.next() {
                    Some(place) => *place = Some(fd),
                    None => packet.cut = true,
                }
            }
        }
    }
    Ok(packet)
}
