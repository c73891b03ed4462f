//! Random schedules, made as data. The text is written beside the meaning, so that no parser is needed to know it.

use crate::rng::Rng;
use jiff::civil::Date;

/// What happens to times of day that clocks skip or show twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Once,
    Skip,
    Both,
}

#[derive(Clone, Debug)]
pub struct Expression {
    pub text: String,
    pub policy: Policy,
    /// Whether hour and minute are times of day.
    pub fixed: bool,
    /// Of each value whether it is in.
    pub seconds: Vec<usize>,
    pub minutes: [bool; 60],
    pub hours: [bool; 24],
    months: [bool; 13],
    days: Vec<MonthDay>,
    weekdays: Vec<WeekDay>,
    either: bool,
    year: Option<i16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MonthDay {
    Any,
    Is(i8),
    /// So many days before the last.
    FromEnd(i8),
    Nearest(i8),
    LastWorkday,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WeekDay {
    Any,
    /// 0 is Sunday.
    Is(i8),
    Nth(i8, i8),
    Last(i8),
}

/// A piece of a numeric field.
#[derive(Clone, Copy, Debug)]
enum Piece {
    Any,
    AnyStep(usize),
    One(usize),
    Range(usize, usize),
    RangeStep(usize, usize, usize),
    /// From there to the end of the field.
    From(usize, usize),
}

impl Piece {
    fn random(rng: &mut Rng, min: usize, max: usize) -> Piece {
        let n = |rng: &mut Rng| rng.between(min as u64, max as u64) as usize;
        let step = |rng: &mut Rng| rng.between(1, (max - min) as u64 / 2 + 1) as usize;
        match rng.below(20) {
            0..=1 => Piece::Any,
            2..=4 => Piece::AnyStep(step(rng)),
            5..=12 => Piece::One(n(rng)),
            13..=16 => Piece::Range(n(rng), n(rng)),
            17..=18 => Piece::RangeStep(n(rng), n(rng), step(rng)),
            _ => Piece::From(n(rng), step(rng)),
        }
    }

    fn values(self, min: usize, max: usize) -> Vec<usize> {
        let range = |low: usize, high: usize| -> Vec<usize> {
            if low <= high { (low..=high).collect() } else { (low..=max).chain(min..=high).collect() }
        };
        match self {
            Piece::Any => range(min, max),
            Piece::AnyStep(n) => range(min, max).into_iter().step_by(n).collect(),
            Piece::One(n) => vec![n],
            Piece::Range(low, high) => range(low, high),
            Piece::RangeStep(low, high, n) => range(low, high).into_iter().step_by(n).collect(),
            Piece::From(low, n) => range(low, max).into_iter().step_by(n).collect(),
        }
    }

    fn goes_round(self, min: usize, max: usize) -> bool {
        match self {
            Piece::Any | Piece::AnyStep(_) => true,
            Piece::One(_) => false,
            Piece::Range(low, high) | Piece::RangeStep(low, high, _) => (low, high) == (min, max) || low == high + 1,
            Piece::From(low, _) => low == min,
        }
    }

    fn cron(self) -> String {
        match self {
            Piece::Any => "*".into(),
            Piece::AnyStep(n) => format!("*/{n}"),
            Piece::One(n) => n.to_string(),
            Piece::Range(low, high) => format!("{low}-{high}"),
            Piece::RangeStep(low, high, n) => format!("{low}-{high}/{n}"),
            Piece::From(low, n) => format!("{low}/{n}"),
        }
    }

    fn calendar(self, min: usize) -> String {
        match self {
            Piece::Any => "*".into(),
            Piece::AnyStep(n) => format!("{min}/{n}"),
            Piece::One(n) => format!("{n:02}"),
            Piece::Range(low, high) => format!("{low}..{high}"),
            Piece::RangeStep(low, high, n) => format!("{low}..{high}/{n}"),
            Piece::From(low, n) => format!("{low}/{n}"),
        }
    }
}

/// A field: what its pieces are, come to, and read as in both languages.
struct Numbers {
    values: Vec<usize>,
    goes_round: bool,
    cron: String,
    calendar: String,
}

impl Numbers {
    fn of(pieces: &[Piece], min: usize, max: usize) -> Numbers {
        let mut values: Vec<usize> = pieces.iter().flat_map(|piece| piece.values(min, max)).collect();
        values.sort_unstable();
        values.dedup();
        Numbers {
            goes_round: pieces.iter().any(|piece| piece.goes_round(min, max)) || values.len() == max - min + 1,
            values,
            cron: pieces.iter().map(|piece| piece.cron()).collect::<Vec<_>>().join(","),
            calendar: pieces.iter().map(|piece| piece.calendar(min)).collect::<Vec<_>>().join(","),
        }
    }

    fn random(rng: &mut Rng, min: usize, max: usize) -> Numbers {
        let pieces: Vec<Piece> = (0..rng.between(1, 3)).map(|_| Piece::random(rng, min, max)).collect();
        Numbers::of(&pieces, min, max)
    }

    fn set<const N: usize>(&self) -> [bool; N] {
        let mut set = [false; N];
        self.values.iter().for_each(|value| set[*value] = true);
        set
    }
}

const NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Expression {
    pub fn random(rng: &mut Rng) -> Expression {
        loop {
            let made = Expression::made(rng);
            // A year without such a day is refused when it is read; so is a day that no month has.
            if made.ever() {
                return made;
            }
        }
    }

    fn made(rng: &mut Rng) -> Expression {
        // Few seconds: a walk of 21 years would else find hundreds of millions.
        let seconds = match rng.below(40) {
            0..=1 => vec![Piece::One(rng.below(60) as usize)],
            2 => vec![Piece::AnyStep(25)],
            3 => vec![Piece::Range(59, 0)],
            4 => vec![Piece::One(7), Piece::From(40, 15)],
            _ => vec![Piece::One(0)],
        };
        let seconds = Numbers::of(&seconds, 0, 59);
        let minutes = Numbers::random(rng, 0, 59);
        // Most clocks change in these hours.
        let hours = if rng.percent(50) {
            let night = |rng: &mut Rng| Piece::One(*rng.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 4, 23]));
            Numbers::of(&(0..rng.between(1, 2)).map(|_| night(rng)).collect::<Vec<_>>(), 0, 23)
        } else {
            Numbers::random(rng, 0, 23)
        };
        let months = if rng.percent(15) { Numbers::random(rng, 1, 12) } else { Numbers::of(&[Piece::Any], 1, 12) };
        let year = rng.percent(4).then(|| rng.between(2020, 2040) as i16);
        let policy = *rng.pick(&[Policy::Once, Policy::Once, Policy::Skip, Policy::Both]);
        let mut made = Expression {
            text: String::new(),
            policy,
            fixed: !minutes.goes_round && !hours.goes_round,
            minutes: minutes.set(),
            hours: hours.set(),
            months: months.set(),
            days: vec![MonthDay::Any],
            weekdays: vec![WeekDay::Any],
            either: false,
            year,
            seconds: seconds.values.clone(),
        };
        made.text = if rng.percent(20) {
            let date = made.calendar_days(rng, &months.calendar);
            format!("calendar: {date} {}:{}:{}", hours.calendar, minutes.calendar, seconds.calendar)
        } else {
            let (day, week) = made.cron_days(rng);
            let rest = format!("{} {} {day} {} {week}", minutes.cron, hours.cron, months.cron);
            match made.year {
                Some(year) => format!("{} {rest} {year}", seconds.cron),
                None if made.seconds == [0] => rest,
                None => format!("{} {rest}", seconds.cron),
            }
        };
        made
    }

