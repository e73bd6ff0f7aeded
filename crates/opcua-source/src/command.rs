//! Commands to a server: values read now, values written, methods called.
//!
//! Each runs as a future of its own on the source's session, beside the Publish requests, and none
//! waits for the source's long work.
//!
//! Invariants
//! - K1: every command is answered once: by the server, or by its deadline. What was sent and has no
//!   answer is told from what was not sent.
//! - K2: a write or call is sent once, never again; a Write of several nodes that the server finds too
//!   large, before it begins with it, goes out in smaller ones.
//! - K3: a value goes out as exactly the type that the server declares, or not at all (G1).
//! - K4: of a command that writes several tags nothing is sent where one of them cannot be written.
//!
//! Standards: OPC 10000-4, 5.11.2 Read, 5.11.4 Write, 5.12.2 Call.

use crate::assign;
use crate::chunks::{Chunks, in_chunks};
use crate::convert::{self, TypeSays};
use crate::describe::{attribute, climb, property_path};
use crate::items::{self, Item, Status};
use crate::memo::{Input, Inputs, Memo};
use crate::nodes::Namespaces;
use crate::prepare::is_connection;
use config::NodeRef;
use model::device::{
    ARGUMENTS_MAX, DeviceAnswer, DeviceCommand, DeviceError, READ_TAGS_MAX, Reply, WRITE_TAGS_MAX, nearest,
};
use model::{Quality, Value, ValueKind, limits};
use opcua::client::services::{Call, Write};
use opcua::client::{Session, UARequest};
use opcua::types::{
    Argument, AttributeId, CallMethodRequest, DataValue, Error, NodeId, NumericRange, ReadValueId, StatusCode,
    TimestampsToReturn, Variant, VariantScalarTypeId, WriteValue,
};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Names that a wrong one is compared with, at most: it bounds the time of a refusal.
const COMPARED_MAX: usize = 512;
/// A request to the server may take this much longer than its command's deadline, so that the
/// deadline is judged here.
const GRACE: Duration = Duration::from_secs(1);

/// What a command works with.
pub(crate) struct Tools {
    /// The session on which its nodes were found.
    pub(crate) session: Arc<Session>,
    /// What is known of that session's nodes.
    pub(crate) memo: Rc<Memo>,
    /// Operations of one call, at most.
    pub(crate) cap: usize,
    /// Until the deadline.
    pub(crate) within: Duration,
}

/// A command whose tags are found.
pub(crate) enum Task {
    Read(Vec<Wanted>),
    Write { tag: String, node: NodeId, value: Value },
    WriteEach { changes: Vec<Result<Change, DeviceError>>, dry: bool },
    Call { object: NodeRef, method: NodeRef, arguments: Vec<Value> },
}

/// One tag of a write of several.
pub(crate) struct Change {
    tag: String,
    node: NodeId,
    value: Value,
}

/// One tag of a read.
pub(crate) struct Wanted {
    tag: String,
    /// Its node, or why there is none now.
    node: Result<NodeId, StatusCode>,
    kind: ValueKind,
}

type Outcome = Result<DeviceAnswer, DeviceError>;

