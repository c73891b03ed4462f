//! The places a server lives in: its state directory, and the runtime directory it chooses.
//!
//! The state directory says which server it is. The runtime directory lies in memory where it can, and is chosen once, by
//! whoever holds the server's lock; a symlink `<state>/run` tells everybody else. What a login's environment says plays
//! no part in it: cron, ssh and a login must all reach the same server.
//!
//! ```text
//!   root's own server          /run/kin                     (in memory, as on most machines; else as below)
//!   the user lingers           /run/user/UID/kin-<sum of the state's path>     (else logind would remove it at logout)
//!   otherwise                  /dev/shm/kin-UID-<sum of the state's path>
//!   no memory to be had        <state>/runtime
//! ```

use kin_api::home::Home;
use kin_keeper::table::Table;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Both directories, there and ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub state: PathBuf,
    pub run: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("{path} could not be made")]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} belongs to uid {owner}, not to uid {uid}: kin will not use it")]
    Owner { path: PathBuf, owner: u32, uid: u32 },
    #[error("{path} cannot be written to")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is a link to {target}, which is not there")]
    Dangling { path: PathBuf, target: PathBuf },
    #[error("{path} is not a directory")]
    NotADirectory { path: PathBuf },
    #[error("{path} does not name this server's runtime directory")]
    NoRuntime { path: PathBuf },
}

/// What of the machine the choice depends on.
#[derive(Clone, Debug)]
pub struct Host {
    pub uid: u32,
    pub user: Option<String>,
    /// One file for each user whose services outlive the login.
    pub linger: PathBuf,
    pub users: PathBuf,
    pub memory: PathBuf,
    pub system: PathBuf,
    /// Whether what is in a directory is nowhere else than in memory.
    pub in_memory: fn(&Path) -> bool,
}

fn in_memory(dir: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    rustix::fs::statfs(dir).is_ok_and(|fs| [TMPFS, RAMFS].contains(&fs.f_type))
}

impl Host {
    pub fn this() -> Host {
        let uid = rustix::process::geteuid().as_raw();
        Host {
            uid,
            user: user_name(uid, &std::fs::read_to_string("/etc/passwd").unwrap_or_default()),
            linger: "/var/lib/systemd/linger".into(),
            users: "/run/user".into(),
            memory: "/dev/shm".into(),
            system: "/run/kin".into(),
            in_memory,
        }
    }

    fn lingers(&self) -> bool {
        self.user.as_ref().is_some_and(|user| self.linger.join(user).exists())
    }

    /// Where the runtime directory may lie, best first.
    fn choices(&self, home: &Home, state: &Path) -> Vec<PathBuf> {
        let sum = format!("{:016x}", sum(state.as_os_str().as_encoded_bytes()));
        let mut choices = Vec::new();
        if home.system {
            choices.push(self.system.clone());
        }
        if self.lingers() {
            choices.push(self.users.join(self.uid.to_string()).join(format!("kin-{sum}")));
        }
        choices.push(self.memory.join(format!("kin-{}-{sum}", self.uid)));
        // Somebody else may have taken that name; nobody can take them all.
        choices.extend((2..10).map(|n| self.memory.join(format!("kin-{}-{sum}-{n}", self.uid))));
        // What runs are given lies there, and is not to reach a disk: some machines have theirs below /run.
        choices.sort_by_key(|choice| !(self.in_memory)(choice.parent().unwrap_or(choice)));
        choices.push(state.join("runtime"));
        choices
    }
}

/// Makes the state directory and answers with its real path.
pub fn make_state(home: &Home, uid: u32) -> Result<PathBuf, PlaceError> {
    if let Some(parent) = home.state.parent() {
        make_parents(parent)?;
    }
    own_directory(&home.state, uid)?;
    rustix::fs::access(&home.state, rustix::fs::Access::WRITE_OK)
        .map_err(|e| PlaceError::Write { path: home.state.clone(), source: e.into() })?;
    std::fs::canonicalize(&home.state).map_err(|source| PlaceError::Make { path: home.state.clone(), source })
}

/// Chooses the runtime directory, makes it, and leaves the symlink to it. Only who holds the server's lock may ask: what
/// is in the directory belongs to the server that lived before.
pub fn settle(home: &Home, state: PathBuf, host: &Host) -> Result<Place, PlaceError> {
    let choices = host.choices(home, &state);
    // The one before is kept where it still is: its tables and specs are needed.
    let before = std::fs::read_link(state.join("run")).ok().filter(|run| choices.contains(run));
    let mut refused = None;
    for run in before.iter().filter(|run| run.exists()).chain(&choices) {
        match own_directory(run, host.uid) {
            Ok(()) if is_served(run) => {}
            Ok(()) => {
                link(&state, run).map_err(|source| PlaceError::Make { path: state.join("run"), source })?;
                return Ok(Place { run: run.clone(), state });
            }
            Err(e) => refused = Some(e),
        }
    }
    Err(refused.unwrap_or(PlaceError::NotADirectory { path: state }))
}

