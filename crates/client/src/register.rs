//! Registration: names to numbers, asked again on every new connection.

use crate::error::{ConnectError, RegisterError};
use crate::link::{self, Link, LinkError, Numbers};
use crate::options::TagRequest;
use crate::producer::Producer;
use crate::registry::{Registry, parts};
use frame::TextRequest;
use model::{TagId, TextId};
use std::time::Instant;

impl Producer {
    /// Registers tags and answers their numbers, in order. The same name always gets the same number;
    /// tags that are registered together for the first time get consecutive ones.
    ///
    /// # Errors
    /// [`RegisterError`]; a name that the server refuses also closes the connection.
    pub fn register(&mut self, tags: &[TagRequest]) -> Result<Vec<TagId>, RegisterError> {
        self.flush().map_err(RegisterError::Send)?;
        let mut numbers = Vec::with_capacity(tags.len());
        for part in parts(tags, |tag| tag.name.len() + tag.unit.len() + 32) {
            let answer = self.ask(part, &[])?;
            let part = part.iter().zip(&answer.tags).map(|(tag, number)| (tag.clone(), TagId(*number)));
            self.registry.tags.extend(part);
            numbers.extend(answer.tags.into_iter().map(TagId));
        }
        Ok(numbers)
    }

    /// Registers texts (at most 1,024 bytes each) that will be values of tags of kind `Text`.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_texts(&mut self, texts: &[&str]) -> Result<Vec<TextId>, RegisterError> {
        self.flush().map_err(RegisterError::Send)?;
        let mut numbers = Vec::with_capacity(texts.len());
        for part in parts(texts, |text| text.len() + 16) {
            let answer = self.ask(&[], part)?;
            let part = part.iter().zip(&answer.texts).map(|(text, number)| ((*text).to_owned(), TextId(*number)));
            self.registry.texts.extend(part);
            numbers.extend(answer.texts.into_iter().map(TextId));
        }
        Ok(numbers)
    }

    /// Asks for the numbers of a part of the names, over the present connection or a new one.
    fn ask(&mut self, tags: &[TagRequest], texts: &[&str]) -> Result<Numbers, RegisterError> {
        let register = self.request(tags, texts).map_err(RegisterError::Encode)?;
        // a new connection in between asks for what is registered already, with numbers of its own
        let request = self.requests;
        let until = Instant::now() + self.options.patience;
        loop {
            self.work_until(self.options.patience, |producer| producer.is_connected()).map_err(RegisterError::Send)?;
            let Some(link) = &mut self.link else { continue };
            let error = match link.register(&register, self.options.timeout) {
                Ok(numbers) => {
                    return match check_numbers(&numbers, request, tags.len(), texts.len()) {
                        Ok(()) => Ok(numbers),
                        Err(error) => Err(RegisterError::Connect(error.at(&self.address))),
                    };
                }
                Err(error) => error.at(&self.address),
            };
            self.link = None;
            if !error.retry() || Instant::now() >= until {
                return Err(RegisterError::Connect(error));
            }
        }
    }

    fn request(&mut self, tags: &[TagRequest], texts: &[&str]) -> Result<frame::Builder, frame::EncodeError> {
        self.requests = self.requests.wrapping_add(1);
        let request = frame::Register {
            request: self.requests,
            tags: tags
                .iter()
                .map(|t| frame::TagRequest { name: t.name.clone(), kind: t.kind as u8, unit: t.unit.clone() })
                .collect(),
            texts: texts.iter().map(|text| TextRequest { text: (*text).to_owned() }).collect(),
        };
        link::register(self.options.producer, &request)
    }

    /// On a new connection: the same names must have the same numbers, else what waits is wrong.
    pub(crate) fn register_again(&mut self, link: &mut Link) -> Result<(), ConnectError> {
        let registry = std::mem::take(&mut self.registry);
        let checked = self.compare_numbers(&registry, link);
        self.registry = registry;
        checked
    }

    fn compare_numbers(&mut self, registry: &Registry, link: &mut Link) -> Result<(), ConnectError> {
        let address = self.address.clone();
        let changed = |tag: &str| ConnectError::TagsChanged { address: address.clone(), tag: tag.to_owned() };
        let encode = |error: frame::EncodeError| LinkError::Protocol(error.to_string()).at(&address);
        for part in parts(&registry.tags, |(tag, _)| tag.name.len() + tag.unit.len() + 32) {
            let tags: Vec<TagRequest> = part.iter().map(|(tag, _)| tag.clone()).collect();
            let register = self.request(&tags, &[]).map_err(encode)?;
            let numbers = link.register(&register, self.options.timeout).map_err(|error| error.at(&address))?;
            check_numbers(&numbers, self.requests, tags.len(), 0).map_err(|error| error.at(&address))?;
            let other = part.iter().zip(&numbers.tags).find(|((_, id), number)| id.0 != **number);
            if let Some(((tag, _), _)) = other {
                return Err(changed(&tag.name));
            }
        }
        for part in parts(&registry.texts, |(text, _)| text.len() + 16) {
            let texts: Vec<&str> = part.iter().map(|(text, _)| text.as_str()).collect();
            let register = self.request(&[], &texts).map_err(encode)?;
            let numbers = link.register(&register, self.options.timeout).map_err(|error| error.at(&address))?;
            check_numbers(&numbers, self.requests, 0, texts.len()).map_err(|error| error.at(&address))?;
            let other = part.iter().zip(&numbers.texts).find(|((_, id), number)| id.0 != **number);
            if let Some(((text, _), _)) = other {
                return Err(changed(text));
            }
        }
        Ok(())
    }
}

fn check_numbers(numbers: &Numbers, request: u32, tags: usize, texts: usize) -> Result<(), LinkError> {
    if numbers.request == request && numbers.tags.len() == tags && numbers.texts.len() == texts {
        return Ok(());
    }
    Err(LinkError::Protocol("the answer to a registration does not fit it".to_owned()))
}
