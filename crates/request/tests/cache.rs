//! Stale answers: bounded, aged, and never of a write.

use model::TimestampNs;
use proptest::prelude::*;
use request::{
    Answer, CACHE_BYTES_MAX, CACHE_ENTRIES_MAX, CACHE_ENTRY_BYTES_MAX, Cache, CacheKey, Stale, is_safe_method,
};

const SECOND: u64 = 1_000_000_000;

fn at(seconds: i64) -> TimestampNs {
    TimestampNs(seconds * SECOND as i64)
}

fn answer(body: &[u8]) -> Answer {
    Answer { status: 200, content_type: "application/json".to_owned(), body: body.to_vec() }
}

fn key(cache: &Cache, url: &str) -> CacheKey {
    cache.key("GET", url, b"").expect("safe")
}

fn body(stale: Option<Stale>) -> Option<Vec<u8>> {
    stale.map(|stale| stale.answer.body.clone())
}

#[test]
fn an_answer_stands_in_until_it_is_too_old_and_says_so() {
    let mut cache = Cache::new(60 * SECOND, 1);
    let steel = key(&cache, "/stock/steel");
    cache.put(steel, answer(b"7"), at(100));
    let stale = cache.get(steel, at(103)).expect("young enough");
    assert_eq!(serde_json::to_string(&stale.mark()).expect("JSON"), r#"{"stale":true,"age_ms":3000}"#);
    assert_eq!(cache.get(steel, at(160)).map(|stale| stale.age_ns), Some(60 * SECOND));
    assert_eq!(cache.get(steel, at(161)), None);
    assert!(cache.is_empty() && cache.bytes() == 0);
    // of the future, as after a clock that was set back: its age is not known
    cache.put(steel, answer(b"7"), at(100));
    assert_eq!(cache.get(steel, at(99)), None);
}

#[test]
fn only_good_answers_to_safe_calls_are_kept() {
    let mut cache = Cache::new(60 * SECOND, 1);
    for method in ["POST", "PUT", "PATCH", "DELETE", "get", ""] {
        assert_eq!(cache.key(method, "/stock", b""), None, "{method}");
        assert!(!is_safe_method(method));
    }
    let stock = key(&cache, "/stock");
    cache.put(stock, answer(b"good"), at(0));
    for status in [199, 301, 404, 500] {
        cache.put(stock, Answer { status, ..answer(b"bad") }, at(1));
    }
    assert_eq!(body(cache.get(stock, at(2))), Some(b"good".to_vec()));
    // one that is too long leaves no older one behind
    cache.put(stock, answer(&vec![0; CACHE_ENTRY_BYTES_MAX]), at(3));
    assert_eq!(cache.get(stock, at(3)), None);
}

#[test]
fn keys_are_of_all_three_parts_and_of_the_seed() {
    let cache = Cache::new(1, 1);
    let all =
        [("GET", "/ab", "c"), ("GET", "/a", "bc"), ("HEAD", "/ab", "c"), ("GET", "/ab", ""), ("QUERY", "/ab", "c")];
    let keys: std::collections::HashSet<_> =
        all.iter().map(|(method, url, body)| cache.key(method, url, body.as_bytes())).collect();
    assert_eq!(keys.len(), all.len());
    assert_ne!(cache.key("GET", "/", b""), Cache::new(1, 2).key("GET", "/", b""));
}

#[test]
fn what_was_used_longest_ago_makes_room() {
    let mut cache = Cache::new(1_000 * SECOND, 1);
    let keys: Vec<_> = (0..=CACHE_ENTRIES_MAX).map(|i| key(&cache, &format!("/{i}"))).collect();
    for key in &keys[..CACHE_ENTRIES_MAX] {
        cache.put(*key, answer(b"x"), at(0));
    }
    assert!(cache.get(keys[0], at(0)).is_some(), "used again");
    cache.put(keys[CACHE_ENTRIES_MAX], answer(b"x"), at(0));
    assert_eq!(cache.len(), CACHE_ENTRIES_MAX);
    assert!(cache.get(keys[0], at(0)).is_some() && cache.get(keys[1], at(0)).is_none());
    // and by bytes
    let large = vec![0; CACHE_ENTRY_BYTES_MAX - 1_000];
    for i in 0..20 {
        let key = key(&cache, &format!("/large/{i}"));
        cache.put(key, answer(&large), at(1));
        assert!(cache.bytes() <= CACHE_BYTES_MAX && cache.get(key, at(1)).is_some());
    }
    assert!(cache.len() < 10);
}

proptest! {
    /// Against a list that keeps everything: what is given is the newest good answer, young enough;
    /// with few keys nothing is pushed out.
    #[test]
    fn what_is_given_is_the_newest(steps in prop::collection::vec((0..4_usize, any::<bool>(), 0..5_i64, 0..3_u8), 1..60)) {
        let mut cache = Cache::new(10 * SECOND, 7);
        let mut reference: Vec<Option<(i64, Vec<u8>)>> = vec![None; 4];
        let mut now = 0;
        for (which, put, later, text) in steps {
            now += later;
            let key = key(&cache, &which.to_string());
            if put {
                cache.put(key, answer(&[text]), at(now));
                reference[which] = Some((now, vec![text]));
            } else {
                let expected = reference[which].clone().filter(|(since, _)| now - since <= 10);
                prop_assert_eq!(body(cache.get(key, at(now))), expected.map(|(_, text)| text));
            }
        }
    }
}
