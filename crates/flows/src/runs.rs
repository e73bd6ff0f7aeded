//! Batches: when a run is due, which period it covers, and what has become of it.
//!
//! Invariants
//! - J14: a period has one run, whatever crashes: a run counts when its entry is durable, and then
//!   its document is too; until then it is made again from the beginning, and nothing was sent.
//! - J15: what was missed while Millstream was off is caught up once: each shift has its own run,
//!   a cron schedule one run over all that was missed.
//! - J16: a record that comes after its period's run makes a correction that names that run; a
//!   correction that would change nothing is not made.

use batch::{Reconciliation, Spec, Totals};
use calendar::{Cron, Period, ShiftCalendar, Zone};
use delivery::Offset;
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Runs of a batch that are kept in memory and shown.
const RUNS_MAX: usize = 200;
/// Wait after a run could not be made, ns.
const RETRY_NS: i64 = 60_000_000_000;
/// A run that is decided on this long after it was due was missed, ns.
const MISSED_NS: i64 = 60_000_000_000;
/// Shortest time in which late records are gathered into one correction, ns.
const GATHER_NS: i64 = 1_000_000_000;

/// When a batch runs.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// At the end of each shift.
    Shifts,
    /// By cron.
    Cron(Cron),
    /// When somebody asks.
    Manual,
}

/// Figures that go into a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FigureSpec {
    /// Glob over tags.
    pub match_: String,
    /// Aggregate, by its word.
    pub aggregate: String,
}

/// One batch.
#[derive(Clone, Debug)]
pub struct BatchSpec {
    /// What its document is.
    pub spec: Spec,
    /// When it runs.
    pub schedule: Schedule,
    /// Wait after the period's end, ns.
    pub delay_ns: i64,
    /// Late records make a correction for so long after the period's end, ns.
    pub correct_ns: i64,
    /// Its figures.
    pub figures: Vec<FigureSpec>,
}

/// Why a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Its time has come.
    Schedule,
    /// Its time was missed.
    CatchUp,
    /// Somebody asked.
    Manual,
    /// Records came late.
    Correction,
}

impl Cause {
    /// The word in documents and answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Cause::Schedule => "schedule",
            Cause::CatchUp => "catch-up",
            Cause::Manual => "manual",
            Cause::Correction => "correction",
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Unique: batch, period and number.
    pub id: String,
    /// The batch.
    pub batch: String,
    /// The period's label.
    pub label: String,
    /// The period's begin, ns.
    pub from_ns: i64,
    /// Its end, ns.
    pub to_ns: i64,
    /// Why.
    pub cause: Cause,
    /// The run that this one corrects.
    pub correction_of: Option<String>,
    /// Number within the batch, from 1.
    pub sequence: u64,
    /// When it was decided on, ns.
    pub created_ns: i64,
    /// Records up to this offset are in it.
    pub as_of: u64,
    /// Offset of its document's message.
    pub offset: u64,
    /// Control totals.
    pub totals: Option<Totals>,
    /// Length of its document, bytes.
    pub bytes: u64,
    /// Hexadecimal SHA-256 of its document.
    pub sha256: String,
    /// Name of its document.
    pub file_name: String,
    /// Media type of its document.
    pub content_type: String,
    /// What the receiver's answer says of the totals.
    pub reconciliation: Option<Reconciliation>,
}

impl Run {
    /// The run that a message publishes.
    pub(crate) fn of_message(batch: &str, id: &str, offset: Offset, body: &serde_json::Value) -> Option<Run> {
        let text = |pointer: &str| body.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned);
        let number = |pointer: &str| body.pointer(pointer).and_then(serde_json::Value::as_u64);
        let time = |pointer: &str| text(pointer).and_then(|text| TimestampNs::parse_rfc3339(&text)).map(|time| time.0);
        Some(Run {
            id: id.to_owned(),
            batch: batch.to_owned(),
            label: text("/label")?,
            from_ns: time("/from")?,
            to_ns: time("/to")?,
            cause: serde_json::from_value(body.get("cause")?.clone()).ok()?,
            correction_of: text("/correction_of"),
            sequence: number("/sequence")?,
            created_ns: time("/created")?,
            as_of: number("/as_of")?,
            offset: offset.0,
            totals: serde_json::from_value(body.get("totals")?.clone()).ok()?,
            bytes: number("/document/bytes")?,
            sha256: text("/document/sha256")?,
            file_name: text("/document/file_name")?,
            content_type: text("/document/content_type")?,
            reconciliation: None,
        })
    }
}

