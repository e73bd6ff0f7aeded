//! The demo's switches: what the dashboard's buttons do to the simulated plant.

use crate::server::site::{DemoSwitches, Site};
use bytes::Bytes;
use connect::{Call, HttpSettings, HttpTarget, Reply, Target};
use http::{FlowError, Noun};
use serde_json::Value;
use std::time::Duration;

/// Deadline of a switch.
const TIME: Duration = Duration::from_secs(2);

/// Tells a business system of the plant how to behave.
pub async fn tell(site: &Site, system: &str, order: &Value) -> Result<Value, FlowError> {
    let unknown = || FlowError::NotFound {
        what: Noun::System,
        name: system.to_owned(),
        nearest: model::device::nearest(system, DemoSwitches::SYSTEMS.into_iter()).map(str::to_owned),
    };
    let demo = site.demo().filter(|_| DemoSwitches::SYSTEMS.contains(&system)).ok_or_else(unknown)?;
    let url = format!("http://{}/system/{system}", demo.switches);
    let failed = |error: connect::CallError| FlowError::Failed(format!("the plant's switches: {error}"));
    let target = HttpTarget::new(HttpSettings::new(&*url)).map_err(failed)?;
    let call = Call {
        method: "POST".to_owned(),
        to: url,
        headers: Vec::new(),
        content_type: "application/json".to_owned(),
        body: Bytes::from(order.to_string()),
        idempotency_key: None,
        id: String::new(),
        timeout: TIME,
    };
    match target.call(call).await.result.map_err(failed)? {
        Reply::Answered { status: 200..=299, body, .. } => {
            if let Some(mode) = order.get("mode").and_then(Value::as_str) {
                demo.told(system, mode);
            }
            Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
        }
        Reply::Answered { body, .. } => {
            let detail = String::from_utf8_lossy(&body).into_owned();
            Err(FlowError::Invalid { detail, errors: Vec::new() })
        }
        Reply::Acked { detail } => Ok(Value::from(detail)),
    }
}
