//! Business documents: what is known of each id, and whether a document may come in.
//!
//! Invariants
//! - J9: a document with an id and body that are known counts once; one with another body is the
//!   next version.
//! - J10: as long as a version is kept in the journal it is known here, of the newest [`IDS_MAX`] ids and
//!   [`VERSIONS_MAX`] versions; what is forgotten is counted.

use crate::message::hash128;
use crate::newest::Newest;
use delivery::Offset;
use jsonschema::Validator;
use model::TimestampNs;
use serde_json::Value;

/// Ids that are remembered; at about 80 bytes each.
pub const IDS_MAX: usize = 1_000_000;
/// Versions of them; ids of which the newest is older than these are forgotten.
pub const VERSIONS_MAX: usize = 4 * IDS_MAX;
/// Documents of one call.
pub const DOCUMENTS_MAX: usize = 10_000;
/// Longest document, in bytes of JSON.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// Wrong places that one answer lists.
const ERRORS_MAX: usize = 50;

/// What a kind of document is told.
pub struct EntitySpec {
    /// Its name.
    pub name: String,
    /// Field that identifies a document.
    pub id: String,
    /// Field that groups documents.
    pub key: Option<String>,
    /// Field with the business time, RFC 3339.
    pub time: Option<String>,
    schema: Option<Schema>,
}

/// A JSON Schema (draft 2020-12 unless it says otherwise), compiled.
pub struct Schema(Validator);

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// A sentence: it is no JSON Schema.
    pub fn new(schema: &Value) -> Result<Schema, String> {
        jsonschema::validator_for(schema)
            .map(Schema)
            .map_err(|error| format!("this is no JSON Schema: {error}; see https://json-schema.org"))
    }

    /// The places of a document that it does not allow, at most fifty.
    #[must_use]
    pub fn wrong(&self, document: &Value) -> Vec<Wrong> {
        let wrong = |error: jsonschema::ValidationError<'_>| Wrong {
            path: error.instance_path().to_string(),
            text: error.to_string(),
        };
        self.0.iter_errors(document).take(ERRORS_MAX).map(wrong).collect()
    }
}

/// One place of a document that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Wrong {
    /// JSON pointer (RFC 6901).
    pub path: String,
    /// What is wrong there.
    pub text: String,
}

impl EntitySpec {
    /// A kind of document.
    ///
    /// # Errors
    /// The schema is no JSON Schema; a sentence.
    pub fn new(
        name: &str,
        id: &str,
        key: Option<String>,
        time: Option<String>,
        schema: Option<&Value>,
    ) -> Result<EntitySpec, String> {
        let schema =
            schema.map(Schema::new).transpose().map_err(|error| format!("the schema of record {name}: {error}"))?;
        Ok(EntitySpec { name: name.to_owned(), id: id.to_owned(), key, time, schema })
    }

    /// Everything that is wrong with a document; the id of one that is right.
    ///
    /// # Errors
    /// The wrong places, at most fifty.
    pub fn check(&self, document: &Value) -> Result<String, Vec<Wrong>> {
        let whole = |text: String| vec![Wrong { path: String::new(), text }];
        if !document.is_object() {
            return Err(whole(format!("a {} is a JSON object", self.name)));
        }
        let length = document.to_string().len();
        if length > DOCUMENT_BYTES_MAX {
            return Err(whole(format!("it has {length} bytes; at most {DOCUMENT_BYTES_MAX} are taken")));
        }
        if let Some(schema) = &self.schema {
            let wrong = schema.wrong(document);
            if !wrong.is_empty() {
                return Err(wrong);
            }
        }
        let id = match document.get(&self.id) {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => {
                let text = format!("{} must be a text or number that identifies the document", self.id);
                return Err(vec![Wrong { path: format!("/{}", self.id), text }]);
            }
        };
        if id.len() > crate::message::ID_BYTES_MAX / 2 {
            return Err(vec![Wrong { path: format!("/{}", self.id), text: "this id is too long".to_owned() }]);
        }
        if let Some(Err(text)) = self.time.as_ref().map(|field| read_time(document, field)) {
            let path = format!("/{}", self.time.as_deref().unwrap_or_default());
            return Err(vec![Wrong { path, text }]);
        }
        Ok(id)
    }

    /// The business time of a document; the time of arrival where it has none.
    #[must_use]
    pub fn time_of(&self, document: &Value, arrived: TimestampNs) -> TimestampNs {
        let time = self.time.as_ref().and_then(|field| read_time(document, field).ok());
        time.flatten().unwrap_or(arrived)
    }

    /// The group of a document.
    #[must_use]
    pub fn key_of(&self, document: &Value) -> Value {
        self.key.as_ref().and_then(|key| document.get(key)).cloned().unwrap_or(Value::Null)
    }
}

fn read_time(document: &Value, field: &str) -> Result<Option<TimestampNs>, String> {
    match document.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => TimestampNs::parse_rfc3339(text)
            .map(Some)
            .ok_or_else(|| format!("{field} is no time; write RFC 3339, e.g. 2026-01-31T12:00:00Z")),
        Some(_) => Err(format!("{field} is no time; write RFC 3339 text, e.g. \"2026-01-31T12:00:00Z\"")),
    }
}