/// The place of a server that lives, or that lived: by its own symlink.
pub fn find(state: &Path, uid: u32) -> Result<Place, PlaceError> {
    let link = state.join("run");
    let run = std::fs::read_link(&link).map_err(|source| PlaceError::Make { path: link.clone(), source })?;
    let run = if run.is_absolute() { run } else { return Err(PlaceError::NoRuntime { path: link }) };
    check(&run, uid)?;
    Ok(Place { state: state.to_path_buf(), run })
}

/// How long a dying keeper may take to let go of its tables.
const DYING: std::time::Duration = std::time::Duration::from_secs(1);

/// Whether keepers live in there. They cannot be this server's, whose lock we have: its state directory was taken away
/// from under them, and another made in its place.
///
/// A keeper that is just dying lets go of the server's lock and of its tables one after the other: it is waited for.
fn is_served(run: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(run) else { return false };
    let tables = entries.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "tab"));
    tables.filter_map(|entry| Table::open(&entry.path()).ok()).any(|table| {
        let free = || rustix::fs::flock(table.file(), FlockOperation::NonBlockingLockShared).is_ok();
        !free() && !crate::daemon::freed_within(table.file(), DYING)
    })
}

fn make_parents(path: &Path) -> Result<(), PlaceError> {
    let Err(source) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path) else { return Ok(()) };
    // Of a long path it is told which part is none.
    if let Some(part) = path.ancestors().find(|part| part.is_symlink() && !part.exists()) {
        let target = std::fs::read_link(part).unwrap_or_default();
        return Err(PlaceError::Dangling { path: part.to_path_buf(), target });
    }
    match path.ancestors().find(|part| part.exists()) {
        Some(part) if !part.is_dir() => Err(PlaceError::NotADirectory { path: part.to_path_buf() }),
        Some(_) | None => Err(PlaceError::Make { path: path.to_path_buf(), source }),
    }
}

/// Makes the directory if there is none, and sees to it that it is ours and ours alone.
fn own_directory(path: &Path, uid: u32) -> Result<(), PlaceError> {
    let failed = |e: rustix::io::Errno| PlaceError::Make { path: path.to_path_buf(), source: e.into() };
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Err(rustix::io::Errno::EXIST) if path.is_symlink() && !path.exists() => {
            let target = std::fs::read_link(path).unwrap_or_default();
            return Err(PlaceError::Dangling { path: path.to_path_buf(), target });
        }
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(failed(e)),
    }
    if check(path, uid)? & 0o077 != 0 {
        // By a descriptor, so that what was checked is what is changed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&dir).map_err(failed)?;
        if stat.st_uid != uid {
            return Err(PlaceError::Owner { path: path.to_path_buf(), owner: stat.st_uid, uid });
        }
        rustix::fs::fchmod(&dir, Mode::RWXU).map_err(failed)?;
    }
    Ok(())
}

/// The directory's mode, if it is a directory of ours. A link counts where it leads to, if the link is ours too.
fn check(path: &Path, uid: u32) -> Result<u32, PlaceError> {
    let failed = |e: rustix::io::Errno| PlaceError::Make { path: path.to_path_buf(), source: e.into() };
    let itself = rustix::fs::lstat(path).map_err(failed)?;
    let target = rustix::fs::stat(path).map_err(failed)?;
    if let Some(other) = [&itself, &target].into_iter().find(|stat| stat.st_uid != uid) {
        return Err(PlaceError::Owner { path: path.to_path_buf(), owner: other.st_uid, uid });
    }
    if FileType::from_raw_mode(target.st_mode) != FileType::Directory {
        return Err(PlaceError::NotADirectory { path: path.to_path_buf() });
    }
    Ok(target.st_mode)
}

/// Points `<state>/run` there, in one step.
fn link(state: &Path, run: &Path) -> io::Result<()> {
    let (link, new) = (state.join("run"), state.join(".run.new"));
    if std::fs::read_link(&link).is_ok_and(|old| old == run) {
        return Ok(());
    }
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    rustix::fs::symlink(run, &new)?;
    rustix::fs::renameat(CWD, &new, CWD, &link)?;
    Ok(())
}

