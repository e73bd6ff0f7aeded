//! What callers hear.

use request::{EnvelopeRefusal, Failure, System};

fn erp() -> System {
    System { name: "erp".to_owned(), address: "http://127.0.0.1:9101".to_owned() }
}

#[test]
fn every_failure_has_its_kind_and_status_and_names_who_is_at_fault() {
    let what = || "connection refused".to_owned();
    let upstream = |status, retry_after_ns| Failure::UpstreamError {
        system: erp(),
        status,
        excerpt: "no\nsuch".to_owned(),
        retry_after_ns,
    };
    for (failure, kind, status, names, retry) in [
        (Failure::Timeout { system: erp(), after_ns: 1, shortened: true }, "timeout", 504, true, None),
        (Failure::NoTime, "timeout", 504, false, None),
        (Failure::CircuitOpen { system: erp(), retry_after_ns: 1_500_000_000 }, "circuit-open", 503, true, Some(2)),
        (Failure::Busy { limit: 64 }, "busy", 503, false, Some(1)),
        (upstream(500, None), "upstream-error", 502, true, None),
        (upstream(503, Some(u64::MAX)), "upstream-error", 502, true, Some(3_600)),
        (Failure::UpstreamUnreachable { system: erp(), what: what() }, "upstream-unreachable", 502, true, None),
        (Failure::BadAnswer { system: erp(), what: what() }, "bad-answer", 502, true, None),
        (Failure::Mapping { what: what() }, "mapping", 500, false, None),
        (Failure::DeviceError { system: erp(), what: what() }, "device-error", 502, true, None),
        (
            Failure::RefusedByEnvelope { tag: "oven/setpoint".to_owned(), refusal: EnvelopeRefusal::NotFinite },
            "refused-by-envelope",
            422,
            false,
            None,
        ),
        (
            Failure::RefusedByEnvelope {
                tag: "oven/setpoint".to_owned(),
                refusal: EnvelopeRefusal::TooFast { writes: 1, per_ns: 10, retry_after_ns: 2_000_000_001 },
            },
            "refused-by-envelope",
            429,
            false,
            Some(3),
        ),
    ] {
        let problem = failure.problem();
        assert_eq!((problem.kind, problem.status, problem.retry_after_s), (kind, status, retry), "{failure}");
        assert_eq!(problem.system.is_some(), names, "{failure}");
        assert_eq!(problem.detail.contains("erp (http://127.0.0.1:9101)"), names, "{failure}");
        assert_eq!(problem.reason.is_some(), kind == "refused-by-envelope");
    }
}

#[test]
fn texts_of_others_are_short_and_on_one_line() {
    let excerpt = format!("<html>\r\n{}", "x".repeat(10_000));
    let failure = Failure::UpstreamError { system: erp(), status: 500, excerpt, retry_after_ns: None };
    let text = failure.to_string();
    assert!(text.starts_with("erp (http://127.0.0.1:9101) answered 500: <html>  xxx"), "{text}");
    assert!(text.chars().count() < 300 && !text.contains(['\r', '\n']) && text.contains('…'));
    let json = serde_json::to_value(failure.problem()).expect("JSON");
    assert_eq!(json["system"]["name"], "erp");
}
