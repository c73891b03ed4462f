//! Users and groups by name. The files of this machine are read first; whom they do not know is asked for by `getent`,
//! since a program that is linked statically knows no directory of users on the network.

use super::{Env, Makes, Unmakeable};
use kin_core::SpawnStep;
use kin_keeper::spec::User;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A directory that has not answered by then is as good as none.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_MOST: usize = 1 << 20;

/// Where people are looked up.
#[derive(Clone, Debug)]
pub struct People {
    etc: PathBuf,
    getent: PathBuf,
}

/// A user that a run becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    groups: Vec<u32>,
    pub(super) home: String,
    pub(super) shell: String,
}

impl Person {
    /// What tells programs whose they are.
    pub(super) fn variables(&self) -> [(Vec<u8>, Vec<u8>); 4] {
        [("HOME", &self.home), ("USER", &self.name), ("LOGNAME", &self.name), ("SHELL", &self.shell)]
            .map(|(name, value)| (name.into(), value.clone().into_bytes()))
    }

    pub(super) fn into_user(self) -> User {
        User { uid: self.uid, gid: self.gid, groups: self.groups }
    }
}

fn wrong(errno: Errno, why: String) -> Unmakeable {
    Unmakeable::new(SpawnStep::User, errno, why)
}

impl People {
    pub fn this() -> People {
        People { etc: "/etc".into(), getent: "getent".into() }
    }
    /// Other files, and another program to ask.
    pub fn at(etc: &Path, getent: &Path) -> People {
        People { etc: etc.into(), getent: getent.into() }
    }

    /// What a login would have given the server's own user, where nobody did: a service of the machine has no HOME.
    pub(super) fn complete(&self, env: &mut Env, uid: u32) {
        if env.contains_key(&b"HOME"[..]) {
            return;
        }
        let Ok(person) = self.user(&uid.to_string()) else { return };
        for (name, value) in person.variables() {
            env.entry(name).or_insert(value);
        }
    }

    /// Whom a run becomes; `None`: it stays the server's own user.
    pub(super) fn person(&self, user: Option<&str>, group: Option<&str>, uid: u32, gid: u32) -> Makes<Option<Person>> {
        let mut person = match user {
            None if group.is_none() => return Ok(None),
            None => self.user(&uid.to_string())?,
            Some(user) => self.user(user)?,
        };
        if let Some(group) = group {
            person.gid = self.group(group)?;
        }
        if person.uid == uid && person.gid == gid {
            return Ok(None);
        }
        if uid != 0 {
            let as_whom =
                if person.uid == uid { format!("group {}", person.gid) } else { format!("user {}", person.name) };
            let why =
                format!("the server runs as uid {uid} and cannot run anything as {as_whom}; root's own server can");
            return Err(wrong(Errno::PERM, why));
        }
        person.groups = self.groups_of(&person.name, person.gid)?;
        Ok(Some(person))
    }

    fn user(&self, asked: &str) -> Makes<Person> {
        let read = |line: &str| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let (_comment, home, shell) = (fields.next()?, fields.next()?, fields.next()?.trim_end());
            let text = |text: &str, otherwise: &str| if text.is_empty() { otherwise } else { text }.to_string();
            let (home, shell) = (text(home, "/"), text(shell, "/bin/sh"));
            (name == asked || asked.parse() == Ok(uid)).then(|| Person {
                name: name.into(),
                uid,
                gid,
                groups: vec![gid],
                home,
                shell,
            })
        };
        self.look_up("passwd", asked, read)?.ok_or_else(|| wrong(Errno::NOENT, format!("there is no user {asked:?}")))
    }

    fn group(&self, asked: &str) -> Makes<u32> {
        let read = |line: &str| {
            let mut fields = line.split(':');
            let (name, gid) = (fields.next()?, fields.nth(1)?.trim_end().parse().ok()?);
            (name == asked || asked.parse() == Ok(gid)).then_some(gid)
        };
        let found = self.look_up("group", asked, read)?;
        // A number need not have a name.
        let found = found.or_else(|| asked.parse().ok());
        found.ok_or_else(|| wrong(Errno::NOENT, format!("there is no group {asked:?}")))
    }

    /// The user's own group, and all that name the user as a member.
    fn groups_of(&self, name: &str, gid: u32) -> Makes<Vec<u32>> {
        let mut groups = vec![gid];
        for line in self.file("group")?.lines() {
            let mut fields = line.split(':');
            if let (Some(Ok(gid)), Some(members)) = (fields.nth(2).map(str::parse), fields.next())
                && members.split(',').any(|member| member.trim() == name)
            {
                groups.push(gid);
            }
        }
        if self.has_more_groups() {
            let line = self.ask("initgroups", name)?.unwrap_or_default();
            groups.extend(line.split_whitespace().skip(1).filter_map(|gid| gid.parse::<u32>().ok()));
        }
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// Whether groups stand anywhere else than in this machine's files.
    fn has_more_groups(&self) -> bool {
        let conf = std::fs::read_to_string(self.etc.join("nsswitch.conf")).unwrap_or_default();
        let line = |name: &str| {
            conf.lines().find_map(|line| line.trim_start().strip_prefix(name)?.trim_start().strip_prefix(':'))
        };
        let sources = line("initgroups").or_else(|| line("group")).unwrap_or_default();
        let sources = sources.split('#').next().unwrap_or_default().split_whitespace();
        sources.filter(|word| !word.starts_with('[')).any(|word| !matches!(word, "files" | "compat" | "systemd"))
    }

    fn file(&self, name: &str) -> Makes<String> {
        let path = self.etc.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(Unmakeable::io(SpawnStep::User, path.display(), &e)),
        }
    }

    fn look_up<T>(&self, table: &str, asked: &str, read: impl Fn(&str) -> Option<T>) -> Makes<Option<T>> {
        if let Some(found) = self.file(table)?.lines().find_map(&read) {
            return Ok(Some(found));
        }
        Ok(self.ask(table, asked)?.and_then(|line| read(&line)))
    }

    /// What `getent` says; `None`: nothing of that name. Machines without it have nothing but their files.
    fn ask(&self, table: &str, name: &str) -> Makes<Option<String>> {
        let asked = format!("getent {table} {name}");
        if name.starts_with('-') {
            return Ok(None);
        }
        match answer(&self.getent, table, name) {
            Ok(answer) => Ok(answer),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Unmakeable::io(SpawnStep::User, asked, &e)),
        }
    }
}

