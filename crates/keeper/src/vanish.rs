//! The runtime directory may be taken away under a living server (a login's directory goes with the last logout).
//! Then it is made again, with new sockets; mappings and descriptors never noticed.

use crate::chain::{listen, name_role};
use crate::clock::{self, MS};
use crate::keeper::{Keeper, Role, arm, disarm};
use crate::place::Place;
use crate::token::Token;
use rustix::event::epoll::EventFlags;
use rustix::fs::inotify;
use std::io;
use std::os::unix::fs::DirBuilderExt;

const PAUSE: u64 = 50 * MS;

impl Keeper {
    /// Only the elder watches.
    pub(crate) fn watch_place(&mut self) {
        let made = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        let watch = match made {
            Ok(watch) => watch,
            Err(errno) => return crate::say(format_args!("cannot watch the runtime directory: {errno}")),
        };
        // Its own end is only heard of when nobody has it open any more, which we do; its names' ends are heard at once.
        let events = inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::MOVE_SELF;
        if let Err(errno) = inotify::add_watch(&watch, &self.place.run, events) {
            return crate::say(format_args!("cannot watch the runtime directory: {errno}"));
        }
        arm(&self.epoll, &watch, Token::Place, EventFlags::IN, false);
        self.watch = Some(watch);
    }

    pub(crate) fn place_changed(&mut self) {
        let mut buffer = [0u8; 4096];
        // Which name went does not matter: what must be there is looked for, when whoever removes has had time to end.
        if let Some(watch) = &self.watch {
            while rustix::io::read(watch, &mut buffer).is_ok_and(|n| n > 0) {}
        }
        self.place_at = clock::mono() + PAUSE;
    }

    /// Whether clients would still find us.
    pub(crate) fn look_at_place(&mut self) {
        self.place_at = 0;
        let there = rustix::fs::lstat(self.place.run.join("kin.sock")).is_ok();
        if there || self.closing || !self.is_elder() {
            return;
        }
        if let Some(watch) = self.watch.take() {
            disarm(&self.epoll, &watch);
        }
        crate::say(format_args!("the runtime directory {} was removed; making it again", self.place.run.display()));
        if let Err(e) = self.make_place_again() {
            crate::say(format_args!("cannot make it again, trying in a second: {e}"));
            self.place_at = clock::mono() + clock::SECOND;
        }
    }

    fn make_place_again(&mut self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.place.run)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.place.run.join("spec"))?;
        self.place.reopen()?;
        self.watch_place();
        self.api = crate::stand::listen_api(&self.place)?;
        self.notify = crate::stand::listen_notify(&self.place)?;
        self.mind_hand(false);
        self.hands.replace_listener(listen(&self.place, "hand.sock")?);
        let me = std::process::id();
        for at in 0..self.generations.len() {
            let Some(generation) = self.generations[at].as_mut() else { continue };
            disarm(&self.epoll, &generation.listener);
            generation.listener = listen(&self.place, &Place::socket_name(generation.id))?;
            if generation.serving == crate::generation::Serving::Mine {
                let token = Token::Listener { generation: at as u16 };
                arm(&self.epoll, &generation.listener, token, EventFlags::IN, false);
            }
            // The table has lost its name for good; whoever opens this one gets the same memory while we live.
            let name = self.place.table_path(generation.id);
            if std::fs::symlink_metadata(&name).is_ok() {
                continue;
            }
            let link = format!("/proc/{me}/fd/{}", rustix::fd::AsRawFd::as_raw_fd(generation.table.file()));
            std::os::unix::fs::symlink(link, &name)?;
        }
        name_role(&self.place, "elder", self.generation_id(self.own))?;
        // The keeper still listens where nobody can reach it, and the daemon too: both start anew, which loses nothing.
        if let Role::Elder { younger: Some(younger), .. } = &self.role {
            crate::sys::wait::pidfd_send_signal(&younger.pidfd, 9, false)?;
        }
        self.restart_daemon();
        Ok(())
    }
}