/// A run that is to be made.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which batch, by its place in the configuration.
    pub batch: usize,
    /// The run, without its document.
    pub run: Run,
    /// A correction: records up to this offset were in the runs before.
    pub before: Option<u64>,
    /// What is made.
    pub spec: BatchSpec,
}

struct Late {
    run: String,
    due: TimestampNs,
}

/// One batch and its runs.
pub struct Book {
    /// What it is.
    pub spec: BatchSpec,
    runs: VecDeque<Run>,
    sequence: u64,
    /// Periods that ended up to here have their runs.
    decided_to: Option<TimestampNs>,
    late: Vec<Late>,
    making: Option<Run>,
    came_while_making: bool,
    retry_at: Option<TimestampNs>,
    /// Why the last run could not be made.
    pub failed: Option<String>,
}

/// All batches.
pub struct BatchBook {
    zone: Zone,
    calendar: Option<ShiftCalendar>,
    books: Vec<Book>,
    started: TimestampNs,
}

/// Why a run cannot be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// There is no such batch.
    Unknown,
    /// One is being made.
    Busy,
    /// The time is no period.
    Period(String),
}

impl BatchBook {
    /// Batches in a time zone; those with shifts go by the calendar.
    #[must_use]
    pub fn new(zone: Zone, calendar: Option<ShiftCalendar>, specs: Vec<BatchSpec>) -> BatchBook {
        let book = |spec: BatchSpec| Book {
            spec,
            runs: VecDeque::new(),
            sequence: 0,
            decided_to: None,
            late: Vec::new(),
            making: None,
            came_while_making: false,
            retry_at: None,
            failed: None,
        };
        BatchBook { zone, calendar, books: specs.into_iter().map(book).collect(), started: TimestampNs(0) }
    }

    /// All batches, in the order of the configuration.
    #[must_use]
    pub fn books(&self) -> &[Book] {
        &self.books
    }

    fn book(&mut self, name: &str) -> Option<&mut Book> {
        self.books.iter_mut().find(|book| book.spec.spec.name == name)
    }

    /// A batch that the journal does not know begins now.
    pub(crate) fn begin(&mut self, name: &str, at: TimestampNs) {
        if let Some(book) = self.book(name) {
            book.decided_to = Some(book.decided_to.map_or(at, |decided| decided.max(at)));
        }
    }

    /// A run as the journal says that it is.
    pub(crate) fn put(&mut self, run: Run) {
        let Some(book) = self.book(&run.batch) else { return };
        book.sequence = book.sequence.max(run.sequence);
        if matches!(run.cause, Cause::Schedule | Cause::CatchUp) {
            book.decided_to = Some(book.decided_to.map_or(TimestampNs(run.to_ns), |d| d.max(TimestampNs(run.to_ns))));
        }
        match book.runs.iter_mut().find(|known| known.id == run.id) {
            Some(known) => *known = run,
            None => book.runs.push_back(run),
        }
        if book.runs.len() > RUNS_MAX {
            book.runs.pop_front();
        }
    }

    /// A run by its message, where its own entry is not known.
    pub(crate) fn put_new(&mut self, run: Run) {
        let known = self.book(&run.batch).is_none_or(|book| book.runs.iter().any(|known| known.id == run.id));
        if !known {
            self.put(run);
        }
    }

    /// The journal was read: from now on time runs. Records may have come late while Millstream was
    /// off or while a run was made, so every run that may still be corrected is looked at once.
    pub(crate) fn started(&mut self, now: TimestampNs) {
        self.started = now;
        for book in &mut self.books {
            let correct_ns = book.spec.correct_ns;
            let open = book.runs.iter().filter(|run| run.correction_of.is_none() && now.0 <= run.to_ns + correct_ns);
            book.late = open.map(|run| Late { run: run.id.clone(), due: now.plus_ns(GATHER_NS) }).collect();
        }
    }

