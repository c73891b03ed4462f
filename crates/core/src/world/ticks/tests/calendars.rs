//! Days and stretches that do not count, and schedules that are never due.

use super::*;

#[test]
fn a_calendar_says_no() {
    let mut machine = Machine::at(DAY_0);
    let blackouts = vec![(DAY_0 + 3 * DAY, DAY_0 + 4 * DAY)];
    let day = |n: i64| crate::schedule::Wall(DAY_0 + n * DAY).date();
    machine.calendars.push(Calendar {
        weekdays: 0b011_1110,
        exclude: BTreeSet::from([day(5)]),
        include: BTreeSet::from([day(7)]),
        blackouts,
        ..Calendar::open("work")
    });
    let mut daily = job("0 2 * * *");
    daily.time.calendars = vec!["work".to_string()];
    machine.put(daily.clone());
    machine.pass(DAY_0 + 9 * DAY);
    // Saturday, Sunday, Monday, a blackout, Wednesday, a day off, Friday, a Saturday of work, Sunday.
    let want =
        ["2:00 work", "26:00 work", "50:00 run", "74:00 work", "98:00 run", "122:00 work", "146:00 run", "170:00 run"];
    assert_eq!(machine.told()[..8], want);
    let coming: Vec<bool> =
        machine.world.coming(&daily.name, DAY_0, 7).iter().map(|coming| coming.closed.is_some()).collect();
    assert_eq!(coming, [false, false, false, false, false, true, true]);

    // What is caught up is the last one that was open: Friday's, on Sunday.
    let mut machine = Machine { calendars: machine.calendars, ..Machine::at(DAY_0 - DAY) };
    let mut hourly = job("0 * * * *");
    hourly.time.calendars = vec!["work".to_string()];
    hourly.time.catch_up = Some(CatchUp::Once);
    hourly.time.catch_up_window = Millis::seconds(4 * 24 * 3600);
    machine.put(hourly);
    machine.look(DAY_0 + DAY + 1800);
    assert_eq!(machine.told(), ["-23:00 22 missed to -2:00", "-1:00 caught up for 22", "0:00 25 missed to 24:00"]);
}

/// Where it is another day, or was another offset, a closed day closes no more than its own hours.
#[test]
fn what_is_caught_up_is_the_last_that_is_open_by_its_own_zone() {
    let caught_up = |weekdays, schedules: &[&str], zone: Option<&str>, from: i64, until: i64| {
        let mut machine = Machine::at(from);
        machine.calendars.push(Calendar { weekdays, ..Calendar::open("work") });
        let mut job = job("0 * * * *");
        job.time.schedules = schedules.iter().map(ToString::to_string).collect();
        job.time.timezone = zone.map(ToString::to_string);
        job.time.calendars = vec!["work".to_string()];
        job.time.catch_up = Some(CatchUp::Once);
        machine.put(job);
        machine.look(until);
        machine.told()
    };
    // In New York it is Friday until five in the morning of UTC's Saturday.
    let two = ["30 * * * *", "calendar:*-*-* *:00 America/New_York"];
    let told = caught_up(0b011_1110, &two, None, DAY_0 - HOUR, DAY_0 + 6 * HOUR + 2400);
    assert_eq!(told, ["-1:30 9 missed to 3:30", "4:00 caught up for 9", "4:30 5 missed to 6:30"]);
    // 2027-03-28, a Sunday without its third hour: it began at 23:00 UTC.
    let sunday = DAY_0 + 127 * DAY;
    let told =
        caught_up(0b111_1110, &["0 * * * *"], Some("Europe/Berlin"), sunday - 6 * HOUR, sunday + 3 * HOUR + 1800);
    assert_eq!(told, ["3043:00 3 missed to 3045:00", "3046:00 caught up for 3", "3047:00 5 missed to 3051:00"]);
}