    /// The fields of both days, and what they mean.
    fn cron_days(&mut self, rng: &mut Rng) -> (String, String) {
        let (mut day, mut week) = (String::from(if rng.percent(20) { "?" } else { "*" }), String::from("*"));
        if rng.percent(30) {
            (self.days, day) = match rng.below(8) {
                0 => (vec![MonthDay::FromEnd(0)], "L".into()),
                1 => (vec![MonthDay::LastWorkday], "LW".into()),
                2 => {
                    let n = rng.between(1, 31) as i8;
                    (vec![MonthDay::Nearest(n)], format!("{n}W"))
                }
                3 => {
                    let n = rng.between(1, 20) as i8;
                    (vec![MonthDay::FromEnd(n), MonthDay::Is(2)], format!("L-{n},2"))
                }
                _ => {
                    let numbers = Numbers::random(rng, 1, 31);
                    (numbers.values.iter().map(|n| MonthDay::Is(*n as i8)).collect(), numbers.cron)
                }
            };
        }
        if rng.percent(40) {
            let n = rng.below(7) as i8;
            (self.weekdays, week) = match rng.below(6) {
                0 => {
                    let nth = rng.between(1, 5) as i8;
                    (vec![WeekDay::Nth(n, nth)], format!("{n}#{nth}"))
                }
                1 => (vec![WeekDay::Last(n)], format!("{}L", NAMES[n as usize])),
                2 => (vec![WeekDay::Is(0)], "7".into()),
                3 => (vec![WeekDay::Is(n), WeekDay::Is(0)], format!("{},sun", NAMES[n as usize])),
                _ => {
                    let numbers = Numbers::random(rng, 0, 6);
                    (numbers.values.iter().map(|n| WeekDay::Is(*n as i8)).collect(), numbers.cron)
                }
            };
        }
        let begins_with_star = |text: &str| text.starts_with(['*', '?']);
        self.either = !begins_with_star(&day) && !begins_with_star(&week);
        if self.either && rng.percent(40) {
            self.either = false;
            week.insert(0, '+');
        }
        (day, week)
    }