    /// A record came.
    pub(crate) fn on_record(&mut self, entity: &str, time: TimestampNs, now: TimestampNs) {
        for book in &mut self.books {
            if !book.spec.spec.records.iter().any(|record| record == entity) {
                continue;
            }
            let holds = |run: &Run| run.from_ns <= time.0 && time.0 < run.to_ns;
            book.came_while_making |= book.making.as_ref().is_some_and(holds);
            let due = now.plus_ns(book.spec.delay_ns.max(GATHER_NS));
            let (correct_ns, late) = (book.spec.correct_ns, &mut book.late);
            let open = |run: &&Run| run.correction_of.is_none() && holds(run) && now.0 <= run.to_ns + correct_ns;
            for run in book.runs.iter().filter(open) {
                if !late.iter().any(|known| known.run == run.id) {
                    late.push(Late { run: run.id.clone(), due });
                }
            }
        }
    }

    /// When something may be due.
    #[must_use]
    pub fn deadline(&self) -> Option<TimestampNs> {
        (0..self.books.len()).filter_map(|at| self.due_of(at)).min()
    }

    fn due_of(&self, at: usize) -> Option<TimestampNs> {
        let book = &self.books[at];
        if book.making.is_some() {
            return None;
        }
        let late = book.late.iter().map(|late| late.due).min();
        let next = self.next_end(book).map(|end| end.plus_ns(book.spec.delay_ns));
        let due = [late, next].into_iter().flatten().min()?;
        Some(book.retry_at.map_or(due, |retry| due.max(retry)))
    }

    fn next_end(&self, book: &Book) -> Option<TimestampNs> {
        let after = book.decided_to?;
        match &book.spec.schedule {
            Schedule::Manual => None,
            Schedule::Shifts => self.calendar.as_ref()?.next_end(after).map(|period| period.to),
            Schedule::Cron(cron) => cron.next(&self.zone, after),
        }
    }

    /// When the next run is due by its schedule, its delay included.
    #[must_use]
    pub fn next_run(&self, at: usize) -> Option<TimestampNs> {
        let book = self.books.get(at)?;
        self.next_end(book).map(|end| end.plus_ns(book.spec.delay_ns))
    }

    /// The run that is due now, if one is; the desk must be told what became of it.
    pub fn due(&mut self, now: TimestampNs, as_of: Offset) -> Option<Order> {
        let at = (0..self.books.len()).find(|at| self.due_of(*at).is_some_and(|due| due <= now))?;
        let late = self.books[at].late.iter().position(|late| late.due <= now);
        match late {
            Some(late) => self.correction(at, late, now, as_of),
            None => self.scheduled(at, now, as_of),
        }
    }

    fn scheduled(&mut self, at: usize, now: TimestampNs, as_of: Offset) -> Option<Order> {
        let book = &self.books[at];
        let (after, until) = (book.decided_to?, TimestampNs(now.0 - book.spec.delay_ns));
        let period = match &book.spec.schedule {
            Schedule::Manual => None,
            Schedule::Shifts => self.calendar.as_ref()?.periods_ending(after, until).into_iter().next(),
            Schedule::Cron(cron) => {
                let missed = cron.periods_ending(&self.zone, &book.spec.spec.name, after, until);
                missed.first().cloned().zip(missed.last()).map(|(first, last)| Period { to: last.to, ..first })
            }
        }?;
        let due = period.to.plus_ns(book.spec.delay_ns);
        let is_missed = due < self.started || now.0 - due.0 > MISSED_NS;
        let cause = if is_missed { Cause::CatchUp } else { Cause::Schedule };
        Some(self.order(at, &period, cause, None, now, as_of))
    }

    fn correction(&mut self, at: usize, late: usize, now: TimestampNs, as_of: Offset) -> Option<Order> {
        let book = &mut self.books[at];
        let name = book.late.remove(late).run;
        let corrected = book.runs.iter().find(|run| run.id == name)?.clone();
        let family = |run: &&Run| run.id == name || run.correction_of.as_deref() == Some(&name);
        let before = book.runs.iter().filter(family).map(|run| run.as_of).max()?;
        let period = Period {
            name: corrected.batch.clone(),
            label: corrected.label.clone(),
            from: TimestampNs(corrected.from_ns),
            to: TimestampNs(corrected.to_ns),
        };
        Some(self.order(at, &period, Cause::Correction, Some((name, before)), now, as_of))
    }