/// Finds what a command is about. `by_path` gives an item by its tag's path; a command names it below the
/// source's path. All items are only for the names that a wrong one is compared with.
///
/// # Errors
/// Why it cannot be carried out.
pub(crate) fn find<'i>(
    command: DeviceCommand,
    path: &str,
    by_path: impl Fn(&str) -> Option<&'i Item>,
    all: impl Iterator<Item = &'i Item> + Clone,
) -> Result<Task, DeviceError> {
    let below = |item: &'i Item| item.path.as_str().strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
    let item = |tag: &str| {
        by_path(&format!("{path}/{tag}")).ok_or_else(|| DeviceError::UnknownTag {
            tag: tag.to_owned(),
            nearest: nearest(tag, all.clone().filter_map(below).take(COMPARED_MAX)).map(str::to_owned),
        })
    };
    match command {
        DeviceCommand::Read { tags } => {
            if tags.len() > READ_TAGS_MAX {
                let what =
                    format!("{} tags are more than one read may have, {READ_TAGS_MAX}; read them in parts", tags.len());
                return Err(DeviceError::Unsupported { what });
            }
            let known = among(tags.iter().map(String::as_str), below, all.clone());
            let wanted = tags.iter().map(|tag| {
                let item = known.get(tag.as_str()).copied().map_or_else(|| item(tag), Ok)?;
                let kind = item.tag.map_or(ValueKind::F64, |(_, kind)| kind);
                Ok(Wanted { node: node_of(tag, item)?, kind, tag: tag.clone() })
            });
            wanted.collect::<Result<_, _>>().map(Task::Read)
        }
        DeviceCommand::Write { tag, value } => {
            let node = node_of(&tag, item(&tag)?)?.map_err(refused)?;
            Ok(Task::Write { tag, node, value })
        }
        DeviceCommand::WriteEach { writes, dry } => {
            if writes.len() > WRITE_TAGS_MAX {
                let what = format!(
                    "{} tags are more than one write may have, {WRITE_TAGS_MAX}; write them in parts",
                    writes.len()
                );
                return Err(DeviceError::Unsupported { what });
            }
            let known = among(writes.iter().map(|(tag, _)| tag.as_str()), below, all.clone());
            let mut nodes = HashSet::new();
            let change = |(tag, value): &(String, Value)| {
                let item = known.get(tag.as_str()).copied().map_or_else(|| item(tag), Ok)?;
                let node = node_of(tag, item)?.map_err(refused)?;
                if !nodes.insert(node.clone()) {
                    let what = format!("tag {tag:?} is the node of another tag of this write; write it once");
                    return Err(DeviceError::Unsupported { what });
                }
                Ok(Change { tag: tag.clone(), node, value: value.clone() })
            };
            Ok(Task::WriteEach { changes: writes.iter().map(change).collect(), dry })
        }
        DeviceCommand::Call { object, method, arguments } => {
            let node = |text: String| {
                text.parse::<NodeRef>().map_err(|error| DeviceError::Unsupported { what: error.to_string() })
            };
            if arguments.len() > ARGUMENTS_MAX {
                let what = format!("{} arguments are more than a call may have, {ARGUMENTS_MAX}", arguments.len());
                return Err(DeviceError::Unsupported { what });
            }
            Ok(Task::Call { object: node(object)?, method: node(method)?, arguments })
        }
    }
}

