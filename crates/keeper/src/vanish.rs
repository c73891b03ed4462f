//! The runtime directory may be taken away under a living server (a login's directory goes with the last logout).
//! Then it is made again, with new sockets; mappings and descriptors never noticed.

use crate::chain::{listen, name_role};
use crate::keeper::{Keeper, Role, arm, disarm};
use crate::place::Place;
use crate::token::Token;
use rustix::event::epoll::EventFlags;
use rustix::fs::inotify;
use std::io;
use std::os::unix::fs::DirBuilderExt;

impl Keeper {
    /// Only the elder watches.
    pub(crate) fn watch_place(&mut self) {
        let made = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        let watch = match made {
            Ok(watch) => watch,
            Err(errno) => return crate::say(format_args!("cannot watch the runtime directory: {errno}")),
        };
        let events = inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::MOVE_SELF;
        if let Err(errno) = inotify::add_watch(&watch, &self.place.run, events) {
            return crate::say(format_args!("cannot watch the runtime directory: {errno}"));
        }
        arm(&self.epoll, &watch, Token::Place, EventFlags::IN, false);
        self.watch = Some(watch);
    }

    pub(crate) fn place_changed(&mut self) {
        if let Some(watch) = self.watch.take() {
            disarm(&self.epoll, &watch);
        }
        if self.closing || !self.is_elder() {
            return;
        }
        crate::say(format_args!("the runtime directory {} was removed; making it again", self.place.run.display()));
        if let Err(e) = self.make_place_again() {
            crate::say(format_args!("cannot make it again: {e}"));
        }
    }

    fn make_place_again(&mut self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.place.run)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.place.run.join("spec"))?;
        self.place.reopen()?;
        self.watch_place();
        self.api = crate::stand::listen_api(&self.place)?;
        self.hands.replace_listener(listen(&self.place, "hand.sock")?);
        let me = std::process::id();
        for at in 0..self.generations.len() {
            let Some(generation) = self.generations[at].as_mut() else { continue };
            disarm(&self.epoll, &generation.listener);
            generation.listener = listen(&self.place, &Place::socket_name(generation.id))?;
            // The table has lost its name for good; whoever opens this one gets the same memory while we live.
            let link = format!("/proc/{me}/fd/{}", rustix::fd::AsRawFd::as_raw_fd(generation.table.file()));
            std::os::unix::fs::symlink(link, self.place.table_path(generation.id))?;
            if generation.serving == crate::generation::Serving::Mine {
                let token = Token::Listener { generation: at as u16 };
                arm(&self.epoll, &generation.listener, token, EventFlags::IN, false);
            }
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
