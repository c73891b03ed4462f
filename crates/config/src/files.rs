//! Where job files are, and which of them may be believed.
//!
//! Every `*.toml` of a directory is read that does not begin with a dot, in the order of their names. A file says what is
//! run, so whoever may write it may do all that we may: for root a file (or directory) that others may write is refused,
//! for anybody else it is a warning.

use crate::ics;
use crate::mistake::{Code, Mistake};
use crate::set::{Form, Input};
use crate::source::Source;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Ten thousand jobs are two of these millions.
pub const FILE_MAX: u64 = 16 << 20;

/// Who looks.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    pub uid: u32,
}

impl Reader {
    pub fn of_process() -> Reader {
        Reader { uid: rustix::process::geteuid().as_raw() }
    }

    /// Everything that some directories hold, in their order: the first that has a job is meant.
    pub fn directories(self, dirs: &[PathBuf]) -> Vec<Input> {
        let inputs = dirs.iter().enumerate().flat_map(|(rank, dir)| self.directory(dir, rank)).collect();
        self.with_calendars(inputs)
    }

    /// And the calendar files that they name.
    pub fn with_calendars(self, mut inputs: Vec<Input>) -> Vec<Input> {
        let named: BTreeSet<(PathBuf, usize)> =
            inputs.iter().flat_map(|input| ics::named_in(&input.source).map(|path| (path, input.rank))).collect();
        for (path, rank) in named {
            if inputs.iter().all(|input| input.source.path != path) {
                inputs.push(self.file(&path, rank));
            }
        }
        inputs
    }

    fn directory(self, dir: &Path, rank: usize) -> Vec<Input> {
        let mut paths: Vec<PathBuf> = match entries(dir) {
            Ok(paths) => paths.into_iter().filter(|path| is_job_file(path)).collect(),
            // What is no directory has no files in it.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Vec::new(),
            // Nothing is known of any file in it: not even that one is gone.
            Err(e) => {
                let why = format!("the directory could not be read: {e}");
                return vec![Input { form: Form::Directory, ..unreadable(dir, rank, &why) }];
            }
        };
        paths.sort();
        let above = rustix::fs::stat(dir).ok().and_then(|stat| self.doubt(&stat, "its directory"));
        let mut inputs: Vec<Input> = paths.iter().map(|path| self.file(path, rank)).collect();
        if let Some(doubt) = above {
            // A warning is said once; an error must keep out every file that could have been put there.
            let all = if doubt.is_error() { inputs.len() } else { 1 };
            inputs.iter_mut().take(all).for_each(|input| input.mistakes.push(doubt.clone().at(0, &(0..0))));
        }
        inputs
    }

    /// Some files, as one set.
    pub fn files(self, paths: &[PathBuf]) -> Vec<Input> {
        self.with_calendars(paths.iter().map(|path| self.file(path, 0)).collect())
    }

    /// Never waits: a pipe in the place of a file is none.
    pub fn file(self, path: &Path, rank: usize) -> Input {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let read = || -> Result<(Vec<u8>, Option<Mistake>), String> {
            let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| match e {
                rustix::io::Errno::NOENT => "there is no such file".into(),
                e => format!("it could not be opened: {}", plain(e)),
            })?;
            let stat = rustix::fs::fstat(&fd).map_err(|e| format!("it could not be looked at: {e}"))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err("it is no file".into());
            }
            let most = if ics::is_calendar(path) { ics::FILE_MAX } else { FILE_MAX };
            let mut bytes = Vec::new();
            let mut file = std::fs::File::from(fd).take(most + 1);
            file.read_to_end(&mut bytes).map_err(|e| format!("it could not be read: {e}"))?;
            if bytes.len() as u64 > most {
                return Err(format!("it is larger than {} MiB", most >> 20));
            }
            if ics::is_calendar(path) {
                ics::mend_folds(&mut bytes);
            }
            Ok((bytes, self.doubt(&stat, "it")))
        };
        match read() {
            Ok((bytes, doubt)) => {
                let mut input = text(path, rank, bytes);
                input.mistakes.extend(doubt.map(|mistake| mistake.at(0, &(0..0))));
                input
            }
            Err(why) => unreadable(path, rank, &why),
        }
    }

    /// What is to be said of who may write it.
    fn doubt(self, stat: &Stat, what: &str) -> Option<Mistake> {
        let sticky = stat.st_mode & 0o1000 != 0;
        let message = if stat.st_uid != self.uid && stat.st_uid != 0 {
            format!("{what} belongs to somebody else (uid {})", stat.st_uid)
        } else if stat.st_mode & 0o002 != 0 && !sticky {
            format!("{what} can be written by everybody")
        } else if stat.st_mode & 0o020 != 0 && stat.st_gid != stat.st_uid {
            // A group of one's own, as many systems give each user, is nobody else.
            format!("{what} can be written by its group")
        } else {
            return None;
        };
        let help = "whoever may write it decides what is run: chown it, and chmod go-w";
        let make = if self.uid == 0 { Mistake::error } else { Mistake::warning };
        Some(make(Code::Permission, message).help(help))
    }
}

/// The system's words alone: `Permission denied`.
fn plain(e: rustix::io::Errno) -> String {
    let words = std::io::Error::from(e).to_string();
    words.split(" (os error").next().unwrap_or_default().to_owned()
}

/// All of them, or none.
fn entries(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

fn is_job_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.ends_with(b".toml") && !name.starts_with(b".")
}

fn unreadable(path: &Path, rank: usize, why: &str) -> Input {
    let mistake = Mistake::error(Code::File, why).at(0, &(0..0));
    Input { source: Source::new(path, ""), rank, form: Form::Written, mistakes: vec![mistake] }
}

/// A byte order mark is no part of the text; what is not text is said where it begins.
pub fn text(path: &Path, rank: usize, bytes: Vec<u8>) -> Input {
    let mark = "\u{feff}".as_bytes();
    let bytes = if bytes.starts_with(mark) { bytes[mark.len()..].to_vec() } else { bytes };
    match String::from_utf8(bytes) {
        Ok(text) => Input { source: Source::new(path, text), rank, form: Form::Written, mistakes: Vec::new() },
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let mistake = Mistake::error(Code::File, "it is no UTF-8 text: this byte begins no character");
            let mistakes = vec![mistake.at(0, &(at..at + 1))];
            Input { source: Source::new(path, lossy), rank, form: Form::Written, mistakes }
        }
    }
}