/// What is called the next one is run.
#[test]
fn the_next_open_instant_is_the_first_that_no_calendar_forbids() {
    let day = |n: i64| crate::schedule::Wall(DAY_0 + n * DAY).date();
    let work = Calendar {
        weekdays: 0b011_1110,
        exclude: BTreeSet::from([day(2)]),
        blackouts: vec![(DAY_0 + 3 * DAY, DAY_0 + 4 * DAY + 3 * HOUR)],
        ..Calendar::open("work")
    };
    let rest = Calendar { weekdays: 0b100_0001, ..Calendar::open("rest") };
    let never = Calendar { weekdays: 0, ..Calendar::open("never") };
    let once = Calendar { weekdays: 0, include: BTreeSet::from([day(400)]), ..Calendar::open("once") };
    let calendars = [work, rest, never, once];
    let zones =
        [None, Some("Europe/Berlin"), Some("Pacific/Apia"), Some("America/New_York"), Some("Africa/Casablanca")];
    for schedules in [
        &["0 2 * * *"][..],
        &["*/7 * * * *"],
        &["@every 5h"],
        &["30 3 * * SAT"],
        &["0 */6 * * *", "calendar:*-*-* 05:30 America/New_York"],
    ] {
        for of in [&["work"][..], &["rest"], &["work", "rest"], &["never"], &["once"], &["work", "once"]] {
            for zone in zones {
                let mut job = job("0 2 * * *");
                job.time.schedules = schedules.iter().map(ToString::to_string).collect();
                job.time.calendars = of.iter().map(ToString::to_string).collect();
                job.time.timezone = zone.map(ToString::to_string);
                let timed = timed(&job, &calendars).expect("a timing");
                for after in [DAY_0, DAY_0 + 5 * HOUR, DAY_0 + 5 * DAY, DAY_0 + 126 * DAY] {
                    // Each of them, one by one, as far as is quick.
                    let walk = core::iter::successors(timed.next_after(after), |at| timed.next_after(*at));
                    let mut walk = walk.take_while(|at| *at < after + 12 * DAY);
                    let want = walk.find(|at| timed.closed(*at).is_none());
                    let got = timed.next_open(after);
                    let near = got.filter(|at| *at < after + 12 * DAY);
                    assert_eq!(near, want, "{schedules:?} {of:?} {zone:?} {after}");
                    assert!(got.is_none_or(|at| timed.closed(at).is_none()), "{schedules:?} {of:?} {zone:?}");
                }
            }
        }
    }
    let next = |text: &str, of: &[&str]| {
        let mut job = job(text);
        job.time.calendars = of.iter().map(ToString::to_string).collect();
        timed(&job, &calendars).expect("a timing").next_open(DAY_0)
    };
    assert_eq!(next("0 2 * * *", &["once"]), Some(DAY_0 + 400 * DAY + 2 * HOUR));
    assert_eq!(next("0 2 * * SUN", &["once"]), Some(DAY_0 + 400 * DAY + 2 * HOUR));
    assert_eq!(next("0 2 * * SAT", &["once"]), None);
    assert_eq!(next("* * * * * *", &["never"]), None);
    assert_eq!(next("0 2 * * SAT", &["work"]), None);
    assert_eq!(next("0 2 * * *", &["work", "rest"]), None);
}

#[test]
fn a_tick_moves_off_a_day_that_does_not_count() {
    use crate::schedule::{Wall, Way};
    let work = Calendar { weekdays: 0b011_1110, ..Calendar::open("work") };
    let mut daily = job("0 2 * * *");
    daily.time.calendars = vec!["work".to_string()];
    let plain = timed(&daily, std::slice::from_ref(&work)).expect("a timing");
    // Saturday's and Sunday's are Monday's; or they were Friday's, which is over, and those to come are the next Friday's.
    for (way, from) in [(Way::Next, 2), (Way::Previous, 7 * 24 + 2)] {
        let mut machine = Machine::at(DAY_0);
        machine.calendars.push(work.clone());
        daily.time.shift = Some(way);
        assert_ne!(timed(&daily, std::slice::from_ref(&work)).expect("a timing").sum, plain.sum, "another schedule");
        machine.put(daily.clone());
        let coming = machine.world.coming(&daily.name, DAY_0, 5);
        let moved = crate::Moved { from: Wall(DAY_0 + from * HOUR), count: 2, by: "work".into() };
        assert_eq!(coming.iter().find_map(|coming| coming.moved.clone()), Some(moved), "{way:?}");
        machine.pass(DAY_0 + 3 * DAY + 3 * HOUR);
        let recorded: Vec<_> = machine.decided.iter().map(|decided| decided.moved.clone()).collect();
        assert_eq!(recorded, coming[..2].iter().map(|coming| coming.moved.clone()).collect::<Vec<_>>());
        assert_eq!(machine.told(), ["50:00 run", "74:00 run"], "{way:?}");
        // Nobody was there from Friday to Tuesday: what was moved is caught up like what was not.
        machine.look(DAY_0 + 10 * DAY + 12 * HOUR);
        let last = machine.told().pop().expect("a tick");
        assert_eq!(last, "242:00 caught up for 4", "{way:?}");
    }
}

