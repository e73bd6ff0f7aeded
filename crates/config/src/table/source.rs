//! Keys of `[[source]]` and what stands below it.

use super::{
    AMOUNT, By, DAY, Duration, Form, HOUR, Key, Kind, MILLISECOND, NAME, NUMBER, SECRET, Section, Variant, Variants,
    between, up_to,
};

const MINUTE: Duration = Duration::from_secs(60);
/// Most `[[source.tag]]` entries of one source.
const SOURCE_TAGS_MAX: usize = crate::TAGS_MAX;
/// Most `[[source.browse]]` entries of one source.
const SOURCE_BROWSES_MAX: usize = 1_000;

pub(super) static SOURCE: Section = Section {
    title: "[[source]]",
    doc: "A device, a gateway, a server, or a place for native producers. A tag's path is `path[/unit]/tag`.",
    keys: &[
        Key::new("name", NAME, "Unique name among sources."),
        Key::new(
            "path",
            Kind::Text(Form::Path),
            "Where the tags hang in the tree, for instance site/area/line/machine.",
        ),
        Key::new("kind", Kind::Choice(&["modbus", "opcua", "native"]), "Protocol."),
    ],
    variants: Some(Variants {
        by: By::Value("kind"),
        of: &[
            Variant { name: "modbus", doc: "Modbus TCP, polled (Modbus Application Protocol V1.1b3).", keys: MODBUS },
            Variant { name: "opcua", doc: "OPC UA, subscribed (OPC 10000-4).", keys: OPCUA },
            Variant {
                name: "native",
                doc: "Producers that speak native frames; they may create tags below `path`.",
                keys: NATIVE,
            },
        ],
    }),
    later: None,
};

const MODBUS: &[Key] = &[
    Key::new("address", Kind::Text(Form::ModbusAddress), "Where the device or gateway listens; port 502 when left out."),
    Key::new("unit_id", Kind::Whole { min: 1, max: 255 }, "Unit identifier of the device; not together with `units`.").whole(1),
    Key::new("units", Kind::Units, "Several units behind one address, each with every tag of the source: unit identifiers (1 to 255) with the path segments that stand for them.")
        .optional("one unit, `unit_id`"),
    Key::new("every", between(MILLISECOND, DAY), "Time between two polls of a tag.").text("1s"),
    Key::new("timeout", between(MILLISECOND, MINUTE), "Deadline of one request.").text("1s"),
    Key::new("depth", Kind::Whole { min: 1, max: 16 }, "Requests that are under way at once. Many devices lose, reorder or refuse pipelined requests. Left out, it begins with 1, and 2, 4, 8 up to `depth_max` are tried in quiet moments while cycles are long enough: a depth stays that makes the device at least 15 % faster; one that it does not stand (a lost answer, a closed connection, busy, out of order) is left alone for 10 minutes, longer each time. `/v1/sources` shows it. While a command waits or is under way nothing is tried; with `request_delay` it stays 1.")
        .optional("found out"),
    Key::new("depth_max", Kind::Whole { min: 1, max: 16 }, "Most requests under way at once where `depth` is left out; 1 tries nothing.").whole(16),
    Key::new("coalesce_gap", Kind::Whole { min: 0, max: 124 }, "Unused registers that may be read along to join two tags into one request. Left out, it is what the device's measured time for a request and for a register makes worth it, from 0 to 123, and 16 until 64 answers of different lengths have told; a device that refuses a gap has the request taken apart there.")
        .optional("by measured cost"),
    Key::new("max_registers", Kind::Whole { min: 1, max: 125 }, "Most registers of one read, for devices that take fewer than the protocol's 125.").whole(125),
    Key::new("max_bits", Kind::Whole { min: 1, max: 2000 }, "Most bits of one read, for devices that take fewer than the protocol's 2000.").whole(2000),
    Key::new("connect_delay", up_to(MINUTE), "Wait after connecting before the first request.").text("0s"),
    Key::new("request_delay", up_to(MINUTE), "Wait between an answer and the next request.").text("0s"),
    Key::new("busy_retries", Kind::Whole { min: 0, max: 10 }, "Tries again after exception 06, server device busy.").whole(2),
    Key::new("demote_after", Kind::Whole { min: 1, max: 255 }, "Timeouts in a row after which a unit is demoted: probed instead of polled, so that it delays no other.").whole(3),
    Key::new("demote_for", between(Duration::from_millis(100), DAY), "First time of demotion; it doubles up to `demote_max`.").text("10s"),
    Key::new("demote_max", between(Duration::from_millis(100), DAY), "Longest time between two probes of a demoted unit; at least `demote_for`.").text("5m"),
    Key::new("tag", Kind::Tables { of: &MODBUS_TAG, max: SOURCE_TAGS_MAX }, "Tags of the source.").optional("none"),
];

/// The words of `type`; `crate::read` gives them their meaning.
const REGISTER_TYPES: &[&str] = &["bool", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "text"];

