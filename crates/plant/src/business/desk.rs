//! What each business system does with a request, as pure state.
//!
//! | system | calls |
//! |---|---|
//! | ERP | `POST /stock/receipts` `{material, quantity, receipt}` · `GET /stock/{material}` · `POST /plan/changes` · `POST /batches` (any content) · `GET /work-orders` · `POST /work-orders` `{material?, quantity?}`: plans one and asks for its material at once |
//! | WMS | `GET /stock/{material}` → `{material, available, location}`; 404 for materials whose name begins with `unknown` · `POST /receipts` `{material?, quantity?, …}`: receives goods and posts the receipt at once |
//! | MES | `PUT /machines/{name}` · `GET /machines` · `POST /entries` `{kind: labour\|consumption\|yield, …}`: makes an entry and posts it at once |
//! | CMMS | `POST /tickets` → 201 with the ticket's number · `GET /tickets` |
//! | portal | `POST /delays` · `GET /delays` |
//!
//! Invariants:
//! - An answer outside 2xx has changed nothing.
//! - Lists are bounded by [`DOCUMENTS_MAX`]; the oldest document goes first.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::physics::Rng;

use super::batch;
use super::feed::outbox::{Draft, Outbox};
use super::feed::story::{ENTRIES, Story};
use super::journal::Request;
use super::{SystemName, now_unix_ms, problem};

/// Documents, materials and machines that a system keeps, each.
const DOCUMENTS_MAX: usize = 10_000;

/// What a system answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// JSON body.
    pub(crate) body: Value,
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }

    fn created(body: Value) -> Self {
        Self { status: 201, body }
    }

    fn refused(status: u16, error: &str, detail: &str) -> Self {
        Self { status, body: problem(error, detail) }
    }

    /// The same idempotency key came with another request.
    pub(crate) fn key_reused() -> Self {
        Self::refused(
            422,
            "idempotency key reused",
            "this Idempotency-Key came before with another method, path or body; send the same \
             request again, or a new key",
        )
    }

    /// Whether the request had its way.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A system's own state.
#[derive(Debug)]
pub(crate) struct Desk {
    name: SystemName,
    seed: u64,
    number: u64,
    stock: BTreeMap<String, Stock>,
    machines: BTreeMap<String, Value>,
    documents: VecDeque<Value>,
    story: Story,
    /// What it sends by itself.
    pub(crate) outbox: Outbox,
}

#[derive(Debug, Default, Clone, Copy)]
struct Stock {
    on_hand: f64,
    receipts: u64,
}

impl Desk {
    /// A system that has done nothing yet.
    pub(crate) fn new(name: SystemName, seed: u64) -> Self {
        let own = seed.wrapping_add(name as u64);
        Self {
            name,
            seed,
            number: 0,
            stock: BTreeMap::new(),
            machines: BTreeMap::new(),
            documents: VecDeque::new(),
            story: Story::new(own),
            outbox: Outbox::new(own),
        }
    }

    /// Serves one request.
    pub(crate) fn answer(&mut self, request: &Request) -> Answer {
        let path: Vec<String> = request.path.split('/').filter(|part| !part.is_empty()).map(percent_decode).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let method = request.method.as_str();
        match (self.name, method, path.as_slice()) {
            (SystemName::Erp, "POST", ["stock", "receipts"]) => self.receive(&request.body),
            (SystemName::Erp, "GET", ["stock", material]) => self.on_hand(material),
            (SystemName::Erp, "POST", ["plan", "changes"]) => self.file("change", "C", request),
            (SystemName::Erp, "POST", ["batches"]) => self.batch(request),
            (SystemName::Erp, "GET", ["work-orders"]) => Answer::ok(work_orders()),
            (SystemName::Erp, "POST", ["work-orders"]) => {
                self.send("work_order", request, |story, given| Some(story.question(given)))
            }
            (SystemName::Wms, "POST", ["receipts"]) => {
                self.send("receipt", request, |story, given| Some(story.receipt(given)))
            }
            (SystemName::Mes, "POST", ["entries"]) => self.send("entry", request, |story, given| {
                let mut given = given.clone();
                let kind = given.remove("kind")?;
                let kind = ENTRIES.into_iter().find(|known| kind == *known)?;
                Some(story.entry(kind, &given))
            }),
            (SystemName::Wms, "GET", ["stock", material]) => self.available(material),
            (SystemName::Mes, "PUT", ["machines", name]) => self.machine(name, &request.body),
            (SystemName::Mes, "GET", ["machines"]) => Answer::ok(json!(self.machines)),
            (SystemName::Cmms, "POST", ["tickets"]) => self.file("ticket", "T", request),
            (SystemName::Portal, "POST", ["delays"]) => self.file("delay", "D", request),
            (SystemName::Cmms, "GET", ["tickets"]) | (SystemName::Portal, "GET", ["delays"]) => {
                Answer::ok(json!(self.documents))
            }
            (_, "GET", []) => Answer::ok(json!({ "system": self.name })),
            _ => {
                Answer::refused(404, "no such call", &format!("{} has no {method} {}", self.name.text(), request.path))
            }
        }
    }