/// What counts is where it lands: written down on a Sunday, it runs on Monday for Saturday, and says so before.
#[test]
fn what_lands_after_it_was_written_down_is_due() {
    let mut machine = Machine::at(DAY_0 + DAY + 12 * HOUR);
    machine.calendars.push(Calendar { weekdays: 0b011_1110, ..Calendar::open("work") });
    let mut weekly = job("0 2 * * SAT");
    weekly.time.calendars = vec!["work".to_string()];
    weekly.time.shift = Some(crate::schedule::Way::Next);
    machine.put(weekly.clone());
    let coming = machine.world.coming(&weekly.name, DAY_0, 1).pop().and_then(|coming| coming.moved);
    let from = crate::schedule::Wall(DAY_0 + 2 * HOUR);
    assert_eq!(coming, Some(crate::Moved { from, count: 1, by: "work".into() }));
    machine.pass(DAY_0 + 3 * DAY);
    assert_eq!(machine.told(), ["50:00 run"]);
}

/// Monday is no holiday any more, and it is Monday noon: its two o'clock is over, and nobody was away.
#[test]
fn other_days_that_count_run_nothing_that_would_be_over() {
    let monday = crate::schedule::Wall(DAY_0 + 2 * DAY).date();
    let holiday = Calendar { exclude: BTreeSet::from([monday]), ..Calendar::open("work") };
    for other_words in [false, true] {
        let mut machine = Machine::at(DAY_0);
        machine.calendars.push(holiday.clone());
        let mut daily = job("0 2 * * *");
        daily.time.calendars = vec!["work".to_string()];
        daily.time.shift = Some(crate::schedule::Way::Next);
        machine.put(daily.clone());
        machine.pass(DAY_0 + 2 * DAY + 12 * HOUR);
        assert_eq!(machine.told(), ["2:00 run", "26:00 run"]);
        machine.calendars = vec![Calendar::open("work")];
        if other_words {
            daily.tags = vec!["new".to_string()];
            machine.put(daily.clone());
        } else {
            let timed = timed(&daily, &machine.calendars).expect("a timing");
            machine.times.insert((daily.name.clone(), machine.rev), timed.clone());
            let timed = [(daily.name.clone(), timed)].into();
            machine.wish(Wish::Plan(Plan { jobs: Vec::new(), queues: Vec::new(), timed }));
        }
        machine.look(DAY_0 + 2 * DAY + 12 * HOUR + 300);
        assert_eq!(machine.told(), Vec::<String>::new());
        machine.pass(DAY_0 + 3 * DAY + 3 * HOUR);
        assert_eq!(machine.decided.iter().filter(|decided| decided.moved.is_some()).count(), 0);
        assert_eq!(machine.told(), ["74:00 run"]);
    }
}

#[test]
fn a_job_that_is_due_at_no_time_to_come_says_why() {
    let why = |change: fn(&mut Job)| {
        let mut machine = Machine::at(DAY_0);
        let never = Calendar { weekdays: 0, ..Calendar::open("never") };
        machine.calendars = vec![never];
        let mut job = job("0 9 * * *");
        job.time.timezone = Some("Europe/Berlin".to_string());
        change(&mut job);
        machine.put(job);
        machine.fact(Fact::Time);
        machine.world.why_never(&name("backup"))
    };
    assert_eq!(why(|_| {}), None);
    assert_eq!(why(|job| job.time.schedules.clear()), None);
    assert_eq!(why(|job| job.time.schedules = vec!["@reboot".to_string()]), None);
    assert_eq!(why(|job| job.time.calendars = vec!["never".to_string()]), Some(Reason::Shut));
    assert_eq!(why(|job| job.time.schedules = vec!["@at 2026-11-20T09:00".to_string()]), Some(Reason::Over));
    let gap = |job: &mut Job| job.time.schedules = vec!["@at 2027-03-28T02:30".to_string()];
    assert_eq!(why(gap), None);
    let skipped = |job: &mut Job| {
        job.time.schedules = vec!["@at 2027-03-28T02:30".to_string()];
        job.time.dst = crate::job::Dst::Skip;
    };
    assert_eq!(why(skipped), Some(Reason::Skipped));
}