/// The items of these names below the source's path, found in one pass.
fn among<'n, 'i>(
    names: impl Iterator<Item = &'n str>,
    below: impl Fn(&'i Item) -> Option<&'i str>,
    all: impl Iterator<Item = &'i Item>,
) -> HashMap<&'i str, &'i Item> {
    let names: HashSet<&str> = names.collect();
    let named = |item: &'i Item| below(item).filter(|name| names.contains(name)).map(|name| (name, item));
    all.filter_map(named).collect()
}

fn node_of(tag: &str, item: &Item) -> Result<Result<NodeId, StatusCode>, DeviceError> {
    match (&item.status, &item.id) {
        (Status::Unsupported(why), _) => Err(DeviceError::Unsupported { what: format!("tag {tag:?}: {why}") }),
        (_, Some(node)) => Ok(Ok(node.clone())),
        (Status::Refused(status), None) => Ok(Err(*status)),
        (_, None) => Ok(Err(StatusCode::BadNodeIdUnknown)),
    }
}

/// Carries a command out, and answers it. Whether it was done.
pub(crate) async fn carry_out(task: Task, reply: Reply, tools: Tools) -> bool {
    let reply = RefCell::new(reply);
    let within = tools.within;
    let sent = || reply.borrow_mut().mark_sent();
    let work = async {
        match task {
            Task::Read(wanted) => tools.read(wanted, sent).await,
            Task::Write { tag, node, value } => tools.write(&tag, node, &value, sent).await,
            Task::WriteEach { changes, dry } => tools.write_each(changes, dry, sent).await,
            Task::Call { object, method, arguments } => tools.call(&object, &method, &arguments, sent).await,
        }
    };
    let outcome = tokio::time::timeout(within, work).await;
    let reply = reply.into_inner();
    let outcome = outcome.unwrap_or_else(|_| Err(DeviceError::Timeout { sent: reply.is_sent() }));
    let done = match &outcome {
        Ok(DeviceAnswer::Each { outcomes, .. }) => outcomes.iter().all(Result::is_ok),
        other => other.is_ok(),
    };
    reply.answer(outcome);
    done
}

impl Tools {
    async fn read(&self, wanted: Vec<Wanted>, sent: impl Fn()) -> Outcome {
        let nodes = wanted.iter().filter_map(|wanted| wanted.node.as_ref().ok());
        let asked: Vec<ReadValueId> = nodes.map(|node| attribute(node, AttributeId::Value)).collect();
        sent();
        let mut answers = self.read_values(&asked).await.map_err(unread)?.into_iter();
        let mut first = None;
        let mut values = Vec::with_capacity(wanted.len());
        for Wanted { tag, node, kind } in wanted {
            let answer = match node {
                Ok(_) => answers.next().unwrap_or_default(),
                Err(status) => DataValue { status: Some(status), ..DataValue::default() },
            };
            let (value, quality, ..) = convert::data_value(&answer, kind);
            if value.is_none() && quality.is_bad() {
                first.get_or_insert(answer.status.unwrap_or(StatusCode::BadNoDataAvailable));
            }
            values.push((tag, value, quality));
        }
        match first {
            Some(status) if values.iter().all(|(_, value, quality)| value.is_none() && quality.is_bad()) => {
                Err(refused(status))
            }
            _ => Ok(DeviceAnswer::Values(values)),
        }
    }

    async fn read_values(&self, asked: &[ReadValueId]) -> Result<Vec<DataValue>, Error> {
        let session = &self.session;
        // Neither: the caller hears of values now, not of when the device last changed them.
        let call =
            |piece: Vec<ReadValueId>| async move { session.read(&piece, TimestampsToReturn::Neither, 0.0).await };
        in_chunks(asked, self.cap, call).await
    }

    async fn write(&self, tag: &str, node: NodeId, value: &Value, sent: impl Fn()) -> Outcome {
        let turn = self.memo.turn(&node);
        let _turn = turn.lock().await;
        let what = format!("tag {tag:?}");
        let takes = self.type_of(&what, &node).await?;
        let variant = assign::variant(&what, value, takes)?;
        let change =
            WriteValue::new(node.clone(), AttributeId::Value, NumericRange::None, DataValue::value_only(variant));
        sent();
        let request = Write::new(&self.session).node(change).timeout(self.within + GRACE);
        let answer = request.send(self.session.channel()).await.map_err(undone)?;
        let status = answer.results.and_then(|results| results.into_iter().next());
        match status.unwrap_or(StatusCode::BadUnknownResponse) {
            status if status.is_good() => Ok(DeviceAnswer::Written),
            status => {
                if status == StatusCode::BadTypeMismatch {
                    self.memo.forget_type(&node);
                }
                Err(refused(status))
            }
        }
    }

    /// Writes several values by one call of the service, or as many as the server's limits ask for.
    async fn write_each(&self, changes: Vec<Result<Change, DeviceError>>, dry: bool, sent: impl Fn()) -> Outcome {
        let unsent = |outcomes| Ok(DeviceAnswer::Each { sent: false, outcomes });
        let waits = changes.iter().flatten().filter(|_| !dry);
        let mut turns: Vec<_> = waits.map(|change| (change.node.to_string(), change)).collect();
        // everybody takes them in the same order, so nobody waits for who waits for him
        turns.sort_by(|(one, _), (other, _)| one.cmp(other));
        let turns: Vec<_> = turns.into_iter().map(|(_, change)| self.memo.turn(&change.node)).collect();
        let mut held = Vec::with_capacity(turns.len());
        for turn in &turns {
            held.push(turn.lock().await);
        }
        let named = |change: &Change| (format!("tag {:?}", change.tag), change.node.clone());
        let known: Vec<(String, NodeId)> = changes.iter().flatten().map(named).collect();
        let mut types = self.types_of(&known).await?.into_iter();
        let mut made = Vec::with_capacity(changes.len());
        let mut outcomes = Vec::with_capacity(changes.len());
        for change in changes {
            let variant = change.and_then(|change| {
                let takes = types.next().unwrap_or_else(|| Err(refused(StatusCode::BadUnknownResponse)))?;
                let variant = assign::variant(&format!("tag {:?}", change.tag), &change.value, takes)?;
                Ok(WriteValue::new(change.node, AttributeId::Value, NumericRange::None, DataValue::value_only(variant)))
            });
            outcomes.push(variant.map(|variant| made.push(variant)));
        }
        if dry || made.is_empty() || made.len() < outcomes.len() {
            return unsent(outcomes);
        }
        sent();
        Ok(DeviceAnswer::Each { sent: true, outcomes: self.send_each(&made).await })
    }

    /// Sends writes, and tells of each what became of it.
    async fn send_each(&self, made: &[WriteValue]) -> Vec<Result<(), DeviceError>> {
        let mut outcomes = Vec::with_capacity(made.len());
        let mut chunks = Chunks::new(made.len(), self.cap);
        while let Some(piece) = chunks.piece() {
            let piece = &made[piece];
            let request = Write::new(&self.session).nodes_to_write(piece.to_vec()).timeout(self.within + GRACE);
            let error = match request.send(self.session.channel()).await {
                Ok(answer) => {
                    let results = answer.results.unwrap_or_default();
                    if results.len() == piece.len() {
                        outcomes.extend(results.into_iter().zip(piece).map(|(status, write)| {
                            if status.is_good() {
                                return Ok(());
                            }
                            if status == StatusCode::BadTypeMismatch {
                                self.memo.forget_type(&write.node_id);
                            }
                            Err(refused(status))
                        }));
                        chunks.done();
                        continue;
                    }
                    DeviceError::InDoubt {
                        why: format!("the server answered {} of {} writes", results.len(), piece.len()),
                    }
                }
                Err(error) if is_too_large_to_begin(error.status()) && chunks.shrink() => continue,
                Err(error) => undone(error),
            };
            // what follows a piece that failed as a whole is not sent
            let why = "an earlier part of the same write failed; nothing was sent".to_owned();
            outcomes.resize(outcomes.len() + piece.len(), Err(error));
            outcomes.resize(made.len(), Err(DeviceError::NotConnected { why }));
            break;
        }
        outcomes
    }

    /// The built-in type that a variable takes.
    async fn type_of(&self, what: &str, node: &NodeId) -> Result<VariantScalarTypeId, DeviceError> {
        let types = self.types_of(&[(what.to_owned(), node.clone())]).await?;
        types.into_iter().next().unwrap_or_else(|| Err(refused(StatusCode::BadUnknownResponse)))
    }

    /// The built-in types that variables take; those that are not known yet are asked for together.
    ///
    /// # Errors
    /// Nothing could be asked.
    async fn types_of(
        &self,
        all: &[(String, NodeId)],
    ) -> Result<Vec<Result<VariantScalarTypeId, DeviceError>>, DeviceError> {
        // looked up once: what is learned below may push out of the memo what it knows now
        let known: Vec<_> = all.iter().map(|(_, node)| self.memo.type_of(node)).collect();
        let unknown = all.iter().zip(&known).filter(|(_, known)| known.is_none());
        let asked: Vec<ReadValueId> = unknown
            .flat_map(|((_, node), _)| {
                [AttributeId::DataType, AttributeId::ValueRank, AttributeId::Value].map(|a| attribute(node, a))
            })
            .collect();
        let mut answers = if asked.is_empty() { Vec::new() } else { self.read_values(&asked).await.map_err(unread)? };
        let mut answers = answers.drain(..);
        let mut types = Vec::with_capacity(all.len());
        for ((what, node), known) in all.iter().zip(known) {
            types.push(match known {
                Some(known) => Ok(known),
                None => match (answers.next(), answers.next(), answers.next()) {
                    (Some(data_type), Some(rank), Some(value)) => {
                        self.type_by(what, node, &[data_type, rank, value]).await
                    }
                    _ => Err(refused(StatusCode::BadUnknownResponse)),
                },
            });
        }
        Ok(types)
    }

    /// The type that a variable's attributes tell: the declared one, else that of its present value, else that of
    /// the declared type's base.
    async fn type_by(
        &self,
        what: &str,
        node: &NodeId,
        [data_type, rank, value]: &[DataValue; 3],
    ) -> Result<VariantScalarTypeId, DeviceError> {
        if let Some(status) = data_type.status.filter(StatusCode::is_bad) {
            return Err(refused(status));
        }
        let is_array =
            matches!(rank.value, Some(Variant::Int32(0..))) || matches!(value.value, Some(Variant::Array(_)));
        if is_array {
            return Err(DeviceError::Unsupported {
                what: format!("{what} is an array, which cannot be written from here; name one element's variable"),
            });
        }
        let declared = match &data_type.value {
            Some(Variant::NodeId(node)) => (**node).clone(),
            _ => NodeId::null(),
        };
        let present = value.value.as_ref().filter(|value| !value.is_empty()).and_then(Variant::scalar_type_id);
        let takes = match assign::scalar_of_type(&declared).or(present) {
            Some(known) => Some(known),
            None => climb(&self.session, &declared, assign::scalar_of_type).await.map_err(unread)?,
        };
        let takes = takes.ok_or_else(|| DeviceError::Unsupported {
            what: format!(
                "the server does not say of which type {what} is, and it has no value yet that would show it"
            ),
        })?;
        self.memo.keep_type(node, takes);
        Ok(takes)
    }

    async fn call(&self, object: &NodeRef, method: &NodeRef, arguments: &[Value], sent: impl Fn()) -> Outcome {
        let namespaces = self.namespaces().await?;
        let [object, method] = [object, method].map(|node| namespaces.resolve(node).map_err(refused));
        let (object, method) = (object?, method?);
        let turn = self.memo.turn(&object);
        let _turn = turn.lock().await;
        let inputs = self.inputs_of(&method).await?;
        let arguments = in_types(inputs.as_deref(), arguments)?;
        let call = CallMethodRequest {
            object_id: object,
            method_id: method.clone(),
            input_arguments: (!arguments.is_empty()).then_some(arguments),
        };
        sent();
        let request = Call::new(&self.session).method(call).timeout(self.within + GRACE);
        let answer = request.send(self.session.channel()).await.map_err(undone)?;
        let Some(result) = answer.results.and_then(|results| results.into_iter().next()) else {
            return Err(refused(StatusCode::BadUnknownResponse));
        };
        if result.status_code.is_good() {
            let outputs = result.output_arguments.unwrap_or_default();
            return Ok(DeviceAnswer::Returned(outputs.iter().map(returned).collect()));
        }
        if matches!(
            result.status_code,
            StatusCode::BadArgumentsMissing | StatusCode::BadTooManyArguments | StatusCode::BadInvalidArgument
        ) {
            self.memo.forget_inputs(&method);
        }
        let wrong = result.input_argument_results.unwrap_or_default();
        Err(match wrong.iter().zip(1..).find(|(status, _)| status.is_bad()) {
            Some((status, number)) => {
                let text = format!("argument {number}: {}", advice(*status));
                DeviceError::Device { code: items::name(result.status_code), text }
            }
            None => refused(result.status_code),
        })
    }

    async fn namespaces(&self) -> Result<Rc<Namespaces>, DeviceError> {
        if let Some(known) = self.memo.namespaces() {
            return Ok(known);
        }
        let read = Rc::new(Namespaces::read(&self.session).await.map_err(unread)?);
        self.memo.keep_namespaces(Rc::clone(&read));
        Ok(read)
    }

    /// The input arguments that a method lists (OPC 10000-3, 5.7: property InputArguments).
    async fn inputs_of(&self, method: &NodeId) -> Result<Inputs, DeviceError> {
        if let Some(known) = self.memo.inputs_of(method) {
            return Ok(known);
        }
        let path = property_path(method, "InputArguments");
        let found = self.session.translate_browse_paths_to_node_ids(&[path]).await.map_err(unread)?;
        let property = found.into_iter().next().and_then(|result| result.targets?.into_iter().next());
        let mut inputs = None;
        if let Some(property) = property {
            let asked = [attribute(&property.target_id.node_id, AttributeId::Value)];
            let answer = self.read_values(&asked).await.map_err(unread)?.into_iter().next().unwrap_or_default();
            inputs = self.listed(answer.value).await?;
        }
        self.memo.keep_inputs(method, inputs.clone());
        Ok(inputs)
    }

    async fn listed(&self, property: Option<Variant>) -> Result<Inputs, DeviceError> {
        let Some(Variant::Array(listed)) = property else {
            return Ok(None);
        };
        let mut inputs = Vec::new();
        for argument in listed.values.iter().take(ARGUMENTS_MAX) {
            let Variant::ExtensionObject(object) = argument else { return Ok(None) };
            let Some(argument) = object.inner_as::<Argument>() else { return Ok(None) };
            let takes = match assign::scalar_of_type(&argument.data_type) {
                Some(known) => Some(known),
                None => climb(&self.session, &argument.data_type, assign::scalar_of_type).await.map_err(unread)?,
            };
            let name = argument.name.as_ref().to_owned();
            inputs.push(Input { name, takes, array: argument.value_rank >= 0 });
        }
        Ok(Some(inputs.into()))
    }
}

/// The arguments in the types that the method lists; where it lists nothing, in their plain ones.
fn in_types(inputs: Option<&[Input]>, arguments: &[Value]) -> Result<Vec<Variant>, DeviceError> {
    let Some(inputs) = inputs else {
        return Ok(arguments.iter().map(assign::plain).collect());
    };
    if inputs.len() != arguments.len() {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let what =
            format!("the method takes {} arguments ({}), and {} came", inputs.len(), names.join(", "), arguments.len());
        return Err(DeviceError::Unsupported { what });
    }
    let one = |(input, value): (&Input, &Value)| {
        let what = format!("argument {:?}", input.name);
        match input.takes {
            _ if input.array => {
                Err(DeviceError::Unsupported { what: format!("{what} is an array, which cannot be given from here") })
            }
            Some(takes) => assign::variant(&what, value, takes),
            None => Ok(assign::plain(value)),
        }
    };
    inputs.iter().zip(arguments).map(one).collect()
}

/// An output argument; what is no kind of value here comes as text, cut where it is too long.
fn returned(output: &Variant) -> Value {
    if let TypeSays::Kind(kind) = convert::kind_of_value(output)
        && let Ok(Some(value)) = convert::value(output, kind)
    {
        return value;
    }
    let mut text = if output.is_empty() { String::new() } else { output.to_string() };
    let end = (0..=limits::TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    Value::Text(text.into())
}

/// Whether a server refused a call for its size before it began with it.
fn is_too_large_to_begin(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadTooManyOperations | StatusCode::BadEncodingLimitsExceeded | StatusCode::BadRequestTooLarge
    )
}

/// The server's refusal of one operation.
fn refused(status: StatusCode) -> DeviceError {
    DeviceError::Device { code: items::name(status), text: advice(status) }
}

/// What a status means for a command, and what to do.
fn advice(status: StatusCode) -> String {
    let advice = match status {
        StatusCode::BadNodeIdUnknown => "the server has no such node; check its name",
        StatusCode::BadNoMatch => "the server has no such namespace; check the URI",
        StatusCode::BadNotWritable => "the node cannot be written; check the server's access levels",
        StatusCode::BadUserAccessDenied => "this user may not do that; check the user and its rights at the server",
        StatusCode::BadTypeMismatch => "the server takes another type of value; check the node's data type",
        StatusCode::BadOutOfRange => "the server does not take this value; check its limits",
        StatusCode::BadMethodInvalid => "the object has no such method; check both node ids",
        StatusCode::BadNotExecutable => "the method cannot be called now; check the state of the machine",
        StatusCode::BadInvalidState => "the machine is in a state in which it does not do that; try again later",
        StatusCode::BadInvalidArgument => "the method does not take these arguments; check their limits",
        StatusCode::BadArgumentsMissing | StatusCode::BadTooManyArguments => {
            "the method takes another number of arguments"
        }
        StatusCode::BadNotReadable => "the node cannot be read; check the server's access levels",
        StatusCode::BadWriteNotSupported => "the server cannot write that value, or not with its status or time",
        StatusCode::BadTooManyOperations => "the server is asked for too much at once; try again with less",
        _ => return Quality(status.bits()).to_string(),
    };
    advice.to_owned()
}

/// A request that changes nothing failed as a whole.
fn unread(error: Error) -> DeviceError {
    match error.status() {
        StatusCode::BadTimeout => DeviceError::Timeout { sent: true },
        status if is_connection(status) => not_connected(&error),
        status => refused(status),
    }
}

/// A write or call failed as a whole.
fn undone(error: Error) -> DeviceError {
    match error.status() {
        StatusCode::BadTimeout => DeviceError::Timeout { sent: true },
        // Never given to the network, or refused by a server that does not know the session.
        StatusCode::BadNotConnected
        | StatusCode::BadSessionIdInvalid
        | StatusCode::BadSessionClosed
        | StatusCode::BadSessionNotActivated
        | StatusCode::BadSecureChannelIdInvalid => not_connected(&error),
        status if is_connection(status) => {
            DeviceError::InDoubt { why: format!("the connection went before the answer came: {}", items::name(status)) }
        }
        status => refused(status),
    }
}

fn not_connected(error: &Error) -> DeviceError {
    DeviceError::NotConnected { why: format!("the connection or session is gone: {}", items::name(error.status())) }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
