//! `kin keep …`: from a command line to a running elder.
//!
//! ```text
//!   kin keep --elder --state S --run R --lock-fd N [--listen-fd M] [--notify-fd O]     becomes the elder
//!   kin keep --resume N                                                goes on after an upgrade, from what N says
//!   kin keep --probe LAYOUT                                            says which layout of run tables it knows
//! ```
//! No clap, no runtime: this is the process that must stay small.

use crate::cgroup::Cgroups;
use crate::chain::{listen_as, name_role, new_generation};
use crate::daemon::Daemon;
use crate::generation::{Generation, Serving};
use crate::hand::Hands;
use crate::keeper::{Keeper, Role, arm};
use crate::output::Mover;
use crate::place::Place;
use crate::spawn::{Arena, Restore};
use crate::stop::Kills;
use crate::sys::process::{self, Side};
use crate::sys::{misc, schedule};
use crate::token::Token;
use crate::tree::Processes;
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};
use std::collections::VecDeque;
use std::ffi::{CStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: kin keep --elder --state DIR --run DIR --lock-fd N [--listen-fd N] [--notify-fd N] | kin keep --probe LAYOUT";

#[derive(Debug, Default)]
struct Args {
    elder: bool,
    state: Option<PathBuf>,
    run: Option<PathBuf>,
    lock: Option<i32>,
    listen: Option<i32>,
    notify: Option<i32>,
    probe: Option<u32>,
    resume: Option<i32>,
}

fn parse(args: impl Iterator<Item = OsString>) -> Option<Args> {
    let mut parsed = Args::default();
    let mut args = args;
    while let Some(arg) = args.next() {
        let number = |value: Option<OsString>| value?.to_str()?.parse::<i32>().ok();
        match arg.to_str()? {
            "--elder" => parsed.elder = true,
            "--state" => parsed.state = Some(args.next()?.into()),
            "--run" => parsed.run = Some(args.next()?.into()),
            "--lock-fd" => parsed.lock = Some(number(args.next())?),
            "--listen-fd" => parsed.listen = Some(number(args.next())?),
            "--notify-fd" => parsed.notify = Some(number(args.next())?),
            "--resume" => parsed.resume = Some(number(args.next())?),
            "--probe" => parsed.probe = Some(number(args.next())? as u32),
            _ => return None,
        }
    }
    Some(parsed)
}

/// What `kin keep …` does; `args` are those after `keep`.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(args) = parse(args) else {
        crate::say(format_args!("{USAGE}"));
        return ExitCode::from(2);
    };
    if args.probe.is_some() {
        let said = writeln!(std::io::stdout(), "kin-layout {}", crate::table::LAYOUT);
        return if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    }
    if let Some(number) = args.resume {
        // Failing here loses nothing but this process: its partner takes over.
        return match crate::upgrade::resume(number) {
            Ok(mut keeper) => ExitCode::from(keeper.serve() as u8),
            Err(e) => {
                crate::say(format_args!("cannot go on after the upgrade: {e}"));
                ExitCode::from(1)
            }
        };
    }
    let (true, Some(state), Some(run), Some(lock)) = (args.elder, args.state, args.run, args.lock) else {
        crate::say(format_args!("{USAGE}"));
        return ExitCode::from(2);
    };
    match into_background(&state, &run, lock, [args.listen, args.notify]) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            crate::say(format_args!("cannot start the elder: {e}"));
            ExitCode::from(1)
        }
    }
}

/// Forks; the parent ends when the elder stands, or with what kept it from standing.
fn into_background(state: &Path, run: &Path, lock: i32, sockets: [Option<i32>; 2]) -> io::Result<u8> {
    let lock = process::inherited(lock)?;
    let [listen, notify] = sockets.map(|number| number.map(process::inherited));
    let (listen, notify) = (listen.transpose()?, notify.transpose()?);
    let (ready, tell) = io::pipe()?;
    match process::fork()? {
        Side::Parent { .. } => {
            drop((tell, lock, listen, notify));
            let mut word = String::new();
            let mut ready = ready;
            ready.read_to_string(&mut word)?;
            if word == "ready" {
                return Ok(0);
            }
            let why = if word.is_empty() { "it ended at once".to_string() } else { word };
            Err(io::Error::other(why))
        }
        Side::Child => {
            drop(ready);
            let mut tell = tell;
            match stand(state, run, lock, listen, notify) {
                Ok(mut keeper) => {
                    // Nobody reads it if the front died meanwhile; the elder stands all the same.
                    if let Err(e) = tell.write_all(b"ready") {
                        crate::say(format_args!("cannot say that the elder stands: {e}"));
                    }
                    drop(tell);
                    keeper.raise_younger();
                    if keeper.is_elder() {
                        keeper.want_daemon();
                    }
                    process::exit_now(keeper.serve())
                }
                Err(e) => {
                    if write!(tell, "{e}").is_err() {
                        crate::say(format_args!("cannot start the elder: {e}"));
                    }
                    process::exit_now(1)
                }
            }
        }
    }
}

/// Everything that an elder or keeper is, as a process; also after a fork or a promotion.
pub(crate) fn settle_in(name: &CStr) -> io::Result<()> {
    misc::set_subreaper()?;
    misc::set_name(name)?;
    schedule::take_short_turns();
    process::block_signals()
}

