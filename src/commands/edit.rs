//! `kin edit`
//!
//! The editor is given a copy beside the file. Only when the copy is good, or when a person says so, it takes the file's
//! place in one step: whoever reads the file, a server above all, never sees it half written. A link stays a link.

use crate::cli::Face;
use crate::commands::reload;
use crate::definitions;
use crate::report::Failure;
use clap::Args;
use kin_client::Error;
use kin_client::api::job::{Reload, ReloadRequest};
use kin_config::files::{self, Reader};
use kin_config::{Mistake, Report, Set};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Opens the file of a job in $VISUAL or $EDITOR, checks it, and puts it in place.
///
/// A server that runs reads it at once, and what follows for each job is shown, as by kin reload: the next command goes by it.
/// Comments and links are kept. With mistakes it asks whether to edit again, to keep it all the same, or to throw the
/// change away; without a terminal to ask at it is refused, and the copy kept. Without JOB the main file is opened.
#[derive(Args, Debug)]
#[command(after_help = "EXAMPLE\n  kin edit\n  kin edit backup\n  EDITOR=nano kin edit web")]
pub(crate) struct EditArgs {
    /// A job of the server's own files.
    job: Option<String>,
}

const FRESH: &str = "\
# Jobs of kin. Each table is a job; kin config schema and docs/jobs.md tell all keys.
#
# [backup]
# command = \"pg_dump app | zstd > /backup/app.zst\"
# schedule = \"30 2 * * *\"
# timeout = \"1h\"
";

enum Answer {
    Again,
    Keep,
    Discard,
}

impl EditArgs {
    pub(crate) async fn run(&self, face: &Face) -> Result<u8, Failure> {
        let screen = &face.screen;
        let dirs = definitions::directories()?;
        let before = definitions::read(&dirs);
        let path = self.path(&before, &dirs)?;
        let copy = Copy::make(&path)?;
        loop {
            if let Err(failure) = run_editor(&copy) {
                // An editor that was told to give up (`:cq`) leaves nothing behind that nobody wrote.
                if copy.is_untouched()? {
                    copy.discard()?;
                    return Err(Failure::usage(failure.to_string()));
                }
                return Err(failure);
            }
            let bytes = copy.bytes()?;
            if copy.is_untouched()? {
                copy.discard()?;
                screen.note("nothing was changed");
                return Ok(0);
            }
            let after = with(&dirs, &path, &bytes);
            let wrong = news(&before, &after, &path);
            if wrong.mistakes.is_empty() {
                copy.put()?;
                let reload = read_by_the_server(face).await;
                screen.note(&format!("{} is in place: {}", path.display(), definitions::count(&after)));
                let Some(reload) = reload else { return Ok(0) };
                reload::tell(&reload, screen)?;
                return Ok(reload::code(&reload));
            }
            let shown = wrong.text(screen.err_terminal && screen.colour) + &wrong.sum() + "\n";
            io::stderr().lock().write_all(shown.as_bytes()).map_err(Failure::output)?;
            match ask() {
                Some(Answer::Again) => {}
                Some(Answer::Keep) => {
                    copy.put()?;
                    // What is wrong was shown already.
                    drop(read_by_the_server(face).await);
                    let what = "a server goes on with what was good before, until it is mended";
                    screen.note(&format!("{} is in place, with {}: {what}", path.display(), wrong.sum()));
                    return Ok(0);
                }
                Some(Answer::Discard) => {
                    copy.discard()?;
                    screen.note("nothing was changed");
                    return Ok(0);
                }
                None => {
                    return Err(Failure::Usage {
                        message: format!("{} was not changed: what you wrote has mistakes", path.display()),
                        hint: Some(format!("your text is kept in {}", copy.path.display())),
                    });
                }
            }
        }
    }

    /// The file of the job, or the main one.
    fn path(&self, set: &Set, dirs: &[PathBuf]) -> Result<PathBuf, Failure> {
        let main = definitions::main_file(dirs);
        let sources = &set.report.sources;
        let Some(job) = &self.job else {
            let others: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
            return match sources.as_slice() {
                [only] => Ok(only.path.clone()),
                [] => Ok(main),
                _ if main.exists() => Ok(main),
                _ => Err(Failure::Usage {
                    message: format!("there are several files: {}", others.join(", ")),
                    hint: Some("kin edit JOB opens the one that has it".into()),
                }),
            };
        };
        let found = set.jobs.iter().find(|(name, _)| name.as_str() == job);
        if let Some((source, _)) = found.and_then(|(_, definition)| definition.place(sources)) {
            return Ok(source.path.clone());
        }
        let near = kin_config::guess::nearest(job, set.jobs.keys().map(|name| name.as_str()));
        let near = near.map_or_else(String::new, |near| format!(", did you mean {near}?"));
        Err(Failure::NotFound {
            message: format!("no file defines the job {job:?}{near}"),
            hint: Some(format!(
                "kin show {job} tells who else defined it, if anybody did; kin edit opens {}, for a new one",
                main.display()
            )),
        })
    }
}

/// Before the next command asks it for anything. `None`: none runs, or it has said why it cannot.
async fn read_by_the_server(face: &Face) -> Option<Reload> {
    match face.client.reload(&ReloadRequest { plan: false }).await {
        Ok(reload) => Some(reload),
        Err(Error::NoServer { .. }) => None,
        Err(error) => {
            face.screen.note(&format!("the server has not read it yet: {error}"));
            None
        }
    }
}

