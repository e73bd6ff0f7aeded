//! What the systems have to tell: receipts, entries and questions, made up from a seed.
//!
//! Invariant: ids hold the time at which the system started, so that a plant that is started again
//! does not send other things under the ids of before.

use serde_json::{Map, Value, json};

use crate::business::{SystemName, now_unix_ms};
use crate::physics::Rng;

use super::outbox::Draft;

/// Materials that are received and used.
const MATERIALS: [&str; 4] = ["steel-blank-a", "steel-blank-b", "alu-sheet-2mm", "powder-ral-9010"];
/// Work orders that are worked on.
const WORK_ORDERS: [&str; 4] = ["WO-1001", "WO-1002", "WO-1003", "WO-1004"];
/// The records of a shift, in the order in which the MES makes them.
pub(crate) const ENTRIES: [&str; 3] = ["labour", "consumption", "yield"];

/// Makes what one system sends.
#[derive(Debug)]
pub(crate) struct Story {
    run: u64,
    number: u64,
    rng: Rng,
}

impl Story {
    /// A system that has told nothing yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self { run: now_unix_ms() / 1_000, number: 0, rng: Rng::new(seed, 710) }
    }

    /// What a system makes by itself; none for those that only receive.
    pub(crate) fn next(&mut self, name: SystemName) -> Option<Draft> {
        let nothing = Map::new();
        match name {
            SystemName::Wms => Some(self.receipt(&nothing)),
            SystemName::Mes => {
                let kind = ENTRIES[self.number as usize % ENTRIES.len()];
                Some(self.entry(kind, &nothing))
            }
            SystemName::Erp => Some(self.question(&nothing)),
            SystemName::Cmms | SystemName::Portal => None,
        }
    }

    /// A goods receipt; `given` fields stand as they are.
    pub(crate) fn receipt(&mut self, given: &Map<String, Value>) -> Draft {
        let id = self.id("GR");
        let (aisle, bay, level) =
            (char::from(b"ABCDEF"[self.below(6) as usize]), 1 + self.below(24), 1 + self.below(6));
        let body = json!({
            "receipt_id": id,
            "material": MATERIALS[self.below(4) as usize],
            "quantity": 1 + self.below(50),
            "location": format!("{aisle}-{bay:02}-{level:02}"),
            "time": now_text(),
        });
        let body = overlay(body, given);
        draft("goods-receipt", "/v1/records/goods-receipt", "receipt_id", text_of(&body, "material"), body)
    }

    /// An entry of one of [`ENTRIES`]; `given` fields stand as they are.
    pub(crate) fn entry(&mut self, kind: &'static str, given: &Map<String, Value>) -> Draft {
        let work_order = WORK_ORDERS[self.below(4) as usize];
        let (id, rest) = match kind {
            "labour" => {
                let employee = format!("E-{:02}", 1 + self.below(20));
                (self.id("L"), json!({ "hours": f64::from(1 + self.below(32)) * 0.25, "employee": employee }))
            }
            "consumption" => {
                let material = MATERIALS[self.below(4) as usize];
                (self.id("C"), json!({ "material": material, "quantity": 1 + self.below(40) }))
            }
            _ => (self.id("Y"), json!({ "good": 1 + self.below(60), "scrap": self.below(4) })),
        };
        let body = json!({ "entry_id": id, "work_order": work_order, "time": now_text() });
        let body = overlay(body, rest.as_object().unwrap_or(&Map::new()));
        let body = overlay(body, given);
        let key = format!("{kind} {}", text_of(&body, "work_order"));
        draft(kind, &format!("/v1/records/{kind}"), "entry_id", key, body)
    }

    /// The question whether there is material for a work order; `given` fields stand as they are.
    pub(crate) fn question(&mut self, given: &Map<String, Value>) -> Draft {
        let id = self.id("WO");
        let material = MATERIALS[self.below(4) as usize];
        let body = json!({ "material": material, "quantity": 50 + self.below(250), "work_order": id });
        let body = overlay(body, given);
        let key = text_of(&body, "work_order");
        draft("material-availability", "/v1/requests/material-availability", "work_order", key, body)
    }

    fn id(&mut self, letters: &str) -> String {
        self.number += 1;
        format!("{letters}-{}-{:06}", self.run, self.number)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.rng.next_u32() % limit
    }
}

fn draft(kind: &'static str, path: &str, id_field: &str, key: String, body: Value) -> Draft {
    Draft { kind, id: text_of(&body, id_field), path: path.to_owned(), key, body }
}

fn overlay(mut body: Value, given: &Map<String, Value>) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    body
}

/// A field as text, whatever it is.
fn text_of(body: &Value, field: &str) -> String {
    match body.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// Now, as RFC 3339.
fn now_text() -> String {
    opcua::types::DateTime::now().to_rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sender_tells_what_its_record_needs() {
        let mut story = Story::new(7);
        let fields = |draft: &Draft| {
            let mut fields: Vec<String> = draft.body.as_object().expect("an object").keys().cloned().collect();
            fields.sort();
            fields.join(" ")
        };
        let receipt = story.next(SystemName::Wms).expect("a receipt");
        assert_eq!(fields(&receipt), "location material quantity receipt_id time");
        assert_eq!(
            (receipt.id.as_str(), receipt.key.as_str()),
            (receipt.body["receipt_id"].as_str().expect("text"), receipt.body["material"].as_str().expect("text"),)
        );
        let mut mes: Vec<Draft> = (0..3).filter_map(|_| story.next(SystemName::Mes)).collect();
        mes.sort_by_key(|draft| draft.kind);
        let mes: Vec<String> = mes.iter().map(fields).collect();
        assert_eq!(
            mes,
            [
                "entry_id material quantity time work_order",
                "employee entry_id hours time work_order",
                "entry_id good scrap time work_order",
            ]
        );
        let question = story.next(SystemName::Erp).expect("a question");
        assert_eq!(fields(&question), "material quantity work_order");
        assert!(story.next(SystemName::Portal).is_none());
    }

    #[test]
    fn given_fields_stand_and_ids_are_never_repeated() {
        let mut story = Story::new(7);
        let given = json!({ "material": "M 1", "quantity": 40, "note": "poison" });
        let receipt = story.receipt(given.as_object().expect("an object"));
        assert_eq!((receipt.key.as_str(), &receipt.body["note"]), ("M 1", &json!("poison")));
        let ids: std::collections::HashSet<String> = (0..100).map(|_| story.receipt(&Map::new()).id).collect();
        assert_eq!(ids.len(), 100);
    }
}
