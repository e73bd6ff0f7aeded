//! One table of the file while it is read: access to its keys by the table of keys.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Context;
use super::convert::{self, Raw};
use super::expression::{self, Fault};
use crate::problem::Invalid;
use crate::table::{By, Key, Kind, Need, Preset, Section, Variant, Variants};

/// One table of the file.
pub(super) struct Row<'d> {
    pub(super) cx: &'d Context<'d>,
    table: &'d DeTable<'d>,
    section: &'static Section,
    variant: Option<&'static Variant>,
    /// Where it stands.
    pub(super) at: Range<usize>,
    /// Dotted path: `source[2]`.
    path: String,
}

/// A name with its text, and where both stand.
pub(super) struct TextEntry {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) name_at: Range<usize>,
    pub(super) text_at: Range<usize>,
}

impl<'d> Row<'d> {
    /// Opens a table: chooses its variant and reports keys that it may not have.
    pub(super) fn open(
        cx: &'d Context<'d>,
        table: &'d DeTable<'d>,
        at: Range<usize>,
        path: String,
        section: &'static Section,
    ) -> Self {
        let mut row = Self { cx, table, section, variant: None, at, path };
        if let Some(variants) = &section.variants {
            row.variant = match variants.by {
                By::Value(name) => row.variant_by_value(variants, name),
                By::Presence => row.variant_by_presence(variants),
            };
        }
        row.report_unknown_keys();
        row
    }

    fn variant_by_value(&self, variants: &Variants, name: &'static str) -> Option<&'static Variant> {
        let word = self.read(name, |key, raw| convert::choice(&key.kind, raw).map(str::to_owned))?;
        variants.of.iter().find(|variant| variant.name == word)
    }

    fn variant_by_presence(&self, variants: &Variants) -> Option<&'static Variant> {
        let names: Vec<&str> = variants.of.iter().map(|variant| variant.name).collect();
        let mut present = variants.of.iter().filter(|variant| self.has(variant.name));
        let first = present.next();
        match (first, present.next()) {
            (None, _) => {
                let what = format!("{} names none of {}", self.title(), convert::one_of(&names));
                let fix = format!("write one of them, for instance {}", convert::sample(&Kind::Table(self.section)));
                self.cx.report_missing(&self.at, &self.path, &what, &fix);
                None
            }
            (Some(first), Some(second)) => {
                self.refuse_key(
                    second.name,
                    &format!("{} stands beside {}, and only one of them may", second.name, first.name),
                    &format!("keep one of {}", convert::one_of(&names)),
                );
                Some(first)
            }
            (first, None) => first,
        }
    }