fn stand(
    state: &Path,
    run: &Path,
    lock: OwnedFd,
    listen: Option<OwnedFd>,
    notify: Option<OwnedFd>,
) -> io::Result<Keeper> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    settle_in(c"kin-elder")?;
    let restore = make_room();
    let place = Place::open(state, run)?;
    let is_handed = listen.is_some();
    let api = match listen {
        Some(api) => api,
        None => listen_api(&place)?,
    };
    let notify = match notify {
        Some(notify) => notify,
        None => listen_notify(&place)?,
    };
    let hand = crate::chain::listen(&place, "hand.sock")?;
    let generation = new_generation(&place, &crate::boot::identity(), Serving::Mine)?;
    let id = generation.id;
    let mut keeper = assemble(Parts {
        place,
        restore,
        generations: Vec::with_capacity(64),
        own: 0,
        role: Role::Elder { younger: None, fork_at: 0 },
        hands: Hands::new(hand),
        api,
        notify,
        lock,
        kick: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK)?,
        daemon: Daemon::new(),
    })?;
    generation.table.header().cgroups.store(keeper.cgroups.number(), std::sync::atomic::Ordering::Relaxed);
    if let Cgroups::None { why } = &keeper.cgroups {
        std::fs::write(keeper.place.run.join(NO_CGROUPS), why.words())?;
    }
    keeper.own = keeper.add_generation(generation);
    if let Some(own) = keeper.generations[keeper.own].as_ref() {
        arm(&keeper.epoll, &own.listener, Token::Listener { generation: keeper.own as u16 }, EventFlags::IN, false);
    }
    arm(&keeper.epoll, &keeper.children, Token::Children, EventFlags::IN | EventFlags::ONESHOT, false);
    arm(&keeper.epoll, &keeper.kick, Token::Kick, EventFlags::IN, false);
    keeper.watch_place();
    keeper.adopt_leftovers();
    name_role(&keeper.place, "elder", id)?;
    name_role(&keeper.place, "keeper", id)?;
    if !is_handed {
        keeper.end_deaf_daemon();
    }
    Ok(keeper)
}

/// What a keeper is made of; the rest is made fresh for each process.
pub(crate) struct Parts {
    pub(crate) place: Place,
    pub(crate) restore: Restore,
    pub(crate) generations: Vec<Option<Generation>>,
    pub(crate) own: usize,
    pub(crate) role: Role,
    pub(crate) hands: Hands,
    pub(crate) api: OwnedFd,
    pub(crate) notify: OwnedFd,
    pub(crate) lock: OwnedFd,
    pub(crate) kick: OwnedFd,
    pub(crate) daemon: Daemon,
}

pub(crate) fn assemble(parts: Parts) -> io::Result<Keeper> {
    let Parts { place, restore, generations, own, role, hands, api, notify, lock, kick, daemon } = parts;
    // Blocked first: a signal descriptor only hears of signals that nobody else takes.
    process::block_signals()?;
    Ok(Keeper {
        boot: crate::boot::identity(),
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        mover: Mover::new(crate::byhand::splices(&place.state), crate::room::Kept::of(&place.state))?,
        arena: Arena::new()?,
        restore,
        cgroups: Cgroups::open(&place.state),
        processes: Processes::new()?,
        kills: Kills::with_room(),
        generations,
        own,
        role,
        daemon,
        conns: Vec::with_capacity(64),
        serial: 0,
        hands,
        api,
        notify,
        lock,
        kick,
        children: process::children_changed()?,
        soon: VecDeque::with_capacity(1024),
        later: VecDeque::with_capacity(64),
        due: u64::MAX,
        strangers_at: 0,
        closing: false,
        learns_exits: learns_exits(),
        // A later elder's first turn is greater than any that an earlier one came to.
        turn: crate::clock::mono(),
        guard: crate::wire::Guard::Degraded,
        epoch: 0,
        watch: None,
        watch_at: 0,
        misnamed: false,
        place_at: 0,
        place_lost: None,
        leftovers: crate::leftovers::Leftovers::with_room(),
        deaf: None,
        kept: crate::keeper::Kept::Whole,
        postponed: VecDeque::with_capacity(POSTPONED),
        place,
    })
}

/// The API's socket is the elder's, so that callers queue while no daemon accepts.
pub(crate) fn listen_api(place: &Place) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    listen_as(place, "kin.sock", &socket, 1024)?;
    Ok(socket)
}

/// Where runs say that they are ready. The elder's, so that what is said while no daemon reads waits for the next.
pub(crate) fn listen_notify(place: &Place) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::sockopt::set_socket_passcred(&socket, true)?;
    crate::chain::name_socket(place, "notify.sock", &socket, Mode::from_raw_mode(0o666), |_| Ok(()))?;
    Ok(socket)
}

/// Left in the runtime directory by an elder whose runs have no cgroups of their own, and why; the daemon tells it, once.
pub const NO_CGROUPS: &str = "no-cgroups";

/// So many starts may wait to be refused.
pub(crate) const POSTPONED: usize = 256;

/// Whether this kernel is 6.15 or later. `KIN_NO_PIDFD_INFO=1` makes it an older one, for tests.
fn learns_exits() -> bool {
    if std::env::var_os("KIN_NO_PIDFD_INFO").is_some_and(|v| v == "1") {
        return false;
    }
    let name = rustix::system::uname();
    let mut parts =
        name.release().to_str().unwrap_or_default().split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (6, 15)
}

/// As many descriptors as we may have, and out of reach of the OOM killer where we may say so.
fn make_room() -> Restore {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let nofile = match (now.current, now.maximum) {
        (Some(soft), hard) => {
            let raised = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
            raised.is_ok().then_some((soft, hard.unwrap_or(u64::MAX)))
        }
        (None, _) => None,
    };
    let before = std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|t| t.trim().parse::<i32>().ok());
    let lowered = std::fs::write("/proc/self/oom_score_adj", "-1000").is_ok();
    Restore { nofile, oom_score_adj: if lowered { before } else { None } }
}
