//! A run's credentials: files copied to a directory of its own in memory, which `$CREDENTIALS_DIRECTORY` names.
//!
//! ```text
//!   <run>/credentials/<run id>/<name>     the directory 0500, the files 0400, both the run's user's
//! ```
//! They are made before the run is accepted, and go with its end; what a dead server left is swept by the next one.

use super::env_file::secret;
use super::{Asked, Makes, Server, Tell, Unmakeable};
use kin_core::{RunId, RunNo, SpawnStep};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

fn all(run: &Path) -> PathBuf {
    run.join("credentials")
}

pub(super) fn place(server: &Server, id: &RunId) -> PathBuf {
    all(&server.run).join(id.to_string())
}

/// Copies each file under its name. A former try's directory is replaced.
pub(super) fn copy(
    place: &Path,
    files: &BTreeMap<String, String>,
    owner: (u32, u32),
    uid: u32,
    tell: &mut Tell<'_>,
) -> Makes<()> {
    let named =
        |name: &str, why: String| Unmakeable::new(SpawnStep::Spec, Errno::INVAL, format!("credential {name}: {why}"));
    let mut contents = Vec::new();
    for (name, from) in files {
        if name.is_empty() || name.len() > 255 || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(named(name, "it cannot be the name of a file".into()));
        }
        if !from.starts_with('/') {
            return Err(named(name, format!("{from:?} is not an absolute path")));
        }
        tell(&Asked::Credential { name: name.clone(), from: from.clone() });
        let bytes = secret(Path::new(from), uid).map_err(|(errno, why)| {
            Unmakeable::new(SpawnStep::Spec, errno, format!("credential {name}, {from}: {why}"))
        })?;
        contents.push((name, bytes));
    }
    write(place, &contents, owner).map_err(|e| Unmakeable::io(SpawnStep::Spec, place.display(), &e))
}

fn write(place: &Path, contents: &[(&String, Vec<u8>)], (uid, gid): (u32, u32)) -> io::Result<()> {
    remove(place)?;
    // Others may pass to what is theirs, and list nothing.
    let all = place.parent().ok_or(io::ErrorKind::InvalidInput)?;
    match rustix::fs::mkdir(all, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => rustix::fs::chmod(all, Mode::from_raw_mode(0o711))?,
        Err(e) => return Err(e.into()),
    }
    rustix::fs::mkdir(place, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, place, flags, Mode::empty())?;
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    for (name, bytes) in contents {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, name.as_str(), flags, Mode::RUSR)?;
        io::Write::write_all(&mut std::fs::File::from(file.try_clone()?), bytes)?;
        rustix::fs::fchown(&file, uid, gid)?;
    }
    rustix::fs::fchmod(&dir, Mode::RUSR | Mode::XUSR)?;
    Ok(rustix::fs::fchown(&dir, uid, gid)?)
}

fn remove(place: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(place) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(_) => {}
    }
    // Its owner may not write to it, and that may be us.
    rustix::fs::chmod(place, Mode::RWXU)?;
    std::fs::remove_dir_all(place)
}

/// Takes away the credentials of the runs that are over.
pub(super) fn sweep(run: &Path, over: impl Fn(RunNo) -> bool) -> io::Result<()> {
    let entries = match std::fs::read_dir(all(run)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(RunId::parse);
        if id.is_none_or(|id| over(id.no)) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kin_core::JobName;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn id(no: u64) -> RunId {
        RunId { job: JobName::parse("a").expect("a name"), no: RunNo::new(no).expect("a number") }
    }

    #[test]
    fn credentials_are_the_runs_alone_and_go_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let uid = rustix::process::geteuid().as_raw();
        let owner = if uid == 0 { (12345, 23456) } else { (uid, rustix::process::getegid().as_raw()) };
        let from = dir.path().join("secret");
        std::fs::write(&from, "s3cret").expect("written");
        std::fs::set_permissions(&from, PermissionsExt::from_mode(0o600)).expect("set");
        let place = all(dir.path()).join(id(7).to_string());
        let files: BTreeMap<String, String> = [("db".to_string(), from.to_string_lossy().into_owned())].into();
        for _again in 0..2 {
            copy(&place, &files, owner, uid, &mut |_| ()).expect("copied");
        }
        for (path, mode) in [(place.clone(), 0o500), (place.join("db"), 0o400)] {
            let meta = std::fs::metadata(&path).expect("there");
            assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (mode, owner.0, owner.1), "{}", path.display());
        }
        assert_eq!(std::fs::read_to_string(place.join("db")).expect("read"), "s3cret");
        copy(&all(dir.path()).join(id(8).to_string()), &files, owner, uid, &mut |_| ()).expect("copied");
        std::fs::create_dir(all(dir.path()).join("stray")).expect("made");
        sweep(dir.path(), |run| run != id(8).no).expect("swept");
        let left: Vec<_> = std::fs::read_dir(all(dir.path())).expect("read").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, [id(8).to_string().as_str()]);
        sweep(dir.path(), |run| run == id(8).no).expect("swept");
        sweep(dir.path(), |run| run == id(8).no).expect("gone is fine");
        assert_eq!(std::fs::read_dir(all(dir.path())).expect("read").count(), 0);
    }

    #[test]
    fn what_cannot_be_copied_is_named_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let uid = rustix::process::geteuid().as_raw();
        let place = all(dir.path()).join(id(7).to_string());
        let open = dir.path().join("open");
        std::fs::write(&open, "x").expect("written");
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).expect("set");
        let open = open.to_str().expect("text");
        for (name, from, word) in [
            ("../x", "/etc/hostname", "name of a file"),
            ("x", "rel", "absolute"),
            ("db", "/nowhere", "credential db"),
            ("db", open, "chmod 600"),
        ] {
            let files = [(name.to_string(), from.to_string())].into();
            let refused = copy(&place, &files, (uid, 0), uid, &mut |_| ()).expect_err("refused");
            assert!(refused.message.contains(word), "{refused}");
        }
        assert!(!place.exists());
    }
}
