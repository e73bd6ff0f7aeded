//! Tests of the table of keys against itself.

use super::*;
use crate::read::{Raw, check};

/// Every section that the file can reach, each once.
fn sections() -> Vec<&'static Section> {
    let mut all: Vec<&'static Section> = vec![&FILE];
    let mut index = 0;
    while let Some(section) = all.get(index).copied() {
        index += 1;
        for key in section.all_keys() {
            let below = match key.kind {
                Kind::Table(below) | Kind::Tables { of: below, .. } => below,
                _ => continue,
            };
            if !all.iter().any(|known| std::ptr::eq(*known, below)) {
                all.push(below);
            }
        }
    }
    all
}

#[test]
fn every_default_passes_its_own_limits() {
    for section in sections() {
        for key in section.all_keys() {
            let Need::Default(preset) = key.need else { continue };
            if let (Kind::List { of, min, max }, Preset::List(words)) = (key.kind, preset) {
                assert!((min..=max).contains(&words.len()), "{} {}", section.title, key.name);
                for word in words {
                    assert_eq!(check(of, Raw::Text(word)), Ok(()), "{} {}", section.title, key.name);
                }
            } else {
                assert_eq!(check(&key.kind, Raw::of_preset(preset)), Ok(()), "{} {}", section.title, key.name);
            }
        }
    }
}

#[test]
fn every_form_has_a_sample_that_passes() {
    for form in Form::ALL {
        assert_eq!(form.check(form.sample()), Ok(()), "{form:?}");
        assert!(!form.word().is_empty());
    }
}

#[test]
fn every_expression_has_a_sample_that_passes() {
    let keys = sections().into_iter().flat_map(Section::all_keys);
    let mut count = 0;
    for key in keys {
        if let Kind::Expression { over, sample } = key.kind {
            assert_eq!(check(&key.kind, Raw::Text(sample)), Ok(()), "{}", key.name);
            assert!(!over.is_empty(), "{}", key.name);
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

#[test]
fn every_key_has_a_meaning_and_no_name_stands_twice() {
    for section in sections() {
        let variants = section.variants.as_ref().map_or(&[] as &[Variant], |v| v.of);
        let choices = if variants.is_empty() { vec![&[] as &[Key]] } else { variants.iter().map(|v| v.keys).collect() };
        for extra in choices {
            let mut names: Vec<&str> = section.keys.iter().chain(extra).map(|key| key.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", section.title);
        }
        for key in section.all_keys() {
            assert!(key.doc.ends_with(['.', '?']), "{} {}", section.title, key.name);
        }
    }
}

#[test]
fn titles_are_unique() {
    let mut titles: Vec<&str> = sections().iter().map(|section| section.title).collect();
    titles.sort_unstable();
    let count = titles.len();
    titles.dedup();
    assert_eq!(titles.len(), count);
}
