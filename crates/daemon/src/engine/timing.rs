//! From a definition's words to its timing: with the zones and calendars of this machine, which the rules cannot read.

use kin_api::zones::{NoZone, Zones};
use kin_config::settings;
use kin_core::JobName;
use kin_core::job::Job;
use kin_core::schedule::{Dst, Schedule, Zone};
use kin_core::timed::{Calendar, Timed, Untimed};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

/// What all schedules of this server share.
#[derive(Debug)]
pub struct Times {
    zones: Zones,
    /// As they were when they were first asked for.
    loaded: BTreeMap<Option<String>, Arc<Zone>>,
    /// Asked for, and not to be read: perhaps only just now. Somebody has no times because of it, also when another who asked
    /// later found it.
    missing: BTreeSet<Option<String>>,
    /// Of so many of both, somebody knows the files.
    told: (usize, usize),
    /// Whose jitter it is.
    host: String,
    shared: Shared,
}

/// The files that zones are from.
#[derive(Clone, Debug, Default)]
pub struct ZoneFiles {
    pub files: BTreeSet<PathBuf>,
    /// One of them is asked for, and could not be read.
    pub lack: bool,
}

/// What `[kin]` says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// `None`: the machine's own.
    timezone: Option<String>,
    calendars: BTreeMap<String, settings::Calendar>,
    /// Where more of it stands, and cannot be read.
    hidden: Option<PathBuf>,
}

impl Times {
    pub fn new(settings: &settings::Settings) -> Times {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (loaded, missing, shared) = (BTreeMap::new(), BTreeSet::new(), Shared::default());
        let mut times = Times { zones: Zones::of_process(), loaded, missing, told: (0, 0), host, shared };
        times.settle(settings);
        times
    }

    /// `[kin] timezone`.
    pub(super) fn timezone(&self) -> Option<&str> {
        self.shared.timezone.as_deref()
    }

    /// What `[kin]` says now. What it said before, if that is something else.
    pub(super) fn settle(&mut self, settings: &settings::Settings) -> Option<Shared> {
        let (timezone, calendars) = (settings.timezone.clone(), settings.calendars.clone());
        let shared = Shared { timezone, calendars, hidden: settings.hidden.clone() };
        (self.shared != shared).then(|| self.swap(shared))
    }

    /// This holds; what did until now. So what was refused is taken back.
    pub(super) fn swap(&mut self, shared: Shared) -> Shared {
        std::mem::replace(&mut self.shared, shared)
    }

    /// The files that its zones are from, when there is another zone among them.
    pub(super) fn other_files(&mut self) -> Option<ZoneFiles> {
        let now = (self.loaded.len(), self.missing.len());
        let names = self.loaded.keys().chain(&self.missing);
        (std::mem::replace(&mut self.told, now) != now).then(|| ZoneFiles {
            files: names.flat_map(|name| self.zones.files(name.as_deref())).collect(),
            lack: !self.missing.is_empty(),
        })
    }