static MODBUS_TAG: Section = Section {
    title: "[[source.tag]] (modbus)",
    doc: "One value of a Modbus device, read for every unit of the source.",
    keys: &[
        Key::new("name", Kind::Text(Form::TagName), "Name below the source's (and unit's) path."),
        Key::new(
            "at",
            Kind::Text(Form::Register),
            "First register or bit: `holding:0`, `input:10`, `coil:0`, `discrete:3` count from 0, `holding:30.3` is a bit of a register; reference numbers of device manuals (`40001`, `400001`, `30011`, `10004`, `00001`) count from 1.",
        ),
        Key::new(
            "type",
            Kind::Choice(REGISTER_TYPES),
            "What the registers hold. `bool` is a coil, a discrete input or one bit of a register.",
        )
        .optional("`u16` for registers, `bool` for coils, discrete inputs and bits"),
        Key::new(
            "registers",
            Kind::Whole { min: 1, max: 125 },
            "Length of a `text`, two characters a register; required with `type = \"text\"`, not allowed otherwise.",
        )
        .optional("the type's length"),
        Key::new(
            "order",
            Kind::Choice(&["ABCD", "DCBA", "BADC", "CDAB"]),
            "Order of bytes: `ABCD` big-endian, `DCBA` all reversed, `BADC` bytes swapped, `CDAB` registers swapped.",
        )
        .text("ABCD"),
        Key::new("scale", NUMBER, "The value is raw × scale + offset; not 0.").number(1.0),
        Key::new("offset", NUMBER, "See `scale`.").number(0.0),
        Key::new("unit", Kind::Text(Form::Unit), "Engineering unit, for people.").optional("no unit"),
        Key::new(
            "range",
            Kind::Range,
            "Lowest and highest plausible value after scaling; a value outside is kept with an uncertain quality.",
        )
        .optional("every value is plausible"),
        Key::new(
            "deadband",
            AMOUNT,
            "A change of less than this from the last stored value is not stored; 0 stores every value.",
        )
        .number(0.0),
        Key::new("heartbeat", between(MILLISECOND, DAY), "A value within the deadband is stored again after this.")
            .text("1m"),
        Key::new("every", between(MILLISECOND, DAY), "Poll interval of this tag.").optional("the source's"),
    ],
    variants: None,
    later: None,
};

const OPCUA: &[Key] = &[
    Key::new("address", Kind::Text(Form::Endpoint), "Endpoint of the server."),
    Key::new(
        "security",
        Kind::Text(Form::Security),
        "`None`, or policy and mode: policies Basic256Sha256, Aes128-Sha256-RsaOaep, Aes256-Sha256-RsaPss; modes Sign, SignAndEncrypt. A server that does not offer it is refused, never downgraded to.",
    ),
    Key::new("user", Kind::Table(&USER), "Who logs in.").optional("anonymous"),
    Key::new(
        "publishing",
        between(Duration::from_millis(10), HOUR),
        "Requested publishing interval; the server may revise it.",
    )
    .text("1s"),
    Key::new("sampling", up_to(HOUR), "Requested sampling interval; 0 is the server's fastest.")
        .optional("as `publishing`"),
    Key::new(
        "queue",
        Kind::Whole { min: 2, max: 10_000 },
        "Requested queue size of an item, oldest discarded first; a queue of 1 loses values.",
    )
    .whole(10),
    Key::new(
        "keep_alive",
        between(Duration::from_millis(100), HOUR),
        "Longest silence after which the server is to send a keep-alive; at least `publishing`.",
    )
    .optional("5s, or `publishing` where that is longer"),
    Key::new(
        "watchdog",
        between(Duration::from_millis(200), DAY),
        "No notification and no keep-alive for this long: the connection is made anew. More than `keep_alive`.",
    )
    .optional("10s, or twice `keep_alive` where that is longer"),
    Key::new("timeout", between(MILLISECOND, Duration::from_secs(600)), "Deadline of one service call.").text("5s"),
    Key::new("tag", Kind::Tables { of: &OPCUA_TAG, max: SOURCE_TAGS_MAX }, "Tags of the source.").optional("none"),
    Key::new("browse", Kind::Tables { of: &BROWSE, max: SOURCE_BROWSES_MAX }, "Folders whose variables become tags.")
        .optional("none"),
];

static USER: Section = Section {
    title: "user",
    doc: "User name and password of an OPC UA session.",
    keys: &[
        Key::new("name", Kind::Text(Form::Plain), "User name."),
        Key::new("password", Kind::Table(&SECRET), "Where the password stands."),
    ],
    variants: None,
    later: None,
};

static OPCUA_TAG: Section = Section {
    title: "[[source.tag]] (opcua)",
    doc: "One node of an OPC UA server.",
    keys: &[
        Key::new("name", Kind::Text(Form::TagName), "Name below the source's path."),
        Key::new(
            "node",
            Kind::Text(Form::Node),
            "The node: `nsu=URI;s=Name` or `ns=2;i=1008`. Prefer the URI: indexes may move when the server restarts.",
        ),
        Key::new("unit", Kind::Text(Form::Unit), "Engineering unit.").optional("the server's EngineeringUnits"),
        Key::new(
            "range",
            Kind::Range,
            "Lowest and highest plausible value; a value outside is kept with an uncertain quality.",
        )
        .optional("every value is plausible"),
        Key::new("deadband", AMOUNT, "Absolute deadband that is asked of the server.").number(0.0),
    ],
    variants: None,
    later: None,
};

static BROWSE: Section = Section {
    title: "[[source.browse]]",
    doc: "A folder below which every variable becomes a tag.",
    keys: &[
        Key::new("node", Kind::Text(Form::Node), "The folder."),
        Key::new("name", Kind::Text(Form::TagName), "Path, below the source's, that the tags hang under."),
        Key::new(
            "max",
            Kind::Whole { min: 1, max: 100_000 },
            "Most tags that it may make; what is beyond is counted and reported.",
        )
        .whole(10_000),
    ],
    variants: None,
    later: None,
};

const NATIVE: &[Key] = &[
    Key::new("tags_max", Kind::Whole { min: 1, max: 10_000_000 }, "Most tags below this path.").whole(100_000),
    Key::new(
        "producers_max",
        Kind::Whole { min: 1, max: 65_536 },
        "Most producers that are remembered, connected or not.",
    )
    .whole(1_024),
    Key::new("udp", Kind::Switch, "Are frames over UDP, without acknowledgement, taken, too?").switch(true),
];