    /// Weekday, year, month and day of systemd's language, and what they mean.
    fn calendar_days(&mut self, rng: &mut Rng, months: &str) -> String {
        let mut text = String::new();
        if rng.percent(30) {
            let (a, b) = (rng.below(7), rng.below(7));
            let last = if a <= b { b } else { b + 7 };
            self.weekdays = (a..=last).map(|n| WeekDay::Is((n % 7) as i8)).collect();
            text = format!("{}..{} ", NAMES[a as usize], NAMES[b as usize]);
        }
        text += &self.year.map_or("*".into(), |year| year.to_string());
        let n = rng.between(1, 28) as i8;
        let (days, day) = match rng.below(8) {
            0 => (vec![MonthDay::FromEnd(n - 1)], format!("~{n}")),
            1 => ((0..n).map(MonthDay::FromEnd).collect(), format!("~{n}/1")),
            2 => (vec![MonthDay::Is(n), MonthDay::Is(30)], format!("-{n},30")),
            _ => (vec![MonthDay::Any], "-*".into()),
        };
        self.days = days;
        format!("{text}-{months}{day}")
    }

    fn ever(&self) -> bool {
        let years = self.year.map_or(2000..=2028, |year| year..=year);
        years.into_iter().any(|year| {
            let first = Date::constant(year, 1, 1);
            first.series(jiff::Span::new().days(1)).take_while(|date| date.year() == year).any(|date| self.on(date))
        })
    }

    /// Whether it is due on that day.
    pub fn on(&self, date: Date) -> bool {
        let month = self.days.iter().any(|day| day.is(date));
        let week = self.weekdays.iter().any(|day| day.is(date));
        self.months[date.month() as usize]
            && self.year.is_none_or(|year| year == date.year())
            && if self.either { month || week } else { month && week }
    }
}

/// 0 is Sunday.
fn weekday(date: Date) -> i8 {
    date.weekday().to_sunday_zero_offset()
}

impl MonthDay {
    fn is(self, date: Date) -> bool {
        let works = |date: &Date| (1..=5).contains(&weekday(*date));
        let of_month = || date.first_of_month().series(jiff::Span::new().days(1)).take(date.days_in_month() as usize);
        match self {
            MonthDay::Any => true,
            MonthDay::Is(day) => date.day() == day,
            MonthDay::FromEnd(n) => date.day() + n == date.days_in_month(),
            MonthDay::Nearest(day) => {
                day <= date.days_in_month()
                    && of_month().filter(works).min_by_key(|near| near.day().abs_diff(day)) == Some(date)
            }
            MonthDay::LastWorkday => of_month().filter(works).last() == Some(date),
        }
    }
}

impl WeekDay {
    fn is(self, date: Date) -> bool {
        match self {
            WeekDay::Any => true,
            WeekDay::Is(day) => weekday(date) == day,
            WeekDay::Nth(day, nth) => weekday(date) == day && (date.day() + 6) / 7 == nth,
            WeekDay::Last(day) => weekday(date) == day && date.day() + 7 > date.days_in_month(),
        }
    }
}