    /// A zone was asked for, and could not be read.
    pub(super) fn lacks_some(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Reads the zones again: the names of those that say something else now, or can be read at last. One that cannot be read
    /// stays as it was.
    pub(super) fn read_again(&mut self) -> Vec<String> {
        let mut others = Vec::new();
        for (name, known) in &mut self.loaded {
            match read(&self.zones, name.as_deref()) {
                Ok(zone) if zone != **known => {
                    others.push(zone.name().to_owned());
                    *known = Arc::new(zone);
                }
                Ok(_) => {}
                Err(why) => crate::say!("kin daemon: a time zone stays as it was: {why}"),
            }
        }
        for name in std::mem::take(&mut self.missing) {
            match read(&self.zones, name.as_deref()) {
                Ok(zone) => {
                    if !others.iter().any(|other| other == zone.name()) {
                        others.push(zone.name().to_owned());
                    }
                    self.loaded.insert(name, Arc::new(zone));
                }
                // It was said of the jobs that need it.
                Err(_) => drop(self.missing.insert(name)),
            }
        }
        others
    }

    /// Of each revision that has one. What has none that can be followed is said, and is due at no time.
    pub(super) fn of_all<'a>(
        &mut self,
        revisions: impl IntoIterator<Item = (u64, &'a Arc<Job>)>,
    ) -> Vec<(JobName, u64, Arc<Timed>)> {
        let mut all = Vec::new();
        for (rev, job) in revisions {
            match self.of(job) {
                Ok(timed) => all.extend(timed.map(|timed| (job.name.clone(), rev, timed))),
                Err(why) => crate::say!("kin daemon: {}", self.untimed(job, &why)),
            }
        }
        all
    }

    /// `None`: it has no schedule.
    pub(super) fn of(&mut self, job: &Job) -> Result<Option<Arc<Timed>>, Untimed> {
        let Times { zones, loaded, missing, host, shared: Shared { timezone, calendars, hidden }, told: _ } = self;
        let mut zone = |name: Option<&str>| {
            let name = name.map(str::to_owned).or_else(|| timezone.clone());
            // Rather at no time than hours off.
            if name.is_none() && hidden.is_some() {
                return None;
            }
            if let Some(zone) = loaded.get(&name) {
                return Some(zone.clone());
            }
            match read(zones, name.as_deref()) {
                Ok(zone) => {
                    let zone = Arc::new(zone);
                    // Who asked for it in vain before has no times yet: it stays missing until all are told.
                    loaded.insert(name, zone.clone());
                    Some(zone)
                }
                Err(_) => {
                    missing.insert(name);
                    None
                }
            }
        };
        // Blackouts without an offset are meant by the server's clocks, whatever the job's are.
        let here = if job.time.calendars.is_empty() { None } else { zone(None) };
        let calendar = |name: &str| calendar(calendars.get(name)?, here.as_deref()?);
        Ok(Timed::read(job, host, zone, calendar)?.map(Arc::new))
    }

    /// Why a job that has a schedule is due at no time.
    pub(super) fn why_untimed(&self, job: &Job) -> Option<(Untimed, String)> {
        let zone = |name: Option<&str>| {
            let name = name.map(str::to_owned).or_else(|| self.shared.timezone.clone());
            if name.is_none() && self.shared.hidden.is_some() {
                return None;
            }
            let known = self.loaded.get(&name).cloned();
            known.or_else(|| read(&self.zones, name.as_deref()).ok().map(Arc::new))
        };
        let here = if job.time.calendars.is_empty() { None } else { zone(None) };
        let calendar = |name: &str| calendar(self.shared.calendars.get(name)?, here.as_deref()?);
        let why = Timed::read(job, &self.host, zone, calendar).err()?;
        let words = self.words(&why);
        Some((why, words))
    }

    /// What is said of a job whose schedule cannot be followed.
    pub(super) fn untimed(&self, job: &Job, why: &Untimed) -> String {
        format!("{} is due at no time: {}", job.name, self.words(why))
    }

    fn words(&self, why: &Untimed) -> String {
        match (why, &self.shared.timezone) {
            (Untimed::Here | Untimed::Calendar { .. }, _) if let Some(file) = &self.shared.hidden => {
                format!("{} cannot be read, and says more of [kin]", file.display())
            }
            (Untimed::Here, Some(name)) => format!("there is no time zone {name:?}, as [kin] timezone names it"),
            (Untimed::Here, None) => no_zone_here(std::env::var_os("TZ").as_deref(), self.zones.local().err()),
            (Untimed::Schedule { .. } | Untimed::Zone { .. } | Untimed::Calendar { .. }, _) => why.to_string(),
        }
    }
}

/// The value is named: who set it has long forgotten that a server inherited it.
fn no_zone_here(tz: Option<&OsStr>, why: Option<NoZone>) -> String {
    let whose = tz.map_or_else(
        || "the machine's own time zone cannot be read".to_owned(),
        |tz| format!("the server was started with TZ={}", tz.to_string_lossy()),
    );
    let why = why.map_or_else(String::new, |why| format!(", and {why}"));
    format!("{whose}{why}; set `timezone` in [kin], or start the server with another TZ")
}

fn read(zones: &Zones, name: Option<&str>) -> Result<Zone, NoZone> {
    name.map_or_else(|| zones.local(), |name| zones.load(name))
}

fn calendar(of: &settings::Calendar, here: &Zone) -> Option<Calendar> {
    let blackouts = of.blackouts.iter().map(|text| stretch(text, here)).collect::<Option<_>>()?;
    Some(Calendar { blackouts, ..of.days_alone()? })
}

/// `2026-12-24T18:00/2026-12-27T06:00`, each end as `@at` has it.
fn stretch(text: &str, here: &Zone) -> Option<(i64, i64)> {
    let instant = |text: &str| {
        let schedule = Schedule::parse(&format!("@at {text}"), "", Dst::Once).ok()?;
        Some(schedule.next_after(i64::MIN / 2, here)?.at)
    };
    let (from, to) = text.split_once('/')?;
    Some((instant(from)?, instant(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a machine has of a zone that is always UTC.
    fn tzif() -> Vec<u8> {
        let mut part = b"TZif2".to_vec();
        part.extend([0; 15]);
        for count in [0u32, 0, 0, 0, 1, 4] {
            part.extend(count.to_be_bytes());
        }
        part.extend([0; 6]);
        part.extend(b"UTC\0");
        [&part[..], &part, b"\nUTC0\n"].concat()
    }

    #[test]
    fn a_zone_that_one_job_found_is_new_to_another_that_asked_in_vain() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut times = Times::new(&settings::Settings::default());
        times.zones = Zones::new([dir.path().to_path_buf()]);
        let file = dir.path().join("Asia/Tokyo");
        std::fs::create_dir(dir.path().join("Asia")).expect("makes");
        std::fs::write(&file, "half of it").expect("writes");
        let job = |name: &str| {
            let text = format!("[{name}]\ncommand = 'x'\nschedule = '* * * * *'\ntimezone = 'Asia/Tokyo'\n");
            kin_config::canon::parse(&text).expect("a job")
        };
        assert_eq!(times.of(&job("a")).expect_err("is damaged"), Untimed::Zone { name: "Asia/Tokyo".into() });
        std::fs::write(&file, tzif()).expect("writes");
        assert!(times.of(&job("b")).expect("is whole").is_some());
        assert!(times.lacks_some(), "a has no times");
        assert!(times.other_files().expect("others").lack);
        assert_eq!(times.read_again(), ["Asia/Tokyo"], "of which a is told");
        assert!(!times.lacks_some() && times.read_again().is_empty());
    }

    #[test]
    fn a_zone_that_cannot_be_read_is_named_with_what_to_do() {
        let why = Zones::of_process().load("Foo/Bar").err();
        let words = no_zone_here(Some(OsStr::new("Foo/Bar")), why);
        assert!(
            words.starts_with("the server was started with TZ=Foo/Bar, and there is no time zone \"Foo/Bar\""),
            "{words}"
        );
        assert!(words.ends_with("; set `timezone` in [kin], or start the server with another TZ"), "{words}");
    }
}
