//! Keys of what is gathered: records, batches, shifts.

use super::analysis::AGGREGATES;
use super::flow::{BREAKER, BREAKER_DOC, RETRY, RETRY_DOC, TIMEOUT, TO};
use super::{DAY, Form, GLOB, Key, Kind, NAME, Section, YEAR, up_to};

/// Most names in a list of records, fields or rollups.
const NAMES_MAX: usize = 256;
/// Most dates on which a shift is not as usual: some ten years of them.
const EXCEPTIONS_MAX: usize = 512;

const FIELD: Kind = Kind::Text(Form::Field);
const FIELDS: Kind = Kind::List { of: &FIELD, min: 0, max: NAMES_MAX };
const TIME_OF_DAY: Kind = Kind::Text(Form::TimeOfDay);

pub(super) static RECORD: Section = Section {
    title: "[[record]]",
    doc: "A kind of business document, taken at `POST /v1/records/{name}`.",
    keys: &[
        Key::new("name", NAME, "Unique name among records."),
        Key::new("id", FIELD, "Field whose value identifies a document; what comes twice counts once."),
        Key::new("key", FIELD, "Field by which documents belong together.").optional("each document by itself"),
        Key::new("time", FIELD, "Field with the business time, in RFC 3339.")
            .optional("`time` where a document has it, else the time of arrival"),
        Key::new("schema", Kind::Json, "JSON Schema that documents must satisfy.")
            .optional("any JSON object with the id"),
    ],
    variants: None,
    later: None,
};

static BATCH_ROLLUP: Section = Section {
    title: "rollups",
    doc: "Figures that go into a batch.",
    keys: &[
        Key::new("match", GLOB, "Which tags."),
        Key::new("aggregate", Kind::Choice(AGGREGATES), "Which figure, over the batch's time."),
    ],
    variants: None,
    later: None,
};

pub(super) static BATCH: Section = Section {
    title: "[[batch]]",
    doc: "What gathered over a time goes out as one document with control totals.",
    keys: &[
        Key::new("name", NAME, "Name, unique among all flows."),
        Key::new(
            "at",
            Kind::Text(Form::Schedule),
            "When it runs: `shift-end`, a cron expression of five fields in the server's time zone, or `manual`, which is only by `POST /v1/batches/{name}/run`.",
        ),
        Key::new("delay", up_to(DAY), "Wait after that time for late records.").text("0s"),
        Key::new(
            "correct",
            up_to(YEAR),
            "Records that come later still, up to this long after the batch's time, make a correction; `0s`: never.",
        )
        .text("24h"),
        Key::new("records", Kind::List { of: &NAME, min: 0, max: NAMES_MAX }, "Names of `[[record]]`s that go in.")
            .list(&[]),
        Key::new("rollups", Kind::Tables { of: &BATCH_ROLLUP, max: NAMES_MAX }, "Rollup figures that go in.")
            .optional("none"),
        Key::new("group_by", FIELDS, "Fields by which rows are summed up.").list(&[]),
        Key::new("totals", FIELDS, "Fields whose sums are control totals, beside the row count.").list(&[]),
        Key::new(
            "format",
            Kind::Choice(&["csv", "json", "parquet"]),
            "Format of the document; `parquet` is taken, and made when the archive is there.",
        )
        .text("csv"),
        Key::new("compress", Kind::Choice(&["none", "gzip"]), "Compression of the document; not with `parquet`.")
            .text("none"),
        Key::new("to", TO, "Receiver."),
        Key::new("retry", Kind::Table(&RETRY), RETRY_DOC).optional("its defaults"),
        Key::new("breaker", Kind::Table(&BREAKER), BREAKER_DOC).optional("its defaults"),
        Key::new("timeout", TIMEOUT, "Deadline of one try.").text("1m"),
    ],
    variants: None,
    later: None,
};

pub(super) static SHIFT: Section = Section {
    title: "[[shift]]",
    doc: "A part of the working day, in the server's time zone.",
    keys: &[
        Key::new("name", NAME, "Unique name among shifts."),
        Key::new("start", TIME_OF_DAY, "When it begins."),
        Key::new("end", TIME_OF_DAY, "When it ends; on the next day if not after `start`."),
        Key::new(
            "days",
            Kind::List { of: &Kind::Choice(&["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), min: 1, max: 7 },
            "Days on which it begins.",
        )
        .list(&["mon", "tue", "wed", "thu", "fri", "sat", "sun"]),
        Key::new("except", Kind::Tables { of: &EXCEPT, max: EXCEPTIONS_MAX }, "Dates on which it is not as usual.")
            .optional("none"),
    ],
    variants: None,
    later: None,
};

static EXCEPT: Section = Section {
    title: "except",
    doc: "A date on which a shift is not as usual: with `start` and `end` it has these times, whatever `days` says; without them there is no such shift.",
    keys: &[
        Key::new("date", Kind::Text(Form::Date), "The date on which the shift would begin."),
        Key::new("start", TIME_OF_DAY, "When it begins on that date; only with `end`.").optional("no shift"),
        Key::new("end", TIME_OF_DAY, "When it ends; on the next day if not after `start`.").optional("no shift"),
    ],
    variants: None,
    later: None,
};
