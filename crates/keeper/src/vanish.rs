//! The runtime directory may be taken away under a living server (a login's directory goes with the last logout), or only
//! some of its names (whoever tidies up), or the link in the state directory that leads there. Then they are made again, with new sockets; mappings, descriptors and the runs'
//! specs, which are held open, never noticed.

use crate::chain::listen;
use crate::clock::{self, MS};
use crate::fault;
use crate::keeper::{Keeper, Role, arm, disarm};
use crate::place::Place;
use crate::token::Token;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::inotify;
use std::io;
use std::os::unix::fs::DirBuilderExt;

const PAUSE: u64 = 50 * MS;

/// Names have gone and are being made again. What was made anew is known only to us until its other owner starts anew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lost {
    daemon: bool,
    keeper: bool,
}

/// What the daemon keeps there; it fills them again.
const DIRS: [&str; 4] = ["spec", "ready", "credentials", "hands"];

/// Left in a directory that was made again, for the daemon, who tells it and takes it away.
pub const MADE_AGAIN: &str = "again";

impl Keeper {
    /// Only the elder watches. What cannot be watched now is tried again each second; until then an earlier watch stays.
    pub(crate) fn watch_place(&mut self) {
        match self.make_watch() {
            Ok(watch) => {
                if let Some(watch) = self.watch.take() {
                    disarm(&self.epoll, &watch);
                }
                arm(&self.epoll, &watch, Token::Place, EventFlags::IN, false);
                self.watch = Some(watch);
                self.watch_at = 0;
            }
            Err(errno) => {
                if self.watch_at == 0 {
                    crate::say(format_args!("cannot watch the runtime directory, trying each second: {errno}"));
                }
                self.watch_at = clock::mono() + clock::SECOND;
            }
        }
    }