    fn report_unknown_keys(&self) {
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if self.key(name).is_some() {
                continue;
            }
            if self.cx.is_full() {
                self.cx.count_only(); // the nearest key of each of a million would take too long
                continue;
            }
            let foreign = self.section.all_keys().any(|key| key.name == name);
            if foreign && (self.variant.is_none() || self.is_second_choice(name)) {
                continue; // the missing or doubled choice is the problem, and is reported
            }
            let at = key.span();
            let path = self.path_of(name);
            match (foreign, self.variant) {
                (true, Some(variant)) => {
                    let what = format!("{name} does not belong to {}", self.variant_title(variant));
                    self.cx.report(&at, &path, &what, &format!("remove it; the keys here are {}", self.known()));
                }
                _ => {
                    let what = format!("unknown key {name:?} in {}", self.title());
                    let near = match self.variant {
                        Some(_) => convert::nearest(name, self.keys().map(|key| key.name)),
                        None => convert::nearest(name, self.section.all_keys().map(|key| key.name)),
                    };
                    let fix = match near {
                        Some(near) => format!("did you mean {near:?}?"),
                        None => format!("the keys here are {}", self.known()),
                    };
                    self.cx.report(&at, &path, &what, &fix);
                }
            }
        }
    }

    /// Is this one of several keys of which only one may be present?
    fn is_second_choice(&self, name: &str) -> bool {
        let variants = self.section.variants.as_ref();
        variants.is_some_and(|v| matches!(v.by, By::Presence) && v.of.iter().any(|variant| variant.name == name))
    }

    /// The keys that the table may have; of every variant, as long as it has none.
    fn known(&self) -> String {
        let mut names: Vec<&str> = match self.variant {
            Some(_) => self.keys().map(|key| key.name).collect(),
            None => self.section.all_keys().map(|key| key.name).collect(),
        };
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(*name));
        names.join(", ")
    }

    fn keys(&self) -> impl Iterator<Item = &'static Key> + use<'_> {
        let extra: &[Key] = self.variant.map_or(&[], |variant| variant.keys);
        self.section.keys.iter().chain(extra)
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    /// How people call this table: `[[source]] "press1"`.
    pub(super) fn title(&self) -> String {
        let title = match self.section.title.split_once(' ') {
            Some((title, _)) => title,
            None => self.section.title,
        };
        match self.table.get("name").and_then(|value| value.get_ref().as_str()) {
            Some(name) if self.section.keys.iter().any(|key| key.name == "name") => format!("{title} {name:?}"),
            _ if self.path.is_empty() => "the file".to_owned(),
            _ => title.to_owned(),
        }
    }

    fn variant_title(&self, variant: &Variant) -> String {
        match self.section.variants.as_ref().map(|v| v.by) {
            Some(By::Value(by)) => format!("{by} = {:?}", variant.name),
            _ => format!("{} with {}", self.title(), variant.name),
        }
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Is the key written?
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.get(name).is_some()
    }

    /// The variant's name, if one could be told.
    pub(super) fn variant(&self) -> Option<&'static str> {
        self.variant.map(|variant| variant.name)
    }

    /// Where a key's value stands; the table where it is not written.
    pub(super) fn span(&self, name: &str) -> Range<usize> {
        self.table.get(name).map_or_else(|| self.at.clone(), Spanned::span)
    }

    /// Reports a problem at a key's value, or at the table where the key is not written.
    pub(super) fn refuse(&self, name: &str, what: &str, fix: &str) {
        self.cx.report(&self.span(name), &self.path_of(name), what, fix);
    }

    /// Reports a problem at a key's name.
    pub(super) fn refuse_key(&self, name: &str, what: &str, fix: &str) {
        let at = self.table.get_key_value(name).map_or_else(|| self.at.clone(), |(key, _)| key.span());
        self.cx.report(&at, &self.path_of(name), what, fix);
    }

    fn missing(&self, key: &Key) {
        let what = format!("{} has no {}", self.title(), key.name);
        let meaning = key.doc.trim_end_matches('.');
        let fix = format!("add {} = {} ({meaning})", key.name, convert::sample(&key.kind));
        self.cx.report_missing(&self.at, &self.path_of(key.name), &what, &fix);
    }

    /// Reads a scalar: from the file, or from the default; `None` where there is none or it is wrong.
    fn read<T>(&self, name: &str, convert: impl Fn(&Key, Raw<'_>) -> Result<T, Invalid>) -> Option<T> {
        let key = self.key(name);
        debug_assert!(key.is_some(), "the table of keys has no {name} in {}", self.section.title);
        let key = key?;
        let (result, at) = match (self.table.get(name), key.need) {
            (Some(value), _) => (convert(key, Raw::of(value.get_ref())), value.span()),
            (None, Need::Default(preset)) => (convert(key, Raw::of_preset(preset)), self.at.clone()),
            (None, Need::Optional(_)) => return None,
            (None, Need::Required) => {
                self.missing(key);
                return None;
            }
        };
        match result {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.cx.report(&at, &self.path_of(name), &format!("{name}: {}", invalid.what), &invalid.fix);
                None
            }
        }
    }

    /// A value as it stands in the file, unchecked.
    pub(super) fn peek(&self, name: &str) -> Option<Raw<'d>> {
        self.table.get(name).map(|value| Raw::of(value.get_ref()))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.read(name, |key, raw| convert::text(&key.kind, raw).map(str::to_owned))
    }

    /// A text that must be there; empty where it is wrong.
    pub(super) fn required_text(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    /// A text that reads as a `T`.
    pub(super) fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, Invalid>) -> Option<T> {
        self.read(name, |key, raw| parse(convert::unchecked_text(&key.kind, raw)?))
    }

    /// A CEL expression over the variables that the table names.
    pub(super) fn expression(&self, name: &str) -> Option<String> {
        match self.key(name)?.kind {
            Kind::Expression { over, .. } => self.expression_over(name, over),
            _ => None,
        }
    }

    /// A CEL expression over these variables: those of the table that are there in this place, or
    /// more, whose names stand in the file.
    pub(super) fn expression_over(&self, name: &str, over: &[&str]) -> Option<String> {
        self.checked(name, |text| expression::check(text, over))
    }

    /// A URL template; with the fields that it may name, where they are known.
    pub(super) fn template(&self, name: &str, fields: Option<&[&str]>) -> Option<String> {
        self.checked(name, |text| expression::check_template(text, fields))
    }

    /// A text whose fault has a place of its own within it.
    fn checked(&self, name: &str, check: impl Fn(&str) -> Result<(), Fault>) -> Option<String> {
        let text = self.read(name, |key, raw| convert::unchecked_text(&key.kind, raw).map(str::to_owned))?;
        let Err(Fault { at, invalid }) = check(&text) else { return Some(text) };
        let span = self.span(name);
        let start = match at {
            Some(at) if self.has(name) => self.cx.within(&span, &text, at),
            _ => span.start,
        };
        self.cx.report(&(start..span.end), &self.path_of(name), &format!("{name}: {}", invalid.what), &invalid.fix);
        None
    }

    /// A word, as what stands for it.
    pub(super) fn choice<T: Copy>(&self, name: &str, meanings: &[(&str, T)]) -> Option<T> {
        let word = self.read(name, |key, raw| convert::choice(&key.kind, raw).map(str::to_owned))?;
        let meaning = meanings.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning);
        debug_assert!(meaning.is_some(), "the table of keys allows {word} for {name}, which means nothing here");
        meaning
    }

    /// An integer; the table's limits make sure that it fits.
    pub(super) fn whole<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let number = self.read(name, |key, raw| convert::whole(&key.kind, raw))?;
        let fits = T::try_from(number).ok();
        debug_assert!(fits.is_some(), "the limits of {name} are wider than its type");
        fits
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.read(name, |key, raw| convert::number(&key.kind, raw))
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        self.read(name, |key, raw| convert::switch(&key.kind, raw)).unwrap_or_default()
    }

    pub(super) fn duration(&self, name: &str) -> Duration {
        self.optional_duration(name).unwrap_or_default()
    }

    pub(super) fn optional_duration(&self, name: &str) -> Option<Duration> {
        self.read(name, |key, raw| convert::span_of_time(&key.kind, raw))
    }

    pub(super) fn size(&self, name: &str) -> u64 {
        self.read(name, |key, raw| convert::bytes(&key.kind, raw)).unwrap_or_default()
    }

    pub(super) fn start_at(&self, name: &str) -> Option<crate::StartAt> {
        self.read(name, |key, raw| convert::start_at(&key.kind, raw))
    }

    /// A key's value that is no scalar. Reports it when it is required and missing.
    pub(super) fn value(&self, name: &str) -> Option<(&'static Key, &'d Spanned<DeValue<'d>>)> {
        let key = self.key(name)?;
        let value = self.table.get(name);
        if value.is_none() && matches!(key.need, Need::Required) {
            self.missing(key);
        }
        value.map(|value| (key, value))
    }

    /// Reports a value of the wrong type.
    pub(super) fn refuse_type(&self, key: &Key, value: &Spanned<DeValue<'_>>) {
        let invalid = convert::not_a(&key.kind, value.get_ref());
        self.refuse(key.name, &format!("{}: {}", key.name, invalid.what), &invalid.fix);
    }

    /// A list of words or texts with their places, each checked by the table.
    pub(super) fn list(&self, name: &str) -> Vec<(String, Range<usize>)> {
        let Some(key) = self.key(name) else { return Vec::new() };
        let Kind::List { of, min, max } = key.kind else { return Vec::new() };
        let Some((_, value)) = self.value(name) else {
            return match key.need {
                Need::Default(Preset::List(words)) => {
                    words.iter().map(|w| ((*w).to_owned(), self.at.clone())).collect()
                }
                _ => Vec::new(),
            };
        };
        let DeValue::Array(array) = value.get_ref() else {
            self.refuse_type(key, value);
            return Vec::new();
        };
        if array.len() < min || array.len() > max {
            let what = format!("{name}: {} entries are not {min} to {max}", array.len());
            self.refuse(name, &what, &format!("write {}", convert::sample(&key.kind)));
            return Vec::new();
        }
        let mut entries: Vec<(String, Range<usize>)> = Vec::new();
        for (index, entry) in array.iter().enumerate() {
            let raw = Raw::of(entry.get_ref());
            let path = format!("{}[{index}]", self.path_of(name));
            match (convert::check(of, raw), raw) {
                (Ok(()), Raw::Text(text)) if entries.iter().any(|(seen, _)| seen == text) => {
                    self.cx.report(
                        &entry.span(),
                        &path,
                        &format!("{name}: {text:?} stands here twice"),
                        "remove one of them",
                    );
                }
                (Ok(()), Raw::Text(text)) => entries.push((text.to_owned(), entry.span())),
                (Ok(()), _) => {}
                (Err(invalid), _) => {
                    self.cx.report(&entry.span(), &path, &format!("{name}: {}", invalid.what), &invalid.fix);
                }
            }
        }
        entries
    }

    /// The names that a table below this one has, right or wrong.
    pub(super) fn names_in(&self, name: &str) -> Vec<&'d str> {
        let table = self.table.get(name).and_then(|value| value.get_ref().as_table());
        table.map_or_else(Vec::new, |table| table.keys().map(|key| key.get_ref().as_ref()).collect())
    }

    /// Names with their texts, in file order.
    pub(super) fn texts(&self, name: &str) -> Vec<TextEntry> {
        let Some((key, value)) = self.value(name) else { return Vec::new() };
        let Kind::Texts { names, of, max } = key.kind else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.refuse_type(key, value);
            return Vec::new();
        };
        if table.is_empty() || table.len() > max {
            let what = format!("{name}: {} entries are not 1 to {max}", table.len());
            self.refuse(name, &what, &format!("write {}", convert::sample(&key.kind)));
            return Vec::new();
        }
        let mut entries: Vec<TextEntry> = Vec::with_capacity(table.len());
        for (word, value) in table.iter() {
            let path = format!("{}.{}", self.path_of(name), word.get_ref());
            let report = |at: Range<usize>, invalid: Invalid| {
                self.cx.report(&at, &path, &format!("{name}: {}", invalid.what), &invalid.fix);
            };
            if let Err(invalid) = names.check(word.get_ref()) {
                report(word.span(), invalid);
                continue;
            }
            match convert::text(&Kind::Text(of), Raw::of(value.get_ref())) {
                Ok(text) => entries.push(TextEntry {
                    name: word.get_ref().to_string(),
                    text: text.to_owned(),
                    name_at: word.span(),
                    text_at: value.span(),
                }),
                Err(invalid) => report(value.span(), invalid),
            }
        }
        entries.sort_by_key(|entry| entry.name_at.start);
        entries
    }

    /// A table below this one.
    pub(super) fn table(&self, name: &str) -> Option<Row<'d>> {
        let (key, value) = self.value(name)?;
        match (key.kind, value.get_ref()) {
            (Kind::Table(section), DeValue::Table(table)) => {
                Some(Row::open(self.cx, table, value.span(), self.path_of(name), section))
            }
            (Kind::Table(_), DeValue::Array(_)) => {
                let what = format!("{name} is a list of tables, where one table belongs");
                self.refuse(name, &what, &format!("write [{name}] once, with single brackets"));
                None
            }
            _ => {
                self.refuse_type(key, value);
                None
            }
        }
    }

    /// Reads a table below this one, or, where it is not written or wrong, its defaults.
    pub(super) fn with_table<T>(&self, name: &str, read: impl FnOnce(&Row<'_>) -> T) -> T {
        if let Some(row) = self.table(name) {
            return read(&row);
        }
        let empty = DeTable::new();
        let section = match self.key(name).map(|key| key.kind) {
            Some(Kind::Table(section)) => section,
            _ => self.section,
        };
        read(&Row::open(self.cx, &empty, self.span(name), self.path_of(name), section))
    }

    /// The tables of a list below this one.
    pub(super) fn tables(&self, name: &str) -> Vec<Row<'d>> {
        let Some((key, value)) = self.value(name) else { return Vec::new() };
        let Kind::Tables { of, max } = key.kind else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            let what = format!(
                "{name}: this is {}, where a list of tables belongs",
                if value.get_ref().is_table() { "one table" } else { "a value" }
            );
            self.refuse(name, &what, &format!("write {}, with double brackets where it is a section", of.title));
            return Vec::new();
        };
        if array.len() > max {
            self.refuse(
                name,
                &format!("{} {} entries are too many", array.len(), of.title),
                &format!("write at most {max}"),
            );
            return Vec::new();
        }
        let mut rows = Vec::with_capacity(array.len());
        for (index, entry) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(name));
            match entry.get_ref() {
                DeValue::Table(table) => rows.push(Row::open(self.cx, table, entry.span(), path, of)),
                other => {
                    let invalid = convert::not_a(&Kind::Table(of), other);
                    self.cx.report(&entry.span(), &path, &invalid.what, &invalid.fix);
                }
            }
        }
        rows
    }
}
