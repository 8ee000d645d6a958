//! From fields to an instant, as java.time resolves them in its smart mode.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{ToSpan, civil};

/// A field that a text gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Era,
    YearOfEra,
    Year,
    Month,
    Day,
    DayOfYear,
    Quarter,
    WeekOfYear,
    WeekOfMonth,
    Weekday,
    HalfDay,
    ClockHourOfHalfDay,
    HourOfHalfDay,
    ClockHour,
    Hour,
    Minute,
    Second,
    Nano,
    MilliOfDay,
    NanoOfDay,
}

const FIELDS: usize = Field::NanoOfDay as usize + 1;

impl Field {
    pub(super) fn year(letter: char) -> Self {
        if letter == 'y' {
            Self::YearOfEra
        } else {
            Self::Year
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    values: [Option<i64>; FIELDS],
    pub(super) zone: Option<TimeZone>,
}

impl Fields {
    /// Notes a field; `None` when it was given before with another value.
    pub(super) fn set(&mut self, field: Field, value: i64) -> Option<()> {
        let place = self.values.get_mut(field as usize)?;
        if place.is_some_and(|known| known != value) {
            return None;
        }
        *place = Some(value);
        Some(())
    }

    fn get(&self, field: Field) -> Option<i64> {
        self.values.get(field as usize).copied().flatten()
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn resolve(&self) -> Option<i64> {
        let date = self.date()?;
        let (time, next_day) = self.time()?;
        let mut local = civil::DateTime::from_parts(date, time);
        if next_day {
            local = local.checked_add(1.day()).ok()?;
        }
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let instant = zone.to_ambiguous_timestamp(local).compatible().ok()?;
        Some(instant.as_nanosecond().div_euclid(1_000_000))
            .and_then(|milliseconds| i64::try_from(milliseconds).ok())
    }

    fn date(&self) -> Option<Date> {
        let year = match (self.get(Field::Year), self.get(Field::YearOfEra)) {
            (Some(year), None) => year,
            (known, Some(of_era)) if of_era > 0 => {
                let year = match self.get(Field::Era) {
                    Some(0) => 1 - of_era,
                    _ => of_era,
                };
                (known.is_none_or(|known| known == year)).then_some(year)?
            }
            _ => return None,
        };
        let year = i16::try_from(year).ok()?;
        let date = match (self.get(Field::Month), self.get(Field::Day)) {
            (Some(month), Some(day @ 1..=31)) => {
                let first = Date::new(year, i8::try_from(month).ok()?, 1).ok()?;
                // A day beyond the end of the month is its last one.
                let day = i8::try_from(day).ok()?.min(first.days_in_month());
                Date::new(year, first.month(), day).ok()?
            }
            (Some(month), None) => self.in_week(year, month)?,
            (None, None) => {
                let day = i16::try_from(self.get(Field::DayOfYear)?).ok()?;
                Date::new(year, 1, 1)
                    .ok()?
                    .with()
                    .day_of_year(day)
                    .build()
                    .ok()?
            }
            _ => return None,
        };
        // What is said twice must be said alike.
        let agrees = |field, value: i64| self.get(field).is_none_or(|known| known == value);
        let all_agree = agrees(Field::Weekday, date.weekday().to_monday_one_offset().into())
            && agrees(Field::DayOfYear, date.day_of_year().into())
            && agrees(Field::Quarter, (i64::from(date.month()) + 2) / 3)
            && agrees(Field::WeekOfMonth, week(date.day().into(), date))
            && agrees(Field::WeekOfYear, week_of_year(date));
        all_agree.then_some(date)
    }

    /// The date of a weekday in a week of a month.
    fn in_week(&self, year: i16, month: i64) -> Option<Date> {
        let wanted = self.get(Field::WeekOfMonth)?;
        let weekday = self.get(Field::Weekday)?;
        let first = Date::new(year, i8::try_from(month).ok()?, 1).ok()?;
        let weeks = (0..=6)
            .contains(&wanted)
            .then_some(wanted - week(1, first))?;
        let days = weekday % 7 - i64::from(first.weekday().to_sunday_zero_offset());
        first.checked_add((weeks * 7 + days).days()).ok()
    }

    /// The time of day, midnight when none is given, and whether it is the end of the day.
    fn time(&self) -> Option<(Time, bool)> {
        let nanos = match (self.get(Field::NanoOfDay), self.get(Field::MilliOfDay)) {
            (Some(nanos), _) => Some(nanos),
            (None, Some(millis)) => Some(millis.checked_mul(1_000_000)?),
            (None, None) => None,
        };
        if let Some(nanos) = nanos {
            let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
            let time = clock(seconds / 3600, seconds / 60 % 60, seconds % 60, nanos)?;
            return Some((time, false));
        }
        let [minute, second, nano] =
            [Field::Minute, Field::Second, Field::Nano].map(|field| self.get(field));
        let Some(hour) = self.hour()? else {
            let nothing = minute.is_none() && second.is_none() && nano.is_none();
            return nothing.then_some((Time::midnight(), false));
        };
        // A unit counts only together with the next greater one.
        if (minute.is_none() && second.is_some()) || (second.is_none() && nano.is_some()) {
            return None;
        }
        let [minute, second, nano] = [minute, second, nano].map(|value| value.unwrap_or(0));
        if (hour, minute, second, nano) == (24, 0, 0, 0) {
            return Some((Time::midnight(), true));
        }
        Some((clock(hour, minute, second, nano)?, false))
    }

    /// The hour in whichever way it is given; `None` when the ways contradict each other.
    #[expect(clippy::option_option, reason = "no hour is no contradiction")]
    fn hour(&self) -> Option<Option<i64>> {
        if let Some(hour) = self.get(Field::Hour) {
            return Some(Some(hour));
        }
        if let Some(hour) = self.get(Field::ClockHour) {
            return (1..=24).contains(&hour).then_some(Some(hour % 24));
        }
        let of_half = match (
            self.get(Field::ClockHourOfHalfDay),
            self.get(Field::HourOfHalfDay),
        ) {
            (Some(hour @ 1..=12), None) => hour % 12,
            (None, Some(hour @ 0..=11)) => hour,
            (None, None) => return Some(None),
            _ => return None,
        };
        Some(Some(self.get(Field::HalfDay)? * 12 + of_half))
    }
}

/// The week of a date, counted from the first day of its month or year, of which it is day number `day`. Weeks begin on
/// Sunday and the first one may have one day only, as in the United States.
fn week(day: i64, date: Date) -> i64 {
    let weekday = i64::from(date.weekday().to_sunday_zero_offset());
    // What lies before the first day in its week counts, too.
    let before = (weekday - (day - 1)).rem_euclid(7);
    (day - 1 + before) / 7 + 1
}

/// The week of the year; the last days of December belong to the first week of the next one when it has begun.
fn week_of_year(date: Date) -> i64 {
    let next_year = date
        .year()
        .checked_add(1)
        .and_then(|year| Date::new(year, 1, 1).ok());
    let is_of_next_year = next_year.is_some_and(|first| {
        let days_left = date.days_in_year() - date.day_of_year() + 1;
        days_left <= i16::from(first.weekday().to_sunday_zero_offset())
    });
    if is_of_next_year {
        1
    } else {
        week(date.day_of_year().into(), date)
    }
}

fn clock(hour: i64, minute: i64, second: i64, nano: i64) -> Option<Time> {
    let small = |value: i64| i8::try_from(value).ok();
    let nano = i32::try_from(nano).ok()?;
    Time::new(small(hour)?, small(minute)?, small(second)?, nano).ok()
}