/// Runs it, and no longer than its answer is waited for.
fn answer(getent: &Path, table: &str, name: &str) -> io::Result<Option<String>> {
    let mut command = Command::new(getent);
    command.args([table, name]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let Some(mut out) = child.stdout.take() else { return Ok(None) };
    let until = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let time = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let ready = rustix::event::poll(&mut [PollFd::new(&out, PollFlags::IN)], Some(&time));
        let late = match ready {
            Ok(0) => true,
            Ok(_) => false,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        };
        if late || said.len() > ANSWER_MOST {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the directory of users does not answer"));
        }
        match out.read(&mut part)? {
            0 => break,
            n => said.extend_from_slice(&part[..n]),
        }
    }
    let known = child.wait()?.success();
    Ok(known.then(|| String::from_utf8_lossy(&said).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann,,,:/home/ann:/bin/zsh\nbare:x:1001:1001:::\n";
    const GROUP: &str = "root:x:0:\nann:x:1000:\nwheel:x:10:bob,ann\ndocker:x:999:ann\nbad line\n";

    fn town() -> (tempfile::TempDir, People) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("passwd"), PASSWD).expect("written");
        std::fs::write(dir.path().join("group"), GROUP).expect("written");
        let getent = dir.path().join("getent");
        let script = "#!/bin/sh\ncase \"$1 $2\" in\n'passwd far') echo far:x:5000:5000::/home/far:/bin/sh;;\n'group farm') echo farm:x:5001:far;;\n'initgroups far') echo 'far                   5000 5001 10';;\n*) exit 2;;\nesac\n";
        std::fs::write(&getent, script).expect("written");
        std::fs::set_permissions(&getent, PermissionsExt::from_mode(0o755)).expect("set");
        let people = People::at(dir.path(), &getent);
        (dir, people)
    }

    #[test]
    fn people_are_found_by_name_and_number_with_all_their_groups() {
        let (_dir, people) = town();
        for who in ["ann", "1000"] {
            let ann = people.person(Some(who), None, 0, 0).expect("found").expect("another");
            assert_eq!((ann.name.as_str(), ann.uid, ann.gid), ("ann", 1000, 1000));
            assert_eq!((ann.home.as_str(), ann.shell.as_str()), ("/home/ann", "/bin/zsh"));
            assert_eq!(ann.groups, [10, 999, 1000]);
        }
        let ann = people.person(Some("ann"), Some("wheel"), 0, 0).expect("found").expect("another");
        assert_eq!((ann.gid, ann.groups), (10, vec![10, 999]));
        let bare = people.person(Some("bare"), Some("77"), 0, 0).expect("found").expect("another");
        assert_eq!((bare.home.as_str(), bare.shell.as_str(), bare.gid), ("/", "/bin/sh", 77));
    }

    #[test]
    fn whom_the_files_do_not_know_getent_is_asked_for() {
        let (dir, people) = town();
        let far = people.person(Some("far"), Some("farm"), 0, 0).expect("found").expect("another");
        assert_eq!((far.uid, far.gid, far.groups), (5000, 5001, vec![5001]));
        std::fs::write(
            dir.path().join("nsswitch.conf"),
            "passwd: files ldap\ngroup:  files [NOTFOUND=continue] sss # x\n",
        )
        .expect("written");
        let far = people.person(Some("far"), None, 0, 0).expect("found").expect("another");
        assert_eq!(far.groups, [10, 5000, 5001]);
        let alone = People::at(dir.path(), Path::new("/nowhere/getent"));
        assert_eq!(alone.person(Some("far"), None, 0, 0).expect_err("unknown").errno, Errno::NOENT.raw_os_error());
    }

    #[test]
    fn who_is_nobody_and_who_may_not_be_become_are_refused() {
        let (_dir, people) = town();
        let refused = people.person(Some("nobody-here"), None, 0, 0).expect_err("refused");
        assert_eq!((refused.step, refused.errno), (SpawnStep::User, Errno::NOENT.raw_os_error()));
        assert!(people.person(Some("--help"), None, 0, 0).is_err());
        assert!(people.person(None, Some("nogroup-here"), 0, 0).is_err());
        assert_eq!(people.person(Some("ann"), None, 1000, 1000), Ok(None), "it is who the server is");
        assert_eq!(people.person(None, None, 1000, 1000), Ok(None));
        let refused = people.person(Some("root"), None, 1000, 1000).expect_err("refused");
        assert!(
            refused.errno == Errno::PERM.raw_os_error() && refused.message.contains("root's own server"),
            "{refused}"
        );
        assert!(people.person(None, Some("wheel"), 1000, 1000).is_err());
    }
}