    fn make_watch(&self) -> rustix::io::Result<OwnedFd> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        // Its own end is only heard of when nobody has it open any more, which we do; its names' ends are heard at once.
        let events = inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::MOVE_SELF;
        inotify::add_watch(&watch, &self.place.run, events)?;
        // Of the state only the link counts; without it nobody finds us.
        let events = inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_FROM;
        if let Err(errno) = inotify::add_watch(&watch, &self.place.state, events) {
            crate::say(format_args!("cannot watch the state directory: {errno}"));
        }
        Ok(watch)
    }

    pub(crate) fn place_changed(&mut self) {
        let mut buffer = [0u8; 4096];
        // Which name went does not matter: what must be there is looked for, when whoever removes has had time to end.
        if let Some(watch) = &self.watch {
            while rustix::io::read(watch, &mut buffer).is_ok_and(|n| n > 0) {}
        }
        self.place_at = clock::mono() + PAUSE;
    }

    /// After somebody else's watch: what went while nobody watched is looked for once.
    pub(crate) fn watch_place_again(&mut self) {
        self.watch_place();
        self.place_at = clock::mono() + PAUSE;
    }

    /// Whether clients would still find us.
    pub(crate) fn look_at_place(&mut self) {
        self.place_at = 0;
        if !self.closing && self.is_elder() && self.link_is_lost() {
            crate::say(format_args!("{} is gone; making it again", self.place.link().display()));
            if let Err(e) = self.place.link_again() {
                crate::say(format_args!("cannot make it again, trying in a second: {e}"));
                self.place_at = clock::mono() + clock::SECOND;
            }
        }
        if self.closing || !self.is_elder() {
            return;
        }
        if self.misnamed && self.place.is_same() {
            match self.name_roles() {
                Ok(()) => self.misnamed = false,
                // Said when it failed first.
                Err(_) => self.place_at = clock::mono() + clock::SECOND,
            }
        }
        if self.place_lost.is_none() {
            match self.place_is_whole() {
                Ok(true) => return,
                Ok(false) => {}
                Err(_shortage) => {
                    self.place_at = clock::mono() + clock::SECOND;
                    return;
                }
            }
            crate::say(format_args!(
                "the runtime directory {} lost names; making them again",
                self.place.run.display()
            ));
        }
        let mut lost = self.place_lost.take().unwrap_or_default();
        if let Err(e) = self.make_place_again(&mut lost) {
            crate::say(format_args!("cannot make them again, trying in a second: {e}"));
            self.place_lost = Some(lost);
            self.place_at = clock::mono() + clock::SECOND;
            return;
        }
        fault::point("names-made");
        // The keeper still listens where nobody can reach it, and the daemon too: both start anew, which loses nothing.
        if let (true, Role::Elder { younger: Some(younger), .. }) = (lost.keeper, &self.role)
            && let Err(e) = crate::sys::wait::pidfd_send_signal(&younger.pidfd, 9, false)
        {
            crate::say(format_args!("cannot end a keeper whose socket has lost its name: {e}"));
        }
        if lost.daemon {
            self.restart_daemon();
        }
    }

    /// Whether nobody finds the way here by the state, which must still be the one whose lock we hold.
    fn link_is_lost(&self) -> bool {
        let named = rustix::fs::stat(self.place.state.join("server.lock"));
        let is_ours = match (rustix::fs::fstat(&self.lock), named) {
            (Ok(ours), Ok(named)) => (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino),
            _ => false,
        };
        is_ours && matches!(rustix::fs::lstat(self.place.link()), Err(rustix::io::Errno::NOENT))
    }

    pub(crate) fn is_there(&self, name: &str) -> bool {
        rustix::fs::lstat(self.place.run.join(name)).is_ok()
    }

    /// The error is a shortage of ours, which says nothing about the names.
    fn place_is_whole(&self) -> rustix::io::Result<bool> {
        for name in ["kin.sock", "notify.sock", "hand.sock"] {
            if !self.place.is_heard(name)? {
                return Ok(false);
            }
        }
        for generation in self.generations.iter().flatten() {
            // Followed: a table that has lost its name is linked to a descriptor, and that one's owner may be dead.
            if !self.place.is_heard(&Place::socket_name(generation.id))?
                || rustix::fs::stat(self.place.table_path(generation.id)).is_err()
            {
                return Ok(false);
            }
        }
        Ok(["elder", "keeper"].iter().chain(&DIRS).all(|name| self.is_there(name)) && self.place.is_same())
    }

    /// Makes whatever is missing; may be called again after it failed half way.
    fn make_place_again(&mut self, lost: &mut Lost) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.place.run)?;
        // Watched before anything is made in it: what goes while we are at it is heard of.
        if !self.place.is_same() {
            self.place.reopen()?;
            lost.keeper = true;
            self.watch_place();
        }
        for dir in DIRS {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.place.run.join(dir))?;
        }
        // Last: whoever reads it finds the others.
        std::fs::write(self.place.run.join(MADE_AGAIN), "")?;
        if !self.place.is_heard("kin.sock")? {
            self.api = crate::stand::listen_api(&self.place)?;
            // The keeper has the old one, and would give it to the daemon if we died.
            (lost.daemon, lost.keeper) = (true, true);
        }
        if !self.place.is_heard("notify.sock")? {
            self.notify = crate::stand::listen_notify(&self.place)?;
            (lost.daemon, lost.keeper) = (true, true);
        }
        if !self.place.is_heard("hand.sock")? {
            let listener = listen(&self.place, "hand.sock")?;
            let armed = self.hands.armed;
            self.mind_hand(false);
            self.hands.replace_listener(listener);
            self.mind_hand(armed);
            lost.keeper = true;
        }
        for at in 0..self.generations.len() {
            let Some(generation) = self.generations[at].as_mut() else { continue };
            let id = generation.id;
            if !self.place.is_heard(&Place::socket_name(id))? {
                let listener = listen(&self.place, &Place::socket_name(id))?;
                disarm(&self.epoll, &generation.listener);
                generation.listener = listener;
                if generation.serving == crate::generation::Serving::Mine {
                    let token = Token::Listener { generation: at as u16 };
                    arm(&self.epoll, &generation.listener, token, EventFlags::IN, false);
                }
                lost.keeper = true;
            }
            if rustix::fs::stat(self.place.table_path(id)).is_err() {
                self.link_table(at)?;
            }
        }
        self.name_roles()
    }

    /// A table that has lost its name has lost it for good; whoever opens this one gets the same memory while we live.
    fn link_table(&self, at: usize) -> io::Result<()> {
        let Some(generation) = self.generations[at].as_ref() else { return Ok(()) };
        let name = self.place.table_path(generation.id);
        let new = self.place.run.join(format!(".{:016x}.tab", generation.id));
        let link = format!("/proc/{}/fd/{}", std::process::id(), generation.table.file().as_raw_fd());
        match std::fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        std::os::unix::fs::symlink(link, &new)?;
        std::fs::rename(&new, &name)
    }

    /// A dead elder's links lead nowhere; before anybody is told of us, they lead to us.
    pub(crate) fn link_tables_again(&self) {
        for (at, generation) in self.generations.iter().enumerate() {
            let Some(generation) = generation else { continue };
            let name = self.place.table_path(generation.id);
            if std::fs::symlink_metadata(&name).is_ok_and(|meta| meta.is_symlink())
                && let Err(e) = self.link_table(at)
            {
                crate::say(format_args!("cannot link {}: {e}", name.display()));
            }
        }
    }
}
