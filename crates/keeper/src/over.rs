//! The end of a server: who waits for what, and what is written down for the next one.

use crate::generation::Serving;
use crate::keeper::{Keeper, Role};
use crate::table::DRAINED;
use crate::wire::Tell;
use std::io::{self, Write};
use std::sync::atomic::Ordering;

impl Keeper {
    /// No new runs from now on; we go when the last has ended.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// No run anywhere that is not at its end.
    pub(crate) fn is_quiet(&self) -> bool {
        self.generations.iter().flatten().all(crate::generation::Generation::is_quiet)
    }

    /// The exit code, once there is nothing left to do.
    pub(crate) fn is_over(&mut self) -> Option<i32> {
        if !self.closing {
            return None;
        }
        match &self.role {
            Role::Keeper { .. } => self.is_quiet().then_some(0),
            Role::Elder { younger: Some(younger), .. } => {
                // It ends by itself, if it was told; a daemon that died in between may have told only us.
                if self.is_quiet()
                    && !self.daemon.lives()
                    && let Err(e) = crate::sys::wait::pidfd_send_signal(&younger.pidfd, 9, false)
                    && e.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error())
                {
                    crate::say(format_args!("cannot end the keeper: {e}"));
                }
                None
            }
            Role::Elder { younger: None, .. } => {
                if self.daemon.lives() || !self.is_quiet() {
                    return None;
                }
                self.tell_all(Tell::Bye);
                for conn in self.conns.iter_mut().flatten() {
                    conn.flush();
                }
                self.leave();
                Some(0)
            }
        }
    }

    /// Writes the ends that no daemon has read to the state directory, durably; then the runtime directory goes.
    fn leave(&mut self) {
        let mut kept = true;
        for generation in self.generations.iter().flatten().filter(|g| g.serving == Serving::Mine) {
            let unread = generation.table.slots().iter().any(|slot| slot.state.load(Ordering::Relaxed) == DRAINED);
            if unread && let Err(e) = self.copy_table(generation.id) {
                kept = false;
                crate::say(format_args!("cannot keep the ends of generation {:016x}: {e}", generation.id));
            }
        }
        if let Err(e) = self.cgroups.leave() {
            // A run that left somebody behind keeps its cgroup, and so this one; the next server minds them.
            let path = self.cgroups.path().unwrap_or(&self.place.state);
            crate::say(format_args!("leaving the cgroup {}: {e}", path.display()));
        }
        // Runs that wait for the next server are started from their specs, which are nowhere else.
        let awaited = std::fs::read_dir(self.place.run.join("spec")).is_ok_and(|mut specs| specs.next().is_some());
        if kept
            && !awaited
            && let Err(e) = std::fs::remove_dir_all(&self.place.run)
        {
            crate::say(format_args!("cannot remove {}: {e}", self.place.run.display()));
        }
    }

    fn copy_table(&self, id: u64) -> io::Result<()> {
        let left = self.place.state.join("left");
        std::fs::create_dir_all(&left)?;
        let bytes = std::fs::read(self.place.table_path(id))?;
        let (new, name) = (left.join(format!(".{id:016x}.new")), left.join(format!("{id:016x}.tab")));
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &name)?;
        std::fs::File::open(&left)?.sync_all()
    }
}