fn system(what: &'static str, source: io::Error) -> Failure {
    Failure::System { what, source }
}

/// What an editor may do with as it likes.
struct Copy {
    path: PathBuf,
    /// The file itself, at the end of all links.
    real: PathBuf,
    /// As it was; `None`: there is none yet.
    original: Option<Vec<u8>>,
}

impl Copy {
    fn make(path: &Path) -> Result<Copy, Failure> {
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !path.is_symlink() => path.to_path_buf(),
            Err(source) => return Err(system("could not find the file", source)),
        };
        let dir = real.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(dir).map_err(|source| system("could not make the directory", source))?;
        let original = match std::fs::read(&real) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(system("could not read the file", source)),
        };
        let stem = real.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // A name that begins with a dot is no job file, whatever it ends with.
        let copy = dir.join(format!(".{stem}.edit-{}.toml", std::process::id()));
        let make = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy)?;
            if let (Some(bytes), Ok(meta)) = (&original, std::fs::metadata(&real)) {
                file.write_all(bytes)?;
                let own = file.metadata()?;
                if (own.uid(), own.gid()) != (meta.uid(), meta.gid()) {
                    std::os::unix::fs::fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
                }
                file.set_permissions(meta.permissions())?;
            } else {
                file.write_all(FRESH.as_bytes())?;
            }
            Ok(())
        };
        make().map_err(|source| system("could not make a copy to edit", source))?;
        Ok(Copy { path: copy, real, original })
    }

    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        std::fs::read(&self.path).map_err(|source| system("could not read the copy", source))
    }

    /// It says what it said when it was made.
    fn is_untouched(&self) -> Result<bool, Failure> {
        let bytes = self.bytes()?;
        Ok(bytes == self.original.as_deref().unwrap_or(FRESH.as_bytes()))
    }

    /// In one step, and only over what was copied.
    fn put(&self) -> Result<(), Failure> {
        let now = match std::fs::read(&self.real) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(system("could not read the file", source)),
        };
        if now != self.original {
            return Err(Failure::Usage {
                message: format!(
                    "{} was changed by somebody else meanwhile, and is left as it is",
                    self.real.display()
                ),
                hint: Some(format!("your text is kept in {}", self.path.display())),
            });
        }
        let put = || -> io::Result<()> {
            File::open(&self.path)?.sync_all()?;
            std::fs::rename(&self.path, &self.real)?;
            File::open(self.real.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        put().map_err(|source| system("could not put the file in place", source))
    }

    fn discard(&self) -> Result<(), Failure> {
        std::fs::remove_file(&self.path).map_err(|source| system("could not remove the copy", source))
    }
}

/// As git does it: the editor's words are a shell's, the path is one of its arguments.
fn run_editor(copy: &Copy) -> Result<(), Failure> {
    let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let editor = said("VISUAL").or_else(|| said("EDITOR")).unwrap_or_else(|| "vi".into());
    let mut script = OsString::from(&editor);
    script.push(" \"$@\"");
    let status = std::process::Command::new("/bin/sh").arg("-c").arg(script).arg(&editor).arg(&copy.path).status();
    let status = status.map_err(|source| system("could not start the editor", source))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Usage {
        message: format!("the editor {:?} ended with {status}; the file was not changed", editor.to_string_lossy()),
        hint: Some(format!("your text is kept in {}", copy.path.display())),
    })
}

/// All files, with this text in the place of that one.
fn with(dirs: &[PathBuf], path: &Path, bytes: &[u8]) -> Set {
    let mut inputs = Reader::of_process().directories(dirs);
    let new = |rank: usize| files::text(path, rank, bytes.to_vec());
    match inputs.iter().position(|input| input.source.path == path) {
        Some(n) => inputs[n] = new(inputs[n].rank),
        None => inputs.push(new(0)),
    }
    Set::read(Reader::of_process().with_calendars(inputs))
}

/// The errors in this file, and those elsewhere that were not there before.
fn news(before: &Set, after: &Set, path: &Path) -> Report {
    let here = |set: &Set, m: &Mistake| {
        let source = m.at.as_ref().and_then(|spot| set.report.sources.get(spot.source));
        source.is_some_and(|source| source.path == path)
    };
    let old = |m: &Mistake| before.report.mistakes.iter().any(|b| b.message == m.message && b.key == m.key);
    let wrong = after.report.mistakes.iter().filter(|m| m.is_error() && (here(after, m) || !old(m)));
    Report::new(after.report.sources.clone(), wrong.cloned().collect())
}

/// `None`: there is nobody to ask.
fn ask() -> Option<Answer> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return None;
    }
    loop {
        let mut err = io::stderr().lock();
        write!(err, "[e]dit again, [k]eep it all the same, [t]hrow the change away? ")
            .and_then(|()| err.flush())
            .ok()?;
        let mut line = String::new();
        if stdin.lock().read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim() {
            "e" | "edit" | "" => return Some(Answer::Again),
            "k" | "keep" => return Some(Answer::Keep),
            "t" | "throw" => return Some(Answer::Discard),
            _ => {}
        }
    }
}
