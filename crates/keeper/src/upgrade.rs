//! Becoming a newer program without letting go of anything.
//!
//! The tables are the state; beside them there are only descriptors. Their numbers, and what each is, go into a file in
//! memory; CLOEXEC is taken off all of them; and the process executes the new program, which keeps its pid, its children
//! and its descriptors. Connections are closed: whoever was there comes again. An exec that fails changes nothing.

use crate::clock;
use crate::daemon::Daemon;
use crate::generation::{Generation, Serving};
use crate::hand::Hands;
use crate::keeper::{Keeper, Role, Younger};
use crate::live::{Live, Lives, Tty};
use crate::logs::Logs;
use crate::sys::process;
use crate::table::{SLOTS, Table};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Writes down descriptors and takes CLOEXEC off them.
#[derive(Default)]
struct Pack {
    text: String,
    fds: Vec<i32>,
}

impl Pack {
    fn fd(&mut self, fd: Option<&OwnedFd>) -> i32 {
        let Some(fd) = fd else { return -1 };
        self.fds.push(fd.as_raw_fd());
        fd.as_raw_fd()
    }
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.push_str(&line.to_string());
        self.text.push('\n');
    }
}

impl Keeper {
    /// Executes the program named in the file `upgrade` of the runtime directory.
    pub(crate) fn upgrade(&mut self) {
        let program = match std::fs::read_to_string(self.place.run.join("upgrade")) {
            Ok(text) => PathBuf::from(text.trim_end_matches('\n')),
            Err(e) => return crate::say(format_args!("no program to become: {e}")),
        };
        if self.is_elder() && !matches!(self.role, Role::Elder { younger: Some(_), .. }) {
            return crate::say(format_args!("not upgrading the elder while it is alone"));
        }
        if let Role::Elder { .. } = self.role {
            self.take_backups();
        }
        let e = match self.exec(&program) {
            Ok(never) => match never {},
            Err(e) => e,
        };
        crate::say(format_args!("cannot become {}: {e}; going on as before", program.display()));
    }

    fn exec(&mut self, program: &std::path::Path) -> io::Result<std::convert::Infallible> {
        let mut pack = Pack::default();
        self.pack(&mut pack);
        let mut file = File::from(crate::sys::misc::memfd(c"kin-upgrade")?);
        file.write_all(pack.text.as_bytes())?;
        file.rewind()?;
        pack.fds.push(file.as_raw_fd());
        set_cloexec(&pack.fds, false)?;
        let mut command = Command::new(program);
        command.arg0("kin").arg("keep").arg("--resume").arg(file.as_raw_fd().to_string());
        let failed = command.exec();
        set_cloexec(&pack.fds, true)?;
        process::block_signals()?;
        Err(failed)
    }

    fn pack(&self, pack: &mut Pack) {
        pack.line(format_args!("layout {}", crate::table::LAYOUT));
        pack.line(format_args!("state {}", self.place.state.display()));
        pack.line(format_args!("run {}", self.place.run.display()));
        let (api, lock, kick) = (pack.fd(Some(&self.api)), pack.fd(Some(&self.lock)), pack.fd(Some(&self.kick)));
        let hand = pack.fd(Some(self.hands.listener()));
        pack.line(format_args!("doors {api} {lock} {kick} {hand} {}", u8::from(self.closing)));
        let notify = pack.fd(Some(&self.notify));
        pack.line(format_args!("notify {notify}"));
        pack.line(format_args!("turn {}", self.turn));
        if let Some((soft, hard)) = self.restore.nofile {
            pack.line(format_args!("nofile {soft} {hard}"));
        }
        if let Some(adj) = self.restore.oom_score_adj {
            pack.line(format_args!("oom {adj}"));
        }
        match &self.role {
            Role::Elder { younger: Some(y), .. } => {
                let (pidfd, backup) = (pack.fd(Some(&y.pidfd)), pack.fd(Some(&y.backup)));
                pack.line(format_args!("younger {} {pidfd} {backup} {:016x}", y.pid, self.generation_id(y.generation)));
            }
            Role::Elder { younger: None, .. } => {}
            Role::Keeper { elder, elder_generation, pidfd, backup, .. } => {
                let (pidfd, backup) = (pack.fd(Some(pidfd)), pack.fd(Some(backup)));
                pack.line(format_args!("elder {elder} {elder_generation:016x} {pidfd} {backup}"));
            }
        }
        for (at, generation) in self.generations.iter().enumerate() {
            let Some(generation) = generation else { continue };
            let serving = match generation.serving {
                Serving::Mine => 0,
                Serving::Backup => 1,
                Serving::Dormant => 2,
            };
            let (table, listener) = (pack.fd(Some(generation.table.file())), pack.fd(Some(&generation.listener)));
            let own = u8::from(at == self.own);
            pack.line(format_args!("generation {:016x} {table} {listener} {serving} {own}", generation.id));
            for live in generation.lives.iter() {
                let pidfd = pack.fd(live.pidfd.as_ref());
                let (out, err) = (pack.fd(live.out.pipe.as_ref()), pack.fd(live.err.pipe.as_ref()));
                let tty = live.tty.as_ref();
                let (master, pipe_in) = (pack.fd(tty.map(|t| &t.master)), pack.fd(tty.map(|t| &t.pipe_in)));
                let (spec, typed) = (pack.fd(live.logs.spec_fd()), pack.fd(tty.map(|t| &t.typed)));
                let (out_aside, err_aside) = (pack.fd(live.out.aside.as_ref()), pack.fd(live.err.aside.as_ref()));
                let (ours, forgotten) = (u8::from(live.ours), u8::from(live.forgotten));
                pack.line(format_args!(
                    "live {:016x} {} {} {pidfd} {ours} {out} {err} {master} {pipe_in} 0 {forgotten} {spec} {typed} {out_aside} {err_aside}",
                    generation.id, live.slot, live.run
                ));
            }
        }
        for (key, kept, fds) in self.hands.held() {
            let [a, b, c] = [0, 1, 2].map(|i| pack.fd(fds[i].as_ref()));
            let word = if kept { "kept" } else { "hand" };
            pack.line(format_args!("{word} {key} {a} {b} {c}"));
        }
    }
}