/// The newest version of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Offset of its message.
    pub offset: Offset,
    /// From 1.
    pub version: u64,
    body: u64,
}

/// Hashes of what a document is known by: its kind and id, and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: u128,
    pub(crate) body: u64,
}

impl Named {
    pub(crate) fn new(entity: &str, id: &str, body: &Value) -> Named {
        Named { name: name(entity, id), body: body_hash(body) }
    }
}

/// What is known of every id.
#[derive(Default)]
pub struct RecordBook {
    known: Newest<Mark>,
    /// Ids that were forgotten.
    pub forgotten: u64,
}

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is there already.
    Known(Mark),
    /// It is this version.
    Version(u64),
}

impl RecordBook {
    /// What a document with this id and body is.
    #[must_use]
    pub fn standing(&self, entity: &str, id: &str, body: &Value) -> Standing {
        self.standing_of(&Named::new(entity, id, body))
    }

    /// [`standing`](Self::standing) of a document whose name and body were hashed before.
    #[must_use]
    pub(crate) fn standing_of(&self, named: &Named) -> Standing {
        match self.known.get(named.name) {
            Some(mark) if mark.body == named.body => Standing::Known(*mark),
            Some(mark) => Standing::Version(mark.version + 1),
            None => Standing::Version(1),
        }
    }

    /// The newest version of an id.
    #[must_use]
    pub fn newest(&self, entity: &str, id: &str) -> Option<Mark> {
        self.known.get(name(entity, id)).copied()
    }

    /// A version was written or read back.
    pub fn put(&mut self, entity: &str, id: &str, version: u64, body: &Value, offset: Offset) {
        self.put_named(&Named::new(entity, id, body), version, offset);
    }

    /// [`put`](Self::put) of a document whose name and body were hashed before.
    pub(crate) fn put_named(&mut self, named: &Named, version: u64, offset: Offset) {
        self.known.put(named.name, Mark { offset, version, body: named.body }, offset);
        while self.known.len() > IDS_MAX || self.known.turns() > VERSIONS_MAX {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let gone = self.known.take_first(|mark, offset| mark.offset == offset);
        self.forgotten += u64::from(gone.is_some());
    }

    /// Forgets what retention has removed, versions whose offset is not behind `oldest`, and no more than
    /// `most`; answers how many.
    pub fn forget_until(&mut self, oldest: Offset, most: usize) -> usize {
        let mut forgotten = 0;
        while forgotten < most && self.known.first().is_some_and(|(_, offset)| offset <= oldest) {
            self.forget_first();
            forgotten += 1;
        }
        forgotten
    }
}

fn name(entity: &str, id: &str) -> u128 {
    hash128(&[entity.as_bytes(), id.as_bytes()])
}

fn body_hash(body: &Value) -> u64 {
    hash128(&[body.to_string().as_bytes()]) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_document_counts_once_and_another_body_is_a_version() {
        let mut book = RecordBook::default();
        let first = json!({"receipt_id": "r1", "quantity": 5});
        assert_eq!(book.standing("goods-receipt", "r1", &first), Standing::Version(1));
        book.put("goods-receipt", "r1", 1, &first, Offset(10));
        assert!(
            matches!(book.standing("goods-receipt", "r1", &first), Standing::Known(mark) if mark.offset == Offset(10))
        );
        let second = json!({"receipt_id": "r1", "quantity": 6});
        assert_eq!(book.standing("goods-receipt", "r1", &second), Standing::Version(2));
        assert_eq!(book.standing("labour", "r1", &first), Standing::Version(1));
        book.put("goods-receipt", "r1", 2, &second, Offset(20));
        assert_eq!(book.forget_until(Offset(10), 1), 1);
        assert!(book.newest("goods-receipt", "r1").is_some_and(|mark| mark.version == 2));
        assert_eq!(book.forget_until(Offset(20), 9), 1);
        assert!(book.newest("goods-receipt", "r1").is_none());
    }

    #[test]
    fn every_wrong_place_is_named() {
        let schema = json!({"required": ["receipt_id", "material"], "properties": {"quantity": {"type": "number", "exclusiveMinimum": 0}}});
        let spec = EntitySpec::new("goods-receipt", "receipt_id", None, Some("at".into()), Some(&schema)).unwrap();
        let wrong = spec.check(&json!({"receipt_id": "1", "quantity": 0})).unwrap_err();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong.iter().any(|w| w.path == "/quantity"));
        assert_eq!(spec.check(&json!({"receipt_id": 7, "material": "m"})), Ok("7".to_owned()));
        let late = spec.check(&json!({"receipt_id": "1", "material": "m", "at": "yesterday"})).unwrap_err();
        assert_eq!(late[0].path, "/at");
        assert!(spec.check(&json!([])).is_err());
        assert!(EntitySpec::new("x", "id", None, None, Some(&json!({"type": 5}))).is_err());
    }
}
