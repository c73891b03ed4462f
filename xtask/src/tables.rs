//! The tables of docs/schedules.md: what kin's own code says to the examples that stand there.
//!
//! Zones are those of the bundled database, so that the page is the same on every machine.

use crate::step::root;
use kin_api::zones::Zones;
use kin_core::schedule::{Dst, Schedule, Zone};

pub(crate) const PAGE: &str = "docs/schedules.md";
const END: &str = "<!-- end -->";

mod caught_up;

type Table = fn() -> String;

/// The page with its tables made anew.
pub(crate) fn page() -> String {
    let text = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    let tables: [(&str, Table); 7] = [
        ("cron", cron),
        ("calendar", calendar),
        ("caught_up", caught_up::table),
        ("clocks", clocks),
        ("every", every),
        ("hash", hash),
        ("remarks", remarks),
    ];
    tables.iter().fold(text, |text, (name, table)| {
        let begin = format!("<!-- made by cargo xtask gen: {name} -->\n");
        let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} has no place for {name}"));
        let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{PAGE}: {name} has no end"));
        format!("{before}{begin}\n{}\n{END}{after}", table())
    })
}

fn read(text: &str, job: &str, dst: Dst) -> Schedule {
    Schedule::parse(text, job, dst).unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn zone(name: &str) -> Zone {
    Zones::new([]).load(name).expect("the bundled database has it")
}

/// The instant at which clocks there show that.
fn at(text: &str, zone: &Zone) -> i64 {
    read(&format!("@at {text}"), "", Dst::Once).next_after(0, zone).expect("it is to come").at
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|word| (*word).into()).collect();
    let line = format!("|{}\n", "---|".repeat(head.len()));
    row(&head) + &line + &rows.into_iter().map(|cells| row(&cells)).collect::<String>()
}

fn said(texts: &[&str]) -> String {
    // Its phase comes from the job's name.
    let of =
        |text: &str| if text.starts_with("@every") { ": a phase that the name chooses, here `backup`" } else { "" };
    let each = texts.iter().map(|text| vec![format!("`{text}`"), read(text, "backup", Dst::Once).words() + of(text)]);
    table(&["expression", "what it does"], each)
}

fn cron() -> String {
    said(&[
        "30 2 * * *",
        "0,30 8-10 * * *",
        "*/15 9-17 * * MON-FRI",
        "0 22-2 * * *",
        "0 0 * * FRI-MON",
        "0 0 1,15 * *",
        "0 0 L * *",
        "0 0 L-3 * *",
        "0 0 LW * *",
        "0 0 15W * *",
        "0 0 * * 1#2",
        "0 0 * * FRIL",
        "0 0 13 * FRI",
        "0 0 13 * +FRI",
        "0 12 * NOV-FEB *",
        "*/10 * * * * *",
        "15 30 2 * * *",
        "0 0 0 24 12 * 2027",
        "@weekly",
        "@reboot",
        "@every 90s",
        "@at 2026-12-24T18:00:00+01:00",
    ])
}

fn calendar() -> String {
    said(&[
        "calendar: Mon..Fri 08:30",
        "calendar: *-*-* 00/2:00",
        "calendar: Mon,Fri *-*-1..7 12:00:00",
        "calendar: Mon *-05~07/1",
        "calendar: *-*~01 23:00",
        "calendar: *:0/15",
        "calendar: quarterly",
        "calendar: daily Europe/Berlin",
    ])
}