fn set_cloexec(fds: &[i32], on: bool) -> io::Result<()> {
    let flags = if on { rustix::io::FdFlags::CLOEXEC } else { rustix::io::FdFlags::empty() };
    for fd in fds {
        process::with_fd(*fd, |fd| rustix::io::fcntl_setfd(fd, flags))?;
    }
    Ok(())
}

/// The words of a line, each asked for as what it must be.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl Words<'_> {
    fn number<T: std::str::FromStr>(&mut self) -> io::Result<T> {
        self.0.next().and_then(|word| word.parse().ok()).ok_or_else(torn)
    }
    fn id(&mut self) -> io::Result<u64> {
        self.0.next().and_then(|word| u64::from_str_radix(word, 16).ok()).ok_or_else(torn)
    }
    fn fd(&mut self) -> io::Result<Option<OwnedFd>> {
        match self.number::<i32>()? {
            -1 => Ok(None),
            number => process::inherited(number).map(Some),
        }
    }
    fn must(&mut self) -> io::Result<OwnedFd> {
        self.fd()?.ok_or_else(torn)
    }
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what the former program left cannot be read")
}

/// What `--resume` begins with: everything the former program held.
pub(crate) fn resume(number: i32) -> io::Result<Keeper> {
    let mut file = File::from(process::inherited(number)?);
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let mut paths: BTreeMap<&str, PathBuf> = BTreeMap::new();
    let (mut doors, mut role, mut own) = (None, None, 0u64);
    let mut restore = crate::spawn::Restore::default();
    let mut generations: Vec<Option<Generation>> = Vec::with_capacity(64);
    let mut hands = Vec::new();
    let mut younger_generation = 0u64;
    let mut closing = false;
    let mut turn = 0;
    let mut notify = None;
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').ok_or_else(torn)?;
        let mut words = Words(rest.split_whitespace());
        match word {
            "state" | "run" => drop(paths.insert(word, PathBuf::from(rest))),
            "doors" => {
                let (api, lock, kick, hand) = (words.must()?, words.must()?, words.must()?, words.must()?);
                closing = words.number::<u8>()? != 0;
                doors = Some((api, lock, kick, hand));
            }
            "notify" => notify = words.fd()?,
            "turn" => turn = words.number::<u64>()?,
            "nofile" => restore.nofile = Some((words.number()?, words.number()?)),
            "oom" => restore.oom_score_adj = Some(words.number()?),
            "younger" => {
                let (pid, pidfd, backup) = (words.number()?, words.must()?, words.must()?);
                younger_generation = words.id()?;
                role = Some(Role::Elder {
                    younger: Some(Younger {
                        pid,
                        pidfd,
                        backup,
                        generation: 0,
                        born: clock::mono(),
                        check: 0,
                        stands: true,
                    }),
                    fork_at: 0,
                });
            }
            "elder" => {
                let (elder, elder_generation) = (words.number()?, words.id()?);
                role = Some(Role::Keeper {
                    elder,
                    elder_generation,
                    pidfd: words.must()?,
                    backup: words.must()?,
                    unkicked: 0,
                    kick_at: clock::mono(),
                });
            }
            "generation" => {
                let (id, table, listener) = (words.id()?, words.must()?, words.must()?);
                let serving = match words.number::<u8>()? {
                    0 => Serving::Mine,
                    1 => Serving::Backup,
                    _ => Serving::Dormant,
                };
                if words.number::<u8>()? != 0 {
                    own = id;
                }
                let table = Table::from_file(table, true)?;
                generations.push(Some(Generation { id, table, listener, serving, lives: Lives::with_room(SLOTS) }));
            }
            "live" => {
                let id = words.id()?;
                let mut live = Live::new(words.number()?, words.number()?);
                live.pidfd = words.fd()?;
                live.ours = words.number::<u8>()? != 0;
                (live.out.pipe, live.err.pipe) = (words.fd()?, words.fd()?);
                let (master, pipe_in, _once) = (words.fd()?, words.fd()?, words.number::<u64>()?);
                live.forgotten = words.number::<u8>()? != 0;
                live.logs = Logs::of(words.fd()?);
                if let (Some(master), Some(pipe_in), Some(typed)) = (master, pipe_in, words.fd()?) {
                    live.tty = Some(Tty { master, pipe_in, typed, wake: None, ended: false });
                }
                // A former self that knew of none says nothing of them.
                (live.out.aside, live.err.aside) = (words.fd().unwrap_or(None), words.fd().unwrap_or(None));
                let generation = generations.iter_mut().flatten().find(|g| g.id == id).ok_or_else(torn)?;
                generation.lives.insert(live);
            }
            "hand" | "kept" => {
                hands.push((word == "kept", words.number()?, [words.fd()?, words.fd()?, words.fd()?]));
            }
            // A newer program's former self may say more than we know.
            _ => {}
        }
    }
    let (Some(state), Some(run)) = (paths.remove("state"), paths.remove("run")) else { return Err(torn()) };
    let (api, lock, kick, hand) = doors.ok_or_else(torn)?;
    let mut role = role.unwrap_or(Role::Elder { younger: None, fork_at: 0 });
    let place_of = |id: u64| generations.iter().position(|g| g.as_ref().is_some_and(|g| g.id == id));
    if let Role::Elder { younger: Some(younger), .. } = &mut role {
        younger.generation = place_of(younger_generation).ok_or_else(torn)?;
    }
    let own = place_of(own).ok_or_else(torn)?;
    let mut hands_now = Hands::new(hand);
    for (kept, key, fds) in hands {
        if kept {
            // Sent once more than needed, at worst.
            hands_now.keep_on(key, fds, false);
        } else {
            hands_now.keep(key, fds, false);
        }
    }
    let place = crate::place::Place::open(&state, &run)?;
    let notify = match notify {
        Some(notify) => notify,
        // Our former self knew of none.
        None => crate::stand::listen_notify(&place)?,
    };
    let mut keeper = crate::stand::assemble(crate::stand::Parts {
        place,
        restore,
        generations,
        own,
        role,
        hands: hands_now,
        api,
        notify,
        lock,
        kick,
        daemon: Daemon::new(),
    })?;
    keeper.closing = closing;
    keeper.turn = turn;
    keeper.go_on()?;
    Ok(keeper)
}