/// FNV-1a: two states of one user must not share a name, and nobody gains anything by making them.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// The user's name by the text of /etc/passwd; a user who stands elsewhere is taken at its login's word.
fn user_name(uid: u32, passwd: &str) -> Option<String> {
    let line = passwd.lines().find(|line| line.split(':').nth(2).and_then(|n| n.parse().ok()) == Some(uid));
    let name = line.and_then(|line| line.split(':').next()).map(String::from);
    name.or_else(|| std::env::var("LOGNAME").ok()).filter(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;

    struct Machine {
        dir: tempfile::TempDir,
        host: Host,
    }

    impl Machine {
        fn new() -> Machine {
            let dir = tempfile::tempdir().expect("a directory");
            let at = |name: &str| {
                std::fs::create_dir(dir.path().join(name)).expect("a directory");
                dir.path().join(name)
            };
            let host = Host {
                uid: rustix::process::geteuid().as_raw(),
                user: Some("ann".into()),
                linger: at("linger"),
                users: at("users"),
                memory: at("shm"),
                system: dir.path().join("system"),
                in_memory: |_| false,
            };
            Machine { dir, host }
        }

        fn home(&self, vars: &[(&str, &str)]) -> Home {
            let home = self.dir.path().join("home").into_os_string();
            let env = |name: &str| match name {
                "HOME" => Some(home.clone()),
                _ => vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)),
            };
            Home::find(&env, false, &|_| false).expect("a home")
        }

        fn settle(&self, home: &Home) -> Result<Place, PlaceError> {
            settle(home, make_state(home, self.host.uid)?, &self.host)
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn the_place_is_the_same_with_and_without_a_logins_runtime_directory() {
        let machine = Machine::new();
        let with = machine.settle(&machine.home(&[("XDG_RUNTIME_DIR", "/run/user/1000")])).expect("a place");
        let without = machine.settle(&machine.home(&[])).expect("a place");
        assert_eq!(with, without);
        assert!(with.run.starts_with(&machine.host.memory));
        assert_eq!((mode(&with.run), mode(&with.state)), (0o700, 0o700));
        assert_eq!(find(&with.state, machine.host.uid).expect("found"), with);
    }

    #[test]
    fn the_servers_of_the_machine_live_in_memory_also_where_run_is_on_a_disk() {
        let mut machine = Machine::new();
        let (home, state) = (Home { system: true, ..machine.home(&[]) }, Path::new("/var/lib/kin"));
        assert_eq!(machine.host.choices(&home, state)[0], machine.host.system);
        machine.host.in_memory = |dir| dir.ends_with("shm");
        let choices = machine.host.choices(&home, state);
        assert!(choices[0].starts_with(&machine.host.memory), "{choices:?}");
        assert_eq!(choices.last().map(PathBuf::as_path), Some(Path::new("/var/lib/kin/runtime")));
        assert!(choices.contains(&machine.host.system));
        assert!(!in_memory(Path::new("/proc")));
    }

    #[test]
    fn a_users_own_runtime_directory_is_used_only_while_the_user_lingers() {
        let machine = Machine::new();
        let users = machine.host.users.join(machine.host.uid.to_string());
        std::fs::create_dir(&users).expect("a directory");
        let home = machine.home(&[]);
        assert!(machine.settle(&home).expect("a place").run.starts_with(&machine.host.memory));
        std::fs::write(machine.host.linger.join("ann"), "").expect("lingers");
        let kept = machine.settle(&home).expect("a place");
        assert!(kept.run.starts_with(&machine.host.memory), "the one before still holds its tables");
        std::fs::remove_dir(&kept.run).expect("a reboot");
        assert!(machine.settle(&home).expect("a place").run.starts_with(&users));
    }

    #[test]
    fn two_states_never_share_a_runtime_directory_even_when_one_is_a_copy() {
        let machine = Machine::new();
        let one = machine.settle(&machine.home(&[])).expect("a place");
        let other = machine.home(&[("XDG_STATE_HOME", "/nonexistent")]);
        let other = Home { state: machine.dir.path().join("copy"), ..other };
        std::fs::create_dir(&other.state).expect("a directory");
        std::os::unix::fs::symlink(&one.run, other.state.join("run")).expect("a copied link");
        let two = machine.settle(&other).expect("a place");
        assert_ne!(one.run, two.run);
        assert_eq!(find(&two.state, machine.host.uid).expect("found"), two);
    }

    #[test]
    fn a_name_taken_by_something_else_is_passed_over_and_open_modes_are_closed() {
        let machine = Machine::new();
        let home = machine.home(&[]);
        let state = make_state(&home, machine.host.uid).expect("a state");
        let choices = machine.host.choices(&home, &state);
        std::fs::write(&choices[0], "a trap").expect("writes");
        std::fs::create_dir(&choices[1]).expect("a directory");
        std::fs::set_permissions(&choices[1], PermissionsExt::from_mode(0o777)).expect("opened");
        let place = machine.settle(&home).expect("a place");
        assert_eq!((&place.run, mode(&place.run)), (&choices[1], 0o700));
    }

    #[test]
    fn keepers_whose_state_was_taken_away_keep_their_runtime_directory() {
        let machine = Machine::new();
        let home = machine.home(&[]);
        let first = machine.settle(&home).expect("a place");
        let table = Table::create(&first.run.join("keeper.0.tab"), 7, "boot").expect("a table");
        assert_eq!(machine.settle(&home).expect("a place"), first, "nobody serves it any more");
        table.lock().expect("a lock");
        assert_ne!(machine.settle(&home).expect("a place").run, first.run);
    }

    #[test]
    fn a_machine_without_memory_to_share_still_has_a_place() {
        let machine = Machine::new();
        std::fs::remove_dir(&machine.host.memory).expect("removed");
        let place = machine.settle(&machine.home(&[])).expect("a place");
        assert_eq!(place.run, place.state.join("runtime"));
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let machine = Machine::new();
        let home = machine.home(&[]);
        let other = machine.host.uid + 1;
        assert!(matches!(make_state(&home, other), Err(PlaceError::Owner { .. })));
    }

    #[test]
    fn the_users_name_is_read_from_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_name(1000, passwd).as_deref(), Some("ann"));
    }
}