    fn receive(&mut self, body: &Value) -> Answer {
        let (Some(material), Some(quantity)) =
            (body.get("material").and_then(Value::as_str), body.get("quantity").and_then(Value::as_f64))
        else {
            return Answer::refused(
                422,
                "receipt incomplete",
                "a receipt has a material (text) and a quantity (number)",
            );
        };
        if quantity <= 0.0 {
            return Answer::refused(422, "quantity not positive", "receive more than nothing");
        }
        if !self.stock.contains_key(material) && self.stock.len() >= DOCUMENTS_MAX {
            return Answer::refused(507, "too many materials", "this simulation keeps 10,000");
        }
        let stock = self.stock.entry(material.to_owned()).or_default();
        stock.on_hand += quantity;
        stock.receipts += 1;
        let on_hand = stock.on_hand;
        let posting = self.next_number("P");
        Answer::created(json!({
            "posting": posting, "material": material, "quantity": quantity, "on_hand": on_hand,
            "receipt": body.get("receipt"),
        }))
    }

    fn on_hand(&self, material: &str) -> Answer {
        let stock = self.stock.get(material).copied().unwrap_or_default();
        Answer::ok(json!({
            "material": material, "on_hand": stock.on_hand, "unit": "pcs",
            "receipts": stock.receipts,
        }))
    }

    fn available(&self, material: &str) -> Answer {
        if material.starts_with("unknown") {
            return Answer::refused(404, "no such material", "the warehouse does not keep it");
        }
        let name = material.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        let mut rng = Rng::new(self.seed ^ name, 400);
        let available = 100 + rng.next_u32() % 900;
        let (aisle, bay, level) =
            (char::from(b"ABCDEF"[rng.next_u32() as usize % 6]), 1 + rng.next_u32() % 24, 1 + rng.next_u32() % 6);
        Answer::ok(json!({
            "material": material, "available": available,
            "location": format!("{aisle}-{bay:02}-{level:02}"),
        }))
    }

    fn machine(&mut self, name: &str, body: &Value) -> Answer {
        if !self.machines.contains_key(name) && self.machines.len() >= DOCUMENTS_MAX {
            return Answer::refused(507, "too many machines", "this simulation keeps 10,000");
        }
        self.number += 1;
        let record = json!({ "machine": name, "revision": self.number, "state": body });
        self.machines.insert(name.to_owned(), record.clone());
        Answer::ok(record)
    }

    fn batch(&mut self, request: &Request) -> Answer {
        let found = batch::count(&request.body);
        let batch = self.next_number("B");
        Answer::created(json!({
            "batch": batch, "accepted": true, "bytes": request.body_bytes,
            "rows": found.rows, "stated_rows": found.stated_rows,
        }))
    }

    /// Makes something to send by itself, from the fields that a request gives.
    fn send(
        &mut self,
        what: &str,
        request: &Request,
        make: impl FnOnce(&mut Story, &Map<String, Value>) -> Option<Draft>,
    ) -> Answer {
        if !self.outbox.has_room() {
            return Answer::refused(507, "too much waits", "this simulation keeps 1,000 postings; let some go out");
        }
        let nothing = Map::new();
        let given = match &request.body {
            Value::Null => &nothing,
            Value::Object(given) => given,
            _ => return Answer::refused(422, "no document", "send a JSON object with the fields that matter"),
        };
        let Some(draft) = make(&mut self.story, given) else {
            return Answer::refused(422, "no such entry", "an entry has a kind: labour, consumption or yield");
        };
        let (id, body) = (draft.id.clone(), draft.body.clone());
        let posting = self.outbox.add(draft, now_unix_ms());
        Answer::created(json!({ what: id, "posting": posting, "document": body }))
    }

    /// Makes something to send of its own accord, unless too much waits.
    pub(crate) fn make_one(&mut self) {
        if self.outbox.has_room()
            && let Some(draft) = self.story.next(self.name)
        {
            self.outbox.add(draft, now_unix_ms());
        }
    }

    fn file(&mut self, kind: &str, letter: &str, request: &Request) -> Answer {
        if !request.body.is_object() {
            return Answer::refused(422, "no document", "send a JSON object");
        }
        let number = self.next_number(letter);
        let document = json!({ kind: number, "state": "open", "document": request.body });
        self.documents.push_back(document);
        if self.documents.len() > DOCUMENTS_MAX {
            self.documents.pop_front();
        }
        Answer::created(json!({ kind: number, "state": "open" }))
    }

    fn next_number(&mut self, letter: &str) -> String {
        self.number += 1;
        format!("{letter}-{:06}", self.number)
    }
}

fn work_orders() -> Value {
    let orders = [
        ("WO-1001", "steel-blank-a", 400, "press1"),
        ("WO-1002", "steel-blank-b", 250, "press2"),
        ("WO-1003", "alu-sheet-2mm", 600, "press3"),
        ("WO-1004", "powder-ral-9010", 80, "oven"),
    ];
    let orders: Vec<Value> = orders
        .iter()
        .map(|(order, material, quantity, machine)| {
            json!({
                "work_order": order, "material": material, "quantity": quantity,
                "machine": machine, "status": "planned",
            })
        })
        .collect();
    json!({ "work_orders": orders })
}

/// A path segment as it was meant (RFC 3986, 2.1); a broken escape stays as it is.
fn percent_decode(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| part.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decode;

    #[test]
    fn escapes_are_decoded_and_broken_ones_stay() {
        assert_eq!(percent_decode("M%20100%2FA"), "M 100/A");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("%zz%C3%A9"), "%zzé");
    }
}