/// On two days of New York and two of Lord Howe.
fn clocks() -> String {
    let days = [
        (
            "America/New_York",
            "2026-03-08",
            "gap: 02:00 → 03:00",
            &["30 2 * * *", "30 2,14 * * *", "30 1-3 * * *", "15,45 2 * * *", "*/15 2 * * *", "0 */2 * * *"][..],
        ),
        (
            "America/New_York",
            "2026-11-01",
            "fold: 02:00 → 01:00",
            &["30 1 * * *", "30 1,13 * * *", "*/30 1 * * *", "0 0-3 * * *"],
        ),
        ("Australia/Lord_Howe", "2026-10-04", "gap: 02:00 → 02:30", &["15 2 * * *", "*/20 1-2 * * *"]),
        ("Australia/Lord_Howe", "2026-04-05", "fold: 02:00 → 01:30", &["45 1 * * *", "*/15 1 * * *"]),
    ];
    let mut rows = Vec::new();
    for (name, day, change, texts) in days {
        let zone = zone(name);
        let (from, until) = (at(&format!("{day} 00:00"), &zone) - 1, at(&format!("{day} 23:59"), &zone));
        for text in texts {
            let cell = |dst: Dst| {
                let schedule = read(text, "backup", dst);
                let first = zone.changes_after(from).next().map(|change| change.at);
                let twice = zone.changes_after(from).next().is_some_and(|change| !change.is_gap());
                let ticks = schedule.after(from, &zone).take_while(|tick| tick.at <= until).map(|tick| {
                    let wall = zone.wall(tick.at).to_string();
                    let again = twice
                        && first
                            .is_some_and(|change| tick.at >= change && zone.instants(zone.wall(tick.at)).count() > 1);
                    format!("{}{}", &wall[11..16], if again { "²" } else { "" })
                });
                let all: Vec<String> = ticks.collect();
                match all.len() {
                    0 => "–".into(),
                    1..=8 => all.join(" "),
                    n => format!("{} … {}", all[..6].join(" "), all[n - 1]),
                }
            };
            let kind = if read(text, "", Dst::Once).follows_real_time() { "real time" } else { "times of day" };
            let mut cells = vec![format!("`{text}`"), kind.into(), format!("{day}, {change}")];
            if kind == "real time" {
                assert!(Dst::ALL.iter().all(|dst| cell(*dst) == cell(Dst::Once)), "dst is not asked");
                cells.extend([cell(Dst::Once), "the same".into(), "the same".into()]);
            } else {
                cells.extend(Dst::ALL.map(cell));
            }
            rows.push(cells);
        }
    }
    table(&["expression", "goes by", "day", "`once`", "`skip`", "`both`"], rows)
}

fn every() -> String {
    let zone = Zone::utc();
    let from = at("2026-12-01 00:00", &zone) - 1;
    let texts = [
        "*/45 * * * *",
        "@every 45m anchor=2026-12-01T00:00:00Z",
        "0 */5 * * *",
        "@every 5h anchor=2026-12-01T00:00:00Z",
    ];
    let rows = texts.map(|text| {
        let ticks = read(text, "backup", Dst::Once).coming(7, from, &zone);
        let walls = ticks.iter().map(|tick| tick.due.to_string()[11..16].to_owned());
        vec![format!("`{text}`"), walls.collect::<Vec<_>>().join(" ")]
    });
    table(&["expression", "the first seven after midnight"], rows)
}

fn hash() -> String {
    let zone = Zone::utc();
    let from = at("2026-12-01 00:00", &zone) - 1;
    let rows = ["backup", "report", "rotate-logs"].map(|job| {
        let times = |text: &str, n: usize| {
            let ticks = read(text, job, Dst::Once).coming(n, from, &zone);
            let walls = ticks.iter().map(|tick| tick.due.to_string()[11..16].to_owned());
            walls.collect::<Vec<_>>().join(" ")
        };
        vec![job.into(), times("H H * * *", 1), times("H(0-29) 2~4 * * *", 1), times("H/20 * * * *", 4)]
    });
    table(&["job", "`H H * * *`", "`H(0-29) 2~4 * * *`", "`H/20 * * * *`"], rows)
}

fn remarks() -> String {
    let zone = zone("America/New_York");
    let now = at("2026-01-01 00:00", &zone);
    let texts = [
        "*/45 * * * *",
        "*/90 * * * *",
        "* 3 * * *",
        "0 0 13 * FRI",
        "0 0 */2 * MON",
        "0 0 31 * *",
        "30 2 * * *",
        "30 1 * * *",
        "*/15 2 * * *",
        "@every 1d",
        "*/10 * * * * *",
    ];
    let rows = texts.map(|text| {
        let all = read(text, "backup", Dst::Once).remarks(&zone, now);
        vec![format!("`{text}`"), all.iter().map(|remark| remark.text.clone()).collect::<Vec<_>>().join("<br>")]
    });
    table(&["expression", "what `kin cron` says of it, in New York"], rows)
}