impl Keeper {
    /// After an exec: watch everything again.
    fn go_on(&mut self) -> io::Result<()> {
        crate::stand::settle_in(if self.is_elder() { c"kin-elder" } else { c"kin-keeper" })?;
        self.arm_all();
        for at in self.mine() {
            self.serve_again(at);
        }
        self.due = 0;
        self.strangers_at = clock::mono();
        self.adopt_leftovers();
        if self.is_elder() {
            self.announce();
            self.adopt_daemon();
        }
        Ok(())
    }

    fn arm_all(&mut self) {
        use crate::keeper::arm;
        use crate::token::Token;
        use rustix::event::epoll::EventFlags;
        arm(&self.epoll, self.children.as_fd(), Token::Children, EventFlags::IN | EventFlags::ONESHOT, false);
        for (at, generation) in self.generations.iter().enumerate() {
            if let Some(generation) = generation
                && generation.serving == Serving::Mine
            {
                arm(
                    &self.epoll,
                    &generation.listener,
                    Token::Listener { generation: at as u16 },
                    EventFlags::IN,
                    false,
                );
            }
        }
        match &self.role {
            Role::Elder { younger, .. } => {
                arm(&self.epoll, &self.kick, Token::Kick, EventFlags::IN, false);
                if let Some(younger) = younger {
                    arm(&self.epoll, &younger.pidfd, Token::Younger { check: younger.check }, EventFlags::IN, false);
                }
            }
            Role::Keeper { pidfd, backup, .. } => {
                arm(&self.epoll, backup, Token::Nudge, EventFlags::IN | EventFlags::ET, false);
                arm(&self.epoll, pidfd, Token::Elder, EventFlags::IN, false);
            }
        }
        self.mind_hand(!self.is_elder());
        if self.is_elder() {
            self.watch_place_again();
        }
    }
}