    /// Orders a run now; without a time, over the last whole period.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn order_now(
        &mut self,
        name: &str,
        span: Option<(TimestampNs, TimestampNs)>,
        now: TimestampNs,
        as_of: Offset,
    ) -> Result<Order, RunError> {
        let at = self.books.iter().position(|book| book.spec.spec.name == name).ok_or(RunError::Unknown)?;
        if self.books[at].making.is_some() {
            return Err(RunError::Busy);
        }
        let period = match span {
            Some((from, to)) if from < to => {
                Period { name: name.to_owned(), label: format!("{from} to {to}"), from, to }
            }
            Some((from, to)) => return Err(RunError::Period(format!("{from} is not before {to}"))),
            None => self
                .last_period(at, now)
                .ok_or_else(|| RunError::Period("there is no whole period yet; say from and to".to_owned()))?,
        };
        Ok(self.order(at, &period, Cause::Manual, None, now, as_of))
    }

    fn last_period(&self, at: usize, now: TimestampNs) -> Option<Period> {
        const WEEK_NS: i64 = 8 * 86_400_000_000_000;
        let after = now.plus_ns(-WEEK_NS);
        let book = &self.books[at];
        let all = match &book.spec.schedule {
            Schedule::Cron(cron) => {
                cron.periods_ending(&self.zone, &book.spec.spec.name, cron.previous(&self.zone, now)?.plus_ns(-1), now)
            }
            Schedule::Shifts | Schedule::Manual => self.calendar.as_ref()?.periods_ending(after, now),
        };
        all.into_iter().next_back()
    }

    fn order(
        &mut self,
        at: usize,
        period: &Period,
        cause: Cause,
        corrects: Option<(String, u64)>,
        now: TimestampNs,
        as_of: Offset,
    ) -> Order {
        let book = &mut self.books[at];
        let sequence = book.sequence + 1;
        let name = &book.spec.spec.name;
        let (correction_of, before) = corrects.unzip();
        let run = Run {
            id: format!("{name}/{}#{sequence}", period.label),
            batch: name.clone(),
            label: period.label.clone(),
            from_ns: period.from.0,
            to_ns: period.to.0,
            cause,
            correction_of,
            sequence,
            created_ns: now.0,
            as_of: as_of.0,
            offset: 0,
            totals: None,
            bytes: 0,
            sha256: String::new(),
            file_name: String::new(),
            content_type: String::new(),
            reconciliation: None,
        };
        book.making = Some(run.clone());
        book.came_while_making = false;
        Order { batch: at, run, before, spec: book.spec.clone() }
    }

    /// An ordered run is in the journal.
    pub(crate) fn made(&mut self, at: usize, run: Run, now: TimestampNs) {
        let Some(book) = self.books.get_mut(at) else { return };
        (book.making, book.failed, book.retry_at) = (None, None, None);
        if std::mem::take(&mut book.came_while_making) {
            let of = run.correction_of.clone().unwrap_or_else(|| run.id.clone());
            book.late.push(Late { run: of, due: now.plus_ns(GATHER_NS) });
        }
        self.put(run);
    }

    /// A correction would change nothing.
    pub(crate) fn unneeded(&mut self, at: usize) {
        if let Some(book) = self.books.get_mut(at) {
            (book.making, book.retry_at) = (None, None);
        }
    }

    /// An ordered run could not be made; it is tried again later.
    pub(crate) fn failed(&mut self, at: usize, why: String, now: TimestampNs) {
        let Some(book) = self.books.get_mut(at) else { return };
        if let Some(run) = book.making.take()
            && let Some(of) = run.correction_of
        {
            book.late.push(Late { run: of, due: now.plus_ns(RETRY_NS) });
        }
        book.failed = Some(why);
        book.retry_at = Some(now.plus_ns(RETRY_NS));
    }

    /// What the receiver answered to a run's document.
    pub(crate) fn answered(&mut self, offset: Offset, answer: &serde_json::Value) -> Option<Run> {
        let run = self.books.iter_mut().flat_map(|book| &mut book.runs).find(|run| run.offset == offset.0)?;
        let totals = run.totals.as_ref()?;
        run.reconciliation = Some(batch::reconcile(totals, Some(answer)));
        Some(run.clone())
    }
}

impl Book {
    /// Its runs, newest first.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().rev()
    }

    /// The run that is being made.
    #[must_use]
    pub const fn making(&self) -> Option<&Run> {
        self.making.as_ref()
    }

    /// What a snapshot holds: the newest runs and up to where periods were decided.
    pub(crate) fn to_keep(&self) -> (Vec<&Run>, Option<TimestampNs>) {
        (self.runs.iter().collect(), self.decided_to)
    }
}
